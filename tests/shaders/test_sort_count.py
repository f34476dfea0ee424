"""sort_count.wgsl against its NumPy twin."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.layout import constant
from splatlens.viewer.plan import pipeline
from tests.reference.sort_count import sort_count
from tests.shaders.harness import frame_block, frame_plan, run_plan, run_stages
from tests.shaders.sort_cases import FRAMES, check_written, dirt, random_keys


@pytest.mark.parametrize(("groups", "max_groups", "room"), FRAMES)
@pytest.mark.parametrize("missing", [0, 1, 255, 256, 4097])
def test_sort_count(device: wgpu.GPUDevice, groups: int, max_groups: int, room: int, missing: int) -> None:
    # `missing`: keys fewer than the frame has room for, since splats were culled.
    keys = random_keys(groups * constant("GROUP"), 3, culled=0.0)
    count = max(0, len(keys) - missing)
    chunks = -(-room // constant("SORT_CHUNK"))
    got = run_stages(
        device,
        ["sort_count"],
        {
            "frame": frame_block(groups=groups),
            "sort_info": np.array([count], np.uint32),
            "keys": keys,
            "sort_counts": dirt(chunks, constant("SORT_CHUNK_COUNTS")),
        },
        ["sort_counts"],
        {"groups": groups, "max_groups": max_groups},
        room={"groups": room},
    )
    # By name the harness takes the pass outside of the group of digits: the highest digit.
    check_written(got["sort_counts"], sort_count(keys[:count], groups, 16))


def test_every_shift(device: wgpu.GPUDevice) -> None:
    group = next(i for i, p in enumerate(pipeline()["passes"]) if p["name"] == "sort")
    keys = random_keys(1000, 5, culled=0.0)
    for entry in pipeline()["lists"]["digits"]:
        plan = frame_plan([group], {"groups": 4}, {"digits": [entry]})
        plan["passes"] = [p for p in plan["passes"] if p["name"] == "sort_count"]
        block = {"frame": frame_block(groups=4), "sort_info": np.array([1000], np.uint32), entry["keys"]: keys}
        executor = run_plan(device, plan, block)
        np.testing.assert_array_equal(executor.read("sort_counts"), sort_count(keys, 4, entry["shift"]).ravel())
