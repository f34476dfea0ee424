"""A synthetic moving scene: three jellyfish in the deep, as Gaussians at any time 0 to 1 (time 1 is time 0 again).

Every Gaussian is a piece of a surface or a thread that moves by a formula; its size and rotation follow from how that
piece is stretched and turned at the moment. Coordinates as in 3DGS training: y points down.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.generated import quats_of
from splatlens.viewer.splats import SH_C0, Splats

F64 = NDArray[np.float64]

BACKGROUND = (0.010, 0.035, 0.075)
UP = (0.0, -1.0, 0.0)
#: Views for the figures: position, target, degrees.
VIEWS = (
    ((0.7, -0.8, -3.6), (0.1, 0.15, 0.1), 50),
    ((-3.5, 0.1, -2.0), (0.0, -0.05, 0.2), 50),
    ((1.6, -2.4, -2.6), (0.1, -0.1, 0.2), 50),
)
#: Step along a surface for differences, in its own parameters (0 to 1).
_STEP = 1e-4


@dataclass(frozen=True)
class Attributes:
    """N Gaussians at a moment.

    means (N, 3); log_scales (N, 3); quats (N, 4), unit, w x y z; logits (N,); colors (N, 3), sRGB 0 to 1.
    """

    means: F64
    log_scales: F64
    quats: F64
    logits: F64
    colors: F64

    def splats(self) -> Splats:
        sh = ((self.colors - 0.5) / SH_C0)[:, None].astype(np.float32)
        opacities = 1 / (1 + np.exp(-self.logits))
        narrow = (a.astype(np.float32) for a in (self.means, self.quats, np.exp(self.log_scales), opacities))
        return Splats(*narrow, sh)


@dataclass(frozen=True)
class Sheet:
    """Pieces of a moving surface, or of threads, at parameters u, v.

    place(u, v, time) -> (N, 3). spacing: standard deviations along u and v, in parameters, and through the sheet, in
    units; 0 along v makes round threads of that thickness. color (N, 3); opacity(time) -> (N,).
    """

    u: F64
    v: F64
    place: Callable[[F64, F64, float], F64]
    spacing: tuple[F64 | float, F64 | float, float]
    color: F64
    opacity: Callable[[float], F64]

    def at(self, time: float) -> Attributes:
        middle = self.place(self.u, self.v, time)
        along = (self.place(self.u + _STEP, self.v, time) - self.place(self.u - _STEP, self.v, time)) / (2 * _STEP)
        across = (self.place(self.u, self.v + _STEP, time) - self.place(self.u, self.v - _STEP, time)) / (2 * _STEP)
        x = along / np.linalg.norm(along, axis=1, keepdims=True)
        across_u = np.sum(across * x, axis=1, keepdims=True)
        y = across - across_u * x
        wide = np.linalg.norm(y, axis=1)
        y = y / np.maximum(wide[:, None], 1e-12)
        thin = np.full(len(middle), self.spacing[2])
        second = wide * self.spacing[1] if np.any(self.spacing[1]) else thin
        scales = np.stack([np.linalg.norm(along, axis=1) * self.spacing[0], second, thin], axis=1)
        opacity = np.clip(self.opacity(time), 1e-3, 1 - 1e-3)
        quats = quats_of(np.stack([x, y, np.cross(x, y)], axis=2))
        return Attributes(middle, np.log(np.maximum(scales, 1e-3)), quats, np.log(opacity / (1 - opacity)), self.color)


def _mix(a: tuple[float, ...], b: tuple[float, ...], share: F64) -> F64:
    return np.asarray(a) + (np.asarray(b) - np.asarray(a)) * np.clip(share, 0, 1)[:, None]


@dataclass(frozen=True)
class Jellyfish:
    """center, in units, y up; size: radius of the bell; phase: 0 to 1; beats: a loop; hues: cap, stripe, glow."""

    center: tuple[float, float, float]
    size: float
    phase: float
    beats: int
    hues: tuple[tuple[float, float, float], ...]
    pieces: int

    def _beat(self, time: float, lag: F64 | float) -> F64:
        """0 open to 1 contracted; what is farther down the bell follows later."""
        a = 2 * np.pi * (self.beats * time + self.phase - np.asarray(lag, np.float64))
        return np.asarray(0.5 - 0.5 * np.cos(a - 0.35 * np.sin(a)))

    def _drift(self, time: float) -> F64:
        a = 2 * np.pi * (self.beats * time + self.phase)
        b = 2 * np.pi * (time + self.phase)
        return np.array([0.07 * np.sin(b), 0.11 * np.sin(a - 1.9), 0.05 * np.cos(b)])

    def _world(self, local: F64, time: float) -> F64:
        """Local (y up) to scene coordinates, with drift and a slow lean."""
        lean = 0.13 * np.sin(2 * np.pi * (time + self.phase))
        x = local[:, 0] * np.cos(lean) + local[:, 1] * np.sin(lean)
        y = local[:, 1] * np.cos(lean) - local[:, 0] * np.sin(lean)
        moved = np.stack([x, y, local[:, 2]], axis=1) * self.size + np.asarray(self.center) + self._drift(time)
        return moved * np.array([1.0, -1.0, 1.0])

    def _bell(self, u: F64, v: F64, time: float) -> F64:
        """u: 0 apex to 1 rim; v: 0 to 1 around."""
        beat = self._beat(time, 0.13 * u)
        arc = u * 1.62
        around = 2 * np.pi * v
        r = np.sin(arc) * (1 - 0.30 * beat * u**1.4) * (1 + 0.035 * np.cos(16 * around) * u**5)
        y = 0.72 * np.cos(arc) * (1 + 0.16 * beat) - 0.13 * beat * u**2
        return self._world(np.stack([r * np.cos(around), y, r * np.sin(around)], axis=1), time)

    def _tentacle(self, u: F64, v: F64, time: float) -> F64:
        """u: 0 rim to 1 tip; v: around, as the bell."""
        around = 2 * np.pi * v
        beat = self._beat(time, 0.13 + 0.42 * u)
        wave = 2 * np.pi * (time + self.phase - 0.75 * u) + around
        r = 0.97 * (1 - 0.30 * beat * (1 - 0.35 * u)) - 0.24 * u + 0.11 * u * np.sin(wave + 1.3)
        turn = around + 0.20 * u * np.sin(wave)
        length = 1.75 + 0.35 * np.cos(3 * around)
        y = -0.05 - 0.13 * beat - length * u
        return self._world(np.stack([r * np.cos(turn), y, r * np.sin(turn)], axis=1), time)

    def _arm(self, u: F64, v: F64, time: float) -> F64:
        """Frilled ribbons in the middle. u: 0 to 1 down; v: whole part which of four, fraction across the ribbon."""
        which, across = np.floor(v), v - np.floor(v) - 0.5
        beat = self._beat(time, 0.25 + 0.35 * u)
        wave = 2 * np.pi * (time + self.phase - 0.6 * u) + which * np.pi / 2
        turn = which * np.pi / 2 + 0.9 * u + 0.25 * u * np.sin(wave)
        frill = 0.055 * np.sin(2 * np.pi * 5 * u + 6 * across) * (1 - 0.5 * u)
        r = 0.16 + 0.10 * u * np.sin(wave + 0.8) + frill
        wide = across * (0.30 - 0.16 * u)
        x, z = r * np.cos(turn) - wide * np.sin(turn), r * np.sin(turn) + wide * np.cos(turn)
        y = 0.25 - 1.55 * u - 0.10 * beat * (1 - u)
        return self._world(np.stack([x, y, z], axis=1), time)

    def sheets(self) -> list[Sheet]:
        cap, stripe, glow = self.hues
        n = self.pieces
        i = np.arange(n) + 0.5
        u = np.arccos(1 - i / n * (1 - np.cos(1.62))) / 1.62  # even over the sphere
        v = (i * 0.6180339887498949) % 1
        ray = np.abs(((v * 16) % 1) - 0.5) * 2
        shade = np.clip((ray - 0.62) * 4, 0, 1) * np.clip((u - 0.18) * 4, 0, 1)
        rim = np.clip((u - 0.88) * 8, 0, 1)
        color = _mix(cap, stripe, shade) * (0.72 + 0.28 * (1 - u))[:, None] + 0.30 * rim[:, None] * np.asarray(glow)
        dense = 0.42 + 0.33 * shade + 0.25 * rim
        side = 0.58 * np.sqrt((1 - np.cos(1.62)) * 2 * np.pi / n)  # standard deviation of a piece, in radii of the bell
        round_ = (side / 1.62, side / (2 * np.pi * np.sin(1.62 * u)), 0.012 * self.size)
        made = [Sheet(u, v, self._bell, round_, color, lambda time: dense)]
        strands, links = 18, max(14, n // 36)
        tu = np.tile((np.arange(links) + 0.5) / links, strands)
        tv = np.repeat((np.arange(strands) + 0.5) / strands, links)
        fade = 0.85 - 0.45 * tu
        tint = _mix(stripe, glow, 1.3 * tu)
        made.append(Sheet(tu, tv, self._tentacle, (0.62 / links, 0.0, 0.014 * self.size), tint, lambda time: fade))
        rows, lanes = max(16, n // 28), 5
        au = np.tile(np.repeat((np.arange(rows) + 0.5) / rows, lanes), 4)
        lane = np.tile(np.tile((np.arange(lanes) + 0.5) / lanes, rows), 4)
        av = np.repeat(np.arange(4), rows * lanes) + lane
        soft = 0.75 - 0.35 * au
        pale = _mix(cap, glow, 0.35 + 0.65 * np.abs(lane - 0.5) * 2) * (1.05 - 0.35 * au)[:, None]
        made.append(Sheet(au, av, self._arm, (0.6 / rows, 0.62 / lanes, 0.008 * self.size), pale, lambda time: soft))
        return made


def _motes(count: int, rng: np.random.Generator) -> Sheet:
    """Plankton: specks that circle slowly, and glow up and fade."""
    middle = rng.uniform((-2.2, -1.9, -1.6), (2.2, 1.6, 1.6), (count, 3))
    phase, radius = rng.uniform(0, 1, count), rng.uniform(0.03, 0.10, count)
    size = rng.uniform(0.012, 0.024, count)

    def place(u: F64, v: F64, time: float) -> F64:
        a = 2 * np.pi * (time + phase)
        circle = np.stack([np.cos(a), 0.6 * np.sin(a), np.sin(a)], axis=1) * radius[:, None]
        return middle + circle + np.stack([u * size, v * size, 0 * u], axis=1)

    def glow(time: float) -> F64:
        return np.asarray(0.12 + 0.75 * (0.5 + 0.5 * np.cos(2 * np.pi * (time + 3 * phase))) ** 2)

    color = _mix((0.35, 0.85, 0.95), (0.95, 0.95, 0.75), rng.uniform(0, 1, count))
    return Sheet(np.zeros(count), np.zeros(count), place, (1.0, 1.0, 0.014), color, glow)


JELLYFISH = (
    Jellyfish((0.0, 0.35, 0.0), 0.95, 0.0, 1, ((0.98, 0.62, 0.30), (0.62, 0.16, 0.10), (1.0, 0.86, 0.62)), 1700),
    Jellyfish((1.45, -0.25, 0.75), 0.58, 0.35, 1, ((0.45, 0.55, 0.98), (0.22, 0.16, 0.62), (0.78, 0.90, 1.0)), 900),
    Jellyfish((-1.35, 0.85, 0.65), 0.42, 0.7, 1, ((0.96, 0.45, 0.72), (0.58, 0.10, 0.40), (1.0, 0.80, 0.92)), 620),
)


class Scene:
    """All Gaussians in a fixed order, at any time."""

    def __init__(self) -> None:
        self._sheets = [sheet for jelly in JELLYFISH for sheet in jelly.sheets()]
        self._sheets.append(_motes(160, np.random.default_rng(5)))

    def at(self, time: float) -> Attributes:
        parts = [sheet.at(time) for sheet in self._sheets]
        joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in Attributes.__dataclass_fields__}
        return Attributes(**joined)


def cameras(width: int, height: int) -> list[Camera]:
    return [Camera.look_at(place, target, UP, fov, width, height) for place, target, fov in VIEWS]
