"""Makes the scene of this sample from the fitted files beside it; needs no torch.

    python samples/sequence/make.py OUT.lens [--only spacetime.ply|spacetime.splatv|chkpnt4d.pth]

Both kinds stand side by side: Spacetime Gaussians on the left, 4D Gaussians on the right, in one sort.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import scene

import splatlens

HERE = Path(__file__).resolve().parent
FILES = ("spacetime.ply", "chkpnt4d.pth", "spacetime.splatv")
#: Units between the two stages.
APART = 3.6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", choices=FILES)
    arguments = parser.parse_args()
    inputs = [HERE / (arguments.only or FILES[0])] + ([] if arguments.only else [HERE / FILES[1]])
    moves = [f"move={APART * (k - (len(inputs) - 1) / 2)},0,0" for k in range(len(inputs))]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    splatlens.convert(inputs, arguments.out, transform=moves, seconds=scene.SECONDS, force=True)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
