"""Readers of ordinary meshes: PLY, OBJ and glTF as found in the wild, and every kind of damage."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splatlens.converters import find_format, open_any
from splatlens.converters.gltf_colour import decode_srgb, encode_srgb
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_gltf import open_mesh_gltf
from splatlens.converters.mesh_obj import open_obj
from splatlens.converters.mesh_pieces import GREY, fan, smooth_normals
from splatlens.converters.mesh_ply import open_mesh_ply
from splatlens.converters.mesh_source import MeshParts, mesh_source, usable
from splatlens.converters.mesh_uv import CLAMP, MIRROR, REPEAT, into_image
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.mesh import Plain, Surface, plain_look
from tests.mesh_files import CORNERS, SQUARE, UVS, Asset, picture, ply, png

TETRA = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
TETRA_FACES = [[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]


def parts_of(source: LayerSource) -> MeshParts:
    """What a source hands to the builder of levels of detail."""
    caught: list[MeshParts] = []

    def build(surfaces: Any, look: Any, progress: Any) -> Any:
        caught.append(MeshParts(surfaces, look))

    import splatlens.viewer.mesh_build as module

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "build_mesh", build)
        assert source.mesh is not None
        source.mesh()
    return caught[0]


def sampled(surface: Surface, places: NDArray[np.floating]) -> NDArray[np.int64]:
    """(N, C) bytes of a flat surface at places (N, 3) in it: of the nearest texel, or of the nearest corner."""
    a, b, c = (surface.positions[surface.triangles[:, i]].astype(np.float64) for i in range(3))
    out = []
    for place in places:
        edges = np.stack([b - a, c - a], axis=2)
        weights = np.stack([np.linalg.lstsq(e, place - o, rcond=None)[0] for e, o in zip(edges, a, strict=True)])
        full = np.concatenate([1 - weights.sum(axis=1, keepdims=True), weights], axis=1)
        at = int(np.argmax(full.min(axis=1)))
        if surface.texels is None:
            assert surface.values is not None
            out.append(surface.values[surface.triangles[at][np.argmax(full[at])]])
            continue
        assert surface.uvs is not None
        u, v = np.floor(full[at] @ surface.uvs[surface.triangles[at]]).astype(int)
        out.append(surface.texels[v, u])
    return np.array(out, np.int64)


def obj(path: Path, text: str, mtl: str = "", **files: bytes) -> Path:
    path.write_text(text)
    if mtl:
        path.with_name("m.mtl").write_text(mtl)
    for name, data in files.items():
        path.with_name(name + ".png").write_bytes(data)
    return path


# PLY


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_ply_of_every_byte_order_with_polygons(tmp_path: Path, order: str) -> None:
    """Triangles and polygons side by side; the square of four corners becomes a fan."""
    colours = {n: np.array([10 * c + i for i in range(4)], np.uint8) for c, n in enumerate(("red", "green", "blue"))}
    path = ply(tmp_path / "a.ply", SQUARE, [[0, 1, 2, 3], [0, 1, 2]], order, colours)
    source = open_any(path)
    assert isinstance(source, LayerSource) and source.info.format == "mesh-ply" and source.info.up == (0, 1, 0)
    parts = parts_of(source)
    (surface,) = parts.surfaces
    assert surface.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
    np.testing.assert_array_equal(surface.positions, SQUARE)
    assert surface.values is not None and surface.values.tolist() == [[i, 10 + i, 20 + i] for i in range(4)]
    assert isinstance(parts.look.method, Plain) and parts.look.method.light == "none" and parts.look.channels == 3


def test_ply_colours_of_other_types_and_of_faces(tmp_path: Path) -> None:
    for values, expected in (
        (np.array([0, 0.5, 1, 2 / 3], np.float32), [0, 128, 255, 170]),
        (np.array([0, 257, 65535, 514], np.uint16), [0, 1, 255, 2]),
        (np.array([0, 200.0, 100, 50], np.float64), [0, 200, 100, 50]),
    ):
        path = ply(tmp_path / "a.ply", TETRA, TETRA_FACES, vertex=dict.fromkeys(("red", "green", "blue"), values))
        (surface,) = parts_of(open_mesh_ply(path)).surfaces
        assert surface.values is not None and surface.values[:, 0].tolist() == expected
    red = np.array([1, 2, 3, 4], np.uint8)
    path = ply(tmp_path / "a.ply", TETRA, TETRA_FACES, face=dict.fromkeys(("red", "green", "blue"), red))
    (surface,) = parts_of(open_mesh_ply(path)).surfaces
    assert surface.values is not None and len(surface.positions) == 12
    assert surface.values[surface.triangles[:, 1], 0].tolist() == [1, 2, 3, 4]


def test_a_mesh_without_colours_is_grey_and_lit(tmp_path: Path) -> None:
    source = open_mesh_ply(ply(tmp_path / "a.ply", TETRA, TETRA_FACES, "", comments=("Vertical Axis: z",)))
    assert source.info.up == (0, 0, 1)
    parts = parts_of(source)
    (surface,) = parts.surfaces
    assert isinstance(parts.look.method, Plain) and parts.look.method.light == "head" and parts.look.channels == 6
    assert surface.values is not None and (surface.values[:, :3] == GREY).all()
    normals = surface.values[:, 3:] / 255 * 2 - 1
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=0.01)
    np.testing.assert_allclose(normals[0], np.ones(3) / np.sqrt(3), atol=0.01)  # as the faces turn


def test_ply_with_a_texture(tmp_path: Path) -> None:
    """Coordinates at vertices, or at the corners of faces; v points up in PLY."""
    pixels = picture()
    (tmp_path / "t.png").write_bytes(png(pixels))
    up = np.stack([UVS[:, 0], 1 - UVS[:, 1]], axis=1)
    each = [[*up[0], *up[1], *up[2], *up[3]]]
    places = np.array([[(x + 0.5) / 4, 1 - (y + 0.5) / 2, 0] for y in range(2) for x in range(4)])
    for columns, rows in (({"s": up[:, 0], "t": up[:, 1]}, None), ({}, each)):
        named = ("TextureFile t.png",)
        path = ply(tmp_path / "a.ply", SQUARE, [[0, 1, 2, 3]], "", columns, comments=named, texcoord=rows)
        source = open_mesh_ply(path)
        assert source.info.files == (path, tmp_path / "t.png")
        (surface,) = parts_of(source).surfaces
        np.testing.assert_array_equal(sampled(surface, places), pixels.reshape(-1, 3))
    path = ply(tmp_path / "a.ply", SQUARE, [[0, 1, 2, 3]], comments=("TextureFile t.png",))
    source = open_mesh_ply(path)
    parts_of(source)
    assert source.facts().warnings == ("it names the texture 't.png' but has no texture coordinates: drawn without",)


def test_damaged_ply(tmp_path: Path) -> None:
    path = ply(tmp_path / "a.ply", SQUARE, [[0, 1, 2], [0, 2, 4]])
    with pytest.raises(FormatError, match=r"a\.ply: face 1 has corner 4, there are 4 vertices"):
        open_mesh_ply(path).describe()
    whole = ply(tmp_path / "b.ply", SQUARE, [[0, 1, 2], [0, 2, 3]]).read_bytes()
    head = whole.index(b"end_header\n") + 11
    for size in range(0, len(whole), 5):
        path.write_bytes(whole[:size])
        with pytest.raises(LensError, match=r"a\.ply: "):
            open_mesh_ply(path).describe()
    for count in (b"10000", b"%d" % 2**40, b"%d" % 2**63):
        path.write_bytes(whole.replace(b"element face 2", b"element face " + count))
        with pytest.raises(FormatError, match=r"a\.ply: the header promises .* rows of element 'face'"):
            open_mesh_ply(path)
    path.write_bytes(whole[: head + 48] + b"\xff" + whole[head + 49 :])  # 255 corners
    with pytest.raises(FormatError, match=r"a\.ply: "):
        open_mesh_ply(path).describe()
    with pytest.raises(FormatError, match=r"has no triangle that can be drawn"):
        open_mesh_ply(ply(path, SQUARE, [[0, 1]])).describe()
    with pytest.raises(FormatError, match=r"no file 'gone\.png' beside the mesh; fetch it too"):
        open_mesh_ply(ply(path, SQUARE, [[0, 1, 2]], comments=("TextureFile gone.png",)))
    (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    uvs = {"s": UVS[:, 0], "t": UVS[:, 1]}
    with pytest.raises(FormatError, match=r"t\.png: cannot be decoded"):
        open_mesh_ply(ply(path, SQUARE, [[0, 1, 2]], vertex=uvs, comments=("TextureFile t.png",))).describe()


def test_names_that_leave_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "t.png").write_bytes(png(picture()))
    (inner / "link.png").symlink_to(tmp_path / "t.png")
    whole = str(tmp_path / "t.png")
    for name in ("../t.png", whole, "..\\t.png", "file:t.png", "https://a/t.png", "link.png", "a\x07.png"):
        path = ply(inner / "a.ply", SQUARE, [[0, 1, 2]], "", comments=(f"TextureFile {name}",))
        with pytest.raises((UnsupportedError, FormatError), match=r"a\.ply: the texture that its header names"):
            open_mesh_ply(path)
        text = "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl a\nf 1/1 2/1 3/1\n"
        path = obj(inner / "a.obj", text, f"newmtl a\nmap_Kd {name}\n")
        with pytest.raises((UnsupportedError, FormatError), match=r"m\.mtl: the texture of material 'a'"):
            open_obj(path)
        if name != "a\x07.png":
            path.write_text(text.replace("m.mtl", name.replace("png", "mtl")))
            (inner / "link.mtl").unlink(missing_ok=True)
            (inner / "link.mtl").symlink_to(tmp_path / "t.png")
            with pytest.raises(UnsupportedError, match=r"only files in the mesh's own folder are read"):
                open_obj(path)


# OBJ


def test_obj_as_found_in_the_wild(tmp_path: Path) -> None:
    """Tabs, CR, comments, continued lines, polygons, references from the end, normals that are passed over."""
    text = (
        "# made by hand\r\no first\r\nv\t0 0 0 # corner\r\nv 1 0 0\r\n  v 1 1 0\r\nv 0 1 0\r\nvn 0 0 1\r\ns off\r\n"
        "f 1//1 2//1 \\\r\n 3//1 4//1\r\ng other\r\nv 0 0 5\r\nv 1 0 5\r\nv 0 1 5\r\nf -3 -2 -1\r\n"
        "l 1 2\r\np 1\r\nf 1 2\r\n"
    )
    source = open_any(obj(tmp_path / "a.obj", text))
    assert isinstance(source, LayerSource) and source.info.format == "obj" and source.info.up == (0, 1, 0)
    (surface,) = parts_of(source).surfaces
    heights = surface.positions[surface.triangles][:, :, 2]
    assert len(surface.triangles) == 3 and sorted(heights.mean(axis=1).tolist()) == [0, 0, 5]
    np.testing.assert_array_equal(
        surface.positions[surface.triangles[heights.max(axis=1) == 0]].reshape(-1, 3), SQUARE[[0, 1, 2, 0, 2, 3]]
    )
    expected = {"1 faces of fewer than three corners were left out", "1 lines were left out", "1 points were left out"}
    assert set(source.facts().warnings) == expected


def test_references_from_the_end_count_from_their_line(tmp_path: Path) -> None:
    text = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf -3 -2 -1\nv 0 0 9\nv 1 0 9\nv 0 1 9\n"
    (surface,) = parts_of(open_obj(obj(tmp_path / "a.obj", text))).surfaces
    assert surface.positions[surface.triangles][:, :, 2].tolist() == [[0, 0, 0]]


def test_obj_with_materials(tmp_path: Path) -> None:
    """A surface for each: textured, of one colour, and faces without coordinates among textured ones."""
    pixels, other = picture(), picture(seed=2)
    text = (
        "mtllib m.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
        "usemtl a\nf 1/1 2/2 3/3\nusemtl b b\nf 1/1 2/2 3/3 4/4\nusemtl c\nf 1 2 3\n"
        "usemtl a\nf 1/1 3/3 4/4\nf 1 2 4\nusemtl gone\nf 2 3 4\n"
    )
    mtl = (
        "newmtl a\nKd 0.5 0.5 0.5\nmap_Kd -s 1 1 1 -clamp on t.png\n# x\nnewmtl b b\nmap_Kd u.png\n"
        "newmtl c\nKd 1 0 0.5\nd 0.5\n"
    )
    path = obj(tmp_path / "a.obj", text, mtl, t=png(pixels), u=png(other))
    source = open_obj(path)
    assert source.info.files == (path, tmp_path / "m.mtl", tmp_path / "t.png", tmp_path / "u.png")
    surfaces = parts_of(source).surfaces
    assert [s.texels is not None for s in surfaces] == [True, True, False, False, False]
    places = np.array([[(x + 0.5) / 4, 1 - (y + 0.5) / 2, 0] for y in range(2) for x in range(4)])
    np.testing.assert_array_equal(sampled(surfaces[0], places), pixels.reshape(-1, 3))
    np.testing.assert_array_equal(sampled(surfaces[1], places), other.reshape(-1, 3))
    colours = [s.values[0].tolist() for s in surfaces[2:] if s.values is not None]
    assert colours == [[255, 0, 128], [128, 128, 128], list(GREY)]
    warnings = "\n".join(source.facts().warnings)
    for text in ("-s, -clamp of its texture are not applied", "'c' is transparent", "'gone' is in no library",
                 "faces of material 'a' have no texture coordinates"):  # fmt: skip
        assert text in warnings


def test_obj_with_colours_beside_vertices(tmp_path: Path) -> None:
    rows = "v 0 0 0 1 0 0\nv 1 0 0 0 1 0\nv 0 1 0 0 0 0.5\n"
    (surface,) = parts_of(open_obj(obj(tmp_path / "a.obj", rows + "f 1 2 3\n"))).surfaces
    assert surface.values is not None
    assert surface.values[surface.triangles[0]].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 128]]
    parts = parts_of(open_obj(obj(tmp_path / "a.obj", rows + "v 1 1 1\nf 1 2 3\n")))
    assert parts.look.channels == 6  # of some vertices only: not taken for colours


def test_damaged_obj(tmp_path: Path) -> None:
    three = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\n"
    for text, expected in (
        (three + "f 1 2 4\n", "line 5: a face refers to v 4, there are 3"),
        (three + "f 1/1 2/2 3/1\n", "line 5: a face refers to vt 2, there are 1"),
        (three + "f 0 1 2\n", "line 5: 'f 0 1 2': '0' refers to what is not there before this line"),
        (three + "f -4 -1 -2\n", "'-4' refers to what is not there before this line"),
        (three + "f 1/0 2/1 3/1\n", "'1/0' refers to what is not there"),
        (three + "f 1 2 x\n", "line 5: 'f 1 2 x' is no face"),
        ("v 0 0\n", "line 1: 'v 0 0' is no position"),
        ("v 0 0 y\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "line 1: 'v 0 0 y' is no position"),
        (three + "vt 0 0,5\nf 1 2 3\n", "line 5: 'vt 0 0,5' are no texture coordinates"),
        (three, "has no faces"),
        ("", "has no faces"),
        (three + "f 1 1 2\n", "has no triangle that can be drawn; 1 triangles without area"),
        ("v nan 0 0\nv 1 0 0\nv 0 inf 0\nf 1 2 3\n", "has no triangle that can be drawn; 1 triangles with NaN"),
        ("v 1e300 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "has no triangle that can be drawn; 1 triangles with NaN"),
    ):
        with pytest.raises(FormatError) as caught:
            open_obj(obj(tmp_path / "a.obj", text)).describe()
        assert str(caught.value).startswith(f"{tmp_path / 'a.obj'}: ") and expected in str(caught.value), text
        assert "\n" not in str(caught.value)


def test_missing_libraries_and_textures_are_named(tmp_path: Path) -> None:
    text = "mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nusemtl a\nf 1/1 2/1 3/1\n"
    source = open_obj(obj(tmp_path / "a.obj", text))
    assert "no file 'gone.mtl' beside the mesh" in source.info.warnings[0]
    assert parts_of(source).look.channels == 6
    text = text.replace("gone", "m")
    with pytest.raises(FormatError, match=r"m\.mtl: the texture of material 'a': no file 'sub/x y\.png' beside"):
        open_obj(obj(tmp_path / "a.obj", text, "newmtl a\nmap_Kd sub\\x y.png\n".replace("\\", "/")))


# glTF


def square_asset(**material: Any) -> Asset:
    asset = Asset()
    asset.show(asset.square(material=asset.textured(picture(), **material)))
    return asset


CENTRES = np.array([[(x + 0.5) / 4, 1 - (y + 0.5) / 2, 0] for y in range(2) for x in range(4)])


@pytest.mark.parametrize("name", ["a.glb", "a.gltf"])
def test_gltf_texture(tmp_path: Path, name: str) -> None:
    """The bytes of the picture, at the places that the coordinates say."""
    source = open_any(square_asset().save(tmp_path / name))
    assert isinstance(source, LayerSource) and source.info.format == "mesh-gltf" and source.info.up == (0, 1, 0)
    parts = parts_of(source)
    np.testing.assert_array_equal(sampled(parts.surfaces[0], CENTRES), picture().reshape(-1, 3))
    assert parts.look.filter == "linear" and source.info.splats == 0 and parts.look.empty is None


def test_gltf_factors_are_linear_light(tmp_path: Path) -> None:
    source = open_mesh_gltf(square_asset(factor=[0.25, 1, 2, 1]).save(tmp_path / "a.glb"))
    expected = encode_srgb(np.clip(decode_srgb(picture().reshape(-1, 3) / 255) * [0.25, 1, 2], 0, 1)) * 255
    np.testing.assert_array_equal(sampled(parts_of(source).surfaces[0], CENTRES), np.rint(expected))


def test_gltf_texture_transform(tmp_path: Path) -> None:
    """Half a turn and a move put the picture upside down; a quarter turn is counter-clockwise as seen."""
    transform = {"rotation": np.pi, "offset": [1, 1]}
    texture: dict[str, Any] = {"extensions": {"KHR_texture_transform": transform}}
    source = open_mesh_gltf(square_asset(texture=texture).save(tmp_path / "a.glb"))
    np.testing.assert_array_equal(sampled(parts_of(source).surfaces[0], CENTRES), picture()[::-1, ::-1].reshape(-1, 3))
    asset = Asset()
    texture = {"extensions": {"KHR_texture_transform": {"rotation": np.pi / 2, "offset": [0, 1]}}}
    square = picture(4, 4)
    asset.show(asset.square(material=asset.textured(square, texture=texture)))
    got = sampled(parts_of(open_mesh_gltf(asset.save(tmp_path / "a.glb"))).surfaces[0], np.array([[0.125, 0.875, 0]]))
    # The place at the left top looks up (0.125, 0.125), which turned is (0.125, -0.125), moved (0.125, 0.875).
    assert got[0].tolist() == square[3, 0].tolist()


@pytest.mark.parametrize(("mode", "holes"), [("MASK", True), ("BLEND", True), ("OPAQUE", False)])
def test_gltf_alpha(tmp_path: Path, mode: str, holes: bool) -> None:
    asset = Asset()
    asset.show(asset.square(material=asset.textured(picture(alpha=True), alphaMode=mode)))
    asset.show({"attributes": {"POSITION": asset.add(SQUARE)}})  # without a texture: all of it is there
    source = open_mesh_gltf(asset.save(tmp_path / "a.glb"))
    parts = parts_of(source)
    assert parts.look.channels == (4 if holes else 3) and parts.look.empty == (3 if holes else None)
    got = sampled(parts.surfaces[0], CENTRES).reshape(2, 4, -1)
    np.testing.assert_array_equal(got[..., :3], picture(alpha=True)[..., :3])
    if holes:
        assert (got[:, :2, 3] == 0).all() and (got[:, 2:, 3] == 255).all()
        assert parts.surfaces[1].values is not None and (parts.surfaces[1].values[:, 3] == 255).all()
    assert any("alphaMode BLEND" in w for w in source.facts().warnings) == (mode == "BLEND")


def test_gltf_cutoff_counts_the_factor(tmp_path: Path) -> None:
    pixels = picture(alpha=True)
    pixels[..., 3] = 100
    for cutoff, there in ((0.19, True), (0.2, False)):
        asset = Asset()
        material = asset.textured(pixels, alphaMode="MASK", alphaCutoff=cutoff, factor=[1, 1, 1, 0.5])
        asset.show(asset.square(material=material))
        parts = parts_of(open_mesh_gltf(asset.save(tmp_path / "a.glb")))
        assert (parts.look.empty is None) == there


def test_gltf_vertex_colours_and_flat_materials(tmp_path: Path) -> None:
    asset = Asset()
    light = np.array([[0, 0, 0], [0.5, 1, 0.25], [1, 1, 1], [0.1, 0.2, 0.3]], np.float32)
    attributes = {"POSITION": asset.add(SQUARE), "COLOR_0": asset.add(np.rint(light * 65535), "u2", normalized=True)}
    half = asset.append("materials", {"pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 1, 1]}})
    asset.show({"attributes": attributes, "material": half})
    asset.show({"attributes": {"POSITION": asset.add(SQUARE[:3])}, "material": half})
    parts = parts_of(open_mesh_gltf(asset.save(tmp_path / "a.glb")))
    colours, flat = (s.values for s in parts.surfaces)
    assert colours is not None and flat is not None and parts.look.channels == 3
    np.testing.assert_allclose(colours, encode_srgb(light * [1, 0.5, 1]) * 255, atol=0.51)
    assert flat[0].tolist() == [255, round(float(encode_srgb(np.array(0.5))) * 255), 255]


def test_gltf_nodes_place_meshes(tmp_path: Path) -> None:
    """Parents, a mirror image and uneven scales; a mesh that two nodes show is there twice."""
    asset = Asset()
    shown = asset.show({"attributes": {"POSITION": asset.add(SQUARE[:3])}}, translation=[1, 2, 3], scale=[-1, 2, 1])
    asset.append("nodes", {"children": [shown], "rotation": [0, 0, np.sqrt(0.5), np.sqrt(0.5)]})
    asset.append("nodes", {"mesh": 0})
    asset.json["scenes"] = [{"nodes": [1, 2]}]
    first, second = parts_of(open_mesh_gltf(asset.save(tmp_path / "a.glb"))).surfaces
    placed = SQUARE[:3] * [-1, 2, 1] + [1, 2, 3]
    turned = np.stack([-placed[:, 1], placed[:, 0], placed[:, 2]], axis=1)
    np.testing.assert_allclose(first.positions, turned, atol=1e-6)
    np.testing.assert_array_equal(second.positions, SQUARE[:3])


def test_gltf_strips_fans_and_what_is_no_triangle(tmp_path: Path) -> None:
    asset = Asset()
    five = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [2, 0, 0]], np.float32)
    asset.show(*({"attributes": {"POSITION": asset.add(five)}, "mode": mode} for mode in (0, 3, 5, 6)))
    source = open_mesh_gltf(asset.save(tmp_path / "a.glb"))
    strip, fan_ = parts_of(source).surfaces
    assert strip.triangles.tolist() == [[0, 1, 2], [1, 3, 2], [2, 3, 4]]
    assert fan_.triangles.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4]]
    assert "a primitive of points was left out" in source.info.warnings
    assert "a primitive of line strips was left out" in source.info.warnings


def test_gltf_skins_and_morphs_at_rest(tmp_path: Path) -> None:
    """A skin's joints place its vertices, the node does not; a morph target with a weight moves them before."""
    asset = Asset()
    move = np.zeros((4, 3), np.float32)
    move[:, 2] = 1
    primitive = asset.square(targets=[{"POSITION": asset.add(move)}, {"POSITION": asset.add(5 * move)}])
    joints = np.tile(np.array([0, 1, 0, 0], np.uint8), (4, 1))
    weights = np.tile(np.array([0.25, 0.75, 0, 0], np.float32), (4, 1))
    primitive["attributes"] |= {"JOINTS_0": asset.add(joints, "u1"), "WEIGHTS_0": asset.add(weights)}
    inverse = np.stack([np.eye(4), np.eye(4)])
    inverse[1, 3, :3] = [0, -1, 0]  # column by column: moves by -1 along y
    skin = {"joints": [1, 2], "inverseBindMatrices": asset.add(inverse.reshape(2, 16))}
    asset.show(primitive, skin=asset.append("skins", skin), translation=[100, 0, 0], weights=[0.5, 0])
    asset.append("nodes", {"translation": [4, 0, 0]})
    asset.append("nodes", {"scale": [2, 2, 2]})
    source = open_mesh_gltf(asset.save(tmp_path / "a.glb"))
    (surface,) = parts_of(source).surfaces
    rest = SQUARE + np.array([0, 0, 0.5])
    moved = 0.25 * (rest + np.array([4, 0, 0])) + 0.75 * 2 * (rest - np.array([0, 1, 0]))
    np.testing.assert_allclose(surface.positions, moved, atol=1e-6)
    assert "a skinned mesh is drawn in the pose that its joints have in the file" in source.info.warnings


def test_gltf_textures_beside_and_their_uris(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a b.png").write_bytes(png(picture()))
    (tmp_path / "out.png").write_bytes(png(picture()))
    asset = square_asset()
    for uri, error, expected in (
        ("a%20b.png", None, ""),
        ("../out.png", UnsupportedError, "only files in the asset's own folder are read"),
        ("%2e%2e/out.png", UnsupportedError, "only files in the asset's own folder are read"),
        ("http://a/b.png", UnsupportedError, "only files in the asset's own folder are read"),
        ("gone.png", FormatError, "images[0]: no file 'gone.png' beside it; fetch it too"),
    ):
        asset.json["images"] = [{"uri": uri}]
        path = asset.save(tmp_path / "in" / "a.gltf")
        if error is None:
            source = open_mesh_gltf(path)
            assert tmp_path / "in" / "a b.png" in source.info.files
            np.testing.assert_array_equal(sampled(parts_of(source).surfaces[0], CENTRES), picture().reshape(-1, 3))
            continue
        with pytest.raises(error) as caught:
            open_mesh_gltf(path)
        assert expected in str(caught.value)


def _set(asset: Asset, place: str, value: Any) -> None:
    *keys, last = [int(k) if k.isdigit() else k for k in place.split("/")]
    target: Any = asset.json
    for key in keys:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value


@pytest.mark.parametrize(
    ("place", "value", "error", "expected"),
    [
        ("meshes/0/primitives/0/attributes/POSITION", 99, FormatError, "POSITION"),
        ("meshes/0/primitives/0/indices", 0, FormatError, "indices"),
        ("accessors/0/count", 99, FormatError, "99 rows need"),
        ("accessors/0/type", "VEC2", FormatError, "POSITION has 2 values"),
        ("accessors/1/type", "VEC3", FormatError, "rows need"),
        ("accessors/2/count", 7, FormatError, "rows need"),
        ("bufferViews/1/byteLength", 1 << 40, FormatError, "ends at byte"),
        ("bufferViews/1/extensions", {"EXT_meshopt_compression": {}}, UnsupportedError, "EXT_meshopt_compression"),
        ("meshes/0/primitives/0/extensions", {"KHR_draco_mesh_compression": {}}, UnsupportedError, "draco"),
        ("meshes/0/primitives/0/mode", 9, FormatError, "an integer in 0..6"),
        ("meshes/0/primitives/0/material", 4, FormatError, "material"),
        ("materials/0/alphaMode", "GLASS", FormatError, "OPAQUE, MASK or BLEND"),
        ("materials/0/pbrMetallicRoughness/baseColorTexture/index", 3, FormatError, "index"),
        ("textures/0/source", ..., UnsupportedError, "textures[0] has no PNG, JPEG or WebP picture"),
        ("images/0/bufferView", 50, FormatError, "images[0].bufferView"),
        ("images/0", {}, FormatError, "images[0] has neither uri nor bufferView"),
        ("extensionsRequired", ["EXT_new"], UnsupportedError, "requires 'EXT_new'"),
        ("nodes/0", {}, FormatError, "no node of its scene shows triangles"),
        ("scenes", [{"nodes": [0, 0]}], FormatError, "reached twice"),
        ("accessors/0/sparse", {}, UnsupportedError, "sparse"),
    ],
)
def test_damaged_gltf(tmp_path: Path, place: str, value: Any, error: type[LensError], expected: str) -> None:
    asset = square_asset()
    _set(asset, place, value)
    path = asset.save(tmp_path / "a.glb")
    with pytest.raises(error) as caught:
        open_mesh_gltf(path).describe()
    assert str(caught.value).startswith(f"{path}: ") and expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_short_buffers_and_indices_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"buffers\[0\] should have \d+ bytes, but \d+ are there"):
        open_mesh_gltf(square_asset().save(tmp_path / "a.gltf", cut=1))
    whole = square_asset().save(tmp_path / "a.glb").read_bytes()
    for size in range(0, len(whole), 41):
        (tmp_path / "b.glb").write_bytes(whole[:size])
        with pytest.raises(LensError, match=r"b\.glb: "):
            open_any(tmp_path / "b.glb").info and open_mesh_gltf(tmp_path / "b.glb").describe()
    asset = square_asset()
    asset.json["meshes"][0]["primitives"][0]["indices"] = asset.add([0, 1, 4], "u4")
    with pytest.raises(FormatError, match=r"meshes\[0\]\.primitives\[0\]: index 4 at row 2, there are 4 vertices"):
        open_mesh_gltf(asset.save(tmp_path / "a.glb")).describe()


def test_gltf_of_splats_stays_with_its_reader(tmp_path: Path) -> None:
    asset = square_asset()
    asset.json["meshes"][0]["primitives"][0]["extensions"] = {"KHR_gaussian_splatting": {}}
    assert find_format(asset.save(tmp_path / "a.glb")).name == "gltf"
    assert find_format(square_asset().save(tmp_path / "a.glb")).name == "mesh-gltf"


# What they share


def test_triangles_that_cannot_be_drawn_are_counted() -> None:
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [np.nan, 0, 0], [1, 0, 0], [2e18, 0, 0]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4], [1, 1, 2], [0, 2, 5]], np.int32)
    surface, dropped = Surface(positions, triangles, values=np.zeros((6, 3), np.uint8)), Counter[str]()
    kept = usable(surface, dropped)
    assert kept.triangles.tolist() == [[0, 1, 2]] and np.isfinite(kept.positions).all()
    assert dropped == {"triangles with NaN or infinity": 2, "triangles without area": 2}


def test_warnings_of_reading_reach_the_facts(tmp_path: Path) -> None:
    """Those known at once and those of reading; the mesh is read once for all of it."""
    calls = []

    def read() -> MeshParts:
        calls.append(1)
        surface = Surface(TETRA, np.array([[0, 1, 2], [0, 0, 1]], np.int32), values=np.zeros((4, 3), np.uint8))
        return MeshParts([surface], plain_look(), ("shard 2 is absent",))

    source = mesh_source(tmp_path, "test", read, lambda: {"shards": 2}, warnings=("known at once",), files=())
    assert source.info.warnings == ("known at once",) and not calls
    facts = source.describe()
    assert (facts["kind"], facts["triangles"], facts["shards"]) == ("mesh", 1, 2)
    assert facts["bounds"] == [[0, 0, 0], [1, 1, 0]]
    assert source.facts().warnings == ("known at once", "shard 2 is absent")
    assert source.info.dropped == {"triangles without area": 1} and len(calls) == 1


def test_fans_and_normals() -> None:
    corners, polygon = fan(np.array([3, 2, 5, 0, 4]))
    assert corners.tolist() == [[0, 1, 2], [5, 6, 7], [5, 7, 8], [5, 8, 9], [10, 11, 12], [10, 12, 13]]
    assert polygon.tolist() == [0, 2, 2, 2, 4, 4]
    split = TETRA[np.array(TETRA_FACES)].reshape(-1, 3)  # a vertex for every corner: places count, not numbers
    shared = smooth_normals(TETRA, np.array(TETRA_FACES, np.int32))
    own = smooth_normals(split, np.arange(12, dtype=np.int32).reshape(-1, 3))
    np.testing.assert_allclose(own, shared[np.ravel(TETRA_FACES)])


@pytest.mark.parametrize("wrap", [REPEAT, MIRROR, CLAMP])
def test_repeated_textures_are_cut_into_copies(wrap: str) -> None:
    """At random places of a square that shows 3.4 x 2.3 copies, turned, the same texel as the sampler's rule gives."""
    rng = np.random.default_rng(5)
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    uvs = (SQUARE[:, :2] * [3.4, 2.3]) @ turn.T - [1.2, 0.7]
    charts = into_image(SQUARE, uvs, CORNERS.astype(np.int32), (wrap, wrap), (64, 32))
    assert charts.uvs.min() >= 0 and charts.uvs.max() <= 1 and len(charts.triangles) > 2
    a, b, c = (charts.positions[charts.triangles[:, i]].astype(np.float64) for i in range(3))
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    assert abs(areas.sum() - 1) < 1e-5  # nothing is lost, nothing is there twice
    weights = rng.dirichlet(np.ones(3), len(charts.triangles))
    places = np.einsum("tc,tcx->tx", weights, charts.positions[charts.triangles])
    got = np.einsum("tc,tcx->tx", weights, charts.uvs[charts.triangles])
    free = (places[:, :2] * [3.4, 2.3]) @ turn.T - [1.2, 0.7]
    inside = free - np.floor(free)
    rule = {REPEAT: inside, MIRROR: np.where(np.floor(free) % 2 == 1, 1 - inside, inside), CLAMP: np.clip(free, 0, 1)}
    np.testing.assert_allclose(got, rule[wrap], atol=SLACK_UV)


#: Coordinates that reach over an edge by less than a quarter texel of 32 are moved back.
SLACK_UV = 0.25 / 32 + 1e-6


def test_cuts_leave_no_gap_between_neighbours() -> None:
    """Every edge inside of the square is that of two triangles."""
    charts = into_image(SQUARE, UVS * 3, CORNERS.astype(np.int32), (REPEAT, REPEAT), (8, 8))
    places = charts.positions[charts.triangles]
    edges = Counter[tuple[bytes, ...]]()
    for triangle in places:
        for i in range(3):
            edges[tuple(sorted((triangle[i].tobytes(), triangle[(i + 1) % 3].tobytes())))] += 1
    once = [edge for edge, count in edges.items() if count != 2]
    points = np.array([[np.frombuffer(p, np.float32) for p in edge] for edge in once])
    border = (points[:, :, :2] == 0) | (points[:, :, :2] == 1)
    assert (border.all(axis=1)).any(axis=1).all()


def test_textures_that_repeat_too_often(tmp_path: Path) -> None:
    asset = square_asset(texture={"extensions": {"KHR_texture_transform": {"scale": [1e9, 1]}}})
    with pytest.raises(UnsupportedError, match=r"a\.glb: its texture repeats about"):
        open_mesh_gltf(asset.save(tmp_path / "a.glb")).describe()
    asset = square_asset()
    bad = UVS.copy()
    bad[0] = np.nan
    asset.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = asset.add(bad)
    source = open_mesh_gltf(asset.save(tmp_path / "a.glb"))
    source.describe()
    assert source.facts().warnings == ("1 texture coordinates are not finite: 0 was taken for them",)


def test_pictures_of_other_kinds(tmp_path: Path) -> None:
    """Palettes, greys, JPEG and 16 bits are read; what is no picture is not."""
    from splatlens.converters.mesh_images import decode_picture

    grey = np.arange(16, dtype=np.uint8).reshape(4, 4) * 16
    for picture_, suffix in (
        (Image.fromarray(grey), "png"), (Image.fromarray(grey).convert("P"), "png"),
        (Image.fromarray(grey.astype(np.uint16) * 256), "png"), (Image.fromarray(grey), "bmp"),
    ):  # fmt: skip
        picture_.save(tmp_path / f"a.{suffix}")
        got = decode_picture((tmp_path / f"a.{suffix}").read_bytes(), "a")
        assert got.shape == (4, 4, 3)
        np.testing.assert_array_equal(got[:, :, 1], grey)
    for data, why in ((b"", "is empty"), (b"GIF89a", "cannot"), (png(picture())[:-40], "cannot be decoded")):
        with pytest.raises(FormatError, match=f"a: {why}"):
            decode_picture(data, "a")


@pytest.mark.data
def test_real_meshes(data_dir: Path) -> None:
    for name, triangles, vertices in (("bunny_trimesh.ply", 16_301, 8_171), ("armadillo.obj", 99_976, 49_990)):
        source = open_any(data_dir / "meshes" / name)
        assert isinstance(source, LayerSource)
        facts = source.describe()
        assert (facts["triangles"], facts["vertices"], source.info.dropped) == (triangles, vertices, {})
