"""Texture coordinates that leave their image: triangles split where it repeats, so that each lies in one copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import UnsupportedError

F64 = NDArray[np.float64]

#: What becomes of coordinates outside 0..1 (glTF 2.0 section 5.26): each is one of these, across and down.
REPEAT, MIRROR, CLAMP = "repeat", "mirror", "clamp"
#: Most triangles that splitting may make of a mesh.
MOST_TRIANGLES = 4_000_000
#: Texels that coordinates may reach over the edge of a copy and are moved back instead: exporters round.
SLACK = 0.25


@dataclass(frozen=True)
class Charts:
    """positions (V, 3) float32, uvs (V, 2) float32, all in 0..1, triangles (T, 3) int32."""

    positions: NDArray[np.float32]
    uvs: NDArray[np.float32]
    triangles: NDArray[np.int32]


def into_image(
    positions: NDArray[np.float32],
    uvs: NDArray[np.floating],
    triangles: NDArray[np.int32],
    wrap: tuple[str, str],
    size: tuple[int, int],
) -> Charts:
    """Coordinates (V, 2), finite, of an image of `size` (width, height) texels, moved into 0..1.

    Triangles over an edge between copies are cut there; new corners on an edge that two triangles share are the same
    for both. At such cuts a linear filter sees the image's own edge, not the next copy. Raises UnsupportedError where
    the image repeats too often.
    """
    slack = SLACK / np.array(size, np.float64)
    if len(uvs) == 0 or (uvs.min() >= 0 and uvs.max() <= 1):
        return Charts(positions, uvs.astype(np.float32), triangles)
    corners = np.concatenate([positions[triangles], uvs[triangles]], axis=2).astype(np.float64)
    for axis in (0, 1):
        corners = _split(corners, 3 + axis, wrap[axis], float(slack[axis]))
        corners[:, :, 3 + axis] = _moved(corners[:, :, 3 + axis], wrap[axis])
    rows = corners.reshape(-1, 5).astype(np.float32) + np.float32(0)  # no negative zeros: rows are compared by bytes
    found, inverse = np.unique(rows.view("V20").ravel(), return_inverse=True)
    table = found.view(np.float32).reshape(-1, 5)
    return Charts(
        np.ascontiguousarray(table[:, :3]), np.ascontiguousarray(table[:, 3:]),
        inverse.reshape(-1, 3).astype(np.int32),
    )  # fmt: skip


def _split(corners: F64, column: int, wrap: str, slack: float) -> F64:
    """Triangles (T, 3, 5) cut at every whole number of a coordinate; CLAMP: at 0 and 1 only."""
    if wrap == CLAMP:
        spans = np.ones(len(corners))
    else:
        spans = np.ceil(corners[:, :, column].max(axis=1)) - np.floor(corners[:, :, column].min(axis=1))
    if not (total := float(np.maximum(spans, 1).sum())) <= MOST_TRIANGLES:
        why = f"its texture repeats about {total:.3g} times over its triangles, at most {MOST_TRIANGLES} are drawn"
        raise UnsupportedError(f"{why}; repeat it in the texture instead")
    while True:
        low, high = corners[:, :, column].min(axis=1), corners[:, :, column].max(axis=1)
        # The line nearest to the middle that leaves more than the slack on both sides.
        line = np.round((low + high) / 2)
        if wrap == CLAMP:
            line = np.where(high > 1 + slack, np.where(low < 1 - slack, 1.0, 0.0), 0.0)
        for other in (-1, 1) if wrap != CLAMP else ():
            near = (line - low <= slack) if other == 1 else (high - line <= slack)
            line = np.where(near, line + other, line)
        cut = (line - low > slack) & (high - line > slack)
        if not cut.any():
            return corners
        corners = np.concatenate([corners[~cut], _cut(corners[cut], column, line[cut])])
        if len(corners) > MOST_TRIANGLES:
            raise UnsupportedError(f"its texture repeats so often that it takes more than {MOST_TRIANGLES} triangles")


def _cut(corners: F64, column: int, line: F64) -> F64:
    """Triangles (T, 3, 5) that a line crosses, in two or three pieces each, turned as they were."""
    side = np.sign(corners[:, :, column] - line[:, None])
    # The corner that is alone on its side comes first; with a corner on the line, one of the others.
    lone = np.argmax(side == -np.sign(side.sum(axis=1))[:, None], axis=1)
    on = (side == 0).any(axis=1)
    lone = np.where(on, (np.argmax(side == 0, axis=1) + 1) % 3, lone)
    turned = np.take_along_axis(corners, ((lone[:, None] + np.arange(3)) % 3)[:, :, None], axis=1)
    a, b, c = turned[:, 0], turned[:, 1], turned[:, 2]
    # With a corner on the line, which is c then, only the edge from a to b is crossed.
    ab, ac = _between(a, b, column, line), _between(a, c, column, line)
    tip = np.stack([a, ab, np.where(on[:, None], c, ac)], axis=1)
    low = np.stack([ab, b, c], axis=1)
    extra = np.stack([ab, c, ac], axis=1)[~on]
    return np.concatenate([tip, low, extra])


def _between(a: F64, b: F64, column: int, line: F64) -> F64:
    """Where edges cross a line: the same for either direction, so that neighbours meet."""
    swap, decided = np.zeros(len(a), bool), np.zeros(len(a), bool)
    for k in range(a.shape[1]):
        swap |= ~decided & (a[:, k] > b[:, k])
        decided |= a[:, k] != b[:, k]
    first, last = np.where(swap[:, None], b, a), np.where(swap[:, None], a, b)
    length = last[:, column] - first[:, column]
    share = (line - first[:, column]) / np.where(length == 0, 1, length)
    made = first + share[:, None] * (last - first)
    made[:, column] = line
    return np.asarray(made)


def _moved(values: F64, wrap: str) -> F64:
    """Coordinates (T, 3) of triangles that each lie in one copy, in 0..1."""
    if wrap == CLAMP:
        return np.clip(values, 0, 1)
    copy = np.floor((values.min(axis=1) + values.max(axis=1)) / 2)[:, None]
    inside = np.clip(values - copy, 0, 1)
    return np.asarray(np.where(copy % 2 == 1, 1 - inside, inside) if wrap == MIRROR else inside)
