"""The sample scene: deterministic, finite, large enough, and truly different from different sides."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splatlens.converters import read_splats
from splatlens.viewer.camera_files import read_cameras
from splatlens.viewer.reference import render, sh_basis
from splatlens.viewer.splats import Splats, rotation_matrices

SCRIPT = Path(__file__).resolve().parent.parent / "samples" / "tholos" / "make.py"
#: Share of the splats made for the tests: 2 s instead of 30.
DENSITY = 0.02


def make(out: Path) -> str:
    """Runs the script as a user does; the hash of what it wrote."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(out), "--density", str(DENSITY)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return hashlib.sha256(out.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("tholos") / "tholos.ply"
    return path, make(path)


@pytest.fixture(scope="module")
def splats(scene: tuple[Path, str]) -> Splats:
    return read_splats(scene[0])[0]


def test_same_bytes_twice(scene: tuple[Path, str], tmp_path: Path) -> None:
    assert make(tmp_path / "again.ply") == scene[1]


def test_whole_scene_is_large_enough(splats: Splats) -> None:
    """Counted without lighting it: 3 s."""
    assert splats.sh_degree == 3
    code = "import make; print(sum(map(len, make.lit_parts(1.0).values())))"
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True, cwd=SCRIPT.parent)
    assert 300_000 <= int(done.stdout) <= 400_000


def test_finite_and_in_range(splats: Splats) -> None:
    for name in ("means", "quats", "scales", "opacities", "sh"):
        assert np.isfinite(getattr(splats, name)).all(), name
    assert splats.opacities.min() > 0.05
    assert splats.opacities.max() < 1
    assert splats.opacities.std() > 0.02
    assert np.abs(np.linalg.norm(splats.means, axis=1)).max() < 450


def test_colours_depend_on_the_direction(splats: Splats) -> None:
    """Seen from eight sides, a tenth of the splats changes by over a tenth of the range, and all degrees take part."""
    a = np.arange(8) * np.pi / 4
    directions = np.stack([np.cos(a), np.full(8, 0.2), np.sin(a)], axis=1) / np.sqrt(1.04)
    basis = sh_basis(directions, 16)
    colors = np.clip(np.einsum("dk,nkc->ndc", basis, splats.sh) + 0.5, 0, 1)
    change = np.ptp(colors, axis=1).max(axis=1)
    assert (change > 0.1).mean() > 0.1
    for first, last in ((1, 4), (4, 9), (9, 16)):
        assert np.abs(splats.sh[:, first:last]).mean() > 0.002


def test_balls_are_of_discs_turned_to_their_normals(splats: Splats) -> None:
    """The blue ball, radius 0.46 m: scene coordinates have y down."""
    angle = np.radians(-33)
    offset = splats.means - np.float32([2.95 * np.sin(angle), -0.46, -2.95 * np.cos(angle)])
    rows = np.abs(np.linalg.norm(offset, axis=1) - 0.46) < 1e-3
    ball, normals = splats.take(rows), offset[rows] / 0.46
    assert len(ball) > 20
    thin = rotation_matrices(ball.quats)[np.arange(len(ball)), :, ball.scales.argmin(axis=1)]
    assert np.abs((thin * normals).sum(axis=1)).min() > 0.99


def test_first_camera_sees_a_whole_picture(scene: tuple[Path, str], splats: Splats) -> None:
    facts = json.loads(scene[0].with_suffix(".scene.json").read_text())
    assert facts["licence"] == "CC0-1.0"
    assert facts["up"] == [0, -1, 0]
    assert facts["title"]
    assert facts["attribution"]
    info = read_splats(scene[0])[1]
    assert info.camera is not None
    assert len(read_cameras(scene[0].with_suffix(".cameras.json"))) == len(info.cameras) == 48
    picture = render(splats, info.camera.resized(96, 54))
    assert picture[..., 3].min() > 0.95, "holes"
    assert picture[..., :3].std() > 0.1
