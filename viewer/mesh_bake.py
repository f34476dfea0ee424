"""Texels brought to the vertices: what a mesh carries where its seams and small charts allow no smaller texture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splatlens.viewer.mesh import Look
from splatlens.viewer.mesh_distance import closest
from splatlens.viewer.mesh_footprint import touched
from splatlens.viewer.mesh_pieces import Doubles, Piece, Textures, areas, sound, welded

#: Share of its triangle's mean that a vertex has besides what is near it: corners with nothing around them need some.
MEAN_SHARE = 1e-3


def baked(piece: Piece, textures: Textures, look: Look) -> Piece:
    """The textured piece with bytes at its vertices, those of one place made one.

    A vertex has the mean of the texels that are there on the triangles around it, each weighted by the area it stands
    for and by the vertex's barycentric coordinate. Triangles with fewer than half of their texels filled are dropped.
    """
    assert piece.uvs is not None and piece.source is not None
    t, n = piece.triangles, len(piece.positions)
    corners: Doubles = piece.uvs.astype(np.float64)[t]
    area, source = areas(piece.positions, t), piece.source[t[:, 0]]
    weight, sums = np.zeros(n), np.zeros((n, look.channels))
    share = np.zeros(len(t))
    for triangle, x, y in touched(corners, "nearest"):
        if not len(triangle):
            continue
        bytes_ = textures.read(source[triangle], x, y)
        there = np.ones(len(x), np.bool_) if look.empty is None else bytes_[:, look.empty] > 0
        count = np.bincount(triangle, minlength=len(t))
        share += np.bincount(triangle[there], minlength=len(t)) / np.maximum(count, 1)
        owner = triangle[there]
        middle = np.stack([x, y], axis=1)[there].astype(np.float64) + 0.5
        near = _barycentric(middle, corners[owner]) + MEAN_SHARE
        near *= (area / np.maximum(count, 1))[owner, None]
        for k in range(3):
            weight += np.bincount(t[owner, k], near[:, k], n)
            for c in range(look.channels):
                sums[:, c] += np.bincount(t[owner, k], near[:, k] * bytes_[there, c], n)
    values = np.rint(sums / np.where(weight > 0, weight, 1)[:, None]).astype(np.uint8)
    if look.empty is not None:
        values[:, look.empty] = np.maximum(values[:, look.empty], 1)
    order = np.argsort(-share, kind="stable")
    enough = int(np.searchsorted(np.cumsum(area[order]), (share * area).sum() * (1 - 1e-9))) + 1
    kept = t[np.sort(order[:enough])]
    plain = replace(piece, uvs=None, source=None, origin=None, values=values, triangles=kept)
    return sound(welded(plain.of(kept)))


def _barycentric(points: Doubles, corners: Doubles) -> Doubles:
    """(n, 3) of the triangles' points that are closest to (n, 2) points."""
    flat = np.zeros((len(points), 1))
    a, b, c = (np.concatenate([corners[:, k], flat], axis=1) for k in range(3))
    return closest(np.concatenate([points, flat], axis=1), a, b, c)[0]
