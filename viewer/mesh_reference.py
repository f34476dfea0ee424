"""Float64 NumPy picture of mesh layers, which splats are drawn behind and before: slow and plain on purpose.

It shares no code with the shaders: viewer/mesh_raster_reference.py finds what each sample sees,
viewer/mesh_shade_reference.py shades it, viewer/reference.py puts the splats to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh_raster_reference import DrawnMesh, Samples, raster
from splatlens.viewer.mesh_shade_reference import shade

__all__ = ["DrawnMesh", "MeshPicture", "draw_meshes"]

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class MeshPicture:
    """color (height, width, 4): premultiplied, alpha is the coverage. front (height, width): least view depth of a
    pixel's samples, infinite where there is no mesh. samples: what was seen, and how sure that is."""

    color: F64
    front: F64
    samples: Samples


def draw_meshes(meshes: Sequence[DrawnMesh], camera: Camera, options: RenderOptions = RenderOptions()) -> MeshPicture:
    """The picture of mesh layers alone; four samples a pixel where one of them asks for it."""
    supersample = max((one.look.supersample for one in meshes if len(one.surfaces)), default=1)
    samples = raster(meshes, camera, options.near, supersample)
    color = np.zeros((camera.height, camera.width, 4))
    for number in range(len(meshes)):
        color += shade(meshes, number, samples, camera)
    return MeshPicture(color, samples.depth.min(axis=2), samples)
