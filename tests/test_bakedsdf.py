"""BakedSDF assets made by hand: what is read, colours against the viewer's own formula, every kind of damage."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splatlens.converters import LayerSource, find_format, open_any
from splatlens.converters.bakedsdf import look
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.mesh import Gaussians
from splatlens.viewer.mesh_shade_reference import colors
from tests.conformance import random_splats
from tests.test_gltf import asset as splat_asset
from tests.test_gltf import attributes_of, save_glb

Json = dict[str, Any]
Arrays = dict[str, NDArray[Any]]
CODES = {"|u1": 5121, "<u2": 5123, "<u4": 5125, "<f4": 5126, "|i1": 5120}


def vertices(count: int = 6, lobes: int = 3, seed: int = 0) -> Arrays:
    """Attributes as the exporter names them."""
    rng = np.random.default_rng(seed)

    def some(width: int) -> NDArray[np.uint8]:
        return rng.integers(0, 256, (count, width)).astype(np.uint8)

    places = rng.normal(size=(count, 3)).astype("<f4")
    arrays: Arrays = {"POSITION": places, "_BYTE_NORMAL": some(3), "COLOR_0": some(3)}
    for i in range(lobes):
        arrays |= {f"_SG_MEAN_{i}": some(3), f"_SG_SCALE_{i}": some(1), f"_SG_COLOR_{i}": some(3)}
    return arrays


def triangles(count: int = 6) -> NDArray[np.uint16]:
    corner = np.arange(count - 2)
    return np.stack([corner, corner + 1, corner + 2], axis=1).astype("<u2")


def asset(
    *primitives: Arrays, indices: NDArray[Any] | None = None, stride: int = 0, normalized: bool = False, **members: Any
) -> tuple[Json, bytes]:
    """An asset of one mesh with an accessor, and a view, an array; `stride`: bytes that rows of bytes are padded to."""
    made: Json = {"asset": {"version": "2.0"}, "nodes": [{"mesh": 0}], "scene": 0, "scenes": [{"nodes": [0]}]}
    made |= {"accessors": [], "bufferViews": [], "meshes": [{"primitives": []}]}
    data = b""

    def add(array: NDArray[Any]) -> int:
        nonlocal data
        width, is_bytes = array.shape[1], array.dtype.itemsize == 1
        view: Json = {"buffer": 0, "byteOffset": len(data)}
        if is_bytes and stride:
            array = np.pad(array, ((0, 0), (0, stride - width)), constant_values=77)
            view["byteStride"] = stride
        raw = array.tobytes()
        made["bufferViews"].append(view | {"byteLength": len(raw)})
        accessor = {"bufferView": len(made["bufferViews"]) - 1, "componentType": CODES[array.dtype.str]}
        accessor |= {"count": len(array), "type": "SCALAR" if width == 1 else f"VEC{width}"}
        made["accessors"].append(accessor | ({"normalized": True} if is_bytes and normalized else {}))
        data += raw + bytes(-len(raw) % 4)
        return len(made["accessors"]) - 1

    for arrays in primitives:
        primitive: Json = {"attributes": {name: add(array) for name, array in arrays.items()}}
        if indices is not None:
            primitive["indices"] = add(indices.reshape(-1, 1))
        made["meshes"][0]["primitives"].append(primitive)
    made["buffers"] = [{"byteLength": len(data)}]
    return made | members, data


def carried(arrays: Arrays, lobes: int = 3) -> NDArray[np.uint8]:
    """(V, 3 + 7 lobes) what vertices should carry."""
    names = [f"_SG_{kind}_{i}" for i in range(lobes) for kind in ("MEAN", "SCALE", "COLOR")]
    return np.concatenate([arrays["COLOR_0"][:, :3], *(arrays[name] for name in names)], axis=1)


def read(path: Path) -> tuple[LayerSource, NDArray[np.float32], NDArray[np.uint8]]:
    """The source; positions (T, 3, 3) and values (T, 3, C) of the corners of its finest triangles."""
    source = open_any(path)
    assert isinstance(source, LayerSource) and source.mesh is not None
    tree = source.mesh()
    leaves = [tree.surfaces[int(k)] for k in np.flatnonzero(tree.nodes.child_count == 0)]
    assert all(leaf.values is not None for leaf in leaves)
    places = np.concatenate([leaf.positions[leaf.triangles] for leaf in leaves])
    return source, places, np.concatenate([leaf.values[leaf.triangles] for leaf in leaves if leaf.values is not None])


def corner_set(places: NDArray[np.floating], values: NDArray[np.uint8]) -> set[bytes]:
    """Triangles in any order, each from its least corner on."""
    rows = [
        [p.astype("<f4").tobytes() + v.tobytes() for p, v in zip(*triangle, strict=True)]
        for triangle in zip(places, values, strict=True)
    ]
    return {b"".join(row[(k := row.index(min(row))) :] + row[:k]) for row in rows}


@pytest.mark.parametrize(("stride", "normalized", "lower"), [(0, False, False), (4, True, True), (12, False, True)])
def test_bytes_positions_and_triangles_arrive_as_they_are(
    tmp_path: Path, stride: int, normalized: bool, lower: bool
) -> None:
    arrays, corners = vertices(), triangles()
    named = {name.lower() if lower and name != "POSITION" else name: array for name, array in arrays.items()}
    path = save_glb(tmp_path / "a.glb", *asset(named, indices=corners, stride=stride, normalized=normalized))
    source, places, values = read(path)
    assert find_format(path).name == source.info.format == "bakedsdf"
    assert source.info.up == (0, 1, 0)
    assert corner_set(places, values) == corner_set(arrays["POSITION"][corners], carried(arrays)[corners])
    assert source.describe()["lobes"] == 3 and source.describe()["method"] == "gaussians"
    assert source.info.bytes == path.stat().st_size


def test_a_fourth_colour_channel_is_left_out_and_corners_may_stand_in_a_row(tmp_path: Path) -> None:
    arrays = vertices(9)
    plain = carried(arrays)
    arrays["COLOR_0"] = np.concatenate([arrays["COLOR_0"], np.full((9, 1), 3, np.uint8)], axis=1)
    _, places, values = read(save_glb(tmp_path / "a.glb", *asset(arrays)))
    corners = np.arange(9).reshape(3, 3)
    assert corner_set(places, values) == corner_set(arrays["POSITION"][corners], plain[corners])


@pytest.mark.parametrize("lobes", [1, 2, 3, 4])
def test_as_many_lobes_as_there_are(tmp_path: Path, lobes: int) -> None:
    arrays = vertices(lobes=lobes)
    source = open_any(save_glb(tmp_path / "a.glb", *asset(arrays, indices=triangles())))
    assert isinstance(source, LayerSource) and source.mesh is not None
    mesh_look = source.mesh().look
    assert mesh_look.method == Gaussians(lobes) and mesh_look.channels == 3 + 7 * lobes
    assert (mesh_look.supersample, mesh_look.filter, mesh_look.empty) == (1, "nearest", None)


def viewers_color(values: NDArray[np.uint8], direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """The viewer's shaders by hand, of one vertex' bytes and the unit vector from the camera, in the asset's frame."""
    b = values.astype(np.float64)
    world = -np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]) @ direction
    color = b[:3] / 255
    for i in range((len(b) - 3) // 7):
        lobe = b[3 + 7 * i : 10 + 7 * i]
        mean, scale, tint = lobe[:3] * (2 / 255) - 1, 100 * lobe[3] / 255, lobe[4:] / 255
        color = color + tint * np.exp(scale * (world @ (mean / np.linalg.norm(mean)) - 1))
    return np.asarray(color)


def test_colours_are_those_of_the_viewers_formula() -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(0, 256, (50, 24)).astype(np.uint8)
    values[:, [6, 13, 20]] //= 20  # wide lobes: all three count
    directions = rng.normal(size=(50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    seen = look(3)
    decoded = values / 255 * seen.scale.astype(np.float64) + seen.offset
    got = colors(seen, decoded, directions @ np.array(seen.direction).T, np.zeros((50, 3)))
    want = np.array([viewers_color(v, d) for v, d in zip(values, directions, strict=True)])
    assert np.abs(got - want).max() < 1e-12


def test_a_primitive_with_fewer_lobes_keeps_its_colours(tmp_path: Path) -> None:
    few, many = vertices(lobes=1, seed=3), vertices(lobes=3, seed=4)
    many["POSITION"] = many["POSITION"] + np.float32(20)
    _, places, values = read(save_glb(tmp_path / "a.glb", *asset(few, many, indices=triangles())))
    assert values.shape[-1] == 24
    corner = int(np.flatnonzero((places == few["POSITION"][2]).all(axis=-1))[0])
    direction = np.array([0.6, 0.48, 0.64])
    got = viewers_color(values.reshape(-1, 24)[corner], direction)
    assert np.array_equal(got, viewers_color(carried(few, 1)[2], direction))


def test_nodes_move_and_repeat_the_mesh(tmp_path: Path) -> None:
    arrays, corners = vertices(), triangles()
    quarter = [0, 0, float(np.sqrt(0.5)), float(np.sqrt(0.5))]  # about z: x becomes y
    nodes = [{"children": [1, 2], "translation": [0, 0, 5]}, {"mesh": 0, "rotation": quarter, "scale": [2, 2, 2]},
             {"mesh": 0, "translation": [10, 0, 0]}]  # fmt: skip
    path = save_glb(tmp_path / "a.glb", *asset(arrays, indices=corners, nodes=nodes))
    _, places, values = read(path)
    p = arrays["POSITION"].astype(np.float64)
    turned = np.stack([-2 * p[:, 1], 2 * p[:, 0], 2 * p[:, 2] + 5], axis=1)
    want = np.concatenate([turned[corners], (p + np.array([10, 0, 5]))[corners]])
    assert np.allclose(np.sort(places.reshape(-1, 3), axis=0), np.sort(want.reshape(-1, 3), axis=0), atol=1e-6)
    assert len(values) == 2 * len(corners)


def test_other_primitives_are_left_out_with_a_warning(tmp_path: Path) -> None:
    plain = {"POSITION": vertices(seed=5)["POSITION"] + np.float32(9)}
    source, places, _ = read(save_glb(tmp_path / "a.glb", *asset(vertices(), plain, indices=triangles())))
    assert len(places) == 4
    assert any("without spherical Gaussians" in warning for warning in source.facts().warnings)


def test_buffers_beside_a_gltf(tmp_path: Path) -> None:
    made, data = asset(vertices(), indices=triangles())
    made["buffers"][0]["uri"] = "mesh.bin"
    (tmp_path / "mesh.bin").write_bytes(data)
    (tmp_path / "a.gltf").write_text(json.dumps(made))
    source, places, _ = read(tmp_path / "a.gltf")
    assert len(places) == 4 and {file.name for file in source.info.files} == {"a.gltf", "mesh.bin"}


def test_splats_and_plain_meshes_are_not_taken_for_it(tmp_path: Path) -> None:
    splats = save_glb(tmp_path / "splats.glb", *splat_asset(attributes_of(random_splats(5, 0))))
    plain = {name: array for name, array in vertices().items() if not name.startswith("_SG")}
    mesh = save_glb(tmp_path / "mesh.glb", *asset(plain, indices=triangles()))
    assert find_format(splats).name == "gltf" and find_format(mesh).name != "bakedsdf"


def without(*names: str) -> Callable[[Json], None]:
    def change(made: Json) -> None:
        for name in names:
            del made["meshes"][0]["primitives"][0]["attributes"][name]

    return change


def at(path: str, value: Any) -> Callable[[Json], None]:
    """Sets a value deep in the JSON, such as accessors.0.count."""

    def change(made: Json) -> None:
        *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
        place: Any = made
        for part in way:
            place = place[part]
        place[last] = value

    return change


#: Accessors in order: POSITION, _BYTE_NORMAL, COLOR_0, then mean, scale and colour of each lobe, indices.
DAMAGE: dict[str, tuple[Callable[[Json], None], type[LensError], str]] = {
    "no diffuse": (without("COLOR_0"), FormatError, "has no COLOR_0"),
    "no positions": (without("POSITION"), FormatError, "has no POSITION"),
    "half a lobe": (without("_SG_SCALE_1", "_SG_COLOR_2"), FormatError, "has no _SG_SCALE_1, _SG_COLOR_2"),
    "a lobe between": (
        without("_SG_MEAN_1", "_SG_SCALE_1", "_SG_COLOR_1"), FormatError, "_SG_MEAN_1, _SG_SCALE_1, _SG_COLOR_1"),
    "other count": (at("accessors.4.count", 5), FormatError, "has 5 rows, POSITION 6"),
    "short view": (at("bufferViews.0.byteLength", 40), FormatError, "6 rows need 72 bytes"),
    "short buffer": (at("buffers.0.byteLength", 100), FormatError, "bufferViews"),
    "longer than the file": (at("buffers.0.byteLength", 100_000), FormatError, "should have 100000 bytes"),
    "signed means": (at("accessors.3.componentType", 5120), FormatError, "_SG_MEAN_0 is 3 x signed byte"),
    "flat means": (at("accessors.3.type", "VEC2"), FormatError, "_SG_MEAN_0 is 2 x unsigned byte"),
    "strips": (at("meshes.0.primitives.0.mode", 5), UnsupportedError, "mode 5"),
    "two corners": (at("accessors.12.count", 11), FormatError, "11 corners"),
    "signed indices": (at("accessors.12.componentType", 5122), FormatError, "indices are 1 x signed short"),
    "no such accessor": (at("meshes.0.primitives.0.attributes._SG_MEAN_0", 99), FormatError, "_SG_MEAN_0"),
    "folder above": (at("buffers.0.uri", "../secret.bin"), UnsupportedError, "only files in the asset's own folder"),
    "web address": (at("buffers.0.uri", "http://example.org/a.bin"), UnsupportedError, "only files in the asset's own"),
    "no file": (at("buffers.0.uri", "gone.bin"), FormatError, "no file 'gone.bin' beside it"),
    "not shown": (at("scenes.0.nodes", None), FormatError, "no node of its scene"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(tmp_path: Path, name: str) -> None:
    change, kind, words = DAMAGE[name]
    made, data = asset(vertices(), indices=triangles())
    made = copy.deepcopy(made)
    change(made)
    path = save_glb(tmp_path / "a.glb", made, data)
    with pytest.raises(kind) as caught:
        open_any(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and words in message and message.isprintable(), message


def test_more_lobes_than_can_be_drawn(tmp_path: Path) -> None:
    path = save_glb(tmp_path / "a.glb", *asset(vertices(lobes=5), indices=triangles()))
    with pytest.raises(UnsupportedError, match="has lobe 4; lobes 0 to 3"):
        open_any(path)


def test_an_index_past_the_vertices(tmp_path: Path) -> None:
    corners = triangles()
    corners[2, 1] = 6
    with pytest.raises(FormatError, match=r"a\.glb: meshes\[0\].*an index is 6, there are 6 vertices"):
        read(save_glb(tmp_path / "a.glb", *asset(vertices(), indices=corners)))


def test_positions_that_are_not_finite(tmp_path: Path) -> None:
    arrays = vertices()
    arrays["POSITION"][0, 1] = np.nan
    source, places, _ = read(save_glb(tmp_path / "some.glb", *asset(arrays, indices=triangles())))
    assert len(places) == 3 and source.facts().dropped == {"triangles with NaN or infinity": 1}
    arrays["POSITION"][:] = np.inf
    with pytest.raises(FormatError, match="has no triangle that can be drawn; 4 triangles with NaN or infinity"):
        read(save_glb(tmp_path / "none.glb", *asset(arrays, indices=triangles())))


def test_nodes_that_repeat_a_mesh_without_end(tmp_path: Path) -> None:
    nodes = [{"mesh": 0} for _ in range(5000)]
    scenes = [{"nodes": list(range(5000))}]
    many = np.resize(triangles(), (6000, 3)).astype("<u2")
    path = save_glb(tmp_path / "a.glb", *asset(vertices(), indices=many, nodes=nodes, scenes=scenes))
    with pytest.raises(UnsupportedError, match="not a plausible scene"):
        open_any(path)


def test_a_cut_file(tmp_path: Path) -> None:
    path = save_glb(tmp_path / "a.glb", *asset(vertices(), indices=triangles()))
    data = path.read_bytes()
    for size in (0, 11, 20, 200, len(data) - 300, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(LensError):
            read(path)
    path.write_bytes(data[:8] + struct.pack("<I", len(data) + 9) + data[12:])
    with pytest.raises(FormatError, match="truncated"):
        open_any(path)
