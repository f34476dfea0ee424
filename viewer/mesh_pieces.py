"""What the builder of meshes works on: vertices that remember where they come from, and how pieces are put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Piece:
    """A part of a mesh, V vertices and T triangles.

    positions (V, 3), triangles (T, 3): layer units, rows of positions. place (V,): number of the input's position that
    a vertex still has, -1 where simplification has moved it. uvs (V, 2) and source (V,): where in the texels of which
    input surface, in that surface's full-size texels; origin (V,): a vertex of the input in the same chart. values
    (V, C): bytes at the vertices, instead of these three. welded: vertices of one place are one.
    """

    positions: Floats
    triangles: Ints
    place: Ints
    uvs: Floats | None = None
    source: Ints | None = None
    origin: Ints | None = None
    values: Bytes | None = None
    welded: bool = False

    @property
    def textured(self) -> bool:
        """Whether it carries uvs."""
        return self.uvs is not None

    def of(self, triangles: Ints) -> Piece:
        """These triangles and the vertices that they use, in the order that they have here."""
        used, corners = np.unique(triangles, return_inverse=True)
        return replace(self.vertices(used), triangles=corners.reshape(-1, 3))

    def vertices(self, rows: Ints) -> Piece:
        """Its vertices `rows`, with the triangles as they are."""
        chosen: dict[str, Any] = {name: a[rows] for name, a in self.carried().items()}
        return replace(self, **chosen)

    def carried(self) -> dict[str, Any]:
        """What there is of its vertices, by name."""
        names = ("positions", "place", "uvs", "source", "origin", "values")
        held = {name: getattr(self, name) for name in names}
        return {name: a for name, a in held.items() if a is not None}

    def beside(self, *others: Piece) -> Piece:
        """Its vertices and, after them, those of others; the triangles as they are."""
        parts = [p.carried() for p in (self, *others)]
        both: dict[str, Any] = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
        return replace(self, **both)


class Textures:
    """The texels of the input's surfaces, read by (surface, x, y) with the edge repeated outside."""

    def __init__(self, texels: Sequence[Bytes | None], channels: int, empty: int | None) -> None:
        self.texels, self.channels, self.empty = texels, channels, empty

    def read(self, source: Ints, x: Ints, y: Ints) -> Bytes:
        """(n, C) bytes."""
        return self._gather(source, x, y, slice(None), np.zeros((len(x), self.channels), np.uint8))

    def filled(self, source: Ints, x: Ints, y: Ints) -> Flags:
        """(n,) whether there is something at a texel."""
        if self.empty is None:
            return np.ones(len(x), np.bool_)
        return self._gather(source, x, y, self.empty, np.zeros(len(x), np.uint8)) > 0

    def _gather(self, source: Ints, x: Ints, y: Ints, channel: slice | int, out: Bytes) -> Bytes:
        for s in np.unique(source):
            texels = self.texels[s]
            assert texels is not None
            rows = source == s
            h, w = texels.shape[:2]
            out[rows] = texels[np.clip(y[rows], 0, h - 1), np.clip(x[rows], 0, w - 1), channel]
        return out


def ragged(counts: Ints) -> tuple[Ints, Ints]:
    """(owner, index within the owner) of each item, for owners of so many items each."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def same_rows(*columns: NDArray[np.generic]) -> tuple[Ints, Ints]:
    """(first, group): of rows that are equal in all bits, the first one's number, and the group of each row.

    -0 counts as 0.
    """
    parts = []
    for column in columns:
        a = np.ascontiguousarray(column).reshape(len(column), -1)
        a = a + np.float32(0) if a.dtype == np.float32 else a
        parts.append(np.ascontiguousarray(a).view(np.uint8).reshape(len(a), -1))
    rows = np.ascontiguousarray(np.concatenate(parts, axis=1))
    _, first, group = np.unique(rows.view(f"V{rows.shape[1]}").ravel(), return_index=True, return_inverse=True)
    return first.astype(np.int64), group.astype(np.int64).ravel()


def areas(positions: NDArray[np.floating], triangles: Ints) -> Doubles:
    """(T,) areas of triangles, from (V, 2) or (V, 3) positions."""
    p = positions.astype(np.float64)
    a, b = p[triangles[:, 1]] - p[triangles[:, 0]], p[triangles[:, 2]] - p[triangles[:, 0]]
    if p.shape[1] == 2:
        return np.asarray(np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2)
    return np.asarray(np.linalg.norm(np.cross(a, b), axis=1) / 2)


def sound(piece: Piece) -> Piece:
    """Without triangles of no area, without vertices that no triangle uses."""
    t = piece.triangles
    good = (t[:, 0] != t[:, 1]) & (t[:, 1] != t[:, 2]) & (t[:, 2] != t[:, 0])
    good[good] = areas(piece.positions, t[good]) > 0
    return piece.of(t[good])


def joined(pieces: Sequence[Piece]) -> Piece:
    """Neighbours as one piece: vertices that were one before they were cut are one again.

    Welded pieces are joined wherever two vertices have one place, and carry the mean of their bytes.
    """
    first = pieces[0]
    offsets = np.cumsum([0] + [len(p.positions) for p in pieces])
    triangles = np.concatenate([p.triangles + o for p, o in zip(pieces, offsets[:-1], strict=True)])
    whole = replace(first.beside(*pieces[1:]), triangles=triangles)
    if whole.welded:
        return welded(whole)
    # A vertex that was moved has no twin: its own number keeps it apart.
    apart = np.where(whole.place < 0, -1 - np.arange(len(whole.place)), whole.place)
    carried = (whole.uvs, whole.source) if whole.uvs is not None else (whole.values,)
    kept, group = same_rows(apart, *[c for c in carried if c is not None])
    return replace(whole.vertices(kept), triangles=group[whole.triangles])


def welded(piece: Piece) -> Piece:
    """A piece with bytes at its vertices, vertices of one place made one, with the mean of their bytes."""
    assert piece.values is not None
    apart = np.where(piece.place < 0, -1 - np.arange(len(piece.place)), piece.place)
    kept, group = same_rows(apart)
    count = np.bincount(group, minlength=len(kept))
    mean = np.stack([np.bincount(group, column, len(kept)) / count for column in piece.values.T], axis=1)
    one = piece.vertices(kept)
    return replace(one, triangles=group[piece.triangles], values=np.rint(mean).astype(np.uint8), welded=True)
