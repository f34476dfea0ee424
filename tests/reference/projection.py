"""NumPy twin of shaders/lib/projection.wgsl, in float64, over all splats of a workgroup at once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant

F64 = NDArray[np.float64]
KEY_CULLED = 0xFFFFFFFF


def depth_key(frame: NDArray[np.void], z: F64) -> NDArray[np.int64]:
    bits = z.astype(np.float32).view(np.uint32).astype(np.int64)
    key = np.maximum(bits - int(frame["key_base"]), 0) >> int(frame["key_shift"])
    return np.minimum(key, (1 << constant("KEY_BITS")) - 1)


def project_splats(
    frame: NDArray[np.void], layer: NDArray[np.void], t: F64, axes: F64, opacity: F64, color: F64
) -> dict[str, Any]:
    """t (N, 3) camera coordinates; axes (N, 3, 3), covariance = axes axes^T; opacity (N,); color (N, 3).

    layer: its LayerView, whose kernel counts.

    Gives center, cov (N, 3) a b c dilated, opacity, color, depth and key (KEY_CULLED where nothing is to be drawn); the
    shader stores cov as its eigenvectors.
    """
    f, near = frame, float(frame["near"])
    live = (t[:, 2] > near) & (255 * opacity > 1)
    z = np.where(live, t[:, 2], 1.0)
    slope = t[:, :2] / z[:, None]
    s = np.clip(slope, f["slope_min"], f["slope_max"])
    m = (f["focal"].astype(np.float64) / z[:, None])[:, :, None] * (axes[:, :2] - s[:, :, None] * axes[:, 2:3])
    a0, b, c0 = (m[:, 0] ** 2).sum(1), (m[:, 0] * m[:, 1]).sum(1), (m[:, 1] ** 2).sum(1)
    dilation = float(layer["dilation"])
    a, c = a0 + dilation, c0 + dilation
    if layer["antialias"]:
        opacity = opacity * np.sqrt(np.maximum((a0 * c0 - b * b) / (a * c - b * b), 0.005**2))
    k2 = 2 * np.log(np.maximum(255 * opacity, 1e-300))
    center = slope * f["focal"] + f["principal"]
    extent = np.sqrt(np.maximum(k2, 0)[:, None] * np.stack([a, c], axis=1))
    seen = live & (k2 > 0) & ((center + extent > 0) & (center - extent < f["viewport"])).all(axis=1)
    key = np.where(seen, depth_key(frame, z), KEY_CULLED)
    cov = np.stack([a, b, c], axis=1)
    return {
        "center": center,
        "cov": cov,
        "opacity": opacity,
        "color": np.maximum(color, 0),
        "depth": z,
        "key": key,
        "edge": np.abs(np.concatenate([center + extent, center - extent - f["viewport"]], axis=1)).min(axis=1),
    }
