"""Surfaces as pieces for the builder of meshes: what draws nothing is dropped, equal vertices are one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splatlens.viewer.errors import LensError
from splatlens.viewer.mesh import Look, Surface
from splatlens.viewer.mesh_footprint import touched
from splatlens.viewer.mesh_pieces import Doubles, Flags, Floats, Ints, Piece, Textures, areas, same_rows

#: Texels that an edge covers at most before it is halved: so large triangles fit into nodes.
MAX_EDGE = 96.0
#: Triangles that cutting large ones may add: those of some 4e9 texels.
MAX_PARTS = 4_000_000
#: Texels from the texture at which uvs are no longer believed.
MAX_UV = 1 << 20
#: Marks of texels.
TOUCHED, FULL = np.uint8(1), np.uint8(2)


@dataclass(frozen=True)
class Cleaned:
    """pieces: the textured one and the one with bytes at its vertices, where there are such. cost: for each of them,
    (T,) texels that its triangles touch, 0 for those with vertex bytes. degenerate, empty: triangles dropped for having
    no area, and for having only empty texels. texels: that are touched and filled, each counted once."""

    pieces: tuple[Piece, ...]
    cost: tuple[Ints, ...]
    textures: Textures
    degenerate: int
    empty: int
    texels: int


def clean(surfaces: Sequence[Surface], look: Look) -> Cleaned:
    """The triangles that draw something. Raises LensError."""
    check(surfaces, look)
    textures = Textures([s.texels for s in surfaces], look.channels, look.empty)
    pieces, costs, degenerate, empty, texels = [], [], 0, 0, 0
    for textured in (True, False):
        chosen = [i for i, s in enumerate(surfaces) if (s.texels is not None) == textured and len(s.triangles)]
        if not chosen:
            continue
        raw = _together(surfaces, chosen)
        solid = (areas(raw.positions, raw.triangles) > 0) & _distinct(raw.triangles)
        degenerate += int((~solid).sum())
        piece = _without_copies(raw.of(raw.triangles[solid]))
        cost = np.zeros(len(piece.triangles), np.int64)
        if textured:
            piece, parent = _halved(piece)
            cost, filled, texels = _texels(piece, textures, look)
            shown = np.bincount(parent, filled) > 0
            empty += int((~shown).sum())
            cost, piece = cost[filled], piece.of(piece.triangles[filled])
        if len(piece.triangles):
            pieces.append(piece)
            costs.append(cost)
    if not pieces:
        dropped = f"{degenerate} triangles have no area, {empty} only empty texels"
        raise LensError(f"mesh: there is nothing to draw ({dropped})")
    places = same_rows(np.concatenate([p.positions for p in pieces]))[1]
    for i, piece in enumerate(pieces):
        first = sum(len(p.positions) for p in pieces[:i])
        pieces[i] = _placed(piece, places[first : first + len(piece.positions)])
    return Cleaned(tuple(pieces), tuple(costs), textures, degenerate, empty, texels)


def check(surfaces: Sequence[Surface], look: Look) -> None:
    """Raises LensError for what cannot be drawn: positions and uvs that are no numbers, channels that do not fit."""
    for i, surface in enumerate(surfaces):
        where = f"mesh: surface {i}" if len(surfaces) > 1 else "mesh"
        if surface.channels != look.channels:
            raise LensError(f"{where} carries {surface.channels} channels; its look has {look.channels}")
        used = np.zeros(len(surface.positions), np.bool_)
        used[surface.triangles] = True
        bad = np.flatnonzero(used & ~np.isfinite(surface.positions).all(axis=1))
        if len(bad):
            raise LensError(f"{where}: {len(bad)} positions are not finite numbers, the first is vertex {bad[0]}")
        if surface.values is not None and len(surface.values) != len(surface.positions):
            raise LensError(f"{where}: {len(surface.values)} vertex values for {len(surface.positions)} vertices")
        if surface.uvs is None or surface.texels is None:
            continue
        if surface.uvs.shape != (len(surface.positions), 2):
            raise LensError(f"{where}: uvs {surface.uvs.shape} for {len(surface.positions)} vertices")
        if not (surface.texels.ndim == 3 and min(surface.texels.shape)):
            raise LensError(f"{where}: texels {surface.texels.shape}; expected (height, width, channels)")
        bad = np.flatnonzero(used & ~(np.abs(surface.uvs) < MAX_UV).all(axis=1))
        if len(bad):
            raise LensError(f"{where}: {len(bad)} uvs are not numbers below {MAX_UV}, the first is vertex {bad[0]}")


def _together(surfaces: Sequence[Surface], chosen: Sequence[int]) -> Piece:
    """The chosen surfaces, all of one kind, as one piece; place and origin are not yet known."""
    parts = [surfaces[i] for i in chosen]
    offsets = np.cumsum([0] + [len(s.positions) for s in parts])
    triangles = np.concatenate([s.triangles.astype(np.int64) + o for s, o in zip(parts, offsets[:-1], strict=True)])
    positions = np.concatenate([s.positions for s in parts]).astype(np.float32)
    place = np.zeros(len(positions), np.int64)
    if parts[0].values is not None:
        values = np.concatenate([s.values for s in parts if s.values is not None])
        return Piece(positions, triangles, place, values=values)
    uvs = np.concatenate([s.uvs for s in parts if s.uvs is not None]).astype(np.float32)
    source = np.repeat(np.array(chosen, np.int64), np.diff(offsets))
    return Piece(positions, triangles, place, uvs, source, place)


def _distinct(t: Ints) -> Flags:
    return np.asarray((t[:, 0] != t[:, 1]) & (t[:, 1] != t[:, 2]) & (t[:, 2] != t[:, 0]))


def _without_copies(piece: Piece) -> Piece:
    """Vertices that are equal in all they carry become one: what is left apart is a seam."""
    carried = [c for c in (piece.uvs, piece.source, piece.values) if c is not None]
    kept, group = same_rows(piece.positions, *carried)
    order = np.argsort(kept, kind="stable")  # vertices stay in the order of the input
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    one = piece.vertices(kept[order])
    return Piece(one.positions, rank[group][piece.triangles], one.place, one.uvs, one.source, one.origin, one.values)


def _halved(piece: Piece) -> tuple[Piece, Ints]:
    """Edges of more than MAX_EDGE texels halved until none is left, and the triangle that each comes from.

    An edge is halved by its ends alone, and on all sides of it that any of its triangles wants it on: no cracks.
    """
    assert piece.uvs is not None and piece.source is not None
    positions, uvs, source, t = piece.positions, piece.uvs, piece.source, piece.triangles
    parent = np.arange(len(t))
    sides = np.linalg.norm(uvs[t].astype(np.float64) - uvs[np.roll(t, -1, axis=1)], axis=2).max(axis=1) / MAX_EDGE
    parts = float(np.maximum(sides, 8 * areas(uvs, t) / MAX_EDGE**2).sum())
    if parts > len(t) + MAX_PARTS:
        raise LensError(f"mesh: its triangles cover {areas(uvs, t).sum():.3g} texels, too many; are its uvs in texels?")
    while True:
        place = same_rows(positions)[1]
        ends = np.stack([t, np.roll(t, -1, axis=1)], axis=2)  # (T, 3, 2): edge k from corner k to the next
        length = np.linalg.norm(uvs[ends[..., 0]].astype(np.float64) - uvs[ends[..., 1]], axis=2)
        where = np.sort(place[ends], axis=2).reshape(-1, 2)
        _, edge = same_rows(where)
        long = np.bincount(edge, (length > MAX_EDGE).ravel()) > 0
        cut = long[edge].reshape(-1, 3)
        if not cut.any():
            break
        # One vertex in the middle of each edge that is cut, shared by triangles that share both its ends.
        ordered = np.sort(ends, axis=2).reshape(-1, 2)
        first, group = same_rows(ordered)
        a, b = ordered[first].T
        used = np.zeros(len(first), np.bool_)
        used[group[cut.ravel()]] = True
        middle = np.where(used, np.cumsum(used) - 1 + len(positions), -1)[group].reshape(-1, 3)
        a, b = a[used], b[used]
        positions = np.concatenate([positions, _mean(positions, a, b)])
        uvs = np.concatenate([uvs, _mean(uvs, a, b)])
        source = np.concatenate([source, source[a]])
        t, parent = _cut_triangles(t, middle, cut, parent)
    same = np.zeros(len(positions), np.int64)
    return Piece(positions, t, same, uvs, source, same), parent


def _mean(rows: Floats, a: Ints, b: Ints) -> Floats:
    return np.asarray((rows[a].astype(np.float64) + rows[b]) / 2, np.float32)


def _cut_triangles(t: Ints, m: Ints, cut: Flags, parent: Ints) -> tuple[Ints, Ints]:
    """Triangles with the middles (T, 3) of their cut edges put in: two, three or four of each."""
    out, parents = [t[~cut.any(axis=1)]], [parent[~cut.any(axis=1)]]
    for pattern in range(1, 8):
        flags = np.array([(pattern >> k) & 1 for k in range(3)], np.bool_)
        rows = (cut == flags).all(axis=1)
        if not rows.any():
            continue
        # Turned so that a lone cut edge is the first, a lone whole edge the last.
        turn = {1: 0, 2: 1, 4: 2, 3: 0, 6: 1, 5: 2, 7: 0}[pattern]
        (a, b, c), (p, q, r) = np.roll(t[rows], -turn, axis=1).T, np.roll(m[rows], -turn, axis=1).T
        if flags.sum() == 1:
            new = [(a, p, c), (p, b, c)]
        elif flags.sum() == 2:
            new = [(p, b, q), (a, p, q), (a, q, c)]
        else:
            new = [(a, p, r), (p, b, q), (r, q, c), (p, q, r)]
        out += [np.stack(corners, axis=1) for corners in new]
        parents += [parent[rows]] * len(new)
    everything, origin = np.concatenate(out), np.concatenate(parents)
    order = np.argsort(origin, kind="stable")
    return everything[order], origin[order]


def _texels(piece: Piece, textures: Textures, look: Look) -> tuple[Ints, Flags, int]:
    """(T,) texels touched, those that several touch shared out; whether one is filled; how many filled ones in all."""
    assert piece.uvs is not None and piece.source is not None
    cost, filled = np.zeros(len(piece.triangles), np.int64), np.zeros(len(piece.triangles), np.bool_)
    seen = [None if t is None else np.zeros(t.shape[:2], np.uint8) for t in textures.texels]
    corners: Doubles = piece.uvs.astype(np.float64)[piece.triangles]
    source = piece.source[piece.triangles[:, 0]]
    for triangle, x, y in touched(corners, look.filter):
        there = textures.filled(source[triangle], x, y)
        cost += np.bincount(triangle, minlength=len(cost))
        filled[triangle[there]] = True
        for s in np.unique(source[triangle]):
            mark = seen[s]
            assert mark is not None
            h, w = mark.shape
            for rows, flag in ((source[triangle] == s, TOUCHED), (there & (source[triangle] == s), FULL)):
                mark[np.clip(y[rows], 0, h - 1), np.clip(x[rows], 0, w - 1)] |= flag
    marks = [m for m in seen if m is not None]
    share = min(sum(int(np.count_nonzero(m)) for m in marks) / max(int(cost.sum()), 1), 1.0)
    return np.ceil(cost * share).astype(np.int64), filled, sum(int(np.count_nonzero(m & FULL)) for m in marks)


def _placed(piece: Piece, place: Ints) -> Piece:
    """With what only the whole input can say of its vertices."""
    origin = np.arange(len(place)) if piece.textured else None
    return Piece(piece.positions, piece.triangles, place, piece.uvs, piece.source, origin, piece.values)
