"""Light: what each splat receives (sun, sky, shadows, a bounce), what it sends in each direction, and its SH fit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import sky
from numpy.typing import NDArray
from shapes import F32, Patch, fibonacci, unit

from splatlens.viewer.reference import sh_basis

SKY, STONE, MARBLE, GOLD, COPPER, CERAMIC, PEARL, SOIL, GRASS, FOLIAGE, PETAL, BARK, SEA, POOL_WATER = range(14)

#: World of the sample (y up) to scene coordinates as trained scenes have them (y down): half a turn about x.
TO_SCENE = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Material:
    """f0: reflectance seen straight on, None for metal (then the albedo); gloss: exponent of the lobe, 0 for none;
    through: share of light let through to the other side; wrap: softness of the shading edge."""

    f0: float | None = 0.04
    gloss: float = 0.0
    through: float = 0.0
    wrap: float = 0.0


MATERIALS = {
    STONE: Material(0.035, 9.0),
    MARBLE: Material(0.05, 30.0),
    GOLD: Material(None, 40.0),
    COPPER: Material(None, 28.0),
    CERAMIC: Material(0.09, 60.0),
    PEARL: Material(0.10, 40.0),
    SOIL: Material(0.0),
    GRASS: Material(0.05, 6.0, 0.55, 0.35),
    FOLIAGE: Material(0.04, 8.0, 0.22, 0.15),
    PETAL: Material(0.03, 5.0, 0.5, 0.3),
    BARK: Material(0.0),
    SEA: Material(0.03, 45.0),
    POOL_WATER: Material(0.03, 60.0),
}

#: Splats lit at once: 4,096 x 160 directions x 3 colours are 8 MB.
ROWS = 4096
#: Directions of the sky dome that light comes from.
DOME = 80
#: Skylight over what the sky would give: shadows stay deep.
AMBIENT = np.float32(0.54)
#: Linear radiance of sunlit stone, which lights what it surrounds.
BOUNCE = np.float32([0.36, 0.27, 0.19])


class ShadowMaps:
    """Orthographic depth pictures of points, seen from far away in given directions."""

    def __init__(self, occluders: Patch, texel: float, reach: float, corners: bool) -> None:
        """reach: metres from the origin within which points throw and receive shadows. corners: each disc throws the
        shadow of five points instead of one, so that none are missed where texels are smaller than discs."""
        inside = (np.linalg.norm(occluders.means, axis=1) < reach) & (occluders.opacities > 0.5)
        p = occluders.take(inside)
        points = [p.means]
        if corners:
            points += [p.means + s * p.axes[:, i] * p.scales[:, i : i + 1] for i in (0, 1) for s in (-0.9, 0.9)]
        self.points = np.ascontiguousarray(np.concatenate(points).T)
        self.texel, self.reach = np.float32(texel), np.float32(reach)

    def visibility(self, points: F32, direction: F32, bias: float, soft: bool) -> F32:
        """(N,) share of light from `direction` (unit, towards the light) that reaches points (3, N)."""
        side = unit(np.cross(direction, [0.31, 0.02, 0.95]))
        up = unit(np.cross(side, direction))
        size = int(2 * self.reach / self.texel) + 4

        def along(x: F32, d: F32) -> F32:  # no matmul: BLAS threads cost more than they save on three columns
            return x[0] * d[0] + x[1] * d[1] + x[2] * d[2]

        def place(x: F32) -> tuple[F32, F32, F32]:
            u, v = (np.clip((along(x, d) + self.reach) / self.texel + 1.5, 0.5, size - 1.5) for d in (side, up))
            return u, v, along(x, direction)

        u, v, depth = place(self.points)
        top = np.full(size * size, -1e9, np.float32)
        np.maximum.at(top, v.astype(np.int32) * size + u.astype(np.int32), depth)
        u, v, depth = place(points)
        depth += np.float32(bias)
        if not soft:
            return (top[v.astype(np.int32) * size + u.astype(np.int32)] <= depth).astype(np.float32)
        u, v = u - np.float32(0.5), v - np.float32(0.5)
        i, j = u.astype(np.int32), v.astype(np.int32)
        u, v = u - i, v - j
        lit = np.zeros(len(u), np.float32)
        for di, dj, weight in ((0, 0, (1 - u) * (1 - v)), (1, 0, u * (1 - v)), (0, 1, (1 - u) * v), (1, 1, u * v)):
            lit += weight * (top[(j + dj) * size + i + di] <= depth)
        return lit


@dataclass(frozen=True)
class Received:
    """sun (N,): share of the sun seen. front, back (N, 3): irradiance of the sky over pi on both sides of the disc.
    dome (N, DOME): which directions of the sky are seen."""

    sun: F32
    front: F32
    back: F32
    dome: NDArray[np.bool_]

    def take(self, rows: NDArray[np.integer] | slice) -> Received:
        return Received(self.sun[rows], self.front[rows], self.back[rows], self.dome[rows])


def receive(p: Patch, occluders: Patch, density: float) -> Received:
    """Shadows of a soft sun and of the whole sky on every splat."""
    fine = ShadowMaps(occluders, 0.030 / np.sqrt(density), 13.5, True)
    lifted = np.ascontiguousarray((p.means + 0.015 * p.normals).T)
    sun = np.zeros(len(p), np.float32)
    wobble = fibonacci(6)
    for k in range(6):
        d = unit(sky.SUN + 0.011 * wobble[k])
        sun += fine.visibility(lifted, d, 0.075, True) / 6
    coarse = ShadowMaps(occluders, 0.075 / np.sqrt(density), 13.5, False)
    directions = upper(DOME)
    light = sky.radiance(directions) * AMBIENT
    front, back = np.zeros((2, len(p), 3), np.float32)
    dome = np.zeros((len(p), DOME), bool)
    lifted = np.ascontiguousarray((p.means + 0.04 * p.normals).T)
    for k in range(DOME):
        seen = coarse.visibility(lifted, directions[k], 0.13, False)
        cosine = p.normals @ directions[k]
        color = seen[:, None] * light[k] + (1 - seen[:, None]) * (0.5 * BOUNCE)
        front += np.maximum(cosine, 0)[:, None] * color * np.float32(2 / DOME)
        back += np.maximum(-cosine, 0)[:, None] * color * np.float32(2 / DOME)
        dome[:, k] = seen > 0.5
    openness = dome.mean(axis=1, dtype=np.float32)[:, None]
    below = 0.5 - 0.5 * p.normals[:, 1:2]
    front += below * BOUNCE * (0.25 + 0.75 * openness)
    back += (1 - below) * BOUNCE * (0.25 + 0.75 * openness)
    return Received(sun, front, back, dome)


def upper(count: int) -> F32:
    """`count` even directions of the upper half."""
    d = fibonacci(2 * count)
    return d[d[:, 1] > 0]


def tone(linear: F32) -> F32:
    """Display values of linear radiance: Narkowicz's fit of ACES (2016), then the sRGB curve."""
    x = np.maximum(linear, 0) * np.float32(0.92)
    x = np.clip(x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14), 0, 1)
    return np.where(
        x <= 0.0031308, 12.92 * x, 1.055 * np.power(np.maximum(x, 1e-6), np.float32(1 / 2.4)) - 0.055
    ).astype(np.float32)


def outgoing(p: Patch, got: Received, views: F32) -> F32:
    """(N, M, 3) linear radiance that splats of one material send towards views (M, 3), unit, away from the splat."""
    material = MATERIALS[int(p.material[0])]
    n, albedo = p.normals, p.albedo
    cosine = n @ views.T
    lambert = n @ sky.SUN
    sun = got.sun[:, None] * sky.SUNLIGHT
    facing = np.maximum((lambert + material.wrap) / (1 + material.wrap), 0)[:, None]
    away = np.maximum((-lambert + material.wrap) / (1 + material.wrap), 0)[:, None]
    front = facing * sun + got.front
    back = away * sun + got.back
    if material.through:
        # Leaves: each side shows its own light and what comes through; against the sun they glow.
        one = albedo * ((1 - material.through) * front + material.through * back)
        other = albedo * ((1 - material.through) * back + material.through * front)
        side = np.clip(0.5 + 1.5 * cosine, 0, 1)[..., None]
        out = side * one[:, None] + (1 - side) * other[:, None]
        glow = np.maximum(-(views @ sky.SUN), 0) ** 5
        out = out + (material.through * 1.5 * albedo * np.float32([1.15, 1.1, 0.6]) * sun)[:, None] * glow[:, None]
    elif material.f0 is None:
        out = np.zeros((len(p), len(views), 3), np.float32)
    else:
        out = np.repeat((albedo * front)[:, None], len(views), axis=1)
    if material.gloss:
        out += _shine(p, got, views, cosine, material)
    return np.asarray(out, np.float32)


def _shine(p: Patch, got: Received, views: F32, cosine: F32, material: Material) -> F32:
    """The glossy part: Fresnel (Schlick 1994) times what stands in the mirror direction, blurred."""
    n = p.normals
    c = np.clip(cosine, 0, 1)[..., None]
    if material.through:
        c = np.abs(np.clip(cosine, -1, 1))[..., None]
    mirror = 2 * cosine[..., None] * n[:, None] - views
    f0 = p.albedo[:, None] if material.f0 is None else np.float32(material.f0)
    # Rough surfaces never reach full reflection at grazing angles (Lagarde's form).
    most = np.maximum(np.float32(min(1.0, 0.25 + material.gloss / 50)), f0)
    fresnel = f0 + (most - f0) * (1 - c) ** 5
    kind = int(p.material[0])
    if material.gloss >= 25 and kind not in (SEA, POOL_WATER):
        env = _surroundings(p, got, mirror, material.gloss)
    else:
        env = sky.radiance(mirror)
        if kind not in (SEA, POOL_WATER):
            open_ = got.dome.mean(axis=1, dtype=np.float32)[:, None, None]
            low = np.clip(0.5 - 2 * mirror[..., 1:2], 0, 1)
            env = (env * (1 - low) + BOUNCE * low) * open_
    lobe = np.exp(np.float32(material.gloss) * (mirror @ sky.SUN - 1))
    strength = np.float32((material.gloss + 2) / 16)
    env = env + (lobe * got.sun[:, None] * strength)[..., None] * sky.SUNLIGHT * (1.3 if kind == CERAMIC else 0.6)
    if kind == PEARL:
        phase = 5.2 * c + np.float32([0.0, 2.1, 4.2])
        fresnel = fresnel * (1.0 + 0.6 * np.cos(phase)) + 0.22 * (1 + np.cos(phase)) * (1 - c)
    if kind == POOL_WATER:  # the mirrored temple below it is the reflection; the skin adds glints
        fresnel = 0.3 * fresnel
    return np.asarray(fresnel * env, np.float32)


def _surroundings(p: Patch, got: Received, mirror: F32, gloss: float) -> F32:
    """What a polished splat reflects: the sky where it sees it, lit stone where it does not, the floor below."""
    directions = upper(DOME)
    light = sky.radiance(directions)
    stone = np.float32(0.55) * BOUNCE
    seen = np.where(got.dome[..., None], light, stone)
    weight = np.exp(np.float32(min(gloss, 22.0)) * (mirror @ directions.T - 1))
    total = weight.sum(axis=2, keepdims=True)
    above = np.einsum("nmk,nkc->nmc", weight, seen, optimize=True) / np.maximum(total, 1e-6)
    low = np.clip(0.5 - 2.2 * mirror[..., 1:2], 0, 1)
    # The floor: warm and lit further out, dark right below the thing itself.
    steep = np.clip(-mirror[..., 1:2], 0, 1)
    floor = BOUNCE * (1.25 - 1.0 * steep)
    return np.asarray(above * (1 - low) + floor * low, np.float32)


def fit(normals: F32, two_sided: bool, colors: Callable[[slice], F32], views: F32) -> F32:
    """(N, 16, 3) SH of display colours by weighted least squares over views (M, 3), weighted by where people stand.

    colors(rows) gives (n, M, 3) display values. A view from behind the surface counts little: nobody sees it.
    """
    height = views[:, 1]
    prior = 0.06 + np.exp(-(((height - 0.22) / 0.30) ** 2))
    basis = sh_basis((-views @ TO_SCENE).astype(np.float64), 16).astype(np.float32)
    products = (basis[:, :, None] * basis[:, None, :]).reshape(len(views), 256)
    ridge = np.diag(np.repeat([1e-4, 2e-3, 4e-3, 8e-3], [1, 3, 5, 7]))
    result = np.empty((len(normals), 16, 3), np.float32)

    def solve(start: int) -> None:
        rows = slice(start, min(start + ROWS, len(normals)))
        facing = np.abs(normals[rows] @ views.T) if two_sided else normals[rows] @ views.T
        weight = prior * (0.03 + (np.ones_like(facing) if two_sided else np.clip(2.5 * facing + 0.25, 0, 1)))
        weight /= weight.sum(axis=1, keepdims=True)
        left = (weight @ products).reshape(-1, 16, 16) + ridge
        target = (colors(rows) - 0.5) * weight[..., None]
        right = np.einsum("mk,nmc->nkc", basis, target, optimize=True)
        result[rows] = np.linalg.solve(left.astype(np.float64), right.astype(np.float64))

    with ThreadPoolExecutor(2) as pool:  # NumPy lets go of the interpreter; the blocks do not depend on each other
        list(pool.map(solve, range(0, len(normals), ROWS)))
    return result
