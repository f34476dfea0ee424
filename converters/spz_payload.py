"""Decompresses an SPZ file into its planes, one after another, in bounded memory."""

from __future__ import annotations

import io
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import zstandard

from splatlens.converters.spz_layout import AGAIN, HEADER, MOST_EXTENSION_BYTES, PLANES, TOC_ENTRY, Header
from splatlens.viewer.errors import FormatError, LensError

GZIP_MAGIC = b"\x1f\x8b"
#: Decoded bytes held in memory, a million splats at SH 3; beyond it a temporary file.
SPOOL_BYTES = 64 << 20
#: Bytes decoded at once.
_PIECE = 1 << 18
#: Most bytes that one compressed byte decodes to: deflate's longest match is 258 bytes in 2 bits; the smallest zstd
#: block has 4 bytes and decodes to 128 KiB.
MOST_DEFLATE, MOST_ZSTD = 1032, 1 << 15
#: Windows up to here are taken whatever the plane's size, as encoders choose them that are not told it: 8 MiB at level
#: 19. The most is zstd's own limit for streams, and the window of level 22.
_WINDOW, _MOST_WINDOW = 8 << 20, 128 << 20


@dataclass(frozen=True)
class Stream:
    """Where a plane's zstd frames are in the file, and what they must decode to."""

    plane: str
    offset: int
    compressed: int
    size: int


def inflated(path: Path, piece: int = _PIECE) -> Iterator[bytes]:
    """Decoded bytes of the members of a gzip file, at most `piece` at a time.

    What follows a member and is not another one is left alone. A member's checksum is verified at its end, so only for
    who reads that far. Raises FormatError where the stream is damaged or cut off.
    """
    with path.open("rb") as file:
        stream, data = zlib.decompressobj(wbits=31), file.read(piece)
        while True:
            try:
                out = stream.decompress(data, piece)
            except zlib.error as error:
                raise FormatError(f"{path}: damaged before byte {file.tell()} ({error}); {AGAIN}") from None
            if out:
                yield out
            data = stream.unconsumed_tail
            if stream.eof:
                data = stream.unused_data
                if len(data) < len(GZIP_MAGIC):
                    data += file.read(piece)
                if not data.startswith(GZIP_MAGIC):
                    return
                stream = zlib.decompressobj(wbits=31)
            elif not data and len(out) < piece:  # a full piece may have left more inside zlib
                data = file.read(piece)
                if not data:
                    raise FormatError(f"{path}: the gzip stream is cut off at byte {file.tell()}; {AGAIN}")


def beginning(path: Path, size: int) -> bytes:
    """At most the first `size` decoded bytes of a gzip file, fewer where it has no more. Raises FormatError."""
    data = b""
    for piece in inflated(path, 4096):
        data += piece[: size - len(data)]
        if len(data) == size:
            break
    return data


def after_planes(path: Path, header: Header) -> bytes:
    """Decoded bytes of a gzip file behind its planes, at most MOST_EXTENSION_BYTES. Raises FormatError."""
    rest, skip = b"", HEADER.size + sum(header.sizes)
    for piece in inflated(path, 1 << 16):
        rest += piece[skip:]
        skip = max(0, skip - len(piece))
        if len(rest) > MOST_EXTENSION_BYTES:
            break
    return rest[:MOST_EXTENSION_BYTES]


def read_toc(path: Path, header: Header, file: IO[bytes], size: int) -> tuple[list[Stream], list[str]]:
    """The streams of a version 4 file of `size` bytes, and warnings. Raises FormatError where sizes do not fit."""
    planes = [(plane, count) for plane, count in zip(PLANES, header.sizes, strict=True) if count]
    offset = header.toc + header.streams * TOC_ENTRY.size
    if header.streams < len(planes):
        said = f"{header.streams} streams (byte 15), expected {len(planes)}: {', '.join(plane for plane, _ in planes)}"
        raise FormatError(f"{path}: the header says {said}; {AGAIN}")
    if not 32 <= header.toc <= offset <= size:
        where = f"the table of {header.streams} streams (byte {header.toc}) is not inside the file's {size} bytes"
        raise FormatError(f"{path}: {where}; {AGAIN}")
    file.seek(header.toc)
    table = file.read(header.streams * TOC_ENTRY.size)
    streams, spare = [], 0
    for i, (compressed, plain) in enumerate(TOC_ENTRY.iter_unpack(table)):
        plane, want = planes[i] if i < len(planes) else (f"stream {i}", plain)
        if plain != want:
            said = f"the stream of {plane} is to hold {plain} bytes, but {header.count} splats take {want}"
            raise FormatError(f"{path}: {said} (table of streams, byte {header.toc + 16 * i + 8}); {AGAIN}")
        if compressed > size - offset:
            said = f"the stream of {plane} at byte {offset} is to have {compressed} bytes, but {size - offset} follow"
            raise FormatError(f"{path}: {said}; the file is truncated: {AGAIN}")
        if i < len(planes):
            if plain > MOST_ZSTD * compressed:
                said = f"the stream of {plane} is to hold {plain} bytes in {compressed}, more than zstd can"
                raise FormatError(f"{path}: {said}; {AGAIN}")
            streams.append(Stream(plane, offset, compressed, plain))
        elif plain:
            spare += 1
        offset += compressed
    warnings = [f"{spare} more streams than the format's {len(planes)} were ignored"] if spare else []
    if offset < size:
        warnings.append(f"{size - offset} bytes after the last stream were ignored")
    return streams, warnings


@contextmanager
def planes_of(path: Path, header: Header, streams: list[Stream], zipped: bool) -> Iterator[tuple[IO[bytes], int]]:
    """A file that holds all planes, one after another, and where they start in it; decoded once.

    Takes their size in memory up to SPOOL_BYTES, else in a temporary file ($TMPDIR). Raises FormatError where a stream
    is damaged, shorter or longer than it must be, LensError where the temporary file cannot be written.
    """
    if not zipped and not streams:
        with path.open("rb") as file:
            yield file, HEADER.size
        return
    spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
    with spool:
        pieces = _zstd_pieces(path, streams) if streams else _gzip_pieces(path, sum(header.sizes))
        for piece in pieces:
            try:
                spool.write(piece)
            except OSError as error:
                why = f"the temporary file for decompressing cannot be written: {error.strerror or error}"
                raise LensError(f"{path}: {why}; free some space or set TMPDIR to another folder") from error
        yield spool, 0


def _gzip_pieces(path: Path, size: int) -> Iterator[bytes]:
    """`size` bytes behind the header; a little further is read, for the checksum at the end."""
    skip, left = HEADER.size, size
    most = MOST_EXTENSION_BYTES
    for piece in inflated(path):
        piece, skip = piece[skip:], max(0, skip - len(piece))
        if left:
            yield piece[:left]
        most -= max(0, len(piece) - left)
        left = max(0, left - len(piece))
        if most < 0:
            return
    if left:
        got = f"the stream ends after {size - left} of the {size} bytes that its splats take"
        raise FormatError(f"{path}: {got}; the file is truncated: {AGAIN}")


def _zstd_pieces(path: Path, streams: list[Stream]) -> Iterator[bytes]:
    with path.open("rb") as file:
        for stream in streams:
            window = min(_MOST_WINDOW, max(_WINDOW, stream.size))
            decoder = zstandard.ZstdDecompressor(max_window_size=window)
            file.seek(stream.offset)
            section = io.BufferedReader(_Section(file, stream.compressed))
            reader = decoder.stream_reader(section, read_across_frames=True)
            left = stream.size
            try:
                while left and (piece := reader.read(min(_PIECE, left))):
                    yield piece
                    left -= len(piece)
                over = reader.read(1)
            except zstandard.ZstdError as error:
                at = f"the stream of {stream.plane} at byte {stream.offset} is damaged ({error})"
                raise FormatError(f"{path}: {at}; {AGAIN}") from None
            if left or over:
                holds = f"more than {stream.size}" if over else f"{stream.size - left} of {stream.size}"
                raise FormatError(f"{path}: the stream of {stream.plane} holds {holds} bytes; {AGAIN}")


class _Section(io.RawIOBase):
    """The next `left` bytes of a file as a file of their own."""

    def __init__(self, file: IO[bytes], left: int) -> None:
        self._file, self._left = file, left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # collections.abc.Buffer came with Python 3.12
        view = memoryview(buffer)
        data = self._file.read(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)
