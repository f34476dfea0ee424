"""Models made for Visionary's generators, which have no contract: recognised by names and shapes, and given ours.

Visionary-Laboratory/visionary, src/ONNX/onnx_gpu_io.ts: inputs are matched by parts of their names, outputs are one
table [N, 10] (centre, opacity, covariance xx xy xz yy yz zz), one of colours and the number of live rows.
"""

from __future__ import annotations

from splatlens.viewer.contract import MAX_CAPACITY, Columns, Contract, Input, TimeSpan
from splatlens.viewer.errors import UnsupportedError
from splatlens.viewer.model_graph import ModelGraph, TensorType, without_leading_ones

#: Its clock: time = (seconds * 0.4) mod 1 (dynamic_point_cloud.ts), a turn in 2.5 s.
TIME = TimeSpan(0.0, 1.0, 2.5, 0, True)
_TABLE_COLUMNS = 10
#: Columns of the colour output: RGB and padding, or SH of degree 0 to 3.
_COLOURS = (3, 4, 12, 27, 48)


def recognise(graph: ModelGraph) -> bool:
    """Whether the outputs are Visionary's: a table of 10 columns called gauss..., and colours."""
    return _named(graph, ("gauss",), True) is not None and _colour(graph) is not None


def adapt(graph: ModelGraph, name: str, rows: int | None = None) -> tuple[Contract, tuple[str, ...]]:
    """A contract for a model that `recognise` knows, and warnings. rows: how many it gives, where N is dynamic.

    Raises UnsupportedError for an input that Visionary too leaves unfed.
    """
    table, colour = _named(graph, ("gauss",), True), _colour(graph)
    assert table is not None and colour is not None
    warnings = ["made for Visionary: its contract is guessed from names and shapes"]
    inputs: dict[str, Input] = {}
    for key, tensor in graph.inputs.items():
        inputs[key], warning = _input(key, tensor, name)
        warnings += [warning] if warning else []
    outputs = {"means": Columns(table, 0, 3), "opacities": Columns(table, 3, 1), "covariances": Columns(table, 4, 6)}
    columns = graph.outputs[colour].shape[-1] or 0
    rgb = columns == 4 or (columns == 3 and "sh" not in colour.lower())
    if rgb:
        outputs["colors"] = Columns(colour, 0, 3) if columns == 4 else Columns(colour)
    else:
        outputs["sh"] = Columns(colour)
    count = graph.outputs.get("num_points")
    if count is not None and count.type == "int32":
        outputs["count"] = Columns("num_points")
    n = graph.outputs[table].shape[0]
    capacity = min(n or rows or 0, MAX_CAPACITY)
    timed = any(one.meaning == "time" for one in inputs.values())
    return Contract("generator", inputs, outputs, capacity, TIME if timed else None), tuple(warnings)


def _input(key: str, tensor: TensorType, name: str) -> tuple[Input, str]:
    """What an input is fed with, and a warning or nothing."""
    low, bare = key.lower(), without_leading_ones(tensor.shape)
    # Before the camera: Visionary asks for "matrix" first, and feeds `projection_matrix` with the camera's.
    if "proj" in low and bare == (4, 4):
        doubt = "view" in low or "camera" in low or "matrix" in low
        text = f"input {key!r} is fed with the projection; Visionary, which looks for 'matrix' first, feeds the camera"
        return Input("projection", transpose=True), text if doubt else ""
    if any(word in low for word in ("camera", "view", "matrix")) and bare == (4, 4):
        return Input("world_to_camera", transpose=True), ""
    if ("time" in low or low == "t") and not bare:
        return Input("time"), ""
    raise UnsupportedError(
        f"{name}: made for Visionary, yet its input {key!r} ({tensor}) is neither camera, projection nor time; "
        "say in a contract what it means (docs/generator.md)"
    )


def _named(graph: ModelGraph, words: tuple[str, ...], table: bool) -> str | None:
    """The output of two dimensions whose name starts with a word, or holds one."""
    for key, tensor in graph.outputs.items():
        low = key.lower()
        fits = any(low.startswith(w) if table else w in low for w in words)
        allowed = (_TABLE_COLUMNS,) if table else _COLOURS
        if fits and len(tensor.shape) == 2 and tensor.shape[1] in allowed:
            return key
    return None


def _colour(graph: ModelGraph) -> str | None:
    return _named(graph, ("color", "colour", "sh", "rgb"), False)
