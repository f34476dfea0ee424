"""Pictures of scenes with meshes against the float64 reference, pixels apart in which rounding may decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh_layer import choose_nodes
from splatlens.viewer.mesh_reference import DrawnMesh, MeshPicture, draw_meshes
from splatlens.viewer.render import Layer, Renderer, parted, render_reference


@dataclass(frozen=True)
class Comparison:
    """got, want (height, width, 4). sure (height, width): pixels whose samples all lie 1/2048 pixel or more from the
    edges of what they see, as the reference measures it; not where the pictures agree."""

    got: NDArray[np.float32]
    want: NDArray[np.float32]
    sure: NDArray[np.bool_]

    @property
    def psnr(self) -> float:
        """Of the sure pixels, dB of colours and alpha as floats."""
        return decibels(self.got[self.sure], self.want[self.sure])

    @property
    def psnr_all(self) -> float:
        """Of all pixels."""
        return decibels(self.got, self.want)

    @property
    def unsure(self) -> float:
        """Share of the pixels that are not sure."""
        return float((~self.sure).mean())


def decibels(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """PSNR of floats, peak 1; 200 and more where they are equal."""
    return float(-10 * np.log10(np.mean((a.astype(np.float64) - b) ** 2) + 1e-20))


def meshes_alone(layers: Sequence[Layer], camera: Camera, options: RenderOptions = RenderOptions()) -> MeshPicture:
    """The reference's picture of a scene's mesh layers, in full detail."""
    _, meshes = parted(layers)
    chosen = choose_nodes(meshes, camera, options.near, 0.0)
    return draw_meshes(
        [
            DrawnMesh([m.mesh.surfaces[int(k)] for k in own], m.mesh.look, m.transform)
            for m, own in zip(meshes, chosen, strict=True)
        ],
        camera,
        options,
    )


def compared(
    renderer: Renderer,
    layers: Sequence[Layer],
    camera: Camera,
    options: RenderOptions = RenderOptions(),
    budget: float = np.inf,
) -> Comparison:
    """A scene by the shaders and by the reference. Not sure are also hits of nearly one depth, and texels' borders."""
    seen = meshes_alone(layers, camera, options).samples
    sure = (seen.edge > 1 / 2048) & (seen.gap > 1e-5) & (seen.texel > 1e-3)
    got = renderer.render(layers, camera, options, budget)
    return Comparison(got, render_reference(layers, camera, options, budget), np.asarray(sure.all(axis=2)))
