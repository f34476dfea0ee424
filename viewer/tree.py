"""Builds the LOD tree: clusters of at most 256 splats, each standing for all of its children's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from splatlens.viewer.errors import LensError
from splatlens.viewer.merge import Doubles, Forest, Ints, Moments, merge, splat_covs
from splatlens.viewer.splats import Splats

#: Splats a cluster holds at most: one GPU workgroup.
CLUSTER_SPLATS = 256
#: Children a cluster has at most (a page holds whole sibling groups of up to 16).
MAX_CHILDREN = 16
#: A cluster of up to this many leaf clusters has them as its children directly (docs/lod.md has rows against dB).
LAST_BRANCHING = 5
#: One of up to MIDDLE leaf clusters has as many children as give each MIDDLE_SHARE of them, on average.
MIDDLE, MIDDLE_SHARE = 30, 5
#: Above that there are two children: the upper levels cost few rows, and small budgets are met closely.
TOP_BRANCHING = 2
#: Below this opacity nothing is ever drawn (alpha under 1/255).
OPACITY_CUT = 1 / 255
#: Makes an error of root(area x colour^2) a splat into one whose pixel is hard to see: refining until every priority is
#: under 1 gives 42 dB or better in the nine views of docs/lod.md.
ERROR_SCALE = 25.0


@dataclass(frozen=True)
class Clusters:
    """C clusters; id 0 is the root, parents come before children, and the children of a cluster are contiguous.

    first (C,) int64 and count (C,) int32: the rows of a cluster, 1..256. parent (C,) int32, -1 for the root.
    child_first, child_count (C,) int32: 0, 0 for leaves, at most 16 children.
    error (C,) float64: world length, 0 for leaves, a parent's at least each child's; x focal / distance it is the cut's
    priority.
    sphere (C, 4) float64: centre and radius, containing the centres of the cluster and of all its descendants.
    box (C, 2, 3) float64: low and high corner of the cluster's own centres.
    support (C, 2, 3) float64: of the extents to alpha 1/255, k sigma, containing all descendants'.
    """

    first: NDArray[np.int64]
    count: NDArray[np.int32]
    parent: NDArray[np.int32]
    child_first: NDArray[np.int32]
    child_count: NDArray[np.int32]
    error: NDArray[np.float64]
    sphere: NDArray[np.float64]
    box: NDArray[np.float64]
    support: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Tree(Clusters):
    """Clusters and their rows in memory.

    splats: all rows, cluster after cluster; a leaf cluster's are source splats, unchanged, each in exactly one leaf.
    source (R,) int64: the source row of a row of a leaf cluster, -1 for rows of inner clusters.
    """

    splats: Splats
    source: NDArray[np.int64]


def build_tree(splats: Splats, progress: Callable[[float], None] | None = None) -> Tree:
    """The tree of N splats. `progress` hears the share done, 0 to 1. Raises LensError when there are no splats or
    some are not finite."""
    if not len(splats):
        raise LensError(
            "tree: the scene has no splats; there is nothing to build. Check that the source file is the right one"
        )
    return build_subtree(splats, outlying(splats, *bulk(splats.means)), progress)[0]


def build_subtree(
    splats: Splats, apart: NDArray[np.bool_], progress: Callable[[float], None] | None = None
) -> tuple[Tree, Moments]:
    """The tree of a scene or of a part of one, and what merging needs of its root's rows to go on above.

    apart (N,): splats that get clusters of their own. Raises LensError where a value is not finite.
    """
    for name in ("means", "quats", "scales", "opacities", "sh"):
        if not np.isfinite(getattr(splats, name)).all():
            raise LensError(f"tree: {name} holds NaN or infinite values; drop those splats first")
    groups = apart.astype(np.int64)
    forest = merge(splats, groups, None if progress is None else lambda p: progress(0.8 * p))
    rows, parent = _clusters(forest)
    tree = assemble(splats, forest, rows, parent)
    if progress is not None:
        progress(1.0)
    return tree, forest.moments(rows[0])


def bulk(means: NDArray[np.float32]) -> tuple[Doubles, Doubles]:
    """Low and high corner of the box of the middle 80% of centres on each axis: the bulk of a scene."""
    low, high = np.percentile(means, [10, 90], axis=0)
    return low, high


def outlying(splats: Splats, low: Doubles, high: Doubles) -> NDArray[np.bool_]:
    """(N,) skies and far outliers: they get clusters of their own and do not stretch others' bounds.

    An outlier lies more than the diagonal of the bulk low..high outside of it or has a sigma over a quarter of it.
    """
    diagonal = float(np.linalg.norm(high - low))
    outside = np.linalg.norm(np.maximum(np.maximum(low - splats.means, splats.means - high), 0), axis=1)
    far = (outside > diagonal) | (splats.scales.max(axis=1) > 0.25 * diagonal)
    return np.asarray(far & (diagonal > 0))


def refine(forest: Forest, rows: Ints, target: int) -> Ints:
    """Rows (node ids, ascending) replaced by descendants, highest key first, until they are `target` or all leaves."""
    inside = _ranges(rows, forest.size[rows])
    inner = inside[forest.source[inside] < 0]
    extra = target - len(rows)
    if extra <= 0 or not len(inner):
        return rows
    if extra < len(inner):
        # Ties by node id: preorder has parents first, so the chosen set stays closed under parents.
        inner = inner[np.lexsort((inner, -forest.key[inner]))[:extra]]
    return np.setdiff1d(np.concatenate([rows, forest.children[inner].ravel()]), inner)


def _ranges(first: Ints, count: Ints) -> Ints:
    """Concatenated ranges first..first+count-1."""
    total = int(count.sum())
    start = np.repeat(first - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
    return np.asarray(np.arange(total) + start)


def _split(forest: Forest, rows: Ints, parts: int) -> list[Ints]:
    """Rows cut by planes across their longest side into `parts` sets of about the same number of rows.

    Of the cuts within 15% the one is taken that leaves both sides near a whole number of leaf clusters.
    """
    if parts == 1:
        return [rows]
    left = parts // 2
    points = forest.means[rows]
    axis = int(np.argmax(points.max(axis=0) - points.min(axis=0)))
    order = np.lexsort((rows, points[:, axis]))
    n = len(rows)
    leaves = np.cumsum(forest.leaves[rows[order]])
    want = n * left / parts
    slack = 0.15 * n
    # Neither side may hold more than its parts can: a cluster has no more than 256 rows.
    low = max(int(want - slack), left, n - (parts - left) * CLUSTER_SPLATS)
    high = min(int(want + slack), n - (parts - left), left * CLUSTER_SPLATS)
    at = np.arange(low, max(high, low) + 1)
    waste = (-leaves[at - 1]) % CLUSTER_SPLATS + (leaves[at - 1] - leaves[-1]) % CLUSTER_SPLATS
    cut = int(at[np.argmin(waste / CLUSTER_SPLATS + 0.5 * np.abs(at - want) / max(slack, 1))])
    sides = (np.sort(rows[order[:cut]]), left), (np.sort(rows[order[cut:]]), parts - left)
    return [part for side, count in sides for part in _split(forest, side, count)]


def _even(forest: Forest, rows: Ints, parts: int) -> list[Ints]:
    """Leaf rows cut by planes into `parts` sets as equal as can be."""
    if parts == 1:
        return [rows]
    left = parts // 2
    points = forest.means[rows]
    axis = int(np.argmax(points.max(axis=0) - points.min(axis=0)))
    order = np.lexsort((rows, points[:, axis]))
    cut = -(-len(rows) * left // parts)
    sides = (np.sort(rows[order[:cut]]), left), (np.sort(rows[order[cut:]]), parts - left)
    return [part for side, count in sides for part in _even(forest, side, count)]


def _clusters(forest: Forest) -> tuple[list[Ints], list[int]]:
    """Node ids of every cluster in breadth-first order, and every cluster's parent."""
    rows = [refine(forest, np.sort(forest.roots), CLUSTER_SPLATS)]
    parent = [-1]
    at = 0
    while at < len(rows):
        for child in _children(forest, rows[at]):
            rows.append(child)
            parent.append(at)
        at += 1
    return rows, parent


def _children(forest: Forest, rows: Ints) -> list[Ints]:
    """Node ids of each child of the cluster of `rows`; none for a leaf."""
    leaves = int(forest.leaves[rows].sum())
    if leaves == len(rows):
        return []
    last = -(-leaves // CLUSTER_SPLATS)
    roots = np.sort(forest.roots)
    if len(roots) > 1 and rows[0] < roots[1] <= rows[-1]:
        # The root cluster: the groups part here.
        out = []
        for part in np.split(rows, np.searchsorted(rows, roots[1:])):
            count = min(TOP_BRANCHING, -(-int(forest.leaves[part].sum()) // CLUSTER_SPLATS))
            fine = refine(forest, part, count * CLUSTER_SPLATS * 3 // 4)
            out += [refine(forest, p, CLUSTER_SPLATS) for p in _split(forest, fine, count)]
        return out
    if last <= LAST_BRANCHING:
        return _even(forest, refine(forest, rows, leaves), last)
    count = TOP_BRANCHING if last > MIDDLE else max(2, round(last / MIDDLE_SHARE))
    # A little coarser than needed, cut near whole numbers of leaf clusters, and each part filled up again.
    fine = refine(forest, rows, count * CLUSTER_SPLATS * 3 // 4)
    return [refine(forest, part, CLUSTER_SPLATS) for part in _split(forest, fine, count)]


def assemble(splats: Splats, forest: Forest, rows: list[Ints], parent: list[int]) -> Tree:
    """Arrays of the tree from the node ids of its clusters."""
    c = len(rows)
    count = np.array([len(r) for r in rows], np.int32)
    first = np.concatenate([[0], np.cumsum(count[:-1], dtype=np.int64)])
    up = np.array(parent, np.int32)
    child_count = np.bincount(up[1:], minlength=c).astype(np.int32)
    child_first = np.where(child_count > 0, np.searchsorted(up, np.arange(c)), 0).astype(np.int32)
    nodes = np.concatenate(rows)
    leaf = np.repeat(child_count == 0, count)
    source = np.where(leaf, forest.source[nodes], -1)

    merged = _splats_of(splats, forest, nodes)
    sh = _average_sh(splats, forest, nodes, first, count, child_first, child_count)
    out = Splats(merged.means, merged.quats, merged.scales, merged.opacities, sh)

    extent = _extents(out)
    box = np.stack([np.minimum.reduceat(out.means, first), np.maximum.reduceat(out.means, first)], axis=1).astype(
        np.float64
    )
    support = np.stack(
        [np.minimum.reduceat(out.means - extent, first), np.maximum.reduceat(out.means + extent, first)], axis=1
    )
    energy = np.add.reduceat(forest.energy[nodes], first)
    error = np.zeros(c)
    sphere = np.zeros((c, 4))
    deep = box.copy()
    for i in range(c - 1, -1, -1):
        kids = slice(int(child_first[i]), int(child_first[i] + child_count[i]))
        if child_count[i]:
            gain = max(float(energy[i] - energy[kids].sum()), 0.0)
            extra = max(int(count[kids].sum()) - int(count[i]), 1)
            error[i] = max(ERROR_SCALE * np.sqrt(gain / extra), error[kids].max())
            for b in (deep, support):
                b[i, 0] = np.minimum(b[i, 0], b[kids, 0].min(axis=0))
                b[i, 1] = np.maximum(b[i, 1], b[kids, 1].max(axis=0))
        middle = (deep[i, 0] + deep[i, 1]) / 2
        own = out.means[first[i] : first[i] + count[i]] - middle
        radius = np.sqrt((own.astype(np.float64) ** 2).sum(axis=1).max())
        if child_count[i]:
            inner = np.sqrt(((sphere[kids, :3] - middle) ** 2).sum(axis=1)) + sphere[kids, 3]
            radius = max(radius, float(inner.max()))
        sphere[i, :3], sphere[i, 3] = middle, radius
    return Tree(first, count, up, child_first, child_count, error, sphere, box, support, out, source)


def _splats_of(splats: Splats, forest: Forest, nodes: Ints) -> Splats:
    """Rows of the given nodes, without SH: source splats as they are, merged ones from their moments."""
    n, f = len(nodes), np.float32
    means, quats, scales = np.empty((n, 3), f), np.empty((n, 4), f), np.empty((n, 3), f)
    opacities = np.empty(n, f)
    src = forest.source[nodes]
    own = src >= 0
    means[own], quats[own], scales[own], opacities[own] = (
        getattr(splats, k)[src[own]] for k in ("means", "quats", "scales", "opacities")
    )
    new = nodes[~own]
    c = forest.covs[new]
    values, axes = np.linalg.eigh(c[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3))
    axes[np.linalg.det(axes) < 0, :, 2] *= -1
    if len(new):
        quats[~own] = Rotation.from_matrix(axes).as_quat()[:, [3, 0, 1, 2]]
    # Float error may leave a flat splat's smallest eigenvalue at or below zero; 1e-6 of the largest sigma is thinner
    # than any pixel.
    values = np.maximum(values, 1e-12 * values[:, 2:])
    means[~own], scales[~own], opacities[~own] = (
        forest.means[new],
        np.maximum(np.sqrt(values), 1e-30),
        forest.opacities[new],
    )
    return Splats(means, quats, scales, opacities, np.zeros((n, 1, 3), f))


def _average_sh(
    splats: Splats,
    forest: Forest,
    nodes: Ints,
    first: Ints,
    count: NDArray[np.int32],
    child_first: NDArray[np.int32],
    child_count: NDArray[np.int32],
) -> NDArray[np.float32]:
    """(R, K, 3) SH of every row: sources' own, and means by weight of the children's rows for the others."""
    src = forest.source[nodes]
    sh = np.empty((len(nodes), *splats.sh.shape[1:]), np.float32)
    sh[src >= 0] = splats.sh[src[src >= 0]]
    for i in range(len(first) - 1, -1, -1):
        if not child_count[i]:
            continue
        mine = slice(int(first[i]), int(first[i] + count[i]))
        a, b = int(child_first[i]), int(child_first[i] + child_count[i])
        below = slice(int(first[a]), int(first[b - 1] + count[b - 1]))
        order = np.argsort(nodes[below], kind="stable")
        ids = nodes[below][order]
        start = np.searchsorted(ids, nodes[mine])
        w = forest.weight[ids]
        total = np.add.reduceat(w, start)
        mean = np.add.reduceat(sh[below][order] * w[:, None, None], start, axis=0) / total[:, None, None]
        sh[mine] = np.where((src[mine] >= 0)[:, None, None], sh[mine], mean)
    return sh


def _extents(splats: Splats) -> NDArray[np.float64]:
    """(N, 3) half-extents along x, y, z to where alpha falls under 1/255: k sigma, k = sqrt(2 ln(255 o)); 0 if never
    drawn."""
    k2 = 2 * np.log(np.maximum(splats.opacities.astype(np.float64), OPACITY_CUT) / OPACITY_CUT)
    return np.asarray(np.sqrt(k2[:, None] * splat_covs(splats)[:, [0, 3, 5]]))
