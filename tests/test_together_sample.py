"""The sample of three kinds of layers in one scene: what its script makes, and that each is seen and hides another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import splatlens
from splatlens.converters.lens import mesh_trees
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.mesh_layer import MeshLayer
from splatlens.viewer.render import Renderer

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "samples" / "together" / "make.py"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a fiftieth of the splats: the temple and Pip are full of holes, and stand where they do."""
    out = tmp_path_factory.mktemp("together") / "together.lens"
    run = [sys.executable, str(SCRIPT), str(out), "--density", "0.02"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in out.parent.iterdir()) == ["together.lens"]  # what was made for it is gone
    return out


def test_three_kinds_of_layers(scene: Path) -> None:
    with LensReader.open(scene) as reader:
        reader.check()
        assert [layer.kind for layer in reader.layers] == ["splats", "mesh", "generator"]
        assert reader.scene.up == (0, -1, 0) and reader.scene.background == (0, 0, 0)
        assert reader.scene.title == "Tholos, Marbles, Pip" and reader.scene.licence == "CC0-1.0"
        # All of them stand on the floor, y = 0, around the place that the first camera looks at.
        for layer in reader.layers[1:]:
            assert abs(layer.transform[1, 3]) < 0.05 and np.linalg.norm(layer.transform[[0, 2], 3] - [0.15, -2.6]) < 0.8


def test_the_mesh_is_seen_and_hides_what_is_behind(scene: Path, tmp_path: Path) -> None:
    """Where the ball is, the picture is that of the mesh alone; where the column stands before it, it is not."""
    with splatlens.open(scene) as opened, LensReader.open(scene) as reader:
        camera = opened.start.resized(160, 90)
        matrix = reader.layers[1].transform
        together = opened.render(camera, budget=20_000)
        alone = MeshLayer(mesh_trees(reader)[1], matrix)
        mesh = Renderer().render([alone], camera)
    x, y, z, _ = camera.world_to_camera @ matrix @ np.array([0, 1.33, 0, 1])
    u, v = int(x / z * camera.fx + camera.cx), int(y / z * camera.fy + camera.cy)
    assert mesh[v, u, 3] == 1
    np.testing.assert_allclose(together[v, u], mesh[v, u], atol=0.05)  # a few thin splats are before it
    covered, seen = mesh[..., 3] > 0.99, np.abs(together - mesh).max(axis=2) > 0.02
    assert 0.02 < covered.mean() < 0.5 and (covered & seen).any()  # the column stands before a part of it
