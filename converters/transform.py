"""Moves, turns and scales splats, SH included; and reads such a transform from text."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

F64 = NDArray[np.float64]

#: (4, 4) between right-down-forward (3DGS, COLMAP) and right-up-back (glTF, SPZ): half a turn about x, its own inverse.
TURN_X = np.diag([1.0, -1.0, -1.0, 1.0])
#: How far M^T M may be from a multiple of the identity, relative.
TOLERANCE = 1e-5
_WORDS = "move=x,y,z, rotate=x,y,z (degrees), scale=factor or matrix=16 numbers (row by row)"


def similarity(matrix: F64) -> tuple[float, F64]:
    """(scale, orthogonal (3, 3)) of an affine (4, 4) matrix. Raises LensError where it shears or scales unevenly."""
    m = np.asarray(matrix, np.float64)
    linear = m[:3, :3]
    gram = linear.T @ linear
    scale2 = float(np.trace(gram)) / 3
    affine = m.shape == (4, 4) and np.isfinite(m).all() and np.array_equal(m[3], (0, 0, 0, 1))
    if not affine or not 0 < scale2 < np.inf or np.abs(gram - scale2 * np.eye(3)).max() > TOLERANCE * scale2:
        why = "splats can be moved, turned, mirrored and evenly scaled; this matrix does something else"
        raise LensError(f"transform: {why}; write a .lens, whose layers take any matrix, or leave out the uneven scale")
    # The nearest orthogonal matrix, so that the rounding of a matrix written as text does not grow.
    u, _, vt = np.linalg.svd(linear)
    return float(np.sqrt(scale2)), u @ vt


def transformed(splats: Splats, matrix: F64) -> Splats:
    """The splats as they are after `matrix` (4, 4), new from old coordinates: a similarity, mirror images included.

    The picture from a camera moved along is the same. Raises LensError for other matrices.
    """
    scale, turn = similarity(matrix)
    means = splats.means.astype(np.float64) @ np.asarray(matrix, np.float64)[:3, :3].T + matrix[:3, 3]
    # An ellipsoid looks the same through the point reflection -1: a mirror image needs the proper rotation only.
    quats = _turn_quats(splats.quats, turn * np.linalg.det(turn))
    with np.errstate(over="ignore"):
        scales = np.maximum(splats.scales * np.float32(scale), np.finfo(np.float32).tiny)
    return Splats(means.astype(np.float32), quats, scales, splats.opacities, turn_sh(splats.sh, turn))


def moved_camera(camera: Camera, matrix: F64) -> Camera:
    """The camera that sees the world after `matrix`, a similarity that is no mirror image, as it saw it before."""
    scale, _ = similarity(matrix)
    view = camera.world_to_camera @ np.linalg.inv(matrix)
    view[:3] *= scale  # its own axes keep their length: depths grow with the world
    return replace(camera, world_to_camera=view)


def turn_sh(sh: NDArray[np.float32], turn: F64) -> NDArray[np.float32]:
    """SH (N, K, 3) of the function d -> f(turn^-1 d); turn: orthogonal (3, 3)."""
    out = sh.copy()
    for degree, block in enumerate(_sh_blocks(turn.tobytes()), start=1):
        rows = slice(degree * degree, (degree + 1) ** 2)
        if rows.stop <= sh.shape[1] and np.array_equal(np.abs(block), np.eye(len(block))):
            out[:, rows] *= np.diag(block).astype(np.float32)[:, None]  # axis flips between formats' frames: signs
        elif rows.stop <= sh.shape[1]:
            band = sh[:, rows].transpose(0, 2, 1).reshape(3 * len(sh), len(block))  # one product, not N small ones
            out[:, rows] = (band @ block.T).reshape(len(sh), 3, len(block)).transpose(0, 2, 1)
    return out


@lru_cache(maxsize=8)
def _sh_blocks(turn: bytes) -> tuple[F64, ...]:
    """(2 l + 1)^2 matrices for l = 1 to 3: each band of real SH is closed under rotation (Ramamoorthi, Hanrahan 2001).

    Solved from values at fixed directions; entries within rounding of an integer are that integer, so that turns by
    quarters are exact.
    """
    q = np.frombuffer(turn).reshape(3, 3)
    directions = np.random.default_rng(0).normal(size=(64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    after, before = (sh_basis(d, SH_COEFFICIENTS[3]) for d in (directions, directions @ q))
    blocks = []
    for degree in (1, 2, 3):
        rows = slice(degree * degree, (degree + 1) ** 2)
        block = np.linalg.lstsq(after[:, rows], before[:, rows], rcond=None)[0]
        whole = np.round(block)
        blocks.append(np.where(np.abs(block - whole) < 1e-12, whole, block))
    return tuple(blocks)


def _turn_quats(quats: NDArray[np.float32], turn: F64) -> NDArray[np.float32]:
    """Quaternions (N, 4) wxyz turned by a proper rotation (3, 3)."""
    diagonal = np.diag(turn)
    if np.array_equal(np.abs(turn), np.eye(3)):
        # Axis flips: turning the axes' frame on both sides gives the same ellipsoid, without rounding.
        return quats * np.array([1, *diagonal], np.float32)
    w, x, y, z = quats.T.astype(np.float64)
    a, b, c, d = _quat_of(turn)
    out = np.stack([
        a * w - b * x - c * y - d * z, a * x + b * w + c * z - d * y,
        a * y - b * z + c * w + d * x, a * z + b * y - c * x + d * w,
    ], axis=1)  # fmt: skip
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), np.float32)


def _quat_of(turn: F64) -> F64:
    """(4,) wxyz of a proper rotation: the eigenvector of Bar-Itzhack's matrix (2000) with the largest eigenvalue."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn
    k = np.array([
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, yy - xx - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ])  # fmt: skip
    return np.asarray(np.linalg.eigh(k)[1][:, -1], np.float64)


def parse_transform(text: str) -> F64:
    """(4, 4) of words such as "rotate=0,90,0 scale=2 move=0,1,0", applied from left to right. Raises LensError.

    rotate: degrees about the fixed x axis, then y, then z.
    """
    matrix = np.eye(4)
    words = text.replace(";", " ").split()
    for word in words:
        name, _, value = word.partition("=")
        matrix = _step(text, name, _numbers(text, word, value)) @ matrix
    if not words:
        raise LensError(f"transform {text!r}: says nothing; expected {_WORDS}")
    if not np.isfinite(matrix).all() or not 1e-30 < abs(np.linalg.det(matrix[:3, :3])) < 1e30:
        raise LensError(f"transform {text!r}: cannot be inverted; expected {_WORDS}")
    return matrix


def _numbers(text: str, word: str, value: str) -> list[float]:
    try:
        return [float(number) for number in value.split(",")]
    except ValueError:
        raise LensError(f"transform {text!r}: cannot read {word!r}; expected {_WORDS}") from None


def _step(text: str, name: str, numbers: list[float]) -> F64:
    step = np.eye(4)
    match name, len(numbers):
        case "move", 3:
            step[:3, 3] = numbers
        case "scale", 1:
            step[:3, :3] *= numbers[0]
        case "rotate", 3:
            for axis, angle in enumerate(np.radians(numbers)):
                turn = np.eye(4)
                i, j = (axis + 1) % 3, (axis + 2) % 3
                turn[i, i] = turn[j, j] = np.cos(angle)
                turn[j, i] = np.sin(angle)
                turn[i, j] = -turn[j, i]
                step = turn @ step
            whole = np.round(step)
            step = np.where(np.abs(step - whole) < 1e-15, whole, step)  # quarter turns are exact
        case "matrix", 16:
            step = np.array(numbers).reshape(4, 4)
            if not np.array_equal(step[3], (0, 0, 0, 1)):
                raise LensError(f"transform {text!r}: the last row of matrix= must be 0,0,0,1")
        case _:
            raise LensError(f"transform {text!r}: {name!r} with {len(numbers)} numbers; expected {_WORDS}")
    return step
