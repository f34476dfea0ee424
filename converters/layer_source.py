"""Inputs that are not stored splats (generators, networks, sequences, baked meshes): each a layer of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from splatlens.converters.source import SourceInfo
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.mesh import MeshTree


@dataclass(frozen=True)
class LayerSource:
    """A source that is one layer of a .lens as it is: what is made anew for every moment, and baked meshes.

    info: its facts; `splats` is how many it can give, 0 for networks that finish pictures and for meshes. layer: makes
    the layer of a .lens, with the identity as its transform. model: makes the bytes of the .onnx with its contract, for
    exporting alone; None where there is none. describe: what `splatlens info` says besides, plain values. mesh: makes
    the levels of detail of a baked mesh; None for what is made anew for every moment. warnings: those known only once
    the layer was read. telling: makes the layer as `layer` does and tells the share done, 0 to 1, for what takes long.
    All of them raise LensError.
    """

    info: SourceInfo
    layer: Callable[[], BlobLayer]
    model: Callable[[], bytes] | None = None
    describe: Callable[[], dict[str, Any]] = dict
    mesh: Callable[[], MeshTree] | None = None
    warnings: Callable[[], tuple[str, ...]] = tuple
    telling: Callable[[Callable[[float], None]], BlobLayer] | None = None

    def made(self, progress: Callable[[float], None]) -> BlobLayer:
        """The layer, with progress where it tells any. Raises LensError."""
        return self.layer() if self.telling is None else self.telling(progress)

    def facts(self) -> SourceInfo:
        """`info` with the warnings of reading the layer, which it reads for them."""
        return self.info.with_warnings(*self.warnings())
