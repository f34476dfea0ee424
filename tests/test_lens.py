"""The .lens container: what is written is read back, in few requests, and every damage is named."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer.camera import Camera
from splatlens.viewer.convert import build_lens, start_camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.lens import BlobLayer, LensReader, SplatsLayer, write_lens
from splatlens.viewer.lens_blocks import deflate, inflate, prepend
from splatlens.viewer.lens_layout import CONTENT_ID_BYTES, HEAD_BYTES, NONE, SectionKind
from splatlens.viewer.lens_nodes import float32_up
from splatlens.viewer.paging import paginate
from splatlens.viewer.scene import Kernel, SceneInfo
from splatlens.viewer.tree import Tree
from tests.lens_scenes import Tampered, random_splats, random_tree

CAMERA = Camera.look_at((3, -1, 3), (0, 0, 0), (0, -1, 0), 50, 640, 360)
INFO = SceneInfo(
    title="Über", attribution="Somebody", licence="CC0", source="a.ply", converter="splatlens 1", up=(0, 0, 1),
    background=(0.1, 0.2, 0.3), camera=CAMERA, cameras=(CAMERA, replace(CAMERA, width=320)) * 20,
    thumbnail=b"\x89PNG\r\n\x1a\n" + bytes(500),
)  # fmt: skip
SHIFT = np.array([[2, 0, 0, 1], [0, 0, -2, 0], [0, 2, 0, 5], [0, 0, 0, 1]], np.float64)


def written(tmp_path: Path, layers: list[Any], info: SceneInfo = INFO) -> bytes:
    write_lens(tmp_path / "scene.lens", layers, info)
    return (tmp_path / "scene.lens").read_bytes()


@cache
def tree(clusters: int = 60, seed: int = 1, sh_degree: int = 2) -> Tree:
    return random_tree(clusters, seed, sh_degree=sh_degree)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One layer of 60 clusters with SH 2, 20 cameras and a thumbnail."""
    return written(tmp_path_factory.mktemp("scene"), [SplatsLayer(tree())])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """One layer of 3,000 small clusters: more pages than the first directory block holds."""
    return written(tmp_path_factory.mktemp("large"), [SplatsLayer(random_tree(3000, 3, rows=2))], SceneInfo())


class Counted:
    """get_bytes that remembers what was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, length: int) -> bytes:
        self.asked.append((offset, length))
        return self.data[offset : offset + length]


def same_camera(a: Camera, b: Camera) -> bool:
    return np.array_equal(a.world_to_camera, b.world_to_camera) and replace(a, world_to_camera=b.world_to_camera) == b


def test_scene_facts_come_back(scene: bytes) -> None:
    reader = LensReader.of_bytes(scene)
    own = reader.scene
    for name in ("title", "attribution", "licence", "source", "converter", "up", "background"):
        assert getattr(own, name) == getattr(INFO, name)
    assert own.camera is not None and same_camera(own.camera, CAMERA)
    cameras = reader.cameras()
    assert len(cameras) == 40 and all(same_camera(a, b) for a, b in zip(cameras, INFO.cameras, strict=True))
    assert reader.thumbnail() == INFO.thumbnail
    assert own.bounds is not None
    means = tree().splats.means
    assert np.array_equal(np.array(own.bounds), [means.min(axis=0), means.max(axis=0)])
    facts = reader.facts()
    assert facts["bytes"] == len(scene) and facts["attachments"] == ["cameras", "thumbnail"]
    layer = facts["layers"][0]
    assert layer["properties"]["clusters"] == 60 and layer["properties"]["sh_degree"] == 2
    assert 0 < layer["sh_bytes"] < len(scene) and 0 < layer["geometry_bytes"] < len(scene)
    reader.check()


def test_nodes_are_the_trees(scene: bytes) -> None:
    own, pages = tree(), paginate(tree())
    nodes, order = LensReader.of_bytes(scene).splats(0).nodes(), pages.order
    place = np.argsort(order)
    assert np.array_equal(nodes.count, own.count[order])
    assert np.array_equal(nodes.child_count, own.child_count[order])
    inner = nodes.child_count > 0
    assert np.array_equal(nodes.child_first[inner], place[own.child_first[order][inner]])
    assert (nodes.child_first[~inner] == 0).all() and (nodes.child_page[~inner] == -1).all()
    page = np.repeat(np.arange(len(pages)), np.diff(pages.first))
    assert np.array_equal(nodes.child_page[inner], page[nodes.child_first[inner]])
    # Bounds may only grow, and by no more than a float32 step.
    error, support, sphere, box = (getattr(own, k)[order] for k in ("error", "support", "sphere", "box"))
    assert (nodes.error >= error).all() and np.allclose(nodes.error, error, rtol=2e-7, atol=0)
    for got, want in ((nodes.support, support), (nodes.box, box)):
        assert (got[:, 0] <= want[:, 0]).all() and (got[:, 1] >= want[:, 1]).all()
        assert np.allclose(got, want, rtol=1e-6)
    moved = np.linalg.norm(nodes.sphere[:, :3] - sphere[:, :3], axis=1)
    assert (nodes.sphere[:, 3] >= sphere[:, 3] + moved).all()
    assert np.allclose(nodes.sphere, sphere, rtol=1e-6, atol=1e-6)
    # error is monotone even where float32 cannot tell two values apart
    assert (nodes.error[nodes.child_first[inner]] <= nodes.error[inner]).all()


def test_float32_up() -> None:
    values = np.array([0.0, 1.0, 0.1, -0.1, 1e-50, 1 + 1e-12])
    up = float32_up(values)
    assert up.dtype == np.float32 and (up.astype(np.float64) >= values).all()
    assert up[1] == 1.0 and up[0] == 0.0 and up[5] == np.nextafter(np.float32(1), np.float32(2))


def test_pages_hold_what_their_nodes_say(scene: bytes) -> None:
    layer = LensReader.of_bytes(scene).splats(0)
    nodes, at = layer.nodes(), 0
    for k in range(layer.pages):
        page = layer.page(k)
        assert page.number == k and page.nodes.first == at == int(layer.entry(k)["first_cluster"])
        rows = slice(at, at + len(page.nodes))
        at += len(page.nodes)
        for name in ("child_first", "child_count", "child_page", "count", "slots", "error", "sphere", "box", "support"):
            assert np.array_equal(getattr(page.nodes, name), getattr(nodes, name)[rows]), name
        assert len(page.geometry.first_slot) == len(page.nodes) and page.geometry.words.dtype == np.uint32
        assert np.array_equal(page.geometry.slots, page.nodes.slots)
        sh = layer.sh_page(k, page)
        assert sh.dtype == np.uint32 and len(sh) and np.array_equal(sh, layer.sh_page(k))
    assert at == layer.clusters


def test_first_picture_needs_two_requests(scene: bytes, large: bytes) -> None:
    source = Counted(scene)
    reader = LensReader(source)
    assert source.asked == [(0, HEAD_BYTES)]
    entry = reader.splats(0).entry(0)
    assert len(source.asked) == 1, "the directory lies in the first 16 KiB"
    source.data = scene[:HEAD_BYTES]
    reader = LensReader(source)
    assert int(reader.splats(0).entry(0)["geometry_offset"]) == int(entry["geometry_offset"])
    source = Counted(large)
    reader = LensReader(source)
    assert reader.splats(0).pages > 128
    reader.splats(0).page(0)
    reader.splats(0).page(100)
    assert len(source.asked) <= 3, "and so does the first block of a large one"
    assert all(length < 40_000 for _, length in source.asked)


def test_directory_is_read_block_by_block(large: bytes) -> None:
    source = Counted(large)
    layer = LensReader(source).splats(0)
    first = len(source.asked)
    last = layer.entry(layer.pages - 1)
    assert len(source.asked) == first + 1 and source.asked[-1][1] <= 32 + 128 * 48
    assert int(last["first_cluster"]) + int(last["cluster_count"]) == 3000
    LensReader.of_bytes(large).check()


def test_any_byte_flipped_in_the_directory_tail_is_refused(large: bytes) -> None:
    reader = LensReader.of_bytes(large)
    row = reader.sections[reader.find(SectionKind.DIRECTORY_TAIL, 0)[0]]
    start, length = int(row["offset"]), int(row["length"])
    for at in range(start, start + length, 41):
        flipped = bytearray(large)
        flipped[at] ^= 1 << (at % 8)
        layer = LensReader.of_bytes(bytes(flipped)).splats(0)
        with pytest.raises(FormatError, match=r"directory at byte .*(checksum differs|content id)"):
            for k in range(128, layer.pages):
                layer.entry(k)


def test_blocks_come_coarse_first(large: bytes) -> None:
    """Whatever prefix of the file has arrived, the pages in it hang together, and their errors are the largest."""
    layer = LensReader.of_bytes(large).splats(0)
    entries = [layer.entry(k) for k in range(layer.pages)]
    offsets = [int(e["geometry_offset"]) for e in entries]
    assert offsets == sorted(offsets)
    assert all(int(e["parent_page"]) < k for k, e in enumerate(entries) if k)
    errors = [float(e["error"]) for e in entries]
    assert errors == sorted(errors, reverse=True)


def test_layers_of_any_kind(tmp_path: Path) -> None:
    blobs = {"model": b"abc" * 1000, "raw": np.random.default_rng(0).bytes(99)}
    blob = BlobLayer("hologram", blobs, {"n": 42}, "x")
    layers = [SplatsLayer(tree(), "first"), blob, SplatsLayer(tree(20, 2, 0), "second", SHIFT, Kernel(0.1, True))]
    reader = LensReader.of_bytes(written(tmp_path, layers))
    assert [layer.kind for layer in reader.layers] == ["splats", "hologram", "splats"]
    assert [layer.name for layer in reader.layers] == ["first", "x", "second"]
    assert len(reader.notices) == 1 and "hologram" in reader.notices[0] and "skipped" in reader.notices[0]
    assert reader.blob(1, "model") == b"abc" * 1000 and len(reader.blob(1, "raw")) == 99
    assert reader.layers[1].properties == {"n": 42}
    assert sorted(reader.splats_layers) == [0, 2]
    own = reader.layers[2]
    assert np.array_equal(own.transform, SHIFT)
    assert own.splats is not None and own.splats.kernel == Kernel(0.1, True) and own.splats.sh_degree == 0
    assert len(reader.splats(2).nodes()) == 20 and reader.splats(2).sh_page(0).size == 0
    with pytest.raises(UnsupportedError, match="layer 1 of kind 'hologram' has no splats"):
        reader.splats(1)
    with pytest.raises(FormatError, match=r"info.layers\[1\].blobs.missing: expected an integer"):
        reader.blob(1, "missing")
    bounds = np.array(reader.scene.bounds)
    moved = tree(20, 2, 0).splats.means @ SHIFT[:3, :3].T + SHIFT[:3, 3]
    assert (bounds[1] >= moved.max(axis=0) - 1e-5).all() and (bounds[0] <= moved.min(axis=0) + 1e-5).all()
    # The first pages of both layers come before all others.
    roots = [int(reader.splats(i).entry(0)["geometry_offset"]) for i in (0, 2)]
    assert max(roots) < int(reader.splats(0).entry(1)["geometry_offset"])
    reader.check()


def test_many_layers_share_the_head(tmp_path: Path) -> None:
    reader = LensReader.of_bytes(written(tmp_path, [SplatsLayer(random_tree(300, i, rows=1)) for i in range(20)]))
    for i in range(20):
        row = reader.sections[reader.find(SectionKind.DIRECTORY, i)[0]]
        assert int(row["offset"]) + int(row["length"]) <= HEAD_BYTES
    reader.check()


def test_same_scene_same_bytes_and_id(tmp_path: Path) -> None:
    one, two = written(tmp_path, [SplatsLayer(tree())]), written(tmp_path, [SplatsLayer(tree())])
    assert one == two
    other = written(tmp_path, [SplatsLayer(tree())], replace(INFO, title="other"))
    ids = [LensReader.of_bytes(data).content_id for data in (one, other)]
    assert ids[0] != ids[1] and len(ids[0]) == CONTENT_ID_BYTES


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "scene.lens").write_bytes(b"old")

    def stop(share: float) -> None:
        assert 0 < share <= 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lens(tmp_path / "scene.lens", [SplatsLayer(tree())], INFO, stop)
    assert [p.name for p in tmp_path.iterdir()] == ["scene.lens"]
    assert (tmp_path / "scene.lens").read_bytes() == b"old"


def test_a_replaced_file_is_noticed(tmp_path: Path) -> None:
    layer = SplatsLayer(tree(300))
    one, other = (written(tmp_path, [layer], replace(INFO, title=title)) for title in ("one", "two"))
    source = Counted(one)
    reader = LensReader(source)
    source.data = other
    with pytest.raises(FormatError, match=r"content id .*the file was replaced since it was opened"):
        reader.splats(0).page(reader.splats(0).pages - 1)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "scene.lens"
    with pytest.raises(LensError, match="field layers: expected 1 to 256, got 0"):
        write_lens(path, [], INFO)
    flat = np.diag([1.0, 1, 0, 1])
    with pytest.raises(LensError, match="field transform"):
        write_lens(path, [SplatsLayer(tree(), transform=flat)], INFO)
    rng = np.random.default_rng(0)
    names = ["".join(chr(c) for c in rng.integers(0x100, 0xD000, 1000)) for _ in range(10)]
    with pytest.raises(LensError, match=r"the description takes .* exceeds the first 16384 bytes; shorten"):
        write_lens(path, [BlobLayer("mesh", {}, name=n) for n in names], INFO)
    with pytest.raises(LensError, match=r"field title: longer than 2000"):
        SceneInfo(title="x" * 2001)
    with pytest.raises(LensError, match="field up: has no direction"):
        SceneInfo(up=(0, 0, 0))
    with pytest.raises(LensError, match="field thumbnail"):
        SceneInfo(thumbnail=b"GIF89a")
    with pytest.raises(LensError, match=r"field bounds: minimum .* is above maximum"):
        SceneInfo(bounds=((0, 0, 1), (1, 1, 0)))
    with pytest.raises(LensError, match=r"field bounds\[1\]: expected three finite numbers"):
        SceneInfo(bounds=((0, 0, 0), (1, 1, float("nan"))))
    with pytest.raises(LensError, match="cannot write here"):
        write_lens(tmp_path / "no" / "x.lens", [SplatsLayer(tree())], INFO)
    crowded = replace(tree(), count=tree().count + 300)
    with pytest.raises(LensError, match=r"holds 30[0-9] splats"):
        write_lens(path, [SplatsLayer(crowded)], INFO)
    assert not list(tmp_path.iterdir())


def test_streams() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 70_000):
        head, body = rng.bytes(n), bytes(rng.integers(0, 4, 100_000, dtype=np.uint8))
        stream = prepend(head, deflate(body), len(body))
        assert zlib.decompress(stream) == head + body
        assert inflate(stream, n + len(body), "x") == head + body
    stream = deflate(b"abc" * 100)
    for data, length, message in (
        (stream, 299, "expected 299 bytes, it holds more"),
        (stream, 301, "its stream holds 300 and 0 bytes lie after it"),
        (stream + b"x", 300, "its stream holds 300 and 1 bytes lie after it"),
        (stream + deflate(b""), 300, "and 8 bytes lie after it"),
        (stream[:-1], 300, "its stream ends after 300"),
        (stream[:-1] + b"\0", 300, "not a sound zlib stream"),
        (b"", 300, "its stream ends after 0"),
    ):
        with pytest.raises(FormatError, match=message):
            inflate(data, length, "x")
    bomb = deflate(bytes(1 << 26))
    tracemalloc.start()
    with pytest.raises(FormatError, match="it holds more"):
        inflate(bomb, 1000, "x")
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_build_lens_reports_what_it_did(tmp_path: Path) -> None:
    shares: list[float] = []
    splats = random_splats(3000, 1)
    report = build_lens(splats, tmp_path / "a.lens", progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    own = report.written
    assert own.splats == 3000 and own.bytes == (tmp_path / "a.lens").stat().st_size == sum(own.parts.values())
    assert own.stored > 3000 and report.peak_bytes > 1 << 20 and own.seconds < report.seconds
    with LensReader.open(tmp_path / "a.lens") as reader:
        reader.check()
        assert reader.scene.camera is not None and reader.scene.converter.startswith("splatlens ")
        layer = reader.splats(0)
        assert own.clusters == layer.clusters and own.pages == layer.pages

    class Source:
        def chunks(self) -> Any:
            yield splats.take(slice(0, 1000))
            yield splats.take(slice(1000, 3000))

    build_lens(Source(), tmp_path / "b.lens")
    assert (tmp_path / "b.lens").read_bytes() == (tmp_path / "a.lens").read_bytes()


def test_start_camera_frames_the_scene() -> None:
    means = random_splats(2000).means
    for up in ((0, -1, 0), (0, 0, 1), (1, 1, 1)):
        camera = start_camera(means, up)
        local = means @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3]
        inside = (local[:, 2] > 0) & (np.abs(local[:, 1] / local[:, 2]) < camera.height / 2 / camera.fy)
        assert inside.mean() > 0.8
        assert -(camera.world_to_camera[1, :3] @ np.array(up)) > 0.5, "up is up in the picture"
        assert (camera.position - means.mean(axis=0)) @ np.array(up) > 0.5, "it looks down a little"
    assert start_camera(np.zeros((1, 3), np.float32), (0, -1, 0)).fov_y == pytest.approx(50)


def test_files_and_folders(tmp_path: Path, scene: bytes) -> None:
    with pytest.raises(LensError, match=r"missing.lens: cannot read: No such file"):
        LensReader.open(tmp_path / "missing.lens")
    with pytest.raises(LensError, match="cannot read: Is a directory"):
        LensReader.open(tmp_path)
    (tmp_path / "cut.lens").write_bytes(scene[:-1])
    with pytest.raises(FormatError, match=f"cut.lens: {len(scene) - 1} of {len(scene)} bytes: the file was cut"):
        LensReader.open(tmp_path / "cut.lens")
    reader = LensReader.of_bytes(scene + b"tail")
    assert reader.notices == ["4 bytes after the end of the scene are ignored"]
    reader.check()


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", FormatError, "is empty"),
        (b"ply\nformat ascii 1.0\n", FormatError, "byte 0: this is a PLY file, not a .lens; convert it"),
        (b"PK\x03\x04", FormatError, "ZIP archive"),
        (b"\x1f\x8b\x08", FormatError, "gzip data"),
        (b"<!doctype html>", FormatError, "HTML or XML page, not a .lens; check the address"),
        (b"\x89LENS\n\x1a\n", FormatError, "line endings were changed in transfer"),
        (b"\x89LENS\r\n", FormatError, "ends at byte 7, inside its header"),
        (bytes(100), FormatError, r"not a .lens \(it starts with 00 00"),
    ],
)
def test_other_files(data: bytes, error: type[LensError], message: str) -> None:
    with pytest.raises(error, match=message):
        LensReader.of_bytes(data)


def node(page: int, field: str, value: Any, row: int = 0) -> Callable[[Tampered], object]:
    """Sets a field of a node of a page."""

    def change(nodes: np.ndarray) -> None:
        nodes[field][row] = value

    return lambda t: t.nodes(page, change)


def record(name: str, field: str, value: Any, row: int = 0) -> Callable[[Tampered], object]:
    """Sets a field of the header, a section or an entry."""

    def change(t: Tampered) -> None:
        array = getattr(t, name)
        (array() if callable(array) else array)[field][row] = value

    return change


def info(*path: Any, value: Any) -> Callable[[Tampered], object]:
    """Sets a member of the scene description."""

    def change(text: Any) -> None:
        for key in path[:-1]:
            text = text[key]
        text[path[-1]] = value

    return lambda t: t.info(change)


SPLATS = ("layers", 0, "properties")
HUGE = 1 << 60

DAMAGE: list[tuple[Callable[[Tampered], object], str]] = [
    (record("header", "version", 0), "byte 8, field version: 0"),
    (record("header", "section_count", 0xFFFFFFFF), "byte 12: 4294967295 sections in a head of"),
    (record("header", "head_length", 0xFFFFFFFF), "byte 12: 4 sections in a head of 4294967295 bytes"),
    (record("header", "layer_count", 0), "field layer_count: 0, expected 1 to 256"),
    (record("header", "layer_count", 2), "field info.layers: 1 layers, the header says 2"),
    (record("header", "file_length", 10), "field file_length: 10 bytes, less than the head"),
    (record("header", "file_length", HUGE), "of 1152921504606846976 bytes: the file was cut"),
    (record("sections", "offset", HUGE), "section 0: bytes 1152921504606846976.* are outside of 0"),
    (record("sections", "length", HUGE), "section 0: bytes .* are outside of 0"),
    (record("sections", "length", (1 << 64) - 1), "section 0: bytes .* are outside of 0"),
    (record("sections", "decoded_length", HUGE), "1152921504606846976 bytes .* at most 65536 allowed"),
    (record("sections", "decoded_length", 65536, 0), "65536 decoded bytes|expected 65536 bytes"),
    (record("sections", "offset", 0, 1), "section 1: bytes 0.* overlap the header"),
    (record("sections", "encoding", 7), "section 0, field encoding: expected 0 or 1, got 7"),
    (record("sections", "layer", 9, 1), "section 1, field layer: no layer 9"),
    (record("sections", "kind", SectionKind.DATA, 0), "0 sections of kind INFO, expected one"),
    (record("sections", "kind", SectionKind.DATA, 1), "layer 0: 0 directories and 0 tails"),
    (record("sections", "kind", SectionKind.DIRECTORY, 2), "expected the index of a data section of its own, got 2"),
    (record("directory", "content_id", 0), "content id 00000.* the file was replaced since it was opened"),
    (record("directory", "first_page", 5), "is of other pages than its place says"),
    (record("directory", "layer", 1), "is of other pages than its place says"),
    (record("entries", "geometry_offset", HUGE), "page 0, geometry: bytes .* are outside of 0"),
    (record("entries", "geometry_offset", 100), "page 0, geometry: bytes 84.* overlap"),
    (record("entries", "geometry_length", 0xFFFFFFFF), "page 0, geometry: bytes .* are outside of"),
    (record("entries", "geometry_decoded", 0xFFFFFFFF), "page 0: geometry at byte .* 4294967295 decoded bytes"),
    (record("entries", "sh_decoded", 1 << 24, 1), "page 1: sh at byte .* 16777216 decoded bytes cannot be"),
    (record("entries", "sh_offset", 0), "page 0, sh: bytes -16"),
    (record("entries", "first_cluster", 3, 1), "page 1, field first_cluster: 3, expected"),
    (record("entries", "cluster_count", 0), "page 0: 0 clusters in .* slots cannot be"),
    (record("entries", "cluster_count", 17), "page 0: 17 clusters in .* slots cannot be"),
    (record("entries", "slot_count", 40), "page 0: .* clusters in 40 slots cannot be"),
    (record("entries", "parent_page", 1, 1), "page 1, field parent_page: 1, expected an earlier page"),
    (record("entries", "parent_page", 0, 0), "page 0, field parent_page: 0, expected an earlier page"),
    (record("entries", "error", np.nan, 1), "page 1, field error: nan, expected a finite length"),
    (node(0, "count", 0), "cluster 0, field count: expected 1 to 256 splats, got 0"),
    (node(0, "count", 257), "cluster 0, field count: expected 1 to 256 splats, got 257"),
    (node(0, "child_count", 17), "cluster 0, field child_count: expected at most 16 children, got 17"),
    (node(0, "flags", 64), "cluster 0, field flags: expected bits of 1 only, got 64"),
    (node(0, "child_first", 0), "cluster 0, field child_first: expected a later cluster"),
    (node(0, "child_first", 59), "cluster 0, field child_first: expected children"),
    (node(0, "child_page", 77), "cluster 0, field child_page: expected a later page, got 77"),
    (node(0, "error", np.inf), "cluster 0, field error: expected a finite length"),
    (node(0, "error", 0.0), "field error: larger than its parent's"),
    (node(0, "sphere", np.nan), "cluster 0, field sphere: expected finite numbers"),
    (node(0, "sphere", (0, 0, 0, -1)), "cluster 0, field sphere: .* a radius of at least 0"),
    (node(0, "box", np.nan), "cluster 0, field box: expected finite minimum and maximum"),
    (node(0, "support", [[1, 1, 1], [0, 0, 0]]), "cluster 0, field support: expected finite minimum and maximum"),
    (lambda t: t.geometry(1, b"x" * 100), "100 bytes are too few for the nodes of"),
    (lambda t: t.geometry(0, b"", stream=b"x" * 20), "page 0: geometry at byte .* 0 decoded bytes cannot be"),
    (lambda t: t.geometry(0, bytes(5000), stream=bytes(30)), "page 0: geometry at byte .*not a sound zlib stream"),
    (lambda t: t.raw_info(b"{"), "info: not valid JSON"),
    (lambda t: t.raw_info(b'{"up": NaN}'), "info: not valid JSON .NaN is not JSON"),
    (lambda t: t.raw_info(b"[" * 60000), "info: not valid JSON|nothing"),
    (lambda t: t.raw_info(b"[1]"), "field info: expected an object"),
    (lambda t: t.raw_info(b"\xff"), "info: not valid JSON"),
    (lambda t: t.raw_info(b"1" * 60000), "info: not valid JSON"),
    (info("up", value=[0, 0]), r"field info.up: expected a list of 3, got \[0, 0\]"),
    (info("up", value=[0, 0, 0]), "field up: has no direction"),
    (info("up", value=[0, 0, 10**400]), r"field info.up\[2\]: expected a finite number"),
    (info("title", value="x" * 2001), "field info.title: expected a string of at most 2000 characters"),
    (info("camera", "fx", value=0), "info.camera: cameras.0..fx"),
    (info("camera", "world_to_camera", value=None), r"field info.camera\[0\]: expected a camera with world_to_camera"),
    (info("layers", value=[]), "field info.layers: expected a list of 1 to 256"),
    (info("layers", 0, "transform", 3, value=[0, 0, 0, 2]), r"info.layers\[0\].transform: expected an affine"),
    (info("layers", 0, "transform", 0, value=[0, 0, 0, 0]), r"info.layers\[0\].transform: expected an affine"),
    (info("layers", 0, "blobs", value={"x": 0}), ""),
    (info("attachments", "cameras", value=0), "field info.attachments.cameras: expected the index of a data section"),
    (info("attachments", "cameras", value=99), "field info.attachments.cameras: expected an integer in 0..3, got 99"),
    (info(*SPLATS, "pages", value=HUGE), "field info.layers.0..properties.pages: expected an integer"),
    (info(*SPLATS, "pages", value=1 << 39), "the rest of its directory has 0 bytes"),
    (info(*SPLATS, "clusters", value=61), "its pages hold 60 clusters, expected 61"),
    (info(*SPLATS, "clusters", value=1 << 39), "549755813888 clusters in .* pages"),
    (info(*SPLATS, "splats", value=1), "leaves hold .* splats, expected 1 of"),
    (info(*SPLATS, "stored", value=1 << 39), "leaves hold .* expected .* of 549755813888"),
    (info(*SPLATS, "sh_degree", value=0), "sh_degree"),
    (info(*SPLATS, "sh_degree", value=4), "properties.sh_degree: expected an integer in 0..3, got 4"),
    (info(*SPLATS, "kernel", "dilation", value="wide"), "kernel.dilation: expected a number in 0..100, got 'wide'"),
    (info(*SPLATS, "codec", value=None), r"properties.codec: expected an object, got None"),
    (info(*SPLATS, "codec", value={}), "field codec: "),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), DAMAGE, ids=[str(i) for i in range(len(DAMAGE))])
def test_damage_is_named(scene: bytes, change: Callable[[Tampered], object], message: str) -> None:
    tampered = Tampered(scene)
    change(tampered)
    data = tampered.bytes()
    tracemalloc.start()
    if not message:
        LensReader.of_bytes(data, "a.lens").check()
    else:
        with pytest.raises(FormatError, match=message) as caught:
            LensReader.of_bytes(data, "a.lens").check()
        text = str(caught.value)
        assert text.startswith("a.lens: ") and ("; " in text or "fetch" in text), "file first, remedy last"
    # Nothing is allocated for what a field claims: the scene itself takes a fraction of this.
    assert tracemalloc.get_traced_memory()[1] < 30 << 20
    tracemalloc.stop()


def test_untouched_passes(scene: bytes) -> None:
    assert Tampered(scene).bytes() == scene
    moved = Tampered(scene)
    moved.nodes(0, lambda nodes: None)
    moved.info(lambda text: None)
    LensReader.of_bytes(moved.bytes()).check()


def test_a_later_version_is_named(scene: bytes) -> None:
    tampered = Tampered(scene)
    tampered.header["version"] = 7
    with pytest.raises(UnsupportedError, match=r"\.lens version 7, this program reads 1; update it"):
        LensReader.of_bytes(tampered.bytes())


def test_unknown_sections_and_minor_are_skipped(scene: bytes) -> None:
    tampered = Tampered(scene)
    tampered.header["minor"] = 9
    tampered.sections["kind"][3] = 900
    reader = LensReader.of_bytes(tampered.bytes())
    assert reader.notices == ["section 3: kind 900 is not known to this version and is skipped"]


def test_two_parents_are_refused(scene: bytes) -> None:
    """Two clusters that claim the same children: found by the whole tree's check."""
    nodes = LensReader.of_bytes(scene).splats(0).nodes()
    layer = LensReader.of_bytes(scene).splats(0)
    pages = np.repeat(np.arange(layer.pages), [int(layer.entry(k)["cluster_count"]) for k in range(layer.pages)])
    inner = [c for c in np.flatnonzero(nodes.child_count) if nodes.child_page[c] != pages[c]]
    a, b = next((a, b) for a in inner for b in inner if a < b and pages[a] == pages[b])
    first = int(np.flatnonzero(pages == pages[b])[0])

    def change(raw: np.ndarray) -> None:
        for field in ("child_first", "child_page", "child_count"):
            raw[field][b - first] = raw[field][a - first]

    tampered = Tampered(scene).nodes(int(pages[b]), change)
    with pytest.raises(FormatError, match=r"cluster \d+: child of [02] clusters, expected one"):
        LensReader.of_bytes(tampered.bytes()).splats(0).nodes()


def test_pages_beyond_the_layer(scene: bytes) -> None:
    layer = LensReader.of_bytes(scene).splats(0)
    for k in (-1, layer.pages):
        with pytest.raises(IndexError, match=f"no page {k}"):
            layer.entry(k)
    assert int(layer.entry(0)["parent_page"]) == NONE


@pytest.mark.data
@pytest.mark.parametrize("name", ["playbot_l2_sh2", "plant_sh0"])
def test_first_300_kb_are_a_picture(data_dir: Path, tmp_path: Path, name: str) -> None:
    """At least 2% of the splats, SH and head included; make figures reports all scenes."""
    from splatlens.converters import read_splats

    splats, _ = read_splats(data_dir / "ply_converted" / f"{name}.ply")
    report = build_lens(splats, tmp_path / "scene.lens").written
    assert report.coarse_splats >= 0.02 * report.splats
    with LensReader.open(tmp_path / "scene.lens") as reader:
        reader.splats(0).nodes()
        assert int(reader.header["head_length"]) < HEAD_BYTES
