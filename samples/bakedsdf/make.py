"""Makes the scene of this sample from the fitted asset beside it; needs no torch.

    python samples/bakedsdf/make.py OUT.lens
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import splatlens

ASSET = Path(__file__).resolve().parent / "fields.glb"
#: From the analytic scene (z up) to the asset (y up).
FROM_SCENE = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])


def make(output: Path) -> None:
    """Converts the asset; fields.scene.json has what it cannot hold."""
    output.parent.mkdir(parents=True, exist_ok=True)
    splatlens.convert(ASSET, output, force=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    make(out)
    print(f"{out}: {out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
