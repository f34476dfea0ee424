"""The sample's meshes: the analytic scene's solids over even grids, each with rectangles of an image of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.samples.fields import scene, shapes
from splatlens.viewer.mesh import Surface

#: Side of the images.
SIDE = 576


@dataclass(frozen=True)
class Chart:
    """Where a solid lies in its cascade's image, and what its mesh has.

    size: width and height of its whole texture, texels; at: where the first of its strips starts. Strips are as many
    parts of the texture along u, one below the other: of 8 texels' multiples, so that no block of a JPEG has two.
    pieces: of the mesh along u and v. top: where v starts, for what nothing covers.
    """

    solid: str
    size: tuple[int, int]
    at: tuple[int, int]
    pieces: tuple[int, int]
    strips: int = 1
    top: float = 0.0

    @property
    def shape(self) -> shapes.Shape:
        return next(s.shape for s in scene.SOLIDS if s.name == self.solid)

    @property
    def rectangles(self) -> list[tuple[slice, slice]]:
        """Rows and columns of the image, a pair for each strip."""
        (width, height), (x, y) = self.size, self.at
        across = slice(x, x + width // self.strips)
        return [(slice(y + i * height, y + (i + 1) * height), across) for i in range(self.strips)]

    def normals(self) -> NDArray[np.float64]:
        """(height, width, 3) of the solid at the texels' middles."""
        width, height = self.size
        u, v = np.meshgrid((np.arange(width) + 0.5) / width, np.linspace(self.top, 1, height))
        return self.shape.normal_at(u.ravel(), v.ravel()).reshape(height, width, 3)

    def meshes(self) -> list[Surface]:
        """One for each strip; uvs from the middle of its first texel to that of its last: no others are looked up."""
        (width, height), (across, down) = self.size, self.pieces
        v = np.linspace(self.top, 1, down + 1)
        parts = []
        for i, (rows, columns) in enumerate(self.rectangles):
            u = np.linspace(i, i + 1, across // self.strips + 1) / self.strips
            positions, triangles, coordinates, _ = shapes.grid(self.shape, u, v)
            share = np.stack([coordinates[:, 0] * self.strips - i, (coordinates[:, 1] - self.top) / (1 - self.top)], 1)
            uvs = np.array([columns.start, rows.start]) + 0.5 + share * (width // self.strips - 1, height - 1)
            blank = np.zeros((SIDE, SIDE, 6), np.uint8)
            parts.append(Surface(np.round(positions, 4).astype(np.float32), triangles, uvs.astype(np.float32), blank))
        return parts


#: By cascade, inside and outside of the unit cube. Texels are some 0.01 across; of the ground, that nobody sees nearer
#: than 6, 0.013.
CASCADES = (
    (
        Chart("ball", (384, 192), (0, 0), (48, 24)),
        Chart("ring", (576, 56), (0, 192), (64, 12)),
        Chart("pedestal", (448, 80), (0, 248), (56, 1)),
        Chart("top", (448, 72), (0, 328), (56, 3)),
    ),
    (
        Chart("ground", (1152, 136), (0, 0), (96, 3), strips=2, top=0.29),
        Chart("ruby", (192, 96), (0, 272), (28, 14)),
        Chart("jade", (224, 112), (192, 272), (28, 14)),
        Chart("violet", (208, 104), (0, 384), (28, 14)),
    ),
)


def cascade(charts: tuple[Chart, ...]) -> Surface:
    """The mesh of a cascade; texels are blank."""
    return joined([part for chart in charts for part in chart.meshes()], 0)


def joined(parts: list[Surface], down: int) -> Surface:
    """Several as one, their images one below the other by `down` texels: SIDE, or 0 where they are the same."""
    counts = np.cumsum([0] + [len(p.positions) for p in parts])
    return Surface(
        np.concatenate([p.positions for p in parts]),
        np.concatenate([p.triangles + n for p, n in zip(parts, counts, strict=False)]).astype(np.int32),
        np.concatenate([p.uvs + np.float32([0, down * i]) for i, p in enumerate(parts) if p.uvs is not None]),
        np.zeros((SIDE + down * (len(parts) - 1), SIDE, 6), np.uint8),
    )
