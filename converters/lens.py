"""Our own .lens files as a source: their full detail, as stored, for other formats and for merging."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import Source, SourceInfo
from splatlens.converters.transform import similarity, transformed
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.lens_layout import CLUSTER_SPLATS, MAGIC, Encoding
from splatlens.viewer.scene import LIVE_KINDS, MESH
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.viewer.lens_reader import LensReader
    from splatlens.viewer.live import LiveLayer
    from splatlens.viewer.mesh import MeshTree


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a .lens."""
    return head.startswith(MAGIC)


def open_lens(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the head only. Raises LensError, UnsupportedError where a layer cannot be given as splats as they are."""
    return _stored(path)


def open_parts(path: Path) -> list[Source | LayerSource]:
    """A .lens as several inputs: its stored splats as one, each mesh and each live layer as one. Raises LensError."""
    from splatlens.viewer.lens_reader import LensReader

    with LensReader.open(path) as reader:
        scene, cameras = reader.scene, reader.cameras()
        apart = {i: layer for i, layer in enumerate(reader.layers) if layer.kind in (*LIVE_KINDS, MESH)}
        if not apart:
            return [_stored(path)]
        stored: list[Source | LayerSource] = [_stored(path, apart)] if reader.splats_layers else []
    facts = {name: getattr(scene, name) for name in ("title", "attribution", "licence", "up", "background", "camera")}
    for i, layer in apart.items():
        splats = layer.properties.get("capacity", layer.properties.get("splats", 0))
        info = SourceInfo(path, "lens", splats, 0, 0, **facts, cameras=() if stored else cameras, files=(path,))
        model = None if layer.kind in ("sequence", MESH) else partial(_model, path, i)
        mesh = partial(_mesh, path, i) if layer.kind == MESH else None
        stored.append(LayerSource(info, partial(_blob_layer, path, i), model, mesh=mesh))
    return stored


def _blob_layer(path: Path, index: int) -> BlobLayer:
    from splatlens.viewer.lens_reader import LensReader

    with LensReader.open(path) as reader:
        layer = reader.layers[index]
        blobs = {name: reader.blob(index, name) for name in layer.blobs}
        # What is stored raw stays so: readers fetch parts of it.
        raw = frozenset(n for n, at in layer.blobs.items() if reader.sections[at]["encoding"] == Encoding.RAW)
    return BlobLayer(layer.kind, blobs, layer.properties, layer.name, layer.transform, raw)


def _mesh(path: Path, index: int) -> MeshTree:
    """The levels of detail of a mesh layer, all of them read."""
    from splatlens.viewer.lens_reader import LensReader

    with LensReader.open(path) as reader:
        tree = mesh_trees(reader)[index]
        return replace(tree, surfaces=list(tree.surfaces))


def _model(path: Path, index: int) -> bytes:
    """The model of a layer, its contract inside. Raises LensError."""
    from splatlens.converters.onnx_file import model_bytes, parsed, with_contract
    from splatlens.viewer.live import live_layer

    layer = _blob_layer(path, index)
    contract = live_layer(layer, str(path)).contract
    return model_bytes(with_contract(parsed(layer.blobs["model"], str(path)), contract), str(path))


def _stored(path: Path, without: Collection[int] = ()) -> Source:
    """The splats layers of a file. without: numbers of layers that are left out."""
    from splatlens.viewer.lens_reader import LensReader  # decoders that no other format needs

    with LensReader.open(path) as reader:
        scene, layers = reader.scene, reader.layers
        cameras = reader.cameras()
        notices = tuple(reader.notices)
    for i, layer in enumerate(layers):
        if i in without:
            continue
        if layer.splats is None:
            remedy = "take those of a moment with --time" if layer.kind in LIVE_KINDS else "give another file"
            raise UnsupportedError(f"{path}: layer {i} of kind {layer.kind!r} has no splats; {remedy}")
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
    from splatlens.viewer.live import LiveLayer

    found = {}
    for i, layer in enumerate(reader.layers):
        if layer.kind in LIVE_KINDS:
            place = f"{reader.name}: layer {i}" + (f" ({layer.name})" if layer.name else "")
            blob = partial(reader.blob, i)
            found[i] = LiveLayer(i, layer.kind, layer.name, layer.transform, place, blob, layer.properties)
    return found


def mesh_trees(reader: LensReader) -> dict[int, MeshTree]:
    """Mesh layers, by number; their pages are read from the open file when asked for. Raises LensError."""
    found = {}
    for i, layer in enumerate(reader.layers):
        if layer.kind == MESH:
            from splatlens.viewer.mesh_lens import open_mesh

            where = f"{reader.name}: layer {i}" + (f" ({layer.name})" if layer.name else "")
            found[i] = open_mesh(layer.properties, partial(reader.blob, i), partial(reader.blob_part, i), where)
    return found


FORMAT: Format = Format(
    "lens",
    "splatlens scene",
    (".lens",),
    sniff,
    open_lens,
    reads="full detail of every splats layer, meshes and what is live as they are, cameras and facts",
    writes="a tree of levels of detail, a layer for each input, pages for streaming",
    loses="full float32: splats are quantised",
)
