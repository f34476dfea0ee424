"""Small generators made for tests: a cloud that moves with time, controls and a track, and others that misbehave."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from splatlens.converters.onnx_file import with_contract
from splatlens.converters.onnx_graph import Graph
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Columns, Contract, Control, Input, TimeSpan, Track

N = 24
MEANINGS = ("means", "scales", "quats", "opacities", "colors")
#: Changes values on their way to the outputs, by meaning.
Bodies = dict[str, Callable[[Graph, str], str]]


def camera(width: int = 64, height: int = 48) -> Camera:
    return Camera.look_at((1, -2, -7), (0, 0, 0), (0, -1, 0), 45, width, height)


def cloud(n: int = N) -> dict[str, NDArray[np.float32]]:
    """Attributes of n splats in a unit box."""
    rng = np.random.default_rng(4)
    made = {
        "means": rng.uniform(-1, 1, (n, 3)), "scales": np.exp(rng.normal(-2, 0.3, (n, 3))),
        "quats": rng.normal(size=(n, 4)), "opacities": rng.uniform(0.2, 1, n), "colors": rng.uniform(0, 1, (n, 3)),
    }  # fmt: skip
    return {k: v.astype(np.float32) for k, v in made.items()}


def walk(frames: int = 4) -> Track:
    """A channel of 3 numbers that go up to `frames` - 1."""
    steps = np.arange(frames, dtype=np.float32)[:, None] * np.array([[1, 0, 0]], np.float32)
    return Track("walk", "Walk", 2.0, {"place": steps})


def contract(**changes: Any) -> Contract:
    """Inputs: t (2 seconds of 0..1), size and lift (controls), place (a track)."""
    made = Contract(
        "generator",
        {"t": Input("time"), "c": Input("controls", ("size", "lift")), "place": Input("track", channel="place")},
        {meaning: Columns(meaning) for meaning in MEANINGS},
        capacity=N,
        time=TimeSpan(duration=2.0),
        controls=(
            Control("size", "Size", default=1.0, minimum=0.5, maximum=2.0),
            Control("lift", "Lift", "", "toggle"),
        ),
        tracks=(walk(),),
    )
    return replace(made, **changes)


def model(made: Contract | None = None, bodies: Bodies | None = None, rows: int | str = N) -> onnx.ModelProto:
    """means = cloud + (t, lift, 0) + place, scales times size. bodies: what is done to an attribute before it is given.

    rows: the declared N, a name for a dynamic one.
    """
    g, values = Graph("cloud"), cloud()
    t, c, place = g.input("t", (1,)), g.input("c", (2,)), g.input("place", (1, 3))
    size, lift = g.columns(c, 0, 1, 0), g.columns(c, 1, 1, 0)
    move = g.op("Concat", t, lift, g.op("Mul", t, 0.0), axis=0)
    given = {name: g.constant(value) for name, value in values.items()}
    given["means"] = g.op("Add", g.op("Add", given["means"], move), place)
    given["scales"] = g.op("Mul", given["scales"], size)
    for name, value in given.items():
        made_value = (bodies or {}).get(name, lambda g, v: v)(g, value)
        g.output(made_value, name, (rows, *values[name].shape[1:]))
    if "count" in (bodies or {}):
        assert bodies is not None
        g.output(bodies["count"](g, t), "count", (1,), "int32")
    own = contract(outputs=with_count()) if bodies and "count" in bodies else contract()
    return with_contract(unchecked(g), made or own)


def with_count() -> dict[str, Columns]:
    return {**contract().outputs, "count": Columns("count")}


def unchecked(g: Graph) -> onnx.ModelProto:
    """The model of a graph that need not be sound, without a contract."""
    from onnx import helper

    graph = helper.make_graph(g._nodes, g.name, g._inputs, g._outputs, g._initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


def all_rows(g: Graph, value: str, n: int = N) -> str:
    """The same value, of which no reader of the graph can know how many rows it has."""
    some = g.op("Reshape", g.op("ReduceSum", value, keepdims=0), g.constant([1]))
    count = g.op("Cast", g.op("Add", g.op("Mul", some, 0.0), float(n)), to=onnx.TensorProto.INT64)
    return g.op("Slice", value, g.constant([0]), count, g.constant([0]))


def data(made: onnx.ModelProto) -> bytes:
    return bytes(made.SerializeToString())


def visionary(
    colour: tuple[str, int] = ("color_rgb", 4),
    half: bool = True,
    rows: int | str = 10,
    inputs: tuple[str, ...] = ("time",),
) -> onnx.ModelProto:
    """As Visionary's exporters make them: a table of 10 columns, colours, num_points; no contract."""
    g, rng, n = Graph("visionary"), np.random.default_rng(7), 10
    kind = "float16" if half else "float32"
    table = np.zeros((n, 10), np.float32)
    table[:, :3], table[:, 3] = rng.uniform(-1, 1, (n, 3)), rng.uniform(0.3, 1, n)
    axes = rng.normal(0, 0.3, (n, 3, 3))
    table[:, 4:] = (axes @ axes.transpose(0, 2, 1))[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    value = g.constant(table)
    for name in inputs:
        shape = (1,) if "time" in name else (4, 4)
        value = g.op("Add", value, g.op("Mul", g.op("ReduceSum", g.input(name, shape), keepdims=0), 0.0))
    colours = g.constant(rng.uniform(0, 1, (n, colour[1])).astype(np.float32))
    to = onnx.TensorProto.FLOAT16 if half else onnx.TensorProto.FLOAT
    if isinstance(rows, str):
        value = all_rows(g, value, n)
    g.output(g.op("Cast", value, to=to), "gaussian_f16" if half else "gauss", (rows, 10), kind)
    g.output(g.op("Cast", colours, to=to), colour[0], (rows, colour[1]), kind)
    g.output(g.constant(np.array([7]), "int32"), "num_points", (1,), "int32")
    return unchecked(g)
