"""Meshes from which trees are built in tests, and random cuts through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.mesh import Look, MeshNodes, MeshTree, Surface, plain_look

RING, TUBE = 1.0, 0.4


def torus(around: int = 96, across: int = 40, width: int = 256) -> Surface:
    """A closed torus with a texture of `width` x half of it: one chart, cut open along both of its circles."""
    i, j = np.meshgrid(np.arange(around + 1), np.arange(across + 1))
    a, b = (i % around) / around * 2 * np.pi, (j % across) / across * 2 * np.pi
    out = RING + TUBE * np.cos(b)
    positions = np.stack([out * np.cos(a), out * np.sin(a), TUBE * np.sin(b)], -1)
    high = width // 2
    uvs = np.stack([i / around * (width - 1) + 0.5, j / across * (high - 1) + 0.5], -1)
    first = (j * (around + 1) + i)[:-1, :-1].ravel()
    up = first + around + 1
    triangles = np.concatenate([np.stack([first, first + 1, up + 1], 1), np.stack([first, up + 1, up], 1)])
    y, x = np.mgrid[:high, :width]
    checks = (x // 16 + y // 16) % 2 * 140 + 60
    texels = np.stack([127 + 100 * np.sin(x / 9), 127 + 100 * np.sin(y / 7 + x / 20), checks], -1)
    return Surface(
        positions.reshape(-1, 3).astype(np.float32),
        triangles.astype(np.int32),
        uvs=uvs.reshape(-1, 2).astype(np.float32),
        texels=texels.astype(np.uint8),
    )


def ball(rows: int = 64) -> Surface:
    """A closed sphere whose vertices carry their normals."""
    around = 2 * rows
    j, i = np.meshgrid(np.arange(1, rows), np.arange(around), indexing="ij")
    a, b = i / around * 2 * np.pi, j / rows * np.pi
    ring = np.stack([np.sin(b) * np.cos(a), np.sin(b) * np.sin(a), np.cos(b)], -1).reshape(-1, 3)
    positions = np.concatenate([ring, [[0, 0, 1], [0, 0, -1]]]).astype(np.float32)
    k, after = np.arange(around), (np.arange(around) + 1) % around
    triangles = [np.stack([k * 0 + len(ring), k, after], 1)]
    for row in range(rows - 2):
        low, high = row * around, (row + 1) * around
        triangles += [np.stack([low + k, high + k, high + after], 1), np.stack([low + k, high + after, low + after], 1)]
    last = (rows - 2) * around
    triangles.append(np.stack([last + k, k * 0 + len(ring) + 1, last + after], 1))
    values = np.rint((positions + 1) * 127.5).astype(np.uint8)
    return Surface(positions, np.concatenate(triangles).astype(np.int32), values=values)


#: Texels of a patch's side, patches in a row of the texture.
PATCH, ROW = 17, 12


def patches(side: int = 12, seed: int = 0, halves: float = 0.7) -> tuple[Surface, Look]:
    """A wavy sheet of side x side quads as MobileNeRF has them: a patch of 17 x 17 texels each, corners in the middle
    of the outer texels, a blob of them filled. Of `halves` of the quads there is only one triangle."""
    rng = np.random.default_rng(seed)
    n = side * side
    quad = np.arange(n)
    corner = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    at = np.stack([quad % side, quad // side], 1)[:, None] + corner
    positions = np.concatenate([at / side, np.sin(at[..., :1] * 0.9) * np.cos(at[..., 1:] * 0.7) * 0.05], axis=2)
    cell = np.stack([quad % ROW, quad // ROW], 1) * PATCH
    uvs = cell[:, None] + corner * (PATCH - 1) + 0.5
    triangles = np.concatenate([quad[:, None] * 4 + [0, 1, 3], quad[:, None] * 4 + [0, 3, 2]])
    both, first = rng.random(n) >= halves, rng.random(n) < 0.5
    triangles = triangles[np.concatenate([both | first, both | ~first])]
    high = -(-n // ROW) * PATCH
    y, x = np.mgrid[:high, : ROW * PATCH]
    radius = rng.uniform(3, 11, (high // PATCH, ROW))[y // PATCH, x // PATCH]
    middle = rng.uniform(4, 12, (2, high // PATCH, ROW))[:, y // PATCH, x // PATCH]
    there = (x % PATCH - middle[0]) ** 2 + (y % PATCH - middle[1]) ** 2 < radius**2
    texels = rng.integers(1, 256, (high, ROW * PATCH, 8), np.uint8)
    texels[..., 0] = np.where(there, texels[..., 0], 0)
    look = plain_look(8, filter="nearest", empty=0)
    look = replace(look, scale=np.ones(8, np.float32), offset=np.zeros(8, np.float32))
    surface = Surface(
        positions.reshape(-1, 3).astype(np.float32),
        triangles.astype(np.int32),
        uvs=uvs.reshape(-1, 2).astype(np.float32),
        texels=texels,
    )
    return surface, look


def random_cut(nodes: MeshNodes, rng: np.random.Generator, share: float) -> list[int]:
    """Nodes that stand for the whole, each refined with probability `share`."""
    out, waiting = [], [0]
    while waiting:
        i = waiting.pop()
        if nodes.child_count[i] and rng.random() < share:
            waiting += range(int(nodes.child_first[i]), int(nodes.child_first[i] + nodes.child_count[i]))
        else:
            out.append(i)
    return sorted(out)


def open_edges(tree: MeshTree, cut: Sequence[int]) -> int:
    """Edges of the cut's triangles that an odd number of them has: 0 for a closed surface, to the last bit."""
    surfaces = [tree.surfaces[i] for i in cut]
    offsets = np.cumsum([0] + [len(s.positions) for s in surfaces])
    positions = np.concatenate([s.positions for s in surfaces]) + np.float32(0)
    triangles = np.concatenate([s.triangles + o for s, o in zip(surfaces, offsets[:-1], strict=True)])
    place = np.unique(np.ascontiguousarray(positions).view("V12").ravel(), return_inverse=True)[1].ravel()
    ends = place[np.stack([triangles, np.roll(triangles, -1, axis=1)], axis=2).reshape(-1, 2)]
    _, count = np.unique(np.sort(ends, axis=1), axis=0, return_counts=True)
    return int((count % 2).sum())


def levels(nodes: MeshNodes) -> NDArray[np.int64]:
    """(N,) steps from the root."""
    level = np.zeros(len(nodes.error), np.int64)
    for i in range(len(level)):
        level[nodes.child_first[i] : nodes.child_first[i] + nodes.child_count[i]] = level[i] + 1
    return level
