"""Joins the trees of a scene's blocks into one: merges their roots upward, two by two as the blocks lie together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.blocks import Part
from splatlens.viewer.merge import Moments, merge
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import CLUSTER_SPLATS, Clusters, Tree, assemble, refine


@dataclass(frozen=True)
class Root:
    """The root cluster of a subtree as the cluster above sees it: its rows, and bounds of all below.

    centres (2, 3): corners of the box of all descendants' centres; box, sphere, support, error: as in Clusters.
    """

    splats: Splats
    moments: Moments
    error: float
    centres: NDArray[np.float64]
    box: NDArray[np.float64]
    sphere: NDArray[np.float64]
    support: NDArray[np.float64]

    @staticmethod
    def of(tree: Tree, moments: Moments) -> Root:
        """Of a block's tree; moments: of the rows of its root."""
        centres = np.stack([tree.box[:, 0].min(axis=0), tree.box[:, 1].max(axis=0)])
        rows = tree.splats.take(np.arange(int(tree.count[0])))
        return Root(rows, moments, float(tree.error[0]), centres, tree.box[0], tree.sphere[0], tree.support[0])


def join(children: Sequence[Root], apart: bool = False) -> Root:
    """The cluster above some: the best 256 rows of merging theirs. apart: rows of different children never merge."""
    splats = Splats.concatenate([child.splats for child in children])
    counts = [len(child.splats) for child in children]
    groups = np.repeat(np.arange(len(children)) if apart else np.zeros(len(children), np.int64), counts)
    forest = merge(splats, groups, moments=Moments.concatenate([child.moments for child in children]))
    rows = refine(forest, np.sort(forest.roots), CLUSTER_SPLATS)
    leaves = np.flatnonzero(forest.source >= 0)
    below = np.split(leaves[np.argsort(forest.source[leaves])], np.cumsum(counts)[:-1])
    # As if the children were leaves; their own bounds and errors come on top.
    local = assemble(splats, forest, [rows, *below], [-1, *([0] * len(below))])
    own = local.splats.take(np.arange(len(rows)))
    centres, support = (
        _union([box, *(getattr(child, name) for child in children)])
        for name, box in (("centres", local.box[0]), ("support", local.support[0]))
    )
    middle = centres.mean(axis=0)
    reach = np.linalg.norm(own.means - middle, axis=1).max()
    spheres = np.array([child.sphere for child in children])
    radius = max(float(reach), float((np.linalg.norm(spheres[:, :3] - middle, axis=1) + spheres[:, 3]).max()))
    error = max(float(local.error[0]), *(child.error for child in children))
    return Root(own, forest.moments(rows), error, centres, local.box[0], np.append(middle, radius), support)


def _union(boxes: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    corners = np.array(boxes)
    return np.stack([corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)])


@dataclass(frozen=True)
class Joined:
    """One tree of several. clusters: all of them. above: rows of the clusters above the blocks; counts: of each.

    place (C,): of each cluster where the clusters of all blocks come one block after another, then those above.
    `clusters.first` counts the rows in that order.
    """

    clusters: Clusters
    above: Splats
    counts: NDArray[np.int32]
    place: NDArray[np.int64]


@dataclass(frozen=True)
class _Node:
    """A cluster above the blocks, or the root of one."""

    root: Root
    block: int
    children: tuple[_Node, ...] = ()


def join_trees(top: Part, trees: Sequence[Clusters], roots: Sequence[Root]) -> Joined:
    """The tree of a whole scene. top: how its blocks lie together; trees, roots: of each block."""
    nodes, parents = [_climb(top, roots)], [-1]
    at = 0
    while at < len(nodes):
        nodes += nodes[at].children
        parents += [at] * len(nodes[at].children)
        at += 1
    sizes = np.array([len(tree) for tree in trees])
    starts = np.cumsum(sizes) - sizes
    above = [node for node in nodes if node.children]
    number = {id(node): int(sizes.sum()) + k for k, node in enumerate(above)}
    places = np.array([number[id(node)] if node.children else starts[node.block] for node in nodes])

    def stacked(name: str) -> NDArray[np.generic]:
        """A field of all clusters, by place."""
        return np.concatenate([*(getattr(t, name) for t in trees), *([getattr(n.root, name)] for n in above)])

    own = np.array([len(node.root.splats) for node in above], np.int32)
    count = np.concatenate([*(tree.count for tree in trees), own])
    none = np.zeros(len(above), np.int32)
    child_count = np.concatenate([*(tree.child_count for tree in trees), none])
    child_first = np.concatenate([*(tree.child_first + start for tree, start in zip(trees, starts, strict=True)), none])
    parent = np.concatenate([*(tree.parent + start for tree, start in zip(trees, starts, strict=True)), none])
    for i, node in enumerate(nodes):
        parent[places[i]] = places[parents[i]] if i else -1
        if node.children:
            child_count[places[i]] = len(node.children)
            child_first[places[i]] = places[parents.index(i)]
    # The clusters above the blocks and the blocks' roots come first, level by level; then each block's others.
    place = np.concatenate([places, np.setdiff1d(np.arange(len(count)), places)])
    number_at = np.empty(len(count), np.int32)
    number_at[place] = np.arange(len(count))
    clusters = Clusters(
        first=(np.cumsum(count, dtype=np.int64) - count)[place],
        count=count[place],
        parent=np.where(parent >= 0, number_at[parent], -1)[place].astype(np.int32),
        child_first=np.where(child_count > 0, number_at[child_first], 0)[place].astype(np.int32),
        child_count=child_count[place],
        error=stacked("error")[place],
        sphere=stacked("sphere")[place],
        box=stacked("box")[place],
        support=stacked("support")[place],
    )
    return Joined(clusters, Splats.concatenate([node.root.splats for node in above]), own, place)


def _climb(part: Part, roots: Sequence[Root]) -> _Node:
    """The clusters above the blocks of a part."""
    if not part.parts:
        return _Node(roots[part.block], part.block)
    children = tuple(_climb(p, roots) for p in part.parts)
    return _Node(join([child.root for child in children], part.apart), -1, children)
