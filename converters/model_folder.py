"""The folder a 3DGS training run leaves: newest iteration, training cameras and settings, read as a whole."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.ply import open_ply
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import read_cameras
from splatlens.viewer.errors import LensError

#: Longest cfg_args read, bytes; real ones have 300.
MAX_CFG_ARGS = 1 << 16


def iterations(folder: Path) -> list[tuple[int, Path]]:
    """(N, point_cloud/iteration_N/point_cloud.ply) of those that exist, oldest first."""
    found = []
    for path in folder.glob("point_cloud/iteration_*/point_cloud.ply"):
        if match := re.fullmatch(r"iteration_(\d{1,18})", path.parent.name, re.ASCII):
            found.append((int(match[1]), path))
    return sorted(found)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is a model folder."""
    return path.is_dir() and bool(iterations(path))


def describe(path: Path, extensions: tuple[str, ...]) -> str:
    """The error message for a folder that is no scene. extensions: of files that could be read themselves."""
    names = sorted(p.name + "/" * p.is_dir() for p in path.iterdir())
    holds = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    hint = next((f"; give the file itself: {path / name}" for name in names if name.lower().endswith(extensions)), "")
    for parent in path.resolve().parents[:2]:
        if iterations(parent):
            hint = f"; give the model folder: {parent}"
    why = "a folder with neither point_cloud/iteration_N/point_cloud.ply nor the meta.json of SOG is no scene"
    return f"{path}: {why} (it holds {holds or 'nothing'}){hint}"


def open_model_folder(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """The newest iteration's splats with the run's cameras and settings.

    What stands beside the splats may be missing or damaged: then it is left out with a warning. Raises LensError for
    the splats themselves.
    """
    iteration, file = iterations(path)[-1]
    source = open_ply(file)
    info = with_run(replace(source.info, path=path, format="3dgs-model-folder", iteration=iteration))
    return Source(info, source.read)


def with_run(info: SourceInfo) -> SourceInfo:
    """The facts of a run's folder with its cameras and settings, as far as they are there and sound."""
    cameras_file = info.path / "cameras.json"
    if cameras_file.is_file():
        info = replace(info, files=(*info.files, cameras_file))
        try:
            cameras = tuple(read_cameras(cameras_file))
            info = replace(info, cameras=cameras, up=info.up or mean_up(cameras))
        except LensError as error:
            info = info.with_warnings(f"cameras left out: {error}")
    cfg_file = info.path / "cfg_args"
    if cfg_file.is_file():
        info = replace(info, files=(*info.files, cfg_file))
        try:
            info = _with_settings(info, parse_cfg_args(cfg_file))
        except LensError as error:
            info = info.with_warnings(f"settings left out: {error}")
    return info


def mean_up(cameras: tuple[Camera, ...]) -> tuple[float, float, float] | None:
    """Unit mean of the cameras' upward axes in scene coordinates, None where they disagree (mean shorter than 0.5)."""
    if not cameras:
        return None
    mean = -np.mean([camera.world_to_camera[1, :3] for camera in cameras], axis=0)  # y points down
    length = float(np.linalg.norm(mean))
    return None if length < 0.5 else (float(mean[0] / length), float(mean[1] / length), float(mean[2] / length))


def parse_cfg_args(path: Path) -> dict[str, Any]:
    """The literals of a file `Namespace(name=value, ...)`, parsed, never run. Raises LensError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CFG_ARGS + 1)
        if len(data) > MAX_CFG_ARGS:
            raise LensError(f"{path}: longer than {MAX_CFG_ARGS} bytes, expected Namespace(...)")
        call = ast.parse(data.decode(), mode="eval").body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise LensError(f"{path}: cannot read as Namespace(name=value, ...): {error}") from error
    named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Namespace"
    if not isinstance(call, ast.Call) or not named or call.args:
        raise LensError(f"{path}: expected Namespace(name=value, ...)")
    return {word.arg: word.value.value for word in call.keywords if word.arg and isinstance(word.value, ast.Constant)}


def _with_settings(info: SourceInfo, settings: dict[str, Any]) -> SourceInfo:
    """What the settings say about drawing: background, and Mip-Splatting's kernel."""
    if isinstance(white := settings.get("white_background"), bool):
        info = replace(info, background=(1.0, 1.0, 1.0) if white else (0.0, 0.0, 0.0))
    # The reference code's own switch, and Mip-Splatting's kernel size, which it always compensates.
    if isinstance(antialias := settings.get("antialiasing"), bool):
        info = replace(info, antialias=antialias)
    kernel = settings.get("kernel_size")
    if isinstance(kernel, float) and 0 < kernel < 10:
        info = replace(info, antialias=True, dilation=kernel)
    return info


FORMAT: Format = Format(
    "3dgs-model-folder",
    "3DGS model folder",
    (),
    sniff,
    open_model_folder,
    reads="the newest iteration's PLY with cameras.json and cfg_args (background, kernel)",
)
