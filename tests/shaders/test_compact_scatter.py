"""compact_scatter.wgsl against its NumPy twin."""

from __future__ import annotations

import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.compact_count import compact_count
from tests.reference.compact_scatter import compact_scatter
from tests.reference.sort_scan_chunks import sort_scan_chunks
from tests.reference.sort_scan_runs import sort_scan_runs
from tests.shaders.harness import frame_block, run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt, stage_keys


@pytest.mark.parametrize(("groups", "max_groups", "room"), FRAMES)
def test_compact_scatter(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int) -> None:
    keys = stage_keys(groups)
    counts, sums = sort_scan_runs(compact_count(keys))
    sums, _, _ = sort_scan_chunks(sums)
    got = run_stages(
        device,
        ["compact_scatter"],
        {
            "frame": frame_block(groups=groups),
            "keys": keys,
            "sort_counts": counts,
            "sort_sums": sums,
            "sort_keys": dirt(room * constant("GROUP")),
            "order": dirt(room * constant("GROUP")),
        },
        ["sort_keys", "order"],
        {"groups": groups, "max_groups": max_groups},
        room={"groups": room},
    )
    want_keys, want_values = compact_scatter(keys, counts, sums)
    check_written(got["sort_keys"], want_keys)
    check_written(got["order"], want_values)
