"""Builds the levels of detail of a mesh: a tree of nodes, each a surface of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from splatlens.viewer.mesh import Look, MeshNodes, MeshTree, Surface, words_of
from splatlens.viewer.mesh_atlas import full_surface, reduced_surface
from splatlens.viewer.mesh_bake import baked
from splatlens.viewer.mesh_cells import Cell, cells
from splatlens.viewer.mesh_clean import Cleaned, clean
from splatlens.viewer.mesh_distance import Surfaces, apart
from splatlens.viewer.mesh_pieces import Doubles, Flags, Ints, Piece, areas, joined, welded
from splatlens.viewer.mesh_simplify import bounded, simplified

#: u32 that a leaf takes on the GPU, about, with texels and without.
TEXTURED_WORDS, PLAIN_WORDS = 16_384, 8_192
#: u32 of an inner node at most, where locked vertices allow it: 128 KiB.
NODE_WORDS = 32_768
#: Children of a node with texels, and of one without: by so many triangles and texels become fewer from level to level.
TEXTURED_BRANCHING, PLAIN_BRANCHING = 16, 8
#: Mean difference of vertex bytes, in steps of 1/255, that is as bad as the vertices' whole spacing: 36 dB.
BYTES_SEEN = 4.0

#: Triangles left for one wanted, from which on vertices that only differ in their bytes are made one.
SEAMS_STOP = 1.25

Progress = Callable[[float], None]


@dataclass(frozen=True)
class BuildReport:
    """What became of the input. degenerate, empty: triangles dropped for having no area, or only empty texels.
    triangles: that are left, in all leaves. texels: those that they touch and that are filled, each once."""

    degenerate: int
    empty: int
    triangles: int
    texels: int


@dataclass
class Node:
    """A node of the tree while it is built. part: its piece. error: of itself, layer units; of which `moved` is how far
    its surface is from the full one. scale: of its texels, 0 where it has bytes at its vertices."""

    part: Piece
    surface: Surface
    error: float
    moved: float
    scale: float
    cell: Cell
    children: list[Node]


def build_mesh(surfaces: Sequence[Surface], look: Look, progress: Progress | None = None) -> MeshTree:
    """The mesh with its levels of detail. progress: called with 0..1.

    Leaves hold the triangles as they are, with the texels that can be seen of them, unchanged. Raises LensError for
    positions and uvs that are not finite, channels that do not fit the look, and where nothing is left to draw.
    """
    return build_mesh_report(surfaces, look, progress)[0]


def build_mesh_report(
    surfaces: Sequence[Surface], look: Look, progress: Progress | None = None
) -> tuple[MeshTree, BuildReport]:
    """The same, and what became of the input."""
    tell = progress or (lambda share: None)
    tell(0.0)
    cleaned = clean(surfaces, look)
    tell(0.1)
    builder = _Builder(cleaned, look, lambda share: tell(0.1 + 0.9 * share))
    tree = builder.tree()
    tell(1.0)
    triangles = sum(len(p.triangles) for p in cleaned.pieces)
    return tree, BuildReport(cleaned.degenerate, cleaned.empty, triangles, cleaned.texels)


class _Builder:
    """One run of build_mesh."""

    def __init__(self, cleaned: Cleaned, look: Look, progress: Progress) -> None:
        self.cleaned, self.look, self.progress = cleaned, look, progress
        self.words = -(-look.channels // 4)
        tops = [self._cells(i) for i in range(len(cleaned.pieces))]
        self.top = tops[0] if len(tops) == 1 else Cell(-1, np.zeros(0, np.int64), tops)
        self.leaves = self.top.leaves()
        self._number(self.top, 0)
        self._find_sharers()
        self.done = 0

    def _cells(self, i: int) -> Cell:
        """The tree of cells of one of the pieces, by what its triangles take on the GPU."""
        piece, texels = self.cleaned.pieces[i], self.cleaned.cost[i]
        # Vertices are shared by some two triangles each.
        vertex = 3 + (2 if piece.textured else self.words)
        cost = texels * self.words + -(-len(piece.positions) * vertex // len(piece.triangles)) + 2
        capacity = TEXTURED_WORDS if piece.textured else PLAIN_WORDS
        return cells(piece, i, cost, capacity, TEXTURED_BRANCHING if piece.textured else PLAIN_BRANCHING)

    def _number(self, cell: Cell, first: int) -> int:
        """Gives a cell and those below it the numbers of their leaves; the next free one."""
        cell.first = first
        if not cell.children:
            first += 1
        for child in cell.children:
            first = self._number(child, first)
        cell.last = first
        return first

    def _find_sharers(self) -> None:
        """The first and the last leaf that each place is in: a node may move what lies in none but its own."""
        places = 1 + max(int(p.place.max()) for p in self.cleaned.pieces)
        self.first, self.last = np.full(places, len(self.leaves)), np.full(places, -1)
        for i, leaf in enumerate(self.leaves):
            piece = self.cleaned.pieces[leaf.piece]
            used = piece.place[np.unique(piece.triangles[leaf.triangles])]
            self.first[used] = np.minimum(self.first[used], i)
            self.last[used] = np.maximum(self.last[used], i)

    def locked(self, piece: Piece, cell: Cell) -> Flags:
        """(V,) vertices that triangles outside of the cell have too."""
        known = piece.place >= 0
        out = np.zeros(len(known), np.bool_)
        place = piece.place[known]
        out[known] = (self.first[place] < cell.first) | (self.last[place] >= cell.last)
        return out

    def tree(self) -> MeshTree:
        """All nodes, and their numbers: level by level, children side by side."""
        root = self.build(self.top)
        nodes, first = [root], []
        for node in nodes:
            first.append(len(nodes) if node.children else 0)
            nodes.extend(node.children)
        return MeshTree(self._nodes(nodes, np.array(first, np.int64)), [n.surface for n in nodes], self.look)

    def _nodes(self, nodes: list[Node], first: Ints) -> MeshNodes:
        n = len(nodes)
        count = np.array([len(node.children) for node in nodes], np.int64)
        box = np.stack([[s.surface.positions.min(0), s.surface.positions.max(0)] for s in nodes]).astype(np.float64)
        page = np.zeros(n, np.int64)
        inner = np.flatnonzero(count)
        for number, i in enumerate(inner.tolist()):
            page[first[i] : first[i] + count[i]] = number + 1
        for i in inner[::-1].tolist():
            below = box[first[i] : first[i] + count[i]]
            box[i] = np.minimum(box[i, 0], below[:, 0].min(0)), np.maximum(box[i, 1], below[:, 1].max(0))
        sphere = np.concatenate([box.mean(axis=1), np.zeros((n, 1))], axis=1)
        for i in range(n):
            sphere[i, 3] = max(self._reach(nodes[i], sphere[i, :3]), 0.0)
        for i in inner[::-1].tolist():
            kids = slice(first[i], first[i] + count[i])
            # What is below reaches no farther than the children's spheres, nor than the corner of the box.
            far = np.linalg.norm(sphere[kids, :3] - sphere[i, :3], axis=1) + sphere[kids, 3]
            corner = float(np.linalg.norm(box[i, 1] - box[i, 0])) / 2
            sphere[i, 3] = max(sphere[i, 3], min(float(far.max()), corner))
        error = np.array([node.error for node in nodes])
        triangles = np.array([len(node.surface.triangles) for node in nodes], np.int64)
        words = np.array([words_of(node.surface) for node in nodes], np.int64)
        return MeshNodes(first, count, error, sphere, box, triangles, words, page)

    def _reach(self, node: Node, centre: Doubles) -> float:
        return float(np.linalg.norm(node.surface.positions.astype(np.float64) - centre, axis=1).max())

    def build(self, cell: Cell) -> Node:
        """The node of a cell, with all that is below."""
        if not cell.children:
            piece = self.cleaned.pieces[cell.piece]
            part = piece.of(piece.triangles[cell.triangles])
            self.done += 1
            self.progress(self.done / len(self.leaves))
            if part.textured:
                return Node(part, full_surface(part, self.cleaned.textures, self.look), 0.0, 0.0, 1.0, cell, [])
            return Node(part, _plain(part), 0.0, 0.0, 0.0, cell, [])
        children = [self.build(child) for child in cell.children]
        node = None
        if all(child.part.textured for child in children):
            node = self.textured(cell, children)
        return node or self.plain(cell, children)

    def textured(self, cell: Cell, children: list[Node]) -> Node | None:
        """A node with larger texels; None where it would be too large, or its texels hardly more than its vertices."""
        union = joined([child.part for child in children])
        part = simplified(union, self.locked(union, cell), len(union.triangles) // TEXTURED_BRANCHING)
        expected = sum(np.prod(c.surface.texels.shape[:2]) for c in children if c.surface.texels is not None)
        if expected < len(part.positions) * TEXTURED_BRANCHING or len(part.positions) > 1 << 16:
            return None
        scale = max(child.scale for child in children) * TEXTURED_BRANCHING**0.5
        whole = self.cleaned.pieces[cell.piece]
        surface = reduced_surface(part, whole, cell.triangles, self.cleaned.textures, self.look, scale)
        assert surface.texels is not None
        if words_of(surface) > NODE_WORDS:
            return None
        moved = self.moved(part, union, children)
        error = max([moved, texel_size(surface) * self.look.supersample] + [child.error for child in children])
        return Node(part, surface, error, moved, scale, cell, children)

    def plain(self, cell: Cell, children: list[Node]) -> Node:
        """A node with bytes at its vertices."""
        parts = [baked(c.part, self.cleaned.textures, self.look) if c.part.textured else c.part for c in children]
        fresh = any(child.part.textured for child in children)
        if any(part.welded for part in parts):
            parts = [Piece(p.positions, p.triangles, p.place, values=p.values, welded=True) for p in parts]
        union = joined(parts)
        most = int(NODE_WORDS / ((3 + self.words) / 2 + 1.5))
        target = min(len(union.triangles) // (1 if fresh else PLAIN_BRANCHING), most)
        part = simplified(union, self.locked(union, cell), target)
        if len(part.triangles) > SEAMS_STOP * target and not union.welded:
            union = welded(union)
            part = simplified(union, self.locked(union, cell), target)
        part = bounded(part, self.locked(part, cell), NODE_WORDS, lambda p: words_of(_plain(p)))
        moved = self.moved(part, union, children)
        spacing = edge_length(part)
        blurred = 1.0 if fresh else min(difference(part, union) / BYTES_SEEN, 1.0)
        error = max([moved, spacing * blurred] + [child.error for child in children])
        return Node(part, _plain(part), error, moved, 0.0, cell, children)

    def moved(self, part: Piece, union: Piece, children: list[Node]) -> float:
        """How far the node's surface is from the full one: from its children's, and theirs from that."""
        own = 0.0
        if part is not union:
            own = apart(Surfaces(part.positions, part.triangles), Surfaces(union.positions, union.triangles))
        return own + max(child.moved for child in children)


def _plain(part: Piece) -> Surface:
    return Surface(part.positions, part.triangles.astype(np.int32), values=part.values)


def texel_size(surface: Surface) -> float:
    """Layer units that a texel is wide: more than on nine tenths of the surface."""
    assert surface.uvs is not None
    triangles = surface.triangles.astype(np.int64)
    there, texels = areas(surface.positions, triangles), areas(surface.uvs, triangles)
    return _quantile(np.sqrt(there / np.maximum(texels, 1e-9)), there, 0.9)


def edge_length(part: Piece) -> float:
    """The mean edge of triangles, of which half of the surface has shorter ones: those that are long are so because
    little changes there."""
    corners = part.positions.astype(np.float64)[part.triangles]
    edges = np.linalg.norm(corners - np.roll(corners, -1, axis=1), axis=2).mean(axis=1)
    return _quantile(edges, areas(part.positions, part.triangles), 0.5)


def _quantile(values: Doubles, weights: Doubles, share: float) -> float:
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, share * total[-1])])


def difference(part: Piece, other: Piece) -> float:
    """Root mean square difference of the bytes of two surfaces, at samples of the second; in steps of a byte."""
    assert part.values is not None and other.values is not None
    if part is other:
        return 0.0
    at = np.arange(0, len(other.positions), -(-len(other.positions) // 4096))
    triangle, weights, _ = Surfaces(part.positions, part.triangles).closest(other.positions[at].astype(np.float64))
    got = np.einsum("nk,nkc->nc", weights, part.values[part.triangles[triangle]].astype(np.float64))
    return float(np.sqrt(((got - other.values[at]) ** 2).mean()))
