"""How much of each splat shows from outside, averaged over 14 directions: what the LOD tree need not spend splats on.

An orthographic picture of points a direction, without drawing it: points sorted by (pixel, depth), their optical depths
summed up along every pixel. Correlates at 0.76 to 0.86 with shares of blending weight measured by rendering 40 views;
optical depth on a voxel grid, tried first, at 0.47 to 0.66, as it cannot part what lies in one voxel.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

#: Pixels across the longest side of the scene at up to RESOLUTION_SPLATS splats, then as their square root up to
#: MAX_RESOLUTION.
RESOLUTION, RESOLUTION_SPLATS, MAX_RESOLUTION = 128, 250_000, 512
#: Least size of a pixel, in medians of the splats' middle sigma: three points cannot cover many pixels.
PIXEL_SIGMAS = 6.0
#: Share of centres on each side of an axis that the resolution is not chosen for: floaters must not make pixels large.
OUTSIDE = 0.01
#: A splat counts as three points: its centre and this many sigma along its longest axis either way.
SIGMA_POINT = 1.1
#: More splats than this count as one point each, which keeps memory under 200 bytes a splat.
THREE_POINTS_MAX = 1_500_000
#: Largest alpha of a point.
ALPHA_MAX = 0.95
#: Most bits of depth in a sort key of 63: pixel above depth above point. 19 part depths by a 500,000th of the scene's.
DEPTH_BITS = 19


def visibility(means: Doubles, axes: Doubles, opacities: Doubles) -> Doubles:
    """(N,) transmittance from a splat's middle to the outside, 0..1, mean over 14 directions.

    means (N, 3); axes (N, 3, 3): columns are the splat's principal axes, one sigma long; opacities (N,).
    """
    n = len(means)
    low, high = np.quantile(means, [OUTSIDE, 1 - OUTSIDE], axis=0)
    resolution = min(RESOLUTION * np.sqrt(max(n / RESOLUTION_SPLATS, 1.0)), MAX_RESOLUTION)
    sigmas = np.sort((axes * axes).sum(axis=1), axis=1)[:, 1]
    step = max(float((high - low).max()) / resolution, PIXEL_SIGMAS * float(np.sqrt(np.median(sigmas))))
    if not step > 0:
        return np.ones(n)
    points = np.clip(means, low - 0.1 * (high - low), high + 0.1 * (high - low))[None]
    if n <= THREE_POINTS_MAX:
        longest = axes[np.arange(n), :, (axes * axes).sum(axis=1).argmax(axis=1)] * SIGMA_POINT
        # A sky's points would lie far outside of the pixels' range.
        longest *= np.minimum(1, (high - low).max() / np.maximum(np.abs(longest).max(axis=1, keepdims=True), 1e-300))
        points = points + np.stack([np.zeros_like(longest), longest, -longest])
    # Both ways along 3 axes and 4 diagonals. The other 6 diagonals change no figure and double the time.
    directions = [np.array(d, np.float64) for d in product((-1, 0, 1), repeat=3) if d > (0, 0, 0) and d.count(0) != 1]
    with ThreadPoolExecutor(2) as pool:
        sums = pool.map(lambda d: _both_ways(points, axes, opacities, d / np.sqrt(d @ d), step), directions)
        total = np.zeros(n)
        for both in sums:
            total += both
    return total / (2 * len(directions))


def _both_ways(points: Doubles, axes: Doubles, opacities: Doubles, forward: Doubles, step: float) -> Doubles:
    """(N,) transmittance along `forward` plus that against it. points (P, N, 3): P of each splat.

    step: size of a pixel.
    """
    right = np.cross(forward, (0.3, 1.0, 0.2))
    right /= np.sqrt(right @ right)
    down = np.cross(forward, right)
    parts, n = points.shape[:2]
    x, y, z = (points.reshape(-1, 3) @ v for v in (right, down, forward))
    column, row = (np.floor((v - v.min()) / step).astype(np.int64) for v in (x, y))
    pixel = column * (row.max() + 1) + row
    bits = int(parts * n).bit_length()
    depth_bits = min(DEPTH_BITS, 63 - bits - int(pixel.max()).bit_length())
    depth = ((z - z.min()) / max(float(z.max() - z.min()), 1e-300) * (2**depth_bits - 1)).astype(np.int64)
    # The point's number in the low bits: sorting is then several times faster than sorting numbers by keys, and has no
    # ties.
    key = np.sort(((pixel << depth_bits) | depth) << bits | np.arange(parts * n))
    order = key & ((1 << bits) - 1)
    pixel = key >> (bits + depth_bits)

    alpha = np.minimum(_area(axes, right, down) / (step * step), parts) * opacities / parts
    tau = np.tile(-np.log1p(-np.minimum(alpha, ALPHA_MAX)), parts)[order]
    along = np.cumsum(tau)
    first = np.flatnonzero(np.concatenate([[True], pixel[1:] != pixel[:-1]]))
    count = np.diff(np.concatenate([first, [len(pixel)]]))
    last = along[first + count - 1]
    front = along - 0.5 * tau - np.repeat(along[first] - tau[first], count)
    back = np.repeat(last, count) - along + 0.5 * tau
    through = np.empty(parts * n)
    through[order] = np.exp(-front) + np.exp(-back)
    return np.asarray(through.reshape(parts, n).mean(axis=0))


def _area(axes: Doubles, right: Doubles, down: Doubles) -> Doubles:
    """(N,) integral of a unit Gaussian with these principal axes as seen along right x down."""
    u, v = right @ axes, down @ axes
    uu, vv, uv = ((a * b).sum(axis=1) for a, b in ((u, u), (v, v), (u, v)))
    return np.asarray(2 * np.pi * np.sqrt(np.maximum(uu * vv - uv * uv, 0)))
