"""The node hierarchy of a glTF asset: which meshes and cameras stand where, and splats placed by their node."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_file import MOST_ITEMS, Container
from splatlens.converters.transform import TOLERANCE, similarity, transformed, turn_sh
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.splats import Splats, rotation_matrices

F64 = NDArray[np.float64]

#: Pixels of a camera's height: glTF has an angle and an aspect ratio only.
CAMERA_HEIGHT = 1080
#: (4, 4) between OpenCV cameras (x right, y down, z forward) and glTF cameras (looking along -z, y up).
CAMERA_TURN = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Placed:
    """A node with its world matrix (4, 4)."""

    node: Field
    matrix: F64


def placed_nodes(container: Container) -> Iterator[Placed]:
    """Nodes with a mesh or a camera, in the order of `all_nodes`."""
    return (one for one in all_nodes(container).values() if one.node.has("mesh") or one.node.has("camera"))


def all_nodes(container: Container) -> dict[int, Placed]:
    """Nodes by number, depth first, of the default scene; of scene 0, else of all roots, where there is none (glTF 2.0
    section 3.5.1). Raises FormatError for a cycle or a node with two parents (section 3.5.2)."""
    found: dict[int, Placed] = {}
    nodes, scenes = container.items("nodes"), container.items("scenes")
    children = {n: _numbers(f, "children", len(nodes)) for n, f in enumerate(nodes) if f.has("children")}
    if scenes:
        scene = container.item("scenes", container.json.member("scene")) if container.json.has("scene") else scenes[0]
        roots = _numbers(scene, "nodes", len(nodes)) if scene.has("nodes") else []
    else:
        below = {n for numbers in children.values() for n in numbers}
        roots = [n for n in range(len(nodes)) if n not in below]
    # The last of the list is next: children before the other roots, in their order.
    todo = [(n, np.eye(4)) for n in reversed(roots)]
    while todo:
        n, above = todo.pop()
        if n in found:
            why = f"{nodes[n].path.removeprefix('glTF.')} is reached twice: nodes form trees"
            raise FormatError(f"{container.path}: {why}; export it again")
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = above @ _local(nodes[n])
        found[n] = Placed(nodes[n], matrix)
        todo += [(child, matrix) for child in reversed(children.get(n, []))]
    return found


def _numbers(owner: Field, key: str, count: int) -> list[int]:
    return [f.integer(0, count - 1) for f in owner.member(key).items(1, MOST_ITEMS)]


def _local(node: Field) -> F64:
    """(4, 4) of a node: `matrix`, column by column, or translation, rotation (xyzw) and scale (section 3.5.3)."""
    if node.has("matrix"):
        return np.array(node.member("matrix").numbers(16)).reshape(4, 4).T
    matrix = np.eye(4)
    if node.has("rotation"):
        q = np.array(node.member("rotation").numbers(4))
        if not 0.9 < np.linalg.norm(q) < 1.1:
            node.member("rotation").fail("a unit quaternion x, y, z, w")
        matrix[:3, :3] = rotation_matrices(np.roll(q / np.linalg.norm(q), 1)[None])[0]
    if node.has("scale"):
        matrix[:3, :3] *= node.member("scale").numbers(3)
    if node.has("translation"):
        matrix[:3, 3] = node.member("translation").numbers(3)
    return matrix


def place(splats: Splats, matrix: F64) -> Splats:
    """Splats moved by a world matrix (4, 4), SH turned with it.

    Besides similarities, scales that differ along the axes, as KHR_gaussian_splatting asks ("Dependencies on glTF"):
    the covariance is M C C^T M^T, whose axes and lengths are the left singular vectors and singular values of M C;
    SH turn by the rotation of M. Raises LensError for shear, and for uneven scales that mirror.
    """
    if np.array_equal(matrix, np.eye(4)):
        return splats
    lengths, turn = decomposed(matrix)
    if lengths.max() - lengths.min() <= TOLERANCE * lengths.max():
        even = matrix.copy()
        even[:3, :3] = turn * lengths.mean()
        return transformed(splats, even)
    linear = matrix[:3, :3]
    means = splats.means.astype(np.float64) @ linear.T + matrix[:3, 3]
    inner = rotation_matrices(splats.quats.astype(np.float64)) * splats.scales[:, None]
    axes, scales, _ = np.linalg.svd(linear @ inner)
    axes *= np.linalg.det(axes)[:, None, None]  # proper rotations, which LAPACK does not promise
    narrow = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    return Splats(means.astype(np.float32), _quats_of(axes), narrow, splats.opacities, turn_sh(splats.sh, turn))


def decomposed(matrix: F64) -> tuple[F64, F64]:
    """Scale along each axis (3,) and rotation (3, 3), possibly a mirror image, of an affine (4, 4) matrix.

    Raises LensError where there is none: the columns must be square to each other.
    """
    linear = matrix[:3, :3]
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(linear, axis=0)
        turn = linear / lengths
        fine = np.isfinite(matrix).all() and np.isfinite(turn).all() and np.array_equal(matrix[3], (0, 0, 0, 1))
        fine = fine and np.abs(turn.T @ turn - np.eye(3)).max() < 1e-4
    uneven = bool(fine) and lengths.max() - lengths.min() > TOLERANCE * lengths.max()
    if not fine or (uneven and np.linalg.det(turn) < 0):
        raise LensError("its world matrix shears, flattens or mirrors unevenly, which splats cannot follow")
    u, _, vt = np.linalg.svd(turn)
    turn, whole = u @ vt, np.round(turn)
    return lengths, whole if np.abs(turn - whole).max() < 1e-12 else turn  # quarter turns are exact


def _quats_of(axes: F64) -> NDArray[np.float32]:
    """(N, 4) wxyz of rotations (N, 3, 3): of the four products with a component, the largest (Shepperd 1978)."""
    xx, yy, zz = axes[:, 0, 0], axes[:, 1, 1], axes[:, 2, 2]
    xy, xz, yz = (axes[:, i, j] + axes[:, j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
    wx, wy, wz = (axes[:, i, j] - axes[:, j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    rows = np.stack([
        np.stack([1 + xx + yy + zz, wx, wy, wz], axis=1), np.stack([wx, 1 + xx - yy - zz, xy, xz], axis=1),
        np.stack([wy, xy, 1 - xx + yy - zz, yz], axis=1), np.stack([wz, xz, yz, 1 - xx - yy + zz], axis=1),
    ], axis=1)  # fmt: skip
    best = np.einsum("nii->ni", rows).argmax(axis=1)
    quats = rows[np.arange(len(rows)), best]
    return np.asarray(quats / np.linalg.norm(quats, axis=1, keepdims=True), np.float32)


def read_camera(container: Container, placed: Placed, frame: F64) -> Camera | None:
    """The perspective camera of a node in scene coordinates, which `frame` (4, 4) makes of glTF's; else None."""
    camera = container.item("cameras", placed.node.member("camera"))
    if camera.member("type").value != "perspective":
        return None
    lens = camera.member("perspective")
    angle = lens.member("yfov").number(1e-3, math.pi)
    aspect = lens.member("aspectRatio").number(1e-2, 1e2) if lens.has("aspectRatio") else 16 / 9
    try:
        turn = decomposed(placed.matrix)[1]
    except LensError:
        return None
    pose = np.eye(4)
    pose[:3, :3] = turn * np.linalg.det(turn)
    pose[:3, 3] = placed.matrix[:3, 3]
    pose = frame @ pose
    world_to_camera = CAMERA_TURN @ np.linalg.inv(pose)
    width, height = max(1, round(CAMERA_HEIGHT * aspect)), CAMERA_HEIGHT
    focal = height / (2 * math.tan(min(angle, 3.1) / 2))
    return Camera(width, height, focal, focal, width / 2, height / 2, world_to_camera)


def camera_node(camera: Camera, frame: F64) -> dict[str, list[float]]:
    """translation and rotation (xyzw) of a node for a camera; `frame` (4, 4) makes glTF's coordinates of the scene's.

    A turn of -1 in `frame` is no matter: it is a rotation.
    """
    pose = frame @ np.linalg.inv(camera.world_to_camera) @ CAMERA_TURN
    turn = similarity(pose)[1]
    w, x, y, z = (float(v) for v in _quats_of(turn[None])[0])
    return {"translation": [float(v) for v in pose[:3, 3]], "rotation": [x, y, z, w]}
