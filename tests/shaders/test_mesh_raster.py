"""mesh_raster.wgsl against its NumPy twin: which triangle each sample sees."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import Look, Surface
from tests import mesh_scenes as scenes
from tests.reference.mesh_raster import mesh_raster
from tests.shaders.meshes import mesh_frame_of, run_mesh_passes
from tests.twin_scenes import CAMERA

EYE = np.eye(4)
INSIDE = Camera.look_at((0.1, 0.05, -0.2), (0.4, 0.2, 1), (0.1, -1, 0), 85, 160, 120)


def placed(matrix: list[list[float]], at: tuple[float, float, float]) -> NDArray[np.float64]:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = matrix, at
    return out


MIRRORED = placed([[0, -1.2, 0], [0.7, 0, 0.1], [0, 0.2, -1]], (0.1, -0.2, 0.3))
PLAIN, FINE = scenes.look_of(), scenes.look_of(2)
HOLED = scenes.look_of(2, empty=0, filter="nearest")
#: name -> (surfaces of each layer, its look, its transform), camera, near
CASES: dict[str, tuple[list[tuple[list[Surface], Look, NDArray[np.float64]]], Camera, float]] = {
    "sphere": ([([scenes.sphere()], PLAIN, EYE)], CAMERA, 0.01),
    "sphere, four samples": ([([scenes.sphere()], FINE, EYE)], CAMERA, 0.01),
    "triangles through each other": ([([scenes.soup(300)], FINE, MIRRORED)], CAMERA, 0.01),
    "camera among the triangles": ([([scenes.soup(300)], FINE, MIRRORED)], INSIDE, 0.01),
    "near plane through a sphere": ([([scenes.sphere(0.8)], PLAIN, EYE)], INSIDE, 0.6),
    "empty texels": ([([scenes.holed_quad()], HOLED, EYE)], CAMERA, 0.01),
    "two layers of several nodes": (
        [
            ([scenes.soup(70, 1), scenes.soup(64, 2), scenes.sphere(0.5)], PLAIN, EYE),
            ([scenes.textured_sphere(0.6), scenes.soup(1, 3)], FINE, MIRRORED),
        ],
        CAMERA,
        0.01,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_mesh_raster(device: wgpu.GPUDevice, name: str) -> None:
    meshes, camera, near = CASES[name]
    placed_trees = [(scenes.tree_of(surfaces, look), transform) for surfaces, look, transform in meshes]
    frame = mesh_frame_of(placed_trees, camera, near)
    got = run_mesh_passes(device, frame, ["mesh_raster"]).read_texture("mesh_ids")
    want = mesh_raster(*frame.inputs())
    assert (~want.sure).mean() < 0.003
    np.testing.assert_array_equal(got[want.sure], want.ids[want.sure])
    assert (got > 0).mean() > 0.1


def test_nothing_is_seen_behind_the_camera_or_of_triangles_without_area(device: wgpu.GPUDevice) -> None:
    behind = scenes.wall(-9.0)
    line = Surface(behind.positions * 0, behind.triangles, values=behind.values)
    flat = scenes.quad([(-1, 0, 0), (1, 0, 0), (1, 0, 0), (-1, 0, 0)])
    tree = scenes.tree_of([scenes.wall(0.0, 0.01), behind, line, flat], scenes.look_of())
    frame = mesh_frame_of([(tree, EYE)], CAMERA)
    assert len(frame.uploads["mesh_blocks"]) == 3  # what is behind is not drawn at all
    got = run_mesh_passes(device, frame, ["mesh_raster"]).read_texture("mesh_ids")
    want = mesh_raster(*frame.inputs())
    np.testing.assert_array_equal(got[want.sure], want.ids[want.sure])
    assert set(np.unique(got)) <= {0, 1, 2}


def test_the_first_of_two_at_one_depth_is_seen(device: wgpu.GPUDevice) -> None:
    tree = scenes.tree_of([scenes.wall(0.5), scenes.wall(0.5)], scenes.look_of())
    frame = mesh_frame_of([(tree, EYE), (tree, EYE)], CAMERA)
    got = run_mesh_passes(device, frame, ["mesh_raster"]).read_texture("mesh_ids")
    assert set(np.unique(got)) == {0, 1, 2}
    assert set(np.unique(mesh_raster(*frame.inputs()).ids)) == {0, 1, 2}


def test_no_sample_between_neighbours_is_lost(device: wgpu.GPUDevice) -> None:
    """Every pixel's centre lies on an edge of two triangles, as exactly as float32 has it; one of them takes it."""
    rng = np.random.default_rng(5)
    camera = Camera.look_at((3.1, -1.7, 2.3), (-0.4, 0.3, 0.2), (0.2, -1, 0.1), 40, 96, 64)
    x, y = np.meshgrid(np.arange(camera.width + 1), np.arange(camera.height + 1))
    pixels = np.stack([x, y], axis=-1).reshape(-1, 2)
    depth = 3.7
    seen = np.concatenate([(pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy], np.ones((len(pixels), 1))], 1)
    to_world = np.linalg.inv(camera.world_to_camera)
    positions = ((depth * seen) @ to_world[:3, :3].T + to_world[:3, 3]).astype(np.float32)
    first = (np.arange(camera.height)[:, None] * (camera.width + 1) + np.arange(camera.width)).ravel()
    right, below = first + 1, first + camera.width + 1
    triangles = np.concatenate([np.stack([first, right, below + 1], 1), np.stack([first, below + 1, below], 1)])
    # Neighbours in any order, beginning at any corner, turned either way, and in two nodes.
    triangles = np.array([rng.permutation(t) for t in rng.permutation(triangles)], np.int32)
    values = np.full((len(positions), 3), 200, np.uint8)
    nodes = [Surface(positions, part, values=values) for part in np.array_split(triangles, 2)]
    frame = mesh_frame_of([(scenes.tree_of(nodes, PLAIN), EYE)], camera)
    assert (run_mesh_passes(device, frame, ["mesh_raster"]).read_texture("mesh_ids") > 0).all()
