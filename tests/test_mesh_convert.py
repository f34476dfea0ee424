"""Meshes on their way into scenes: beside splats and generators, apart again, drawn, refused where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import splatlens
from splatlens.cli import run
from splatlens.converters import lens, open_any, open_source, write_splats
from splatlens.converters.layer_source import LayerSource
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import compare
from splatlens.viewer.convert import build_lens, world_corners
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.splats import Splats
from tests.generator_models import N, data, model
from tests.mesh_files import SQUARE, Asset, picture, ply

CAMERA = Camera.look_at((0.5, 0.5, 3), (0.5, 0.5, 0), (0, 1, 0), 40, 96, 64)


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    """A textured square, 0..1 across, at z = 0, whose right half is not there."""
    asset = Asset()
    pixels = picture(16, 16, alpha=True)[:, ::-1]
    asset.show(asset.square(material=asset.textured(np.ascontiguousarray(pixels), alphaMode="MASK")))
    return asset.save(tmp_path / "square.glb")


@pytest.fixture
def splats(tmp_path: Path) -> Path:
    """Two opaque splats in the middle of the left half of the square: red before it, green behind it."""
    means = np.array([[0.25, 0.3, 0.5], [0.25, 0.7, -0.5]], np.float32)
    colours = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    quats, scales = np.tile([1, 0, 0, 0], (2, 1)).astype(np.float32), np.full((2, 3), 0.03, np.float32)
    sh = ((colours - 0.5) / 0.28209479177387814)[:, None]
    write_splats(tmp_path / "two.ply", Splats(means, quats, scales, np.full(2, 0.99, np.float32), sh))
    return tmp_path / "two.ply"


def generator(folder: Path) -> Path:
    (folder / "cloud.onnx").write_bytes(data(model()))
    return folder / "cloud.onnx"


def test_a_mesh_beside_splats_and_a_generator(tmp_path: Path, mesh: Path, splats: Path) -> None:
    """Layers in the order of the inputs, each with its own matrix; all of them count for bounds and start camera."""
    cloud, out = generator(tmp_path), tmp_path / "all.lens"
    moves, heard = ["move=10,0,0", "move=0,20,0", "move=0,0,30"], list[float]()

    def hear(what: str, share: float) -> None:
        heard.extend([share] if what == "preparing square.glb" else [])

    report = splatlens.convert([mesh, splats, cloud], out, transform=moves, progress=hear)
    assert heard[0] == 0 and heard[-1] == 1 and heard == sorted(heard)
    assert report.splats == 2 + N and report.details["meshes"] == [{"name": "square"}]
    assert [one["kind"] for one in report.details["live"]] == ["generator"]
    with LensReader.open(out) as reader:
        assert [(one.kind, one.name) for one in reader.layers] == [
            ("mesh", "square"), ("splats", "two"), ("generator", "cloud")
        ]  # fmt: skip
        assert [one.transform[:3, 3].tolist() for one in reader.layers] == [[10, 0, 0], [0, 20, 0], [0, 0, 30]]
        low, high = reader.scene.bounds or ((0,) * 3, (0,) * 3)
        assert low[0] <= 0.25 and high[0] == 11 and high[1] == pytest.approx(20.7) and high[2] > 29
        assert reader.scene.up == (0, 1, 0)  # of the first input that says


def test_a_scene_of_one_mesh(tmp_path: Path, mesh: Path) -> None:
    splatlens.convert(mesh, tmp_path / "a.lens", transform="scale=2 move=0,0,5")
    with LensReader.open(tmp_path / "a.lens") as reader:
        assert reader.scene.bounds == ((0, 0, 5), (2, 2, 5))
        camera = reader.scene.camera
        assert camera is not None
        corners = np.array([[0, 0, 5, 1], [2, 2, 5, 1], [2, 0, 5, 1]]) @ camera.world_to_camera.T
        pixels = corners[:, :2] / corners[:, 2:3] * camera.fx + [camera.cx, camera.cy]
        assert ((pixels > 0) & (pixels < [camera.width, camera.height])).all() and (corners[:, 2] > 0).all()


def test_a_file_with_a_mesh_comes_apart_and_goes_together_again(tmp_path: Path, mesh: Path, splats: Path) -> None:
    """The mesh's bytes are those of before; its matrix is multiplied with the one asked for."""
    first, second = tmp_path / "first.lens", tmp_path / "second.lens"
    splatlens.convert([mesh, splats], first, transform=["move=1,2,3", "move=0,0,0"])
    stored, apart = lens.open_parts(first)
    assert not isinstance(stored, LayerSource) and isinstance(apart, LayerSource) and apart.model is None
    assert apart.mesh is not None and len(apart.mesh().surfaces) == len(apart.mesh().nodes.error)
    report = splatlens.convert([first, mesh], second, transform=["scale=2", "move=9,9,9"])
    assert len(report.details["meshes"]) == 2
    with LensReader.open(first) as a, LensReader.open(second) as b:
        kinds = [layer.kind for layer in b.layers]
        assert kinds == ["splats", "mesh", "mesh"]
        for name in a.layers[0].blobs:
            assert a.blob(0, name) == b.blob(1, name)
        assert b.layers[1].transform.tolist() == [[2, 0, 0, 2], [0, 2, 0, 4], [0, 0, 2, 6], [0, 0, 0, 1]]
        assert b.layers[1].name != b.layers[2].name


def test_pages_stay_raw_where_deflating_would_pay(tmp_path: Path, mesh: Path) -> None:
    """Readers fetch parts of them."""
    source = open_any(mesh)
    assert isinstance(source, LayerSource)
    made = source.layer()
    blobs = {**made.blobs, "pages.0": made.blobs["pages.0"] + bytes(9999)}
    build_lens([replace(made, blobs=blobs)], tmp_path / "a.lens")
    splatlens.convert(tmp_path / "a.lens", tmp_path / "b.lens")
    with LensReader.open(tmp_path / "b.lens") as reader:
        surfaces = lens.mesh_trees(reader)[0].surfaces
        assert [len(surface.triangles) > 0 for surface in surfaces] == [True] * len(surfaces)


def test_drawn_with_splats_before_and_behind(tmp_path: Path, mesh: Path, splats: Path) -> None:
    """The red splat hides the mesh, the mesh hides the green one, and where the mesh is not there nothing hides."""
    out = tmp_path / "a.lens"
    splatlens.convert([mesh, splats], out)
    with splatlens.open(out) as scene:
        image = scene.render(CAMERA, background=(0, 0, 0))
        twin = scene.render(CAMERA, background=(0, 0, 0), reference=True)
    assert compare(image, twin).psnr > 60
    places = (0.25, 0.3, 0.5), (0.25, 0.7, -0.5), (0.75, 0.5, 0)
    red, green, hole = (image[round(y), round(x)] for x, y in (_pixel(*place) for place in places))
    assert red[0] > 0.9 and red[1] < 0.1
    assert green[3] > 0.99 and not (green[1] > 0.9 and green[0] < 0.1), "the green splat is behind"
    assert hole[3] == 0


def _pixel(x: float, y: float, z: float) -> tuple[float, float]:
    at = CAMERA.world_to_camera @ np.array([x, y, z, 1])
    return float(at[0] / at[2] * CAMERA.fx + CAMERA.cx - 0.5), float(at[1] / at[2] * CAMERA.fy + CAMERA.cy - 0.5)


def test_a_mesh_file_opened_directly_draws_like_the_scene_made_of_it(tmp_path: Path, mesh: Path) -> None:
    splatlens.convert(mesh, tmp_path / "a.lens")
    with splatlens.open(mesh) as source, splatlens.open(tmp_path / "a.lens") as scene:
        assert source.live == {} and source.up == (0, 1, 0)
        np.testing.assert_allclose(source.start.world_to_camera, scene.start.world_to_camera, atol=1e-6)
        np.testing.assert_array_equal(source.render(CAMERA), scene.render(CAMERA))
        assert source.facts()["mesh"]["triangles"] == 2 and source.facts()["splats"] == 0


def test_formats_of_splats_refuse_meshes(tmp_path: Path, mesh: Path, splats: Path) -> None:
    for suffix in (".ply", ".spz", ".splat", ".glb"):
        out = tmp_path / f"out{suffix}"
        why = rf"square\.glb: is a mesh, and a \{suffix} holds splats alone; write a \.lens"
        with pytest.raises(LensError, match=why):
            splatlens.convert([splats, mesh], out)
        assert not out.exists()
    with pytest.raises(LensError, match=r"has no model that an \.onnx could hold"):
        splatlens.convert(mesh, tmp_path / "out.onnx")
    with pytest.raises(UnsupportedError, match=r"square\.glb: is a mesh and holds no splats; convert it to \.lens"):
        open_source(mesh)


@pytest.mark.parametrize(
    ("name", "value"), [("crop", "0,0,0,1"), ("max_sh", 1), ("min_opacity", 0.5), ("dedupe", True)]
)
def test_edits_of_splats_have_no_meaning_for_meshes(
    tmp_path: Path, mesh: Path, splats: Path, name: str, value: object
) -> None:
    switch = "--" + name.replace("_", "-")
    with pytest.raises(LensError, match=rf"square\.glb: {switch} has no meaning for meshes; leave it out"):
        splatlens.convert([splats, mesh], tmp_path / "a.lens", **{name: value})  # type: ignore[arg-type]
    assert not (tmp_path / "a.lens").exists()


def test_a_moment_of_generators_leaves_meshes_alone(tmp_path: Path, mesh: Path) -> None:
    out = tmp_path / "a.lens"
    splatlens.convert([mesh, generator(tmp_path)], out, time=0.25)
    with LensReader.open(out) as reader:
        assert [layer.kind for layer in reader.layers] == ["mesh", "splats"]
    with pytest.raises(LensError, match=r"square\.glb: --time, --control and --track are for what changes with time"):
        splatlens.convert(mesh, tmp_path / "b.lens", time=0.25)


def test_one_bad_mesh_among_several_inputs(tmp_path: Path, mesh: Path, splats: Path) -> None:
    """The message names it, nothing is half-written, and what stood there stays."""
    bad = ply(tmp_path / "bad.ply", SQUARE, [[0, 1, 2], [0, 2, 9]])
    out = tmp_path / "a.lens"
    out.write_bytes(b"before")
    left = sorted(tmp_path.iterdir())
    with pytest.raises(FormatError, match=r"bad\.ply: face 1 has corner 9"):
        splatlens.convert([splats, mesh, bad], out, force=True)
    assert out.read_bytes() == b"before" and sorted(tmp_path.iterdir()) == left


def test_what_was_left_out_is_told(
    tmp_path: Path, splats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By convert, by info, and in their JSON."""
    text = "mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv nan 0 0\nf 1 2 3\nf 1 1 2\nf 1 2 4\nl 1 2\n"
    (tmp_path / "a.obj").write_text(text)
    given = [str(tmp_path / "a.obj"), str(splats), str(tmp_path / "a.lens")]
    assert run(["convert", *given]) == 0
    said = capsys.readouterr()
    assert "1 mesh, 2 splats, SH 0" in said.out and "a splat" not in said.out
    assert "a.obj: a library of materials (mtllib): no file 'gone.mtl' beside the mesh" in said.err
    assert "a.obj: 1 lines were left out" in said.err
    assert run(["convert", *given, "--json", "--force"]) == 0
    inputs = json.loads(capsys.readouterr().out)["inputs"]
    assert inputs[0]["dropped"] == {"triangles with NaN or infinity": 1, "triangles without area": 1}
    assert run(["info", given[0], "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["mesh"]["triangles"] == 1 and len(facts["warnings"]) == 2 and facts["dropped"] == inputs[0]["dropped"]


def test_bounds_of_a_mesh_layer(mesh: Path) -> None:
    source = open_any(mesh)
    assert isinstance(source, LayerSource)
    layer = source.layer()
    corners = world_corners(layer)
    assert corners is not None
    assert corners.min(axis=0).tolist() == [0, 0, 0] and corners.max(axis=0).tolist() == [1, 1, 0]
