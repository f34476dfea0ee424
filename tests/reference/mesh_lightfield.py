"""NumPy twin of shaders/mesh_lightfield.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference.mesh_pixels import F64, MeshPixels, mesh_pixels


def mesh_lightfield(*inputs: NDArray[Any]) -> tuple[F64, MeshPixels, F64]:
    """(H, W, 4) that the stage adds, of the buffers that mesh_pixels takes and `mesh_directions`; what it was made
    of; and (P,) how near, in texels of the map, directions are to the border of the nearest one.
    """
    *rest, directions = inputs
    p, shading, params = mesh_pixels(*rest), rest[6], rest[7].astype(np.float64)
    terms, (width, height) = int(shading["terms"]), shading["map_size"].tolist()
    field = directions.view(np.uint8).reshape(height, width, terms).astype(np.float64)
    x, y, z = p.direction.T
    u = np.mod(np.arctan2(y, x) / (2 * np.pi), 1) * width
    v = np.mod(np.arctan2(z, np.hypot(x, y)) / (2 * np.pi), 1) * height
    border = np.minimum(np.abs(u - np.round(u)), np.abs(v - np.round(v)))

    def texel(x: F64, y: F64) -> F64:
        return field[y.astype(np.int64) % height, x.astype(np.int64) % width]

    if shading["map_smoothed"]:
        x0, y0 = np.floor(u - 0.5), np.floor(v - 0.5)
        fx, fy = (u - 0.5 - x0)[:, None], (v - 0.5 - y0)[:, None]
        above = texel(x0, y0) * (1 - fx) + texel(x0 + 1, y0) * fx
        below = texel(x0, y0 + 1) * (1 - fx) + texel(x0 + 1, y0 + 1) * fx
        stored = above * (1 - fy) + below * fy
    else:
        stored = texel(np.floor(u), np.floor(v))
    own = params[-2 * (terms // 4) :].reshape(2, terms)
    b = stored / 255 * own[0] + own[1]
    sums = np.einsum("pkt,pt->pk", p.channels.reshape(-1, 3, terms), b)
    return p.target(1 / (1 + np.exp(-sums))), p, border
