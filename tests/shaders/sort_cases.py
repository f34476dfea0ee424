"""Keys that sorting must get right, and small frames of them for the tests of its stages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant

CULLED = constant("KEY_CULLED")
LARGEST = (1 << constant("KEY_BITS")) - 1
#: What buffers hold before a stage runs: it must write all that it promises.
DIRT = 0xA5A5A5A5


def grouped(keys: NDArray[np.integer], groups: int | None = None) -> NDArray[np.uint32]:
    """Keys filled up with culled ones to whole groups, as project writes them."""
    size = constant("GROUP")
    out = np.full((-(-len(keys) // size) if groups is None else groups) * size, CULLED, np.uint32)
    out[: len(keys)] = keys
    return out


def random_keys(n: int, seed: int = 0, culled: float = 0.2) -> NDArray[np.uint32]:
    """n keys of KEY_BITS bits, this share of them culled."""
    rng = np.random.default_rng([seed, n])
    keys = rng.integers(0, LARGEST + 1, n, dtype=np.uint32)
    keys[rng.random(n) < culled] = CULLED
    return keys


def key_kinds(n: int) -> dict[str, NDArray[np.uint32]]:
    """n keys in orders that have broken sorts before."""
    rng = np.random.default_rng(n)
    mostly = random_keys(n, 1, culled=0.99)
    return {
        "random": random_keys(n, culled=0.0),
        "some culled": random_keys(n),
        "nearly all culled": mostly,
        "all culled": np.full(n, CULLED, np.uint32),
        "all equal": np.full(n, 12345, np.uint32),
        "all zero": np.zeros(n, np.uint32),
        "all largest": np.full(n, LARGEST, np.uint32),
        "sorted": np.linspace(0, LARGEST, n, dtype=np.uint32) if n else np.zeros(0, np.uint32),
        "reversed": np.linspace(LARGEST, 0, n, dtype=np.uint32) if n else np.zeros(0, np.uint32),
        "few digits": rng.choice(np.array([0, 1, 0x10, 0xFFF0, LARGEST - 1, LARGEST], np.uint32), n),
    }


def sorted_order(keys: NDArray[np.uint32]) -> NDArray[np.int64]:
    """Indices of the keys that are drawn, by NumPy's stable argsort."""
    drawn = np.flatnonzero(keys != CULLED)
    return drawn[np.argsort(keys[drawn], kind="stable")]


#: (groups, workgroups a dimension, groups that buffers have room for) of a stage's tests: ends of runs and chunks, and
#: dispatches of one, two and three dimensions that overshoot.
FRAMES = [(1, 65535, 1), (2, 65535, 300), (64, 1, 64), (65, 65535, 900), (130, 2, 200), (400, 2, 600), (577, 3, 1800)]


def stage_keys(groups: int) -> NDArray[np.uint32]:
    """Keys of so many groups, some culled."""
    return random_keys(groups * constant("GROUP"), 7)


def dirt(*shape: int) -> NDArray[np.uint32]:
    """What a buffer holds before a stage writes to it."""
    return np.full(shape, DIRT, np.uint32)


def check_written(buffer: NDArray[np.uint32], want: NDArray[np.uint32]) -> None:
    """The buffer begins with `want`, and what lies behind it was left alone."""
    flat = want.ravel()
    np.testing.assert_array_equal(buffer[: len(flat)], flat)
    assert (buffer[len(flat) :] == DIRT).all()
