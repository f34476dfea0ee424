"""Colour spaces of KHR_gaussian_splatting: linear light to the display values that splats here are blended in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import SH_C0

F32 = NDArray[np.float32]

#: Polar and azimuthal directions: exact for polynomials up to degree 11, of which products with SH degree 3 need 6.
POLAR, AZIMUTHAL = 6, 12
#: Splats converted at once: 2 MB an array of colours.
_ROWS = 1024


def encode_srgb(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """Display values of linear light (IEC 61966-2-1); above 1 by the same power, below 0 mirrored."""
    light = np.abs(linear)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.copysign(shown, linear))


def decode_srgb(display: NDArray[np.floating]) -> NDArray[np.floating]:
    """Linear light of display values 0..1."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def display_sh(sh: F32) -> F32:
    """SH (N, K, 3) of display values where `sh` gives linear light: near ones of its degree, over all directions.

    The curve is not linear, so no SH of the same degree is exact, but at degree 0. Of two, for each splat and channel
    the one that shows less error: least squares on a Gauss-Legendre grid of directions, where the harmonics are
    orthogonal (0.0014 RMS on a trained scene), and the curve's slope at the mean colour (0.0026 there, but better where
    harmonics reach far out of what a display shows).
    """
    basis, weights = _grid(sh.shape[1])
    out = np.empty_like(sh)
    for first in range(0, len(sh), _ROWS):
        # One row a channel, coefficients along it.
        linear = sh[first : first + _ROWS].transpose(0, 2, 1).reshape(-1, sh.shape[1]).astype(np.float64)
        shown = encode_srgb(linear @ basis.T + 0.5)
        fit = (shown - 0.5) @ (basis * weights[:, None])
        mean = linear[:, :1] * SH_C0 + 0.5
        clipped = np.maximum(mean, 0.0031308)
        slope = linear * np.where(mean <= 0.0031308, 12.92, 1.055 / 2.4 * clipped ** (1 / 2.4 - 1))
        slope[:, :1] = (encode_srgb(mean) - 0.5) / SH_C0
        errors = [(((one @ basis.T + 0.5).clip(0, 1) - shown.clip(0, 1)) ** 2) @ weights for one in (fit, slope)]
        best = np.where((errors[0] <= errors[1])[:, None], fit, slope)
        out[first : first + _ROWS] = best.reshape(-1, 3, sh.shape[1]).transpose(0, 2, 1)
    return out


@lru_cache(maxsize=4)
def _grid(coefficients: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Basis (D, K) at the directions, and their weights (D,), which sum to 4 pi."""
    z, weights = np.polynomial.legendre.leggauss(POLAR)
    angle = 2 * np.pi * np.arange(AZIMUTHAL) / AZIMUTHAL
    radius = np.sqrt(1 - z * z)[:, None]
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    directions = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=2).reshape(-1, 3)
    return sh_basis(directions, coefficients), np.repeat(weights, AZIMUTHAL) * 2 * np.pi / AZIMUTHAL
