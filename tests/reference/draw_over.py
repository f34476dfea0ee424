"""NumPy twin of shaders/draw_over.wgsl: first what is behind the meshes, then they, then what is before them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.reference.draw import splat_at


def draw_over(
    frame: NDArray[np.void],
    projected: NDArray[np.void],
    order: NDArray[np.integer],
    mesh_color: NDArray[np.floating],
    mesh_front: NDArray[np.floating],
) -> NDArray[np.float64]:
    """(height, width, 4) premultiplied, without background.

    order: back to front. mesh_color (height, width, 4), mesh_front (height, width): what the pixel shows of meshes, and
    its least view depth. A splat counts as behind where its centre's depth is greater.
    """
    width, height = (int(v) for v in frame["viewport"])
    y, x = np.mgrid[:height, :width] + 0.5
    behind, before = np.zeros((height, width, 4)), np.zeros((height, width, 4))
    for splat in projected[order]:
        alpha, color = splat_at(frame, splat, x, y)
        far = (splat["depth"] > mesh_front)[..., None]
        behind = np.where(far, alpha * color + (1 - alpha) * behind, behind)
        before = np.where(far, before, alpha * color + (1 - alpha) * before)
    scene = mesh_color + (1 - mesh_color[..., 3:]) * behind
    return np.asarray(before + (1 - before[..., 3:]) * scene, np.float64)
