"""Figures of baked meshes in the browser: Chromium beside headless, the poster and every fitted sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import figures_fields
import figures_mobilenerf
import numpy as np
from figures_base import Row, at_least, sample_module, work
from figures_gpu import floats
from figures_live import HEIGHT, WIDTH, in_chromium, in_page, psnr, views_of

import splatlens
from splatlens import server
from splatlens.viewer.camera import Camera

POSTER = "mobilenerf_poster"


def rows() -> list[Row]:
    """The float picture of three views of each."""
    return in_chromium({POSTER: _poster} | {name: _made for name in figures_fields.SAMPLES}, _beside)


def _made(name: str) -> Path:
    out = work() / "baked" / f"{name}.lens"
    out.parent.mkdir(exist_ok=True)
    sample_module(name, "make").make(out)
    return out


def _poster(name: str) -> Path:
    return figures_mobilenerf.poster().path


def _views(name: str, scene: splatlens.Scene) -> list[tuple[Camera, dict[str, Any]]]:
    """Of a fitted sample as of any; of the shard, crumbs of a third of its scene, the poses of its other figures."""
    if name != POSTER:
        return views_of(scene)
    made = []
    for position, target in figures_mobilenerf.POSES:
        camera = Camera.look_at(position, target, (0, 1, 0), figures_mobilenerf.FOV, WIDTH, HEIGHT)
        pose = {"position": position, "target": target, "up": (0, 1, 0), "fov": figures_mobilenerf.FOV}
        made.append((camera, pose))
    return made


def _beside(launched: Any, name: str, lens: Path) -> list[Row]:
    """One scene's row: of all pixels, and without those in which adapters may see two triangles, at edges."""
    with splatlens.open(lens) as scene, server.background(server.ServerConfig((lens.parent,))) as url:
        views = _views(name, scene)
        asked = [{"seconds": 0, "controls": [], "pose": pose} for _, pose in views]
        got = in_page(launched, url, lens.name, asked)
        whole, inside, apart = [], [], []
        for (camera, _), picture in zip(views, got["pictures"], strict=True):
            want, drawn = scene.render(camera, background=(0, 0, 0)), floats(picture)
            mask = figures_fields.sure(scene, camera)
            whole.append(psnr(drawn, want))
            inside.append(psnr(drawn[mask], want[mask]))
            apart.append(1 - mask.mean())
    detail = f"{min(inside):.1f} dB without the pixels that show an edge within 1/2048 pixel of a sample, "
    detail += f"{100 * np.max(apart):.1f}% or less; a frame of another background {np.median(got['frame']):.0f} ms"
    what = f"{name}, Chromium against headless, float picture, three views: least"
    return [at_least(what, 50, min(whole), "dB", detail)]


