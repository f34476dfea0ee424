"""Columns of a .rad chunk: inflated once into a spool, from which any rows are decoded."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.rad_layout import AGAIN, ITEM_BYTES, Chunk, Property
from splatlens.viewer.errors import FormatError, LensError

Doubles = NDArray[np.float64]

#: Most bytes of decompressed columns that are kept in memory: a chunk of 65,536 splats takes 1.5 to 16 MB, and as
#: much as is decoded at once. Larger chunks, which Spark does not write, go to a temporary file ($TMPDIR).
SPOOL_BYTES = 16 << 20
#: Bytes read, and most bytes inflated, at a time.
BLOCK = 1 << 16


class Planes:
    """The columns of one chunk. path: the .rad file, for messages. Raises LensError."""

    def __init__(self, path: Path, chunk: Chunk, names: tuple[str, ...]) -> None:
        self._path, self._chunk = path, chunk
        self._starts: dict[str, int] = {}
        self._spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(SPOOL_BYTES))  # noqa: SIM115
        try:
            with chunk.path.open("rb") as file:
                for name in names:
                    self._starts[name] = self._spool.tell()
                    self._fill(file, chunk.properties[name])
        except OSError as error:
            self._spool.close()
            why = f"cannot put the columns of chunk {chunk.number} aside: {error.strerror or error}"
            raise LensError(f"{path}: {why}; free some space or set TMPDIR to another folder") from error
        except BaseException:
            self._spool.close()
            raise

    def __enter__(self) -> Planes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spool.close()

    def _fill(self, file: BinaryIO, column: Property) -> None:
        """Appends a column to the spool, differences summed up."""
        last, at = 0, 0
        for block in _inflated(self._path, self._chunk, file, column):
            if column.encoding.endswith("_delta"):
                values = np.frombuffer(block, np.uint8).copy()
                for first in range(-(at % column.rows), len(values), column.rows):  # each dimension starts from 0
                    part = values[max(first, 0) : first + column.rows]
                    if first < 0:
                        part[:1] += np.uint8(last)
                    np.add.accumulate(part, out=part)
                last = int(values[-1])
                block = values.tobytes()
            at += len(block)
            self._spool.write(block)

    def _bytes(self, column: Property, first: int, rows: int) -> NDArray[np.uint8]:
        """(planes, rows, bytes): rows of every plane of a column."""
        item = ITEM_BYTES[column.encoding]
        planes, width = column.dimensions, item
        if column.encoding == "oct88r8":  # the three bytes of a splat stand together
            planes, width = 1, 3
        elif column.encoding.endswith("_lebytes"):  # all first bytes, then all second ones
            planes, width = column.dimensions * item, 1
        out = np.empty((planes, rows, width), np.uint8)
        for plane, part in enumerate(out):
            self._spool.seek(self._starts[column.name] + (plane * column.rows + first) * width)
            part.reshape(-1)[:] = np.frombuffer(self._spool.read(rows * width), np.uint8)
        return out

    def whole(self, name: str, first: int, rows: int) -> NDArray[np.int64]:
        """(rows,) whole numbers of a column."""
        data = self._bytes(self._chunk.properties[name], first, rows)
        return data.view(f"<u{data.shape[2]}")[0, :, 0].astype(np.int64)

    def values(self, name: str, first: int, rows: int) -> Doubles:
        """(rows, dimensions) of a column; scales are linear. Not for an orientation of three bytes."""
        column = self._chunk.properties[name]
        data, encoding = self._bytes(column, first, rows), column.encoding
        if encoding.endswith("_lebytes"):
            item = ITEM_BYTES[encoding]
            data = data.reshape(item, column.dimensions, rows).transpose(1, 2, 0).copy()
        if encoding in ("f32", "f16", "f32_lebytes", "f16_lebytes", "ln_f16"):
            with np.errstate(over="ignore", invalid="ignore"):  # NaN of the signalling kind
                out: Doubles = data.view(f"<f{data.shape[2]}")[..., 0].T.astype(np.float64)
                return np.exp(out) if encoding == "ln_f16" else out
        raw = data[..., 0].T
        if encoding.startswith("s8"):
            return raw.view(np.int8).astype(np.float64) / 127 * column.high
        span = column.high - column.low
        if encoding == "ln_0r8":
            with np.errstate(over="ignore"):
                return np.where(raw == 0, 0, np.exp(column.low + (raw.astype(np.float64) - 1) * span / 254))
        return column.low + raw.astype(np.float64) / 255 * span

    def quats(self, first: int, rows: int) -> Doubles:
        """(rows, 4) w x y z, w at least 0.

        oct88r8: axis on an octahedron (Meyer et al. 2010), u and v from -1 to 1, and the angle from 0 to pi.
        """
        column = self._chunk.properties["orientation"]
        if column.encoding != "oct88r8":
            xyz = self.values("orientation", first, rows)
            with np.errstate(over="ignore", invalid="ignore"):
                w = np.sqrt(np.maximum(1 - np.einsum("ij,ij->i", xyz, xyz), 0))
            return np.column_stack([w, xyz])
        data = self._bytes(column, first, rows)[0].astype(np.float64) / 255
        uv = 2 * data[:, :2] - 1
        z = 1 - np.abs(uv).sum(axis=1)
        uv -= np.copysign(np.maximum(-z, 0)[:, None], uv)
        axis = np.column_stack([uv, z])
        half = data[:, 2] * np.pi / 2
        axis *= (np.sin(half) / np.linalg.norm(axis, axis=1))[:, None]
        return np.column_stack([np.cos(half), axis])


def _inflated(path: Path, chunk: Chunk, file: BinaryIO, column: Property) -> Iterator[bytes]:
    """The decompressed bytes of a column, neither more nor fewer than its rows take.

    "gz" is a raw deflate stream in Spark's files; a gzip member, as the name would have it, is read as well: no
    deflate stream starts with its magic.
    """

    def fail(why: str) -> FormatError:
        return FormatError(f"{path}: chunk {chunk.number}: {column.name} {why}; {AGAIN}")

    file.seek(column.start)
    left, wanted = column.size, column.decoded_bytes
    decoder = None
    while left or wanted:
        data = file.read(min(BLOCK, left))
        if not data:
            raise fail(f"ends with {wanted} bytes missing" if not left else "was cut short while it was read")
        left -= len(data)
        if not column.packed:
            wanted -= len(data)
            yield data
            continue
        decoder = decoder or zlib.decompressobj(31 if data[:2] == b"\x1f\x8b" else -15)
        more = True
        while data or more:
            try:
                block = decoder.decompress(data, BLOCK)
            except zlib.error as error:
                raise fail(f"cannot be decompressed ({error})") from error
            data, more = decoder.unconsumed_tail, len(block) == BLOCK  # zlib may hold back part of a repetition
            wanted -= len(block)
            if wanted < 0:
                raise fail("decompresses to more than its rows take")
            if block:
                yield block
            if decoder.eof:
                if wanted:
                    raise fail(f"ends with {wanted} bytes missing")
                return
