"""mesh_lightfield.wgsl against its NumPy twin: terms, maps of directions, samples."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import LightField, Look
from tests.mesh_looks import TURNED, light_field_look
from tests.mesh_scenes import holed_quad, sphere, textured_sphere, tree_of
from tests.reference.mesh_lightfield import mesh_lightfield
from tests.shaders.mesh_stages import CAMERA, MOVED, shaded, worst


@pytest.mark.parametrize("filter", ["nearest", "linear"])
@pytest.mark.parametrize(("terms", "size", "supersample"), [(4, (1, 1), 1), (32, (64, 48), 1), (64, (17, 31), 2)])
def test_mesh_lightfield(
    device: wgpu.GPUDevice, terms: int, size: tuple[int, int], supersample: int, filter: str
) -> None:
    look = light_field_look(terms, size, filter, direction=TURNED, supersample=supersample, filter=filter)
    got, buffers = shaded(device, "mesh_lightfield", [tree_of([textured_sphere(channels=3 * terms)], look)])
    want, pixels, border = mesh_lightfield(*buffers)
    sure = (filter == "linear") | ((border > 1e-3) & (pixels.border > 1e-3))
    assert len(pixels.at) > 300 and sure.mean() > 0.7
    assert np.ptp(want[want[..., 3] == 1], axis=0).max() > 0.1
    assert worst(got, want, sure, pixels.at) < 2e-5


def test_the_map_is_looked_up_all_around(device: wgpu.GPUDevice) -> None:
    """From inside of a sphere, straight up and down included: the map starts again at its borders."""
    look = light_field_look(8, (16, 16), "linear")
    seen = set()
    for forward in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
        # The camera's own pixel centre looks exactly along the axis: 41 x 31.
        up = (0, 1, 0) if forward[2] else (0, 0, 1)
        at = MOVED[:3, 3]
        camera = Camera.look_at(tuple(at), tuple(at + np.array(forward)), up, 100, 41, 31)
        got, buffers = shaded(device, "mesh_lightfield", [tree_of([sphere(1.0, 16, channels=24)], look)], 0, camera)
        want, pixels, _ = mesh_lightfield(*buffers)
        assert len(pixels.at) == 41 * 31
        assert np.abs(got - want).max() < 2e-5
        d = pixels.direction
        turn = np.mod(np.arctan2(d[:, 1], d[:, 0]) / (2 * np.pi), 1)
        seen |= set(((turn * 16).astype(int) % 16).tolist())
    assert len(seen) == 16


def test_rows_and_columns_of_the_map(device: wgpu.GPUDevice) -> None:
    """Azimuth 0 at +x, growing towards +y; elevation 0 across, a quarter of the rows up, the last quarter down."""
    width, height = 8, 8
    field = np.zeros((height, width, 4), np.uint8)
    field[..., 0], field[..., 1] = np.arange(width) * 30, np.arange(height)[:, None] * 30
    method = LightField(4, field, np.ones(4, np.float32), np.zeros(4, np.float32))
    # u = (1, 0, 0, 0), v = (0, 1, 0, 0), w = 0: the colour is the sigmoid of the map's first two terms.
    offset = np.zeros(12, np.float32)
    offset[0] = offset[5] = 1
    look = Look(12, method, np.zeros(12, np.float32), offset)
    for direction, column, row in (
        ((1, 0.1, 0.1), 0, 0), ((0.1, 1, 0.1), 1, 0), ((-1, 0.1, -0.1), 3, 7), ((0.1, -1, -0.1), 6, 7),
        ((0.3, 0.1, 1), 0, 1), ((0.3, -0.1, -1), 7, 6),
    ):  # fmt: skip
        at = MOVED[:3, 3]
        turned = MOVED[:3, :3] @ np.array(direction)
        camera = Camera.look_at(tuple(at), tuple(at + turned), (0.3, 0.2, 0.1), 10, 5, 5)
        surface = tree_of([sphere(1.0, 16, channels=12)], look)
        got, _ = shaded(device, "mesh_lightfield", [surface], 0, camera)
        value = got[2, 2]
        want = 1 / (1 + np.exp(-np.array([column, row]) * 30 / 255))
        np.testing.assert_allclose(value[:2], want, rtol=0, atol=1e-5)


def test_partly_covered_pixels(device: wgpu.GPUDevice) -> None:
    look = light_field_look(4, (32, 32), "linear", supersample=2, filter="linear", empty=0)
    surface = holed_quad(channels=12)
    got, buffers = shaded(device, "mesh_lightfield", [tree_of([surface], look)], 0, CAMERA)
    want, pixels, _ = mesh_lightfield(*buffers)
    assert set(np.unique(pixels.covered)) == {0.25, 0.5, 0.75, 1}
    assert worst(got, want, np.ones(len(pixels.at), bool), pixels.at) < 2e-5
