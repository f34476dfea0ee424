"""The cut: which clusters of the LOD trees a view draws within a budget of splats. static/lod.js is its twin, id by id.

Only + - x / and sqrt in float64, in the same order as the twin: JavaScript's hypot and log differ from NumPy's.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.tree import Tree

#: Pixels by which the frustum is widened: the 0.3 px^2 dilation draws k sqrt(0.3) = 2.1 pixels past a splat's extent.
FRUSTUM_MARGIN = 4.0


class Nodes(Protocol):
    """What the cut knows of one layer's C clusters, in layer coordinates: a Tree, or the nodes read from a .lens file.

    sphere (C, 4), error (C,), support (C, 2, 3) float64; child_first, child_count, count (C,) integers.
    """

    @property
    def sphere(self) -> NDArray[np.float64]: ...
    @property
    def error(self) -> NDArray[np.float64]: ...
    @property
    def support(self) -> NDArray[np.float64]: ...
    @property
    def child_first(self) -> NDArray[Any]: ...
    @property
    def child_count(self) -> NDArray[Any]: ...
    @property
    def count(self) -> NDArray[Any]: ...


@dataclass(frozen=True)
class CutView:
    """A camera in a layer's coordinates.

    matrix (3, 4): layer to camera, affine. scale: its largest stretch of a layer axis. focal: pixels. near: camera
    units.
    planes (5, 4): left, right, top, bottom, near in layer coordinates; inside where a x + b y + c z + d >= 0.
    """

    matrix: NDArray[np.float64]
    scale: float
    focal: float
    near: float
    planes: NDArray[np.float64]

    @staticmethod
    def of_camera(camera: Camera, near: float = 0.01, layer_to_world: NDArray[np.float64] | None = None) -> CutView:
        """The view of a layer placed by the (4, 4) `layer_to_world` (None: not moved)."""
        m = camera.world_to_camera[:3].astype(np.float64)
        if layer_to_world is not None:
            t = layer_to_world
            m = np.array(
                [
                    [row[0] * t[0, k] + row[1] * t[1, k] + row[2] * t[2, k] + row[3] * t[3, k] for k in range(4)]
                    for row in m
                ]
            )
        e = FRUSTUM_MARGIN
        planes = np.stack(
            [
                camera.fx * m[0] + (camera.cx + e) * m[2],
                (camera.width - camera.cx + e) * m[2] - camera.fx * m[0],
                camera.fy * m[1] + (camera.cy + e) * m[2],
                (camera.height - camera.cy + e) * m[2] - camera.fy * m[1],
                m[2] - np.array([0.0, 0.0, 0.0, near]),
            ]
        )
        stretch = m[0, :3] * m[0, :3] + m[1, :3] * m[1, :3] + m[2, :3] * m[2, :3]
        return CutView(m, float(np.sqrt(stretch.max())), float(np.sqrt(camera.fx * camera.fy)), near, planes)


@dataclass(frozen=True)
class CutLayer:
    """One layer of a cut. resident (C,) bool: clusters whose splats may be drawn now; None: all."""

    nodes: Nodes
    view: CutView
    resident: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Cut:
    """clusters: ids to draw for each layer, ascending. splats: how many those hold. wanted: (layer, cluster) whose
    children would have been next but are not resident, most wanted first; cluster -1 stands for a layer's missing
    root."""

    clusters: list[NDArray[np.int64]]
    splats: int
    wanted: list[tuple[int, int]]


def visible(nodes: Nodes, view: CutView) -> NDArray[np.bool_]:
    """(C,) whether the support box of a cluster reaches into the frustum (conservative)."""
    low, high = nodes.support[:, 0], nodes.support[:, 1]
    inside = np.ones(len(low), np.bool_)
    for p in view.planes:
        x, y, z = (p[k] * (high if p[k] > 0 else low)[:, k] for k in range(3))
        inside &= x + y + z + p[3] >= 0
    return inside


def priorities(nodes: Nodes, view: CutView) -> NDArray[np.float64]:
    """(C,) projected error in pixels: error x focal / distance to the sphere, which is floored at the near plane."""
    m = view.matrix
    x, y, z = nodes.sphere[:, 0], nodes.sphere[:, 1], nodes.sphere[:, 2]
    a = m[0, 0] * x + m[0, 1] * y + m[0, 2] * z + m[0, 3]
    b = m[1, 0] * x + m[1, 1] * y + m[1, 2] * z + m[1, 3]
    c = m[2, 0] * x + m[2, 1] * y + m[2, 2] * z + m[2, 3]
    distance = np.sqrt(a * a + b * b + c * c) - nodes.sphere[:, 3] * view.scale
    return np.asarray(nodes.error * view.scale * view.focal / np.maximum(distance, view.near))


def cut(layers: Sequence[CutLayer], budget: float, threshold: float = 0.0) -> Cut:
    """The clusters to draw: from the roots, the drawn cluster of the highest priority is replaced by its children, as
    long as at most `budget` splats are drawn and its priority is at least `threshold` pixels. Ties go to the lower
    (layer, cluster).

    Children out of sight are not drawn and cost nothing. A cluster whose children do not fit into the budget stays, and
    smaller ones after it may still be refined. A cluster is refined only if all its children are resident. The roots
    are drawn whatever the budget.
    """
    seen = [visible(layer.nodes, layer.view) for layer in layers]
    order = [priorities(layer.nodes, layer.view) for layer in layers]
    drawn: list[set[int]] = [set() for _ in layers]
    wanted: list[tuple[int, int]] = []
    heap: list[tuple[float, int, int]] = []
    splats = 0
    for k, layer in enumerate(layers):
        if not len(layer.nodes.error) or (layer.resident is not None and not layer.resident[0]):
            wanted.append((k, -1))
        elif seen[k][0]:
            drawn[k].add(0)
            splats += int(layer.nodes.count[0])
            if layer.nodes.child_count[0]:
                heap.append((-float(order[k][0]), k, 0))
    heapq.heapify(heap)
    while heap:
        negative, k, i = heapq.heappop(heap)
        if not -negative >= threshold:
            break
        layer = layers[k]
        first = int(layer.nodes.child_first[i])
        last = first + int(layer.nodes.child_count[i])
        if layer.resident is not None and not layer.resident[first:last].all():
            wanted.append((k, i))
            continue
        kids = [c for c in range(first, last) if seen[k][c]]
        total = splats - int(layer.nodes.count[i]) + sum(int(layer.nodes.count[c]) for c in kids)
        if total > budget and total > splats:
            continue
        splats = total
        drawn[k].remove(i)
        for c in kids:
            drawn[k].add(c)
            if layer.nodes.child_count[c]:
                heapq.heappush(heap, (-float(order[k][c]), k, c))
    return Cut([np.array(sorted(d), np.int64) for d in drawn], splats, wanted)


def rows_of(tree: Tree, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
    """The rows of `tree.splats` that the given clusters hold, cluster after cluster."""
    parts = [np.arange(tree.first[c], tree.first[c] + tree.count[c]) for c in clusters]
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)
