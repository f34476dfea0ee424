"""Twin of the exported 4DGaussians deformation: the authors' network in float64 NumPy, plainly, nothing folded.

hustvl/4DGaussians: scene/hexplane.py, scene/deformation.py, scene/grid.py, gaussian_renderer/__init__.py
(Wu et al. 2024, "4D Gaussian Splatting for Real-Time Dynamic Scene Rendering", section 4).
"""

from __future__ import annotations

from itertools import combinations, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
State = dict[str, NDArray[Any]]


def grid_sample(plane: F64, coordinates: F64) -> F64:
    """(N, C) of a plane (C, H, W) at (N, 2) coordinates x, y in -1..1: bilinear, align_corners, border (torch)."""
    size = np.array(plane.shape[:0:-1])  # W, H
    position = np.clip((coordinates + 1) / 2 * (size - 1), 0, size - 1)
    low = np.minimum(np.floor(position).astype(int), np.maximum(size - 2, 0))
    x, y = low.T
    right, below = np.minimum(x + 1, size[0] - 1), np.minimum(y + 1, size[1] - 1)
    fx, fy = (position - low).T
    upper = plane[:, y, x] * (1 - fx) + plane[:, y, right] * fx
    lower = plane[:, below, x] * (1 - fx) + plane[:, below, right] * fx
    return np.asarray((upper * (1 - fy) + lower * fy).T)


def voxel_sample(grid: F64, coordinates: F64) -> F64:
    """(N,) of a grid (D, H, W) at (N, 3) coordinates x, y, z in -1..1: trilinear, align_corners, zeros outside."""
    size = np.array(grid.shape[::-1])
    position = (coordinates + 1) / 2 * (size - 1)
    low = np.floor(position).astype(int)
    out = np.zeros(len(coordinates))
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        weight = np.prod(1 - np.abs(position - at), axis=1)
        inside = ((at >= 0) & (at < size)).all(axis=1)
        x, y, z = np.clip(at, 0, size - 1).T
        out += np.where(inside, weight * grid[z, y, x], 0)
    return out


def linear(state: State, key: str, x: F64) -> F64:
    return np.asarray(x @ state[f"{key}.weight"].astype(np.float64).T + state[f"{key}.bias"])


def head(state: State, name: str, hidden: F64) -> F64:
    inner = linear(state, f"deformation_net.{name}.1", np.maximum(hidden, 0))
    return linear(state, f"deformation_net.{name}.3", np.maximum(inner, 0))


def features(state: State, means: F64, time: float) -> F64:
    """(N, scales * C): products over the six planes xy xz xt yz yt zt, concatenated over the scales."""
    aabb = state["deformation_net.grid.aabb"].astype(np.float64)
    place = (means - aabb[0]) * (2 / (aabb[1] - aabb[0])) - 1
    place = np.concatenate([place, np.full((len(means), 1), time)], axis=1)
    out = []
    for scale in count():
        key = f"deformation_net.grid.grids.{scale}"
        if f"{key}.0" not in state:
            return np.concatenate(out, axis=1)
        product: Any = 1.0
        for pair, axes in enumerate(combinations(range(4), 2)):
            product = product * grid_sample(state[f"{key}.{pair}"][0].astype(np.float64), place[:, axes])
        out.append(product)
    raise AssertionError


def quaternion_product(a: F64, b: F64) -> F64:
    """Rows a b (Hamilton), w x y z."""
    scalar = a[:, :1] * b[:, :1] - np.sum(a[:, 1:] * b[:, 1:], axis=1, keepdims=True)
    vector = a[:, :1] * b[:, 1:] + b[:, :1] * a[:, 1:] + np.cross(a[:, 1:], b[:, 1:])
    return np.concatenate([scalar, vector], axis=1)


def deform(state: State, rows: dict[str, F64], time: float, options: dict[str, Any]) -> dict[str, F64]:
    """Activated attributes at a time, 0 to 1.

    rows, as the PLY has them: means (N, 3), log_scales (N, 3), quats (N, 4) of any length, logits (N, 1),
    sh (N, K, 3). options: the authors' ModelHiddenParams that differ from their defaults.
    """
    use = {"no_dx": False, "no_ds": False, "no_dr": False, "no_do": True, "no_dshs": True, "apply_rotation": False}
    use |= {"static_mlp": False, "empty_voxel": False, "no_grid": False, "grid_pe": 0, **options}
    means, scales, quats, logits, sh = (rows[k] for k in ("means", "log_scales", "quats", "logits", "sh"))
    if use["no_grid"]:
        x = np.concatenate([means, np.full((len(means), 1), time)], axis=1)
    else:
        x = features(state, means, time)
        if use["grid_pe"] > 1:
            x = np.concatenate([x, np.sin(x * use["grid_pe"]), np.cos(x * use["grid_pe"])], axis=1)
    hidden = linear(state, "deformation_net.feature_out.0", x)
    for layer in count(2, 2):
        if f"deformation_net.feature_out.{layer}.weight" not in state:
            break
        hidden = linear(state, f"deformation_net.feature_out.{layer}", np.maximum(hidden, 0))
    mask = np.ones((len(means), 1))
    if use["static_mlp"]:
        mask = head(state, "static_mlp", hidden)
    elif use["empty_voxel"]:
        low, high = (state[f"deformation_net.empty_voxel.xyz_{end}"].astype(np.float64) for end in ("min", "max"))
        place = ((means - low) / (high - low))[:, ::-1] * 2 - 1
        mask = voxel_sample(state["deformation_net.empty_voxel.grid"][0, 0].astype(np.float64), place)[:, None]
    if not use["no_dx"]:
        means = means * mask + head(state, "pos_deform", hidden)
    if not use["no_ds"]:
        scales = scales * mask + head(state, "scales_deform", hidden)
    if not use["no_dr"]:
        turn = head(state, "rotations_deform", hidden)
        quats = quaternion_product(quats, turn) if use["apply_rotation"] else quats + turn
    if not use["no_do"]:
        logits = logits * mask + head(state, "opacity_deform", hidden)
    if not use["no_dshs"]:
        sh = sh * mask[:, None] + head(state, "shs_deform", hidden).reshape(len(means), 16, 3)
    return {
        "means": means,
        "scales": np.exp(scales),
        "quats": quats / np.maximum(np.linalg.norm(quats, axis=1, keepdims=True), 1e-12),
        "opacities": 1 / (1 + np.exp(-logits)),
        "sh": sh,
    }
