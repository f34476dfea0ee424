"""NumPy twin of shaders/mesh_resolve.wgsl."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant


def mesh_resolve(
    frame: NDArray[np.void],
    mesh_frame: NDArray[np.void],
    mesh_color: NDArray[np.floating],
    depths: NDArray[np.floating],
) -> tuple[NDArray[np.floating], NDArray[np.float64]]:
    """What goes to `color`, and the view depth of each pixel's nearest sample. depths: near / z of all samples."""
    side = int(mesh_frame["side"])
    h, w = mesh_color.shape[:2]
    with np.errstate(divide="ignore"):
        z = float(frame["near"]) / depths.reshape(h, side, w, side).astype(np.float64)
    return mesh_color, np.minimum(z.min(axis=(1, 3)), np.float32(constant("MESH_FAR")))
