"""Colour spaces of KHR_gaussian_splatting: linear light to the display values that splats here are blended in."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis

F32 = NDArray[np.float32]

#: Value of the constant harmonic.
SH_C0 = 0.28209479177387814
#: Polar and azimuthal directions: exact for polynomials up to degree 15, five times SH degree 3.
POLAR, AZIMUTHAL = 8, 16


def encode_srgb(linear: NDArray[np.floating]) -> NDArray[np.floating]:
    """Display values of linear light (IEC 61966-2-1); above 1 by the same power, below 0 mirrored."""
    light = np.abs(linear)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.copysign(shown, linear))


def decode_srgb(display: NDArray[np.floating]) -> NDArray[np.floating]:
    """Linear light of display values 0..1."""
    return np.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055) ** 2.4)


def display_sh(sh: F32) -> F32:
    """SH (N, K, 3) of display values where `sh` gives linear light: the nearest of its degree, over all directions.

    The curve is not linear, so no SH of the same degree is exact, but at degree 0. Least squares on a Gauss-Legendre
    grid of directions, where the harmonics are orthogonal.
    """
    basis, weights = _grid(sh.shape[1])
    light = np.einsum("dk,nkc->ndc", basis, sh.astype(np.float64)) + 0.5
    return np.asarray(np.einsum("dk,ndc->nkc", basis * weights[:, None], encode_srgb(light) - 0.5), np.float32)


@lru_cache(maxsize=4)
def _grid(coefficients: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Basis (D, K) at the directions, and their weights (D,), which sum to 4 pi."""
    z, weights = np.polynomial.legendre.leggauss(POLAR)
    angle = 2 * np.pi * np.arange(AZIMUTHAL) / AZIMUTHAL
    radius = np.sqrt(1 - z * z)[:, None]
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    directions = np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], axis=2).reshape(-1, 3)
    return sh_basis(directions, coefficients), np.repeat(weights, AZIMUTHAL) * 2 * np.pi / AZIMUTHAL
