"""Writes .lens files: plans the pages, deflates them in threads, and fills the head in once every length is known."""

from __future__ import annotations

import hashlib
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera_files import camera_json
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import dump_json
from splatlens.viewer.files import atomic_write
from splatlens.viewer.lens_blocks import deflate
from splatlens.viewer.lens_layers import BlobLayer, PackedPage, SplatsLayer, SplatsPlan, plan_splats
from splatlens.viewer.lens_layout import (
    CONTENT_ID_BYTES,
    DIRECTORY,
    DIRECTORY_ENTRIES,
    HEAD_BYTES,
    HEADER,
    MAGIC,
    MAX_DATA_BYTES,
    MAX_INFO_BYTES,
    MAX_LAYERS,
    MAX_SECTIONS,
    NONE,
    PAGE,
    SECTION,
    VERSION,
    Encoding,
    SectionKind,
)
from splatlens.viewer.quantised_file import quantised_file
from splatlens.viewer.scene import CAMERAS, THUMBNAIL, LayerInfo, SceneInfo

#: A SplatsPlan is a splats layer that is quantised already.
Layer = SplatsLayer | SplatsPlan | BlobLayer
Progress = Callable[[float], None]


@dataclass(frozen=True)
class WriteReport:
    """What was written. splats: source splats; stored: rows of all clusters. parts: bytes by part of the file.

    seconds: of the whole call. coarse_splats: rows of the leaves of the coarsest complete picture that whole pages, SH
    included, of the first COARSE_BYTES give.
    """

    path: Path
    bytes: int
    splats: int
    stored: int
    clusters: int
    pages: int
    coarse_splats: int
    parts: dict[str, int]
    seconds: float


#: The first picture is judged by what these many bytes hold, head included.
COARSE_BYTES = 300_000


@dataclass
class _Section:
    """A row of the section table; offset and length are known once it is written."""

    kind: SectionKind
    encoding: Encoding = Encoding.RAW
    layer: int = NONE
    data: bytes = b""
    decoded: int = 0
    offset: int = 0
    length: int = 0
    crc32: int = 0

    @staticmethod
    def of(kind: SectionKind, data: bytes, layer: int = NONE, raw: bool = False) -> _Section:
        """Deflated where that pays, unless it is to be stored raw."""
        packed = data if raw else deflate(data)
        if kind is SectionKind.INFO or len(packed) < 0.95 * len(data):
            return _Section(kind, Encoding.ZLIB, layer, packed, len(data))
        return _Section(kind, Encoding.RAW, layer, data, len(data))

    def place(self, offset: int, stored: bytes) -> None:
        self.offset, self.length, self.crc32 = offset, len(stored), zlib.crc32(stored)


@dataclass
class _Plan:
    """Everything that is known before the first page is encoded."""

    sections: list[_Section] = field(default_factory=list)
    layers: list[LayerInfo] = field(default_factory=list)
    splats: dict[int, SplatsPlan] = field(default_factory=dict)
    #: Layer: pages in its first directory block.
    head_pages: dict[int, int] = field(default_factory=dict)


def write_lens(
    path: str | Path, layers: Sequence[Layer], info: SceneInfo, progress: Progress | None = None, workers: int = 2
) -> WriteReport:
    """Writes a scene of one or more layers; the same input gives the same bytes. `progress` hears the share done, 0..1.

    The bounds are measured where `info` has none. Nothing is left behind when it fails. Raises LensError.
    """
    start = time.perf_counter()
    path = Path(path)
    with ExitStack() as stack:
        plan = _plan(layers, info, stack)
        file, pool = stack.enter_context(atomic_write(path)), stack.enter_context(ThreadPoolExecutor(workers))
        try:
            report = _write(file, plan, pool, progress)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return replace(report, path=path, seconds=time.perf_counter() - start)


def _plan(layers: Sequence[Layer], info: SceneInfo, stack: ExitStack) -> _Plan:
    """stack: closes the files that quantised rows go to."""
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise LensError(f"scene: field layers: expected 1 to {MAX_LAYERS}, got {len(layers)}")
    plan = _Plan()
    plan.sections.append(_Section(SectionKind.INFO))
    for i, layer in enumerate(layers):
        if isinstance(layer, BlobLayer):
            blobs = {name: _data(plan, data, i, name in layer.raw) for name, data in sorted(layer.blobs.items())}
            own = LayerInfo(layer.kind, layer.name, layer.transform, blobs, None, layer.properties)
            plan.layers.append(own)
        else:
            if isinstance(layer, SplatsPlan):
                planned = layer
            else:
                planned = plan_splats(layer, stack.enter_context(quantised_file()))
            plan.splats[i] = planned
            plan.layers.append(planned.info)
            plan.sections.append(_Section(SectionKind.DIRECTORY, layer=i))
    attachments = {}
    if info.cameras:
        attachments[CAMERAS] = _data(plan, dump_json([camera_json(c) for c in info.cameras]))
    if info.thumbnail:
        attachments[THUMBNAIL] = _data(plan, info.thumbnail)
    if info.bounds is None and plan.splats:
        corners = np.array([corner for p in plan.splats.values() for corner in p.world_bounds()])
        low, high = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        info = replace(info, bounds=((low[0], low[1], low[2]), (high[0], high[1], high[2])))
    text = {**info.to_json(), "layers": [layer.to_json() for layer in plan.layers], "attachments": attachments}
    _fit_head(plan, dump_json(text))
    return plan


def _data(plan: _Plan, data: bytes, layer: int = NONE, raw: bool = False) -> int:
    """Adds a section of data; its index."""
    if not 0 < len(data) <= MAX_DATA_BYTES:
        raise LensError(f"scene: a blob or attachment has {len(data)} bytes; expected 1 to {MAX_DATA_BYTES}")
    plan.sections.append(_Section.of(SectionKind.DATA, data, layer, raw))
    return len(plan.sections) - 1


def _fit_head(plan: _Plan, text: bytes) -> None:
    """Puts the scene description in, and as many directory entries a layer as the first HEAD_BYTES leave room for."""
    plan.sections[0] = _Section.of(SectionKind.INFO, text)
    # As if every layer had a tail: its section is added below where it has one.
    sections = len(plan.sections) + len(plan.splats)
    if sections > MAX_SECTIONS:
        raise LensError(f"scene: {sections} sections, at most {MAX_SECTIONS}; put fewer blobs or layers into one file")
    fixed = (
        HEADER.itemsize
        + sections * SECTION.itemsize
        + len(plan.sections[0].data)
        + len(plan.splats) * DIRECTORY.itemsize
    )
    room = (HEAD_BYTES - fixed) // PAGE.itemsize
    if len(text) > MAX_INFO_BYTES or room < len(plan.splats):
        size = f"{len(text)} bytes, {len(plan.sections[0].data)} compressed"
        message = (
            f"scene: the description takes {size}, and with {sections} sections exceeds the first {HEAD_BYTES} bytes"
        )
        raise LensError(f"{message}; shorten attribution and names, or put fewer layers into one file")
    share = min(DIRECTORY_ENTRIES, room // max(1, len(plan.splats)))
    for i, layer in plan.splats.items():
        plan.head_pages[i] = min(share, len(layer.pages))
        if len(layer.pages) > plan.head_pages[i]:
            plan.sections.append(_Section(SectionKind.DIRECTORY_TAIL, layer=i))


def _write(file: IO[bytes], plan: _Plan, pool: ThreadPoolExecutor, progress: Progress | None) -> WriteReport:
    digest = hashlib.sha256()
    offset = _head_length(plan)
    file.write(bytes(offset))
    digest.update(plan.sections[0].data)
    entries = {i: layer.entries() for i, layer in plan.splats.items()}
    marks: list[int] = []
    parts = {"head": offset, "nodes": 0, "geometry": 0, "sh": 0, "directory": 0, "data": 0}

    def block(stream: bytes) -> int:
        """Writes a block after room for the content id; the offset of its stream."""
        nonlocal offset
        marks.append(offset)
        file.write(bytes(CONTENT_ID_BYTES) + stream)
        digest.update(stream)
        offset += CONTENT_ID_BYTES + len(stream)
        return offset - len(stream)

    order = _page_order(plan)
    for done, (i, k, page) in enumerate(_encode(plan, order, pool)):
        entry = entries[i][k]
        entry["geometry_offset"], entry["geometry_length"] = block(page.geometry), len(page.geometry)
        entry["geometry_decoded"] = page.geometry_decoded
        parts["geometry"] += len(page.geometry) - page.nodes_length
        parts["nodes"] += page.nodes_length
        if page.sh:
            entry["sh_offset"], entry["sh_length"], entry["sh_decoded"] = block(page.sh), len(page.sh), page.sh_decoded
            parts["sh"] += len(page.sh)
        if progress is not None:
            progress((done + 1) / len(order))
    for section in plan.sections:
        if section.kind is SectionKind.DATA:
            section.place(offset, section.data)
            file.write(section.data)
            digest.update(section.data)
            offset += len(section.data)
            parts["data"] += len(section.data)
    content_id = digest.digest()[:CONTENT_ID_BYTES]
    offset += _place_directories(file, plan, entries, content_id, offset)
    for mark in marks:
        file.seek(mark)
        file.write(content_id)
    parts["directory"] = sum(
        s.length for s in plan.sections if s.kind in (SectionKind.DIRECTORY, SectionKind.DIRECTORY_TAIL)
    )
    parts["head"] -= sum(s.length for s in plan.sections if s.kind is SectionKind.DIRECTORY)
    parts["ids"] = CONTENT_ID_BYTES * len(marks)
    file.seek(0)
    file.write(_head(plan, content_id, offset))
    infos = [layer.splats for layer in plan.layers if layer.splats]
    return WriteReport(
        path=Path(),
        bytes=offset,
        splats=sum(s.splats for s in infos),
        stored=sum(s.stored for s in infos),
        clusters=sum(s.clusters for s in infos),
        pages=sum(s.pages for s in infos),
        coarse_splats=_coarse_splats(plan, entries),
        parts=parts,
        seconds=0.0,
    )


def _page_order(plan: _Plan) -> list[tuple[int, int]]:
    """(layer, page) of all layers: first pages first, then by the error drawn while it is missing, in world units."""
    keys = []
    for i, layer in plan.splats.items():
        scale = abs(float(np.linalg.det(layer.info.transform[:3, :3]))) ** (1 / 3)
        keys += [(k > 0, -float(error) * scale, i, k) for k, error in enumerate(layer.pages.error)]
    return [(i, k) for _, _, i, k in sorted(keys)]


def _encode(
    plan: _Plan, order: list[tuple[int, int]], pool: ThreadPoolExecutor
) -> Iterator[tuple[int, int, PackedPage]]:
    """Pages in order, encoded a few ahead in threads: zlib releases the interpreter lock."""
    packed = pool.map(lambda key: plan.splats[key[0]].encode(key[1]), order)
    for (i, k), page in zip(order, packed, strict=True):
        yield i, k, page


def _head_length(plan: _Plan) -> int:
    directories = sum(DIRECTORY.itemsize + n * PAGE.itemsize for n in plan.head_pages.values())
    return HEADER.itemsize + len(plan.sections) * SECTION.itemsize + len(plan.sections[0].data) + directories


def _directory_block(layer: int, first: int, entries: NDArray[np.void], content_id: bytes) -> bytes:
    head = np.zeros((), DIRECTORY)
    head["content_id"] = np.frombuffer(content_id, np.uint8)
    head["layer"], head["first_page"], head["page_count"] = layer, first, len(entries)
    body = entries.tobytes()
    head["crc32"] = zlib.crc32(body, zlib.crc32(head.tobytes()[:-4]))
    return head.tobytes() + body


def _place_directories(
    file: IO[bytes], plan: _Plan, entries: dict[int, NDArray[np.void]], content_id: bytes, offset: int
) -> int:
    """Writes the tails at `offset`, keeps the first blocks for the head; bytes written."""
    start = offset
    for section in plan.sections:
        i = section.layer
        if section.kind is SectionKind.DIRECTORY:
            section.data = _directory_block(i, 0, entries[i][: plan.head_pages[i]], content_id)
        elif section.kind is SectionKind.DIRECTORY_TAIL:
            firsts = range(plan.head_pages[i], len(entries[i]), DIRECTORY_ENTRIES)
            tail = b"".join(_directory_block(i, k, entries[i][k : k + DIRECTORY_ENTRIES], content_id) for k in firsts)
            section.place(offset, tail)
            section.decoded = len(tail)
            file.write(tail)
            offset += len(tail)
    return offset - start


def _head(plan: _Plan, content_id: bytes, file_length: int) -> bytes:
    """Header, section table, scene description and first directory blocks."""
    table_end = HEADER.itemsize + len(plan.sections) * SECTION.itemsize
    offset, bodies = table_end, []
    for section in plan.sections:
        if section.kind in (SectionKind.INFO, SectionKind.DIRECTORY):
            section.place(offset, section.data)
            section.decoded = section.decoded or len(section.data)
            bodies.append(section.data)
            offset += len(section.data)
    table = np.zeros(len(plan.sections), SECTION)
    for row, section in zip(table, plan.sections, strict=True):
        row["kind"], row["encoding"], row["layer"] = section.kind, section.encoding, section.layer
        row["offset"], row["length"], row["decoded_length"] = section.offset, section.length, section.decoded
        row["crc32"] = section.crc32
    header = np.zeros((), HEADER)
    header["magic"] = np.frombuffer(MAGIC, np.uint8)
    header["version"], header["head_length"], header["file_length"] = VERSION, table_end, file_length
    header["content_id"] = np.frombuffer(content_id, np.uint8)
    header["section_count"], header["layer_count"] = len(plan.sections), len(plan.layers)
    header["crc32"] = zlib.crc32(table.tobytes(), zlib.crc32(header.tobytes()[:-4]))
    return header.tobytes() + table.tobytes() + b"".join(bodies)


def _coarse_splats(plan: _Plan, entries: dict[int, NDArray[np.void]]) -> int:
    """See WriteReport.coarse_splats."""
    total = 0
    for i, layer in plan.splats.items():
        ends: list[Any] = [entries[i][f"{part}_offset"] + entries[i][f"{part}_length"] for part in ("geometry", "sh")]
        arrived = np.maximum(*ends) <= COARSE_BYTES
        nodes, page_of = layer.nodes, np.repeat(np.arange(len(layer.pages)), np.diff(layer.pages.first))
        inner = (nodes["child_count"] > 0) & (nodes["child_page"] != NONE)
        refined = np.zeros(len(nodes), np.bool_)
        refined[inner] = arrived[nodes["child_page"][inner]]
        total += int(nodes["count"][arrived[page_of] & ~refined].sum())
    return total
