"""The vertex rows of a PLY file as blocks of tables: every byte order, ascii, other elements before and after."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.ply_header import Element, Header, listed, read_header
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError

#: A function of the most rows a block may hold: blocks of rows as tables, 2-D or structured.
Tables = Callable[[int], Iterator[NDArray[Any]]]

#: Most bytes read at once, whatever the row size: bounds memory for files with thousands of columns.
BLOCK_BYTES = 32 << 20
#: ascii rows parsed at once; 4096 rows of 62 columns are 16 MB of Python objects.
ASCII_ROWS = 4096
#: Bytes an ascii number may take on average over a row; the longest repr of a float64 has 24.
ASCII_NUMBER = 64

EXPORT = "export it as a plain 3D Gaussian Splatting PLY"


@dataclass(frozen=True)
class Rows:
    """The vertices of an opened file. index: a column's place by its name; types: NumPy codes in that order.

    bytes: the file's size; warnings: on what stands after the rows.
    """

    count: int
    index: dict[str, int]
    types: tuple[str, ...]
    comments: tuple[str, ...]
    bytes: int
    warnings: tuple[str, ...]
    tables: Tables


def open_rows(path: Path) -> Rows:
    """Reads the header, and finds that the rows it promises can be there. Raises FormatError, UnsupportedError."""
    with path.open("rb") as file:
        header = read_header(path, file)
        size = os.fstat(file.fileno()).st_size
        position = next((i for i, e in enumerate(header.elements) if e.name == "vertex"), None)
        if position is None:
            found = listed([e.name for e in header.elements])
            raise FormatError(f"{path}: the header has no element 'vertex' (elements: {found}); {EXPORT}")
        vertex = header.elements[position]
        if lists := [p.name for p in vertex.properties if p.list_count]:
            raise UnsupportedError(f"{path}: list property {lists[0]!r} in element vertex is not supported; {EXPORT}")
        if not vertex.properties:
            raise FormatError(f"{path}: element vertex has no columns; {EXPORT}")
        start, first_line = header.size, 0
        for element in header.elements[:position]:
            start, first_line = _skip(path, file, header, element, start, size, first_line)
    if vertex.count == 0:
        raise FormatError(f"{path}: the header says 'element vertex 0': no splats; export it from a trained scene")
    warnings = []
    if header.ascii:
        room = (size - start + 1) // (2 * len(vertex.properties))  # a digit and a space or line end for each value
        if vertex.count > room:
            raise _too_short(path, vertex, f"{size - start} bytes of text follow, enough for {room} at most")
        tables = _ascii_tables(path, vertex, start, first_line)
    else:
        room = (size - start) // vertex.row_bytes
        if vertex.count > room:
            rest = f"of {vertex.row_bytes} bytes, but {size - start} bytes follow, enough for {room}"
            raise _too_short(path, vertex, rest)
        warnings = _after(header.elements[position + 1 :], start + vertex.count * vertex.row_bytes, size)
        tables = _binary_tables(path, header, vertex, start)
    index = {p.name: i for i, p in enumerate(vertex.properties)}
    types = tuple(p.type for p in vertex.properties)
    return Rows(vertex.count, index, types, header.comments, size, tuple(warnings), tables)


def pick(table: NDArray[Any], columns: list[int]) -> NDArray[np.floating]:
    """(N, len(columns)) of the named columns, float32 where nothing is lost by it, else float64; native byte order."""
    if table.dtype.names is None:  # all float32: one gather, spared where they stand side by side
        first, side_by_side = columns[0], list(range(columns[0], columns[0] + len(columns)))
        picked = table[:, first : first + len(columns)] if columns == side_by_side else table[:, columns]
        return np.ascontiguousarray(picked, np.float32)
    names = [table.dtype.names[i] for i in columns]
    narrow = all(table[name].dtype.newbyteorder("=") == np.float32 for name in names)
    out = np.empty((len(table), len(columns)), np.float32 if narrow else np.float64)
    for i, name in enumerate(names):
        out[:, i] = table[name]
    return out


def _too_short(path: Path, vertex: Element, rest: str) -> FormatError:
    promise = f"the header promises {vertex.count} rows {rest}"
    return FormatError(f"{path}: {promise}; the file is truncated: fetch or export it again")


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
