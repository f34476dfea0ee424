"""Reads .lens files through nothing but get_bytes(offset, length): header, scene, attachments; pages in lens_pages."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field, parse_json
from splatlens.viewer.lens_blocks import Extents, check_lengths, damaged, inflate
from splatlens.viewer.lens_layout import (
    HEAD_BYTES,
    HEADER,
    MAGIC,
    MAX_DATA_BYTES,
    MAX_INFO_BYTES,
    MAX_LAYERS,
    MAX_SECTIONS,
    NONE,
    OTHER_FILES,
    SECTION,
    VERSION,
    Encoding,
    SectionKind,
)
from splatlens.viewer.lens_pages import SplatsReader
from splatlens.viewer.scene import CAMERAS, LAYER_KINDS, THUMBNAIL, LayerInfo, SceneInfo, cameras_from_json

#: (offset, length) -> at most `length` bytes; fewer only where the file ends.
GetBytes = Callable[[int, int], bytes]


class LensReader:
    """An open .lens file. Everything but the head is fetched when asked for.

    scene: facts, without cameras and thumbnail (see `cameras`, `thumbnail`). layers: every layer's description.
    attachments: their names.
    notices: what was skipped, one sentence each.
    """

    def __init__(self, get_bytes: GetBytes, *, size: int | None = None, name: str = "scene.lens") -> None:
        """Reads the head. size: of the whole file where known, so that a cut is noticed at once; name: for messages.

        Raises FormatError where the file is no .lens, cut or damaged, and UnsupportedError for a later version.
        """
        self.name = name
        self._get_bytes = get_bytes
        self._first = b""
        self._first = self._fetch(0, HEAD_BYTES)
        self.header = _read_header(self._first, name)
        self.content_id: bytes = self.header["content_id"].tobytes()
        self.file_length = int(self.header["file_length"])
        self.notices: list[str] = []
        if size is not None and size < self.file_length:
            raise FormatError(f"{name}: {size} of {self.file_length} bytes: the file was cut; fetch or copy it again")
        if size is not None and size > self.file_length:
            self.notices.append(f"{size - self.file_length} bytes after the end of the scene are ignored")
        self.extents = Extents(name, 0, self.file_length)
        self.extents.add(0, int(self.header["head_length"]), "the header")
        self.sections = self._read_sections()
        self.text = parse_json(self.section(self._only(SectionKind.INFO, NONE), MAX_INFO_BYTES), name, "info")
        self.scene = SceneInfo.from_json(self.text)
        self.attachments = sorted(self.text.member("attachments").object())
        self.layers = self._read_layers()
        self._splats = {i: SplatsReader(self, i) for i, layer in enumerate(self.layers) if layer.splats}

    @staticmethod
    def open(path: str | Path) -> LensReader:
        """A file on this machine; `close` it or use it in a `with` block."""
        return FileLensReader(Path(path))

    @staticmethod
    def of_bytes(data: bytes, name: str = "scene.lens") -> LensReader:
        """A file in memory."""
        return LensReader(lambda offset, length: data[offset : offset + length], size=len(data), name=name)

    def close(self) -> None:
        """Releases the file, where there is one."""

    def __enter__(self) -> LensReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def splats(self, layer: int) -> SplatsReader:
        """The pages of a layer of kind `splats`. Raises UnsupportedError for other kinds."""
        if layer not in self._splats:
            raise UnsupportedError(f"{self.name}: layer {layer} of kind {self.layers[layer].kind!r} has no splats")
        return self._splats[layer]

    @property
    def splats_layers(self) -> dict[int, SplatsReader]:
        """All layers of kind `splats`, by layer number."""
        return dict(self._splats)

    def cameras(self) -> tuple[Camera, ...]:
        """The training cameras; none where the file has none."""
        data = self.attachment(CAMERAS)
        return cameras_from_json(parse_json(data, self.name, "cameras")) if data else ()

    def thumbnail(self) -> bytes:
        """The poster picture; empty where the file has none."""
        return self.attachment(THUMBNAIL)

    def attachment(self, name: str) -> bytes:
        """The bytes of an attachment; empty where the file has none of that name."""
        field = self.text.member("attachments")
        if not field.has(name):
            return b""
        return self._data(field.member(name), NONE)

    def blob(self, layer: int, name: str) -> bytes:
        """The bytes of a blob of a layer. Raises FormatError where it has none of that name."""
        field = self.text.member("layers").items(1, MAX_LAYERS)[layer].member("blobs")
        return self._data(field.member(name), layer)

    def blob_part(self, layer: int, name: str, offset: int, length: int) -> bytes:
        """Part of a blob that is stored raw; whoever asks checks its bytes. Raises FormatError where there is none."""
        field = self.text.member("layers").items(1, MAX_LAYERS)[layer].member("blobs").member(name)
        row = self.sections[self._index(field, layer)]
        if row["encoding"] != Encoding.RAW or not 0 <= offset <= offset + length <= int(row["length"]):
            field.fail(f"a section stored raw, with bytes {offset}..{offset + length}")
        return self.read(int(row["offset"]) + offset, length, f"layer {layer}, blob {name}")

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes. Raises FormatError where the file ends before."""
        end = offset + length
        data = self._first[offset:end] if end <= len(self._first) else self._fetch(offset, length)
        if len(data) != length:
            place = f"{what} at bytes {offset}..{end}"
            raise FormatError(
                f"{self.name}: {place}: the file ends at byte {offset + len(data)}: it was cut; fetch or copy it again"
            )
        return data

    def section(self, index: int, limit: int = MAX_DATA_BYTES) -> bytes:
        """What a section holds, at most `limit` bytes. Raises FormatError."""
        row = self.sections[index]
        length, decoded = int(row["length"]), int(row["decoded_length"])
        where = f"{self.name}: section {index} at byte {int(row['offset'])}"
        stored_limit = limit if row["encoding"] == Encoding.RAW else limit + limit // 1000 + 64
        if decoded > limit or length > stored_limit:
            raise damaged(f"{where}: {decoded} bytes ({length} stored), at most {limit} allowed")
        data = self.read(int(row["offset"]), length, f"section {index}")
        if zlib.crc32(data) != int(row["crc32"]):
            raise FormatError(f"{where}: checksum differs: damaged, or replaced since it was opened; fetch it again")
        if row["encoding"] == Encoding.RAW:
            return data
        check_lengths(length, decoded, limit, where)
        return inflate(data, decoded, where)

    def facts(self) -> dict[str, Any]:
        """What `splatlens info` prints: plain JSON values, from the head and the directories alone."""
        return {
            "version": int(self.header["version"]),
            "content_id": self.content_id.hex(),
            "bytes": self.file_length,
            **{k: v for k, v in self.text.object().items() if k not in ("layers", "attachments")},
            "attachments": self.attachments,
            "layers": [
                {**layer.to_json(), **(self._splats[i].sizes() if i in self._splats else {})}
                for i, layer in enumerate(self.layers)
            ],
            "notices": self.notices,
        }

    def check(self) -> None:
        """Reads everything once. Raises FormatError at the first fault."""
        for i in range(len(self.sections)):
            if self.sections[i]["kind"] == SectionKind.DATA:
                self.section(i)
        self.cameras()
        for layer in self._splats.values():
            layer.nodes()
            for k in range(layer.pages):
                page = layer.page(k)
                if layer.sh_degree:
                    layer.sh_page(k, page)

    def _fetch(self, offset: int, length: int) -> bytes:
        return self._get_bytes(offset, length)

    def _only(self, kind: SectionKind, layer: int) -> int:
        found = self.find(kind, layer)
        if len(found) != 1:
            of = "" if layer == NONE else f" of layer {layer}"
            raise damaged(f"{self.name}: {len(found)} sections of kind {kind.name}{of}, expected one")
        return found[0]

    def find(self, kind: SectionKind, layer: int) -> list[int]:
        """Indices of the sections of a kind and layer."""
        return np.flatnonzero((self.sections["kind"] == kind) & (self.sections["layer"] == layer)).tolist()

    def _data(self, field: Field, layer: int) -> bytes:
        return self.section(self._index(field, layer))

    def _index(self, field: Field, layer: int) -> int:
        index = field.integer(0, len(self.sections) - 1)
        if self.sections[index]["kind"] != SectionKind.DATA or int(self.sections[index]["layer"]) != layer:
            field.fail("the index of a data section of its own")
        return index

    def _read_sections(self) -> NDArray[np.void]:
        length = int(self.header["head_length"])
        data = self.read(0, length, "header and section table")
        crc_at = HEADER.fields["crc32"][1] if HEADER.fields else 0
        if zlib.crc32(data[HEADER.itemsize :], zlib.crc32(data[:crc_at])) != int(self.header["crc32"]):
            raise damaged(f"{self.name}: bytes 0..{length}: checksum of the header differs")
        sections = np.frombuffer(data, SECTION, offset=HEADER.itemsize)
        known = {int(k) for k in SectionKind}
        for i, row in enumerate(sections):
            what = f"section {i}"
            if int(row["kind"]) not in known:
                self.notices.append(f"{what}: kind {int(row['kind'])} is not known to this version and is skipped")
            elif int(row["encoding"]) not in (Encoding.RAW, Encoding.ZLIB):
                raise damaged(f"{self.name}: {what}, field encoding: expected 0 or 1, got {int(row['encoding'])}")
            elif int(row["layer"]) != NONE and int(row["layer"]) >= int(self.header["layer_count"]):
                raise damaged(f"{self.name}: {what}, field layer: no layer {int(row['layer'])}")
            elif row["encoding"] == Encoding.RAW and row["length"] != row["decoded_length"]:
                raise damaged(f"{self.name}: {what}: stored raw, yet length and decoded_length differ")
            self.extents.add(int(row["offset"]), int(row["length"]), what)
        return sections

    def _read_layers(self) -> tuple[LayerInfo, ...]:
        fields = self.text.member("layers").items(1, MAX_LAYERS)
        if len(fields) != int(self.header["layer_count"]):
            count = int(self.header["layer_count"])
            raise damaged(f"{self.name}: field info.layers: {len(fields)} layers, the header says {count}")
        layers = tuple(LayerInfo.from_json(f) for f in fields)
        for i, layer in enumerate(layers):
            if layer.kind not in LAYER_KINDS:
                self.notices.append(
                    f"layer {i} ({layer.name!r}): kind {layer.kind!r} is not known to this version and is skipped"
                )
        return layers


class FileLensReader(LensReader):
    """A .lens on this machine; may be read from several threads."""

    def __init__(self, path: Path) -> None:
        """Raises LensError where the file cannot be opened, else as LensReader."""
        self._lock = threading.Lock()
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise LensError(f"{path}: cannot read: {error.strerror or error}; check the name") from error
        try:
            size = self._file.seek(0, 2)
            super().__init__(self._read, size=size, name=str(path))
        except BaseException:
            self._file.close()
            raise

    def _read(self, offset: int, length: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(offset)
                return self._file.read(length)
        except OSError as error:
            raise LensError(f"{self.name}: cannot read: {error.strerror or error}") from error

    def close(self) -> None:
        self._file.close()


def _read_header(data: bytes, name: str) -> np.void:
    """The header, as far as it can be judged alone. Raises FormatError, UnsupportedError."""
    if not data:
        raise FormatError(f"{name}: the file is empty; fetch or convert it again")
    if data[: len(MAGIC)] != MAGIC[: len(data)]:
        for magic, what, remedy in OTHER_FILES:
            if data.startswith(magic):
                raise FormatError(f"{name}: byte 0: this is {what}, not a .lens; {remedy}")
        raise FormatError(
            f"{name}: byte 0: not a .lens (it starts with {data[:8].hex(' ')}); check that it is the right file"
        )
    if len(data) < HEADER.itemsize:
        raise FormatError(f"{name}: the file ends at byte {len(data)}, inside its header; fetch or copy it again")
    header: np.void = np.frombuffer(data, HEADER, 1)[0]
    version = int(header["version"])
    if version > VERSION:
        raise UnsupportedError(
            f"{name}: .lens version {version}, this program reads {VERSION}; update it or convert the scene again"
        )
    if version < 1:
        raise damaged(f"{name}: byte 8, field version: 0")
    sections, layers = int(header["section_count"]), int(header["layer_count"])
    if not 1 <= sections <= MAX_SECTIONS or int(header["head_length"]) != HEADER.itemsize + sections * SECTION.itemsize:
        raise damaged(f"{name}: byte 12: {sections} sections in a head of {int(header['head_length'])} bytes cannot be")
    if not 1 <= layers <= MAX_LAYERS:
        raise damaged(f"{name}: field layer_count: {layers}, expected 1 to {MAX_LAYERS}")
    if int(header["file_length"]) < int(header["head_length"]):
        raise damaged(f"{name}: field file_length: {int(header['file_length'])} bytes, less than the head")
    return header
