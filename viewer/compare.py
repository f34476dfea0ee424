"""How alike two pictures are: PSNR and SSIM of float images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import correlate1d

from splatlens.viewer.errors import LensError

#: Side of SSIM's window, pixels, and standard deviation of its Gaussian (Wang et al. 2004, section III.B).
WINDOW, SIGMA = 11, 1.5
#: SSIM's constants for a value range of 1: (K1 L)^2 and (K2 L)^2.
C1, C2 = 0.01**2, 0.03**2


@dataclass(frozen=True)
class Comparison:
    """psnr: dB, infinite for equal pictures. ssim: at most 1, None where a side is shorter than its window.

    largest: largest difference of a value; width, height: pixels.
    """

    width: int
    height: int
    psnr: float
    ssim: float | None
    largest: float


def compare(a: NDArray[np.floating], b: NDArray[np.floating]) -> Comparison:
    """Compares the colours (first three channels) of two (H, W, 3 or 4) pictures; nominal range 0..1, not clipped.

    Raises LensError where the sizes differ or a value is NaN or infinite.
    """
    if a.shape[:2] != b.shape[:2]:
        sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (a, b))
        raise LensError(f"the pictures have different sizes, {sizes}; render them at one size")
    x, y = (np.asarray(image[..., :3], np.float64) for image in (a, b))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise LensError("a picture holds NaN or infinity; render it again")
    height, width = x.shape[:2]
    large_enough = min(width, height) >= WINDOW
    return Comparison(width, height, psnr(x, y), ssim(x, y) if large_enough else None, float(np.abs(x - y).max()))


def psnr(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """10 log10(1 / mean squared error), dB, for values of nominal range 0..1; infinite where all are equal."""
    error = float(np.mean(np.square(np.asarray(a, np.float64) - np.asarray(b, np.float64))))
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Mean structural similarity of (H, W, C) pictures, H and W at least 11 (Wang et al. 2004, equation 13).

    Per channel and then averaged; the window stays inside the picture.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    mx, my = _blur(x), _blur(y)
    vx, vy, vxy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    similar = (2 * mx * my + C1) * (2 * vxy + C2) / ((mx * mx + my * my + C1) * (vx + vy + C2))
    return float(similar.mean())


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian mean over each whole window."""
    r = WINDOW // 2
    kernel = np.exp(-(np.arange(-r, r + 1) ** 2) / (2 * SIGMA**2))
    kernel /= kernel.sum()
    blurred = correlate1d(correlate1d(image, kernel, axis=0), kernel, axis=1)
    return np.asarray(blurred[r:-r, r:-r])
