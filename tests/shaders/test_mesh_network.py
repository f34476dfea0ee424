"""mesh_network.wgsl against its NumPy twin: networks of many sizes, inputs in any order, sines, filters, coverage."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.mesh import Dense, Input, Network
from tests.mesh_looks import TURNED, encoded, look_with, random_network, raw
from tests.mesh_scenes import holed_quad, soup, sphere, textured_sphere, tree_of
from tests.reference.mesh_network import mesh_network
from tests.shaders.mesh_stages import shaded, worst

#: (channels, network): MobileNeRF, nerf2mesh, one layer, the widest, and what else the inputs may be.
NETWORKS: dict[str, tuple[int, Network]] = {
    "mobilenerf": (8, random_network(raw(*range(11)), [16, 16], ["relu", "relu", "sigmoid"])),
    "nerf2mesh": (6, random_network(raw(6, 7, 8, 3, 4, 5), [32], ["relu", "sigmoid"], base=0)),
    "one layer": (3, random_network(raw(0, 1, 2), [], ["sigmoid"])),
    "one input": (1, random_network(raw(0), [1], ["none", "none"])),
    "direction alone": (3, random_network(raw(5, 4, 3), [7], ["sigmoid", "none"], base=0)),
    "twice the same": (4, random_network(raw(2, 2, 0, 5, 2), [5], ["relu", "none"], base=1)),
    "widest": (32, random_network(raw(*range(35)), [64, 64, 64], ["relu", "sigmoid", "none", "sigmoid"], base=29)),
    "encoded": (
        7,
        random_network(raw(8, 0, 3) + encoded([7, 8, 9], 4) + raw(6, 1), [20, 13], ["relu", "relu", "sigmoid"]),
    ),
    "fast waves": (3, random_network([*encoded([0, 3], 10), Input(1, -300.0, 12.5)], [16], ["relu", "sigmoid"])),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_mesh_network(device: wgpu.GPUDevice, name: str) -> None:
    channels, network = NETWORKS[name]
    look = look_with(network, channels, direction=TURNED, supersample=2)
    got, buffers = shaded(device, "mesh_network", [tree_of([sphere(channels=channels)], look)])
    want, pixels = mesh_network(*buffers)
    assert len(pixels.at) > 300 and (pixels.covered < 1).sum() > 20
    assert np.ptp(want[want[..., 3] == 1], axis=0).max() > 0.05
    # A sine of 512 x is as wrong as 512 times float32's rounding of x.
    assert np.abs(got - want).max() < (1e-4 if name == "fast waves" else 5e-6)


def test_sines_of_any_size(device: wgpu.GPUDevice) -> None:
    """Each triangle has one colour, and all that the network does is a sine of each channel: up to 190 turns."""
    inputs = (Input(0, 512.0), Input(1, -300.0, 12.5), Input(2, 1000.0))
    half = Dense(np.eye(3, dtype=np.float32) / 2, np.full(3, 0.5, np.float32), "none")
    look = look_with(Network(inputs, (half,)), 3)
    got, buffers = shaded(device, "mesh_network", [tree_of([soup(60)], look)])
    want, pixels = mesh_network(*buffers)
    assert len(np.unique(np.round(want.reshape(-1, 4)[pixels.at], 4), axis=0)) > 20
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.parametrize("filter", ["nearest", "linear"])
@pytest.mark.parametrize("supersample", [1, 2])
def test_texels_and_coverage(device: wgpu.GPUDevice, filter: str, supersample: int) -> None:
    channels, network = NETWORKS["mobilenerf"]
    look = look_with(network, channels, filter=filter, empty=0, supersample=supersample)
    surfaces = [holed_quad(channels=channels), textured_sphere(0.6, channels=channels)]
    got, buffers = shaded(device, "mesh_network", [tree_of(surfaces, look)])
    want, pixels = mesh_network(*buffers)
    sure = (pixels.border > 1e-3) | (filter == "linear")
    assert sure.mean() > 0.9
    if supersample == 2:
        assert set(np.unique(pixels.covered)) == {0.25, 0.5, 0.75, 1}
    assert worst(got, want, sure, pixels.at) < 2e-5


def test_other_layers_pixels_are_left_alone(device: wgpu.GPUDevice) -> None:
    layers = [
        tree_of([sphere(0.8, center=(0.5 * k - 0.5, 0, 0), channels=NETWORKS[name][0])],
                look_with(NETWORKS[name][1], NETWORKS[name][0], supersample=2))
        for k, name in enumerate(("mobilenerf", "nerf2mesh", "one layer"))
    ]  # fmt: skip
    total = np.zeros(())
    for which in range(3):
        got, buffers = shaded(device, "mesh_network", layers, which)
        want, pixels = mesh_network(*buffers)
        assert len(pixels.at) > 50
        np.testing.assert_allclose(got, want, rtol=0, atol=5e-6)
        total = total + got
    # Together they cover what they cover, no pixel twice.
    assert total[..., 3].max() == 1
    assert total[..., 3].sum() == pytest.approx((buffers[5] > 0).sum() / 4)
