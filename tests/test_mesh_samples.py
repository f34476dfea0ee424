"""The fitted MobileNeRF and nerf2mesh: made without torch, small, and true to the analytic scene."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splatlens
from splatlens.samples.fields import scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
#: Bytes of the method's own files at most, and dB that are asked of views that no fit has seen.
MOST_BYTES, DECIBELS = 1_000_000, 25


def script(name: str) -> Any:
    """A sample's make.py as a module."""
    spec = importlib.util.spec_from_file_location(f"{name}_make", SAMPLES / name / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module", params=["mobilenerf", "nerf2mesh"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A sample's scene, by its script as a user runs it; a torch that cannot be imported stands in its way."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "torch.py").write_text("raise ImportError('make.py needs no torch')")
    out = folder / "made.lens"
    run = f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); sys.argv[1:] = [{str(out)!r}]; "
    run += f"runpy.run_path({str(SAMPLES / request.param / 'make.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, out


def view(name: str, number: int, side: int) -> tuple[Camera, Camera]:
    """A held-out camera, in the analytic scene and in the sample's own frame."""
    camera = scene.held_out_cameras(8, side, side)[number]
    turn = getattr(script(name), "FROM_SCENE", np.eye(4))
    return camera, replace(camera, world_to_camera=camera.world_to_camera @ np.linalg.inv(turn))


def test_small_and_says_what_it_is(made: tuple[str, Path]) -> None:
    name, out = made
    assert sum(file.stat().st_size for file in script(name).FOLDER.iterdir()) < MOST_BYTES
    with splatlens.open(out) as opened:
        facts, start = opened.facts(), opened.start
    assert facts["licence"] == "CC0-1.0" and facts["title"].startswith("Marbles")
    # The start camera looks at the scene from above the ground, in the sample's own frame.
    turn = getattr(script(name), "FROM_SCENE", np.eye(4))
    assert (np.linalg.inv(turn) @ [*start.position, 1])[2] > 1


def test_shaders_draw_what_numpy_does_and_it_is_like_the_scene(made: tuple[str, Path]) -> None:
    name, out = made
    camera, own = view(name, 3, 96)
    with splatlens.open(out) as opened:
        drawn, exact = (opened.render(own, reference=reference)[..., :3] for reference in (False, True))
    assert psnr(np.clip(drawn, 0, 1), np.clip(exact, 0, 1)) > 45
    assert psnr(np.clip(drawn, 0, 1), scene.render(camera)[..., :3]) > DECIBELS
    # From elsewhere it is not: the comparison can fail.
    assert psnr(np.clip(drawn, 0, 1), scene.render(view(name, 4, 96)[0])[..., :3]) < 20
