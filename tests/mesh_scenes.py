"""Small meshes and the trees that hold them, for the tests of what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.mesh import Look, MeshNodes, MeshTree, Surface, plain_look, words_of


def tree_of(surfaces: Sequence[Surface], look: Look) -> MeshTree:
    """The surfaces as the leaves below a root that has them all; a single one is the root itself."""
    boxes = np.array([[s.positions.min(axis=0), s.positions.max(axis=0)] for s in surfaces], np.float64)
    whole = np.stack([boxes[:, 0].min(axis=0), boxes[:, 1].max(axis=0)])
    every = [surfaces[0]] if len(surfaces) == 1 else [joined(surfaces), *surfaces]
    support = boxes if len(surfaces) == 1 else np.concatenate([whole[None], boxes])
    n = len(every)
    first, count, error = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
    if n > 1:
        first[0], count[0], error[0] = 1, n - 1, 1e-3
    center, half = support.mean(axis=1), (support[:, 1] - support[:, 0]) / 2
    sphere = np.concatenate([center, np.linalg.norm(half, axis=1)[:, None]], axis=1)
    triangles, words = (np.array([f(s) for s in every], np.int64) for f in (lambda s: len(s.triangles), words_of))
    page = np.minimum(np.arange(n), 1)
    return MeshTree(MeshNodes(first, count, error, sphere, support, triangles, words, page), every, look)


def joined(surfaces: Sequence[Surface]) -> Surface:
    """One surface of several that carry values, as a root that shows them all must be; texels become one value."""
    starts = np.cumsum([0, *(len(s.positions) for s in surfaces)])
    values = [
        np.full((len(s.positions), s.channels), 128, np.uint8) if s.values is None else s.values for s in surfaces
    ]
    return Surface(
        np.concatenate([s.positions for s in surfaces]),
        np.concatenate([s.triangles + np.int32(k) for s, k in zip(surfaces, starts, strict=False)]),
        values=np.concatenate(values),
    )


def sphere(
    radius: float = 1.0, segments: int = 24, center: Sequence[float] = (0, 0, 0), channels: int = 3
) -> Surface:
    """A sphere of 2 x segments x segments / 2 triangles, the first channels (position + 1) / 2, the others mixed."""
    rings = segments // 2
    u, v = np.meshgrid(np.linspace(0, 2 * np.pi, segments + 1), np.linspace(0, np.pi, rings + 1))
    unit = np.stack([np.cos(u) * np.sin(v), np.cos(v), np.sin(u) * np.sin(v)], axis=2).reshape(-1, 3)
    k = (np.arange(rings)[:, None] * (segments + 1) + np.arange(segments)).ravel()
    over = segments + 1
    triangles = np.concatenate([np.stack([k, k + 1, k + over], 1), np.stack([k + 1, k + over + 1, k + over], 1)])
    mixed = np.concatenate([unit, np.sin(unit @ np.random.default_rng(5).normal(size=(3, 32)) * 3)], axis=1)
    values = np.round((mixed[:, :channels] + 1) * 127.5).astype(np.uint8)
    return Surface((unit * radius + center).astype(np.float32), triangles.astype(np.int32), values=values)


def textured_sphere(radius: float = 1.0, segments: int = 24, size: int = 64, channels: int = 3) -> Surface:
    """A sphere with smooth texels of its own over (longitude, latitude)."""
    plain = sphere(radius, segments)
    rings = segments // 2
    x, y = np.meshgrid(np.linspace(0.5, size - 0.5, segments + 1), np.linspace(0.5, size / 2 - 0.5, rings + 1))
    uvs = np.stack([x, y], axis=2).reshape(-1, 2).astype(np.float32)
    return Surface(plain.positions, plain.triangles, uvs, smooth_texels(size // 2, size, channels))


def smooth_texels(height: int, width: int, channels: int = 3, seed: int = 3) -> NDArray[np.uint8]:
    """(height, width, channels) waves, none of them 0."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = np.sin(
        x[..., None] * r.uniform(0.1, 0.9, channels)
        + y[..., None] * r.uniform(0.1, 0.9, channels)
        + r.uniform(0, 6, channels)
    )
    return np.round(128 + 120 * waves).astype(np.uint8)


def quad(
    corners: Any, texels: NDArray[np.uint8] | None = None, color: Sequence[int] = (200, 120, 40)
) -> Surface:
    """Two triangles over four corners, round in order; with texels they span them whole, the first at the first."""
    at = np.array(corners, np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    if texels is None:
        return Surface(at, triangles, values=np.tile(np.uint8(color), (4, 1)))
    h, w = texels.shape[:2]
    return Surface(at, triangles, np.float32([[0, 0], [w, 0], [w, h], [0, h]]), texels)


def wall(z: float, half: float = 1.0, color: Sequence[int] = (200, 120, 40)) -> Surface:
    """A square across the z axis."""
    corners = [(-half, -half, z), (half, -half, z), (half, half, z), (-half, half, z)]
    return quad(corners, color=color)


def holed_quad(size: int = 24, channels: int = 3) -> Surface:
    """A square of texels of which a third, at random, are empty: their first channel is 0."""
    texels = smooth_texels(size, size, channels).copy()
    texels[np.random.default_rng(8).random((size, size)) < 0.33, 0] = 0
    return quad([(-1, -1, 0), (1, -1, 0.3), (1, 1, 0), (-1, 1, -0.3)], texels)


def soup(n: int, seed: int = 4, spread: float = 1.0, size: float = 0.3) -> Surface:
    """n triangles of all turns, at random."""
    r = np.random.default_rng(seed)
    corners = r.uniform(-spread, spread, (n, 1, 3)) + r.normal(size=(n, 3, 3)) * size
    values = np.repeat(r.integers(1, 256, (n, 1, 3)), 3, axis=1).reshape(-1, 3)
    triangles = np.arange(3 * n, dtype=np.int32).reshape(n, 3)
    return Surface(corners.reshape(-1, 3).astype(np.float32), triangles, values=values.astype(np.uint8))


def look_of(supersample: int = 1, **changes: Any) -> Look:
    """A plain look."""
    return replace(plain_look(**changes), supersample=supersample)
