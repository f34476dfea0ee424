"""NumPy twin of shaders/sort_scan_chunks.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant


def sort_scan_chunks(sums: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], int, list[int]]:
    """Sums (chunks, digits) of all before each in (digit, chunk) order; how many keys; the arguments of `draw`."""
    by_digit = sums.T.ravel()
    before = by_digit.cumsum(dtype=np.uint32) - by_digit
    count = int(sums.sum())
    return before.reshape(sums.T.shape).T.copy(), count, [constant("SPLAT_VERTICES") * count, 1, 0, 0]
