"""Generators headless: feeds, runs, .onnx files as inputs, .lens layers, moments baked, pictures, bad input."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import splatlens
from splatlens import cli_view
from splatlens.converters import generator, open_any, open_source, read_splats, write_splats
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.onnx_file import contract_of
from splatlens.converters.onnx_graph import Graph
from splatlens.converters.opened import Scene
from splatlens.viewer.contract import Columns, Input, TimeSpan, Track
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.generated import attributes, axes_of
from splatlens.viewer.generator import FIRST, Model, Moment, feeds, load, projection, sample, share
from splatlens.viewer.generator_bounds import measure_bounds, moments
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.model_graph import ModelGraph, TensorType
from splatlens.viewer.splats import rotation_matrices
from tests.conformance import random_splats
from tests.generator_models import (
    MEANINGS,
    N,
    all_rows,
    camera,
    cloud,
    contract,
    data,
    model,
    visionary,
    walk,
    with_count,
)
from tests.image_networks import network_bytes
from tests.test_cli import fails, run

#: World from layer coordinates: scaled unevenly, turned and moved.
AFFINE = np.array([[0, -2, 0, 1], [3, 0, 0, 2], [0, 0, 0.5, -1], [0, 0, 0, 1]], np.float64)
VIEW = ("--position", "1,-2,-7", "--target", "0,0,0", "--size", "64x48", "--fov", "45", "--reference")


def fed(one: Input, shape: list[int], kind: str = "float32", **more: Any) -> Any:
    """What one input of a contract is fed with."""
    moment, transform = more.pop("moment", Moment()), more.pop("transform", None)
    made = contract(inputs={"x": one}, controls=(), tracks=more.pop("tracks", ()), **more)
    if one.meaning == "controls":
        made = replace(made, controls=contract().controls)
    graph = ModelGraph({"x": TensorType(kind, tuple(shape))}, {})
    found = feeds(made, graph, moment, camera(), transform)["x"]
    assert found.dtype == kind and list(found.shape) == shape and found.flags.c_contiguous
    return found


# what inputs are fed with


@pytest.mark.parametrize(
    ("seconds", "loop", "want"),
    [(0, True, -1), (1, True, 1), (3, True, 1), (2, True, -1), (2, False, 3), (9, False, 3)],
)
def test_time(seconds: float, loop: bool, want: float) -> None:
    span = TimeSpan(-1, 3, 2.0, 8, loop)
    assert fed(Input("time"), [1, 1], time=span, moment=Moment(seconds)).item() == want
    frame = min(int((want + 1) / 4 * 8), 7)
    assert fed(Input("frame"), [], "int64", time=span, moment=Moment(seconds)).item() == frame
    assert fed(Input("frame"), [1], "float16", time=span, moment=Moment(seconds)).item() == frame


def test_share() -> None:
    assert [share(s, 2, True) for s in (0, 0.5, 2, 3, -0.5)] == [0, 0.25, 0, 0.5, 0.75]
    assert [share(s, 2, False) for s in (-1, 0, 1, 2, 3)] == [0, 0, 0.5, 1, 1]


def test_cameras_are_seen_from_the_layer() -> None:
    seen, rng = camera(), np.random.default_rng(0)
    for transform in (None, AFFINE):
        matrix = np.eye(4) if transform is None else transform
        view = fed(Input("world_to_camera"), [1, 4, 4], transform=transform)[0]
        eye = fed(Input("camera_position"), [3], transform=transform)
        points = rng.normal(size=(5, 3))
        world = points @ matrix[:3, :3].T + matrix[:3, 3]
        want = world @ seen.world_to_camera[:3, :3].T + seen.world_to_camera[:3, 3]
        np.testing.assert_allclose(points @ view[:3, :3].T + view[:3, 3], want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(matrix[:3, :3] @ eye + matrix[:3, 3], seen.position, rtol=1e-5, atol=1e-5)
        turned = fed(Input("world_to_camera", transpose=True), [4, 4], transform=transform)
        assert np.array_equal(turned, view.T)
    assert fed(Input("viewport"), [2], "int32").tolist() == [64, 48]


def test_projection() -> None:
    """The corners of the picture and the two planes lie on the sides of the clip volume."""
    seen = replace(camera(), cx=20.0, cy=30.0)
    m = projection(seen)
    for depth, z in ((0.01, 0), (100, 1)):
        for x, y, clip in ((0, 0, (-1, 1)), (seen.width, seen.height, (1, -1))):
            point = np.array([(x - seen.cx) / seen.fx * depth, (y - seen.cy) / seen.fy * depth, depth, 1])
            got = m @ point
            np.testing.assert_allclose(got[:3] / got[3], [*clip, z], atol=1e-12)
    assert np.array_equal(fed(Input("projection", transpose=True), [4, 4]), fed(Input("projection"), [4, 4]).T)


def test_controls_and_constants() -> None:
    both = Input("controls", ("lift", "size"))
    assert fed(both, [1, 2]).tolist() == [[0, 1]]
    assert fed(both, [2], moment=Moment(0, {"size": 9, "lift": 1})).tolist() == [1, 2]  # kept within its range
    assert fed(Input("constant", value=(2.5,)), [2, 2], "float16").tolist() == [[2.5, 2.5], [2.5, 2.5]]
    assert fed(Input("constant", value=(1.5, -1.5, 2.4)), [3], "int32").tolist() == [2, -1, 2]
    assert fed(Input("constant", value=(1e300,)), [1]).item() == np.inf
    with pytest.raises(LensError, match="m: no control 'frown'; it has lift, size"):
        feeds(contract(), ModelGraph({}, {}), Moment(0, {"frown": 1}), camera(), name="m")
    with pytest.raises(LensError, match="control 'size': nan is no number"):
        feeds(contract(), ModelGraph({}, {}), Moment(0, {"size": np.nan}), camera())


def test_tracks() -> None:
    values = np.array([[0, 10], [1, 20], [4, 30]], np.float32)
    loop = Track("a", "A", 3.0, {"c": values})
    once, held = replace(loop, name="b", loop=False), replace(loop, linear=False)
    wanted = {
        0: (loop, (0, 0.5, 2.5, 3, 4), [[0, 10], [0.5, 15], [2, 20], [0, 10], [1, 20]]),
        1: (once, (0, 0.75, 1.5, 3, 9), [[0, 10], [0.5, 15], [1, 20], [4, 30], [4, 30]]),
        2: (held, (0.99, 1, 2.99), [[0, 10], [1, 20], [4, 30]]),
    }
    for track, times, want in wanted.values():
        np.testing.assert_allclose([sample(track, "c", s, 2) for s in times], want, atol=1e-12)
    assert sample(loop, "other", 1, 3).tolist() == sample(None, "c", 1, 3).tolist() == [0, 0, 0]
    one = Input("track", channel="c")
    two = (loop, once)
    assert fed(one, [2, 1], tracks=two, moment=Moment(1.5)).ravel().tolist() == [2.5, 25]
    assert fed(one, [2], tracks=two, moment=Moment(1.5, {}, "b")).tolist() == [1, 20]
    assert fed(one, [2], tracks=two, moment=Moment(1.5, {}, None)).tolist() == [0, 0]
    with pytest.raises(LensError, match="no track 'run'; it has a, b"):
        fed(one, [2], tracks=two, moment=Moment(0, {}, "run"))


# runs


def test_a_model_runs_only_when_an_input_changed() -> None:
    made = Model(contract(), data(model()), "a.onnx")
    first = made.run(Moment(0.5, {"lift": 1}), camera())
    want = cloud()["means"] + np.float32([0.25, 1, 0]) + np.float32([1, 0, 0])  # place: frame 1 of 4 in 2 s
    np.testing.assert_allclose(first["means"], want, rtol=1e-6)
    made.run(Moment(2.5, {"lift": 1, "size": 1}), camera(99, 99), AFFINE)  # the same time of the loop; sees no camera
    assert made.runs == 1
    assert made.run(Moment(0.5, {"lift": 0}), camera())["means"] is not first["means"]
    made.run(Moment(0.5, {}, None), camera())
    assert made.runs == 3


def broken(g: Graph, value: str) -> str:
    """Fails in a run: a row past the end, which depends on an input."""
    row = g.op("Cast", g.op("Add", g.op("Mul", "t", 1000.0), 0.0), to=onnx.TensorProto.INT64)
    return g.op("Add", value, g.op("Mul", g.op("Gather", g.constant(np.zeros(9, np.float32)), row, axis=0), 1.0))


def fewer(g: Graph, value: str) -> str:
    """As many rows less as t says: shapes that no reader of the graph can know."""
    count = g.op("Cast", g.op("Sub", float(N), g.op("Mul", "t", 8.0)), to=onnx.TensorProto.INT64)
    return g.op("Slice", value, g.constant([0]), g.op("Reshape", count, g.constant([1])), g.constant([0]))


def endless(g: Graph, value: str) -> str:
    """A loop that would take days."""
    shape = (N,)
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Sqrt", ["held"], ["next"]),
        ],
        "turn",
        [
            info("turn", onnx.TensorProto.INT64, ()),
            info("going", onnx.TensorProto.BOOL, (1,)),
            info("held", onnx.TensorProto.FLOAT, shape),
        ],
        [info("on", onnx.TensorProto.BOOL, (1,)), info("next", onnx.TensorProto.FLOAT, shape)],
    )
    times, true = g.constant(np.array(1 << 40, np.int64)), g.constant(np.array(True))
    return g.op("Loop", times, true, g.op("Add", value, g.op("Mul", "t", 0.0)), body=body)


def test_a_run_that_does_not_end_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splatlens.viewer.generator.RUN_SECONDS", 0.5)
    made = Model(contract(), data(model(bodies={"opacities": endless})), "a.onnx")
    with pytest.raises(LensError, match=r"a\.onnx: the model was stopped after 0\.5 s of one run; make it smaller"):
        made.run(Moment(0), camera())


def test_runs_that_fail() -> None:
    made = Model(contract(), data(model(bodies={"opacities": broken})), "a.onnx")
    made.run(Moment(0), camera())
    with pytest.raises(LensError, match=r"a\.onnx: the model failed while it ran: .*Gather") as caught:
        made.run(Moment(1), camera())
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500
    assert made.run(Moment(0), camera())["opacities"].shape == (N,)  # and goes on

    declared = Model(contract(), data(model(bodies={"scales": fewer})), "a.onnx")
    declared.run(Moment(0), camera())
    told = "output 'scales' is float32 [20, 3]; its graph declares float32 [24, 3]"
    with pytest.raises(LensError, match=re.escape(told)):
        declared.run(Moment(1), camera())
    free = dict.fromkeys(MEANINGS, all_rows)
    differ = Model(contract(), data(model(bodies={**free, "scales": fewer}, rows="n")), "a.onnx")
    assert len(differ.run(Moment(0), camera())["scales"]) == N
    with pytest.raises(LensError, match=r"outputs differ in their number of rows .*scales 20"):
        differ.run(Moment(1), camera())
    fewest = dict.fromkeys(MEANINGS, fewer)
    small = Model(contract(capacity=23), data(model(contract(capacity=23), fewest, rows="n")), "a.onnx")
    with pytest.raises(LensError, match="gave 24 rows, more than the contract's capacity of 23; raise the capacity"):
        small.run(Moment(0), camera())


def test_models_that_cannot_be_loaded() -> None:
    whole = data(model())
    for bad in (b"", b"hello" * 9, whole[: len(whole) // 2]):
        with pytest.raises(FormatError, match=r"a\.onnx: not a model that onnxruntime can load: .*; export it again"):
            load(bad, "a.onnx")
    strange = model()
    strange.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(UnsupportedError, match=r"onnxruntime lacks an operator of the model: .*Frobnicate"):
        load(data(strange), "a.onnx")
    with pytest.raises(FormatError, match="input 't': has no entry in the contract's inputs"):
        Model(replace(contract(), inputs={}), whole, "a.onnx")


# .onnx files


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "cloud.onnx"
    file.write_bytes(data(model()))
    return file


def test_known_by_content(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "no_extension"
    other.write_bytes(path.read_bytes())
    source = open_any(other)
    assert isinstance(source, LayerSource)
    assert (source.info.format, source.info.splats, source.info.sh_degree) == ("onnx", N, 0)
    for producer in ("", "pytorch", "p" * 70):
        made = model()
        made.producer_name, made.doc_string = producer, "x" * 100
        assert generator.sniff(data(made)[:64], path), producer
    others = [b"", b"\x08", b"ply\nformat ascii 1.0", b"\x08\x07\x13" + bytes(60), b"\x08\x01\x12\x00"]
    for head in (*others, b"\x08\x08" + bytes(62)):
        assert not generator.sniff(head, path)


def test_a_model_without_a_contract(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = model()
    del bare.metadata_props[:]
    path.write_bytes(data(bare))
    part = "has no contract in its metadata (key 'splatlens.generator')"
    fails(capsys, part, "info", path)
    fails(capsys, part, "convert", path, tmp_path / "a.lens")
    helper.set_model_props(bare, {"splatlens.generator": "{"})
    path.write_bytes(data(bare))
    fails(capsys, "cloud.onnx: contract: not valid JSON", "convert", path, tmp_path / "a.lens")
    path.write_bytes(data(model())[:300])
    fails(capsys, "not a whole ONNX model", "info", path)
    assert [p.name for p in tmp_path.iterdir()] == ["cloud.onnx"]


def external(folder: Path) -> Path:
    """The cloud with one weight in a file beside it."""
    made = model()
    whole = next(t for t in made.graph.initializer if len(t.raw_data) > 200)
    (folder / "weights.bin").write_bytes(whole.raw_data)
    onnx.external_data_helper.set_external_data(whole, "weights.bin", 0, len(whole.raw_data))
    whole.ClearField("raw_data")
    whole.data_location = onnx.TensorProto.EXTERNAL
    path = folder / "outside.onnx"
    path.write_bytes(data(made))
    return path


def test_external_data_are_embedded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = external(tmp_path)
    source = open_any(path)
    assert [f.name for f in source.info.files] == ["outside.onnx", "weights.bin"]
    splatlens.convert(path, tmp_path / "alone.onnx")
    (tmp_path / "weights.bin").unlink()
    made = Model(contract(), (tmp_path / "alone.onnx").read_bytes())
    np.testing.assert_allclose(made.run(Moment(0, {}, None), camera())["means"], cloud()["means"], rtol=1e-6)
    fails(capsys, "its weights are in 'weights.bin', which is not beside it", "info", path)
    with pytest.raises(FormatError, match="its weights are in another file"):
        load(path.read_bytes(), "outside.onnx")


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "link", ""])
def test_external_data_stay_in_their_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "inner").mkdir()
    path = external(tmp_path / "inner")
    (tmp_path / "weights.bin").write_bytes((tmp_path / "inner" / "weights.bin").read_bytes())
    (tmp_path / "inner" / "link").symlink_to(tmp_path / "weights.bin")
    made = onnx.load(str(path), load_external_data=False)
    (entry,) = [e for t in made.graph.initializer for e in t.external_data if e.key == "location"]
    entry.value = location
    path.write_bytes(data(made))
    with pytest.raises(FormatError, match=r"outside\.onnx: its external data '.*' lie outside of its folder"):
        open_any(path)


def test_models_too_large(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("splatlens.converters.onnx_file.MAX_DATA_BYTES", 1000)
    fails(capsys, "bytes, more than", "info", path)


# Visionary's models


@pytest.mark.parametrize(
    ("colour", "half", "meaning"),
    [
        (("color_rgb", 4), True, "colors"), (("color_rgb", 4), False, "colors"), (("color_sh", 48), True, "sh"),
        (("sh_f16", 12), True, "sh"), (("rgb", 3), False, "colors"), (("sh", 3), False, "sh"),
        (("color_sh", 27), False, "sh"),
    ],
)  # fmt: skip
def test_visionary_models(tmp_path: Path, colour: tuple[str, int], half: bool, meaning: str) -> None:
    path = tmp_path / "v.onnx"
    path.write_bytes(data(visionary(colour, half, inputs=("time", "camera", "proj"))))
    source = open_any(path)
    assert isinstance(source, LayerSource) and source.model is not None
    assert source.info.splats == 10 and "made for Visionary" in source.info.warnings[0]
    made = contract_of(onnx.load_from_string(source.model()), "v")
    assert made is not None and meaning in made.outputs
    assert made.time == TimeSpan(0, 1, 2.5, 0, True)
    assert (made.inputs["camera"], made.inputs["proj"]) == (
        Input("world_to_camera", transpose=True), Input("projection", transpose=True)
    )  # fmt: skip
    got = attributes(made, Model(made, source.model()).run(Moment(), camera()))
    assert got.rows == 7 and len(got.means) == 10
    splats, info = read_splats_of(path, tmp_path)
    assert len(splats) == 7 and info.sh_degree == {48: 3, 12: 1, 27: 2}.get(colour[1], 0)
    full = rotation_matrices(splats.quats) * splats.scales[:, None, :]
    want = got.covariances[:7]  # type: ignore[index]
    found = (full @ full.transpose(0, 2, 1))[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    np.testing.assert_allclose(found, want, atol=2e-4 * np.abs(want).max())


def read_splats_of(path: Path, folder: Path) -> Any:
    splatlens.convert(path, folder / "baked.ply", time=0, force=True)
    return read_splats(folder / "baked.ply")


def test_visionary_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "v.onnx"
    path.write_bytes(data(visionary(inputs=("projection_matrix", "view_matrix"), rows="n")))
    source = open_any(path)
    assert isinstance(source, LayerSource) and source.model is not None
    made = contract_of(onnx.load_from_string(source.model()), "v")
    assert made is not None
    assert [one.meaning for one in made.inputs.values()] == ["projection", "world_to_camera"]
    assert made.capacity == 10 and made.time is None
    assert "fed with the projection; Visionary" in source.info.warnings[1]
    assert "its N is dynamic: the 10 rows of one run" in source.info.warnings[2]
    path.write_bytes(data(visionary(inputs=("pose",))))
    fails(capsys, "its input 'pose' (float32 [4, 4]) is neither camera, projection nor time", "info", path)


# bounds


def test_bounds_are_measured() -> None:
    low, high = measure_bounds(Model(contract(), data(model()), "a.onnx"))
    means = cloud()["means"]
    np.testing.assert_allclose(low, means.min(axis=0), rtol=1e-5)
    # t up to 1 and place up to 3, but at different times: at most 3 - 1e-6 of the loop, mixed towards frame 0.
    assert high[0] > means[:, 0].max() + 2.5
    np.testing.assert_allclose(high[1:], means.max(axis=0)[1:] + np.array([1, 0]), rtol=1e-5)
    found = moments(contract())
    assert {m.track for m in found} == {"walk", None, FIRST}
    assert {m.controls.get("size") for m in found} == {None, 0.5, 2.0}
    assert max(m.seconds for m in found) < 2


def test_bounds_of_nothing() -> None:
    def none(g: Graph, value: str) -> str:
        return g.op("Mul", value, 0.0)

    with pytest.raises(LensError, match=r"a\.onnx: gave nothing that can be drawn in \d+ runs"):
        measure_bounds(Model(contract(), data(model(bodies={"opacities": none})), "a.onnx"))


# layers of a .lens


def test_the_layer(path: Path, tmp_path: Path) -> None:
    report = splatlens.convert(path, tmp_path / "a.lens")
    assert report.splats == N and report.details["live"] == [{"kind": "generator", "name": "cloud"}]
    with LensReader.open(tmp_path / "a.lens") as reader:
        reader.check()
        (layer,) = reader.layers
        assert (layer.kind, layer.name, layer.properties) == ("generator", "cloud", {"capacity": N})
        text = parse_json(reader.blob(0, "contract"), "a", "contract").object()
        assert text["graph"]["outputs"]["means"] == {"type": "float32", "shape": [N, 3]}
        assert text["tracks"][0]["channels"]["place"] == {"size": 3, "offset": 0}
        assert np.frombuffer(reader.blob(0, "tracks"), "<f4").tolist() == walk().channels["place"].ravel().tolist()
        assert b"walk" not in reader.blob(0, "model")  # only once
        low, high = (np.array(corner) for corner in text["bounds"])
        assert reader.scene.bounds is not None
        np.testing.assert_allclose(reader.scene.bounds, [low, high])
        start = reader.scene.camera
    assert start is not None
    inside = start.world_to_camera[:3, :3] @ ((low + high) / 2) + start.world_to_camera[:3, 3]
    assert inside[2] > 0 and abs(inside[0]) < 1e-9
    with pytest.raises(UnsupportedError, match="layer 0 of kind 'generator' has no splats; take those"):
        read_splats(tmp_path / "a.lens")
    bare = tmp_path / "bare.onnx"
    still = {**contract().inputs, "place": Input("constant", value=(0,))}
    bare.write_bytes(data(model(contract(tracks=(), inputs=still))))
    splatlens.convert(bare, tmp_path / "b.lens")
    with LensReader.open(tmp_path / "b.lens") as reader:
        assert reader.blob(0, "model") == bare.read_bytes()


def test_several_inputs_in_one_scene(path: Path, tmp_path: Path) -> None:
    write_splats(tmp_path / "room.ply", random_splats(300, 1))
    (tmp_path / "net.onnx").write_bytes(network_bytes())
    out = tmp_path / "all.lens"
    inputs = [path, tmp_path / "room.ply", path, tmp_path / "net.onnx"]
    moves = ["move=1,0,0", "scale=2", AFFINE, np.eye(4)]
    report = splatlens.convert(inputs, out, transform=moves)
    assert report.splats == 300 + 2 * N and [i.format for i in report.inputs] == ["onnx", "3dgs-ply", "onnx", "onnx"]
    with LensReader.open(out) as reader:
        kinds = [(layer.kind, layer.name) for layer in reader.layers]
        assert kinds == [("generator", "cloud"), ("splats", "room"), ("generator", "cloud 2"), ("postprocess", "net")]
        assert np.array_equal(reader.layers[2].transform, AFFINE)
    with Scene(out) as scene:
        assert list(scene.live) == [0, 2, 3]
        plain = scene.render(camera(), reference=True, controls={"0:size": 2, "strength": 1.0})
        with pytest.raises(LensError, match="control 'size': several layers have one; say 0:size or 2:size"):
            scene.render(camera(), controls={"size": 2})
        with pytest.raises(LensError, match="no track 'run'; it has cloud:walk, cloud 2:walk"):
            scene.render(camera(), tracks=["run"])
        unfinished = scene.render(camera(), reference=True, controls={"cloud:size": 2}, postprocess=False)
        np.testing.assert_allclose(np.clip(unfinished, 0, 1)[..., :3], plain[..., :3], atol=1e-6)
        other = scene.render(camera(), reference=True, controls={"cloud 2:size": 2}, tracks=["0:none", "cloud 2:walk"])
        assert np.abs(other - plain).max() > 0.05
        assert {i: len(a.means) for i, a in scene.generated(time=1).items()} == {0: N, 2: N}


def test_scenes_come_apart_again(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A .lens with live layers as an input: merged into another, baked, its one model written alone."""
    write_splats(tmp_path / "room.ply", random_splats(300, 1))
    move = "rotate=0,90,0 scale=2 move=1,0,0"
    splatlens.convert([tmp_path / "room.ply", path], tmp_path / "a.lens", transform=["scale=3", move])
    (tmp_path / "net.onnx").write_bytes(network_bytes())
    both = [tmp_path / "a.lens", tmp_path / "net.onnx"]
    splatlens.convert(both, tmp_path / "b.lens", transform=["move=0,5,0", np.eye(4)])
    with Scene(tmp_path / "a.lens") as a, Scene(tmp_path / "b.lens") as b:
        named = [(layer.kind, layer.name) for layer in b.live.values()]
        assert named == [("generator", "cloud"), ("postprocess", "net")]
        lifted = np.eye(4)
        lifted[1, 3] = 5
        np.testing.assert_allclose(b.live[1].transform, lifted @ a.live[1].transform, atol=1e-12)
        assert b.facts()["layers"][0]["properties"]["splats"] == 300
        baked = splatlens.convert(tmp_path / "a.lens", tmp_path / "all.ply", time=0.5, controls={"cloud:lift": 1})
        assert baked.splats == 300 + N
        whole = a.render(camera(), time=0.5, controls={"lift": 1}, reference=True)
    with Scene(tmp_path / "all.ply") as flat:
        again = flat.render(camera(), reference=True)
    assert np.abs(whole - again).max() < 0.02  # its stored splats are quantised, then read again
    splatlens.convert(path, tmp_path / "one.lens", transform="scale=2")
    fails(capsys, "holds one model, given were 2", "convert", tmp_path / "a.lens", tmp_path / "o.onnx")
    splatlens.convert(tmp_path / "one.lens", tmp_path / "o.onnx")
    assert contract_of(onnx.load(str(tmp_path / "o.onnx")), "o").to_json()["tracks"] == contract().to_json()["tracks"]  # type: ignore[union-attr]
    splatlens.convert(tmp_path / "o.onnx", tmp_path / "again.lens")


def test_what_makes_no_sense_is_refused(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_splats(tmp_path / "room.ply", random_splats(30, 0))
    (tmp_path / "net.onnx").write_bytes(network_bytes())
    lens, ply, net = tmp_path / "o.lens", tmp_path / "o.ply", tmp_path / "net.onnx"
    for option, value in (("--crop", "0,0,0,1"), ("--max-sh", "0"), ("--min-opacity", "0.5"), ("--dedupe", None)):
        given = [option] if value is None else [option, value]
        fails(capsys, f"cloud.onnx: {option} has no meaning for", "convert", tmp_path / "room.ply", path, lens, *given)
    fails(capsys, "it makes them for every moment; write a .lens, or give --time", "convert", path, ply)
    fails(capsys, "net.onnx: finishes pictures and makes none", "convert", net, lens)
    fails(capsys, "net.onnx: finishes pictures and makes no splats", "convert", net, ply, "--time", "0")
    fails(capsys, "room.ply: has no model", "convert", tmp_path / "room.ply", tmp_path / "o.onnx")
    fails(capsys, "holds one model, given were 2", "convert", path, path, tmp_path / "o.onnx")
    alone, room = tmp_path / "o.onnx", tmp_path / "room.ply"
    fails(capsys, "transforms and filters are kept by a .lens", "convert", path, alone, "--transform", "scale=2")
    fails(capsys, "--time, --control and --track are for what changes", "convert", room, lens, "--time", "1")
    fails(capsys, "no control 'frown'; it has cloud:size, cloud:lift", "convert", path, ply, "--control", "frown=1")
    fails(capsys, "no track 'run'; it has cloud:walk", "convert", path, ply, "--track", "run")
    told = "expected a control and its value as NAME=VALUE"
    fails(capsys, told, "convert", path, ply, "--control", "size")
    fails(capsys, told, "render", path, tmp_path / "a.png", "--control", "size=nan")
    with pytest.raises(UnsupportedError, match="holds no splats, it makes them"):
        open_source(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cloud.onnx", "net.onnx", "room.ply"]


# a moment as stored splats


def test_baking(path: Path, tmp_path: Path) -> None:
    report = splatlens.convert(path, tmp_path / "a.ply", time=0.5, controls={"size": 2, "lift": 1}, tracks=["none"])
    got, _ = read_splats(tmp_path / "a.ply")
    want = cloud()
    np.testing.assert_allclose(got.means, want["means"] + np.float32([0.25, 1, 0]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.scales, 2 * want["scales"], rtol=1e-5)
    np.testing.assert_allclose(got.opacities, want["opacities"], rtol=1e-5)
    np.testing.assert_allclose(0.5 + 0.28209479177387814 * got.sh[:, 0], want["colors"], atol=1e-6)
    assert report.splats == N and report.inputs[0].warnings == ()
    splatlens.convert([path, tmp_path / "a.ply"], tmp_path / "a.lens", time=0)
    with LensReader.open(tmp_path / "a.lens") as reader:
        assert [layer.kind for layer in reader.layers] == ["splats", "splats"]


def test_axes_of_covariances() -> None:
    rng = np.random.default_rng(1)
    axes = rng.normal(size=(50, 3, 3)) * np.array([1, 0.1, 1e-3])
    full = axes @ axes.transpose(0, 2, 1)
    scales, quats = axes_of(full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]])
    back = rotation_matrices(quats) * scales[:, None, :]
    np.testing.assert_allclose(back @ back.transpose(0, 2, 1), full, atol=1e-6 * np.abs(full).max())


# pictures, facts and the page


def test_pictures_of_a_moment(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splatlens.convert(path, tmp_path / "a.lens")
    at = ("--time", "0.5", "--control", "lift=on", "--track", "walk")
    for name, scene in (("a.npy", path), ("b.npy", tmp_path / "a.lens")):
        assert run(capsys, "render", scene, tmp_path / name, *VIEW, *at)[0] == 0
    splatlens.convert(path, tmp_path / "baked.ply", time=0.5, controls={"cloud:lift": 1}, tracks=["walk"])
    assert run(capsys, "render", tmp_path / "baked.ply", tmp_path / "c.npy", *VIEW)[0] == 0
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert a[..., 3].max() > 0.5
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_allclose(a, c, atol=1e-4)
    code, _, _ = run(capsys, "render", path, tmp_path / "f-%02d.npy", *VIEW, *at, "--frames", "3", "--fps", "2")
    frames = [np.load(tmp_path / f"f-{k:02d}.npy") for k in range(3)]
    assert code == 0 and np.array_equal(frames[0], a) and np.abs(frames[0] - frames[1]).max() > 0.05
    assert np.abs(frames[2] - frames[0]).max() > 0.05
    fails(capsys, "3 pictures need a number", "render", path, tmp_path / "f.npy", *VIEW, "--frames", "3")
    with Scene(path) as scene:
        direct = scene.render(camera(), time=0.5, controls={"lift": 1}, reference=True)
        # --position and --fov give the same view as this camera
        np.testing.assert_allclose(direct, a, atol=1e-6)
        assert scene.notices == []
        assert scene.start.width == 1280


def test_rows_that_are_not_drawn_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def nan(g: Graph, value: str) -> str:
        return g.op("Add", value, np.where(np.arange(N) < 3, np.nan, 0).astype(np.float32)[:, None])

    def past(g: Graph, value: str) -> str:
        return g.op("Add", g.constant(np.array([N + 6]), "int32"), g.op("Cast", value, to=onnx.TensorProto.INT32))

    made = model(bodies={"means": nan, "count": past})
    path = tmp_path / "bad.onnx"
    path.write_bytes(data(made))
    code, _, err = run(capsys, "render", path, tmp_path / "a.npy", *VIEW)
    assert code == 0
    assert err.splitlines() == [
        f"warning: {path}: count is 30, 24 rows came; 24 are drawn",
        f"warning: {path}: 3 of 24 splats left out: not finite, or a zero quaternion",
    ]
    assert np.isfinite(np.load(tmp_path / "a.npy")).all()
    code, out, err = run(capsys, "convert", path, tmp_path / "a.ply", "--time", "0")
    assert code == 0 and "21 splats" in out and "3 of 24 splats left out" in err


def test_a_count_hides_padding(tmp_path: Path) -> None:
    for count, rows in ((-4, 0), (0, 0), (9, 9)):
        def given(g: Graph, value: str, count: int = count) -> str:
            return g.constant(np.array([count]), "int32")

        bounds = ((-1.0,) * 3, (5.0,) * 3)
        made = contract(outputs=with_count(), bounds=bounds)
        path = tmp_path / f"{count}.onnx"
        path.write_bytes(data(model(made, {"count": given})))
        with Scene(path) as scene:
            picture = scene.render(camera(), reference=True)
            assert (picture[..., 3].max() > 0.01) == (rows > 0)
            assert scene.generated()[0].rows == rows
            told = ["count is -4, 24 rows came; 0 are drawn"] if count < 0 else []
            assert [notice.split(": ")[1] for notice in scene.notices] == told


def test_no_rows_at_all(tmp_path: Path) -> None:
    """A dynamic N that is zero at times."""

    def none(g: Graph, value: str) -> str:
        count = g.op("Cast", g.op("Mul", "t", float(N)), to=onnx.TensorProto.INT64)
        return g.op("Slice", value, g.constant([0]), count, g.constant([0]))

    path = tmp_path / "a.onnx"
    path.write_bytes(data(model(bodies=dict.fromkeys(MEANINGS, none), rows="n")))
    with Scene(path) as scene:
        assert scene.render(camera(), reference=True)[..., 3].max() == 0
        assert scene.render(camera(), time=1, reference=True)[..., 3].max() > 0.1
    with pytest.raises(LensError, match=r"a\.onnx: gives nothing that can be drawn at 0 s; choose another"):
        splatlens.convert(path, tmp_path / "a.ply", time=0)


def test_features_are_given_by_the_python_api(tmp_path: Path) -> None:
    made = contract(outputs={**contract().outputs, "features": Columns("quats", 1, 2)})
    (tmp_path / "a.onnx").write_bytes(data(model(made)))
    with splatlens.open(tmp_path / "a.onnx") as scene:
        found = scene.generated(camera(), time=0.5)[0]
    assert found.features is not None
    np.testing.assert_array_equal(found.features, cloud()["quats"][:, 1:3])


def test_info(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splatlens.convert(path, tmp_path / "a.lens")
    code, text, _ = run(capsys, "info", path, "--json")
    live = json.loads(text)["live"]
    assert code == 0 and live["controls"] == ["size: slider, 0.5 to 2, default 1", "lift: toggle, 0 to 1, default 0"]
    assert live["tracks"] == ["walk: 2 s, 4 frames"] and "t: time, float32 [1]" in live["inputs"]
    code, text, _ = run(capsys, "info", tmp_path / "a.lens", "--json")
    assert code == 0 and json.loads(text)["layers"][0]["live"]["controls"] == live["controls"]


def test_view_converts_generators(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATLENS_CACHE", str(tmp_path / "cache"))
    served, _ = cli_view.prepare(path, lambda what, share: None)
    with LensReader.open(served) as reader:
        assert reader.layers[0].kind == "generator"


def test_damaged_layers_are_one_line(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from splatlens.viewer.lens import BlobLayer, write_lens
    from splatlens.viewer.scene import SceneInfo

    source = open_any(path)
    assert isinstance(source, LayerSource)
    layer = source.layer()
    out = tmp_path / "bad.lens"
    text = json.loads(layer.blobs["contract"])
    cases: list[tuple[dict[str, bytes], str]] = [
        ({**layer.blobs, "contract": b"{"}, "contract: not valid JSON"),
        ({**layer.blobs, "contract": json.dumps({**text, "version": 9}).encode()}, "generator contract version 9"),
        ({**layer.blobs, "contract": json.dumps({**text, "graph": {}}).encode()}, "contract.graph.inputs"),
        ({**layer.blobs, "tracks": bytes(4)}, "bytes at its offset in the blob 'tracks' of 4"),
        ({"contract": layer.blobs["contract"], "tracks": layer.blobs["tracks"]}, "layers[0].blobs.model"),
        ({**layer.blobs, "model": b"x" * 99}, "not a model that onnxruntime can load"),
        ({**layer.blobs, "model": network_bytes()}, "bad.lens: layer 0 (cloud): input"),
    ]
    for blobs, part in cases:
        write_lens(out, [BlobLayer("generator", blobs, {"capacity": N}, "cloud")], SceneInfo())
        fails(capsys, part, "render", out, tmp_path / "a.npy", *VIEW)
    write_lens(out, [BlobLayer("postprocess", layer.blobs, {}, "x")], SceneInfo())
    fails(capsys, "its contract is that of a generator", "info", out)
    (tmp_path / "net.onnx").write_bytes(network_bytes())
    fails(capsys, "net.onnx: has nothing to draw", "render", tmp_path / "net.onnx", tmp_path / "a.npy", *VIEW)
