"""Splats that a glTF primitive holds as an SPZ stream in a buffer view (KHR_gaussian_splatting_compression_spz_2)."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splatlens.converters.format import ReadOptions
from splatlens.converters.gltf_file import BLOCK_BYTES, Container
from splatlens.converters.source import Source
from splatlens.converters.spz import open_spz
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.splats import Splats


def open_stream(container: Container, primitive: Field, number: Field) -> Source:
    """The stream in the buffer view `number`, copied to a temporary file that lasts as long as the source.

    Its coordinates are taken as the node's, as CesiumJS does (GltfSpzLoader: coordinate system UNSPECIFIED): the
    draft's words on turning between RUB and LUF are heeded by no known reader. Raises LensError.
    """
    buffer, start, length = container.bytes_of(container.item("bufferViews", number))
    folder = tempfile.TemporaryDirectory(prefix="splatlens-")
    path = _stream_in(folder)
    name = f"{container.path}: SPZ stream of {primitive.path.removeprefix('glTF.')}"
    with container.opened() as reader, path.open("wb") as file:
        for at in range(start, start + length, BLOCK_BYTES):
            file.write(reader.read(buffer, at, min(BLOCK_BYTES, start + length - at)))
    with _named(path, name):
        source = open_spz(path, ReadOptions(as_stored=True))

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        with _named(_stream_in(folder), name):  # holds the folder, which goes when the source goes
            yield from source.read(rows, dropped)

    return Source(source.info, read)


def _stream_in(folder: tempfile.TemporaryDirectory[str]) -> Path:
    return Path(folder.name) / "stream.spz"


@contextmanager
def _named(path: Path, name: str) -> Iterator[None]:
    """Errors speak of the asset instead of the temporary file."""
    try:
        yield
    except LensError as error:
        raise type(error)(str(error).replace(str(path), name)) from error
