"""The LOD tree: its promises on generated scenes of every awkward kind and on real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatlens.viewer.errors import LensError
from splatlens.viewer.merge import merge, splat_covs
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats
from splatlens.viewer.tree import CLUSTER_SPLATS, MAX_CHILDREN, Tree, _clusters, assemble, build_tree
from splatlens.viewer.visibility import visibility
from tests.twin_scenes import random_splats


def scene(n: int, seed: int = 0, degree: int = 0, extent: float = 1.0) -> Splats:
    """Splats on a wavy sheet, coloured by place."""
    rng = np.random.default_rng(seed)
    f = np.float32
    xy = rng.uniform(-extent, extent, (n, 2))
    means = np.column_stack([xy, 0.2 * np.sin(4 * xy[:, 0]) + 0.01 * rng.normal(size=n)]).astype(f)
    quats = rng.normal(size=(n, 4))
    quats = (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(f)
    scales = (np.exp(rng.normal(-1, 0.5, (n, 3))) * 2 * extent / np.sqrt(n + 1)).astype(f)
    sh = np.zeros((n, SH_COEFFICIENTS[degree], 3), f)
    sh[:, 0] = np.column_stack([np.sin(9 * xy[:, 0]), np.cos(7 * xy[:, 1]), xy[:, 0]])
    sh[:, 1:] = rng.normal(0, 0.1, sh[:, 1:].shape)
    return Splats(means, quats, scales, rng.uniform(0.05, 0.99, n).astype(f), sh)


def with_rows(splats: Splats, **arrays: np.ndarray) -> Splats:
    fields = {k: getattr(splats, k) for k in ("means", "quats", "scales", "opacities", "sh")}
    return Splats(**(fields | {k: np.ascontiguousarray(v, np.float32) for k, v in arrays.items()}))


def check(tree: Tree, splats: Splats) -> None:
    """Every invariant that docs/architecture.md promises."""
    c = len(tree)
    assert tree.count.min() >= 1 and tree.count.max() <= CLUSTER_SPLATS
    assert tree.first[0] == 0 and (np.diff(tree.first) == tree.count[:-1]).all()
    assert tree.first[-1] + tree.count[-1] == len(tree.splats) == len(tree.source)
    assert tree.parent[0] == -1 and (tree.parent[1:] < np.arange(1, c)).all() and (tree.parent[1:] >= 0).all()
    assert tree.child_count.max() <= MAX_CHILDREN
    for i in np.flatnonzero(tree.child_count):
        a, b = tree.child_first[i], tree.child_first[i] + tree.child_count[i]
        assert (np.flatnonzero(tree.parent == i) == np.arange(a, b)).all()
    leaf_row = np.repeat(tree.child_count == 0, tree.count)
    # Leaf rows are the source splats, each exactly once, unchanged.
    assert (tree.source[~leaf_row] == -1).all()
    assert (np.sort(tree.source[leaf_row]) == np.arange(len(splats))).all()
    rows = np.flatnonzero(leaf_row)
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert (getattr(tree.splats, name)[rows] == getattr(splats, name)[tree.source[rows]]).all()
        assert np.isfinite(getattr(tree.splats, name)).all()
    assert np.allclose(np.linalg.norm(tree.splats.quats[~leaf_row], axis=1), 1, atol=1e-5)
    assert (tree.splats.scales > 0).all() or (splats.scales == 0).any()
    # Errors and bounds.
    inner = np.flatnonzero(tree.parent >= 0)
    up = tree.parent[inner]
    assert np.isfinite(tree.error).all() and (tree.error[tree.child_count == 0] == 0).all()
    assert (tree.error[up] >= tree.error[inner]).all()
    assert (tree.support[up, 0] <= tree.support[inner, 0]).all()
    assert (tree.support[up, 1] >= tree.support[inner, 1]).all()
    tiny = 1e-6 * (1 + np.abs(splats.means).max())
    apart = np.linalg.norm(tree.sphere[up, :3] - tree.sphere[inner, :3], axis=1)
    assert (tree.sphere[up, 3] + tiny >= apart + tree.sphere[inner, 3]).all()
    cluster = np.repeat(np.arange(c), tree.count)
    means = tree.splats.means.astype(np.float64)
    assert (tree.box[cluster, 0] <= means).all() and (means <= tree.box[cluster, 1]).all()
    assert (np.linalg.norm(means - tree.sphere[cluster, :3], axis=1) <= tree.sphere[cluster, 3] + tiny).all()
    k = np.sqrt(2 * np.log(np.maximum(255 * tree.splats.opacities.astype(np.float64), 1)))
    reach = k[:, None] * np.sqrt(splat_covs(tree.splats)[:, [0, 3, 5]])
    assert (tree.support[cluster, 0] <= means - reach + tiny).all()
    assert (tree.support[cluster, 1] >= means + reach - tiny).all()


@pytest.mark.parametrize("n", [1, 2, 3, 255, 256, 257, 700, 1025, 5000])
def test_tree_of_any_size_keeps_its_promises(n: int) -> None:
    splats = scene(n, seed=n, degree=n % 4)
    check(build_tree(splats), splats)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 1500),
    grid=st.sampled_from([0, 2, 5]),
    wild=st.floats(0, 1),
)
def test_tree_of_random_scenes_keeps_its_promises(seed: int, n: int, grid: int, wild: float) -> None:
    """Coinciding positions (grid), sizes over many decades, and opacities of 0."""
    rng = np.random.default_rng(seed)
    splats = scene(n, seed)
    means = np.round(splats.means * grid) / grid if grid else splats.means
    scales = splats.scales * np.where(rng.random((n, 3)) < wild, np.exp(rng.normal(0, 4, (n, 3))), 1)
    opacities = splats.opacities * (rng.random(n) > 0.1)
    splats = with_rows(splats, means=means, scales=scales, opacities=opacities)
    check(build_tree(splats), splats)


def test_tree_of_identical_splats() -> None:
    one = scene(1)
    splats = one.take(np.zeros(20_000, np.int64))
    check(build_tree(splats), splats)


def test_tree_of_splats_at_one_point() -> None:
    splats = with_rows(scene(700), means=np.full((700, 3), 3.0))
    check(build_tree(splats), splats)


def test_tree_of_a_line_and_of_flat_and_invisible_splats() -> None:
    n = 900
    splats = scene(n)
    means = np.column_stack([np.arange(n), np.zeros(n), np.zeros(n)])
    scales = splats.scales * np.array([1, 1, 0])
    splats = with_rows(splats, means=means, scales=scales, opacities=np.zeros(n))
    check(build_tree(splats), splats)


def test_skies_and_outliers_have_clusters_of_their_own() -> None:
    rng = np.random.default_rng(3)
    bulk, sky = scene(4000), scene(300, seed=1)
    around = rng.normal(size=(300, 3))
    around *= 500 / np.linalg.norm(around, axis=1, keepdims=True)
    sky = with_rows(sky, means=around, scales=np.full((300, 3), 60.0))
    splats = Splats.concatenate([bulk, sky])
    tree = build_tree(splats)
    check(tree, splats)
    for i in np.flatnonzero(tree.child_count == 0):
        src = tree.source[tree.first[i] : tree.first[i] + tree.count[i]]
        assert (src < 4000).all() or (src >= 4000).all()
    bulk_clusters = [i for i in range(len(tree)) if i and (tree.box[i, 1] - tree.box[i, 0]).max() < 3]
    assert len(bulk_clusters) >= 4000 / 256


def test_build_tree_refuses_nothing_and_nonsense() -> None:
    with pytest.raises(LensError, match="no splats"):
        build_tree(Splats.empty())
    splats = scene(5)
    means = splats.means.copy()
    means[2, 1] = np.nan
    with pytest.raises(LensError, match="means holds NaN"):
        build_tree(with_rows(splats, means=means))


def test_build_tree_gives_the_same_tree_twice_and_tells_its_progress() -> None:
    splats = scene(3000, degree=1)
    heard: list[float] = []
    a, b = build_tree(splats, heard.append), build_tree(splats)
    for name in ("source", "first", "parent", "error", "sphere", "support"):
        assert (getattr(a, name) == getattr(b, name)).all()
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert (getattr(a.splats, name) == getattr(b.splats, name)).all()
    assert heard == sorted(heard) and heard[-1] == 1 and heard[0] >= 0


def test_clusters_are_well_filled() -> None:
    tree = build_tree(scene(30_000))
    assert tree.count.mean() > 0.93 * CLUSTER_SPLATS
    assert len(tree.splats) < 1.55 * 30_000


def test_merge_keeps_moments() -> None:
    splats = scene(300)
    forest = merge(splats, np.zeros(300, np.int64))
    assert len(forest.roots) == 1
    root = int(forest.roots[0])
    leaves = np.flatnonzero(forest.source >= 0)
    assert forest.leaves[root] == 300 == len(leaves)
    w = forest.weight[leaves] / forest.weight[leaves].sum()
    mean = w @ forest.means[leaves]
    d = forest.means[leaves] - mean
    covs = np.zeros((3, 3))
    upper = [[0, 1, 2], [1, 3, 4], [2, 4, 5]]
    for weight, cov, delta in zip(w, forest.covs[leaves], d, strict=True):
        covs += weight * (cov[upper] + np.outer(delta, delta))
    assert np.allclose(forest.means[root], mean)
    assert np.allclose(forest.covs[root][upper], covs)
    inner = forest.source < 0
    for side in (0, 1):
        below = forest.children[inner, side]
        assert (forest.key[inner] >= forest.key[below]).all()
        assert (forest.energy[inner] >= forest.energy[below]).all()


def test_errors_never_grow_downward_even_where_a_refinement_repairs_nothing() -> None:
    splats = scene(5000)
    forest = merge(splats, np.zeros(5000, np.int64))
    energy = forest.energy * np.where(forest.leaves < 20, 1000, 1)
    tree = assemble(splats, replace(forest, energy=energy), *_clusters(forest))
    assert (tree.error[tree.parent[1:]] >= tree.error[1:]).all()
    assert (tree.error > 0).any()


def test_identical_neighbours_merge_before_different_ones() -> None:
    """Pairs of one place and colour each, far from equal to the other pairs: the first 50 merges are theirs."""
    rng = np.random.default_rng(4)
    half = scene(50, seed=4)
    half = with_rows(half, sh=rng.normal(0, 2, (50, 1, 3)))
    splats = Splats.concatenate([half, with_rows(half, means=half.means + 1e-6)])
    forest = merge(splats, np.zeros(100, np.int64))
    pairs = [i for i in np.flatnonzero(forest.source < 0) if forest.leaves[i] == 2]
    got = {tuple(sorted(forest.source[forest.children[i]].tolist())) for i in pairs}
    assert got == {(i, i + 50) for i in range(50)}


def test_visibility_tells_a_shell_from_what_it_hides() -> None:
    rng = np.random.default_rng(5)
    d = rng.normal(size=(6000, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    means = d * np.where(np.arange(6000) < 5000, 1.0, 0.3)[:, None]
    axes = np.broadcast_to(np.eye(3) * 0.05, (6000, 3, 3))
    v = visibility(means, axes, np.full(6000, 0.9))
    assert v.min() >= 0 and v.max() <= 1
    assert v[:5000].min() > 10 * v[5000:].mean()


@pytest.mark.data
@pytest.mark.parametrize("name", ["plant_sh0", "playbot_l2_sh2"])
def test_tree_of_real_scenes(name: str, data_dir: Path) -> None:
    from splatlens.converters import open_source

    source = open_source(data_dir / "ply_converted" / f"{name}.ply")
    splats = Splats.concatenate(list(source.chunks()))
    tree = build_tree(splats)
    check(tree, splats)
    assert tree.count.mean() > 0.95 * CLUSTER_SPLATS
    assert len(tree.splats) < 1.5 * len(splats)


def test_no_cluster_outgrows_a_workgroup_where_density_varies() -> None:
    # Cuts that may wander by 15% towards full leaves gave one side 260 rows here.
    rng = np.random.default_rng(17)
    splats = random_splats(int(rng.integers(3000, 9000)), 17, degree=0, size=0.02)
    means = splats.means.astype(np.float64)
    means[:, 0] = 4 * np.sign(means[:, 0]) * np.abs(means[:, 0]) ** rng.uniform(1, 6)
    scales = splats.scales * np.exp(rng.normal(0, 1.5, (len(splats), 1)))
    uneven = with_rows(splats, means=means, scales=scales)
    check(build_tree(uneven), uneven)
