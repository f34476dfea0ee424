"""NumPy twin of shaders/image_tensor.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def image_tensor(
    picture: NDArray[np.floating], background: NDArray[np.floating], tile: NDArray[np.void]
) -> NDArray[np.uint32]:
    """Words of the tensor [1, 3, h, w] that one ImageTile makes of (H, W, 4) premultiplied over a background rgb."""
    (w, h), (x, y) = tile["size"].tolist(), tile["origin"].tolist()
    rows = np.clip(np.arange(y, y + h), 0, picture.shape[0] - 1)
    columns = np.clip(np.arange(x, x + w), 0, picture.shape[1] - 1)
    inside = picture[np.ix_(rows, columns)].astype(np.float64)
    values = np.clip(inside[..., :3] + (1 - inside[..., 3:]) * background[:3], 0, 1).transpose(2, 0, 1).ravel()
    if not tile["half_input"]:
        return values.astype(np.float32).view(np.uint32)
    half = values.astype(np.float16)
    return np.append(half, np.zeros(len(half) % 2, np.float16)).view(np.uint32)
