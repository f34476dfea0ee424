"""Writes SPZ files of version 3 (gzip) and 4 (Zstandard)."""

from __future__ import annotations

import tempfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import zstandard

from splatlens.converters import spz_values as values
from splatlens.converters.format import WriteOptions
from splatlens.converters.ordering import in_morton_order
from splatlens.converters.source import Source
from splatlens.converters.spz_layout import ANTIALIASED, PLANES, TOC_ENTRY, Header
from splatlens.viewer.errors import LensError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import Splats

#: The largest magnitude of a signed 24-bit number.
MOST_FIXED = (1 << 23) - 1
#: As the library writes: 0.24 mm where a unit is a metre. One more costs 5% of a file without SH.
FRACTIONAL_BITS = 12
#: Of 11 MB of SH, level 7 makes 2.01 MB in 1.5 s, 8 1.91 MB in 6 s, 9 1.84 MB in 13 s.
GZIP_LEVEL = 8
#: Of the same SH, level 12, the library's, makes 1.64 MB in 0.8 s, 17 1.15 MB in 8 s, 19 1.09 MB in 12 s; the other
#: planes, 5 MB, take 1.5 s at level 19 and come out 3% smaller than at 17.
ZSTD_LEVEL, ZSTD_SH_LEVEL = 19, 17
_PIECE = 1 << 20


def write_spz(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes the rows in Z-order, right-up-back as the specification has it; `options.spz_version` 3 or 4.

    Reads `source` once; the packed planes (20 to 65 bytes a splat) wait in a temporary file ($TMPDIR) until they are
    compressed one by one. Raises LensError where a position is out of reach of 24 bits, or the file cannot be written.
    """
    version = options.spz_version
    if version not in (3, 4):
        raise LensError(f"{path}: SPZ version {version} cannot be written; choose 3 or 4")
    reach = _Reach()
    with in_morton_order(reach.over(source)) as ordered, tempfile.TemporaryFile() as packed:
        info = ordered.info
        if info.splats == 0:
            raise LensError(f"{path}: there are no splats to write")
        bits = fractional_bits(path, reach.most)
        flags = ANTIALIASED if info.antialias else 0
        streams = (6 if info.sh_degree else 5) if version == 4 else 0
        header = Header(version, info.splats, info.sh_degree, bits, flags, streams, 32 if version == 4 else 0)
        _pack(ordered, header, packed, options)
        packed.seek(0)
        with atomic_write(path) as out:
            if version == 4:
                _write_streams(out, packed, header)
            else:
                _write_gzip(out, packed, header)
            out.seek(0, 2)
            size = out.tell()
    options.progress(1.0)
    return size


class _Reach:
    """Remembers the largest coordinate that passes by, so that the range is known without another pass."""

    most = 0.0

    def over(self, source: Source) -> Source:
        def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
            for part in source.read(rows, dropped):
                self.most = max(self.most, float(np.abs(part.means).max(initial=0)))
                yield part

        return Source(source.info, read)


def fractional_bits(path: Path, most: float) -> int:
    """Bits behind the point that leave room for coordinates up to `most`. Raises LensError where there is none."""
    bits = FRACTIONAL_BITS
    while bits and most * 2.0**bits > MOST_FIXED:
        bits -= 1
    if most * 2.0**bits > MOST_FIXED:
        why = f"a splat is {most:g} units from the origin, and SPZ holds {MOST_FIXED} at most"
        raise LensError(f"{path}: {why}; move, scale or crop the scene, or write another format")
    return bits


def _pack(source: Source, header: Header, file: IO[bytes], options: WriteOptions) -> None:
    """All planes, one after another, as they are compressed."""
    starts = np.cumsum((0, *header.sizes[:-1])).tolist()
    done = 0
    for part in source.chunks():
        sh = part.sh * values.TURN.sh[: part.sh.shape[1]]
        planes = (
            values.pack_means(part.means * values.TURN.means, header.fractional_bits),
            values.pack_alphas(part.opacities), values.pack_colors(sh), values.pack_scales(part.scales),
            values.pack_quats(part.quats * values.TURN.quats), values.pack_sh(sh),
        )  # fmt: skip
        for start, stride, plane in zip(starts, header.strides, planes, strict=True):
            file.seek(start + done * stride)
            file.write(plane.tobytes())
        done += len(part)
        options.progress(0.5 * done / header.count)


def _write_streams(out: IO[bytes], packed: IO[bytes], header: Header) -> None:
    """Version 4: every plane its own zstd frame, which says its size."""
    out.write(header.pack() + bytes(header.streams * TOC_ENTRY.size))
    entries = []
    for plane, size in list(zip(PLANES, header.sizes, strict=True))[: header.streams]:
        before = out.tell()
        level = ZSTD_SH_LEVEL if plane == "sh" else ZSTD_LEVEL
        stream = zstandard.ZstdCompressor(level=level).compressobj(size=size)
        for piece in _pieces(packed, size):
            out.write(stream.compress(piece))
        out.write(stream.flush())
        entries.append(TOC_ENTRY.pack(out.tell() - before, size))
    out.seek(header.toc)
    out.write(b"".join(entries))


def _write_gzip(out: IO[bytes], packed: IO[bytes], header: Header) -> None:
    """Version 3: one gzip member, without name and time."""
    stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31, 9)
    out.write(stream.compress(header.pack()))
    for piece in _pieces(packed, sum(header.sizes)):
        out.write(stream.compress(piece))
    out.write(stream.flush())


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _PIECE))
        size -= len(piece)
        yield piece
