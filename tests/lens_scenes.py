"""Small scenes for the tests of .lens files: random splats, and random trees of any shape."""

from __future__ import annotations

import numpy as np

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
            whole[c] = np.minimum(whole[c, 0], whole[kids, 0].min(axis=0)), np.maximum(whole[c, 1], whole[kids, 1].max(axis=0))
        sphere[c, :3] = whole[c].mean(axis=0)
        sphere[c, 3] = np.linalg.norm(whole[c, 1] - whole[c, 0]) / 2
        support[c] = whole[c] + [[-0.2], [0.2]]
    return Tree(
        splats=splats, source=np.full(len(splats), -1), first=first, count=count, parent=parent, child_first=child_first,
        child_count=child_count, error=error, sphere=sphere, box=box, support=support,
    )  # fmt: skip
