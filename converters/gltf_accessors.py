"""Accessors of a glTF asset: typed views of its buffers, checked against their sizes and decoded in blocks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_file import Buffer, Container, Reader
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field

#: componentType (glTF 2.0 section 3.6.2.2): NumPy type.
TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
NAMES = {"<i1": "signed byte", "<u1": "unsigned byte", "<i2": "signed short", "<u2": "unsigned short"}
NAMES |= {"<u4": "unsigned int", "<f4": "float"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
FLOAT = 5126
#: Most rows of an accessor: its bytes are checked besides.
ROWS = 1 << 40


@dataclass(frozen=True)
class Accessor:
    """`count` rows of `width` values, the first at byte `start` of `buffer`, one every `stride` bytes."""

    path: str
    buffer: Buffer
    start: int
    stride: int
    count: int
    width: int
    type: np.dtype[Any]
    normalised: bool

    @property
    def kind(self) -> str:
        """Component type in words, as the specification's tables have it."""
        return NAMES[self.type.str.replace("|", "<")] + (" normalized" if self.normalised else "")

    def rows(self, reader: Reader, first: int, count: int) -> NDArray[np.float32]:
        """(count, width) values from row `first` on; normalised integers as section 3.6.2.2 has it, others plain."""
        values = self.stored(reader, first, count).astype(np.float32)
        if self.normalised:
            values = np.maximum(values / np.float32(np.iinfo(self.type).max), np.float32(-1))
        return values

    def stored(self, reader: Reader, first: int, count: int) -> NDArray[Any]:
        """(count, width) values from row `first` on, as they are."""
        row = self.width * self.type.itemsize
        data = reader.read(self.buffer, self.start + first * self.stride, (count - 1) * self.stride + row)
        return np.ndarray((count, self.width), self.type, data, strides=(self.stride, self.type.itemsize))


def find_accessor(container: Container, index: Field) -> Accessor:
    """An accessor by its number. Raises LensError where it is damaged, sparse or without bytes."""
    return place_accessor(container, container.item("accessors", index))


def place_accessor(container: Container, accessor: Field) -> Accessor:
    """Where an accessor's values stand. Raises LensError as `find_accessor`."""
    where = f"{container.path}: {accessor.path.removeprefix('glTF.')}"
    code = accessor.member("componentType")
    if code.integer(5120, 5126) not in TYPES:
        code.fail("5120, 5121, 5122, 5123, 5125 or 5126")
    kind = accessor.member("type")
    if kind.text(4096) not in WIDTHS:
        kind.fail(f"one of {', '.join(WIDTHS)}")
    normalised = accessor.has("normalized") and accessor.member("normalized").boolean()
    if normalised and code.value in (5125, FLOAT):
        raise FormatError(f"{where}: normalized values are of byte or short, not {NAMES[TYPES[code.value]]}")
    if accessor.has("sparse"):
        raise UnsupportedError(f"{where} is sparse, which is not supported for splats; export it without sparse data")
    if not accessor.has("bufferView"):
        why = "has no bufferView: its values come from an extension that is not supported"
        raise UnsupportedError(f"{where} {why}; export plain float attributes, or SPZ compression")
    view = container.item("bufferViews", accessor.member("bufferView"))
    buffer, start, length = container.bytes_of(view)
    dtype, width = np.dtype(TYPES[int(code.value)]), WIDTHS[kind.value]
    count = accessor.member("count").integer(1, ROWS)
    offset = accessor.member("byteOffset").integer(0, 1 << 53) if accessor.has("byteOffset") else 0
    row = width * dtype.itemsize
    stride = view.member("byteStride").integer(row, 252) if view.has("byteStride") else row
    need = offset + (count - 1) * stride + row
    if need > length:
        why = f"{count} rows need {need} bytes of {view.path.removeprefix('glTF.')}, which has {length}"
        raise FormatError(f"{where}: {why}; the file is damaged: fetch or export it again")
    return Accessor(accessor.path, buffer, start + offset, stride, count, width, dtype, normalised)
