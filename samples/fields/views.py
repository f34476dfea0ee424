"""What cameras see of a mesh made after the analytic scene: a texel for each ray, and the scene's colour along it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from splatlens.samples.fields import scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import Surface, plain_look
from splatlens.viewer.mesh_raster_reference import DrawnMesh, raster

F32 = NDArray[np.float32]
#: How far along a ray the mesh may be from the scene and still stand for it, units. Chords of the meshes are 0.01 off;
#: seen from the side that is more.
TOLERANCE = 0.06


@dataclass(frozen=True)
class Rays:
    """N rays that meet a mesh. texel: number in the image, row by row. direction: unit. color: of the scene, 0 to 1.

    matched: whether the scene's own surface is there too; colors of the other rays are of something else.
    """

    texel: NDArray[np.int64]
    direction: F32
    color: F32
    matched: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.texel)

    def of(self, rows: NDArray[np.bool_]) -> Rays:
        """Some of them."""
        return Rays(*(getattr(self, field.name)[rows] for field in fields(self)))


def seen(surface: Surface, cameras: Sequence[Camera], there: NDArray[np.bool_] | None = None) -> Rays:
    """The rays through the pixels' middles of all cameras that meet a surface with texels.

    there: (H, W) which of its texels are; None: all.
    """
    assert surface.texels is not None and surface.uvs is not None
    height, width = surface.texels.shape[:2]
    mask = np.ones((height, width), bool) if there is None else there
    surface = replace(surface, texels=np.repeat(mask[..., None], 3, axis=2).astype(np.uint8))
    look = plain_look(filter="nearest", empty=0)
    uvs = surface.uvs.astype(np.float64)[surface.triangles]
    parts: list[list[NDArray[np.generic]]] = []
    for camera in cameras:
        found = raster([DrawnMesh([surface], look, np.eye(4))], camera, 0.01, 1)
        rows = found.triangle[..., 0] >= 0
        uv = np.einsum("nk,nkc->nc", found.weights[..., 0, :][rows], uvs[found.triangle[..., 0][rows]])
        cell = np.clip(np.floor(uv).astype(np.int64), 0, [width - 1, height - 1])
        origin, directions = scene.rays(camera)
        at = directions[rows]
        distance = found.depth[..., 0][rows] / (at @ camera.world_to_camera[2, :3])
        hits = scene.trace(np.broadcast_to(origin, at.shape), at)
        matched = hits.mask & (np.abs(hits.t - distance) < TOLERANCE)
        color = np.ones((len(at), 3))
        some = hits.mask
        points = origin + hits.t[some, None] * at[some]
        color[some] = scene.radiance(points, hits.normals[some], at[some], hits.ids[some])
        parts.append([cell[:, 1] * width + cell[:, 0], at.astype(np.float32), color.astype(np.float32), matched])
    return Rays(*(np.concatenate(column) for column in zip(*parts, strict=True)))  # type: ignore[arg-type]
