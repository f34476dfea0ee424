"""Conversion as a whole: .lens back to splats, thumbnails drawn of it, the start camera, and what it costs."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.spatial import cKDTree

import splatlens
from splatlens.converters import open_source, read_splats, write_splats
from splatlens.converters.opened import Scene
from splatlens.server_draw import BUDGET, SIZE, drawer
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json
from splatlens.viewer.compare import psnr
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.lens import BlobLayer, LensReader, SplatsLayer, write_lens
from splatlens.viewer.scene import Kernel, SceneInfo
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import build_tree
from tests.conformance import random_splats


def ball(count: int, sh_degree: int, seed: int = 0) -> Splats:
    """A solid-looking ball of splats: what random clouds are not, and scenes are."""
    splats = random_splats(count, sh_degree, seed)
    means = splats.means / np.linalg.norm(splats.means, axis=1, keepdims=True)
    scales = np.full_like(splats.scales, 2.2 / np.sqrt(count))
    return replace(splats, means=means.astype(np.float32), scales=scales)


VIEW = Camera.look_at((0.5, -1.0, -3.0), (0, 0, 0), (0, -1, 0), 50, 160, 120)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A PLY and the .lens made of it."""
    folder = tmp_path_factory.mktemp("pair")
    write_splats(folder / "ball.ply", ball(3000, 2))
    splatlens.convert(folder / "ball.ply", folder / "ball.lens")
    return folder / "ball.ply", folder / "ball.lens"


def test_a_lens_file_is_a_source_again(pair: tuple[Path, Path]) -> None:
    """All its leaves, each source splat once, and the same picture."""
    ply, lens = pair
    info = open_source(lens).info
    assert (info.format, info.splats, info.sh_degree, info.bytes) == ("lens", 3000, 2, lens.stat().st_size)
    want, _ = read_splats(ply)
    got, _ = read_splats(lens)
    assert len(got) == 3000
    # No row moved further than this, so neither did the rows' order along an axis.
    step = 0.1 * want.scales.min()
    assert cKDTree(want.means).query(got.means)[0].max() < step
    np.testing.assert_allclose(np.sort(got.means, axis=0), np.sort(want.means, axis=0), atol=step)
    write_splats(ply.with_name("back.ply"), got)
    first, last = (splatlens.render(p, VIEW, reference=True) for p in (ply, ply.with_name("back.ply")))
    assert psnr(first, last) > 40
    for part in open_source(lens).chunks(100):
        assert 1 <= len(part) <= 100


def test_an_opened_lens_file_draws_like_its_source(pair: tuple[Path, Path]) -> None:
    ply, lens = pair
    with splatlens.open(ply) as source, splatlens.open(lens) as scene:
        full, stored = source.render(VIEW), scene.render(VIEW)
        assert psnr(full, stored) > 40  # colours of pure noise: the hardest there is to store
        assert psnr(stored, scene.render(VIEW, reference=True)) > 55
        few = scene.render(VIEW, budget=600)
        assert 15 < psnr(full, few) < psnr(full, stored)
        assert scene.render(VIEW, background=(0, 0, 1))[0, 0, 2] == pytest.approx(1, abs=1e-3)


def test_kernel_and_facts_of_a_source_reach_the_picture(tmp_path: Path) -> None:
    """Mip-Splatting's kernel of a model folder is drawn with, from the source and from the .lens alike."""
    model = tmp_path / "model"
    (model / "point_cloud/iteration_1").mkdir(parents=True)
    write_splats(model / "point_cloud/iteration_1/point_cloud.ply", ball(500, 0))
    plain = splatlens.render(model, VIEW, reference=True)
    (model / "cfg_args").write_text("Namespace(kernel_size=2.5, white_background=True)")
    mip = splatlens.render(model, VIEW, reference=True)
    assert mip[0, 0, 0] == pytest.approx(1) and plain[0, 0, 0] == 0
    assert psnr(plain[..., 3], mip[..., 3]) < 40
    splatlens.convert(model, tmp_path / "model.lens")
    assert psnr(splatlens.render(tmp_path / "model.lens", VIEW, reference=True), mip) > 40
    facts = open_source(tmp_path / "model.lens").info
    assert (facts.antialias, facts.dilation, facts.background) == (True, 2.5, (1, 1, 1))


def test_the_start_camera(tmp_path: Path) -> None:
    """A camera given beside the file, else the first training view, else one that sees the scene."""
    ply = tmp_path / "ball.ply"
    write_splats(ply, ball(500, 0))

    def start() -> Camera:
        splatlens.convert(ply, tmp_path / "ball.lens", force=True)
        with Scene(tmp_path / "ball.lens") as lens, Scene(ply) as source:
            np.testing.assert_allclose(source.start.world_to_camera, lens.start.world_to_camera, atol=1e-5)
            return lens.start

    framed = start()
    assert splatlens.render(ply, framed.resized(64, 36), reference=True)[..., 3].max() > 0.5
    ply.with_suffix(".cameras.json").write_text(json.dumps([camera_json(VIEW)]))
    np.testing.assert_array_equal(start().world_to_camera, VIEW.world_to_camera)
    own = Camera.look_at((3, 0, 0), (0, 0, 0), (0, -1, 0), 40, 320, 240)
    ply.with_suffix(".scene.json").write_text(json.dumps({"camera": camera_json(own)}))
    np.testing.assert_array_equal(start().world_to_camera, own.world_to_camera)


def test_what_cannot_be_given_as_splats(tmp_path: Path) -> None:
    path = tmp_path / "a.lens"
    tree = build_tree(ball(50, 0))
    sheared = np.diag([1.0, 2, 1, 1])
    for layers, part in (
        ([BlobLayer("mesh", {"data": b"x"})], "layer 0 of kind 'mesh' has no splats"),
        ([SplatsLayer(tree, transform=sheared)], "layer 0: transform: splats can be moved"),
        ([SplatsLayer(tree), SplatsLayer(tree, kernel=Kernel(0.1, True))], "trained with different kernels"),
    ):
        write_lens(path, layers, SceneInfo())
        with pytest.raises(UnsupportedError, match=part):
            open_source(path)
    write_lens(path, [SplatsLayer(tree), SplatsLayer(build_tree(ball(70, 1)))], SceneInfo())
    splats, _ = read_splats(path)
    assert (len(splats), splats.sh_degree) == (120, 1)


def test_thumbnails_are_drawn_or_taken(pair: tuple[Path, Path], tmp_path: Path) -> None:
    draw = drawer()
    thumbnail = draw(pair[1])
    assert thumbnail.mime == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(thumbnail.body)))
    assert picture.shape == (SIZE[1], SIZE[0], 3) and picture.max() > 100 and picture[0, 0].max() == 0
    assert BUDGET > 3000  # so it shows full detail: the same picture as the renderer's, to 8 bits
    with Scene(pair[1]) as scene:
        own = np.clip(scene.render(scene.start.resized(*SIZE))[..., :3], 0, 1) * 255
    assert np.abs(own - picture).mean() < 1
    stored = thumbnail.body
    write_lens(tmp_path / "a.lens", [SplatsLayer(build_tree(ball(50, 0)))], SceneInfo(thumbnail=stored))
    assert draw(tmp_path / "a.lens").body == stored
    (tmp_path / "b.lens").write_bytes(pair[1].read_bytes()[:500])
    with pytest.raises(LensError, match=r"b\.lens"):
        draw(tmp_path / "b.lens")


@pytest.mark.data
def test_a_city_block_within_a_gigabyte_and_a_half(data_dir: Path, tmp_path: Path) -> None:
    """252,828 splats of SH 3 in a process of its own: its peak is that of the conversion."""
    source = data_dir / "ply_converted/semarang_5_9_sh3.ply"
    command = [sys.executable, "-m", "splatlens.cli", "convert", str(source), str(tmp_path / "s.lens"), "--json"]
    report = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=250).stdout)
    assert report["splats"] == 252_828
    assert report["peak_bytes"] < 1.5e9
    assert report["bytes"] / report["splats"] < 32
    with LensReader.open(tmp_path / "s.lens") as reader:
        reader.check()


def test_the_peak_is_the_process_own() -> None:
    """A program that a large process starts inherits its peak in getrusage."""
    code = "from splatlens.viewer.convert import peak_bytes; print(peak_bytes())"
    block = np.ones(600 << 17)  # 600 MB, touched
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 1 << 20 < int(out) < block.nbytes
