"""sort_scatter.wgsl against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from tests.reference.sort_count import sort_count
from tests.reference.sort_scan_chunks import sort_scan_chunks
from tests.reference.sort_scan_runs import sort_scan_runs
from tests.reference.sort_scatter import sort_scatter
from tests.shaders.harness import run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt, random_keys

DIGIT = {"keys": "sort_keys", "values": "order", "to_keys": "keys", "to_values": "sort_values"}


@pytest.mark.parametrize(("groups", "max_groups", "room"), FRAMES)
@pytest.mark.parametrize("missing", [0, 1, 255, 256, 4097])
def test_sort_scatter(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int, missing: int) -> None:
    size, shift = groups * constant("GROUP"), 8
    count = max(0, size - missing)
    keys, values = random_keys(size, 3, culled=0.0), np.arange(size, dtype=np.uint32)[::-1].copy()
    counts, sums = sort_scan_runs(sort_count(keys[:count], groups, shift))
    sums, found, _ = sort_scan_chunks(sums)
    assert found == count
    got = run_stages(
        device,
        ["sort_scatter"],
        {
            "sort_info": np.array([count], np.uint32),
            "sort_keys": keys,
            "order": values,
            "sort_counts": counts,
            "sort_sums": sums,
            "keys": dirt(room * constant("GROUP")),
            "sort_values": dirt(room * constant("GROUP")),
        },
        ["keys", "sort_values"],
        {"groups": groups, "max_groups": max_groups},
        lists={"digits": [DIGIT | {"shift": shift}]},
        room={"groups": room},
    )
    want_keys, want_values = sort_scatter(keys[:count], values[:count], counts, sums, shift)
    check_written(got["keys"], want_keys)
    check_written(got["sort_values"], want_values)
