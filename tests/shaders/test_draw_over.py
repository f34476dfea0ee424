"""draw_over.wgsl against its NumPy twin: splats before and behind a mesh picture given by the test."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from tests import mesh_scenes as scenes
from tests.reference.draw import draw
from tests.reference.draw_over import draw_over
from tests.shaders.meshes import mesh_frame_of, run_mesh_passes
from tests.shaders.test_draw import random_projected
from tests.twin_scenes import CAMERA, TWIN_SCENES

SHAPE = (CAMERA.height, CAMERA.width)
FAR = constant("MESH_FAR")


def mesh_picture(seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A picture of quarters of coverage in blocks of 8 x 8 pixels, and depths 1 to 5, MESH_FAR where there is none."""
    r = np.random.default_rng(seed)
    quarters = np.kron(r.integers(0, 5, (SHAPE[0] // 8, SHAPE[1] // 8)), np.ones((8, 8)))[..., None] / 4
    color = np.concatenate([r.uniform(0, 1.2, (*SHAPE, 3)) * quarters, quarters], axis=2).astype(np.float32)
    front = np.where(quarters[..., 0] > 0, r.uniform(1, 5, SHAPE), FAR).astype(np.float32)
    return color, front


def drawn(
    device: wgpu.GPUDevice, projected: NDArray[np.void], order: NDArray[np.integer],
    color: NDArray[np.float32], front: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.void]]:  # fmt: skip
    """What draw_over makes of a frame, and its Frame. order: front to back."""
    frame = mesh_frame_of([(scenes.tree_of([scenes.sphere()], scenes.look_of()), np.eye(4))], CAMERA)
    frame.numbers["groups"] = -(-len(projected) // 256)
    uploads = {
        "projected": projected,
        "order": order.astype(np.uint32),
        "sort_info": np.array([len(projected), 0, 0, 0], np.uint32),
        "draw_args": np.array([constant("SPLAT_VERTICES") * len(projected), 1, 0, 0], np.uint32),
    }
    textures = {"color": color, "mesh_color": color, "mesh_front": front}
    executor = run_mesh_passes(device, frame, ["draw_over"], uploads, textures)
    return executor.read_texture("color"), frame.uploads["frame"][0]


@pytest.mark.parametrize("n", [1, 2, 100])
def test_draw_over(device: wgpu.GPUDevice, n: int) -> None:
    projected = random_projected(n, TWIN_SCENES["plain"]())
    projected["depth"] = np.random.default_rng(n).uniform(1, 5, n)
    order = np.argsort(projected["depth"], kind="stable")
    color, front = mesh_picture(n)
    got, frame = drawn(device, projected, order, color, front)
    want = draw_over(frame, projected, order[::-1], color, front)
    # A pixel on a splat's rim may fall on either side of alpha = 1/255.
    assert np.abs(got - want).max() < 1.6 * 2 / 255
    assert np.mean((got - want) ** 2) < 1e-8
    np.testing.assert_array_equal(got == color, want == color)  # what no splat touches is left as it was


def test_a_splat_as_far_as_the_mesh_is_before_it(device: wgpu.GPUDevice) -> None:
    projected = random_projected(3, TWIN_SCENES["plain"]())
    projected["depth"] = 2.0, 2.0, np.nextafter(np.float32(2), np.float32(3))
    projected["center"], projected["minor"] = np.array(CAMERA.width, np.float32) / 2, 30
    projected["major"] = 30, 0
    color, front = mesh_picture(5)
    color[..., 3], front[...] = 1, 2.0
    got, frame = drawn(device, projected, np.arange(3), color, front)
    assert np.abs(got - draw_over(frame, projected, np.arange(3)[::-1], color, front)).max() < 1.6 * 2 / 255
    only = drawn(device, projected[:2], np.arange(2), color, front)[0]
    np.testing.assert_array_equal(got, only)  # the third is hidden, the others are not
    assert np.abs(only - color).max() > 0.1


def test_without_a_mesh_it_draws_what_draw_does(device: wgpu.GPUDevice) -> None:
    projected = random_projected(100, TWIN_SCENES["plain"]())
    projected["depth"] = np.random.default_rng(1).uniform(1, 5, 100)
    order = np.argsort(projected["depth"], kind="stable")
    nothing = np.zeros((*SHAPE, 4), np.float32)
    got, frame = drawn(device, projected, order, nothing, np.full(SHAPE, FAR, np.float32))
    assert np.mean((got - draw(frame, projected, order[::-1])) ** 2) < 1e-8
