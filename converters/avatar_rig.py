"""The rig of a glTF asset as arrays: a skinned mesh with its morph targets, its skeleton and the clips that move it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_accessors import place_accessor
from splatlens.converters.gltf_file import MOST_ITEMS, Container, Reader, open_container
from splatlens.viewer.contract import MAX_CAPACITY, MAX_CONTROLS, MAX_TRACKS
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Columns of an animated property by its name in glTF (section 3.11): translation, rotation (x y z w), scale.
PATHS = {"translation": 3, "rotation": 4, "scale": 3}
INTERPOLATIONS = ("LINEAR", "STEP", "CUBICSPLINE")
#: Most joints of a skin, and most keys of one sampler.
MOST_JOINTS, MOST_KEYS = 4096, 1 << 20
#: Joints that move a vertex: sets of four (JOINTS_0, JOINTS_1, ...).
MOST_SETS = 4
#: How far a vertex' weights may be from a sum of one before it is told.
SUM_TOLERANCE = 1e-3
_AGAIN = "export it again"


@dataclass(frozen=True)
class Skeleton:
    """All nodes of an asset. parents: -1 for roots; translations (M, 3), rotations (M, 4) x y z w, scales (M, 3).

    matrices: those of nodes that have one in place of the three, by node. names: "" where there is none.
    """

    names: tuple[str, ...]
    parents: Ints
    translations: F64
    rotations: F64
    scales: F64
    matrices: dict[int, F64]


@dataclass(frozen=True)
class Channel:
    """What a clip does to one property of one node, or to the morph targets' weights.

    node: its number in the rig. path: of PATHS, or weights. times (K,) seconds, rising. values (K, C); for CUBICSPLINE
    (K, 3, C): in-tangent, value, out-tangent.
    """

    node: int
    path: str
    times: F64
    values: F64
    interpolation: str


@dataclass(frozen=True)
class Clip:
    """A recorded animation."""

    name: str
    channels: tuple[Channel, ...]

    @property
    def duration(self) -> float:
        """Seconds."""
        return max(float(c.times[-1]) for c in self.channels)


@dataclass(frozen=True)
class Rig:
    """N vertices and what moves them.

    positions (N, 3), at rest; targets (T, N, 3) displacements, T names in `target_names`, T `defaults`.
    joints (N, K) indices into `joint_nodes`, weights (N, K) that sum to one; inverse_binds (J, 4, 4).
    """

    positions: F32
    targets: F32
    target_names: tuple[str, ...]
    defaults: F64
    joints: Ints
    weights: F64
    joint_nodes: Ints
    inverse_binds: F64
    skeleton: Skeleton
    mesh_node: int
    warnings: tuple[str, ...] = ()
    clips: tuple[Clip, ...] = field(default=())


def read_rig(path: Path) -> Rig:
    """The one skinned mesh of a .glb or .gltf. Raises LensError where there is none, or several, or damaged ones."""
    container = open_container(path)
    nodes = container.items("nodes")
    skinned = [n for n, node in enumerate(nodes) if node.has("mesh") and node.has("skin")]
    if len(skinned) != 1:
        has = "no skin" if not skinned else f"{len(skinned)} skinned meshes"
        why = "expected one mesh with a skin, to whose vertices the Gaussians are bound"
        raise FormatError(f"{path}: {has}; {why}: export it with its armature, as one mesh")
    node = nodes[skinned[0]]
    mesh = container.item("meshes", node.member("mesh"))
    primitives = mesh.member("primitives").items(1, MOST_ITEMS)
    if len(primitives) > 1:
        raise UnsupportedError(f"{path}: its mesh has {len(primitives)} materials; join them to one and {_AGAIN}")
    skeleton = _skeleton(container)
    with container.opened() as reader:
        positions, targets = _shapes(container, reader, primitives[0])
        joint_nodes, inverse_binds = _joints(container, reader, container.item("skins", node.member("skin")))
        joints, weights, warnings = _weights(container, reader, primitives[0], len(positions), len(joint_nodes))
    names = _target_names(mesh, len(targets))
    owner = node if node.has("weights") else mesh
    defaults = np.zeros(len(targets))
    if owner.has("weights"):
        defaults[:] = owner.member("weights").numbers(len(targets))
    rig = Rig(
        positions, targets, names, defaults, joints, weights, joint_nodes, inverse_binds, skeleton, skinned[0],
        (*container.warnings, *warnings),
    )  # fmt: skip
    return with_clips(rig, path, container)


def with_clips(rig: Rig, path: Path, container: Container | None = None) -> Rig:
    """The rig with the clips of an asset, its own (`container`) or another one whose nodes have the same names.

    Clips that move nothing of the rig are left out with a warning. Raises FormatError where that is all of them.
    """
    own, container = container is not None, container or open_container(path)
    others = [n.member("name").text() if n.has("name") else "" for n in container.items("nodes")]
    twice = {name for name in rig.skeleton.names if rig.skeleton.names.count(name) > 1}
    known = {name: n for n, name in enumerate(rig.skeleton.names) if name and name not in twice}
    place = {n: n if own else known.get(name, -1) for n, name in enumerate(others)}
    clips, foreign = list[Clip](), list[str]()
    with container.opened() as reader:
        animations = container.items("animations")
        if len(animations) > MAX_TRACKS:
            animations[MAX_TRACKS].fail(f"at most {MAX_TRACKS} clips")
        for number, animation in enumerate(animations):
            name = animation.member("name").text(200) if animation.has("name") else f"clip {number + 1}"
            channels = tuple(_channels(container, reader, animation, place, rig))
            if channels and max(float(c.times[-1]) for c in channels) > 0:
                clips.append(Clip(name, channels))
            else:
                foreign.append(name)
    if foreign and not clips and not own:
        theirs = ", ".join(sorted({o for o in others if o})[:6])
        why = f"none of its {len(foreign)} clips moves a bone of this skeleton: its nodes are {theirs}, ..."
        raise FormatError(f"{path}: {why}; give clips of a skeleton with the same names")
    warnings = rig.warnings
    if foreign:
        warnings += (f"clips that move nothing of this skeleton were left out: {', '.join(foreign[:12])}",)
    return replace(rig, clips=(*rig.clips, *clips), warnings=warnings)


def _skeleton(container: Container) -> Skeleton:
    nodes = container.items("nodes")
    n = len(nodes)
    parents = np.full(n, -1, np.int64)
    translations, rotations, scales = np.zeros((n, 3)), np.tile([0.0, 0, 0, 1], (n, 1)), np.ones((n, 3))
    matrices = {}
    for i, node in enumerate(nodes):
        for child in node.member("children").items(1, MOST_ITEMS) if node.has("children") else []:
            c = child.integer(0, n - 1)
            if parents[c] >= 0:
                child.fail("a node that is no other's child")
            parents[c] = i
        if node.has("matrix"):
            matrices[i] = np.array(node.member("matrix").numbers(16)).reshape(4, 4).T
        for path, table in zip(PATHS, (translations, rotations, scales), strict=True):
            if node.has(path):
                table[i] = node.member(path).numbers(PATHS[path])
        if not np.linalg.norm(rotations[i]) > 0.5:
            node.member("rotation").fail("a unit quaternion x, y, z, w")
    for i in range(n):  # a cycle has no root
        at, steps = i, 0
        while at >= 0:
            at, steps = int(parents[at]), steps + 1
            if steps > n:
                raise FormatError(f"{container.path}: nodes[{i}] is its own ancestor; {_AGAIN}")
    names = tuple(node.member("name").text() if node.has("name") else "" for node in nodes)
    return Skeleton(names, parents, translations, rotations, scales, matrices)


def _shapes(container: Container, reader: Reader, primitive: Field) -> tuple[F32, F32]:
    """Positions (N, 3) and displacements (T, N, 3)."""
    positions = _values(container, reader, primitive.member("attributes").member("POSITION"), 3)
    if len(positions) > MAX_CAPACITY:
        raise UnsupportedError(f"{container.path}: {len(positions)} vertices; at most {MAX_CAPACITY} can be shown")
    targets = primitive.member("targets").items(1, MAX_CONTROLS) if primitive.has("targets") else []
    moved = np.zeros((len(targets), len(positions), 3), np.float32)
    for number, target in enumerate(targets):
        if target.has("POSITION"):  # others move normals only
            moved[number] = _values(container, reader, target.member("POSITION"), 3, len(positions))
    return positions, moved


def _joints(container: Container, reader: Reader, skin: Field) -> tuple[Ints, F64]:
    """Nodes (J,) and inverse bind matrices (J, 4, 4)."""
    last = len(container.items("nodes")) - 1
    nodes = np.array([f.integer(0, last) for f in skin.member("joints").items(1, MOST_JOINTS)])
    binds = np.tile(np.eye(4), (len(nodes), 1, 1))
    if skin.has("inverseBindMatrices"):
        stored = _values(container, reader, skin.member("inverseBindMatrices"), 16, least=len(nodes))
        binds = stored[: len(nodes)].astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    return nodes, binds


def _weights(
    container: Container, reader: Reader, primitive: Field, vertices: int, count: int
) -> tuple[Ints, F64, list[str]]:
    """Joints (N, K) and weights (N, K) that sum to one, K as small as can be, and warnings."""
    attributes = primitive.member("attributes")
    joints, weights = list[F32](), list[F32]()
    for number in range(MOST_SETS):
        if number and not attributes.has(f"JOINTS_{number}"):
            break
        joints.append(_values(container, reader, attributes.member(f"JOINTS_{number}"), 4, vertices))
        weights.append(_values(container, reader, attributes.member(f"WEIGHTS_{number}"), 4, vertices))
    index, weight = np.concatenate(joints, axis=1).astype(np.int64), np.concatenate(weights, axis=1).astype(np.float64)
    where = f"{container.path}: {primitive.path.removeprefix('glTF.')}.attributes"
    used = np.where(weight != 0, index, 0)
    if used.max() >= count:
        row = int(np.argmax(used.max(axis=1) >= count))
        raise FormatError(
            f"{where}: vertex {row} names joint {used[row].max()}, expected 0 to {count - 1}; {_AGAIN}"
        )
    if weight.min() < 0:
        raise FormatError(f"{where}: vertex {int(np.argmin(weight.min(axis=1)))} has a weight below 0; {_AGAIN}")
    sums = weight.sum(axis=1)
    if sums.min() < 1e-6:
        raise FormatError(f"{where}: vertex {int(sums.argmin())} has no weight, so no joint; weight it and {_AGAIN}")
    off = int((np.abs(sums - 1) > SUM_TOLERANCE).sum())
    warnings = [f"weights of {off} vertices did not sum to one and were normalised"] * (off > 0)
    order = np.argsort(-weight, axis=1, kind="stable")
    columns = int((weight > 0).sum(axis=1).max())
    index, weight = (np.take_along_axis(a, order, 1)[:, :columns] for a in (used, weight))
    return index, weight / sums[:, None], warnings


def _target_names(mesh: Field, count: int) -> tuple[str, ...]:
    """As exporters write them (`extras.targetNames`, a convention of glTF's implementation note on morph targets)."""
    names = [""] * count
    extras = mesh.member("extras")
    if isinstance(extras.value, dict) and extras.has("targetNames"):
        names = [f.text(100) for f in extras.member("targetNames").items(count, count)]
    made = list[str]()
    for number, name in enumerate(names):
        made.append(name if name and name not in made else f"{name or 'target'} {number + 1}".strip())
    return tuple(made)


def _channels(
    container: Container, reader: Reader, animation: Field, place: dict[int, int], rig: Rig
) -> Iterator[Channel]:
    samplers = animation.member("samplers").items(1, MOST_ITEMS)
    times_of: dict[int, F64] = {}
    for one in animation.member("channels").items(1, MOST_ITEMS):
        target = one.member("target")
        if not target.has("node"):
            continue
        node = place[target.member("node").integer(0, len(place) - 1)]
        path = target.member("path").text()
        if node < 0 or (path == "weights" and (node != rig.mesh_node or not len(rig.targets))):
            continue
        if path != "weights" and path not in PATHS:
            target.member("path").fail(f"one of {', '.join(PATHS)}, weights")
        sampler = samplers[one.member("sampler").integer(0, len(samplers) - 1)]
        kind = str(sampler.member("interpolation").value or "LINEAR")
        if kind not in INTERPOLATIONS:
            sampler.member("interpolation").fail(f"one of {', '.join(INTERPOLATIONS)}")
        number = sampler.member("input").integer(0, MOST_ITEMS)
        if number not in times_of:
            times_of[number] = _values(container, reader, sampler.member("input"), 1)[:, 0].astype(np.float64)
        times = times_of[number]
        if len(times) > MOST_KEYS or times[0] < 0 or (np.diff(times) <= 0).any():
            sampler.member("input").fail(f"at most {MOST_KEYS} rising times from 0 on")
        each = 3 if kind == "CUBICSPLINE" else 1
        width, columns = (1, len(rig.targets)) if path == "weights" else (PATHS[path], PATHS[path])
        rows = len(times) * each * columns // width
        values = _values(container, reader, sampler.member("output"), width, rows).astype(np.float64)
        values = values.reshape((len(times), 3, columns) if each == 3 else (len(times), columns))
        if path == "rotation" and not np.linalg.norm(values[:, 1] if each == 3 else values, axis=1).min() > 0:
            sampler.member("output").fail("rotations without zero quaternions")
        yield Channel(node, path, times, values, kind)


def _values(
    container: Container, reader: Reader, index: Field, width: int, count: int | None = None, least: int = 1
) -> F32:
    """(N, width) finite values of an accessor, sparse ones (section 3.6.2.3) too. Raises FormatError."""
    accessor = container.item("accessors", index)
    where = f"{container.path}: {accessor.path.removeprefix('glTF.')}"
    rows = accessor.member("count").integer(least, MAX_CAPACITY)
    if count is not None and rows != count:
        raise FormatError(f"{where} has {rows} rows, expected {count}, as many as there are vertices or keys; {_AGAIN}")
    plain = replace(accessor, value={**accessor.object(), "sparse": None})
    if accessor.has("bufferView") or not accessor.has("sparse"):
        placed = place_accessor(container, plain)
        if placed.width != width:
            raise FormatError(f"{where} is {accessor.member('type').value}, expected {width} numbers a row; {_AGAIN}")
        values = placed.rows(reader, 0, rows)
    elif count is None:
        raise FormatError(f"{where} has no bufferView; {_AGAIN}")
    else:
        values = np.zeros((rows, width), np.float32)
    if accessor.has("sparse"):
        at, put = _sparse(container, reader, accessor, width)
        if at.max() >= rows:
            raise FormatError(f"{where}: its sparse part names row {at.max()} of {rows}; {_AGAIN}")
        values = values.copy()
        values[at] = put
    if not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise FormatError(f"{where}: row {row} holds NaN or infinity; mend the mesh and {_AGAIN}")
    return values


def _sparse(container: Container, reader: Reader, accessor: Field, width: int) -> tuple[Ints, F32]:
    """Rows that differ, and their values."""
    sparse = accessor.member("sparse")
    count = sparse.member("count").value
    kinds: Sequence[tuple[str, object, object]] = (
        ("indices", sparse.member("indices").member("componentType").value, "SCALAR"),
        ("values", accessor.member("componentType").value, accessor.member("type").value),
    )
    found = []
    for part, code, kind in kinds:
        stands = sparse.member(part)
        facts = {**stands.object(), "componentType": code, "type": kind, "count": count}
        placed = place_accessor(container, replace(stands, value=facts))
        found.append(placed.rows(reader, 0, placed.count))
    if found[1].shape[1] != width:
        accessor.member("type").fail(f"{width} numbers a row")
    return found[0][:, 0].astype(np.int64), found[1]
