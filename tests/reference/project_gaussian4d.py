"""NumPy twin of shaders/project_gaussian4d.wgsl: Yang et al. 2024, sliced, with a Fourier series in time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from tests.reference.projection import project_splats


def project_gaussian4d(
    frame: NDArray[np.void],
    layers: NDArray[np.void],
    draw: NDArray[np.void],
    sequence: NDArray[np.void],
    words: NDArray[np.uint32],
) -> dict[str, Any]:
    """What the workgroup of one Draw writes. words: (12 + SH words, rows)."""
    part = words[:, int(draw["slot"]) : int(draw["slot"]) + int(draw["count"])]
    mean = part[:3].view(np.float32).astype(np.float64).T
    center, width = part[3:5].view(np.float32).astype(np.float64)
    halves = np.array([[w & 0xFFFF, w >> 16] for w in part[5:12]], np.uint16).reshape(14, -1)
    h = halves.view(np.float16).astype(np.float64).T
    unit, dt = float(sequence["unit"]), float(sequence["time"]) - center
    lower = np.zeros((len(mean), 3, 3))
    for k, (i, j) in enumerate([(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]):
        lower[:, i, j] = unit * h[:, 3 + k]
    coefficients, terms = int(sequence["sh_coefficients"]), int(sequence["terms"])
    bytes_of = np.stack([(part[12:] >> np.uint32(8 * b)) & 0xFF for b in range(4)], axis=1)
    steps = bytes_of.reshape(-1, len(mean)).astype(np.uint8).view(np.int8).astype(np.float64).T
    sh = np.zeros((len(mean), coefficients * terms, 3))
    sh[:, 0] = h[:, 10:13]
    for k in range(1, coefficients * terms):
        sh[:, k] = h[:, 13:14] * steps[:, 3 * (k - 1) : 3 * k]
    still = mean + draw["offset"]
    basis = sh_basis(still / np.linalg.norm(still, axis=1, keepdims=True), coefficients)
    color = np.full((len(mean), 3), 0.5)
    for n in range(terms):
        wave = np.cos(2 * np.pi * n * dt / float(sequence["period"]))
        term = sh[:, n * coefficients : (n + 1) * coefficients]
        color += wave[:, None] * np.einsum("nk,nkc->nc", basis, term)
    marginal = np.exp(-0.5 * (dt / width) ** 2)
    opacity = np.where(marginal > float(sequence["cut"]), h[:, 9] * marginal, 0)
    layer = layers[int(draw["layer"])]
    linear = layer["linear"][:, :3].T.astype(np.float64)
    t = (still + dt[:, None] * unit * h[:, 0:3]) @ linear.T
    return project_splats(frame, layer, t, linear @ lower, opacity, color)
