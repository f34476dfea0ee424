"""NumPy twin of shaders/image_paint.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def elements(words: NDArray[np.uint32], half: bool, tile: NDArray[np.void]) -> NDArray[np.float64]:
    """(h, w, 3) of a tensor's words."""
    w, h = tile["size"].tolist()
    values = words.view(np.float16 if half else np.float32)[: 3 * w * h]
    return values.reshape(3, h, w).transpose(1, 2, 0).astype(np.float64)


def image_paint(
    image: NDArray[np.floating],
    color: NDArray[np.floating],
    background: NDArray[np.floating],
    tile: NDArray[np.void],
    given: NDArray[np.uint32],
    made: NDArray[np.uint32],
) -> tuple[NDArray[np.float64], int]:
    """(H, W, 4) `image` after one ImageTile, and how many of its pixels were not finite.

    color: (H, W, 4) as drawn, for its alpha. background: rgb. given, made: words of the network's input and output.
    """
    out = np.array(image, np.float64)
    (x0, y0), (x1, y1), (x, y) = (tile[name].tolist() for name in ("first", "end", "origin"))
    kept = slice(y0 - y, y1 - y), slice(x0 - x, x1 - x)
    before = elements(given, bool(tile["half_input"]), tile)[kept]
    after = elements(made, bool(tile["half_output"]), tile)[kept]
    lost = ~np.isfinite(after).all(axis=2)
    after = np.where(lost[..., None], before, after)
    alpha = color[y0:y1, x0:x1, 3:].astype(np.float64)
    out[y0:y1, x0:x1, :3], out[y0:y1, x0:x1, 3:] = after - (1 - alpha) * background[:3], alpha
    return out, int(lost.sum())
