"""NumPy twin of shaders/compact_scatter.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from tests.reference.sort_scatter import places


def compact_scatter(
    keys: NDArray[np.uint32], counts: NDArray[np.uint32], sums: NDArray[np.uint32]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The drawn ones of keys (groups * 256,) and their indices, ordered by the lowest digit."""
    drawn = np.flatnonzero(keys != constant("KEY_CULLED"))
    place = places(keys[drawn] % constant("SORT_DIGITS"), drawn, counts, sums)
    sorted_keys, values = np.zeros(len(drawn), np.uint32), np.zeros(len(drawn), np.uint32)
    sorted_keys[place], values[place] = keys[drawn], drawn
    return sorted_keys, values
