"""The page feeds models as the headless run time does: static/live/contract.js against viewer/generator.py."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Columns, Contract, Control, Input, TimeSpan, Track
from splatlens.viewer.fields import dump_json
from splatlens.viewer.generator import Moment, feeds
from splatlens.viewer.model_graph import ModelGraph, TensorType

NODE_SCRIPT = Path(__file__).parent / "js" / "feeds_twin.mjs"
CAMERA = Camera.look_at((0.3, -1.2, -3.4), (0.1, 0, 0.2), (0, -1, 0.1), 47, 641, 360)
#: Turned, moved and scaled, as a layer in a scene may be.
MOVED = np.array([[0, -2, 0, 0.5], [2, 0, 0, -1.5], [0, 0, 2, 0.25], [0, 0, 0, 1]], np.float64)
RNG = np.random.default_rng(3)
WAVES = {"pose": RNG.normal(size=(7, 3)).astype(np.float32), "single": RNG.normal(size=(7, 1)).astype(np.float32)}
TRACKS = (
    Track("walk", "Walk", 1.3, WAVES),
    Track("once", "Once", 0.9, {k: v[:5] for k, v in WAVES.items()}, loop=False),
    Track("steps", "Steps", 2.0, {"pose": WAVES["pose"]}, linear=False),
)
CONTROLS = (
    Control("smile", "Smile", minimum=-1, maximum=2, default=0.25),
    Control("wire", "Wireframe", kind="toggle", default=1, step=1),
)
CONTRACT = Contract(
    "generator",
    {
        "t": Input("time"), "k": Input("frame"), "k64": Input("frame"), "half": Input("time"),
        "eye": Input("camera_position"), "w2c": Input("world_to_camera"),
        "turned": Input("world_to_camera", transpose=True),
        "clip": Input("projection"), "size": Input("viewport"), "knobs": Input("controls", ("wire", "smile")),
        "pose": Input("track", channel="pose"), "pose16": Input("track", channel="pose"),
        "single": Input("track", channel="single"), "one": Input("constant", value=(2.5,)),
        "three": Input("constant", value=(1, 70000.0, -1e-7)), "whole": Input("constant", value=(2.5, -2.5, 1.49)),
    },
    {k: Columns(k) for k in ("means", "scales", "quats", "opacities", "colors")},
    capacity=4,
    time=TimeSpan(-2, 5, 3.7, 11),
    controls=CONTROLS,
    tracks=TRACKS,
)  # fmt: skip
#: Seconds and the layer's transform; controls and track.
PLACES = ((0.0, np.eye(4)), (0.83, MOVED), (3.7, MOVED), (123.456, MOVED), (3.6999999, np.eye(4)))
SETTINGS: tuple[tuple[dict[str, float], str | None], ...] = (
    ({}, "walk"), ({"smile": 7.0, "wire": 0.0}, "once"), ({"smile": -0.3}, "steps"), ({}, None)
)  # fmt: skip
F32, F16 = "float32", "float16"
GRAPH = ModelGraph(
    {
        "t": TensorType(F32, (1,)), "k": TensorType("int32", ()), "k64": TensorType("int64", (1, 1)),
        "half": TensorType(F16, (1,)), "eye": TensorType(F32, (3,)), "w2c": TensorType(F32, (1, 4, 4)),
        "turned": TensorType(F32, (4, 4)), "clip": TensorType(F32, (4, 4)), "size": TensorType("int32", (2,)),
        "knobs": TensorType(F32, (2,)), "pose": TensorType(F32, (1, 3)), "pose16": TensorType(F16, (3,)),
        "single": TensorType(F32, ()), "one": TensorType(F32, (2, 2)), "three": TensorType(F16, (3,)),
        "whole": TensorType("int32", (3,)),
    },
    {k: TensorType(F32, (4, n)) for k, n in {"means": 3, "scales": 3, "quats": 4, "opacities": 1, "colors": 3}.items()},
)  # fmt: skip


def blobs(contract: Contract, **changes: Any) -> tuple[str, str]:
    """The blobs `contract` and `tracks` in base64. changes: members of the contract's JSON."""
    moved: list[bytes] = []
    text = {**contract.to_json(moved), "graph": GRAPH.to_json(), **changes}
    return base64.b64encode(dump_json(text)).decode(), base64.b64encode(b"".join(moved)).decode()


def in_node(tmp_path: Path, cases: list[dict[str, Any]]) -> list[Any]:
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    done = subprocess.run(["node", NODE_SCRIPT, tmp_path / "cases.json"], capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found


def case(contract: Contract, moment: Moment, track: str | None, transform: Any, **changes: Any) -> dict[str, Any]:
    text, tracks = blobs(contract, **changes)
    camera = {k: getattr(CAMERA, k) for k in ("width", "height", "fx", "fy", "cx", "cy")}
    camera["worldToCamera"] = CAMERA.world_to_camera.reshape(-1).tolist()
    state = {"seconds": moment.seconds, "controls": dict(moment.controls), "track": track}
    made = {"contract": text, "tracks": tracks, "moment": state, "camera": camera}
    return {**made, "transform": np.asarray(transform).reshape(-1).tolist()}


def test_inputs_are_those_of_the_headless_run_time(tmp_path: Path) -> None:
    held = replace(CONTRACT, time=replace(CONTRACT.time or TimeSpan(), loop=False))
    moments = [
        (contract, Moment(seconds, controls, track), transform)
        for contract in (CONTRACT, held)
        for seconds, transform in PLACES
        for controls, track in SETTINGS
    ]
    got = in_node(tmp_path, [case(contract, m, m.track, transform) for contract, m, transform in moments])
    for (contract, moment, transform), found in zip(moments, got, strict=True):
        wanted = feeds(contract, GRAPH, moment, CAMERA, transform)
        assert set(found) == set(wanted)
        for name, array in wanted.items():
            values = np.frombuffer(bytes.fromhex(found[name]), array.dtype).reshape(array.shape)
            where = f"{name} at {moment}"
            if name in ("eye", "w2c", "turned"):  # sums in another order
                np.testing.assert_allclose(values, array, rtol=0, atol=1e-6, err_msg=where)
            else:
                assert values.tobytes() == array.tobytes(), f"{where}: {values} and {array}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "UnsupportedError: twin.lens: generator contract version 2"),
        ({"inputs": {}}, 'field contract.inputs: expected an entry for the graph\'s input "clip"'),
        ({"inputs": {"t": {"meaning": "weather"}}}, "field contract.inputs.t: expected a meaning among time"),
        ({"outputs": {"means": {"output": "nowhere"}}}, "contract.outputs.means: expected an output of the graph"),
        ({"controls": []}, 'field contract.controls: expected a control "wire"'),
        ({"time": None}, "expected a member 'time' in the contract"),
        ({"graph": {"inputs": {"t": {"type": F32, "shape": [-1]}}, "outputs": {}}}, "contract.inputs.t.shape[0]"),
        ({"capacity": 0}, "field contract.capacity: expected an integer in 1..16777216"),
    ],
)
def test_a_damaged_contract_is_told_with_its_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    (got,) = in_node(tmp_path, [case(CONTRACT, Moment(), None, np.eye(4), **changes)])
    assert isinstance(got, str) and message.replace("contract.inputs.t.shape", "contract.graph.inputs.t.shape") in got


def test_a_channel_outside_of_its_blob_is_told(tmp_path: Path) -> None:
    one = case(CONTRACT, Moment(), None, np.eye(4))
    one["tracks"] = base64.b64encode(b"\0" * 16).decode()
    (got,) = in_node(tmp_path, [one])
    assert got.startswith("FormatError: twin.lens: ")
