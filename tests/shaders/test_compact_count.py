"""compact_count.wgsl against its NumPy twin."""

from __future__ import annotations

import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.compact_count import compact_count
from tests.shaders.harness import frame_block, run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt, stage_keys


@pytest.mark.parametrize(("groups", "max_groups", "room"), FRAMES)
def test_compact_count(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int) -> None:
    keys = stage_keys(groups)
    chunks = -(-room // constant("SORT_CHUNK"))
    got = run_stages(
        device,
        ["compact_count"],
        {"frame": frame_block(groups=groups), "keys": keys, "sort_counts": dirt(chunks, constant("SORT_CHUNK_COUNTS"))},
        ["sort_counts"],
        {"groups": groups, "max_groups": max_groups},
        room={"groups": room},
    )
    check_written(got["sort_counts"], compact_count(keys))
