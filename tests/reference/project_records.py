"""NumPy twin of shaders/project_records.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from tests.reference.projection import project_splats


def project_records(
    frame: NDArray[np.void], layers: NDArray[np.void], draw: NDArray[np.void], records: NDArray[np.float32]
) -> dict[str, Any]:
    """What the workgroup of one Draw writes. records: (rows, stride)."""
    r = records[int(draw["slot"]) : int(draw["slot"]) + int(draw["count"])].astype(np.float64)
    relative = r[:, :3] + draw["offset"]
    layer = layers[int(draw["layer"])]
    linear = layer["linear"][:, :3].T.astype(np.float64)
    lower = np.zeros((len(r), 3, 3))
    lower[:, [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]] = r[:, 4:10]
    direction = relative / np.linalg.norm(relative, axis=1, keepdims=True)
    sh = r[:, 10:].reshape(len(r), -1, 3)
    color = np.einsum("nk,nkc->nc", sh_basis(direction, sh.shape[1]), sh) + 0.5
    return project_splats(frame, layer, relative @ linear.T, linear @ lower, r[:, 3], color)
