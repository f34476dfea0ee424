"""mesh_plain.wgsl against its NumPy twin: colours as they are, or lit by the triangles' or stored normals."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.mesh import plain_look
from tests.mesh_scenes import look_of, sphere, textured_sphere, tree_of, wall
from tests.reference.mesh_plain import mesh_plain
from tests.shaders.mesh_stages import shaded, worst


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize(("channels", "light"), [(3, "none"), (3, "head"), (4, "head"), (6, "head"), (32, "none")])
def test_mesh_plain(device: wgpu.GPUDevice, channels: int, light: str, supersample: int) -> None:
    look = look_of(supersample, channels=channels, light=light)
    got, buffers = shaded(device, "mesh_plain", [tree_of([sphere(channels=channels)], look)])
    want, pixels = mesh_plain(*buffers)
    assert len(pixels.at) > 300
    assert (np.unique(pixels.covered) < 1).any() == (supersample == 2)
    assert np.abs(got - want).max() < 5e-6


@pytest.mark.parametrize("filter", ["nearest", "linear"])
def test_texels(device: wgpu.GPUDevice, filter: str) -> None:
    look = look_of(2, filter=filter, light="head")
    got, buffers = shaded(device, "mesh_plain", [tree_of([textured_sphere()], look)])
    want, pixels = mesh_plain(*buffers)
    sure = (pixels.border > 1e-3) | (filter == "linear")
    assert sure.mean() > 0.9
    assert worst(got, want, sure, pixels.at) < 1e-5


def test_colours_as_they_are_are_the_bytes(device: wgpu.GPUDevice) -> None:
    got, buffers = shaded(device, "mesh_plain", [tree_of([wall(0.0, color=(200, 120, 40))], plain_look())])
    inside = mesh_plain(*buffers)[1].at
    assert len(inside) > 100
    np.testing.assert_allclose(
        got.reshape(-1, 4)[inside], np.tile([200 / 255, 120 / 255, 40 / 255, 1], (len(inside), 1)), rtol=0, atol=1e-6
    )
