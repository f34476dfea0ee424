"""Makes one scene of three kinds of layers: a baked mesh, streamed splats and a generator, standing in one place.

    python samples/together/make.py OUT.lens [--density 1.0]

The temple of samples/tholos (splats), the marbles of samples/bakedsdf (a mesh with spherical Gaussians) and Pip of
samples/avatar (a generator: a figure that moves). tholos.ply and avatar.zip beside OUT.lens are used where they are
there, and made for the time being where they are not.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import splatlens
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json

SAMPLES = Path(__file__).resolve().parent.parent
MARBLES = SAMPLES / "bakedsdf" / "fields.glb"
#: Where each stands on the floor of the temple, whose y points down, while that of the others points up.
PLACES = {
    "temple": "move=0,0,0",
    "marbles": "rotate=180,180,0 scale=0.36 move=0.3,-0.04,-2.95",
    "pip": "rotate=180,-15,0 move=-0.3,0,-2.3",
}
#: From here a column stands before the marbles, and they stand before Pip.
CAMERA = Camera.look_at((0.75, -1.2, -6.3), (0.15, -0.5, -2.6), (0, -1, 0), 36, 1280, 720)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--density", type=float, default=1.0, help="times as many splats, of what is not there yet")
    given = parser.parse_args()
    out: Path = given.out
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        temple, marbles, pip = folder / "temple.ply", folder / "marbles.glb", folder / "pip.zip"
        marbles.symlink_to(MARBLES)
        temple.symlink_to(part(out.parent / "tholos.ply", "tholos", folder, given.density))
        pip.symlink_to(part(out.parent / "avatar.zip", "avatar", folder, given.density, ".lens"))
        # The first input says where a viewer starts.
        describe(temple, "Tholos", camera=camera_json(CAMERA), up=[0, -1, 0], background=[0, 0, 0])
        describe(marbles, "Marbles")
        describe(pip, "Pip")
        splatlens.convert([temple, marbles, pip], out, transform=list(PLACES.values()), force=True)
    print(f"{out}: {out.stat().st_size:,} bytes", flush=True)


def part(there: Path, sample: str, folder: Path, density: float, suffix: str = "") -> Path:
    """A file that another sample's script makes; where it is not there yet, made in `folder`.

    suffix: of what that script is asked for, where the file is one that it makes besides.
    """
    if there.is_file():
        return there.resolve()
    made = folder / there.name
    script, asked = SAMPLES / sample / "make.py", made.with_suffix(suffix or there.suffix)
    subprocess.run([sys.executable, str(script), str(asked), "--density", str(density)], check=True)
    return made


def describe(file: Path, title: str, **facts: object) -> None:
    """NAME.scene.json: what the scene's page says of it."""
    text = {"title": title, "attribution": "Made by scripts of splatlens", "licence": "CC0-1.0", **facts}
    file.with_suffix(".scene.json").write_text(json.dumps(text))


if __name__ == "__main__":
    main()
