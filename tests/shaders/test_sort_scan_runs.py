"""sort_scan_runs.wgsl against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.sort_scan_runs import sort_scan_runs
from tests.shaders.harness import frame_block, run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt


@pytest.mark.parametrize(("groups", "max_groups", "room"), [*FRAMES, (1700, 2, 1800)])
def test_sort_scan_runs(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int) -> None:
    digits, chunk = constant("SORT_DIGITS"), constant("SORT_CHUNK")
    chunks, most = -(-groups // chunk), -(-room // chunk)
    counts = np.random.default_rng(groups).integers(0, 257, (chunks, digits, chunk), dtype=np.uint32)
    before = dirt(most, digits, chunk)
    before[:chunks] = counts
    got = run_stages(
        device,
        ["sort_scan_runs"],
        {"frame": frame_block(groups=groups), "sort_counts": before, "sort_sums": dirt(most, digits)},
        ["sort_counts", "sort_sums"],
        {"groups": groups, "max_groups": max_groups},
        room={"groups": room},
    )
    want_counts, want_sums = sort_scan_runs(counts)
    check_written(got["sort_counts"], want_counts)
    check_written(got["sort_sums"], want_sums)
