"""The fitted MobileNeRF and nerf2mesh: made without torch, small, and true to the analytic scene."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import splatlens
from splatlens.samples.fields import scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.mesh import Look, MeshNodes, MeshTree, Surface, words_of

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


def undivided(surfaces: Sequence[Surface], look: Look, progress: object = None) -> MeshTree:
    """All of a mesh as one node: levels of detail take ten seconds a sample, and have tests of their own."""
    counts = np.cumsum([0] + [len(s.positions) for s in surfaces])
    heights = np.cumsum([0] + [s.texels.shape[0] for s in surfaces if s.texels is not None])
    width = max(s.texels.shape[1] for s in surfaces if s.texels is not None)
    texels = np.zeros((int(heights[-1]), width, look.channels), np.uint8)
    uvs = []
    for surface, top in zip(surfaces, heights, strict=False):
        assert surface.texels is not None and surface.uvs is not None
        texels[top : top + surface.texels.shape[0], : surface.texels.shape[1]] = surface.texels
        uvs.append(surface.uvs + np.float32([0, top]))
    positions = np.concatenate([s.positions for s in surfaces])
    rows = np.concatenate([s.triangles + n for s, n in zip(surfaces, counts, strict=False)]).astype(np.int32)
    whole = Surface(positions, rows, np.concatenate(uvs), texels)
    low, high = positions.min(axis=0), positions.max(axis=0)
    sphere = np.array([[*((low + high) / 2), np.linalg.norm(high - low) / 2]], np.float64)
    zero = np.zeros(1, np.int64)
    support = np.array([[low, high]], np.float64)
    nodes = MeshNodes(zero, zero, np.zeros(1), sphere, support, zero + len(rows), zero + words_of(whole), zero)
    return MeshTree(nodes, [whole], look)


@pytest.fixture(scope="module", params=["mobilenerf", "nerf2mesh"])
def opened(request: pytest.FixtureRequest) -> tuple[str, splatlens.Scene]:
    """A sample's folder as the converter reads it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("splatlens.viewer.mesh_build.build_mesh", undivided)
        read = splatlens.open(script(request.param).FOLDER / "mlp.json")
        assert read.facts()["mesh"]["method"] == "network"
        read._meshes  # noqa: B018  levels of detail are made once, here
    return request.param, read


def test_small_and_says_what_it_is(opened: tuple[str, splatlens.Scene]) -> None:
    name, read = opened
    assert sum(file.stat().st_size for file in script(name).FOLDER.iterdir()) < MOST_BYTES
    facts = read.facts()
    assert facts["licence"] == "CC0-1.0" and facts["title"].startswith("Marbles")
    # The start camera looks at the scene from above the ground, in the sample's own frame.
    turn = getattr(script(name), "FROM_SCENE", np.eye(4))
    assert (np.linalg.inv(turn) @ [*read.start.position, 1])[2] > 1


def test_made_by_the_ordinary_converter(
    opened: tuple[str, splatlens.Scene], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = opened
    made = script(name)
    given: list[Any] = []
    monkeypatch.setattr(splatlens, "convert", lambda *args, **options: given.append((args, options)))
    made.make(tmp_path / "new" / "a.lens")
    ((source, out), options), = given  # fmt: skip
    assert source == made.FOLDER / "mlp.json" and out == tmp_path / "new" / "a.lens" and options["force"]
    assert out.parent.is_dir()
    assert "torch" not in (SAMPLES / name / "make.py").read_text().replace("no torch", "")


def test_shaders_draw_what_numpy_does_and_it_is_like_the_scene(opened: tuple[str, splatlens.Scene]) -> None:
    name, read = opened

    def view(number: int) -> tuple[Camera, Camera]:
        """A held-out camera, in the analytic scene and in the sample's own frame."""
        camera = scene.held_out_cameras(8, 96, 96)[number]
        turn = np.linalg.inv(getattr(script(name), "FROM_SCENE", np.eye(4)))
        return camera, replace(camera, world_to_camera=camera.world_to_camera @ turn)

    camera, own = view(3)
    drawn, exact = (np.clip(read.render(own, reference=reference)[..., :3], 0, 1) for reference in (False, True))
    assert psnr(drawn, exact) > 45
    assert psnr(drawn, scene.render(camera)[..., :3]) > DECIBELS
    # From elsewhere it is not: the comparison can fail.
    assert psnr(drawn, scene.render(view(4)[0])[..., :3]) < 20
