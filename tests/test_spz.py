"""SPZ: layouts byte by byte, files of three other tools, every kind of damage, and the writer's choices."""

from __future__ import annotations

import gzip
import io
import struct
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.converters import (
    ReadOptions,
    Source,
    SourceInfo,
    WriteOptions,
    open_source,
    read_splats,
    spz,
    spz_payload,
    spz_write,
    write_splats,
)
from splatlens.converters.ordering import morton_codes
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats, covariances
from tests.conformance import (
    Mutation,
    WriterConformance,
    apply,
    assert_same,
    check_reads_or_refuses,
    in_order_of,
    mutation,
    peak_bytes,
    random_splats,
    reset_peak,
)

FIXTURES = Path(__file__).parent / "fixtures" / "spz"
STORED = ReadOptions(as_stored=True)
FRAMES = [
    "LDB", "RDB", "LUB", "RUB", "LDF", "RDF", "LUF", "RUF",
    "LFD", "RFD", "LFU", "RFU", "LBD", "RBD", "LBU", "RBU",
]  # fmt: skip


class TestSpz4(WriterConformance):
    format_name = "spz"
    file_name = "scene.spz"
    reorders = True
    #: Half a step each: positions 1/8192, rotations 9 bits of sqrt(1/2), log scales 1/32, alphas 1/510, SH 1/16.
    tolerance: ClassVar[dict[str, float]] = {
        "means": 1.3e-3, "quats": 0.02, "scales": 0.032, "opacities": 0.02, "sh": 0.63,
    }  # fmt: skip
    options: ClassVar[dict[str, int]] = {"spz_version": 4}
    mutations = 1000

    def test_memory_of_writing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for level in ("GZIP_LEVEL", "ZSTD_LEVEL", "ZSTD_SH_LEVEL"):
            monkeypatch.setattr(spz_write, level, 1)  # as much memory of ours, a tenth of the time
        super().test_memory_of_writing(tmp_path, monkeypatch)


class TestSpz3(TestSpz4):
    options: ClassVar[dict[str, int]] = {"spz_version": 3}
    mutations = 500


def header(version: int, count: int, degree: int = 0, bits: int = 12, flags: int = 0, last: int = 0) -> bytes:
    return b"NGSP" + struct.pack("<IIBBBB", version, count, degree, bits, flags, last)


#: One splat by hand: (1, -2.5, 3) at 12 bits, alpha 51, colour bytes 255 0 128, scale bytes 160 0 255.
POSITION = b"\x00\x10\x00" + b"\x00\xd8\xff" + b"\x00\x30\x00"
REST = b"\x33" + b"\xff\x00\x80" + b"\xa0\x00\xff"
#: x = 127/255 - 1 twice, z = 0.0039: w >= 0 makes up the length.
ROTATION_2 = b"\x40\x40\x80"
#: Largest is y (index 1); x = -0.5 (sign, 361), z = 0 and w = 0.25 (181), ten bits each.
ROTATION_3 = struct.pack("<I", 1 << 30 | (512 + 361) << 20 | 0 << 10 | 181)
SH_1 = bytes([0, 128, 255, 192, 64, 128, 129, 127, 128])


def one(version: int, degree: int = 0, sh: bytes = b"", bits: int = 12, flags: int = 0) -> bytes:
    rotation = ROTATION_3 if version >= 3 else ROTATION_2
    position = np.array([1, -2.5, 3], "<f2").tobytes() if version == 1 else POSITION
    return header(version, 1, degree, bits, flags) + position + REST + rotation + sh


def packed(body: bytes, degree: int = 0, flags: int = 0, zone: bytes = b"", count: int = 1) -> bytes:
    """Version 4 of the planes in `body`, the rest of a file as `one` makes it."""
    sizes = [n * count for n in (9, 1, 3, 3, 4, 3 * (0, 3, 8, 15, 24)[degree])]
    planes = [body[16 + sum(sizes[:i]) : 16 + sum(sizes[: i + 1])] for i in range(6) if sizes[i]]
    frames = [zstandard.ZstdCompressor().compress(plane) for plane in planes]
    toc = b"".join(struct.pack("<QQ", len(f), len(p)) for f, p in zip(frames, planes, strict=True))
    head = header(4, count, degree, body[13], flags, len(planes)) + struct.pack("<I12x", 32 + len(zone))
    return head + zone + toc + b"".join(frames)


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(path: Path, kind: type[LensError], *parts: str) -> None:
    """Reading fails with a one-line error of the kind that names the file and holds every part."""
    with pytest.raises(LensError) as caught:
        read_splats(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("turned", [True, False])
@pytest.mark.parametrize("version", [1, 2, 3, 4])
def test_one_splat_by_hand(tmp_path: Path, version: int, turned: bool) -> None:
    body = one(version, 1, SH_1, flags=1)
    data = packed(body, 1, 1) if version == 4 else gzip.compress(body)
    splats, info = read_splats(save(tmp_path / "a.spz", data), options=ReadOptions(as_stored=not turned))
    flip = -1 if turned else 1
    np.testing.assert_array_equal(splats.means, [[1, -2.5 * flip, 3 * flip]])
    np.testing.assert_allclose(splats.opacities, [51 / 255], rtol=1e-7)
    np.testing.assert_allclose(splats.scales, np.exp([[0, -10, 255 / 16 - 10]]), rtol=1e-6)
    dc = [0.5 / 0.15, -0.5 / 0.15, (128 / 255 - 0.5) / 0.15]
    rest = np.array([[-128, 0, 127], [64, -64, 0], [1, -1, 0]]) / 128
    # Half a turn about x turns y and z about, and of degree 1 the coefficients of y and z: the first and second.
    np.testing.assert_allclose(splats.sh[0], [dc, rest[0] * flip, rest[1] * flip, rest[2]], atol=1e-6)
    if version < 3:
        x, y, z = (64 / 127.5 - 1, 64 / 127.5 - 1, 128 / 127.5 - 1)
    else:
        x, z, w = -361 / 511 * np.sqrt(0.5), 0, 181 / 511 * np.sqrt(0.5)
        y = np.sqrt(1 - x * x - w * w)
    w = np.sqrt(1 - x * x - y * y - z * z)
    np.testing.assert_allclose(splats.quats, [[w, x, y * flip, z * flip]], atol=1e-6)
    assert (info.antialias, info.sh_degree, info.splats, info.warnings) == (True, 1, 1, ())


@pytest.mark.parametrize("bits", [0, 8, 12, 23, 30])
def test_fractional_bits(tmp_path: Path, bits: int) -> None:
    body = header(2, 2, 0, bits) + b"\xff\xff\x7f" * 3 + b"\x00\x00\x80" * 3 + 2 * REST + 2 * ROTATION_2
    body = body[:34] + b"\x33" * 2 + REST[1:4] * 2 + REST[4:] * 2 + 2 * ROTATION_2
    splats, _ = read_splats(save(tmp_path / "a.spz", body), options=STORED)
    np.testing.assert_array_equal(splats.means, [[(2**23 - 1) / 2**bits] * 3, [-(2**23) / 2**bits] * 3])


def test_largest_component_of_every_index(tmp_path: Path) -> None:
    """Others 1, 2 and 3 units in order, the last negative: they come out in order around the largest."""
    words = [largest << 30 | 1 << 20 | 2 << 10 | (512 + 3) for largest in range(4)]
    body = header(3, 4) + POSITION * 4 + b"\x33" * 4 + REST[1:4] * 4 + REST[4:] * 4 + struct.pack("<4I", *words)
    splats, _ = read_splats(save(tmp_path / "a.spz", gzip.compress(body)), options=STORED)
    a, b, c = np.array([1, 2, -3]) / 511 * np.sqrt(0.5)
    big = np.sqrt(1 - a * a - b * b - c * c)
    xyzw = [(big, a, b, c), (a, big, b, c), (a, b, big, c), (a, b, c, big)]
    np.testing.assert_allclose(splats.quats, np.roll(xyzw, 1, axis=1), atol=1e-7)


def test_rotations_too_long_are_shortened(tmp_path: Path) -> None:
    """Three components of sqrt(1/2), or of 1, are longer than a unit quaternion."""
    for version, rotation in ((3, struct.pack("<I", 3 << 30 | 511 << 20 | 511 << 10 | 511)), (2, b"\xff\xff\xff")):
        body = header(version, 1) + POSITION + REST + rotation
        splats, _ = read_splats(save(tmp_path / "a.spz", gzip.compress(body)), options=STORED)
        np.testing.assert_allclose(splats.quats, [[0, *[np.sqrt(1 / 3)] * 3]], atol=1e-6)


def test_the_writers_bytes_by_hand(tmp_path: Path) -> None:
    sh = np.zeros((1, 9, 3), np.float32)
    sh[0, 0] = 0, 10, -1  # bytes 127.5 rounds up, too bright, -38.25 + 127.5
    sh[0, 1] = 0.5, -1.5, 0.03  # y: turned; 5 bits: 8 apart; -0.03 * 128 = -3.84 is nearer to 0
    sh[0, 3] = 0.02, 0.05, 2  # x: stays; 2.56 is nearer to 0, 6.4 to 8
    sh[0, 8] = 0.0625, 0.06, 1  # x^2 - y^2: stays; 4 bits: 16 apart; 8 is rounded up, 7.68 down
    quats = np.array([[-0.8, 0.6, 0, 0]], np.float32)
    splats = Splats(
        np.array([[0.5, 1, -3.00011]], np.float32), quats, np.array([[1, 1e-9, 1e9]], np.float32),
        np.array([0.2], np.float32), sh,
    )  # fmt: skip
    path = tmp_path / "a.spz"
    source = Source.of(splats, SourceInfo(Path("x"), "test", 1, 2, 0, antialias=True))
    spz.write_spz(path, source, WriteOptions(spz_version=3))
    body = gzip.decompress(path.read_bytes())
    assert body[:16] == header(3, 1, 2, 12, flags=1)
    y, z = -4096, 12288  # 12288.45 is rounded down
    assert body[16:25] == b"".join(v.to_bytes(3, "little", signed=True) for v in (2048, y, z))
    assert body[25:32] == bytes([51, 128, 255, 89, 160, 0, 255])
    # w = 0.8 is the largest, index 3; x = -0.6: 0.6 * 511 * sqrt(2) = 433.6
    assert struct.unpack("<I", body[32:36])[0] == 3 << 30 | (512 + 434) << 20
    assert list(body[36:45]) == [64, 255, 128, 128, 128, 128, 128, 136, 255]
    assert list(body[45:]) == [128] * 12 + [144, 128, 255]
    assert spz.write_spz(path, source, WriteOptions(spz_version=4)) == path.stat().st_size
    data = path.read_bytes()
    assert data[:32] == header(4, 1, 2, 12, flags=1, last=6) + struct.pack("<I12x", 32)
    toc = list(struct.iter_unpack("<QQ", data[32:128]))
    assert [size for _, size in toc] == [9, 1, 3, 3, 4, 24]
    planes, at = b"", 128
    for compressed, size in toc:
        frame = data[at : at + compressed]
        assert zstandard.frame_content_size(frame) == size
        planes += zstandard.ZstdDecompressor().decompress(frame)
        at += compressed
    assert (planes, at) == (body[16:], len(data))


def assert_near(
    got: Splats, want: Splats, sh_step: tuple[float, float] = (1 / 16, 1 / 8), turn: float = 0.08
) -> None:
    """Errors of half a step of the format's; turn: what scales and rotations cost the covariance, of its largest.

    Half a step of a log scale is 1/32, and its square counts.
    """
    want = want.with_sh_degree(got.sh_degree)
    assert len(got) == len(want)
    np.testing.assert_allclose(got.means, want.means, rtol=0, atol=1.3e-4)
    np.testing.assert_allclose(got.opacities, want.opacities, rtol=0, atol=0.5001 / 255)
    cost = np.abs(covariances(got) - covariances(want)).max(axis=(1, 2)) / want.scales.max(axis=1) ** 2
    assert cost.max() < turn
    np.testing.assert_allclose(got.sh[:, 0], want.sh[:, 0], rtol=0, atol=0.5001 / 255 / 0.15)
    for part, step in ((slice(1, 4), sh_step[0]), (slice(4, 16), sh_step[1])):
        clipped = np.clip(want.sh[:, part], -1, 127 / 128)
        np.testing.assert_allclose(got.sh[:, part], clipped, rtol=0, atol=0.5001 * step + 0.5 / 128)


@pytest.fixture(scope="module")
def source() -> Splats:
    return read_splats(FIXTURES / "source.ply")[0]


@pytest.mark.parametrize(
    ("name", "degree", "antialias", "stored"),
    [
        ("library-v4-sh3", 3, True, False),
        ("library-v4-sh0", 0, False, False),
        ("library-v3-sh2", 2, False, False),
        ("library-v2-sh1", 1, False, False),
        ("splat-transform-v3", 3, False, True),
        ("splat-transform-v4", 3, False, True),
        ("gsply-v3", 3, False, True),
        ("gsply-v4", 3, False, True),
    ],
)
def test_files_of_other_tools(source: Splats, name: str, degree: int, antialias: bool, stored: bool) -> None:
    got, info = read_splats(FIXTURES / f"{name}.spz", options=ReadOptions(as_stored=stored))
    assert (info.sh_degree, info.antialias, info.warnings, info.ignored) == (degree, antialias, (), ())
    assert_near(got, source, turn=0.12 if "v2" in name else 0.08)
    quats = source.quats * np.sign(np.einsum("ij,ij->i", got.quats, source.quats))[:, None]
    np.testing.assert_allclose(got.quats, quats, atol=0.1 if "v2" in name else 0.002)  # w from the others
    other, _ = read_splats(FIXTURES / f"{name}.spz", options=ReadOptions(as_stored=not stored))
    np.testing.assert_allclose(other.means, got.means * (1, -1, -1), atol=1e-7)


def test_degree_4_is_reduced(source: Splats) -> None:
    got, info = read_splats(FIXTURES / "library-v4-sh4.spz")
    assert (info.sh_degree, info.warnings) == (3, ("SH of degree 4 was reduced to 3",))
    assert_near(got, source, (1 / 128, 1 / 128))


@pytest.mark.parametrize("name", [*(f"frame-{frame}" for frame in FRAMES), "library-v3-frame-RFU"])
def test_named_frames(source: Splats, name: str) -> None:
    """Every frame that a file can name gives the same splats; taken as stored, they are what the file holds."""
    got, info = read_splats(FIXTURES / f"{name}.spz")
    assert info.warnings == ()
    stored, _ = read_splats(FIXTURES / f"{name}.spz", options=STORED)
    inside = (stored.sh[:, 1:] > -1) & (stored.sh[:, 1:] < 127 / 128)
    rows = inside.all(axis=(1, 2))  # a quarter turn mixes coefficients, so one that was clipped spoils others
    assert rows.sum() > 15
    assert_near(got.take(rows), source.take(rows), (1 / 64, 1 / 64))
    assert (np.abs(stored.means - got.means).max() < 1e-3) == ("RDF" in name)


def test_extensions(tmp_path: Path) -> None:
    (orbit,) = read_splats(FIXTURES / "library-v4-orbit.spz")[1].ignored
    assert orbit == "SPZ_ADOBE_safe_orbit_camera"
    unknown = struct.pack("<II", 0x12340001, 3) + b"abc"
    rdf = struct.pack("<III", 0xADBE0003, 4, 6)
    what = "extension 0x12340001 (3 bytes) is unknown and was skipped"
    bad = struct.pack("<III", 0xADBE0003, 4, 17)
    no_frame = "SPZ_ADOBE_coordinate_system names no known frame; RUB is taken, as without it"
    long = struct.pack("<II", 0x12340001, 9) + b"abc"
    too_long = "extension 0x12340001 says 9 bytes where 3 follow; it was ignored"
    rest = "3 bytes after the last extension record were ignored"
    for zone, warnings, flip in (
        (unknown + rdf, (what,), 1),
        (rdf + unknown * 2, (what,), 1),
        (bad, (no_frame,), -1),
        (struct.pack("<II", 0xADBE0003, 2) + b"ab", (no_frame,), -1),
        (rdf + long, (too_long,), 1),
        (rdf + b"abc", (rest,), 1),
        (struct.pack("<III", 0xADBE0003, 4, 0), (), -1),
    ):
        for version, data in ((4, packed(one(4), 0, 2, zone)), (3, gzip.compress(one(3, flags=2) + zone))):
            splats, info = read_splats(save(tmp_path / "a.spz", data))
            assert info.warnings == warnings, version
            assert splats.means[0, 1] == -2.5 * flip, version
    # Without the flag there are none, whatever stands there.
    for data in (packed(one(4), 0, 0, rdf), gzip.compress(one(3) + rdf)):
        splats, info = read_splats(save(tmp_path / "a.spz", data))
        assert (info.warnings, splats.means[0, 1]) == ((), 2.5)


def test_halves_that_are_not_finite_are_dropped(tmp_path: Path) -> None:
    halves = np.array([[1, 2, 3], [np.inf, 0, 0], [0, np.nan, 0], [4, 5, 6]], "<f2").tobytes()
    body = header(1, 4) + halves + b"\x33" * 4 + REST[1:4] * 4 + REST[4:] * 4 + ROTATION_2 * 4
    splats, info = read_splats(save(tmp_path / "a.spz", gzip.compress(body)), options=STORED)
    np.testing.assert_array_equal(splats.means, [[1, 2, 3], [4, 5, 6]])
    assert info.dropped == {"NaN or infinity": 2}


def test_gzip_members_and_what_follows(tmp_path: Path) -> None:
    body = one(3, 1, SH_1)
    want, _ = read_splats(save(tmp_path / "a.spz", gzip.compress(body)))
    halves = gzip.compress(body[:10]) + gzip.compress(b"") + gzip.compress(body[10:])
    for data in (halves, gzip.compress(body) + b"junk", gzip.compress(body + b"more"), halves + bytes(3) + b"\x1f"):
        assert_same(read_splats(save(tmp_path / "a.spz", data))[0], want, {})
    long_name = io.BytesIO()
    with gzip.GzipFile("n" * 300, "wb", fileobj=long_name) as file:  # its header alone is longer than what is sniffed
        file.write(body)
    path = save(tmp_path / "no_extension", long_name.getvalue())
    assert_same(read_splats(path)[0], want, {})
    damaged = bytearray(gzip.compress(body))
    damaged[-5] ^= 1  # its checksum
    refused(save(tmp_path / "a.spz", bytes(damaged)), FormatError, "damaged before byte", "incorrect data check")


@pytest.mark.parametrize("kind", ["gzip", "raw", "zstd"])
def test_truncated_at_every_byte(tmp_path: Path, kind: str) -> None:
    body = one(3, 1, SH_1)
    whole = {"gzip": gzip.compress(body), "raw": body, "zstd": packed(one(4, 1, SH_1), 1)}[kind]
    assert len(read_splats(save(tmp_path / "a.spz", whole))[0]) == 1
    for size in range(len(whole)):
        with pytest.raises(LensError, match=r"a\.spz: "):
            read_splats(save(tmp_path / "a.spz", whole[:size]))


GZ, V4 = gzip.compress, packed(one(4))


@pytest.mark.parametrize(
    ("data", "kind", "parts"),
    [
        (b"", FormatError, ["0 bytes at the start, expected the 16 of an SPZ header"]),
        (b"hello, I am a text", FormatError, ["b'hell' at the start, expected b'NGSP'", "not an SPZ file"]),
        (GZ(b"hello, I am a text"), FormatError, ["b'hell' inside the gzip stream, expected b'NGSP'"]),
        (GZ(b"NGSP"), FormatError, ["4 bytes inside the gzip stream, expected the 16"]),
        (GZ(header(0, 1)), UnsupportedError, ["SPZ version 0; versions 1 to 4 are read"]),
        (header(5, 1) + bytes(99), UnsupportedError, ["SPZ version 5; versions 1 to 4 are read"]),
        (GZ(header(4, 1)), UnsupportedError, ["SPZ version 4 inside gzip"]),
        (GZ(header(3, 1, 5)), UnsupportedError, ["SH degree 5 (byte 12), expected 0 to 4"]),
        (GZ(header(3, 1, 0, 31)), FormatError, ["31 fractional bits (byte 13), expected 0 to 30"]),
        (GZ(header(3, 0)), FormatError, ["the header says 0 splats (byte 8)"]),
        (GZ(header(3, 2**32 - 1)), FormatError, ["promises 4294967295 splats of 20 bytes", "hold", "truncated"]),
        (header(2, 3) + bytes(56), FormatError, ["promises 3 splats of 19 bytes, but 56 bytes follow, enough for 2"]),
        (GZ(one(3)[:-1]), FormatError, ["the stream ends after 19 of the 20 bytes", "truncated"]),
        (V4[:31], FormatError, ["the file ends inside the 32 bytes of the header, after 31"]),
        (V4[:8] + b"\2" + V4[9:], FormatError, ["stream of positions is to hold 9 bytes, but 2 splats take 18"]),
        (V4[:15] + b"\4" + V4[16:], FormatError, ["4 streams (byte 15), expected 5: positions, alphas"]),
        (V4[:16] + b"\x1f" + V4[17:], FormatError, ["the table of 5 streams (byte 31) is not inside"]),
        (V4[:19] + b"\x80" + V4[20:], FormatError, ["the table of 5 streams", "is not inside the file's"]),
        (V4[:33] + b"\2" + V4[34:], FormatError, ["stream of positions at byte 112 is to have", "truncated"]),
        (V4[:112] + b"x" + V4[113:], FormatError, ["stream of positions at byte 112 is damaged (zstd"]),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, kind: type[LensError], parts: list[str]) -> None:
    tracemalloc.start()
    refused(save(tmp_path / "a.spz", data), kind, *parts)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def with_stream(frame: bytes, size: int, count: int = 1) -> bytes:
    """A version 4 file whose stream of positions is `frame`, said to hold `size` bytes."""
    rest = V4[112 + struct.unpack_from("<Q", V4, 32)[0] :]
    entry = struct.pack("<QQ", len(frame), size)
    return V4[:8] + struct.pack("<I", count) + V4[12:32] + entry + V4[48:112] + frame + rest


def test_streams_that_lie(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    path = tmp_path / "a.spz"
    refused(save(path, with_stream(pack(bytes(10)), 9)), FormatError, "stream of positions holds more than 9 bytes")
    refused(save(path, with_stream(pack(bytes(8)), 9)), FormatError, "stream of positions holds 8 of 9 bytes")
    two = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(4)) + pack(bytes(5))
    assert len(read_splats(save(path, with_stream(two, 9)))[0]) == 1
    # 16 MB of zeros, said to be 9 bytes and said to be 19 GB: neither is decoded whole.
    bomb = pack(bytes(16 << 20))
    tracemalloc.start()
    before = reset_peak()
    refused(save(path, with_stream(bomb, 9)), FormatError, "holds more than 9 bytes")
    count = 2**31
    refused(save(path, with_stream(bomb, 9 * count, count)), FormatError, "more than zstd can")
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    assert peak_bytes() - before < 32 << 20
    tracemalloc.stop()
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    frame = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    data = frame.compress(bytes(9)) + frame.flush()
    refused(save(path, with_stream(data, 9)), FormatError, "stream of positions", "is damaged (zstd")


def test_gzip_bombs_are_not_inflated(tmp_path: Path) -> None:
    """16 MB after the planes, and as many promised splats that never come."""
    tail = gzip.compress(one(3, flags=2) + bytes(16 << 20))[:-8]  # cut, which only shows to who reads so far
    never = gzip.compress(header(3, 10**6))
    never += bytes(20 * 10**6 // 1032)  # room for the promise to be plausible
    for data, parts in ((tail, None), (never, "the stream ends after 0 of the 20000000 bytes")):
        path = save(tmp_path / "a.spz", data)
        tracemalloc.start()
        if parts is None:
            assert len(read_splats(path)[0]) == 1
        else:
            with pytest.raises(FormatError, match=parts):
                list(open_source(path).chunks())
        assert tracemalloc.get_traced_memory()[1] < 6 << 20
        tracemalloc.stop()


def test_further_streams_and_bytes_are_said(tmp_path: Path) -> None:
    frame = zstandard.ZstdCompressor().compress(b"new")
    data = V4[:15] + b"\x07" + V4[16:112] + struct.pack("<QQQQ", 0, 0, len(frame), 3) + V4[112:] + frame + b"xy"
    _, info = read_splats(save(tmp_path / "a.spz", data))
    more = "1 more streams than the format's 5 were ignored"
    assert info.warnings == (more, "2 bytes after the last stream were ignored")


def test_mutated_contents(tmp_path: Path) -> None:
    """Damage before compression, where no checksum sees it: inside gzip, and the header and table of version 4."""
    path = tmp_path / "a.spz"
    bodies = [one(version, degree, SH_1 if degree else b"") for version in (1, 2, 3) for degree in (0, 1)]
    zone = struct.pack("<IIIII", 0xADBE0003, 4, 6, 0x12340001, 0)
    bodies += [one(3, flags=2) + zone]
    originals = [(True, body) for body in bodies] + [(False, packed(one(4, 1, SH_1), 1, 2, zone))]

    @settings(
        max_examples=1500, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.sampled_from(originals), st.lists(mutation(), min_size=1, max_size=4))
    def check(original: tuple[bool, bytes], mutations: list[Mutation]) -> None:
        zipped, data = original
        head = data if zipped else data[:152]  # header, extensions and table; the streams' own bytes follow
        for mutate in mutations:
            head = apply(mutate, head)
        path.write_bytes(gzip.compress(head, 1) if zipped else head + data[152:])
        check_reads_or_refuses(path)

    before = reset_peak()
    check()
    assert peak_bytes() - before < 64 << 20


@pytest.mark.parametrize("version", [3, 4])
def test_planes_may_wait_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    """Beyond SPOOL_BYTES memory does not grow with the file, and what is read is the same."""
    write_splats(tmp_path / "a.spz", random_splats(40_000, 2), options=WriteOptions(spz_version=version))
    source = open_source(tmp_path / "a.spz")
    want = Splats.concatenate(list(source.chunks()))
    monkeypatch.setattr(spz_payload, "SPOOL_BYTES", 1000)
    tracemalloc.start()
    for _ in source.chunks(1000):
        pass
    assert tracemalloc.get_traced_memory()[1] < 3 << 19  # decoded they are 1.8 MB, in float32 6 MB
    tracemalloc.stop()
    assert_same(Splats.concatenate(list(source.chunks(777))), want, {})


def test_full_disk_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_splats(tmp_path / "a.spz", random_splats(50, 0))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    monkeypatch.setattr(spz_payload, "SPOOL_BYTES", 100)
    for act in (lambda: read_splats(tmp_path / "a.spz"), lambda: write_splats(tmp_path / "b.spz", random_splats(5, 0))):
        with pytest.raises(LensError, match=r"[ab]\.spz: the temporary file .* set TMPDIR"):
            act()


@pytest.mark.parametrize(("far", "bits"), [(1, 12), (2047.9, 12), (2049, 11), (1e6, 3), (8_388_607, 0)])
def test_fewer_fractional_bits_for_wide_scenes(tmp_path: Path, far: float, bits: int) -> None:
    splats = random_splats(9, 0)
    splats.means[:] = np.clip(splats.means, -0.9, 0.9)
    splats.means[4, 1] = -far
    write_splats(tmp_path / "a.spz", splats)
    assert (tmp_path / "a.spz").read_bytes()[13] == bits
    got = read_splats(tmp_path / "a.spz")[0]
    np.testing.assert_allclose(np.sort(got.means, axis=0), np.sort(splats.means, axis=0), atol=0.51 / 2**bits)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    splats = random_splats(9, 0)
    splats.means[3, 2] = 9e6
    with pytest.raises(LensError, match=r"a\.spz: a splat is 9e\+06 units from the origin, and SPZ holds 8388607 at"):
        write_splats(tmp_path / "a.spz", splats)
    with pytest.raises(LensError, match=r"SPZ version 2 cannot be written; choose 3 or 4"):
        write_splats(tmp_path / "a.spz", splats, options=WriteOptions(spz_version=2))
    with pytest.raises(LensError, match=r"no splats to write"):
        write_splats(tmp_path / "a.spz", splats.take(slice(0, 0)))

    times: list[int] = []

    def grows(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        times.append(1)
        yield random_splats(5 + len(times), 0)

    with pytest.raises(LensError, match="the source changed while it was read"):
        spz.write_spz(tmp_path / "a.spz", Source(SourceInfo(Path("x"), "test", 9, 0, 0), grows), WriteOptions())
    assert list(tmp_path.iterdir()) == []


def test_rows_are_sorted_only_where_they_are_not(tmp_path: Path) -> None:
    splats = random_splats(3000, 0)
    write_splats(tmp_path / "a.spz", splats)
    order = np.argsort(morton_codes(splats.means, splats.means.min(axis=0), splats.means.max(axis=0)))
    got = read_splats(tmp_path / "a.spz")[0]
    np.testing.assert_allclose(got.means, splats.means[order], atol=1.3e-4)
    # In Z-order from the far end it is in order too, and stays.
    backwards = splats.take(order[::-1])
    write_splats(tmp_path / "b.spz", backwards)
    np.testing.assert_allclose(read_splats(tmp_path / "b.spz")[0].means, backwards.means, atol=1.3e-4)
    x_only = splats.take(np.argsort(splats.means[:, 0]))
    write_splats(tmp_path / "c.spz", x_only)
    assert (tmp_path / "c.spz").read_bytes() == (tmp_path / "a.spz").read_bytes()


@pytest.mark.parametrize("version", [3, 4])
def test_written_twice_is_the_same(tmp_path: Path, version: int) -> None:
    """What was read from a file is on its grid: writing it again loses nothing."""
    options = WriteOptions(spz_version=version)
    write_splats(tmp_path / "a.spz", random_splats(500, 3), options=options)
    once, info = read_splats(tmp_path / "a.spz")
    write_splats(tmp_path / "b.spz", once, replace(info, antialias=True), options)
    twice, info = read_splats(tmp_path / "b.spz")
    assert info.antialias is True
    assert_same(in_order_of(twice, once), once, {"scales": 1e-6, "quats": 2e-3})


@pytest.mark.data
def test_four_splats_of_every_fixture(data_dir: Path) -> None:
    """The same four splats in every container; v3 and v4 were turned by their maker, raw and v2 were not.

    raw and v2 hold colour bytes without the format's factor, so their colours are others.
    """
    folder = data_dir / "splat_transform_fixtures/splat"
    for name, stored in (("raw", True), ("v2", True), ("v3", False), ("v4", False)):
        got, info = read_splats(folder / f"minimal-{name}.spz", options=ReadOptions(as_stored=stored))
        assert info.warnings == ()
        np.testing.assert_array_equal(got.means, [[-1, 0, -1], [0, 0, -1], [-1, 0, 0], [0, 0, 0]])
        np.testing.assert_allclose(got.scales, 0.1, rtol=0.032)
        np.testing.assert_allclose(got.opacities, 0.9, atol=0.003)
        red = 0.5 + 0.28209479 * got.sh[:, 0, 0]
        want = np.array([1, 2, 1, 2]) / 3
        if stored:
            want = 0.5 + 0.28209479 * (want - 0.5) / 0.15
        np.testing.assert_allclose(red, want, atol=0.004)
