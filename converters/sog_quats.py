"""Rotations as SOG stores them: of the forms that draw the same splat the shortest, each rounded where it shows least.

A Gaussian does not change when its axes change names or directions: 24 rotations, those of a cube, each with its own
order of the scales. The one nearest to no rotation has w above 0.85, so the other three lie within 0.38 instead of
0.71, and the pictures of quaternions take an eighth to a fifth less.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.sog_layout import QUAT_TAG

Array = NDArray[np.float64]

#: What a byte's step is in a component of a quaternion: sqrt(2) over 255.
STEP = math.sqrt(2) / 255
#: How near to a byte, in steps, each component must be for the rotation to count as read from such a file: float32
#: columns come back within 0.001, and of random rotations eight in a million are that near.
NEAR = 0.01
#: Scales below this share of the largest count as it: thinner splats look no sharper, for every pixel blurs them.
THIN = 0.05


def _cube_rotations() -> Array:
    """(24, 4) quaternions w x y z: no turn and the half turns about axes first, then quarter, diagonal, third turns."""
    half, diagonal = np.eye(4), np.zeros((12, 4))
    pairs = itertools.product(itertools.combinations(range(4), 2), (1, -1))
    for row, (pair, sign) in zip(diagonal, pairs, strict=True):
        row[list(pair)] = math.sqrt(0.5), sign * math.sqrt(0.5)
    thirds = [[0.5, *signs] for signs in itertools.product((0.5, -0.5), repeat=3)]
    return np.concatenate([half, diagonal, np.array(thirds)])


def _axes(quats: Array) -> NDArray[np.int64]:
    """(24, 3): the old axis that each new axis lies along."""
    w, x, y, z = quats.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    axes: NDArray[np.int64] = np.abs(np.array(rows)).argmax(axis=0).T
    return axes


CUBE = _cube_rotations()
AXES = _axes(CUBE)
#: Those that leave the third axis in place: a disc (2DGS) is flat along it.
UPRIGHT = np.flatnonzero(AXES[:, 2] == 2)


def shortest(quats: NDArray[np.floating], scales: NDArray[np.floating], flat: bool) -> tuple[Array, Array]:
    """The same splats with the least rotation: quats (N, 4) w x y z with w the largest and positive, scales (N, 3).

    flat: keep the third axis the third. A rotation that bytes hold exactly already, because it was read from such a
    file, only gets its signs and its largest component in place, so that writing it again loses nothing.
    """
    given: Array = quats.astype(np.float64)
    shares = np.abs(given @ (CUBE * [1, -1, -1, -1]).T)  # the real part of each product
    allowed = UPRIGHT if flat else np.arange(len(CUBE))
    best = allowed[shares[:, allowed].argmax(axis=1)]
    half = shares[:, :4].argmax(axis=1)
    steps = _bytes(_product(given, CUBE[half]))
    best = np.where((np.abs(steps - np.round(steps)) < NEAR).all(axis=1), half, best)
    turned = _product(given, CUBE[best])
    turned *= np.where(turned[:, :1] < 0, -1, 1)
    return turned, np.take_along_axis(scales.astype(np.float64), AXES[best], axis=1)


def pack(quats: Array, scales: Array) -> NDArray[np.uint8]:
    """(N, 4) texels of `shortest` rotations: x, y, z, and the tag of w.

    Of the eight ways to round three components up or down, the one whose error moves the Gaussian least: an error about
    the axis that two like scales share costs nothing. Worth 1 dB over rounding each to the nearest.
    """
    w, v = quats[:, 0], quats[:, 1:]
    x, y, z = v.T
    zero = np.zeros_like(w)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    # Half the rotation in the splat's own axes that an error of v makes: the vector part of conj(q) (q + dq), where
    # dq has w change with v so that the length stays 1.
    turn = w[:, None, None] * np.eye(3) + v[:, :, None] * (v / w[:, None])[:, None, :] - cross
    s = np.maximum(scales, THIN * scales.max(axis=1, keepdims=True))
    i, j = [1, 0, 0], [2, 2, 1]
    # A turn about an axis exchanges the other two; relative to their size it shows as their ratio less its inverse.
    ratio = s[:, i] / s[:, j]
    cost = (ratio - 1 / ratio) ** 2 + 1e-3
    form = np.einsum("nki,nk,nkj->nij", turn, cost, turn)
    steps = _bytes(quats)
    low = np.floor(steps)
    texels = np.full((len(quats), 4), QUAT_TAG, np.uint8)
    least = np.full(len(quats), np.inf)
    for up in itertools.product((0.0, 1.0), repeat=3):
        error = low + up - steps
        size = np.einsum("ni,nij,nj->n", error, form, error)
        better = size < least
        least[better] = size[better]
        texels[better, :3] = np.clip(low[better] + up, 0, 255).astype(np.uint8)
    return texels


def _bytes(quats: Array) -> Array:
    """(N, 3) x, y, z on the scale of bytes, for positive w."""
    sign = np.where(quats[:, :1] < 0, -1, 1)
    parts: Array = sign * quats[:, 1:] / STEP + 127.5
    return parts


def _product(a: Array, b: Array) -> Array:
    """Hamilton products of (N, 4) w x y z."""
    (aw, ax, ay, az), (bw, bx, by, bz) = a.T, b.T
    return np.stack([
        aw * bw - ax * bx - ay * by - az * bz, aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx, aw * bz + ax * by - ay * bx + az * bw,
    ], axis=1)  # fmt: skip
