"""What a frame draws of mesh nodes: blocks of triangles, and layers as seen (twin: static/mesh/assemble.js)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.assemble import layer_view
from splatlens.viewer.camera import Camera
from splatlens.viewer.layout import constant, dtype
from splatlens.viewer.mesh import ACTIVATIONS, Gaussians, LightField, Look, Network
from splatlens.viewer.mesh_params import pack_directions, pack_params, wave_groups

#: Methods by the stage that shades them, in the order of the passes.
METHODS = ("plain", "network", "gaussians", "lightfield")
NONE = 0xFFFFFFFF
#: Longest side of a texture, WebGPU's default limit: larger pictures have one sample a pixel.
MAX_SIDE = 8192


@dataclass(frozen=True)
class MeshDraws:
    """The nodes of one mesh layer that a frame draws, ascending.

    transform: (4, 4) world-from-layer. at: (n,) word of `mesh_words` that a node's own begin with (pack_surface).
    vertices, triangles: (n,) of each. size: (n, 2) width and height of its texels, 0 where the vertices carry bytes.
    """

    transform: NDArray[np.float64]
    look: Look
    at: NDArray[np.int64]
    vertices: NDArray[np.int64]
    triangles: NDArray[np.int64]
    size: NDArray[np.int64]


@dataclass(frozen=True)
class MeshAssembly:
    """Lists of pipeline.json and uploads, to be added to those of the splats; both empty where nothing is drawn."""

    lists: dict[str, list[dict[str, int | str]]] = field(default_factory=dict)
    uploads: dict[str, NDArray[Any]] = field(default_factory=dict)


def method_name(look: Look) -> str:
    """The one of METHODS that shades it."""
    kinds = {Network: "network", Gaussians: "gaussians", LightField: "lightfield"}
    return kinds.get(type(look.method), "plain")


def assemble_meshes(camera: Camera, layers: Sequence[MeshDraws], words: int) -> MeshAssembly:
    """The mesh passes of a frame. words: of the pool that all nodes lie in."""
    shown = [layer for layer in layers if len(layer.at)]
    if not shown:
        return MeshAssembly()
    side = max(layer.look.supersample for layer in shown)
    side = 1 if side * max(camera.width, camera.height) > MAX_SIDE else side
    blocks = np.concatenate([mesh_blocks(layer, i) for i, layer in enumerate(shown)])
    views = np.zeros(len(shown), dtype("MeshLayer"))
    for i, layer in enumerate(shown):
        view, eye = layer_view(camera, layer.transform)
        one = views[i : i + 1]
        one["linear"][0, :, :3] = view[:3, :3].T
        one["direction"][0, :, :3] = np.array(layer.look.direction).T
        one["eye"] = eye.astype(np.float32)
        one["eye_rest"] = eye - eye.astype(np.float32)
        one["carried"] = -(-layer.look.channels // 4)
        one["empty"] = NONE if layer.look.empty is None else layer.look.empty
        one["smoothed"] = layer.look.filter == "linear"
    size: dict[str, int | str] = {"width": side * camera.width, "height": side * camera.height}
    counts: dict[str, int | str] = {"layers": len(shown), "blocks": len(blocks), "words": words}
    lists: dict[str, list[dict[str, int | str]]] = {"meshes": [size | counts], "bare": []}
    frame = np.zeros(1, dtype("MeshFrame"))
    frame["side"] = side
    uploads: dict[str, NDArray[Any]] = {"mesh_frame": frame, "mesh_layers": views, "mesh_blocks": blocks}
    load = "clear"
    for method in METHODS:
        entries: list[dict[str, int | str]] = []
        for i, layer in enumerate(shown):
            if method_name(layer.look) != method:
                continue
            params, name = pack_params(layer.look), f"mesh_{method}"
            own, numbers = f"{name}.{len(entries)}", f"{name}_params.{len(entries)}"
            entry: dict[str, int | str] = {"load": load, "params": len(params)}
            entry |= {"mesh_shading": own, "mesh_params": numbers}
            uploads[own], uploads[numbers] = mesh_shading(layer.look, i), params
            if method == "lightfield":
                directions = pack_directions(layer.look)
                entry["directions"] = len(directions)
                uploads[f"mesh_directions.{len(entries)}"] = directions
            entries.append(entry)
            load = "load"
        lists[f"mesh_{method}_layers"] = entries
    return MeshAssembly(lists, uploads)


def mesh_blocks(layer: MeshDraws, number: int) -> NDArray[np.void]:
    """The MeshBlocks of a layer's nodes, node after node. number: the layer's."""
    size = constant("MESH_BLOCK")
    per = -(-layer.triangles // size)
    node = np.repeat(np.arange(len(per)), per)
    blocks = np.zeros(len(node), dtype("MeshBlock"))
    carried = -(-layer.look.channels // 4)
    stride = np.where(layer.size[:, 0] > 0, 5, 3 + carried)
    corners = layer.at + layer.vertices * stride
    blocks["vertices"], blocks["corners"] = layer.at[node], corners[node]
    blocks["texels"] = (corners + -(-3 * layer.triangles // 2))[node]
    blocks["width"], blocks["height"] = layer.size[node].T
    blocks["first"] = size * (np.arange(len(node)) - np.repeat(np.cumsum(per) - per, per))
    blocks["count"] = np.minimum(size, layer.triangles[node] - blocks["first"].astype(np.int64))
    blocks["layer"] = number
    return blocks


def mesh_shading(look: Look, number: int) -> NDArray[np.void]:
    """The MeshShading of a layer. number: the layer's."""
    s = np.zeros(1, dtype("MeshShading"))
    s["layer"], s["channels"], s["base"] = number, look.channels, NONE
    method = look.method
    if isinstance(method, Network):
        s["waves"], s["depth"] = wave_groups(method), len(method.layers)
        s["outputs"][0, : len(method.layers)] = [layer.kernel.shape[1] for layer in method.layers]
        s["activations"][0, : len(method.layers)] = [ACTIVATIONS.index(layer.activation) for layer in method.layers]
        s["base"] = NONE if method.base is None else method.base
    elif isinstance(method, Gaussians):
        s["lobes"] = method.lobes
    elif isinstance(method, LightField):
        s["terms"], s["map_smoothed"] = method.terms, method.filter == "linear"
        s["map_size"] = method.directions.shape[1], method.directions.shape[0]
    else:
        s["light"] = method.light == "head"
    return s
