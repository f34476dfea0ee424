"""NumPy twin of shaders/mesh_gaussians.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.mesh_pixels import F64, MeshPixels, mesh_pixels


def mesh_gaussians(*inputs: NDArray[Any]) -> tuple[F64, MeshPixels]:
    """(H, W, 4) that the stage adds, of the buffers that mesh_pixels takes, and what it was made of."""
    p, shading = mesh_pixels(*inputs), inputs[6]
    color = p.channels[:, :3]
    for lobe in np.split(p.channels[:, 3 : 3 + 7 * int(shading["lobes"])], int(shading["lobes"]), axis=1):
        length = np.linalg.norm(lobe[:, :3], axis=1)
        cosine = (lobe[:, :3] * p.direction).sum(axis=1) / np.where(length > 0, length, 1)
        color = color + lobe[:, 4:] * np.exp(lobe[:, 3] * (cosine - 1))[:, None]
    return p.target(color), p
