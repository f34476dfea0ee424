"""Inflated payloads of a page to the words the GPU reads (docs/format-payload.md); static/decode.js gives the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.codec_payload import ABSENT, BYTE, CLUSTER, NIBBLE, QUANTITIES
from splatlens.viewer.errors import FormatError
from splatlens.viewer.layer_codec import COLOR_UNIT, SCALE_STEPS, Integers, LayerCodec, importance, scale_index, shifts
from splatlens.viewer.layout import constant
from splatlens.viewer.quantise import POSITION_BITS, POSITION_EXPONENT, POSITION_MOST
from splatlens.viewer.sh_codec import MAX_EXPONENT
from splatlens.viewer.splats import SH_COEFFICIENTS

_GROUP = constant("GROUP")
_SLOT = constant("SLOT_WORDS")
_HEADER = constant("HEADER_WORDS")
#: Bits of the fields of a GPU word, lowest first: shape (scales, opacity), rotation, colour. In the latter two the
#: upper bits of the position follow, which has 32 in a word of its own; how they are shared by x, y and z varies.
_FIELDS = ((10, 7, 7, 8), (10, 10, 9, 3), (10, 9, 9, 4))
#: Largest exponent of colours, and coarse half octaves.
_COLOR_EXPONENT, _COARSE = 40, 16


@dataclass(frozen=True)
class Geometry:
    """A decoded page of n clusters.

    words: (slots * SLOT_WORDS,) uint32, slot after slot. first_slot, slots: (n,) int32; a cluster takes 1 or 2.
    origins: (n, 3) float32; the draw's offset is origin - camera, subtracted in float64.
    classes: (rows,) uint8, the shift of each row's SH, which decode_sh needs.
    """

    words: NDArray[np.uint32]
    first_slot: Integers
    slots: Integers
    origins: NDArray[np.float32]
    classes: NDArray[np.uint8]


def sh_slot_words(degree: int) -> int:
    """Words of a slot's SH."""
    return constant(f"SH_WORDS_{degree}") * _GROUP if degree else 0


def max_payload_length(counts: Sequence[int], sh_degree: int) -> tuple[int, int]:
    """Bytes that the inflated geometry and SH of a page with clusters of `counts` rows take at most."""
    rows = sum(counts)
    width = 3 * (SH_COEFFICIENTS[sh_degree] - 1)
    return 4 + CLUSTER.itemsize * len(counts) + (12 + 2 * len(QUANTITIES)) * rows, width * (1 + rows)


def _check_counts(counts: Sequence[int]) -> NDArray[np.int64]:
    count = np.asarray(counts, np.int64)
    if len(count) == 0 or count.min() < 1 or count.max() > _GROUP:
        raise FormatError(f"clusters of {list(counts)[:16]} splats: expected 1 to {_GROUP} in each")
    return count


def _need(condition: bool | np.bool_, expected: str) -> None:
    if not condition:
        raise FormatError(f"payload: expected {expected}; the file is damaged, fetch or convert it again")


def decode_geometry(payload: bytes, counts: Sequence[int], codec: LayerCodec) -> Geometry:
    """counts: rows of each cluster. Raises FormatError where the payload is not one that an encoder makes."""
    count = _check_counts(counts)
    n, rows = len(count), int(count.sum())
    data = np.frombuffer(payload, np.uint8)
    start = 4 + n * CLUSTER.itemsize
    _need(len(data) >= start, f"at least {start} bytes, got {len(data)}")
    mask = int.from_bytes(payload[:4], "little")
    _need(mask < 1 << (2 * len(QUANTITIES)), f"a mask of {2 * len(QUANTITIES)} planes, got {mask:#x}")
    record = np.ascontiguousarray(data[4:start].reshape(-1, n).T).view(CLUSTER)[:, 0]
    exact = (record["flags"] & 4) != 0
    exact_rows = int(count[exact].sum())
    end = start + 12 * exact_rows + rows * mask.bit_count()
    _need(len(data) == end, f"{end} bytes, got {len(data)}")
    _check_records(record, exact)
    centers = np.ascontiguousarray(data[start : start + 12 * exact_rows].reshape(12, -1).T).view("<f4")
    _need(np.isfinite(centers).all(), "finite centres")
    values = _planes(data[start + 12 * exact_rows :], mask, rows)

    cluster = np.repeat(np.arange(n), count)
    starts = np.cumsum(count) - count
    position = np.stack([values[name] for name in "xyz"], axis=1)
    axis = (record["flags"] & 3)[cluster]
    place = np.arange(rows)
    total = np.cumsum(position[place, axis], dtype=np.int64)
    along = total - np.repeat(total[starts] - position[starts, axis[starts]], count)
    _need(along.max() <= POSITION_MOST, f"positions of at most {POSITION_MOST} steps")
    position[place, axis] = along
    codes = values["scale"] + record["scale_first"].astype(np.int32)[cluster]
    scale = scale_index(codes, codec.knee)
    root = values["root"]
    coarse = record["coarse"].astype(np.int32)[cluster]
    weight = importance(codec, scale, root) - 16 * coarse

    middle = values["middle"] << shifts(codec, "middle", weight, 0, 0)
    thin = middle + (values["thin"] << shifts(codec, "thin", weight, middle, 0))
    shift = shifts(codec, "axis", weight, middle, thin)
    axes = [512 + (values[name] << shift) for name in ("axis_y", "axis_z")]
    roll = 256 + (values["roll"] << shifts(codec, "roll", weight, middle, thin))
    shift = shifts(codec, "color", weight + 32 * record["color_exponent"].astype(np.int32)[cluster], 0, 0)
    base = record["color_base"].astype(np.int32)
    differences = np.stack([values[name] for name in ("grey", "orange", "pink")], axis=1)
    colors = base[cluster] + (differences << shift[:, None])
    least_scale = np.minimum.reduceat(scale, starts)
    least_color = np.minimum.reduceat(colors, starts)
    colors -= least_color[cluster]

    bits = np.frexp(np.maximum.reduceat(position, starts).astype(np.float64))[1]
    wide = exact | (bits.sum(axis=1) > POSITION_BITS)
    slots = np.where(wide, 2, 1).astype(np.int32)
    first_slot = (np.cumsum(slots) - slots).astype(np.int32)
    words = np.zeros((int(slots.sum()), _SLOT), np.uint32)
    step = np.where(wide, 0.0, np.exp2(record["position_exponent"].astype(np.float64)))
    unit = COLOR_UNIT * np.exp2(record["color_exponent"].astype(np.float64))
    header = np.column_stack([
        step, least_scale / SCALE_STEPS, np.full(n, codec.opacity_step), least_color * unit[:, None], unit,
    ]).astype(np.float32)  # fmt: skip
    words[first_slot, :7] = header.view(np.uint32)
    bits[wide] = 0
    words[first_slot, 7] = sh_slot_words(codec.sh_degree) // _GROUP | bits[:, 0] << 8 | bits[:, 1] << 16
    lane = place - starts[cluster]
    slot = first_slot[cluster]
    places = np.column_stack([np.zeros(n), bits[:, 0], bits[:, 0] + bits[:, 1]]).astype(np.uint64)[cluster]
    packed = np.where(wide[cluster], 0, np.bitwise_or.reduce(position.astype(np.uint64) << places, axis=1))
    words[slot, _HEADER + lane] = (packed & 0xFFFFFFFF).astype(np.uint32)
    high = (packed >> 32).astype(np.int32)
    shape = [scale - least_scale[cluster], middle, thin, root]
    fields = [shape, [*axes, roll, high & 7], [*colors.T, high >> 3]]
    for k, widths in enumerate(_FIELDS):
        words[slot, _HEADER + (k + 1) * _GROUP + lane] = _pack(widths, fields[k])
    local = (position * np.exp2(record["position_exponent"].astype(np.float64))[cluster, None]).astype(np.float32)
    local[exact[cluster]] = centers
    mine = wide[cluster]
    for k in range(3):
        words[slot[mine] + 1, k * _GROUP + lane[mine]] = np.ascontiguousarray(local[mine, k]).view(np.uint32)
    classes = shifts(codec, "sh", weight - 8 * coarse, 0, 0) + record["sh_exponent"].astype(np.int32)[cluster]
    origins = np.ascontiguousarray(record["origin"], np.float32)
    return Geometry(words.ravel(), first_slot, slots, origins, classes.astype(np.uint8))


def _check_records(record: NDArray[np.void], exact: NDArray[np.bool_]) -> None:
    _need(np.isfinite(record["origin"]).all(), "finite origins")
    flags, position = record["flags"], np.abs(record["position_exponent"].astype(np.int32))
    _need(((flags < 8) & ((flags & 3) < 3)).all(), "flags with a sort axis of 0 to 2 and no unknown bits")
    _need((position <= POSITION_EXPONENT).all(), f"position exponents within +-{POSITION_EXPONENT}")
    _need((record["color_exponent"] <= _COLOR_EXPONENT).all(), f"colour exponents of at most {_COLOR_EXPONENT}")
    _need((record["coarse"] <= _COARSE).all(), f"at most {_COARSE} coarse half octaves")
    _need((record["sh_exponent"] <= MAX_EXPONENT).all(), f"SH exponents of at most {MAX_EXPONENT}")
    _need((record["reserved"] == 0).all(), "reserved bytes of 0")
    _need((record["origin"][exact] == 0).all(), "origins of 0 where centres are float32")


def _planes(data: NDArray[np.uint8], mask: int, rows: int) -> dict[str, Integers]:
    """(rows,) values of every quantity; planes that are not there are zeros."""
    values: dict[str, Integers] = {}
    at = 0
    for i, (name, signed) in enumerate(QUANTITIES):
        value = np.zeros(rows, np.int32)
        for half in (0, 1):
            if mask >> (2 * i + half) & 1:
                value |= data[at : at + rows].astype(np.int32) << (8 * half)
                at += rows
        values[name] = (value >> 1) ^ -(value & 1) if signed else value
    return values


def _pack(bits: Sequence[int], fields: Sequence[Integers]) -> NDArray[np.uint32]:
    """One word a row. Raises FormatError where a value does not fit its field."""
    word = np.zeros(len(fields[0]), np.uint32)
    shift = 0
    for width, field in zip(bits, fields, strict=True):
        _need(bool(((field >= 0) & (field < 1 << width)).all()), f"values of at most {width} bits")
        word |= field.astype(np.uint32) << np.uint32(shift)
        shift += width
    return word


def decode_sh(
    payload: bytes, counts: Sequence[int], classes: NDArray[np.uint8], codec: LayerCodec
) -> NDArray[np.uint32]:
    """(n * sh_slot_words,) uint32. counts, classes: as for and from decode_geometry. Raises FormatError."""
    count = _check_counts(counts)
    rows, components, width = int(count.sum()), len(codec.sh_basis), codec.sh_basis.shape[1]
    words = sh_slot_words(codec.sh_degree)
    _need(codec.sh_degree > 0 and len(classes) == rows, f"a layer with SH and {rows} classes")
    data = np.frombuffer(payload, np.uint8)
    _need(len(data) >= components, f"at least {components} bytes of SH, got {len(data)}")
    modes = data[:components]
    _need((modes <= BYTE).all(), "SH modes of 0 to 2")
    whole, small = np.flatnonzero(modes == BYTE), np.flatnonzero(modes == NIBBLE)
    end = components + rows * (len(whole) + (len(small) + 1) // 2)
    _need(len(data) == end, f"{end} bytes of SH, got {len(data)}")
    z = np.zeros((rows, components), np.int32)
    planes = data[components:].reshape(-1, rows)
    for k, plane in zip(whole, planes, strict=False):
        z[:, k] = plane
    for i, k in enumerate(small):
        z[:, k] = planes[len(whole) + i // 2] >> (4 * (i & 1)) & 15
    used = np.flatnonzero(modes != ABSENT)
    stored = ((z >> 1) ^ -(z & 1))[:, used].astype(np.float64)
    # Integers below 2^50 throughout, exact in doubles; then one product and one division, alike in every decoder.
    values = stored @ codec.sh_basis[used].astype(np.float64) * np.exp2(classes.astype(np.float64))[:, None]
    peak = np.abs(values).max(axis=1)
    step = _bfloat16_above(peak * codec.sh_step / 127)
    ratio = np.divide(codec.sh_step, step, out=np.zeros(rows), where=step > 0)
    out = np.zeros((rows, words // _GROUP * 4), np.uint8)
    out[:, :width] = np.floor(values * ratio[:, None] + 0.5).astype(np.int32) & 255
    out[:, -2:] = (step.astype(np.float32).view(np.uint32) >> 16).astype("<u2").view(np.uint8).reshape(rows, 2)
    packed = out.view("<u4").astype(np.uint32)
    result = np.zeros((len(count), words // _GROUP, _GROUP), np.uint32)
    cluster = np.repeat(np.arange(len(count)), count)
    lane = np.arange(rows) - np.repeat(np.cumsum(count) - count, count)
    result[cluster, :, lane] = packed
    return result.ravel()


def _bfloat16_above(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least bfloat16 that is not below; the GPU makes a float32 of its 16 bits by a shift."""
    bits = values.astype(np.float32).view(np.uint32)
    return np.asarray(((bits + np.uint32(0xFFFF)) & np.uint32(0xFFFF0000)).view(np.float32), np.float64)
