"""The ruin: floor, steps, columns, entablature, pool, and the polished things in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from light import CERAMIC, COPPER, GOLD, MARBLE, PEARL, POOL_WATER, STONE
from noise import fbm, noise
from numpy.typing import NDArray
from shapes import F32, Patch, Surface, ball, disc, frame, join, lathe, painted, surface, unit

POOL, FLOOR, RING = 1.9, 4.65, 3.85  # radii, metres: pool, floor, centres of the columns
STEP, STEPS = 0.16, 3
COLUMN = 3.3  # height with capital
#: Angle from the first camera's axis, degrees, and the share of its height that still stands.
COLUMNS = (
    (18, 0.30),
    (54, 0.62),
    (90, 1),
    (126, 1),
    (162, 1),
    (-162, 1),
    (-126, 1),
    (-90, 0.83),
    (-54, 0.45),
    (-18, 0.13),
)
#: Where the entablature still lies, degrees.
BEAM = (82, 240)

Ground = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

_LIMESTONE = np.float32([0.54, 0.47, 0.37])
_PALE = np.float32([0.64, 0.585, 0.50])
_STAIN = np.float32([0.30, 0.26, 0.20])
_MOSS = np.float32([0.16, 0.19, 0.06])


def weathered(p: Patch, seed: int, base: F32 = _LIMESTONE, stain: float = 0.5) -> Patch:
    """Colour of old limestone: broad patches, fine grain, dark streaks."""
    x = p.means
    broad, grain = fbm(x, 1.3, 3, seed)[:, None], fbm(x, 0.16, 3, seed + 1)[:, None]
    color = base + (_PALE - base) * np.clip(1.7 * broad - 0.4, 0, 1)
    dirt = np.clip(2.6 * fbm(x * np.float32([1, 0.25, 1]), 0.5, 4, seed + 2) - 1.25, 0, 1)[:, None] * stain
    color = color + (_STAIN - color) * dirt
    return painted(p, color * (0.72 + 0.56 * grain))


def floor(spacing: float) -> Patch:
    """Paving in rings of slabs, with dark joints and some moss, and the steps around it."""
    p = disc(POOL + 0.2, FLOOR, spacing, STONE)
    r, a = np.hypot(p.means[:, 0], p.means[:, 2]), np.arctan2(p.means[:, 0], p.means[:, 2])
    ring = np.floor((r - POOL) / 0.5)
    slabs = 10 + 4 * ring
    turn = (a / (2 * math.pi) + 0.37 * ring) * slabs
    edge_a = np.abs(turn - np.round(turn)) * 2 * math.pi * r / slabs
    edge_r = np.abs((r - POOL) / 0.5 - np.round((r - POOL) / 0.5)) * 0.5
    joint = np.clip(1.3 - np.minimum(edge_a, edge_r) / 0.022, 0, 1)[:, None]
    slab = np.stack([np.round(turn - 0.5) % slabs, ring, np.zeros_like(ring)], axis=1)
    p = weathered(p, 11, stain=0.35)
    tone = 0.78 + 0.4 * noise(slab * 7.3 + 0.5, 1.0, 5)[:, None]
    moss = np.clip(3 * fbm(p.means, 0.8, 3, 17) - 1.6, 0, 1)[:, None]
    color = p.albedo * tone
    color = color + (_STAIN * 0.55 + (_MOSS - _STAIN * 0.55) * moss - color) * joint * 0.9
    color = color + (_MOSS - color) * moss * 0.35
    p = painted(p, color)
    steps = [
        lathe([(FLOOR + 0.34 * (k - 1), -STEP * k), (FLOOR + 0.34 * (k - 1), -STEP * (k - 1))], spacing, STONE)
        for k in range(1, STEPS + 1)
    ]
    steps += [disc(FLOOR + 0.34 * (k - 1), FLOOR + 0.34 * k, spacing, STONE, -STEP * k) for k in range(1, STEPS)]
    kerb = lathe([(POOL, -0.45), (POOL, 0.12)], spacing * 0.8, STONE)
    kerb = replace(kerb, axes=kerb.axes * np.float32([[1], [-1], [-1]]))  # seen from inside
    rim = lathe([(POOL + 0.26, 0.0), (POOL + 0.26, 0.12)], spacing * 0.8, STONE)
    top = disc(POOL, POOL + 0.26, spacing * 0.8, STONE, 0.12)
    return join([p, weathered(join(steps), 12), weathered(join([kerb, rim, top]), 13, _PALE, 0.3)])


def column(share: float, spacing: float, seed: int) -> Patch:
    """A fluted shaft on a base; whole ones carry a capital, broken ones end in a rough slope."""
    rng = np.random.default_rng(seed)
    shaft = (COLUMN - 0.42) * share
    tilt, lean = rng.uniform(0.10, 0.3), rng.uniform(0, 2 * math.pi)

    def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        t = v / (COLUMN - 0.42)
        r = 0.285 - 0.045 * t**1.6  # entasis
        flute = np.abs(np.sin(6 * u))
        r = r - 0.030 * (1 - flute) ** 1.5 - 0.006 * (np.abs((v / 0.72) % 1.0 - 0.5) > 0.485)
        return np.stack([r * np.sin(u), 0.22 + v, r * np.cos(u)], axis=1)

    around = 12 * max(3, round(0.27 * 2 * math.pi / 12 / (0.85 * spacing)))  # every flute gets the same discs
    body = surface(position, (0, 2 * math.pi), (0.0, shaft), spacing, STONE, across=around)
    base = lathe([(0.40, 0.0), (0.40, 0.09), (0.36, 0.10), (0.38, 0.15), (0.37, 0.19), (0.30, 0.22)], spacing, STONE)
    parts = [base]
    if share < 1:
        x = body.means
        cut = (
            0.22
            + shaft
            - tilt * (1 + np.sin(np.arctan2(x[:, 0], x[:, 2]) - lean))
            + 0.07 * (fbm(x, 0.2, 3, seed) - 0.5)
        )
        body = body.take(x[:, 1] < cut)
        lid = disc(0, 0.262, spacing * 0.8, STONE)
        a = np.arctan2(lid.means[:, 0], lid.means[:, 2])
        rough = 0.07 * (fbm(lid.means, 0.2, 3, seed) - 0.5)
        r = np.hypot(lid.means[:, 0], lid.means[:, 2]) / 0.262
        lid.means[:, 1] = 0.22 + shaft - tilt * (1 + r * np.sin(a - lean)) + rough
        steep = tilt / 0.262
        normal = np.float32([steep * math.cos(lean), 1, -steep * math.sin(lean)]) + rng.normal(0, 0.12, lid.means.shape)
        parts.append(replace(lid, axes=frame(normal), scales=lid.scales * np.float32([1.35, 1.35, 3])))
    else:
        top = 0.22 + shaft
        profile = [(0.245, top), (0.262, top + 0.03), (0.25, top + 0.05), (0.37, top + 0.13), (0.37, top + 0.135)]
        square = [
            surface(_slab_side(0.40, top + 0.13, top + 0.205, k), (-1, 1), (0, 1), spacing, STONE) for k in range(4)
        ]
        under = disc(0, 0.56, spacing, STONE, top + 0.13)
        under = under.take(np.abs(under.means[:, [0, 2]]).max(axis=1) < 0.40)
        parts += [
            lathe(profile, spacing, STONE),
            *square,
            replace(under, axes=under.axes * np.float32([[1], [-1], [-1]])),
        ]
    return weathered(join([body, *parts]), seed, stain=0.6)


def _slab_side(half: float, low: float, high: float, quarter: int) -> Surface:
    """One of the four sides of a square slab."""
    c, s = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)

    def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        x, z = u * half, np.full_like(u, half)
        return np.stack([c * x + s * z, low + (high - low) * v, -s * x + c * z], axis=1)

    return position


def _band(r0: float, y0: float, r1: float, y1: float) -> Surface:
    """What the line from (r0, y0) to (r1, y1) sweeps about y."""

    def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        r, y = r0 + (r1 - r0) * v, y0 + (y1 - y0) * v
        return np.stack([r * np.sin(u), y, r * np.cos(u)], axis=1)

    return position


def entablature(spacing: float) -> Patch:
    """Architrave, frieze and cornice over the columns that still stand, broken at both ends."""
    low = COLUMN + 0.005
    outline = [
        (RING + r, low + y)
        for r, y in (
            *((-0.30, 0), (0.30, 0), (0.30, 0.24), (0.33, 0.25), (0.33, 0.29), (0.29, 0.30), (0.29, 0.50)),
            *((0.44, 0.56), (0.46, 0.66), (-0.40, 0.66), (-0.38, 0.56), (-0.29, 0.50), (-0.30, 0)),
        )
    ]
    parts = []
    for (r0, y0), (r1, y1) in itertools.pairwise(outline):
        ends = math.radians(BEAM[0]), math.radians(BEAM[1])
        parts.append(surface(_band(r0, y0, r1, y1), ends, (0, 1), spacing, STONE))
    p = join(parts)
    a = np.degrees(np.arctan2(p.means[:, 0], p.means[:, 2])) % 360
    bite = 5.0 * fbm(p.means, 0.45, 3, 61) + 3.0 * (p.means[:, 1] - low)
    p = p.take((a > BEAM[0] + bite) & (a < BEAM[1] - bite))
    r = np.hypot(p.means[:, 0], p.means[:, 2])
    p = weathered(p, 21, _PALE, 0.55)
    # Triglyphs: three dark grooves every nine degrees of the frieze.
    a = np.degrees(np.arctan2(p.means[:, 0], p.means[:, 2])) % 9.0
    frieze = (p.means[:, 1] > low + 0.31) & (p.means[:, 1] < low + 0.49) & (r > RING + 0.2)
    groove = frieze & (np.abs(a - 4.5) < 1.7) & ((a * 2) % 1.7 < 0.55)
    albedo = p.albedo.copy()
    albedo[groove] *= 0.38
    return painted(p, albedo)


def knot(spacing: float, turns: tuple[int, int] = (2, 3)) -> Patch:
    """A polished trefoil on its point: the tube of a torus knot."""
    p, q = turns

    def line(u: NDArray[np.float64]) -> NDArray[np.float64]:
        r = 0.60 + 0.27 * np.cos(q * u)
        return np.stack([r * np.cos(p * u), r * np.sin(p * u), 0.34 * np.sin(q * u)], axis=1)

    def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        h = 1e-4
        tangent = unit(line(u + h) - line(u - h)).astype(np.float64)
        away = unit(
            np.stack([np.zeros_like(u), np.zeros_like(u), np.ones_like(u)], axis=1) - tangent * tangent[:, 2:3]
        ).astype(np.float64)
        side = np.cross(tangent, away)
        return line(u) + 0.135 * (np.cos(v)[:, None] * away + np.sin(v)[:, None] * side)

    made = surface(position, (0, 2 * math.pi), (0, 2 * math.pi), spacing, GOLD, flip=True)
    turn = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    return painted(made.turned(turn).moved((0, 1.92, 0), math.radians(22)), (1.0, 0.68, 0.30))


def plinth(spacing: float) -> Patch:
    profile = [
        (0.62, -0.45),
        (0.62, 0.18),
        (0.50, 0.20),
        (0.47, 0.28),
        (0.42, 0.32),
        (0.40, 0.86),
        (0.43, 0.90),
        (0.47, 0.98),
        (0.47, 1.04),
        (0.0, 1.05),
    ]
    p = lathe(profile, spacing, MARBLE)
    vein = np.abs(fbm(p.means, 0.55, 5, 71) - 0.5)[:, None]
    color = np.float32([0.80, 0.78, 0.75]) - np.float32([0.42, 0.40, 0.36]) * np.exp(-vein / 0.018)
    return painted(p, color * (0.9 + 0.2 * fbm(p.means, 0.2, 3, 72)[:, None]))


def spheres(spacing: float) -> Patch:
    """Four polished balls on the floor."""
    blue, red, copper, white = (0.012, 0.055, 0.30), (0.30, 0.03, 0.035), (0.95, 0.52, 0.36), (0.74, 0.71, 0.70)
    made = []
    for angle, radius, size, material, color in (
        (-33, 2.95, 0.46, CERAMIC, blue),
        (24, 3.05, 0.34, COPPER, copper),
        (44, 2.75, 0.21, PEARL, white),
        (196, 2.85, 0.42, PEARL, white),
        (120, 2.9, 0.36, CERAMIC, red),
        (-100, 2.75, 0.28, COPPER, copper),
    ):
        a = math.radians(angle)
        made.append(
            painted(ball(size, spacing * min(1.0, 0.55 + size), material), color).moved(
                (radius * math.sin(a), size, radius * math.cos(a))
            )
        )
    return join(made)


def columns(spacing: float) -> Patch:
    made = []
    for number, (angle, share) in enumerate(COLUMNS):
        a = math.radians(angle)
        made.append(column(share, spacing, 100 + number).moved((RING * math.sin(a), 0, RING * math.cos(a)), a))
    return join(made)


def drums(spacing: float, ground: Ground) -> Patch:
    """Pieces of the fallen columns on the grass. ground(x, z) is its height."""
    made = []
    for number, (x, z, length, turn, sink) in enumerate(
        ((-4.6, 6.1, 0.9, 0.5, 0.07), (3.3, 7.3, 0.7, 2.2, 0.08), (5.6, 4.3, 0.75, 1.2, 0.06))
    ):

        def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
            r = 0.27 - 0.03 * (1 - np.abs(np.sin(6 * u))) ** 1.5
            return np.stack([r * np.sin(u), v, r * np.cos(u)], axis=1)

        side = surface(position, (0, 2 * math.pi), (-length / 2, length / 2), spacing, STONE)
        ends = [
            disc(0, 0.26, spacing, STONE, length / 2),
            disc(0, 0.26, spacing, STONE, length / 2).turned(np.diag([1, -1, -1])),
        ]
        lying = weathered(join([side, *ends]), 300 + number).turned(
            np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
        )
        made.append(lying.moved((x, float(ground(np.float64([x]), np.float64([z]))[0]) + 0.27 - sink, z), turn))
    return join(made)


def water(spacing: float, level: float) -> Patch:
    """The skin of the pool: half transparent over the mirrored temple below it."""
    p = disc(0.62, POOL, spacing, POOL_WATER, level)
    r = np.hypot(p.means[:, 0], p.means[:, 2])
    ripple = 0.10 * np.sin(26 * r) * np.exp(-1.1 * (r - 0.62)) + 0.05 * (fbm(p.means, 0.25, 3, 81) - 0.5)
    outward = p.means * np.float32([1, 0, 1]) / r[:, None]
    normal = unit(np.float32([0, 1, 0]) - ripple[:, None] * outward)
    p = replace(p, axes=frame(normal), opacities=np.full(len(p), 0.30, np.float32))
    return painted(p, (0.010, 0.045, 0.050))
