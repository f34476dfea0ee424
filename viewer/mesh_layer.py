"""A mesh layer on its way into a picture: which nodes a camera needs, and their words in one pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.assemble_mesh import MeshDraws
from splatlens.viewer.camera import Camera
from splatlens.viewer.lod import CutLayer, CutView, cut
from splatlens.viewer.mesh import MeshTree, pack_surface


@dataclass(frozen=True)
class MeshLayer:
    """A mesh placed in the scene. transform: (4, 4) world-from-layer."""

    mesh: MeshTree
    transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))


def choose_nodes(
    layers: Sequence[MeshLayer], camera: Camera, near: float, threshold: float, words: float = np.inf
) -> list[NDArray[np.int64]]:
    """The nodes of each layer that a camera sees, ascending.

    threshold: pixels of error below which nothing is refined; 0 for full detail. It is raised where the nodes would
    take more than `words` u32: coarser rather than nothing.
    """
    views = [CutLayer(m.mesh.nodes, CutView.of_camera(camera, near, m.transform)) for m in layers]
    while True:
        chosen = cut(views, np.inf, threshold).clusters
        took = sum(int(m.mesh.nodes.words[c].sum()) for m, c in zip(layers, chosen, strict=True))
        if took <= words or all(not c.any() for c in chosen):  # the roots stand for all that is below
            return chosen
        threshold = max(2 * threshold, 0.25)


def pack_nodes(
    layers: Sequence[MeshLayer], chosen: Sequence[NDArray[np.int64]]
) -> tuple[list[MeshDraws], NDArray[np.uint32]]:
    """What a frame draws of each layer, and the pool with the words of all its nodes."""
    draws, words, at = [], [], 0
    for layer, nodes in zip(layers, chosen, strict=True):
        surfaces = [layer.mesh.surfaces[int(n)] for n in nodes]
        packed = [pack_surface(s) for s in surfaces]
        starts = at + np.cumsum([0, *map(len, packed)])
        sizes = [(0, 0) if s.texels is None else s.texels.shape[1::-1] for s in surfaces]
        vertices = np.array([len(s.positions) for s in surfaces], np.int64)
        triangles = np.array([len(s.triangles) for s in surfaces], np.int64)
        size = np.array(sizes, np.int64).reshape(-1, 2)
        draws.append(MeshDraws(layer.transform, layer.mesh.look, starts[:-1], vertices, triangles, size))
        words += packed
        at = int(starts[-1])
    return draws, np.concatenate([np.zeros(0, np.uint32), *words])
