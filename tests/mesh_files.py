"""Mesh files for tests: OBJ, PLY and glTF written by hand, so that every byte of them can be wrong."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Two triangles that make the square 0..1 x 0..1 at z = 0, and its coordinates in a texture (glTF: v down).
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
CORNERS = np.array([[0, 1, 2], [0, 2, 3]], np.int64)
UVS = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], np.float32)

_CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
_KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


def picture(width: int = 4, height: int = 2, alpha: bool = False, seed: int = 1) -> NDArray[np.uint8]:
    """(height, width, 3 or 4) random bytes; alpha is 0 in the left half, 255 in the right."""
    made = np.random.default_rng(seed).integers(0, 256, (height, width, 3 + alpha), dtype=np.uint8)
    if alpha:
        made[:, : width // 2, 3], made[:, width // 2 :, 3] = 0, 255
    return made


def png(pixels: NDArray[np.uint8]) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


class Asset:
    """A glTF asset under construction: `json` may be changed freely before it is saved."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "bufferViews": [], "accessors": []}

    def view(self, data: bytes) -> int:
        self.data += bytes(-len(self.data) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(data)})
        self.data += data
        return len(self.json["bufferViews"]) - 1

    def add(self, values: Any, kind: str = "f4", normalized: bool = False) -> int:
        """The number of an accessor of (N,) or (N, C) values."""
        array = np.ascontiguousarray(values, "<" + kind)
        made = {"bufferView": self.view(array.tobytes()), "componentType": _CODES[kind], "count": len(array)}
        made |= {"type": _KINDS[array.size // len(array)]} | ({"normalized": True} if normalized else {})
        self.json["accessors"].append(made)
        return len(self.json["accessors"]) - 1

    def append(self, key: str, item: dict[str, Any]) -> int:
        self.json.setdefault(key, []).append(item)
        return len(self.json[key]) - 1

    def square(self, **primitive: Any) -> dict[str, Any]:
        """A primitive of SQUARE, with texture coordinates."""
        attributes = {"POSITION": self.add(SQUARE), "TEXCOORD_0": self.add(UVS)}
        return {"attributes": attributes, "indices": self.add(CORNERS.ravel(), "u2"), **primitive}

    def show(self, *primitives: dict[str, Any], **node: Any) -> int:
        """A mesh of primitives, and a node that shows it."""
        mesh = self.append("meshes", {"primitives": list(primitives)})
        return self.append("nodes", {"mesh": mesh, **node})

    def textured(self, pixels: NDArray[np.uint8], sampler: dict[str, int] | None = None, **material: Any) -> int:
        """The number of a material with an embedded PNG."""
        image = self.append("images", {"bufferView": self.view(png(pixels)), "mimeType": "image/png"})
        texture = {"source": image} | ({} if sampler is None else {"sampler": self.append("samplers", sampler)})
        base = {"index": self.append("textures", texture), **material.pop("texture", {})}
        factor = material.pop("factor", None)
        pbr = {"baseColorTexture": base} | ({} if factor is None else {"baseColorFactor": factor})
        return self.append("materials", {"pbrMetallicRoughness": pbr, **material})

    def save(self, path: Path, cut: int = 0) -> Path:
        """Writes a .glb, or a .gltf with a .bin beside it, `cut` bytes of which are missing at the end."""
        self.json["buffers"] = [{"byteLength": len(self.data)}]
        if path.suffix == ".gltf":
            self.json["buffers"][0]["uri"] = "data.bin"
            path.with_name("data.bin").write_bytes(self.data[: len(self.data) - cut])
            path.write_text(json.dumps(self.json))
            return path
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        chunk = bytes(self.data) + bytes(-len(self.data) % 4)
        body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(chunk), b"BIN\0") + chunk
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body)
        return path


def ply(
    path: Path,
    positions: Any,
    faces: list[list[int]],
    order: str = "<",
    vertex: dict[str, Any] | None = None,
    face: dict[str, Any] | None = None,
    comments: tuple[str, ...] = (),
    texcoord: list[list[float]] | None = None,
) -> Path:
    """A PLY of vertices and faces; order "" is ascii. vertex, face: further columns, (N,) arrays by name."""
    names = {"f4": "float", "u1": "uchar", "u2": "ushort", "f8": "double", "i4": "int"}
    table = np.asarray(positions, np.float32)
    columns = {"x": table[:, 0], "y": table[:, 1], "z": table[:, 2]}
    columns |= {k: np.asarray(v) for k, v in (vertex or {}).items()}
    further = {k: np.asarray(v) for k, v in (face or {}).items()}
    form = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    lines = ["ply", f"format {form} 1.0", *(f"comment {c}" for c in comments), f"element vertex {len(table)}"]
    lines += [f"property {names[v.dtype.str[1:]]} {k}" for k, v in columns.items()]
    lines += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    lines += ["property list uchar float texcoord"] if texcoord else []
    lines += [f"property {names[v.dtype.str[1:]]} {k}" for k, v in further.items()] + ["end_header", ""]
    body = bytearray("\n".join(lines).encode())

    def put(values: Any, kind: str) -> None:
        array = np.atleast_1d(np.asarray(values))
        text = " ".join(repr(v) for v in array.tolist()) + " "
        body.extend(text.encode() if order == "" else array.astype((order or "<") + kind).tobytes())

    for i in range(len(table)):
        for v in columns.values():
            put(v[i], v.dtype.str[1:])
        body.extend(b"\n" if order == "" else b"")
    for i, one in enumerate(faces):
        put(len(one), "u1")
        put(one, "i4")
        if texcoord:
            put(len(texcoord[i]), "u1")
            put(texcoord[i], "f4")
        for v in further.values():
            put(v[i], v.dtype.str[1:])
        body.extend(b"\n" if order == "" else b"")
    path.write_bytes(body)
    return path
