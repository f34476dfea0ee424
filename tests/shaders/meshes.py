"""Mesh passes of the frame, run on small meshes, and textures given by the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.assemble import assemble
from splatlens.viewer.assemble_mesh import assemble_meshes
from splatlens.viewer.camera import Camera
from splatlens.viewer.executor import Executor
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh import MeshTree
from splatlens.viewer.mesh_layer import MeshLayer, choose_nodes, pack_nodes
from splatlens.viewer.plan import pipeline, resolve


@dataclass(frozen=True)
class MeshFrame:
    """What the mesh passes of a frame are given."""

    numbers: dict[str, int]
    lists: dict[str, list[dict[str, int | str]]]
    uploads: dict[str, NDArray[Any]]

    def inputs(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Frame, MeshFrame, layers, blocks and words, as the twins take them."""
        u = self.uploads
        return u["frame"][0], u["mesh_frame"][0], u["mesh_layers"], u["mesh_blocks"], u["mesh_words"]


def mesh_frame_of(
    meshes: Sequence[tuple[MeshTree, NDArray[np.float64]]], camera: Camera, near: float = 0.01
) -> MeshFrame:
    """The frame of meshes under their transforms, all leaves drawn, without splats."""
    layers = [MeshLayer(mesh, transform) for mesh, transform in meshes]
    draws, words = pack_nodes(layers, choose_nodes(layers, camera, near, 0.0))
    frame, made = assemble(camera, RenderOptions(near=near), []), assemble_meshes(camera, draws, len(words))
    return MeshFrame(frame.numbers, frame.lists | made.lists, frame.uploads | made.uploads | {"mesh_words": words})


def run_mesh_passes(
    device: wgpu.GPUDevice,
    frame: MeshFrame,
    names: Sequence[str],
    uploads: Mapping[str, NDArray[Any]] | None = None,
    textures: Mapping[str, NDArray[np.float32]] | None = None,
) -> Executor:
    """An executor that has run the passes of these names once.

    uploads: buffers besides the frame's. textures: what these hold before; of four channels or of one.
    """
    everything = pipeline()
    some = {**everything, "passes": [p for p in everything["passes"] if p["name"] in names]}
    plan = resolve(some, frame.numbers, frame.lists, {"color": "rgba32float"})
    for name in textures or {}:
        plan["textures"][name] = {
            **plan["textures"][name], "usage": [*plan["textures"][name]["usage"], "COPY_DST"],
        }  # fmt: skip
    executor = Executor(device)
    executor.prepare(plan)
    for name, data in {**frame.uploads, **(uploads or {})}.items():
        if len(data):
            executor.write(name, data)
    for name, data in (textures or {}).items():
        height, width = data.shape[:2]
        device.queue.write_texture(
            {"texture": executor.textures[name]}, np.ascontiguousarray(data, np.float32),
            {"bytes_per_row": data[0].size * 4, "rows_per_image": height}, (width, height, 1),
        )  # fmt: skip
    executor.run(plan)
    return executor
