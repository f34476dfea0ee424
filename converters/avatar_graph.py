"""The ONNX graph of an avatar: blendshapes, linear blend skinning, and Gaussians that follow their vertices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.avatar_files import Gaussians
from splatlens.converters.avatar_rig import Rig
from splatlens.converters.onnx_graph import Graph

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

#: Blocks of Gaussians that have the same morph targets. Of 51 expressions for 18,494 Gaussians one block has 11.3 MB,
#: 4 have 5.4, 16 have 3.2, 64 have 2.5, and the displacements that are not zero 2.1: 16 for 33 nodes.
BLOCKS = 16
#: The one output, and by meaning its first column and their number.
OUTPUT = "splats"
OUTPUTS = {
    "means": (OUTPUT, 0, 3), "covariances": (OUTPUT, 3, 6), "opacities": (OUTPUT, 9, 1), "colors": (OUTPUT, 10, 3)
}  # fmt: skip
WIDTH = 13
EXPRESSION, RECORDED, BONES = "expression", "recorded", "bones"


@dataclass(frozen=True)
class Block:
    """Gaussians (rows) that morph targets (targets) move, and no others."""

    targets: Ints
    rows: Ints


def blocks(active: Bools, most: int = BLOCKS) -> list[Block]:
    """Splits Gaussians into at most `most` blocks such that few displacements of zero are stored.

    active (T, N): which target moves which Gaussian. Gaussians moved by the same targets start as one block; then the
    two that add the fewest zeros become one (Ward's agglomeration with another cost), until there are few enough.
    """
    kinds, label = np.unique(active.T, axis=0, return_inverse=True)
    label = label.reshape(-1)
    has, size = kinds.astype(np.float64), np.bincount(label, minlength=len(kinds)).astype(np.float64)
    sums, alive, merged = has.sum(axis=1), np.ones(len(kinds), bool), np.arange(len(kinds))

    def added(i: int) -> F64:
        """Zeros that block i and each other would store in common."""
        union = sums + sums[i] - has @ has[i]
        cost = (size + size[i]) * union - size * sums - size[i] * sums[i]
        cost[~alive] = np.inf
        cost[i] = np.inf
        return np.asarray(cost)

    nearest, least = np.zeros(len(kinds), np.int64), np.full(len(kinds), np.inf)

    def look(i: int) -> F64:
        cost = added(i)
        nearest[i] = cost.argmin()
        least[i] = cost[nearest[i]]
        return cost

    for i in range(len(kinds)):
        look(i)
    for _ in range(len(kinds) - most):
        i = int(np.where(alive, least, np.inf).argmin())
        k = int(nearest[i])
        has[i], size[i], alive[k] = np.maximum(has[i], has[k]), size[i] + size[k], False
        sums[i] = has[i].sum()
        merged[merged == k] = i
        for other in np.flatnonzero(alive & ((nearest == k) | (nearest == i))):
            look(int(other))
        cost = look(i)
        closer = alive & (cost < least)
        nearest[closer], least[closer] = i, cost[closer]
    owner = merged[label]
    return [Block(np.flatnonzero(has[i]), np.flatnonzero(owner == i)) for i in np.flatnonzero(alive)]


@dataclass(frozen=True)
class Made:
    """A graph under construction, complete but for its contract. order (N,): the Gaussian that each row is."""

    graph: Graph
    order: Ints
    bones: Ints


def build(rig: Rig, gaussians: Gaussians, rest: F64, moves: bool, recorded: bool, bounds: tuple[float, float]) -> Made:
    """The graph. rest (J, 3, 4): matrices of the joints with no clip playing.

    Inputs: `expression` (T,), sliders, and `recorded` (T,), a track (where `recorded`): their sum within `bounds`
    weighs the morph targets; `bones` (B, 12), a track (where `moves`): what a clip adds to the matrices of the B joints
    that move anything, row-major 3 x 4; `bones` of the result names them.
    Output: `splats` (N, 13): centre M (v + d + o), covariance (M f)(M f)^T, opacity, colour, where v is the vertex, d
    its displacement, o the offset, f the factor of the Gaussian's own covariance and M the mix of the matrices of the
    vertex' joints: an affine map of the whole Gaussian, so that no rotation has to be taken out of M.
    """
    g = Graph("avatar")
    at = gaussians.vertices
    active = (rig.targets[:, at] != 0).any(axis=2)
    parts = blocks(active) if len(rig.targets) else [Block(np.zeros(0, np.int64), np.arange(len(at)))]
    order = np.concatenate([part.rows for part in parts])
    n = len(order)
    centre = _displaced(g, rig, gaussians, parts, recorded, bounds)
    weights = rig.weights[at[order]]
    columns = int((weights > 0).sum(axis=1).max())
    joints = rig.joints[at[order]][:, :columns]
    used, index = np.unique(np.where(weights[:, :columns] > 0, joints, joints[:, :1]), return_inverse=True)
    index = index.reshape(n, columns)
    bones = g.constant(rest[used].reshape(len(used), 12))
    if moves:
        bones = g.op("Add", g.input(BONES, (len(used), 12)), bones)
    skin = g.reshape(_mixed(g, bones, len(used), index, weights[:, :columns]), n, 3, 4)
    linear, move = g.columns(skin, 0, 3, axis=2), g.columns(skin, 3, 1, axis=2)
    body = g.op("Concat", gaussians.factors[order].astype(np.float32), centre, axis=2)  # (N, 3, 4): f and the centre
    # Products of N small matrices: with them the model takes 12 ms on one thread, 28 with broadcast products and sums.
    posed = g.op("MatMul", linear, body)
    means = g.reshape(g.op("Add", g.columns(posed, 3, 1, axis=2), move), n, 3)
    factor = g.columns(posed, 0, 3, axis=2)
    square = g.reshape(g.op("MatMul", factor, g.op("Transpose", factor, perm=[0, 2, 1])), n, 9)
    covariances = g.op("Gather", square, g.constant([0, 1, 2, 4, 5, 8], "int32"), axis=1)
    # One output: outputs that are constants alone have no kernel that puts them on the GPU.
    looks = np.concatenate([gaussians.opacities[order, None], gaussians.colors[order]], axis=1)
    g.output(g.op("Concat", means, covariances, looks, axis=1), OUTPUT, (n, WIDTH))
    return Made(g, order, used)


def _mixed(g: Graph, bones: str, count: int, index: Ints, weights: F64) -> str:
    """(N, 12): the matrices of each row's joints (N, K) by their weights (N, K), of `count` bones (B, 12).

    One product with the weights (N, B) where that takes fewer bytes than K indices and K weights a row.
    """
    n, columns = index.shape
    if count <= 2 * columns:
        dense = np.zeros((n, count))
        np.add.at(dense, (np.arange(n)[:, None], index), weights)
        return g.op("MatMul", dense, bones)
    mixed = ""
    for k in range(columns):
        part = g.op("Mul", g.op("Gather", bones, g.constant(index[:, k], "int32"), axis=0), weights[:, k : k + 1])
        mixed = g.op("Add", mixed, part) if mixed else part
    return mixed


def _displaced(
    g: Graph, rig: Rig, gaussians: Gaussians, parts: list[Block], recorded: bool, bounds: tuple[float, float]
) -> str:
    """(N, 3, 1): vertex, displacement and offset, block after block: each one product of (1, w) and (v + o, d)."""
    start = rig.positions.astype(np.float64)[gaussians.vertices] + gaussians.offsets
    count = len(rig.targets)
    if count == 0:
        return g.constant(start[parts[0].rows, :, None])
    given = g.input(EXPRESSION, (1, count))
    if recorded:
        given = g.op("Add", given, g.input(RECORDED, (1, count)))
    given = g.op("Clip", given, *map(float, bounds))
    given = g.op("Concat", np.ones((1, 1), np.float32), given, axis=1)
    moved = []
    for part in parts:
        table = np.empty((1 + len(part.targets), len(part.rows), 3))
        table[0] = start[part.rows]
        table[1:] = rig.targets[part.targets[:, None], gaussians.vertices[part.rows]]
        flat = table.reshape(len(table), -1)
        if len(part.targets):
            chosen = g.op("Gather", given, g.constant(np.append(0, part.targets + 1), "int32"), axis=1)
            moved.append(g.op("MatMul", chosen, flat))
        else:
            moved.append(g.constant(flat))
    whole = g.op("Concat", *moved, axis=1) if len(moved) > 1 else moved[0]
    return g.reshape(whole, len(gaussians.vertices), 3, 1)
