"""Quantised clusters to the zlib streams of a page: byte planes, each with Huffman codes that fit it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.quantise import Quantised

Bytes = NDArray[np.uint8]

#: What a page stores of a cluster, little-endian, 26 bytes. flags: 0..1 the sort axis, 2: centres are float32.
CLUSTER = np.dtype([
    ("origin", "<f4", 3), ("flags", "u1"), ("coarse", "u1"), ("position_exponent", "i1"), ("color_exponent", "u1"),
    ("scale_first", "<i2"), ("color_base", "<i2", 3), ("sh_exponent", "u1"), ("reserved", "u1"),
])  # fmt: skip
#: Quantities of a row in stored order, and whether they have a sign.
QUANTITIES = (
    ("x", False), ("y", False), ("z", False), ("root", False), ("scale", False), ("middle", False), ("thin", False),
    ("axis_y", True), ("axis_z", True), ("roll", True), ("grey", True), ("orange", True), ("pink", True),
)  # fmt: skip
#: How a component of SH is stored in a page.
ABSENT, NIBBLE, BYTE = 0, 1, 2
#: Bits that a block's Huffman tables take: a constant, and a share for each symbol in use.
_TABLE_BITS, _SYMBOL_BITS = 40.0, 4.0
_FLUSH = zlib.Z_BLOCK
#: Matches hardly ever pay on such planes; which of these does varies.
_STRATEGIES = (zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)


@dataclass(frozen=True)
class Block:
    """One RFC 1950 stream and what it inflates to, bytes."""

    data: bytes
    decoded_length: int


def zigzag(values: NDArray[np.integer]) -> NDArray[np.uint32]:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    v = values.astype(np.int32)
    return np.asarray((v << 1) ^ (v >> 31)).view(np.uint32)


def encode_geometry(quantised: Quantised, clusters: Sequence[int]) -> Block:
    """A page's geometry: 4 bytes that say which planes follow, cluster records and planes."""
    q, chosen = quantised, np.asarray(clusters, np.int64)
    rows = _rows(q, chosen)
    count = q.count[chosen]
    record = np.zeros(len(chosen), CLUSTER)
    record["origin"] = q.origins[chosen]
    record["flags"] = q.sort_axis[chosen] | np.where(q.exact[chosen], 4, 0)
    for name in ("coarse", "position_exponent", "color_exponent", "scale_first", "color_base", "sh_exponent"):
        record[name] = getattr(q, name)[chosen]
    position = q.position[rows].copy()
    axis = np.repeat(q.sort_axis[chosen], count)
    place = np.arange(len(rows))
    along = position[place, axis]
    step = np.diff(along, prepend=0)
    # The first row of a cluster keeps its value, usually 0.
    starts = np.cumsum(count) - count
    step[starts] = along[starts]
    position[place, axis] = step
    values = [
        *position.T, q.root[rows], q.scale[rows], q.middle[rows], q.thin[rows], *q.axis[rows].T, q.roll[rows],
        *q.color[rows].T,
    ]  # fmt: skip
    planes: list[Bytes] = []
    mask = 0
    for i, ((_, signed), value) in enumerate(zip(QUANTITIES, values, strict=True)):
        symbols = zigzag(value) if signed else value.astype(np.uint32)
        for half in (0, 1):
            plane = (symbols >> (8 * half)).astype(np.uint8)
            if plane.any():
                mask |= 1 << (2 * i + half)
                planes.append(plane)
    exact = np.repeat(q.exact[chosen], count)
    centers = np.ascontiguousarray(q.centers[rows[exact]], "<f4").view(np.uint8).reshape(-1, 12)
    records = np.ascontiguousarray(record).view(np.uint8).reshape(len(chosen), -1)
    head = np.frombuffer(mask.to_bytes(4, "little"), np.uint8)
    return deflate_planes([np.concatenate([head, records.T.ravel()]), *centers.T, *planes])


def encode_sh(quantised: Quantised, clusters: Sequence[int]) -> Block:
    """A page's SH: a byte a component that says how it is stored, whole-byte planes, then planes of two nibbles."""
    z = zigzag(quantised.sh[_rows(quantised, np.asarray(clusters, np.int64))]).astype(np.uint8)
    most = z.max(axis=0, initial=0)
    modes = np.where(most == 0, ABSENT, np.where(most < 16, NIBBLE, BYTE)).astype(np.uint8)
    planes = [np.ascontiguousarray(z[:, k]) for k in np.flatnonzero(modes == BYTE)]
    small = np.flatnonzero(modes == NIBBLE)
    for i in range(0, len(small), 2):
        pair = z[:, small[i]].copy()
        if i + 1 < len(small):
            pair |= z[:, small[i + 1]] << 4
        planes.append(pair)
    return deflate_planes([modes, *planes])


def _rows(q: Quantised, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    count = q.count[clusters]
    starts = np.cumsum(count) - count
    return np.asarray(np.arange(count.sum()) + np.repeat(q.first[clusters] - starts, count))


def deflate_planes(planes: Sequence[Bytes]) -> Block:
    """One RFC 1950 stream in which planes share a block, and so Huffman codes, only where that is shorter."""
    groups: list[tuple[list[Bytes], NDArray[np.int64], float]] = []
    for plane in planes:
        histogram = np.bincount(plane, minlength=256)
        cost = _cost(histogram)
        if groups:
            members, total, so_far = groups[-1]
            joint = _cost(total + histogram)
            if joint < so_far + cost:
                groups[-1] = ([*members, plane], total + histogram, joint)
                continue
        groups.append(([plane], histogram, cost))
    best = b""
    for strategy in _STRATEGIES:
        encoder = zlib.compressobj(9, zlib.DEFLATED, 15, 9, strategy)
        parts = []
        for i, (members, _, _) in enumerate(groups):
            parts.append(encoder.compress(b"".join(m.tobytes() for m in members)))
            if i + 1 < len(groups):
                parts.append(encoder.flush(_FLUSH))
        parts.append(encoder.flush())
        data = b"".join(parts)
        if not best or len(data) < len(best):
            best = data
    return Block(best, sum(len(p) for p in planes))


def _cost(histogram: NDArray[np.int64]) -> float:
    """Bits that a block of such symbols takes, about: entropy and tables."""
    used = histogram[histogram > 0].astype(np.float64)
    total = used.sum()
    return float(total * np.log2(max(total, 1)) - (used * np.log2(used)).sum() + _TABLE_BITS + _SYMBOL_BITS * len(used))
