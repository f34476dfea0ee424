"""NumPy twin of shaders/sort_scan_runs.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def sort_scan_runs(counts: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Counts (chunks, digits, runs) summed over the runs before each in its chunk, and the sums (chunks, digits)."""
    through = counts.cumsum(axis=2, dtype=np.uint32)
    return through - counts, np.ascontiguousarray(through[:, :, -1])
