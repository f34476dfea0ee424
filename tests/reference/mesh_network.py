"""NumPy twin of shaders/mesh_network.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from tests.reference.mesh_pixels import F64, MeshPixels, mesh_pixels


def mesh_network(*inputs: NDArray[Any]) -> tuple[F64, MeshPixels]:
    """(H, W, 4) that the stage adds, of the buffers that mesh_pixels takes, and what it was made of."""
    p, shading, params = mesh_pixels(*inputs), inputs[6], inputs[7].astype(np.float64)
    n, c = p.channels.shape
    carried = -(-c // 4)
    given = np.zeros((n, 4 * carried + 4))
    given[:, :c], given[:, 4 * carried : 4 * carried + 3] = p.channels, p.direction
    at = 2 * carried
    values = given
    for _ in range(int(shading["waves"])):
        source, frequency, phase = params[at : at + 3]
        values = np.concatenate([values, np.sin(given[:, source.astype(int)] * frequency + phase)], axis=1)
        at += 3
    for units, activation in zip(shading["outputs"], shading["activations"], strict=True):
        if not units:
            break
        sums = []
        for _ in range(-(-int(units) // 4)):
            rows = params[at : at + 1 + values.shape[1]]
            sums.append(rows[0] + values @ rows[1:])
            at += len(rows)
        values = np.concatenate(sums, axis=1)
        if activation == 1:
            values = np.maximum(values, 0)
        elif activation == 2:
            values = 1 / (1 + np.exp(-values))
    assert at == len(params)
    base = int(shading["base"])
    own = 0 if base == constant("MESH_NONE") else p.channels[:, base : base + 3]
    return p.target(np.clip(values[:, :3] + own, 0, 1)), p
