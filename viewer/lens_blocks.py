"""Blocks of a .lens file: one RFC 1950 stream each, inflated within bounds; and the extents they may not share."""

from __future__ import annotations

import bisect
import zlib

from splatlens.viewer.errors import FormatError
from splatlens.viewer.lens_layout import MAX_DEFLATE_RATIO


def damaged(message: str) -> FormatError:
    """The error for a file whose bytes cannot be right; message: file, place, what was expected and found."""
    return FormatError(f"{message}; the file is damaged, fetch or convert it again")


_ADLER_BASE = 65521
#: Smallest RFC 1950 stream: header, one empty block, checksum.
MIN_STREAM = 8


def deflate(data: bytes) -> bytes:
    """One RFC 1950 stream. Level 9: what deflates this way is short."""
    return zlib.compress(data, 9)


def prepend(prefix: bytes, stream: bytes, decoded_length: int) -> bytes:
    """The RFC 1950 stream of `prefix` and what `stream` inflates to (decoded_length bytes), without inflating it.

    The prefix ends in a full flush, so the blocks of `stream` follow at a byte boundary and refer to nothing before
    themselves; a reader that wants the prefix alone can stop there. Adler-32 of both: as zlib's adler32_combine.
    """
    encoder = zlib.compressobj(9)
    head = encoder.compress(prefix) + encoder.flush(zlib.Z_FULL_FLUSH)
    a = zlib.adler32(prefix)
    b = int.from_bytes(stream[-4:], "big")
    low = ((a & 0xFFFF) + (b & 0xFFFF) - 1) % _ADLER_BASE
    high = ((a >> 16) + (b >> 16) + decoded_length * ((a & 0xFFFF) - 1)) % _ADLER_BASE
    return head + stream[2:-4] + (high << 16 | low).to_bytes(4, "big")


def inflate(data: bytes, decoded_length: int, where: str) -> bytes:
    """What one RFC 1950 stream holds; exactly `decoded_length` bytes, nothing after it. Raises FormatError."""
    decoder = zlib.decompressobj()
    try:
        # zlib grows the output as it comes, so a wrong length costs no memory beyond what the stream really holds.
        out = decoder.decompress(data, decoded_length + 1)
    except zlib.error as error:
        raise damaged(f"{where}: not a sound zlib stream ({error})") from error
    if len(out) != decoded_length or not decoder.eof or decoder.unused_data:
        if len(out) > decoded_length:
            what = "it holds more"
        elif not decoder.eof:
            what = f"its stream ends after {len(out)}"
        else:
            what = f"its stream holds {len(out)} and {len(decoder.unused_data)} bytes lie after it"
        raise damaged(f"{where}: expected {decoded_length} bytes, {what}")
    return out


def inflate_start(data: bytes, length: int) -> bytes:
    """At most the first `length` bytes of a stream whose end may be missing; fewer where `data` holds fewer."""
    try:
        return zlib.decompressobj().decompress(data, length)
    except zlib.error:
        return b""


def check_lengths(stored: int, decoded: int, limit: int, where: str) -> None:
    """Raises FormatError where a block's lengths cannot be: above `limit` decoded, or more than deflate can hold."""
    if stored < MIN_STREAM or not 0 < decoded <= min(limit, stored * MAX_DEFLATE_RATIO):
        lengths = f"{stored} stored and {decoded} decoded bytes"
        raise damaged(f"{where}: {lengths} cannot be, at most {limit} decoded")


class Extents:
    """Byte ranges of a file that are taken; no two may overlap."""

    def __init__(self, file: str, low: int, high: int) -> None:
        """Ranges must lie in low..high; `file` stands in messages."""
        self._file, self._low, self._high = file, low, high
        self._starts: list[int] = []
        self._taken: list[tuple[int, int, str]] = []

    def add(self, offset: int, length: int, what: str) -> None:
        """Takes a range. Raises FormatError where it leaves the file or overlaps another."""
        end = offset + length
        place = f"{self._file}: {what}: bytes {offset}..{end}"
        if not self._low <= offset <= end <= self._high:
            raise damaged(f"{place} are outside of {self._low}..{self._high}")
        at = bisect.bisect_right(self._starts, offset)
        for start, stop, other in self._taken[max(at - 1, 0) : at + 1]:
            if offset < stop and start < end:
                raise damaged(f"{place} overlap {other} at {start}..{stop}")
        self._starts.insert(at, offset)
        self._taken.insert(at, (offset, end, what))
