"""Splats on surfaces: flat discs oriented to the normals, as large as their spacing, so that no holes show.

World frame of the sample: x right, y up, z towards the first camera; metres. y = 0 is the floor of the temple.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
#: Standard deviation of a disc over the spacing of the discs: 0.6 leaves 2% ripple in the sum of the Gaussians.
OVERLAP = 0.6
#: Thickness of a disc over its radius.
FLAT = 0.12


@dataclass(frozen=True)
class Patch:
    """N splats before lighting.

    means (N, 3); axes (N, 3, 3), rows: first and second axis and the normal; scales (N, 3) along them; opacities (N,);
    albedo (N, 3) linear; material (N,) index into light.MATERIALS.
    """

    means: F32
    axes: F32
    scales: F32
    opacities: F32
    albedo: F32
    material: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.means)

    @property
    def normals(self) -> F32:
        return self.axes[:, 2]

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Patch:
        return Patch(*(getattr(self, f.name)[rows] for f in fields(self)))

    def moved(self, offset: Sequence[float], turn: float = 0.0) -> Patch:
        """Turned by `turn` radians about y, then moved."""
        c, s = math.cos(turn), math.sin(turn)
        m = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
        return replace(self, means=self.means @ m.T + np.float32(offset), axes=self.axes @ m.T)

    def turned(self, matrix: NDArray[np.floating]) -> Patch:
        """Turned by a (3, 3) rotation."""
        m = np.asarray(matrix, np.float32)
        return replace(self, means=self.means @ m.T, axes=self.axes @ m.T)


def join(patches: Sequence[Patch]) -> Patch:
    return Patch(*(np.concatenate([getattr(p, f.name) for p in patches]) for f in fields(Patch)))


def unit(v: NDArray[np.floating]) -> F32:
    return (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)).astype(np.float32)


def frame(normals: NDArray[np.floating], along: NDArray[np.floating] | None = None) -> F32:
    """(N, 3, 3) orthonormal axes with the given third; the first lies near `along`."""
    n = unit(normals)
    if along is None:
        along = np.where(np.abs(n[:, 1:2]) < 0.9, np.float32([0, 1, 0]), np.float32([1, 0, 0]))
    first = unit(along - n * np.sum(along * n, axis=1, keepdims=True))
    return np.stack([first, np.cross(n, first), n], axis=1).astype(np.float32)


def patch(
    means: NDArray[np.floating],
    axes: F32,
    scales: NDArray[np.floating],
    material: int,
    opacity: float | NDArray[np.floating] = 0.98,
) -> Patch:
    """A patch with white albedo."""
    n = len(means)
    return Patch(
        np.asarray(means, np.float32),
        axes,
        np.broadcast_to(np.asarray(scales, np.float32), (n, 3)).copy(),
        np.broadcast_to(np.float32(opacity), (n,)).copy(),
        np.ones((n, 3), np.float32),
        np.full(n, material, np.int8),
    )


def painted(p: Patch, albedo: NDArray[np.floating]) -> Patch:
    return replace(p, albedo=np.broadcast_to(np.asarray(albedo, np.float32), p.means.shape).copy())


Surface = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


def surface(
    position: Surface,
    u: tuple[float, float],
    v: tuple[float, float],
    spacing: float,
    material: int,
    flip: bool = False,
    across: int = 0,
) -> Patch:
    """Discs on position(u, v) -> (N, 3), rows of constant v, every second one shifted by half a step.

    Each row has as many discs as its length asks for, and each disc is stretched to the local spacing. The normal is
    position_u x position_v, or the opposite with `flip`. `across` sets the number of discs in a row and keeps rows in
    step, for grooves that run along v.
    """
    probe = np.linspace(0, 1, 65)
    middle = position(np.full(65, (u[0] + u[1]) / 2), v[0] + (v[1] - v[0]) * probe)
    rows = max(2, round(float(np.linalg.norm(np.diff(middle, axis=0), axis=1).sum()) / spacing))
    us, vs, du = [], [], []
    for row in range(rows):
        at = v[0] + (v[1] - v[0]) * (row + 0.5) / rows
        line = position(u[0] + (u[1] - u[0]) * probe, np.full(65, at))
        count = across or max(2, round(float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) / spacing))
        shift = 0.5 if across else 0.25 + 0.5 * (row % 2)
        us.append(u[0] + (u[1] - u[0]) * ((np.arange(count) + shift) / count))
        vs.append(np.full(count, at))
        du.append(np.full(count, (u[1] - u[0]) / count))
    uu, vv, step_u = np.concatenate(us), np.concatenate(vs), np.concatenate(du)
    step_v = (v[1] - v[0]) / rows
    h = 1e-4
    pu = (position(uu + h * step_u, vv) - position(uu - h * step_u, vv)) / (2 * h)
    pv = (position(uu, vv + h * step_v) - position(uu, vv - h * step_v)) / (2 * h)
    normal = np.cross(pu, pv)
    axes = frame(-normal if flip else normal, pu)
    wide = np.abs(np.sum(pv * axes[:, 1], axis=1))
    # The outermost rows of a surface that does not close are narrower: half of a full disc would hang over the edge.
    open_ = rows > 2 and bool(np.linalg.norm(middle[0] - middle[-1]) > spacing)
    edge = open_ & ((vv == vv[0]) | (vv == vv[-1]))
    sizes = OVERLAP * np.stack([np.linalg.norm(pu, axis=1), np.where(edge, 0.75, 1.0) * wide], axis=1)
    scales = np.concatenate([sizes, FLAT * sizes.min(axis=1, keepdims=True)], axis=1)
    return patch(position(uu, vv), axes, scales, material)


def disc(inner: float, outer: float, spacing: float, material: int, height: float = 0.0) -> Patch:
    """A level ring seen from above, as a sunflower spiral (Vogel 1979): even density, no rows."""
    golden = math.pi * (3 - math.sqrt(5))
    first, last = math.ceil(math.pi * inner**2 / spacing**2), math.floor(math.pi * outer**2 / spacing**2)
    i = np.arange(first, max(last, first + 1))
    r, a = np.sqrt((i + 0.5) / math.pi) * spacing, i * golden
    means = np.stack([r * np.cos(a), np.full(len(i), height), r * np.sin(a)], axis=1)
    up = np.broadcast_to(np.float32([0, 1, 0]), means.shape)
    size = OVERLAP * 1.1 * spacing
    return patch(means, frame(up), (size, size, FLAT * size), material)


def ball(radius: float, spacing: float, material: int) -> Patch:
    """A sphere about the origin, as a Fibonacci lattice."""
    count = max(8, round(4 * math.pi * radius**2 / spacing**2))
    means = radius * fibonacci(count)
    size = OVERLAP * 1.1 * spacing
    return patch(means, frame(means), (size, size, FLAT * size), material)


def fibonacci(count: int) -> F32:
    """(count, 3) even unit directions."""
    i = np.arange(count) + 0.5
    y = 1 - 2 * i / count
    a = i * math.pi * (3 - math.sqrt(5))
    r = np.sqrt(1 - y * y)
    return np.stack([r * np.cos(a), y, r * np.sin(a)], axis=1).astype(np.float32)


def lathe(profile: Sequence[tuple[float, float]], spacing: float, material: int) -> Patch:
    """A surface of revolution about y: (radius, height) corners from bottom to top, joined by straight lines."""
    points = np.array(profile, np.float64)
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])

    parts = []
    for k in range(len(points) - 1):
        if length[k + 1] - length[k] < 0.4 * min(spacing, 0.05):
            continue

        def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
            r, y = np.interp(v, length, points[:, 0]), np.interp(v, length, points[:, 1])
            return np.stack([r * np.sin(u), y, r * np.cos(u)], axis=1)

        inset = 1e-6 * length[-1]
        parts.append(surface(position, (0, 2 * math.pi), (length[k] + inset, length[k + 1] - inset), spacing, material))
    return join(parts)
