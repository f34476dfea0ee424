"""SPZ files (Niantic): reader of versions 1 to 4, writer of 3 and 4."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters import spz_values as values
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.source import Source, SourceInfo, checked
from splatlens.converters.spz_layout import (
    AGAIN,
    ANTIALIASED,
    HAS_EXTENSIONS,
    HEADER,
    HEADER_REST,
    MAGIC,
    MOST_EXTENSION_BYTES,
    Extensions,
    Header,
    parse_extensions,
    parse_header,
    to_trained,
)
from splatlens.converters.spz_payload import (
    GZIP_MAGIC,
    MOST_DEFLATE,
    Stream,
    after_planes,
    beginning,
    planes_of,
    read_toc,
)
from splatlens.converters.spz_write import write_spz
from splatlens.converters.transform import transformed
from splatlens.viewer.errors import FormatError
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

#: Most rows decoded at once, whatever is asked for: 15 MB at SH 3.
BLOCK_ROWS = 1 << 16


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is an SPZ: its magic number at the start, or inside gzip."""
    if not head.startswith(GZIP_MAGIC):
        return head.startswith(MAGIC)
    try:
        return beginning(path, len(MAGIC)) == MAGIC
    except FormatError:
        return False


def open_spz(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header, the extension records and, of version 4, the table of streams, and checks sizes by them.

    Extension records of versions 1 to 3 stand at the end of the gzip stream: only files that say to have some are
    decompressed here. Reading decodes once, the planes (19 to 92 bytes a splat) to memory up to 64 MiB, else to disk.
    Raises FormatError for a damaged file, UnsupportedError for versions and degrees that are not read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = file.read(HEADER.size + HEADER_REST.size)
        zipped = data.startswith(GZIP_MAGIC)
        header = parse_header(path, beginning(path, HEADER.size) if zipped else data, zipped)
        streams: list[Stream] = []
        warnings: list[str] = []
        records = b""
        if header.version >= 4:
            streams, warnings = read_toc(path, header, file, size)
            file.seek(HEADER.size + HEADER_REST.size)
            records = file.read(min(header.toc - file.tell(), MOST_EXTENSION_BYTES))
        else:
            room = (size * MOST_DEFLATE if zipped else size) - HEADER.size
            if sum(header.sizes) > room:
                promise = f"the header promises {header.count} splats of {sum(header.strides)} bytes"
                follow = f"{size} compressed bytes hold" if zipped else f"{room} bytes follow, enough for"
                most = room // sum(header.strides)
                raise FormatError(f"{path}: {promise}, but {follow} {most} at most; the file is truncated: {AGAIN}")
            if zipped and header.flags & HAS_EXTENSIONS:
                records = after_planes(path, header)
    extensions = parse_extensions(records) if header.flags & HAS_EXTENSIONS else Extensions()
    degree = min(header.sh_degree, 3)
    if header.sh_degree > degree:
        warnings.append(f"SH of degree {header.sh_degree} was reduced to {degree}")
    info = SourceInfo(
        path, "spz", header.count, degree, size, extensions.ignored, (*warnings, *extensions.warnings),
        antialias=bool(header.flags & ANTIALIASED), files=(path,),
    )  # fmt: skip
    frame = "RDF" if options.as_stored else extensions.frame

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        rows = min(rows, BLOCK_ROWS)
        with planes_of(path, header, streams, zipped) as (file, start):
            for first in range(0, header.count, rows):
                planes = _load(path, header, file, start, first, min(rows, header.count - first))
                splats = _decoded(header, planes, degree, values.TURN if frame == "RUB" else values.STAY)
                if header.version == 1:  # only halves can be infinite or NaN
                    splats = checked(
                        splats.means, splats.quats, splats.scales, splats.opacities, splats.sh, dropped
                    )
                yield splats if frame in ("RUB", "RDF") else transformed(splats, to_trained(frame))

    return Source(info, read)


def _load(path: Path, header: Header, file: IO[bytes], start: int, first: int, rows: int) -> list[NDArray[np.uint8]]:
    """(rows, bytes) of each plane."""
    planes = []
    for stride, size in zip(header.strides, header.sizes, strict=True):
        file.seek(start + first * stride)
        data = file.read(rows * stride)
        if len(data) < rows * stride:
            raise FormatError(f"{path}: the file was cut short while it was read; read it again once it is complete")
        planes.append(np.frombuffer(data, np.uint8).reshape(rows, stride))
        start += size
    return planes


def _decoded(header: Header, planes: list[NDArray[np.uint8]], degree: int, turn: values.Signs) -> Splats:
    positions, alphas, colors, scales, rotations, rest = planes
    if header.version == 1:
        means = values.half_means_of(positions)
    else:
        means = values.means_of(positions, header.fractional_bits)
    quats = values.smallest_three_of(rotations) if header.version >= 3 else values.first_three_of(rotations)
    means *= turn.means
    quats *= turn.quats
    sh = values.sh_of(colors, rest, turn.sh[: SH_COEFFICIENTS[degree]])
    return Splats(means, quats, values.scales_of(scales), values.alphas_of(alphas[:, 0]), sh)


FORMAT: Format = Format(
    "spz",
    "SPZ",
    (".spz",),
    sniff,
    open_spz,
    write_spz,
    options=("as_stored", "spz_version"),
    reads="versions 1 to 4, SH 0 to 4 (4 reduced to 3), antialiasing, named coordinate systems",
    writes="version 4, or 3 on request; right-up-back, SH 0 to 3, antialiasing",
    loses="8 bits a value, 5 and 4 for SH, 24 for positions; scales outside e^-10..e^5.9, SH outside -1..1; no cameras",
)
