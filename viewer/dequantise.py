"""GPU words of a slot back to splats: the NumPy twin of shaders/lib/decode.wgsl, float32 like it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

_F = np.float32
_GROUP = constant("GROUP")


def dequantise(
    words: NDArray[np.uint32],
    slot: int,
    count: int,
    origin: NDArray[np.float32],
    sh_words: NDArray[np.uint32] | None = None,
) -> Splats:
    """The first `count` splats of a slot, in the order they are drawn in, in layer coordinates.

    words: of the pool, or as decode_geometry gives them. origin: (3,) float32 of the cluster. sh_words: of this slot,
    as decode_sh gives them; without it, or where it is empty, the splats have SH degree 0.
    """
    start = slot * constant("SLOT_WORDS")
    header = words[start : start + constant("HEADER_WORDS")].view(np.float32)
    body = words[start + constant("HEADER_WORDS") : start + constant("SLOT_WORDS")].reshape(4, _GROUP)[:, :count]
    place, shape, turn, color = body
    if header[0] == 0:
        second = start + constant("SLOT_WORDS")
        local = words[second : second + 3 * _GROUP].view(np.float32).reshape(3, _GROUP)[:, :count].T
    else:
        local = header[0] * _positions(place, turn >> 29 | color >> 28 << 3, int(words[start + 7]))
    largest = header[1] + (shape & 0x3FF).astype(_F) / _F(constant("SCALE_STEPS"))
    below = np.stack([np.zeros(count, np.uint32), shape >> 10 & 0x7F, shape >> 17 & 0x7F], axis=1).astype(_F)
    root = (shape >> 24).astype(_F) * header[2]
    luma = header[3:6] + header[6] * _fields(color, (10, 9, 9))
    grey, orange, pink = (luma * np.sqrt(np.array([1 / 3, 1 / 2, 1 / 6], _F))).T
    dc = np.stack([grey + orange + pink, grey - 2 * pink, grey - orange + pink], axis=1)
    coefficients = [dc[:, None, :]]
    if sh_words is not None and len(sh_words):
        coefficients.append(_sh(sh_words, count))
    return Splats(
        (origin + local).astype(_F),
        _quats(turn),
        np.exp2(largest[:, None] - below / _F(constant("SCALE_STEPS"))),
        root * root,
        np.concatenate(coefficients, axis=1).astype(_F),
    )


def _positions(low: NDArray[np.uint32], high: NDArray[np.uint32], layout: int) -> NDArray[np.float32]:
    """(n, 3) steps of a cluster whose x and y have the bits that bytes 1 and 2 of `layout` say, z the rest of 39."""
    x, y = layout >> 8 & 255, layout >> 16 & 255
    return _fields(low.astype(np.uint64) | high.astype(np.uint64) << np.uint64(32), (x, y, 39 - x - y))


def _fields(word: NDArray[np.unsignedinteger[Any]], bits: tuple[int, ...]) -> NDArray[np.float32]:
    """(n, fields) of a word's fields, from the lowest bit."""
    starts = np.cumsum([0, *bits[:-1]])
    return np.stack([word >> s & (1 << b) - 1 for s, b in zip(starts.tolist(), bits, strict=True)], axis=1).astype(_F)


def _quats(word: NDArray[np.uint32]) -> NDArray[np.float32]:
    half = np.sqrt(_F(0.5))
    y, z, s = (_fields(word, (10, 10, 9)) - np.array([512, 512, 256], _F)).T
    y, z = y * (half / _F(constant("AXIS_UNITS"))), z * (half / _F(constant("AXIS_UNITS")))
    s = s * (half / _F(constant("ROLL_UNITS")))
    w, c = np.sqrt(np.maximum(1 - y * y - z * z, 0)), np.sqrt(np.maximum(1 - s * s, 0))
    q = np.stack([w * c, w * s, y * c + z * s, z * c - y * s], axis=1)
    return np.asarray(q / np.linalg.norm(q, axis=1, keepdims=True), np.float32)


def _sh(words: NDArray[np.uint32], count: int) -> NDArray[np.float32]:
    """(count, coefficients without DC, 3)."""
    per = len(words) // _GROUP
    degree = [constant(f"SH_WORDS_{d}") for d in (1, 2, 3)].index(per) + 1
    rows = np.ascontiguousarray(words.reshape(per, _GROUP)[:, :count].T)
    step = (rows[:, -1] & np.uint32(0xFFFF0000)).view(np.float32)
    width = 3 * (SH_COEFFICIENTS[degree] - 1)
    return rows.astype("<u4").view(np.int8)[:, :width].reshape(count, -1, 3) * step[:, None, None]
