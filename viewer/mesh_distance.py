"""Closest points of triangles, and how far apart two surfaces are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatlens.viewer.mesh_pieces import Doubles, Ints, areas, ragged

#: Points of a surface from which its distance to another is measured, and triangles tried for each of them.
SAMPLES, NEAREST = 2000, 8
#: Points by which a triangle is found: of one of median size at least, and of a large one.
SPOTS, MOST_SPOTS = 4, 256


def closest(points: Doubles, a: Doubles, b: Doubles, c: Doubles) -> tuple[Doubles, Doubles]:
    """(weights (n, 3), distance (n,)) of the point of triangle a, b, c that is closest to each point, all (n, 3).

    Ericson 2004, Real-Time Collision Detection, section 5.1.5, all seven regions at once.
    """
    ab, ac, ap, bp, cp = b - a, c - a, points - a, points - b, points - c
    d1, d2 = _dot(ab, ap), _dot(ac, ap)
    d3, d4 = _dot(ab, bp), _dot(ac, bp)
    d5, d6 = _dot(ab, cp), _dot(ac, cp)
    va, vb, vc = d3 * d6 - d5 * d4, d5 * d2 - d1 * d6, d1 * d4 - d3 * d2
    zero, one = np.zeros(len(points)), np.ones(len(points))
    v_ab, w_ac = _share(d1, d1 - d3), _share(d2, d2 - d6)
    w_bc = _share(d4 - d3, (d4 - d3) + (d5 - d6))
    inner = va + vb + vc
    regions = [
        (d1 <= 0) & (d2 <= 0),
        (d3 >= 0) & (d4 <= d3),
        (d6 >= 0) & (d5 <= d6),
        (vc <= 0) & (d1 >= 0) & (d3 <= 0),
        (vb <= 0) & (d2 >= 0) & (d6 <= 0),
        (va <= 0) & (d4 - d3 >= 0) & (d5 - d6 >= 0),
    ]
    v = np.select(regions, [zero, one, zero, v_ab, zero, 1 - w_bc], _share(vb, inner))
    w = np.select(regions, [zero, zero, one, zero, w_ac, w_bc], _share(vc, inner))
    weights = np.stack([1 - v - w, v, w], axis=1)
    nearest = weights[:, :1] * a + weights[:, 1:2] * b + weights[:, 2:] * c
    return weights, np.asarray(np.linalg.norm(points - nearest, axis=1))


def _dot(a: Doubles, b: Doubles) -> Doubles:
    return np.asarray((a * b).sum(axis=1))


def _share(part: Doubles, whole: Doubles) -> Doubles:
    return np.asarray(np.where(whole != 0, part / np.where(whole != 0, whole, 1), 0.0).clip(0, 1))


class Surfaces:
    """A triangle mesh of which closest points are asked: positions (V, 3), triangles (T, 3)."""

    def __init__(self, positions: NDArray[np.floating], triangles: Ints) -> None:
        self.positions, self.triangles = positions.astype(np.float64), triangles
        # Points on all triangles, more on large ones: of the triangles that the nearest are on, one is closest.
        area = areas(positions, triangles)
        count = np.clip(np.ceil(SPOTS * area / np.median(area)), SPOTS, MOST_SPOTS).astype(np.int64)
        self.owner, index = ragged(count)
        # The R2 sequence, folded into the triangle: even, and the same for every triangle.
        u, v = (0.5 + index * 0.7548776662466927) % 1, (0.5 + index * 0.5698402909980532) % 1
        u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)
        corners = self.positions[triangles[self.owner]]
        self.spots = corners[:, 0] * (1 - u - v)[:, None] + corners[:, 1] * u[:, None] + corners[:, 2] * v[:, None]
        self.tree = cKDTree(self.spots)

    def samples(self) -> Doubles:
        """At most SAMPLES points of it, and as many of its vertices, evenly over the whole."""
        chosen = np.unique(self.triangles)
        some = (a[:: -(-len(a) // SAMPLES)] for a in (self.spots, self.positions[chosen]))
        return np.concatenate(list(some))

    def closest(self, points: Doubles) -> tuple[Ints, Doubles, Doubles]:
        """(triangle (n,), weights (n, 3), distance (n,)): never less than the true distance."""
        k = min(NEAREST, len(self.spots))
        owner = self.owner[self.tree.query(points, k)[1].reshape(len(points), k)]
        near = self.triangles[owner.ravel()]
        a, b, c = (self.positions[near[:, i]] for i in range(3))
        weights, distance = closest(np.repeat(points, k, axis=0), a, b, c)
        best = np.argmin(distance.reshape(-1, k), axis=1)
        row = np.arange(len(points)) * k + best
        return owner[np.arange(len(points)), best], weights[row], distance[row]


def apart(one: Surfaces, other: Surfaces) -> float:
    """The largest distance of a sampled point of either surface from the other: at most what it is, sampled densely."""
    return max(float(one.closest(other.samples())[2].max()), float(other.closest(one.samples())[2].max()))
