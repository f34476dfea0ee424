"""Small post-processing networks made for tests: a 3 x 3 convolution, and others that misbehave on purpose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx

from splatlens.converters.onnx_file import contract_of, with_contract
from splatlens.converters.onnx_graph import Graph
from splatlens.viewer.contract import Columns, Contract, Control, ImageSize, Input, TimeSpan
from splatlens.viewer.generator import Model

SAMPLE = Path(__file__).resolve().parent.parent / "samples" / "postprocess"
#: Any size.
ANY = ImageSize()
#: The network between the picture and the output: (graph, image, strength) -> value of the image's type.
Body = Callable[[Graph, str, str], str]


def nothing(g: Graph, image: str, strength: str) -> str:
    return g.op("Identity", image)


def convolution(g: Graph, image: str, strength: str) -> str:
    """A sharpening 3 x 3 convolution that mixes the channels, times strength."""
    weight = np.random.default_rng(1).normal(0, 0.2, (3, 3, 3, 3)).astype(np.float32)
    return g.op("Mul", g.op("Conv", image, weight, kernel_shape=[3, 3], pads=[1] * 4), strength)


def network(body: Body = nothing, size: ImageSize = ANY, kind: str = "float32", name: str = "net.onnx") -> Model:
    """A float32 network, or one whose image is float16 and that computes in float32."""
    return Model(contract(size), network_bytes(body, size, kind), name)


def contract(size: ImageSize) -> Contract:
    return Contract(
        "postprocess",
        {"picture": Input("image"), "strength": Input("controls", ("strength",)), "time": Input("time")},
        {"image": Columns("made")},
        controls=(Control("strength", "Strength", maximum=2.0, default=1.0),),
        time=TimeSpan(),
        image=size,
    )


def network_bytes(body: Body = nothing, size: ImageSize = ANY, kind: str = "float32") -> bytes:
    g = Graph("net")
    shape = (1, 3, *(size.size or ("height", "width")))
    image, strength, time = g.input("picture", shape, kind), g.input("strength", (1,)), g.input("time", (1,))
    given = g.op("Cast", image, to=onnx.TensorProto.FLOAT) if kind == "float16" else image
    made = g.op("Add", body(g, given, strength), g.op("Mul", time, 0.0))
    g.output(g.op("Cast", made, to=onnx.TensorProto.FLOAT16) if kind == "float16" else made, "made", shape, kind)
    return bytes(g.model(contract(size)).SerializeToString())


def sample(name: str, size: ImageSize | None = None) -> Model:
    """A network of samples/postprocess, with other sizes where given."""
    model = onnx.load(SAMPLE / f"{name}.onnx")
    own = contract_of(model, name)
    assert own is not None
    if size is not None:
        own = Contract(own.kind, own.inputs, own.outputs, controls=own.controls, image=size, texts=own.texts)
        for value in [i for i in model.graph.input if i.name == "image"] + list(model.graph.output):
            for axis, d in zip((2, 3), size.size or ("h", "w"), strict=True):
                place = value.type.tensor_type.shape.dim[axis]
                place.Clear()
                if isinstance(d, int):
                    place.dim_value = d
                else:
                    place.dim_param = d
        model = with_contract(model, own)
    return Model(own, bytes(model.SerializeToString()), f"{name}.onnx")
