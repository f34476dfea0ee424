"""PLY files of trained 3D Gaussians (Kerbl et al. 2023, as their reference code saves them): reader and writer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions, WriteOptions
from splatlens.converters.ply_header import Element, Header, read_header
from splatlens.converters.source import Source, SourceInfo, activate
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

#: A function of the most rows a block may hold: blocks of rows as tables, 2-D or structured.
Tables = Callable[[int], Iterator[NDArray[Any]]]

#: Most bytes read at once, whatever the row size: bounds memory for files with thousands of columns.
BLOCK_BYTES = 32 << 20
#: ascii rows parsed at once; 4096 rows of 62 columns are 16 MB of Python objects.
ASCII_ROWS = 4096
#: Bytes an ascii number may take on average over a row; the longest repr of a float64 has 24.
ASCII_NUMBER = 64

_MEANS = ("x", "y", "z")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_SCALES = ("scale_0", "scale_1", "scale_2")
_COLOUR = ("f_dc_0", "f_dc_1", "f_dc_2")
_NORMALS = ("nx", "ny", "nz")
_EXPORT = "export it as a plain 3D Gaussian Splatting PLY"


@dataclass(frozen=True)
class _Columns:
    """Where a file's columns are: indices into a row."""

    geometry: list[int]  # means, quats, scales, opacity: 11
    sh: list[int]  # coefficient-major: 3 for each coefficient
    ignored: tuple[str, ...]


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a PLY."""
    return head[:4] in (b"ply\n", b"ply\r")


def open_ply(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header only. Raises FormatError for a damaged file, UnsupportedError for one of another kind."""
    with path.open("rb") as file:
        header = read_header(path, file)
        size = os.fstat(file.fileno()).st_size
        position = next((i for i, e in enumerate(header.elements) if e.name == "vertex"), None)
        if position is None:
            found = ", ".join(e.name for e in header.elements[:8]) or "none"
            raise FormatError(f"{path}: the header has no element 'vertex' (elements: {found}); {_EXPORT}")
        vertex = header.elements[position]
        columns = _find_columns(path, header, vertex)
        start, first_line = header.size, 0
        for element in header.elements[:position]:
            start, first_line = _skip(path, file, header, element, start, size, first_line)
    if vertex.count == 0:
        raise FormatError(f"{path}: the header says 'element vertex 0': no splats; export it from a trained scene")
    warnings = []
    if "filter_3D" in columns.ignored:
        warnings.append(
            "column filter_3D (Mip-Splatting's 3D filter) is not applied; "
            "create_fused_ply of Mip-Splatting writes a file that has it built in"
        )
    if header.ascii:
        room = (size - start + 1) // (2 * len(vertex.properties))  # a digit and a space or line end for each value
        if vertex.count > room:
            raise _too_short(path, vertex, f"{size - start} bytes of text follow, enough for {room} at most")
    else:
        room = (size - start) // vertex.row_bytes
        if vertex.count > room:
            rest = f"of {vertex.row_bytes} bytes, but {size - start} bytes follow, enough for {room}"
            raise _too_short(path, vertex, rest)
        warnings += _after(header.elements[position + 1 :], start + vertex.count * vertex.row_bytes, size)
    degree = SH_COEFFICIENTS.index(len(columns.sh) // 3)
    info = SourceInfo(path, "3dgs-ply", vertex.count, degree, size, columns.ignored, tuple(warnings))
    info = replace(info, up=_up(header.comments), files=(path,))
    if header.ascii:
        tables = _ascii_tables(path, vertex, start, first_line)
    else:
        tables = _binary_tables(path, header, vertex, start)

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for table in tables(rows):
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and then counts as such
                geometry = _pick(table, columns.geometry)
                sh = _pick(table, columns.sh).astype(np.float32, copy=False).reshape(len(geometry), -1, 3)
            yield activate(geometry[:, :3], geometry[:, 3:7], geometry[:, 7:10], geometry[:, 10], sh, dropped)

    return Source(info, read)


def _too_short(path: Path, vertex: Element, rest: str) -> FormatError:
    promise = f"the header promises {vertex.count} rows {rest}"
    return FormatError(f"{path}: {promise}; the file is truncated: fetch or export it again")


def _find_columns(path: Path, header: Header, vertex: Element) -> _Columns:
    """Matches names to meanings, in whatever order they stand."""
    index = {p.name: i for i, p in enumerate(vertex.properties)}
    found = _listed(tuple(index))
    if "packed_position" in index and any(e.name == "chunk" for e in header.elements):
        raise UnsupportedError(f"{path}: a compressed PLY (packed_position and chunks) is not supported yet; {_EXPORT}")
    lists = [p.name for p in vertex.properties if p.list_count]
    if lists:
        raise UnsupportedError(f"{path}: list property {lists[0]!r} in element vertex is not supported; {_EXPORT}")
    if "scale_1" in index and "scale_2" not in index and set(_QUATS) <= set(index):
        flat = "two scales and no scale_2: the flat splats of 2D Gaussian Splatting are not supported yet"
        raise UnsupportedError(f"{path}: {flat}; {_EXPORT}")
    required = (*_MEANS, *_QUATS, *_SCALES, "opacity", *_COLOUR)
    missing = [name for name in required if name not in index]
    if missing:
        hint = " (a point cloud or a mesh, not trained splats?)" if len(missing) >= 10 else ""
        raise FormatError(f"{path}: missing columns {_listed(missing)}{hint}; columns found: {found}; {_EXPORT}")
    rest = sum(name.startswith("f_rest_") for name in index)
    if rest not in (0, 9, 24, 45):
        expected = "expected 0, 9, 24 or 45 (SH degree 0 to 3)"
        raise UnsupportedError(f"{path}: {rest} columns f_rest_*, {expected}; {_EXPORT}")
    absent = [f"f_rest_{i}" for i in range(rest) if f"f_rest_{i}" not in index]
    if absent:
        missing_rest = f"missing columns {_listed(absent)} of {rest} f_rest_*"
        raise FormatError(f"{path}: {missing_rest}; columns found: {found}; {_EXPORT}")
    # f_rest is channel-major: all coefficients of red, then green, then blue.
    sh = [index[name] for name in _COLOUR]
    sh += [index[f"f_rest_{channel * (rest // 3) + k}"] for k in range(rest // 3) for channel in range(3)]
    used = {*required, *(f"f_rest_{i}" for i in range(rest)), *_NORMALS}  # normals are written by habit, always zero
    geometry = [index[name] for name in (*_MEANS, *_QUATS, *_SCALES, "opacity")]
    return _Columns(geometry, sh, tuple(name for name in index if name not in used))


def _listed(names: tuple[str, ...] | list[str]) -> str:
    """Names for a message; the middle of a long list is left out."""
    short = [name if len(name) <= 40 else name[:37] + "..." for name in names[:24]]
    return ", ".join(short) + (f" and {len(names) - 24} more" if len(names) > 24 else "") if short else "none"


def _up(comments: tuple[str, ...]) -> tuple[float, float, float] | None:
    """The up vector that nerfstudio's exporter writes as 'Vertical Axis: z'."""
    axes = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
    for comment in comments:
        name, _, value = comment.partition(":")
        if name.strip().lower() == "vertical axis":
            return axes.get(value.strip().lower())
    return None


def _skip(
    path: Path, file: BinaryIO, header: Header, element: Element, start: int, size: int, line: int
) -> tuple[int, int]:
    """Where the rows after `element` start: byte, and line counted from the end of the header."""
    inside = f"the file ends inside the {element.count} rows of element {element.name[:40]!r}, before the splats"
    end = FormatError(f"{path}: {inside}; fetch or export it again")
    if header.ascii:
        if element.count > size - start:  # a row has at least a line end
            raise end
        file.seek(start)
        for _ in range(element.count):
            start += len(text := file.readline(BLOCK_BYTES))
            if not text.endswith(b"\n"):
                raise end
        return start, line + element.count
    if not element.has_lists:
        start += element.count * element.row_bytes
    elif element.count * element.row_bytes > size - start:
        raise end
    else:
        file.seek(start)
        start = _skip_lists(file, header.byte_order, element, start, size)
    if start > size:
        raise end
    return start, 0


def _skip_lists(file: BinaryIO, byte_order: str, element: Element, start: int, size: int) -> int:
    """Walks the rows of a binary element with list properties; the byte after it, beyond `size` where the file ends."""
    parts = [
        (np.dtype(p.type).itemsize, np.dtype(byte_order + p.list_count) if p.list_count else None)
        for p in element.properties
    ]
    for _ in range(element.count):
        for item, counts in parts:
            length = 1
            if counts is not None:
                head = file.read(counts.itemsize)
                if len(head) < counts.itemsize or (length := int(np.frombuffer(head, counts)[0])) < 0:
                    return size + 1
                start += counts.itemsize
            start += length * item
            if start > size:
                return start
            file.seek(start)
    return start


def _after(elements: tuple[Element, ...], end: int, size: int) -> list[str]:
    """A warning on what stands after the last row, where that can be told without walking lists."""
    if any(e.has_lists for e in elements):
        return []
    end += sum(e.count * e.row_bytes for e in elements)
    if end > size:
        return ["the file ends inside an element after the splats; the splats are complete"]
    return [f"{size - end} bytes after the last row were ignored"] if end < size else []


def _pick(table: NDArray[Any], columns: list[int]) -> NDArray[np.floating]:
    """(N, len(columns)) of the named columns, float32 where nothing is lost by it, else float64; native byte order."""
    if table.dtype.names is None:  # all float32: one gather
        return np.take(table, columns, axis=1).astype(np.float32, copy=False)
    names = [table.dtype.names[i] for i in columns]
    narrow = all(table[name].dtype.newbyteorder("=") == np.float32 for name in names)
    out = np.empty((len(table), len(columns)), np.float32 if narrow else np.float64)
    for i, name in enumerate(names):
        out[:, i] = table[name]
    return out


def _binary_tables(path: Path, header: Header, vertex: Element, start: int) -> Tables:
    """Blocks of rows as tables: 2-D float32 where every column is one, structured otherwise."""
    row = np.dtype([(f"c{i}", header.byte_order + p.type) for i, p in enumerate(vertex.properties)])
    plain = all(p.type == "f4" for p in vertex.properties)

    def tables(rows: int) -> Iterator[NDArray[Any]]:
        rows = max(1, min(rows, BLOCK_BYTES // row.itemsize))
        # Read, not mapped: a file cut by its writer while it is mapped kills the process (SIGBUS).
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            for first in range(0, vertex.count, rows):
                block = np.empty(min(rows, vertex.count - first), row)
                view, filled = block.view(np.uint8).data, 0
                while filled < len(view) and (got := file.readinto(view[filled:])):
                    filled += got
                if filled < len(view):
                    cut = f"the file was cut short while it was read, in row {first + filled // row.itemsize}"
                    raise FormatError(f"{path}: {cut}; read it again once it is complete")
                yield block.view(header.byte_order + "f4").reshape(len(block), -1) if plain else block

    return tables


def _ascii_tables(path: Path, vertex: Element, start: int, first_line: int) -> Tables:
    """Blocks of rows as structured tables of the declared types; one row a line, blank lines skipped."""
    width = len(vertex.properties)
    row = np.dtype([(f"c{i}", p.type if p.type[0] == "f" else "f8") for i, p in enumerate(vertex.properties)])
    longest = 256 + ASCII_NUMBER * width

    def tables(rows: int) -> Iterator[NDArray[Any]]:
        rows = max(1, min(rows, ASCII_ROWS, BLOCK_BYTES // longest))
        with path.open("rb") as file:
            file.seek(start)
            line, done = first_line, 0

            def fail(why: str) -> LensError:
                return FormatError(f"{path}: row {done}, line {line} after the header: {why}; export the file again")

            while done < vertex.count:
                block = np.empty(min(rows, vertex.count - done), row)
                values: list[list[float]] = []
                while len(values) < len(block):
                    text, line = file.readline(longest), line + 1
                    if not text:
                        raise _too_short(path, vertex, f"but the text ends after {done}")
                    words = text.split()
                    if not words:
                        continue
                    if len(words) != width:
                        raise fail(f"{len(words)} values, expected {width}")
                    try:
                        values.append([float(word) for word in words])
                    except ValueError as error:
                        raise fail(f"cannot read a number: {str(error)[:80]}") from error
                    done += 1
                with np.errstate(over="ignore"):
                    table = np.array(values)
                    for i in range(width):
                        block[f"c{i}"] = table[:, i]
                yield block

    return tables


def write_ply(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes little-endian float32 in the column order of the 3DGS reference code, zero normals included.

    Opacities are clipped to the open interval (0, 1), whose ends have no finite logit. One pass, a chunk in memory.
    Raises LensError where the file cannot be written; what stood at `path` stays until the new file is complete.
    """
    names = [*_MEANS, *_NORMALS, *_COLOUR]
    names += [f"f_rest_{i}" for i in range(3 * (SH_COEFFICIENTS[source.info.sh_degree] - 1))]
    names += ["opacity", *_SCALES, *_QUATS]
    properties = [f"property float {name}" for name in names]
    total = source.info.splats

    def header(count: int) -> bytes:
        # Rows may be left out, so the count is known last: a comment pads the header to the length it had at first.
        room = "comment " + " " * (len(str(total)) - len(str(count)))
        lines = ["ply", "format binary_little_endian 1.0", room, f"element vertex {count}", *properties]
        lines += ["end_header", ""]
        return "\n".join(lines).encode()

    with atomic_write(path) as file:
        file.write(header(total))
        done = 0
        for part in source.chunks():
            file.write(_rows(part, len(names)))
            done += len(part)
            options.progress(done / total)
        size = file.tell()
        file.seek(0)
        file.write(header(done))
    return size


def _rows(splats: Splats, columns: int) -> bytes:
    """Rows as trained: logarithms, logits, SH channel-major."""
    n, k = splats.sh.shape[:2]
    opacities = np.clip(splats.opacities.astype(np.float64), np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
    scales = np.clip(splats.scales, np.finfo(np.float32).tiny, None)
    parts = (
        splats.means, np.zeros((n, 3)), splats.sh[:, 0], splats.sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (k - 1)),
        np.log(opacities / (1 - opacities))[:, None], np.log(scales.astype(np.float64)), splats.quats,
    )  # fmt: skip
    table = np.empty((n, columns), "<f4")
    np.concatenate(parts, axis=1, out=table, casting="same_kind")
    return table.tobytes()


FORMAT = Format(
    "3dgs-ply",
    "3D Gaussian Splatting PLY",
    (".ply",),
    sniff,
    open_ply,
    write_ply,
    reads="ascii and binary of either byte order, columns in any order and type, SH 0 to 3",
    writes="float32, the reference code's columns",
    loses="nothing of a trained splat; opacities above 1 are clipped; no cameras, kernel or licence",
)
