"""An independent, straightforward SOG encoder: one splat at a time, textures and meta.json given back before saving."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from splatlens.viewer.splats import Splats

Pictures = dict[str, np.ndarray]


@dataclass
class Encoded:
    """meta.json as an object, and the pictures by file name: (height, width, 3 or 4) uint8."""

    meta: dict[str, Any]
    pictures: Pictures

    def files(self) -> dict[str, bytes]:
        """Every file's bytes; also what is no JSON, should a test have put it in."""
        out = {"meta.json": json.dumps(self.meta).encode()}
        return out | {name: webp(picture) for name, picture in self.pictures.items()}

    def folder(self, folder: Path) -> Path:
        """Saves a folder of files; the path of the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in self.files().items():
            (folder / name).write_bytes(data)
        return folder

    def archive(self, path: Path, top: str = "", method: int = zipfile.ZIP_STORED) -> Path:
        """Saves a .sog archive; its path."""
        return archive(path, {top + name: data for name, data in self.files().items()}, method)


def archive(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in files.items():
            out.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return path


def webp(picture: np.ndarray, **options: Any) -> bytes:
    """Lossless WebP, the colours of transparent texels kept."""
    out = io.BytesIO()
    given: dict[str, Any] = {"lossless": True, "exact": True, "quality": 0, "method": 0} | options
    Image.fromarray(picture).save(out, "webp", **given)
    return out.getvalue()


def grid(rows: np.ndarray, side: int, fill: int = 255) -> np.ndarray:
    """(N, C) bytes as a square picture; unused texels hold `fill`."""
    picture = np.full((side * side, rows.shape[1]), fill, np.uint8)
    picture[: len(rows)] = rows
    return picture.reshape(side, side, -1)


def quat_texel(quat: np.ndarray) -> list[int]:
    """The three smaller components around 127.5, and 252 plus which one is left out (w, x, y, z)."""
    parts = [float(v) for v in quat / np.linalg.norm(quat)]
    largest = max(range(4), key=lambda i: abs(parts[i]))
    sign = -1 if parts[largest] < 0 else 1
    small = [sign * v for i, v in enumerate(parts) if i != largest]
    return [round((v * math.sqrt(2) * 0.5 + 0.5) * 255) for v in small] + [252 + largest]


def means_of(splats: Splats) -> tuple[list[float], list[float], np.ndarray]:
    """mins, maxs and (N, 3) 16-bit steps of the log-transformed centres."""
    x = splats.means.astype(np.float64)
    t = np.sign(x) * np.log(np.abs(x) + 1)
    low, high = t.min(axis=0), t.max(axis=0)
    steps = np.round((t - low) / np.where(high > low, high - low, 1) * 65535).astype(int)
    return low.tolist(), high.tolist(), steps


def even(values: np.ndarray) -> tuple[list[float], np.ndarray]:
    """A codebook of 256 evenly spaced values, and the bytes that point into it."""
    low, high = float(values.min()), float(values.max())
    return np.linspace(low, high, 256).tolist(), nearest(values, low, high)


def nearest(values: np.ndarray, low: Any, high: Any) -> np.ndarray:
    span = np.where(np.asarray(high) > low, np.asarray(high) - low, 1)
    bytes_: np.ndarray = np.round((values - low) / span * 255).astype(np.uint8)
    return bytes_


def centroids_of(rest: np.ndarray) -> np.ndarray:
    """(ceil(N / 64), 64 K, 3) picture of (N, K, 3) bytes."""
    n, k, _ = rest.shape
    picture = np.zeros((math.ceil(n / 64), 64 * k, 3), np.uint8)
    for i in range(n):
        picture[i // 64, i % 64 * k : (i % 64 + 1) * k] = rest[i]
    return picture


def labels_of(n: int) -> np.ndarray:
    """(N, 3): each splat its own SH row."""
    return np.array([[i & 255, i >> 8, 0] for i in range(n)], np.uint8)


def encode_v2(splats: Splats) -> Encoded:
    """Version 2, the order kept, an SH row for each splat."""
    n = len(splats)
    side = math.ceil(math.sqrt(n) / 4) * 4
    low, high, steps = means_of(splats)
    scales, scale_bytes = even(np.log(splats.scales.astype(np.float64)))
    colours, colour_bytes = even(splats.sh[:, 0].astype(np.float64))
    alpha = np.round(splats.opacities[:, None].astype(np.float64).clip(0, 1) * 255).astype(np.uint8)
    pictures = {
        "means_l.webp": grid(steps & 255, side),
        "means_u.webp": grid(steps >> 8, side),
        "quats.webp": grid(np.array([quat_texel(q) for q in splats.quats]), side, 0),
        "scales.webp": grid(scale_bytes, side),
        "sh0.webp": grid(np.concatenate([colour_bytes, alpha], axis=1), side, 0),
    }
    meta: dict[str, Any] = {
        "version": 2,
        "count": n,
        "means": {"mins": low, "maxs": high, "files": ["means_l.webp", "means_u.webp"]},
        "scales": {"codebook": scales, "files": ["scales.webp"]},
        "quats": {"files": ["quats.webp"]},
        "sh0": {"codebook": colours, "files": ["sh0.webp"]},
    }
    if splats.sh_degree:
        codebook, rest = even(splats.sh[:, 1:].astype(np.float64))
        pictures |= {"shN_centroids.webp": centroids_of(rest), "shN_labels.webp": grid(labels_of(n), side)}
        meta["shN"] = {"count": n, "bands": splats.sh_degree, "codebook": codebook}
        meta["shN"]["files"] = ["shN_centroids.webp", "shN_labels.webp"]
    return Encoded(meta, pictures)


def encode_v1(splats: Splats) -> Encoded:
    """Version 1 as playcanvas/sogs writes it: ranges instead of codebooks, logits, no version, exactly square."""
    n = len(splats)
    side = math.ceil(math.sqrt(n))
    low, high, steps = means_of(splats)
    o = splats.opacities.astype(np.float64).clip(1e-6, 1 - 1e-6)
    values = {
        "scales": np.log(splats.scales.astype(np.float64)),
        "sh0": np.concatenate([splats.sh[:, 0].astype(np.float64), np.log(o / (1 - o))[:, None]], axis=1),
    }
    shape = {"shape": [n, 3], "dtype": "float32"}
    meta: dict[str, Any] = {
        "means": {**shape, "mins": low, "maxs": high, "files": ["means_l.webp", "means_u.webp"]},
        "quats": {"shape": [n, 4], "dtype": "uint8", "encoding": "quaternion_packed", "files": ["quats.webp"]},
    }
    pictures = {
        "means_l.webp": grid(steps & 255, side),
        "means_u.webp": grid(steps >> 8, side),
        "quats.webp": grid(np.array([quat_texel(q) for q in splats.quats]), side),
    }
    for name, table in values.items():
        mins, maxs = table.min(axis=0), table.max(axis=0)
        meta[name] = {**shape, "mins": mins.tolist(), "maxs": maxs.tolist(), "files": [f"{name}.webp"]}
        pictures[f"{name}.webp"] = grid(nearest(table, mins, maxs), side)
    if splats.sh_degree:
        rest = splats.sh[:, 1:].astype(np.float64)
        mins, maxs = rest.min(), rest.max()
        meta["shN"] = {**shape, "mins": float(mins), "maxs": float(maxs), "quantization": 8}
        meta["shN"]["files"] = ["shN_centroids.webp", "shN_labels.webp"]
        pictures["shN_centroids.webp"] = centroids_of(nearest(rest, mins, maxs))
        pictures["shN_labels.webp"] = grid(labels_of(n), side)
    return Encoded(meta, pictures)
