"""Cut metadata of clusters as a page stores it: made from a tree with bounds rounded outward, and read back checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.lens_blocks import damaged
from splatlens.viewer.lens_layout import CLUSTER_SPLATS, MAX_CHILDREN, NODE, NONE, NodeFlag

if TYPE_CHECKING:
    from splatlens.viewer.paging import Pages
    from splatlens.viewer.tree import Clusters

_FLAGS = sum(NodeFlag)


@dataclass(frozen=True)
class LayerNodes:
    """n clusters of one layer, numbered as in the file: `first` is the number of row 0. Layer coordinates.

    child_first: (n,) int64, number of the first child, 0 for leaves; child_count: (n,) int32, 0 for leaves;
    child_page: (n,) int64, -1 for leaves; count: (n,) int32, splats, 1..256; slots: (n,) int32, pool slots, 1 or 2;
    error: (n,) float64, world length, 0 for leaves; sphere: (n, 4) float64, centre and radius, of all descendants'
    centres; box: (n, 2, 3) float64, of the cluster's own centres; support: of all descendants' k-sigma extents.
    The floats are float32 values.
    """

    first: int
    child_first: NDArray[np.int64]
    child_count: NDArray[np.int32]
    child_page: NDArray[np.int64]
    count: NDArray[np.int32]
    slots: NDArray[np.int32]
    error: NDArray[np.float64]
    sphere: NDArray[np.float64]
    box: NDArray[np.float64]
    support: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.count)

    @staticmethod
    def concatenate(parts: list[LayerNodes]) -> LayerNodes:
        """Neighbouring pages' nodes as one, in file order."""
        names = ("child_first", "child_count", "child_page", "count", "slots", "error", "sphere", "box", "support")
        return LayerNodes(parts[0].first, *(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def float32_up(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """The smallest float32 not below each value. Monotone, so a parent's error stays at least each child's."""
    rounded = values.astype(np.float32)
    return np.where(rounded < values, np.nextafter(rounded, np.float32(np.inf)), rounded)


def make_nodes(tree: Clusters, pages: Pages, slots: NDArray[np.integer]) -> NDArray[np.void]:
    """(C,) NODE records in file order; slots: (C,) pool slots of each cluster of the tree."""
    order = pages.order
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    nodes = np.zeros(len(order), NODE)
    inner = tree.child_count[order] > 0
    children = place[tree.child_first[order][inner]]
    nodes["child_first"] = nodes["child_page"] = NONE
    nodes["child_first"][inner] = children
    nodes["child_page"][inner] = np.searchsorted(pages.first, children, side="right") - 1
    nodes["child_count"] = tree.child_count[order]
    nodes["count"] = tree.count[order]
    nodes["flags"] = np.where(slots[order] > 1, NodeFlag.FLOAT32_CENTRES, 0)
    nodes["error"] = float32_up(np.asarray(tree.error, np.float64)[order])
    sphere = np.asarray(tree.sphere, np.float64)[order]
    centre = sphere[:, :3].astype(np.float32)
    # Moving the centre to a float32 takes the radius along.
    moved = np.sqrt(((sphere[:, :3] - centre) ** 2).sum(axis=1))
    nodes["sphere"][:, :3] = centre
    nodes["sphere"][:, 3] = float32_up(sphere[:, 3] + moved)
    for name in ("box", "support"):
        bounds = np.asarray(getattr(tree, name), np.float64)[order]
        nodes[name][:, 0] = -float32_up(-bounds[:, 0])
        nodes[name][:, 1] = float32_up(bounds[:, 1])
    return nodes


def pack_nodes(nodes: NDArray[np.void]) -> bytes:
    """Plane by plane: neighbours of one field deflate better, and JavaScript views each plane as one typed array."""
    return b"".join(np.ascontiguousarray(nodes[name]).tobytes() for name in NODE.names or ())


def unpack_nodes(data: bytes, count: int) -> NDArray[np.void]:
    """(count,) NODE records of a page's first count * NODE.itemsize bytes."""
    nodes, offset = np.zeros(count, NODE), 0
    for name in NODE.names or ():
        field: np.dtype[Any] = NODE[name]
        plane = np.frombuffer(data, field.base, count * (field.itemsize // field.base.itemsize), offset)
        nodes[name] = plane.reshape(count, *field.shape)
        offset += count * field.itemsize
    return nodes


def check_nodes(raw: NDArray[np.void], first: int, page: int, clusters: int, pages: int, where: str) -> LayerNodes:
    """The nodes of one page, checked on their own: ranges, finite bounds, children that come later than their parent.

    first: number of the page's first cluster; clusters, pages: of the layer. A child's number is above its parent's, so
    following children ends whatever the file holds. Raises FormatError.
    """
    n = len(raw)

    def check(good: NDArray[np.bool_], field: str, expected: str) -> None:
        if not good.all():
            bad = int(np.argmin(good))
            value = raw[field.split(".")[0]][bad].tolist()
            message = f"{where}: cluster {first + bad}, field {field}: expected {expected}, got {value}"
            raise damaged(f"{message}")

    count, children = raw["count"].astype(np.int32), raw["child_count"].astype(np.int32)
    child_first, child_page = raw["child_first"].astype(np.int64), raw["child_page"].astype(np.int64)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        error, sphere, box, support = (raw[k].astype(np.float64) for k in ("error", "sphere", "box", "support"))
    number, inner = first + np.arange(n), children > 0
    check((count >= 1) & (count <= CLUSTER_SPLATS), "count", f"1 to {CLUSTER_SPLATS} splats")
    check(children <= MAX_CHILDREN, "child_count", f"at most {MAX_CHILDREN} children")
    check((raw["flags"] & ~np.uint8(_FLAGS)) == 0, "flags", f"bits of {_FLAGS} only")
    check(
        np.where(inner, child_first > number, child_first == NONE), "child_first", "a later cluster, or none for a leaf"
    )
    check(~inner | (child_first + children <= clusters), "child_first", f"children below {clusters}")
    check(
        np.where(inner, (child_page >= page) & (child_page < pages), child_page == NONE), "child_page", "a later page"
    )
    inside = (child_first >= first) & (child_first + children <= first + n)
    outside = child_first >= first + n
    check(~inner | np.where(child_page == page, inside, outside), "child_first", "children in the page of child_page")
    check(np.isfinite(error) & (error >= 0) & (inner | (error == 0)), "error", "a finite length, 0 for a leaf")
    check(np.isfinite(sphere).all(axis=1) & (sphere[:, 3] >= 0), "sphere", "finite numbers, a radius of at least 0")
    for name, b in (("box", box), ("support", support)):
        ordered = np.asarray((b[:, 0] <= b[:, 1]).all(axis=1))
        check(ordered & np.isfinite(b).all(axis=(1, 2)), name, "finite minimum and maximum")
    slots = 1 + (raw["flags"] & NodeFlag.FLOAT32_CENTRES).astype(np.int32)
    child_first, child_page = np.where(inner, child_first, 0), np.where(inner, child_page, -1)
    return LayerNodes(first, child_first, children, child_page, count, slots, error, sphere, box, support)


def check_tree(nodes: LayerNodes, leaf_splats: int, stored: int, where: str) -> None:
    """Checks a whole layer: one root, one parent for everybody else, errors that never grow downward, and the counts.

    Raises FormatError.
    """

    def fail(message: str) -> None:
        raise damaged(f"{where}: {message}")

    n, inner = len(nodes), np.flatnonzero(nodes.child_count)
    sizes = nodes.child_count[inner]
    # Children of inner cluster i are child_first[i] .. child_first[i] + sizes[i] - 1.
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    children = np.repeat(nodes.child_first[inner], sizes) + within
    times = np.bincount(children, minlength=n)
    if times[0]:
        fail("cluster 0 is the root, and a child")
    if (times[1:] != 1).any():
        bad = 1 + int(np.argmax(times[1:] != 1))
        fail(f"cluster {bad}: child of {int(times[bad])} clusters, expected one")
    grown = nodes.error[children] > np.repeat(nodes.error[inner], sizes)
    if grown.any():
        fail(f"cluster {int(children[np.argmax(grown)])}, field error: larger than its parent's")
    if int(nodes.count.sum()) != stored or int(nodes.count[nodes.child_count == 0].sum()) != leaf_splats:
        got = f"{int(nodes.count[nodes.child_count == 0].sum())} of {int(nodes.count.sum())}"
        fail(f"leaves hold {got} splats, expected {leaf_splats} of {stored}")
