"""Poses that a glTF asset has without being animated: morph targets with weights, and skins by their joints' nodes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_accessors import find_accessor
from splatlens.converters.gltf_file import MOST_ITEMS, Container, Reader
from splatlens.converters.gltf_nodes import Placed
from splatlens.viewer.errors import FormatError
from splatlens.viewer.fields import Field

F64 = NDArray[np.float64]


def morphed(
    container: Container, reader: Reader, primitive: Field, node: Field, mesh: Field, places: F64
) -> F64:
    """Positions with the morph targets that have a weight in the file (section 3.7.2.2)."""
    owner = node if node.has("weights") else mesh
    if not owner.has("weights") or not primitive.has("targets"):
        return places
    targets = primitive.member("targets").items(1, MOST_ITEMS)
    for target, field in zip(targets, owner.member("weights").items(0, MOST_ITEMS), strict=False):
        if (weight := field.number()) and target.has("POSITION"):
            accessor = find_accessor(container, target.member("POSITION"))
            if accessor.count != len(places) or accessor.width != 3:
                target.member("POSITION").fail(f"{len(places)} rows of 3 values")
            places = places + weight * accessor.rows(reader, 0, accessor.count)
    return places


def posed(
    container: Container, reader: Reader, primitive: Field, node: Placed, nodes: dict[int, Placed], places: F64
) -> F64:
    """Positions in the scene: by the node, or by the joints of its skin, which stand in for it (section 3.7.3.3)."""
    matrix = node.matrix
    attributes = primitive.member("attributes")
    if not node.node.has("skin") or not (attributes.has("JOINTS_0") and attributes.has("WEIGHTS_0")):
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray(places @ matrix[:3, :3].T + matrix[:3, 3])
    skin = container.item("skins", node.node.member("skin"))
    joints = [f.integer(0, MOST_ITEMS) for f in skin.member("joints").items(1, MOST_ITEMS)]
    if absent := [n for n in joints if n not in nodes]:
        skin.member("joints").fail(f"nodes of the scene, which nodes[{absent[0]}] is not")
    poses = np.stack([nodes[n].matrix for n in joints])
    if skin.has("inverseBindMatrices"):
        accessor = find_accessor(container, skin.member("inverseBindMatrices"))
        if accessor.width != 16 or accessor.count < len(joints):
            skin.member("inverseBindMatrices").fail(f"{len(joints)} matrices")
        inverse = accessor.rows(reader, 0, len(joints)).reshape(-1, 4, 4).transpose(0, 2, 1).astype(np.float64)
        poses = poses @ inverse
    moved, sums = np.zeros_like(places), np.zeros(len(places))
    for k in range(8):
        names = f"JOINTS_{k}", f"WEIGHTS_{k}"
        if not all(attributes.has(name) for name in names):
            break
        which, share = (find_accessor(container, attributes.member(name)) for name in names)
        if not which.width == share.width == 4 or min(which.count, share.count) < len(places):
            attributes.member(names[0]).fail(f"with {names[1]} {len(places)} rows of 4 values")
        numbers = which.stored(reader, 0, len(places)).astype(np.int64)
        weights = share.rows(reader, 0, len(places)).astype(np.float64)
        if numbers.min() < 0 or numbers.max() >= len(joints):
            why = f"{names[0]} has joint {int(numbers.max())} of {len(joints)}"
            raise FormatError(f"{container.path}: {why}; export it again")
        for c in range(4):
            pose = poses[numbers[:, c]]
            moved += weights[:, c, None] * (np.einsum("nij,nj->ni", pose[:, :3, :3], places) + pose[:, :3, 3])
        sums += weights.sum(axis=1)
    return np.asarray(moved / np.where(sums > 0, sums, 1)[:, None])
