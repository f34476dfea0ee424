"""Cuts off the empty outer parts of small charts, so that they need no texels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splatlens.viewer.mesh_pieces import Doubles, Flags, Ints, Piece, ragged, same_rows, sound

#: Charts of at most so many triangles are cut: those of methods that give each quad a patch of its own.
SMALL_CHART = 4
#: u32 that a cut must save: it adds a vertex or two, of five, and half as many triangles.
WORTH = 24
#: Texels by which a cut keeps inside of the filled ones: rounded uvs must not read beyond them (mesh_footprint.REACH).
INSIDE = 2**-9


def trimmed(piece: Piece, label: Ints, cells: tuple[Ints, Ints, Ints], there: Flags, words: int) -> Piece:
    """The piece with the triangles of its small charts cut to the rectangle of texels that are there.

    label (V,): charts. cells: chart, x, y of the texels that they touch; there: which of them are filled. words: u32 a
    texel. Planes, uvs and what is seen at any point stay as they are.
    """
    assert piece.uvs is not None
    chart, xy = cells[0], np.stack(cells[1:], axis=1)
    n = int(label.max()) + 1
    low, high = np.full((n, 2), 1 << 40), np.full((n, 2), -(1 << 40))
    np.minimum.at(low, chart[there], xy[there])
    np.maximum.at(high, chart[there], xy[there])
    outside = ((xy < low[chart]) | (xy > high[chart])).any(axis=1)
    of = label[piece.triangles[:, 0]]
    small = np.bincount(of, minlength=n) <= SMALL_CHART
    worth = np.bincount(chart[outside], minlength=n) * words >= WORTH
    cut = (small & worth)[of]
    if not cut.any():
        return piece
    carried = np.concatenate([piece.positions, piece.uvs], axis=1).astype(np.float64)
    polygons, count = carried[piece.triangles[cut]], np.full(int(cut.sum()), 3)
    for axis in (0, 1):
        for sign, edge in ((1.0, low[of[cut], axis] + INSIDE), (-1.0, high[of[cut], axis] + 1 - INSIDE)):
            polygons, count = _cut(polygons, count, sign * (polygons[..., 3 + axis] - edge[:, None]))
    # Polygons as fans; corners in the order of the polygons, so that equal ones can be made one.
    owner, index = ragged(count)
    corners = polygons[owner, index].astype(np.float32)
    begin = np.cumsum(count) - count
    fan, k = ragged(np.maximum(count - 2, 0))
    triangles = begin[fan, None] + np.stack([np.zeros_like(k), k + 1, k + 2], axis=1)
    first = piece.triangles[cut][owner, 0]
    kept, group = same_rows(corners, label[first])
    added = replace(piece.vertices(first[kept]), positions=corners[kept, :3], uvs=corners[kept, 3:])
    rest = len(piece.positions)
    triangles = np.concatenate([piece.triangles[~cut], group[triangles] + rest])
    return sound(replace(piece.beside(added), triangles=triangles))


def _cut(polygons: Doubles, count: Ints, side: Doubles) -> tuple[Doubles, Ints]:
    """(n, m, 5) polygons of `count` corners cut where `side` (n, m) is negative (Sutherland and Hodgman 1974)."""
    n, m, _ = polygons.shape
    rows, k = np.arange(n)[:, None], np.arange(m)[None, :]
    real = k < count[:, None]
    after = np.where(k + 1 < count[:, None], k + 1, 0)
    inside = (side >= 0) & real
    other, there = polygons[rows, after], side[rows, after]
    crosses = real & (inside != (inside[rows, after]))
    t = np.where(crosses, side / np.where(crosses, side - there, 1), 0)
    between = polygons + (other - polygons) * t[..., None]
    emitted = np.stack([inside, crosses], axis=2).reshape(n, 2 * m)
    out = np.zeros((n, m + 1, polygons.shape[2]))
    at = np.cumsum(emitted, axis=1) - 1
    row, column = np.nonzero(emitted)
    out[row, at[row, column]] = np.stack([polygons, between], axis=2).reshape(n, 2 * m, -1)[row, column]
    return out, emitted.sum(axis=1)
