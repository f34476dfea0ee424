"""NumPy twin of shaders/sort_finish.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.reference.sort_scatter import sort_scatter


def sort_finish(
    keys: NDArray[np.uint32],
    values: NDArray[np.uint32],
    counts: NDArray[np.uint32],
    sums: NDArray[np.uint32],
    shift: int,
) -> NDArray[np.uint32]:
    """The n values in their order after the last digit."""
    return sort_scatter(keys, values, counts, sums, shift)[1]
