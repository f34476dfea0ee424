"""The sample's quads: flat patches of 17 x 17 texels around the analytic scene's solids, as MobileNeRF's planes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.samples.fields import scene, shapes
from splatlens.viewer.mesh import Surface

F64 = NDArray[np.float64]
#: Texels along a patch's side, and patches a row of the image (jax3d, mobilenerf/stage3.py: out_cell_size).
SIDE, PER_ROW = 17, 30
#: Pieces along u and v of the curved solids, by name, and the side of the squares that discs are cut of, units.
PIECES = {"ball": (16, 8), "ring": (26, 6), "pedestal": (20, 3), "ruby": (10, 5), "jade": (10, 5), "violet": (10, 5)}
SQUARES = {"ground": 0.32, "top": 0.29}
#: Corners stand off curved solids by this share of what the chords between them lie inside by: half in, half out.
LIFT = 0.5


@dataclass(frozen=True)
class Quads:
    """corners (Q, 4, 3): 0 and 1 along the patch's v, 0 and 2 along its u, 3 across. normals: of the solids there."""

    corners: F64
    normals: F64

    def surface(self, texels: NDArray[np.uint8]) -> Surface:
        """The mesh with its image, patch k in column k % PER_ROW and row k // PER_ROW."""
        count = len(self.corners)
        triangles = (np.arange(count)[:, None, None] * 4 + np.array([[0, 1, 3], [0, 3, 2]])).reshape(-1, 3)
        uvs = patch_uvs(count).astype(np.float32).reshape(-1, 2)
        positions = self.corners.reshape(-1, 3).astype(np.float32)
        return Surface(positions, triangles.astype(np.int32), uvs, texels)


def image_size(count: int) -> tuple[int, int]:
    """Height and width of the image of so many patches."""
    return -(-count // PER_ROW) * SIDE, PER_ROW * SIDE


def patch_uvs(count: int) -> F64:
    """(count, 4, 2) texel coordinates of patches' corners: middles of their first and last texels."""
    k = np.arange(count)
    first = np.stack([k % PER_ROW, k // PER_ROW], axis=1)[:, None] * SIDE + 0.5
    return first + np.array([[0, 0], [0, 1], [1, 0], [1, 1]]) * (SIDE - 1)


def quads() -> Quads:
    """All of them: of curved solids by their coordinates, of discs squares that reach past the rim."""
    parts = []
    for solid in scene.SOLIDS:
        if solid.name in SQUARES:
            parts.append(_squares(solid.shape, SQUARES[solid.name]))
        else:
            parts.append(_around(solid.shape, *PIECES[solid.name]))
    return Quads(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _squares(disc: shapes.Shape, side: float) -> tuple[F64, F64]:
    assert isinstance(disc, shapes.Disc)
    count = int(np.ceil(2 * disc.radius / side))
    edge = (np.arange(count + 1) - count / 2) * side
    x, y = (a.ravel() for a in np.meshgrid(edge[:-1], edge[:-1]))
    corners = np.stack([np.stack([x + i * side, y + j * side, np.full(len(x), disc.z)], 1)
                        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))], axis=1)  # fmt: skip
    nearest = np.maximum(np.abs(corners.mean(axis=1)[:, :2]) - side / 2, 0)
    corners = corners[np.hypot(*nearest.T) < disc.radius]
    return corners, np.broadcast_to((0.0, 0.0, 1.0), corners.shape)


def _around(shape: shapes.Shape, across: int, down: int) -> tuple[F64, F64]:
    v, u = (a.ravel() for a in np.meshgrid(np.arange(down), np.arange(across), indexing="ij"))
    middle = (u + 0.5) / across, (v + 0.5) / down
    ends = [((u + i) / across, (v + j) / down) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))]
    corners = np.stack([shape.place(*at) for at in ends], axis=1)
    inside = np.sum(shape.normal_at(*middle) * (shape.place(*middle) - corners.mean(axis=1)), axis=1)
    # All by the same, or neighbours would part.
    normals = np.stack([shape.normal_at(*at) for at in ends], axis=1)
    return corners + LIFT * inside.max() * normals, normals
