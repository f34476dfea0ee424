"""NumPy twin of shaders/compact_count.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from tests.reference.sort_count import chunked


def compact_count(keys: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Counts (chunks, digits, runs of a chunk) of the lowest digit of keys (groups * 256,), culled ones left out."""
    runs = keys.reshape(-1, constant("SORT_RUN"))
    digits = runs % constant("SORT_DIGITS")
    drawn = runs != constant("KEY_CULLED")
    counts = [((digits == d) & drawn).sum(axis=1) for d in range(constant("SORT_DIGITS"))]
    return chunked(np.stack(counts, axis=1))
