"""sort_scan_chunks.wgsl against its NumPy twin: one workgroup for any number of chunks, none included."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.sort_scan_chunks import sort_scan_chunks
from tests.shaders.harness import frame_block, run_stages
from tests.shaders.sort_cases import check_written, dirt


@pytest.mark.parametrize("groups", [0, 1, 64, 65, 255, 257, 5000, 1 << 18, (1 << 20) + 1])
def test_sort_scan_chunks(device: wgpu.GPUDevice, groups: int) -> None:
    digits = constant("SORT_DIGITS")
    chunks = -(-groups // constant("SORT_CHUNK"))
    sums = np.random.default_rng(groups).integers(0, 1025, (chunks, digits), dtype=np.uint32)
    before = dirt(chunks + 3, digits)
    before[:chunks] = sums
    got = run_stages(
        device,
        ["sort_scan_chunks"],
        {"frame": frame_block(groups=groups), "sort_sums": before, "sort_info": dirt(4), "draw_args": dirt(4)},
        ["sort_sums", "sort_info", "draw_args"],
        {"groups": min(groups, 1)},
        room={"groups": (chunks + 3) * constant("SORT_CHUNK")},
    )
    want, count, draw_args = sort_scan_chunks(sums)
    check_written(got["sort_sums"], want)
    check_written(got["sort_info"], np.array([count], np.uint32))
    check_written(got["draw_args"], np.array(draw_args, np.uint32))
