"""3DGS model folders: newest iteration, cameras and settings, read as a whole and never run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from splatlens.converters import find_format, open_source, read_splats, write_splats
from splatlens.converters.model_folder import parse_cfg_args
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.splats import Splats
from tests.conformance import ReaderConformance, assert_same, random_splats
from tests.test_camera_files import some_cameras, trained_json

CFG = (
    "Namespace(data_device='cuda', eval=True, images='images', model_path='./output/x', resolution=-1, "
    "sh_degree=3, source_path='/data/garden', white_background=True)"
)


def make_model(folder: Path, splats: Splats, iterations: tuple[int, ...] = (7000,), cfg: str | None = CFG) -> Path:
    """A folder as train.py leaves it; only the newest iteration holds `splats`."""
    for iteration in iterations:
        place = folder / "point_cloud" / f"iteration_{iteration}"
        place.mkdir(parents=True)
        newest = iteration == max(iterations)
        write_splats(place / "point_cloud.ply", splats if newest else splats.take(slice(0, 1)))
    (folder / "cameras.json").write_text(json.dumps(trained_json(some_cameras(5))))
    if cfg is not None:
        (folder / "cfg_args").write_text(cfg)
    (folder / "input.ply").write_text("ply\nnot this one")
    return folder


class TestModelFolder(ReaderConformance):
    format_name = "3dgs-model-folder"
    damaged = "cameras.json"  # its PLY has a conformance test of its own
    mutations = 500
    tolerance: ClassVar = {"scales": 4e-6, "opacities": 2e-6, "quats": 2e-7}

    def make(self, folder: Path, splats: Splats) -> Path:
        path = folder / f"model{len(list(folder.iterdir()))}"
        path.mkdir()
        return make_model(path, splats)


def test_newest_iteration_wins_by_number(tmp_path: Path) -> None:
    want = random_splats(9, 1)
    make_model(tmp_path, want, (7000, 30000, 999))
    (tmp_path / "point_cloud" / "iteration_40000").mkdir()  # interrupted before its file was there
    (tmp_path / "point_cloud" / "iteration_best").mkdir()
    splats, info = read_splats(tmp_path)
    assert_same(splats, want, TestModelFolder.tolerance)
    assert (info.iteration, info.path) == (30000, tmp_path)


def test_cameras_up_and_settings_are_kept(tmp_path: Path) -> None:
    cameras = some_cameras(5)
    info = open_source(make_model(tmp_path, random_splats(3, 0))).info
    assert len(info.cameras) == 5
    for got, want in zip(info.cameras, cameras, strict=True):
        np.testing.assert_allclose(got.world_to_camera, want.world_to_camera, atol=1e-12)
        assert (got.width, got.height, got.fx, got.fy) == (want.width, want.height, want.fx, want.fy)
    assert info.up is not None
    np.testing.assert_allclose(np.linalg.norm(info.up), 1)
    np.testing.assert_allclose(info.up, [0, 0, 1], atol=0.3)  # the cameras stand around z
    assert info.background == (1.0, 1.0, 1.0)
    assert (info.antialias, info.dilation) == (None, None)
    assert info.to_json()["cameras"] == 5
    json.dumps(info.to_json())


def test_cameras_that_disagree_name_no_up(tmp_path: Path) -> None:
    make_model(tmp_path, random_splats(3, 0))
    upside_down = [Camera.look_at((3, 0, 0), (0, 0, 0), (0, 0, s), 50, 64, 48) for s in (1, -1)]
    (tmp_path / "cameras.json").write_text(json.dumps(trained_json(upside_down)))
    assert open_source(tmp_path).info.up is None


def test_settings_of_mip_splatting_and_antialiasing(tmp_path: Path) -> None:
    make_model(tmp_path / "a", random_splats(3, 0), cfg="Namespace(kernel_size=0.1, white_background=False)")
    info = open_source(tmp_path / "a").info
    assert (info.antialias, info.dilation, info.background) == (True, 0.1, (0.0, 0.0, 0.0))
    make_model(tmp_path / "b", random_splats(3, 0), cfg="Namespace(antialiasing=True)")
    info = open_source(tmp_path / "b").info
    assert (info.antialias, info.dilation, info.background) == (True, None, None)


def test_damage_beside_the_splats_is_a_warning(tmp_path: Path) -> None:
    make_model(tmp_path, random_splats(3, 0), cfg="Namespace(a=1), run()")
    (tmp_path / "cameras.json").write_text("[{]")
    splats, info = read_splats(tmp_path)
    assert len(splats) == 3
    assert info.cameras == ()
    assert len(info.warnings) == 2
    assert info.warnings[0].startswith(f"cameras left out: {tmp_path / 'cameras.json'}: line 1, column 3: not JSON")
    assert info.warnings[1] == f"settings left out: {tmp_path / 'cfg_args'}: expected Namespace(name=value, ...)"


@pytest.mark.parametrize(
    "text",
    [
        "", "Namespace(", "Namespace", "dict(a=1)", "Namespace(a=1); x", "(" * 5000, "a" * 70_000, "Namespace(1)", "\0",
        "x.Namespace()", "Namespace(__import__('os').system('touch made'))",
    ],
)
def test_settings_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cfg_args").write_text(text)
    with pytest.raises(LensError, match=r"cfg_args: .*Namespace"):
        parse_cfg_args(tmp_path / "cfg_args")


def test_settings_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cfg_args").write_text("Namespace(a=open('made', 'w'), b=[1, 2], c=-1, d='x', e=2.5, **{'f': 1})")
    assert parse_cfg_args(tmp_path / "cfg_args") == {"d": "x", "e": 2.5}
    assert not (tmp_path / "made").exists()


def test_damaged_splats_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    make_model(tmp_path, random_splats(3, 0))
    file = tmp_path / "point_cloud/iteration_7000/point_cloud.ply"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(FormatError, match=r"iteration_7000/point_cloud\.ply: the header promises 3 rows"):
        read_splats(tmp_path)


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", random_splats(3, 0))
    with pytest.raises(FormatError, match=r"it holds iteration_7000/\); give the model folder: .*model$"):
        find_format(model / "point_cloud")
    with pytest.raises(FormatError, match=r"give the model folder: .*model$"):
        find_format(model / "point_cloud" / "iteration_7000")
    other = tmp_path / "other"
    other.mkdir()
    for i in range(9):
        (other / f"{i}.txt").touch()
    with pytest.raises(FormatError, match=r"\(it holds 0\.txt, .*5\.txt and 3 more\)$"):
        find_format(other)
    (other / "scene.ply").touch()
    with pytest.raises(FormatError, match=r"give the file itself: .*scene\.ply$"):
        find_format(other)
