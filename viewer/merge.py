"""Merges splats pairwise into one binary forest: the nested simplifications that the cluster tree is cut from.

Rounds of greedy matching, cheapest pair first, over the nearest neighbours of everything still unmerged in the whole
scene. A merge keeps mass (projected area x opacity) and the first two moments, weighted by what shows from outside, and
lets opacity rise above 1: a flat-topped splat of the same mass, where a cap at 1 loses 0.5 to 1.5 dB (docs/lod.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from splatlens.viewer.splats import SH_C0, Splats, rotation_matrices
from splatlens.viewer.visibility import visibility

Ints = NDArray[np.int64]
Doubles = NDArray[np.float64]

#: Neighbours considered for a merge. 8 or 14 gain nothing over 6.
NEIGHBOURS = 6
#: Share of the unmerged splats that a round may replace by merged ones. Choosier rounds are slower and worse: 0.15
#: loses 0.2 dB on average, as it lets cheap regions collapse long before the others have begun.
ROUND_SHARE = 0.45
#: Passes of the matching in a round: an edge is taken when it is the cheapest left at both its ends.
MATCHING_PASSES = 6
#: Largest opacity of a merged splat: alpha stays at the cap out to sqrt(2 ln 3) = 1.5 sigma. 4 and 6 lose 0.1 and 0.2
#: dB at 2% of the splats and change nothing elsewhere.
OPACITY_MAX = 3.0
#: Weight of growth in the cost of a merge, and its exponent; squared difference of colour counts 1.
GROWTH_WEIGHT, GROWTH_POWER = 0.4, 1.5
#: The same weight where errors of merges are summed up for the cut: merging grown splats again repeats part of the
#: error.
ENERGY_GROWTH_WEIGHT = 0.12
#: Added to the visibility that weighs splats, so that hidden ones still count a little: they show when others move
#: away.
HIDDEN = 0.02
#: Edges worked on at once: their temporaries stay in the second-level cache.
CHUNK = 16_384


@dataclass(frozen=True)
class Moments:
    """What rows that stand for others bring into further merging, (N,) each: see Forest. key: not times leaves."""

    weight: Doubles
    mass: Doubles
    key: Doubles
    energy: Doubles
    leaves: Ints

    @staticmethod
    def concatenate(parts: Sequence[Moments]) -> Moments:
        """All parts after another."""
        names = ("weight", "mass", "key", "energy", "leaves")
        return Moments(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


@dataclass(frozen=True)
class Forest:
    """M merge nodes in preorder; the subtree of node i is the rows i..i+size[i]-1. Leaves are source splats.

    means (M, 3), covs (M, 6: xx xy xz yy yz zz), opacities (M,). weight (M,): area x opacity x what shows, additive.
    mass (M,): area x opacity, additive.
    source (M,): the source row of a leaf, -1 for a merged node. children (M, 2): node ids, -1 for leaves.
    leaves (M,): source splats below, itself included. size (M,): nodes of the subtree.
    key (M,): the order in which nodes are refined, a parent's at least its children's, 0 for leaves: the largest cost
    below times leaves, as errors of merging merged ones add up.
    energy (M,): squared error of drawing the node instead of its leaves (world area x colour^2). roots (R,): node ids.
    """

    means: Doubles
    covs: Doubles
    opacities: Doubles
    weight: Doubles
    mass: Doubles
    source: Ints
    children: Ints
    leaves: Ints
    size: Ints
    key: Doubles
    energy: Doubles
    roots: Ints

    def moments(self, nodes: Ints) -> Moments:
        """Of some nodes, as `merge` takes them."""
        leaves = self.leaves[nodes]
        return Moments(self.weight[nodes], self.mass[nodes], self.key[nodes] / leaves, self.energy[nodes], leaves)


@dataclass
class _Nodes:
    """Growing arrays of merge nodes in the order of their making: sources first."""

    means: Doubles
    covs: Doubles
    colors: Doubles
    opacities: Doubles
    areas: Doubles
    mass: Doubles
    weight: Doubles
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


def principal_axes(splats: Splats) -> Doubles:
    """(N, 3, 3) float64: columns are the principal axes, one sigma long."""
    return np.asarray(rotation_matrices(splats.quats.astype(np.float64)) * splats.scales.astype(np.float64)[:, None, :])


def splat_covs(splats: Splats) -> Doubles:
    """(N, 6) float64 covariances: xx xy xz yy yz zz."""
    axes = principal_axes(splats)
    return _upper(axes @ axes.transpose(0, 2, 1))


def _upper(m: Doubles) -> Doubles:
    """(N, 6) upper triangles of (N, 3, 3)."""
    return np.ascontiguousarray(m.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]])


def merge_cost(n: _Nodes, i: Ints, j: Ints, growth_weight: float = GROWTH_WEIGHT) -> Doubles:
    """(E,) squared error of merging nodes i and j (area x colour^2).

    What they have in common in weight (half their harmonic mean), times the growth of the covered area over their
    geometric mean and the squared difference of their colours.
    """
    wi, wj = n.weight[i], n.weight[j]
    total = wi + wj
    f = wi / total
    merged = areas(_mixed(n, i, j, f))
    growth = np.maximum(merged / np.sqrt(n.areas[i] * n.areas[j]) - 1, 0)
    contrast = ((n.colors[i] - n.colors[j]) ** 2).sum(axis=1)
    return np.asarray(wi * wj / total * (growth_weight * growth**GROWTH_POWER + contrast))


def _mixed(n: _Nodes, i: Ints, j: Ints, f: Doubles) -> Doubles:
    """(E, 6) covariances of mixtures of nodes i by f and j by 1 - f."""
    g = f[:, None]
    return np.asarray(g * n.covs[i] + (1 - g) * n.covs[j] + g * (1 - g) * outer(n.means[i] - n.means[j]))


def _costs(n: _Nodes, i: Ints, j: Ints, pool: ThreadPoolExecutor) -> Doubles:
    """merge_cost in chunks on all of the pool's threads: NumPy lets go of the interpreter inside its loops."""
    out = np.empty(len(i))

    def chunk(at: int) -> None:
        out[at : at + CHUNK] = merge_cost(n, i[at : at + CHUNK], j[at : at + CHUNK])

    list(pool.map(chunk, range(0, len(i), CHUNK)))
    return out


def _edges(points: Doubles) -> tuple[Ints, Ints]:
    """Undirected nearest-neighbour edges i < j, each once."""
    n = len(points)
    k = min(NEIGHBOURS, n - 1)
    _, near = cKDTree(points, balanced_tree=False, compact_nodes=False).query(points, k + 1, workers=2)
    i = np.repeat(np.arange(n), k + 1)
    j = near.ravel()
    # An edge seen from both ends is kept at the lower one.
    good = (i < j) & (j < n)
    good[i > j] = ~(near[j[i > j]] == i[i > j, None]).any(axis=1)
    i, j = i[good], j[good]
    return np.minimum(i, j), np.maximum(i, j)


def _match(i: Ints, j: Ints, n: int) -> Ints:
    """Indices of disjoint edges, cheapest first, of edges sorted by cost: an edge goes in when it is first at both
    ends."""
    rank = np.arange(len(i))
    free = np.ones(n, np.bool_)
    first, other = np.empty(n, np.int64), np.empty(n, np.int64)
    taken = []
    for _ in range(MATCHING_PASSES):
        a, b = i[rank], j[rank]
        # Where an index is repeated the last assignment stays: backwards, that is the cheapest edge.
        first[:] = len(i)
        other[:] = len(i)
        first[a[::-1]] = rank[::-1]
        other[b[::-1]] = rank[::-1]
        np.minimum(first, other, out=first)
        mutual = (first[a] == rank) & (first[b] == rank)
        taken.append(rank[mutual])
        free[a[mutual]] = False
        free[b[mutual]] = False
        rank = rank[free[a] & free[b]]
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


def merge(
    splats: Splats,
    groups: NDArray[np.integer],
    progress: Callable[[float], None] | None = None,
    moments: Moments | None = None,
) -> Forest:
    """The merge forest of N >= 1 splats; splats of different `groups` (N,) are never merged. One root a group.

    moments: of splats that stand for others; None where they are source splats.
    """
    n = len(splats)
    axes = principal_axes(splats)
    covs = _upper(axes @ axes.transpose(0, 2, 1))
    area = areas(covs)
    made = 2 * n
    nodes = _Nodes(
        means=np.empty((made, 3)), covs=np.empty((made, 6)), colors=np.empty((made, 3)), opacities=np.empty(made),
        areas=np.empty(made), mass=np.empty(made), weight=np.empty(made), key=np.zeros(made), energy=np.zeros(made),
        children=np.full((made, 2), -1, np.int64),
    )  # fmt: skip
    nodes.means[:n] = splats.means
    nodes.covs[:n] = covs
    nodes.colors[:n] = splats.sh[:, 0] * SH_C0
    nodes.opacities[:n] = splats.opacities
    nodes.areas[:n] = area
    if moments is None:
        # Transparent splats keep a trace of mass, so that averages of them exist.
        mass = np.maximum(splats.opacities, 1e-6) * area
        shown = visibility(splats.means.astype(np.float64), axes, nodes.opacities[:n])
        zero = np.zeros(n)
        moments = Moments(mass * np.sqrt(shown + HIDDEN), mass, zero, zero, np.ones(n, np.int64))
    nodes.weight[:n], nodes.mass[:n] = moments.weight, moments.mass
    nodes.key[:n], nodes.energy[:n] = moments.key, moments.energy
    rounds = [n]
    roots = []
    with ThreadPoolExecutor(2) as pool:
        for g in np.unique(groups):
            active = np.flatnonzero(groups == g)
            while len(active) > 1:
                i, j = _pairs(nodes, active, pool)
                new = _append(nodes, rounds[-1], active[i], active[j])
                keep = np.ones(len(active), np.bool_)
                keep[i] = False
                keep[j] = False
                active = np.concatenate([active[keep], new])
                rounds.append(rounds[-1] + len(new))
                if progress is not None:
                    progress(rounds[-1] / n - 1)
            roots.append(int(active[0]))
    return _preorder(nodes, rounds, np.array(roots), moments.leaves)


def _pairs(nodes: _Nodes, active: Ints, pool: ThreadPoolExecutor) -> tuple[Ints, Ints]:
    """One round's merges: disjoint pairs of places in `active`."""
    points = nodes.means[active]
    i, j = _coincident(points)
    if len(i):
        return i, j
    i, j = _edges(points)
    cost = _costs(nodes, active[i], active[j], pool)
    order = np.argsort(cost, kind="stable")
    i, j = i[order], j[order]
    taken = _match(i, j, len(active))[: max(1, int(len(active) * ROUND_SHARE))]
    return i[taken], j[taken]


def _append(n: _Nodes, at: int, i: Ints, j: Ints) -> Ints:
    """Merge nodes i with nodes j into new nodes from id `at`; their ids."""
    new = slice(at, at + len(i))
    total = n.mass[i] + n.mass[j]
    weight = n.weight[i] + n.weight[j]
    f = n.weight[i] / weight
    g = f[:, None]
    cost = merge_cost(n, i, j)
    n.means[new] = g * n.means[i] + (1 - g) * n.means[j]
    n.covs[new] = _mixed(n, i, j, f)
    n.colors[new] = g * n.colors[i] + (1 - g) * n.colors[j]
    n.areas[new] = areas(n.covs[new])
    n.opacities[new] = np.minimum(total / n.areas[new], OPACITY_MAX)
    n.mass[new] = total
    n.weight[new] = weight
    n.key[new] = np.maximum(cost, np.maximum(n.key[i], n.key[j]))
    n.energy[new] = merge_cost(n, i, j, ENERGY_GROWTH_WEIGHT) + n.energy[i] + n.energy[j]
    n.children[new, 0] = i
    n.children[new, 1] = j
    return np.arange(at, at + len(i))


def _preorder(n: _Nodes, rounds: list[int], roots: Ints, sources: Ints) -> Forest:
    """The nodes renumbered in preorder, so that every subtree is a range. rounds: the first node id of each round,
    and the end. sources: source splats that each row stands for."""
    used = rounds[-1]
    children = n.children[:used]
    size, leaves = np.ones(used, np.int64), np.ones(used, np.int64)
    leaves[: rounds[0]] = sources
    for a, b in pairwise(rounds):
        left, right = children[a:b].T
        size[a:b] = size[left] + size[right] + 1
        leaves[a:b] = leaves[left] + leaves[right]
    place = np.zeros(used, np.int64)
    place[roots] = np.cumsum(size[roots]) - size[roots]
    for a, b in pairwise(rounds[::-1]):
        left, right = children[b:a].T
        place[left] = place[b:a] + 1
        place[right] = place[left] + size[left]
    old = np.empty(used, np.int64)
    old[place] = np.arange(used)
    source = np.where(old < rounds[0], old, -1)
    down = children[old]
    down = np.where(down >= 0, place[down], -1)
    leaves = leaves[old]
    return Forest(
        means=n.means[old],
        covs=n.covs[old],
        opacities=n.opacities[old],
        weight=n.weight[old],
        mass=n.mass[old],
        source=source,
        children=down,
        leaves=leaves,
        size=size[old],
        key=n.key[old] * leaves,
        energy=n.energy[old],
        roots=place[roots],
    )
