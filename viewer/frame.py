"""What a frame is drawn with: options, and the uniform block made of a camera (twin: static/frame.js)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.layout import constant, dtype


@dataclass(frozen=True)
class RenderOptions:
    """near: world units. background: rgb, 0..1, composited under the splats; alpha stays 1 - transmittance.

    The kernel is a layer's own (viewer/scene.py).
    """

    near: float = 0.01
    alpha_cap: float = 0.99
    background: tuple[float, float, float] = (0.0, 0.0, 0.0)


#: The Jacobian is taken at slopes at most this share of the picture's width outside of it (3DGS: 1.3 tan fov).
SLOPE_MARGIN = 0.15


def slope_limits(camera: Camera) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smallest and largest (x/z, y/z) at which the Jacobian is evaluated: gsplat's form, for any principal point."""
    size = np.array([camera.width, camera.height], np.float64)
    focal, center = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    margin = SLOPE_MARGIN * size / focal
    return -center / focal - margin, (size - center) / focal + margin


def depth_keys(nearest: float, farthest: float) -> tuple[int, int]:
    """(key_base, key_shift) for view depths nearest..farthest (world units, positive).

    The bit pattern of a positive float32 grows like its logarithm, so keys cut from it have an even relative
    resolution, with integers only: every device agrees. The nearest depth gets key 0: ascending is front to back.
    """
    low, high = (int(np.float32(max(d, 1e-30)).view(np.uint32)) for d in (nearest, max(nearest, farthest)))
    shift = max(0, (high - low).bit_length() - constant("KEY_BITS"))
    return low, shift


def frame_uniform(
    camera: Camera, options: RenderOptions, *, groups: int, depth_range: tuple[float, float], max_groups: int
) -> NDArray[np.void]:
    """The Frame struct of shaders/structs.wgsl as one record."""
    f = np.zeros((), dtype("Frame"))
    f["viewport"] = camera.width, camera.height
    f["focal"] = camera.fx, camera.fy
    f["principal"] = camera.cx, camera.cy
    f["near"], f["alpha_cap"] = options.near, options.alpha_cap
    f["slope_min"], f["slope_max"] = slope_limits(camera)
    f["key_base"], f["key_shift"] = depth_keys(max(depth_range[0], options.near), depth_range[1])
    f["max_groups"], f["groups"] = max_groups, groups
    f["background"] = (*options.background, 1.0)
    return f


def depth_bounds(
    corners_min: NDArray[np.float64], corners_max: NDArray[np.float64], view: NDArray[np.float64]
) -> tuple[float, float]:
    """Least and greatest view depth of boxes (C, 3), (C, 3) under view (4, 4); (inf, -inf) for none."""
    if len(corners_min) == 0:
        return math.inf, -math.inf
    row, t = view[2, :3], view[2, 3]
    low = np.where(row > 0, corners_min, corners_max) @ row + t
    high = np.where(row > 0, corners_max, corners_min) @ row + t
    return float(low.min()), float(high.max())
