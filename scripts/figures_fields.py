"""Figures of the four baked fields that are fitted to the analytic scene: shaders beside NumPy, and fits beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from figures_base import ROOT, Row, at_least, sample_module, work
from numpy.typing import NDArray

import splatlens
from splatlens.samples.fields import scene as analytic
from splatlens.viewer.camera import Camera

SAMPLES = ("mobilenerf", "nerf2mesh", "bakedsdf", "rerend")
#: Held-out views, and pixels of each side: of the float64 NumPy picture, and of the analytic scene's.
TWIN_VIEWS, TWIN_SIZE, VIEWS, SIZE = 3, 160, 8, 256


def rows() -> list[Row]:
    """Two of each sample."""
    return [row for name in SAMPLES for row in sample(name)]


def sample(name: str) -> list[Row]:
    """WGSL against NumPy, from three cameras; held-out views against the analytic picture."""
    module = sample_module(name, "make")
    lens = work() / f"{name}.lens"
    module.make(lens)
    turn = getattr(module, "FROM_SCENE", np.eye(4))
    with splatlens.open(lens) as scene:
        twins, whole, apart = [], [], []
        for camera in analytic.held_out_cameras(TWIN_VIEWS, TWIN_SIZE, TWIN_SIZE):
            views = [picture(scene, placed(camera, turn), reference) for reference in (False, True)]
            mask = sure(scene, placed(camera, turn))
            twins.append(decibels(views[0][mask], views[1][mask]))
            whole.append(decibels(*views))
            apart.append(1 - mask.mean())
        fits = []
        for camera in analytic.held_out_cameras(VIEWS, SIZE, SIZE):
            fits.append(decibels(picture(scene, placed(camera, turn)), analytic.render(camera)[..., :3]))
    size = f"{lens.stat().st_size:,} bytes as .lens, {given(module):,} in the method's files"
    twin, fit = "shaders beside float64 NumPy, three cameras", "held-out views beside the analytic scene"
    detail = f"{listed(twins)}; {100 * max(apart):.1f}% of the pixels left out: 1/2048 pixel or less from an edge, or "
    detail += f"two depths or texels to choose from; with them {listed(whole)}"
    return [
        at_least(f"{name} sample: {twin}: least", 45, min(twins), "dB", detail),
        at_least(f"{name} sample: {fit}: least", 25, min(fits), "dB", f"mean {np.mean(fits):.1f}; {size}"),
    ]


def placed(camera: Camera, turn: NDArray[np.float64]) -> Camera:
    """The camera in the sample's coordinates. turn: (4, 4) a rotation, from those of the analytic scene."""
    pose = camera.world_to_camera @ np.linalg.inv(turn)
    return Camera(camera.width, camera.height, camera.fx, camera.fy, camera.cx, camera.cy, pose)


def picture(scene: splatlens.Scene, camera: Camera, reference: bool = False) -> NDArray[np.float64]:
    """(H, W, 3) over the analytic scene's background, as it is shown."""
    image = scene.render(camera, background=analytic.BACKGROUND, reference=reference)
    return np.clip(image[..., :3], 0, 1).astype(np.float64)


def sure(scene: splatlens.Scene, camera: Camera, edge: float = 1 / 2048) -> NDArray[np.bool_]:
    """(H, W) pixels in which rounding decides nothing: an edge, two surfaces, two texels.

    edge: pixels by which float32 may move one.
    """
    sys.path.insert(0, str(ROOT))
    from tests.mesh_pictures import meshes_alone

    seen = meshes_alone(scene._drawn(False, {}, camera), camera).samples
    return np.asarray(((seen.edge > edge) & (seen.gap > 1e-5) & (seen.texel > 1e-3)).all(axis=2))


def listed(values: list[float]) -> str:
    return ", ".join(f"{d:.1f}" for d in values)


def decibels(got: NDArray[np.float64], want: NDArray[np.float64]) -> float:
    return float(-10 * np.log10(max(np.mean((got - want) ** 2), 1e-20)))


def given(module: Any) -> int:
    """Bytes of the files that a sample is made of."""
    source: Path = getattr(module, "FOLDER", None) or module.ASSET
    files = [source] if source.is_file() else [f for f in source.iterdir() if not f.name.endswith(".scene.json")]
    return sum(file.stat().st_size for file in files)
