"""Splats in structure-of-arrays form: the one in-memory representation that readers make and writers take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

#: Coefficients a colour channel has for SH degree 0 to 3.
SH_COEFFICIENTS = (1, 4, 9, 16)
#: The constant spherical harmonic, 1 / (2 sqrt(pi)): colour = 0.5 + SH_C0 * sh[:, 0] where there are no others.
SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Splats:
    """N anisotropic 3D Gaussians, activated (Kerbl et al. 2023, section 4), in the coordinates they were trained in.

    means: (N, 3) float32, world units.
    quats: (N, 4) float32, unit, order w x y z.
    scales: (N, 3) float32, standard deviations along the rotated axes, world units, linear (not logarithms).
    opacities: (N,) float32, at least 0. Trained splats stay below 1; merged ones may exceed it: alpha is
        min(alpha_cap, opacity * exp(-power)), so an opacity above 1 is a flat-topped Gaussian.
    sh: (N, K, 3) float32, K in 1, 4, 9, 16, coefficient-major; colour = max(0, 0.5 + sum of Y_k(direction) * sh[:, k]).
    """

    means: Floats
    quats: Floats
    scales: Floats
    opacities: Floats
    sh: Floats

    def __post_init__(self) -> None:
        n = len(self.means)
        want = {"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)}
        for name, shape in want.items():
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} must be float32 of shape {shape}, got {array.dtype} {array.shape}")
        if (
            self.sh.dtype != np.float32
            or self.sh.ndim != 3
            or len(self.sh) != n
            or self.sh.shape[2] != 3
            or self.sh.shape[1] not in SH_COEFFICIENTS
        ):
            raise ValueError(f"sh must be float32 of shape ({n}, 1|4|9|16, 3), got {self.sh.dtype} {self.sh.shape}")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        return SH_COEFFICIENTS.index(self.sh.shape[1])

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_] | slice) -> Splats:
        """The given rows, as a new Splats."""
        return Splats(self.means[rows], self.quats[rows], self.scales[rows], self.opacities[rows], self.sh[rows])

    def with_sh_degree(self, degree: int) -> Splats:
        """The same splats with SH cut or zero-padded to `degree` (0 to 3)."""
        k = SH_COEFFICIENTS[degree]
        sh = self.sh[:, :k]
        if sh.shape[1] < k:
            sh = np.concatenate([sh, np.zeros((len(self), k - sh.shape[1], 3), np.float32)], axis=1)
        return Splats(self.means, self.quats, self.scales, self.opacities, np.ascontiguousarray(sh))

    @staticmethod
    def empty(sh_degree: int = 0) -> Splats:
        f = np.float32
        return Splats(
            np.zeros((0, 3), f),
            np.zeros((0, 4), f),
            np.zeros((0, 3), f),
            np.zeros(0, f),
            np.zeros((0, SH_COEFFICIENTS[sh_degree], 3), f),
        )

    @staticmethod
    def concatenate(parts: Sequence[Splats]) -> Splats:
        """All parts after another; the highest SH degree among them wins, lower ones are padded with zeros."""
        if not parts:
            return Splats.empty()
        degree = max(p.sh_degree for p in parts)
        parts = [p if p.sh_degree == degree else p.with_sh_degree(degree) for p in parts]
        return Splats(
            *(np.concatenate([getattr(p, f) for p in parts]) for f in ("means", "quats", "scales", "opacities", "sh"))
        )


def rotation_matrices(quats: NDArray[np.floating]) -> NDArray[np.floating]:
    """(N, 3, 3) rotation matrices of (N, 4) unit quaternions w x y z (columns are the rotated axes)."""
    w, x, y, z = quats.T
    return np.stack([
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ], axis=1).reshape(-1, 3, 3)  # fmt: skip


def covariances(splats: Splats) -> NDArray[np.float64]:
    """(N, 3, 3) float64 world covariances R S S^T R^T (Kerbl et al. 2023, equation 6)."""
    m = rotation_matrices(splats.quats.astype(np.float64)) * splats.scales.astype(np.float64)[:, None, :]
    return m @ m.transpose(0, 2, 1)
