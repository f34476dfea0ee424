"""splatlens check: a good model passes quietly, and every fault of a bad one is one line with what to do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from splatlens.converters.check import check
from splatlens.converters.check_report import Report
from splatlens.converters.onnx_file import with_contract
from splatlens.converters.onnx_graph import Graph
from splatlens.converters.webgpu_operators import SUPPORTED, lacks
from splatlens.viewer.camera_files import write_cameras
from splatlens.viewer.contract import Columns, Contract, Control, ImageSize, Input
from tests.generator_models import MEANINGS, Bodies, N, all_rows, camera, cloud, contract, data, model, visionary
from tests.image_networks import ANY, network_bytes
from tests.test_cli import fails, run


def checked(folder: Path, made: onnx.ModelProto | bytes) -> Report:
    path = folder / "model.onnx"
    path.write_bytes(made if isinstance(made, bytes) else data(made))
    return check(path)


def found(report: Report) -> list[tuple[str, str]]:
    return [(f.level, f.what) for f in report.findings]


def add(values: Any) -> Any:
    """A body that adds values."""
    return lambda g, value: g.op("Add", value, np.asarray(values, np.float32))


def rows(value: float, count: int = 3) -> np.ndarray[Any, Any]:
    """(N, 1), a value in the first rows and 0 below."""
    return np.where(np.arange(N) < count, value, 0).astype(np.float32)[:, None]


def test_a_good_model_passes_quietly(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cloud.onnx"
    path.write_bytes(data(model()))
    code, out, err = run(capsys, "check", path)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert out.startswith(f"{path}: passes: generator of up to 24 splats, 56 bytes each on the GPU (1.34 kB), ")
    code, out, _ = run(capsys, "check", path, "--json")
    report = json.loads(out)
    assert code == 0 and report["passed"] and report["findings"] == []
    facts = report["facts"]
    names = ("capacity", "bytes_per_splat", "most_live_rows", "static_rows")
    assert [facts[name] for name in names] == [24, 56, 24, True]
    assert facts["runs"] > 10 and 0 < facts["seconds_per_run"] < 60 and "Concat" in facts["operators"]


#: (bodies, findings, part of the first one's text).
FAULTS: list[tuple[str, Bodies, list[tuple[str, str]], str]] = [
    ("nan", {"means": add(rows(np.nan))}, [("error", "means")], "3 of 24 rows are NaN or infinite"),
    ("logits", {"opacities": add(2.0)}, [("error", "opacities")], "give them after the sigmoid"),
    ("negative", {"opacities": add(-1)}, [("error", "opacities"), ("error", "rows")], "24 of 24 rows are outside of 0"),
    ("logarithms", {"scales": lambda g, v: g.op("Log", v)}, [("error", "scales")], "exp of the logarithms"),
    ("zero quats", {"quats": lambda g, v: g.op("Mul", v, rows(1, 21))}, [("error", "quats")], "3 of 24 rows are zero"),
    ("coefficients", {"colors": add(-3.0)}, [("warning", "colors")], "not SH coefficients"),
    ("transparent", {"opacities": lambda g, v: g.op("Mul", v, 0.0)}, [("error", "rows")], "nothing in"),
    (
        "few", {"opacities": lambda g, v: g.op("Mul", v, rows(1.0)[:, 0])}, [("warning", "capacity")],
        "never more than 3 of 24 rows are drawn",
    ),
    (
        "count", {"count": lambda g, t: g.op("Cast", g.op("Mul", t, 40.0), to=onnx.TensorProto.INT32)},
        [("error", "count")], "at 1.5 s, track walk: is 30, and 24 rows came",
    ),
    ("NaN at times", {"scales": lambda g, v: g.op("Mul", v, g.op("Sqrt", g.op("Sub", 0.6, "t")))},
     [("error", "scales")], "at 1.5 s, track walk: 24 of 24 rows are NaN"),
    ("dynamic", dict.fromkeys(MEANINGS, all_rows), [("warning", "rows")], "browsers copy 56 bytes a splat each run"),
    (
        "CPU", {"means": lambda g, v: g.op("Round", v)}, [("warning", "Round")], "has no WebGPU kernel for opset 17",
    ),
    (
        "random", {"means": lambda g, v: g.op("Add", v, g.op("Cast", g.op("RandomNormal", shape=[N, 3]), to=1))},
        [("warning", "RandomNormal"), ("warning", "run")], "has no WebGPU kernel",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "bodies", "findings", "part"), FAULTS, ids=[f[0] for f in FAULTS])
def test_faults(
    tmp_path: Path, name: str, bodies: Bodies, findings: list[tuple[str, str]], part: str
) -> None:
    dynamic = "n" if name == "dynamic" else N
    report = checked(tmp_path, model(bodies=bodies, rows=dynamic))
    assert found(report) == findings, report.findings
    assert any(part in f.text for f in report.findings), report.findings
    assert report.passed == all(level == "warning" for level, _ in findings)
    for finding in report.findings:
        assert finding.text.isprintable() and "; " in finding.text


def test_the_exit_code_and_lines_of_a_bad_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(data(model(bodies={"opacities": add(2.0), "means": lambda g, v: g.op("Round", v)})))
    code, out, err = run(capsys, "check", path)
    assert (code, err) == (2, "")
    lines = out.splitlines()
    assert [line.split(": ")[:2] for line in lines[:2]] == [["warning", "Round"], ["error", "opacities"]]
    assert lines[2].startswith(f"{path}: breaks the contract: generator of up to 24") and len(lines) == 3
    assert run(capsys, "check", path, "--json")[0] == 2


def test_covariances(tmp_path: Path) -> None:
    for order, passes in ((slice(None), True), ([0, 3, 5, 1, 2, 4], False)):
        g = Graph("c")
        t = g.input("t", (1,))
        rng = np.random.default_rng(0)
        axes = rng.normal(0, 0.2, (N, 3, 3)) + np.eye(3)
        full = (axes @ axes.transpose(0, 2, 1))[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)
        g.output(g.op("Add", cloud()["means"], t), "means", (N, 3))
        g.output(g.constant(full[:, order]), "covariances", (N, 6))
        for name in ("opacities", "colors"):
            g.output(g.constant(cloud()[name]), name, cloud()[name].shape)
        names = ("means", "covariances", "opacities", "colors")
        made = contract(
            inputs={"t": Input("time")}, outputs={n: Columns(n) for n in names}, controls=(), tracks=()
        )
        report = checked(tmp_path, g.model(made))
        assert found(report) == ([] if passes else [("error", "covariances")])


def test_bounds(tmp_path: Path) -> None:
    good = ((-2.0,) * 3, (5.0,) * 3)
    assert found(checked(tmp_path, model(contract(bounds=good)))) == []
    report = checked(tmp_path, model(contract(bounds=((-2.0,) * 3, (5.0, 1.5, 5.0)))))
    assert found(report) == [("error", "bounds")]
    assert "correct them, or leave them out to have them measured" in report.findings[0].text


def test_what_changes_nothing(tmp_path: Path) -> None:
    def still(g: Graph, value: str) -> str:
        return g.constant(cloud()["scales"])

    assert found(checked(tmp_path, model(bodies={"scales": still}))) == [("warning", "control 'size'")]
    frozen: Bodies = {"means": lambda g, v: g.op("Add", g.op("Mul", v, 0.0), cloud()["means"])}
    assert ("warning", "time") in found(checked(tmp_path, model(bodies=frozen)))


def test_a_model_that_fails_at_some_time(tmp_path: Path) -> None:
    def fails_late(g: Graph, value: str) -> str:
        row = g.op("Cast", g.op("Mul", "t", 12.0), to=onnx.TensorProto.INT64)
        return g.op("Add", value, g.op("Gather", g.constant(np.zeros(9, np.float32)), row, axis=0))

    report = checked(tmp_path, model(bodies={"opacities": fails_late}))
    assert found(report) == [("error", "run")]
    assert report.findings[0].text.startswith("at 1.5 s, track walk: the model failed while it ran: ")


def test_contracts_that_do_not_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.onnx"
    bare = model()
    del bare.metadata_props[:]
    fewer = {name: contract().inputs[name] for name in ("t", "c")}
    cases = [
        (bare, "error: contract: has no contract in its metadata"),
        (with_contract(bare, contract(capacity=9)), "error: contract: capacity: is 9 in the contract"),
        (with_contract(bare, replace(contract(), inputs=fewer)), "error: contract: input 'place': has no entry"),
    ]
    for made, part in cases:
        path.write_bytes(data(made))
        code, out, _ = run(capsys, "check", path)
        assert code == 2 and part in out and out.count("\n") == 2
        assert out.splitlines()[-1] == f"{path}: breaks the contract"
    helper.set_model_props(bare, {"splatlens.generator": '{"version": 7}'})
    path.write_bytes(data(bare))
    assert "generator contract version 7, this program reads 1" in run(capsys, "check", path)[1]
    fails(capsys, "gone.onnx: no such file", "check", tmp_path / "gone.onnx")
    fails(capsys, "cannot read", "check", tmp_path)
    path.write_bytes(b"ply\n" * 30)
    fails(capsys, "bad.onnx: not a whole ONNX model", "check", path)


def test_types_that_browsers_lack(tmp_path: Path) -> None:
    report = checked(tmp_path, visionary(half=True))
    assert ("warning", "float16") in found(report) and ("warning", "Visionary") in found(report) and report.passed
    assert ("warning", "float16") not in found(checked(tmp_path, visionary(half=False)))
    g = Graph("i")
    t = g.input("frame", (1,), "int64")
    g.output(g.op("Add", cloud()["means"], g.op("Cast", t, to=1)), "means", (N, 3))
    for name in MEANINGS[1:]:
        g.output(g.constant(cloud()[name]), name, cloud()[name].shape)
    span = contract().time
    assert span is not None
    made = contract(inputs={"frame": Input("frame")}, time=replace(span, frames=9), controls=(), tracks=())
    assert found(checked(tmp_path, g.model(made))) == [("warning", "input 'frame'")]


def test_operators() -> None:
    """As onnxruntime-web 1.30.0 has them, in words of its document and of what Chromium was seen to run."""
    assert len(SUPPORTED) > 100
    for name in ("Add", "MatMul", "Gather", "Max", "Where", "Identity", "ScatterElements"):
        assert not lacks(name, "", 17)
    for name in ("Round", "Sign", "Mod", "IsNaN", "NonZero", "Sum", "NoSuchThing"):
        assert lacks(name, "", 17)
    assert not lacks("GridSample", "", 17) and lacks("GridSample", "", 20)
    assert lacks("Gelu", "", 17) and not lacks("Gelu", "", 20) and not lacks("Gelu", "com.microsoft", 1)
    assert lacks("Add", "my.domain", 1)


def test_gridsample_and_control_flow(tmp_path: Path) -> None:
    def sampled(g: Graph, value: str) -> str:
        image = g.constant(np.ones((1, 1, 4, 4), np.float32))
        grid = g.op("Reshape", g.op("Mul", g.columns(value, 0, 2), 0.1), g.constant([1, N, 1, 2]))
        return g.op("Add", value, g.op("Reshape", g.op("GridSample", image, grid), g.constant([N, 1])))

    report = checked(tmp_path, model(bodies={"means": sampled}))
    assert found(report) == [("warning", "GridSample")] and "not to be trusted" in report.findings[0].text

    def branched(g: Graph, value: str) -> str:
        flag = g.op("Greater", g.op("ReduceSum", "t", keepdims=0), 0.5)
        out = helper.make_tensor_value_info("same", onnx.TensorProto.FLOAT, [N, 3])
        branch = helper.make_graph([helper.make_node("Identity", [value], ["same"])], "branch", [], [out])
        other = helper.make_graph([helper.make_node("Neg", [value], ["same"])], "other", [], [out])
        return g.op("If", flag, then_branch=branch, else_branch=other)

    assert found(checked(tmp_path, model(bodies={"means": branched}))) == [("warning", "If")]


def test_cameras_of_the_author(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    g = Graph("v")
    eye = g.input("eye", (3,))
    far = g.op("Sub", 60.0, g.op("ReduceSum", g.op("Mul", eye, eye), keepdims=0))
    g.output(g.op("Mul", cloud()["means"], g.op("Sqrt", far)), "means", (N, 3))  # NaN beyond a distance of 7.7
    for name in MEANINGS[1:]:
        g.output(g.constant(cloud()[name]), name, cloud()[name].shape)
    bounds = ((-1.0,) * 3, (1.0,) * 3)
    made = contract(inputs={"eye": Input("camera_position")}, controls=(), tracks=(), time=None, bounds=bounds)
    path = tmp_path / "v.onnx"
    path.write_bytes(data(g.model(made)))
    assert "means: " not in run(capsys, "check", path)[1]
    write_cameras(tmp_path / "c.json", [replace(camera(), world_to_camera=np.eye(4) + 9 * np.eye(4, k=3))])
    code, out, _ = run(capsys, "check", path, "--cameras", tmp_path / "c.json")
    assert code == 2 and "error: means: in its run: 24 of 24 rows are NaN" in out


# post-processing


def network(body: Any = None, image: ImageSize = ANY, out: tuple[int, int] | None = None) -> onnx.ModelProto:
    g = Graph("net")
    side: tuple[int | str, int | str] = image.size or ("h", "w")
    given, gain = g.input("im", (1, 3, *side)), g.input("gain", (1,))
    made = g.op("Mul", given, gain)
    g.output(body(g, made) if body else made, "out", (1, 3, *(out or ("oh", "ow"))))
    own = Contract(
        "postprocess", {"im": Input("image"), "gain": Input("controls", ("gain",))}, {"image": Columns("out")},
        controls=(Control("gain", "Gain", default=1.0),), image=image,
    )  # fmt: skip
    return with_contract(g.model(own), own)


def test_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    for made in (network_bytes(), data(network(image=ImageSize(multiple=8)))):
        path.write_bytes(made)
        code, out, _ = run(capsys, "check", path)
        assert code == 0 and out.startswith(f"{path}: passes: post-processing of pictures, ") and out.count("\n") == 1
    report = checked(tmp_path, network(image=ImageSize(multiple=8)))
    assert report.facts["sizes"] == [[64, 96], [104, 136]]
    report = checked(tmp_path, network(image=ImageSize((32, 48), 4), out=(32, 48)))
    assert report.passed and report.facts["sizes"] == [[32, 48]] and report.facts["tiled"]


@pytest.mark.parametrize(
    ("body", "level", "part"),
    [
        (lambda g, v: g.op("Div", v, v), "error", "pixels are NaN or infinite and stay as they were"),
        (lambda g, v: g.op("Mul", v, 255.0), "warning", "not 0 to 255 nor normalised"),
        (
            lambda g, v: g.op("AveragePool", v, kernel_shape=[2, 2], strides=[2, 2]), "error",
            "gave [1, 3, 32, 48] for [1, 3, 64, 96]; a network keeps the size",
        ),
    ],
)  # fmt: skip
def test_networks_that_misbehave(tmp_path: Path, body: Any, level: str, part: str) -> None:
    report = checked(tmp_path, network(body))
    assert found(report) == [(level, "image")]
    assert part in report.findings[0].text
