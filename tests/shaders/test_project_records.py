"""project_records.wgsl against its NumPy twin: every rule of the projection, and layer transforms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import wgpu

from tests.reference.project_records import project_records
from tests.shaders.frames import assemble_records, check_projected, run_passes
from tests.twin_scenes import TWIN_SCENES


@pytest.mark.parametrize("name", TWIN_SCENES)
def test_every_rule_of_the_projection(device: wgpu.GPUDevice, name: str) -> None:
    frame, records = assemble_records(TWIN_SCENES[name]())
    executor = run_passes(device, frame, {"records.0": records}, ("project_records",))
    for group in range(frame.groups):
        want = project_records(
            frame.uploads["frame"][0], frame.uploads["layers"], frame.uploads["draws"][group], records
        )
        if (want["key"] != 0xFFFFFFFF).any():
            check_projected(executor, group, want)


@pytest.mark.parametrize("coefficients", [1, 4, 9, 16])
def test_sh_degrees(device: wgpu.GPUDevice, coefficients: int) -> None:
    scene = TWIN_SCENES["plain"]()
    degree = [1, 4, 9, 16].index(coefficients)
    scene = replace(scene, splats=scene.splats.with_sh_degree(degree))
    frame, records = assemble_records(scene)
    executor = run_passes(device, frame, {"records.0": records}, ("project_records",))
    want = project_records(frame.uploads["frame"][0], frame.uploads["layers"], frame.uploads["draws"][0], records)
    check_projected(executor, 0, want)


def test_needles_longer_than_the_picture(device: wgpu.GPUDevice) -> None:
    # Thousands of pixels long and dilated to half a pixel: a c - b^2 has no digit left in float32.
    scene = TWIN_SCENES["needles and discs"]()
    scales = scene.splats.scales.copy()
    scales[:, 0] = 60.0
    scales[:, 1:] = 1e-4
    scene = replace(scene, splats=replace(scene.splats, scales=scales))
    frame, records = assemble_records(scene)
    executor = run_passes(device, frame, {"records.0": records}, ("project_records",))
    draw = frame.uploads["draws"][0]
    check_projected(executor, 0, project_records(frame.uploads["frame"][0], frame.uploads["layers"], draw, records))


def test_a_layer_turned_mirrored_and_scaled(device: wgpu.GPUDevice) -> None:
    transform = np.eye(4)
    transform[:3, :3] = 0.7 * np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    transform[:3, 3] = 0.2, -0.1, 0.4
    frame, records = assemble_records(TWIN_SCENES["plain"](), transform)
    executor = run_passes(device, frame, {"records.0": records}, ("project_records",))
    for group in range(frame.groups):
        draw = frame.uploads["draws"][group]
        check_projected(
            executor, group, project_records(frame.uploads["frame"][0], frame.uploads["layers"], draw, records)
        )


def test_dispatch_over_three_dimensions(device: wgpu.GPUDevice) -> None:
    scene = TWIN_SCENES["2,000 overlapping"]()
    results = []
    for limit in (65535, 3, 2):  # 8 groups: 8, 3 x 3, and 2 x 2 x 2
        frame, records = assemble_records(scene, max_groups=limit)
        executor = run_passes(device, frame, {"records.0": records}, ("project_records",))
        results.append((executor.read("keys").tobytes(), executor.read("projected").tobytes()))
    assert results[0] == results[1] == results[2]
