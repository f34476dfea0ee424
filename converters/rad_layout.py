"""The headers of a .rad file (Spark 2, rust/spark-lib/src/rad.rs): chunks, their properties and where they stand."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from splatlens.viewer.errors import FormatError, LensError, UnsupportedError

MAGIC = b"RAD0"
CHUNK_MAGIC = b"RADC"
VERSION = 1
#: Most bytes of a file's or chunk's JSON that are parsed. Spark itself reads 1 MB of it; 100 bytes a chunk are 65,536
#: splats each.
JSON_BYTES = 16 << 20
#: Deflate packs at most 258 bytes into 2 bits (RFC 1951, 3.2.5), and no stream is shorter than 2 bytes.
INFLATION = 1032

#: Components of each property a splat.
DIMENSIONS = {
    "center": 3, "alpha": 1, "rgb": 3, "scales": 3, "orientation": 3, "sh1": 9, "sh2": 15, "sh3": 21, "child_count": 1,
    "child_start": 1, "sh1_code": 9, "sh2_code": 15, "sh3_code": 21, "sh_label": 1,
}  # fmt: skip
#: Bytes of a component.
ITEM_BYTES = {
    "f32": 4, "f16": 2, "f32_lebytes": 4, "f16_lebytes": 2, "r8": 1, "r8_delta": 1, "s8": 1, "s8_delta": 1,
    "ln_0r8": 1, "ln_f16": 2, "oct88r8": 1, "u16": 2, "u32": 4,
}  # fmt: skip
#: Those that need a largest value, and those that need a smallest as well.
_BOUNDED = ("r8", "r8_delta", "s8", "s8_delta", "ln_0r8")
_BOUNDED_BELOW = ("r8", "r8_delta", "ln_0r8")
_WHOLE = ("child_count", "child_start", "sh_label")
NEEDED = ("center", "alpha", "rgb", "scales", "orientation")

AGAIN = "fetch or export it again"


@dataclass(frozen=True)
class Property:
    """One column of a chunk. start: its first byte in the file; size: bytes there; rows: how many, splats or codes.

    packed: compressed with deflate. low, high: bounds of the encodings that have them.
    """

    name: str
    encoding: str
    start: int
    size: int
    rows: int
    packed: bool
    low: float = 0.0
    high: float = 0.0

    @property
    def dimensions(self) -> int:
        return DIMENSIONS[self.name]

    @property
    def decoded_bytes(self) -> int:
        return self.rows * self.dimensions * ITEM_BYTES[self.encoding]


@dataclass(frozen=True)
class Chunk:
    """A chunk's header. number: counted from 0; path: the file it is in; count: of splats."""

    number: int
    path: Path
    count: int
    properties: dict[str, Property]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """A file's header. ranges: of each chunk its file, first byte and bytes; codes: in the SH codebook, 0 for none."""

    count: int
    sh_degree: int
    lod: bool
    chunk_splats: int
    ranges: tuple[tuple[Path, int, int], ...]
    codes: int

    def splats(self, number: int) -> int:
        """How many a chunk must hold."""
        return min(self.chunk_splats, self.count - number * self.chunk_splats)


def read_header(path: Path) -> Header:
    """The header of a .rad file, every size in it checked. Raises LensError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(4)
        if magic == CHUNK_MAGIC:
            raise UnsupportedError(f"{path}: one chunk of a scene in several files; open the .rad file beside it")
        if magic != MAGIC:
            raise FormatError(f"{path}: not a .rad file: it starts with {magic!r}, expected {MAGIC!r}; {AGAIN}")
        meta, start = _json(path, file, "the header", size)
    version, kind = meta.get("version"), meta.get("type")
    if version != VERSION or type(version) is not int:
        raise UnsupportedError(f"{path}: version {_shown(version)} of .rad; version 1 is read: write it with Spark 2")
    if kind != "gsplat":
        raise UnsupportedError(f"{path}: holds {_shown(kind)}; only 'gsplat' is read: write it with Spark 2")
    count = _whole(path, meta, "count")
    if not count:
        raise FormatError(f"{path}: the header says 0 splats; export it from a trained scene")
    chunk_splats = _whole(path, meta, "chunkSize", count)
    entries = meta.get("chunks")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise FormatError(f"{path}: the header has no list of chunks; {AGAIN}")
    if not chunk_splats or len(entries) != -(-count // chunk_splats):
        promise = f"{count} splats in chunks of {chunk_splats}"
        raise FormatError(f"{path}: {promise}, but {len(entries)} chunks are listed; {AGAIN}")
    ranges = tuple(_range(path, number, entry, start, size) for number, entry in enumerate(entries))
    codes = _whole(path, meta, "shCodeCount", 0)
    if codes > max(count, 1 << 16):
        raise FormatError(f"{path}: {codes} SH codes for {count} splats; {AGAIN}")
    degree, lod = _whole(path, meta, "maxSh", 0), meta.get("lodTree") is True
    return Header(count, degree, lod, chunk_splats, ranges, codes)


def _range(path: Path, number: int, entry: dict[str, Any], start: int, size: int) -> tuple[Path, int, int]:
    """File, first byte and bytes of a chunk."""
    offset, length = _whole(path, entry, "offset"), _whole(path, entry, "bytes")
    name = entry.get("filename")
    if name is None:
        offset += start
        if offset + length > size:
            end = f"chunk {number} ends at byte {offset + length}, the file at {size}"
            raise FormatError(f"{path}: {end}: the file is truncated; {AGAIN}")
        return path, offset, length
    return _beside(path, number, name), offset, length


def _beside(path: Path, number: int, name: object) -> Path:
    """The file that holds a chunk: named relative to the .rad, in its folder or below."""
    plain = isinstance(name, str) and name.isprintable() and not set(name) & set("\\:") and 0 < len(name) < 1024
    parts = PurePosixPath(str(name)).parts if plain else ()
    if not parts or parts[0] == "/" or ".." in parts:
        where = f"chunk {number} is said to be in {_shown(name)}, which is no file beside this one or below"
        raise FormatError(f"{path}: {where}; write the scene again")
    found = path.parent.joinpath(*parts)
    if not found.resolve().is_relative_to(path.parent.resolve()):
        raise FormatError(f"{path}: chunk {number} in {_shown(name)} leads out of the scene's folder; copy it there")
    if not found.is_file():
        raise LensError(f"{path}: chunk {number} is in {_shown(name)}, which is not there; keep it beside this file")
    return found


def read_chunk(path: Path, header: Header, number: int) -> Chunk:
    """The header of a chunk, every size in it checked. path: the .rad file, for messages. Raises LensError."""
    source, offset, length = header.ranges[number]

    def fail(why: str) -> FormatError:
        return FormatError(f"{path}: chunk {number}: {why}; {AGAIN}")

    with source.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if offset + length > size:
            raise fail(f"{length} bytes from byte {offset} on of {source.name!r}, which has {size}: it is truncated")
        file.seek(offset)
        if length < 8 or (magic := file.read(4)) != CHUNK_MAGIC:
            raise fail(f"starts with {magic!r}, expected {CHUNK_MAGIC!r}" if length >= 8 else f"has {length} bytes")
        meta, start = _json(path, file, f"chunk {number}", length)
        start += 8  # the payload's length follows, as u64
        payload = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))[0]
    if start + payload > length:
        raise fail(f"its payload ends at byte {start + payload} of {length}")
    if meta.get("version") != VERSION:
        raise UnsupportedError(f"{path}: chunk {number}: version {_shown(meta.get('version'))}; version 1 is read")
    base, count = _whole(path, meta, "base"), _whole(path, meta, "count")
    if (base, count) != (number * header.chunk_splats, header.splats(number)):
        expected = f"expected {header.splats(number)} from {number * header.chunk_splats}"
        raise fail(f"{count} splats from the {base}th on, {expected}")
    entries = meta.get("properties")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise fail("no list of properties")
    properties: dict[str, Property] = {}
    for entry in entries:
        if (name := str(entry.get("property"))) not in DIMENSIONS:
            continue
        if name in properties:
            raise fail(f"property {name!r} is there twice")
        rows = (header.codes or count) if name.endswith("_code") else count
        properties[name] = _property(path, number, entry, offset + start, payload, rows)
    missing = [name for name in (*NEEDED, *(["child_count"] if header.lod else [])) if name not in properties]
    if missing:
        raise fail(f"without {', '.join(missing)}")
    unknown = tuple(_shown(e.get("property")) for e in entries if str(e.get("property")) not in DIMENSIONS)
    return Chunk(number, source, count, properties, unknown[:8])


def _property(path: Path, number: int, entry: dict[str, Any], start: int, payload: int, rows: int) -> Property:
    name, encoding, packing = str(entry["property"]), entry.get("encoding"), entry.get("compression")
    what = f"{path}: chunk {number}: {name}"
    kinds = [kind for kind in ITEM_BYTES if (kind in ("u16", "u32")) == (name in _WHOLE)]
    if encoding not in kinds or (encoding == "oct88r8" and name != "orientation"):
        raise UnsupportedError(f"{what} is encoded as {_shown(encoding)}, which is not read; write it with Spark 2.2")
    if packing not in (None, "gz"):
        raise UnsupportedError(f"{what} is compressed as {_shown(packing)}; 'gz' is read; write it with Spark 2.2")
    at, size = _whole(path, entry, "offset"), _whole(path, entry, "bytes")
    if at + size > payload:
        raise FormatError(f"{what} ends at byte {at + size} of a payload of {payload}; {AGAIN}")
    low = _number(path, entry, "min") if encoding in _BOUNDED_BELOW else 0.0
    high = _number(path, entry, "max") if encoding in _BOUNDED else 0.0
    found = Property(name, encoding, start + at, size, rows, packing is not None, low, high)
    wanted = found.decoded_bytes
    if (wanted > INFLATION * size or size < 2) if found.packed else size != wanted:
        raise FormatError(f"{what} has {size} bytes for {rows} rows, which decode to {wanted}; {AGAIN}")
    return found


def _json(path: Path, file: BinaryIO, what: str, room: int) -> tuple[dict[str, Any], int]:
    """What follows a magic: the length of a JSON object, the object, zeros up to 8 bytes; and where those end."""
    length = int.from_bytes(file.read(4), "little")
    end = 8 + (length + 7) // 8 * 8
    if length > JSON_BYTES or end > room:
        raise FormatError(f"{path}: {what} has {length} bytes of JSON where {room} are; {AGAIN}")
    try:
        meta = json.loads(file.read(length))
        if not isinstance(meta, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: {what} is no JSON object ({str(error)[:80]}); {AGAIN}") from error
    file.seek(end - 8 - length, os.SEEK_CUR)
    return meta, end


def _whole(path: Path, meta: dict[str, Any], key: str, default: int | None = None) -> int:
    value = meta.get(key, default)
    if default is not None and value is None:
        value = default
    if type(value) is not int or not 0 <= value < 1 << 53:
        raise FormatError(f"{path}: {key} is {_shown(value)}, expected a whole number; {AGAIN}")
    return value


def _number(path: Path, meta: dict[str, Any], key: str) -> float:
    value = meta.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e30:
        raise FormatError(f"{path}: {key} is {_shown(value)}, expected a number; {AGAIN}")
    return float(value)


def _shown(value: object) -> str:
    """A value of the JSON for a message: in ASCII, not too long."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
