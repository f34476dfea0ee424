"""The .rad reader: what Spark's own decoder reads, an encoder of our own, bytes by hand, damage."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import open_source, rad_planes, read_splats
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import (
    ReaderConformance,
    assert_same,
    check_reads_or_refuses,
    peak_bytes,
    random_splats,
    reset_peak,
)
from tests.rad_files import C0, blob, deflated, write_rad

MADE = Path(__file__).parent / "fixtures/rad/made.zip"
#: exp(24 / e): the largest opacity that Spark's encoding of merged splats holds.
MOST_OPACITY = 7000.0
FLOATS = {
    "center": "f32", "alpha": "f32", "rgb": "f32", "scales": "f32", "orientation": "f32", "sh": "f32",
}  # fmt: skip


class TestRad(ReaderConformance):
    """As Spark writes trained scenes: bytes for all but the centres."""

    format_name = "rad"
    mutations = 300
    most_opacity = MOST_OPACITY
    tolerance = {"quats": 0.15, "scales": 0.042, "opacities": 0.02, "sh": 0.11}  # noqa: RUF012

    def make(self, folder: Path, splats: Splats) -> Path:
        return write_rad(folder / "scene.rad", splats, chunk_splats=300 if len(splats) > 9 else 3)


class TestRadTree(ReaderConformance):
    """A level-of-detail tree in half floats, every tenth splat a merged one; chunks in files beside."""

    format_name = "rad"
    mutations = 150
    most_opacity = MOST_OPACITY
    tolerance = {"means": 1e-3, "quats": 0.3, "scales": 4e-3, "opacities": 2e-3, "sh": 1e-2}  # noqa: RUF012

    def make(self, folder: Path, splats: Splats) -> Path:
        kinds = {"center": "f16", "alpha": "f16", "rgb": "f16", "scales": "ln_f16", "orientation": "f16", "sh": "f16"}
        path, children = folder / "scene.rad", with_merged(splats)[1]
        merged = with_merged(splats)[0]
        return write_rad(path, merged, kinds, 300 if len(splats) > 9 else 3, children, beside="part-")

    def test_recognised_by_content(self, tmp_path: Path) -> None:
        """The parent's test, with the name changed in place: the chunks stand beside."""
        path = self.make(tmp_path, random_splats(3, 0))
        renamed = path.rename(tmp_path / "no_extension")
        assert read_splats(renamed)[1].format == "rad"


def with_merged(splats: Splats) -> tuple[Splats, np.ndarray]:
    """The splats with a merged one before every ten, and (N, 2) number and first of children."""
    rows = np.array([r for i in range(len(splats)) for r in ([0, i] if i % 10 == 0 else [i])])
    merged = np.array([i % 11 == 0 for i in range(len(rows))])
    all_rows = splats.take(rows)
    all_rows.opacities[merged] = 1.5
    return all_rows, np.where(merged[:, None], [[3, 1]], [[0, 0]])


def refused(path: Path, *parts: str, kind: type[LensError] = FormatError) -> None:
    with pytest.raises(LensError) as caught:
        read_splats(path)
    message = str(caught.value)
    assert type(caught.value) is kind, message
    assert message.startswith(f"{path}: ") and message.isprintable()
    for part in parts:
        assert part in message, message


def halves(words: np.ndarray) -> np.ndarray:
    return (words & 0xFFFF).astype(np.uint16).view(np.float16).astype(np.float64)


def shared_exponent(words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) colours of Spark's words of SH, and (N, 1) the step: three bytes, an exponent and three signs."""
    step = np.exp2((words >> 27).astype(float) - 15)[:, None] / 255
    shifts = np.array([0, 8, 16], np.uint32)
    return (words[:, None] >> shifts & 255) * step * np.where(words[:, None] >> shifts // 8 + 24 & 1, -1, 1), step


def as_spark_stores(sh: np.ndarray) -> np.ndarray:
    """Its words hold no more than the power of two below the largest of three: the others are cut off there."""
    top = np.exp2(np.floor(np.log2(np.abs(sh).max(axis=1, keepdims=True))).clip(-15, 16))
    return np.clip(sh, -top, top)


def unfolded(word: np.ndarray) -> np.ndarray:
    """(N, 4) w x y z of Spark's 10 + 10 + 12 bits."""
    xy = np.stack([word & 1023, word >> 10 & 1023], axis=1) / 1023 * 2 - 1
    z = 1 - np.abs(xy).sum(axis=1)
    xy = np.where(z[:, None] < 0, (1 - np.abs(xy[:, ::-1])) * np.where(xy >= 0, 1, -1), xy)
    axis = np.column_stack([xy, z])
    half = (word >> 20)[:, None] / 4095 * np.pi / 2
    return np.column_stack([np.cos(half), np.sin(half) * axis / np.linalg.norm(axis, axis=1, keepdims=True)])


@pytest.mark.parametrize(
    "name", ["usual0", "usual3", "f32", "f16", "bytes", "r8_delta", "unpacked", "zero", "codes30", "tree", "tree8"]
)
def test_what_spark_reads(tmp_path: Path, name: str) -> None:
    """Every value is the one that Spark 2.2.0's decoder reads from the file, within the step it then keeps it in."""
    path = tmp_path / "a.rad"
    with zipfile.ZipFile(MADE) as archive:
        path.write_bytes(archive.read(f"{name}.rad"))
        names = [n for n in archive.namelist() if n.startswith(f"{name}.rad.")]
        words = {n.split(".")[-1]: np.frombuffer(archive.read(n), "<u4").reshape(-1, 4) for n in names}
    splats, info = read_splats(path)
    tree = words.pop("lodTree", None)
    if tree is not None:
        leaf = tree[:, 2] & 0xFFFF == 0
        assert (len(leaf), leaf.sum(), len(splats)) == (156, 120, 120)
        assert info.warnings == (
            "36 merged splats of its level-of-detail tree are left out; its 120 leaves are the scene",
        )
        words = {key: value[leaf] for key, value in words.items()}
    a, b = words["ext0"], words["ext1"]
    np.testing.assert_array_equal(splats.means, a[:, :3].copy().view("<f4"))
    np.testing.assert_allclose(splats.opacities, halves(a[:, 3]), rtol=2**-11)
    rgb = np.column_stack([halves(b[:, 0]), halves(b[:, 0] >> 16), halves(b[:, 1])])
    np.testing.assert_allclose(0.5 + C0 * splats.sh[:, 0], rgb, rtol=2**-11, atol=1e-7)
    logs = np.column_stack([halves(b[:, 1] >> 16), halves(b[:, 2]), halves(b[:, 2] >> 16)])
    nothing = logs == -np.inf
    assert nothing.sum() == (name == "zero")
    assert (splats.scales[nothing] == np.finfo(np.float32).tiny).all()
    np.testing.assert_allclose(np.log(splats.scales)[~nothing], logs[~nothing], rtol=2**-11, atol=1e-6)
    quats = unfolded(b[:, 3])
    sign = np.sign(np.einsum("ij,ij->i", quats, splats.quats))[:, None]
    np.testing.assert_allclose(splats.quats, quats * sign, atol=3e-3)
    keys = [("sh1", 0), ("sh1", 1), ("sh1", 2), ("sh1", 3), *(("sh2", k) for k in range(4))]
    keys += [*(("sh3a", k) for k in range(4)), *(("sh3b", k) for k in range(3))]
    assert info.sh_degree == len({"sh1", "sh2", "sh3a"} & set(words))
    for k, (key, column) in enumerate(keys[: splats.sh.shape[1] - 1], 1):
        if name == "codes30" and k == 4:
            continue  # it loses this one where there are codes: its word is 0
        theirs, step = shared_exponent(words[key][:, column])
        ours = as_spark_stores(splats.sh[:, k].astype(np.float64))
        assert (np.abs(ours - theirs) <= 0.51 * step + 1e-6).all(), k


def test_columns_by_hand(tmp_path: Path) -> None:
    """Two splats, every column written out: planes, byte planes, differences, bounds, an angle on an octahedron."""
    half = np.array([0.25, -1.5, 2, 4, 1, 8], "<f2").view("<u2")
    columns = [
        ("center", "f16_lebytes", [*(half & 255), *(half >> 8)], {}),  # x of both, y of both, z of both
        ("alpha", "r8", [51, 255], {"min": 0, "max": 1}),
        ("rgb", "r8_delta", [255, 2, 0, 51, 102, 255], {"min": 0, "max": 1}),  # 255 + 2 wraps to 1; 102 + 255 to 101
        ("scales", "ln_0r8", [1, 255, 0, 128, 128, 1], {"min": -12, "max": 9}),
        ("orientation", "oct88r8", [255, 128, 255, 0, 0, 85], {}),  # half a turn about x; 60 degrees about -z
        ("sh1", "s8_delta", [127, 2, *[0] * 15, 1], {"min": -2, "max": 2}),
    ]  # fmt: skip
    payload, properties = b"", []
    for name, encoding, values, bounds in columns:
        entry = {"offset": len(payload), "bytes": len(values), "property": name, "encoding": encoding} | bounds
        properties.append(entry)
        payload += bytes(int(v) for v in values) + bytes(-len(values) % 8)
    meta = {"version": 1, "base": 0, "count": 2, "payloadBytes": len(payload), "properties": properties}
    chunk = blob(b"RADC", meta) + struct.pack("<Q", len(payload)) + payload
    whole = {"version": 1, "type": "gsplat", "count": 2, "maxSh": 1, "allChunkBytes": len(chunk)}
    path = tmp_path / "a.rad"
    path.write_bytes(blob(b"RAD0", whole | {"chunks": [{"offset": 0, "bytes": len(chunk)}]}) + chunk)
    splats, info = read_splats(path)
    assert (info.format, info.splats, info.sh_degree, info.up, info.files) == ("rad", 2, 1, None, (path,))
    np.testing.assert_array_equal(splats.means, [[0.25, 2, 1], [-1.5, 4, 8]])
    np.testing.assert_array_equal(splats.opacities, np.array([0.2, 1], np.float32))
    np.testing.assert_allclose(0.5 + C0 * splats.sh[:, 0], [[1, 0, 0.4], [1 / 255, 0.2, 101 / 255]], atol=1e-7)
    tiny, middle = np.finfo(np.float32).tiny, np.exp(-12 + 127 * 21 / 254)
    np.testing.assert_allclose(splats.scales, [[np.exp(-12), tiny, middle], [np.exp(9), middle, np.exp(-12)]], 1e-6)
    np.testing.assert_allclose(splats.quats[0], [0, 1, 0, 0], atol=4e-3)
    np.testing.assert_allclose(splats.quats[1], [np.sqrt(0.75), 0, 0, -0.5], atol=1e-7)
    # Coefficients one after another, colours innermost; 127 + 2 wraps to -127, 0 + 1 is a step of 2 / 127.
    want = np.zeros((2, 9))
    want[:, 0], want[1, 8] = [2, -2], 2 / 127
    np.testing.assert_allclose(splats.sh[:, 1:].reshape(2, 9), want, atol=1e-7)


def test_opacities_above_one(tmp_path: Path) -> None:
    """Of merged splats: 1 + (D - 1) / 4 is stored, D = sqrt(1 + e ln a), no more than D = 5 counts."""
    splats = random_splats(6, 0)
    splats.opacities[:] = [0, 0.5, 1, 1.25, 2, 3]
    got = read_splats(write_rad(tmp_path / "a.rad", splats, FLOATS))[0].opacities
    most = np.exp(24 / np.e)
    np.testing.assert_allclose(got, [0, 0.5, 1, np.exp(3 / np.e), most, most], rtol=1e-6)
    assert most < MOST_OPACITY


@pytest.mark.parametrize("packed", [deflated, lambda data: deflated(data, 31), None])
def test_compression(tmp_path: Path, packed: Callable[[bytes], bytes] | None) -> None:
    """Raw deflate as Spark means by "gz", a gzip member as the name says, or none: the values are exact."""
    want = random_splats(50, 3)
    got, _ = read_splats(write_rad(tmp_path / "a.rad", want, FLOATS, 20, pack=packed))
    assert_same(got, want, {"quats": 5e-3, "sh": 1e-6})


def test_codebook(tmp_path: Path) -> None:
    """Fewer codes than splats, labels of two or four bytes, chunks after the first have labels only."""
    want, codes = random_splats(50, 3), random_splats(7, 3, seed=1)
    labels = np.random.default_rng(2).integers(0, 7, 50)
    want.sh[:, 1:] = codes.sh[labels, 1:]
    for label in ("u16", "u32"):
        path = write_rad(tmp_path / "a.rad", want, FLOATS | {"label": label}, 20, codebook=(codes, labels))
        assert_same(read_splats(path)[0], want, {"quats": 5e-3, "sh": 1e-6})
    labels[33] = 7
    path = write_rad(tmp_path / "a.rad", want, chunk_splats=20, codebook=(codes, labels))
    refused(path, "SH code 7 past the 7 of its codebook", "again")
    path = write_rad(tmp_path / "a.rad", want, chunk_splats=20, codebook=(codes, labels % 7), chunk=without("sh2_code"))
    refused(path, "chunk 0: without sh2_code")
    lies = changed(shCodeCount=2**40)
    refused(write_rad(path, want, codebook=(codes, labels % 7), header=lies), "1099511627776 SH codes for 50 splats")


def test_degree_zero_of_a_file_with_sh(tmp_path: Path) -> None:
    """maxSh of the header decides; above 3 it is cut and said."""
    want = random_splats(20, 3)
    assert read_splats(write_rad(tmp_path / "a.rad", want, header=changed(maxSh=1)))[1].sh_degree == 1
    splats, info = read_splats(write_rad(tmp_path / "a.rad", want, header=changed(maxSh=4)))
    assert splats.sh_degree == 3
    assert info.warnings == ("SH of degree 4 are reduced to degree 3",)


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    def more(number: int, meta: dict) -> dict:
        meta["properties"].append({"property": "normals", "encoding": "x9", "offset": 0, "bytes": 3})
        return meta

    assert read_splats(write_rad(tmp_path / "a.rad", random_splats(20, 1), chunk=more))[1].ignored == ("'normals'",)


def test_any_size_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences are summed up across the blocks that a column is inflated in, and start anew with each dimension."""
    for encoding in ("s8_delta", "r8_delta", "f16_lebytes"):
        path = write_rad(tmp_path / "a.rad", random_splats(50, 1), {"sh": encoding}, 20)
        want, _ = read_splats(path)
        for block in (1, 7, 20, 33, 100):
            monkeypatch.setattr(rad_planes, "BLOCK", block)
            assert_same(read_splats(path)[0], want, {})
        monkeypatch.undo()


def test_large_chunks_are_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All splats in one chunk of 5 MB, above what is kept in memory."""
    monkeypatch.setattr(rad_planes, "SPOOL_BYTES", 1 << 19)
    splats = random_splats(150_000, 0)
    source = open_source(write_rad(tmp_path / "a.rad", splats, {"orientation": "f16"}, 150_000))
    tracemalloc.start()
    count = sum(len(part) for part in source.chunks(2048))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 150_000
    assert peak < 3 << 20, peak


def changed(**values: Any) -> Callable[[dict], dict]:
    """A change of a header: None takes a key away."""
    return lambda meta: {k: v for k, v in (meta | values).items() if v is not None}


def without(*names: str) -> Callable[[int, dict], dict]:
    """A change of chunks: columns are taken away."""
    return lambda number, meta: meta | {"properties": [p for p in meta["properties"] if p["property"] not in names]}


def with_property(name: str, **values: Any) -> Callable[[int, dict], dict]:
    """A change of chunks: in what a column is said to be."""

    def change(number: int, meta: dict) -> dict:
        found = [p | values if p["property"] == name else p for p in meta["properties"]]
        return meta | {"properties": [{k: v for k, v in p.items() if v is not None} for p in found]}

    return change


@pytest.mark.parametrize(
    ("header", "kind", "part"),
    [
        (changed(version=2), UnsupportedError, "version 2 of .rad; version 1 is read"),
        (changed(version="1"), UnsupportedError, "version '1' of .rad"),
        (changed(type="mesh"), UnsupportedError, "holds 'mesh'; only 'gsplat' is read"),
        (changed(count=0), FormatError, "the header says 0 splats"),
        (changed(count=-5), FormatError, "count is -5, expected a whole number"),
        (changed(count=2.5), FormatError, "count is 2.5, expected a whole number"),
        (changed(count=True), FormatError, "count is True, expected a whole number"),
        (changed(count=10**400), FormatError, "count is 1000"),
        (changed(count=2**52), FormatError, "4503599627370496 splats in chunks of 20, but 3 chunks are listed"),
        (changed(count=61), FormatError, "61 splats in chunks of 20, but 3 chunks"),
        (changed(chunkSize=0), FormatError, "50 splats in chunks of 0, but 3 chunks"),
        (changed(chunkSize=None), FormatError, "50 splats in chunks of 50, but 3 chunks"),
        (changed(chunkSize=21), FormatError, "chunk 0: 20 splats from the 0th on, expected 21 from 0"),
        (changed(count=59), FormatError, "chunk 2: 10 splats from the 40th on, expected 19 from 40"),
        (changed(chunks=None), FormatError, "the header has no list of chunks"),
        (changed(chunks=[1, 2, 3]), FormatError, "the header has no list of chunks"),
        (changed(chunks=[{}] * 3), FormatError, "offset is None, expected a whole number"),
        (changed(chunks=[{"offset": 0, "bytes": 2**50}] * 3), FormatError, "the file is truncated"),
        (changed(chunks=[{"offset": 4, "bytes": 99}] * 3), FormatError, "chunk 0: starts with b"),
        (changed(chunks=[{"offset": 0, "bytes": 5}] * 3), FormatError, "chunk 0: has 5 bytes"),
        (changed(chunks=[{"offset": 0, "bytes": 99}] * 3), FormatError, "chunk 0 has"),
        (changed(maxSh="many"), FormatError, "maxSh is 'many'"),
        (changed(maxSh=3), FormatError, "chunk 0: without sh2, sh3"),
        (changed(lodTree=True), FormatError, "chunk 0: without child_count"),
        (lambda meta: [meta], FormatError, "the header is no JSON object (not an object)"),
        (lambda meta: b"{", FormatError, "the header is no JSON object (Expecting"),
        (lambda meta: b"\xff\xfe{}", FormatError, "the header is no JSON object ("),
        (lambda meta: b"[" * 100_000, FormatError, "the header is no JSON object ("),
        (lambda meta: b'{"count":' + b"9" * 6000 + b"}", FormatError, "the header is no JSON object ("),
        (lambda meta: b'{"version": 1, "type": "gsplat", "count": NaN}', FormatError, "count is nan"),
    ],
)
def test_bad_headers(tmp_path: Path, header: Callable[[dict], Any], kind: type[LensError], part: str) -> None:
    refused(write_rad(tmp_path / "a.rad", random_splats(50, 1), chunk_splats=20, header=header), part, kind=kind)


@pytest.mark.parametrize(
    ("chunk", "kind", "part"),
    [
        (lambda n, meta: meta | {"version": 3}, UnsupportedError, "chunk 0: version 3; version 1 is read"),
        (lambda n, meta: meta | {"base": 7}, FormatError, "chunk 0: 20 splats from the 7th on, expected 20 from 0"),
        (lambda n, meta: meta | {"count": 10**9}, FormatError, "chunk 0: 1000000000 splats from the 0th on"),
        (lambda n, meta: meta | {"properties": {}}, FormatError, "chunk 0: no list of properties"),
        (lambda n, meta: meta | {"properties": [0]}, FormatError, "chunk 0: no list of properties"),
        (lambda n, meta: meta | {"properties": 2 * meta["properties"]}, FormatError, "'center' is there twice"),
        (without("alpha", "scales"), FormatError, "chunk 0: without alpha, scales"),
        (without("sh1"), FormatError, "chunk 0: without sh1"),
        (with_property("rgb", encoding="r9"), UnsupportedError, "rgb is encoded as 'r9', which is not read"),
        (with_property("rgb", encoding=[1]), UnsupportedError, "rgb is encoded as [1], which is not read"),
        (with_property("center", encoding="oct88r8"), UnsupportedError, "center is encoded as 'oct88r8'"),
        (with_property("center", encoding="u32"), UnsupportedError, "center is encoded as 'u32'"),
        (with_property("rgb", compression="zstd"), UnsupportedError, "rgb is compressed as 'zstd'; 'gz' is read"),
        (with_property("rgb", compression=None), FormatError, "rgb has"),
        (with_property("rgb", bytes=2**40), FormatError, "rgb ends at byte 10995"),
        (with_property("rgb", offset=-8), FormatError, "offset is -8"),
        (with_property("rgb", min=None), FormatError, "min is None, expected a number"),
        (with_property("rgb", max="1"), FormatError, "max is '1', expected a number"),
        (with_property("rgb", max=10**400), FormatError, "max is 1000"),
        (with_property("rgb", bytes=0), FormatError, "rgb has 0 bytes for 20 rows, which decode to 60"),
        (with_property("rgb", bytes=9), FormatError, "rgb ends with"),
        (with_property("rgb", encoding="f32"), FormatError, "rgb ends with 180 bytes missing"),
        (with_property("center", encoding="f16"), FormatError, "center decompresses to more than its rows take"),
        (with_property("rgb", offset=3), FormatError, "rgb "),
    ],
)
def test_bad_chunks(tmp_path: Path, chunk: Callable[[int, dict], Any], kind: type[LensError], part: str) -> None:
    refused(write_rad(tmp_path / "a.rad", random_splats(50, 1), chunk_splats=20, chunk=chunk), part, kind=kind)


def test_wrong_files(tmp_path: Path) -> None:
    path = tmp_path / "a.rad"
    path.write_bytes(b"RAD1" + bytes(99))
    refused(path, "not a .rad file: it starts with b'RAD1', expected b'RAD0'")
    path.write_bytes(b"")
    refused(path, "not a .rad file: it starts with b''")
    write_rad(tmp_path / "b.rad", random_splats(50, 0), beside="part-")
    refused(tmp_path / "part-0.radc", "one chunk of a scene in several files", kind=UnsupportedError)


def test_payload_that_lies(tmp_path: Path) -> None:
    """The payload's length stands after the chunk's JSON: too long for the chunk, or too short for its columns."""
    path = write_rad(tmp_path / "a.rad", random_splats(9, 0))
    data = path.read_bytes()
    chunk = data.index(b"RADC")
    at = chunk + 8 + (int.from_bytes(data[chunk + 4 : chunk + 8], "little") + 7) // 8 * 8
    (length,) = struct.unpack_from("<Q", data, at)
    for lie, part in ((length + 1, "chunk 0: its payload"), (2**64 - 1, "its payload ends at byte 1844674")):
        path.write_bytes(data[:at] + struct.pack("<Q", lie) + data[at + 8 :])
        refused(path, part, f"of {len(data) - chunk}")
    path.write_bytes(data[:at] + struct.pack("<Q", 8) + data[at + 8 :])
    refused(path, "chunk 0: center ends at byte", "of a payload of 8")


def test_truncated(tmp_path: Path) -> None:
    whole = write_rad(tmp_path / "a.rad", random_splats(9, 1), chunk_splats=5).read_bytes()
    path = tmp_path / "cut.rad"
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        with pytest.raises(LensError, match=r"cut\.rad: .*again"):
            read_splats(path)


def test_bombs(tmp_path: Path) -> None:
    """A column that inflates to 64 MB, or is promised to, is refused before that."""
    bombs = {"alpha": bytes(64 << 20)}
    path = write_rad(tmp_path / "a.rad", random_splats(20, 0), column=lambda name, data: bombs.get(name, data))
    tracemalloc.start()
    refused(path, "alpha decompresses to more than its rows take")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    count = 10**9
    lies = changed(count=count, chunkSize=count)
    path = write_rad(path, random_splats(20, 0), header=lies, chunk=lambda n, meta: meta | {"count": count})
    refused(path, "center has", "bytes for 1000000000 rows, which decode to 12000000000")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_chunks_in_files_beside(tmp_path: Path) -> None:
    """Found in the scene's folder or below, counted among its files; missing, cut or elsewhere they are refused."""
    splats = random_splats(50, 1)
    (tmp_path / "parts").mkdir()
    path = write_rad(tmp_path / "a.rad", splats, FLOATS, 20, beside="parts/p")
    got, info = read_splats(path)
    assert_same(got, splats, {"quats": 5e-3, "sh": 1e-6})
    parts = tuple(tmp_path / f"parts/p{i}.radc" for i in range(3))
    assert info.files == (path, *parts)
    assert info.bytes == sum(file.stat().st_size for file in info.files)
    data = parts[1].read_bytes()
    parts[1].write_bytes(data[:-1])
    refused(path, "chunk 1:", f"bytes from byte 0 on of 'p1.radc', which has {len(data) - 1}: it is truncated")
    parts[1].unlink()
    refused(path, "chunk 1 is in 'parts/p1.radc', which is not there; keep it beside", kind=LensError)
    parts[1].symlink_to("/etc/hostname")
    refused(path, "chunk 1 in 'parts/p1.radc' leads out of the scene's folder")
    for name in ("/etc/passwd", "../a", "x/../../a", "..", "", "c:\\x", "a\\b", "http://host/a", "a\nb", 7, "x" * 2000):

        def tricked(meta: dict, name: Any = name) -> dict:
            return meta | {"chunks": [entry | {"filename": name} for entry in meta["chunks"]]}

        refused(write_rad(tmp_path / "b.rad", splats, header=tricked), "chunk 0 is said to be in", "no file beside")


def test_a_tree_without_leaves(tmp_path: Path) -> None:
    splats = random_splats(5, 0)
    path = write_rad(tmp_path / "a.rad", splats, children=np.ones((5, 2), int))
    refused(path, "no splat of its tree is a leaf")


def test_infinities_are_dropped(tmp_path: Path) -> None:
    splats = random_splats(9, 1)
    splats.scales[2, 1], splats.means[3, 0], splats.sh[4, 2, 1] = np.inf, np.nan, np.inf
    splats.sh[5, 0, 0] = -np.inf
    info = read_splats(write_rad(tmp_path / "a.rad", splats, FLOATS))[1]
    assert info.dropped == {"NaN or infinity": 3, "scale overflow": 1}


def test_mutated_columns(tmp_path: Path) -> None:
    """Damage inside what is compressed, and to the compressed bytes: read or refused, in bounded memory."""
    rng = np.random.default_rng(4)
    path = tmp_path / "a.rad"
    kinds = [{}, FLOATS, {"alpha": "f16", "rgb": "f16", "scales": "ln_f16", "orientation": "f16", "sh": "s8_delta"}]
    merged, children = with_merged(random_splats(11, 1))
    scenes = [(random_splats(7, 2), None), (merged, children)]
    before = reset_peak()
    for i in range(300):
        target = rng.choice(["center", "alpha", "rgb", "scales", "orientation", "sh1", "sh2", "child_count"])

        def damage(data: bytes) -> bytes:
            values = bytearray(data)
            for at in rng.integers(0, len(values), rng.integers(1, 4)):
                values[at] = rng.choice([0, 255, 127, 128, rng.integers(256)])
            return bytes(values[: len(values) - rng.integers(0, 2) * rng.integers(0, 3)])

        splats, tree = scenes[i % 2]
        inside = bool(rng.integers(4))
        write_rad(
            path, splats, kinds[rng.integers(3)], 5, tree,
            pack=deflated if inside else lambda data: damage(zlib.compress(data, wbits=-15)),
            column=lambda name, data, target=target, inside=inside: damage(data) if inside and name == target else data,
        )  # fmt: skip
        check_reads_or_refuses(path, MOST_OPACITY)
    assert peak_bytes() - before < 64 << 20


def test_header_of_spark_is_padded_json(tmp_path: Path) -> None:
    """These tests write what Spark writes: indented JSON with a line end, chunks from a multiple of 8 on."""
    data = write_rad(tmp_path / "a.rad", random_splats(5, 0)).read_bytes()
    length = int.from_bytes(data[4:8], "little")
    assert data[8 + length - 2 : 8 + length] == b"}\n"
    assert json.loads(data[8 : 8 + length])["chunks"][0]["offset"] == 0
    assert data[8 + (length + 7) // 8 * 8 :][:4] == b"RADC"
