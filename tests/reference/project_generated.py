"""NumPy twin of shaders/project_generated.wgsl."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import rotation_matrices
from tests.reference.projection import project_splats


def project_generated(
    frame: NDArray[np.void], g: NDArray[np.void], outputs: dict[str, NDArray[Any]], live: int
) -> dict[str, Any]:
    """What all groups of a layer write. outputs: flat arrays by attribute, float32 or float16.

    `left_out`: rows with a value that is not finite, or a quaternion without length, as far as they are looked at.
    """
    n = int(g["groups"]) * 256
    rows = np.arange(min(n, int(g["rows"]), max(live, 0)))

    def columns(name: str, count: int) -> NDArray[np.float64]:
        start, stride, _ = (int(v) for v in g[f"{name}_at"])
        at = start + rows[:, None] * stride + np.arange(count)
        return np.asarray(outputs[name].reshape(-1)[at].astype(np.float64))

    linear = g["linear"][:, :3].T.astype(np.float64)
    relative = columns("means", 3) + g["offset"]
    far = ~np.isfinite(relative).all(axis=1)
    with np.errstate(invalid="ignore"):
        t = relative @ linear.T
    looked = far | (t[:, 2] > frame["near"])
    shape = columns("shapes", 6 if g["covariance"] else 3)
    good = np.isfinite(shape).all(axis=1) & ~far
    if g["covariance"]:
        factor = np.zeros((len(rows), 3, 3))
        xx, xy, xz, yy, yz, zz = np.where(good[:, None], shape, 1).T
        with np.errstate(divide="ignore", invalid="ignore"):
            a = np.sqrt(np.maximum(xx, 0))
            b, c = (np.where(a > 0, v / a, 0) for v in (xy, xz))
            d = np.sqrt(np.maximum(yy - b * b, 0))
            e = np.where(d > 0, (yz - b * c) / d, 0)
        f = np.sqrt(np.maximum(zz - c * c - e * e, 0))
        factor[:, [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]] = np.stack([a, b, d, c, e, f], axis=1)
    else:
        quats = columns("turns", 4)
        good &= np.isfinite(quats).all(axis=1) & (quats != 0).any(axis=1)
        safe = np.where(good[:, None], quats, [1.0, 0, 0, 0])
        safe = safe / np.linalg.norm(safe, axis=1, keepdims=True)
        factor = rotation_matrices(safe) * np.where(good[:, None], shape, 1)[:, None]
    opacity = columns("opacities", 1)[:, 0]
    coefficients = max(1, int(g["sh_coefficients"]))
    color = columns("colors", 3 * coefficients).reshape(len(rows), coefficients, 3)
    good &= np.isfinite(opacity) & np.isfinite(color).all(axis=(1, 2))
    left_out = int((looked & ~good).sum())
    color, opacity = np.where(good[:, None, None], color, 0), np.where(good, opacity, 0)
    t = np.where(good[:, None], t, [0.0, 0, -1])
    if g["sh_coefficients"]:
        with np.errstate(invalid="ignore"):
            direction = relative / np.linalg.norm(relative, axis=1, keepdims=True)
        direction = np.where(good[:, None], direction, [0.0, 0, 1])
        rgb = np.einsum("nk,nkc->nc", sh_basis(direction, coefficients), color) + 0.5
    else:
        rgb = color[:, 0]
    layer = {"dilation": g["dilation"], "antialias": g["antialias"]}
    return {**project_splats(frame, layer, t, linear @ factor, opacity, rgb), "left_out": left_out}
