"""Float32 records: the unquantised form of splats on the GPU (raw source files, generators)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.splats import Splats, rotation_matrices

#: Floats of a record before its SH: mean 3, opacity 1, lower triangle of L 6.
RECORD_HEAD = 10

_ROWS = 1 << 16  # rows factored at once: bounds the float64 temporaries to about 30 MB


def record_stride(coefficients: int) -> int:
    """Floats a record takes with that many SH coefficients."""
    return RECORD_HEAD + 3 * coefficients


def pack_records(splats: Splats) -> NDArray[np.float32]:
    """(N, stride) float32 for project_records.wgsl.

    The covariance is stored as its lower-triangular factor L, from the LQ decomposition of R S in float64: squaring a
    needle's scales in float32 would lose its thin axis, and generators that give covariances fit the same record.
    """
    n, coefficients = len(splats), splats.sh.shape[1]
    out = np.empty((n, record_stride(coefficients)), np.float32)
    out[:, :3] = splats.means
    out[:, 3] = splats.opacities
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        axes = (
            rotation_matrices(splats.quats[rows].astype(np.float64))
            * splats.scales[rows].astype(np.float64)[:, None, :]
        )
        upper: NDArray[np.float64] = np.asarray(np.linalg.qr(axes.transpose(0, 2, 1), mode="r"))
        for column, (i, j) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]):
            out[rows, 4 + column] = upper[:, j, i]
    out[:, RECORD_HEAD:] = splats.sh.reshape(n, -1)
    return out
