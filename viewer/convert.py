"""Splats, meshes and live layers to a .lens file: tree, pages, codec, container; with progress and a report."""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import splatlens
from splatlens.viewer.blocks import WHOLE_SPLATS
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.lens import WriteReport, write_lens
from splatlens.viewer.lens_build import ChunkedSource, Planned, SourceLayer, plan_source
from splatlens.viewer.lens_layers import BlobLayer, SplatsPlan
from splatlens.viewer.quantised_file import quantised_file
from splatlens.viewer.row_file import temporary_files
from splatlens.viewer.scene import MESH, Kernel, SceneInfo
from splatlens.viewer.splats import Splats

__all__ = [
    "BlobLayer", "ChunkedSource", "ConvertReport", "SourceLayer", "build_lens", "peak_bytes", "start_camera",
    "world_corners",
]  # fmt: skip

#: Share of the time that building the tree takes, for the progress: 0.65 to 0.8 on the test scenes.
TREE_SHARE = 0.7
#: The start camera frames the middle of the scene from this far round and up, degrees, with this field of view.
START_AZIMUTH, START_ELEVATION, START_FOV = 30.0, 20.0, 50.0
START_SIZE = (1280, 720)


@dataclass(frozen=True)
class ConvertReport:
    """seconds: of the whole call, tree_seconds of it for the tree. peak_bytes: largest resident memory of this process
    so far, 0 where the system does not tell."""

    written: WriteReport
    seconds: float
    tree_seconds: float
    peak_bytes: int


def build_lens(
    layers: Splats | ChunkedSource | Sequence[SourceLayer | BlobLayer],
    path: str | Path,
    info: SceneInfo | None = None,
    progress: Callable[[float], None] | None = None,
    *,
    kernel: Kernel | None = None,
    name: str = "",
    workers: int = 2,
    whole: int = WHOLE_SPLATS,
) -> ConvertReport:
    """Writes a scene of layers, drawn in the order given where depths are equal. `progress` hears the share done, 0..1.

    A single source is a layer with `kernel` and `name`. Where `info` has no start camera, the first training camera is
    it, or one that frames the scene; meshes count with their bounds, live layers with those that they state. A layer of
    more than `whole` splats is built block by block: memory is bounded by them. Raises LensError, and leaves nothing
    behind then.
    """
    start = time.perf_counter()
    tell = progress or (lambda share: None)
    chosen = layers if isinstance(layers, Sequence) else [SourceLayer(layers, name, kernel=kernel or Kernel())]
    if not chosen:
        raise LensError("convert: no layers given; give at least one source")
    with temporary_files("building a .lens"), ExitStack() as stack:
        made: list[Planned] = []
        written_layers: list[SplatsPlan | BlobLayer] = []
        live: list[NDArray[np.float64]] = []
        for i, layer in enumerate(chosen):
            if isinstance(layer, BlobLayer):
                written_layers.append(layer)
                live += [corners] if (corners := world_corners(layer)) is not None else []
                continue
            rows = stack.enter_context(quantised_file())

            def hear(share: float, done: int = i) -> None:
                tell(TREE_SHARE * (done + share) / len(chosen))

            made.append(plan_source(layer, rows, hear, whole))
            written_layers.append(made[-1].plan)
        tree_seconds = time.perf_counter() - start
        info = info or SceneInfo()
        if not made and not live:
            raise LensError("convert: nothing in the scene has a place: give splats, a mesh or a generator with it")
        if info.camera is None:
            first = info.cameras[0] if info.cameras else start_camera(_world_centres(made, live), info.up)
            info = replace(info, camera=first)
        info = info if info.converter else replace(info, converter=f"splatlens {splatlens.__version__}")
        if info.bounds is None and live:
            corners = np.concatenate([*live, *(one.plan.world_bounds() for one in made)])
            low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
            info = replace(info, bounds=((low[0], low[1], low[2]), (high[0], high[1], high[2])))

        def hear_writing(share: float) -> None:
            tell(TREE_SHARE + (1 - TREE_SHARE) * share)

        written = write_lens(path, written_layers, info, hear_writing, workers)
    return ConvertReport(written, time.perf_counter() - start, tree_seconds, peak_bytes())


def world_corners(layer: BlobLayer) -> NDArray[np.float64] | None:
    """(8, 3) corners of a mesh's bounds, or those that a live layer states in its contract, or properties; world."""
    found: Any = layer.properties.get("bounds")
    if layer.kind == MESH:
        found = _mesh_bounds(layer)
    if "contract" in layer.blobs:
        found = parse_json(layer.blobs["contract"], f"layer {layer.name}", "contract").object().get("bounds")
    if found is None:
        return None
    corners = np.array(list(itertools.product(*np.array(found, np.float64).T)))
    return np.asarray(corners @ layer.transform[:3, :3].T + layer.transform[:3, 3])


def _mesh_bounds(layer: BlobLayer) -> NDArray[np.float64]:
    """(2, 3) of all its triangles, layer coordinates: those of the root of its levels of detail."""
    from splatlens.viewer.mesh_lens import open_mesh

    def no_part(name: str, offset: int, length: int) -> bytes:
        raise AssertionError("nodes alone are asked for")

    nodes = open_mesh(layer.properties, layer.blobs.__getitem__, no_part, f"layer {layer.name}").nodes
    return np.asarray(nodes.support[0], np.float64)


def _world_centres(layers: Sequence[Planned], live: Sequence[NDArray[np.float64]]) -> NDArray[np.float32]:
    """(S, 3) centres of all layers in world coordinates, each layer's as dense as its splats are.

    live: (8, 3) corners of meshes and live layers, each of which weighs as much as the splats layers do on average.
    """
    step = max((layer.step for layer in layers), default=1)
    parts = []
    for layer in layers:
        matrix = layer.plan.info.transform
        centres = layer.centres[:: max(1, round(step / layer.step))]
        parts.append((centres @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32))
    each = sum(map(len, parts)) // (8 * len(parts)) if parts else 1
    parts += [np.repeat(corners.astype(np.float32), max(1, each), axis=0) for corners in live]
    return np.concatenate(parts)


def start_camera(means: NDArray[np.float32], up: tuple[float, float, float]) -> Camera:
    """A camera that frames the middle 96% of the centres, from the side and a little above. World coordinates."""
    low, high = np.percentile(means.astype(np.float64), [2, 98], axis=0) if len(means) else np.zeros((2, 3))
    centre = (low + high) / 2
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-6)
    y = np.array(up, np.float64) / np.linalg.norm(up)
    # Any direction across up; the axis least along it, so that it is well defined.
    x = np.cross(y, np.eye(3)[np.argmin(np.abs(y))])
    x /= np.linalg.norm(x)
    z = np.cross(x, y)
    azimuth, elevation = math.radians(START_AZIMUTH), math.radians(START_ELEVATION)
    side = math.cos(azimuth) * z + math.sin(azimuth) * x
    direction = math.cos(elevation) * side + math.sin(elevation) * y
    distance = radius / math.sin(math.radians(START_FOV) / 2)
    position = centre + distance * direction
    return Camera.look_at(position.tolist(), centre.tolist(), up, START_FOV, *START_SIZE)


def peak_bytes() -> int:
    """Largest resident memory of this process so far, bytes; 0 where the system does not tell."""
    try:
        # Not getrusage on Linux: a new program there inherits the peak of the one that started it.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
