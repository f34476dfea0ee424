"""The analytic scene that the samples of baked fields are fitted to: glossy solids whose radiance is a formula.

float64 NumPy. z points up, units are free, the scene is some 5 across. Colours are what a viewer shows (sRGB values,
0 to 1), as in the pictures that radiance fields are trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splatlens.samples.fields.shapes import F64, FAR, I32, TURN, Ball, Disc, Ring, Shape, Wall, grid, knots, unit
from splatlens.viewer.camera import Camera

UP = (0.0, 0.0, 1.0)
BACKGROUND = (1.0, 1.0, 1.0)
TARGET, FOV_Y = (0.0, 0.0, 0.55), 42.0
#: Rays traced at once.
CHUNK = 1 << 16


@dataclass(frozen=True)
class Solid:
    """A shape, its pattern and its gloss.

    edges_u, edges_v: where the pattern changes, in u and v, within +- soft_u, soft_v. colors: (4, 3), the checkers'
    two, the trim's, the veins'. shine: strength of the lobes; sharpness: of their exponent; tint: of what they reflect.
    pieces: of a mesh along u and v, besides the edges.
    """

    name: str
    shape: Shape
    edges_u: F64
    edges_v: F64
    soft_u: float
    soft_v: float
    colors: F64
    shine: float
    sharpness: float
    tint: tuple[float, float, float]
    pieces: tuple[int, int]


class Hits(NamedTuple):
    """What N rays meet. mask (N,); t (N,) distance, infinity for none; normals (N, 3); ids (N,), -1; u, v (N,)."""

    mask: NDArray[np.bool_]
    t: F64
    normals: F64
    ids: NDArray[np.int64]
    u: F64
    v: F64


def _hex(*names: str) -> F64:
    return np.array([[int(name[i : i + 2], 16) / 255 for i in (0, 2, 4)] for name in names])


def _turns(count: int) -> F64:
    return np.arange(count) / count


_NONE = np.zeros(0)
SOLIDS = (
    Solid("ball", Ball((0, 0, 1.4), 0.58), _turns(8), np.array([0.3, 0.46, 0.54, 0.7]), 0.006, 0.006,
          _hex("12505e", "178a80", "d8a63c", "0b2f45"), 1.1, 14, (1.0, 0.97, 0.92), (48, 32)),
    Solid("ring", Ring((0, 0, 1.4), tuple(unit(np.array([0.32, -0.16, 1.0]))), 0.92, 0.085), _turns(24), _NONE, 0.002,
          0.0, _hex("c8912f", "b4551f", "c8912f", "8a3c1c"), 0.8, 9, (1.0, 0.8, 0.5), (72, 20)),
    Solid("pedestal", Wall(0.72, 0.82), _turns(16), np.array([0.12, 0.37, 0.63, 0.88]), 0.004, 0.012,
          _hex("cfc6b8", "5a5f73", "8f3f4a", "a89e94"), 0.35, 8, (1.0, 1.0, 1.0), (48, 8)),
    Solid("top", Disc(0.82, 0.72), _turns(16), np.array([0.55, 0.85]), 0.004, 0.016,
          _hex("cfc6b8", "5a5f73", "8f3f4a", "a89e94"), 0.4, 8, (1.0, 1.0, 1.0), (48, 10)),
    Solid("ground", Disc(0.0, 2.4), _turns(24), np.array([0.36, 0.46, 0.56, 0.68, 0.8, 0.93]), 0.0016, 0.006,
          _hex("c9bfae", "35506b", "b98a3e", "8d8578"), 0.3, 7, (1.0, 1.0, 1.0), (72, 24)),
    Solid("ruby", Ball((1.45, 0.62, 0.3), 0.3), _turns(6), np.array([0.4, 0.6]), 0.01, 0.012,
          _hex("8c1d2f", "6d1330", "d99a86", "46101f"), 0.95, 10, (1.0, 0.85, 0.9), (36, 24)),
    Solid("jade", Ball((-0.98, 1.3, 0.36), 0.36), _turns(6), np.array([0.4, 0.6]), 0.01, 0.012,
          _hex("2f7d4a", "1f5e46", "cfd6a0", "173f33"), 0.95, 10, (0.9, 1.0, 0.9), (36, 24)),
    Solid("violet", Ball((-0.62, -1.5, 0.33), 0.33), _turns(6), np.array([0.4, 0.6]), 0.01, 0.012,
          _hex("5a3d8f", "40306e", "c8a9d8", "2a1f4c"), 0.95, 10, (0.95, 0.9, 1.0), (36, 24)),
)  # fmt: skip

#: Three lights: towards them, and what they add at their brightest.
LIGHTS = unit(np.array([[0.55, -0.45, 0.75], [-0.8, -0.3, 0.5], [0.1, 0.92, 0.42]]))
LIGHT_COLORS = np.array([[0.62, 0.5, 0.36], [0.2, 0.42, 0.5], [0.44, 0.2, 0.4]])
#: Balls that darken what is near them: the scene's own, the pedestal as a pile of three, and the ring as twelve.
_RING = next(s.shape for s in SOLIDS if isinstance(s.shape, Ring))
_DARKENING = tuple(
    [(np.array(s.shape.centre), s.shape.radius, i) for i, s in enumerate(SOLIDS) if isinstance(s.shape, Ball)]
    + [(np.array([0, 0, z]), 0.62, 2) for z in (0.2, 0.45)]
    + [(p, _RING.tube * 1.4, 1) for p in _RING.place(np.arange(12) / 12, np.zeros(12)) ]
)


def trace(origins: F64, directions: F64) -> Hits:
    """The first surface that each ray meets. origins, directions (N, 3); directions of length 1."""
    n = len(origins)
    t, ids = np.full(n, FAR), np.full(n, -1, np.int64)
    for i, solid in enumerate(SOLIDS):
        near = solid.shape.hit(origins, directions)
        closer = near < t
        t[closer], ids[closer] = near[closer], i
    normals, u, v = np.zeros((n, 3)), np.zeros(n), np.zeros(n)
    for i, solid in enumerate(SOLIDS):
        rows = np.flatnonzero(ids == i)
        points = origins[rows] + t[rows, None] * directions[rows]
        u[rows], v[rows] = solid.shape.coordinates(points)
        normals[rows] = solid.shape.normal_at(u[rows], v[rows])
    return Hits(ids >= 0, t, normals, ids, u, v)


def _parity(x: F64, edges: F64, soft: float) -> F64:
    """1 and -1 in turn between edges, linear within +- soft of each."""
    out = np.ones(len(x))
    for edge in edges:
        if 0 < edge < 1:
            out *= np.clip((edge - x) / soft, -1, 1)
        elif edge == 0:  # the seam of an angle
            near = np.where(x > 0.5, x - 1, x)
            out *= np.where(np.abs(near) < soft, np.clip(np.abs(near) / soft, 0, 1), 1)
    return out


def _veins(points: F64) -> F64:
    """0..1: marble, smooth, some 4 veins a unit."""
    x, y, z = points.T
    bend = 0.9 * np.sin(2.1 * y + 1.7 * z + 0.6) + 0.7 * np.sin(2.9 * z - 1.3 * x)
    wave = np.sin(5.2 * x + 2.4 * y + 3.1 * z + 2.2 * bend)
    return np.asarray(np.exp(-3.5 * (1 - wave)))


def albedo(points: F64, ids: NDArray[np.int64]) -> F64:
    """(N, 3) what the surface is painted with at points of solids `ids`."""
    out = np.zeros((len(points), 3))
    for i, solid in enumerate(SOLIDS):
        rows = np.flatnonzero(ids == i)
        u, v = solid.shape.coordinates(points[rows])
        first, second, trim, vein = solid.colors
        mix = 0.5 - 0.5 * _parity(u, solid.edges_u, solid.soft_u) * _parity(v, solid.edges_v, solid.soft_v)
        paint = first + mix[:, None] * (second - first)
        # The trim is the band between the middle two edges of v, plus what is past the last one of a disc.
        for low, high in _bands(solid):
            inside = np.clip(np.minimum(v - low, high - v) / solid.soft_v / 2 + 0.5, 0, 1)
            paint += inside[:, None] * (trim - paint)
        out[rows] = paint + 0.55 * _veins(points[rows])[:, None] * (vein - paint)
    return out


def _bands(solid: Solid) -> tuple[tuple[float, float], ...]:
    edges = solid.edges_v
    if isinstance(solid.shape, Disc):
        return ((float(edges[-1]), 2.0),)
    if isinstance(solid.shape, Wall):
        return ((-1.0, float(edges[0])), (float(edges[-1]), 2.0))
    middle = len(edges) // 2
    return ((float(edges[middle - 1]), float(edges[middle])),) if len(edges) else ()


def openness(points: F64, normals: F64, ids: NDArray[np.int64]) -> F64:
    """(N,) 0..1: how much of the sky the balls near a point leave (Quilez, sphere ambient occlusion: n.d r^2 / d^2)."""
    out = np.ones(len(points))
    for centre, radius, own in _DARKENING:
        to = centre - points
        d = np.maximum(np.linalg.norm(to, axis=1), 1e-9)
        shade = np.maximum(np.sum(normals * to, axis=1) / d, 0) * np.minimum(radius**2 / d**2, 1)
        out *= np.where(ids == own, 1, 1 - 0.85 * shade)
    return out


def diffuse(points: F64, normals: F64, ids: NDArray[np.int64]) -> F64:
    """(N, 3) the part of the radiance that is the same from everywhere."""
    sky = 0.5 + 0.5 * normals[:, 2:]
    light = 0.44 + 0.28 * sky + 0.42 * np.maximum(normals @ LIGHTS[0], 0)[:, None]
    return albedo(points, ids) * light * openness(points, normals, ids)[:, None] * (1.0, 0.98, 0.95)


def gloss(
    points: F64, normals: F64, directions: F64, ids: NDArray[np.int64], opened: F64 | None = None
) -> F64:
    """(N, 3) the part that moves with the eye: a lobe a light about the mirrored direction, more at a grazing eye.

    opened: (N,) `openness` there, where it is known already.
    """
    opened = openness(points, normals, ids) if opened is None else opened
    facing = -np.sum(normals * directions, axis=1, keepdims=True)
    mirrored = directions + 2 * facing * normals
    shine = np.array([s.shine for s in SOLIDS])[ids, None]
    sharpness = np.array([s.sharpness for s in SOLIDS])[ids, None]
    tint = np.array([s.tint for s in SOLIDS])[ids]
    fresnel = 0.7 + 0.3 * (1 - np.clip(facing, 0, 1)) ** 3
    lobes = np.exp(sharpness * (mirrored @ LIGHTS.T - 1)) @ LIGHT_COLORS
    return shine * fresnel * tint * lobes * (0.35 + 0.65 * opened[:, None])


def radiance(points: F64, normals: F64, directions: F64, ids: NDArray[np.int64]) -> F64:
    """(N, 3) rgb, 0 to 1, that leaves surface points towards eyes that look along unit `directions` (N, 3)."""
    return np.minimum(diffuse(points, normals, ids) + gloss(points, normals, directions, ids), 1.0)


def rays(camera: Camera, samples: int = 1) -> tuple[F64, F64]:
    """Origin (3,) and directions (H samples, W samples, 3), unit, of an even grid of samples a pixel."""
    x = ((np.arange(camera.width * samples) + 0.5) / samples - camera.cx) / camera.fx
    y = ((np.arange(camera.height * samples) + 0.5) / samples - camera.cy) / camera.fy
    local = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1)
    return camera.position, unit(local @ camera.world_to_camera[:3, :3])


def render(camera: Camera, samples: int = 2, background: tuple[float, float, float] = BACKGROUND) -> F64:
    """(H, W, 4): rgb over the background, and coverage; samples x samples rays a pixel, averaged."""
    origin, directions = rays(camera, samples)
    flat = directions.reshape(-1, 3)
    out = np.empty((len(flat), 4))
    for at in range(0, len(flat), CHUNK):
        part = flat[at : at + CHUNK]
        hits = trace(np.broadcast_to(origin, part.shape), part)
        rows = hits.mask
        color = np.tile(np.asarray(background, np.float64), (len(part), 1))
        points = origin + hits.t[rows, None] * part[rows]
        color[rows] = radiance(points, hits.normals[rows], part[rows], hits.ids[rows])
        out[at : at + CHUNK] = np.concatenate([color, rows[:, None]], axis=1)
    h, w = camera.height, camera.width
    return out.reshape(h, samples, w, samples, 4).mean(axis=(1, 3))


def meshes(detail: float = 1.0) -> list[tuple[F64, I32, F64, F64]]:
    """One mesh a solid, in order: positions (V, 3), triangles (T, 3), uvs (V, 2) in 0..1, normals (V, 3).

    detail: times as many pieces along each coordinate. Vertices stand on both sides of each edge of the patterns.
    """
    out = []
    for solid in SOLIDS:
        seam = np.append(solid.edges_u, 1.0) if len(solid.edges_u) else solid.edges_u
        counts = [max(4, round(n * detail)) for n in solid.pieces]
        u, v = knots(counts[0], seam, solid.soft_u), knots(counts[1], solid.edges_v, solid.soft_v)
        out.append(grid(solid.shape, u, v))
    return out


def _around(count: int, size: tuple[int, int], radius: tuple[float, float], turn: float, low: float) -> list[Camera]:
    """Cameras evenly over the upper sky, on a golden spiral; elevations from `low` degrees to 75."""
    views = []
    for i in range(count):
        share = (i + 0.5) / count
        bottom, top = np.sin(np.radians([low, 75.0]))
        z = bottom + (top - bottom) * share
        angle = TURN * (i * 0.6180339887498949 + turn)
        r = radius[0] + (radius[1] - radius[0]) * (i * 0.7548776662466927 % 1)
        flat = np.sqrt(1 - z * z)
        place = np.array(TARGET) + r * np.array([flat * np.cos(angle), flat * np.sin(angle), z])
        views.append(Camera.look_at([float(x) for x in place], TARGET, UP, FOV_Y, *size))
    return views


def training_cameras(n: int = 60, width: int = 200, height: int = 200) -> list[Camera]:
    """n views to fit to, all around from 6 to 75 degrees above the ground."""
    return _around(n, (width, height), (6.0, 7.4), 0.0, 6.0)


def held_out_cameras(n: int = 8, width: int = 256, height: int = 256) -> list[Camera]:
    """n views that no fit has seen: between the directions and distances of the training cameras."""
    return _around(n, (width, height), (6.3, 7.1), 0.37, 12.0)
