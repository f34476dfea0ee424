"""Mesh layers of .lens files (docs/format-mesh.md; static/mesh/nodes.js reads them): nodes, pages, facts."""

from __future__ import annotations

import os
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, overload

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.lens_blocks import damaged
from splatlens.viewer.lens_layout import MAX_CHILDREN, MAX_SECTIONS
from splatlens.viewer.lens_nodes import float32_up
from splatlens.viewer.mesh import MeshNodes, MeshTree, Surface
from splatlens.viewer.mesh_codec import (
    MAX_PAGE_WORDS,
    MAX_VERTICES,
    Shape,
    decode_page,
    encode_page,
    in_order,
    shape_of,
)
from splatlens.viewer.mesh_look import look_blobs, look_properties, read_look
from splatlens.viewer.mesh_texels import MAX_SIDE

KIND: Final = "mesh"
NODES: Final = "nodes"
#: Most nodes of a layer, and bytes of a part of its pages: below what a section may hold.
MAX_NODES: Final = 1 << 20
PART_BYTES: Final = (1 << 28) - (1 << 20)
#: Decoded words that a reader keeps: 256 MiB.
KEPT_WORDS: Final = 1 << 26

#: A node. The blob holds all of the first field, then all of the second, ...; then the pages, in the same way.
NODE: Final = np.dtype(
    [
        ("child_first", "<u4"),
        ("error", "<f4"),
        ("sphere", "<f4", (4,)),
        ("support", "<f4", (2, 3)),
        ("triangles", "<u4"),
        ("vertices", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("child_count", "u1"),
    ]
)
PAGE: Final = np.dtype([("part", "<u4"), ("offset", "<u4"), ("length", "<u4"), ("crc32", "<u4")])
#: Under the names that docs/format-mesh.md gives them.
RECORDS: Final = {"Node": NODE, "Page": PAGE}

Progress = Callable[[float], None]

#: Words of all nodes from which pictures are encoded quickly: what is 20 times the poster would take minutes else.
LARGE_WORDS: Final = 2**24


def mesh_layer(tree: MeshTree, name: str = "", progress: Progress | None = None) -> BlobLayer:
    """The layer of a .lens file; the same tree gives the same bytes. Raises LensError for what cannot be stored."""
    nodes, look = tree.nodes, tree.look
    pages = page_rows(nodes)
    records = np.zeros(len(nodes.error), NODE)
    table = np.zeros(len(pages), PAGE)
    quick = int(nodes.words.sum()) > LARGE_WORDS

    def encode(k: int) -> tuple[list[Shape], bytes]:
        surfaces = [in_order(tree.surfaces[i]) for i in pages[k]]
        return [shape_of(one) for one in surfaces], encode_page(surfaces, look.channels, look.empty, quick)

    # Coarse first: by the error that is seen while the page is missing.
    parents = np.flatnonzero(nodes.child_count > 0)
    seen = nodes.error[parents[np.argsort(nodes.child_first[parents])]]
    order = [0, *(1 + np.argsort(-seen, kind="stable")).tolist()]
    parts: list[bytearray] = [bytearray()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow's encoder and zlib release the interpreter's lock
        for done, (k, (shapes, data)) in enumerate(zip(order, pool.map(encode, order), strict=True)):
            if parts[-1] and len(parts[-1]) + len(data) > PART_BYTES:
                parts.append(bytearray())
            table[k] = len(parts) - 1, len(parts[-1]), len(data), zlib.crc32(data)
            parts[-1] += data
            for i, one in zip(pages[k], shapes, strict=True):
                records[i]["vertices"], records[i]["triangles"] = one.vertices, one.triangles
                records[i]["width"], records[i]["height"] = one.width, one.height
            if progress is not None:
                progress((done + 1) / len(pages))
    _fill_records(records, nodes)
    if len(records) > MAX_NODES:
        raise LensError(f"mesh: {len(records)} nodes, at most {MAX_NODES}: build larger ones")
    blobs = {f"pages.{i}": bytes(part) for i, part in enumerate(parts)}
    leaves = int(records["triangles"][nodes.child_count == 0].sum())
    own = {"nodes": len(records), "pages": len(pages), "parts": len(parts), "triangles": leaves}
    blobs |= {NODES: apart(records) + apart(table), **look_blobs(look)}
    raw = frozenset(f"pages.{i}" for i in range(len(parts)))
    return BlobLayer(KIND, blobs, own | look_properties(look), name, raw=raw)


def _fill_records(records: NDArray[np.void], nodes: MeshNodes) -> None:
    """Bounds rounded outward."""
    inner = nodes.child_count > 0
    records["child_first"], records["child_count"] = np.where(inner, nodes.child_first, 0), nodes.child_count
    records["error"] = float32_up(np.asarray(nodes.error, np.float64))
    centre = nodes.sphere[:, :3].astype(np.float32)
    moved = np.sqrt(((nodes.sphere[:, :3] - centre) ** 2).sum(axis=1))
    records["sphere"][:, :3], records["sphere"][:, 3] = centre, float32_up(nodes.sphere[:, 3] + moved)
    records["support"][:, 0] = -float32_up(-nodes.support[:, 0])
    records["support"][:, 1] = float32_up(nodes.support[:, 1])
    if fault := _node_fault(records):
        raise LensError(f"mesh: node {fault[0]}: {fault[1]}")


def page_rows(nodes: MeshNodes | NDArray[np.void]) -> list[range]:
    """Nodes of each page: the root, then the children of one node each, in their own order."""
    own = nodes if isinstance(nodes, np.ndarray) else {n: getattr(nodes, n) for n in ("child_first", "child_count")}
    inner = np.flatnonzero(own["child_count"] > 0)
    firsts, counts = own["child_first"][inner].tolist(), own["child_count"][inner].tolist()
    return [range(1), *sorted((range(a, a + n) for a, n in zip(firsts, counts, strict=True)), key=lambda r: r.start)]


def _node_fault(records: NDArray[np.void]) -> tuple[int, str] | None:
    """The first node that cannot be, and why."""
    n = len(records)
    first, count = records["child_first"].astype(np.int64), records["child_count"].astype(np.int64)
    inner, rows = count > 0, np.arange(n)
    floats = np.concatenate([records["error"][:, None], records["sphere"], records["support"].reshape(n, 6)], axis=1)
    textured = records["width"] > 0
    parents = np.repeat(rows, count)
    children = np.arange(len(parents)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    inside = (children > parents) & (children < n)
    children = np.where(inside, children, 0)
    grown = records["error"][parents] < records["error"][children]
    faults = {
        "children that are none, or before it": np.isin(rows, parents[~inside]) | (count > MAX_CHILDREN),
        "child_first without children": ~inner & (first != 0),
        "NaN or infinity": ~np.isfinite(floats).all(axis=1),
        "an error or a radius below 0": (records["error"] < 0) | (records["sphere"][:, 3] < 0),
        "a least corner above the greatest": (records["support"][:, 0] > records["support"][:, 1]).any(axis=1),
        "not one parent": np.bincount(children[inside], minlength=n) != (rows > 0),
        "a larger error than its parent's": np.isin(rows, children[grown & inside]),
        "width or height of texels without the other": textured != (records["height"] > 0),
        f"texels of more than {MAX_SIDE} a side": (records["width"] > MAX_SIDE) | (records["height"] > MAX_SIDE),
        f"more than {MAX_VERTICES} vertices": records["vertices"] > MAX_VERTICES,
        "more triangles than a page holds": records["triangles"] > MAX_PAGE_WORDS,
    }  # fmt: skip
    for what, bad in faults.items():
        if bad.any():
            return int(np.argmax(bad)), what
    return None


def apart(records: NDArray[np.void]) -> bytes:
    """All of the first field, then all of the second, ..."""
    return b"".join(np.ascontiguousarray(records[name]).tobytes() for name in records.dtype.names or ())


def together(data: bytes, dtype: np.dtype[Any], count: int) -> NDArray[np.void]:
    """The records of `apart`."""
    out, at = np.zeros(count, dtype), 0
    for name in dtype.names or ():
        column = out[name]
        column[...] = np.frombuffer(data, column.dtype, column.size, at).reshape(column.shape)
        at += column.nbytes
    return out


def open_mesh(
    properties: Mapping[str, Any],
    blob: Callable[[str], bytes],
    blob_part: Callable[[str, int, int], bytes],
    where: str,
) -> MeshTree:
    """A mesh layer whose surfaces are decoded, page by page, when they are asked for.

    blob: bytes of a blob by name; blob_part: (name, offset, length) of one that is stored raw. where: file and layer,
    for messages. Raises FormatError, also when a surface is asked for.
    """
    own = Field(properties, where, "properties")
    look = read_look(own, blob)
    count, pages = own.member("nodes").integer(1, MAX_NODES), own.member("pages").integer(1, MAX_NODES)
    parts = own.member("parts").integer(1, MAX_SECTIONS)
    data, expected = blob(NODES), count * NODE.itemsize + pages * PAGE.itemsize
    if len(data) != expected:
        raise damaged(f"{where}: blob {NODES}: {len(data)} bytes, expected {expected}")
    records = together(data, NODE, count)
    table = together(data[count * NODE.itemsize :], PAGE, pages)
    if fault := _node_fault(records):
        raise damaged(f"{where}: blob {NODES}, node {fault[0]}: {fault[1]}")
    rows = page_rows(records)
    if len(rows) != pages or (table["part"] >= parts).any():
        raise damaged(f"{where}: blob {NODES}: {len(rows)} pages, the properties say {pages} in {parts} parts")
    columns = (records[name].tolist() for name in ("vertices", "triangles", "width", "height"))
    shapes = [Shape(*one) for one in zip(*columns, strict=True)]
    words = np.array([one.words(look.channels) for one in shapes], np.int64)
    page = np.zeros(count, np.int64)
    for k, span in enumerate(rows):
        page[span.start : span.stop] = k
        if words[span.start : span.stop].sum() > MAX_PAGE_WORDS:
            raise damaged(f"{where}: blob {NODES}: page {k} takes more than {MAX_PAGE_WORDS} words")
    if int(records["triangles"][records["child_count"] == 0].sum()) != own.member("triangles").integer(0, 2**40):
        own.member("triangles").fail("the triangles of all leaves")
    first, children, triangles = (records[n].astype(np.int64) for n in ("child_first", "child_count", "triangles"))
    error, sphere, support = (records[name].astype(np.float64) for name in ("error", "sphere", "support"))
    nodes = MeshNodes(first, children, error, sphere, support, triangles, words, page)

    def load(k: int) -> list[Surface]:
        row, place = table[k], f"{where}: page {k} at byte {int(table[k]['offset'])} of pages.{int(table[k]['part'])}"
        data = blob_part(f"pages.{int(row['part'])}", int(row["offset"]), int(row["length"]))
        if zlib.crc32(data) != int(row["crc32"]):
            raise damaged(f"{place}: checksum differs, or the file was replaced since it was opened")
        return decode_page(data, [shapes[i] for i in rows[k]], look.channels, look.empty, place)

    return MeshTree(nodes, PagedSurfaces(nodes, rows, load), look)


class PagedSurfaces(Sequence[Surface]):
    """The surfaces of a file's nodes: a page is decoded when one of its nodes is first asked for; some are kept."""

    def __init__(self, nodes: MeshNodes, rows: Sequence[range], load: Callable[[int], list[Surface]]) -> None:
        """rows: nodes of each page. load: decodes a page; raises FormatError."""
        self._nodes, self._rows, self._load = nodes, rows, load
        self._kept: OrderedDict[int, list[Surface]] = OrderedDict()
        self._words = 0

    def __len__(self) -> int:
        return len(self._nodes.page)

    @overload
    def __getitem__(self, index: int) -> Surface: ...
    @overload
    def __getitem__(self, index: slice) -> list[Surface]: ...
    def __getitem__(self, index: int | slice) -> Surface | list[Surface]:
        """Raises FormatError."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(index)
        k = int(self._nodes.page[index])
        if k in self._kept:
            self._kept.move_to_end(k)
        else:
            self._kept[k] = self._load(k)
            self._words += self._size(k)
            while self._words > KEPT_WORDS and len(self._kept) > 1:
                self._words -= self._size(self._kept.popitem(last=False)[0])
        return self._kept[k][index - self._rows[k].start]

    def __iter__(self) -> Iterator[Surface]:
        return (self[i] for i in range(len(self)))

    def _size(self, k: int) -> int:
        return int(self._nodes.words[self._rows[k].start : self._rows[k].stop].sum())
