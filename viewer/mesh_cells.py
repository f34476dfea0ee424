"""Cuts a mesh into cells of neighbouring triangles, as a tree: the cells become the nodes of a mesh layer."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from splatlens.viewer.mesh_pieces import Doubles, Ints, Piece, areas

#: Charts of at most this share of a cell are not cut: the halves of a quad stay together and share its texels.
WHOLE_CHART = 1 / 8
#: Share of the rectangle around them that triangles fill in the texture, for them to be cut there.
FILLING = 0.5


@dataclass
class Cell:
    """Triangles `triangles` of piece `piece`, which are those of its children. first, last: its leaves are these."""

    piece: int
    triangles: Ints
    children: list[Cell] = field(default_factory=list)
    first: int = 0
    last: int = 0

    def leaves(self) -> list[Cell]:
        """Its leaves in order."""
        return [leaf for child in self.children for leaf in child.leaves()] if self.children else [self]


def charts(triangles: Ints, vertices: int) -> Ints:
    """(V,) the number of the connected part of the mesh that a vertex is in."""
    a, b = triangles[:, [0, 0]].ravel(), triangles[:, 1:].ravel()
    graph = coo_matrix((np.ones(len(a), np.bool_), (a, b)), shape=(vertices, vertices))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


@dataclass(frozen=True)
class _Triangles:
    """Of each triangle of a piece: middle (T, 3), texel (T, 2) middle in its texture, flat (T,) its area there, cost
    (T,), chart (T,)."""

    middle: Doubles
    texel: Doubles
    flat: Doubles
    cost: Ints
    chart: Ints

    def where(self, rows: Ints) -> Doubles:
        """Where triangles lie: in the texture if they fill a part of it, so that a cell is a rectangle there, else in
        space."""
        if len(rows) and (self.chart[rows] == self.chart[rows[0]]).all():
            at = self.texel[rows]
            side = at.max(axis=0) - at.min(axis=0)
            around = float(side[0] * side[1])
            if around > 0 and FILLING * around <= float(self.flat[rows].sum()) <= 2 * around:
                return at
        return self.middle[rows]


def cells(piece: Piece, number: int, cost: Ints, capacity: int, branching: int) -> Cell:
    """The tree of cells of a piece: leaves of about `capacity` of `cost` (T,), at most `branching` children each."""
    t = piece.triangles
    chart = charts(t, len(piece.positions))[t[:, 0]]
    middle = piece.positions.astype(np.float64)[t].mean(axis=1)
    total = np.bincount(chart, cost)
    whole = (total <= capacity * WHOLE_CHART)[chart]
    centre = np.stack([np.bincount(chart, middle[:, k]) / np.bincount(chart).clip(1) for k in range(3)], axis=1)
    middle[whole] = centre[chart[whole]]
    texel, flat = np.zeros((len(t), 2)), np.zeros(len(t))
    if piece.uvs is not None:
        texel, flat = piece.uvs.astype(np.float64)[t].mean(axis=1), areas(piece.uvs, t)
    count = max(-(-int(cost.sum()) // capacity), 1)
    return _tree(number, np.arange(len(t)), _Triangles(middle, texel, flat, cost, chart), count, branching)


def _tree(piece: int, rows: Ints, of: _Triangles, count: int, branching: int) -> Cell:
    """A cell of `count` leaves: as few levels as they take, all about equally full."""
    cell = Cell(piece, rows)
    if count <= 1 or len(rows) < 2:
        return cell
    below = branching
    while below * branching < count:
        below *= branching
    parts = -(-count // below) if count > branching else count
    for part, share in _parts(rows, of, parts, count):
        cell.children.append(_tree(piece, part, of, share, branching))
    cell.triangles = np.concatenate([child.triangles for child in cell.children])
    return cell


def _parts(rows: Ints, of: _Triangles, parts: int, count: int) -> list[tuple[Ints, int]]:
    """Triangles cut in two across their longest side until there are `parts` parts; each with its share of leaves."""
    if parts <= 1 or len(rows) < 2:
        return [(rows, count)]
    left = parts // 2
    leaves = max(round(count * left / parts), left)
    at = of.where(rows)
    axis = int(np.argmax(at.max(axis=0) - at.min(axis=0)))
    order = np.argsort(at[:, axis], kind="stable")
    along, total = at[order, axis], np.cumsum(of.cost[rows[order]])
    cut = int(np.searchsorted(total, total[-1] * leaves / count)) + 1
    places = np.flatnonzero(along[1:] > along[:-1]) + 1
    if len(places):
        cut = int(places[np.argmin(np.abs(places - cut))])
    cut = min(max(cut, 1), len(rows) - 1)  # where all lie at one point, any cut will do
    low = _parts(np.sort(rows[order[:cut]]), of, left, leaves)
    return low + _parts(np.sort(rows[order[cut:]]), of, parts - left, count - leaves)
