"""The whole compaction and sort on the GPU: index for index NumPy's stable argsort."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.executor import Executor
from splatlens.viewer.layout import constant
from splatlens.viewer.plan import pipeline
from tests.shaders.harness import frame_block, frame_plan
from tests.shaders.sort_cases import LARGEST, dirt, grouped, key_kinds, random_keys, sorted_order

SIZES = [0, 1, 2, 255, 256, 257, 2047, 2048, 2049, 65535]


def sort_passes() -> list[int]:
    """Positions in pipeline.json of everything from the keys to the order."""
    return [i for i, p in enumerate(pipeline()["passes"]) if p["name"].split("_")[0] in ("compact", "sort")]


def run_sort(
    device: wgpu.GPUDevice,
    keys: NDArray[np.uint32],
    *,
    max_groups: int = 65535,
    room: int | None = None,
    executor: Executor | None = None,
) -> Executor:
    """Sorts whole groups of keys, in buffers with room for so many groups (at least), all dirty."""
    groups = len(keys) // constant("GROUP")
    plan = frame_plan(sort_passes(), {"groups": groups, "max_groups": max_groups})
    buffers = frame_plan(sort_passes(), {"groups": groups if room is None else room})["buffers"]
    names = {name for item in plan["passes"] for name in item["bindings"]} | {"keys", "order"}
    plan["buffers"] = {name: buffers[name] for name in names}
    executor = executor or Executor(device)
    executor.prepare(plan)
    for name, b in plan["buffers"].items():
        if "STORAGE" in b["usage"]:
            executor.write(name, dirt(b["size"] // 4))
    executor.write("frame", frame_block(groups=groups, max_groups=max_groups))
    executor.write("keys", keys)
    executor.run(plan)
    return executor


def check_sorted(executor: Executor, keys: NDArray[np.uint32]) -> None:
    """The executor's order is that of the stable argsort, and all counts agree with it."""
    want = sorted_order(keys)
    assert executor.read("sort_info")[0] == len(want)
    np.testing.assert_array_equal(executor.read("draw_args"), [constant("SPLAT_VERTICES") * len(want), 1, 0, 0])
    np.testing.assert_array_equal(executor.read("order")[: len(want)], want)


@pytest.mark.parametrize("n", SIZES)
def test_equal_to_stable_argsort(device: wgpu.GPUDevice, n: int) -> None:
    executor = Executor(device)
    for keys in key_kinds(n).values():
        check_sorted(run_sort(device, grouped(keys), executor=executor), grouped(keys))


def test_a_million(device: wgpu.GPUDevice) -> None:
    executor = Executor(device)
    kinds = key_kinds(10**6)
    for kind in ("random", "some culled", "all equal", "reversed", "few digits"):
        keys = grouped(kinds[kind])
        check_sorted(run_sort(device, keys, executor=executor), keys)


def test_counts_below_capacity(device: wgpu.GPUDevice) -> None:
    # Buffers, and their former contents, are larger than this frame: it must neither read nor write past its own part.
    keys = grouped(random_keys(3000))
    executor = run_sort(device, keys, room=500)
    check_sorted(executor, keys)
    assert (executor.read("order")[len(keys) :] == dirt(1)).all()


@pytest.mark.parametrize(("groups", "max_groups"), [(400, 2), (577, 3), (1700, 3)])
def test_dispatches_over_three_dimensions(device: wgpu.GPUDevice, groups: int, max_groups: int) -> None:
    keys = random_keys(groups * constant("GROUP"))
    executor = run_sort(device, keys, max_groups=max_groups)
    check_sorted(executor, keys)
    plan = frame_plan(sort_passes(), {"groups": groups, "max_groups": max_groups})
    wide = [p for p in plan["passes"] if p["dispatch"]["groups"][2] > 1]
    # sort_scan_runs has too few workgroups here for a third dimension: its own test forces one.
    assert {p["name"] for p in wide} >= {
        "compact_count",
        "compact_scatter",
        "sort_count",
        "sort_scatter",
        "sort_finish",
    }


def test_repeats_are_identical(device: wgpu.GPUDevice) -> None:
    keys = grouped(key_kinds(100_000)["few digits"])
    executor = run_sort(device, keys)
    plan = frame_plan(sort_passes(), {"groups": len(keys) // constant("GROUP")})
    first = executor.read("order").tobytes()
    for _ in range(3):
        executor.write("keys", keys)  # sorting overwrites them
        executor.run(plan)
        assert executor.read("order").tobytes() == first


def test_a_smaller_frame_after_a_larger_one(device: wgpu.GPUDevice) -> None:
    executor = run_sort(device, grouped(random_keys(50_000)))
    for n in (20_000, 0, 300):
        keys = grouped(random_keys(n, 9))
        groups = len(keys) // constant("GROUP")
        executor.write("frame", frame_block(groups=groups))
        executor.write("keys", keys)
        executor.run(frame_plan(sort_passes(), {"groups": groups}))
        check_sorted(executor, keys)


def test_keys_use_all_their_bits(device: wgpu.GPUDevice) -> None:
    keys = grouped(np.array([*[1 << bit for bit in range(constant("KEY_BITS"))][::-1], LARGEST, 0], np.uint32))
    check_sorted(run_sort(device, keys), keys)


@pytest.mark.soak
def test_more_than_2_to_the_24_keys() -> None:
    from splatlens.viewer.executor import request_device

    keys = grouped(random_keys((1 << 24) + 1, culled=0.0))
    check_sorted(run_sort(request_device(), keys), keys)
