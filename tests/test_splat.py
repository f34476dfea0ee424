"""The .splat reader and writer: bytes by hand, real files, order by importance, files of other kinds."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from splatlens.converters import find_format, open_source, read_splats, sorted_rows, write_splats
from splatlens.converters.sorted_rows import SortedRows
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import WriterConformance, random_splats

C0 = 0.28209479177387814
REAL = [
    ("academic_tarot_cards", 114_865), ("lucy_100k", 100_000), ("plant", 113_648), ("spot_100k", 100_000),
    ("spot_10k", 10_000), ("stanford_bunny_100k", 100_000),
]  # fmt: skip


class TestSplat(WriterConformance):
    format_name = "splat"
    file_name = "scene.splat"
    reorders = True
    degrees = (0,)
    # Half a step of 1/255 and 1/128; a quaternion component of 1 loses a whole step.
    mutations = 600
    tolerance = {"quats": 0.08, "opacities": 0.02, "sh": 0.07}  # noqa: RUF012


def row(
    mean: tuple[float, ...] = (1, -2, 3),
    scale: tuple[float, ...] = (0.1, 0.2, 0.3),
    rgba: tuple[int, ...] = (255, 0, 51, 204),
    quat: tuple[int, ...] = (128, 204, 128, 26),
) -> bytes:
    return struct.pack("<6f8B", *mean, *scale, *rgba, *quat)


def refused(path: Path, *parts: str, kind: type[LensError] = FormatError) -> None:
    with pytest.raises(kind) as caught:
        read_splats(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable()
    for part in parts:
        assert part in message, message


def test_one_row_by_hand(tmp_path: Path) -> None:
    """Centre and scales as they are, colour and opacity of 255, quaternion w x y z of (byte - 128) / 128."""
    path = tmp_path / "a.splat"
    path.write_bytes(row())
    splats, info = read_splats(path)
    assert (info.format, info.splats, info.sh_degree, info.bytes, info.up) == ("splat", 1, 0, 32, None)
    np.testing.assert_array_equal(splats.means, np.array([[1, -2, 3]], np.float32))
    np.testing.assert_array_equal(splats.scales, np.array([[0.1, 0.2, 0.3]], np.float32))
    np.testing.assert_array_equal(splats.opacities, np.array([0.8], np.float32))
    colours = 0.5 + C0 * splats.sh[:, 0].astype(np.float64)
    np.testing.assert_allclose(colours, [[1, 0, 0.2]], atol=1e-7)
    quat = np.array([0, 76, 0, -102]) / 128
    np.testing.assert_allclose(splats.quats, [quat / np.linalg.norm(quat)], atol=1e-7)


def test_written_bytes_by_hand(tmp_path: Path) -> None:
    """Rounded to the nearest step, w made positive, 1 as 127/128."""
    f = np.float32
    splats = Splats(
        np.array([[1, -2, 3], [4, 5, 6]], f), np.array([[-0.6, 0, 0.8, 0], [1, 0, 0, 0]], f),
        np.array([[0.1, 0.2, 0.3], [1, 1, 1]], f), np.array([0.7, 0.5], f),
        np.array([[[0.5 / C0, -9, 0.003 / C0]], [[0, 0.1 / C0, 9]]], f),
    )  # fmt: skip
    assert write_splats(tmp_path / "a.splat", splats) == 64
    # 0.5 * 1 * 1 * 1 is more than 0.7 * 0.1 * 0.2 * 0.3. 255 * 0.5 = 127.5 goes to the even 128; 255 * 0.503 = 128.3.
    second = row((4, 5, 6), (1, 1, 1), (128, 153, 255, 128), (255, 128, 128, 128))
    first = row(rgba=(255, 0, 128, 178), quat=(205, 128, 26, 128))
    assert (tmp_path / "a.splat").read_bytes() == second + first


def test_most_important_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of runs, in the order of one stable sort of all rows."""
    splats = random_splats(3000, 0)
    splats.scales[500:900] = splats.scales[400]  # equal importance: in the order they came in
    splats.opacities[500:900] = splats.opacities[400]
    importance = np.log(splats.scales.astype(np.float64)).sum(axis=1) + np.log(splats.opacities.astype(np.float64))
    want = splats.means[np.argsort(-importance.astype(np.float32), kind="stable")]
    for rows in (10**6, 1000, 130, 37):
        monkeypatch.setattr(sorted_rows, "RUN_ROWS", rows)
        monkeypatch.setattr("splatlens.converters.source.CHUNK_ROWS", 100)
        write_splats(tmp_path / "a.splat", splats)
        np.testing.assert_array_equal(read_splats(tmp_path / "a.splat")[0].means, want)


def test_sorted_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key occurs many times, also across blocks and runs, infinity among them; sorted input is one run."""
    monkeypatch.setattr(sorted_rows, "RUN_ROWS", 64)
    rng = np.random.default_rng(5)
    kind = np.dtype([("index", "<u4")])
    mixed = rng.integers(0, 9, 1000).astype(np.float32)
    mixed[mixed == 8] = np.inf
    for keys, runs in ((mixed, 16), (np.sort(mixed), 1), (np.sort(mixed)[::-1], 16), (np.zeros(1000, np.float32), 1)):
        with SortedRows(tmp_path / "x", kind) as ordered:
            for first in range(0, 1000, 64):
                index = np.arange(first, min(1000, first + 64), dtype=np.uint32)
                ordered.add(keys[index], index.view(kind))
            got = np.concatenate(list(ordered.merged()))["index"]
            assert len(ordered._runs) <= runs
        np.testing.assert_array_equal(got, np.argsort(keys, kind="stable"))


def test_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(LensError, match=r"a\.splat: the temporary file for sorting .* No space .* TMPDIR"):
        write_splats(tmp_path / "a.splat", random_splats(5, 0))
    assert list(tmp_path.iterdir()) == []


def test_cut_files(tmp_path: Path) -> None:
    whole = row() * 3
    path = tmp_path / "cut.splat"
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        if size and size % 32 == 0:
            assert len(read_splats(path)[0]) == size // 32
        elif size == 0:
            refused(path, "the file is empty")
        elif size < 32:
            refused(path, f"only {size} bytes: the file is cut")
        else:
            refused(path, f"{size // 32} rows of 32 bytes and {size % 32} bytes of another: the file is cut")


def test_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    path.write_bytes(row() * 100)
    source = open_source(path)
    path.write_bytes(row() * 60)
    with pytest.raises(FormatError, match="cut short while it was read, in row 60; read it again"):
        list(source.chunks(30))


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 4, b"hello, this is a text of thirty-two bytes and more" * 16,
        b"\xff" * 320, np.full(64, np.nan, "<f4").tobytes(), b"<html><body>404 not found</body>" * 2,
    ],
)  # fmt: skip
def test_files_of_other_kinds(tmp_path: Path, data: bytes) -> None:
    """Named .splat they are refused by their values; without a name they are not taken for splats."""
    data = data[: len(data) // 32 * 32]
    path = tmp_path / "a.splat"
    path.write_bytes(data)
    refused(path, "not a .splat file: expected rows of 32 bytes", "row 0 reads", "that format's extension")
    unnamed = path.with_suffix("")
    unnamed.write_bytes(data)
    refused(unnamed, "not a format that can be read", kind=UnsupportedError)


def test_what_is_not_taken_for_splats(tmp_path: Path) -> None:
    """A wrong size, a quaternion far from unit length, a scale of zero, an infinity, zeros: one is enough."""
    path = tmp_path / "unnamed"
    path.write_bytes(row() * 3)
    assert find_format(path).name == "splat"
    others = [row(quat=(128, 128, 128, 128)), row(quat=(255, 255, 128, 128)), row(scale=(1, 0, 1)), bytes(32)]
    others += [b"PK\x03\x04" * 8, row(mean=(np.inf, 0, 0)), row(scale=(1, -1, 1)), row(mean=(1e-38, 0, 0))]
    others += [row(mean=(1e12, 0, 0)), b"1"]
    for other in others:
        path.write_bytes(row() + other + row())
        with pytest.raises(UnsupportedError, match="not a format that can be read"):
            find_format(path)


def test_unusable_rows_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "a.splat"
    bad = row(mean=(np.nan, 0, 0)) + row(scale=(1, np.inf, 1)) + row(quat=(128,) * 4)
    path.write_bytes(row() * 4 + bad + row(scale=(1, 0, -1)) + row(rgba=(0, 0, 0, 0)))
    splats, info = read_splats(path)
    assert info.dropped == {"NaN or infinity": 1, "scale overflow": 1, "zero quaternion": 1}
    assert len(splats) == 6
    assert (splats.scales[4, 1:] == np.finfo(np.float32).tiny).all() and splats.opacities[5] == 0


@pytest.mark.data
@pytest.mark.parametrize(("name", "count"), REAL)
def test_real_scenes(data_dir: Path, tmp_path: Path, name: str, count: int) -> None:
    """Known without a name, every value as it stands in the file, and written again with the same rows."""
    path = data_dir / "padilla" / f"{name}.splat"
    unnamed = tmp_path / "unnamed"
    unnamed.symlink_to(path)
    splats, info = read_splats(unnamed)
    assert (len(splats), info.format, info.dropped, info.warnings) == (count, "splat", {}, ())
    raw = np.fromfile(path, np.uint8).reshape(-1, 32)
    np.testing.assert_array_equal(splats.means, raw[:, :12].copy().view("<f4"))
    np.testing.assert_array_equal(splats.scales, raw[:, 12:24].copy().view("<f4"))
    np.testing.assert_array_equal(np.rint(255 * splats.opacities), raw[:, 27])
    write_splats(tmp_path / "again.splat", splats)
    again = np.fromfile(tmp_path / "again.splat", np.uint8).reshape(-1, 32)
    # Rows differ by their quaternions only: those of the file are not quite of unit length.
    first, second = (np.sort(r[:, :28].copy().view("S28").ravel()) for r in (raw, again))
    np.testing.assert_array_equal(first, second)


@pytest.mark.data
@pytest.mark.parametrize("name", ["minimal.splat", "minimal.ksplat"])
def test_the_four_splats(data_dir: Path, name: str) -> None:
    """The same four splats as in the other formats; their quaternion bytes say half a turn about z, not none."""
    splats, info = read_splats(data_dir / "splat_transform_fixtures/splat" / name)
    assert (info.format, len(splats), info.sh_degree, info.dropped) == (name.split(".")[1], 4, 0, {})
    np.testing.assert_allclose(splats.means, [[-1, 0, -1], [0, 0, -1], [-1, 0, 0], [0, 0, 0]], atol=5 / 65535)
    np.testing.assert_allclose(splats.scales, np.full((4, 3), 0.1), rtol=2**-11)
    np.testing.assert_allclose(splats.opacities, np.full(4, 0.9), atol=0.5 / 255 + 1e-7)
    np.testing.assert_allclose(np.abs(splats.quats), np.tile([0, 0, 0, 1], (4, 1)), atol=1e-3)
    colours = 0.5 + C0 * splats.sh[:, 0]
    third = np.array([[1, 1, 1.5], [2, 1, 1.5], [1, 2, 1.5], [2, 2, 1.5]]) / 3
    np.testing.assert_allclose(colours, third, atol=0.5 / 255 + 1e-6)
