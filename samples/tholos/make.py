"""Makes the sample scene "Tholos": a ruined round temple by the sea, about 396,000 splats with SH of degree 3.

    python samples/tholos/make.py OUT.ply [--density 1.0]

Own work, CC0. Everything is computed: shapes as discs on surfaces, light as shadow maps of the sun and of the sky,
colours towards each direction as a least-squares fit of spherical harmonics. Beside OUT.ply it writes OUT.scene.json
(title, attribution, up, first camera) and OUT.cameras.json (48 views around the temple).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import garden
import light
import numpy as np
import sky
import temple
from numpy.typing import NDArray
from shapes import F32, Patch, disc, join, lathe

from splatlens.converters import write_splats
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json
from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import Splats

SEED = 2026
TITLE = "Tholos"
ATTRIBUTION = "Made by samples/tholos/make.py of splatlens"
LICENCE = "CC0-1.0"
#: Height of the pool's surface and its share of light sent back.
POOL_LEVEL, POOL_MIRROR = -0.06, 0.80


def lit_parts(density: float) -> dict[str, Patch]:
    """Everything that light falls on, by name."""
    rng = np.random.default_rng(SEED)
    s = 1 / math.sqrt(density)
    return {
        "floor": temple.floor(0.047 * s),
        "columns": temple.columns(0.041 * s),
        "beam": temple.entablature(0.049 * s),
        "plinth": temple.plinth(0.034 * s),
        "knot": temple.knot(0.0195 * s),
        "spheres": temple.spheres(0.030 * s),
        "drums": temple.drums(0.045 * s, garden.height),
        "ground": garden.ground(0.135 * s),
        "rocks": garden.rocks(0.075 * s, rng),
        "trees": garden.trees(density, rng),
        "grass": garden.grass(round(62000 * density), rng),
        "flowers": garden.flowers(round(9000 * density), rng),
        "sea": garden.sea(density, sky.FAR * 0.985),
        "water": temple.water(0.062 * s, POOL_LEVEL),
    }


def shaded(p: Patch, got: light.Received) -> F32:
    """(N, 16, 3) SH of every splat."""
    sh = np.zeros((len(p), 16, 3), np.float32)
    for kind in np.unique(p.material):
        rows = np.flatnonzero(p.material == kind)
        part, mine = p.take(rows), got.take(rows)
        polished = light.MATERIALS[int(kind)].gloss >= 25
        views = light.fibonacci(160 if polished else 64)

        def colors(at: slice, part: Patch = part, mine: light.Received = mine, views: F32 = views) -> F32:
            linear = light.outgoing(part.take(at), mine.take(at), views)
            if part.material[0] == light.SEA:
                linear = hazy(part.means[at], linear, views)
            return light.tone(linear)

        sh[rows] = light.fit(part.normals, light.MATERIALS[int(kind)].through > 0, colors, views)
    return sh


def hazy(means: F32, linear: F32, views: F32) -> F32:
    """The far sea melts into the air above it."""
    away = np.linalg.norm(means, axis=1)
    share = (1 - np.exp(-((away / 300) ** 2)))[:, None, None]
    air = sky.radiance(-views * np.float32([1, 0, 1]) / np.maximum(np.hypot(views[:, 0], views[:, 2]), 1e-3)[:, None])
    return np.asarray(linear + (air - linear) * share * 0.85, np.float32)


def unlit(p: Patch, radiance: F32) -> tuple[Patch, F32]:
    """Splats that look the same from everywhere."""
    sh = np.zeros((len(p), 16, 3), np.float32)
    sh[:, 0] = (light.tone(radiance) - 0.5) / 0.28209479177387814
    return p, sh


def mirrored(p: Patch, sh: F32, level: float, rng: np.random.Generator, keep: float) -> tuple[Patch, F32]:
    """The part of the scene seen in the pool: a share of its splats, larger, turned upside down below the water.

    A mirror image is exact: covariances are reflected, and SH terms odd in the vertical direction change sign.
    """
    rows = np.flatnonzero((rng.random(len(p)) < keep) & (p.means[:, 1] > level))
    q, coefficients = p.take(rows), sh[rows].copy()
    flip = np.float32([1, -1, 1])
    grow = np.float32([keep**-0.5, keep**-0.5, 1])
    means = q.means * flip + np.float32([0, 2 * level, 0])
    odd = np.sign(sh_basis(np.float64([[0.48, 0.6, 0.64]]), 16) * sh_basis(np.float64([[0.48, -0.6, 0.64]]), 16))[0]
    coefficients *= odd.astype(np.float32)[:, None]
    # Water sends back less than all and tints it. Display values are scaled, which is near enough.
    offset = np.float32(0.5 * (POOL_MIRROR - 1) / 0.28209479177387814)
    coefficients *= POOL_MIRROR
    coefficients[:, 0] += offset
    axes = q.axes * flip
    axes[:, 1] = np.cross(axes[:, 2], axes[:, 0])
    return replace(q, means=means, axes=axes, scales=q.scales * grow), coefficients


def pool_sky(density: float) -> tuple[Patch, F32]:
    """The sky in the pool: a shaft under the floor, just outside the mirrored columns, and its bottom."""
    s = 1 / math.sqrt(density)
    wall = [(0.16, -2.2, -0.36), (0.45, -8.0, -2.2)]
    parts = [lathe([(4.55, low), (4.55, high)], step * s, light.SKY) for step, low, high in wall]
    bottom = disc(0, 4.6, 0.5 * s, light.SKY, -8.0)
    p = join([*parts, bottom])
    up = light.unit((p.means - np.float32([0, POOL_LEVEL, 0])) * np.float32([1, -1, 1]))
    return unlit(p, sky.with_clouds(up) * np.float32(POOL_MIRROR**2.2))


def quaternions(axes: F32) -> NDArray[np.float64]:
    """(N, 4) unit quaternions w x y z of (N, 3, 3) rotations, rows the rotated axes (Shepperd 1978)."""
    m = axes.astype(np.float64)
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (m[:, i].T for i in range(3))
    candidates = np.stack(
        [
            np.stack([1 + xx + yy + zz, yz - zy, zx - xz, xy - yx]),
            np.stack([yz - zy, 1 + xx - yy - zz, xy + yx, zx + xz]),
            np.stack([zx - xz, xy + yx, 1 - xx + yy - zz, yz + zy]),
            np.stack([xy - yx, zx + xz, yz + zy, 1 - xx - yy + zz]),
        ]
    )
    # The candidate with the largest squared component is far from the division by zero of the others.
    best = np.stack([xx + yy + zz, xx - yy - zz, yy - xx - zz, zz - xx - yy]).argmax(axis=0)
    q = candidates[best, :, np.arange(len(m))]
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return np.asarray(q * np.where(q[:, :1] < 0, -1, 1))


def to_splats(p: Patch, sh: F32) -> Splats:
    """Splats in scene coordinates (y down), from world axes."""
    turn = light.TO_SCENE.astype(np.float32)
    quats = quaternions(p.axes @ turn)
    return Splats(
        np.ascontiguousarray(p.means @ turn, np.float32),
        quats.astype(np.float32),
        np.maximum(p.scales, 1e-5).astype(np.float32),
        p.opacities.astype(np.float32),
        np.ascontiguousarray(sh, np.float32),
    )


def make(density: float = 1.0, say: Callable[[str], None] = lambda text: None) -> Splats:
    """The scene; `density` scales the number of splats."""
    parts = lit_parts(density)
    solid = join([parts[name] for name in parts if name not in ("sea", "water")])
    say("shapes: " + ", ".join(f"{name} {len(p)}" for name, p in parts.items()))
    lit = join(list(parts.values()))
    got = light.receive(lit, solid, density)
    say("light")
    edges = np.cumsum([0, *map(len, parts.values())])
    all_sh = shaded(lit, got)
    sh = {name: all_sh[edges[i] : edges[i + 1]] for i, name in enumerate(parts)}
    say("spherical harmonics")
    # Discs of the sea are level, whatever their lighting normal says.
    level = parts["sea"].axes.copy()
    level[:, 2] = [0, 1, 0]
    parts["sea"] = replace(parts["sea"], axes=level)
    flat = parts["water"].axes.copy()
    flat[:] = np.float32([[1, 0, 0], [0, 0, -1], [0, 1, 0]])
    parts["water"] = replace(parts["water"], axes=flat)
    made = [(p, sh[name]) for name, p in parts.items()]
    made += [unlit(*sky.dome(density)), unlit(*sky.islands(density, garden.SEA_LEVEL)), pool_sky(density)]
    rng = np.random.default_rng(SEED + 1)
    for name, keep in (("knot", 0.5), ("plinth", 0.6), ("columns", 0.4), ("beam", 0.4)):
        made.append(mirrored(parts[name], sh[name], POOL_LEVEL, rng, keep))
    all_ = to_splats(join([p for p, _ in made]), np.concatenate([s for _, s in made]))
    order = np.random.default_rng(SEED + 2).permutation(len(all_))  # trained files come in no order either
    return all_.take(order)


def first_camera(width: int = 1280, height: int = 720) -> Camera:
    return look((-4.0, 1.5, 10.2), (0.0, 1.4, 0.0), 41, width, height)


def look(
    position: tuple[float, float, float], target: tuple[float, float, float], fov: float, width: int, height: int
) -> Camera:
    """A camera given in the world of the sample (y up)."""
    p, t = np.float64(position) @ light.TO_SCENE, np.float64(target) @ light.TO_SCENE
    return Camera.look_at(p.tolist(), t.tolist(), (0, -1, 0), fov, width, height)


def training_cameras() -> list[Camera]:
    made = []
    for k in range(48):
        a, ring = math.radians(7.5 * k), k % 3
        r, y = (11.2, 9.8, 7.6)[ring], (1.9, 3.1, 4.6)[ring]
        made.append(look((r * math.sin(a), y, r * math.cos(a)), (0, 1.1, 0), 48, 1280, 720))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--density", type=float, default=1.0, help="share of the splats, 1 for all")
    arguments = parser.parse_args()
    start = time.perf_counter()
    splats = make(arguments.density, lambda text: print(f"{time.perf_counter() - start:5.1f} s  {text}", flush=True))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_splats(arguments.out, splats)
    facts = {
        "title": TITLE, "attribution": ATTRIBUTION, "licence": LICENCE, "up": [0, -1, 0], "background": [0, 0, 0],
        "camera": camera_json(first_camera()),
    }  # fmt: skip
    arguments.out.with_suffix(".scene.json").write_text(json.dumps(facts, indent=1) + "\n")
    arguments.out.with_suffix(".cameras.json").write_text(
        json.dumps([camera_json(c) for c in training_cameras()], indent=1) + "\n"
    )
    print(f"{time.perf_counter() - start:5.1f} s  {arguments.out}: {len(splats)} splats", flush=True)


if __name__ == "__main__":
    main()
