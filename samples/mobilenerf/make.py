"""Makes the scene of this sample from the fitted folder beside it; needs no torch.

    python samples/mobilenerf/make.py OUT.lens
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import splatlens

FOLDER = Path(__file__).resolve().parent / "field_phone"
#: From the analytic scene (z up) to the exported frame (y up): (x, z, -y).
FROM_SCENE = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


def make(output: Path) -> None:
    """Converts the folder; mlp.scene.json has what it cannot hold."""
    output.parent.mkdir(parents=True, exist_ok=True)
    splatlens.convert(FOLDER / "mlp.json", output, force=True, axes="synthetic")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    make(out)
    print(f"{out}: {out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
