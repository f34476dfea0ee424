"""Codebooks of scalars: the 256 values that lose least when each number is replaced by the nearest of them.

In one dimension k-means has an exact solution by dynamic programming over sorted values (Wang and Song 2011,
"Ckmeans.1d.dp"), here over at most 2048 bins of them; Lloyd's iteration on the values themselves does the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.sog_layout import CODEBOOK

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Most values sorted: of more, so many are drawn (by chance, for every nth may be always the same coefficient), besides
#: the least and the greatest. 2000 a code; sorting and summing takes 40 MB.
SAMPLE, SEED = 1 << 19, 32026
#: Bins of values that the exact solution parts: eight a code.
BINS = 2048
#: Values farther from the median than this many times the middle half's extent count as that far: squares of larger
#: ones would swallow those of all others in float64.
FAR = 1e4
#: Most rounds of Lloyd's iteration, 0.1 ms each.
ROUNDS = 200


def codebook(values: NDArray[np.floating], weights: NDArray[np.floating], size: int = CODEBOOK) -> NDArray[np.float32]:
    """(size,) rising float32 codes for values (N,), the sum of weights (N,) times squared error small.

    No more than `size` distinct values are all codes, exactly, and the last is repeated. weights: at least 0.
    """
    distinct = np.unique(values)
    if len(distinct) > size:
        return _fit(*_sorted(values, weights, distinct[[0, -1]]), size)
    return np.concatenate([distinct, np.repeat(distinct[-1:], size - len(distinct))]).astype(np.float32)


def nearest(values: NDArray[np.floating], codes: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Indices of the nearest codes, of equally near ones the first, in the shape of `values`."""
    middles = (codes[1:].astype(np.float64) + codes[:-1]) / 2
    return np.searchsorted(middles, values).astype(np.uint8)


def _sorted(
    values: NDArray[np.floating], weights: NDArray[np.floating], ends: NDArray[np.floating]
) -> tuple[Array, Array]:
    """Rising distinct values and their summed weights, none of them zero."""
    of_ends = 0.0
    if len(values) > SAMPLE:
        drawn = np.random.default_rng(SEED).integers(len(values), size=SAMPLE)
        values, weights = values[drawn], weights[drawn]
        of_ends = float(weights.mean())
    # A weight below a millionth of the mean would be lost in the sums; zeros have no mean to be at.
    floor = max(float(weights.mean()) * 1e-6, float(np.finfo(np.float32).tiny))
    some: Array = np.concatenate([values, ends]).astype(np.float64)
    heavy: Array = np.maximum(np.concatenate([weights, [of_ends, of_ends]]), floor).astype(np.float64)
    order = np.argsort(some, kind="stable")
    some = some[order]
    starts = np.flatnonzero(np.diff(some, prepend=-np.inf))
    return some[starts], np.add.reduceat(heavy[order], starts)


def _fit(values: Array, weights: Array, size: int) -> NDArray[np.float32]:
    """(size,) codes for rising distinct values."""
    first, middle, third = values[[len(values) // 4, len(values) // 2, len(values) * 3 // 4]]
    x = np.clip(values - middle, -FAR * (third - first), FAR * (third - first))
    sums = np.concatenate([np.zeros((3, 1)), np.cumsum([weights, weights * x, weights * x**2], axis=1)], axis=1)
    bins = _bins(x, weights)
    bounds = bins[_partition(sums[:, bins], size)]
    codes = np.full(size, x[-1])
    for _ in range(ROUNDS):
        inside, moment = np.diff(sums[:2, bounds], axis=1)
        codes = np.where(inside > 0, moment / np.where(inside > 0, inside, 1), codes)
        before = bounds
        bounds = np.concatenate([[0], np.searchsorted(x, (codes[1:] + codes[:-1]) / 2), [len(x)]])
        if np.array_equal(bounds, before):
            break
    narrow: NDArray[np.float32] = (codes + middle).astype(np.float32)
    return narrow


def _bins(x: Array, weights: Array) -> Ints:
    """Rising indices, 0 to len(x), between which the bins lie, none of them empty.

    Half of them follow the weight, half the density of optimal codes, the cube root of the weight's (Panter and Dite
    1951), so that tails have bins enough too.
    """
    if len(x) <= BINS:
        return np.arange(len(x) + 1)
    wanted = np.concatenate([[0], np.cbrt((weights[1:] + weights[:-1]) * np.diff(x) ** 2)])
    measure = np.cumsum(wanted / wanted.sum() + weights / weights.sum())
    inner = np.searchsorted(measure, np.arange(1, BINS) / BINS * measure[-1])
    return np.unique(np.concatenate([[0], inner, [len(x)]]))


def _partition(sums: Array, size: int) -> Ints:
    """(size + 1,) rising bin indices that part the bins into at most `size` cells of least total squared error.

    sums: (3, bins + 1) of weights, weighted values and weighted squares before each bin. The best start of a last cell
    never falls as its end rises, so the ends are solved from the middle outwards, each between its neighbours' starts
    (Grønlund et al. 2017, "Fast exact k-means, k-medians and Bregman divergence clustering in 1D", section 2.2).
    """
    weight, moment, square = sums
    n = len(weight) - 1
    top = 1 << n.bit_length()
    levels = [np.arange(step, n + 1, 2 * step) for step in top >> np.arange(1, n.bit_length() + 1)]
    steps = [top >> level for level in range(1, len(levels) + 1)]

    def error(start: Ints, end: Ints) -> Array:
        across = moment[end] - moment[start]
        out: Array = square[end] - square[start] - across * across / (weight[end] - weight[start])
        return out

    every = np.arange(1, n + 1)
    least = np.concatenate([[0], error(np.zeros_like(every), every)])  # with one cell
    starts = np.zeros((size, n + 1), np.int32)
    for cell in range(1, size):
        start = np.full(top + 1, n - 1)
        start[0] = 0
        better = np.zeros(n + 1)
        for step, end in zip(steps, levels, strict=True):
            low, high = start[end - step], np.minimum(start[end + step], end - 1)
            width = high - low + 1
            first = np.cumsum(width) - width
            owner = np.repeat(np.arange(len(end)), width)
            tried = np.arange(len(owner)) + (low - first)[owner]
            total = least[tried] + error(tried, end[owner])
            better[end] = np.minimum.reduceat(total, first)
            hits = np.flatnonzero(total == better[end][owner])
            start[end] = tried[hits[np.searchsorted(owner[hits], np.arange(len(end)))]]
        least = better
        starts[cell] = start[: n + 1]
    bounds = np.empty(size + 1, np.int64)
    bounds[size] = n
    for cell in range(size - 1, -1, -1):
        bounds[cell] = starts[cell, bounds[cell + 1]]
    return bounds
