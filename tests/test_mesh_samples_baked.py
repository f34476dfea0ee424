"""The analytic scene of the baked fields, and two samples fitted to it: made without torch, small, and true to it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import splatlens
from splatlens.converters import LayerSource, open_any
from splatlens.samples.fields import scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
#: A file of the method's own, and from the scene to its frame; then most bytes of all files, and dB asked of views.
Y_UP = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
FITTED = {
    "bakedsdf": ("fields.glb", Y_UP),
    "rerend": ("fields/meshes_textures_1_8/minmax.json", np.eye(4)),
}
MOST_BYTES, DECIBELS = 1_000_000, 25


def run_script(name: str, folder: Path, before: str = "") -> Path:
    """A sample's make.py as a user runs it, with a torch in its way that cannot be imported."""
    (folder / "torch.py").write_text("raise ImportError('make.py needs no torch')")
    out = folder / "made.lens"
    run = f"import sys, runpy; sys.path.insert(0, {str(folder)!r}); sys.argv[1:] = [{str(out)!r}]\n{before}\n"
    run += f"runpy.run_path({str(SAMPLES / name / 'make.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", FITTED)
def test_the_fitted_files_are_small_and_say_what_they_are(name: str) -> None:
    own = SAMPLES / name / FITTED[name][0]
    source = open_any(own)
    assert sum(file.stat().st_size for file in source.info.files) < MOST_BYTES
    assert source.info.licence == "CC0-1.0" and source.info.title and source.info.camera is not None
    assert source.info.up == tuple(FITTED[name][1][:3, :3] @ scene.UP)


def test_bakedsdf_is_made_without_torch_and_draws_a_held_out_view(tmp_path: Path) -> None:
    camera = scene.held_out_cameras(8, 128, 128)[3]
    with splatlens.open(run_script("bakedsdf", tmp_path)) as opened:
        got = opened.render(as_fitted("bakedsdf", camera), reference=True)
        assert "gaussians" in str(opened.facts()["layers"]).lower()
    assert np.array_equal(got[0, 0, :3], scene.BACKGROUND)
    assert psnr(np.clip(got[..., :3], 0, 1), scene.render(camera, samples=1)[..., :3]) > DECIBELS


def test_rerend_is_converted_without_torch(tmp_path: Path) -> None:
    """What the script asks for; its 20 seconds of lossless pictures are the business of tests of the writer."""
    recorded = "import splatlens\n"
    recorded += "splatlens.convert = lambda source, out, force: out.write_text(str(source))"
    asked = Path(run_script("rerend", tmp_path, recorded).read_text())
    assert asked == SAMPLES / "rerend" / FITTED["rerend"][0] and asked.is_file()


def test_rerend_draws_a_held_out_view() -> None:
    source = open_any(SAMPLES / "rerend" / FITTED["rerend"][0])
    assert isinstance(source, LayerSource) and source.mesh is not None
    camera, tree = scene.held_out_cameras(8, 128, 128)[3], source.mesh()
    leaves = [tree.surfaces[int(k)] for k in np.flatnonzero(tree.nodes.child_count == 0)]
    got = draw_meshes([DrawnMesh(leaves, tree.look, np.eye(4))], as_fitted("rerend", camera)).color
    want = scene.render(camera, samples=1)[..., :3]
    assert psnr(got[..., :3] + 1 - got[..., 3:], want) > DECIBELS


def as_fitted(name: str, camera: Camera) -> Camera:
    """A camera of the scene in the coordinates of a sample."""
    return replace(camera, world_to_camera=camera.world_to_camera @ np.linalg.inv(FITTED[name][1]))


def test_what_rays_meet_lies_on_the_solids_and_faces_them() -> None:
    camera = scene.held_out_cameras(8, 64, 64)[0]
    origin, directions = scene.rays(camera)
    flat = directions.reshape(-1, 3)
    hits = scene.trace(np.broadcast_to(origin, flat.shape), flat)
    assert set(range(len(scene.SOLIDS))) | {-1} == set(hits.ids.tolist())
    for i, solid in enumerate(scene.SOLIDS):
        rows = np.flatnonzero(hits.ids == i)
        points = origin + hits.t[rows, None] * flat[rows]
        assert np.abs(solid.shape.place(hits.u[rows], hits.v[rows]) - points).max(initial=0) < 1e-6
        assert (np.sum(hits.normals[rows] * flat[rows], axis=1) < 1e-6).all()
        assert np.abs(np.linalg.norm(hits.normals[rows], axis=1) - 1).max(initial=0) < 1e-12


def test_nothing_stands_before_what_a_ray_meets() -> None:
    """Marched along the rays: every point before the hit is outside of every ball and the ring."""
    camera = scene.training_cameras(5, 24, 24)[1]
    origin, directions = scene.rays(camera)
    flat = directions.reshape(-1, 3)
    hits = scene.trace(np.broadcast_to(origin, flat.shape), flat)
    balls = [(np.array(s.shape.centre), s.shape.radius) for s in scene.SOLIDS if isinstance(s.shape, scene.Ball)]
    ring = next(s.shape for s in scene.SOLIDS if isinstance(s.shape, scene.Ring))
    far = np.where(hits.mask, hits.t, 12.0)
    inside = 0
    for share in np.linspace(0.3, 0.9995, 160):
        points = origin + (share * far)[:, None] * flat
        assert min(np.linalg.norm(points - c, axis=1).min() - r for c, r in balls) > -1e-9
        inside += int((ring.distance((points - ring.centre) @ ring.frame.T) < -1e-7).sum())
    assert inside == 0


def test_meshes_lie_on_the_solids_with_vertices_at_the_edges_of_the_patterns() -> None:
    for solid, (positions, triangles, uvs, normals) in zip(scene.SOLIDS, scene.meshes(), strict=True):
        a, b, c = (positions[triangles[:, i]] for i in range(3))
        assert (np.sum(np.cross(b - a, c - a) * normals[triangles[:, 0]], axis=1) > 0).all()
        assert np.allclose(solid.shape.place(*uvs.T), positions) and uvs.min() == 0 and uvs.max() == 1
        for edge in solid.edges_v:
            assert all(np.abs(uvs[:, 1] - side).min() < 1e-9 for side in (edge - solid.soft_v, edge + solid.soft_v))


def test_colours_are_colours_and_move_with_the_eye() -> None:
    camera = scene.held_out_cameras(8, 48, 48)[5]
    picture = scene.render(camera)
    assert picture.min() >= 0 and picture.max() <= 1
    assert np.array_equal(picture[0, 0], [1, 1, 1, 0])
    ball = scene.SOLIDS[0].shape
    point, normal = ball.place(np.array([0.9]), np.array([0.4])), ball.normal_at(np.array([0.9]), np.array([0.4]))
    light = scene.LIGHTS[:1]
    mirror = light - 2 * np.sum(light * normal) * normal  # the way to look that sees the warm light
    bright, dull = (scene.radiance(point, normal, d, np.array([0])) for d in (mirror, -normal))
    assert np.sum(light * normal) > 0.3 and bright[0, 0] - dull[0, 0] > 0.2


def test_held_out_cameras_are_not_trained_on() -> None:
    def poses(cameras: list[Camera]) -> np.ndarray:
        return np.array([camera.position for camera in cameras])

    apart = np.linalg.norm(poses(scene.held_out_cameras())[:, None] - poses(scene.training_cameras()), axis=2)
    assert apart.min() > 0.25
