"""Re-ReND folders made by hand: the mosaics' order, colours against the viewer's shader, what is missing or wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splatlens.converters import LayerSource, find_format, open_any
from splatlens.converters.rerend import read_ranges, unfold
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.mesh import LightField
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes

TILE, MAP = (12, 10), (16, 24)  # height and width of tiles of positions and of directions
OBJ = """v -1 -1 0
v 1 -1 0.5
v 1 1 0
v -1 1 0.5
vt 0.02 0.02
vt 0.98 0.02
vt 0.98 0.98
vt 0.02 0.98
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""


def folder(path: Path, ntex: int = 8, seed: int = 0) -> Path:
    """What the exporter writes of a tilted square."""
    rng = np.random.default_rng(seed)
    path.mkdir(parents=True)
    rows = ntex // 4
    for letter in "uvwb":
        h, w = MAP if letter == "b" else TILE
        pixels = rng.integers(0, 256, (rows * h, 4 * w, 4)).astype(np.uint8)
        Image.fromarray(pixels, "RGBA").save(path / f"feat_{letter}.png")
    ranges = {f"min_{k}": rng.uniform(-0.6, -0.4, 4 * ntex).tolist() for k in "uvwb"}
    ranges |= {f"max_{k}": rng.uniform(0.8, 1.2, 4 * ntex).tolist() for k in "uvwb"}
    (path / "minmax.json").write_text(json.dumps(ranges))
    (path / f"{path.parent.name}.obj").write_text(OBJ)
    return path


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return folder(tmp_path / "square" / "meshes_textures_6_8")


def opened(path: Path) -> LayerSource:
    source = open_any(path)
    assert isinstance(source, LayerSource) and source.mesh is not None
    return source


def viewers_color(
    ranges: dict[str, Any], images: dict[str, NDArray[np.float64]], uv: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The fragment shader of the viewer by hand: uv as in the OBJ, d unit, in the mesh's frame; rows from below."""
    ntex = len(ranges["min_u"]) // 4
    turned = np.array([d[0], d[2], -d[1]])  # by the viewer, with the mesh
    p = np.array([turned[0], -turned[2], turned[1]])
    elevation, azimuth = np.arctan2(p[2], np.hypot(p[0], p[1])), np.arctan2(p[1], p[0])
    spherical = np.where((angles := np.array([azimuth, elevation])) < 0, angles + 2 * np.pi, angles) / (2 * np.pi)
    columns, rows = 4, ntex // 4
    total, x, y = np.zeros(3), 0, rows - 1

    def texture(letter: str, at: tuple[float, float]) -> NDArray[np.float64]:
        image = images[letter]
        texel = image[int(at[1] * image.shape[0]), int(at[0] * image.shape[1])]
        j = 4 * (x + 4 * (rows - 1 - y))
        return np.asarray(texel * ranges[f"max_{letter}"][j : j + 4] + ranges[f"min_{letter}"][j : j + 4])

    for _ in range(ntex):
        place = ((uv[0] + x) / columns, (uv[1] + y) / rows)
        across = texture("b", ((spherical[0] + x) / columns, (1 - spherical[1] + y) / rows))
        total += [texture(letter, place) @ across for letter in "uvw"]
        x += 1
        if x == columns:
            x, y = 0, y - 1
    return np.asarray(1 / (1 + np.exp(-total)))


@pytest.mark.parametrize("ntex", [8, 16])
@pytest.mark.parametrize("eye", [(0.3, -1.5, 1.6), (0.2, 0.4, -1.8)])
def test_colours_are_those_of_the_viewers_shader(tmp_path: Path, ntex: int, eye: tuple[float, float, float]) -> None:
    path = folder(tmp_path / "square" / f"meshes_textures_6_{ntex}", ntex, seed=ntex)
    source = opened(path)
    assert source.mesh is not None
    tree = source.mesh()
    assert isinstance(tree.look.method, LightField) and tree.look.method.terms == 4 * ntex
    assert (tree.look.filter, tree.look.method.filter, tree.look.supersample) == ("nearest", "nearest", 1)
    camera = Camera.look_at(eye, (0, 0, 0.2), (0, 0, 1), 60, 40, 36)
    leaves = [tree.surfaces[int(k)] for k in np.flatnonzero(tree.nodes.child_count == 0)]
    picture = draw_meshes([DrawnMesh(leaves, tree.look, np.eye(4))], camera)
    rows, columns = np.nonzero(picture.color[..., 3])
    assert len(rows) > 300
    corners = np.array([line.split()[1:] for line in OBJ.splitlines() if line.startswith("v ")], np.float64)
    ranges = json.loads((path / "minmax.json").read_text())
    images = {k: np.asarray(Image.open(path / f"feat_{k}.png"))[::-1] / 255 for k in "uvwb"}  # textures are flipped
    wrong = 0
    for row, column in zip(rows[::5], columns[::5], strict=True):
        local = np.array([(column + 0.5 - camera.cx) / camera.fx, (row + 0.5 - camera.cy) / camera.fy, 1])
        d = camera.world_to_camera[:3, :3].T @ local
        d /= np.linalg.norm(d)
        hits = []
        for triangle in ((0, 1, 2), (0, 2, 3)):
            a, b, c = corners[list(triangle)]
            # origin + t d = a + s (b - a) + r (c - a)
            t, s, r = np.linalg.solve(np.stack([-d, b - a, c - a], axis=1), camera.position - a)
            if min(s, r, 1 - s - r) >= 0 and t > 0:
                uvs = np.array([(0.02, 0.02), (0.98, 0.02), (0.98, 0.98), (0.02, 0.98)])[list(triangle)]
                hits.append((t, uvs[0] + s * (uvs[1] - uvs[0]) + r * (uvs[2] - uvs[0])))
        if hits:
            want = viewers_color(ranges, images, min(hits, key=lambda hit: hit[0])[1], d)
            wrong += bool(np.abs(picture.color[row, column, :3] - want).max() > 1e-5)
    assert wrong <= 1  # a sample may lie on the border of two texels


def test_facts_and_files(made: Path) -> None:
    for path in (made, made / "minmax.json"):
        source = opened(path)
        assert find_format(path).name == source.info.format == "rerend"
        assert source.info.up == (0, 0, 1) and source.info.background == (1, 1, 1) and source.info.camera is not None
        names = {"square.obj", "minmax.json", *(f"feat_{k}.png" for k in "uvwb")}
        assert {file.name for file in source.info.files} == names
        assert source.info.bytes == sum((made / name).stat().st_size for name in names)
        described = source.describe()
        assert (described["terms"], described["directions"], described["triangles"]) == (32, "24 x 16", 2)


def test_mosaics_run_along_rows_from_the_top() -> None:
    tiles = np.arange(8 * 3 * 2 * 4, dtype=np.uint8).reshape(8, 3, 2, 4)
    image = np.concatenate([np.concatenate(list(tiles[:4]), axis=1), np.concatenate(list(tiles[4:]), axis=1)])
    assert np.array_equal(unfold(image, 32), np.concatenate(list(tiles), axis=2))


def test_ranges_are_min_and_range(made: Path) -> None:
    ranges, said = read_ranges(made / "minmax.json"), json.loads((made / "minmax.json").read_text())
    assert ranges.terms == 32
    assert np.allclose(ranges.offset["v"], said["min_v"]) and np.allclose(ranges.scale["b"], said["max_b"])


def test_alpha_0_keeps_its_colours(made: Path) -> None:
    """Alpha is a feature: nothing may be made of the others where it is 0."""
    pixels = np.asarray(Image.open(made / "feat_u.png")).copy()
    pixels[..., 3] = 0
    Image.fromarray(pixels, "RGBA").save(made / "feat_u.png")
    source = opened(made)
    assert source.mesh is not None
    texels = np.concatenate([s.texels.reshape(-1, 96) for s in source.mesh().surfaces if s.texels is not None])
    assert (texels[:, 3:32:4] == 0).all()
    assert len(np.unique(texels[:, 0])) > 50 and set(np.unique(texels[:, 0])) <= set(np.unique(pixels[:12, :10, 0]))


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        ranges = json.loads((path / "minmax.json").read_text())
        change(ranges)
        (path / "minmax.json").write_text(json.dumps(ranges))

    return apply


def resized(name: str, size: tuple[int, int], mode: str = "RGBA") -> Callable[[Path], None]:
    return lambda path: Image.new(mode, size).save(path / name)


def removed(*names: str) -> Callable[[Path], None]:
    return lambda path: [(path / name).unlink() for name in names] and None


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: (path / name).write_text(text) and None


DAMAGE: dict[str, tuple[Callable[[Path], None], type[LensError], str]] = {
    "no v, no b": (removed("feat_v.png", "feat_b.png"), FormatError, "feat_v.png, feat_b.png missing"),
    "no ranges": (removed("minmax.json", "feat_w.png"), FormatError, "minmax.json, feat_w.png missing"),
    "no mesh": (removed("square.obj"), FormatError, "no .obj file"),
    "two meshes": (
        lambda path: removed("square.obj")(path) or written("a.obj", OBJ)(path) or written("b.obj", OBJ)(path),
        FormatError, "several .obj files (a.obj, b.obj)"),
    "no list": (edited(lambda r: r.pop("max_w")), FormatError, "max_w: expected a list of 32"),
    "short list": (edited(lambda r: r["min_b"].pop()), FormatError, "min_b: expected a list of 32"),
    "a word": (edited(lambda r: r["min_v"].__setitem__(3, "low")), FormatError, "min_v[3]: expected a finite number"),
    "huge": (edited(lambda r: r["max_v"].__setitem__(3, 1e39)), FormatError, "max_v has numbers beyond float32"),
    "NaN": (edited(lambda r: r["max_v"].__setitem__(0, float("nan"))), FormatError, "not valid JSON"),
    "12 terms": (
        edited(lambda r: r.update({k: v[:12] for k, v in r.items()})), UnsupportedError, "12 terms; 16, 32, 48 or 64"),
    "128 terms": (edited(lambda r: r.update({k: v * 4 for k, v in r.items()})), UnsupportedError, "128 terms"),
    "uneven width": (resized("feat_u.png", (41, 24)), FormatError, "41 x 24 pixels; 32 terms (minmax.json) take 4"),
    "uneven height": (resized("feat_b.png", (96, 33)), FormatError, "96 x 33 pixels"),
    "other size": (resized("feat_w.png", (44, 24)), FormatError, "44 x 24, feat_u.png 40 x 24"),
    "no alpha": (resized("feat_w.png", (40, 24), "RGB"), FormatError, "mode RGB; expected RGBA"),
    "no picture": (written("feat_u.png", "hello"), FormatError, "not a PNG picture"),
    "index": (written("square.obj", OBJ.replace("3/3 4/4", "3/3 5/4")), FormatError, "line 10"),
    "texture index": (written("square.obj", OBJ.replace("3/3 4/4", "3/3 4/9")), FormatError, "vt indices"),
    "quads": (written("square.obj", OBJ + "f 1/1 2/2 3/3 4/4\n"), FormatError, "is no triangle"),
    "outside": (written("square.obj", OBJ.replace("vt 0.98 0.98", "vt 1.9 0.98")), FormatError, "expected 0 to 1"),
    "NaN uv": (written("square.obj", OBJ.replace("vt 0.98 0.98", "vt nan 0.98")), FormatError, "square.obj"),
    "NaN places": (written("square.obj", OBJ.replace("v -1", "v nan")), FormatError, "no triangle that can be drawn"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(made: Path, name: str) -> None:
    change, kind, words = DAMAGE[name]
    change(made)
    with pytest.raises(kind) as caught:
        source = opened(made)
        assert source.mesh is not None
        source.mesh()
    message = str(caught.value)
    assert message.startswith(str(made)) and words in message and message.isprintable(), message


def test_of_several_meshes_the_one_named_like_the_folder_above(made: Path) -> None:
    (made / "other.obj").write_text("nothing")
    assert opened(made).describe()["triangles"] == 2


def test_a_cut_picture(made: Path) -> None:
    data = (made / "feat_v.png").read_bytes()
    (made / "feat_v.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"feat_v\.png: damaged"):
        source = opened(made)
        assert source.mesh is not None
        source.mesh()
