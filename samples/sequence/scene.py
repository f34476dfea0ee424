"""What the sample is fitted to: a small moving scene that exists only as this formula, time 0 to 1, periodic.

Three striped balls hop round a stage, a ring turns above it, a lamp changes its colour, sparks rise and fall.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.splats import SH_C0, Splats

F64 = NDArray[np.float64]
BACKGROUND = (0.02, 0.03, 0.06)
#: Seconds that the time from 0 to 1 takes to play.
SECONDS = 4.0
WIDTH, HEIGHT = 144, 108
BALLS, STAGE, RADIUS = 3, 0.55, 0.24
#: Width of a spark's life, time.
SPARK = 0.09


@dataclass(frozen=True)
class Part:
    """N points that move. place(time): (N, 3); color(time): (N, 3) sRGB; opacity(time): (N,).

    normal(time): (N, 3) what the flat splats face, None for round ones. size: standard deviation, units. births: (N,)
    when each comes, None where they are always there. still: do not move; steady: nor change their colour.
    """

    count: int
    size: float
    place: Callable[[float], F64]
    color: Callable[[float], F64]
    opacity: Callable[[float], F64]
    normal: Callable[[float], F64] | None = None
    births: F64 | None = None
    still: bool = False
    steady: bool = False


def _sphere(n: int) -> F64:
    """(n, 3) points spread over the unit sphere (Fibonacci's spiral)."""
    k = np.arange(n) + 0.5
    z, turn = 1 - 2 * k / n, k * np.pi * (1 + 5**0.5)
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(turn), r * np.sin(turn), z], axis=1)


def _about(points: F64, axis: int, angle: float) -> F64:
    """Points turned about a coordinate axis."""
    i, j = [k for k in range(3) if k != axis]
    out = points.copy()
    out[:, i] = np.cos(angle) * points[:, i] - np.sin(angle) * points[:, j]
    out[:, j] = np.sin(angle) * points[:, i] + np.cos(angle) * points[:, j]
    return out


def parts(stage: int = 2600, ball: int = 620, ring: int = 1100, lamp: int = 360) -> list[Part]:
    """The scene, each part of so many points: as many as these for the pictures that are fitted."""
    balls = [_ball(k, ball) for k in range(BALLS)]
    return [_stage(stage), *balls, _ring(ring), _lamp(lamp), _sparks(100)]


def _one(n: int) -> Callable[[float], F64]:
    return lambda time: np.ones(n)


def _stage(n: int) -> Part:
    k = np.arange(n) + 0.5
    r, a = 1.55 * np.sqrt(k / n), k * np.pi * (1 + 5**0.5)
    points = np.stack([r * np.cos(a), np.full(n, STAGE), r * np.sin(a)], axis=1)
    mix = (0.5 + 0.5 * np.cos(3 * a) * np.sin(2.4 * r))[:, None]
    color = (np.array([0.16, 0.30, 0.42]) * mix + np.array([0.62, 0.52, 0.38]) * (1 - mix)) * (1.05 - 0.3 * r[:, None])
    up = np.tile([0.0, -1.0, 0.0], (n, 1))
    return Part(n, 2.4 / np.sqrt(n), lambda t: points, lambda t: color, _one(n), lambda t: up, still=True, steady=True)


def _ball(number: int, n: int) -> Part:
    shell, start = _sphere(n), 2 * np.pi * number / BALLS
    base = np.array([[0.86, 0.22, 0.16], [0.95, 0.70, 0.12], [0.20, 0.62, 0.34]])[number]
    stripe = (0.5 + 0.5 * np.tanh(4 * np.sin(3 * np.pi * shell[:, 2])))[:, None]
    color = base * stripe + 0.92 * (1 - stripe)

    def turned(time: float) -> F64:
        return _about(_about(shell, 2, 2 * np.pi * time), 1, -2 * np.pi * time - start)

    def place(time: float) -> F64:
        angle = 2 * np.pi * time + start
        hop = 0.55 * np.sin(2 * np.pi * time + 1.3 * number) ** 2
        center = np.array([0.95 * np.cos(angle), STAGE - RADIUS - hop, 0.95 * np.sin(angle)])
        return center + RADIUS * turned(time)

    def shaded(time: float) -> F64:
        return color * (0.72 - 0.28 * turned(time)[:, 1:2])

    return Part(n, 1.9 * RADIUS / np.sqrt(n), place, shaded, _one(n), turned)


def _ring(n: int) -> Part:
    k = np.arange(n) + 0.5
    a, b = 2 * np.pi * k / n, k * np.pi * (1 + 5**0.5)
    out = np.stack([np.cos(a), np.zeros(n), np.sin(a)], axis=1)
    tube = np.cos(b)[:, None] * out + np.sin(b)[:, None] * np.array([0.0, 1.0, 0.0])
    mix = (0.5 + 0.5 * np.sin(4 * a))[:, None]
    color = np.array([0.55, 0.30, 0.75]) * mix + np.array([0.85, 0.80, 0.90]) * (1 - mix)

    def turned(points: F64, time: float) -> F64:
        return _about(_about(points, 2, 0.5), 1, -2 * np.pi * time)

    return Part(
        n, 0.85 / np.sqrt(n), lambda t: turned(0.56 * out + 0.09 * tube, t) + np.array([0, -0.42, 0]),
        lambda t: color * (0.75 - 0.25 * turned(tube, t)[:, 1:2]), _one(n), lambda t: turned(tube, t),
    )  # fmt: skip


def _lamp(n: int) -> Part:
    shell = _sphere(n)
    points = 0.17 * shell + np.array([0.0, -0.42, 0.0])

    def color(time: float) -> F64:
        waves = 0.55 + 0.4 * np.cos(2 * np.pi * (time - np.array([0.0, 1 / 3, 2 / 3])))
        return np.tile(waves, (n, 1)) * (0.9 - 0.1 * shell[:, 1:2])

    return Part(n, 1.9 * 0.17 / np.sqrt(n), lambda t: points, color, _one(n), lambda t: shell, still=True)


def _sparks(n: int) -> Part:
    r = np.random.default_rng(7)
    birth, a = r.uniform(0, 1, n), r.uniform(0, 2 * np.pi, n)
    speed = np.stack([0.9 * np.cos(a), r.uniform(-5.2, -4.0, n), 0.9 * np.sin(a)], axis=1)
    color = np.array([1.0, 0.72, 0.30]) * r.uniform(0.7, 1.0, (n, 1))

    def age(time: float) -> F64:
        return (time - birth + 0.5) % 1 - 0.5

    def place(time: float) -> F64:
        dt = age(time)[:, None]
        return np.array([0, STAGE - 0.85, 0]) + speed * dt + np.array([0, 11.0, 0]) * dt**2

    return Part(n, 0.022, place, lambda t: color, lambda t: 0.9 * np.exp(-((age(t) / SPARK) ** 2)), births=birth)


def facing(normals: F64) -> F64:
    """(N, 4) quaternions w x y z that turn the z axis to unit normals (N, 3)."""
    w = 1 + normals[:, 2]
    quats = np.stack([w, -normals[:, 1], normals[:, 0], np.zeros(len(w))], axis=1)
    quats[w < 1e-6] = [0, 1, 0, 0]
    return quats / np.linalg.norm(quats, axis=1, keepdims=True)


def splats(time: float, scene: list[Part]) -> Splats:
    """The scene at a time as Gaussians: flat ones on surfaces, round sparks."""
    means, quats, scales, opacities, colors = [], [], [], [], []
    for part in scene:
        means.append(part.place(time))
        flat = part.normal is not None
        quats.append(facing(part.normal(time)) if part.normal else np.tile([1.0, 0, 0, 0], (part.count, 1)))
        scales.append(np.tile([part.size, part.size, part.size * (0.25 if flat else 1)], (part.count, 1)))
        opacities.append(np.clip(part.opacity(time), 1e-3, 0.98))
        colors.append(np.clip(part.color(time), 0, 1))
    sh = (np.concatenate(colors)[:, None] - 0.5) / SH_C0
    arrays = (np.concatenate(means), np.concatenate(quats), np.concatenate(scales), np.concatenate(opacities), sh)
    return Splats(*(a.astype(np.float32) for a in arrays))


def camera(azimuth: float, elevation: float, width: int = WIDTH, height: int = HEIGHT) -> Camera:
    """A view of the stage from degrees round and degrees up."""
    a, e = np.radians([azimuth, elevation])
    eye = 4.4 * np.array([np.cos(e) * np.sin(a), -np.sin(e), -np.cos(e) * np.cos(a)])
    return Camera.look_at(tuple(eye), (0.0, 0.05, 0.0), (0, -1, 0), 44, width, height)


#: Views that are fitted, and one between them that is not.
VIEWS = tuple((36.0 * k, (12.0, 34.0, 58.0)[k % 3]) for k in range(10))
HELD_OUT_VIEW = (54.0, 25.0)
#: Times that are fitted, and those between them that are not.
TIMES = tuple(k / 24 for k in range(25))
HELD_OUT_TIMES = tuple((k + 0.5) / 24 for k in range(24))
