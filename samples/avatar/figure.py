"""The figure's surface: rounded shapes as signed distances, discs spread evenly over them, colours under a baked light.

Metres; y up, z towards the viewer, x to the figure's left. Distance functions after Quilez, "distance functions"
(iquilezles.org/articles/distfunctions), MIT.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Distance = Callable[[F64], F64]

#: Points tried for each part.
CANDIDATES = 22_000
HEAD, HEAD_RADII = np.array([0.0, 0.745, 0.0]), np.array([0.168, 0.152, 0.150])
EYES = np.array([[0.060, 0.752], [-0.060, 0.752]])  # x and y: left, right
EYE_RADII = np.array([0.0185, 0.0285])
MOUTH = np.array([0.0, 0.672])
BROWS = np.array([[0.062, 0.803], [-0.062, 0.803]])
#: Direction to the sun.
SUN = np.array([-0.45, 0.75, 0.62]) / np.linalg.norm([-0.45, 0.75, 0.62])


def ellipsoid(p: F64, centre: F64, radii: F64) -> F64:
    q = (p - centre) / radii
    k0 = np.linalg.norm(q, axis=1)
    k1 = np.linalg.norm(q / radii, axis=1)
    return k0 * (k0 - 1) / np.maximum(k1, 1e-9)


def cone(p: F64, a: F64, b: F64, ra: float, rb: float) -> F64:
    """A capsule whose radius goes from ra at a to rb at b."""
    axis = np.asarray(b, float) - a
    h = np.clip((p - a) @ axis / (axis @ axis), 0, 1)
    return np.linalg.norm(p - a - h[:, None] * axis, axis=1) - (ra + (rb - ra) * h)


def ring(p: F64, centre: F64, tilt: float, radii: tuple[float, float], thick: float) -> F64:
    """An elliptic torus about y, tilted about x (front up), its section a circle of radius `thick`."""
    c, s = np.cos(tilt), np.sin(tilt)
    q = p - centre
    y, z = c * q[:, 1] - s * q[:, 2], s * q[:, 1] + c * q[:, 2]
    flat = np.hypot(q[:, 0] / radii[0], z / radii[1])
    return np.hypot((flat - 1) * min(radii), y) - thick


def smooth_min(k: float, *parts: F64) -> F64:
    """The least, with edges rounded over k metres."""
    out = parts[0]
    for one in parts[1:]:
        h = np.maximum(k - np.abs(out - one), 0) / k
        out = np.minimum(out, one) - h * h * k / 4
    return out


def ripples(p: F64, scale: float) -> F64:
    """-1 to 1: a cheap noise of nine waves."""
    total = np.zeros(len(p))
    for i in range(9):
        d = np.array([np.sin(i * 2.4 + 0.3), np.cos(i * 1.7), np.sin(i * 3.1 + 1)])
        total += np.sin(p @ d * scale * (1 + 0.35 * i) + i * 1.3) / (1 + 0.25 * i)
    return total / 3


def v(*xyz: float) -> F64:
    return np.array(xyz, float)


def mirrored(p: F64) -> F64:
    """As if everything were on the left."""
    return np.abs(p) * [1, 0, 0] + p * [0, 1, 1]


def head(p: F64) -> F64:
    cheeks = ellipsoid(mirrored(p), v(0.072, 0.702, 0.062), v(0.075, 0.062, 0.070))
    return smooth_min(0.05, ellipsoid(p, HEAD, HEAD_RADII), cheeks)


def coat(p: F64) -> F64:
    skirt = cone(p, v(0, 0.330, 0), v(0, 0.55, 0), 0.150, 0.088)
    flare = ellipsoid(p, v(0, 0.325, 0), v(0.172, 0.065, 0.150))
    return np.maximum(smooth_min(0.05, skirt, flare), 0.292 - p[:, 1])


def sleeve(p: F64) -> F64:
    q = mirrored(p)
    upper = cone(q, v(0.088, 0.560, 0), v(0.178, 0.470, 0), 0.046, 0.043)
    return smooth_min(0.03, upper, cone(q, v(0.178, 0.470, 0), v(0.238, 0.400, 0.012), 0.043, 0.047))


def mitten(p: F64) -> F64:
    q = mirrored(p)
    hand = ellipsoid(q, v(0.266, 0.362, 0.018), v(0.040, 0.044, 0.036))
    return smooth_min(0.02, hand, cone(q, v(0.250, 0.372, 0.040), v(0.246, 0.356, 0.064), 0.017, 0.014))


def leg(p: F64) -> F64:
    q = mirrored(p)
    thigh = cone(q, v(0.062, 0.34, 0), v(0.068, 0.205, 0.004), 0.056, 0.050)
    return smooth_min(0.02, thigh, cone(q, v(0.068, 0.205, 0.004), v(0.072, 0.09, 0), 0.050, 0.046))


def boot(p: F64) -> F64:
    q = mirrored(p)
    shaft = cone(q, v(0.072, 0.135, 0), v(0.072, 0.075, 0), 0.055, 0.054)
    toe = ellipsoid(q, v(0.076, 0.045, 0.042), v(0.058, 0.047, 0.088))
    return np.maximum(smooth_min(0.03, shaft, toe), 0.004 - p[:, 1])


def hat(p: F64) -> F64:
    bowl = ellipsoid(p, v(0, 0.835, -0.012), v(0.158, 0.105, 0.148))
    lower = cone(p, v(0, 0.865, -0.018), v(0.004, 1.000, -0.052), 0.132, 0.070)
    upper = cone(p, v(0.004, 1.000, -0.052), v(0.042, 1.095, -0.110), 0.070, 0.030)
    return np.maximum(smooth_min(0.05, bowl, lower, upper), 0.815 + 0.25 * p[:, 2] - p[:, 1])


def hair(p: F64) -> F64:
    back = ellipsoid(p, v(0, 0.765, -0.028), v(0.174, 0.135, 0.146))
    back = np.maximum(back, p[:, 2] - 0.052 + 0.6 * (p[:, 1] - 0.76))
    parts = [back]
    for x, y, z, r in ((0.098, 0.832, 0.118, 0.021), (0.066, 0.846, 0.140, 0.022), (0.030, 0.850, 0.152, 0.023),
                       (-0.008, 0.849, 0.155, 0.024), (-0.048, 0.846, 0.148, 0.023), (-0.088, 0.836, 0.126, 0.022)):
        parts.append(cone(p, v(x, y, z), v(x * 1.05 - 0.016, y - 0.034, z + 0.004), r, 0.007))
    return smooth_min(0.012, *parts)


#: Name: distance, spacing of its discs in metres, colour (sRGB).
PARTS: dict[str, tuple[Distance, float, tuple[float, float, float]]] = {
    "head": (head, 0.0058, (0.98, 0.80, 0.68)),
    "nose": (lambda p: ellipsoid(p, v(0, 0.716, 0.158), v(0.022, 0.019, 0.019)), 0.0041, (0.97, 0.66, 0.56)),
    "ears": (lambda p: ellipsoid(mirrored(p), v(0.170, 0.735, -0.005), v(0.020, 0.032, 0.022)), 0.0053,
             (0.96, 0.72, 0.61)),
    "hair": (hair, 0.0071, (0.42, 0.24, 0.14)),
    "hat": (hat, 0.0079, (0.84, 0.27, 0.18)),
    "brim": (lambda p: ring(p, v(0, 0.842, -0.006), 0.26, (0.162, 0.154), 0.029) - 0.003 * ripples(p, 150), 0.0073,
             (0.97, 0.93, 0.84)),
    "bobble": (lambda p: ellipsoid(p, v(0.055, 1.118, -0.130), v(0.046, 0.046, 0.046)) - 0.004 * ripples(p, 130),
               0.0073, (0.98, 0.94, 0.86)),
    "coat": (coat, 0.0079, (0.13, 0.47, 0.50)),
    "sleeves": (sleeve, 0.0076, (0.13, 0.47, 0.50)),
    "hem": (lambda p: ring(p, v(0, 0.298, 0), 0, (0.166, 0.146), 0.018) - 0.002 * ripples(p, 150), 0.0073,
            (0.97, 0.93, 0.84)),
    "cuffs": (lambda p: cone(mirrored(p), v(0.228, 0.412, 0.010), v(0.240, 0.397, 0.013), 0.052, 0.053), 0.0073,
              (0.97, 0.93, 0.84)),
    "mittens": (mitten, 0.0069, (0.84, 0.27, 0.18)),
    "scarf": (lambda p: ring(p, v(0, 0.588, 0.004), -0.10, (0.098, 0.090), 0.036) - 0.002 * ripples(p, 120), 0.0073,
              (0.95, 0.70, 0.20)),
    "scarf end": (lambda p: cone((p - v(0.055, 0, 0)) * [1, 1, 1.6] + v(0.055, 0, 0), v(0.060, 0.572, 0.160),
                                 v(0.074, 0.440, 0.218), 0.027, 0.036), 0.0073, (0.95, 0.70, 0.20)),
    "legs": (leg, 0.0082, (0.21, 0.22, 0.36)),
    "boots": (boot, 0.0079, (0.50, 0.29, 0.16)),
    "buttons": (lambda p: np.minimum(ellipsoid(p, v(-0.030, 0.475, 0.117), v(0.015, 0.015, 0.009)),
                                     ellipsoid(p, v(-0.030, 0.405, 0.136), v(0.015, 0.015, 0.009))), 0.0043,
                (0.98, 0.80, 0.32)),
}  # fmt: skip


#: Parts of one body that turn against each other: what one hides of the other shows when they do.
MEETING = {"sleeves": ("coat",), "coat": ("sleeves",), "legs": ("boots", "coat"), "mittens": ("cuffs",)}
#: Parts with a second, coarse layer inside: how deep, and its spacing, metres.
CORES, CORE_DEPTH, CORE_SPACING = ("head", "hair", "hat", "coat"), 0.022, 0.021


def whole(p: F64) -> F64:
    """Distance to all of it."""
    return np.min([distance(p) for distance, _, _ in PARTS.values()], axis=0)


def gradient(distance: Distance, p: F64, step: float = 1e-4) -> F64:
    offsets = step * np.eye(3)
    d = np.stack([distance(p + o) - distance(p - o) for o in offsets], axis=1)
    return d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12)


def spread(points: F64, spacing: float) -> Ints:
    """Rows none of which is nearer than `spacing` to another chosen before it, first come first served."""
    cells = np.floor(points / spacing).astype(int)
    taken: dict[tuple[int, int, int], list[int]] = {}
    chosen = list[int]()
    around = [(i, j, k) for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)]
    limit, xyz = spacing * spacing, points.tolist()
    for row, (a, b, c) in enumerate(cells.tolist()):
        x, y, z = xyz[row]
        for i, j, k in around:
            for other in taken.get((a + i, b + j, c + k), ()):
                q = xyz[other]
                if (q[0] - x) ** 2 + (q[1] - y) ** 2 + (q[2] - z) ** 2 < limit:
                    break
            else:
                continue
            break
        else:
            taken.setdefault((a, b, c), []).append(row)
            chosen.append(row)
    return np.array(chosen)


def surface(
    distance: Distance, spacing: float, hidden_by: list[Distance], density: float, rng: np.random.Generator
) -> tuple[F64, F64]:
    """Points spread over a shape where no other hides it, and normals."""
    tried, spacing = round(CANDIDATES * density), spacing / np.sqrt(density)
    coarse = rng.uniform([-0.33, 0, -0.24], [0.33, 1.18, 0.28], (round(60_000 * density), 3))
    near = coarse[np.argsort(np.abs(distance(coarse)))[: tried // 8]]
    p = near[rng.integers(0, len(near), tried)] + rng.normal(0, 0.012, (tried, 3))
    for _ in range(5):
        p = p - gradient(distance, p) * distance(p)[:, None]
    p = p[np.abs(distance(p)) < 5e-4]
    p = p[spread(p, spacing)]
    p = p[np.min([other(p) for other in hidden_by], axis=0) > -0.004] if hidden_by else p
    return p, gradient(distance, p, 1e-3)


def lit(p: F64, normals: F64, albedo: F64) -> F64:
    """(N, 3) sRGB of a matt surface under sun and sky, with contact shadows from the distances themselves."""
    occluded, shadow = np.zeros(len(p)), np.ones(len(p))
    for i, step in enumerate((0.010, 0.022, 0.045, 0.08)):
        occluded += np.clip(step - whole(p + normals * step), 0, None) / step * 0.34 / (1 + 0.5 * i)
    start, t = p + normals * 0.006, 0.012
    for _ in range(12):
        shadow = np.minimum(shadow, np.clip(0.5 + 7 * whole(start + SUN * t) / t, 0, 1))
        t *= 1.32
    open_ = np.clip(1 - occluded, 0.25, 1)
    sun = np.clip((normals @ SUN + 0.25) / 1.25, 0, None) ** 1.1 * (0.25 + 0.75 * shadow)
    sky = 0.55 + 0.45 * normals[:, 1]
    bounce = np.clip(-normals[:, 1], 0, 1)
    light = sun[:, None] * [0.86, 0.80, 0.70] + (open_ * sky)[:, None] * [0.44, 0.49, 0.56]
    light = light + (open_ * bounce)[:, None] * [0.12, 0.10, 0.08] + open_[:, None] * [0.08, 0.07, 0.07]
    linear = np.asarray(albedo, float) ** 2.2 * light
    linear = linear * (1 + 0.10 * linear) / (1 + 0.22 * linear)  # a soft shoulder
    return np.clip(linear, 0, 1) ** (1 / 2.2)


def painted(name: str, p: F64) -> F64:
    """(N, 3) albedo, sRGB: a part's colour and its pattern."""
    base = np.tile(np.array(PARTS[name][2]), (len(p), 1))
    if name == "head":
        side = np.stack([np.abs(p[:, 0]) - 0.100, p[:, 1] - 0.700], axis=1)
        rosy = 0.60 * np.exp(-(side**2).sum(axis=1) / 0.030**2) * (p[:, 2] > 0)
        base = base + rosy[:, None] * (np.array([0.98, 0.52, 0.46]) - base)
    if name in ("hat", "mittens"):
        knit = 0.5 + 0.5 * np.sin(p[:, 1] * 2 * np.pi / 0.026 + 0.8 * np.sin(np.arctan2(p[:, 0], p[:, 2]) * 14))
        base = base * (0.90 + 0.14 * knit[:, None])
    if name == "hat":
        band = np.exp(-(((p[:, 1] - 0.925 - 0.2 * p[:, 2]) / 0.016) ** 2))
        base = base + band[:, None] * (np.array([0.96, 0.72, 0.30]) - base)
    if name in ("scarf", "scarf end"):
        turn = np.arctan2(p[:, 0], p[:, 2]) * 9 if name == "scarf" else p[:, 1] * 2 * np.pi / 0.048 + 1.2
        stripe = np.clip(4 * np.sin(turn) - 1.6, 0, 1)
        base = base + stripe[:, None] * (np.array([0.80, 0.33, 0.20]) - base)
    if name in ("coat", "sleeves"):
        base = base * (1 + 0.05 * ripples(p, 60)[:, None])
        if name == "coat":
            seam = np.exp(-(((p[:, 0] + 0.002) / 0.006) ** 2)) * (p[:, 2] > 0.03)
            base = base * (1 - 0.35 * seam[:, None])
    if name == "boots":
        base = base * np.where(p[:, 1:2] < 0.022, 0.45, 1.0)
    if name == "hair":
        base = base * (1 + 0.22 * np.sin(p[:, 0:1] * 190 + 9 * p[:, 1:2]))
    if name in ("brim", "bobble", "hem", "cuffs"):
        base = base * (0.97 + 0.05 * ripples(p, 190)[:, None])
    return np.clip(base, 0.02, 1)


@dataclass(frozen=True)
class Surface:
    """N discs. tags: which part each is of; spacing (N,) metres; colors (N, 3) sRGB, lit.

    plane (N, 2): for patches of the face where on the patch, -1 to 1; zeros elsewhere.
    """

    positions: F64
    normals: F64
    colors: F64
    spacing: F64
    tags: NDArray[np.str_]
    plane: F64


def on_face(x: F64, y: F64, lift: float = 0.0) -> tuple[F64, F64]:
    """Points of the face's surface above the plane coordinates x and y, lifted along the normal, and normals."""
    p = np.stack([x, y, np.full(len(x), 0.30)], axis=1)
    for _ in range(60):
        p[:, 2] -= 0.7 * head(p)
    n = gradient(head, p)
    return p + n * lift, n


def _disc_grid(step: float) -> F64:
    """(N, 2) of a triangular grid in the unit circle."""
    x, rows = np.arange(-1, 1 + step, step), np.arange(-1, 1 + step, step * 0.866)
    grid = [np.stack([x + (i % 2) * step / 2, np.full(len(x), y)], axis=1) for i, y in enumerate(rows)]
    flat = np.concatenate(grid)
    return flat[(flat**2).sum(axis=1) <= 1]


def patches() -> list[Surface]:
    """What is painted on the face, as discs of its own that can move: eyes, their lights, brows and mouth."""
    made = []

    def add(tag: str, xy: F64, plane: F64, colors: F64, spacing: float, lift: float) -> None:
        p, n = on_face(xy[:, 0], xy[:, 1], lift)
        made.append(Surface(p, n, colors, np.full(len(p), spacing), np.full(len(p), tag), plane))

    for side, centre in zip(("left", "right"), EYES, strict=True):
        grid = _disc_grid(0.135)
        glow = np.clip(-grid[:, 1:2] - 0.15, 0, 1) * np.clip(1.4 - 1.2 * (grid**2).sum(axis=1, keepdims=True), 0, 1)
        dark = np.array([0.10, 0.055, 0.045]) + glow * np.array([0.42, 0.22, 0.10])
        add(f"eye {side}", centre + grid * EYE_RADII, grid, dark, 0.0031, 0.0040)
        small = _disc_grid(0.34)
        for at, size in (((-0.34, 0.40), 0.34), ((0.36, -0.38), 0.17)):
            where = np.array(at) + small * size * np.array([1, 0.72])
            white = np.full((len(where), 3), 0.98)
            add(f"light {side}", centre + where * EYE_RADII, where, white, 0.0021, 0.0075)
    for side, centre in zip(("left", "right"), BROWS, strict=True):
        u, w = np.meshgrid(np.linspace(-1, 1, 22), np.linspace(-1, 1, 4))
        plane = np.stack([u.ravel(), w.ravel()], axis=1)
        thick = 0.0052 * (1 - 0.45 * plane[:, 0] ** 2)
        arch = np.stack([plane[:, 0] * 0.027, plane[:, 1] * thick - 0.007 * plane[:, 0] ** 2], axis=1)
        add(f"brow {side}", centre + arch, plane, np.tile([0.36, 0.20, 0.12], (len(plane), 1)), 0.0034, 0.0035)
    u, w = np.meshgrid(np.linspace(-1, 1, 31), np.linspace(0, 1, 16))
    plane = np.stack([u.ravel(), w.ravel()], axis=1)
    tongue = np.clip((plane[:, 1:2] - 0.55) * 4, 0, 1) * (np.abs(plane[:, 0:1]) < 0.75)
    color = np.array([0.40, 0.10, 0.10]) + tongue * np.array([0.46, 0.22, 0.22])
    line = np.stack([plane[:, 0] * 0.034, mouth_line(plane[:, 0]) - 0.0022 * plane[:, 1]], axis=1)
    add("mouth", MOUTH + line, plane, color, 0.0029, 0.0030)
    return made


def mouth_line(u: F64) -> F64:
    """How much higher than its middle the closed mouth is, metres: a faint smile."""
    return 0.0085 * u * u


def _discs(tag: str, p: F64, normals: F64, colors: F64, spacing: float) -> Surface:
    return Surface(p, normals, colors, np.full(len(p), spacing), np.full(len(p), tag), np.zeros((len(p), 2)))


def figure(density: float = 1.0, seed: int = 7) -> Surface:
    """All discs; `density` times as many on the body, as much larger."""
    rng = np.random.default_rng(seed)
    made = []
    for name, (distance, spacing, _) in PARTS.items():
        hidden_by = [d for other, (d, _, _) in PARTS.items() if other not in (name, *MEETING.get(name, ()))]
        p, n = surface(distance, spacing, hidden_by, density, rng)
        colors = lit(p, n, painted(name, p))
        made.append(_discs(name, p, n, colors, spacing / np.sqrt(density)))
    for name in CORES:  # behind the thin skin, so that what is on the far side does not shine through
        p, n = surface(lambda q, name=name: PARTS[name][0](q) + CORE_DEPTH, CORE_SPACING, [], density, rng)
        made.append(_discs(name, p, n, 0.7 * painted(name, p), CORE_SPACING / np.sqrt(density)))
    made += patches()
    return Surface(*(np.concatenate([getattr(s, f) for s in made]) for f in Surface.__dataclass_fields__))
