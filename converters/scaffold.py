"""Scaffold-GS checkpoints to ONNX: anchors and MLPs that make Gaussians for a camera (Lu et al. 2024, section 3.2).

The math is that of city-super/Scaffold-GS, gaussian_renderer/__init__.py, `generate_neural_gaussians`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.generator import model_source
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.model_folder import iterations, with_run
from splatlens.converters.ply_header import vertex_columns
from splatlens.converters.scaffold_model import COVARIANCE_COLUMNS, Array, Mlp, ScaffoldModel, read_model
from splatlens.converters.source import SourceInfo
from splatlens.viewer.contract import MAX_CAPACITY, Columns, Contract, Control, Input
from splatlens.viewer.errors import UnsupportedError
from splatlens.viewer.scene import Kernel

if TYPE_CHECKING:
    import onnx

    from splatlens.converters.onnx_graph import Graph

#: Columns that only Scaffold-GS and its kin have.
_COLUMNS = {"f_offset_0", "f_anchor_feat_0"}
#: Name of the control that chooses among the training views' appearances.
APPEARANCE = "appearance"


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is the folder of a Scaffold-GS run, or the PLY of its anchors."""
    if path.is_dir():
        found = iterations(path)
        return bool(found) and vertex_columns(b"ply\n", found[-1][1]) >= _COLUMNS
    return vertex_columns(head, path) >= _COLUMNS


def open_scaffold(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the newest iteration, or the run a PLY belongs to. Raises LensError."""
    iteration, ply = iterations(path)[-1] if path.is_dir() else (None, path)
    model, files = read_model(ply)
    info = SourceInfo(path, FORMAT.name, _capacity(model, path), 0, 0, iteration=iteration, files=files)
    if path.is_dir():
        info = with_run(info)
    facts = {
        name: getattr(info, name)
        for name in ("warnings", "cameras", "up", "background", "antialias", "dilation", "iteration", "files")
    }
    return model_source(path, FORMAT.name, partial(build, model, info), splats=info.splats, **facts)


def export(path: Path) -> onnx.ModelProto:
    """The model of a run's folder, or of the PLY of its anchors, with its contract. Raises LensError."""
    ply = iterations(path)[-1][1] if path.is_dir() else path
    model, files = read_model(ply)
    return build(model, SourceInfo(path, FORMAT.name, _capacity(model, path), 0, 0, files=files))


def _capacity(model: ScaffoldModel, path: Path) -> int:
    count = len(model.anchors) * model.k
    if count > MAX_CAPACITY:
        raise UnsupportedError(
            f"{path}: {len(model.anchors)} anchors of {model.k} make {count} splats, at most {MAX_CAPACITY} are drawn; "
            "prune the scene"
        )
    return count


def build(model: ScaffoldModel, info: SourceInfo) -> onnx.ModelProto:
    """The graph, from a camera's position to N k splats, those of an anchor side by side; with its contract.

    Everything without the camera is a constant of the graph, or made of constants alone, which runtimes compute once.
    """
    n, k = len(model.anchors), model.k
    from splatlens.converters.onnx_graph import Graph  # imports onnx, 0.3 s

    graph = Graph("scaffold")
    camera = graph.input("camera_position", (3,))
    inputs, controls = {camera: Input("camera_position")}, _controls(model.appearance)
    away = graph.op("Sub", model.anchors, camera)
    squared = graph.op("ReduceSum", graph.op("Mul", away, away), graph.constant([1]), keepdims=1)
    # The reference divides by 0 where the camera is in an anchor, and loses its splats for that frame.
    distance = graph.op("Sqrt", graph.op("Max", squared, 1e-24))
    view = graph.op("Concat", graph.op("Div", away, distance), distance, axis=1)
    feature = graph.constant(model.features) if model.bank is None else _banked(graph, model, model.bank, view)

    def perceptron(mlp: Mlp, far: bool, extra: str | None = None) -> str:
        return _perceptron(graph, mlp, feature, view, model.features.shape[1], far, extra)

    extra = None
    if model.appearance is not None:
        chosen = graph.input(APPEARANCE, (1,))
        inputs[chosen] = Input("controls", (APPEARANCE,))
        first = 3 + model.distances[2] + model.features.shape[1]
        extra = _appearance(graph, model.appearance, chosen, model.color.layers[0][0][:, first:])
    # The reference takes out what is 0 or less; here it stays, undrawn.
    opacity = graph.op("Relu", graph.op("Tanh", perceptron(model.opacity, model.distances[0])))
    color = graph.op("Sigmoid", perceptron(model.color, model.distances[2], extra))
    covariance = perceptron(_scales_first(model.covariance, k), model.distances[1])
    share = graph.op("Sigmoid", graph.reshape(graph.columns(covariance, 0, 3 * k), n, k, 3))
    scale = graph.op("Mul", share, np.exp(model.log_scales[:, None, 3:]))
    turn = graph.columns(covariance, 3 * k, 4 * k)
    means = (model.anchors[:, None] + model.offsets * np.exp(model.log_scales[:, None, :3])).reshape(n * k, 3)
    # No input reaches the centres, so the page fetches them once.
    columns = {"means": (graph.constant(means), 3), "scales": (scale, 3), "quats": (turn, 4), "opacities": (opacity, 1)}
    for name, (value, width) in {**columns, "colors": (color, 3)}.items():
        graph.output(graph.reshape(value, n * k, width), name, (n * k, width))
    texts = {name: text for name in ("title", "attribution", "licence") if (text := getattr(info, name))}
    low, high = means.min(axis=0).tolist(), means.max(axis=0).tolist()
    contract = Contract(
        "generator",
        inputs,
        {name: Columns(name) for name in (*columns, "colors")},
        capacity=n * k,
        controls=controls,
        bounds=((low[0], low[1], low[2]), (high[0], high[1], high[2])),
        kernel=Kernel(info.dilation or Kernel().dilation, bool(info.antialias)),
        up=info.up,
        texts={"source": f"Scaffold-GS, {n} anchors of {k}", **texts},
    )
    return graph.model(contract)


def _perceptron(
    graph: Graph, mlp: Mlp, feature: str, view: str, split: int, far: bool, extra: str | None = None
) -> str:
    """(N, outputs) of an MLP before its last activation, of feature (N, split) and view (N, 4) side by side.

    They are not joined: the first weights are cut by columns instead, so that the product with the features, which
    are constant, is constant too. far: whether it takes the distance. extra: (1, H) what further columns add to the
    first layer.
    """
    (weight, bias), *others = mlp.layers
    varying = np.zeros((len(weight), 4), np.float32)
    varying[:, : 3 + far] = weight[:, split : split + 3 + far]
    value = graph.op("Add", graph.linear(feature, weight[:, :split], bias), graph.linear(view, varying, None))
    if extra is not None:
        value = graph.op("Add", value, extra)
    # Columns come in fours, since then WebGPU's kernel multiplies by vectors: 10 become 12 and are cut again.
    more = -mlp.outputs % 4
    for i, (weight, bias) in enumerate(others, 1):
        wide = more if i == len(others) else 0
        hidden = graph.op("Relu", value)
        value = graph.linear(hidden, np.pad(weight, ((0, wide), (0, 0))), np.pad(bias, (0, wide)))
    return graph.columns(value, 0, mlp.outputs) if more and others else value


def _scales_first(mlp: Mlp, k: int) -> Mlp:
    """The covariance MLP with its outputs in another order: 3 k of scales, then 4 k of quaternions."""
    order = np.arange(COVARIANCE_COLUMNS * k).reshape(k, COVARIANCE_COLUMNS)
    order = np.concatenate([order[:, :3].ravel(), order[:, 3:].ravel()])
    weight, bias = mlp.layers[-1]
    return Mlp((*mlp.layers[:-1], (weight[order], bias[order])))


def _banked(graph: Graph, model: ScaffoldModel, bank: Mlp, view: str) -> str:
    """(N, F) features mixed by the bank: every fourth column four times over, every second twice, and all."""
    value = graph.linear(view, *bank.layers[0])
    for weight, bias in bank.layers[1:]:
        value = graph.linear(graph.op("Relu", value), weight, bias)
    weights = graph.op("Softmax", value, axis=1)
    mixed = ""
    for place, step in enumerate((4, 2, 1)):
        tiled = np.tile(model.features[:, ::step], (1, step))
        part = graph.op("Mul", graph.columns(weights, place, 1), tiled)
        mixed = graph.op("Add", mixed, part) if mixed else part
    return mixed


def _controls(appearance: Array | None) -> tuple[Control, ...]:
    """A slider over the training views' appearances; it starts at the one closest to the mean of all."""
    if appearance is None:
        return ()
    away = np.square(appearance - appearance.mean(axis=0)).sum(axis=1)
    last = max(len(appearance) - 1, 1)
    return (Control(APPEARANCE, "Appearance", "", "slider", 0, last, float(np.argmin(away)), 1),)


def _appearance(graph: Graph, appearance: Array, chosen: str, weight: Array) -> str:
    """(1, H) what the chosen view's appearance adds to the first layer; between two views it is mixed of both.

    weight (H, A): the columns of the first layer that take it. A sum over hats 1 - |chosen - view| instead of Gather:
    it needs no integers, which the browser's kernels take in some types only.
    """
    offset = graph.op("Abs", graph.op("Sub", np.arange(len(appearance), dtype=np.float32)[None], chosen))
    hats = graph.op("Max", graph.op("Sub", 1.0, offset), 0.0)
    return graph.op("MatMul", hats, (appearance @ weight.T).astype(np.float32))


FORMAT: Format = Format(
    "scaffold-gs",
    "Scaffold-GS run",
    (),
    sniff,
    open_scaffold,
    live=True,
    reads="the newest iteration's anchors and MLPs (TorchScript or state dict), as a generator",
)
