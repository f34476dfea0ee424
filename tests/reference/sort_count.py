"""NumPy twin of shaders/sort_count.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant


def chunked(counts: NDArray[np.integer]) -> NDArray[np.uint32]:
    """Counts (runs, digits) as the GPU stores them: (chunks, digits, runs of a chunk), zero past the last run."""
    chunk, digits = constant("SORT_CHUNK"), constant("SORT_DIGITS")
    padded = np.zeros((-(-len(counts) // chunk) * chunk, digits), np.uint32)
    padded[: len(counts)] = counts
    return np.ascontiguousarray(padded.reshape(-1, chunk, digits).transpose(0, 2, 1))


def sort_count(keys: NDArray[np.uint32], groups: int, shift: int) -> NDArray[np.uint32]:
    """Counts (chunks, digits, runs of a chunk) of the digit at bit `shift` of the n keys to be sorted."""
    digits = (keys >> np.uint32(shift)) % constant("SORT_DIGITS")
    run = np.arange(len(keys)) // constant("SORT_RUN")
    counts = np.zeros((groups, constant("SORT_DIGITS")), np.uint32)
    np.add.at(counts, (run, digits), 1)
    return chunked(counts)
