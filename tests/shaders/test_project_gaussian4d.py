"""project_gaussian4d.wgsl against its NumPy twin, at times before, in and after the span, and through a transform."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.sequence import SequenceSplats
from tests.reference.project_gaussian4d import project_gaussian4d
from tests.sequence_scenes import SPAN, sequence
from tests.shaders.frames import check_projected, sequence_groups


def check(device: wgpu.GPUDevice, splats: SequenceSplats, seconds: float, transform: np.ndarray | None = None) -> int:
    """Compares every group of every part; how many splats were drawn."""
    drawn = 0
    for executor, group, arguments in sequence_groups(device, splats, seconds, transform):
        want = project_gaussian4d(*arguments)
        check_projected(executor, group, want)
        drawn += int((want["key"] != 0xFFFFFFFF).sum())
    return drawn


@pytest.mark.parametrize("seconds", [0.0, 0.7, 2.0, 3.99])
def test_times(device: wgpu.GPUDevice, seconds: float) -> None:
    drawn = check(device, sequence("gaussian4d"), seconds)
    assert 100 < drawn < 590  # some come, some went


def test_several_parts_and_a_transform(device: wgpu.GPUDevice) -> None:
    splats = sequence("gaussian4d", part_bytes=300 * 4 * 48)
    assert len(splats.parts) > 1 and sum(part.shape[1] for part in splats.parts) == 600
    transform = np.eye(4)
    transform[:3, :3] = 0.7 * np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    transform[:3, 3] = 0.2, -0.1, 0.4
    assert check(device, splats, 1.3, transform) > 100


def test_a_splat_without_a_place_in_the_span_is_not_drawn(device: wgpu.GPUDevice) -> None:
    splats = sequence("gaussian4d", 256)
    words = splats.parts[0].copy()
    words[4] = np.float32(1e-3).view(np.uint32)
    words[3] = np.float32(SPAN.end + 1).view(np.uint32)
    words[3, :3] = np.float32(SPAN.start).view(np.uint32)  # but three of them
    assert check(device, SequenceSplats(splats.info, (words,)), 0.0) <= 3
