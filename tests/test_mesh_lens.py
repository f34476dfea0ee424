"""Mesh layers of .lens files: everything comes back as it was; Python and JavaScript tell what is damaged."""

from __future__ import annotations

import json
import re
import subprocess
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.viewer import mesh_codec as codec
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.lens import BlobLayer, LensReader
from splatlens.viewer.lens_layout import Encoding, SectionKind
from splatlens.viewer.mesh import Look, MeshTree, Surface, check_look, pack_surface, plain_look, words_of
from splatlens.viewer.mesh_lens import NODE, PAGE, apart, mesh_layer, together
from splatlens.viewer.mesh_texels import clear_empty, decode_texels, encode_texels, fill_empty, grid, picture_size
from tests.lens_scenes import Tampered
from tests.mesh_layers import layer_of, lens_bytes, looks, network_layer, network_look, of_layer, opened, surface, tree
from tests.test_lens_fuzz import EDGES, FLOATS, VALUES, places

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def same(a: Surface, b: Surface, empty: int | None = None) -> bool:
    """Bit by bit; of texels that are empty only that they are."""
    pairs = [(a.positions, b.positions), (a.triangles, b.triangles), (a.uvs, b.uvs), (a.values, b.values)]
    texels = [None if s.texels is None else clear_empty(s.texels, empty) for s in (a, b)]
    pairs.append((texels[0], texels[1]))
    return all((x is None) == (y is None) and (x is None or x.tobytes() == y.tobytes()) for x, y in pairs)


@pytest.mark.parametrize("method", looks())
def test_a_layer_comes_back_as_it_was(method: str, tmp_path: Path) -> None:
    given = tree(looks()[method])
    got = opened(lens_bytes([BlobLayer("later", {"a": b"b"}), mesh_layer(given, "baked")], tmp_path), 1)
    for one, other in zip(given.surfaces, got.surfaces, strict=True):
        assert same(codec.in_order(one), other, given.look.empty)
    for name in ("child_first", "child_count", "page", "words"):
        assert getattr(got.nodes, name).tolist() == getattr(given.nodes, name).tolist(), name
    assert got.nodes.count.tolist() == [len(s.triangles) for s in given.surfaces]
    assert same_look(got.look, given.look)
    # Bounds are rounded outward, by one step of float32 at most.
    assert (got.nodes.error >= given.nodes.error).all() and (got.nodes.sphere[:, 3] >= given.nodes.sphere[:, 3]).all()
    assert (got.nodes.support[:, 0] <= given.nodes.support[:, 0]).all()
    assert (got.nodes.support[:, 1] >= given.nodes.support[:, 1]).all()
    for name in ("error", "sphere", "support"):
        np.testing.assert_allclose(getattr(got.nodes, name), getattr(given.nodes, name), rtol=1e-6, atol=2e-7)


def same_look(a: Look, b: Look) -> bool:
    """repr would hide digits, and == does not compare arrays."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes())
        if hasattr(value, "__dataclass_fields__"):
            return (type(value), [plain(getattr(value, name)) for name in value.__dataclass_fields__])
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return bool(plain(a) == plain(b))


def test_the_same_mesh_gives_the_same_bytes(tmp_path: Path) -> None:
    assert lens_bytes([layer_of(network_look())], tmp_path) == lens_bytes([network_layer()], tmp_path)


def test_vertices_in_the_order_of_their_triangles() -> None:
    given = surface(5, 40, (7, 8))
    got = codec.in_order(given)
    for a, b in ((given, got),):
        assert a.uvs is not None and b.uvs is not None
        assert a.positions[a.triangles].tobytes() == b.positions[b.triangles].tobytes()
        assert a.uvs[a.triangles].tobytes() == b.uvs[b.triangles].tobytes()
    flat = got.triangles.ravel()
    assert (flat <= np.concatenate([[0], np.maximum.accumulate(flat)[:-1] + 1])).all()
    assert len(got.positions) == len(np.unique(given.triangles))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 24, 32, 96, 192])
def test_pages_are_exact_for_any_channels(channels: int) -> None:
    surfaces = [surface(channels, 9, None), surface(channels, 12, (5, 3), 1), surface(channels, 30, (1, 7), 2)]
    shapes = [codec.shape_of(one) for one in surfaces]
    data = codec.encode_page(surfaces, channels)
    assert all(same(a, b) for a, b in zip(surfaces, codec.decode_page(data, shapes, channels, None, "x"), strict=True))
    words = [one.words(channels) for one in shapes]
    assert words == [len(pack_surface(s)) for s in surfaces] == [*map(words_of, surfaces)]


def test_pages_without_anything_and_of_the_largest_node() -> None:
    nothing = Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32), values=np.zeros((0, 3), np.uint8))
    rng = np.random.default_rng(0)
    most = codec.MAX_VERTICES
    # The first corner is the last vertex: no corner is the next new one.
    triangles = np.concatenate([[[most - 1, 0, 1]], rng.integers(0, most, (2000, 3))]).astype(np.int32)
    # In order, and at last a corner that lies 65,536 back: more than 16 bits hold.
    ordered = np.append(np.arange(most), [0, most - 1]).astype(np.int32).reshape(-1, 3)
    positions, values = rng.normal(size=(most, 3)).astype(np.float32), rng.integers(0, 256, (most, 3)).astype(np.uint8)
    large = [Surface(positions, one, values=values) for one in (triangles, ordered)]
    for page in ([nothing], [nothing, large[0], nothing], [large[1]]):
        shapes = [codec.shape_of(one) for one in page]
        got = codec.decode_page(codec.encode_page(page, 3), shapes, 3, None, "x")
        assert all(same(a, b) for a, b in zip(page, got, strict=True))


COLUMNS = {
    "decimals": np.array([0.1, -0.25, 0.348316, -0.724121, 1.5, 0], np.float32),
    "signs of zero": np.array([0.0, -0.0, 0.5, -0.0], np.float32),
    "extremes": np.array([3.4e38, -3.4e38, 1e-45, -1e-45, 0, 1], np.float32),
    "whole": np.arange(-500, 500, dtype=np.float32),
    "beyond whole": np.array([2147483647, 2147483520, -2147483648, 0.5], np.float32),
    "nothing": np.zeros(0, np.float32),
    "mixed": np.append(np.round(np.linspace(-1, 1, 300), 4), np.random.default_rng(0).random(50)).astype(np.float32),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_floats_are_exact(name: str) -> None:
    values = COLUMNS[name]
    mode, data = codec.pack_floats(values)
    assert codec.unpack_floats(np.frombuffer(data, np.uint8), mode, "x").tobytes() == values.tobytes()
    for mode in range(codec.MAX_DECIMALS + 1):
        if len(values) and np.abs(values.astype(np.float64)).max() * 10.0**mode < 2**31 - 1:
            data = np.frombuffer(codec._column(values, mode), np.uint8)
            assert codec.unpack_floats(data, mode, "x").tobytes() == values.tobytes(), mode


def test_decimal_coordinates_take_fewer_bytes() -> None:
    rng = np.random.default_rng(0)
    values = (np.cumsum(rng.integers(-500, 500, 2000)) / 1e4).astype(np.float32)
    values[::50] += rng.normal(0, 1e-5, 40).astype(np.float32)
    mode, data = codec.pack_floats(values)
    assert mode == 4 and len(zlib.compress(data, 9)) < 0.75 * len(zlib.compress(codec._column(values, codec.BITS), 9))


def test_repeated_positions_are_stored_once() -> None:
    positions = np.float32([[1, 2, 3], [4, 5, 6], [1, 2, 3], [0.0, 0, 0], [-0.0, 0, 0], [4, 5, 6]])
    back, rows = codec.find_repeats(positions)
    assert back.tolist() == [0, 0, 2, 0, 0, 3] and rows.tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(("w", "h", "c"), [(1, 16383, 4), (16383, 1, 6), (1000, 9000, 6), (1, 5461, 10), (1, 1, 192)])
def test_planes_lie_side_by_side_where_a_picture_would_be_too_tall(w: int, h: int, c: int) -> None:
    columns, rows = grid(w, h, c)
    assert columns * rows >= -(-c // 3) and max(rows * h, columns * w) <= 16383
    if w * h <= 100_000:
        rng = np.random.default_rng(0)
        texels = np.repeat(rng.integers(0, 256, (h, w, 1)), c, 2).astype(np.uint8) + np.arange(c, dtype=np.uint8)
        assert (decode_texels(encode_texels(texels, None), (h, w, c), None, "x") == texels).all()


def test_pictures_hold_any_bytes_and_say_how_large_they_are() -> None:
    texels = np.arange(256 * 9, dtype=np.int64).astype(np.uint8).reshape(16, 16, 9)
    data = encode_texels(texels, None)
    assert picture_size(data) == (16, 48) and (decode_texels(data, (16, 16, 9), None, "x") == texels).all()
    alpha = data[:24] + bytes([data[24] | 0x10]) + data[25:]
    for wrong in (data[:-1], data + b"\0", b"", data[:20], b"RIFX" + data[4:], alpha):
        assert picture_size(wrong) is None
    with pytest.raises(FormatError, match=r"^x: expected a lossless WebP picture of 16 x 32 without alpha; "):
        decode_texels(data, (16, 16, 6), None, "x")


def test_empty_texels_take_few_bytes_and_come_back_as_zeros() -> None:
    """Triangles of texels, as MobileNeRF has them: half of every patch of 17 x 17."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:68, :68]
    colours = rng.integers(60, 200, (4, 4, 8))[y // 17, x // 17]
    texels = np.clip(colours + np.cumsum(rng.normal(0, 2, (68, 68, 8)), axis=1), 1, 255).astype(np.uint8)
    texels[x % 17 > y % 17] = 0
    filled = fill_empty(texels, 2)
    hole = texels[..., 2] == 0
    assert (filled[~hole] == texels[~hole]).all() and (filled[..., 2][hole] == 0).all()
    # What fills a hole is a neighbour's, above or to the left, and seldom nothing.
    assert (filled[17:, 17:][hole[17:, 17:]][:, 0] > 0).all()
    data = encode_texels(texels, 2)
    assert len(data) < 0.95 * len(encode_texels(texels, None))
    assert (decode_texels(data, (68, 68, 8), 2, "x") == texels).all()
    # Where it does not help it is not done: 20,000 bytes would be 23,000.
    noise = np.where(rng.random((68, 68, 1)) < 0.6, 0, rng.integers(1, 256, (68, 68, 8))).astype(np.uint8)
    assert len(encode_texels(noise, 2)) == len(encode_texels(noise, None))
    cleared = clear_empty(np.array([[[1, 0, 7], [1, 2, 3]]], np.uint8), 1)
    assert cleared.tolist() == [[[0, 0, 0], [1, 2, 3]]]


def test_pages_are_stored_raw_and_coarse_first(tmp_path: Path) -> None:
    data = lens_bytes([network_layer()], tmp_path)
    reader = LensReader.of_bytes(data, "a.lens")
    index = reader.layers[0].blobs["pages.0"]
    assert reader.sections[index]["encoding"] == Encoding.RAW
    zeros = BlobLayer("later", {"a": bytes(999), "b": bytes(999)}, raw=frozenset("b"))
    assert LensReader.of_bytes(lens_bytes([zeros], tmp_path)).sections["encoding"][1:].tolist() == [1, 0]
    blob = reader.blob(0, "pages.0")
    assert reader.blob_part(0, "pages.0", 3, 10) == blob[3:13] and reader.blob_part(0, "pages.0", len(blob), 0) == b""
    for at, n in ((0, len(blob) + 1), (-1, 2), (5, -1)):
        with pytest.raises(FormatError, match=r"a.lens: field info.layers\[0\].blobs.pages.0: expected a section stor"):
            reader.blob_part(0, "pages.0", at, n)
    with pytest.raises(FormatError, match=r"blobs.nodes"):
        reader.blob_part(0, "nodes", 0, 1)
    table = together(reader.blob(0, "nodes")[7 * NODE.itemsize :], PAGE, 3)
    assert table["offset"].tolist() == [0, *np.cumsum(table["length"])[:-1]] and table["part"].tolist() == [0, 0, 0]


def test_pages_go_into_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splatlens.viewer.mesh_lens.PART_BYTES", 1)
    made = layer_of(network_look())
    assert made.properties["parts"] == 3 and all(made.blobs[f"pages.{i}"] for i in range(3))
    assert made.raw == {"pages.0", "pages.1", "pages.2"}
    got = of_layer(made)
    assert all(same(codec.in_order(a), b, 0) for a, b in zip(tree(network_look()).surfaces, got.surfaces, strict=True))


@pytest.mark.parametrize("large", [False, True])
def test_large_layers_are_encoded_quickly_and_as_exactly(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    asked: list[bool] = []

    def encode(texels: Any, empty: int | None, quick: bool) -> bytes:
        asked.append(quick)
        return encode_texels(texels, empty, quick)

    monkeypatch.setattr(codec, "encode_texels", encode)
    if large:
        monkeypatch.setattr("splatlens.viewer.mesh_lens.LARGE_WORDS", 100)
    got = of_layer(layer_of(network_look()))
    assert set(asked) == {large}
    assert all(same(codec.in_order(a), b, 0) for a, b in zip(tree(network_look()).surfaces, got.surfaces, strict=True))


def test_surfaces_are_decoded_when_asked_for_and_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = network_layer(), []

    def part(name: str, at: int, n: int) -> bytes:
        asked.append(at)
        return made.blobs[name][at : at + n]

    from splatlens.viewer.mesh_lens import open_mesh

    got = open_mesh(made.properties, made.blobs.__getitem__, part, "a.lens: layer 0")
    assert len(got.surfaces) == 7 and not asked
    first = got.surfaces[3]
    assert got.surfaces[1] is not first and len(asked) == 1 and got.surfaces[3] is first
    monkeypatch.setattr("splatlens.viewer.mesh_lens.KEPT_WORDS", 1)
    assert [len(s.triangles) for s in got.surfaces] == got.nodes.count.tolist() and len(asked) == 4
    assert got.surfaces[3] is not first and len(got.surfaces[5:]) == 2
    with pytest.raises(IndexError):
        got.surfaces[7]


def broken(**changed: Any) -> MeshTree:
    given = tree(network_look())
    nodes = type(given.nodes)(**{**vars(given.nodes), **{k: v for k, v in changed.items() if k in vars(given.nodes)}})
    return MeshTree(nodes, changed.get("surfaces", given.surfaces), given.look)


def test_what_cannot_be_stored_is_told() -> None:
    good = tree(network_look()).surfaces
    nan = Surface(np.full_like(good[1].positions, np.nan), good[1].triangles, good[1].uvs, good[1].texels)
    wide = surface(8, 5, (16384, 1))
    for changed, message in (
        ({"surfaces": [good[0], nan, *good[2:]]}, "mesh: a vertex has NaN or infinity"),
        ({"surfaces": [good[0], wide, *good[2:]]}, "mesh: a node of 16384 x 1 texels; 1 to 16383 a side"),
        ({"surfaces": [surface(7), *good[1:]]}, "mesh: a node carries 7 channels; expected 8"),
        ({"error": np.array([0.1, 0, 0.2, 0, 0, 0, 0])}, "mesh: node 2: a larger error than its parent's"),
        ({"child_first": np.array([2, 0, 5, 0, 0, 0, 0])}, "mesh: node 1: not one parent"),
    ):
        with pytest.raises(LensError, match=f"^{message}"):
            mesh_layer(broken(**changed))


def changed_nodes(made: BlobLayer, field: str, at: int, value: float, pages: bool = False) -> dict[str, bytes]:
    """The blob of nodes with one number changed."""
    data, n = made.blobs["nodes"], made.properties["nodes"]
    records, table = together(data, NODE, n), together(data[n * NODE.itemsize :], PAGE, made.properties["pages"])
    column = (table if pages else records)[field]
    column.flat[at] = value if column.dtype.kind == "f" else int(value) & ((1 << 8 * column.itemsize) - 1)
    return {"nodes": apart(records) + apart(table)}


@pytest.mark.parametrize(
    ("field", "at", "value", "message"),
    [
        ("child_first", 0, 0, "node 0: children that are none, or before it"),
        ("child_first", 2, 6, "node 2: children that are none, or before it"),
        ("child_first", 0, 2, "node [15]: not one parent"),
        ("child_first", 1, 3, "node 1: child_first without children"),
        ("child_count", 0, 17, "node 0: children that are none"),
        ("child_count", 2, 0, "node 2: child_first without children"),
        ("error", 0, np.nan, "node 0: NaN or infinity"),
        ("error", 2, 1.0, "node 2: a larger error than its parent's"),
        ("error", 6, -1.0, "node 6: an error or a radius below 0"),
        ("sphere", 3, np.inf, "node 0: NaN or infinity"),
        ("support", 0, 1e9, "node 0: a least corner above the greatest"),
        ("width", 1, 0, "node 1: width or height of texels without the other"),
        ("height", 3, 20000, "node 3: texels of more than 16383 a side"),
        ("vertices", 0, 65537, "node 0: more than 65536 vertices"),
        ("triangles", 0, 1 << 31, "node 0: more triangles than a page holds"),
        ("triangles", 0, 1 << 25, "page 0 takes more than 33554432 words"),
    ],
)
def test_nodes_that_are_no_tree_are_refused(field: str, at: int, value: float, message: str) -> None:
    made = network_layer()
    with pytest.raises(FormatError, match=rf"^a.lens: layer 0: blob nodes[:,] {message}"):
        of_layer(made, **changed_nodes(made, field, at, value))


def test_looks_and_sizes_that_cannot_be_are_refused() -> None:
    made = network_layer()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"method": "magic"}, "field properties.method: expected one of network, gaussians, lightfield, plain"),
        ({"channels": 9}, "blob weights: [0-9]+ bytes, expected"),
        ({"weights": made.blobs["weights"][:-1]}, "blob weights: [0-9]+ bytes, expected"),
        ({"weights": np.full(len(made.blobs["weights"]) // 4, np.nan, "<f4").tobytes()}, "properties: mesh: scale"),
        ({"base": 7}, "properties: mesh: base: no channels from 7 on"),
        ({"inputs": [[11, 0, 0]] * 10}, "properties: mesh: input 0: no source 11"),
        ({"supersample": 3}, "field properties.supersample"),
        ({"empty": 8}, "field properties.empty"),
        ({"nodes": 8}, "blob nodes: 475 bytes, expected"),
        ({"pages": 4}, "blob nodes: 475 bytes, expected"),
        ({"triangles": 5}, "field properties.triangles: expected the triangles of all leaves"),
    ]  # fmt: skip
    for changed, message in cases:
        with pytest.raises(FormatError, match=f"^a.lens: layer 0: {message}"):
            of_layer(made, **changed)
    check_look(of_layer(made).look)


def test_a_page_that_was_changed_is_refused() -> None:
    made = network_layer()
    data = bytearray(made.blobs["pages.0"])
    data[40] ^= 1
    with pytest.raises(FormatError, match=r"^a.lens: layer 0: page 0 at byte 0 of pages.0: checksum differs"):
        list(of_layer(made, pages_0=bytes(data)).surfaces)


PAGE_LOOK = plain_look(4, empty=3)


@cache
def small_page() -> tuple[bytes, tuple[codec.Shape, ...], tuple[Surface, ...]]:
    surfaces = (surface(4, 9, (6, 5), 1), surface(4, 7, None, 2, decimals=3))
    data = codec.encode_page(surfaces, 4, 3)
    shapes = tuple(map(codec.shape_of, surfaces))
    return data, shapes, tuple(codec.decode_page(data, shapes, 4, 3, "x"))


@SETTINGS
@given(st.data())
def test_damaged_pages_are_refused_or_read_right(draw: st.DataObject) -> None:
    """Behind the checksum of the page, which a hostile file has right: bytes flipped, cut, or a geometry made anew."""
    data, shapes, want = small_page()
    kind = draw.draw(st.integers(0, 3))
    own = bytearray(data)
    if kind == 0:
        own[draw.draw(st.integers(0, len(own) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    elif kind == 1:
        own = own[: draw.draw(st.integers(0, len(own)))]
    else:
        own = bytearray(with_geometry(data, tampered_geometry(draw, data)))
    try:
        got = codec.decode_page(bytes(own), shapes, 4, 3, "x")
    except FormatError as error:
        assert str(error).startswith("x: ") and "\n" not in str(error)
        return
    for one, other, shape in zip(got, want, shapes, strict=True):
        assert len(one.positions) == shape.vertices and np.isfinite(one.positions).all()
        assert one.triangles.min() >= 0 and one.triangles.max() < shape.vertices
        assert (one.texels is None) == (other.texels is None)
        if one.texels is not None and other.texels is not None:
            assert (one.texels == other.texels).all()
        if kind == 0:
            assert same(one, other)


def tampered_geometry(draw: st.DataObject, page: bytes) -> bytes:
    head = 8 + 8 * len(small_page()[1])
    stored = int.from_bytes(page[:4], "little")
    body = bytearray(zlib.decompress(page[head : head + stored]))
    for _ in range(draw.draw(st.integers(1, 3))):
        body[draw.draw(st.one_of(st.integers(0, 8), st.integers(0, len(body) - 1)))] = draw.draw(st.integers(0, 255))
    tail = draw.draw(st.sampled_from([b"", b"\0" * 4, None]))
    return bytes(body[:-3]) if tail is None else bytes(body) + tail


def with_geometry(page: bytes, body: bytes) -> bytes:
    head = 8 + 8 * len(small_page()[1])
    stored, stream = int.from_bytes(page[:4], "little"), zlib.compress(body)
    return np.array([len(stream), len(body)], "<u4").tobytes() + page[8:head] + stream + page[head + stored :]


@cache
def fuzzed() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return lens_bytes([layer_of(network_look(4), texels=False)], Path(folder))


def contents(data: bytes) -> list[Any]:
    got = opened(data)
    arrays = [getattr(got.nodes, name).tobytes() for name in ("child_first", "error", "sphere", "support", "words")]
    return [arrays, [pack_surface(s).tobytes() for s in got.surfaces], got.look.scale.tobytes()]


def complaint(data: bytes) -> str:
    try:
        contents(data)
        return ""
    except (FormatError, UnsupportedError) as error:
        assert str(error).startswith("a.lens: ") and "\n" not in str(error), error
        return str(error)


@SETTINGS
@given(st.data())
def test_any_byte_flipped_is_noticed(draw: st.DataObject) -> None:
    data = bytearray(fuzzed())
    data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    if not complaint(bytes(data)):
        assert contents(bytes(data)) == contents(fuzzed())


def mended(draw: st.DataObject) -> bytes:
    """Nodes, properties or geometry changed, with every checksum right."""
    tampered, kind = Tampered(fuzzed()), draw.draw(st.integers(0, 3))
    reader = LensReader.of_bytes(fuzzed(), "a.lens")
    blobs = {name: reader.blob(0, name) for name in ("nodes", "weights", "pages.0")}
    made = BlobLayer("mesh", blobs, reader.layers[0].properties)
    if kind == 0:

        def change(text: Any) -> None:
            own = text["layers"][0]["properties"]
            path = draw.draw(st.sampled_from([p for p in places(own) if p]))
            for key in path[:-1]:
                own = own[key]
            own[path[-1]] = draw.draw(VALUES)

        return tampered.info(change).bytes()
    if kind == 1:
        pages = draw.draw(st.booleans())
        dtype = PAGE if pages else NODE
        field = draw.draw(st.sampled_from(dtype.names or ()))
        n = made.properties["pages" if pages else "nodes"] * int(np.prod(dtype[field].shape, dtype=int))
        value = draw.draw(st.sampled_from(EDGES + FLOATS if dtype[field].base.kind == "f" else EDGES))
        with np.errstate(all="ignore"):
            data = changed_nodes(made, field, draw.draw(st.integers(0, n - 1)), value, pages)["nodes"]
        return replaced(tampered, reader, "nodes", data)
    if kind == 2:
        blob = bytearray(blobs["pages.0"])
        blob[draw.draw(st.integers(0, len(blob) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
        return with_pages(parts_of(made, bytes(blob)))

    def change_body(body: bytearray) -> None:
        for _ in range(draw.draw(st.integers(1, 3))):
            at = draw.draw(st.one_of(st.integers(0, 60), st.integers(0, len(body) - 1)))
            body[at] = draw.draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 255, 254])))

    return with_body(draw.draw(st.integers(0, 2)), change_body)


def parts_of(made: BlobLayer, blob: bytes) -> list[bytes]:
    """The pages of the fuzzed layer."""
    table = together(made.blobs["nodes"][7 * NODE.itemsize :], PAGE, 3)
    return [blob[int(row["offset"]) : int(row["offset"]) + int(row["length"])] for row in table]


def with_body(page: int, change: Callable[[bytearray], object]) -> bytes:
    """The fuzzed file with the geometry of a page changed before it was deflated."""
    reader = LensReader.of_bytes(fuzzed(), "a.lens")
    made = BlobLayer("mesh", {"nodes": reader.blob(0, "nodes")})
    pages = parts_of(made, reader.blob(0, "pages.0"))
    head, stored = 8 + 8 * (1, 4, 2)[page], int.from_bytes(pages[page][:4], "little")
    body = bytearray(zlib.decompress(pages[page][head : head + stored]))
    change(body)
    stream = zlib.compress(body)
    pages[page] = np.array([len(stream), len(body)], "<u4").tobytes() + pages[page][8:head] + stream
    return with_pages(pages)


def with_pages(pages: list[bytes]) -> bytes:
    """The fuzzed file with other pages, whose places and checksums the nodes have right."""
    tampered, reader = Tampered(fuzzed()), LensReader.of_bytes(fuzzed(), "a.lens")
    nodes = reader.blob(0, "nodes")
    table = together(nodes[7 * NODE.itemsize :], PAGE, 3)
    table["length"], table["crc32"] = [len(one) for one in pages], [zlib.crc32(one) for one in pages]
    table["offset"] = np.cumsum(table["length"]) - table["length"]
    replaced(tampered, reader, "nodes", nodes[: 7 * NODE.itemsize] + apart(table))
    return replaced(tampered, reader, "pages.0", b"".join(pages))


def root_vertices() -> int:
    return int(together(LensReader.of_bytes(fuzzed()).blob(0, "nodes"), NODE, 7)["vertices"][0])


def infinite(body: bytearray) -> None:
    """One x that is infinite, in a column of bit patterns."""
    v = root_vertices()
    n, mode = body[6 : 6 + v].count(0), body[0]
    old = 4 * n if mode == codec.BITS else 8 * n
    values = np.append(np.zeros(n - 1), np.inf).astype(np.float32)
    body[6 + 2 * v : 6 + 2 * v + old] = codec._column(values, codec.BITS)
    body[0] = codec.BITS


def too_early(body: bytearray) -> None:
    """The first vertex repeats, another one is new instead."""
    v = root_vertices()
    other = next(i for i in range(v) if body[6 + i])
    body[6], body[6 + other] = 1, 0


def crafted() -> list[bytes]:
    """Faults that chance seldom finds."""
    faults: list[Callable[[bytearray], object]] = [
        too_early,
        infinite,
        lambda body: body.__setitem__(5, 2),
        lambda body: body.__setitem__(0, 10),
        lambda body: body.append(0),
        lambda body: body.pop(),
        lambda body: body.__setitem__(slice(-30, None), b"\xff" * 30),
    ]
    return [with_body(0, fault) for fault in faults]


def test_crafted_pages_are_refused() -> None:
    messages = (
        "geometry: a vertex repeats a position before the first", "geometry: x: a vertex has NaN or infinity",
        "geometry: mode of corners: expected 0 or 1, got 2", "geometry: x: mode: expected 0 to 9 or 255, got 10",
        "geometry: 1 bytes after its last column", "geometry: ends after", "geometry: triangle corners",
    )  # fmt: skip
    for data, message in zip(crafted(), messages, strict=True):
        assert re.match(rf"a.lens: layer 0: page 0 at byte 0 of pages.0: {message}", complaint(data)), complaint(data)


def replaced(tampered: Tampered, reader: LensReader, name: str, data: bytes) -> bytes:
    """The file with a blob of its first layer replaced, stored raw at the end."""
    row = tampered.sections[reader.layers[0].blobs[name] : reader.layers[0].blobs[name] + 1]
    assert row["kind"][0] == SectionKind.DATA
    offset = tampered._append(data)
    row = tampered.sections[reader.layers[0].blobs[name] : reader.layers[0].blobs[name] + 1]
    row["offset"], row["length"], row["decoded_length"], row["encoding"] = offset, len(data), len(data), Encoding.RAW
    return tampered.bytes()


@SETTINGS
@given(st.data())
def test_hostile_files_are_refused(draw: st.DataObject) -> None:
    complaint(mended(draw))


def test_both_readers_agree(root: Path, tmp_path: Path) -> None:
    """Node packs the words that Python packs, and refuses what Python refuses."""
    files = [fuzzed(), *crafted()]

    @settings(max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(draw: st.DataObject) -> None:
        files.append(mended(draw))

    collect()
    for i, data in enumerate(files):
        (tmp_path / f"{i}.lens").write_bytes(data)
    script = root / "tests" / "js" / "mesh_outcomes.mjs"
    done = subprocess.run(["node", script, tmp_path, str(len(files))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    for i, (data, outcome) in enumerate(zip(files, outcomes, strict=True)):
        assert outcome["error"] in (None, "FormatError", "UnsupportedError"), f"{i}: {outcome}"
        message = complaint(data)
        assert (outcome["error"] is None) == (not message), f"{i}: JavaScript: {outcome}; Python: {message}"
        if not message:
            got = opened(data)
            assert outcome["words"] == [zlib.crc32(pack_surface(s).tobytes()) for s in got.surfaces], i
            assert outcome["page"] == got.nodes.page.tolist() and outcome["sizes"] == got.nodes.words.tolist()
    assert {o["error"] for o in outcomes} >= {None, "FormatError"}


def test_looks_are_read_alike(root: Path, tmp_path: Path) -> None:
    made = [tree(one, texels=False) for one in looks().values()]
    for i, one in enumerate(made):
        (tmp_path / f"{i}.lens").write_bytes(lens_bytes([mesh_layer(one)], tmp_path))
    script = root / "tests" / "js" / "mesh_outcomes.mjs"
    done = subprocess.run(["node", script, tmp_path, str(len(made))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for one, outcome in zip(made, json.loads(done.stdout), strict=True):
        assert outcome["error"] is None, outcome
        assert outcome["look"] == plain_values(one.look)


def plain_values(look: Look) -> dict[str, Any]:
    """A look as static/mesh/look.js has it, in JSON."""
    from splatlens.viewer.assemble_mesh import method_name
    from splatlens.viewer.mesh import Gaussians, LightField, Network, Plain

    m, own = look.method, {"kind": method_name(look)}
    if isinstance(m, Network):
        own["inputs"] = [vars(one) for one in m.inputs]
        names = ("kernel", "bias")
        own["layers"] = [
            {**{n: getattr(one, n).ravel().tolist() for n in names}, "activation": one.activation} for one in m.layers
        ]
        own["base"] = m.base
    elif isinstance(m, Gaussians):
        own["lobes"] = m.lobes
    elif isinstance(m, LightField):
        h, w, terms = m.directions.shape
        own |= {"terms": terms, "width": w, "height": h, "directions": m.directions.ravel().tolist()}
        own |= {"scale": m.scale.tolist(), "offset": m.offset.tolist(), "filter": m.filter}
    elif isinstance(m, Plain):
        own["light"] = m.light
    return {
        "channels": look.channels, "method": own, "scale": look.scale.tolist(), "offset": look.offset.tolist(),
        "direction": [v for row in look.direction for v in row], "filter": look.filter, "empty": look.empty,
        "supersample": look.supersample,
    }  # fmt: skip
