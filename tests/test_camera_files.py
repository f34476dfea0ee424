"""Camera files: our own, 3DGS and nerfstudio, each against poses known beforehand, and damage by field path."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatlens.viewer.camera import Camera
from splatlens.viewer.camera_files import camera_json, parse_cameras, read_cameras, write_cameras
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError


def some_cameras(count: int) -> list[Camera]:
    """Cameras around the origin, z up, each of another size."""
    out = []
    for i in range(count):
        angle = 2 * math.pi * i / count
        eye = (4 * math.cos(angle), 4 * math.sin(angle), 1 + 0.1 * i)
        out.append(Camera.look_at(eye, (0, 0, 0.2 * i), (0, 0, 1), 40 + i, 640 + 2 * i, 360))
    return out


def trained_json(cameras: list[Camera]) -> list[dict[str, Any]]:
    """cameras.json as the 3DGS code writes it: camera-to-world rotation by rows, and the centre."""
    return [
        {
            "id": i,
            "img_name": f"{i:05d}",
            "width": c.width,
            "height": c.height,
            "position": c.position.tolist(),
            "rotation": np.linalg.inv(c.world_to_camera)[:3, :3].tolist(),
            "fy": c.fy,
            "fx": c.fx,
        }
        for i, c in enumerate(cameras)
    ]


def nerf_json(cameras: list[Camera]) -> dict[str, Any]:
    """transforms.json with the intrinsics in each frame; OpenGL axes: right, up, backward."""
    frames = []
    for c in cameras:
        to_world = np.linalg.inv(c.world_to_camera) @ np.diag([1.0, -1, -1, 1])
        frame = {"file_path": "a.png", "fl_x": c.fx, "fl_y": c.fy, "cx": c.cx, "cy": c.cy, "w": c.width, "h": c.height}
        frames.append(frame | {"transform_matrix": to_world.tolist()})
    return {"camera_model": "OPENCV", "k1": 0.1, "frames": frames}


def assert_cameras(got: list[Camera], want: list[Camera], atol: float = 1e-9) -> None:
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.world_to_camera, b.world_to_camera, atol=atol)
        for name in ("width", "height", "fx", "fy", "cx", "cy"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), err_msg=name)


def test_own_form_round_trips_to_the_bit(tmp_path: Path) -> None:
    want = some_cameras(4)
    write_cameras(tmp_path / "c.json", want)
    got = read_cameras(tmp_path / "c.json")
    for a, b in zip(got, want, strict=True):
        assert a.world_to_camera.tobytes() == b.world_to_camera.tobytes()
        assert camera_json(a) == camera_json(b)


def test_trained_and_nerfstudio_forms() -> None:
    want = some_cameras(4)
    assert_cameras(parse_cameras(json.loads(json.dumps(trained_json(want))), "c"), want)
    assert_cameras(parse_cameras(json.loads(json.dumps(nerf_json(want))), "c"), want)


def test_directions_by_hand() -> None:
    """A camera at (0, 0, 5) that looks down at the origin sees +x on its right and +y at its top, in every form."""
    down_gl = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 5], [0, 0, 0, 1]]  # OpenGL looks along -z: the identity, moved
    down_cv = [[1, 0, 0], [0, -1, 0], [0, 0, -1]]
    size = {"width": 100, "height": 80, "fx": 50, "fy": 50}
    forms: list[Any] = [
        {"fl_x": 50, "w": 100, "h": 80, "frames": [{"transform_matrix": down_gl}]},
        {"fl_x": 50, "w": 100, "h": 80, "frames": [{"transform_matrix": down_gl[:3]}]},
        [size | {"position": [0, 0, 5], "rotation": down_cv}],
        [size | {"cx": 50, "cy": 40, "world_to_camera": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 5], [0, 0, 0, 1]]}],
        {"fl_x": 50, "w": 100, "h": 80, "frames": [{"c2w_opencv": [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 5]]}]},
    ]
    for form in forms:
        (camera,) = parse_cameras(form, "c")
        np.testing.assert_allclose(camera.position, [0, 0, 5])
        x, y, z, _ = camera.world_to_camera @ [1, 2, 0, 1]
        assert z == 5
        u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        assert (u, v) == (60, 20)


def test_nerf_intrinsics() -> None:
    pose = np.eye(4).tolist()
    angle = 2 * math.atan(0.5)
    base: dict[str, Any] = {"camera_angle_x": angle, "w": 400, "h": 300, "frames": [{"transform_matrix": pose}]}
    (camera,) = parse_cameras(base, "c")
    np.testing.assert_allclose([camera.fx, camera.fy, camera.cx, camera.cy], [400, 400, 200, 150])
    (camera,) = parse_cameras(base | {"camera_angle_y": 2 * math.atan(0.25)}, "c")
    np.testing.assert_allclose(camera.fy, 600)
    (camera,) = parse_cameras(base | {"frames": [{"transform_matrix": pose, "w": 800, "cx": 1, "fl_x": 7}]}, "c")
    assert (camera.width, camera.cx, camera.fx, camera.fy) == (800, 1, 7, 7)
    blender = {k: v for k, v in base.items() if k not in ("w", "h")}
    with pytest.raises(FormatError, match=r"c: frames\[0\]\.?.*field w is missing"):
        parse_cameras(blender, "c")
    (camera,) = parse_cameras(blender, "c", size=(800, 600))
    np.testing.assert_allclose((camera.width, camera.height, camera.fx), (800, 600, 800))
    with pytest.raises(FormatError, match="neither fl_x nor camera_angle_x"):
        parse_cameras({k: v for k, v in base.items() if k != "camera_angle_x"}, "c")
    with pytest.raises(FormatError, match=r"camera_angle_x: 3\.2 is no angle of view"):
        parse_cameras(base | {"camera_angle_x": 3.2}, "c")
    with pytest.raises(UnsupportedError, match=r"'OPENCV_FISHEYE' is no pinhole camera .*undistort"):
        parse_cameras(base | {"camera_model": "OPENCV_FISHEYE"}, "c")


def set_at(content: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A deep copy with one value replaced, or deleted where it is `...`."""
    content = copy.deepcopy(content)
    at = content
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return content


OWN: Any = [camera_json(c) for c in some_cameras(2)]
TRAINED: Any = trained_json(some_cameras(2))
NERF: Any = nerf_json(some_cameras(2))


@pytest.mark.parametrize(
    ("content", "path", "value", "message"),
    [
        (OWN, (1, "width"), 0, "cameras[1].width: got 0, expected a whole number of pixels from 1 to 65536"),
        (OWN, (1, "width"), 1.5, "cameras[1].width: got 1.5, expected a whole number"),
        (OWN, (1, "height"), 10**6, "cameras[1].height: got 1e+06, expected a whole number"),
        (OWN, (1, "fx"), -1, "cameras[1].fx: got -1.0, expected a number above 0"),
        (OWN, (1, "cy"), "x", "cameras[1].cy: expected a finite number, got 'x'"),
        (OWN, (1, "cy"), True, "cameras[1].cy: expected a finite number, got True"),
        (OWN, (1, "cy"), math.nan, "cameras[1].cy: expected a finite number, got nan"),
        (OWN, (1, "cy"), 10**400, "cameras[1].cy: expected a finite number, got 1000"),
        (OWN, (1, "fy"), ..., "cameras[1]: field fy is missing, got an object with width, height, fx, cx"),
        (OWN, (1, "world_to_camera"), 3, "cameras[1].world_to_camera: expected 4 rows of 4 numbers, got 3"),
        (OWN, (1, "world_to_camera", 2), [1, 2], "cameras[1].world_to_camera[2]: expected 4 numbers, got a list of 2"),
        (OWN, (1, "world_to_camera", 2, 1), None, "[1].world_to_camera[2][1]: expected a finite number, got None"),
        (OWN, (1, "world_to_camera", 3), [0, 0, 0, 2], "its last row is not 0 0 0 1"),
        (OWN, (1, "world_to_camera", 0), [1, 1, 1, 1], ".world_to_camera: not a rotation and a translation: R R^T is"),
        (OWN, (1,), 7, "cameras[1]: expected an object, got 7"),
        (OWN, (0,), 7, "cameras[0]: expected a list of cameras with world_to_camera, a 3DGS"),
        (TRAINED, (1, "rotation", 1, 1), 5, "cameras[1].rotation: not a rotation"),
        (TRAINED, (1, "rotation"), [[-1, 0, 0], [0, 1, 0], [0, 0, 1]], "it mirrors; remove scale and shear"),
        (TRAINED, (1, "position"), [1, 2], "cameras[1].position: expected 3 numbers, got a list of 2"),
        (TRAINED, (1, "position", 2), math.inf, "cameras[1].position[2]: expected a finite number, got inf"),
        (TRAINED, (1, "width"), ..., "cameras[1]: field width is missing"),
        (NERF, ("frames", 1, "transform_matrix", 0, 0), 9, "frames[1].transform_matrix: not a rotation"),
        (NERF, ("frames", 1, "transform_matrix"), ..., "frames[1]: field transform_matrix is missing"),
        (NERF, ("frames", 1), [], "frames[1]: expected an object, got a list of 0"),
        (NERF, ("frames",), [], "frames: expected at least one camera, got a list of 0"),
        (NERF, ("frames",), {}, "frames: expected at least one camera, got an object with nothing"),
    ],
)
def test_damage_is_named_by_its_path(content: Any, path: tuple[str | int, ...], value: Any, message: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_cameras(set_at(content, path, value), "file.json")
    assert str(caught.value).startswith("file.json: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON"),
        ('[{"width": 1,\n}]', "line 2, column 1: not JSON"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON"),
        ("[]", "cameras: expected at least one camera"),
        ("{}", "expected a list of cameras with world_to_camera, a 3DGS cameras.json or a nerfstudio transforms.json"),
        ("3", "expected a list of cameras"),
        ('"\\ud800"', "expected a list of cameras"),
    ],
)
def test_files_that_are_no_camera_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        read_cameras(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(LensError, match=r"gone\.json: no such camera file"):
        read_cameras(tmp_path / "gone.json")
    with pytest.raises(LensError, match="cannot read"):
        read_cameras(tmp_path)
    (tmp_path / "binary.json").write_bytes(bytes(range(256)))
    with pytest.raises(FormatError, match=r"binary\.json: "):
        read_cameras(tmp_path / "binary.json")


def test_rounded_rotations_become_exact() -> None:
    """Five decimals, as some exporters write: the pose is the nearest rotation, so that R^T inverts it."""
    content = [dict(c, rotation=np.round(c["rotation"], 5).tolist()) for c in TRAINED]
    got = parse_cameras(content, "c")
    assert_cameras(got, some_cameras(2), atol=1e-4)
    for camera in got:
        r = camera.world_to_camera[:3, :3]
        np.testing.assert_allclose(r @ r.T, np.eye(3), atol=1e-14)


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}))


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(st.sampled_from([OWN, TRAINED, NERF]), st.data())
def test_any_value_replaced(content: Any, data: st.DataObject) -> None:
    """Whatever stands where a value should: cameras, or a LensError of one line."""
    path: list[str | int] = []
    at = content
    while isinstance(at, dict | list) and at and (not path or data.draw(st.booleans() | st.just(True))):
        key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else range(len(at))))
        path.append(key)
        at = at[key]
    try:
        cameras = parse_cameras(set_at(content, tuple(path), data.draw(scalars)), "file.json")
    except LensError as error:
        assert str(error).startswith("file.json: ")
        assert str(error).isprintable()
    else:
        assert all(np.isfinite(c.world_to_camera).all() and c.fx > 0 and c.width >= 1 for c in cameras)


@pytest.mark.data
def test_real_cameras(data_dir: Path) -> None:
    """The photos' cameras look at the plush toy: their axes meet, and the SfM points are seen."""
    cameras = read_cameras(data_dir / "plush_photos/cameras.json")
    assert len(cameras) == 97
    assert {(c.width, c.height) for c in cameras} == {(495, 371)}
    with (data_dir / "plush_photos/input.ply").open("rb") as file:
        body = file.read().split(b"end_header\n", 1)[1]
    row = np.dtype([("p", "<f4", 3), ("n", "<f4", 3), ("c", "u1", 3)])
    points = np.frombuffer(body, row)["p"].astype(np.float64)
    seen = []
    for c in cameras:
        x, y, z = c.world_to_camera[:3, :3] @ points.T + c.world_to_camera[:3, 3:]
        u, v = c.fx * x / z + c.cx, c.fy * y / z + c.cy
        seen.append(np.mean((z > 0) & (u >= 0) & (u < c.width) & (v >= 0) & (v < c.height)))
    assert np.mean(seen) > 0.3
