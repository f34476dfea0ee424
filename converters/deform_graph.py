"""4DGaussians as an ONNX graph of time alone: what does not change with it is computed here, once.

A splat's place among the planes never changes, so of the six planes three are constants (their product, C numbers a
scale) and of the other three only time is interpolated anew, without GridSample, which onnxruntime's WebGPU provider
has not always computed rightly: a row of weights times all time planes gives, in one product, the planes' line at this
moment (some hundred rows of C); then each splat gathers its own two neighbours, at indices that are constant.

Measured beside other ways with the D-NeRF settings (20,000 splats, C 32, planes of 64 and 128 cells, 25 rows of time,
width 64), one core: 9 ms for the features and as much again for the perceptron; constants of 304 bytes a splat.

- Spatial planes gathered in each frame: the same time, 192 bytes a splat of indices and weights, and the planes' 8 MB.
- The place folded in the time planes too, so that each splat has its own 13 rows: 21 ms, 10,000 bytes a splat, and on
  SwiftShader 15 times as long.
- Both neighbours gathered at once and weighted: 24 ms; gathered one by one with a weight each: 11 ms.
- A kernel of our own in WGSL: not built. It would save some 30 dispatches and the (N, width) buffers between them, not
  the perceptron's 17,000 multiplications a splat, which take seven eighths of the time under WebGPU on SwiftShader.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.deform_network import PAIRS, Layer, Network
from splatlens.converters.onnx_graph import Graph

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

_TIME = 3
_SPATIAL = [number for number, pair in enumerate(PAIRS) if _TIME not in pair]
_TEMPORAL = [number for number, pair in enumerate(PAIRS) if _TIME in pair]
#: Splats whose spatial features are computed at once: 12 arrays of that many rows of C float64.
_CHUNK = 1 << 14


@dataclass(frozen=True)
class Rows:
    """N splats as they were trained, not activated. means (N, 3); log_scales (N, 3); quats (N, 4) of any length;
    logits (N, 1); sh (N, 3 K), coefficient-major."""

    means: F32
    log_scales: F32
    quats: F32
    logits: F32
    sh: F32

    def __len__(self) -> int:
        return len(self.means)


def build(network: Network, rows: Rows) -> Graph:
    """A graph with the input `time` (1) and the outputs means, scales, quats, opacities and sh, N rows each."""
    graph = Graph("4DGaussians")
    time = graph.input("time", (1,))
    hidden = graph.op("Relu", _trunk(graph, network, rows, time)) if network.heads else ""
    mask = _head(graph, network.mask, hidden) if network.mask and network.heads else ""
    if network.voxels:
        mask = graph.constant(_voxel_mask(*network.voxels, rows.means))

    def moved(name: str, values: F32) -> str:
        if name not in network.heads:
            return graph.constant(values)
        change = _head(graph, network.heads[name], hidden)
        if name == "rotations_deform":
            return _product(graph, values, change) if network.multiply else graph.op("Add", values, change)
        return graph.op("Add", graph.op("Mul", values, mask) if mask else values, change)

    outputs = {
        "means": moved("pos_deform", rows.means),
        "scales": graph.op("Exp", moved("scales_deform", rows.log_scales)),
        "quats": moved("rotations_deform", rows.quats),
        "opacities": graph.op("Sigmoid", moved("opacity_deform", rows.logits)),
        "sh": moved("shs_deform", rows.sh),
    }
    for name, value in outputs.items():
        columns = {"quats": 4, "opacities": 1, "sh": rows.sh.shape[1]}.get(name, 3)
        graph.output(value, name, (len(rows), columns))
    return graph


def cells(coordinates: F64, size: int) -> tuple[NDArray[np.int64], F64]:
    """Cell and share of the way to the next for coordinates -1 to 1 along an axis of `size` samples.

    As grid_sample of torch has it with align_corners and padding_mode border: -1 and 1 are the outermost samples, and
    what lies outside is moved there. The share is 0 in the last cell.
    """
    position = np.clip((coordinates + 1) / 2 * (size - 1), 0, size - 1)
    low = np.floor(position).astype(np.int64)
    return low, position - low


def _places(network: Network, means: F32) -> F64:
    """(N, 3) coordinates among the planes, -1 to 1 inside aabb."""
    low, high = network.aabb
    return np.asarray((means - low) * (2 / (high - low)) - 1)


def _trunk(graph: Graph, network: Network, rows: Rows, time: str) -> str:
    """(N, W): what the heads take, before their ReLU."""
    weight, bias = network.trunk[0]
    if not network.planes:  # the authors' no_grid: x, y, z, t as they are
        still = rows.means.astype(np.float64) @ weight[:, :3].T + bias
        hidden = graph.op("Add", still.astype(np.float32), graph.op("Mul", time, weight[:, 3][None]))
    else:
        hidden = graph.op("Add", _first_product(graph, network, rows, time), bias)
    for layer in network.trunk[1:]:
        hidden = graph.linear(graph.op("Relu", hidden), *layer)
    return hidden


def _first_product(graph: Graph, network: Network, rows: Rows, time: str) -> str:
    """(N, W): features times the first layer's weight, a product a scale: no joined copy of them is made."""
    weight, _ = network.trunk[0]
    places = _places(network, rows.means)
    channels = network.channels
    features = channels * len(network.planes)
    line, step = _lines(graph, network, time)
    total, row = "", 0
    for scale, planes in enumerate(network.planes):
        value = graph.constant(_spatial(planes, places))
        for number in _TEMPORAL:
            size = planes[number].shape[2]
            cell, share = cells(places[:, PAIRS[number][0]], size)
            at = graph.constant(cell + row, "int32")
            between = graph.op("Mul", graph.op("Gather", step, at), share[:, None].astype(np.float32))
            value = graph.op("Mul", value, graph.op("Add", graph.op("Gather", line, at), between))
            row += size
        parts = [value]
        if network.harmonics:
            angle = graph.op("Mul", value, network.harmonics)
            parts += [graph.op("Sin", angle), graph.op("Cos", angle)]
        for number, part in enumerate(parts):
            first = number * features + scale * channels
            product = graph.linear(part, weight[:, first : first + channels], None)
            total = graph.op("Add", total, product) if total else product
    return total


def _lines(graph: Graph, network: Network, time: str) -> tuple[str, str]:
    """All time planes' lines at this time (R, C), one after another, and what is added on the way to the next row.

    Interpolation as a product: row j weighs max(0, 1 - |position - j|). The authors take t, 0 to 1, for a coordinate
    that goes from -1 to 1, so the rows of the first half are never read and left out.
    """
    rows = network.time_rows
    first = (rows - 1) // 2
    position = graph.op("Mul", graph.op("Clip", time, 0.0, 1.0), (rows - 1) / 2)
    away = graph.op("Sub", position, (np.arange(first, rows) - (rows - 1) / 2)[None])
    weights = graph.op("Relu", graph.op("Sub", 1.0, graph.op("Abs", away)))
    planes = [planes[number][:, first:] for planes in network.planes for number in _TEMPORAL]
    flat = [plane.transpose(1, 2, 0).reshape(rows - first, -1) for plane in planes]
    line = graph.reshape(graph.op("MatMul", weights, np.concatenate(flat, axis=1)), -1, network.channels)
    count = sum(plane.shape[2] for plane in planes)
    # The step from a plane's last row leads into the next plane and is never taken: its share is 0.
    following = graph.op("Gather", line, graph.constant(np.minimum(np.arange(count) + 1, count - 1), "int32"))
    return line, graph.op("Sub", following, line)


def _spatial(planes: tuple[F32, ...], places: F64) -> F32:
    """(N, C): the product of the planes without time, interpolated in float64."""
    out = np.empty((len(places), planes[0].shape[0]), np.float32)
    for first in range(0, len(places), _CHUNK):
        part = places[first : first + _CHUNK]
        product: F64 = np.ones((len(part), 1))
        for number in _SPATIAL:
            product = product * _sampled(planes[number], part[:, list(PAIRS[number])])
        out[first : first + len(part)] = product
    return out


def _sampled(plane: F32, places: F64) -> F64:
    """(N, C) of a plane (C, H, W) at (N, 2) coordinates, the first along W."""
    by_cell = np.ascontiguousarray(plane.transpose(1, 2, 0))
    (x, fx), (y, fy) = (cells(places[:, axis], plane.shape[2 - axis]) for axis in (0, 1))
    right, below = (np.minimum(low + 1, plane.shape[2 - axis] - 1) for axis, low in enumerate((x, y)))
    fx, fy = fx[:, None], fy[:, None]
    upper = by_cell[y, x] * (1 - fx) + by_cell[y, right] * fx
    lower = by_cell[below, x] * (1 - fx) + by_cell[below, right] * fx
    return np.asarray(upper * (1 - fy) + lower * fy)


def _voxel_mask(grid: F32, corners: F64, means: F32) -> F32:
    """(N, 1): the authors' empty_voxel, a grid (X, Y, Z) interpolated trilinearly, zero outside."""
    size = np.array(grid.shape)
    position = (means - corners[0]) / (corners[1] - corners[0]) * (size - 1)
    position = np.clip(position, -1, size)  # farther out it is zero all the same, and indices stay small
    low = np.floor(position).astype(np.int64)
    padded = np.pad(grid.astype(np.float64), 2)  # cells from -1 - 1 to size + 1
    out = np.zeros(len(means))
    for corner in np.ndindex(2, 2, 2):
        at = low + corner
        out += padded[tuple((at + 2).T)] * np.prod(1 - np.abs(position - at), axis=1)
    return out[:, None].astype(np.float32)


def _head(graph: Graph, layers: tuple[Layer, Layer], hidden: str) -> str:
    """hidden: after its ReLU.

    The last layer is widened to a multiple of 4 columns: WebGPU then multiplies by vectors. For 3 columns that takes
    260 instead of 680 ms on SwiftShader (7,168 rows of 64).
    """
    weight, bias = layers[1]
    columns = len(bias)
    more = -columns % 4
    inner = graph.op("Relu", graph.linear(hidden, *layers[0]))
    wide = graph.op("MatMul", inner, np.ascontiguousarray(np.pad(weight, ((0, more), (0, 0))).T))
    return graph.op("Add", graph.columns(wide, 0, columns) if more else wide, bias)


def _product(graph: Graph, quats: F32, change: str) -> str:
    """Rows quats * change (Hamilton, w x y z): linear in `change`, so each of its columns scales constant rows."""
    w, x, y, z = quats.T
    terms = (np.stack(row, axis=1) for row in ((w, x, y, z), (-x, w, z, -y), (-y, -z, w, x), (-z, y, -x, w)))
    total = ""
    for column, term in enumerate(terms):
        scaled = graph.op("Mul", graph.columns(change, column, 1), term)
        total = graph.op("Add", total, scaled) if total else scaled
    return total
