"""Reads the words of the mesh pool back into surfaces, a block of triangles each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.layout import constant
from splatlens.viewer.mesh import Look, Surface, plain_look
from splatlens.viewer.mesh_raster_reference import DrawnMesh


def camera_of(frame: NDArray[np.void]) -> Camera:
    """The camera whose view coordinates are the world's."""
    (width, height), (fx, fy), (cx, cy) = (frame[name].tolist() for name in ("viewport", "focal", "principal"))
    return Camera(int(width), int(height), fx, fy, cx, cy, np.eye(4))


def drawn_meshes(
    layers: NDArray[np.void],
    blocks: NDArray[np.void],
    words: NDArray[np.uint32],
    look: Callable[[int], Look] | None = None,
) -> list[DrawnMesh]:
    """A mesh a layer, a surface a block, as the camera of camera_of sees them. Layers' blocks lie in their order.

    look: of a layer, where more counts than what is empty, and how texels are filtered.
    """
    out = []
    for number, layer in enumerate(layers):
        own = [surface_of(block, layer, words) for block in blocks[blocks["layer"] == number]]
        matrix = np.eye(4)
        matrix[:3, :3] = layer["linear"][:, :3].astype(np.float64).T
        eye = layer["eye"].astype(np.float64) + layer["eye_rest"].astype(np.float64)
        matrix[:3, 3] = -matrix[:3, :3] @ eye
        if look is None:
            empty = None if layer["empty"] == constant("MESH_NONE") else int(layer["empty"])
            made = plain_look(4 * int(layer["carried"]), filter="linear" if layer["smoothed"] else "nearest")
            out.append(DrawnMesh(own, replace(made, empty=empty), matrix))
        else:
            out.append(DrawnMesh(own, look(number), matrix))
    return out


def surface_of(block: NDArray[np.void], layer: NDArray[np.void], words: NDArray[np.uint32]) -> Surface:
    """The triangles of a block, each with vertices of its own, all channels of its words."""
    carried, width, height = (int(v) for v in (layer["carried"], block["width"], block["height"]))
    halves = words[int(block["corners"]) :].view(np.uint16)
    count = int(block["count"])
    corners = halves[3 * int(block["first"]) :][: 3 * count].astype(np.int64)
    stride = 5 if width else 3 + carried
    at = int(block["vertices"]) + corners[:, None] * stride + np.arange(stride)
    vertices = np.ascontiguousarray(words[at])
    positions, rest = vertices[:, :3].copy().view(np.float32), vertices[:, 3:].copy()
    triangles = np.arange(3 * count, dtype=np.int32).reshape(-1, 3)
    if not width:
        return Surface(positions, triangles, values=rest.view(np.uint8))
    texels = words[int(block["texels"]) :][: width * height * carried].copy().view(np.uint8)
    return Surface(positions, triangles, rest.view(np.float32), texels.reshape(height, width, 4 * carried))
