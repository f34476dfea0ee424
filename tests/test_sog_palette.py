"""Codebooks and palettes of the SOG writer: against optima by exhaustion, SciPy's hierarchy and SciPy's k-means."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from scipy.cluster.vq import kmeans2

from splatlens.converters import sog_codebook, sog_palette
from splatlens.converters.sog_codebook import codebook, nearest
from splatlens.converters.sog_palette import distinct, palette

Rows = NDArray[np.float32]


def distortion(
    rows: Rows, codes: Rows, labels: NDArray[np.integer], weights: NDArray[np.floating] | None = None
) -> float:
    errors = ((rows.astype(np.float64) - codes[labels]) ** 2).sum(axis=1)
    return float(errors.sum() if weights is None else errors @ weights)


def optimum(rows: Rows, weights: NDArray[np.floating], k: int) -> float:
    """The least weighted error of all ways to part a handful of rows into at most k clusters."""
    best = np.inf
    for parts in itertools.product(range(k), repeat=len(rows) - 1):
        labels = np.array([0, *parts])
        total = 0.0
        for part in range(k):
            x, w = rows[labels == part].astype(np.float64), weights[labels == part]
            if len(x):
                total += float(w @ ((x - w @ x / w.sum()) ** 2).sum(axis=1))
        best = min(best, total)
    return best


def optimal_codes(values: NDArray[np.float64], weights: NDArray[np.float64], k: int) -> float:
    """The least error of k codes in one dimension, by dynamic programming over the sorted values."""
    order = np.argsort(values)
    x, w = values[order], weights[order]
    sums = [np.concatenate([[0], np.cumsum(w * x**p)]) for p in range(3)]
    i, j = np.meshgrid(np.arange(len(x) + 1), np.arange(len(x) + 1), indexing="ij")
    inside, first, second = (s[j] - s[i] for s in sums)
    cost = np.where(j > i, second - first**2 / np.where(inside > 0, inside, 1), np.inf)
    least = cost[0]
    for _ in range(k - 1):
        least = (least[:, None] + cost).min(axis=0)
    return float(least[-1])


def sh_rows(count: int, seed: int = 0, kinds: int = 700) -> Rows:
    """Rows of SH 2 as scenes have them: kinds that many splats share about, each row with 30% noise."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.15, (kinds, 24)) * np.repeat([1, 0.6], [9, 15]) * rng.gamma(1, 1, (kinds, 1))
    return (base[rng.integers(kinds, size=count)] * (1 + 0.3 * rng.normal(size=(count, 24)))).astype(np.float32)


def test_few_values_are_the_codes() -> None:
    values = np.array([3, -1, 3, 0.1, -1], np.float32)
    codes = codebook(values, np.ones(5))
    np.testing.assert_array_equal(codes, np.array([-1, 0.1, *[3] * 254], np.float32))
    np.testing.assert_array_equal(codes[nearest(values, codes)], values)
    rng = np.random.default_rng(1)
    values = rng.choice(rng.normal(size=256).astype(np.float32), 5000)
    codes = codebook(values, np.zeros(5000))
    np.testing.assert_array_equal(codes[nearest(values, codes)], values)


@pytest.mark.parametrize("weighted", [False, True])
def test_codes_are_the_optimum(weighted: bool) -> None:
    rng = np.random.default_rng(2)
    for values in (rng.normal(size=300), np.exp(rng.normal(0, 2, 300)), rng.uniform(size=300) ** 4):
        weights = rng.gamma(0.5, 1, 300) if weighted else np.ones(300)
        for size in (4, 16, 64):
            codes = codebook(values, weights, size)
            assert (np.diff(codes) >= 0).all()
            error = float(weights @ (values - codes[nearest(values, codes)]) ** 2)
            assert error < 1.0001 * optimal_codes(values, weights, size)


def test_codes_of_many_values_in_bins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more values than bins the optimum is missed by little; k-means by much."""
    monkeypatch.setattr(sog_codebook, "BINS", 256)
    values, weights = np.random.default_rng(3).standard_t(3, 1000), np.ones(1000)
    best = optimal_codes(values, weights, 32)
    codes = codebook(values, weights, 32)
    assert float(((values - codes[nearest(values, codes)]) ** 2).sum()) < 1.02 * best
    centres, labels = kmeans2(values, 32, iter=30, minit="points", rng=1, missing="raise")
    assert float(((values - centres[labels]) ** 2).sum()) > 1.2 * best


def test_a_value_beyond_reason_harms_no_other() -> None:
    values = np.append(np.random.default_rng(12).normal(size=3000), [1e9, -1e30]).astype(np.float32)
    codes = codebook(values, np.ones(3002))
    assert ((values - codes[nearest(values, codes)])[:3000] ** 2).mean() < 1e-4


def test_codes_follow_the_weights() -> None:
    values = np.random.default_rng(4).uniform(0, 2, 10_000)
    codes = codebook(values, np.where(values < 1, 1, 1e-3))
    # The density of codes goes with the cube root of the weight: ten to one.
    assert 215 < np.count_nonzero(codes < 1) < 245


def test_many_values_are_sampled_with_their_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(5).normal(size=50_000).astype(np.float32)
    values[[7, 11]] = -30, 40
    monkeypatch.setattr(sog_codebook, "SAMPLE", 4096)
    codes = codebook(values, np.ones(len(values)))
    np.testing.assert_array_equal(codes[[0, -1]], [-30, 40])
    assert ((values - codes[nearest(values, codes)]) ** 2).mean() < 4e-4


def test_nearest_code_and_ties() -> None:
    codes = np.array([0, 1, 3], np.float32)
    values = np.array([[-9, 0.5], [0.51, 2], [2.01, 99]])
    np.testing.assert_array_equal(nearest(values, codes), [[0, 0], [1, 1], [2, 2]])


def test_distinct_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    kinds = rng.normal(size=(50, 9)).astype(np.float32)
    kinds[3], kinds[4, 2] = 0, 0
    rows = kinds[rng.integers(50, size=3000)]
    rows[::2][rows[::2] == 0] = np.float32(-0.0)
    for broken in (False, True):
        if broken:  # every row has the same hash
            monkeypatch.setattr(sog_palette, "_hashes", lambda rows: np.zeros(len(rows), np.uint64))
        first, labels = distinct(rows)
        assert len(first) == 50
        np.testing.assert_array_equal(rows[first[labels]], rows)
    monkeypatch.undo()
    swapped = np.array([[1, 2], [2, 1], [1, 2]], np.float32)
    np.testing.assert_array_equal(distinct(swapped)[1][[0, 2]], distinct(swapped)[1][[2, 0]])
    assert len(distinct(swapped)[0]) == 2


def test_few_rows_are_the_palette() -> None:
    kinds = sh_rows(300)
    rows = kinds[np.random.default_rng(7).integers(300, size=5000)]
    codes, labels = palette(rows, np.ones(5000), 300)
    assert len(codes) == 300
    np.testing.assert_array_equal(codes[labels], rows)


def test_palette_of_a_handful_beside_all_partitions() -> None:
    best = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rows, weights = rng.normal(size=(7, 2)).astype(np.float32), rng.uniform(0.2, 3, 7)
        codes, labels = palette(rows, weights, 3)
        got, want = distortion(rows, codes, labels, weights), optimum(rows, weights, 3)
        assert want * 0.9999 < got < 1.5 * want
        best += got < 1.0001 * want
    assert best >= 13


def test_far_clusters_are_found_exactly() -> None:
    rng = np.random.default_rng(8)
    centres = rng.normal(0, 10, (40, 9))
    which = rng.integers(40, size=4000)
    rows = (centres[which] + rng.normal(0, 0.01, (4000, 9))).astype(np.float32)
    codes, labels = palette(rows, np.ones(4000), 40)
    assert len({(int(a), int(b)) for a, b in zip(which, labels, strict=True)}) == 40
    means = np.array([rows[which == one].mean(axis=0) for one in range(40)])
    np.testing.assert_allclose(codes[labels], means[which], atol=1e-5)


def test_hierarchy_beside_scipy() -> None:
    rows = sh_rows(300)
    unions = sog_palette._unions(rows, np.ones(300, np.float32), 1)
    # SciPy gives sqrt(2 a b / (a + b)) |difference|.
    want = linkage(rows.astype(np.float64), "ward")[:, 2] ** 2 / 2
    np.testing.assert_allclose(np.sort(unions.cost), want, rtol=1e-3)
    done = np.ones(299, bool)
    done[np.argsort(unions.cost, kind="stable")[-9:]] = False
    assert len(np.unique(unions.clusters(300, done))) == 10


@pytest.mark.filterwarnings("ignore:One of the clusters is empty")
@pytest.mark.parametrize(("k", "share"), [(2000, 0.6), (1000, 0.8), (100, 1.0)])
def test_palette_beside_kmeans(k: int, share: float) -> None:
    """No worse than ten rounds of Lloyd's algorithm over all rows from random ones; far better where codes are many."""
    rows = sh_rows(4000, kinds=1500)
    codes, labels = palette(rows, np.ones(4000), k)
    assert len(codes) == k == len(np.unique(labels))
    centres, theirs = kmeans2(rows.astype(np.float64), k, iter=10, minit="points", rng=1)
    assert distortion(rows, codes, labels) < share * distortion(rows, centres.astype(np.float32), theirs)
    for code in range(0, k, 37):
        np.testing.assert_allclose(codes[code], rows[labels == code].mean(axis=0), atol=1e-5)


def test_weights_are_copies() -> None:
    """A row of weight 3 counts as three of it."""
    rows = sh_rows(600)
    weights = np.random.default_rng(9).integers(1, 4, 600)
    codes, labels = palette(rows, weights, 200)
    again, copies = palette(np.repeat(rows, weights, axis=0), np.ones(weights.sum()), 200)
    a, b = distortion(rows, codes, labels, weights), distortion(np.repeat(rows, weights, axis=0), again, copies)
    assert abs(a - b) < 1e-3 * b


def test_weighted_rows_are_kept() -> None:
    rows = sh_rows(2000, kinds=2000)
    weights = np.where(np.arange(2000) < 100, 1e6, 1)
    codes, labels = palette(rows, weights, 400)
    np.testing.assert_allclose(codes[labels[:100]], rows[:100], atol=1e-4)


def test_same_palette_twice() -> None:
    rows = sh_rows(3000)
    first, second = palette(rows, np.ones(3000), 1000), palette(rows.copy(), np.ones(3000), 1000)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("entries", [1, 2, 5, 1023])
def test_any_number_of_entries(entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also fewer than there are groups."""
    monkeypatch.setattr(sog_palette, "GROUP", 32)
    rows = sh_rows(1024, kinds=1024)
    codes, labels = palette(rows, np.ones(1024), entries)
    assert len(codes) == entries == len(np.unique(labels))
    if entries == 1:
        np.testing.assert_allclose(codes[0], rows.mean(axis=0), atol=1e-5)


def test_rows_in_one_place_and_far_away() -> None:
    """Rows that differ in their last bits, in one value alone, or by more than float32 can square."""
    rng = np.random.default_rng(10)
    near = (1 + rng.integers(0, 50, (3000, 3)) * 2.0**-23).astype(np.float32)
    line = np.zeros((3000, 9), np.float32)
    line[:, 4] = np.arange(3000)
    far = (rng.normal(size=(3000, 3)) * 1e30).astype(np.float32)
    for rows in (near, line, far):
        with np.errstate(all="raise", under="ignore"):
            codes, labels = palette(rows, np.ones(3000), 100)
        assert np.isfinite(codes).all()
        assert len(codes) == 100
        spread = distortion(rows, np.broadcast_to(rows.mean(axis=0), rows.shape), np.arange(3000))
        assert distortion(rows, codes, labels) < 0.2 * spread


def test_products_in_blocks() -> None:
    rng = np.random.default_rng(11)
    for m, n, d in ((1, 1, 1), (63, 700, 24), (64, 64, 47), (200, 129, 11)):
        a, b = rng.normal(size=(m, d)).astype(np.float32), rng.normal(size=(n, d)).astype(np.float32)
        np.testing.assert_allclose(sog_palette._products(a, b), a @ b.T, rtol=1e-4, atol=1e-4)


def test_groups_are_balanced_and_whole() -> None:
    groups = sog_palette._groups(sh_rows(5000), np.random.default_rng(0))
    assert {len(g) for g in groups} <= {625} and len(groups) == 8
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(5000))
