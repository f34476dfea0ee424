"""The evening sky as a function of direction, the dome of far splats that shows it, and the islands on the horizon."""

from __future__ import annotations

import math

import numpy as np
from noise import fbm
from numpy.typing import NDArray
from shapes import F32, Patch, fibonacci, frame, join, painted, patch, unit

#: Towards the sun: 17 degrees high, from the left of the first camera and a little behind the temple.
SUN = np.float32([-0.88, 0.32, -0.34]) / np.float32(np.linalg.norm([-0.88, 0.32, -0.34]))
#: Linear radiance of sunlight on a surface that faces it, over pi.
SUNLIGHT = np.float32([4.5, 2.65, 1.20])
#: Metres to the dome.
FAR = 420.0

_ZENITH = np.float32([0.035, 0.105, 0.30])
_MIDDLE = np.float32([[0.15, 0.30, 0.50], [0.46, 0.47, 0.47]])  # away from the sun, towards it
_HORIZON = np.float32([[0.50, 0.37, 0.42], [1.05, 0.60, 0.30]])
_GLOW = np.float32([1.25, 0.52, 0.14])


def _sunward(d: F32) -> F32:
    """(..., 1) 0 where the sun is behind, 1 where it is ahead, by compass."""
    flat = np.hypot(d[..., 0], d[..., 2])
    ahead = (d[..., 0] * SUN[0] + d[..., 2] * SUN[2]) / (np.maximum(flat, 1e-3) * np.hypot(SUN[0], SUN[2]))
    return np.asarray(np.clip(0.5 + 0.5 * ahead * np.minimum(1, 3 * flat), 0, 1)[..., None] ** 1.6, np.float32)


def radiance(directions: NDArray[np.floating]) -> F32:
    """(..., 3) linear radiance of the cloudless sky from unit directions (..., 3); below the horizon it is mirrored."""
    d = np.asarray(directions, np.float32)
    y = np.abs(d[..., 1:2])
    low, high, sunward = np.exp(-9.0 * y), np.exp(-2.3 * y), _sunward(d)
    horizon = _HORIZON[0] + (_HORIZON[1] - _HORIZON[0]) * sunward
    middle = _MIDDLE[0] + (_MIDDLE[1] - _MIDDLE[0]) * sunward
    color = horizon * low + (1 - low) * (middle * high + _ZENITH * (1 - high))
    cosine = (d[..., 0] * SUN[0] + d[..., 1] * SUN[1] + d[..., 2] * SUN[2])[..., None]
    return np.asarray(color + _GLOW * (0.45 * np.exp(5 * (cosine - 1)) + 0.9 * np.exp(28 * (cosine - 1))), np.float32)


def with_clouds(directions: F32) -> F32:
    """The same with long thin clouds, lit from the sun's side and from below."""
    d = directions
    high = np.arcsin(np.clip(d[:, 1], -1, 1))
    around = d[:, [0, 2]] / np.maximum(np.hypot(d[:, 0], d[:, 2]), 1e-3)[:, None]
    p = np.stack([around[:, 0] * 2.6, high * (9 - 3 * np.clip(high, 0, 1)), around[:, 1] * 2.6], axis=1)
    p[:, 1] += 0.35 * p[:, 0]
    body = 0.62 * fbm(p, 1.0, 5, 7) + 0.38 * fbm(p * np.float32([0.8, 0.5, 0.8]), 2.2, 3, 9)
    cover = (
        np.clip((body - 0.495) / 0.15, 0, 1) * np.clip((high - 0.02) / 0.08, 0, 1) * np.clip((1.25 - high) / 0.5, 0, 1)
    )
    cover = (cover * cover * (3 - 2 * cover))[:, None]
    sunward = _sunward(d)
    lit = np.float32([0.86, 0.62, 0.55]) + (np.float32([1.5, 0.98, 0.62]) - np.float32([0.86, 0.62, 0.55])) * sunward
    shade = np.float32([0.33, 0.33, 0.44]) + (np.float32([0.70, 0.50, 0.44]) - np.float32([0.33, 0.33, 0.44])) * sunward
    thick = np.clip((body - 0.56) / 0.16, 0, 1)[:, None]
    sky = radiance(d)
    return np.asarray(sky + (lit + (shade - lit) * thick - sky) * 0.80 * cover, np.float32)


def dome(density: float) -> tuple[Patch, F32]:
    """The sky as splats, finest near the horizon where one looks; and their radiance, (N, 3) linear."""
    parts = []
    for step, low, high in ((0.0150, -0.06, 0.36), (0.032, 0.36, 1.0)):
        step /= math.sqrt(density)
        d = fibonacci(round(4 * math.pi / step**2))
        d = d[(d[:, 1] >= low) & (d[:, 1] < high)]
        size = 0.80 * step * FAR
        parts.append(patch(FAR * d, frame(-d), (size, size, 0.05 * size), 0, 0.99))
    glow = FAR * 0.98 * SUN[None]
    parts.append(patch(glow, frame(-SUN[None]), (5.5, 5.5, 0.5), 0, 0.9))
    p = join(parts)
    color = with_clouds(unit(p.means))
    color[-1] = [6.0, 5.2, 4.0]
    return p, color


def islands(density: float, sea_level: float) -> tuple[Patch, F32]:
    """Three ranges of hills behind the haze; and their radiance."""
    parts, colors = [], []
    for number, (azimuth, width, distance, height) in enumerate(
        ((-24, 40, 330, 23), (38, 60, 370, 30), (150, 56, 340, 26), (-118, 36, 380, 22))
    ):
        step = 2.6 / math.sqrt(density)
        a = np.radians(np.arange(azimuth - width / 2, azimuth + width / 2, math.degrees(step / distance)))
        t = np.linspace(0, 1, len(a))
        line = np.stack([a * 9, np.full_like(a, number), np.zeros_like(a)], axis=1)
        ridge = height * np.sin(np.pi * t) ** 0.7 * (0.25 + 1.1 * fbm(line, 1.0, 5, 31 + number))
        rows = np.maximum(1, np.ceil(ridge / step)).astype(int)
        angle = np.repeat(a, rows)
        k = np.arange(rows.sum()) - np.repeat(np.cumsum(rows) - rows, rows)
        y = np.repeat(ridge / rows, rows) * (k + 0.5)  # the last one of each column ends at the ridge
        d = np.stack([np.sin(angle), np.zeros_like(angle), -np.cos(angle)], axis=1)
        means = d * distance + np.float64([0, 1, 0]) * (y[:, None] + sea_level)
        p = patch(means, frame(-d), (0.62 * step, 0.62 * step, 0.3), 0, 0.99)
        haze = np.clip(0.62 + 0.25 * (distance - 330) / 50 - 0.012 * y, 0, 0.9)[:, None]
        slope = fbm(means, 14.0, 4, 41)[:, None]
        rock = np.float32([0.15, 0.17, 0.24]) * (0.7 + 0.6 * slope)
        air = radiance(unit(d + np.float32([0, 0.03, 0])))
        parts.append(painted(p, (1, 1, 1)))
        colors.append((rock + (air * 0.8 - rock) * haze).astype(np.float32))
    return join(parts), np.concatenate(colors)
