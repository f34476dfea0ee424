"""Writes the figure as a binary glTF 2.0: points with a skin, sparse morph targets and animations."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import rig
from figure import F64, Surface
from numpy.typing import NDArray

_CODES = {"u1": 5121, "u2": 5123, "f4": 5126}
_KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
_POINTS = 0


class Buffer:
    """Accessors and the bytes behind them."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, array: NDArray[Any]) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes})
        self.data += array.tobytes()
        return len(self.views) - 1

    def add(self, values: NDArray[Any], kind: str = "f4", limits: bool = False, normalized: bool = False) -> int:
        """An accessor of (N,) or (N, C) values."""
        array = np.ascontiguousarray(values, "<" + kind)
        made = {"bufferView": self.view(array), "componentType": _CODES[kind], "count": len(array),
                "type": _KINDS[array.size // len(array)]}  # fmt: skip
        if limits:
            flat = array.reshape(len(array), -1)
            made |= {"min": flat.min(axis=0).tolist(), "max": flat.max(axis=0).tolist()}
        if normalized:
            made["normalized"] = True
        self.accessors.append(made)
        return len(self.accessors) - 1

    def add_sparse(self, values: F64) -> int:
        """An accessor of (N, 3) values that stores only those that are not zero."""
        array = np.ascontiguousarray(values, "<f4")
        rows = np.flatnonzero((array != 0).any(axis=1))
        kind = "u2" if len(array) < 1 << 16 else "u4"
        part = {"count": len(rows), "indices": {"bufferView": self.view(rows.astype("<" + kind)),
                                                "componentType": _CODES[kind]},
                "values": {"bufferView": self.view(array[rows])}}  # fmt: skip
        self.accessors.append({"componentType": _CODES["f4"], "count": len(array), "type": "VEC3", "sparse": part,
                               "min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()})  # fmt: skip
        return len(self.accessors) - 1


def quaternions(vectors: F64) -> F64:
    """(F, 4) x y z w of rotation vectors (F, 3), axis times angle."""
    angles = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.concatenate([vectors * 0.5 * np.sinc(angles / 2 / np.pi), np.cos(angles / 2)], axis=1)


def write(positions: F64, surface: Surface) -> bytes:
    """The asset. positions (N, 3): the vertices, to which the Gaussians are bound."""
    out = Buffer()
    joints, weights = rig.skin(surface)
    shapes = rig.blendshapes(surface)
    colors = np.round(np.concatenate([surface.colors**2.2, np.ones((len(positions), 1))], axis=1) * 255)
    attributes = {
        "POSITION": out.add(positions, limits=True), "COLOR_0": out.add(colors, "u1", normalized=True),
        "JOINTS_0": out.add(joints, "u1"), "WEIGHTS_0": out.add(weights),
    }  # fmt: skip
    primitive = {"attributes": attributes, "mode": _POINTS, "material": 0,
                 "targets": [{"POSITION": out.add_sparse(shape)} for shape in shapes.values()]}  # fmt: skip
    mesh = {"name": "figure", "primitives": [primitive], "weights": [0.0] * len(shapes),
            "extras": {"targetNames": list(shapes)}}  # fmt: skip
    binds = np.tile(np.eye(4), (len(rig.JOINTS), 1, 1))
    binds[:, :3, 3] = -rig.JOINTS
    nodes: list[dict[str, Any]] = []
    for number, (name, (parent, place)) in enumerate(rig.BONES.items()):
        origin = np.array(rig.BONES[parent][1]) if parent else np.zeros(3)
        children = [n for n, (above, _) in enumerate(rig.BONES.values()) if above == name]
        node = {"name": name, "translation": (np.array(place) - origin).tolist()}
        nodes.append(node | ({"children": children} if children else {}))
        assert rig.NAMES[number] == name
    figure_node = len(nodes)
    nodes.append({"name": "figure", "mesh": 0, "skin": 0})
    asset = {
        "asset": {"version": "2.0", "generator": "samples/avatar of splatlens", "copyright": "CC0-1.0"},
        "scene": 0, "scenes": [{"nodes": [0, figure_node]}], "nodes": nodes, "meshes": [mesh],
        "materials": [{"extensions": {"KHR_materials_unlit": {}}}], "extensionsUsed": ["KHR_materials_unlit"],
        "skins": [{"joints": list(range(len(rig.BONES))),
                   "inverseBindMatrices": out.add(binds.transpose(0, 2, 1).reshape(-1, 16))}],
        "animations": [_animation(out, clip, list(shapes), figure_node) for clip in rig.clips()],
        "accessors": out.accessors, "bufferViews": out.views, "buffers": [{"byteLength": len(out.data)}],
    }  # fmt: skip
    text = json.dumps(asset, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data = bytes(out.data) + b"\0" * (-len(out.data) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _animation(out: Buffer, clip: rig.Clip, shapes: list[str], figure_node: int) -> dict[str, Any]:
    times = out.add(clip.times, limits=True)
    samplers, channels = [], []

    def channel(node: int, path: str, values: F64) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": node, "path": path}})
        samplers.append({"input": times, "output": out.add(values), "interpolation": "LINEAR"})

    for bone, vectors in clip.turns.items():
        channel(rig.NAMES.index(bone), "rotation", quaternions(vectors))
    channel(rig.NAMES.index("hips"), "translation", clip.hips)
    weights = np.stack([clip.weights.get(name, np.zeros(len(clip.times))) for name in shapes], axis=1)
    channel(figure_node, "weights", weights.reshape(-1))
    return {"name": clip.name, "samplers": samplers, "channels": channels}
