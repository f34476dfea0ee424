"""mkkellogg's .ksplat: sections of splats, at levels 1 and 2 quantised in buckets: reader."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.source import Array, Source, SourceInfo, checked
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats

HEADER_BYTES = 4096
SECTION_BYTES = 1024
#: Major and minor version that GaussianSplats3D 0.4.7 writes; it reads no other major one.
VERSION = (0, 1)
#: Steps on either side of a bucket's centre where a section does not say: centres are uint16.
SCALE_RANGE = 32767
#: Bounds of SH coefficients at level 2 where the header says 0.
SH_RANGE = (-1.5, 1.5)
#: SH degrees that the format's tools write.
DEGREES = (0, 1, 2)

_AGAIN = "fetch or export it again"

#: Level: types of a centre, of a scale and quaternion component, and of an SH coefficient.
_TYPES = {0: ("<f4", "<f4", "<f4"), 1: ("<u2", "<f2", "<f2"), 2: ("<u2", "<f2", "u1")}

_HEADER = np.dtype({
    "names": ["version", "unused", "max_sections", "sections", "max_splats", "splats", "level", "sh_range"],
    "formats": ["(2,)u1", "<u2", "<u4", "<u4", "<u4", "<u4", "<u2", "(2,)<f4"],
    "offsets": [0, 2, 4, 8, 12, 16, 20, 36],
    "itemsize": HEADER_BYTES,
})  # fmt: skip
_SECTION = np.dtype({
    "names": [
        "splats", "max_splats", "bucket_splats", "buckets", "block", "bucket_bytes", "scale_range", "full", "partial",
        "degree",
    ],
    "formats": ["<u4", "<u4", "<u4", "<u4", "<f4", "<u2", "<u4", "<u4", "<u4", "<u2"],
    "offsets": [0, 4, 8, 12, 16, 20, 24, 32, 36, 40],
    "itemsize": SECTION_BYTES,
})  # fmt: skip


@dataclass(frozen=True)
class _Section:
    """Where a section's parts stand, in bytes from the start of the file.

    splats: rows in use. bucket_splats, full: splats of a full bucket, and how many those are; partial: buckets that
    hold fewer, their sizes at `start`; buckets: all, their centres at `centres`. step: of a centre's quantisation.
    """

    number: int
    splats: int
    degree: int
    start: int
    bucket_splats: int
    full: int
    partial: int
    buckets: int
    centres: int
    rows: int
    step: float
    scale_range: int


def sniff(head: bytes, path: Path) -> bool:
    """Whether the file is one, although the format has no magic: its version, level, counts and size agree."""
    if len(head) < 44 or head[:4] != bytes([*VERSION, 0, 0]):
        return False
    header = np.frombuffer(head[:44].ljust(HEADER_BYTES, b"\0"), _HEADER)[0]
    counts = 0 < header["sections"] <= header["max_sections"] and 0 < header["splats"] <= header["max_splats"]
    least = HEADER_BYTES + SECTION_BYTES * int(header["max_sections"])
    return bool(counts and header["level"] in _TYPES and path.stat().st_size > least)


def open_ksplat(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header and the sections' headers. Raises FormatError, UnsupportedError for another version."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(HEADER_BYTES)
        if len(data) < HEADER_BYTES:
            raise FormatError(f"{path}: {len(data)} bytes, but a .ksplat header has {HEADER_BYTES}; {_AGAIN}")
        header = np.frombuffer(data, _HEADER)[0]
        version = tuple(int(v) for v in header["version"])
        level, count, most = int(header["level"]), int(header["splats"]), int(header["max_sections"])
        if version != VERSION or header["unused"]:
            found = f"version {version[0]}.{version[1]}, or not a .ksplat file at all"
            raise UnsupportedError(f"{path}: {found}; version 0.1 is read: convert it with GaussianSplats3D 0.4")
        if level not in _TYPES:
            raise UnsupportedError(f"{path}: compression level {level}; levels 0, 1 and 2 are read: {_AGAIN}")
        if not count:
            raise FormatError(f"{path}: the header says 0 splats; export it from a trained scene")
        if HEADER_BYTES + most * SECTION_BYTES > size:
            raise FormatError(f"{path}: the header promises {most} sections, more than {size} bytes hold; {_AGAIN}")
        sections = _sections(path, file, level, most, size)
    total = sum(section.splats for section in sections)
    if total != count:
        raise FormatError(f"{path}: the header says {count} splats, its sections hold {total}; {_AGAIN}")
    degree = max(section.degree for section in sections)
    bounds = [float(v) for v in header["sh_range"]]
    low, high = (v if np.isfinite(v) and v else default for v, default in zip(bounds, SH_RANGE, strict=True))

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        with path.open("rb") as file:
            for section in sections:
                for splats in _read_section(path, file, section, level, (low, high), rows, dropped):
                    yield splats.with_sh_degree(degree)

    return Source(SourceInfo(path, "ksplat", count, degree, size, files=(path,)), read)


def _row(level: int, degree: int) -> np.dtype[Any]:
    centre, value, sh = _TYPES[level]
    fields = [("mean", centre, 3), ("scale", value, 3), ("quat", value, 4), ("rgba", "u1", 4)]
    return np.dtype([*fields, ("sh", sh, 3 * (SH_COEFFICIENTS[degree] - 1))])


def _sections(path: Path, file: BinaryIO, level: int, most: int, size: int) -> tuple[_Section, ...]:
    """Those with splats; every size checked against the file."""
    found = []
    start = HEADER_BYTES + most * SECTION_BYTES
    for number in range(most):
        head = np.frombuffer(file.read(SECTION_BYTES), _SECTION)[0]
        splats, room, degree = int(head["splats"]), int(head["max_splats"]), int(head["degree"])
        full, partial, buckets = int(head["full"]), int(head["partial"]), int(head["buckets"])

        def fail(why: str, number: int = number) -> FormatError:
            return FormatError(f"{path}: section {number}: {why}; {_AGAIN}")

        if degree not in DEGREES:
            raise UnsupportedError(f"{path}: section {number} has SH of degree {degree}; degrees 0, 1 and 2 are read")
        if splats > room:
            raise fail(f"{splats} splats in room for {room}")
        block, bucket_bytes = float(head["block"]), int(head["bucket_bytes"])
        if level and splats:
            if full + partial != buckets:
                raise fail(f"{full} full and {partial} other buckets, but {buckets} in all")
            if bucket_bytes != 12:
                raise fail(f"{bucket_bytes} bytes a bucket, expected 12 for its centre")
            if not 0 < block < np.inf:
                raise fail(f"buckets with sides of {block:g}")
            if full * int(head["bucket_splats"]) > room:
                raise fail(f"{full} full buckets of {head['bucket_splats']} splats, more than its {room}")
        centres = start + 4 * partial
        rows = centres + bucket_bytes * buckets
        end = rows + room * _row(level, degree).itemsize
        if end > size:
            raise fail(f"its {room} splats end at byte {end}, the file at {size}: the file is truncated")
        if splats:
            scale_range = int(head["scale_range"]) or SCALE_RANGE
            step = block / 2 / scale_range
            found.append(_Section(number, splats, degree, start, int(head["bucket_splats"]), full, partial, buckets,
                                  centres, rows, step, scale_range))  # fmt: skip
        start = end
    if not found:
        raise FormatError(f"{path}: no section holds splats; export it from a trained scene")
    return tuple(found)


def _read_section(
    path: Path,
    file: BinaryIO,
    section: _Section,
    level: int,
    sh_range: tuple[float, float],
    rows: int,
    dropped: Counter[str],
) -> Iterator[Splats]:
    """Its splats, at most `rows` at a time. Holds the buckets: 20 bytes each, of 256 splats as a rule."""
    ends, centres = _buckets(path, file, section) if level else (None, None)
    kind = _row(level, section.degree)
    for first in range(0, section.splats, rows):
        number = min(rows, section.splats - first)
        table = np.frombuffer(_exactly(path, file, section.rows + first * kind.itemsize, number * kind.itemsize), kind)
        means: Array = table["mean"]
        if ends is not None and centres is not None:
            bucket = np.searchsorted(ends, np.arange(first, first + number), side="right")
            means = (means.astype(np.float64) - section.scale_range) * section.step + centres[bucket]
        rgba = table["rgba"].astype(np.float64) / 255
        sh = np.empty((number, SH_COEFFICIENTS[section.degree], 3), np.float32)
        sh[:, 0] = (rgba[:, :3] - 0.5) / SH_C0
        rest = table["sh"]
        if level == 2:
            rest = rest / 255 * (sh_range[1] - sh_range[0]) + sh_range[0]
        with np.errstate(invalid="ignore"):  # NaN of the signalling kind
            for degree in range(1, section.degree + 1):  # of each, all coefficients of red, then green, then blue
                of, upto = SH_COEFFICIENTS[degree - 1], SH_COEFFICIENTS[degree]
                band = rest[:, 3 * (of - 1) : 3 * (upto - 1)].reshape(number, 3, upto - of)
                sh[:, of:upto] = band.transpose(0, 2, 1)
            quats, scales = table["quat"].astype(np.float32), table["scale"].astype(np.float32)
        yield checked(means, quats, scales, rgba[:, 3], sh, dropped)


def _buckets(path: Path, file: BinaryIO, section: _Section) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """(B,) the row after the last of each bucket, and (B, 3) their centres; full buckets come first."""
    lengths = np.frombuffer(_exactly(path, file, section.start, 4 * section.partial), "<u4").astype(np.int64)
    ends = np.concatenate([np.arange(1, section.full + 1, dtype=np.int64) * section.bucket_splats, lengths])
    ends[section.full :] = section.full * section.bucket_splats + np.cumsum(lengths)
    if not len(ends) or ends[-1] < section.splats:
        held = f"its buckets hold {ends[-1] if len(ends) else 0} of {section.splats} splats"
        raise FormatError(f"{path}: section {section.number}: {held}; {_AGAIN}")
    centres = np.frombuffer(_exactly(path, file, section.centres, 12 * section.buckets), "<f4")
    return ends, centres.reshape(-1, 3).astype(np.float64)


def _exactly(path: Path, file: BinaryIO, start: int, length: int) -> bytes:
    file.seek(start)
    data = file.read(length)
    if len(data) < length:
        raise FormatError(f"{path}: the file was cut short while it was read; read it again once it is complete")
    return data


FORMAT: Format = Format(
    "ksplat",
    "GaussianSplats3D .ksplat",
    (".ksplat",),
    sniff,
    open_ksplat,
    reads="version 0.1, compression levels 0, 1 and 2, any number of sections, SH 0 to 2",
    loses="SH above degree 2, colours outside 0 to 1; from level 1 on float16 scales and quaternions",
)
