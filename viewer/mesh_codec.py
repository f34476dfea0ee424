"""Pages of a mesh layer: surfaces to bytes and back, exactly (docs/format-mesh.md; static/mesh/decode.js reads them).

A page is a table, one zlib stream with the geometry of all its surfaces, and a picture for each one that has texels
(viewer/mesh_texels.py). Numbers of a kind lie together, as differences, byte by byte: what deflate packs best.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_blocks import MIN_STREAM, check_lengths, damaged, deflate, inflate
from splatlens.viewer.mesh import Surface
from splatlens.viewer.mesh_texels import MAX_SIDE, clear_empty, decode_texels, encode_texels

#: Corners are u16 on the GPU.
MAX_VERTICES = 1 << 16
#: u32 of a page on the GPU, most: WebGPU's default limit of a storage binding, 128 MiB.
MAX_PAGE_WORDS = 1 << 25
#: Modes of a column of floats: k / 10^mode, k a whole number, and by how many floats it misses; or the bit patterns.
MAX_DECIMALS, BITS = 9, 255
#: Values by which a column's mode is chosen.
SAMPLE = 4096
#: Modes of corners: from the first vertex that had none before; from the corner before.
FRESH, STEPS = 0, 1
#: Columns of floats: x, y, z, u, v. Their modes, and that of corners, come first.
COLUMNS = 5
_SIGN = np.uint32(0x80000000)

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Shape:
    """What the layer's nodes say of a surface. width, height: of its texels; 0 where the vertices carry bytes."""

    vertices: int
    triangles: int
    width: int
    height: int

    def words(self, channels: int) -> int:
        """u32 on the GPU: viewer.mesh.words_of."""
        carried = -(-channels // 4)
        vertex = 3 + (2 if self.width else carried)
        return self.vertices * vertex + -(-3 * self.triangles // 2) + self.width * self.height * carried


def shape_of(surface: Surface) -> Shape:
    """Raises LensError where the format cannot hold the surface."""
    height, width = (0, 0) if surface.texels is None else surface.texels.shape[:2]
    if (n := len(surface.positions)) > MAX_VERTICES:
        raise LensError(f"mesh: a node of {n} vertices; at most {MAX_VERTICES}: build smaller ones")
    if surface.texels is not None and not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise LensError(f"mesh: a node of {width} x {height} texels; 1 to {MAX_SIDE} a side: build smaller ones")
    floats = [surface.positions] if surface.uvs is None else [surface.positions, surface.uvs]
    if not all(np.isfinite(one).all() for one in floats):
        raise LensError("mesh: a vertex has NaN or infinity; leave its triangles out")
    return Shape(len(surface.positions), len(surface.triangles), width, height)


def encode_page(surfaces: Sequence[Surface], channels: int, empty: int | None = None, quick: bool = False) -> bytes:
    """The bytes of a page. empty: as Look has it; texels that are empty come back as 0. Raises LensError."""
    shapes = [shape_of(one) for one in surfaces]
    if any(one.channels != channels for one in surfaces):
        raise LensError(f"mesh: a node carries {surfaces[0].channels} channels; expected {channels}, the look's")
    if (words := sum(one.words(channels) for one in shapes)) > MAX_PAGE_WORDS:
        raise LensError(f"mesh: a page of {words} words on the GPU; at most {MAX_PAGE_WORDS}: build smaller nodes")
    geometry = pack_geometry(surfaces, channels)
    stream = deflate(geometry)
    table, pictures = [len(stream), len(geometry)], []
    for one in surfaces:
        picture, check = b"", 0
        if one.texels is not None:
            texels = clear_empty(one.texels, empty)
            picture, check = encode_texels(texels, empty, quick), zlib.adler32(texels.tobytes())
        table += [len(picture), check]
        pictures.append(picture)
    return b"".join([np.array(table, "<u4").tobytes(), stream, *pictures])


def decode_page(data: bytes, shapes: Sequence[Shape], channels: int, empty: int | None, where: str) -> list[Surface]:
    """The surfaces of a page; `where` stands in messages. shapes are taken to be bounded. Raises FormatError."""
    head = 8 + 8 * len(shapes)
    if len(data) < head + MIN_STREAM:
        raise damaged(f"{where}: {len(data)} bytes, too few for a page of {len(shapes)} nodes")
    table = np.frombuffer(data, "<u4", head // 4).astype(np.int64)
    stored, decoded, pictures = int(table[0]), int(table[1]), table[2:].reshape(-1, 2)
    if (whole := head + stored + int(pictures[:, 0].sum())) != len(data):
        raise damaged(f"{where}: its parts have {whole} bytes, the page {len(data)}")
    most = sum(geometry_bytes(one, channels) for one in shapes) + COLUMNS + 1
    check_lengths(stored, decoded, most, f"{where}: geometry")
    geometry = inflate(data[head : head + stored], decoded, f"{where}: geometry")
    bare = unpack_geometry(geometry, shapes, channels, f"{where}: geometry")
    surfaces, at = [], head + stored
    for i, (shape, (length, check)) in enumerate(zip(shapes, pictures.tolist(), strict=True)):
        texels, place = None, f"{where}: texels of node {i} of it"
        if shape.width:
            texels = decode_texels(data[at : at + length], (shape.height, shape.width, channels), empty, place)
            if zlib.adler32(texels.tobytes()) != check:
                raise damaged(f"{place}: checksum differs")
        elif length or check:
            raise damaged(f"{place}: {length} bytes, yet it has no texels")
        positions, corners, carried = bare[i]
        at += length
        if texels is not None:
            surfaces.append(Surface(positions, corners, carried.view(np.float32), texels))
        else:
            surfaces.append(Surface(positions, corners, values=carried.view(np.uint8)))
    return surfaces


def geometry_bytes(shape: Shape, channels: int) -> int:
    """Most bytes of a surface's geometry, inflated: every position new."""
    return shape.vertices * (2 + 24 + (16 if shape.width else channels)) + 6 * shape.triangles


def in_order(surface: Surface) -> Surface:
    """The same surface, its vertices in the order in which triangles first have them: that takes a third less bytes.

    Vertices that no triangle has are left out.
    """
    used, first, inverse = np.unique(surface.triangles.ravel(), return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(used), np.int32)
    place[order] = np.arange(len(used), dtype=np.int32)
    rows = used[order]
    uvs = None if surface.uvs is None else surface.uvs[rows]
    values = None if surface.values is None else surface.values[rows]
    return Surface(surface.positions[rows], place[inverse].reshape(-1, 3), uvs, surface.texels, values)


def pack_geometry(surfaces: Sequence[Surface], channels: int) -> bytes:
    """Modes, repeats, positions, uvs, values, corners of all surfaces of a page."""
    repeats, fresh = zip(*(find_repeats(one.positions) for one in surfaces), strict=True)
    positions = np.concatenate([one.positions[rows] for one, rows in zip(surfaces, fresh, strict=True)])
    uvs = np.concatenate([np.zeros((0, 2), np.float32), *(one.uvs for one in surfaces if one.uvs is not None)])
    columns = [pack_floats(column) for column in (*positions.T, *uvs.T)]
    values = [one.values for one in surfaces if one.values is not None]
    joined = np.concatenate([np.zeros((0, channels), np.uint8), *values])
    corners = [one.triangles.ravel().astype(np.int64) for one in surfaces]
    gaps = [np.concatenate([[0], np.maximum.accumulate(c)[:-1] + 1])[: len(c)] - c for c in corners]
    mode = FRESH if all(((g >= 0) & (g < MAX_VERTICES)).all() for g in gaps) else STEPS
    steps = np.concatenate(gaps) if mode == FRESH else np.diff(np.concatenate(corners), prepend=np.int64(0))
    steps = np.asarray(steps, np.int64)
    modes = np.array([*(mode for mode, _ in columns), mode], np.uint8)
    return b"".join([
        modes.tobytes(), bytes_apart(np.concatenate(repeats), 2), *(data for _, data in columns),
        np.diff(joined, axis=0, prepend=np.uint8(0)).T.tobytes(), bytes_apart(steps, 2),
    ])  # fmt: skip


def unpack_geometry(
    data: bytes, shapes: Sequence[Shape], channels: int, where: str
) -> list[tuple[F32, NDArray[np.int32], F32 | U8]]:
    """Positions, triangles, and uvs or values, of each surface. Raises FormatError."""
    at = 0

    def take(n: int) -> U8:
        nonlocal at
        if at + n > len(data):
            raise damaged(f"{where}: ends after {len(data)} bytes, inside of a column")
        at += n
        return np.frombuffer(data, np.uint8, n, at - n)

    modes = take(COLUMNS + 1)
    textured = np.array([one.width > 0 for one in shapes], np.bool_)
    vertices = np.array([one.vertices for one in shapes], np.int64)
    repeats = apart(take(2 * int(vertices.sum())), 2).astype(np.int64)
    rows = np.split(repeats, np.cumsum(vertices)[:-1])
    fresh = [int(np.count_nonzero(one == 0)) for one in rows]
    counts = [sum(fresh)] * 3 + [int(vertices[textured].sum())] * 2
    columns = []
    for n, mode, name in zip(counts, modes[:COLUMNS].tolist(), "xyzuv", strict=True):
        if mode > MAX_DECIMALS and mode != BITS:
            raise damaged(f"{where}: {name}: mode: expected 0 to {MAX_DECIMALS} or {BITS}, got {mode}")
        columns.append(unpack_floats(take(4 * n if mode == BITS else 8 * n), mode, f"{where}: {name}"))
    plain = int(vertices[~textured].sum())
    values = np.cumsum(take(channels * plain).reshape(channels, plain), axis=1, dtype=np.uint8).T
    steps = apart(take(2 * 3 * sum(one.triangles for one in shapes)), 2).astype(np.int64)
    if at != len(data):
        raise damaged(f"{where}: {len(data) - at} bytes after its last column")
    if modes[COLUMNS] not in (FRESH, STEPS):
        raise damaged(f"{where}: mode of corners: expected 0 or 1, got {modes[COLUMNS]}")
    if modes[COLUMNS] == STEPS:
        steps = np.cumsum(steps) & 0xFFFF
    positions, uvs = np.stack(columns[:3], axis=1), np.stack(columns[3:], axis=1)
    out: list[tuple[F32, NDArray[np.int32], F32 | U8]] = []
    first, uv, value, corner = 0, 0, 0, 0
    for shape, own, new in zip(shapes, rows, fresh, strict=True):
        # Position number of each vertex among the new ones of its node: the latest one less how far back.
        number = np.cumsum(own == 0) - np.maximum(own, 1)
        if (number < 0).any():
            raise damaged(f"{where}: a vertex repeats a position before the first")
        corners = steps[corner : corner + 3 * shape.triangles]
        if modes[COLUMNS] == FRESH:
            corners = np.cumsum(corners == 0) - (corners == 0) - corners
        if len(corners) and not (corners.min() >= 0 and corners.max() < shape.vertices):
            raise damaged(f"{where}: triangle corners {corners.min()}..{corners.max()} of {shape.vertices} vertices")
        triangles = corners.astype(np.int32).reshape(-1, 3)
        carried: Any = uvs[uv : uv + shape.vertices] if shape.width else values[value : value + shape.vertices]
        out.append((positions[first + number], triangles, np.ascontiguousarray(carried)))
        first, corner = first + new, corner + 3 * shape.triangles
        uv, value = (uv + shape.vertices, value) if shape.width else (uv, value + shape.vertices)
    return out


def find_repeats(positions: F32) -> tuple[I64, I64]:
    """How far back each vertex's position is among the new ones, 1 the latest, 0 where it is new; rows of the new."""
    keys = np.ascontiguousarray(positions, np.float32).view([("", np.uint32)] * 3).ravel()
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    is_new = first[inverse] == np.arange(len(keys))
    number = np.cumsum(is_new)  # new ones so far
    own = number[first[inverse]] - 1
    return np.where(is_new, 0, number - own), np.flatnonzero(is_new)


def pack_floats(values: F32) -> tuple[int, bytes]:
    """Mode and bytes of a column; the mode is that which deflates best, judged by its beginning."""
    values = np.ascontiguousarray(values, np.float32)
    most = float(np.abs(values).max(initial=0)) * 10.0 ** np.arange(MAX_DECIMALS + 1)
    modes = [BITS, *np.flatnonzero(most < (1 << 31) - 1).tolist()]
    start = values[:SAMPLE]
    mode = min(modes, key=lambda one: len(zlib.compress(_column(start, one), 6))) if len(values) else BITS
    return mode, _column(values, mode)


def _column(values: F32, mode: int) -> bytes:
    """Differences of numbers in the values' order; or of decimal numbers, and then by how much these are missed."""
    bits = ordered(values.view(np.uint32))
    if mode == BITS:
        return bytes_apart(signless(np.diff(bits, prepend=np.uint32(0))), 4)
    whole = np.rint(values.astype(np.float64) * 10.0**mode)
    rest = bits - ordered(as_float32(whole, mode).view(np.uint32))
    numbers: U32 = whole.astype(np.int64).astype(np.uint32)
    return bytes_apart(signless(np.diff(numbers, prepend=np.uint32(0))), 4) + bytes_apart(signless(rest), 4)


def unpack_floats(data: U8, mode: int, where: str) -> F32:
    """Raises FormatError for values that are not finite."""
    if mode == BITS:
        numbers = np.cumsum(signed(apart(data, 4)), dtype=np.uint32)
    else:
        steps, rest = (signed(apart(half, 4)) for half in data.reshape(2, -1))
        whole = np.cumsum(steps, dtype=np.uint32).view(np.int32)
        numbers = ordered(as_float32(whole.astype(np.float64), mode).view(np.uint32)) + rest
    values: F32 = unordered(numbers).view(np.float32)
    if not np.isfinite(values).all():
        raise damaged(f"{where}: a vertex has NaN or infinity")
    return values


def signless(numbers: U32) -> I64:
    """Two's complement to 0, -1, 1, -2, 2, ...: small ones of either sign have small bytes."""
    steps = numbers.view(np.int32)
    return ((steps << 1) ^ (steps >> 31)).view(np.uint32).astype(np.int64)


def signed(codes: U32) -> U32:
    return (codes >> np.uint32(1)) ^ (np.uint32(0) - (codes & np.uint32(1)))


def as_float32(whole: NDArray[np.float64], decimals: int) -> F32:
    """whole / 10^decimals: one division and one rounding, alike in every language."""
    return np.asarray(whole / 10.0**decimals, np.float32) + np.float32(0)  # -0 becomes 0, of which there is only one


def ordered(bits: U32) -> U32:
    """Bit patterns of floats as numbers in the floats' order."""
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def unordered(numbers: U32) -> U32:
    return np.where(numbers & _SIGN, numbers & ~_SIGN, ~numbers)


def bytes_apart(numbers: I64, size: int) -> bytes:
    """The lowest byte of every number, then the next byte of every number, ..."""
    return np.ascontiguousarray(numbers.astype("<u4").view(np.uint8).reshape(-1, 4)[:, :size].T).tobytes()


def apart(data: U8, size: int) -> U32:
    """The numbers of `bytes_apart`."""
    out = np.zeros((len(data) // size, 4), np.uint8)
    out[:, :size] = data.reshape(size, -1).T
    return out.view("<u4").ravel().astype(np.uint32)
