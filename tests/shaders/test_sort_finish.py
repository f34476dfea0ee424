"""sort_finish.wgsl against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.sort_count import sort_count
from tests.reference.sort_finish import sort_finish
from tests.reference.sort_scan_chunks import sort_scan_chunks
from tests.reference.sort_scan_runs import sort_scan_runs
from tests.shaders.harness import run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt, random_keys


@pytest.mark.parametrize(("groups", "max_groups", "room"), FRAMES)
@pytest.mark.parametrize("missing", [0, 1, 255, 256, 4097])
def test_sort_finish(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int, missing: int) -> None:
    size, shift = groups * constant("GROUP"), 16
    count = max(0, size - missing)
    keys, values = random_keys(size, 3, culled=0.0), np.arange(size, dtype=np.uint32)[::-1].copy()
    counts, sums = sort_scan_runs(sort_count(keys[:count], groups, shift))
    sums, found, _ = sort_scan_chunks(sums)
    assert found == count
    got = run_stages(
        device,
        ["sort_finish"],
        {
            "sort_info": np.array([count], np.uint32),
            "keys": keys,
            "sort_values": values,
            "sort_counts": counts,
            "sort_sums": sums,
            "order": dirt(room * constant("GROUP")),
        },
        ["order"],
        {"groups": groups, "max_groups": max_groups},
        room={"groups": room},
    )
    check_written(got["order"], sort_finish(keys[:count], values[:count], counts, sums, shift))
