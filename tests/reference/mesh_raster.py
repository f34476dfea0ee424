"""NumPy twin of shaders/mesh_raster.wgsl: which triangle each sample sees, by rays in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from splatlens.viewer.mesh_raster_reference import raster
from tests.reference.mesh_words import camera_of, drawn_meshes


@dataclass(frozen=True)
class MeshIds:
    """ids (h, w): what mesh_ids holds, 0 for none. depths (h, w): near / view depth, 0 for none.

    sure (h, w): where rounding cannot change what is seen, see mesh_raster.
    """

    ids: NDArray[np.uint32]
    depths: NDArray[np.float64]
    sure: NDArray[np.bool_]


def mesh_raster(
    frame: NDArray[np.void],
    mesh_frame: NDArray[np.void],
    layers: NDArray[np.void],
    blocks: NDArray[np.void],
    words: NDArray[np.uint32],
    grid: float = 1 / 2048,
) -> MeshIds:
    """Of `side` samples a pixel along x and y.

    Samples are not sure within `grid` pixels of an edge (what float32 makes of one), where two hits
    differ by less than 1e-5 of their depth, and within a thousandth of a texel of one that may be empty.
    """
    side, near = int(mesh_frame["side"]), float(frame["near"])
    seen = raster(drawn_meshes(layers, blocks, words), camera_of(frame), near, side)
    number = seen.soup.surface * constant("MESH_BLOCK") + seen.soup.row + 1
    ids = np.where(seen.triangle >= 0, number[seen.triangle], 0) if len(number) else np.zeros(seen.depth.shape)
    sure = (seen.edge > grid) & (seen.gap > 1e-5) & (seen.texel > 1e-3)

    def grid_of(values: NDArray[np.generic]) -> NDArray[np.generic]:
        h, w, _ = values.shape
        return values.reshape(h, w, side, side).swapaxes(1, 2).reshape(h * side, w * side)

    return MeshIds(*(grid_of(v) for v in (ids.astype(np.uint32), near / seen.depth, sure)))  # type: ignore[arg-type]
