"""Pages of one splats layer of a .lens file: directory entries block by block, nodes and GPU words page by page."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.errors import FormatError
from splatlens.viewer.lens_blocks import check_lengths, damaged, inflate, inflate_start
from splatlens.viewer.lens_layout import (
    CLUSTER_SPLATS,
    CONTENT_ID_BYTES,
    DIRECTORY,
    DIRECTORY_ENTRIES,
    NODE,
    NONE,
    PAGE,
    PAGE_CLUSTERS,
    SectionKind,
)
from splatlens.viewer.lens_nodes import LayerNodes, check_nodes, check_tree, unpack_nodes

if TYPE_CHECKING:
    from splatlens.viewer.lens_reader import LensReader

#: Bytes by which deflate may exceed what it stores, for the nodes of one page: block headers and a flush.
_DEFLATE_SLACK = 128


@dataclass(frozen=True)
class Page:
    """A page: its nodes, and its clusters as the GPU reads them (viewer.codec.Geometry)."""

    number: int
    nodes: LayerNodes
    geometry: codec.Geometry


class SplatsReader:
    """The clusters of a layer, numbered 0 (the root) to `clusters` - 1 in file order, in pages 0 to `pages` - 1."""

    def __init__(self, reader: LensReader, layer: int) -> None:
        """Checks the layer's directory sections. Raises FormatError."""
        info = reader.layers[layer].splats
        if info is None:
            raise ValueError(f"layer {layer} has no splats")
        self.info = info
        self.layer = layer
        self.sh_degree = info.sh_degree
        self.clusters = info.clusters
        self.pages = info.pages
        self.where = f"{reader.name}: layer {layer}"
        self.codec = self._codec()
        self._reader = reader
        self._blocks: dict[int, NDArray[np.void]] = {}
        self._head, self._tail = self._spans()

    def entry(self, page: int) -> np.void:
        """The PAGE record of a page, checked. Raises FormatError; IndexError for a page the layer does not have."""
        if not 0 <= page < self.pages:
            raise IndexError(f"{self.where}: no page {page}")
        block = 0 if page < self._head[2] else 1 + (page - self._head[2]) // DIRECTORY_ENTRIES
        if block not in self._blocks:
            self._blocks[block] = self._read_block(block)
        first = 0 if block == 0 else self._head[2] + (block - 1) * DIRECTORY_ENTRIES
        entry: np.void = self._blocks[block][page - first]
        return entry

    def page(self, page: int) -> Page:
        """Nodes and GPU words of a page. Raises FormatError."""
        entry, where = self.entry(page), f"{self.where}, page {page}"
        n = int(entry["cluster_count"])
        data = self._block(entry, "geometry", page)
        nodes = self._nodes(data, entry, page)
        try:
            geometry = codec.decode_geometry(data[n * NODE.itemsize :], nodes.count.tolist(), self.codec)
        except FormatError as error:
            raise damaged(f"{where}: geometry at byte {int(entry['geometry_offset'])}: {error}") from error
        if not np.array_equal(geometry.slots, nodes.slots):
            raise damaged(
                f"{where}: clusters take {geometry.slots.tolist()} slots, their nodes say {nodes.slots.tolist()}"
            )
        return Page(page, nodes, geometry)

    def sh_page(self, page: int, geometry: Page | None = None) -> NDArray[np.uint32]:
        """GPU words of a page's SH, one SH slot a cluster; `geometry` is read where not given. Raises FormatError."""
        if self.sh_degree == 0:
            return np.zeros(0, np.uint32)
        geometry = geometry or self.page(page)
        entry = self.entry(page)
        data = self._block(entry, "sh", page)
        try:
            return codec.decode_sh(data, geometry.nodes.count.tolist(), geometry.geometry.classes, self.codec)
        except FormatError as error:
            raise damaged(f"{self.where}, page {page}: SH at byte {int(entry['sh_offset'])}: {error}") from error

    def nodes(self) -> LayerNodes:
        """The nodes of the whole layer, for the cut; checks that they form one tree. Raises FormatError."""
        parts = []
        for k in range(self.pages):
            entry = self.entry(k)
            size = int(entry["cluster_count"]) * NODE.itemsize
            length = int(entry["geometry_length"])
            # Writers flush after the nodes, so they are whole in the stream's first bytes; if not, it is read whole.
            start = self._stream(int(entry["geometry_offset"]), min(length, size + _DEFLATE_SLACK), k)
            data = inflate_start(start, size)
            parts.append(self._nodes(data if len(data) == size else self._block(entry, "geometry", k), entry, k))
        nodes = LayerNodes.concatenate(parts)
        pages = np.repeat(np.arange(self.pages), [len(p) for p in parts])
        inner = np.flatnonzero(nodes.child_count)
        wrong = pages[nodes.child_first[inner]] != nodes.child_page[inner]
        if wrong.any():
            bad = int(inner[np.argmax(wrong)])
            raise damaged(f"{self.where}: cluster {bad}, field child_page: its children are in another page")
        above = np.array([int(self.entry(k)["parent_page"]) for k in range(self.pages)])
        wrong = (nodes.child_page[inner] != pages[inner]) & (above[nodes.child_page[inner]] != pages[inner])
        if wrong.any():
            bad = int(nodes.child_page[inner[np.argmax(wrong)]])
            raise damaged(f"{self.where}, page {bad}, field parent_page: parents are in another page")
        check_tree(nodes, self.info.splats, self.info.stored, self.where)
        return nodes

    def sizes(self) -> dict[str, Any]:
        """Bytes stored, from the directory: geometry (nodes included) and SH."""
        entries = [self.entry(k) for k in range(self.pages)]
        return {f"{part}_bytes": sum(int(e[f"{part}_length"]) for e in entries) for part in ("geometry", "sh")}

    def _codec(self) -> codec.LayerCodec:
        try:
            own = codec.LayerCodec.from_json(self.info.codec)
        except FormatError as error:
            raise damaged(f"{self.where}: field codec: {error}") from error
        if own.sh_degree != self.sh_degree:
            raise damaged(f"{self.where}: field sh_degree: {self.sh_degree}, its codec says {own.sh_degree}")
        return own

    def _spans(self) -> tuple[tuple[int, int, int], tuple[int, int]]:
        """(offset, length, pages) of the first directory block, (offset, length) of the tail."""
        heads = self._reader.find(SectionKind.DIRECTORY, self.layer)
        tails = self._reader.find(SectionKind.DIRECTORY_TAIL, self.layer)
        if len(heads) != 1 or len(tails) > 1:
            raise damaged(
                f"{self.where}: {len(heads)} directories and {len(tails)} tails, expected one and at most one"
            )
        head = self._reader.sections[heads[0]]
        pages, rest = divmod(int(head["length"]) - DIRECTORY.itemsize, PAGE.itemsize)
        if rest or not 1 <= pages <= min(DIRECTORY_ENTRIES, self.pages):
            raise damaged(f"{self.where}: a directory of {int(head['length'])} bytes for {self.pages} pages")
        left = self.pages - pages
        want = left * PAGE.itemsize + -(-left // DIRECTORY_ENTRIES) * DIRECTORY.itemsize
        tail = (
            (int(self._reader.sections[tails[0]]["offset"]), int(self._reader.sections[tails[0]]["length"]))
            if tails
            else (0, 0)
        )
        if tail[1] != want:
            raise damaged(
                f"{self.where}: the rest of its directory has {tail[1]} bytes, expected {want} for {self.pages} pages"
            )
        if not self.pages <= self.clusters <= self.pages * PAGE_CLUSTERS or not self.info.splats <= self.info.stored:
            counts = f"{self.clusters} clusters in {self.pages} pages, {self.info.splats} of {self.info.stored} splats"
            raise damaged(f"{self.where}: {counts} cannot be")
        return (int(head["offset"]), int(head["length"]), pages), tail

    def _read_block(self, block: int) -> NDArray[np.void]:
        """The entries of a directory block, checked on their own."""
        if block == 0:
            (offset, length, count), first = self._head, 0
        else:
            first = self._head[2] + (block - 1) * DIRECTORY_ENTRIES
            count = min(DIRECTORY_ENTRIES, self.pages - first)
            offset = self._tail[0] + (block - 1) * (DIRECTORY.itemsize + DIRECTORY_ENTRIES * PAGE.itemsize)
            length = DIRECTORY.itemsize + count * PAGE.itemsize
        where = f"{self.where}: directory at byte {offset}"
        data = self._reader.read(offset, length, f"layer {self.layer}: directory")
        head = np.frombuffer(data, DIRECTORY, 1)[0]
        self._check_id(head["content_id"].tobytes(), where)
        body = data[DIRECTORY.itemsize :]
        if zlib.crc32(body, zlib.crc32(data[: DIRECTORY.itemsize - 4])) != int(head["crc32"]):
            raise damaged(f"{where}: checksum differs")
        if (int(head["layer"]), int(head["first_page"]), int(head["page_count"])) != (self.layer, first, count):
            raise damaged(f"{where}: is of other pages than its place says")
        entries = np.frombuffer(body, PAGE)
        cluster: int | None = 0 if block == 0 else None
        for i, entry in enumerate(entries):
            k = first + i
            if cluster is not None and int(entry["first_cluster"]) != cluster:
                raise damaged(
                    f"{self.where}, page {k}, field first_cluster: {int(entry['first_cluster'])}, expected {cluster}"
                )
            self._check_entry(entry, k)
            cluster = int(entry["first_cluster"]) + int(entry["cluster_count"])
        if first + count == self.pages and cluster != self.clusters:
            raise damaged(f"{self.where}: its pages hold {cluster} clusters, expected {self.clusters}")
        return entries

    def _check_entry(self, entry: np.void, k: int) -> None:
        """Ranges, lengths and extents of one directory entry. Raises FormatError."""
        where = f"{self.where}, page {k}"
        n, slots, parent = int(entry["cluster_count"]), int(entry["slot_count"]), int(entry["parent_page"])
        if not 1 <= n <= PAGE_CLUSTERS or not n <= slots <= 2 * n:
            raise damaged(f"{where}: {n} clusters in {slots} slots cannot be")
        if int(entry["first_cluster"]) + n > self.clusters:
            raise damaged(f"{where}, field first_cluster: {int(entry['first_cluster'])}, beyond {self.clusters}")
        if (parent != NONE) if k == 0 else (parent >= k):
            raise damaged(f"{where}, field parent_page: {parent}, expected an earlier page")
        if not np.isfinite(entry["error"]) or entry["error"] < 0:
            raise damaged(f"{where}, field error: {entry['error']}, expected a finite length")
        limits = codec.max_payload_length([CLUSTER_SPLATS] * n, self.sh_degree)
        for part, limit in zip(("geometry", "sh"), (limits[0] + n * NODE.itemsize, limits[1]), strict=True):
            offset, length, decoded = (int(entry[f"{part}_{f}"]) for f in ("offset", "length", "decoded"))
            if part == "sh" and self.sh_degree == 0:
                if offset or length or decoded:
                    raise damaged(f"{where}: has SH, its layer has none")
                continue
            check_lengths(length, decoded, limit, f"{where}: {part} at byte {offset}")
            self._reader.extents.add(
                offset - CONTENT_ID_BYTES, length + CONTENT_ID_BYTES, f"layer {self.layer}, page {k}, {part}"
            )

    def _check_id(self, content_id: bytes, where: str) -> None:
        if content_id != self._reader.content_id:
            got = f"{content_id.hex()}, expected {self._reader.content_id.hex()}"
            raise FormatError(
                f"{where}: content id {got}: the file was replaced since it was opened, or is damaged; open it again"
            )

    def _stream(self, offset: int, length: int, page: int) -> bytes:
        """Bytes of a block's stream, its content id checked."""
        what = f"layer {self.layer}, page {page}"
        data = self._reader.read(offset - CONTENT_ID_BYTES, length + CONTENT_ID_BYTES, what)
        self._check_id(data[:CONTENT_ID_BYTES], f"{self._reader.name}: {what} at byte {offset}")
        return data[CONTENT_ID_BYTES:]

    def _block(self, entry: np.void, part: str, page: int) -> bytes:
        """A page's geometry or SH block, inflated."""
        offset, length, decoded = (int(entry[f"{part}_{f}"]) for f in ("offset", "length", "decoded"))
        return inflate(
            self._stream(offset, length, page), decoded, f"{self.where}, page {page}: {part} at byte {offset}"
        )

    def _nodes(self, data: bytes, entry: np.void, page: int) -> LayerNodes:
        n = int(entry["cluster_count"])
        where = f"{self.where}, page {page}"
        if len(data) < n * NODE.itemsize:
            raise damaged(f"{where}: {len(data)} bytes are too few for the nodes of {n} clusters")
        nodes = check_nodes(unpack_nodes(data, n), int(entry["first_cluster"]), page, self.clusters, self.pages, where)
        if int(nodes.slots.sum()) != int(entry["slot_count"]):
            raise damaged(
                f"{where}, field slot_count: {int(entry['slot_count'])}, its nodes take {int(nodes.slots.sum())}"
            )
        return nodes
