"""NumPy twin of shaders/present.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def present(color: NDArray[np.floating], background: NDArray[np.floating]) -> NDArray[np.float64]:
    """(h, w, 4) premultiplied splats over a background rgba."""
    rest = (1 - color[..., 3:].astype(np.float64)) * background[3]
    return np.concatenate([color[..., :3] + rest * background[:3], color[..., 3:] + rest], axis=2)
