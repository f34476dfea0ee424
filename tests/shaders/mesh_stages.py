"""A shading stage's picture of small meshes, and what its twin makes of the same buffers and triangles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import MeshTree
from tests.shaders.meshes import mesh_frame_of, run_mesh_passes

CAMERA = Camera.look_at((1.1, -1.6, -2.6), (0.1, 0, 0.1), (0, -1, 0), 47, 41, 32)
#: Turned and moved, as a layer in a scene may be.
MOVED = np.array([[0, -0.9, 0, 0.2], [0.9, 0, 0, -0.1], [0, 0, 0.9, 0.15], [0, 0, 0, 1]], np.float64)


def shaded(
    device: wgpu.GPUDevice, stage: str, meshes: Sequence[MeshTree], which: int = 0, camera: Camera = CAMERA
) -> tuple[NDArray[np.float32], list[NDArray[Any]]]:
    """What the stage's first layer adds to an empty mesh_color, and the buffers that its twin takes.

    meshes: all moved. which: of the layers that are of this stage.
    """
    frame = mesh_frame_of([(mesh, MOVED) for mesh in meshes], camera)
    entry = frame.lists[f"{stage}_layers"][which] | {"mesh_shading": f"{stage}.0", "mesh_params": f"{stage}_params.0"}
    lists = frame.lists | {f"{stage}_layers": [entry]}
    names = [stage, f"{stage}_params", *(["mesh_directions"] if stage == "mesh_lightfield" else [])]
    own = {f"{name}.0": frame.uploads[f"{name}.{which}"] for name in names}
    others = {k: v for k, v in frame.uploads.items() if k.rpartition(".")[0] not in names}
    alone = type(frame)(frame.numbers, lists, {k: v for k, v in (others | own).items() if _bound(k, stage)})
    executor = run_mesh_passes(device, alone, ("mesh_raster", stage))
    ids = executor.read_texture("mesh_ids")
    first = own[f"{stage}.0"][0]
    return executor.read_texture("mesh_color"), [
        *alone.inputs(), ids, first, *(own[f"{name}.0"] for name in names[1:]),
    ]  # fmt: skip


def _bound(name: str, stage: str) -> bool:
    """Whether a buffer is there when this stage alone shades."""
    shading = name.startswith(("mesh_plain", "mesh_network", "mesh_gaussians", "mesh_lightfield", "mesh_directions"))
    return not shading or name.startswith(stage) or name.startswith("mesh_directions")


def worst(
    got: NDArray[np.floating], want: NDArray[np.floating], sure: NDArray[np.bool_], at: NDArray[np.int64]
) -> float:
    """Largest difference, at the pixels `at` only where they are sure. sure (P,): of each of the pixels `at` (P,)."""
    difference = np.abs(got - want).reshape(-1, 4)
    difference[at[~sure]] = 0
    return float(difference.max())
