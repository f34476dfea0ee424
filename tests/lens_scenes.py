"""Small scenes for the tests of .lens files: random splats, trees of any shape, and files with records changed."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.viewer.camera import Camera
from splatlens.viewer.lens import BlobLayer, SplatsLayer, write_lens
from splatlens.viewer.lens_layout import CONTENT_ID_BYTES, DIRECTORY, HEADER, NODE, NONE, PAGE, SECTION, SectionKind
from splatlens.viewer.lens_nodes import pack_nodes, unpack_nodes
from splatlens.viewer.scene import Kernel, SceneInfo
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats
from splatlens.viewer.tree import Tree


def random_splats(n: int, sh_degree: int = 0, seed: int = 0) -> Splats:
    """n splats in blobs of several sizes."""
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=(8, 3))[rng.integers(0, 8, n)]
    quats = rng.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    arrays = (
        centre + 0.3 * rng.normal(size=(n, 3)),
        quats,
        np.exp(rng.normal(-4, 0.5, (n, 3))),
        rng.uniform(0.05, 0.99, n),
        0.3 * rng.normal(size=(n, SH_COEFFICIENTS[sh_degree], 3)),
    )
    return Splats(*(a.astype(np.float32) for a in arrays))


def random_tree(clusters: int, seed: int = 0, *, sh_degree: int = 0, rows: int = 6, children: int = 16) -> Tree:
    """A valid tree of that many clusters, of random branching and order, every cluster of 1..rows random rows.

    Inner clusters' rows stand for nothing: only the tree's own promises hold (bounds contain, errors do not grow).
    """
    rng = np.random.default_rng(seed)
    child_first, child_count = np.zeros(clusters, np.int32), np.zeros(clusters, np.int32)
    parent = np.full(clusters, -1, np.int32)
    made, at = 1, 0
    while made < clusters:
        # Every cluster but the last that is open may stay a leaf.
        want = int(rng.integers(0 if at + 1 < made else 1, children + 1))
        n = min(want, clusters - made)
        child_first[at], child_count[at] = (made, n) if n else (0, 0)
        parent[made : made + n] = at
        made += n
        at += 1
    count = rng.integers(1, rows + 1, clusters).astype(np.int32)
    first = np.cumsum(count, dtype=np.int64) - count
    splats = random_splats(int(count.sum()), sh_degree, seed)
    error, box = np.zeros(clusters), np.zeros((clusters, 2, 3))
    for c in range(clusters):
        own = splats.means[first[c] : first[c] + count[c]]
        box[c] = own.min(axis=0), own.max(axis=0)
    whole = box.copy()
    sphere, support = np.zeros((clusters, 4)), np.zeros((clusters, 2, 3))
    for c in reversed(range(clusters)):
        kids = slice(child_first[c], child_first[c] + child_count[c])
        if child_count[c]:
            error[c] = error[kids].max() + rng.choice([0.0, 0.01, rng.uniform()])
            whole[c, 0] = np.minimum(whole[c, 0], whole[kids, 0].min(axis=0))
            whole[c, 1] = np.maximum(whole[c, 1], whole[kids, 1].max(axis=0))
        sphere[c, :3] = whole[c].mean(axis=0)
        sphere[c, 3] = np.linalg.norm(whole[c, 1] - whole[c, 0]) / 2
        support[c] = whole[c] + [[-0.2], [0.2]]
    return Tree(
        splats=splats, source=np.full(len(splats), -1), first=first, count=count, parent=parent,
        child_first=child_first, child_count=child_count, error=error, sphere=sphere, box=box, support=support,
    )  # fmt: skip


class Tampered:
    """A .lens file in memory whose records can be changed; `bytes` mends the checksums."""

    def __init__(self, data: bytes) -> None:
        self.data = bytearray(data)
        self._count = int(self.header["section_count"][0])

    @property
    def header(self) -> np.ndarray:
        return np.frombuffer(self.data, HEADER, 1)

    @property
    def sections(self) -> np.ndarray:
        return np.frombuffer(self.data, SECTION, self._count, HEADER.itemsize)

    def section(self, kind: int, layer: int = 0) -> np.ndarray:
        """The one row of a kind (and layer, where that kind has one)."""
        rows = self.sections
        at = int(np.flatnonzero((rows["kind"] == kind) & ((rows["layer"] == layer) | (rows["layer"] == NONE)))[0])
        return rows[at : at + 1]

    def directory(self, layer: int = 0) -> np.ndarray:
        """The record at the start of a layer's first directory block."""
        return np.frombuffer(self.data, DIRECTORY, 1, int(self.section(SectionKind.DIRECTORY, layer)["offset"][0]))

    def entries(self, layer: int = 0) -> np.ndarray:
        """The entries of a layer's first directory block."""
        row = self.section(SectionKind.DIRECTORY, layer)
        count = (int(row["length"][0]) - DIRECTORY.itemsize) // PAGE.itemsize
        return np.frombuffer(self.data, PAGE, count, int(row["offset"][0]) + DIRECTORY.itemsize)

    def info(self, change: Callable[[dict[str, Any]], object]) -> Tampered:
        """Changes the scene description; the new one lies at the end of the file."""
        row = self.section(SectionKind.INFO)
        start = int(row["offset"][0])
        text = json.loads(zlib.decompress(self.data[start : start + int(row["length"][0])]))
        change(text)
        return self.raw_info(json.dumps(text).encode())

    def raw_info(self, text: bytes) -> Tampered:
        """Replaces the scene description by any bytes."""
        packed = zlib.compress(text)
        offset = self._append(packed)
        row = self.section(SectionKind.INFO)
        row["offset"], row["length"], row["decoded_length"] = offset, len(packed), len(text)
        return self

    def nodes(self, page: int, change: Callable[[np.ndarray], object], layer: int = 0) -> Tampered:
        """Changes the nodes of a page; its new geometry lies at the end of the file."""
        entry = self.entries(layer)[page]
        start, count = int(entry["geometry_offset"]), int(entry["cluster_count"])
        body = zlib.decompress(self.data[start : start + int(entry["geometry_length"])])
        nodes = unpack_nodes(body, count)
        change(nodes)
        return self.geometry(page, pack_nodes(nodes) + body[count * NODE.itemsize :], layer)

    def geometry(self, page: int, body: bytes, layer: int = 0, stream: bytes | None = None) -> Tampered:
        """Replaces what a page's geometry inflates to."""
        stream = zlib.compress(body) if stream is None else stream
        offset = self._append(bytes(self.header["content_id"].tobytes()) + stream) + CONTENT_ID_BYTES
        entry = self.entries(layer)[page : page + 1]
        entry["geometry_offset"], entry["geometry_length"], entry["geometry_decoded"] = offset, len(stream), len(body)
        return self

    def _append(self, data: bytes) -> int:
        offset = len(self.data)
        # Arrays made of it before keep it from growing in place.
        self.data = bytearray(bytes(self.data) + data)
        self.header["file_length"] = len(self.data)
        return offset

    def bytes(self) -> bytes:
        """The file with every CRC-32 of the head right for what it covers."""
        for row in self.sections:
            start, length = int(row["offset"]), int(row["length"])
            here = start + length <= len(self.data)
            if row["kind"] == SectionKind.DIRECTORY and here and length >= DIRECTORY.itemsize:
                head = np.frombuffer(self.data, DIRECTORY, 1, start)
                covered = bytes(self.data[start + DIRECTORY.itemsize : start + length])
                head["crc32"] = zlib.crc32(covered, zlib.crc32(head.tobytes()[:-4]))
            if here:
                row["crc32"] = zlib.crc32(bytes(self.data[start : start + length]))
        table = self.sections.tobytes()
        self.header["crc32"] = zlib.crc32(table, zlib.crc32(self.header.tobytes()[:-4]))
        return bytes(self.data)


def main(folder: str) -> None:
    """Writes the files that tests/js reads."""
    out = Path(folder)
    camera = Camera.look_at((3, -1, 3), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    info = SceneInfo(title="Two layers", attribution="Somebody", licence="CC0", camera=camera, cameras=(camera,) * 30)
    shift = np.eye(4)
    shift[:3, 3] = 1, 2, 3
    layers = (
        SplatsLayer(random_tree(200, 1, sh_degree=2), "first"),
        BlobLayer("hologram", {"model": b"abc" * 100}, {"answer": 42}, "later kind"),
        SplatsLayer(random_tree(20, 2, sh_degree=0), "second", shift, Kernel(0.1, True)),
    )
    write_lens(out / "layers.lens", layers, info)
    write_lens(out / "large.lens", [SplatsLayer(random_tree(3000, 3, rows=2))], SceneInfo())
    write_lens(out / "other.lens", [SplatsLayer(random_tree(200, 4, sh_degree=2)), *layers[1:]], info)


if __name__ == "__main__":
    main(sys.argv[1])
