"""NumPy twin of shaders/mesh_plain.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.mesh_pixels import F64, MeshPixels, mesh_pixels


def mesh_plain(*inputs: NDArray[Any]) -> tuple[F64, MeshPixels]:
    """(H, W, 4) that the stage adds, of the buffers that mesh_pixels takes, and what it was made of."""
    p, shading = mesh_pixels(*inputs), inputs[6]
    color = p.channels[:, :3]
    if shading["light"]:
        normal = p.channels[:, 3:6] if shading["channels"] >= 6 else p.normal
        lengths = np.linalg.norm(normal, axis=1) * np.linalg.norm(p.direction, axis=1)
        cosine = np.abs((normal * p.direction).sum(axis=1)) / np.where(lengths > 0, lengths, 1)
        color = color * (0.3 + 0.7 * np.where(lengths > 0, cosine, 1))[:, None]
    return p.target(color), p
