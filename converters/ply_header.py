"""The PLY header: parsed strictly, with bounds on everything it promises (Turk 1994, "The PLY Polygon File Format")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from splatlens.converters.source import SourceInfo
from splatlens.viewer.errors import FormatError, LensError

#: Type names of the format and the ones written since, as NumPy codes without byte order.
TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4",
    "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "float": "f4", "double": "f8", "float32": "f4", "float64": "f8",
}  # fmt: skip
BYTE_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}

#: Longest header read, bytes. The longest seen (4D splats, 200 columns) has 6 kB.
MAX_HEADER = 1 << 20


@dataclass(frozen=True)
class Property:
    """One column. type: NumPy code; list_count: NumPy code of a list's length, None for a scalar."""

    name: str
    type: str
    list_count: str | None = None


@dataclass(frozen=True)
class Element:
    """A table of `count` rows."""

    name: str
    count: int
    properties: tuple[Property, ...]

    @property
    def has_lists(self) -> bool:
        return any(p.list_count for p in self.properties)

    @property
    def row_bytes(self) -> int:
        """Bytes a binary row takes; with lists, the least it can take."""
        return sum(np.dtype(p.list_count or p.type).itemsize for p in self.properties)


@dataclass(frozen=True)
class Header:
    """byte_order: "", "<" or ">" ("" is ascii); size: bytes up to the first row; comments: texts of comment lines."""

    byte_order: str
    elements: tuple[Element, ...]
    comments: tuple[str, ...]
    size: int

    @property
    def ascii(self) -> bool:
        return self.byte_order == ""


def _lines(path: Path, file: BinaryIO) -> tuple[list[str], int]:
    """The header's lines up to end_header without line ends, and its size in bytes."""
    head = file.read(8192)
    if not head:
        raise FormatError(f"{path}: the file is empty; expected a PLY file")
    if head[:4] not in (b"ply\n", b"ply\r"):
        why = f"it starts with {head[:8]!r}, expected the line 'ply'"
        raise FormatError(f"{path}: not a PLY file: {why}; check its name and how it was fetched")
    end = b"\n" if head[3:4] == b"\n" else (b"\r\n" if head[4:5] == b"\n" else b"\r")
    stop = end + b"end_header" + end
    while (at := head.find(stop)) < 0:
        more = file.read(min(len(head), MAX_HEADER - len(head)))  # nothing at the end of the file, or at the limit
        if not more:
            break
        head += more
    if at < 0:
        where = "in the first" if len(head) >= MAX_HEADER else "before the file ends after"
        why = f"no 'end_header' line {where} {len(head)} bytes"
        raise FormatError(f"{path}: {why}; the header is damaged or the file truncated: fetch or export it again")
    # Names end up in messages on a terminal, so what is no UTF-8 or would not be seen becomes a visible escape.
    text = head[:at].decode("utf-8", "backslashreplace")
    if not text.replace("\n", "").replace("\r", "").isprintable():
        text = "".join(c if c.isprintable() or c.isspace() else repr(c)[1:-1] for c in text)
    return text.split(end.decode()), at + len(stop)


def read_header(path: Path, file: BinaryIO) -> Header:
    """Parses the header of an open PLY file from its start. Raises FormatError with the line."""
    lines, size = _lines(path, file)
    byte_order: str | None = None
    comments: list[str] = []
    elements: list[tuple[str, int, list[Property]]] = []
    seen: set[tuple[str, ...]] = set()

    def fail(number: int, why: str) -> FormatError:
        return FormatError(f"{path}: header line {number}: {why}; the header is damaged, export the file again")

    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        match words:
            case [] | ["obj_info", *_]:
                continue
            case ["comment", *_]:
                comments.append(line.partition("comment")[2].strip())
            case ["format", name, "1.0"] if name in BYTE_ORDERS and byte_order is None:
                byte_order = BYTE_ORDERS[name]
            case ["format", *_]:
                expected = "expected one 'format ascii|binary_little_endian|binary_big_endian 1.0'"
                raise fail(number, f"{_short(line)}, {expected}")
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) <= 20:
                elements.append((name, int(count), []))
            case ["property", kind, name] if kind in TYPES and elements:
                elements[-1][2].append(Property(name, TYPES[kind]))
            case ["property", "list", counts, kind, name] if kind in TYPES and counts in TYPES and elements:
                if TYPES[counts][0] == "f":
                    raise fail(number, f"{_short(line)} counts a list in floating point")
                elements[-1][2].append(Property(name, TYPES[kind], TYPES[counts]))
            case _:
                raise fail(number, f"cannot read {_short(line)}")
        if words[0] in ("element", "property"):
            key = (words[1],) if words[0] == "element" else (elements[-1][0], words[-1])
            if key in seen:
                raise fail(number, f"{_short(line)} is the second of that name")
            seen.add(key)
    if byte_order is None:
        raise FormatError(f"{path}: the header has no 'format' line; the header is damaged, export the file again")
    return Header(byte_order, tuple(Element(n, c, tuple(p)) for n, c, p in elements), tuple(comments), size)


def vertex_columns(head: bytes, path: Path) -> frozenset[str]:
    """Names of the vertex columns of a file that starts with `head`; none where it is no PLY or a damaged one.

    For telling the kinds of PLY apart; what is wrong with a file its reader says.
    """
    if head[:4] not in (b"ply\n", b"ply\r"):
        return frozenset()
    try:
        with path.open("rb") as file:
            header = read_header(path, file)
    except (LensError, OSError):
        return frozenset()
    return frozenset(p.name for e in header.elements if e.name == "vertex" for p in e.properties)


_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


def with_comments(info: SourceInfo, comments: tuple[str, ...]) -> SourceInfo:
    """The facts with what tools write into comments, the only place that a PLY has for them.

    'Vertical Axis: z' (nerfstudio's exporter), 'SplatRenderMode: default|mip|2dgs' (Brush, splat-transform) and
    'antialiased 0|1' (Postshot); of several that contradict each other the last one holds.
    """
    for comment in comments:
        name, _, value = (part.strip() for part in comment.lower().partition(":"))
        if name == "vertical axis":
            info = replace(info, up=_AXES.get(value, info.up))
        elif name == "splatrendermode" and value in ("default", "mip", "2dgs"):
            info = replace(info, antialias=value == "mip", flat=value == "2dgs")
        elif comment.lower() in ("antialiased 0", "antialiased 1"):
            info = replace(info, antialias=comment.endswith("1"))
    return info


def comments_of(info: SourceInfo) -> list[str]:
    """Header lines from which `with_comments` reads the facts again; an `up` off the axes has no convention."""
    up = [f"comment Vertical Axis: {name}" for name, axis in _AXES.items() if axis == info.up]
    mode = "2dgs" if info.flat else {True: "mip", False: "default", None: ""}[info.antialias]
    return up + [f"comment SplatRenderMode: {mode}"] * (mode != "")


def listed(names: Sequence[str]) -> str:
    """Names for a message; the middle of a long list is left out."""
    short = [name if len(name) <= 40 else name[:37] + "..." for name in names[:24]]
    return ", ".join(short) + (f" and {len(names) - 24} more" if len(names) > 24 else "") if short else "none"


def _short(text: str) -> str:
    """Quoted for a message, at most 60 characters, always one line."""
    return repr(text if len(text) <= 60 else text[:57] + "...")
