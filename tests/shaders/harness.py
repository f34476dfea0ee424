"""Runs stages of the frame alone: given buffers in, written buffers out, through the plan and the executor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.executor import Executor
from splatlens.viewer.layout import dtype
from splatlens.viewer.plan import pipeline, resolve

#: WebGPU's default for workgroups a dimension.
MAX_GROUPS = 65535


def frame_plan(
    chosen: Iterable[int] | Iterable[str],
    numbers: Mapping[str, int],
    lists: Mapping[str, Sequence[Mapping[str, int | str]]] | None = None,
) -> dict[str, Any]:
    """The plan of some passes of pipeline.json: by position, or by name (the first pass of that name, groups last).

    Numbers not given are 1, max_groups WebGPU's default; lists not given that belong to the scene are empty.
    """
    everything = pipeline()
    passes = [everything["passes"][c] if isinstance(c, int) else _named(c) for c in chosen]
    filled = {"layers": 1, "width": 1, "height": 1, "max_groups": MAX_GROUPS, **numbers}
    scene = {"cluster_layers": (), "record_layers": (), **(lists or {})}
    return resolve({**everything, "passes": passes}, filled, scene)


def _named(name: str) -> dict[str, Any]:
    everything: list[dict[str, Any]] = pipeline()["passes"]
    for item in everything:
        if item.get("name") == name:
            return item
    for group in everything:
        for item in group.get("passes", ()):
            if item["name"] == name:
                return {"for": group["for"], "passes": [item]}
    raise ValueError(f"pipeline.json has no pass {name}")


def run_plan(device: wgpu.GPUDevice, plan: Mapping[str, Any], buffers: Mapping[str, NDArray[Any]]) -> Executor:
    """An executor that wrote `buffers` and ran the plan once."""
    executor = Executor(device)
    executor.prepare(plan)
    for name, data in buffers.items():
        executor.write(name, data)
    executor.run(plan)
    return executor


def run_stages(
    device: wgpu.GPUDevice,
    names: Sequence[str],
    buffers: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    numbers: Mapping[str, int],
    lists: Mapping[str, Sequence[Mapping[str, int | str]]] | None = None,
    room: Mapping[str, int] | None = None,
) -> dict[str, NDArray[np.uint32]]:
    """Runs stages by name in this order and gives the named buffers, as u32, after them.

    room: numbers that buffers are made for, where they shall be larger than the frame needs.
    """
    plan = frame_plan(names, numbers, lists)
    if room is not None:
        plan["buffers"] = frame_plan(names, {**numbers, **room, "max_groups": MAX_GROUPS}, lists)["buffers"]
    bound = {name for item in plan["passes"] for name in item["bindings"]} | set(buffers)
    plan["buffers"] = {name: b for name, b in plan["buffers"].items() if name in bound}
    executor = run_plan(device, plan, buffers)
    return {name: executor.read(name) for name in outputs}


def frame_block(**fields: Any) -> NDArray[np.void]:
    """A Frame with these fields, the others zero."""
    frame = np.zeros((), dtype("Frame"))
    for name, value in fields.items():
        frame[name] = value
    return frame
