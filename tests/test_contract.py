"""The generator contract: every refusal, the round trip, and docs/generator.schema.json beside the parser."""

from __future__ import annotations

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.viewer.contract import INPUT_SIZES, OUTPUT_COLUMNS, Contract
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field
from splatlens.viewer.model_graph import ModelGraph, TensorType, require_fit, static_rows
from tests.json_schema import valid

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCHEMA = json.loads((DOCS / "generator.schema.json").read_text())


def channel(frames: int, size: int, fill: float = 0.5) -> dict[str, Any]:
    data = np.full((frames, size), fill, "<f4").tobytes()
    return {"size": size, "data": base64.b64encode(data).decode()}


def full() -> dict[str, Any]:
    """A contract with everything."""
    return {
        "version": 1, "kind": "generator", "capacity": 100,
        "inputs": {
            "t": {"meaning": "time"}, "f": {"meaning": "frame"}, "eye": {"meaning": "camera_position"},
            "view": {"meaning": "world_to_camera", "transpose": True}, "proj": {"meaning": "projection"},
            "size": {"meaning": "viewport"}, "c": {"meaning": "controls", "controls": ["smile", "wire"]},
            "bones": {"meaning": "track", "channel": "bones"}, "one": {"meaning": "constant", "value": 2.5},
            "more": {"meaning": "constant", "value": [1, 2]},
        },
        "outputs": {
            "means": {"output": "table", "columns": [0, 3]}, "scales": {"output": "s"}, "quats": {"output": "q"},
            "opacities": {"output": "table", "columns": [3, 1]}, "sh": {"output": "sh"}, "count": {"output": "n"},
            "features": {"output": "features"},
        },
        "time": {"start": -1, "end": 3, "duration": 2.5, "frames": 30, "loop": False},
        "controls": [
            {"name": "smile", "label": "Smile", "group": "Face", "kind": "slider", "min": -1, "max": 2, "default": 0.5},
            {"name": "wire", "kind": "toggle", "default": True},
        ],
        "tracks": [
            {"name": "walk", "duration": 1.2, "frames": 3, "channels": {"bones": channel(3, 4)}},
            {"name": "run", "label": "Run", "duration": 1, "frames": 2, "loop": False, "interpolation": "step",
             "channels": {"bones": channel(2, 4), "extra": channel(2, 1)}},
        ],
        "bounds": [[-1, -2, -3], [1, 2, 3]], "kernel": {"dilation": 0.1, "antialias": True}, "up": [0, -1, 0],
        "title": "T", "attribution": "A", "licence": "CC0-1.0", "source": "S",
    }  # fmt: skip


def network() -> dict[str, Any]:
    return {
        "version": 1, "kind": "postprocess",
        "inputs": {"im": {"meaning": "image"}, "k": {"meaning": "controls", "controls": ["gain"]},
                   "t": {"meaning": "time"}, "s": {"meaning": "viewport"}},
        "outputs": {"image": {"output": "out"}}, "controls": [{"name": "gain"}], "time": {},
        "image": {"size": [64, 96], "overlap": 16},
    }  # fmt: skip


def smallest() -> dict[str, Any]:
    """The one that docs/generator.md shows."""
    text = (DOCS / "generator.md").read_text()
    found: dict[str, Any] = json.loads(text.split("The smallest one:")[1].split("```json")[1].split("```")[0])
    return found


def parse(data: dict[str, Any], blob: bytes = b"") -> Contract:
    return Contract.from_json(Field(data, "a.onnx", "contract"), blob)


def accepted(data: dict[str, Any]) -> bool:
    try:
        parse(data)
    except LensError as error:
        assert str(error).startswith("a.onnx: ") and str(error).isprintable(), error
        return False
    return True


def changed(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one member set, or removed where the value is ...; numbers in the path are places in lists."""
    made = copy.deepcopy(data)
    *steps, last = [int(word) if word.isdigit() else word for word in path.split("/")]
    at: Any = made
    for step in steps:
        at = at[step]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return made


@pytest.mark.parametrize("make", [full, network])
def test_round_trip(make: Any) -> None:
    contract = parse(make())
    again = parse(json.loads(json.dumps(contract.to_json())))
    assert json.dumps(again.to_json()) == json.dumps(contract.to_json())
    moved: list[bytes] = []
    apart = contract.to_json(moved)
    assert '"data"' not in json.dumps(apart)
    assert parse(json.loads(json.dumps(apart)), b"".join(moved)).to_json() == contract.to_json()


def test_defaults_are_those_of_the_document() -> None:
    small = parse({**smallest(), "time": {"end": 4}, "controls": [], "tracks": []})
    assert small.time is not None
    assert (small.time.start, small.time.duration, small.time.frames, small.time.loop) == (0, 4, 0, True)
    assert (small.kernel.dilation, small.kernel.antialias, small.bounds, small.up) == (0.3, False, None, None)
    made = parse(full())
    smile, wire = made.controls
    assert (smile.step, smile.default, smile.group) == (0.03, 0.5, "Face")
    assert (wire.label, wire.minimum, wire.maximum, wire.default) == ("wire", 0, 1, 1)
    assert (made.tracks[0].label, made.tracks[0].loop, made.tracks[0].linear) == ("walk", True, True)
    assert (made.tracks[1].loop, made.tracks[1].linear, made.tracks[1].frames) == (False, False, 2)
    assert parse({**network(), "image": {}}).image.multiple == 1  # type: ignore[union-attr]
    assert parse(changed(network(), "image", ...)).image is not None


#: (change of `full`, part of the message); None in the third place: the schema alone cannot see it.
REFUSED: list[tuple[str, Any, str, bool]] = [
    ("version", 0, "contract.version: expected an integer", True),
    ("version", "1", "expected an integer", True),
    ("kind", "mesh", "one of generator, postprocess", True),
    ("titel", "x", "contract.titel: expected no such member", True),
    ("title", 3, "a string of at most", True),
    ("capacity", 0, "an integer in 1..16777216", True),
    ("capacity", ..., "contract.capacity", True),
    ("capacity", (1 << 24) + 1, "an integer in 1..16777216", True),
    ("image", {}, "no such member", True),
    ("inputs/t/meaning", "tiem", "inputs.t.meaning: expected one of time, frame", True),
    ("inputs/t/transpose", True, "no such member", True),
    ("inputs/view/transpose", 1, "true or false", True),
    ("inputs/t/meaning", "image", "another meaning", True),
    ("inputs/c/controls", [], "a list of 1 to 256", True),
    ("inputs/c/controls", ["smile", "frown"], "'frown' is none", False),
    ("inputs/c/controls", ["smile"], "every control to be used by an input, and 'wire' is not", False),
    ("inputs/bones/channel", ..., "inputs.bones.channel: expected a string", True),
    ("inputs/one/value", ..., "inputs.one.value: expected a finite number", True),
    ("inputs/one/value", [1, "x"], "value[1]: expected a finite number", True),
    ("time", ..., "a member 'time' in the contract", False),
    ("time/frames", 0, "'frames' in the contract's 'time'", False),
    ("time/frames", 1.5, "an integer", True),
    ("time/start", 3, "start below end", False),
    ("time/duration", 0, "a number in 0.001..1e+06", True),
    ("time/fps", 30, "no such member", True),
    ("time/loop", "yes", "true or false", True),
    ("outputs/mean", {"output": "x"}, "'mean' is none", True),
    ("outputs/means", ..., "'means' and 'opacities'", True),
    ("outputs/opacities", ..., "'means' and 'opacities'", True),
    ("outputs/quats", ..., "'scales' and 'quats', or 'covariances'", True),
    ("outputs/covariances", {"output": "c"}, "'scales' and 'quats', or 'covariances'", True),
    ("outputs/sh", ..., "either 'colors' or 'sh'", True),
    ("outputs/colors", {"output": "c"}, "either 'colors' or 'sh'", True),
    ("outputs/means", {"output": 3}, "a string", True),
    ("outputs/means", {"output": "x", "columns": [0]}, "a list of 2", True),
    ("outputs/means", {"output": "x", "columns": [0, 0]}, "an integer in 1..", True),
    ("outputs/means", {"output": "x", "column": 0}, "no such member", True),
    ("controls/0/min", 3, "min below max", False),
    ("controls/0/default", 7, "a number in -1..2", False),
    ("controls/0/kind", "knob", "one of slider, toggle", True),
    ("controls/1/min", 0, "no such member", True),
    ("controls/1/default", 1, "true or false", True),
    ("controls/0/name", ..., "controls[0].name: expected a string", True),
    ("controls/1/name", "smile", "names that differ", False),
    ("controls", {}, "a list", True),
    ("tracks/1/name", "walk", "names that differ", False),
    ("tracks/0/frames", 4, "base64 of 4 x 4 float32, 64 bytes", False),
    ("tracks/0/frames", 0, "an integer in 1..", True),
    ("tracks/0/channels/bones/data", "!!", "base64 text", False),
    ("tracks/0/channels/bones", channel(3, 4, np.nan), "finite values", False),
    ("tracks/0/channels/bones", {"size": 4, "offset": 0}, "bytes at its offset in the blob 'tracks'", False),
    ("tracks/0/channels/bones", {"size": 4}, "channels.bones.offset: expected an integer", True),
    ("tracks/0/channels", {}, "at least one channel", True),
    ("tracks/0/interpolation", "cubic", "one of linear, step", True),
    ("tracks/0/channels/bones", channel(3, 5), "the same size of channel 'bones' in every track", False),
    ("bounds", [[0, 0, 0]], "a list of 2", True),
    ("bounds", [[1, 0, 0], [0, 1, 1]], "a minimum and a maximum", False),
    ("kernel", {"dilation": -1, "antialias": False}, "a number in 0..100", True),
    ("kernel", {"dilation": 0.3}, "kernel.antialias: expected true or false", True),
    ("up", [0, 0, 0], "a direction", True),
    ("up", [0, 1], "a list of 3", True),
]  # fmt: skip
#: Of `network`.
REFUSED_NETWORK: list[tuple[str, Any, str, bool]] = [
    ("capacity", 5, "no such member", True),
    ("tracks", [], "no such member", True),
    ("inputs/im", ..., "one input and one output of the meaning 'image'", False),
    ("inputs/other", {"meaning": "image"}, "one input and one output of the meaning 'image'", False),
    ("inputs/eye", {"meaning": "camera_position"}, "in a post-processing network", True),
    ("outputs", {"means": {"output": "x"}}, "one input and one output of the meaning 'image'", True),
    ("image/size", [64], "a list of 2", True),
    ("image/size", [0, 64], "an integer in 1..16384", True),
    ("image/overlap", 32, "an integer in 0..31", False),
    ("image", {"multiple": 0}, "an integer in 1..1024", True),
    ("image", {"tile": 64}, "no such member", True),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value", "part", "seen"), REFUSED, ids=lambda v: str(v)[:40])
def test_refusals(path: str, value: Any, part: str, seen: bool) -> None:
    _refused(full(), path, value, part, seen)


@pytest.mark.parametrize(("path", "value", "part", "seen"), REFUSED_NETWORK, ids=lambda v: str(v)[:40])
def test_refusals_of_networks(path: str, value: Any, part: str, seen: bool) -> None:
    _refused(network(), path, value, part, seen)


def _refused(whole: dict[str, Any], path: str, value: Any, part: str, seen: bool) -> None:
    data = changed(whole, path, value)
    with pytest.raises(FormatError, match=re.escape(part)) as caught:
        parse(data)
    message = str(caught.value)
    assert message.startswith("a.onnx: field contract") and message.isprintable()
    assert message.endswith("correct the model's contract (docs/generator.md)")
    assert valid(data, SCHEMA, SCHEMA) is not seen


def test_later_versions_are_named() -> None:
    with pytest.raises(UnsupportedError, match="generator contract version 2, this program reads 1; update it"):
        parse({**full(), "version": 2})


def test_the_schema_accepts_what_the_parser_does() -> None:
    cases = [full(), network(), smallest(), parse(full()).to_json(), parse(network()).to_json()]
    most = {
        "capacity": 1 << 24, "time/duration": 1e6, "time/frames": 1 << 24, "kernel/dilation": 100, "title": "x" * 2000,
        "controls/0/name": "x" * 200, "outputs/means/output": "x" * 500, "outputs/means/columns": [1 << 20, 1 << 20],
        "inputs/one/value": [1.0] * 5000, "tracks/0/duration": 0.001, "controls/0/step": 3,
    }  # fmt: skip
    for path, value in most.items():
        made = changed(full(), path, value)
        if path == "controls/0/name":
            made["inputs"]["c"]["controls"][0] = value
        cases.append(made)
    cases += [changed(network(), "image", {"size": [16384, 16384], "overlap": 8191})]
    cases += [{**full(), "graph": {"inputs": {}, "outputs": {}}}, {**network(), "image": {"multiple": 8}}]
    for data in cases:
        assert accepted(data)
        assert valid(json.loads(json.dumps(data)), SCHEMA, SCHEMA)


def test_the_schema_knows_the_same_words() -> None:
    defs = SCHEMA["$defs"]
    assert set(defs["input"]["properties"]["meaning"]["enum"]) == set(INPUT_SIZES)
    assert set(SCHEMA["then"]["properties"]["outputs"]["propertyNames"]["enum"]) == set(OUTPUT_COLUMNS)
    text = (DOCS / "generator.md").read_text()
    listed = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`\w+`[^|]*) \|", text.split("## Inputs")[0], re.M))))
    assert listed == set(SCHEMA["properties"]) - {"graph"}


#: Values that are wrong in most places and right in some.
ODD = st.one_of(
    st.integers(-2, 5), st.sampled_from([0.5, -1.5, 1e9, True, False, "", "x", "time", "slider", "means"]),
    st.lists(st.integers(-1, 3), max_size=3), st.just({}),
    st.sampled_from([{"output": "x"}, {"meaning": "time"}, {"meaning": "constant", "value": 1}, {"name": "n"}]),
)  # fmt: skip


def _paths(data: Any, prefix: str = "") -> list[str]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [p for k, v in pairs for p in (f"{prefix}{k}", *_paths(v, f"{prefix}{k}/"))]


@settings(max_examples=400, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from([full, network, smallest]), st.data())
def test_the_schema_and_the_parser_agree_on_changes(make: Any, data: st.DataObject) -> None:
    """One member changed or removed at random: the schema refuses nothing that the parser takes."""
    whole = make()
    path = data.draw(st.sampled_from(_paths(whole)))
    value = data.draw(st.one_of(st.just(...), ODD))
    made = changed(whole, path, value)
    if accepted(made):
        assert valid(made, SCHEMA, SCHEMA), (path, value)


# what the graph declares


def graph_of_full() -> dict[str, dict[str, tuple[str, list[int | None]]]]:
    return {
        "inputs": {
            "t": ("float32", [1]), "f": ("int32", []), "eye": ("float32", [1, 3]), "view": ("float32", [1, 4, 4]),
            "proj": ("float16", [4, 4]), "size": ("int64", [2]), "c": ("float32", [1, 2]), "bones": ("float32", [2, 2]),
            "one": ("float32", [1, 3]), "more": ("float32", [2]),
        },
        "outputs": {
            "table": ("float32", [100, 5]), "s": ("float16", [100, 3]), "q": ("float32", [100, 4]),
            "sh": ("float32", [100, 4, 3]), "n": ("int32", [1]), "features": ("float32", [100, 2, 2]),
        },
    }  # fmt: skip


def graph_of_network() -> dict[str, dict[str, tuple[str, list[int | None]]]]:
    return {
        "inputs": {"im": ("float32", [1, 3, 64, 96]), "k": ("float32", [1]), "t": ("float32", [1]),
                   "s": ("float32", [2])},
        "outputs": {"out": ("float32", [1, 3, 64, 96])},
    }  # fmt: skip


def made_graph(data: dict[str, dict[str, tuple[str, list[int | None]]]]) -> ModelGraph:
    sides = ({k: TensorType(kind, tuple(shape)) for k, (kind, shape) in data[s].items()} for s in ("inputs", "outputs"))
    return ModelGraph(*sides)


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("inputs/new", ("float32", [1]), "input 'new': has no entry in the contract's inputs"),
        ("inputs/t", ..., "input 't': is in the contract, yet not in the graph, whose inputs are f, eye"),
        ("inputs/t", ("float32", [2]), "input 't' (time): has shape [2]; expected a single number"),
        ("inputs/t", ("float64", [1]), "is float64; expected float32, float16, int32, int64"),
        ("inputs/t", ("float32", [None]), "has the dynamic shape [?]; export it with a static one"),
        ("inputs/eye", ("float32", [3, 1]), "has shape [3, 1]; expected [3]"),
        ("inputs/view", ("float32", [16]), "has shape [16]; expected [4, 4]"),
        ("inputs/c", ("float32", [3]), "has shape [3] for 2 controls; expected [2]"),
        ("inputs/bones", ("float32", [5]), "has shape [5], 5 numbers; the channel 'bones' has 4 a frame"),
        ("inputs/more", ("float32", [3]), "its value has 2, expected 1 or 3"),
        ("outputs/q", ..., "output 'q': (quats) is not in the graph, whose outputs are table"),
        ("outputs/table", ("int32", [100, 5]), "is int32; expected float32 or float16"),
        ("outputs/table", ("float32", [100, 3]), "has 3 columns; its entry takes 3 to 3"),
        ("outputs/table", ("float32", [100, 5, 1]), "columns are taken of outputs [N, C] only"),
        ("outputs/s", ("float32", [100, 4]), "output 's' (scales): has 4 columns; expected 3"),
        ("outputs/s", ("float32", [100, None]), "expected [N, C] with C static"),
        ("outputs/s", ("float32", [1, 100, 3]), "expected 3"),
        ("outputs/sh", ("float32", [100, 5, 3]), "has 15 columns; expected 3 or 12 or 27 or 48"),
        ("outputs/sh", ("float32", [100, 3, 4]), "has shape [100, 3, 4]; expected [N, 12]"),
        ("outputs/n", ("int64", [1]), "output 'n' (count): is int64 [1]; expected int32 [1]"),
        ("outputs/n", ("int32", [2]), "expected int32 [1]"),
        ("outputs/q", ("float32", [99, 4]), "their numbers of rows differ (table [100], s [100], q [99]"),
    ],
)
def test_graphs_that_do_not_fit(path: str, value: Any, part: str) -> None:
    require_fit(parse(full()), made_graph(graph_of_full()), "a.onnx")
    with pytest.raises(FormatError, match=re.escape(part)) as caught:
        require_fit(parse(full()), made_graph(changed(graph_of_full(), path, value)), "a.onnx")
    assert str(caught.value).startswith("a.onnx: ") and str(caught.value).isprintable()


def test_capacity_is_the_static_number_of_rows() -> None:
    with pytest.raises(FormatError, match="capacity: is 99 in the contract, and the graph's outputs have 100 rows"):
        require_fit(parse({**full(), "capacity": 99}), made_graph(graph_of_full()), "a.onnx")
    free = graph_of_full()
    free["outputs"] = {k: (t, [None, *s[1:]] if k != "n" else s) for k, (t, s) in free["outputs"].items()}
    require_fit(parse({**full(), "capacity": 99}), made_graph(free), "a.onnx")
    assert not static_rows(parse(full()), made_graph(free))
    mixed = changed(graph_of_full(), "outputs/q", ("float32", [None, 4]))  # what onnxruntime could infer
    require_fit(parse(full()), made_graph(mixed), "a.onnx")
    assert not static_rows(parse(full()), made_graph(mixed)) and static_rows(parse(full()), made_graph(graph_of_full()))


@pytest.mark.parametrize(
    ("path", "value", "part"),
    [
        ("inputs/im", ("float32", [1, 3, 64, 90]), 'the contract needs "image": {"size": [H, W]} of it'),
        ("inputs/im", ("float32", [1, 4, 64, 96]), "expected [1, 3, H, W]"),
        ("inputs/im", ("float32", [1, 3, None, 96]), "H and W both static or both dynamic"),
        ("inputs/im", ("float32", [1, 3, None, None]), 'is to have "multiple", not "size"'),
        ("inputs/im", ("uint8", [1, 3, 64, 96]), "is uint8; expected float32 or float16"),
        ("outputs/out", ("float32", [1, 1, 64, 96]), "expected that of the input, [1, 3, 64, 96]"),
        ("outputs/out", ("float32", [3, 64, 96]), "expected that of the input"),
    ],
)
def test_networks_that_do_not_fit(path: str, value: Any, part: str) -> None:
    require_fit(parse(network()), made_graph(graph_of_network()), "a.onnx")
    with pytest.raises(FormatError, match=re.escape(part)):
        require_fit(parse(network()), made_graph(changed(graph_of_network(), path, value)), "a.onnx")


def test_graph_round_trip() -> None:
    graph = made_graph(graph_of_network())
    data = json.loads(json.dumps(graph.to_json()))
    assert ModelGraph.from_json(Field(data, "a.onnx", "graph")) == graph
    for path, value in (("inputs/im/shape", [1, "x"]), ("outputs/out/type", 3), ("outputs", [])):
        with pytest.raises(FormatError, match=r"a\.onnx: field graph"):
            ModelGraph.from_json(Field(changed(data, path, value), "a.onnx", "graph"))
