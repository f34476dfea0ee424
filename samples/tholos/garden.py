"""The island around the temple: ground, grass, lavender, poppies, cypresses, an olive tree, rocks, and the sea."""

from __future__ import annotations

import math

import numpy as np
from light import BARK, FOLIAGE, GRASS, PETAL, SEA, SOIL, STONE
from noise import fbm, noise
from numpy.typing import NDArray
from shapes import F32, OVERLAP, Patch, Surface, ball, disc, fibonacci, frame, join, painted, patch, surface, unit

SEA_LEVEL = -1.55
_EDGE = 5.75  # where the grass starts, just under the last step
#: Degrees from the first camera's axis, metres from the centre, height, radius.
CYPRESSES = (
    (-146, 7.3, 5.6, 0.52),
    (-134, 8.0, 4.7, 0.46),
    (141, 7.4, 6.2, 0.56),
    (152, 8.1, 5.0, 0.50),
    (-62, 8.2, 5.0, 0.50),
    (-98, 8.6, 4.2, 0.44),
)
OLIVES = ((72, 7.3, 0.3), (-165, 6.9, 2.0))


def height(x: NDArray[np.floating], z: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) height of the ground at x, z: a mound that falls to a rugged shore and on under the sea."""
    r, a = np.hypot(x, z), np.arctan2(x, z)
    round_ = np.stack([np.cos(a) * 2.2, np.sin(a) * 2.2, np.zeros_like(a)], axis=1)
    shore = 11.6 + 3.4 * (fbm(round_ + 9.0, 1.6, 3, 201) - 0.45)
    flat = np.stack([x, np.zeros_like(x), z], axis=1)
    bumps = 0.42 * (fbm(flat, 2.6, 4, 202) - 0.5)
    t = np.clip((r - 6.6) / (shore - 6.6), 0, 2)
    inner = np.clip((r - _EDGE) / 1.2, 0, 1)
    return np.asarray(-0.42 - 1.0 * t**2.2 + bumps * inner * np.clip(1.6 - t, 0.3, 1), np.float64)


def _slope(x: NDArray[np.floating], z: NDArray[np.floating]) -> F32:
    h = 0.05
    gx, gz = (height(x + h, z) - height(x - h, z)) / (2 * h), (height(x, z + h) - height(x, z - h)) / (2 * h)
    return unit(np.stack([-gx, np.ones_like(gx), -gz], axis=1))


def _lush(points: NDArray[np.floating]) -> F32:
    """0..1: how green it is, low where the rock and the sand show."""
    p = np.asarray(points) * np.float64([1, 0, 1])
    return np.asarray(np.clip(2.4 * fbm(p, 2.2, 3, 211) - 0.62, 0, 1), np.float32)


def ground(spacing: float) -> Patch:
    p = disc(5.3, 15.5, spacing, SOIL)
    x, z = p.means[:, 0].astype(np.float64), p.means[:, 2].astype(np.float64)
    p.means[:, 1] = height(x, z)
    p = patch(p.means, frame(_slope(x, z)), p.scales * np.float32([1.1, 1.1, 1]), SOIL, 0.99)
    p = p.take(p.means[:, 1] > SEA_LEVEL - 0.6)
    lush, grain = _lush(p.means)[:, None], fbm(p.means, 0.35, 4, 212)[:, None]
    earth, moss, sand = (
        np.float32([0.30, 0.235, 0.15]),
        np.float32([0.115, 0.13, 0.035]),
        np.float32([0.60, 0.50, 0.36]),
    )
    color = (earth + (moss - earth) * lush) * (0.6 + 0.8 * grain)
    beach = np.clip((-1.12 - p.means[:, 1] + 0.25 * (grain[:, 0] - 0.5)) / 0.22, 0, 1)[:, None]
    color = color + (sand * (0.75 + 0.5 * grain) - color) * beach
    wet = np.clip((SEA_LEVEL + 0.13 - p.means[:, 1]) / 0.1, 0, 1)[:, None]
    return painted(p, color * (1 - 0.55 * wet))


def _blades(roots: NDArray[np.float64], tall: NDArray[np.float64], rng: np.random.Generator, width: float) -> Patch:
    """Two needles a blade: an upright foot and a tip bent by the wind."""
    n = len(roots)
    lean = rng.normal(0, 0.34, (n, 3)) + np.float64([0.25, 0, 0.10])
    foot = unit(lean * np.float64([0.5, 0, 0.5]) + np.float64([0, 1, 0])).astype(np.float64)
    tip = unit(lean * np.float64([1.7, 0, 1.7]) + np.float64([0, 1, 0])).astype(np.float64)
    half = tall[:, None] / 2
    means = np.concatenate([roots + foot * half * 0.5, roots + foot * half + tip * half * 0.5])
    along = np.concatenate([foot, tip])
    side = unit(rng.normal(size=(2 * n, 3)) * np.float64([1, 0.2, 1]))
    axes = frame(side, along)
    size = np.concatenate([tall, tall])
    wide = np.concatenate([np.full(n, width), np.full(n, 0.7 * width)])
    return patch(means, axes, np.stack([0.21 * size, wide, 0.3 * wide], axis=1), GRASS, 0.92)


def grass(count: int, rng: np.random.Generator) -> Patch:
    """Tufts on the green parts, thicker near the steps; darker at the root, golden at the tip."""
    n = count // 2
    pool = 4 * n
    r, a = np.sqrt(rng.uniform(_EDGE**2, 12.2**2, pool)), rng.uniform(0, 2 * math.pi, pool)
    x, z = r * np.sin(a), r * np.cos(a)
    flat = np.stack([x, np.zeros(pool), z], axis=1)
    tuft = noise(flat, 0.17, 221)
    chance = (0.14 + _lush(flat)) * (0.25 + 1.5 * tuft**2) * np.clip((12.0 - r) / 2.0, 0, 1)
    y = height(x, z)
    chance = np.where(y < -1.15, 0, chance)
    rows = np.sort(rng.choice(pool, n, replace=False, p=chance / chance.sum()))
    roots = np.stack([x, y - 0.02, z], axis=1)[rows]
    tall = (0.16 + 0.26 * tuft[rows] * rng.uniform(0.6, 1.2, n)) * (0.7 + 0.5 * fbm(flat[rows], 1.7, 2, 222))
    p = _blades(roots, tall, rng, 0.0085)
    hue = fbm(np.concatenate([roots, roots]), 1.1, 3, 223)[:, None]
    dry, green = np.float32([0.40, 0.33, 0.10]), np.float32([0.135, 0.21, 0.035])
    color = green + (dry - green) * np.clip(2.2 * hue - 0.75 + rng.normal(0, 0.12, (2 * n, 1)), 0, 1)
    shade = np.concatenate([np.full(n, 0.62), np.full(n, 1.15)])[:, None]
    return painted(p, color * shade)


def flowers(count: int, rng: np.random.Generator) -> Patch:
    """Lavender in drifts, poppies scattered: heads on thin stems."""
    made = []
    n = count // 5
    drifts = np.float64(
        [[-2.9, 7.9], [1.7, 8.3], [6.6, 5.2], [-7.2, 4.6], [-7.0, -4.0], [0.6, -8.2], [7.3, -3.4], [4.4, 7.4]]
    )
    center = drifts[rng.integers(0, len(drifts), n)]
    xz = center + rng.normal(0, 1, (n, 2)) * np.float64([0.55, 0.42])
    xz = xz[np.hypot(xz[:, 0], xz[:, 1]) > _EDGE + 0.15]
    n = len(xz)
    y = height(xz[:, 0], xz[:, 1])
    roots = np.stack([xz[:, 0], y, xz[:, 1]], axis=1)
    tall = rng.uniform(0.30, 0.50, n)
    up = unit(rng.normal(0, 0.13, (n, 3)) + np.float64([0.08, 1, 0.03])).astype(np.float64)
    stem = patch(
        roots + up * tall[:, None] * 0.45,
        frame(unit(rng.normal(size=(n, 3))), up),
        np.stack([0.24 * tall, np.full(n, 0.004), np.full(n, 0.003)], axis=1),
        GRASS,
        0.9,
    )
    made.append(painted(stem, (0.17, 0.24, 0.09)))
    for k in range(3):
        at = roots + up * (tall * (0.80 + 0.13 * k))[:, None]
        head = patch(
            at, frame(unit(rng.normal(size=(n, 3))), up), (0.026, 0.0145 - 0.002 * k, 0.0145 - 0.002 * k), PETAL, 0.95
        )
        tint = np.float32([0.26, 0.13, 0.52]) * rng.uniform(0.75, 1.35, (n, 1)) + np.float32([0.05, 0, 0.05]) * k
        made.append(painted(head, tint))
    m = count // 22
    r, a = np.sqrt(rng.uniform(6.0**2, 10.3**2, 6 * m)), rng.uniform(0, 2 * math.pi, 6 * m)
    x, z = r * np.sin(a), r * np.cos(a)
    flat = np.stack([x, np.zeros_like(x), z], axis=1)
    chance = np.clip(fbm(flat, 1.6, 3, 231) - 0.42, 0, 1) ** 2 + 1e-5
    rows = np.sort(rng.choice(6 * m, m, replace=False, p=chance / chance.sum()))
    x, z = x[rows], z[rows]
    top = np.stack([x, height(x, z) + rng.uniform(0.22, 0.38, m), z], axis=1)
    for k in range(4):
        turn = k * math.pi / 2 + rng.uniform(0, 2, m)
        out = np.stack([np.cos(turn), np.full(m, 0.45), np.sin(turn)], axis=1)
        normal = unit(np.stack([-0.55 * np.cos(turn), np.ones(m), -0.55 * np.sin(turn)], axis=1))
        petal = patch(top + 0.020 * unit(out), frame(normal, out), (0.019, 0.021, 0.003), PETAL, 0.93)
        made.append(painted(petal, np.float32([0.72, 0.055, 0.022]) * rng.uniform(0.75, 1.2, (m, 1))))
    heart = patch(
        top + np.float64([0, 0.006, 0]),
        frame(np.tile(np.float32([0, 1, 0]), (m, 1))),
        (0.008, 0.008, 0.006),
        PETAL,
        0.95,
    )
    made.append(painted(heart, (0.03, 0.02, 0.02)))
    return join(made)


def cypress(tall: float, radius: float, count: int, rng: np.random.Generator) -> Patch:
    """A spindle of upright sprays over a dark heart."""
    t = rng.beta(1.15, 1.5, count)
    a = rng.uniform(0, 2 * math.pi, count)
    outline = np.interp(t, [0, 0.05, 0.22, 0.5, 0.8, 1.0], [0.30, 0.75, 1.0, 0.86, 0.48, 0.03])
    lumps = 0.80 + 0.5 * noise(np.stack([np.cos(a) * 1.3, t * tall * 1.6, np.sin(a) * 1.3], axis=1), 0.5, 241)
    r = radius * outline * lumps * np.sqrt(rng.uniform(0.42, 1.0, count))
    out = np.stack([np.sin(a), np.zeros(count), np.cos(a)], axis=1)
    means = out * r[:, None] + np.float64([0, 1, 0]) * (0.12 + t * tall)[:, None]
    along = unit(out * 0.45 + np.float64([0, 1, 0]) + rng.normal(0, 0.22, (count, 3)))
    normal = unit(out + np.float64([0, 0.35, 0]) + rng.normal(0, 0.45, (count, 3)))
    size = rng.uniform(0.7, 1.35, count)[:, None] * np.float64([0.070, 0.021, 0.012])
    leaves = patch(means, frame(normal, along), size, FOLIAGE, 0.95)
    tint = (
        np.float32([0.034, 0.060, 0.028])
        * (0.65 + 0.8 * noise(means, 0.3, 242)[:, None])
        * rng.uniform(0.8, 1.25, (count, 1))
    )
    m = max(12, count // 30)
    heart_t = np.linspace(0.04, 0.9, m)
    heart_r = radius * np.interp(heart_t, [0, 0.05, 0.22, 0.5, 0.8, 1.0], [0.30, 0.75, 1.0, 0.86, 0.48, 0.03]) * 0.42
    heart = patch(
        np.stack([np.zeros(m), 0.12 + heart_t * tall, np.zeros(m)], axis=1),
        frame(np.tile(np.float32([1, 0, 0]), (m, 1))),
        np.stack([np.full(m, tall / m * 0.9), heart_r, heart_r], axis=1),
        FOLIAGE,
        0.97,
    )
    trunk = ball(0.10, 0.03, BARK)
    trunk = patch(trunk.means * np.float32([1, 4, 1]), trunk.axes, trunk.scales * np.float32([2, 1, 1]), BARK)
    return join([painted(leaves, tint), painted(heart, (0.010, 0.016, 0.008)), painted(trunk, (0.10, 0.075, 0.05))])


def olive(count: int, spacing: float, rng: np.random.Generator) -> Patch:
    """A leaning trunk that forks, and round crowns of narrow silver leaves."""
    parts = []
    tips = np.float64(
        [[0.75, 2.35, 0.15], [-0.70, 2.45, 0.35], [0.05, 2.75, -0.55], [0.15, 2.05, 0.85], [-0.45, 1.95, -0.75]]
    )
    fork = np.float64([0.12, 0.95, 0.05])
    for end, thick, start in [(fork, 0.17, np.float64([0, -0.15, 0])), *((tip, 0.08, fork) for tip in tips)]:
        made = surface(_branch(start, end, thick), (0, 2 * math.pi), (0, 1), spacing, BARK, flip=True)
        bark = fbm(made.means * np.float32([1, 0.3, 1]), 0.12, 3, 251)[:, None]
        parts.append(painted(made, np.float32([0.22, 0.18, 0.14]) * (0.5 + bark)))
    size = np.float64([0.62, 0.60, 0.66, 0.55, 0.52])
    which = rng.choice(5, count, p=size**2 / (size**2).sum())
    out = unit(rng.normal(size=(count, 3))).astype(np.float64)
    lumps = 0.75 + 0.55 * noise(out * 1.4 + which[:, None] * 5.0, 0.6, 252)
    means = tips[which] + out * (size[which] * lumps * rng.uniform(0.35, 1, count) ** 0.4)[:, None] * np.float64(
        [1, 0.74, 1]
    )
    along = unit(out * 0.4 + rng.normal(0, 0.8, (count, 3)) - np.float64([0, 0.25, 0]))
    normal = unit(out + np.float64([0, 0.5, 0]) + rng.normal(0, 0.55, (count, 3)))
    leaf = patch(
        means,
        frame(normal, along),
        rng.uniform(0.75, 1.3, (count, 1)) * np.float64([0.040, 0.012, 0.004]),
        FOLIAGE,
        0.93,
    )
    tint = np.float32([0.20, 0.235, 0.13]) * (0.6 + 0.7 * rng.random((count, 1)))
    return join([*parts, painted(leaf, tint)])


def _branch(start: NDArray[np.float64], end: NDArray[np.float64], thick: float) -> Surface:
    """A tapering, twisted, slightly bent tube."""
    side = unit(np.cross(end - start, [0.2, 0.1, 1.0])).astype(np.float64)
    other = unit(np.cross(end - start, side)).astype(np.float64)

    def position(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
        bend = np.float64([0.10, 0, -0.08]) * np.sin(math.pi * v)[:, None]
        r = (thick * (1.15 - 0.55 * v) * (1 + 0.20 * np.sin(3 * u + 5 * v)))[:, None]
        around = r * (np.cos(u)[:, None] * side + np.sin(u)[:, None] * other)
        return np.asarray(start + (end - start) * v[:, None] + bend + around)

    return position


def trees(density: float, rng: np.random.Generator) -> Patch:
    made = []
    for angle, far, tall, radius in CYPRESSES:
        a = math.radians(angle)
        x, z = far * math.sin(a), far * math.cos(a)
        y = float(height(np.float64([x]), np.float64([z]))[0])
        made.append(cypress(tall, radius, round(6200 * density * tall / 5), rng).moved((x, y, z), a))
    for angle, far, turn in OLIVES:
        a = math.radians(angle)
        x, z = far * math.sin(a), far * math.cos(a)
        y = float(height(np.float64([x]), np.float64([z]))[0])
        made.append(olive(round(9500 * density), 0.034 / math.sqrt(density), rng).moved((x, y, z), turn))
    return join(made)


def rocks(spacing: float, rng: np.random.Generator) -> Patch:
    """Boulders along the shore."""
    made = []
    for number in range(26):
        a, r = rng.uniform(0, 2 * math.pi), rng.uniform(10.2, 13.4)
        x, z = r * math.sin(a), r * math.cos(a)
        y = float(height(np.float64([x]), np.float64([z]))[0])
        size = rng.uniform(0.22, 0.62)
        stretch = rng.uniform(0.7, 1.3, 3) * np.float64([1, 0.72, 1])

        d = fibonacci(max(60, round(4 * math.pi * size**2 / spacing**2)))

        def bump(v: F32, number: int = number) -> F32:
            return 0.62 + 0.75 * fbm(v * 1.1 + number * 7.0, 1.0, 4, 261)

        means = d * (size * bump(d))[:, None] * stretch
        h = 0.02
        axes = frame(d).astype(np.float64)
        da, db = unit(d + h * axes[:, 0]), unit(d + h * axes[:, 1])
        pa, pb = (v * (size * bump(v))[:, None] * stretch - means for v in (da, db))
        normal = np.cross(pa, pb)
        disc_size = OVERLAP * 1.25 * math.sqrt(4 * math.pi / len(d)) * size
        rock = patch(means, frame(normal), (disc_size, disc_size, 0.2 * disc_size), STONE)
        tone = np.float32([0.33, 0.30, 0.26]) * (0.5 + fbm(means + number, 0.25, 4, 262)[:, None])
        rock = painted(rock, tone).moved((x, max(y, SEA_LEVEL - 0.05) + 0.1 * size, z), rng.uniform(0, 6))
        wet = np.clip((SEA_LEVEL + 0.16 - rock.means[:, 1]) / 0.12, 0, 1)[:, None]
        made.append(
            painted(
                rock.take(rock.means[:, 1] > SEA_LEVEL - 0.15),
                (rock.albedo * (1 - 0.6 * wet))[rock.means[:, 1] > SEA_LEVEL - 0.15],
            )
        )
    return join(made)


def sea(density: float, far: float) -> Patch:
    """Rings of discs from the shore to the horizon, as wide as they are far; normals follow the swell."""
    means, across, along = [], [], []
    r, row = 8.8, 0
    while r < far:
        wide = (0.0185 * r + 0.10) / math.sqrt(density)
        deep = 1.9 * wide
        n = round(2 * math.pi * r / wide)
        a = (np.arange(n) + 0.5 * (row % 2)) * 2 * math.pi / n
        means.append(np.stack([r * np.sin(a), np.full(n, SEA_LEVEL), r * np.cos(a)], axis=1))
        across.append(np.full(n, OVERLAP * 1.08 * wide))
        along.append(np.full(n, OVERLAP * 1.08 * deep))
        r, row = r + deep, row + 1
    x = np.concatenate(means)
    keep = height(x[:, 0], x[:, 2]) < SEA_LEVEL + 0.12
    keep |= np.hypot(x[:, 0], x[:, 2]) > 16
    x, wide_, deep_ = x[keep], np.concatenate(across)[keep], np.concatenate(along)[keep]
    step = 0.15

    def swell(p: NDArray[np.float64]) -> NDArray[np.float64]:
        stretched = p * np.float64([0.55, 1, 1.0])
        return (
            0.26 * fbm(stretched, 2.4, 3, 271) + 0.12 * fbm(stretched, 0.7, 2, 272) + 0.4 * fbm(stretched, 9.0, 2, 273)
        )

    slope_x = (swell(x + np.float64([step, 0, 0])) - swell(x)) / step
    slope_z = (swell(x + np.float64([0, 0, step])) - swell(x)) / step
    normal = unit(np.stack([-slope_x, np.ones(len(x)), -slope_z], axis=1))
    radial = x * np.float64([1, 0, 1])
    p = patch(
        x,
        frame(np.tile(np.float32([0, 1, 0]), (len(x), 1)), np.cross(radial, [0, 1, 0])),
        np.stack([wide_, deep_, 0.04 * wide_], axis=1),
        SEA,
        0.99,
    )
    # Lighting sees the waves, the disc itself stays level so that no gaps open at grazing angles.
    p = painted(p, _sea_color(x))
    p.axes[:, 2] = normal
    return p


def _sea_color(x: NDArray[np.float64]) -> F32:
    """Turquoise over the sand, deep blue-green further out, foam along the shore."""
    depth = SEA_LEVEL - height(x[:, 0], x[:, 2])
    depth = np.where(np.hypot(x[:, 0], x[:, 2]) > 16, 3.0, depth)
    t = np.clip(depth / 1.0, 0, 1)[:, None]
    color = np.float32([0.10, 0.26, 0.24]) * (1 - t) + np.float32([0.010, 0.060, 0.085]) * t
    lace = fbm(x, 0.5, 3, 281)
    foam = np.clip((0.30 + 0.22 * (lace - 0.5) - depth) / 0.12, 0, 1) * np.clip(3.2 * lace - 1.0, 0, 1)
    return (color + (np.float32([0.8, 0.8, 0.76]) - color) * (0.8 * foam[:, None])).astype(np.float32)
