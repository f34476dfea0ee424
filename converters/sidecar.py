"""Facts that a format cannot hold, from files beside it: NAME.scene.json and NAME.cameras.json for NAME.ply.

NAME.scene.json is an object with any of title, attribution, licence (texts), up (3 numbers), background (3 numbers,
0..1) and camera (one camera in our own form: where the viewer starts). NAME.cameras.json is any camera file: the
training views.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.converters.source import SourceInfo
from splatlens.viewer.camera_files import parse_cameras, read_cameras
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import parse_json

#: Longest NAME.scene.json read, bytes.
MAX_BYTES = 1 << 20


def with_sidecars(info: SourceInfo) -> SourceInfo:
    """The facts completed by what stands beside the file; a damaged neighbour is left out with a warning."""
    if not info.path.is_file() or info.format == "lens":
        return info
    for suffix, read in ((".scene.json", _scene), (".cameras.json", _cameras)):
        path = info.path.with_suffix(suffix)
        if path.is_file():
            info = replace(info, files=(*info.files, path))
            try:
                info = replace(info, **read(path))
            except LensError as error:
                info = info.with_warnings(f"left out: {error}")
    return info


def _cameras(path: Path) -> dict[str, Any]:
    return {"cameras": tuple(read_cameras(path))}


def _scene(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{path}: more than {MAX_BYTES} bytes; expected a few facts about the scene")
    fields = parse_json(path.read_bytes(), str(path), "scene")
    facts: dict[str, Any] = {}
    for name in ("title", "attribution", "licence"):
        if fields.has(name):
            facts[name] = fields.member(name).text()
    if fields.has("up"):
        up = np.array(fields.member("up").numbers(3))
        length = float(np.linalg.norm(up))
        if not 1e-6 < length < 1e6:
            fields.member("up").fail("a direction of length 1")
        facts["up"] = tuple((up / length).tolist())
    if fields.has("background"):
        facts["background"] = tuple(f.number(0, 1) for f in fields.member("background").items(3, 3))
    if fields.has("camera"):
        (facts["camera"],) = parse_cameras([fields.member("camera").object()], f"{path}: camera as one of")
    return facts
