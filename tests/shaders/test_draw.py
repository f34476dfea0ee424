"""draw.wgsl against its NumPy twin, from projected records and an order given by the test."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.executor import target_format
from splatlens.viewer.layout import constant, dtype
from tests.reference.draw import draw
from tests.shaders.frames import assemble_records, run_passes
from tests.twin_scenes import TWIN_SCENES, TwinScene


def random_projected(n: int, scene: TwinScene) -> np.ndarray:
    """n records all over the picture, from a tenth of a pixel to half the picture, opacity 0.01 to 3."""
    r = np.random.default_rng(n)
    p = np.zeros(n, dtype("Projected"))
    size = [scene.camera.width, scene.camera.height]
    p["center"] = r.uniform(-0.1, 1.1, (n, 2)) * size
    angle, length = r.uniform(0, 7, n), np.exp(r.uniform(np.log(0.1), np.log(60), n))
    p["major"] = np.stack([np.cos(angle), np.sin(angle)], axis=1) * length[:, None]
    p["minor"] = length * r.uniform(0.01, 1, n)
    half = np.concatenate(
        [r.uniform(0, 1.5, (n, 3)), np.exp(r.uniform(np.log(0.01), np.log(3), (n, 1)))], axis=1
    ).astype(np.float16)
    words = half.view(np.uint32)
    p["rg"], p["ba"] = words[:, 0], words[:, 1]
    return p


@pytest.mark.parametrize("n", [1, 2, 100])
def test_draw(device: wgpu.GPUDevice, n: int) -> None:
    scene = TWIN_SCENES["plain"]()
    frame, _ = assemble_records(scene)
    projected = random_projected(n, scene)
    front_to_back = np.random.default_rng(n).permutation(n).astype(np.uint32)
    uploads = {
        "projected": projected,
        "order": front_to_back,
        "sort_info": np.array([n, 0, 0, 0], np.uint32),
        "draw_args": np.array([constant("SPLAT_VERTICES") * n, 1, 0, 0], np.uint32),
    }
    executor = run_passes(device, frame, uploads, ("draw",), {"color": target_format(device)})
    got = executor.read_texture("color")
    want = draw(frame.uploads["frame"][0], projected, front_to_back[::-1])
    # A pixel on a splat's rim may fall on either side of alpha = 1/255.
    assert np.abs(got - want).max() < 1.6 * 2 / 255
    assert np.mean((got - want) ** 2) < 1e-8


def test_nothing_to_draw_leaves_the_target_clear(device: wgpu.GPUDevice) -> None:
    frame, _ = assemble_records(TWIN_SCENES["plain"]())
    uploads = {"sort_info": np.zeros(4, np.uint32), "draw_args": np.array([0, 1, 0, 0], np.uint32)}
    executor = run_passes(device, frame, uploads, ("draw",))
    assert not executor.read_texture("color").any()
