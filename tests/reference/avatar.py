"""Float64 twin of an avatar's graph: blendshapes, linear blend skinning, and Gaussians that follow their vertices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def skinning_matrices(parents: list[int], locals_: F64, joints: list[int], inverse_binds: F64) -> F64:
    """(J, 4, 4) of joints: world matrix times inverse bind (glTF 2.0, section 3.7.3.3).

    locals_ (M, 4, 4): each node's matrix in its parent's coordinates.
    """

    def world(node: int) -> F64:
        return locals_[node] if parents[node] < 0 else world(parents[node]) @ locals_[node]

    return np.stack([world(j) @ b for j, b in zip(joints, inverse_binds, strict=True)])


def local_matrix(translation: F64, rotation: F64, scale: F64) -> F64:
    """(4, 4) of translation (3,), rotation (4,) x y z w, and scale (3,) (section 3.5.3): T R S."""
    x, y, z, w = rotation / np.linalg.norm(rotation)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    out = np.eye(4)
    out[:3, :3] = (np.eye(3) + 2 * w * cross + 2 * cross @ cross) @ np.diag(scale)
    out[:3, 3] = translation
    return out


def quaternion(turn: F64) -> F64:
    """w x y z of a rotation matrix, by its eigenvector form (Bar-Itzhack 2000), exact for every angle."""
    a, b, c = turn
    k = np.array([
        [a[0] - b[1] - c[2], b[0] + a[1], c[0] + a[2], c[1] - b[2]],
        [b[0] + a[1], b[1] - a[0] - c[2], c[1] + b[2], a[2] - c[0]],
        [c[0] + a[2], c[1] + b[2], c[2] - a[0] - b[1], b[0] - a[1]],
        [c[1] - b[2], a[2] - c[0], b[0] - a[1], a[0] + b[1] + c[2]],
    ]) / 3  # fmt: skip
    x, y, z, w = np.linalg.eigh(k)[1][:, 3]
    return np.array([w, x, y, z])


def avatar(
    positions: F64,
    targets: F64,
    weights: F64,
    joints: NDArray[np.int64],
    skin_weights: F64,
    matrices: F64,
    offsets: F64,
    quats: F64,
    scales: F64,
) -> tuple[F64, F64]:
    """Centres (N, 3) and covariances (N, 3, 3) of Gaussians i on vertices i, one by one.

    positions (N, 3), targets (T, N, 3), weights (T,); joints (N, K), skin_weights (N, K), matrices (J, 4, 4);
    offsets (N, 3), quats (N, 4) w x y z, scales (N, 3) of the Gaussians at rest.
    """
    means, covariances = np.empty((len(positions), 3)), np.empty((len(positions), 3, 3))
    for i in range(len(positions)):
        displaced = positions[i] + sum((w * t[i] for w, t in zip(weights, targets, strict=True)), np.zeros(3))
        mixed = sum((w * matrices[j] for j, w in zip(joints[i], skin_weights[i], strict=True)), np.zeros((4, 4)))
        means[i] = (mixed @ np.append(displaced + offsets[i], 1))[:3]
        turn = local_matrix(np.zeros(3), np.roll(quats[i], -1), np.ones(3))[:3, :3]
        rest = turn @ np.diag(scales[i] ** 2) @ turn.T
        covariances[i] = mixed[:3, :3] @ rest @ mixed[:3, :3].T
    return means, covariances
