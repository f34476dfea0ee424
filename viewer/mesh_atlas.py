"""A piece of a textured mesh as a surface with a texel atlas of its own, at full or at reduced resolution."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from splatlens.viewer.mesh import Look, Surface
from splatlens.viewer.mesh_cells import charts
from splatlens.viewer.mesh_footprint import touched
from splatlens.viewer.mesh_packing import pack
from splatlens.viewer.mesh_pieces import Bytes, Doubles, Ints, Piece, Textures
from splatlens.viewer.mesh_trim import trimmed

#: Texels by which a reduced chart stays inside its texels: uvs at the very edge must not round into a neighbour's.
INSET = 1 / 64


@dataclass(frozen=True)
class Cells:
    """Texels of charts, each once, by chart, y, x: chart, x, y (n,)."""

    chart: Ints
    x: Ints
    y: Ints

    @staticmethod
    def of(chart: Ints, x: Ints, y: Ints) -> Cells:
        """Each once, sorted."""
        low = x.min(), y.min()
        w, h = int(x.max() - low[0]) + 1, int(y.max() - low[1]) + 1
        key = np.sort((chart * h + (y - low[1])) * w + (x - low[0]))
        key = key[np.concatenate([[True], key[1:] > key[:-1]])]
        return Cells(key // (w * h), key % w + low[0], key // w % h + low[1])


def footprint(corners: Doubles, chart: Ints, filter: str) -> Cells:
    """The texels that triangles with these corners (T, 3, 2), of these charts (T,), can touch."""
    parts = [Cells.of(chart[t], x, y) for t, x, y in touched(corners, filter) if len(t)]
    whole = (np.concatenate([getattr(p, n) for p in parts]) for n in ("chart", "x", "y"))
    return Cells.of(*whole) if len(parts) > 1 else parts[0]


def full_surface(piece: Piece, textures: Textures, look: Look) -> Surface:
    """The piece with the texels that it can touch, unchanged; uvs are moved by whole texels.

    Where a nearest texel is empty its other channels are 0, and small charts are cut to where texels are filled.
    """
    if look.empty is not None and look.filter == "nearest":
        label, cells, bytes_ = _touched(piece, textures, look)
        there = bytes_[:, look.empty] > 0
        piece = trimmed(piece, label, (cells.chart, cells.x, cells.y), there, -(-look.channels // 4))
    label, cells, bytes_ = _touched(piece, textures, look)
    if look.empty is not None and look.filter == "nearest":
        bytes_[bytes_[:, look.empty] == 0] = 0
    assert piece.uvs is not None
    return laid_out(piece, label, piece.uvs.astype(np.float64), cells, bytes_)


def _touched(piece: Piece, textures: Textures, look: Look) -> tuple[Ints, Cells, Bytes]:
    """(charts of the vertices, texels that triangles can touch, their bytes)."""
    assert piece.uvs is not None and piece.source is not None
    label = charts(piece.triangles, len(piece.positions))
    cells = footprint(piece.uvs.astype(np.float64)[piece.triangles], label[piece.triangles[:, 0]], look.filter)
    source = np.zeros(int(label.max()) + 1, np.int64)
    source[label] = piece.source
    return label, cells, textures.read(source[cells.chart], cells.x, cells.y)


def laid_out(piece: Piece, label: Ints, uvs: Doubles, cells: Cells, bytes_: Bytes) -> Surface:
    """A surface of texels `cells` with `bytes_` (n, C); label (V,): charts of its vertices, whose uvs are in their own
    texels."""
    names, inverse = np.unique(cells.chart, return_inverse=True)
    low = np.stack([np.full(len(names), 1 << 40), np.full(len(names), 1 << 40)])
    high = -low
    for k, at in enumerate((cells.x, cells.y)):
        np.minimum.at(low[k], inverse, at)
        np.maximum.at(high[k], inverse, at)
    size = high - low + 1
    columns = np.concatenate([[0], np.cumsum(size[0])])
    first, last = np.full(columns[-1], 1 << 40), np.full(columns[-1], -1)
    column = columns[inverse] + cells.x - low[0, inverse]
    np.minimum.at(first, column, cells.y - low[1, inverse])
    np.maximum.at(last, column, cells.y - low[1, inverse])
    nothing = last < 0  # a column between two parts of a chart
    first[nothing], last[nothing] = 0, 0
    outlines = [np.stack([first[a:b], last[a:b]]) for a, b in pairwise(columns)]
    x, y, width, height = pack(outlines, (size[0], size[1]))
    shift = np.stack([x, y]) - low
    texels = np.zeros((height, width, bytes_.shape[1]), np.uint8)
    texels[cells.y + shift[1, inverse], cells.x + shift[0, inverse]] = bytes_
    place = np.zeros((2, int(label.max()) + 1), np.int64)
    place[:, names] = shift
    moved = np.asarray(uvs + place[:, label].T, np.float32)
    return Surface(piece.positions, piece.triangles.astype(np.int32), uvs=moved, texels=texels)


def reduced_surface(
    piece: Piece, whole: Piece, rows: Ints, textures: Textures, look: Look, scale: float
) -> Surface:
    """The piece with texels `scale` times as large.

    piece: simplified from triangles `rows` of `whole`. Each texel is the mean of those that the original triangles can
    touch, there are and lie in it; it is empty where more of them are empty than not.
    """
    assert piece.uvs is not None and piece.origin is not None and whole.uvs is not None and whole.source is not None
    used, local = np.unique(whole.triangles[rows], return_inverse=True)
    t = local.reshape(-1, 3)
    label = charts(t, len(used))
    corners = whole.uvs[used].astype(np.float64)[t]
    chart, n = label[t[:, 0]], int(label.max()) + 1
    low, high = np.full((n, 2), np.inf), np.full((n, 2), -np.inf)
    np.minimum.at(low, chart, corners.min(axis=1))
    np.maximum.at(high, chart, corners.max(axis=1))
    extent = np.where(high > low, high - low, 1.0)
    count = np.maximum(np.rint(extent / scale), 1).astype(np.int64)
    linear = look.filter == "linear"

    def reduce(uvs: Doubles, c: Ints) -> Doubles:
        """Linear: the chart's edge is the middle of its outer texels, which no neighbour then reaches."""
        return np.asarray((uvs - low[c]) / extent[c] * count[c] + (0.5 if linear else 0))

    mine = label[np.searchsorted(used, piece.origin)]
    uvs = reduce(piece.uvs.astype(np.float64), mine)
    edge = count[mine] + (0.5 if linear else 0)
    inset = 0.5 if linear else INSET
    uvs = np.clip(uvs, inset, np.maximum(edge - (0 if linear else INSET), inset))
    sizes = count + (1 if linear else 0)
    start = np.concatenate([[0], np.cumsum(sizes[:, 0] * sizes[:, 1])])
    total, filled, sums = np.zeros(start[-1]), np.zeros(start[-1]), np.zeros((start[-1], look.channels))
    source = np.zeros(n, np.int64)
    source[label] = whole.source[used]
    cells = footprint(corners, chart, "nearest")
    bytes_ = textures.read(source[cells.chart], cells.x, cells.y)
    there = np.ones(len(bytes_), np.bool_) if look.empty is None else bytes_[:, look.empty] > 0
    # A texel is four samples, a quarter of a texel from its middle: it may lie in two reduced ones.
    for dx, dy in ((0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)):
        at = np.floor(reduce(np.stack([cells.x + dx, cells.y + dy], axis=1), cells.chart)).astype(np.int64)
        at = np.clip(at, 0, sizes[cells.chart] - 1)
        key = start[cells.chart] + at[:, 1] * sizes[cells.chart, 0] + at[:, 0]
        total += np.bincount(key, minlength=len(total))
        filled += np.bincount(key[there], minlength=len(total))
        for k in range(look.channels):
            sums[:, k] += np.bincount(key[there], bytes_[there, k], len(total))
    wanted = footprint(uvs[piece.triangles], mine[piece.triangles[:, 0]], look.filter)
    inside = (wanted.x >= 0) & (wanted.y >= 0)
    inside &= (wanted.x < sizes[wanted.chart, 0]) & (wanted.y < sizes[wanted.chart, 1])
    wanted = Cells(wanted.chart[inside], wanted.x[inside], wanted.y[inside])
    known = _nearest_known(wanted, total, start, sizes)
    out = np.rint(sums[known] / np.maximum(filled[known], 1)[:, None]).astype(np.uint8)
    if look.empty is not None:
        out[:, look.empty] = np.maximum(out[:, look.empty], 1)
        out[filled[known] * 2 < total[known]] = 0
    return laid_out(piece, mine, uvs, wanted, out)


def _nearest_known(wanted: Cells, total: Doubles, start: Ints, sizes: Ints) -> Ints:
    """For each texel that is wanted, itself, or the nearest one of its chart that the original triangles touch."""
    own: Ints = start[wanted.chart] + wanted.y * sizes[wanted.chart, 0] + wanted.x
    missing = np.flatnonzero(total[own] == 0)
    for chart in np.unique(wanted.chart[missing]):
        rows = missing[wanted.chart[missing] == chart]
        known = np.flatnonzero(total[start[chart] : start[chart + 1]] > 0)
        x, y = known % sizes[chart, 0], known // sizes[chart, 0]
        far = (wanted.x[rows, None] - x) ** 2 + (wanted.y[rows, None] - y) ** 2
        own[rows] = start[chart] + known[np.argmin(far, axis=1)]
    return own
