"""Meshes with levels of detail for the tests of the page, made by hand: what is resident at which level can be said."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.mesh import Dense, Input, Look, MeshNodes, MeshTree, Network, Surface, plain_look, words_of

#: Vertices along a side of a node, and texels.
GRID, TEXELS = 6, 16
#: Error of the root, layer units; a quarter at each level below.
ROOT_ERROR = 0.4


def height(x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return 0.25 * np.sin(3 * x) * np.cos(2.5 * y)


def features(x: NDArray[Any], y: NDArray[Any], channels: int) -> NDArray[np.uint8]:
    """Smooth channels; the first is never 0, but in a hole of radius 0.15 around (0.4, 0.4)."""
    k = np.arange(channels)
    waves = np.sin(x[..., None] * (2 + k) + y[..., None] * (5 - k) + k)
    texels = np.round(128 + 120 * waves).astype(np.uint8)
    texels[np.hypot(x - 0.4, y - 0.4) < 0.15, 0] = 0
    return texels


def patch(low: tuple[float, float], side: float, channels: int, textured: bool) -> Surface:
    """A square of the landscape: z is a height over x, y, 0 in the middle."""
    t = np.linspace(0, 1, GRID)
    v, u = np.meshgrid(t, t, indexing="ij")
    x, y = low[0] + side * u, low[1] + side * v
    positions = np.stack([x, y, height(x, y)], axis=-1).reshape(-1, 3).astype(np.float32)
    k = (np.arange(GRID - 1)[:, None] * GRID + np.arange(GRID - 1)).ravel()
    halves = [np.stack([k, k + 1, k + GRID], 1), np.stack([k + 1, k + GRID + 1, k + GRID], 1)]
    triangles = np.concatenate(halves).astype(np.int32)
    if not textured:
        return Surface(positions, triangles, values=features(x, y, channels).reshape(-1, channels))
    at = (np.arange(TEXELS) + 0.5) / TEXELS
    uvs = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32) * TEXELS
    fx, fy = np.meshgrid(low[0] + side * at, low[1] + side * at)
    return Surface(positions, triangles, uvs, features(fx, fy, channels))


def landscape(levels: int, look: Look, textured: bool = True) -> MeshTree:
    """A square of side 2 around the origin, across z, as a quadtree."""
    squares = [((-1.0, -1.0), 2.0, 0)]
    first, count, page = [], [], [0]
    i = 0
    while i < len(squares):
        (x, y), side, level = squares[i]
        first.append(len(squares) if level + 1 < levels else 0)
        count.append(4 if level + 1 < levels else 0)
        if count[-1]:
            half = side / 2
            squares += [((x + a * half, y + b * half), half, level + 1) for b in (0, 1) for a in (0, 1)]
            page += [max(page) + 1] * 4
        i += 1
    surfaces = [patch(low, side, look.channels, textured) for low, side, _ in squares]
    error = np.array([ROOT_ERROR / 4**level if n else 0.0 for (_, _, level), n in zip(squares, count, strict=True)])
    low = np.array([[*low, -0.3] for low, _, _ in squares])
    high = np.array([[low[0] + side, low[1] + side, 0.3] for low, side, _ in squares])
    support = np.stack([low, high], axis=1)
    radius = np.linalg.norm(high - low, axis=1) / 2
    sphere = np.concatenate([(low + high) / 2, radius[:, None]], axis=1)
    triangles, words = (np.array([f(s) for s in surfaces], np.int64) for f in (lambda s: len(s.triangles), words_of))
    i64 = [np.array(a, np.int64) for a in (first, count, page)]
    return MeshTree(MeshNodes(i64[0], i64[1], error, sphere, support, triangles, words, i64[2]), surfaces, look)


def network_look(supersample: int = 2) -> Look:
    """Eight features and a direction through a network of 11, 16, 16 and 3 units, as MobileNeRF has it."""
    r = np.random.default_rng(7)
    f32 = lambda *shape: (r.normal(size=shape) * 0.45).astype(np.float32)  # noqa: E731
    sizes = (11, 16, 16, 3)
    layers = tuple(
        Dense(f32(a, b), f32(b), "sigmoid" if b == 3 else "relu") for a, b in itertools.pairwise(sizes)
    )
    scale, offset = np.full(8, 2, np.float32), np.full(8, -1, np.float32)
    method = Network(tuple(Input(k) for k in range(11)), layers)
    return Look(8, method, scale, offset, empty=0, supersample=supersample)


def colored(levels: int = 2) -> MeshTree:
    """A landscape with colours at its vertices."""
    return landscape(levels, plain_look(3), textured=False)


def featured(levels: int = 3) -> MeshTree:
    """A landscape with texels for a network, and a hole."""
    return landscape(levels, network_look())
