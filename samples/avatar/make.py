"""Makes the sample scene "Pip": a small figure with bones, blendshapes and clips, as an avatar and as a .lens.

    python samples/avatar/make.py OUT.lens [--density 1.0]

Own work, CC0. Procedural, not trained: shapes, rig and clips are computed. Beside OUT.lens it writes OUT.zip, the
avatar in the form of docs/avatar.md (a glTF and Gaussians bound to its vertices), and OUT.scene.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figure
import glb
import numpy as np
from numpy.typing import NDArray

import splatlens
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json

TITLE = "Pip"
#: Standard deviations of a disc, in units of its spacing: along the surface and across. At 0.62 the far side shone
#: through between the discs.
ALONG, ACROSS = 0.78, 0.20
OPACITY = 0.98
#: How far a Gaussian is above its vertex, metres: its offset.
LIFT = 0.001


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the .lens to write")
    parser.add_argument("--density", type=float, default=1.0, help="times as many Gaussians (default 1)")
    given = parser.parse_args()
    out: Path = given.out
    start = time.perf_counter()
    archive = out.with_suffix(".zip")
    out.parent.mkdir(parents=True, exist_ok=True)
    count = write_avatar(archive, given.density)
    camera = Camera.look_at((0.75, 0.80, 2.45), (0, 0.575, 0), (0, 1, 0), 30, 1280, 720)
    facts = {"title": TITLE, "attribution": "Made by samples/avatar/make.py of splatlens", "licence": "CC0-1.0",
             "up": [0, 1, 0], "background": [0.90, 0.92, 0.94], "camera": camera_json(camera)}  # fmt: skip
    out.with_suffix(".scene.json").write_text(json.dumps(facts, indent=1))
    splatlens.convert(archive, out, force=True)
    print(f"{out}: {count} Gaussians, {out.stat().st_size / 1e6:.2f} MB, {time.perf_counter() - start:.0f} s")


def write_avatar(path: Path, density: float = 1.0) -> int:
    """Writes the archive; the number of Gaussians. Its bytes depend on nothing but the scripts."""
    made = figure.figure(density)
    vertices = made.positions - LIFT * made.normals
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("skin.glb", glb.write(vertices, made)), ("offset.ply", gaussians(made))):
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}", (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return len(vertices)


def gaussians(made: figure.Surface) -> bytes:
    """A PLY of one disc for each vertex: offset, colour, logit of the opacity, logarithms of the scales, quaternion."""
    n = len(made.positions)
    scales = made.spacing[:, None] * [ALONG, ALONG, ACROSS]
    logit = np.full((n, 1), np.log(OPACITY / (1 - OPACITY)))
    table = np.concatenate(
        [LIFT * made.normals, made.colors, logit, np.log(scales), turned_to(made.normals)], axis=1
    ).astype("<f4")
    columns = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), "opacity"]
    columns += [f"scale_{i}" for i in range(3)] + [f"rot_{i}" for i in range(4)]
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {n}"]
    header += [f"property float {name}" for name in columns] + ["end_header", ""]
    return "\n".join(header).encode() + table.tobytes()


def turned_to(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 4) w x y z quaternions that turn the z axis to the normals, by the shortest way."""
    x, y, z = normals.T
    made = np.stack([1 + z, -y, x, np.zeros(len(z))], axis=1)
    made[z < -0.9999] = (0, 1, 0, 0)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
