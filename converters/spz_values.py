"""Values of SPZ's planes: bytes to splats and back (load-spz.cc of github.com/nianticlabs/spz)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.transform import TURN_X, turn_sh

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]

_BYTE = np.arange(256, dtype=np.float64)
#: A colour byte spans f_dc from -10/3 to 10/3, so that base colours outside 0..1 survive.
_COLOR_SCALE = 0.15
_COLORS = ((_BYTE / 255 - 0.5) / _COLOR_SCALE).astype(np.float32)
_ALPHAS = (_BYTE / 255).astype(np.float32)
_SCALES = np.exp(_BYTE / 16 - 10).astype(np.float32)
_FIRST_THREE = (_BYTE / 127.5 - 1).astype(np.float32)
#: Of 10 bits, sign and 9 of magnitude: what is no largest component is at most sqrt(1/2).
_SMALL = np.concatenate([np.arange(512), -np.arange(512)]) / 511 * np.sqrt(0.5)
_SMALL = _SMALL.astype(np.float32)
#: For each index of the largest component in x y z w: where w, x, y, z stand among the other three and it.
_PLACES = np.array([(2, 3, 0, 1), (2, 0, 3, 1), (2, 0, 1, 3), (3, 0, 1, 2)])
#: Levels apart of SH bytes, degree 1 and above: 5 and 4 bits, as the library writes by default.
SH_STEPS = (8, 16)


@dataclass(frozen=True)
class Signs:
    """What turning by half a turn about x, or not at all, multiplies: means (3,), quats wxyz (4,), sh (16, 1)."""

    means: F32
    quats: F32
    sh: F32


#: From right-up-back to right-down-forward and back.
TURN = Signs(
    np.diag(TURN_X)[:3].astype(np.float32),
    np.array([1, 1, -1, -1], np.float32),
    turn_sh(np.ones((1, 16, 3), np.float32), TURN_X[:3, :3])[0, :, :1],
)
STAY = Signs(np.ones(3, np.float32), np.ones(4, np.float32), np.ones((16, 1), np.float32))


def means_of(data: Bytes, fractional_bits: int) -> F32:
    """(N, 3) of (N, 9) bytes: signed 24-bit fixed point."""
    words = np.zeros((3 * len(data), 4), np.uint8)
    words[:, 1:] = data.reshape(-1, 3)
    fixed = words.view("<i4").reshape(-1, 3)  # times 256, which keeps the sign
    return fixed.astype(np.float32) * np.float32(2.0 ** (-8 - fractional_bits))


def half_means_of(data: Bytes) -> F32:
    """(N, 3) of (N, 6) bytes: float16, version 1."""
    return data.view("<f2").astype(np.float32)


def first_three_of(data: Bytes) -> F32:
    """(N, 4) wxyz of (N, 3) bytes x y z, w >= 0: versions 1 and 2."""
    xyz = _FIRST_THREE[data]
    return _completed(xyz, np.array([3, 0, 1, 2]))


def smallest_three_of(data: Bytes) -> F32:
    """(N, 4) wxyz of (N, 4) bytes: two bits for the largest of x y z w, then the others in order, ten bits each."""
    word = data.view("<u4")[:, 0]
    small = np.empty((len(data), 3), np.float32)
    for i, shift in enumerate((20, 10, 0)):
        small[:, i] = _SMALL[word >> np.uint32(shift) & np.uint32(1023)]
    return _completed(small, _PLACES[word >> np.uint32(30)])


def _completed(three: F32, places: NDArray[np.int64]) -> F32:
    """Unit quaternions of three components, shortened where too long, and a fourth >= 0 that makes up the length."""
    four = np.empty((len(three), 4), np.float32)
    squares = np.einsum("ij,ij->i", three, three)
    four[:, :3] = three
    four[:, 3] = np.sqrt(np.maximum(1 - squares, 0))
    if (long := squares > 1).any():
        four[long] /= np.sqrt(squares[long])[:, None]
    return np.take_along_axis(four, np.broadcast_to(places, four.shape), axis=1)


def alphas_of(data: Bytes) -> F32:
    return _ALPHAS[data]


def scales_of(data: Bytes) -> F32:
    """Linear scales."""
    return _SCALES[data]


def sh_of(colors: Bytes, rest: Bytes, signs: F32) -> F32:
    """(N, K, 3) of (N, 3) and (N, 3 (K - 1) or more) bytes, times signs (K, 1)."""
    n, k = len(colors), len(signs)
    out = np.empty((n, 3 * k), np.float32)
    out[:, :3] = _COLORS[colors]
    np.subtract(rest[:, : 3 * (k - 1)], np.float32(128), out=out[:, 3:], dtype=np.float32)
    out[:, 3:] *= np.repeat(signs[1:, 0] / np.float32(128), 3)
    return out.reshape(n, k, 3)


def pack_means(means: F32, fractional_bits: int) -> Bytes:
    """(N, 9); the means must be inside the range of the fixed point numbers.

    Halves are rounded away from zero as the library does, so that scenes from such grids come out the same.
    """
    fixed = means.astype(np.float64) * 2.0**fractional_bits
    words = np.trunc(fixed + np.copysign(0.5, fixed)).astype("<i4").reshape(-1, 1)
    low: Bytes = words.view(np.uint8)[:, :3]
    return low.reshape(-1, 9)


def pack_quats(quats: F32) -> Bytes:
    """(N, 4) smallest-three bytes of unit quaternions wxyz."""
    xyzw = np.roll(quats, -1, axis=1)
    largest = np.abs(xyzw).argmax(axis=1)
    sign = np.where(np.take_along_axis(xyzw, largest[:, None], axis=1) < 0, np.float32(-1), np.float32(1))
    xyzw *= sign  # -q is the same rotation: the largest component needs no sign bit
    size = np.minimum(np.rint(np.abs(xyzw) * np.float32(511 * np.sqrt(2))), 511).astype("<u4")
    ten = size | (xyzw < 0).astype("<u4") << np.uint32(9)
    word = largest.astype("<u4")
    for i in range(4):
        word = np.where(largest == i, word, word << np.uint32(10) | ten[:, i])
    out: Bytes = word.astype("<u4").view(np.uint8)
    return out.reshape(-1, 4)


def pack_alphas(opacities: F32) -> Bytes:
    return _byte(opacities * np.float32(255))


def pack_scales(scales: F32) -> Bytes:
    """Of linear scales, which the format clips to e^-10..e^5.94."""
    return _byte((np.log(scales.astype(np.float64)) + 10) * 16)


def pack_colors(sh: F32) -> Bytes:
    """(N, 3) of the first coefficient, sh (N, K, 3)."""
    return _byte(sh[:, 0] * np.float32(_COLOR_SCALE * 255) + np.float32(127.5))


def pack_sh(sh: F32, steps: tuple[int, int] = SH_STEPS) -> Bytes:
    """(N, 3 (K - 1)) of all but the first coefficient, sh (N, K, 3), in -1..1."""
    rest = sh[:, 1:].reshape(len(sh), -1)
    step = np.full(rest.shape[1], steps[1], np.float32)
    step[:9] = steps[0]
    return _byte(np.floor((rest * np.float32(128) + np.float32(128)) / step + np.float32(0.5)) * step)


def _byte(values: NDArray[np.floating]) -> Bytes:
    out: Bytes = np.clip(np.floor(values + np.float32(0.5)), 0, 255).astype(np.uint8)
    return out
