"""MobileNeRF as its own viewers draw it, in float64 NumPy from the exporter's files: slow, and nothing of ours in it.

jax3d, mobilenerf/view_synthetic.html, view_unbounded.html, view_forwardfacing.html. First pass, at twice the size: the
nearest surface whose texel's first byte is not 0; its eight features and the unit direction. Second pass: four samples
are averaged, those that met nothing as zeros with half an alpha (setClearColor(..., 0.5)); alphas are decoded as
2 a - 1, the network shades, and its colour is blended with white by the decoded alpha of the first image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

F64 = NDArray[np.float64]
#: Side of the square of samples that the viewer averages.
SIDE = 2


@dataclass(frozen=True)
class Picture:
    """color: (H, W, 3) over white. depth: (H, W, 4) view depth of a pixel's samples, infinite where nothing is."""

    color: F64
    depth: F64

    def inside(self, near: float) -> NDArray[np.bool_]:
        """(H, W) pixels away from silhouettes.

        All samples of the pixel and of its eight neighbours meet something, and their depths differ by less than
        `near`, a share of the depth.
        """
        low, high = self.depth.min(axis=2), self.depth.max(axis=2)
        for axis in (0, 1):
            low, high = _around(low, axis, np.minimum), _around(high, axis, np.maximum)
        with np.errstate(invalid="ignore"):
            return np.isfinite(high) & (high - low < near * low)


def _around(values: F64, axis: int, combine: np.ufunc) -> F64:
    """The least or greatest of each value and its two neighbours; borders count as nothing there."""
    padded = np.pad(values, [(1, 1) if i == axis else (0, 0) for i in range(2)], constant_values=np.inf)
    n = values.shape[axis]
    first, middle, last = (np.take(padded, np.arange(n) + k, axis=axis) for k in range(3))
    return np.asarray(combine(combine(first, middle), last))


@dataclass(frozen=True)
class Shard:
    """corners (T, 3, 3), uvs (T, 3, 2) as stored, features (H, W, 8) bytes."""

    corners: F64
    uvs: F64
    features: NDArray[np.uint8]


def read_shard(folder: Path, number: int) -> Shard:
    """One shard of a folder, line by line."""
    places, texture, faces = [], [], []
    for line in (folder / f"shape{number}.obj").read_text().splitlines():
        word, *rest = line.split()
        if word == "v":
            places.append([float(x) for x in rest])
        elif word == "vt":
            texture.append([float(x) for x in rest])
        elif word == "f":
            faces.append([[int(i) - 1 for i in corner.split("/")] for corner in rest])
    rows = np.array(faces)
    images = []
    for i in range(2):
        with Image.open(folder / f"shape{number}.pngfeat{i}.png") as image:
            images.append(np.array(image))
    return Shard(np.array(places)[rows[..., 0]], np.array(texture)[rows[..., 1]], np.concatenate(images, axis=2))


def render(
    folder: Path, shards: list[int], pose: F64, focal: float, size: tuple[int, int], forward_facing: bool = False
) -> Picture:
    """A picture: pose (4, 4) from exported coordinates to the camera's, x right, y down, z forward; focal in pixels.

    size: width and height; the principal point is the middle.
    """
    width, height = size[0] * SIDE, size[1] * SIDE
    depth = np.full((height, width), np.inf)
    features = np.zeros((height, width, 8))
    met = np.zeros((height, width), bool)
    for number in shards:
        shard = read_shard(folder, number)
        view = shard.corners @ pose[:3, :3].T + pose[:3, 3]
        for corners, uvs in zip(view, shard.uvs, strict=True):
            if corners[:, 2].max() > 0:
                _fill(corners, uvs, shard.features, focal * SIDE, depth, features, met)
    directions = _directions(pose, focal, size)
    return Picture(_shade(json.loads((folder / "mlp.json").read_text()), features, directions, met, forward_facing),
                   _pixels(depth[..., None])[..., 0])  # fmt: skip


def _fill(
    corners: F64, uvs: F64, image: NDArray[np.uint8], focal: float, depth: F64, features: F64, met: NDArray[np.bool_]
) -> None:
    """Draws one triangle: a ray (x, y, 1) is a sum of its corners, whose shares are positive where it is met."""
    height, width = depth.shape
    low, high = np.zeros(2, int), np.array([width, height])
    if corners[:, 2].min() > 1e-6:  # else it may be anywhere
        flat = corners[:, :2] / corners[:, 2:] * focal + high / 2
        low, high = (np.clip(a, 0, high).astype(int) for a in (np.floor(flat.min(axis=0)), np.ceil(flat.max(axis=0))))
    if (high <= low).any() or np.linalg.det(corners) == 0:
        return
    x, y = np.meshgrid(*((np.arange(low[i], high[i]) + 0.5 - (width, height)[i] / 2) / focal for i in range(2)))
    shares = np.linalg.solve(corners.T, np.stack([x.ravel(), y.ravel(), np.ones(x.size)]))
    found = np.flatnonzero((shares >= 0).all(axis=0))
    total = shares[:, found].sum(axis=0)
    u, v = uvs.T @ (shares[:, found] / total)
    size = image.shape[1], image.shape[0]
    s = np.clip(np.floor(u * size[0]).astype(int), 0, size[0] - 1)
    t = np.clip(np.floor((1 - v) * size[1]).astype(int), 0, size[1] - 1)
    texel, here = image[t, s], 1 / total
    rows, columns = found // (high[0] - low[0]) + low[1], found % (high[0] - low[0]) + low[0]
    keep = (texel[:, 0] > 0) & (here < depth[rows, columns])
    rows, columns = rows[keep], columns[keep]
    depth[rows, columns] = here[keep]
    features[rows, columns] = texel[keep] / 255
    met[rows, columns] = True


def _directions(pose: F64, focal: float, size: tuple[int, int]) -> F64:
    """(2 H, 2 W, 3) unit directions of the samples, exported coordinates."""
    width, height = size[0] * SIDE, size[1] * SIDE
    x = (np.arange(width) + 0.5 - width / 2) / (focal * SIDE)
    y = (np.arange(height) + 0.5 - height / 2) / (focal * SIDE)
    local = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)
    return np.asarray(local / np.linalg.norm(local, axis=-1, keepdims=True) @ pose[:3, :3])


def _shade(
    mlp: dict[str, list[list[float]]], features: F64, directions: F64, met: NDArray[np.bool_], facing: bool
) -> F64:
    """The second pass."""
    alpha = np.where(met, 1.0, 0.5)
    unit = directions * met[..., None]
    stored = features.copy()
    stored[..., [3, 7]] = np.where(met[..., None], stored[..., [3, 7]], 0.5)
    mean, direction, weight = (_pixels(a).mean(axis=2) for a in (stored, unit, alpha[..., None]))
    mean[..., [3, 7]] = 2 * mean[..., [3, 7]] - 1
    weight = 2 * weight - 1
    x, y, z = np.moveaxis(direction, -1, 0)
    turned = direction if facing else np.stack([x, -z, y], axis=-1)
    value = np.concatenate([mean, turned], axis=-1)
    for i in range(3):
        value = value @ np.array(mlp[f"{i}_weights"]) + np.array(mlp[f"{i}_bias"])
        value = np.maximum(value, 0) if i < 2 else 1 / (1 + np.exp(-value))
    return np.asarray(value * weight + (1 - weight))


def _pixels(values: F64) -> F64:
    """(H, W, 4, C) of (2 H, 2 W, C)."""
    h, w, c = values.shape
    return values.reshape(h // SIDE, SIDE, w // SIDE, SIDE, c).swapaxes(1, 2).reshape(h // SIDE, w // SIDE, SIDE**2, c)
