"""antimatter15's .splatv: Spacetime Gaussians (lite) in a texture's words (antimatter15/splaTV, hybrid.js): reader."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.sequence import CHUNK_ROWS, FRAME_RATE, FRAMES, WIDTHS, sequence_source, time_span
from splatlens.converters.source import SCALE_LIMIT, SourceInfo
from splatlens.converters.spacetime import moving
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import parse_cameras
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field, parse_json
from splatlens.viewer.sequence_kernels import Spacetime

#: First word, and the longest description read, bytes; that of the authors' scene has 500.
MAGIC, MAX_JSON = 0x674B, 1 << 20
#: A splat: centre; halves: rotation, scales (linear), a spare one; colour and opacity; halves: motion, a spare one,
#: change of the rotation, time, width (linear).
ROW = np.dtype([
    ("means", "<f4", 3), ("quats", "<f2", 4), ("scales", "<f2", 3), ("spare", "<f2"), ("rgba", "u1", 4),
    ("motions", "<f2", 9), ("spare2", "<f2"), ("omegas", "<f2", 4), ("time", "<f2"), ("width", "<f2"),
])  # fmt: skip
_AGAIN = "fetch or convert the file again"


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file starts with the magic number and a JSON list."""
    return len(head) > 9 and int.from_bytes(head[:4], "little") == MAGIC and head[8:].lstrip()[:1] == b"["


def open_splatv(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the description, and the end of the rows, which are padded with zeros. Raises FormatError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        start, count, part = _describe(path, file, size)
        count = _without_padding(file, start, count)
    if not count:
        raise FormatError(f"{path}: all of its rows are zero: there are no splats in it; {_AGAIN}")
    info = _with_cameras(SourceInfo(path, FORMAT.name, count, 0, size, files=(path,)), part)
    span = time_span(options, 0.0, 1.0, FRAMES / FRAME_RATE)
    if options.seconds is None:
        why = f"how long it takes is not in the file; played in {span.duration:.3g} s at its normal speed"
        info = info.with_warnings(f"{why}; change by --seconds")

    def read(dropped: Counter[str]) -> Iterator[Spacetime]:
        with path.open("rb") as file:
            file.seek(start)
            for done in range(0, count, CHUNK_ROWS):
                wanted = min(CHUNK_ROWS, count - done)
                data = file.read(wanted * ROW.itemsize)
                if len(data) < wanted * ROW.itemsize:
                    cut = f"the file was cut short while it was read, in row {done + len(data) // ROW.itemsize}"
                    raise FormatError(f"{path}: {cut}; read it again once it is complete")
                rows = np.frombuffer(data, ROW)
                given = {key: rows[key].astype(np.float64) for key in ("means", "motions", "quats", "omegas")}
                rgba = rows["rgba"].astype(np.float64) / 255
                scales = rows["scales"].astype(np.float64)
                scales[(scales < 0) | (scales > SCALE_LIMIT)] = np.nan
                widths = np.clip(np.abs(rows["width"].astype(np.float64)), *WIDTHS)
                times, opacities = rows["time"].astype(np.float64), rgba[:, 3]
                yield moving(given | {"colors": rgba[:, :3]}, times, widths, scales, opacities, dropped)

    return sequence_source(info, span, read)


def _describe(path: Path, file: BinaryIO, size: int) -> tuple[int, int, Field]:
    """First byte and number of rows, and the description of the part that they are."""
    head = file.read(8)
    if len(head) < 8 or int.from_bytes(head[:4], "little") != MAGIC:
        why = f"expected the magic number {MAGIC:#06x}, got {head[:4].hex() or 'nothing'}"
        raise FormatError(f"{path}: not a .splatv file: {why}; check its name and how it was fetched")
    length = int.from_bytes(head[4:], "little")
    if length > min(MAX_JSON, size - 8):
        room = f"{size - 8} bytes follow" if length > size - 8 else f"at most {MAX_JSON} are read"
        raise FormatError(f"{path}: byte 4: a description of {length} bytes, but {room}; {_AGAIN}")
    parts = parse_json(file.read(length), str(path), "description", _AGAIN).items(1, 64)
    start = 8 + length
    for part in parts:
        declared = part.member("size").integer(0, 1 << 40)
        if declared > size - start:
            part.member("size").fail(f"at most the {size - start} bytes that follow")
        if part.member("type").value == "splat":
            if declared % ROW.itemsize:
                part.member("size").fail(f"a multiple of {ROW.itemsize}, the bytes of a splat")
            return start, declared // ROW.itemsize, part
        start += declared
    return parts[0].member("type").fail("'splat' as the type of one part")


def _without_padding(file: BinaryIO, start: int, count: int) -> int:
    """Rows up to the last one that is not zero: the texture's rows of 1,024 splats are filled up."""
    while count:
        rows = min(count, 4096)
        file.seek(start + (count - rows) * ROW.itemsize)
        data = np.frombuffer(file.read(rows * ROW.itemsize), np.uint8).reshape(rows, -1)
        filled = np.flatnonzero(data.any(axis=1))
        if len(filled):
            return count - rows + int(filled[-1]) + 1
        count -= rows
    return 0


def _with_cameras(info: SourceInfo, part: Field) -> SourceInfo:
    """The facts with the cameras of the description, in the form of the 3DGS reference code's cameras.json."""
    if not part.has("cameras"):
        return info
    try:
        cameras: tuple[Camera, ...] = tuple(parse_cameras(part.member("cameras").value, str(info.path)))
    except LensError as error:
        return info.with_warnings(f"cameras left out: {error}")
    return replace(info, cameras=cameras, camera=next(iter(cameras), None))


FORMAT: Format = Format(
    "splatv",
    "antimatter15 .splatv",
    (".splatv",),
    sniff,
    open_splatv,
    sh_degree=0,
    options=("time_span", "seconds"),
    live=True,
    reads="Spacetime Gaussians (lite): 64 bytes a splat, cameras of the description",
    loses="becomes a sequence layer",
)
