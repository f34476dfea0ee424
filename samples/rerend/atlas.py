"""A texture atlas over the solids of the analytic scene: a rectangle each, along the solid's own u and v."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.samples.fields import scene
from splatlens.samples.fields.shapes import F64, I32, grid

#: Texels along u and v of each solid. Multiples of its checkers along u; along v, edges of patterns fall between rows.
#: The ground's checkers end within a pixel or two: its columns resolve that.
SIZES = {
    "ball": (128, 50), "ring": (120, 24), "pedestal": (192, 25), "top": (192, 20), "ground": (600, 100),
    "ruby": (60, 25), "jade": (60, 25), "violet": (60, 25),
}  # fmt: skip
#: Pieces of the mesh along u and v: the texture has the detail, so these follow the silhouettes.
PIECES = {
    "ball": (36, 18), "ring": (48, 9), "pedestal": (48, 1), "top": (48, 2), "ground": (48, 6),
    "ruby": (20, 10), "jade": (20, 10), "violet": (20, 10),
}  # fmt: skip
#: Where each rectangle's top left corner is: the ground's on top, the others side by side below it.
PLACES = {
    "ground": (0, 0), "ball": (0, 100), "pedestal": (128, 100), "top": (128, 125), "ring": (320, 100),
    "ruby": (440, 100), "jade": (500, 100), "violet": (320, 125),
}  # fmt: skip
WIDTH, HEIGHT = 600, 150
#: Texels that corners stay away from the border of their rectangle, so that what is looked up is always in it.
INSET = 0.02


@dataclass(frozen=True)
class Atlas:
    """T texels that are used: place (T, 2) row and column, points (T, 3), normals (T, 3), areas (T,), ids (T,).

    The mesh: positions (V, 3), uvs (V, 2), texels right and down, triangles (C, 3).
    """

    place: NDArray[np.int64]
    points: F64
    normals: F64
    areas: F64
    ids: NDArray[np.int64]
    positions: F64
    uvs: F64
    triangles: I32

    def spread(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(HEIGHT, WIDTH, K) of (T, K); unused texels get the middle value of each term, which costs least."""
        out = np.empty((HEIGHT, WIDTH, codes.shape[1]), np.uint8)
        out[:] = np.median(codes, axis=0).astype(np.uint8)
        out[self.place[:, 0], self.place[:, 1]] = codes
        return out


def make_atlas() -> Atlas:
    """Texels at their middles, on the solids themselves, and a coarse mesh of each."""
    texels, corners, triangles, first = [], [], [], 0
    for i, solid in enumerate(scene.SOLIDS):
        (w, h), (x, y) = SIZES[solid.name], PLACES[solid.name]
        row, column = (a.ravel() for a in np.mgrid[:h, :w])
        u, v = (column + 0.5) / w, (row + 0.5) / h
        step = [solid.shape.place(*np.clip((u + a, v + b), 0, 1)) for a, b in
                ((0.5 / w, 0), (-0.5 / w, 0), (0, 0.5 / h), (0, -0.5 / h))]  # fmt: skip
        area = np.linalg.norm(np.cross(step[0] - step[1], step[2] - step[3]), axis=1)
        place = np.stack([row + y, column + x], axis=1)
        texels.append((place, solid.shape.place(u, v), solid.shape.normal_at(u, v), area, np.full(len(u), i)))
        n, m = PIECES[solid.name]
        positions, faces, uvs, _ = grid(solid.shape, np.linspace(0, 1, n + 1), np.linspace(0, 1, m + 1))
        corners.append((positions, uvs * (np.array([w, h]) - 2 * INSET) + INSET + (x, y)))
        triangles.append(faces + first)
        first += len(positions)
    columns = [np.concatenate(c) for c in (*zip(*texels, strict=True), *zip(*corners, strict=True))]
    return Atlas(*columns, np.concatenate(triangles).astype(np.int32))


def write_obj(path: Path, atlas: Atlas) -> None:
    """Wavefront OBJ: v, vt with v up, and f v/vt."""
    used, triangles = np.unique(atlas.triangles, return_inverse=True)
    lines = ["v {:.4f} {:.4f} {:.4f}".format(*p) for p in atlas.positions[used] + 0.0]
    lines += [f"vt {x / WIDTH:.5f} {1 - y / HEIGHT:.5f}" for x, y in atlas.uvs[used]]
    lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*t) for t in triangles.reshape(-1, 3) + 1]
    path.write_text("\n".join(lines) + "\n")
