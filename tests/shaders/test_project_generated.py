"""project_generated.wgsl against its NumPy twin: every layout of outputs, the live count, rows that cannot be drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.assemble import ATTRIBUTES, Assembly, assemble
from splatlens.viewer.contract import Columns, Contract
from splatlens.viewer.executor import Executor
from splatlens.viewer.generated import GeneratedLayer
from tests.generated_scenes import LAYOUTS, outputs_of
from tests.reference.project_generated import project_generated
from tests.shaders.frames import check_projected, run_passes
from tests.twin_scenes import TWIN_SCENES, TwinScene


def run(
    device: wgpu.GPUDevice,
    scene: TwinScene,
    contract: Contract,
    outputs: dict[str, NDArray[Any]],
    transform: NDArray[np.float64] | None = None,
    max_groups: int = 65535,
) -> tuple[Executor, Assembly, dict[str, Any]]:
    """The stage's executor, its frame, and what the twin says."""
    layer = GeneratedLayer(contract, outputs, np.eye(4) if transform is None else transform)
    draws, words, live = layer.draws()
    assert draws is not None
    frame = assemble(scene.camera, scene.options, [draws], max_groups)
    uploads: dict[str, NDArray[Any]] = {"generated_live.0": live}
    uploads |= {f"generated_output.{k}": w for k, w in enumerate(words)}
    executor = run_passes(device, frame, uploads, ("project_generated",))
    order = list(dict.fromkeys(c.output for m, c in contract.outputs.items() if m not in ("count", "features")))
    named = {name: outputs[order[draws.columns[name][0]]] for name in ATTRIBUTES}
    want = project_generated(frame.uploads["frame"][0], frame.uploads["generated.0"][0], named, int(live[0]))
    return executor, frame, want


def check(executor: Executor, groups: int, want: dict[str, Any]) -> None:
    left_out = want.pop("left_out")
    for group in range(groups):
        part = {k: v[256 * group : 256 * group + 256] for k, v in want.items()}
        if len(part["key"]) and (part["key"] != 0xFFFFFFFF).any():
            check_projected(executor, group, part)
        else:
            assert (executor.read("keys")[256 * group : 256 * group + 256] == 0xFFFFFFFF).all()
    assert executor.read("generated_live.0", np.int32)[1] == left_out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["plain", "crossing the near plane", "antialiased"])
def test_every_layout_of_outputs(device: wgpu.GPUDevice, name: str, layout: str) -> None:
    scene = TWIN_SCENES[name]()
    executor, frame, want = run(device, scene, *outputs_of(scene.splats, layout, scene.kernel))
    check(executor, frame.groups, want)


@pytest.mark.parametrize("degree", [1, 2])
def test_lower_sh_degrees(device: wgpu.GPUDevice, degree: int) -> None:
    scene = TWIN_SCENES["plain"]()
    executor, frame, want = run(device, scene, *outputs_of(scene.splats.with_sh_degree(degree), "sh"))
    check(executor, frame.groups, want)


def test_a_layer_turned_mirrored_and_scaled(device: wgpu.GPUDevice) -> None:
    transform = np.eye(4)
    transform[:3, :3] = 0.7 * np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    transform[:3, 3] = 0.2, -0.1, 0.4
    scene = TWIN_SCENES["plain"]()
    executor, frame, want = run(device, scene, *outputs_of(scene.splats, "sh"), transform)
    check(executor, frame.groups, want)


@pytest.mark.parametrize("count", [-5, 0, 1, 255, 256, 257, 300, 99_999])
def test_the_count_is_honoured_and_bounded(device: wgpu.GPUDevice, count: int) -> None:
    scene = TWIN_SCENES["plain"]()
    contract, outputs = outputs_of(scene.splats, "quats")
    contract = replace(contract, outputs={**contract.outputs, "count": Columns("count")})
    executor, frame, want = run(device, scene, contract, {**outputs, "count": np.array([count], np.int32)})
    check(executor, frame.groups, want)
    drawn = executor.read("keys") != 0xFFFFFFFF
    assert drawn[max(0, min(count, 300)) :].sum() == 0


@pytest.mark.parametrize("layout", ["quats", "covariances", "float16"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_left_out_and_counted(device: wgpu.GPUDevice, layout: str, bad: float) -> None:
    scene = TWIN_SCENES["plain"]()
    contract, outputs = outputs_of(scene.splats, layout)
    whole, frame, want = run(device, scene, contract, outputs)
    check(whole, frame.groups, want)
    outputs = {name: array.copy() for name, array in outputs.items()}
    rows = []
    for k, array in enumerate(outputs.values()):  # a row for each element of a row of each output
        flat = array.reshape(len(array), -1)
        for j in range(flat.shape[1]):
            rows.append(60 * k + j)
            flat[60 * k + j, j] = bad
    if layout != "covariances":
        outputs["quats"][299] = 0
        rows.append(299)
    executor, frame, want = run(device, scene, contract, outputs)
    assert want["left_out"] == len(rows)
    check(executor, frame.groups, want)
    keys = executor.read("keys")
    assert (keys[rows] == 0xFFFFFFFF).all()
    others = np.setdiff1d(np.arange(300), rows)
    np.testing.assert_array_equal(keys[others], whole.read("keys")[others])


def test_dispatch_over_three_dimensions(device: wgpu.GPUDevice) -> None:
    scene = TWIN_SCENES["2,000 overlapping"]()
    results = []
    for limit in (65535, 3, 2):
        executor, _, _ = run(device, scene, *outputs_of(scene.splats, "quats"), max_groups=limit)
        results.append((executor.read("keys").tobytes(), executor.read("projected").tobytes()))
    assert results[0] == results[1] == results[2]
