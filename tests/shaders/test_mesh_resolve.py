"""mesh_resolve.wgsl against its NumPy twin: the picture is handed on, and how near each pixel is."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests import mesh_scenes as scenes
from tests.reference.mesh_raster import mesh_raster
from tests.reference.mesh_resolve import mesh_resolve
from tests.shaders.images import random_picture
from tests.shaders.meshes import mesh_frame_of, run_mesh_passes
from tests.twin_scenes import CAMERA


@pytest.mark.parametrize("supersample", [1, 2])
@pytest.mark.parametrize("near", [0.01, 3.5])
def test_mesh_resolve(device: wgpu.GPUDevice, supersample: int, near: float) -> None:
    tree = scenes.tree_of([scenes.sphere(), scenes.soup(40)], scenes.look_of(supersample))
    frame = mesh_frame_of([(tree, np.eye(4))], CAMERA, near)
    picture = random_picture(CAMERA.width, CAMERA.height)
    executor = run_mesh_passes(device, frame, ["mesh_raster", "mesh_resolve"], textures={"mesh_color": picture})
    seen = mesh_raster(*frame.inputs())
    color, front = mesh_resolve(*frame.inputs()[:2], picture, seen.depths)
    np.testing.assert_array_equal(executor.read_texture("color"), color)
    got, h, w = executor.read_texture("mesh_front"), *front.shape
    sure = seen.sure.reshape(h, supersample, w, supersample).all(axis=(1, 3))
    assert sure.mean() > 0.9
    # Depths come from snapped vertices: where a triangle is seen from its edge, 1/512 pixel is some depth.
    error = np.abs(got / front - 1)[sure]
    assert np.median(error) < 1e-6 and (error < 1e-3).all()
    far = np.float32(constant("MESH_FAR"))
    np.testing.assert_array_equal((got == far)[sure], (front == far)[sure])
    assert (got == far).any() and (got < far).any()
