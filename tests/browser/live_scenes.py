"""Small scenes with live layers for the page's tests: a figure that moves, and a network that recolours the picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from splatlens.converters.generator import model_source
from splatlens.converters.onnx_graph import Graph
from splatlens.viewer.contract import Columns, Contract, Control, ImageSize, Input, TimeSpan, Track
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.lens_layers import BlobLayer
from splatlens.viewer.scene import SceneInfo
from splatlens.viewer.splats import Splats

#: Seconds of the figure's time and of its tracks.
DURATION, STEP = 4.0, 1.0


def figure(name: str = "Figure") -> BlobLayer:
    """A block of 343 splats. It goes from left to right in four seconds; `lift` moves it up, `warm` makes it red.

    The toggle `hide` leaves nothing; the tracks `nod` and `shake` move it up and down, and to and fro.
    """
    axis = np.linspace(-0.3, 0.3, 7)
    base = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3).astype(np.float32)
    n = len(base)
    g = Graph("figure")
    time, knobs = g.input("time", (1,)), g.input("knobs", (3,))
    shift = g.input("shift", (3,))
    lift, warm, hide = (g.columns(knobs, i, 1, axis=0) for i in range(3))
    means = g.op("Add", base, g.op("Mul", g.op("Sub", time, 0.5), np.array([[2, 0, 0]], np.float32)))
    means = g.op("Add", means, g.op("Mul", lift, np.array([[0, -0.8, 0]], np.float32)))
    g.output(g.op("Add", means, shift), "means", (n, 3))
    g.output(g.constant(np.full((n, 3), 0.05, np.float32)), "scales", (n, 3))
    g.output(g.constant(np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1))), "quats", (n, 4))
    g.output(g.op("Mul", np.full((n, 1), 0.9, np.float32), g.op("Sub", 1.0, hide)), "opacities", (n, 1))
    cold = np.tile(np.array([0.1, 0.9, 0.2], np.float32), (n, 1))
    g.output(g.op("Add", cold, g.op("Mul", warm, np.array([[0.8, -0.8, 0]], np.float32))), "colors", (n, 3))
    wave = np.sin(np.linspace(0, 2 * np.pi, 10, endpoint=False)).astype(np.float32)[:, None]
    contract = Contract(
        "generator",
        {
            "time": Input("time"), "knobs": Input("controls", ("lift", "warm", "hide")),
            "shift": Input("track", channel="shift"),
        },
        {key: Columns(key) for key in ("means", "scales", "quats", "opacities", "colors")},
        capacity=n,
        time=TimeSpan(0, 1, DURATION, 100),
        controls=(
            Control("lift", "Lift", "Place", minimum=-1, maximum=1, step=0.1),
            Control("warm", "Warm", "Look"),
            Control("hide", "Hide", "Look", "toggle", step=1),
        ),
        tracks=(
            Track("nod", "Nod", STEP, {"shift": wave * np.array([[0, 0.3, 0]], np.float32)}),
            Track("shake", "Shake", STEP, {"shift": wave * np.array([[0.5, 0, 0]], np.float32)}),
        ),
    )  # fmt: skip
    return replace(model_source(Path(f"{name}.onnx"), "onnx", g.model(contract)).layer(), name=name)


def negative(name: str = "Negative") -> BlobLayer:
    """A network that gives the negative of the picture, as much of it as the control `amount` says (all)."""
    g = Graph("negative")
    image, amount = g.input("image", (1, 3, "h", "w")), g.input("amount", (1,))
    turned = g.op("Mul", amount, g.op("Sub", 1.0, g.op("Mul", image, 2.0)))
    g.output(g.op("Add", image, turned), "out", (1, 3, "h", "w"))
    contract = Contract(
        "postprocess",
        {"image": Input("image"), "amount": Input("controls", ("amount",))},
        {"image": Columns("out")},
        controls=(Control("amount", "Amount", default=1),),
        image=ImageSize(),
    )
    return replace(model_source(Path(f"{name}.onnx"), "onnx", g.model(contract)).layer(), name=name)


def live_scene(path: Path, splats: Splats, info: SceneInfo) -> None:
    """Stored splats (layer 0), the figure (1) and the network (2)."""
    build_lens([SourceLayer(splats, "Clouds"), figure(), negative()], path, info)
