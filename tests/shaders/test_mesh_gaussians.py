"""mesh_gaussians.wgsl against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.mesh import Surface
from tests.mesh_looks import TURNED, gaussians_look
from tests.mesh_scenes import sphere, textured_sphere, tree_of
from tests.reference.mesh_gaussians import mesh_gaussians
from tests.shaders.mesh_stages import shaded, worst


@pytest.mark.parametrize(("lobes", "channels", "supersample"), [(1, 10, 1), (2, 17, 1), (3, 24, 1), (4, 32, 2)])
def test_mesh_gaussians(device: wgpu.GPUDevice, lobes: int, channels: int, supersample: int) -> None:
    look = gaussians_look(lobes, channels, direction=TURNED, supersample=supersample)
    got, buffers = shaded(device, "mesh_gaussians", [tree_of([sphere(channels=channels)], look)])
    want, pixels = mesh_gaussians(*buffers)
    assert len(pixels.at) > 300
    # The lobes do something, and colours are not cut at 1.
    assert want[..., :3].max() > 1.05
    assert np.abs(want.reshape(-1, 4)[pixels.at, :3] - pixels.channels[:, :3] * pixels.covered[:, None]).max() > 0.05
    # Means that nearly cancel between vertices lose digits.
    assert np.abs(got - want).max() < 5e-5


def test_texels(device: wgpu.GPUDevice) -> None:
    look = gaussians_look(3, 24, filter="linear", supersample=2)
    got, buffers = shaded(device, "mesh_gaussians", [tree_of([textured_sphere(channels=24)], look)])
    want, pixels = mesh_gaussians(*buffers)
    assert worst(got, want, np.ones(len(pixels.at), bool), pixels.at) < 2e-5


def test_a_mean_of_no_length_has_a_cosine_of_0(device: wgpu.GPUDevice) -> None:
    look = gaussians_look(1, 10)
    look.scale[3:6] = 0
    look.offset[3:6] = 0
    whole = sphere(channels=10)
    assert whole.values is not None
    values = np.broadcast_to(np.uint8([51, 102, 153, 1, 2, 3, 26, 255, 128, 0]), whole.values.shape).copy()
    surface = Surface(whole.positions, whole.triangles, values=values)
    got, buffers = shaded(device, "mesh_gaussians", [tree_of([surface], look)])
    want, _ = mesh_gaussians(*buffers)
    assert np.abs(got - want).max() < 1e-5
    share = np.exp(-20 * 26 / 255)
    np.testing.assert_allclose(got[16, 20], [0.2 + share, 0.4 + share * 128 / 255, 0.6, 1], rtol=0, atol=1e-5)
