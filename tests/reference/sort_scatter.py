"""NumPy twin of shaders/sort_scatter.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant


def places(
    digits: NDArray[np.uint32], rows: NDArray[np.integer], counts: NDArray[np.uint32], sums: NDArray[np.uint32]
) -> NDArray[np.int64]:
    """Where each key goes: its digit's and run's start, plus the keys of that digit before it in its run.

    digits, rows (n,): digit of a key and its position before the pass. counts (chunks, digits, runs) and sums (chunks,
    digits): scanned.
    """
    run = rows // constant("SORT_RUN")
    chunk, lane = run // constant("SORT_CHUNK"), run % constant("SORT_CHUNK")
    start = sums[chunk, digits].astype(np.int64) + counts[chunk, digits, lane]
    rank = np.zeros(len(digits), np.int64)
    group = np.lexsort((rows, digits, run))  # keys of one run and digit, in order
    same = np.flatnonzero(np.diff(run[group] * 2**32 + digits[group], prepend=-1))
    rank[group] = np.arange(len(group)) - np.repeat(same, np.diff(np.append(same, len(group))))
    return start + rank


def sort_scatter(
    keys: NDArray[np.uint32],
    values: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    sums: NDArray[np.uint32],
    shift: int,
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """n keys and values, moved to their places by the digit at bit `shift`."""
    place = places((keys >> np.uint32(shift)) % constant("SORT_DIGITS"), np.arange(len(keys)), counts, sums)
    sorted_keys, sorted_values = np.zeros_like(keys), np.zeros_like(values)
    sorted_keys[place], sorted_values[place] = keys, values
    return sorted_keys, sorted_values
