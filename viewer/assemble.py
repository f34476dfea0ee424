"""Turns a cut and a camera into what a frame needs: draw records, uniforms, counts (twin: static/assemble.js)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions, depth_bounds, frame_uniform
from splatlens.viewer.layout import constant, dtype
from splatlens.viewer.records import record_stride
from splatlens.viewer.scene import Kernel

#: Largest number of workgroups a dimension of a dispatch may have, WebGPU's default limit.
MAX_GROUPS = 65535


@dataclass(frozen=True)
class ClusterDraws:
    """The clusters of one layer that a frame draws, ascending by cluster id.

    transform: (4, 4) world-from-layer. slots: (n,) pool slot. counts: (n,) splats, 1..256. sh_degrees: (n,) degree to
    evaluate, 0 while the SH has not arrived. origins: (n, 3) what stored centres are relative to, layer coordinates.
    boxes: (n, 2, 3) least and greatest centre. pool_slots: slots the layer's buffers hold.
    sh_slot_words: u32 of a slot's SH. kernel: the layer's blur.
    """

    transform: NDArray[np.float64]
    slots: NDArray[np.integer]
    counts: NDArray[np.integer]
    sh_degrees: NDArray[np.integer]
    origins: NDArray[np.floating]
    boxes: NDArray[np.floating]
    pool_slots: int
    sh_slot_words: int
    kernel: Kernel = Kernel()


@dataclass(frozen=True)
class RecordDraws:
    """A layer of float32 records, drawn whole. coefficients: SH 1, 4, 9, 16; box: (2, 3) of the centres.

    kernel: its blur.
    """

    transform: NDArray[np.float64]
    rows: int
    coefficients: int
    box: NDArray[np.floating]
    kernel: Kernel = Kernel()


#: Attributes of generated splats in the order of the stage's bindings; `turns` are quaternions.
ATTRIBUTES = ("means", "shapes", "turns", "opacities", "colors")


@dataclass(frozen=True)
class GeneratedDraws:
    """A generator's outputs, projected where they lie.

    rows: that the outputs hold. coefficients: SH 1, 4, 9, 16, or 0 for final colours. covariance: whether `shapes` are
    covariances, then `turns` is not read. words: u32 of each output. columns: attribute -> (output, first element,
    elements a row, whether float16). box: (2, 3) of the centres, None where unknown. kernel: its blur.
    """

    transform: NDArray[np.float64]
    rows: int
    coefficients: int
    covariance: bool
    words: tuple[int, ...]
    columns: Mapping[str, tuple[int, int, int, bool]]
    box: NDArray[np.floating] | None = None
    kernel: Kernel = Kernel()


@dataclass(frozen=True)
class SequenceDraws:
    """A part of a sequence at a time. motion: whose stage draws it.

    rows, words: splats, and words of each. coefficients: SH of one of `terms` terms in time, 1, 4, 9 or 16. time,
    period, cut, unit: as in the struct Sequence. box: (2, 3) of the centres at all times. kernel: its blur.
    """

    transform: NDArray[np.float64]
    motion: str
    rows: int
    words: int
    coefficients: int
    terms: int
    time: float
    unit: float
    period: float
    cut: float
    box: NDArray[np.floating]
    kernel: Kernel = Kernel()


Draws = ClusterDraws | RecordDraws | GeneratedDraws | SequenceDraws
#: Lists of pipeline.json that a frame gives.
LISTS = (
    "cluster_layers", "record_layers", "generated_outputs", "generated_layers", "spacetime_layers", "gaussian4d_layers",
)  # fmt: skip
#: View depth that generated splats of unknown bounds may reach, world units: keys of 20 bits still tell depths apart
#: that differ by 3e-5 of themselves.
FARTHEST = 1e6


@dataclass(frozen=True)
class Assembly:
    """numbers and lists for plan.resolve; uploads: {buffer name: array}; groups: workgroups project runs."""

    numbers: dict[str, int]
    lists: dict[str, list[dict[str, int | str]]]
    uploads: dict[str, NDArray[Any]]
    groups: int


def layer_view(camera: Camera, transform: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(camera-from-layer (4, 4), camera centre in layer coordinates (3,)). LinAlgError for a singular transform."""
    view = camera.world_to_camera @ transform
    return view, np.asarray(-np.linalg.solve(view[:3, :3], view[:3, 3]), np.float64)


def assemble(
    camera: Camera, options: RenderOptions, layers: Sequence[Draws], max_groups: int = MAX_GROUPS
) -> Assembly:
    """The frame that draws `layers`, in that order: (layer, cluster, row) decides among equal depths."""
    group = constant("GROUP")
    draws: list[NDArray[Any]] = []
    views = np.zeros(max(1, len(layers)), dtype("LayerView"))
    lists: dict[str, list[dict[str, int | str]]] = {name: [] for name in LISTS}
    uploads: dict[str, NDArray[Any]] = {}
    first, nearest, farthest = 0, np.inf, -np.inf
    for index, layer in enumerate(layers):
        view, eye = layer_view(camera, layer.transform)
        views["linear"][index, :, :3] = view[:3, :3].T
        views["dilation"][index], views["antialias"][index] = layer.kernel.dilation, layer.kernel.antialias
        span = np.zeros(1, dtype("Span"))
        span["first"] = first
        if isinstance(layer, GeneratedDraws):
            n, low, high = _generated(layer, view, eye, first, lists, uploads, options.near)
            draws.append(np.zeros(n, dtype("Draw")))
            first += n
            nearest, farthest = min(nearest, low), max(farthest, high)
            continue
        if isinstance(layer, ClusterDraws):
            n = len(layer.slots)
            d = np.zeros(n, dtype("Draw"))
            d["offset"] = layer.origins.astype(np.float64) - eye
            d["slot"], d["count"], d["sh_degree"] = layer.slots, layer.counts, layer.sh_degrees
            low, high = depth_bounds(layer.boxes[:, 0].astype(np.float64), layer.boxes[:, 1].astype(np.float64), view)
            name = f"cluster_span.{len(lists['cluster_layers'])}"
            lists["cluster_layers"].append(
                {"groups": n, "slots": layer.pool_slots, "sh_slot_words": layer.sh_slot_words}
            )
        else:
            n = -(-layer.rows // group)
            d = np.zeros(n, dtype("Draw"))
            d["offset"] = -eye
            d["slot"] = np.arange(n) * group
            d["count"] = np.minimum(group, layer.rows - d["slot"].astype(np.int64))
            low, high = depth_bounds(layer.box[None, 0].astype(np.float64), layer.box[None, 1].astype(np.float64), view)
            if isinstance(layer, SequenceDraws):
                span, entries = _sequence(layer, first), lists[f"{layer.motion}_layers"]
                name = f"{layer.motion}.{len(entries)}"
                entries.append({"groups": n, "rows": layer.rows, "words": layer.words})
            else:
                span["stride"], span["sh_coefficients"] = record_stride(layer.coefficients), layer.coefficients
                name = f"record_span.{len(lists['record_layers'])}"
                lists["record_layers"].append(
                    {"groups": n, "rows": layer.rows, "stride": record_stride(layer.coefficients)}
                )
        d["layer"] = index
        span["groups"] = n
        uploads[name] = span
        draws.append(d)
        first += n
        if n:
            nearest, farthest = min(nearest, low), max(farthest, high)
    if not nearest <= farthest:
        nearest = farthest = 1.0
    uploads["frame"] = frame_uniform(
        camera, options, groups=first, depth_range=(nearest, farthest), max_groups=max_groups
    ).reshape(1)
    uploads["layers"] = views
    if draws:
        uploads["draws"] = np.concatenate(draws)
    numbers = {
        "groups": first,
        "layers": max(1, len(layers)),
        "width": camera.width,
        "height": camera.height,
        "max_groups": max_groups,
    }
    return Assembly(numbers, lists, uploads, first)


def _sequence(layer: SequenceDraws, first: int) -> NDArray[np.void]:
    """The struct Sequence of a part; its number of groups is filled in by the caller."""
    s = np.zeros(1, dtype("Sequence"))
    s["first"], s["rows"], s["sh_coefficients"], s["terms"] = first, layer.rows, layer.coefficients, layer.terms
    for name in ("time", "unit", "period", "cut"):
        s[name] = getattr(layer, name)
    return s


def _generated(
    layer: GeneratedDraws,
    view: NDArray[np.float64],
    eye: NDArray[np.float64],
    first: int,
    lists: dict[str, list[dict[str, int | str]]],
    uploads: dict[str, NDArray[Any]],
    near: float,
) -> tuple[int, float, float]:
    """Adds a generator's layer to the frame; its groups, and its least and greatest view depth."""
    groups = -(-layer.rows // constant("GROUP"))
    base = len(lists["generated_outputs"])
    lists["generated_outputs"] += [{"words": words} for words in layer.words]
    g = np.zeros(1, dtype("Generated"))
    g["linear"][0, :, :3], g["offset"] = view[:3, :3].T, -eye
    g["dilation"], g["antialias"] = layer.kernel.dilation, layer.kernel.antialias
    g["first"], g["groups"], g["rows"] = first, groups, layer.rows
    g["sh_coefficients"], g["covariance"] = layer.coefficients, layer.covariance
    entry: dict[str, int | str] = {"groups": groups}
    for name in ATTRIBUTES:
        output, start, stride, half = layer.columns[name]
        g[f"{name}_at"] = start, stride, half
        entry[name] = f"generated_output.{base + output}"
    uploads[f"generated.{len(lists['generated_layers'])}"] = g
    lists["generated_layers"].append(entry)
    if layer.box is None:
        return groups, near, FARTHEST
    low, high = layer.box.astype(np.float64)
    return groups, *depth_bounds(low[None], high[None], view)
