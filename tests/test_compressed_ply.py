"""Compressed PLY: the layout bit by bit, every kind of damage, files of other tools, and what the order gains."""

from __future__ import annotations

import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from scipy.spatial import cKDTree

from splatlens.converters import Source, SourceInfo, WriteOptions, open_source, ordering, read_splats, write_splats
from splatlens.converters.compressed_ply import CHUNK, pack_rotations, unpack_rotations, write_compressed
from splatlens.converters.ordering import compact_order, morton_codes
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import WriterConformance, assert_same, in_order_of, random_splats
from tests.test_ply import refused

FIXTURES = Path(__file__).parent / "fixtures" / "ply"
C0 = 0.28209479177387814


class TestCompressedPly(WriterConformance):
    format_name = "compressed-ply"
    file_name = "scene.compressed.ply"
    reorders = True
    mutations = 1200
    tolerance: ClassVar = {"means": 0.05, "scales": 0.02, "opacities": 0.02, "quats": 0.01, "sh": 0.16}


BOUNDS = [f"{end}_{axis}" for end in ("min", "max") for axis in "xyz"]
BOUNDS += [f"{end}_scale_{axis}" for end in ("min", "max") for axis in "xyz"]
COLOURS = [f"{end}_{channel}" for end in ("min", "max") for channel in "rgb"]
PACKED = ["packed_position", "packed_rotation", "packed_scale", "packed_color"]

#: Three splats worked out by hand: at the low corner, at the high one, and at a quarter.
BY_HAND = Splats(
    np.array([[0, 0, 0], [1, 2, 4], [0.25, 0.5, 1]], np.float32),
    np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0.6, 0, 0, 0.8]], np.float32),
    np.exp(np.array([[-4, -4, -4], [0, -2, -3], [-3, -3.5, -3.75]])).astype(np.float32),
    np.array([0, 1, 0.2], np.float32),
    np.array([[[-1, 0, 1]] + [[0, 0.5, -0.5]] * 3, [[1, 1, 2]] + [[4, -4, 9]] * 3, [[-0.5, 0.25, 1.25]] * 4], "f4"),
)
WORDS = [
    (0, 512 << 20 | 512 << 10 | 512, 0, 0),
    (2047 << 21 | 1023 << 11 | 2047, 1 << 30 | 512 << 20 | 512 << 10 | 512, 2047 << 21 | 1023 << 11 | 2047, 0xFFFFFFFF),
    # 0.25 of 2047, 1023 and 2047; 0.6 sqrt(1/2) + 0.5 = 0.92426 of 1023; an opacity of 51 / 255
    (
        512 << 21 | 256 << 11 | 512, 3 << 30 | 946 << 20 | 512 << 10 | 512, 512 << 21 | 256 << 11 | 512,
        64 << 24 | 64 << 16 | 64 << 8 | 51,
    ),
]  # fmt: skip


def save(
    path: Path,
    chunks: list[list[float]],
    words: list[tuple[int, ...]],
    sh: list[list[int]] | None = None,
    order: str = "<",
    head: list[tuple[str, str]] | None = None,
    tail: bytes = b"",
) -> Path:
    """A compressed PLY by hand; `head` replaces texts of the header."""
    names = [*BOUNDS, *COLOURS][: len(chunks[0])]
    lines = ["ply", f"format binary_{'little' if order == '<' else 'big'}_endian 1.0", f"element chunk {len(chunks)}"]
    lines += [f"property float {name}" for name in names]
    lines += [f"element vertex {len(words)}", *(f"property uint {name}" for name in PACKED)]
    if sh is not None:
        lines += [f"element sh {len(sh)}", *(f"property uchar f_rest_{i}" for i in range(len(sh[0])))]
    text = "\n".join([*lines, "end_header", ""])
    for old, new in head or []:
        assert old in text
        text = text.replace(old, new)
    data = text.encode() + b"".join(struct.pack(f"{order}{len(row)}f", *row) for row in chunks)
    data += b"".join(struct.pack(f"{order}4I", *row) for row in words) + b"".join(bytes(row) for row in sh or [])
    path.write_bytes(data + tail)
    return path


#: Bounds of BY_HAND: places, logarithms of scales, colours 0.5 + C0 f_dc.
CHUNK_BY_HAND = [0, 0, 0, 1, 2, 4, -4, -4, -4, 0, -2, -3]
CHUNK_BY_HAND += [0.5 - C0, 0.5, 0.5 + C0, 0.5 + C0, 0.5 + C0, 0.5 + 2 * C0]


def test_writes_the_bytes_worked_out_by_hand(tmp_path: Path) -> None:
    write_splats(tmp_path / "a.compressed.ply", BY_HAND)
    head, _, data = (tmp_path / "a.compressed.ply").read_bytes().partition(b"end_header\n")
    lines = ["ply", "format binary_little_endian 1.0", "element chunk 1"]
    lines += [f"property float {name}" for name in [*BOUNDS, *COLOURS]]
    lines += ["element vertex 3", *(f"property uint {name}" for name in PACKED)]
    lines += ["element sh 3", *(f"property uchar f_rest_{i}" for i in range(9)), ""]
    assert head.decode().split("\n") == lines
    np.testing.assert_allclose(struct.unpack("<18f", data[:72]), CHUNK_BY_HAND, atol=1e-6)
    # Z-order, then the split's: the corner, the quarter, the far corner.
    packed = [struct.unpack("<4I", data[72 + 16 * i : 88 + 16 * i]) for i in range(3)]
    assert sorted(packed) == sorted(WORDS)
    rows = {words: list(data[120 + 9 * i : 129 + 9 * i]) for i, words in enumerate(packed)}
    # Channel-major steps of 1/32 from -4: 0 is in step 128, 0.5 in 144, -0.5 in 112; 4 and beyond clipped.
    assert rows[WORDS[0]] == [128] * 3 + [144] * 3 + [112] * 3
    assert rows[WORDS[1]] == [255] * 3 + [0] * 3 + [255] * 3
    assert rows[WORDS[2]] == [112] * 3 + [136] * 3 + [168] * 3


@pytest.mark.parametrize("order", ["<", ">"])
def test_reads_the_bytes_worked_out_by_hand(tmp_path: Path, order: str) -> None:
    path = save(tmp_path / "a.ply", [CHUNK_BY_HAND], WORDS, [[128, 0, 255] * 3] * 3, order)
    got, info = read_splats(path)
    assert (info.format, info.warnings, info.dropped) == ("compressed-ply", (), {})
    np.testing.assert_allclose(got.means, BY_HAND.means, atol=4 / 1023)
    np.testing.assert_allclose(got.means[2, 0], 512 / 2047, rtol=1e-7)
    np.testing.assert_allclose(np.log(got.scales), np.log(BY_HAND.scales), atol=4 / 1023)
    np.testing.assert_allclose(got.opacities, [0, 1, 0.2], rtol=1e-7)
    np.testing.assert_allclose(np.abs(np.sum(got.quats * BY_HAND.quats, axis=1)), 1, atol=1e-6)
    np.testing.assert_allclose(got.sh[:, 0], BY_HAND.sh[:, 0], atol=0.01)
    # Step 128 is 0 to 1/32, at its middle; the first and last stand for the ends.
    np.testing.assert_array_equal(got.sh[0, 1:, 0], np.array([1 / 64, -4, 4], np.float32))


def test_old_chunks_without_colour_bounds(tmp_path: Path) -> None:
    got, _ = read_splats(save(tmp_path / "a.ply", [CHUNK_BY_HAND[:12]], WORDS))
    np.testing.assert_allclose(got.sh[:, 0], (np.array([[0] * 3, [1] * 3, [64 / 255] * 3]) - 0.5) / C0, rtol=1e-6)


def test_against_a_decoder_row_by_row(tmp_path: Path) -> None:
    """Rows of several chunks, an element in between, and blocks that start anywhere in a chunk."""
    write_splats(tmp_path / "a.compressed.ply", random_splats(700, 2, seed=3))
    data = (tmp_path / "a.compressed.ply").read_bytes()
    at = data.index(b"end_header\n") + 11
    chunks = [struct.unpack_from("<18f", data, at + 72 * i) for i in range(3)]
    source = open_source(tmp_path / "a.compressed.ply")
    got = Splats.concatenate(list(source.chunks(100)))
    rest = np.frombuffer(data, np.uint8, 700 * 24, at + 3 * 72 + 700 * 16).reshape(700, 3, 8)
    for i in range(0, 700, 23):
        bounds = chunks[i // CHUNK]
        position, rotation, scale, colour = struct.unpack_from("<4I", data, at + 3 * 72 + 16 * i)
        for word, low, high, value in (
            (position, bounds[0:3], bounds[3:6], got.means[i]),
            (scale, bounds[6:9], bounds[9:12], np.log(got.scales[i])),
        ):
            shares = (word >> 21) / 2047, (word >> 11) % 1024 / 1023, word % 2048 / 2047
            want = [a + (b - a) * t for a, b, t in zip(low, high, shares, strict=True)]
            np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-5)
        parts = [(rotation >> shift) % 1024 / 1023 * 2**0.5 - 0.5**0.5 for shift in (20, 10, 0)]
        parts.insert(rotation >> 30, (1 - sum(p * p for p in parts)) ** 0.5)
        np.testing.assert_allclose(got.quats[i], parts, atol=1e-6)
        assert got.opacities[i] == np.float32(colour % 256 / 255)
        shares = tuple((colour >> shift) % 256 / 255 for shift in (24, 16, 8))
        want = [a + (b - a) * t for a, b, t in zip(bounds[12:15], bounds[15:18], shares, strict=True)]
        np.testing.assert_allclose(got.sh[i, 0] * C0 + 0.5, want, rtol=1e-5)
        np.testing.assert_array_equal(got.sh[i, 1:], (rest[i].T + 0.5) / 32 - 4)


def test_rotations_are_packed_within_half_a_step() -> None:
    quats = np.concatenate([random_splats(5000, 0).quats, np.eye(4, dtype="f4"), -np.eye(4, dtype="f4")])
    got = unpack_rotations(pack_rotations(quats))
    got *= np.sign(np.einsum("ij,ij->i", got, quats))[:, None]
    largest = np.arange(4) == np.abs(quats).argmax(axis=1)[:, None]
    assert np.abs(got - quats)[~largest].max() <= 0.5 / 1023 * 2**0.5 + 1e-7


@pytest.mark.parametrize("name", ["splat_transform_sh0", "splat_transform_sh1", "splat_transform_sh3", "gsply_sh1"])
def test_files_of_other_tools(name: str) -> None:
    """Their files of our splats, read by us: within the steps of the format, in chunks of Z-order."""
    degree = int(name[-1])
    want = random_splats(300, degree, seed=40 + degree)
    got, info = read_splats(FIXTURES / f"{name}.compressed.ply")
    assert (info.format, info.sh_degree, info.warnings) == ("compressed-ply", degree, ())
    got = in_order_of(got, want)
    np.testing.assert_allclose(got.means, want.means, atol=0.01)
    np.testing.assert_allclose(got.opacities, want.opacities, atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(got.scales, want.scales, rtol=0.004)
    np.testing.assert_allclose(got.sh[:, 0], want.sh[:, 0], atol=0.006)
    np.testing.assert_allclose(got.sh[:, 1:], want.sh[:, 1:], atol=1 / 64 + 1e-6)
    assert np.abs(np.einsum("ij,ij->i", got.quats, want.quats)).min() > 1 - 2e-6


def test_another_tool_reads_ours_alike(tmp_path: Path) -> None:
    """Our file as another tool read it, saved by it as a plain PLY, and as we read it: the same splats."""
    write_splats(tmp_path / "a.compressed.ply", random_splats(300, 1, seed=41))
    ours = read_splats(tmp_path / "a.compressed.ply")[0]
    theirs = in_order_of(read_splats(FIXTURES / "ours_by_splat_transform_sh1.ply")[0], ours)
    assert_same(theirs, ours, {"means": 1e-6, "scales": 1e-6, "opacities": 1e-5, "quats": 1e-6, "sh": 1e-6})


def test_boxes_are_smaller_than_along_a_z_order_curve() -> None:
    """A wavy surface with a few outliers: the error of a position goes with its chunk's box."""
    rng = np.random.default_rng(5)
    means = rng.uniform(-1, 1, (20_000, 3))
    means[:, 2] = 0.3 * np.sin(5 * means[:, 0]) + rng.normal(0, 0.01, 20_000)
    means[:40] *= 50
    means = means.astype(np.float32)

    def diagonals(order: np.ndarray) -> np.ndarray:
        starts = np.arange(0, len(order), CHUNK)
        boxes = np.maximum.reduceat(means[order], starts) - np.minimum.reduceat(means[order], starts)
        return np.linalg.norm(boxes, axis=1)

    order = compact_order(means, CHUNK)
    assert sorted(order.tolist()) == list(range(20_000))
    z_order = np.argsort(morton_codes(means, means.min(axis=0), means.max(axis=0)), kind="stable")
    assert np.median(diagonals(order)) < 0.7 * np.median(diagonals(z_order))
    assert np.mean(diagonals(order)) < 0.5 * np.mean(diagonals(z_order))


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 512, 1000])
def test_order_of_any_number(count: int) -> None:
    assert sorted(compact_order(random_splats(count, 0).means, CHUNK).tolist()) == list(range(count))
    assert sorted(compact_order(np.zeros((count, 3), np.float32), CHUNK).tolist()) == list(range(count))


def test_order_where_every_split_parts_one_run_only() -> None:
    """Places whose distances grow eightfold: as many splits as runs, none deeper in the stack of calls."""
    means = np.exp2(np.linspace(0, 120, 40_000))[:, None].repeat(3, axis=1).astype(np.float32)
    assert sorted(compact_order(means, 16).tolist()) == list(range(40_000))


def test_more_rows_than_are_held_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By way of a file and in several runs, none of which parts a chunk."""
    monkeypatch.setattr(ordering, "MEMORY_ROWS", 2048)
    monkeypatch.setattr(ordering, "BUCKET_ROWS", 1024)
    want = random_splats(9000, 0)
    got, info = read_splats(_written(tmp_path, want))
    assert info.splats == 9000
    distances, rows = cKDTree(got.means).query(want.means)
    # The nearest is at times another one, never a third: chunks of 3 units have steps of 0.003.
    assert distances.max() < 0.01
    same = np.abs(got.opacities[rows] - want.opacities) < 0.5 / 255 + 1e-6
    assert same.mean() > 0.999


def test_values_beyond_the_format_are_clipped(tmp_path: Path) -> None:
    splats = random_splats(3, 1)
    splats.scales[0] = 1e12, 1e-30, 1
    splats.sh[1, 1:] = 100
    got = in_order_of(read_splats(_written(tmp_path, splats))[0], splats)
    np.testing.assert_allclose(np.log(got.scales[0, :2]), [20, -20], rtol=1e-6)
    assert (got.sh[1, 1:] == 4).all()


def _written(folder: Path, splats: Splats) -> Path:
    write_splats(folder / "a.compressed.ply", splats)
    return folder / "a.compressed.ply"


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({}, []),
        ({"up": (0.0, 0.0, 1.0), "antialias": True}, ["comment Vertical Axis: z", "comment SplatRenderMode: mip"]),
        ({"antialias": False, "up": (0.0, 0.6, 0.8)}, ["comment SplatRenderMode: default"]),
        ({"flat": True}, ["comment SplatRenderMode: 2dgs"]),
    ],
)
@pytest.mark.parametrize("name", ["a.compressed.ply", "a.ply"])
def test_comments_carry_what_they_can(tmp_path: Path, facts: dict[str, object], lines: list[str], name: str) -> None:
    info = replace(SourceInfo(Path("x"), "test", 3, 0, 0), **facts)  # type: ignore[arg-type]
    write_splats(tmp_path / name, random_splats(3, 0), info)
    head = (tmp_path / name).read_bytes().partition(b"end_header")[0].decode().split("\n")
    assert [line for line in head if line.startswith("comment ") and line.strip() != "comment"] == lines
    got = open_source(tmp_path / name).info
    assert (got.antialias or False, got.flat) == (facts.get("antialias", False), facts.get("flat", False))
    assert got.up == (facts.get("up") if facts.get("up") == (0, 0, 1) else None)


def test_bounds_that_are_no_numbers_cost_their_rows(tmp_path: Path) -> None:
    """NaN and infinity in a chunk's bounds: its rows are dropped, those of the next chunk are not."""
    words = [WORDS[2]] * 300
    for at, value in ((0, np.nan), (4, np.inf), (6, -np.inf), (9, np.nan), (14, np.nan), (17, np.inf)):
        bad = [*CHUNK_BY_HAND]
        bad[at] = value
        got, info = read_splats(save(tmp_path / "a.ply", [bad, CHUNK_BY_HAND], words))
        assert len(got) == 44
        assert info.dropped == {"NaN or infinity": 256}


def test_huge_bounds(tmp_path: Path) -> None:
    """The largest floats as bounds: nothing overflows on the way, and what float32 cannot hold is dropped."""
    most = float(np.finfo(np.float32).max)
    far = [-most] * 3 + [most] * 3 + CHUNK_BY_HAND[6:]
    got, _ = read_splats(save(tmp_path / "a.ply", [far], WORDS))
    np.testing.assert_array_equal(got.means[:2], [[-most] * 3, [most] * 3])
    large = [*CHUNK_BY_HAND[:6], -most, -most, -most, most, most, most, *CHUNK_BY_HAND[12:]]
    path = save(tmp_path / "a.ply", [large], [WORDS[0], WORDS[1]])
    got, info = read_splats(path)
    assert info.dropped == {"scale overflow": 1}
    assert (got.scales == np.finfo(np.float32).tiny).all()


@pytest.mark.parametrize(
    ("old", "new", "kind", "parts"),
    [
        ("element chunk 1", "element chunk 0", FormatError, ["'element chunk 0'", "3 splats have 1 chunks of 256"]),
        ("element chunk 1", "element chunk 2", FormatError, ["'element chunk 2'", "3 splats have 1 chunks of 256"]),
        ("element chunk 1", f"element chunk {2**60}", FormatError, [f"'element chunk {2**60}'"]),
        ("element vertex 3", "element vertex 0", FormatError, ["'element vertex 0'", "no splats"]),
        ("element vertex 3", "element vertex 257", FormatError, ["257 splats have 2 chunks"]),
        ("element vertex 3", "element vertex 4", FormatError, ["'element sh 3', but there are 4 splats"]),
        ("element vertex 3", f"element vertex {2**63}", FormatError, ["chunks of 256"]),
        ("element sh 3", "element sh 2", FormatError, ["'element sh 2', but there are 3 splats"]),
        ("element chunk 1", "element chunks 1", FormatError, ["without element 'chunk' (elements: chunks, vertex"]),
        ("float min_x", "float low_x", FormatError, ["element chunk lacks min_x; columns found: low_x"]),
        ("float max_scale_z", "float other", FormatError, ["element chunk lacks max_scale_z"]),
        ("float max_g", "float other", FormatError, ["element chunk lacks max_g"]),
        ("packed_color", "packed_colour", FormatError, ["element vertex lacks packed_color"]),
        ("float min_x", "int min_x", UnsupportedError, ["element chunk: min_x must be float or double"]),
        ("uint packed_scale", "float packed_scale", UnsupportedError, ["packed_scale must be uint"]),
        ("uchar f_rest_3", "char f_rest_3", UnsupportedError, ["f_rest_3 must be uchar"]),
        ("uchar f_rest_8\n", "uchar f_rest_9\n", FormatError, ["element sh lacks f_rest_8"]),
        ("property uchar f_rest_8\n", "", UnsupportedError, ["element sh has 8 columns, expected 9, 24 or 45"]),
        ("uchar f_rest_8", "list uchar int f_rest_8", UnsupportedError, ["lists in element 'sh'"]),
        ("binary_little_endian", "ascii", UnsupportedError, ["a compressed PLY in ascii"]),
    ],
)
def test_headers_that_lie(tmp_path: Path, old: str, new: str, kind: type[LensError], parts: list[str]) -> None:
    path = tmp_path / "a.compressed.ply"
    save(path, [CHUNK_BY_HAND], WORDS, [[128] * 9] * 3, head=[(old, new)])
    tracemalloc.start()
    refused(path, kind, *parts)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_counts_that_agree_and_lie(tmp_path: Path) -> None:
    n = 2**40
    head = [("element chunk 1", f"element chunk {n // 256}"), ("element vertex 3", f"element vertex {n}")]
    path = save(tmp_path / "a.ply", [CHUNK_BY_HAND], WORDS, head=head)
    refused(path, FormatError, f"{n // 256} rows of element chunk end at byte", "truncated", "again")


def test_truncated_anywhere(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.compressed.ply", [CHUNK_BY_HAND], WORDS, [[128] * 9] * 3).read_bytes()
    path = tmp_path / "cut.compressed.ply"
    rows = whole.index(b"end_header")
    for size in [*range(0, rows, 5), *range(rows, len(whole))]:
        path.write_bytes(whole[:size])
        with pytest.raises(LensError, match=r"cut\.compressed\.ply: "):
            read_splats(path)


def test_bytes_and_elements_that_do_not_matter(tmp_path: Path) -> None:
    """An element before, bytes after, a column more: read, and what was ignored is said."""
    path = save(tmp_path / "a.ply", [CHUNK_BY_HAND], WORDS, tail=b"junk")
    assert read_splats(path)[1].warnings == ("4 bytes after the last row were ignored",)
    want = read_splats(path)[0]
    extra = [("end_header", "element other 1\nproperty uint kind\nend_header")]
    path = save(tmp_path / "b.ply", [CHUNK_BY_HAND], WORDS, head=extra, tail=b"junk")
    assert_same(read_splats(path)[0], want, {})
    assert read_splats(path)[1].warnings == ()


def test_degree_4_is_reduced_and_said(tmp_path: Path) -> None:
    rest = [[i for channel in range(3) for i in range(channel * 64, channel * 64 + 24)]] * 3
    got, info = read_splats(save(tmp_path / "a.ply", [CHUNK_BY_HAND], WORDS, rest))
    assert (info.sh_degree, info.warnings) == (3, ("spherical harmonics of degree 4 were reduced to degree 3",))
    np.testing.assert_array_equal(got.sh[0, 1:, 1], (np.arange(64, 79) + 0.5) / 32 - 4)


def test_cut_while_it_is_read(tmp_path: Path) -> None:
    path = _written(tmp_path, random_splats(600, 1))
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FormatError, match="cut short while it was read"):
        list(source.chunks())


@pytest.mark.data
@pytest.mark.parametrize("name", ["plant_sh0", "playbot_l2_sh2", "semarang_5_9_sh3"])
def test_real_scenes(data_dir: Path, tmp_path: Path, name: str) -> None:
    """Chunks of real scenes: every value within half a step of its chunk, in at most the bytes the layout takes."""
    source = open_source(data_dir / f"ply_converted/{name}.ply")
    size = write_compressed(tmp_path / "a.compressed.ply", source, WriteOptions())
    n, rest = source.info.splats, (0, 9, 24, 45)[source.info.sh_degree]
    assert size < n * (16 + rest) + -(-n // 256) * 72 + 1800
    got, info = read_splats(tmp_path / "a.compressed.ply")
    assert (len(got), info.dropped, info.warnings) == (n, {}, ())
    want = read_splats(data_dir / f"ply_converted/{name}.ply")[0]
    # Sums do not depend on the order, and rounding cancels out in them.
    for field, tolerance in (("means", 2e-3), ("opacities", 1e-3), ("sh", 4e-3)):
        a, b = (getattr(s, field).astype(np.float64) for s in (got, want))
        assert np.abs(a.mean(axis=0) - b.mean(axis=0)).max() < tolerance * max(1, np.abs(b).max()), field
        np.testing.assert_allclose(a.std(axis=0), b.std(axis=0), atol=tolerance * max(1, np.abs(b).max()))
    np.testing.assert_allclose(np.log(got.scales).mean(axis=0), np.log(want.scales).mean(axis=0), atol=1e-3)
    if n > 125_000:
        return
    # As a source in memory says it: the same bytes.
    write_compressed(tmp_path / "b.compressed.ply", Source.of(want), WriteOptions())
    assert (tmp_path / "a.compressed.ply").read_bytes() == (tmp_path / "b.compressed.ply").read_bytes()
