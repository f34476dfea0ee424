"""Which texels triangles can touch when they are drawn: no others need be kept."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from splatlens.viewer.mesh_pieces import Doubles, Ints, ragged

#: Half the side of the square around a texel's middle from which it is read. Nearest: half a texel, and a 1,024th for
#: the rounding of interpolated uvs (float32, below 2^13 texels: 2^-11). Linear: a whole texel, less what would give
#: the texel a weight of less than 1/4,096, a sixteenth of a byte's step.
REACH = {"nearest": 0.5 + 2**-10, "linear": 1 - 2**-12}
#: Texels tried at once: some 300 MB of temporaries.
CHUNK = 1 << 20


def touched(corners: Doubles, filter: str) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(triangle, x, y) of each texel that a triangle's samples may read, in runs of triangles, ascending.

    corners: (T, 3, 2) uvs in texels. A texel is touched where its square (REACH) and the triangle overlap: by the
    separating axes of the two, which are x, y and the normals of the three edges.
    """
    reach = REACH[filter]
    low = np.ceil(corners.min(axis=1) - reach - 0.5).astype(np.int64)
    size = np.floor(corners.max(axis=1) + reach - 0.5).astype(np.int64) - low + 1
    counts = size[:, 0] * size[:, 1]
    begin = 0
    while begin < len(corners):
        total = np.cumsum(counts[begin : begin + CHUNK])
        end = begin + max(int(np.searchsorted(total, CHUNK, side="right")), 1)
        yield _overlaps(corners[begin:end], low[begin:end], size[begin:end], reach, begin)
        begin = end


def _overlaps(corners: Doubles, low: Ints, size: Ints, reach: float, begin: int) -> tuple[Ints, Ints, Ints]:
    owner, index = ragged(size[:, 0] * size[:, 1])
    x, y = low[owner, 0] + index % size[owner, 0], low[owner, 1] + index // size[owner, 0]
    edge = np.roll(corners, -1, axis=1) - corners
    area = edge[:, 0, 0] * edge[:, 1, 1] - edge[:, 0, 1] * edge[:, 1, 0]
    good = np.ones(len(owner), np.bool_)
    for k in range(3):
        # Distance of the texel's middle from the edge, times its length, positive inside; linear in x and y.
        nx, ny = -edge[:, k, 1] * np.sign(area), edge[:, k, 0] * np.sign(area)
        flat = area == 0
        nx[flat], ny[flat] = -edge[flat, k, 1], edge[flat, k, 0]
        at = nx * (0.5 - corners[:, k, 0]) + ny * (0.5 - corners[:, k, 1])
        slack = reach * (np.abs(nx) + np.abs(ny))
        inside = nx[owner] * x + ny[owner] * y + at[owner]
        good &= inside >= -slack[owner]
        if flat.any():
            good &= ~flat[owner] | (inside <= slack[owner])
    return owner[good] + begin, x[good], y[good]
