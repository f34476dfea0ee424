"""Clips of a rig as frames: keys interpolated, the skeleton posed, and each joint's skinning matrix at every frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.avatar_rig import PATHS, Channel, Clip, Rig

F64 = NDArray[np.float64]

#: Frames a second: what a clip's own keys have, within these, and twice or four times as many for fast movements.
LEAST_RATE, MOST_RATE, FINER = 10.0, 60.0, (1, 2, 4)
#: Fast are those where the mean of two frames' matrices puts a vertex more than this share of the figure's size beside
#: where it is between the two.
MIXED = 1e-3
#: Most frames of a clip.
MOST_FRAMES = 1 << 16
#: A clip whose last pose is its first starts again: no vertex more than this share of the figure's size away.
CLOSED = 0.01


@dataclass(frozen=True)
class Frames:
    """A sampled clip. matrices (F, J, 3, 4): rest to posed, by joint; weights (F, T) of the morph targets, or None.

    loop: whether its end meets its start; then the last frame is followed by the first.
    """

    name: str
    duration: float
    matrices: F64
    weights: F64 | None
    loop: bool


def skinning(rig: Rig, pose: dict[tuple[int, str], F64], count: int) -> F64:
    """(F, J, 3, 4) matrices from rest to posed: joint's world matrix times inverse bind (glTF 2.0, section 3.7.3).

    pose: (F, C) by node and path; what it lacks stays as it is at rest.
    """
    s = rig.skeleton
    made: dict[int, F64] = {}
    for joint in rig.joint_nodes:
        chain = [int(joint)]
        while chain[-1] not in made and s.parents[chain[-1]] >= 0:
            chain.append(int(s.parents[chain[-1]]))
        for node in reversed(chain):
            if node not in made:
                parent = int(s.parents[node])
                local = _local(rig, node, pose, count)
                made[node] = made[parent] @ local if parent >= 0 else local
    worlds = np.stack([made[int(n)] for n in rig.joint_nodes], axis=1)
    return np.asarray((worlds @ rig.inverse_binds)[:, :, :3])


def rest(rig: Rig) -> F64:
    """(J, 3, 4) matrices with no clip playing."""
    return np.asarray(skinning(rig, {}, 1)[0])


def sampled(rig: Rig, clip: Clip) -> Frames:
    """A clip at its keys' own rate, or finer where mixing frames linearly would show."""
    duration = clip.duration
    steps = np.concatenate([np.diff(c.times) for c in clip.channels if len(c.times) > 2] or [np.array([1 / 30])])
    rate = float(np.clip(1 / np.median(steps), LEAST_RATE, MOST_RATE))
    size = float(np.linalg.norm(np.ptp(rig.positions, axis=0))) or 1.0
    corners = _corners(rig)
    off = np.inf
    for factor in FINER:
        finer = max(1, min(round(duration * rate) * factor, MOST_FRAMES))
        # Every frame, and what is between each two.
        both, shapes = posed(rig, clip, np.arange(2 * finer + 1) * duration / (2 * finer))
        apart = _apart(both[1::2] - (both[:-1:2] + both[2::2]) / 2, corners)
        if apart > off / 2:  # a jump stays one
            break
        count, off, matrices, weights = finer, apart, both[::2], None if shapes is None else shapes[::2]
        if off <= MIXED * size:
            break
    loop = _apart((matrices[-1] - matrices[0])[None], corners) <= CLOSED * size
    if loop and weights is not None:
        loop = bool(np.abs(weights[-1] - weights[0]).max() <= CLOSED)
    last = count if loop else count + 1
    return Frames(clip.name, duration, matrices[:last], None if weights is None else weights[:last], loop)


def _corners(rig: Rig) -> F64:
    """(J, 4, 8) homogeneous corners of the box of the vertices that a joint moves; zeros for those that move none."""
    corners = np.zeros((len(rig.joint_nodes), 4, 8))
    pick = np.indices((2, 2, 2)).reshape(3, 8)
    for joint in np.unique(rig.joints[rig.weights > 0]):
        mine = rig.positions[((rig.joints == joint) & (rig.weights > 0)).any(axis=1)]
        box = np.stack([mine.min(axis=0), mine.max(axis=0)]).astype(np.float64)
        corners[joint, :3], corners[joint, 3] = box[pick, np.arange(3)[:, None]], 1
    return corners


def _apart(matrices: F64, corners: F64) -> float:
    """How far at most differences of matrices (F, J, 3, 4) put a vertex: farthest at a corner of its joint's box."""
    return float(np.linalg.norm(matrices @ corners, axis=2).max())


def posed(rig: Rig, clip: Clip, times: F64) -> tuple[F64, F64 | None]:
    """Matrices (F, J, 3, 4) and weights (F, T), or None, of a clip at any times, seconds."""
    pose = {(c.node, c.path): values_at(c, times) for c in clip.channels}
    weights = pose.pop((rig.mesh_node, "weights"), None)
    return skinning(rig, pose, len(times)), weights


def values_at(channel: Channel, times: F64) -> F64:
    """(F, C) of a channel; before its first key and after its last those hold (glTF 2.0, section 3.11, appendix C)."""
    keys, values = channel.times, channel.values
    clamped = np.clip(times, keys[0], keys[-1])
    low = np.clip(np.searchsorted(keys, clamped, side="right") - 1, 0, max(len(keys) - 2, 0))
    high = np.minimum(low + 1, len(keys) - 1)
    step = np.where(high > low, keys[high] - keys[low], 1.0)
    u = ((clamped - keys[low]) / step)[:, None]
    turn = channel.path == "rotation"
    if channel.interpolation == "STEP":
        made = np.where(u >= 1, values[high], values[low])
    elif channel.interpolation == "CUBICSPLINE":
        h = step[:, None]
        uu, uuu = u * u, u * u * u
        made = (2 * uuu - 3 * uu + 1) * values[low, 1] + h * (uuu - 2 * uu + u) * values[low, 2]
        made = made + (3 * uu - 2 * uuu) * values[high, 1] + h * (uuu - uu) * values[high, 0]
    elif turn:
        made = _slerp(values[low], values[high], u)
    else:
        made = values[low] + (values[high] - values[low]) * u
    return made / np.linalg.norm(made, axis=1, keepdims=True) if turn else made


def _slerp(a: F64, b: F64, u: F64) -> F64:
    """Along the shorter arc; nearly equal ones are mixed linearly, where the two agree to 1e-9."""
    dot = np.sum(a * b, axis=1, keepdims=True)
    b = np.where(dot < 0, -b, b)
    angle = np.arccos(np.clip(np.abs(dot), 0, 1))
    sine = np.sin(angle)
    small = sine < 1e-4
    safe = np.where(small, 1.0, sine)
    first = np.where(small, 1 - u, np.sin((1 - u) * angle) / safe)
    second = np.where(small, u, np.sin(u * angle) / safe)
    return np.asarray(first * a + second * b)


def _local(rig: Rig, node: int, pose: dict[tuple[int, str], F64], count: int) -> F64:
    """(F, 4, 4) of a node in its parent's coordinates (section 3.5.3)."""
    s = rig.skeleton
    if node in s.matrices:
        return np.tile(s.matrices[node], (count, 1, 1))
    at_rest = dict(zip(PATHS, (s.translations[node], s.rotations[node], s.scales[node]), strict=True))
    t, r, k = (pose.get((node, path), np.tile(at_rest[path], (count, 1))) for path in PATHS)
    x, y, z, w = (r / np.linalg.norm(r, axis=1, keepdims=True)).T
    out = np.zeros((count, 4, 4))
    out[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], axis=1)
    out[:, 1, :3] = np.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], axis=1)
    out[:, 2, :3] = np.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], axis=1)
    out[:, :3, :3] *= k[:, None]
    out[:, :3, 3] = t
    out[:, 3, 3] = 1
    return out
