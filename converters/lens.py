"""Our own .lens files as a source: their full detail, as stored, for other formats and for merging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.source import Source, SourceInfo
from splatlens.converters.transform import similarity, transformed
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.lens_layout import CLUSTER_SPLATS, MAGIC
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.viewer.lens_reader import LensReader
    from splatlens.viewer.live import LiveLayer


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a .lens."""
    return head.startswith(MAGIC)


def open_lens(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the head only. Raises LensError, UnsupportedError where a layer cannot be given as splats as they are."""
    from splatlens.viewer.lens_reader import LensReader  # decoders that no other format needs

    with LensReader.open(path) as reader:
        scene, layers = reader.scene, reader.layers
        cameras = reader.cameras()
        notices = tuple(reader.notices)
    for i, layer in enumerate(layers):
        if layer.splats is None:
            why = f"layer {i} of kind {layer.kind!r} has no stored splats"
            raise UnsupportedError(f"{path}: {why}; give what it was made of, or another file")
        try:
            similarity(layer.transform)
        except LensError as error:
            raise UnsupportedError(f"{path}: layer {i}: {error}") from error
    kernels = [layer.splats.kernel for layer in layers if layer.splats]
    if len(set(kernels)) > 1:
        raise UnsupportedError(f"{path}: its layers were trained with different kernels; they cannot be made one")
    info = SourceInfo(
        path,
        "lens",
        sum(layer.splats.splats for layer in layers if layer.splats),
        max(layer.splats.sh_degree for layer in layers if layer.splats),
        path.stat().st_size,
        warnings=notices,
        cameras=cameras,
        up=scene.up,
        background=scene.background,
        antialias=kernels[0].antialias,
        dilation=kernels[0].dilation,
        title=scene.title,
        attribution=scene.attribution,
        licence=scene.licence,
        camera=scene.camera,
        files=(path,),
    )

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        from splatlens.viewer.paged import LensPages  # imports wgpu: half a second that no other format needs

        with LensReader.open(path) as opened:
            for index, layer in opened.splats_layers.items():
                pages, matrix = LensPages(layer), layers[index].transform
                leaves = np.flatnonzero(pages.nodes.child_count == 0)
                step = max(1, rows // CLUSTER_SPLATS)
                for start in range(0, len(leaves), step):
                    part = pages.splats(leaves[start : start + step]).with_sh_degree(info.sh_degree)
                    if not np.array_equal(matrix, np.eye(4)):
                        part = transformed(part, matrix)
                    for first in range(0, len(part), rows):
                        yield part.take(slice(first, first + rows))

    return Source(info, read)


def live_layers(reader: LensReader) -> dict[int, LiveLayer]:
    """Layers that are made anew for every moment, by number; nothing of them is read yet."""
    from splatlens.viewer.live import LIVE_KINDS, LiveLayer

    found = {}
    for i, layer in enumerate(reader.layers):
        if layer.kind in LIVE_KINDS:
            place = f"{reader.name}: layer {i}" + (f" ({layer.name})" if layer.name else "")
            blob = partial(reader.blob, i)
            found[i] = LiveLayer(i, layer.kind, layer.name, layer.transform, place, blob, layer.properties)
    return found


FORMAT: Format = Format(
    "lens",
    "splatlens scene",
    (".lens",),
    sniff,
    open_lens,
    reads="full detail of every splats layer, cameras and facts",
    writes="a tree of levels of detail, a layer for each input, pages for streaming",
    loses="full float32: splats are quantised",
)
