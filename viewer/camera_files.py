"""Camera files: our own list, cameras.json of 3DGS runs and nerfstudio's transforms.json, told apart by content.

Own: a JSON list of objects with width, height, fx, fy, cx, cy and world_to_camera (4 rows of 4, OpenCV frame).
3DGS (graphdeco `camera_to_JSON`): a list with position and rotation (camera to world, rows), fx, fy, width, height;
the principal point is the centre.
nerfstudio, instant-ngp, NeRF: an object with frames, each with transform_matrix (camera to world, OpenGL frame: y up,
z backward) or c2w_opencv (the same in the OpenCV frame); fl_x, fl_y or camera_angle_x, camera_angle_y, and w, h, cx, cy
of the file or of the frame. Lens distortion is left out: the camera is its pinhole.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.files import atomic_write

#: Longest camera file read, bytes; 100,000 nerfstudio frames have 60 MB.
MAX_BYTES = 128 << 20
#: Largest picture side, pixels.
MAX_SIDE = 1 << 16
#: How far R R^T may be from the identity, largest entry. Files with five decimals reach 1e-5.
RIGID_TOLERANCE = 1e-3

_PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "PERSPECTIVE")
_FORMS = "expected a list of cameras with world_to_camera, a 3DGS cameras.json or a nerfstudio transforms.json"


def read_cameras(path: str | Path, size: tuple[int, int] | None = None) -> list[Camera]:
    """The cameras of a file, in its order; `size` (width, height) stands in where a nerfstudio file names none.

    Raises LensError with the field's path; a file without cameras is an error too.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            # Checked before reading: read(n) allocates n bytes first, however short the file is.
            size_on_disk = os.fstat(file.fileno()).st_size
            data = file.read() if size_on_disk <= MAX_BYTES else b""
    except FileNotFoundError:
        raise LensError(f"{path}: no such camera file; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    if size_on_disk > MAX_BYTES:
        raise FormatError(f"{path}: a camera file of more than {MAX_BYTES >> 20} MiB; {_FORMS}")
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise FormatError(f"{path}: {where}: not JSON: {error.msg}; {_FORMS}") from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {error}; {_FORMS}") from error
    return parse_cameras(content, str(path), size)


def parse_cameras(content: object, name: str, size: tuple[int, int] | None = None) -> list[Camera]:
    """The same for parsed JSON; `name` stands in messages."""
    if isinstance(content, dict) and "frames" in content:
        frames = _list(content["frames"], f"{name}: frames")
        return [_nerfstudio(content, frame, name, i, size) for i, frame in enumerate(frames)]
    where = f"{name}: cameras"
    if not isinstance(content, list):
        raise FormatError(f"{name}: {_FORMS}, got {_what(content)}")
    items = _list(content, where)
    first = items[0]
    if isinstance(first, dict) and "world_to_camera" in first:
        return [_own(item, f"{where}[{i}]") for i, item in enumerate(items)]
    if isinstance(first, dict) and "rotation" in first and "position" in first:
        return [_trained(item, f"{where}[{i}]") for i, item in enumerate(items)]
    raise FormatError(f"{where}[0]: {_FORMS}, got {_what(first)}")


def write_cameras(path: str | Path, cameras: Sequence[Camera]) -> None:
    """Writes our own form; every float as its shortest decimal that reads back equal."""
    with atomic_write(Path(path)) as file:
        file.write((json.dumps([camera_json(c) for c in cameras], indent=1) + "\n").encode())


def camera_json(camera: Camera) -> dict[str, Any]:
    """One camera in our own form, as plain JSON values."""
    numbers = {key: float(getattr(camera, key)) for key in ("fx", "fy", "cx", "cy")}
    pose = camera.world_to_camera.tolist()
    return {"width": camera.width, "height": camera.height, **numbers, "world_to_camera": pose}


def _own(item: object, where: str) -> Camera:
    camera = _object(item, where)
    width, height = _side(camera, "width", where), _side(camera, "height", where)
    fx, fy = _positive(camera, "fx", where), _positive(camera, "fy", where)
    pose = _rigid(_matrix(camera, "world_to_camera", where, (4,)), f"{where}.world_to_camera")
    return Camera(width, height, fx, fy, _number(camera, "cx", where), _number(camera, "cy", where), pose)


def _trained(item: object, where: str) -> Camera:
    camera = _object(item, where)
    width, height = _side(camera, "width", where), _side(camera, "height", where)
    to_world = np.eye(4)
    to_world[:3, :3] = _matrix(camera, "rotation", where, (3,), columns=3)
    position = _row(_get(camera, "position", where), f"{where}.position", 3)
    to_world[:3, 3] = position
    pose = _inverse(_rigid(to_world, f"{where}.rotation"))
    fx, fy = _positive(camera, "fx", where), _positive(camera, "fy", where)
    return Camera(width, height, fx, fy, width / 2, height / 2, pose)


def _nerfstudio(file: Mapping[str, Any], item: object, name: str, index: int, size: tuple[int, int] | None) -> Camera:
    where = f"{name}: frames[{index}]"
    frame = _object(item, where)
    # Intrinsics stand in the frame or, for all frames, in the file; messages name the place they were found.
    both = {**file, **frame}
    model = both.get("camera_model", "OPENCV")
    if model not in _PINHOLES:
        why = f"{_what(model)} is no pinhole camera (expected {', '.join(_PINHOLES)})"
        raise UnsupportedError(f"{where}.camera_model: {why}; undistort the pictures first")
    if size is not None and "w" not in both and "h" not in both:
        both["w"], both["h"] = size
    width, height = _side(both, "w", where), _side(both, "h", where)
    if "fl_x" in both:
        fx = _positive(both, "fl_x", where)
        fy = _positive(both, "fl_y", where) if "fl_y" in both else fx
    elif "camera_angle_x" in both:
        fx = _focal(both, "camera_angle_x", where, width)
        fy = _focal(both, "camera_angle_y", where, height) if "camera_angle_y" in both else fx
    else:
        raise FormatError(f"{where}: neither fl_x nor camera_angle_x, in the frame or the file; add one")
    cx = _number(both, "cx", where) if "cx" in both else width / 2
    cy = _number(both, "cy", where) if "cy" in both else height / 2
    opencv = "c2w_opencv" in frame
    key = "c2w_opencv" if opencv else "transform_matrix"
    to_world = _rigid(_matrix(frame, key, where, (3, 4)), f"{where}.{key}")
    if not opencv:
        to_world[:3, 1:3] *= -1  # OpenGL's y up, z backward to OpenCV's y down, z forward
    return Camera(width, height, fx, fy, cx, cy, _inverse(to_world))


def _focal(fields: Mapping[str, Any], key: str, where: str, side: int) -> float:
    angle = _positive(fields, key, where)
    if angle >= math.pi:
        raise FormatError(f"{where}.{key}: {angle} is no angle of view; expected radians below pi")
    return side / (2 * math.tan(angle / 2))


def _inverse(pose: NDArray[np.float64]) -> NDArray[np.float64]:
    inverse = np.eye(4)
    inverse[:3, :3] = pose[:3, :3].T
    inverse[:3, 3] = -pose[:3, :3].T @ pose[:3, 3]
    return inverse


def _rigid(pose: NDArray[np.float64], where: str) -> NDArray[np.float64]:
    """The pose with an exact rotation. Raises FormatError unless it is one within RIGID_TOLERANCE."""
    rotation = pose[:3, :3]
    off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
    why = ""
    if not np.array_equal(pose[3], (0, 0, 0, 1)):
        why = "its last row is not 0 0 0 1"
    elif not off <= RIGID_TOLERANCE:
        why = f"R R^T is {off:.2g} off the identity"
    elif np.linalg.det(rotation) < 0:
        why = "it mirrors"
    if why:
        raise FormatError(f"{where}: not a rotation and a translation: {why}; remove scale and shear from the pose")
    if off > 1e-12:  # nearest rotation (polar decomposition), so that its transpose is its inverse
        u, _, vt = np.linalg.svd(rotation)
        pose = pose.copy()
        pose[:3, :3] = u @ vt
    return pose


def _matrix(
    fields: Mapping[str, Any], key: str, where: str, rows: tuple[int, ...], columns: int = 4
) -> NDArray[np.float64]:
    """A matrix given by rows; three rows of four are completed by 0 0 0 1."""
    value = _get(fields, key, where)
    if not isinstance(value, list) or len(value) not in rows:
        expected = f"expected {' or '.join(map(str, rows))} rows of {columns} numbers"
        raise FormatError(f"{where}.{key}: {expected}, got {_what(value)}")
    out = [_row(row, f"{where}.{key}[{i}]", columns) for i, row in enumerate(value)]
    return np.array([*out, [0.0, 0.0, 0.0, 1.0]] if len(out) == 3 and columns == 4 else out)


def _row(value: object, where: str, count: int) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise FormatError(f"{where}: expected {count} numbers, got {_what(value)}")
    return [_finite(v, f"{where}[{i}]") for i, v in enumerate(value)]


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise FormatError(f"{where}: expected at least one camera, got {_what(value)}")
    return value


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object, got {_what(value)}")
    return value


def _get(fields: Mapping[str, Any], key: str, where: str) -> object:
    if key not in fields:
        raise FormatError(f"{where}: field {key} is missing, got {_what(fields)}")
    return fields[key]


def _number(fields: Mapping[str, Any], key: str, where: str) -> float:
    return _finite(_get(fields, key, where), f"{where}.{key}")


def _positive(fields: Mapping[str, Any], key: str, where: str) -> float:
    value = _number(fields, key, where)
    if value <= 0:
        raise FormatError(f"{where}.{key}: got {value}, expected a number above 0")
    return value


def _side(fields: Mapping[str, Any], key: str, where: str) -> int:
    value = _number(fields, key, where)
    if value != int(value) or not 1 <= value <= MAX_SIDE:
        raise FormatError(f"{where}.{key}: got {value:g}, expected a whole number of pixels from 1 to {MAX_SIDE}")
    return int(value)


def _finite(value: object, where: str) -> float:
    # bool is an int to Python; 1e15 bounds what float() and the arithmetic after it can be made to overflow with.
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 <= value <= 1e15:
        raise FormatError(f"{where}: expected a finite number, got {_what(value)}")
    return float(value)


def _what(value: object) -> str:
    """A value for a message: short, one line."""
    if isinstance(value, Mapping):
        return f"an object with {', '.join(list(value)[:12])[:160] or 'nothing'}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
