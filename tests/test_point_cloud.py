"""Point clouds as splats: sizes from neighbours, colours of every type, and clouds that have no neighbours."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import find_format, open_source, read_splats
from splatlens.converters.point_cloud import ALONE, BRIGHT, DARK, LARGEST, OPACITY, SIGMA
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.splats import Splats
from tests.conformance import ReaderConformance
from tests.test_ply import refused, save

C0 = 0.28209479177387814


def cloud(means: Any, **colours: Any) -> dict[str, np.ndarray]:
    means = np.asarray(means, np.float64)
    return dict(zip("xyz", means.T, strict=True)) | {name: np.asarray(c) for name, c in colours.items()}


def rgb(splats: Splats) -> np.ndarray:
    return splats.sh[:, 0] * C0 + 0.5


class TestPointCloud(ReaderConformance):
    format_name = "point-cloud"
    degrees = (0,)
    mutations = 800

    def make(self, folder: Path, splats: Splats) -> Path:
        colours = dict(zip(("red", "green", "blue"), rgb(splats).T, strict=True))
        return save(folder / "scene.ply", cloud(splats.means, **colours), kind="f4")

    def test_round_trip(self, tmp_path: Path) -> None:
        """Places and colours come back; the rest is made up, see below."""
        rng = np.random.default_rng(2)
        means, colours = rng.normal(size=(700, 3)), rng.integers(0, 256, (700, 3))
        columns = cloud(means, red=colours[:, 0], green=colours[:, 1], blue=colours[:, 2])
        for order in ("<", ">", ""):
            path = save(tmp_path / "a.ply", columns, order, {"red": "u1", "green": "u1", "blue": "u1"})
            got, info = read_splats(path)
            np.testing.assert_array_equal(got.means, means.astype(np.float32))
            np.testing.assert_allclose(rgb(got), colours / 255, atol=1e-6)
            np.testing.assert_array_equal(got.quats, np.tile([1, 0, 0, 0], (700, 1)))
            np.testing.assert_array_equal(got.opacities, np.full(700, OPACITY, np.float32))
            assert (got.scales == got.scales[:, :1]).all()
            warning = "a point cloud, not trained splats: drawn as round splats sized by their neighbours"
            assert (info.format, info.splats, info.sh_degree, info.warnings) == ("point-cloud", 700, 0, (warning,))


def test_sizes_by_hand(tmp_path: Path) -> None:
    """A unit grid's nearest three are 1 away; on a line it is 1, 1, 2, and 1, 2, 3 at its ends."""
    grid = np.stack(np.meshgrid(*[np.arange(4.0)] * 3), axis=-1).reshape(-1, 3)
    got, _ = read_splats(save(tmp_path / "a.ply", cloud(grid, red=grid[:, 0], green=grid[:, 0], blue=grid[:, 0])))
    np.testing.assert_allclose(got.scales, SIGMA, rtol=1e-6)
    line = np.arange(5.0)[:, None] * [1, 0, 0]
    got, _ = read_splats(save(tmp_path / "a.ply", cloud(line)))
    np.testing.assert_allclose(got.scales[:, 0], SIGMA * np.array([2, 4 / 3, 4 / 3, 4 / 3, 2]), rtol=1e-6)


def test_what_lies_alone_becomes_no_cloud(tmp_path: Path) -> None:
    means = np.concatenate([np.random.default_rng(3).uniform(0, 1, (500, 3)), [[1000, 0, 0]]])
    got, _ = read_splats(save(tmp_path / "a.ply", cloud(means), kind="f8"))
    assert got.scales[500, 0] == got.scales.max()
    np.testing.assert_allclose(got.scales.max(), LARGEST * np.median(got.scales), rtol=1e-5)


def test_copies_have_the_size_of_one(tmp_path: Path) -> None:
    means = np.random.default_rng(4).uniform(0, 1, (300, 3))
    one, _ = read_splats(save(tmp_path / "a.ply", cloud(means)))
    five, _ = read_splats(save(tmp_path / "a.ply", cloud(np.concatenate([means] * 5))))
    np.testing.assert_array_equal(five.scales, np.tile(one.scales, (5, 1)))


@pytest.mark.parametrize(
    ("means", "size"),
    [
        ([[1, 2, 3]], ALONE),
        ([[1, 2, 3]] * 2000, ALONE),
        ([[0, 0, 0], [0, 3, 4]], SIGMA * 5),
        ([[0, 0, 0], [0, 0, 0], [0, 3, 4]], SIGMA * 5),
    ],
)
def test_few_places(tmp_path: Path, means: list[list[float]], size: float) -> None:
    got, info = read_splats(save(tmp_path / "a.ply", cloud(means)))
    assert (len(got), info.dropped) == (len(means), {})
    np.testing.assert_allclose(got.scales, size, rtol=1e-6)


def test_points_that_are_nowhere(tmp_path: Path) -> None:
    """NaN and infinity are dropped and no neighbours of others; so are colours that are none."""
    means = np.random.default_rng(5).uniform(0, 1, (200, 3))
    want, _ = read_splats(save(tmp_path / "a.ply", cloud(means)))
    bad = np.insert(means, [0, 50, 200], [[np.nan, 0, 0], [0, np.inf, 0], [0, 0, -np.inf]], axis=0)
    got, info = read_splats(save(tmp_path / "a.ply", cloud(bad)))
    assert info.dropped == {"NaN or infinity": 3}
    np.testing.assert_array_equal(got.scales, want.scales)
    red = np.full(200, 0.5)
    red[7] = np.nan
    got, info = read_splats(save(tmp_path / "a.ply", cloud(means, red=red, green=np.ones(200), blue=np.zeros(200))))
    assert info.dropped == {"NaN or infinity": 1}
    np.testing.assert_allclose(rgb(got)[0], [0.5, 1, 0], atol=1e-6)
    refused(save(tmp_path / "a.ply", cloud(np.full((3, 3), np.nan))), FormatError, "none of the 3 splats is usable")


def test_the_largest_and_the_smallest_distances(tmp_path: Path) -> None:
    far = np.array([[-3e38] * 3, [3e38] * 3, [0, 0, 0], [1e-45, 0, 0], [1e-40, 0, 0]])
    got, info = read_splats(save(tmp_path / "a.ply", cloud(far), kind="f4"))
    assert (len(got), info.dropped) == (5, {})
    assert (got.scales > 0).all()


@pytest.mark.parametrize(
    ("kind", "values", "want"),
    [
        ("u1", [0, 51, 255], [0, 0.2, 1]),
        ("u1", [0, 1, 0], [0, 1 / 255, 0]),
        ("u2", [0, 13107, 65535], [0, 0.2, 1]),
        ("f4", [0, 0.2, 1], [0, 0.2, 1]),
        ("f4", [0, 51, 255], [0, 0.2, 1]),
        ("f8", [0, 13107, 65535], [0, 0.2, 1]),
        ("i4", [0, 51, 255], [0, 0.2, 1]),
        ("f4", [0, 2e5, 1e6], [0, 0.2, 1]),
    ],
)
@pytest.mark.parametrize("names", ["red green blue", "r g b", "diffuse_red diffuse_green diffuse_blue"])
def test_colours_of_every_type(tmp_path: Path, kind: str, values: list[float], want: list[float], names: str) -> None:
    columns = cloud(np.eye(3), **dict.fromkeys(names.split(), values))
    got, _ = read_splats(save(tmp_path / "a.ply", columns, kind=dict.fromkeys(names.split(), kind)))
    np.testing.assert_allclose(rgb(got), np.repeat(np.array(want)[:, None], 3, axis=1), atol=1e-6)


@pytest.mark.parametrize("given", [True, False])
def test_grey_clouds_are_shaded(tmp_path: Path, given: bool) -> None:
    """A sphere without colour: bright towards the light and away from it, dark between; by its normals or without."""
    rng = np.random.default_rng(6)
    means = rng.normal(size=(4000, 3))
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    columns = cloud(means) | ({f"n{axis}": means[:, i] for i, axis in enumerate("xyz")} if given else {})
    got, info = read_splats(save(tmp_path / "a.ply", columns))
    assert info.warnings[1] == "no columns red, green and blue: drawn in grey, shaded by the surface's direction"
    shade = rgb(got)
    assert (shade == shade[:, :1]).all()
    want = DARK + (BRIGHT - DARK) * np.abs(means @ [0.36, -0.8, -0.48])
    assert np.abs(shade[:, 0] - want).max() < (1e-5 if given else 0.25)
    assert np.abs(shade[:, 0] - want).mean() < (1e-6 if given else 0.03)


def test_what_is_a_point_cloud_and_what_is_not(tmp_path: Path) -> None:
    """A splat PLY that lacks a column stays one, and says which."""
    columns = cloud(np.eye(3), red=np.ones(3), opacity=np.ones(3))
    assert find_format(save(tmp_path / "a.ply", columns)).name == "3dgs-ply"
    refused(save(tmp_path / "a.ply", columns), FormatError, "missing columns rot_0")
    face = "element face {}\nproperty list uchar int vertex_indices"
    assert len(read_splats(save(tmp_path / "a.ply", cloud(np.eye(3)), after=(face.format(0), b"")))[0]) == 3
    path = save(tmp_path / "a.ply", cloud(np.eye(3)), after=(face.format(1), b"\x03" + bytes(12)))
    assert find_format(path).name == "mesh-ply"
    columns = cloud(np.eye(3), red=[1] * 3, green=[1] * 3, blue=[1] * 3, alpha=[0] * 3)
    assert open_source(save(tmp_path / "a.ply", columns)).info.ignored == ("alpha",)


def test_more_points_promised_than_there_are(tmp_path: Path) -> None:
    for count in (4, 10**6, 2**60, 2**64):
        tracemalloc.start()
        refused(save(tmp_path / "a.ply", cloud(np.eye(3)), count=count), FormatError, f"promises {count} rows")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()
    whole = save(tmp_path / "a.ply", cloud(np.eye(3))).read_bytes()
    for size in range(0, len(whole), 3):
        (tmp_path / "cut.ply").write_bytes(whole[:size])
        with pytest.raises(LensError, match=r"cut\.ply: "):
            read_splats(tmp_path / "cut.ply")


def test_memory_a_point(tmp_path: Path) -> None:
    """At most 200 bytes a point while the neighbours are found: NumPy's and Python's; the tree's own are as many."""
    n = 60_000
    means = np.random.default_rng(7).uniform(0, 1, (n, 3))
    path = save(tmp_path / "a.ply", cloud(means, red=np.ones(n), green=np.ones(n), blue=np.ones(n)))
    source = open_source(path)
    tracemalloc.start()
    count = sum(len(part) for part in source.chunks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == n
    assert peak < 200 * n


def test_a_surface_has_no_holes(tmp_path: Path) -> None:
    """A jittered wall of points, drawn: covered, and each in its own colour."""
    rng = np.random.default_rng(8)
    side = np.linspace(-1, 1, 60)
    means = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2) + rng.uniform(-0.008, 0.008, (3600, 2))
    means = np.column_stack([means, np.full(3600, 2.0)])
    red = means[:, 0] > 0
    got, _ = read_splats(save(tmp_path / "a.ply", cloud(means, red=red, green=~red, blue=np.zeros(3600))))
    image = reference.render(got, Camera.look_at((0, 0, 0), (0, 0, 2), (0, -1, 0), 40, 64, 64))
    assert image[4:-4, 4:-4, 3].min() > 0.9
    left, right = image[4:-4, 4:28], image[4:-4, 36:-4]
    one, other = (0, 1) if left[..., 0].mean() > 0.5 else (1, 0)
    assert left[..., one].min() > 0.9 and left[..., other].max() < 0.05
    assert right[..., other].min() > 0.9 and right[..., one].max() < 0.05


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "warnings", "size"),
    [("plush_photos/input.ply", 25_784, 1, 0.0272), ("meshes/bunny_trimesh.ply", 8171, 2, 0.00243)],
)
def test_real_clouds(
    data_dir: Path, tmp_path: Path, name: str, count: int, warnings: int, size: float
) -> None:
    """size: median distance to the three nearest neighbours. Of the mesh the vertices alone are a cloud."""
    path = data_dir / name
    if name.startswith("meshes/"):
        header, rows = path.read_bytes().split(b"element face")
        rows = rows.partition(b"end_header\n")[2]
        path = tmp_path / "vertices.ply"
        path.write_bytes(header + b"end_header\n" + b"\n".join(rows.split(b"\n")[:count]) + b"\n")
    got, info = read_splats(path)
    assert (len(got), info.format, info.dropped, len(info.warnings)) == (count, "point-cloud", {}, warnings)
    np.testing.assert_allclose(np.median(got.scales) / SIGMA, size, rtol=0.02)
    assert rgb(got).min() >= -1e-6 and rgb(got).max() <= 1 + 1e-6
    assert rgb(got).std() > 0.1
