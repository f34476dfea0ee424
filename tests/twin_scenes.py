"""Small scenes that each press on one rule of the renderer; drawn by the shaders and by the NumPy reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats


@dataclass(frozen=True)
class TwinScene:
    splats: Splats
    camera: Camera
    options: RenderOptions = RenderOptions()
    kernel: Kernel = Kernel()


CAMERA = Camera.look_at((0.3, -0.2, -4.0), (0, 0, 0), (0, -1, 0), 55, 160, 120)


def random_splats(n: int, seed: int, *, degree: int = 3, size: float = 0.08, spread: float = 1.0) -> Splats:
    """n splats in a box of half side `spread`, log-normal sizes, opacities over 0..1, lively SH."""
    r = np.random.default_rng(seed)
    quats = r.normal(size=(n, 4))
    sh = r.normal(size=(n, SH_COEFFICIENTS[degree], 3)) * 0.15
    sh[:, 0] = r.uniform(-1.2, 1.6, (n, 3))
    return Splats(
        r.uniform(-spread, spread, (n, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(r.normal(np.log(size), 0.6, (n, 3))).astype(np.float32),
        r.uniform(0.02, 0.99, n).astype(np.float32),
        sh.astype(np.float32),
    )


def _with(s: Splats, **arrays: np.ndarray) -> Splats:
    return replace(s, **{k: np.asarray(v, np.float32) for k, v in arrays.items()})


def _plain() -> TwinScene:
    return TwinScene(random_splats(300, 1), CAMERA)


def _opaque() -> TwinScene:
    s = random_splats(200, 2)
    return TwinScene(_with(s, opacities=np.full(200, 0.999)), CAMERA, RenderOptions(alpha_cap=0.999))


def _near_plane() -> TwinScene:
    # A camera inside the cloud: splats behind it, at it and just in front of it.
    return TwinScene(
        random_splats(400, 3, size=0.15),
        Camera.look_at((0, 0, 0), (0.1, 0.05, 1), (0, -1, 0), 70, 160, 120),
        RenderOptions(near=0.01),
    )


def _clamped_jacobian() -> TwinScene:
    # Big splats whose centres lie outside of the picture, up to slopes far past the clamp.
    s = random_splats(250, 4, size=0.4)
    s = _with(s, means=s.means * np.float32([6, 4, 0.5]))
    return TwinScene(s, Camera.look_at((0, 0, -2), (0, 0, 0), (0, -1, 0), 60, 160, 120))


def _negative_colors() -> TwinScene:
    s = random_splats(250, 5)
    sh = s.sh.copy()
    sh[:, 0] -= 2.0
    sh[::3, 0] += 3.5
    return TwinScene(_with(s, sh=sh), CAMERA, RenderOptions(background=(0.2, 0.5, 0.9)))


def _overlapping() -> TwinScene:
    s = random_splats(2000, 6, size=0.3, spread=0.4)
    return TwinScene(s, CAMERA)


def _equal_depths() -> TwinScene:
    s = random_splats(400, 7, size=0.2)
    means = s.means.copy()
    means[:, 2] = np.repeat([0.0, 0.5, 0.25, 1.0], 100)
    return TwinScene(_with(s, means=means), Camera.look_at((0, 0, -4), (0, 0, 0), (0, -1, 0), 45, 160, 120))


def _principal_point() -> TwinScene:
    return TwinScene(random_splats(300, 8, size=0.2), replace(CAMERA, cx=31.25, cy=97.5, fx=140.0, fy=118.0))


def _needles_and_discs() -> TwinScene:
    s = random_splats(300, 9)
    scales = s.scales.copy()
    scales[:100] = [1.2, 0.002, 0.001]
    scales[100:200] = [0.6, 0.5, 0.0005]
    scales[200:] = [1e-5, 1e-5, 1e-5]
    return TwinScene(_with(s, scales=scales), CAMERA)


def _flat_tops() -> TwinScene:
    s = random_splats(200, 10, size=0.15)
    return TwinScene(_with(s, opacities=np.random.default_rng(10).uniform(0.5, 6.0, 200)), CAMERA)


def _antialiased() -> TwinScene:
    return TwinScene(random_splats(500, 11, size=0.01), CAMERA, kernel=Kernel(antialias=True))


TWIN_SCENES: dict[str, Callable[[], TwinScene]] = {
    "plain": _plain,
    "opacity 0.999": _opaque,
    "crossing the near plane": _near_plane,
    "clamp of J at the edge": _clamped_jacobian,
    "negative colours": _negative_colors,
    "2,000 overlapping": _overlapping,
    "equal depths": _equal_depths,
    "off-centre principal point": _principal_point,
    "needles and discs": _needles_and_discs,
    "flat tops": _flat_tops,
    "antialiased": _antialiased,
}
