"""Writes SPZ files of version 3 (gzip) and 4 (Zstandard)."""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import zstandard

from splatlens.converters import spz_values as values
from splatlens.converters.format import WriteOptions
from splatlens.converters.ordering import in_morton_order
from splatlens.converters.source import Source
from splatlens.converters.spz_layout import ANTIALIASED, HEADER, HEADER_REST, PLANES, TOC_ENTRY, Header
from splatlens.viewer.errors import LensError
from splatlens.viewer.files import atomic_write

#: The largest magnitude of a signed 24-bit number.
MOST_FIXED = (1 << 23) - 1
#: As the library writes: 0.24 mm where a unit is a metre. One more costs 5% of a file without SH.
FRACTIONAL_BITS = 12
#: Of 11 MB of SH, level 7 makes 2.01 MB in 1.5 s, 8 1.91 MB in 6 s, 9 1.84 MB in 13 s.
GZIP_LEVEL = 8
#: Of the same SH, level 12, the library's, makes 1.64 MB in 0.8 s, 17 1.15 MB in 8 s, 19 1.09 MB in 12 s; the other
#: planes, 5 MB, take 1.5 s at level 19 and come out 3% smaller than at 17.
ZSTD_LEVEL, ZSTD_SH_LEVEL = 19, 17
#: A median step from row to row below this share of that to a row far off means spatial order: 0.02 to 0.09 in files in
#: Z-order, 0.9 to 1.4 in trained ones. Sorting the former again saves less than 1%.
SPATIAL_STEP = 0.25
_PIECE = 1 << 20


def write_spz(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes right-up-back, as the specification has it, version `options.spz_version`: 3 or 4.

    Rows keep their order where neighbours in the file are neighbours in space, else they are put in Z-order: positions
    and colours shrink by it, and rows of equal depth keep being blended in the source's order where they can. Reads
    `source` twice; the packed planes (20 to 65 bytes a splat) wait in a temporary file ($TMPDIR) until they are
    compressed one by one. Raises LensError where a position is out of reach of 24 bits, or the file cannot be written.
    """
    version, info = options.spz_version, source.info
    if version not in (3, 4):
        raise LensError(f"{path}: SPZ version {version} cannot be written; choose 3 or 4")
    survey = _survey(source)
    if survey.count == 0:
        raise LensError(f"{path}: there are no splats to write; choose another source, or filter out fewer")
    header = Header(
        version, survey.count, info.sh_degree, fractional_bits(path, survey.reach),
        ANTIALIASED if info.antialias else 0, (6 if info.sh_degree else 5) if version == 4 else 0,
        HEADER.size + HEADER_REST.size if version == 4 else 0,
    )  # fmt: skip
    try:
        with tempfile.TemporaryFile() as packed:
            with nullcontext(source) if survey.spatial else in_morton_order(source) as ordered:
                _pack(path, ordered, header, packed, options)
            packed.seek(0)
            with atomic_write(path) as out:
                (_write_streams if version == 4 else _write_gzip)(out, packed, header)
                size = out.seek(0, os.SEEK_END)
    except OSError as error:
        why = f"the temporary file for packing cannot be used: {error.strerror or error}"
        raise LensError(f"{path}: {why}; free some space or set TMPDIR to another folder") from error
    options.progress(1.0)
    return size


@dataclass(frozen=True)
class _Survey:
    """count: rows; reach: largest coordinate, in magnitude; spatial: most rows are near the one before."""

    count: int
    reach: float
    spatial: bool


def _survey(source: Source) -> _Survey:
    count, near, reach = 0, 0, 0.0
    for part in source.chunks():
        means = part.means
        reach = max(reach, float(np.abs(means).max(initial=0)))
        count += len(part)
        if len(part) > 16:
            step = np.median(np.abs(np.diff(means, axis=0)).sum(axis=1))
            near += len(part) if step < SPATIAL_STEP * np.median(np.abs(means - means[::-1]).sum(axis=1)) else 0
    return _Survey(count, reach, 2 * near > count)


def fractional_bits(path: Path, most: float) -> int:
    """Bits behind the point that leave room for coordinates up to `most`. Raises LensError where there is none."""
    bits = FRACTIONAL_BITS
    while bits and most * 2.0**bits > MOST_FIXED:
        bits -= 1
    if most * 2.0**bits > MOST_FIXED:
        why = f"a splat is {most:g} units from the origin, and SPZ holds {MOST_FIXED} at most"
        raise LensError(f"{path}: {why}; move, scale or crop the scene, or write another format")
    return bits


def _pack(path: Path, source: Source, header: Header, file: IO[bytes], options: WriteOptions) -> None:
    """All planes, one after another, as they are compressed."""
    starts = np.cumsum((0, *header.sizes[:-1])).tolist()
    done = 0
    for part in source.chunks():
        if done + len(part) > header.count:
            break
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
    if done != header.count:
        raise LensError(f"{path}: the source changed while it was read; write it again once it is complete")


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
    """Version 3: one gzip member, without name and time; each plane starts a block, and so Huffman codes of its own."""
    stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, 31)
    out.write(stream.compress(header.pack()))
    for size in header.sizes:
        for piece in _pieces(packed, size):
            out.write(stream.compress(piece))
        out.write(stream.flush(zlib.Z_BLOCK))
    out.write(stream.flush())


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    while size:
        piece = file.read(min(size, _PIECE))
        size -= len(piece)
        yield piece
