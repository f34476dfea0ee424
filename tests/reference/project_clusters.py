"""NumPy twin of shaders/project_clusters.wgsl, given the cluster's dequantised splats."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import Splats, rotation_matrices
from tests.reference.projection import project_splats


def project_clusters(
    frame: NDArray[np.void],
    layers: NDArray[np.void],
    draw: NDArray[np.void],
    cluster: Splats,
    origin: NDArray[np.floating],
) -> dict[str, Any]:
    """What the workgroup of one Draw writes. cluster: its splats in layer coordinates; origin (3,): of its centres."""
    relative = cluster.means.astype(np.float64) - origin + draw["offset"]
    layer = layers[int(draw["layer"])]
    linear = layer["linear"][:, :3].T.astype(np.float64)
    axes = linear @ (
        rotation_matrices(cluster.quats.astype(np.float64)) * cluster.scales.astype(np.float64)[:, None, :]
    )
    sh = cluster.sh[:, : (int(draw["sh_degree"]) + 1) ** 2].astype(np.float64)
    direction = relative / np.linalg.norm(relative, axis=1, keepdims=True)
    color = np.einsum("nk,nkc->nc", sh_basis(direction, sh.shape[1]), sh) + 0.5
    return project_splats(frame, layer, relative @ linear.T, axes, cluster.opacities.astype(np.float64), color)
