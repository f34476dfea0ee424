"""The .ksplat reader: an encoder written from the layout, GaussianSplats3D's files and values, damage."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import find_format, open_source, read_splats
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats
from tests.conformance import (
    ReaderConformance,
    assert_same,
    check_reads_or_refuses,
    in_order_of,
    peak_bytes,
    random_splats,
    reset_peak,
)

C0 = 0.28209479177387814
MADE = Path(__file__).parent / "fixtures/ksplat/made.zip"


def encode(
    splats: Splats,
    level: int,
    sections: list[tuple[int, int]] | None = None,
    block: float = 40.0,
    sh_range: tuple[float, float] = (-1.5, 1.5),
    room: int = 0,
    **header: Any,
) -> bytes:
    """A .ksplat from its layout. sections: (splats, SH degree) each; room: rows left free at the end of each.

    Buckets hold 4 splats, in file order; in each section the last two hold 3 and what is left.
    """
    sections = sections or [(len(splats), splats.sh_degree)]
    values = {"major": 0, "minor": 1, "level_field": level, "count": len(splats), "sections": len(sections)} | header
    head = struct.pack(
        "<BBHIIIIHH", values["major"], values["minor"], 0, len(sections), values["sections"],
        len(splats) + room * len(sections), values["count"], values["level_field"], 0,
    )  # fmt: skip
    head = (head + bytes(12) + struct.pack("<2f", *sh_range)).ljust(4096, b"\0")
    heads, bodies, first = b"", b"", 0
    for count, degree in sections:
        part = splats.take(slice(first, first + count)).with_sh_degree(degree)
        first += count
        partial = [3] * (count > 3) + [count % 4 + 1 if count > 3 else count]
        full = (count - sum(partial)) // 4
        if full * 4 + sum(partial) < count:
            partial.append(count - full * 4 - sum(partial))
        partial = [size for size in partial if size]
        sizes = [4] * full + partial
        bucket = np.repeat(np.arange(len(sizes)), sizes)
        centres = np.array([part.means[bucket == b].mean(axis=0) for b in range(len(sizes))], np.float32)
        body = b""
        for i in range(count):
            quat, rgb = part.quats[i], np.clip(np.rint(255 * (0.5 + C0 * part.sh[i, 0])), 0, 255)
            rest = np.concatenate([part.sh[i, a:b].T.ravel() for a, b in ((1, 4), (4, 9))])[: 3 * part.sh.shape[1] - 3]
            if level == 0:
                body += struct.pack("<10f", *part.means[i], *part.scales[i], *quat)
            else:
                offset = (part.means[i] - centres[bucket[i]]) / (block / 2) * 32767
                body += struct.pack("<3H", *(int(v) for v in np.rint(offset) + 32767))
                body += np.concatenate([part.scales[i], quat]).astype("<f2").tobytes()
            body += bytes([*rgb.astype(int).tolist(), round(255 * float(part.opacities[i]))])
            if level == 2:
                share = (rest.astype(float) - sh_range[0]) / (sh_range[1] - sh_range[0])
                body += np.clip(np.floor(share * 255), 0, 255).astype(np.uint8).tobytes()
            else:
                body += rest.astype("<f4" if level == 0 else "<f2").tobytes()
        row = (44, 24, 24)[level] + (4, 2, 1)[level] * 3 * (part.sh.shape[1] - 1)
        assert len(body) == count * row
        bucketed = level > 0
        heads += struct.pack(
            "<IIIIfHHIIIIH", count, count + room, 4 * bucketed, len(sizes) * bucketed, block * bucketed, 12 * bucketed,
            0, 32767 * bucketed, 0, full * bucketed, len(partial) * bucketed, degree,
        ).ljust(1024, b"\0")  # fmt: skip
        if bucketed:
            bodies += np.array(partial, "<u4").tobytes() + centres.tobytes()
        bodies += body + bytes(room * row)
    return head + heads + bodies


class TestKsplat(ReaderConformance):
    """Level 0."""

    format_name = "ksplat"
    degrees = (0, 1, 2)
    mutations = 200  # most bytes of a header mean nothing: see test_mutated_fields
    level = 0
    tolerance = {"quats": 1e-6, "opacities": 0.02, "sh": 0.07}  # noqa: RUF012

    def make(self, folder: Path, splats: Splats) -> Path:
        path = folder / "scene.ksplat"
        n = len(splats)
        sizes = [n] if n < 10 else [n // 2, n // 3, n - n // 2 - n // 3]
        path.write_bytes(encode(splats, self.level, [(size, splats.sh_degree) for size in sizes]))
        return path


class TestKsplatHalf(TestKsplat):
    """Level 1: half floats."""

    level = 1
    tolerance = {"means": 5e-3, "quats": 1e-2, "scales": 1e-3, "opacities": 0.02, "sh": 0.07}  # noqa: RUF012


class TestKsplatBytes(TestKsplatHalf):
    """Level 2: SH in bytes, steps of 3/255 rounded down."""

    level = 2
    tolerance = TestKsplatHalf.tolerance | {"sh": 0.14}


def refused(path: Path, data: bytes, *parts: str, kind: type[LensError] = FormatError) -> None:
    path.write_bytes(data)
    with pytest.raises(LensError) as caught:
        read_splats(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert message.startswith(f"{path}: ") and message.isprintable()
    for part in parts:
        assert part in message, message


def made(folder: Path, name: str) -> tuple[Path, np.ndarray]:
    """A file of the other tool, and (N, 14 + 3 K) the values it reads from it."""
    with zipfile.ZipFile(MADE) as archive:
        path = folder / "made.ksplat"
        path.write_bytes(archive.read(f"{name}.ksplat"))
        values = np.frombuffer(archive.read(f"{name}.f32"), "<f4")
    return path, values.reshape(40, -1)


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize("degree", range(3))
def test_files_of_the_other_tool(tmp_path: Path, level: int, degree: int) -> None:
    """Row by row what GaussianSplats3D's own getters say, and within a step what went in."""
    path, values = made(tmp_path, f"level{level}_sh{degree}")
    splats, info = read_splats(path)
    assert (info.splats, info.sh_degree, info.dropped) == (40, degree, {})
    np.testing.assert_allclose(splats.means, values[:, :3], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(splats.scales, values[:, 3:6], rtol=1e-6)
    np.testing.assert_allclose(splats.quats, values[:, 6:10], atol=5e-4)  # theirs are not normalised again
    np.testing.assert_allclose(255 * (0.5 + C0 * splats.sh[:, 0]), values[:, 10:13], atol=1e-4)
    np.testing.assert_allclose(255 * splats.opacities, values[:, 13], atol=1e-4)
    np.testing.assert_allclose(splats.sh[:, 1:].reshape(40, -1), values[:, 14:], atol=2e-6)
    want = random_splats(40, degree, seed=40 + degree)
    got = in_order_of(splats, want)
    np.testing.assert_allclose(got.means, want.means, atol=0 if level == 0 else 0.51 * 5 / 2 / 32767 + 1e-6)
    np.testing.assert_allclose(got.scales, want.scales, rtol=5e-6 if level == 0 else 2**-10)
    if level == degree == 2:  # its bounds leave out the last coefficient of blue, so it clips that one
        got.sh[:, 8, 2] = want.sh[:, 8, 2]
    tolerance = {"quats": 5e-3, "opacities": 0.04, "sh": 0.14}  # bytes are rounded down
    assert_same(Splats(want.means, got.quats, want.scales, got.opacities, got.sh), want, tolerance)


def test_our_splat_file_in_the_other_tool(tmp_path: Path) -> None:
    """What GaussianSplats3D read from our .splat is what we wrote."""
    path, values = made(tmp_path, "from_splat")
    want = random_splats(40, 0, seed=40)
    got = in_order_of(read_splats(path)[0], want)
    np.testing.assert_array_equal(got.means, want.means)
    np.testing.assert_array_equal(got.scales, want.scales)
    assert_same(got, want, {"quats": 0.08, "opacities": 0.02, "sh": 0.07})
    assert (values[:, 6] >= 0).all()


def test_sections_of_several_degrees_and_free_rows(tmp_path: Path) -> None:
    """The highest degree counts, others are padded; free rows and empty sections are passed over."""
    want = random_splats(60, 2)
    path = tmp_path / "a.ksplat"
    for level in range(3):
        path.write_bytes(encode(want, level, [(11, 1), (0, 0), (20, 2), (1, 0), (28, 2)], room=5))
        splats, info = read_splats(path)
        assert (len(splats), info.splats, info.sh_degree) == (60, 60, 2)
        degrees = np.repeat([1, 2, 0, 2], [11, 20, 1, 28])
        expected = want.sh.copy()
        for degree in (0, 1):
            expected[degrees == degree, SH_COEFFICIENTS[degree] :] = 0
        np.testing.assert_allclose(splats.sh[:, 1:], expected[:, 1:], atol=[1e-7, 2e-3, 0.0119][level])
        np.testing.assert_allclose(splats.means, want.means, atol=[0, 4e-4, 4e-4][level])


def test_bytes_by_hand(tmp_path: Path) -> None:
    """One splat at level 2: its bucket's centre (10, 20, 30), a block of 8, SH bounds -2 and 3."""
    row = struct.pack("<3H", 32767, 0, 65534) + np.array([0.5, 1, 2, 0, 1, 0, 0], "<f2").tobytes()
    row += bytes([255, 0, 51, 102]) + bytes(range(0, 240, 10))
    section = struct.pack("<IIIIfHHIIIIH", 1, 1, 256, 1, 8.0, 12, 0, 0, 0, 0, 1, 2).ljust(1024, b"\0")
    head = struct.pack("<BBHIIIIHH", 0, 1, 0, 1, 1, 1, 1, 2, 0) + bytes(12) + struct.pack("<2f", -2, 3)
    path = tmp_path / "a.ksplat"
    path.write_bytes(head.ljust(4096, b"\0") + section + struct.pack("<I3f", 1, 10, 20, 30) + row)
    splats, _ = read_splats(path)
    np.testing.assert_allclose(splats.means, [[10, 16, 34]], rtol=1e-7)
    np.testing.assert_array_equal(splats.scales, np.array([[0.5, 1, 2]], np.float32))
    np.testing.assert_array_equal(splats.quats, np.array([[0, 1, 0, 0]], np.float32))
    np.testing.assert_allclose(0.5 + C0 * splats.sh[0, 0], [1, 0, 0.2], atol=1e-7)
    np.testing.assert_allclose(splats.opacities, [0.4])
    # Degree 1: bytes 0 10 20 are red, 30 40 50 green; degree 2: 90 100 110 120 130 red, 140 ... green.
    bytes_ = 10 * np.array([[0, 3, 6], [1, 4, 7], [2, 5, 8], *([9 + k, 14 + k, 19 + k] for k in range(5))])
    np.testing.assert_allclose(splats.sh[0, 1:], bytes_ / 255 * 5 - 2, atol=1e-6)


def test_bounds_of_sh_that_are_not_given(tmp_path: Path) -> None:
    """0 in the header stands for -1.5 and 1.5."""
    want = random_splats(9, 1)
    data = bytearray(encode(want, 2))
    data[36:44] = bytes(8)
    path = tmp_path / "a.ksplat"
    path.write_bytes(data)
    np.testing.assert_allclose(read_splats(path)[0].sh[:, 1:], want.sh[:, 1:], atol=3 / 255)


def test_truncated(tmp_path: Path) -> None:
    """At every byte of the headers' fields and of the rows it is refused."""
    path = tmp_path / "a.ksplat"
    for level in (0, 2):
        whole = encode(random_splats(9, 1), level)
        for size in [*range(0, 64, 3), 4095, 4096, 4100, 5119, *range(5120, len(whole), 11), len(whole) - 1]:
            path.write_bytes(whole[:size])
            with pytest.raises(LensError, match=r"a\.ksplat: .*again"):
                read_splats(path)
        refused(path, whole[:5000], "promises 1 sections, more than 5000 bytes hold")
        refused(path, whole[:-1], "section 0: its 9 splats end at byte", "the file is truncated")


def test_bad_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.ksplat"
    splats = random_splats(9, 1)
    for major, minor in ((0, 0), (0, 2), (1, 0), (0, 7)):
        parts = f"version {major}.{minor}, or not a .ksplat file at all", "version 0.1 is read"
        refused(path, encode(splats, 0, major=major, minor=minor), *parts, kind=UnsupportedError)
    refused(path, b"\x89PNG" + bytes(5000), "version 137.80", "version 0.1 is read", kind=UnsupportedError)
    refused(path, encode(splats, 0, level_field=3), "compression level 3; levels 0, 1 and 2", kind=UnsupportedError)
    refused(path, encode(splats, 0, count=0), "the header says 0 splats")
    refused(path, encode(splats, 0, count=10), "the header says 10 splats, its sections hold 9")
    refused(path, b"", "0 bytes, but a .ksplat header has 4096")
    changes: list[tuple[int, str, int | float, list[str]]] = [
        (0, "<I", 10, ["10 splats in room for 9"]), (4, "<I", 2**32 - 1, ["4294967295 splats end at byte"]),
        (8, "<I", 2**32 - 1, ["1 full buckets of 4294967295 splats, more than its 9"]),
        (12, "<I", 2**31, ["1 full and 2 other buckets, but 2147483648 in all"]),
        (16, "<f", np.nan, ["buckets with sides of nan"]), (16, "<f", -1, ["buckets with sides of -1"]),
        (20, "<H", 16, ["16 bytes a bucket, expected 12"]), (36, "<I", 2**30, ["1073741824 other buckets"]),
        (8, "<I", 1, ["its buckets hold 6 of 9 splats"]),
    ]  # fmt: skip
    for at, kind, value, parts in changes:
        data = bytearray(encode(splats, 1))
        struct.pack_into(kind, data, 4096 + at, value)
        refused(path, bytes(data), "section 0", *parts)
    data = bytearray(encode(splats, 1))
    struct.pack_into("<H", data, 4096 + 40, 3)
    refused(path, bytes(data), "section 0 has SH of degree 3; degrees 0, 1 and 2", kind=UnsupportedError)
    data = bytearray(encode(splats, 1))
    struct.pack_into("<I", data, 4, 2**32 - 1)
    refused(path, bytes(data), "promises 4294967295 sections")


def test_what_is_not_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "unnamed"
    whole = encode(random_splats(3, 0), 1)
    path.write_bytes(whole)
    assert find_format(path).name == "ksplat"
    for at, value in ((0, 1), (1, 2), (2, 1), (7, 1), (15, 0), (16, 4), (20, 3)):
        data = bytearray(whole)
        data[at] = value
        path.write_bytes(data if at != 15 else whole[:5000])
        with pytest.raises(UnsupportedError, match="not a format that can be read"):
            find_format(path)


def test_infinities_are_dropped(tmp_path: Path) -> None:
    splats = random_splats(9, 1)
    splats.scales[2, 1], splats.quats[3, 0], splats.sh[4, 2, 1] = np.inf, np.nan, np.inf
    splats.quats[5] = 0
    path = tmp_path / "a.ksplat"
    path.write_bytes(encode(splats, 1))
    info = read_splats(path)[1]
    assert info.dropped == {"NaN or infinity": 2, "scale overflow": 1, "zero quaternion": 1}


def test_mutated_fields(tmp_path: Path) -> None:
    """Damage where it tells: in the fields of the headers, in the buckets and the rows."""
    rng = np.random.default_rng(11)
    path = tmp_path / "a.ksplat"
    originals = [encode(random_splats(9, level), level, [(4, level), (5, 1)]) for level in range(3)]
    edges = np.array([0, 1, 2, 3, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 0x7F800000], "<u4")
    before = reset_peak()
    for _ in range(600):
        data = bytearray(originals[rng.integers(3)])
        fields = np.concatenate([np.arange(a, b) for a, b in ((0, 44), (4096, 4138), (5120, 5162), (6144, len(data)))])
        for at in rng.choice(fields, rng.integers(1, 4)):
            if rng.integers(2):
                data[at] = rng.integers(256)
            else:
                value = rng.choice(edges).tobytes()
                data[at // 4 * 4 : at // 4 * 4 + 4] = value
        path.write_bytes(data)
        check_reads_or_refuses(path)
    assert peak_bytes() - before < 64 << 20


def test_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.ksplat"
    whole = encode(random_splats(50, 0), 1)
    path.write_bytes(whole)
    source = open_source(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(FormatError, match="cut short while it was read"):
        list(source.chunks(10))
