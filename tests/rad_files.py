"""Writes .rad files as Spark's encoder does (rust/spark-lib/src/rad.rs), without any of the reader's code."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.viewer.splats import Splats

C0 = 0.28209479177387814
#: What Spark's encoder chooses for trained splats.
USUAL = {
    "center": "f32_lebytes", "alpha": "r8", "rgb": "r8_delta", "scales": "ln_0r8", "orientation": "oct88r8", "sh": "s8",
}  # fmt: skip
BOUNDS = {"alpha": (0.0, 1.0), "rgb": (-0.25, 1.25), "scales": (-12.0, 9.0), "sh": (-2.0, 2.0)}


def stored(values: np.ndarray, encoding: str, low: float = 0, high: float = 1) -> bytes:
    """A column (N, D), one dimension after the other."""
    planes = np.asarray(values, np.float64).T
    if encoding in ("f32", "f16"):
        return planes.astype({"f32": "<f4", "f16": "<f2"}[encoding]).tobytes()
    if encoding in ("f32_lebytes", "f16_lebytes"):
        whole = planes.astype({"f32": "<f4", "f16": "<f2"}[encoding[:3]])
        return b"".join(whole.tobytes()[byte :: whole.itemsize] for byte in range(whole.itemsize))
    if encoding == "ln_f16":
        return np.log(planes).astype("<f2").tobytes()
    if encoding in ("u16", "u32"):
        return planes.astype({"u16": "<u2", "u32": "<u4"}[encoding]).tobytes()
    if encoding == "ln_0r8":
        share = (np.log(np.maximum(planes, 1e-30)) - low) / (high - low)
        return np.where(planes > 0, 1 + np.rint(254 * np.clip(share, 0, 1)), 0).astype(np.uint8).tobytes()
    if encoding.startswith("r8"):
        whole = np.rint(np.clip((planes - low) / (high - low) * 255, 0, 255)).astype(np.uint8)
    else:
        whole = np.rint(np.clip(planes / high * 127, -127, 127)).astype(np.int8).view(np.uint8)
    return (np.diff(whole, axis=1, prepend=np.uint8(0)) if encoding.endswith("_delta") else whole).tobytes()


def octahedral(quats: np.ndarray) -> bytes:
    """Three bytes a quaternion w x y z: the axis on an unfolded octahedron, and the angle."""
    out = bytearray()
    for quat in quats.astype(float):
        w, *axis = quat if quat[0] >= 0 else -quat
        angle = 2 * math.acos(min(w, 1))
        if math.sin(angle / 2) < 1e-6:
            axis = [1.0, 0.0, 0.0]
        x, y, z = (a / sum(map(abs, axis)) for a in axis)
        if z < 0:
            x, y = math.copysign(1 - abs(y), x), math.copysign(1 - abs(x), y)
        out += bytes(round(255 * share) for share in ((x + 1) / 2, (y + 1) / 2, angle / math.pi))
    return bytes(out)


def columns_of(splats: Splats, encodings: dict[str, str], children: np.ndarray | None) -> dict[str, tuple]:
    """Name: values, encoding and bounds."""
    n, degree = len(splats), splats.sh_degree
    rgb = 0.5 + C0 * splats.sh[:, 0].astype(np.float64)
    columns: dict[str, np.ndarray] = {
        "center": splats.means, "alpha": splats.opacities[:, None], "rgb": rgb, "scales": splats.scales,
        "orientation": splats.quats,
    }  # fmt: skip
    for d, (of, upto) in enumerate([(1, 4), (4, 9), (9, 16)][:degree], 1):
        columns[f"sh{d}"] = splats.sh[:, of:upto].reshape(n, -1)
    out = {}
    for name, values in columns.items():
        kind = "sh" if name.startswith("sh") else name
        low, high = BOUNDS.get(kind, (0.0, 1.0))
        out[name] = (values, encodings[kind], low, 2 * high if kind == "alpha" and children is not None else high)
    if children is not None:
        out |= {"child_count": (children[:, :1], "u16", 0, 0), "child_start": (children[:, 1:], "u32", 0, 0)}
    return out


def blob(magic: bytes, meta: Any, pretty: bool = False) -> bytes:
    """A magic, the JSON's length, the JSON, zeros up to 8 bytes."""
    text = meta
    if not isinstance(meta, bytes):
        text = (json.dumps(meta, indent=2 if pretty else None) + "\n" * pretty).encode()
    return magic + struct.pack("<I", len(text)) + text + bytes(-len(text) % 8)


def deflated(data: bytes, window: int = -15) -> bytes:
    """A raw deflate stream; with a window of 31 a gzip member."""
    packer = zlib.compressobj(6, zlib.DEFLATED, window)
    return packer.compress(data) + packer.flush()


def write_rad(
    path: Path,
    splats: Splats,
    encodings: dict[str, str] | None = None,
    chunk_splats: int = 65536,
    children: np.ndarray | None = None,
    codebook: tuple[Splats, np.ndarray] | None = None,
    beside: str = "",
    pack: Callable[[bytes], bytes] | None = deflated,
    header: Callable[[dict], Any] = lambda meta: meta,
    chunk: Callable[[int, dict], Any] = lambda number, meta: meta,
    column: Callable[[str, bytes], bytes] = lambda name, data: data,
) -> Path:
    """Writes a scene.

    children: (N, 2) number and first of each splat's children. codebook: splats whose SH are the codes, and a label
    for each splat. beside: start of the names of files to put chunks in. pack: compresses a column. header, chunk and
    column change what is written.
    """
    encodings, ranges, parts, total = USUAL | (encodings or {}), [], [], len(splats)
    codes: dict[str, tuple] = {}
    if codebook is not None:
        sh_only = columns_of(codebook[0], encodings, None)
        codes = {f"{name}_code": data for name, data in sh_only.items() if name.startswith("sh")}
    for number, first in enumerate(range(0, total, chunk_splats)):
        rows = slice(first, min(total, first + chunk_splats))
        columns = columns_of(splats.take(rows), encodings, None if children is None else children[rows])
        if codebook is not None:
            columns = {name: data for name, data in columns.items() if not name.startswith("sh")}
            columns |= codes if number == 0 else {}
            columns["sh_label"] = (codebook[1][rows, None], encodings.get("label", "u16"), 0, 0)
        payload, properties = b"", []
        for name, (values, encoding, low, high) in columns.items():
            data = octahedral(values) if encoding == "oct88r8" else b""
            if name == "orientation" and encoding != "oct88r8":  # x y z of the one with w >= 0
                values = values[:, 1:] * np.where(values[:, :1] < 0, -1, 1)
            data = column(name, data or stored(values, encoding, low, high))
            data = pack(data) if pack else data
            entry = {"offset": len(payload), "bytes": len(data), "property": name, "encoding": encoding}
            entry |= {"compression": "gz"} if pack else {}
            entry |= {"min": low, "max": high} if "8" in encoding and encoding != "oct88r8" else {}
            properties.append(entry)
            payload += data + bytes(-len(data) % 8)
        meta = {"version": 1, "base": first, "count": rows.stop - first, "payloadBytes": len(payload)}
        meta |= {"maxSh": splats.sh_degree} | ({"lodTree": True} if children is not None else {})
        whole = blob(b"RADC", chunk(number, meta | {"properties": properties}))
        whole += struct.pack("<Q", len(payload)) + payload
        ranges.append({"offset": 0 if beside else sum(map(len, parts)), "bytes": len(whole)})
        if beside:
            ranges[-1]["filename"] = f"{beside}{number}.radc"
            (path.parent / ranges[-1]["filename"]).write_bytes(whole)
        parts.append(whole)
    meta = {"version": 1, "type": "gsplat", "count": total, "maxSh": splats.sh_degree}
    meta |= {"lodTree": True} if children is not None else {}
    meta |= {"chunkSize": chunk_splats, "allChunkBytes": sum(map(len, parts)), "chunks": ranges}
    meta |= {"shCodeCount": len(codebook[0])} if codebook is not None else {}
    path.write_bytes(blob(b"RAD0", header(meta), pretty=True) + (b"" if beside else b"".join(parts)))
    return path
