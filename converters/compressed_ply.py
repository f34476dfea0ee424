"""Compressed PLY (PlayCanvas, SuperSplat): splats packed into 16 bytes within the bounds of chunks of 256."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters import ordering
from splatlens.converters.format import Format, ReadOptions, WriteOptions
from splatlens.converters.ordering import exact_chunks, in_compact_runs, in_morton_order
from splatlens.converters.ply_header import (
    Element,
    Header,
    comments_of,
    listed,
    read_header,
    vertex_columns,
    with_comments,
)
from splatlens.converters.source import Source, SourceInfo, checked
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats

Float64 = NDArray[np.float64]

#: Splats that share bounds.
CHUNK = 256
#: Most rows decoded at once: 18 MB at SH 3.
BLOCK_ROWS = 1 << 15
#: Logarithms of scales are clamped to it, as other writers do: exp(-20) = 2e-9 stands for the 0 of a disc.
LOG_SCALE_LIMIT = 20.0
#: Bits of the three parts of a packed position, and of a packed scale.
BITS = (11, 10, 11)

_AXES = ("x", "y", "z")
_BOUNDS = tuple(f"{end}_{axis}" for end in ("min", "max") for axis in _AXES)
_SCALE_BOUNDS = tuple(f"{end}_scale_{axis}" for end in ("min", "max") for axis in _AXES)
_COLOUR_BOUNDS = tuple(f"{end}_{channel}" for end in ("min", "max") for channel in "rgb")
_PACKED = ("packed_position", "packed_rotation", "packed_scale", "packed_color")
_AGAIN = "export it again"

#: The value of each byte of a SH coefficient: steps of 1/32 in -4..4, at their middles but for the first and last.
SH_VALUES = (np.concatenate([[0], (np.arange(1, 255) + 0.5) / 256, [1]]) * 8 - 4).astype(np.float32)


@dataclass(frozen=True)
class _Table:
    """An element's rows in the file. start: byte of the first; row: its dtype with the properties' names."""

    start: int
    row: np.dtype[Any]


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a PLY with packed positions."""
    return "packed_position" in vertex_columns(head, path)


def open_compressed(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header only. Raises FormatError for a damaged file, UnsupportedError for an unknown layout."""
    with path.open("rb") as file:
        header = read_header(path, file)
        size = os.fstat(file.fileno()).st_size
    elements = {e.name: e for e in header.elements}
    for name in ("chunk", "vertex"):
        if name not in elements:
            found = listed(list(elements))
            raise FormatError(f"{path}: a compressed PLY without element {name!r} (elements: {found}); {_AGAIN}")
    sh, count = elements.get("sh"), elements["vertex"].count
    _check_columns(path, header, elements)
    if count == 0:
        raise FormatError(f"{path}: the header says 'element vertex 0': no splats; export it from a trained scene")
    if elements["chunk"].count != (want := -(-count // CHUNK)):
        why = f"'element chunk {elements['chunk'].count}', but {count} splats have {want} chunks of {CHUNK}"
        raise FormatError(f"{path}: {why}; the header is damaged: {_AGAIN}")
    if sh is not None and sh.count != count:
        why = f"'element sh {sh.count}', but there are {count} splats"
        raise FormatError(f"{path}: {why}; the header is damaged: {_AGAIN}")
    tables, end = {}, header.size
    for element in header.elements:
        row = np.dtype([(p.name, header.byte_order + p.type) for p in element.properties])
        tables[element.name] = _Table(end, row)
        end += element.count * row.itemsize
        if end > size and element.name in ("chunk", "vertex", "sh"):
            promise = f"{element.count} rows of element {element.name} end at byte {end}"
            raise FormatError(f"{path}: {promise}, the file at {size}; it is truncated: fetch or export it again")
    coefficients = 1 + (len(sh.properties) // 3 if sh is not None else 0)
    kept = min(coefficients, SH_COEFFICIENTS[-1])
    info = SourceInfo(path, "compressed-ply", count, SH_COEFFICIENTS.index(kept), size, files=(path,))
    if kept < coefficients:
        info = info.with_warnings("spherical harmonics of degree 4 were reduced to degree 3")
    if end < size:
        info = info.with_warnings(f"{size - end} bytes after the last row were ignored")

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        rows = min(rows, BLOCK_ROWS)
        with path.open("rb") as file:
            for first in range(0, count, rows):
                n = min(rows, count - first)
                low, high = first // CHUNK, (first + n - 1) // CHUNK
                bounds = _load(path, file, tables["chunk"], low, high + 1 - low)
                bounds = bounds[np.arange(first, first + n) // CHUNK - low]
                packed = _load(path, file, tables["vertex"], first, n)
                rest = None if sh is None else _load(path, file, tables["sh"], first, n)
                yield _decode(bounds, packed, rest, kept, dropped)

    return Source(with_comments(info, header.comments), read)


def _check_columns(path: Path, header: Header, elements: dict[str, Element]) -> None:
    """Whether the elements have the columns and types of the format."""
    if header.ascii:
        raise UnsupportedError(f"{path}: a compressed PLY in ascii is not supported; export it as a binary PLY")
    for element in header.elements:
        if element.has_lists:
            raise UnsupportedError(f"{path}: lists in element {element.name[:40]!r} of a compressed PLY; {_AGAIN}")
    columns = {name: {p.name: p.type for p in element.properties} for name, element in elements.items()}
    colours = _COLOUR_BOUNDS if any(name in columns["chunk"] for name in _COLOUR_BOUNDS) else ()
    wanted: list[tuple[str, tuple[str, ...], tuple[str, ...], str]]
    wanted = [("chunk", (*_BOUNDS, *_SCALE_BOUNDS, *colours), ("f4", "f8"), "float or double")]
    wanted += [("vertex", _PACKED, ("u4", "i4"), "uint")]
    if "sh" in columns:
        rest = len(columns["sh"])
        if rest not in (9, 24, 45, 72):
            expected = "expected 9, 24 or 45 (SH degree 1 to 3)"
            raise UnsupportedError(f"{path}: element sh has {rest} columns, {expected}; {_AGAIN}")
        wanted += [("sh", tuple(f"f_rest_{i}" for i in range(rest)), ("u1",), "uchar")]
    for name, names, types, expected in wanted:
        if absent := [column for column in names if column not in columns[name]]:
            found = listed(list(columns[name]))
            raise FormatError(f"{path}: element {name} lacks {listed(absent)}; columns found: {found}; {_AGAIN}")
        if odd := [column for column in names if columns[name][column] not in types]:
            raise UnsupportedError(f"{path}: element {name}: {listed(odd)} must be {expected}; {_AGAIN}")


def _load(path: Path, file: BinaryIO, table: _Table, first: int, count: int) -> NDArray[Any]:
    """Rows of an element."""
    file.seek(table.start + first * table.row.itemsize)
    data = file.read(count * table.row.itemsize)
    if len(data) < count * table.row.itemsize:
        raise FormatError(f"{path}: the file was cut short while it was read; read it again once it is complete")
    return np.frombuffer(data, table.row)


def _decode(
    bounds: NDArray[Any], packed: NDArray[Any], rest: NDArray[Any] | None, coefficients: int, dropped: Counter[str]
) -> Splats:
    """Splats of n packed rows with the n rows of bounds that hold for them, and their SH bytes."""
    position, rotation, scale, colour = (packed[name].astype(np.uint32) for name in _PACKED)
    with np.errstate(over="ignore", invalid="ignore"):
        means = _between(bounds, _BOUNDS, _unpack(position))
        log_scales = _between(bounds, _SCALE_BOUNDS, _unpack(scale))
        scales = np.exp(log_scales)
        bytes_ = np.stack([(colour >> np.uint32(shift)) & np.uint32(255) for shift in (24, 16, 8, 0)], axis=1) / 255
        rgb = bytes_[:, :3]
        if _COLOUR_BOUNDS[0] in (bounds.dtype.names or ()):
            rgb = _between(bounds, _COLOUR_BOUNDS, rgb)
        sh = np.empty((len(packed), coefficients, 3), np.float32)
        sh[:, 0] = (rgb - 0.5) / SH_C0
    if rest is not None:
        per_channel = len(rest.dtype.names or ()) // 3
        for k in range(coefficients - 1):
            for channel in range(3):  # channel-major, as in a 3DGS PLY
                sh[:, 1 + k, channel] = SH_VALUES[rest[f"f_rest_{channel * per_channel + k}"]]
    finite = np.logical_and.reduce(np.isfinite(log_scales), axis=1)
    return checked(means, unpack_rotations(rotation), scales, bytes_[:, 3], sh, dropped, finite)


def _between(bounds: NDArray[Any], names: tuple[str, ...], share: Float64) -> Float64:
    """(N, 3) between the columns of minima (the first three names) and of maxima."""
    low, high = (np.stack([bounds[n] for n in part], axis=1).astype(np.float64) for part in (names[:3], names[3:]))
    return low * (1 - share) + high * share


def _unpack(words: NDArray[np.uint32]) -> Float64:
    """(N, 3) shares 0..1 of words of 11, 10 and 11 bits."""
    parts = [words >> np.uint32(21), (words >> np.uint32(11)) & np.uint32(1023), words & np.uint32(2047)]
    return np.stack(parts, axis=1) / _most(BITS)


def _most(bits: tuple[int, ...]) -> Float64:
    """The largest number of each width."""
    return np.array([2**n - 1 for n in bits], np.float64)


def unpack_rotations(words: NDArray[np.uint32]) -> Float64:
    """(N, 4) quaternions wxyz of words: index of the largest part in two bits, the three others in ten bits each."""
    largest = (words >> np.uint32(30)).astype(np.intp)
    parts = np.stack([(words >> np.uint32(shift)) & np.uint32(1023) for shift in (20, 10, 0)], axis=1)
    others = (parts / 1023 - 0.5) * math.sqrt(2)
    quats = np.empty((len(words), 4))
    np.put_along_axis(quats, _OTHERS[largest], others, axis=1)
    rest = np.maximum(0, 1 - np.einsum("ij,ij->i", others, others))
    np.put_along_axis(quats, largest[:, None], np.sqrt(rest)[:, None], axis=1)
    return quats


#: The parts of a quaternion other than the i-th.
_OTHERS = np.array([[j for j in range(4) if j != i] for i in range(4)])


def write_compressed(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes chunks of 256 splats that lie close together, the tighter the finer their positions are stored.

    Opacities are clipped to 0..1, logarithms of scales to -20..20, SH of degree 1 and above to -4..4. Raises LensError
    where the file cannot be written; what stood at `path` stays until the new file is complete.
    """
    with in_morton_order(source) as ordered, atomic_write(path) as file:
        total = ordered.info.splats
        rest = 3 * (SH_COEFFICIENTS[ordered.info.sh_degree] - 1)
        chunks = -(-total // CHUNK)
        lines = ["ply", "format binary_little_endian 1.0", *comments_of(source.info), f"element chunk {chunks}"]
        lines += [f"property float {name}" for name in (*_BOUNDS, *_SCALE_BOUNDS, *_COLOUR_BOUNDS)]
        lines += [f"element vertex {total}", *(f"property uint {name}" for name in _PACKED)]
        lines += [f"element sh {total}", *(f"property uchar f_rest_{i}" for i in range(rest))] if rest else []
        file.write("\n".join([*lines, "end_header", ""]).encode())
        # Three tables one after the other, each filled as the splats come.
        at_bounds = file.tell()
        at_packed = at_bounds + chunks * 4 * 18
        at_sh = at_packed + total * 16
        done = 0
        for part in in_compact_runs(exact_chunks(ordered, ordering.MEMORY_ROWS), CHUNK):
            bounds, packed = pack(part)
            places = (at_bounds + done // CHUNK * 72, at_packed + done * 16, at_sh + done * rest)
            for place, data in zip(places, (bounds.tobytes(), packed.tobytes(), _sh(part).tobytes()), strict=True):
                file.seek(place)
                file.write(data)
            done += len(part)
            options.progress(done / total)
        file.seek(0, os.SEEK_END)
        return file.tell()


def pack(splats: Splats) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
    """(chunks, 18) bounds and (N, 4) packed words of N splats, the first of a chunk at every 256th."""
    log_scales = np.clip(np.log(splats.scales.astype(np.float64)), -LOG_SCALE_LIMIT, LOG_SCALE_LIMIT)
    means, means_bounds = _quantise(splats.means.astype(np.float64), BITS)
    scales, scales_bounds = _quantise(log_scales, BITS)
    colours, colour_bounds = _quantise(splats.sh[:, 0].astype(np.float64) * SH_C0 + 0.5, (8, 8, 8))
    opacities = np.rint(np.clip(splats.opacities.astype(np.float64), 0, 1) * 255).astype(np.uint32)
    words = np.empty((len(splats), 4), "<u4")
    words[:, 0] = _joined(means, (21, 11, 0))
    words[:, 1] = pack_rotations(splats.quats)
    words[:, 2] = _joined(scales, (21, 11, 0))
    words[:, 3] = _joined(colours, (24, 16, 8)) | opacities
    return np.concatenate([means_bounds, scales_bounds, colour_bounds], axis=1), words


def _quantise(values: Float64, bits: tuple[int, ...]) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """(N, 3) numbers of `bits` between the bounds of their chunk, and those, (chunks, 6) float32."""
    firsts = np.arange(0, len(values), CHUNK)
    # Shares are taken of the bounds as they are stored.
    low = np.minimum.reduceat(values, firsts).astype("<f4")
    high = np.maximum.reduceat(values, firsts).astype("<f4")
    chunk = np.arange(len(values)) // CHUNK
    span = high.astype(np.float64) - low
    share = (values - low[chunk]) / np.where(span > 0, span, 1)[chunk]
    return np.rint(np.clip(share, 0, 1) * _most(bits)).astype(np.uint32), np.concatenate([low, high], axis=1)


def _joined(parts: NDArray[np.uint32], shifts: tuple[int, ...]) -> NDArray[np.uint32]:
    """(N,) words of the columns shifted left."""
    words: NDArray[np.uint32] = np.bitwise_or.reduce(parts << np.array(shifts, np.uint32), axis=1)
    return words


def pack_rotations(quats: NDArray[np.floating]) -> NDArray[np.uint32]:
    """(N,) words of (N, 4) unit quaternions, as `unpack_rotations` reads them."""
    largest = np.abs(quats).argmax(axis=1)
    rows = np.arange(len(quats))
    turned = quats * np.where(quats[rows, largest] < 0, -1.0, 1.0)[:, None]
    others = np.take_along_axis(turned, _OTHERS[largest], axis=1)
    parts = np.rint(np.clip(others * math.sqrt(0.5) + 0.5, 0, 1) * 1023).astype(np.uint32)
    words: NDArray[np.uint32] = _joined(parts, (20, 10, 0)) | largest.astype(np.uint32) << np.uint32(30)
    return words


def _sh(splats: Splats) -> NDArray[np.uint8]:
    """(N, 3 (K - 1)) bytes, channel-major: the step of 1/32 that a coefficient lies in."""
    rest = splats.sh[:, 1:].transpose(0, 2, 1).reshape(len(splats), -1)
    return np.clip(np.floor(rest * 32 + 128), 0, 255).astype(np.uint8)


FORMAT: Format = Format(
    "compressed-ply",
    "compressed PLY (PlayCanvas)",
    (".compressed.ply",),
    sniff,
    open_compressed,
    write_compressed,
    reads="chunks with and without colour bounds, SH 0 to 3",
    writes="16 bytes a splat and one a SH coefficient, chunks packed tightly in space",
    loses="positions to 11, 10 and 11 bits and colours to 8 in a chunk of 256, opacity 8 bits, quaternion 10 bits a "
    "part, SH steps of 1/32 within ±4; no cameras, dilation or licence",
)
