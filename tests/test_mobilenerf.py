"""MobileNeRF folders: what is read, which axes, the picture against the method's own math, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatlens.converters import ReadOptions, find_format, mobilenerf, open_any, open_source
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.obj_triangles import parse_triangles
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.mesh import IDENTITY, Network, Surface
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes
from tests.baked_folders import PATCH, PER_ROW, SIDE, write_mobilenerf
from tests.reference import mobilenerf as official


def read(folder: Path, axes: str | None = None) -> tuple[LayerSource, list[Surface]]:
    source = open_any(folder, ReadOptions(axes=axes))
    assert isinstance(source, LayerSource)
    return source, [mobilenerf._surface(folder, i) for i in range(source.describe()["shards"])]


def look_of(folder: Path, axes: str = "synthetic"):  # type: ignore[no-untyped-def]
    fields = json.loads((folder / "mlp.json").read_text())
    return mobilenerf.network_look(fields, folder / "mlp.json", mobilenerf.SCENES[axes].direction)


def psnr(a, b) -> float:  # type: ignore[no-untyped-def]
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def test_what_is_read(tmp_path: Path) -> None:
    stored = write_mobilenerf(tmp_path / "a_phone", shards=2)
    source, surfaces = read(tmp_path / "a_phone")
    assert find_format(tmp_path / "a_phone").name == "mobilenerf" == find_format(tmp_path / "a_phone/mlp.json").name
    facts = source.describe()
    assert (facts["method"], facts["channels"], facts["triangles"], facts["shards"]) == ("network", 8, 20, 2)
    assert source.info.up == (0, 1, 0) and source.info.camera is not None and source.info.bytes > 10_000
    assert source.info.name == "a_phone" and len(source.info.files) == 7
    for surface, image in zip(surfaces, stored, strict=True):
        # Cut to what is reached, every texel as stored, and uvs in the middles of the patches' outer texels.
        assert surface.texels is not None and surface.uvs is not None
        np.testing.assert_array_equal(surface.texels, image[: 2 * PATCH, : PER_ROW * PATCH])
        np.testing.assert_allclose(surface.uvs[:4], [[0.5, 0.5], [0.5, 16.5], [16.5, 0.5], [16.5, 16.5]], atol=1e-4)
        np.testing.assert_array_equal(surface.triangles[:2], [[0, 1, 3], [0, 3, 2]])


def test_how_it_is_seen(tmp_path: Path) -> None:
    write_mobilenerf(tmp_path)
    look = look_of(tmp_path)
    assert isinstance(look.method, Network)
    assert (look.empty, look.supersample, look.filter) == (0, 2, "nearest")
    np.testing.assert_array_equal(look.scale, [1, 1, 1, 2, 1, 1, 1, 2])
    np.testing.assert_array_equal(look.offset, [0, 0, 0, -1, 0, 0, 0, -1])
    assert [layer.activation for layer in look.method.layers] == ["relu", "relu", "sigmoid"]
    assert [one.source for one in look.method.inputs] == list(range(11))
    # Exported (x, z, -y) of (x, y, z): the network is given the latter.
    assert (np.array(look.direction) @ [1.0, 3.0, -2.0]).tolist() == [1, 2, 3]
    assert look_of(tmp_path, "unbounded").direction == look.direction
    assert look_of(tmp_path, "forward-facing").direction == IDENTITY


@pytest.mark.parametrize("axes", ["synthetic", "forward-facing"])
def test_picture_is_the_methods_own(tmp_path: Path, axes: str) -> None:
    """Against a reader and rasteriser of its own, over white: equal inside, close at silhouettes."""
    write_mobilenerf(tmp_path, quads=6)
    camera = Camera.look_at((0.4, 0.7, 2.4), (0, 0, 0), (0, 1, 0), 39, 48, 40)
    want = official.render(tmp_path, [0], camera.world_to_camera, camera.fy, (48, 40), axes == "forward-facing")
    got = draw_meshes([DrawnMesh(read(tmp_path)[1], look_of(tmp_path, axes), np.eye(4))], camera).color
    over = got[..., :3] + 1 - got[..., 3:]
    full = np.isfinite(want.depth).all(axis=2)
    assert full.mean() > 0.05
    np.testing.assert_allclose(over[full], want.color[full], atol=2e-3)
    empty = ~np.isfinite(want.depth).any(axis=2)
    np.testing.assert_array_equal(over[empty], want.color[empty])
    other = official.render(tmp_path, [0], camera.world_to_camera, camera.fy, (48, 40), axes != "forward-facing")
    assert psnr(other.color[full], want.color[full]) < 35  # the axes matter to this scene


@pytest.mark.parametrize(("place", "spread", "want"), [
    ((0, 0, 0), 1.0, "synthetic"), ((0, 0, 0), 6.0, "unbounded"), ((0, 0, -5), 3.0, "forward-facing"),
])  # fmt: skip
def test_axes_are_guessed_by_place(
    tmp_path: Path, place: tuple[float, ...], spread: float, want: str
) -> None:
    rng = np.random.default_rng(1)
    points = place + spread * rng.uniform(-1, 1, (200, 3))
    file = tmp_path / "shape0.obj"
    file.write_text("".join("v {:.6f} {:.6f} {:.6f}\n".format(*p) for p in points))
    assert mobilenerf.guessed_axes([file]) == want


def test_axes_are_given(tmp_path: Path) -> None:
    write_mobilenerf(tmp_path)
    given = open_any(tmp_path, ReadOptions(axes="forward-facing"))
    assert isinstance(given, LayerSource)
    assert given.describe()["axes"] == "forward-facing" and given.describe()["axes_guessed"] is False
    assert given.info.camera is not None and given.info.camera.position.tolist() == [0, 0, 0]
    with pytest.raises(LensError, match="axes 'sideways'; expected one of synthetic, unbounded, forward-facing"):
        open_any(tmp_path, ReadOptions(axes="sideways"))


def test_absent_shards_are_named(tmp_path: Path) -> None:
    write_mobilenerf(tmp_path, shards=3)
    for i in (0, 2):
        for file in tmp_path.glob(f"shape{i}.*"):
            file.unlink()
    source = open_any(tmp_path)
    assert isinstance(source, LayerSource)
    assert source.info.warnings == ("shape0.obj, shape2.obj of 3 shards absent; the rest is drawn",)
    assert source.describe()["triangles"] == 10
    (tmp_path / "shape1.obj").unlink()
    with pytest.raises(LensError, match="none of its 3 shards is there"):
        open_any(tmp_path)


def test_triangles_without_area_are_left_out(tmp_path: Path) -> None:
    write_mobilenerf(tmp_path)
    with (tmp_path / "shape0.obj").open("a") as file:
        file.write("f 1/1 1/2 2/2\nf 3/3 3/3 3/3\n")
    source = open_any(tmp_path)
    assert isinstance(source, LayerSource) and source.describe()["triangles"] == 10
    assert sum(source.info.dropped.values()) == 2


def _mlp(change: Callable[[dict], object]) -> Callable[[Path], object]:  # type: ignore[type-arg]
    def apply(folder: Path) -> None:
        fields = json.loads((folder / "mlp.json").read_text())
        change(fields)
        (folder / "mlp.json").write_text(json.dumps(fields))

    return apply


def _obj(old: str, new: str) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        text = (folder / "shape0.obj").read_text()
        assert old in text
        (folder / "shape0.obj").write_text(text.replace(old, new, 1))

    return apply


def _image(size: tuple[int, int], mode: str) -> Callable[[Path], object]:
    return lambda folder: Image.new(mode, size).save(folder / "shape0.pngfeat1.png")


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: (f / "shape0.pngfeat1.png").unlink(), "shape0.pngfeat1.png: this texture is missing"),
    (_image((SIDE, 32), "RGBA"), "shape0.pngfeat0.png and it are 64 x 64 and 64 x 32"),
    (_image((SIDE, SIDE), "RGB"), "mode RGB; expected RGBA"),
    (_image((SIDE, SIDE), "L"), "mode L; expected RGBA"),
    (_image((20000, 1), "RGBA"), "20000 x 1 pixels; at most"),
    (lambda f: (f / "shape0.pngfeat1.png").write_bytes(b"GIF89a" + bytes(50)), "not a PNG picture"),
    (lambda f: (f / "mlp.json").write_text("{"), "mlp.json: not JSON"),
    (lambda f: (f / "mlp.json").write_text("[" * 100_000), "mlp.json: not JSON"),
    (lambda f: (f / "mlp.json").write_text("[1]"), "expected an object with weights"),
    (_mlp(lambda m: m.pop("obj_num")), "obj_num: expected a whole number from 1 to 256, it is missing"),
    (_mlp(lambda m: m.update(obj_num=10**9)), "obj_num: expected a whole number"),
    (_mlp(lambda m: m.pop("0_weights")), "0_weights: expected .* it is missing"),
    (_mlp(lambda m: m["0_weights"].pop()), "takes 10 values, it is given 11; the layers' sizes do not chain"),
    (_mlp(lambda m: m["1_weights"].pop()), "1_weights: takes 15 values, it is given 16"),
    (_mlp(lambda m: m["1_weights"][3].pop()), r"1_weights\[3\]: has 15 weights, the first list has 16"),
    (_mlp(lambda m: m["1_bias"].pop()), "1_bias: has 15 numbers for 16 outputs"),
    (_mlp(lambda m: (m["2_bias"].pop(), [r.pop() for r in m["2_weights"]])), "the network gives 2 values; expected 3"),
    (_mlp(lambda m: m["1_weights"][2].__setitem__(5, float("nan"))), r"1_weights\[2\]\[5\]: expected a finite number"),
    (_mlp(lambda m: m["0_bias"].__setitem__(0, 1e300)), r"0_bias\[0\]: expected a finite number"),
    (_mlp(lambda m: m["0_bias"].__setitem__(0, "1")), r"0_bias\[0\]: expected a finite number, got '1'"),
    (_obj("f 1/1 2/2 4/4", "f 1/1 2/2 99/4"), r"v indices \[1, 2, 99\], there are 1 to 20"),
    (_obj("f 1/1 2/2 4/4", "f 1/1 2/2 4/0"), r"vt indices \[1, 2, 0\], there are 1 to 20"),
    (_obj("f 1/1 2/2 4/4", "f 1/1 2/2 -1/4"), r"v indices \[1, 2, -1\]"),
    (_obj("f 1/1 2/2 4/4", "f 1/1 2/2 x/4"), "line 9: 'f 1/1 2/2 x/4': are not whole numbers"),
    (_obj("f 1/1 2/2 4/4", "f 1/1 2/2"), "line 9: .* is no triangle"),
    (_obj("f 1/1 2/2 4/4", "f 1 2 4"), "line 9: .* is no triangle"),
    (_obj("f 1/1 2/2 4/4", "curv 1 2 4"), "line 9: 'curv 1 2 4': is neither v, vt nor f"),
    (_obj("v ", "v x"), "line 1: .* are not numbers"),
    (_obj("vt 0.007812 ", "vt nan "), "texture coordinates reach"),
    (_obj("vt 0.007812 ", "vt 3 "), "texture coordinates reach from"),
    (lambda f: (f / "shape0.obj").write_text("v 0 0 0\n"), "has no line f"),
    (lambda f: (f / "shape0.obj").write_bytes(bytes(1000)), "line 1: .* is neither v, vt nor f"),
])  # fmt: skip
def test_refused(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    """One printable line that starts with the path."""
    write_mobilenerf(tmp_path)
    spoil(tmp_path)
    with pytest.raises(LensError, match=says) as caught:
        source = open_any(tmp_path)
        assert isinstance(source, LayerSource)
        source.describe()
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and message.isprintable() and len(message) < 400


def test_holds_no_splats(tmp_path: Path) -> None:
    write_mobilenerf(tmp_path)
    with pytest.raises(LensError, match="holds no splats"):
        open_source(tmp_path)


def test_objects_with_other_line_ends_and_words() -> None:
    text = b"# made by hand\r\no one\r\nv 0 0 0\r\nv 1 0 0 1\r\nv 0 1 0\r\nvn 0 0 1\r\nvt 0 0\r\nvt 1 0\r\nvt 0 1\r\n"
    with pytest.raises(LensError, match="line 4: 'v 1 0 0 1': 4 numbers; expected x y z"):
        parse_triangles(text, Path("a.obj"))
    mesh = parse_triangles(text.replace(b"0 0 1\r\nv 0", b"0 0\r\nv 0") + b"\r\nf 1/2/1 2/1/1 3/3/1", Path("a.obj"))
    assert mesh.positions.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert mesh.uvs.tolist() == [[1, 0], [0, 0], [0, 1]] and mesh.triangles.tolist() == [[0, 1, 2]]


@pytest.mark.data
def test_a_real_shard(data_dir: Path) -> None:
    """Read whole, and drawn as the method's own math draws it, where all four samples meet something."""
    folder = data_dir / "mobilenerf_poster"
    source = open_any(folder)
    assert isinstance(source, LayerSource)
    assert source.describe()["triangles"] == 4254 and source.describe()["axes"] == "synthetic"
    assert source.info.warnings == ("shape0.obj, shape1.obj of 3 shards absent; the rest is drawn",)
    camera = Camera.look_at((0.36, -0.68, -0.08), (0.35, -0.76, -0.12), (0, 1, 0), 39, 60, 60)
    want = official.render(folder, [2], camera.world_to_camera, camera.fy, (60, 60))
    surface = mobilenerf._surface(folder, 2)
    got = draw_meshes([DrawnMesh([surface], look_of(folder), np.eye(4))], camera).color
    inside = want.inside(0.1)
    assert inside.mean() > 0.02
    assert psnr(got[inside][:, :3], want.color[inside]) > 40
