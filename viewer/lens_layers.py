"""Layers on their way into a .lens file, and the plan of a splats layer: its pages, nodes and how a page is encoded."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_blocks import prepend
from splatlens.viewer.lens_layout import CLUSTER_SPLATS, NONE, PAGE
from splatlens.viewer.lens_nodes import float32_up, make_nodes, pack_nodes
from splatlens.viewer.paging import Pages, paginate
from splatlens.viewer.scene import LAYER_KINDS, Kernel, LayerInfo, SplatsInfo, check_transform
from splatlens.viewer.tree import Tree


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
class BlobLayer:
    """A layer of any other kind: its own properties (JSON values) and blobs by name."""

    kind: str
    blobs: dict[str, bytes]
    properties: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    transform: NDArray[np.float64] = field(default_factory=_identity)

    def __post_init__(self) -> None:
        if self.kind == LAYER_KINDS[0]:
            raise LensError("layer: a layer of kind 'splats' has clusters; use SplatsLayer")


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
    """A splats layer ready to be encoded page by page. nodes: (C,) NODE records in file order."""

    info: LayerInfo
    pages: Pages
    nodes: NDArray[np.void]
    quantised: codec.Quantised
    bounds: NDArray[np.float64]

    def encode(self, page: int) -> PackedPage:
        """Both blocks of a page. Called from several threads."""
        rows = slice(self.pages.first[page], self.pages.first[page + 1])
        clusters = self.pages.order[rows].tolist()
        nodes = pack_nodes(self.nodes[rows])
        body = codec.encode_geometry(self.quantised, clusters)
        geometry = prepend(nodes, body.data, body.decoded_length)
        nodes_length = len(geometry) - len(body.data)
        if self.info.splats is None or self.info.splats.sh_degree == 0:
            return PackedPage(geometry, len(nodes) + body.decoded_length, nodes_length, b"", 0)
        sh = codec.encode_sh(self.quantised, clusters)
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


def plan_splats(layer: SplatsLayer) -> SplatsPlan:
    """Pages, nodes and quantised rows of a layer."""
    tree, splats = layer.tree, layer.tree.splats
    if tree.count.max() > CLUSTER_SPLATS or tree.count.min() < 1 or int(tree.count.sum()) != len(splats):
        most = int(np.argmax(tree.count))
        message = f"layer: cluster {most} of its tree holds {int(tree.count[most])} splats of {len(splats)}"
        raise LensError(f"{message}; expected 1 to {CLUSTER_SPLATS}: build the tree with viewer.tree.build_tree")
    pages = paginate(tree)
    leaf_rows = np.repeat(tree.child_count == 0, tree.count)
    own = codec.fit_layer_codec(splats.take(leaf_rows))
    # Inner clusters take the leaves' steps: an octave more would save 0.4 bytes a source splat without SH and 1.5 with,
    # and cost the plant of docs/lod.md 0.3 dB at half its splats, where it has none to spare.
    quantised = codec.quantise_clusters(splats, tree.first, tree.count, np.zeros(len(tree), np.int32), own)
    nodes = make_nodes(tree, pages, quantised.slots)
    numbers = SplatsInfo(
        int(leaf_rows.sum()), len(splats), len(tree), len(pages), splats.sh_degree, layer.kernel, own.to_json()
    )
    bounds = np.stack([splats.means.min(axis=0), splats.means.max(axis=0)]).astype(np.float64)
    info = LayerInfo("splats", layer.name, check_transform(layer.transform), {}, numbers)
    return SplatsPlan(info, pages, nodes, quantised, bounds)
