"""Live sources at one moment: the splats that they make then, as a source of stored splats."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import Source, checked
from splatlens.converters.transform import transformed
from splatlens.viewer.convert import start_camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.generator import Moment
from splatlens.viewer.generator_bounds import sees_camera
from splatlens.viewer.live import LiveLayer, Settings, live_layer, moments_of
from splatlens.viewer.splats import Splats

__all__ = ["Settings", "baked"]


def baked(sources: Sequence[Source | LayerSource], settings: Settings) -> list[Source | LayerSource]:
    """Every live source as its splats at a moment; stored splats and meshes as they are.

    Raises LensError: post-processing networks, names of controls and tracks that none or several have, nothing live.
    """
    live = {i: one for i, one in enumerate(sources) if isinstance(one, LayerSource) and one.mesh is None}
    if not live:
        why = "--time, --control and --track are for what changes with time"
        raise LensError(f"{sources[0].info.path}: {why}; leave them out")
    layers = [_layer(source, i) for i, source in live.items()]
    moments = moments_of(layers, settings, str(next(iter(live.values())).info.path))
    out = list(sources)
    for (i, source), layer, moment in zip(live.items(), layers, moments, strict=True):
        out[i] = _at(source, layer, moment)
    return out


def _layer(source: LayerSource, index: int) -> LiveLayer:
    made = source.layer()
    layer = live_layer(replace(made, name=made.name or source.info.name), str(source.info.path))
    if layer.kind == "postprocess":
        raise LensError(f"{source.info.path}: finishes pictures and makes no splats; leave it out")
    return replace(layer, index=index)


def _at(source: LayerSource, layer: LiveLayer, moment: Moment) -> Source:
    """The splats of one moment. Colours and splats that depend on the camera are those that the start camera sees."""
    info, bounds = source.info, layer.bounds
    up = info.up or (0.0, -1.0, 0.0)
    matrix = layer.transform
    corners = np.array(list(itertools.product(*np.array(bounds or ((-1,) * 3, (1,) * 3)).T))) @ matrix[:3, :3].T
    camera = info.camera or start_camera((corners + matrix[:3, 3]).astype(np.float32), up)
    made = layer.splats(moment, camera)
    if not np.array_equal(matrix, np.eye(4)):
        made = transformed(made, matrix)
    warnings = layer.notices(moment, camera)
    if not len(made):
        why = f"gives nothing that can be drawn at {moment.seconds:g} s"
        raise LensError("; ".join([f"{info.path}: {why}", *warnings, "choose another --time or other controls"]))
    contract = layer.contract
    if sees_camera(contract) if contract else layer.sequence.info.sh_degree > 0:
        warnings.append("its splats depend on the camera: they are those that the start camera sees")
    warnings = [text.removeprefix(f"{layer.place}: ") for text in warnings]
    info = replace(info, splats=len(made), sh_degree=made.sh_degree)
    info = replace(info, antialias=layer.kernel.antialias, dilation=layer.kernel.dilation)

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for first in range(0, len(made), rows):
            part = made.take(slice(first, first + rows))
            yield checked(part.means, part.quats, part.scales, part.opacities, part.sh, dropped)

    return Source(info.with_warnings(*warnings), read)
