"""Splats of many clusters at once to the integers that a page stores (docs/format-payload.md, "Quantities")."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layer_codec import (
    COLOR_UNIT,
    SCALE_STEPS,
    Integers,
    LayerCodec,
    importance,
    scale_code,
    scale_index,
    shifts,
)
from splatlens.viewer.layout import constant
from splatlens.viewer.sh_codec import quantise_sh
from splatlens.viewer.splats import Splats, rotation_matrices

Doubles = NDArray[np.float64]

#: Rows of the orthonormal colour transform: grey, red - blue, magenta - green. Nearly decorrelates trained colours.
COLOR_AXES = np.array([[3**-0.5, 3**-0.5, 3**-0.5], [2**-0.5, 0, -(2**-0.5)], [6**-0.5, -2 * 6**-0.5, 6**-0.5]])
#: Largest position, steps: two bytes. A GPU slot has room for so many bits of x, y and z together.
POSITION_MOST = 65535
POSITION_BITS = 39
#: Room for a cluster's colours in the fields of a GPU word, less the rounding of the coarsest shift.
_COLOR_ROOM = np.array([880, 400, 400])
#: Exponents of the steps of positions lie within +-100, so that float32 steps are normal numbers.
POSITION_EXPONENT = 100
#: A step of positions is this share of the typical sigma: the layer's, moved towards the cluster's own by the power,
#: since small splats are not seen from nearby more often than others. Never more than the last share of the cluster's.
_POSITION_STEP, _POSITION_POWER, _POSITION_MOST = 0.025, 0.32, 0.25
#: Without SH all of the error may be geometry's.
_PLAIN_POSITION_STEP = 0.038
#: The second and the third scale are at least these shares of the first: 60 dB and more in every test view.
_LEAST_MIDDLE, _LEAST_THIN = 1 / 64, 1 / 48
#: An SH component below this share of a step becomes 0: fewer bits buy more than the error costs.
_SH_ROUND = 0.55


@dataclass(frozen=True)
class Quantised:
    """All clusters of a layer as integers: C clusters, N rows in stored order, row i being order[i] of the splats.

    Of a cluster: origins (C, 3) float32; sort_axis; slots 1, or 2 where positions take more than 39 bits; exact: stored
    as float32 centres; coarse half octaves; exponents of the steps; scale_first, the code of its least largest scale;
    color_base (C, 3). Of a row: position (N, 3), root, scale, middle, thin, axis (N, 2), roll, color (N, 3), as stored,
    signed where they can be; sh (N, components) int8; centers (N, 3) float32, stored of exact clusters.
    """

    codec: LayerCodec
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    order: NDArray[np.int64]
    origins: NDArray[np.float32]
    sort_axis: Integers
    slots: Integers
    exact: NDArray[np.bool_]
    coarse: Integers
    position_exponent: Integers
    color_exponent: Integers
    sh_exponent: Integers
    scale_first: Integers
    color_base: Integers
    position: Integers
    root: Integers
    scale: Integers
    middle: Integers
    thin: Integers
    axis: Integers
    roll: Integers
    color: Integers
    sh: NDArray[np.int8]
    centers: NDArray[np.float32]


def quantise_clusters(
    splats: Splats,
    first: NDArray[np.int64],
    count: NDArray[np.int64] | NDArray[np.int32],
    coarse: NDArray[np.integer],
    codec: LayerCodec,
    typical: float | None = None,
) -> Quantised:
    """first, count: (C,) rows of each cluster, one after another. coarse: (C,) half octaves to add to steps.

    typical: typical_sigma of the layer where these are not all of its rows.
    """
    if not len(first) or not np.array_equal(np.append(first, len(splats)), np.append(0, first + count)):
        raise ValueError("first and count must cover the rows, cluster after cluster")
    if count.min() < 1 or count.max() > constant("GROUP"):
        raise ValueError(f"clusters must have 1 to {constant('GROUP')} rows, got {count.min()} to {count.max()}")
    levels = np.asarray(coarse, np.int32)
    cluster = np.repeat(np.arange(len(first)), count)
    means = splats.means.astype(np.float64)

    scales, frames = _sorted_axes(splats)
    step = _POSITION_STEP if splats.sh_degree else _PLAIN_POSITION_STEP
    exponent, slots, exact, origins, axis, position = _positions(
        means, scales, first, cluster, levels, step, typical
    )
    order = np.lexsort((position[np.arange(len(cluster)), axis[cluster]], cluster))
    scales, frames = scales[order], frames[order]

    roots = np.sqrt(np.maximum(splats.opacities[order], 0).astype(np.float64))
    root = np.clip(np.rint(roots / codec.opacity_step), np.minimum(np.ceil(roots), 1), 255).astype(np.int32)
    logs = SCALE_STEPS * np.log2(np.maximum(scales, 1e-30))
    codes = scale_code(logs[:, 0], codec.knee)
    indices = scale_index(codes, codec.knee)
    # A field of the GPU word has room for 1023 steps: 64 octaves below the cluster's largest, scales are raised.
    least = np.maximum.reduceat(indices, first) - 1023
    low = scale_code(np.maximum(np.minimum.reduceat(indices, first), least).astype(np.float64), codec.knee)
    low = low + (scale_index(low, codec.knee) < least)
    codes = np.maximum(codes, low[cluster])
    indices = scale_index(codes, codec.knee)
    weight = importance(codec, indices, root) - 16 * levels[cluster]

    below = np.minimum(logs[:, :1] - logs[:, 1:], -SCALE_STEPS * np.log2([_LEAST_MIDDLE, _LEAST_THIN]))
    below += (indices - logs[:, 0])[:, None]
    shift = shifts(codec, "middle", weight, 0, 0)
    middle = _rounded(np.maximum(below[:, 0], 0), shift, 127)
    above = middle << shift
    shift = shifts(codec, "thin", weight, above, 0)
    thin = _rounded(np.maximum(below[:, 1] - above, 0), shift, 127 - above)
    turn, roll = rotation_parameters(frames)
    below_thin = above + (thin << shift)
    shift = shifts(codec, "axis", weight, above, below_thin)
    turns = _rounded(turn * (constant("AXIS_UNITS") / 0.5**0.5), shift[:, None], 511)
    rolls_shift = shifts(codec, "roll", weight, above, below_thin)
    rolls = _rounded(roll * (constant("ROLL_UNITS") / 0.5**0.5), rolls_shift, 255)

    units, base, color_exponent = _colors(splats.sh[order, 0], first, cluster)
    color_shift = shifts(codec, "color", weight + 32 * color_exponent[cluster], 0, 0)
    color = _rounded(units - base[cluster], color_shift[:, None], 1 << 15)
    sh_shift = shifts(codec, "sh", weight - 8 * levels[cluster], 0, 0)
    sh, sh_exponent = quantise_sh(splats.sh, order, first, sh_shift, codec, _SH_ROUND)
    return Quantised(
        codec, first, count.astype(np.int64), order, origins, axis, slots, exact, levels, exponent, color_exponent,
        sh_exponent, low, base, position[order], root, codes - low[cluster], middle, thin, turns, rolls, color, sh,
        splats.means[order],
    )  # fmt: skip


def typical_sigma(splats: Splats) -> float:
    """The median splat's size, to which steps of positions are chosen: root of its two largest scales' product."""
    scales = np.sort(splats.scales, axis=1).astype(np.float64)
    return float(np.median(np.sqrt(scales[:, 1] * scales[:, 2])))


def _rounded(values: Doubles, shift: Integers, limit: int | Integers) -> Integers:
    """values / 2^shift, to the nearest integer that shifted back stays within +-limit."""
    most = limit >> shift
    return np.asarray(np.clip(np.rint(values * np.exp2(-shift)), -most, most), np.int32)


def _sorted_axes(splats: Splats) -> tuple[Doubles, Doubles]:
    """(N, 3) scales, largest first, and (N, 3, 3) axes of unit length as columns, right-handed."""
    order = np.argsort(-splats.scales, axis=1, kind="stable")
    scales = np.take_along_axis(splats.scales, order, axis=1).astype(np.float64)
    frames = np.take_along_axis(rotation_matrices(splats.quats.astype(np.float64)), order[:, None, :], axis=2)
    frames[:, :, 2] = np.cross(frames[:, :, 0], frames[:, :, 1])
    return scales, np.asarray(frames, np.float64)


def rotation_parameters(frames: Doubles) -> tuple[Doubles, Doubles]:
    """(N, 2) y and z of the unit quaternion without x that turns x to the longest axis; (N,) x of the roll before it.

    Axes have no sign, so x points forward and the roll stays within a quarter turn: no value exceeds sqrt(1/2).
    """
    longest = frames[:, :, 0] * np.where(frames[:, :1, 0] < 0, -1.0, 1.0)
    turn = np.stack([-longest[:, 2], longest[:, 1]], axis=1) / np.sqrt(2 * (1 + longest[:, :1]))
    w = np.sqrt(np.maximum(1 - (turn**2).sum(axis=1), 0))
    turned = rotation_matrices(np.stack([w, np.zeros_like(w), turn[:, 0], turn[:, 1]], axis=1))
    middle = np.einsum("nji,nj->ni", turned, frames[:, :, 1])
    angle = np.arctan2(middle[:, 2], middle[:, 1])
    angle -= np.pi * np.rint(angle / np.pi)
    return turn, np.sin(angle / 2)


def _medians(values: Doubles, first: NDArray[np.int64], cluster: NDArray[np.int64]) -> Doubles:
    """(C,) upper median of each cluster's values."""
    count = np.diff(np.append(first, len(values)))
    return np.asarray(values[np.lexsort((values, cluster))][first + count // 2])


def _positions(
    means: Doubles,
    scales: Doubles,
    first: NDArray[np.int64],
    cluster: NDArray[np.int64],
    levels: Integers,
    step: float,
    typical: float | None,
) -> tuple[Integers, Integers, NDArray[np.bool_], NDArray[np.float32], Integers, Integers]:
    """Exponent of the step, slots, whether centres stay float32, origin and longest axis; (N, 3) positions in steps."""
    sigma = np.sqrt(scales[:, 0] * scales[:, 1])
    own = np.maximum(_medians(sigma, first, cluster), 1e-30)
    typical = max(float(np.median(sigma)) if typical is None else typical, 1e-30)
    low = np.minimum.reduceat(means, first)
    extent = np.maximum.reduceat(means, first) - low
    larger = np.exp2(levels / 2)
    most = np.log2(_POSITION_MOST * own * larger)
    wanted = np.log2(step * typical * (own / typical) ** _POSITION_POWER * larger)
    fitting = np.log2(np.maximum(extent.max(axis=1) / POSITION_MOST, 1e-30))
    exponent = np.maximum(np.floor(np.minimum(wanted, most)), np.ceil(fitting)).astype(np.int32)
    exact = (exponent > most) | (np.abs(exponent) > POSITION_EXPONENT)
    exponent[exact] = 0
    low[exact] = 0
    position = np.rint(np.where(exact[cluster, None], 0, means - low[cluster]) * np.exp2(-exponent)[cluster, None])
    bits = np.frexp(np.maximum.reduceat(position, first))[1].sum(axis=1)
    slots = np.where(exact | (bits > POSITION_BITS), 2, 1).astype(np.int32)
    axis = np.argmax(extent, axis=1).astype(np.int32)
    return exponent, slots, exact, low.astype(np.float32), axis, position.astype(np.int32)


def _colors(
    dc: NDArray[np.float32], first: NDArray[np.int64], cluster: NDArray[np.int64]
) -> tuple[Doubles, Integers, Integers]:
    """(N, 3) colours in units, (C, 3) bases, near their means, and (C,) exponents of the units."""
    units = np.clip(dc.astype(np.float64), -1e9, 1e9) @ COLOR_AXES.T / COLOR_UNIT
    high, low = np.maximum.reduceat(units, first), np.minimum.reduceat(units, first)
    # The base is 16 bits.
    far = np.maximum(np.abs(high), np.abs(low)).max(axis=1) / 30000
    need = np.maximum(((high - low) / _COLOR_ROOM).max(axis=1), far)
    exponent = np.ceil(np.log2(np.maximum(need, 1))).astype(np.int32)
    units = units * np.exp2(-exponent)[cluster, None]
    count = np.diff(np.append(first, len(units)))
    return units, np.rint(np.add.reduceat(units, first) / count[:, None]).astype(np.int32), exponent
