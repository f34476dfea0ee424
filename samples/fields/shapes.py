"""Solids of the analytic scene: rays against them, their own coordinates (u, v), and meshes over these. float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

TURN = 2 * np.pi
FAR = np.inf
#: A ring's surface is walked up to in this many steps at most, and counts as reached at this distance.
RING_STEPS, RING_CLOSE = 160, 1e-7


def unit(vectors: F64) -> F64:
    """(..., 3) at length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def turns(x: F64, y: F64) -> F64:
    """Angle of (x, y) in turns, 0 to 1."""
    return np.asarray(np.arctan2(y, x) / TURN % 1.0)


@dataclass(frozen=True)
class Ball:
    """u: longitude in turns; v: from the pole on top (0) to the bottom (1)."""

    centre: tuple[float, float, float]
    radius: float

    def hit(self, origins: F64, directions: F64) -> F64:
        """(N,) distance along unit directions; infinity where there is none."""
        o = origins - self.centre
        b = np.sum(o * directions, axis=1)
        root = b * b - np.sum(o * o, axis=1) + self.radius**2
        t = -b - np.sqrt(np.maximum(root, 0))
        return np.where((root > 0) & (t > 0), t, FAR)

    def place(self, u: F64, v: F64) -> F64:
        """(N, 3) points of coordinates."""
        return self.radius * self.normal_at(u, v) + self.centre

    def normal_at(self, u: F64, v: F64) -> F64:
        """(N, 3) outward normals of coordinates."""
        s = np.sin(np.pi * v)
        return np.stack([s * np.cos(TURN * u), s * np.sin(TURN * u), np.cos(np.pi * v)], axis=1)

    def coordinates(self, points: F64) -> tuple[F64, F64]:
        """u, v of points on the surface."""
        p = (points - np.array(self.centre)) / self.radius
        return turns(p[:, 0], p[:, 1]), np.arccos(np.clip(p[:, 2], -1, 1)) / np.pi


@dataclass(frozen=True)
class Ring:
    """A torus about `axis` (unit). u: around the axis, in turns; v: around the tube, 0 outermost, 0.25 uppermost."""

    centre: tuple[float, float, float]
    axis: tuple[float, float, float]
    radius: float
    tube: float

    @property
    def frame(self) -> F64:
        """(3, 3), rows: two directions across the axis, and the axis."""
        axis = np.array(self.axis)
        across = unit(np.cross(axis, (0.0, 1.0, 0.0)))
        return np.stack([across, np.cross(axis, across), axis])

    def distance(self, local: F64) -> F64:
        """Signed distance of points in the ring's frame."""
        return np.hypot(np.hypot(local[:, 0], local[:, 1]) - self.radius, local[:, 2]) - self.tube

    def hit(self, origins: F64, directions: F64) -> F64:
        """(N,) distance along unit directions, by steps as long as the distance to the surface; infinity for none."""
        o, d = (origins - self.centre) @ self.frame.T, directions @ self.frame.T
        b, reach = np.sum(o * d, axis=1), self.radius + self.tube
        root = b * b - np.sum(o * o, axis=1) + (reach * 1.001) ** 2
        t = np.full(len(o), FAR)
        walking = np.flatnonzero((root > 0) & (-b + np.sqrt(np.maximum(root, 0)) > 0))
        at = np.maximum(-b[walking] - np.sqrt(root[walking]), 0)
        end = -b[walking] + np.sqrt(root[walking])
        for _ in range(RING_STEPS):
            step = self.distance(o[walking] + at[:, None] * d[walking])
            reached = step < RING_CLOSE
            t[walking[reached]] = at[reached]
            at = at + step
            keep = ~reached & (at < end)
            walking, at, end = walking[keep], at[keep], end[keep]
            if not len(walking):
                break
        return t

    def place(self, u: F64, v: F64) -> F64:
        """(N, 3) points of coordinates."""
        out = np.stack([np.cos(TURN * u), np.sin(TURN * u), np.zeros(len(u))], axis=1) @ self.frame
        return self.radius * out + self.tube * self.normal_at(u, v) + self.centre

    def normal_at(self, u: F64, v: F64) -> F64:
        """(N, 3) outward normals of coordinates."""
        c = np.cos(TURN * v)
        return np.stack([c * np.cos(TURN * u), c * np.sin(TURN * u), np.sin(TURN * v)], axis=1) @ self.frame

    def coordinates(self, points: F64) -> tuple[F64, F64]:
        """u, v of points on the surface."""
        p = (points - np.array(self.centre)) @ self.frame.T
        return turns(p[:, 0], p[:, 1]), turns(np.hypot(p[:, 0], p[:, 1]) - self.radius, p[:, 2])


@dataclass(frozen=True)
class Wall:
    """Upright cylinder without its ends, from z 0 to `height`. u: longitude in turns; v: from the top (0) down (1)."""

    radius: float
    height: float

    def hit(self, origins: F64, directions: F64) -> F64:
        """(N,) distance along unit directions; infinity for none. Only the outside is seen."""
        o, d = origins[:, :2], directions[:, :2]
        a = np.maximum(np.sum(d * d, axis=1), 1e-300)
        b = np.sum(o * d, axis=1)
        root = b * b - a * (np.sum(o * o, axis=1) - self.radius**2)
        t = (-b - np.sqrt(np.maximum(root, 0))) / a
        z = origins[:, 2] + np.where(root > 0, t, 0) * directions[:, 2]
        return np.where((root > 0) & (t > 0) & (z >= 0) & (z <= self.height), t, FAR)

    def place(self, u: F64, v: F64) -> F64:
        """(N, 3) points of coordinates."""
        around = self.radius * self.normal_at(u, v)
        return around + self.height * (1 - v)[:, None] * (0.0, 0.0, 1.0)

    def normal_at(self, u: F64, v: F64) -> F64:
        """(N, 3) outward normals of coordinates."""
        return np.stack([np.cos(TURN * u), np.sin(TURN * u), np.zeros(len(u))], axis=1)

    def coordinates(self, points: F64) -> tuple[F64, F64]:
        """u, v of points on the surface."""
        return turns(points[:, 0], points[:, 1]), 1 - points[:, 2] / self.height


@dataclass(frozen=True)
class Disc:
    """Level disc about the z axis at height z, seen from above. u: longitude in turns; v: radius, 0 to 1."""

    z: float
    radius: float

    def hit(self, origins: F64, directions: F64) -> F64:
        """(N,) distance along unit directions; infinity for none."""
        down = directions[:, 2] < 0
        t = np.where(down, (self.z - origins[:, 2]) / np.where(down, directions[:, 2], -1), FAR)
        p = origins[:, :2] + np.where(down, t, 0)[:, None] * directions[:, :2]
        return np.where(down & (t > 0) & (np.sum(p * p, axis=1) <= self.radius**2), t, FAR)

    def place(self, u: F64, v: F64) -> F64:
        """(N, 3) points of coordinates."""
        r = self.radius * v
        return np.stack([r * np.cos(TURN * u), r * np.sin(TURN * u), np.full(len(u), self.z)], axis=1)

    def normal_at(self, u: F64, v: F64) -> F64:
        """(N, 3) normals: up."""
        return np.broadcast_to((0.0, 0.0, 1.0), (len(u), 3)).copy()

    def coordinates(self, points: F64) -> tuple[F64, F64]:
        """u, v of points on the surface."""
        return turns(points[:, 0], points[:, 1]), np.hypot(points[:, 0], points[:, 1]) / self.radius


Shape = Ball | Ring | Wall | Disc


def knots(count: int, edges: F64, soft: float) -> F64:
    """Coordinates 0..1 for a mesh: evenly `count` pieces, and both sides of each edge of a pattern, `soft` apart.

    A pattern that is linear between the two sides of its edges is met exactly by interpolation between vertices.
    """
    sides = np.concatenate([edges - soft, edges + soft])
    even = np.linspace(0, 1, count + 1)
    near = np.abs(even[:, None] - sides).min(axis=1) < 0.3 / count if len(sides) else np.zeros(count + 1, bool)
    near[[0, -1]] = False
    sides = sides[(sides > 1e-9) & (sides < 1 - 1e-9)]
    return np.unique(np.round(np.concatenate([even[~near], sides]), 12))


def grid(shape: Shape, u: F64, v: F64) -> tuple[F64, I32, F64, F64]:
    """Positions (V, 3), triangles (T, 3) facing outward, uvs (V, 2), normals (V, 3) of a mesh over knots u and v."""
    uu, vv = (a.ravel() for a in np.meshgrid(u, v))
    positions, normals = shape.place(uu, vv), shape.normal_at(uu, vv)
    corner = (np.arange(len(v) - 1)[:, None] * len(u) + np.arange(len(u) - 1)).ravel()
    right, below = corner + 1, corner + len(u)
    triangles = np.concatenate([np.stack([corner, below, right], 1), np.stack([right, below, below + 1], 1)])
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    if np.sum(cross * normals[triangles[:, 0]]) < 0:
        triangles = triangles[:, ::-1]
    size = np.linalg.norm(cross, axis=1)
    return positions, triangles[size > 1e-12].astype(np.int32), np.stack([uu, vv], axis=1), normals
