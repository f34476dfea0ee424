"""Figures of whole pictures: gsplat's goldens, twin scenes, full detail of real scenes, and their noisy variants."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from figures_base import (
    ROOT,
    SCENES,
    Image,
    MissingError,
    Row,
    Scene,
    at_least,
    at_most,
    data_file,
    decibels,
    lens_of,
    renderer,
    reported,
    source,
    truth,
    work,
)

from splatlens.converters import write_splats
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import PagedLayer, RawLayer, render_reference
from splatlens.viewer.splats import Splats

#: Share of noise on the view-dependent coefficients, and the seed it is drawn with.
NOISE, NOISE_SEED = 0.01, 20261121


def goldens() -> list[Row]:
    """Pictures that the CUDA rasterizer gsplat drew, float32, through the shaders and through NumPy."""
    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingError("safetensors: pip install safetensors") from error
    rows = []
    for name in ("tiny", "basic"):
        d = load_file(data_file(f"brush_reference/{name}_case.safetensors"))
        quats = d["quats"] / np.linalg.norm(d["quats"], axis=1, keepdims=True)
        splats = Splats(
            d["means"].astype(np.float32),
            quats.astype(np.float32),
            np.exp(d["scales"]).astype(np.float32),
            (1 / (1 + np.exp(-d["opacities"].reshape(-1).astype(np.float64)))).astype(np.float32),
            d["coeffs"].astype(np.float32),
        )
        want: Image = d["out_img"].reshape(d["out_img"].shape[-3:])
        height, width = want.shape[:2]
        view = np.eye(4)
        view[:3, 3] = -0.123, -0.456, 8.0
        camera = Camera(width, height, width / 2, width / 2, width / 2, height / 2, view)
        options = RenderOptions(alpha_cap=0.999)
        shaders = renderer().render([RawLayer(splats)], camera, options)
        rows.append(at_least(f"golden {name}, shaders", 60, psnr(shaders, want), "dB"))
        rows.append(
            at_least(
                f"golden {name}, NumPy reference", 120, psnr(reference.render(splats, camera, options), want), "dB"
            )
        )
    return rows


def twins() -> list[Row]:
    """Scenes that each press on one rule, shaders against the NumPy reference."""
    sys.path.insert(0, str(ROOT))
    from tests.twin_scenes import TWIN_SCENES

    rows = []
    for name, make in TWIN_SCENES.items():
        scene = make()
        layers = [RawLayer(scene.splats, kernel=scene.kernel)]
        got = renderer().render(layers, scene.camera, scene.options)
        want = render_reference(layers, scene.camera, scene.options)
        rows.append(at_least(f"twin scene, {name}", 60, psnr(got, want), "dB"))
    return rows


def layer_of(path: Path) -> PagedLayer:
    """The first splats layer of a .lens; the file stays open while it is used."""
    reader = _open(path)
    number, layer = next(iter(reader.splats_layers.items()))
    return PagedLayer(_pages(path), reader.layers[number].transform, layer.info.kernel)


@cache
def _open(path: Path) -> LensReader:
    return LensReader.open(path)


@cache
def _pages(path: Path) -> LensPages:
    return LensPages(next(iter(_open(path).splats_layers.values())))


def detail() -> list[Row]:
    """The .lens at full detail against float32, every view, and its bytes."""
    return [row for scene in SCENES for row in _detail(scene, data_file(scene.file), scene.name, scene.most_bytes)]


def _detail(scene: Scene, path: Path, name: str, most_bytes: float) -> list[Row]:
    lens, report = lens_of(path)
    each = []
    for view, camera in enumerate(scene.cameras()):
        each.append(decibels(renderer().render([layer_of(lens)], camera), truth(path, view, scene)))
    views = " / ".join(f"{d:.1f}" for d in each)
    size = lens.stat().st_size / report["splats"]
    return [
        at_least(f"{name}: .lens at full detail against float32, worst of three views", 45, min(each), "dB", views),
        at_most(
            f"{name}: bytes a source splat, all levels and SH", most_bytes, size, "B", f"{lens.stat().st_size:,} B"
        ),
    ]


@cache
def noisy_file(scene: Scene, kind: str) -> Path:
    """The scene with noise on f_rest. multiplied: each value times 1 + 0.01 N(0, 1); added: plus 0.01 N(0, 1) times the
    standard deviation that its coefficient has over the scene. Rows that a palette made equal differ afterwards."""
    splats = source(data_file(scene.file))
    rng = np.random.default_rng(NOISE_SEED)
    rest = splats.sh[:, 1:].astype(np.float64)
    noise = NOISE * rng.standard_normal(rest.shape)
    rest = rest * (1 + noise) if kind == "multiplied" else rest + noise * rest.std(axis=0)
    sh = np.concatenate([splats.sh[:, :1], rest.astype(np.float32)], axis=1)
    path = work() / f"{scene.name}_{kind}.ply"
    write_splats(path, replace(splats, sh=sh))
    return path


def noise() -> list[Row]:
    """Full detail and bytes once the SH rows are no longer from a palette."""
    rows = []
    for scene in SCENES:
        if source(data_file(scene.file)).sh_degree:
            for kind in ("multiplied", "added"):
                rows += _detail(scene, noisy_file(scene, kind), f"{scene.name}, 1% noise {kind} on f_rest", 36)
    return rows


def sample() -> list[Row]:
    """The sample scene, whose SH never saw a palette: nothing but the time to make it is asked of it."""
    path = work() / "tholos.ply"
    start, before = time.perf_counter(), os.times()
    script = [sys.executable, str(ROOT / "samples/tholos/make.py"), str(path)]
    subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
    seconds, used = time.perf_counter() - start, sum(os.times()[2:4]) - sum(before[2:4])
    lens, report = lens_of(path)
    camera = _open(lens).scene.camera
    assert camera is not None
    camera = camera.resized(640, 360)
    want = reference.render(source(path), camera)
    full = decibels(renderer().render([layer_of(lens)], camera), want)
    rows = [
        at_most("sample scene: time to make it", 60, seconds, "s", f"{used:.0f} s of processor time"),
        Row("sample scene: splats", "≥ 300,000", f"{report['splats']:,}", report["splats"] >= 300_000),
        reported(
            "sample scene, first camera: full detail",
            f"{full:.1f} dB, {lens.stat().st_size / report['splats']:.1f} B a splat",
        ),
    ]
    for share in (0.5, 0.25, 0.1, 0.02):
        image = renderer().render([layer_of(lens)], camera, budget=int(share * report["splats"]))
        rows.append(
            reported(f"sample scene, first camera: {share:.0%} of the splats", f"{decibels(image, want):.1f} dB")
        )
    return rows
