"""The container of a glTF 2.0 asset: its JSON, checked, and its buffers, read by range: nothing is held whole."""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote

from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field, parse_json

#: Most bytes of JSON, embedded data not counted: parsed, it takes up to 40 times as much memory.
JSON_LIMIT = 8 << 20
BLOCK_BYTES = 1 << 15
#: Most elements of a list: nodes, accessors, ...
MOST_ITEMS = 1 << 16
MAGIC = b"glTF"
JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"
_AGAIN = "fetch or export it again"
#: A JSON string that is a base64 data URI (RFC 2397): its data are set aside before the JSON is parsed.
_DATA_URI = re.compile(rb'[\s:,\[]"data:[\w.+/;=-]{0,100};base64,')
#: Bytes that the longest start of one takes.
_DATA_URI_BYTES = 128


@dataclass(frozen=True)
class Buffer:
    """Where the bytes of a buffer stand: in `path` from byte `start` on, as they are or as base64 text.

    name: for messages, such as buffers[0]; size: bytes of the buffer.
    """

    name: str
    path: Path
    start: int
    size: int
    base64: bool = False


@dataclass(frozen=True)
class Container:
    """An opened asset. chunk: first byte and length of a GLB's binary chunk; embedded: the same of base64 texts."""

    path: Path
    json: Field
    size: int
    chunk: tuple[int, int] | None = None
    embedded: tuple[tuple[int, int], ...] = ()
    warnings: tuple[str, ...] = ()
    _buffers: dict[int, Buffer] = field(default_factory=dict)
    _lists: dict[str, list[Field]] = field(default_factory=dict)

    def items(self, key: str) -> list[Field]:
        """The elements of a list of the asset, such as accessors; none where it has no such list."""
        if key not in self._lists:
            self._lists[key] = self.json.member(key).items(0, MOST_ITEMS) if self.json.has(key) else []
        return self._lists[key]

    def item(self, key: str, index: Field) -> Field:
        """The element of such a list that `index` gives the number of. Raises FormatError where there is none."""
        items = self.items(key)
        if not items:
            index.fail(f"nothing, as the asset has no {key}")
        return items[index.integer(0, len(items) - 1)]

    def buffer(self, index: int) -> Buffer:
        """A buffer by number, its size checked against what is there. Raises LensError."""
        if index not in self._buffers:
            self._buffers[index] = self._find(index)
        return self._buffers[index]

    def bytes_of(self, view: Field) -> tuple[Buffer, int, int]:
        """Buffer, first byte and length of a buffer view. Raises LensError."""
        meshopt = [name for name in view.member("extensions").value or {} if name.endswith("meshopt_compression")]
        if meshopt:
            why = f"{view.path} is compressed with {meshopt[0]}, which is not supported"
            raise UnsupportedError(f"{self.path}: {why}; export it without compression, or with SPZ")
        self.item("buffers", view.member("buffer"))
        buffer = self.buffer(int(view.member("buffer").value))
        start = view.member("byteOffset").integer(0, 1 << 53) if view.has("byteOffset") else 0
        length = view.member("byteLength").integer(1, 1 << 53)
        if start + length > buffer.size:
            ends = f"{view.path} ends at byte {start + length} of {buffer.name}, which has {buffer.size}"
            raise FormatError(f"{self.path}: {ends}; {_AGAIN}")
        return buffer, start, length

    def files(self) -> tuple[Path, ...]:
        """The asset and the files of the buffers asked for so far."""
        return tuple(dict.fromkeys([self.path, *(b.path for b in self._buffers.values())]))

    def size_on_disk(self) -> int:
        """Size on disk of these."""
        return self.size + sum(file.stat().st_size for file in self.files()[1:])

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Reads from buffers; files stay open until the end of the block."""
        with ExitStack() as stack:
            yield Reader(self.path, stack)

    def _find(self, index: int) -> Buffer:
        buffer = self.items("buffers")[index]
        size = buffer.member("byteLength").integer(1, 1 << 53)
        name = buffer.path.removeprefix("glTF.")
        if not buffer.has("uri"):
            if self.chunk is None or index:
                why = f"{name} has no uri" + ("" if index else " and the file has no binary chunk")
                raise FormatError(f"{self.path}: {why}, so its bytes are nowhere; {_AGAIN}")
            start, room = self.chunk
            base64, path = False, self.path
        else:
            there = self._named(name, buffer.member("uri").text())
            path, start, room, base64 = there.path, there.start, there.size, there.base64
        if size > room:
            raise FormatError(f"{self.path}: {name} should have {size} bytes, but {room} are there; {_AGAIN}")
        return Buffer(name, path, start, size, base64)

    def image(self, index: int) -> tuple[Buffer, int, int]:
        """Buffer, first byte and length of an image's file, in a buffer view or by its URI. Raises LensError."""
        image = self.items("images")[index]
        name = image.path.removeprefix("glTF.")
        if image.has("bufferView"):
            return self.bytes_of(self.item("bufferViews", image.member("bufferView")))
        if not image.has("uri"):
            raise FormatError(f"{self.path}: {name} has neither uri nor bufferView; {_AGAIN}")
        there = self._named(name, image.member("uri").text())
        return there, 0, there.size

    def _named(self, name: str, uri: str) -> Buffer:
        """All bytes that a URI names: embedded ones, or those of a file beside the asset."""
        if not uri.startswith("data:"):
            path = self._beside(name, uri)
            return Buffer(name, path, 0, path.stat().st_size)
        number = uri.removeprefix("data:")
        if not number.isdecimal() or int(number) >= len(self.embedded):
            raise FormatError(f"{self.path}: {name}: a data URI of another kind than base64; {_AGAIN}")
        start, text = self.embedded[int(number)]
        with self.path.open("rb") as file:
            file.seek(start + max(text - 2, 0))
            room = (text - file.read(min(text, 2)).count(b"=")) * 3 // 4
        return Buffer(name, self.path, start, room, True)

    def _beside(self, name: str, uri: str) -> Path:
        """The file that a relative URI names, only in the folder of the asset or below."""
        relative = unquote(uri)
        plain = relative.isprintable() and not re.match(r"[\w+.-]*:|/", relative) and "\\" not in relative
        folder = self.path.parent.resolve()
        path = (folder / relative).resolve() if plain else folder
        if not plain or ".." in relative.split("/") or not path.is_relative_to(folder):
            why = f"{name} names {uri[:80]!r}; only files in the asset's own folder are read"
            raise UnsupportedError(f"{self.path}: {why}; put the file there and name it, or export a .glb")
        if not path.is_file():
            raise FormatError(f"{self.path}: {name}: no file {relative[:80]!r} beside it; fetch it too")
        return self.path.parent / relative


class Reader:
    """Reads ranges of buffers of one asset."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack
        self._files: dict[Path, BinaryIO] = {}

    def read(self, buffer: Buffer, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, which must lie within the buffer. Raises FormatError where they do not."""
        if buffer.path not in self._files:
            self._files[buffer.path] = self._stack.enter_context(buffer.path.open("rb", buffering=0))
        file = self._files[buffer.path]
        if not buffer.base64:
            return self._exactly(file, buffer, buffer.start + offset, size)
        first, last = offset // 3, -(-(offset + size) // 3)
        # The last group may lack its padding.
        letters = min(4 * (last - first), -(-4 * buffer.size // 3) - 4 * first)
        text = self._exactly(file, buffer, buffer.start + 4 * first, letters)
        try:
            data = binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
        except binascii.Error as error:
            raise FormatError(f"{self._path}: {buffer.name}: not base64 ({error}); {_AGAIN}") from error
        return data[offset - 3 * first :][:size]

    def _exactly(self, file: BinaryIO, buffer: Buffer, start: int, size: int) -> bytes:
        file.seek(start)
        data = bytearray(size)
        filled, view = 0, memoryview(data)
        while filled < size and (got := file.readinto(view[filled:])):  # type: ignore[attr-defined]
            filled += got
        if filled < size:
            why = f"{buffer.name}: the file was cut short while it was read"
            raise FormatError(f"{self._path}: {why}; read it again once it is complete")
        return bytes(data)


def open_container(path: Path) -> Container:
    """A .glb or .gltf by its content; its JSON only. Raises LensError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if file.read(4) == MAGIC:
            return _open_glb(path, file, size)
        text, embedded = _set_aside(path, file, 0, size)
    return Container(path, _checked(path, text), size, None, embedded)


def _open_glb(path: Path, file: BinaryIO, size: int) -> Container:
    """glTF 2.0 section 4.4: a header of 12 bytes, then chunks with length and kind, JSON first, then binary."""
    header = file.read(8)
    version, length = (int.from_bytes(header[i : i + 4], "little") for i in (0, 4))
    if len(header) < 8:
        raise FormatError(f"{path}: the file ends after {size} bytes, in the header of 12; {_AGAIN}")
    if version != 2:
        raise UnsupportedError(f"{path}: binary glTF version {version}; version 2 is read; export it as glTF 2.0")
    if length > size:
        raise FormatError(f"{path}: the header promises {length} bytes, the file has {size}: truncated; {_AGAIN}")
    warnings = [f"{size - length} bytes after the end of the asset were ignored"] if size > length else []
    chunks = list[tuple[bytes, int, int]]()
    at = 12
    while at + 8 <= length and len(chunks) < 2:
        file.seek(at)
        head = file.read(8)
        room = int.from_bytes(head[:4], "little")
        if room > length - at - 8:
            why = f"the chunk at byte {at} should have {room} bytes, but {length - at - 8} are left"
            raise FormatError(f"{path}: {why}; {_AGAIN}")
        chunks.append((head[4:], at + 8, room))
        at += 8 + room + -room % 4
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise FormatError(f"{path}: the first chunk is no JSON; {_AGAIN}")
    text, embedded = _set_aside(path, file, *chunks[0][1:])
    binary = next((chunk[1:] for chunk in chunks[1:] if chunk[0] == BINARY_CHUNK), None)
    return Container(path, _checked(path, text), size, binary, embedded, tuple(warnings))


def _checked(path: Path, text: bytes) -> Field:
    json = parse_json(text, str(path), "glTF")
    version = json.member("asset").member("version").text(20)
    if not version.startswith("2."):
        raise UnsupportedError(f"{path}: glTF version {version!r}; version 2.0 is read; export it as glTF 2.0")
    return json


def _set_aside(path: Path, file: BinaryIO, start: int, size: int) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    """JSON with every base64 data URI replaced by "data:<number>", and where in the file their base64 text stands."""
    out, spans = bytearray(), list[tuple[int, int]]()
    file.seek(start)
    data, left, inside = b"", size, False
    while left or data:
        block = file.read(min(left, BLOCK_BYTES))
        left = left - len(block) if block else 0
        data += block
        base, at = start + size - left - len(data), 0  # of data in the file
        while True:
            if inside:
                if (end := data.find(b'"', at)) < 0:
                    at = len(data)
                    break
                spans[-1] = (spans[-1][0], base + end - spans[-1][0])
                inside, at = False, end
            elif match := _DATA_URI.search(data, at):
                out += data[at : match.start() + 1] + b'"data:%d' % len(spans)
                spans.append((base + match.end(), 0))
                inside, at = True, match.end()
            else:
                keep = min(_DATA_URI_BYTES, len(data) - at) if left else 0
                out += data[at : len(data) - keep]
                at = len(data) - keep
                break
            if len(out) > JSON_LIMIT:
                break
        data = data[at:]
        if len(out) > JSON_LIMIT:
            why = f"more than {JSON_LIMIT} bytes of JSON besides embedded data"
            raise UnsupportedError(f"{path}: {why}: no asset of splats needs so much; export it with fewer nodes")
    if inside:
        raise FormatError(f"{path}: the file ends within embedded data; {_AGAIN}")
    return bytes(out), tuple(spans)
