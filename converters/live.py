"""Inputs that are not stored splats (generators, post-processing networks, sequences): each a layer of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from splatlens.converters.source import SourceInfo
from splatlens.viewer.blob_layer import BlobLayer


@dataclass(frozen=True)
class LiveSource:
    """A source whose splats are made anew for every moment, or that changes the picture.

    info: its facts; `splats` is how many it can give, 0 for a post-processing network. layer: makes the layer of a
    .lens, with the identity as its transform. model: makes the bytes of the .onnx with its contract, for exporting
    alone; None for sequences. Both raise LensError. describe: what `splatlens info` says besides, plain values.
    """

    info: SourceInfo
    layer: Callable[[], BlobLayer]
    model: Callable[[], bytes] | None = None
    describe: Callable[[], dict[str, Any]] = dict
