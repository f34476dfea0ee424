"""Merges splats pairwise into one binary forest: the nested simplifications that the cluster tree is cut from.

Rounds of greedy matching, cheapest pair first, over the nearest neighbours of everything still unmerged in the whole scene.
The merge keeps mass (projected area x opacity) and the first two moments (as Blanc et al. 2024 and Spark do), and lets opacity
rise above 1: a flat-topped splat of the same mass, where a cap at 1 loses 0.5 to 1.5 dB on captured scenes (docs/lod.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatlens.viewer.splats import Splats, rotation_matrices

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

#: Neighbours considered for a merge. 12 gain under 0.1 dB over 8 and take half as long again.
NEIGHBOURS = 8
#: Share of the unmerged splats that a round may replace by merged ones. 0.3 instead of 0.2 costs under 0.1 dB.
ROUND_SHARE = 0.3
#: Passes of the matching in a round: an edge is taken when it is the cheapest left at both its ends.
MATCHING_PASSES = 4
#: Largest opacity of a merged splat: alpha stays at the cap out to sqrt(2 ln 5) = 1.8 sigma.
OPACITY_MAX = 5.0
#: Y_0, the constant spherical harmonic.
SH_C0 = 0.28209479177387814


@dataclass(frozen=True)
class Forest:
    """M merge nodes in preorder; the subtree of node i is the rows i..i+size[i]-1. Leaves are source splats.

    means (M, 3), covs (M, 6: xx xy xz yy yz zz), opacities (M,), mass (M,) area x opacity, additive; source (M,) the source row
    of a leaf, -1 for a merged node; children (M, 2) node ids, -1 for leaves; leaves (M,) source splats below, itself included;
    size (M,) nodes of the subtree; key (M,) the order in which nodes are refined: a parent's is above its children's, 0 for
    leaves; energy (M,) squared error of drawing the node instead of its leaves (world area x colour^2); roots (R,) node ids.
    """

    means: Doubles
    covs: Doubles
    opacities: Doubles
    mass: Doubles
    source: Ints
    children: Ints
    leaves: Ints
    size: Ints
    key: Doubles
    energy: Doubles
    roots: Ints


@dataclass
class _Nodes:
    """Growing arrays of merge nodes in the order of their making: sources first."""

    means: Doubles
    covs: Doubles
    colors: Doubles
    opacities: Doubles
    areas: Doubles
    mass: Doubles
    key: Doubles
    energy: Doubles
    children: Ints


def areas(covs: Doubles) -> Doubles:
    """(N,) mean projected area of N covariances, up to a constant: the root of the sum of their 2x2 principal minors.

    That sum is s1^2 s2^2 + s1^2 s3^2 + s2^2 s3^2, so this is Thomsen's formula with p = 2 and needs no eigenvalues.
    """
    xx, xy, xz, yy, yz, zz = covs.T
    minors = xx * yy - xy * xy + xx * zz - xz * xz + yy * zz - yz * yz
    return np.asarray(np.sqrt(np.maximum(minors, 1e-60)))


def outer(d: Doubles) -> Doubles:
    """(N, 6) upper triangles of d d^T for (N, 3) vectors."""
    x, y, z = d.T
    return np.stack([x * x, x * y, x * z, y * y, y * z, z * z], axis=1)


def splat_covs(splats: Splats) -> Doubles:
    """(N, 6) float64 covariances: xx xy xz yy yz zz."""
    m = rotation_matrices(splats.quats.astype(np.float64)) * splats.scales.astype(np.float64)[:, None, :]
    c = m @ m.transpose(0, 2, 1)
    return np.ascontiguousarray(c.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]])


def merge_cost(n: _Nodes, i: Ints, j: Ints) -> Doubles:
    """(E,) squared error of merging nodes i and j: growth of the covered area and difference of colour, by mass."""
    wi, wj = n.mass[i], n.mass[j]
    total = wi + wj
    f = wi / total
    d = n.means[i] - n.means[j]
    covs = f[:, None] * n.covs[i] + (1 - f)[:, None] * n.covs[j] + (f * (1 - f))[:, None] * outer(d)
    growth = np.maximum(areas(covs) / np.maximum(n.areas[i], n.areas[j]) - 1, 0)
    contrast = ((n.colors[i] - n.colors[j]) ** 2).sum(axis=1)
    return np.asarray(wi * wj / total * (0.1 * growth + contrast))


def _edges(points: Doubles) -> tuple[Ints, Ints]:
    """Undirected nearest-neighbour edges i < j, each once."""
    n = len(points)
    k = min(NEIGHBOURS, n - 1)
    _, near = cKDTree(points, balanced_tree=False, compact_nodes=False).query(points, k + 1, workers=2)
    i = np.repeat(np.arange(n), k + 1)
    j = near.ravel()
    key = np.minimum(i, j) * n + np.maximum(i, j)
    key = np.unique(key[(i != j) & (j < n)])
    return key // n, key % n


def _match(i: Ints, j: Ints, n: int) -> Ints:
    """Indices of disjoint edges, cheapest first, of edges sorted by cost: an edge goes in when it is first at both ends."""
    rank = np.arange(len(i))
    free = np.ones(n, np.bool_)
    taken = []
    for _ in range(MATCHING_PASSES):
        first = np.full(n, len(i))
        np.minimum.at(first, i[rank], rank)
        np.minimum.at(first, j[rank], rank)
        take = rank[(first[i[rank]] == rank) & (first[j[rank]] == rank)]
        taken.append(take)
        free[i[take]] = False
        free[j[take]] = False
        rank = rank[free[i[rank]] & free[j[rank]]]
        if not len(rank):
            break
    return np.sort(np.concatenate(taken))


def _coincident(points: Doubles) -> tuple[Ints, Ints]:
    """Pairs of rows with the same position, disjoint: a k-d tree cannot tell these apart, and degenerates on many."""
    order = np.lexsort(points.T)
    same = (points[order[1:]] == points[order[:-1]]).all(axis=1)
    if not same.any():
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    start = np.concatenate([[True], ~same])
    place = np.arange(len(points)) - np.maximum.accumulate(np.where(start, np.arange(len(points)), 0))
    second = np.flatnonzero(place % 2 == 1)
    return order[second - 1], order[second]


def merge(splats: Splats, groups: NDArray[np.integer], progress: Callable[[float], None] | None = None) -> Forest:
    """The merge forest of N >= 1 splats; splats of different `groups` (N,) are never merged. One root a group."""
    n = len(splats)
    covs = splat_covs(splats)
    area = areas(covs)
    total = 2 * n
    nodes = _Nodes(
        *(np.zeros((total, k)) for k in (3, 6, 3)), *(np.zeros(total) for _ in range(5)), np.full((total, 2), -1, np.int64)
    )
    nodes.means[:n] = splats.means
    nodes.covs[:n] = covs
    nodes.colors[:n] = splats.sh[:, 0] * SH_C0
    nodes.opacities[:n] = splats.opacities
    nodes.areas[:n] = area
    # Transparent splats keep a trace of mass, so that averages of them exist.
    nodes.mass[:n] = np.maximum(splats.opacities, 1e-6) * area
    used = n
    roots = []
    for g in np.unique(groups):
        active = np.flatnonzero(groups == g)
        while len(active) > 1:
            i, j = _coincident(nodes.means[active])
            if not len(i):
                i, j = _edges(nodes.means[active])
                cost = merge_cost(nodes, active[i], active[j])
                order = np.argsort(cost, kind="stable")
                i, j = i[order], j[order]
                taken = _match(i, j, len(active))[: max(1, int(len(active) * ROUND_SHARE))]
                i, j = i[taken], j[taken]
            new = _append(nodes, used, active[i], active[j])
            keep = np.ones(len(active), np.bool_)
            keep[i] = False
            keep[j] = False
            active = np.concatenate([active[keep], new])
            used += len(new)
            if progress is not None:
                progress((used - n) / n)
        roots.append(int(active[0]))
    return _preorder(nodes, n, used, roots)


def _append(n: _Nodes, at: int, i: Ints, j: Ints) -> Ints:
    """Merge nodes i with nodes j into new nodes from id `at`; their ids."""
    new = np.arange(at, at + len(i))
    wi, wj = n.mass[i], n.mass[j]
    total = wi + wj
    f = (wi / total)[:, None]
    d = n.means[i] - n.means[j]
    cost = merge_cost(n, i, j)
    n.means[new] = f * n.means[i] + (1 - f) * n.means[j]
    n.covs[new] = f * n.covs[i] + (1 - f) * n.covs[j] + f * (1 - f) * outer(d)
    n.colors[new] = f * n.colors[i] + (1 - f) * n.colors[j]
    n.areas[new] = areas(n.covs[new])
    n.opacities[new] = np.minimum(total / n.areas[new], OPACITY_MAX)
    n.mass[new] = total
    n.key[new] = np.maximum(cost, np.maximum(n.key[i], n.key[j]))
    n.energy[new] = cost + n.energy[i] + n.energy[j]
    n.children[new, 0] = i
    n.children[new, 1] = j
    return new


def _preorder(n: _Nodes, sources: int, used: int, roots: list[int]) -> Forest:
    """The nodes renumbered in preorder, so that every subtree is a range."""
    size = np.ones(used, np.int64)
    leaves = np.ones(used, np.int64)
    place = np.zeros(used, np.int64)
    # Nodes are made after their children, so these loops see them in order. Plain lists: item access is four times faster.
    left, right = n.children[:used, 0].tolist(), n.children[:used, 1].tolist()
    count = [1] * used
    for i in range(sources, used):
        count[i] = count[left[i]] + count[right[i]] + 1
    pos = [0] * used
    at = 0
    for r in roots:
        pos[r] = at
        at += count[r]
    for i in range(used - 1, sources - 1, -1):
        pos[left[i]] = pos[i] + 1
        pos[right[i]] = pos[i] + 1 + count[left[i]]
    size[:] = count
    leaves[:] = (size + 1) // 2
    place[:] = pos
    old = np.empty(used, np.int64)
    old[place] = np.arange(used)
    children = n.children[old]
    children[children >= 0] = place[children[children >= 0]]
    source = np.where(old < sources, old, -1)
    return Forest(
        n.means[old], n.covs[old], n.opacities[old], n.mass[old], source, children, leaves[old], size[old], n.key[old],
        n.energy[old], place[np.asarray(roots, np.int64)],
    )  # fmt: skip
