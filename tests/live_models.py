"""Small generators for the tests of the page: every way a model may give its splats, and fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from splatlens.converters.generator import model_source
from splatlens.converters.onnx_graph import Graph
from splatlens.viewer.contract import Columns, Contract, Control, Input, TimeSpan, Track
from splatlens.viewer.lens_layers import BlobLayer

#: Splats of `cloud`.
ROWS = 500
CONTROLS = (Control("size", "Size", minimum=0.5, maximum=2, default=1), Control("warm", "Warm", kind="toggle", step=1))
TIME = TimeSpan(0, 2, 2.0, 20)
BOUNDS = ((-2.0, -2.0, -2.0), (2.0, 2.0, 2.0))
OUTPUTS = ("means", "scales", "quats", "opacities", "colors")


def tables(n: int = ROWS, seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """Attributes of a cloud of n splats of about a tenth of a unit."""
    rng = np.random.default_rng(seed)
    made = {
        "means": rng.normal(0, 0.5, (n, 3)),
        "scales": np.exp(rng.normal(-3, 0.4, (n, 3))),
        "quats": rng.normal(size=(n, 4)),
        "opacities": rng.uniform(0.2, 0.95, (n, 1)),
        "colors": rng.uniform(0.05, 0.95, (n, 3)),
    }
    return {k: v.astype(np.float32) for k, v in made.items()}


def contract(inputs: dict[str, Input], n: int = ROWS, **more: Any) -> Contract:
    controls = tuple(c for c in CONTROLS if any(c.name in one.controls for one in inputs.values()))
    outputs = {name: Columns(name) for name in (*OUTPUTS, *(("count",) if more.pop("counted", False) else ()))}
    return Contract("generator", inputs, outputs, n, TIME, controls, bounds=BOUNDS, **more)


def layer(graph: Graph | onnx.ModelProto, of: Contract, name: str, **more: Any) -> BlobLayer:
    """The layer of a .lens."""
    model = graph.model(of) if isinstance(graph, Graph) else graph
    return replace(model_source(Path(f"{name}.onnx"), "onnx", model).layer(), name=name, **more)


def cloud(name: str = "cloud", seed: int = 1, count: int | None = None, rows: int = ROWS, **more: Any) -> BlobLayer:
    """Splats that swing with the time, swell and redden with two controls and follow a track.

    count: what the model says of its rows, whatever that is.
    """
    given, g = tables(rows, seed), Graph(name)
    time, knobs, shift = g.input("time", (1,)), g.input("knobs", (2,)), g.input("shift", (3,))
    frame = g.op("Cast", g.input("frame", (), "int32"), to=onnx.TensorProto.FLOAT)
    size, warm = (g.columns(knobs, i, 1, axis=0) for i in range(2))
    swing = g.op("Mul", g.op("Sin", g.op("Add", g.op("Mul", given["means"], 2.0), g.op("Mul", time, 3.0))), 0.3)
    means = g.op("Add", g.op("Add", given["means"], swing), g.op("Add", shift, g.op("Mul", frame, 0.01)))
    g.output(means, "means", (rows, 3))
    g.output(g.op("Mul", given["scales"], size), "scales", (rows, 3))
    g.output(g.op("Add", given["quats"], g.op("Mul", time, 0.4)), "quats", (rows, 4))
    g.output(g.constant(given["opacities"]), "opacities", (rows, 1))
    red = g.op("Mul", warm, np.array([[0.6, -0.3, -0.3]], np.float32))
    g.output(g.op("Clip", g.op("Add", given["colors"], red), 0.0, 1.0), "colors", (rows, 3))
    if count is not None:
        moving = g.op("Add", g.op("Mul", time, 0.0), float(count))
        g.output(g.op("Cast", moving, to=onnx.TensorProto.INT32), "count", (1,), "int32")
    inputs = {
        "time": Input("time"), "knobs": Input("controls", ("size", "warm")), "shift": Input("track", channel="shift"),
        "frame": Input("frame"),
    }  # fmt: skip
    wave = np.sin(np.linspace(0, 6, 8))[:, None] * np.array([[0.4, 0, 0.2]])
    track = Track("sway", "Sway", 1.5, {"shift": wave.astype(np.float32)})
    return layer(g, contract(inputs, rows, counted=count is not None, tracks=(track,)), name, **more)


def looking(name: str = "looking") -> BlobLayer:
    """Splats whose colours depend on where the camera is."""
    given, g = tables(300, 2), Graph(name)
    eye = g.input("eye", (3,))
    away = g.op("Sub", given["means"], eye)
    g.output(g.constant(given["means"]), "means", (300, 3))
    for key in ("scales", "quats", "opacities"):
        g.output(g.constant(given[key]), key, given[key].shape)
    g.output(g.op("Abs", g.normalised(away)), "colors", (300, 3))
    return layer(g, contract({"eye": Input("camera_position")}, 300), name)


def shrinking(name: str = "shrinking", capacity: int = ROWS, twice: bool = False) -> BlobLayer:
    """As many rows as the time says: none at the start, all at the end; `twice`: up to twice the capacity."""
    given, g = tables(2 * ROWS if twice else ROWS, 4), Graph(name)
    time = g.input("time", (1,))
    n = g.op("Cast", g.op("Mul", time, float(len(given["means"])) / 2), to=onnx.TensorProto.INT64)
    for key in OUTPUTS:
        rows = g.op("Slice", given[key], g.constant([0]), n, g.constant([0]))
        g.output(rows, key, ("n", given[key].shape[1]))
    return layer(g, contract({"time": Input("time")}, capacity), name)


def broken_rows(name: str = "broken rows") -> BlobLayer:
    """Every tenth row has a NaN, an infinity or a quaternion of no length, once the time is past 0.5."""
    given, g = tables(400, 5), Graph(name)
    time = g.input("time", (1,))
    for key, value in (("means", np.nan), ("scales", np.inf), ("quats", 0.0)):
        spoiled = given[key].copy()
        first = {"means": 0, "scales": 10, "quats": 20}[key]
        spoiled[first::30] = value
        late = g.op("Greater", time, 0.5)
        g.output(g.op("Where", late, spoiled, given[key]), key, given[key].shape)
    for key in ("opacities", "colors"):
        g.output(g.constant(given[key]), key, given[key].shape)
    return layer(g, contract({"time": Input("time")}, 400), name)


def failing(name: str = "failing") -> BlobLayer:
    """A model that fails half-way once the time is past 0.5: it asks for a shape that cannot be."""
    given, g = tables(200, 6), Graph(name)
    time = g.input("time", (1,))
    late = g.op("Cast", g.op("Greater", time, 0.5), to=onnx.TensorProto.INT64)
    # Not one reshape after the other, nor a shape put together: optimisers make a shape of those that fits.
    flat = g.op("Reshape", given["means"], g.op("Add", late, g.constant([600])))
    moved = g.op("Add", flat, g.op("Mul", time, 0.0))
    g.output(g.reshape(moved, 200, 3), "means", (200, 3))
    for key in OUTPUTS[1:]:
        g.output(g.constant(given[key]), key, given[key].shape)
    return layer(g, contract({"time": Input("time")}, 200), name)


def unknown_operator(name: str = "strange") -> BlobLayer:
    """A layer whose model has an operator that no runtime knows; put in afterwards, for converting refuses it."""
    whole = cloud(name, 7)
    model = onnx.load_from_string(whole.blobs["model"])
    model.graph.node[0].op_type, model.graph.node[0].domain = "Fly", "example.birds"
    model.opset_import.append(onnx.helper.make_opsetid("example.birds", 1))
    return replace(whole, blobs={**whole.blobs, "model": model.SerializeToString()})


def external_data(name: str = "elsewhere") -> BlobLayer:
    """A layer whose model has its weights in a file that is not there."""
    whole = cloud(name, 8)
    model = onnx.load_from_string(whole.blobs["model"])
    tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return replace(whole, blobs={**whole.blobs, "model": model.SerializeToString()})


def half(name: str = "half") -> BlobLayer:
    """A cloud whose outputs are float16."""
    given, g = tables(300, 9), Graph(name)
    time = g.input("time", (1,))
    swing = g.op("Add", given["means"], g.op("Mul", time, 0.1))
    for key in OUTPUTS:
        value = swing if key == "means" else g.constant(given[key])
        g.output(g.op("Cast", value, to=onnx.TensorProto.FLOAT16), key, given[key].shape, "float16")
    return layer(g, contract({"time": Input("time")}, 300), name)
