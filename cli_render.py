"""`splatlens render`: which cameras, which file names, and the loop over them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splatlens.cli_output import progress, warn
from splatlens.converters.format import ReadOptions
from splatlens.converters.opened import Scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import read_cameras
from splatlens.viewer.errors import LensError
from splatlens.viewer.images import SUFFIXES, unsupported, write_image

#: Size of a picture where neither --size nor a camera file says.
DEFAULT_SIZE = (1280, 720)
DEFAULT_FOV = 50.0
#: One %d or %03d; nothing else of printf.
_PATTERN = re.compile(r"%(0?[0-9]?)d")


@dataclass(frozen=True)
class Views:
    """The options that choose cameras."""

    size: tuple[int, int] | None = None
    cameras: Path | None = None
    index: int | None = None
    position: tuple[float, float, float] | None = None
    target: tuple[float, float, float] | None = None
    up: tuple[float, float, float] | None = None
    fov: float | None = None


@dataclass(frozen=True)
class Clock:
    """When pictures are drawn. time: second of the scene's clock; frames: how many from there, None for one."""

    time: float = 0.0
    frames: int | None = None
    fps: float = 30.0

    def seconds(self) -> list[float]:
        return [self.time + k / self.fps for k in range(self.frames or 1)]


def choose_cameras(
    views: Views, scene_up: tuple[float, float, float], start: Callable[[], Camera]
) -> list[tuple[int, Camera]]:
    """(number in the camera file, camera) of what is to be drawn; `start`, where nothing is said. Raises LensError."""
    placed = [name for name in ("position", "target", "up", "fov") if getattr(views, name) is not None]
    if views.cameras is not None:
        if placed:
            raise LensError(f"render: --cameras and --{placed[0]} exclude each other; give one of them")
        cameras = list(enumerate(read_cameras(views.cameras, views.size)))
        if views.index is not None:
            if not 0 <= views.index < len(cameras):
                last = len(cameras) - 1
                raise LensError(f"{views.cameras}: --index {views.index} is not one of its cameras, 0 to {last}")
            cameras = [cameras[views.index]]
        return [(i, c.resized(*views.size) if views.size else c) for i, c in cameras]
    if views.index is not None:
        raise LensError("render: --index needs --cameras")
    if not placed:
        camera = start()
        return [(0, camera.resized(*(views.size or DEFAULT_SIZE)))]
    if views.position is None or views.target is None:
        raise LensError("render: no camera; give --cameras FILE, or --position x,y,z and --target x,y,z")
    fov = DEFAULT_FOV if views.fov is None else views.fov
    width, height = views.size or DEFAULT_SIZE
    return [(0, Camera.look_at(views.position, views.target, views.up or scene_up, fov, width, height))]


def output_paths(out: Path, numbers: list[int]) -> list[Path]:
    """A file name for each picture: OUT itself for one, OUT with its %03d filled in for several. Raises LensError."""
    if out.suffix.lower() not in SUFFIXES:
        raise unsupported(out)
    if not out.parent.is_dir():
        raise LensError(f"{out.parent}: no such folder; make it first")
    places = _PATTERN.findall(out.name)
    if len(places) > 1:
        raise LensError(f"{out}: more than one number pattern; keep one, such as %03d")
    if len(numbers) > 1 and not places:
        raise LensError(f"{out}: {len(numbers)} pictures need a number in the name, such as OUT-%03d.png, or --index")
    if not places:
        return [out]
    return [out.with_name(_PATTERN.sub(f"{i:{places[0]}d}", out.name)) for i in numbers]


def draw(
    scene_path: Path,
    out: Path,
    views: Views,
    options: dict[str, Any],
    read: ReadOptions = ReadOptions(),
    clock: Clock = Clock(),
) -> list[tuple[Path, float]]:
    """Draws every view, or one at every moment; (file, seconds) of each. `options` are those of Scene.render.

    Raises LensError.
    """
    with progress() as tell, Scene(scene_path, tell, options=read) as scene:
        chosen = choose_cameras(views, scene.up, lambda: scene.start)
        if clock.frames is not None and len(chosen) > 1:
            raise LensError(f"render: --frames takes one camera, given are {len(chosen)}; choose one with --index")
        times = clock.seconds()
        pictures = [(camera, t) for _, camera in chosen for t in times]
        paths = output_paths(out, list(range(len(times))) if clock.frames is not None else [i for i, _ in chosen])
        drawn, warned = [], set[str]()
        for done, ((camera, seconds), path) in enumerate(zip(pictures, paths, strict=True)):
            start = time.perf_counter()
            write_image(path, scene.render(camera, time=seconds, **options))
            drawn.append((path, time.perf_counter() - start))
            for notice in scene.notices:
                if notice not in warned:
                    warn(notice)
                warned.add(notice)
            tell("drawing", (done + 1) / len(pictures))
    return drawn
