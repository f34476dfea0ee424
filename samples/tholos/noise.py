"""Value noise on an integer lattice: the textures of the scene, the same on every machine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


def _hash(x: NDArray[np.int64], y: NDArray[np.int64], z: NDArray[np.int64], seed: int) -> F32:
    """Lattice points to 0..1: three odd multipliers and two xor-shifts of 32 bits."""
    h = (x * 0x27D4EB2D) ^ (y * 0x165667B1) ^ (z * 0x9E3779B1) ^ (seed * 0x85EBCA6B)
    h = ((h & 0xFFFFFFFF) ^ ((h & 0xFFFFFFFF) >> 15)) * 0x2C1B3C6D & 0xFFFFFFFF
    h = (h ^ (h >> 12)) * 0x297A2D39 & 0xFFFFFFFF
    return ((h ^ (h >> 15)) & 0xFFFFFF).astype(np.float32) / np.float32(0xFFFFFF)


def noise(points: NDArray[np.floating], scale: float = 1.0, seed: int = 0) -> F32:
    """(N,) smooth noise in 0..1 at points (N, 3); `scale` is the lattice spacing in world units."""
    p = np.asarray(points, np.float64) / scale
    cell = np.floor(p).astype(np.int64)
    f = (p - cell).astype(np.float32)
    f = f * f * (3 - 2 * f)
    x, y, z = cell.T
    total = np.zeros(len(p), np.float32)
    for corner in range(8):
        i, j, k = corner & 1, corner >> 1 & 1, corner >> 2
        weight = (f[:, 0] if i else 1 - f[:, 0]) * (f[:, 1] if j else 1 - f[:, 1]) * (f[:, 2] if k else 1 - f[:, 2])
        total += weight * _hash(x + i, y + j, z + k, seed)
    return total


def fbm(points: NDArray[np.floating], scale: float = 1.0, octaves: int = 4, seed: int = 0) -> F32:
    """(N,) sum of `octaves` noises, each at half the spacing and half the height of the last; 0..1."""
    total, height = np.zeros(len(points), np.float32), 0.5
    for octave in range(octaves):
        total += np.float32(height) * noise(points, scale / 2**octave, seed * 16 + octave)
        height /= 2
    return total / np.float32(1 - 0.5**octaves)
