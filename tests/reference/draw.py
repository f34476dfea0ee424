"""NumPy twin of shaders/draw.wgsl: blends Projected records back to front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def half(words: NDArray[np.uint32]) -> NDArray[np.float64]:
    """(N, 2) of pack2x16float."""
    return words.copy().view(np.float16).reshape(-1, 2).astype(np.float64)


def splat_at(
    frame: NDArray[np.void], splat: NDArray[np.void], x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Alpha (..., 1) of a Projected record at points, 0 below 1/255; its colour (4,), the last 1."""
    rg, ba = half(splat["rg"][None])[0], half(splat["ba"][None])[0]
    major = splat["major"].astype(np.float64)
    length = np.linalg.norm(major)
    along = major / length
    dx, dy = x - splat["center"][0], y - splat["center"][1]
    u = (along[0] * dx + along[1] * dy) / length
    v = (-along[1] * dx + along[0] * dy) / float(splat["minor"])
    alpha = np.minimum(float(frame["alpha_cap"]), ba[1] * np.exp(-0.5 * (u * u + v * v)))
    alpha[alpha < 1 / 255] = 0
    return alpha[..., None], np.array([*rg, ba[0], 1.0])


def draw(frame: NDArray[np.void], projected: NDArray[np.void], order: NDArray[np.integer]) -> NDArray[np.float64]:
    """(height, width, 4) premultiplied, without background."""
    width, height = (int(v) for v in frame["viewport"])
    y, x = np.mgrid[:height, :width] + 0.5
    image = np.zeros((height, width, 4))
    for splat in projected[order]:
        alpha, color = splat_at(frame, splat, x, y)
        image = alpha * color + (1 - alpha) * image
    return image
