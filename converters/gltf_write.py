"""Writes .glb files with KHR_gaussian_splatting: one mesh of points, float32 attributes, a buffer view each."""

from __future__ import annotations

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

import splatlens
from splatlens.converters.format import WriteOptions
from splatlens.converters.gltf_accessors import FLOAT
from splatlens.converters.gltf_colour import decode_srgb
from splatlens.converters.gltf_file import BINARY_CHUNK, JSON_CHUNK, MAGIC
from splatlens.converters.gltf_nodes import camera_node
from splatlens.converters.gltf_primitives import EXTENSION
from splatlens.converters.source import Source, SourceInfo
from splatlens.converters.transform import transformed
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import dump_json
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import SH_C0, Splats

#: (4, 4) between right-down-forward (3DGS) and glTF's left-up-forward (section 3.4): half a turn about z.
TURN_Z = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Member of asset.extras with what no extension has a place for.
OWN_EXTRAS = "splatlens"
UNSIGNED_BYTE = 5121
ARRAY_BUFFER = 34962
#: Lengths are unsigned 32-bit numbers, the file's own included.
MOST_BYTES = 2**32 - 1
#: Bytes moved at once where fewer rows came than were promised.
_MOVE_BYTES = 1 << 20
_HEADER = struct.Struct("<4sII")
_CHUNK = struct.Struct("<I4s")


@dataclass(frozen=True)
class _Plane:
    """An attribute: its name, components a splat, componentType."""

    name: str
    width: int
    type: int = FLOAT

    @property
    def row(self) -> int:
        """Bytes a splat."""
        return self.width * (4 if self.type == FLOAT else 1)


def _planes(sh_degree: int) -> list[_Plane]:
    planes = [_Plane("POSITION", 3), _Plane("COLOR_0", 4, UNSIGNED_BYTE)]
    planes += [_Plane(f"{EXTENSION}:{name}", width) for name, width in (("ROTATION", 4), ("SCALE", 3), ("OPACITY", 1))]
    orders = [(degree, n) for degree in range(sh_degree + 1) for n in range(2 * degree + 1)]
    return planes + [_Plane(f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{n}", 3) for degree, n in orders]


def write_glb(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes a .glb in glTF's frame. Opacities are clipped to 0..1, as the extension asks. One pass, a chunk in memory.

    Raises LensError where the file cannot be written, or would exceed the 4 GiB that its length fields
    hold: before anything is written where `source` says how many rows there are, else after counting them.
    """
    planes = _planes(source.info.sh_degree)
    row = sum(plane.row for plane in planes)
    frame = TURN_Z
    room = len(_json(source.info, planes, MOST_BYTES, [[-1 / 3 * 1e-300] * 3] * 2))
    room += -room % 4
    start = _HEADER.size + 2 * _CHUNK.size + room
    total = source.info.splats
    if start + total * row > MOST_BYTES:
        total = sum(len(part) for part in source.chunks())
        if start + total * row > MOST_BYTES:
            why = f"{total} splats need {start + total * row} bytes, and a .glb holds {MOST_BYTES} at most"
            raise LensError(f"{path}: {why}; write .lens or .ply, or less SH (--max-sh)")
    firsts = [start + total * before for before in np.cumsum([0, *(p.row for p in planes)]).tolist()]
    low, high = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    done = 0
    with atomic_write(path) as file:
        for part in source.chunks():
            turned = transformed(part, frame)
            low, high = np.minimum(low, turned.means.min(axis=0)), np.maximum(high, turned.means.max(axis=0))
            for plane, first, values in zip(planes, firsts, _columns(turned), strict=False):
                file.seek(first + done * plane.row)
                file.write(values.tobytes())
            done += len(part)
            options.progress(done / max(total, 1))
        if done == 0:
            raise FormatError(f"{path}: there are no splats to write; check the filters")
        if done < total:
            _close_up(file, planes, firsts, done)
        size = start + done * row
        file.truncate(size)
        file.seek(0)
        text = _json(source.info, planes, done, [[float(v) for v in bound] for bound in (low, high)])
        file.write(_HEADER.pack(MAGIC, 2, size))
        file.write(_CHUNK.pack(room, JSON_CHUNK) + text.ljust(room))
        file.write(_CHUNK.pack(size - start, BINARY_CHUNK))
    return size


def _columns(splats: Splats) -> list[NDArray[Any]]:
    """Values of each plane, rows first."""
    opacities = np.clip(splats.opacities, 0, 1).astype("<f4")
    colour = np.empty((len(splats), 4))
    colour[:, :3] = decode_srgb(np.clip(splats.sh[:, 0] * SH_C0 + 0.5, 0, 1))
    colour[:, 3] = opacities
    shown = np.rint(colour * 255).astype(np.uint8)
    geometry = [np.asarray(a, "<f4") for a in (splats.means, splats.quats[:, [1, 2, 3, 0]], splats.scales)]
    return [geometry[0], shown, *geometry[1:], opacities, *np.moveaxis(splats.sh.astype("<f4"), 1, 0)]


def _close_up(file: IO[bytes], planes: list[_Plane], firsts: list[int], count: int) -> None:
    """Moves planes of `count` rows together that were laid out for more."""
    to = firsts[0]
    for plane, first in zip(planes, firsts, strict=False):
        for at in range(0, count * plane.row, _MOVE_BYTES):
            file.flush()
            os.lseek(file.fileno(), first + at, os.SEEK_SET)
            block = os.read(file.fileno(), min(_MOVE_BYTES, count * plane.row - at))
            file.seek(to + at)
            file.write(block)
        to += count * plane.row


def _json(info: SourceInfo, planes: list[_Plane], count: int, bounds: list[list[float]]) -> bytes:
    """The asset's JSON; its length depends on `info`, `planes` and the number of digits in `count` and `bounds`."""
    views, accessors, at = [], [], 0
    for i, plane in enumerate(planes):
        views.append({"buffer": 0, "byteOffset": at, "byteLength": count * plane.row, "target": ARRAY_BUFFER})
        at += count * plane.row
        kind = "SCALAR" if plane.width == 1 else f"VEC{plane.width}"
        accessors.append({"bufferView": i, "componentType": plane.type, "count": count, "type": kind})
        if plane.type == UNSIGNED_BYTE:
            accessors[-1]["normalized"] = True
    accessors[0] |= {"min": bounds[0], "max": bounds[1]}
    extension = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    extension |= {"projection": "perspective", "sortingMethod": "cameraDistance"}
    primitive = {"attributes": {plane.name: i for i, plane in enumerate(planes)}, "mode": 0}
    nodes: list[dict[str, Any]] = [{"mesh": 0}]
    cameras = []
    for i, camera in enumerate(info.cameras):
        cameras.append(_lens(camera))
        nodes.append({"camera": i, **camera_node(camera, TURN_Z)})
    asset: dict[str, Any] = {"version": "2.0", "generator": f"splatlens {splatlens.__version__}"}
    own = {"antialias": info.antialias, "dilation": info.dilation}
    extras: dict[str, Any] = {OWN_EXTRAS: {k: v for k, v in own.items() if v is not None}}
    extras |= {"title": info.title, "author": info.attribution, "license": info.licence}
    asset |= {"copyright": info.attribution} if info.attribution else {}
    asset |= {"extras": kept} if (kept := {k: v for k, v in extras.items() if v}) else {}
    json: dict[str, Any] = {
        "asset": asset,
        "extensionsUsed": [EXTENSION],
        "scene": 0,
        "scenes": [{"nodes": list(range(len(nodes)))}],
        "nodes": nodes,
        "meshes": [{"primitives": [primitive | {"extensions": {EXTENSION: extension}}]}],
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": at}],
    }
    return dump_json(json | ({"cameras": cameras} if cameras else {}))


def _lens(camera: Camera) -> dict[str, Any]:
    """A perspective camera: its vertical angle and aspect ratio; glTF has no principal point and no size in pixels."""
    angle = 2 * math.atan(camera.height / (2 * camera.fy))
    aspect = (camera.width / camera.fx) / (camera.height / camera.fy)
    return {"type": "perspective", "perspective": {"yfov": angle, "aspectRatio": aspect, "znear": 0.01}}
