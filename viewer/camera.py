"""Pinhole cameras in the OpenCV frame: x right, y down, z forward; pixel centres at +0.5."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError


@dataclass(frozen=True)
class Camera:
    """width, height: pixels. fx, fy, cx, cy: pixels. world_to_camera: (4, 4) float64, rigid, row-major as printed."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    world_to_camera: NDArray[np.float64]

    @property
    def position(self) -> NDArray[np.float64]:
        """(3,) camera centre in world coordinates."""
        r, t = self.world_to_camera[:3, :3], self.world_to_camera[:3, 3]
        return np.asarray(-r.T @ t)

    @property
    def fov_y(self) -> float:
        """Vertical field of view, degrees."""
        return math.degrees(2 * math.atan(self.height / (2 * self.fy)))

    def resized(self, width: int, height: int) -> Camera:
        """The same view at another size: intrinsics scale with the height, the principal point keeps its place."""
        s = height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * s,
            fy=self.fy * s,
            cx=self.cx / self.width * width,
            cy=self.cy * s,
        )

    @staticmethod
    def look_at(
        position: Sequence[float], target: Sequence[float], up: Sequence[float], fov_y: float, width: int, height: int
    ) -> Camera:
        """Camera at `position` looking at `target`; `up` points up in the picture; `fov_y` in degrees. World units."""
        eye = np.asarray(position, np.float64)
        forward = np.asarray(target, np.float64) - eye
        right = np.cross(forward, np.asarray(up, np.float64))
        if not np.isfinite(right).all() or np.linalg.norm(right) < 1e-12 * max(1.0, float(np.linalg.norm(forward))):
            raise LensError(
                f"camera: position {list(position)}, target {list(target)} and up {list(up)} span no view; move one"
            )
        forward /= np.linalg.norm(forward)
        right /= np.linalg.norm(right)
        m = np.eye(4)
        m[:3, :3] = np.stack([right, np.cross(forward, right), forward])
        m[:3, 3] = -m[:3, :3] @ eye
        f = height / (2 * math.tan(math.radians(fov_y) / 2))
        return Camera(width, height, f, f, width / 2, height / 2, m)
