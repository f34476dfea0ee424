"""Makes the scene of this sample: Tholos, and the networks `detail` and `ink` that finish its picture.

    python samples/postprocess/make.py OUT.lens [--scene TEMPLE.ply] [--density 0.1] [--only detail]

Without --scene the temple is made first, with a tenth of its splats unless --density says otherwise.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import splatlens

HERE = Path(__file__).resolve().parent
NETWORKS = ("detail", "ink")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scene", type=Path, help="splats to be finished, any format that splatlens reads")
    parser.add_argument("--density", type=float, default=0.1, help="share of the temple's splats")
    parser.add_argument("--only", choices=NETWORKS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene = arguments.scene or Path(folder) / "tholos.ply"
        if arguments.scene is None:
            script = HERE.parent / "tholos" / "make.py"
            subprocess.run([sys.executable, script, scene, "--density", str(arguments.density)], check=True)
        networks = [HERE / f"{name}.onnx" for name in NETWORKS if arguments.only in (None, name)]
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        splatlens.convert([scene, *networks], arguments.out, force=True)
    print(f"{arguments.out}: {arguments.out.stat().st_size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
