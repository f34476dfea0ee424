"""Layers on their way into a .lens file, and the plan of a splats layer: its pages, nodes and how a page is encoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_blocks import prepend
from splatlens.viewer.lens_layout import CLUSTER_SPLATS, NONE, PAGE
from splatlens.viewer.lens_nodes import float32_up, make_nodes, pack_nodes
from splatlens.viewer.paging import Pages, paginate
from splatlens.viewer.quantised_file import QuantisedFile
from splatlens.viewer.scene import Kernel, LayerInfo, SplatsInfo, check_transform
from splatlens.viewer.tree import Clusters, Tree

__all__ = [
    "BlobLayer", "PackedPage", "SplatsLayer", "SplatsPlan", "append_tree", "leaf_rows", "plan_clusters", "plan_splats",
]  # fmt: skip


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True)
class SplatsLayer:
    """A layer of kind `splats`. transform: (4, 4) layer to world."""

    tree: Tree
    name: str = ""
    transform: NDArray[np.float64] = field(default_factory=_identity)
    kernel: Kernel = field(default_factory=Kernel)


@dataclass(frozen=True)
class PackedPage:
    """Two RFC 1950 streams and what they inflate to, bytes. nodes_length: of the geometry stream before the codec's."""

    geometry: bytes
    geometry_decoded: int
    nodes_length: int
    sh: bytes
    sh_decoded: int


@dataclass(frozen=True)
class SplatsPlan:
    """A splats layer ready to be encoded page by page.

    nodes: (C,) NODE records in file order. rows: the clusters' quantised rows; place: (C,) number there of each cluster
    of the tree. bounds: (2, 3) of the centres.
    """

    info: LayerInfo
    pages: Pages
    nodes: NDArray[np.void]
    rows: QuantisedFile
    place: NDArray[np.int64]
    bounds: NDArray[np.float64]

    def encode(self, page: int) -> PackedPage:
        """Both blocks of a page. Called from several threads."""
        span = slice(self.pages.first[page], self.pages.first[page + 1])
        quantised = self.rows.take(self.place[self.pages.order[span]])
        clusters = range(len(quantised.count))
        nodes = pack_nodes(self.nodes[span])
        body = codec.encode_geometry(quantised, clusters)
        geometry = prepend(nodes, body.data, body.decoded_length)
        nodes_length = len(geometry) - len(body.data)
        if self.info.splats is None or self.info.splats.sh_degree == 0:
            return PackedPage(geometry, len(nodes) + body.decoded_length, nodes_length, b"", 0)
        sh = codec.encode_sh(quantised, clusters)
        return PackedPage(geometry, len(nodes) + body.decoded_length, nodes_length, sh.data, sh.decoded_length)

    def entries(self) -> NDArray[np.void]:
        """(P,) PAGE records without offsets and lengths, which are known once the pages are written."""
        entries = np.zeros(len(self.pages), PAGE)
        first = self.pages.first
        slots = np.concatenate([[0], np.cumsum(1 + (self.nodes["flags"] & 1).astype(np.int64))])
        entries["first_cluster"], entries["cluster_count"] = first[:-1], np.diff(first)
        entries["slot_count"] = slots[first[1:]] - slots[first[:-1]]
        entries["parent_page"] = np.where(self.pages.parent < 0, NONE, self.pages.parent)
        entries["error"] = float32_up(self.pages.error)
        return entries

    def world_bounds(self) -> NDArray[np.float64]:
        """(8, 3) corners of the box of centres, in world coordinates."""
        corners = np.array(list(itertools.product(*self.bounds.T)))
        m = self.info.transform
        return np.asarray(corners @ m[:3, :3].T + m[:3, 3])


def plan_splats(layer: SplatsLayer, rows: QuantisedFile) -> SplatsPlan:
    """Pages, nodes and quantised rows, which go into `rows`, of a layer in memory."""
    tree, splats = layer.tree, layer.tree.splats
    if tree.count.max() > CLUSTER_SPLATS or tree.count.min() < 1 or int(tree.count.sum()) != len(splats):
        most = int(np.argmax(tree.count))
        message = f"layer: cluster {most} of its tree holds {int(tree.count[most])} splats of {len(splats)}"
        raise LensError(f"{message}; expected 1 to {CLUSTER_SPLATS}: build the tree with viewer.tree.build_tree")
    own = codec.fit_layer_codec(splats.take(leaf_rows(tree)))
    append_tree(rows, tree, own)
    place, bounds = np.arange(len(tree)), np.stack([splats.means.min(axis=0), splats.means.max(axis=0)])
    return plan_clusters(tree, rows, place, own, bounds, layer.name, layer.transform, layer.kernel)


def leaf_rows(tree: Tree) -> NDArray[np.bool_]:
    """(R,) rows of leaf clusters: the source splats."""
    return np.repeat(tree.child_count == 0, tree.count)


def append_tree(rows: QuantisedFile, tree: Tree, own: codec.LayerCodec, typical: float | None = None) -> None:
    """Quantises all clusters of a tree in memory. typical: as quantise_clusters has it."""
    # Inner clusters take the leaves' steps: an octave more would save 0.4 bytes a source splat without SH and 1.5 with,
    # and cost the plant of docs/lod.md 0.3 dB at half its splats, where it has none to spare.
    coarse = np.zeros(len(tree), np.int32)
    rows.append(codec.quantise_clusters(tree.splats, tree.first, tree.count, coarse, own, typical))


def plan_clusters(
    clusters: Clusters,
    rows: QuantisedFile,
    place: NDArray[np.int64],
    own: codec.LayerCodec,
    bounds: NDArray[np.floating],
    name: str,
    transform: NDArray[np.float64],
    kernel: Kernel,
) -> SplatsPlan:
    """The plan of a layer whose rows are quantised; place, bounds: see SplatsPlan. Raises LensError."""
    pages = paginate(clusters)
    nodes = make_nodes(clusters, pages, rows.clusters.slots[place])
    leaves, stored = int(clusters.count[clusters.child_count == 0].sum()), int(clusters.count.sum())
    numbers = SplatsInfo(leaves, stored, len(clusters), len(pages), own.sh_degree, kernel, own.to_json())
    info = LayerInfo("splats", name, check_transform(transform), {}, numbers)
    return SplatsPlan(info, pages, nodes, rows, place, bounds.astype(np.float64))
