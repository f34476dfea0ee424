"""Random avatars for tests: the arrays, the files that are to be read as them, and where the twin puts them."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.reference import avatar as twin

F64 = NDArray[np.float64]
Files = dict[str, bytes]
VERTICES, TARGETS = 40, 5
NAMES = ("jawOpen", "eyeBlinkLeft", "mouth_smile", "breathe", "browInnerUp")
#: Bones by node: parent, translation, rotation x y z w, scale. Nodes 0 and 1 move nothing themselves.
BONES = (
    (-1, (0.1, 0.2, -0.3), (0.1, 0.2, 0.3, 0.9), (1.0, 1.0, 1.0)),
    (0, (0.0, 0.5, 0.0), (0.0, 0.0, 0.0, 1.0), (1.2, 0.9, 1.0)),
    (1, (0.3, 0.0, 0.1), (0.5, -0.1, 0.0, 0.8), (1.0, 1.0, 1.0)),
    (2, (0.0, 0.4, 0.0), (0.0, 0.3, 0.1, 0.9), (1.0, 1.1, 1.0)),
    (1, (-0.3, 0.1, 0.0), (0.0, 0.0, -0.4, 0.9), (0.8, 0.8, 0.8)),
    (0, (0.0, 0.0, 0.4), (0.2, 0.0, 0.0, 1.0), (1.0, 1.0, 1.0)),
)
#: Rotation a second of node 2, about an axis: between keys spherical interpolation is exactly this.
AXIS, RATE = np.array([0.6, 0.0, 0.8]), 1.7
#: Coefficients of the cubic that node 4's translation follows: a cubic spline with its slopes is exactly this.
CUBIC = np.array([[-0.3, 0.1, 0.0], [0.2, -0.4, 0.1], [0.1, 0.3, -0.5], [-0.2, 0.1, 0.3]])
STEPS = np.array([[1.0, 1.0, 1.0], [1.5, 0.7, 1.0], [0.6, 1.0, 1.2], [1.0, 1.0, 1.0]])
TIMES = np.array([0.0, 0.4, 0.9, 1.2])


class Asset:
    """A binary glTF under construction; `json` may be changed before it is packed."""

    def __init__(self) -> None:
        self.data = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}

    def view(self, array: NDArray[Any]) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.json["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes})
        self.data += array.tobytes()
        return len(self.json["bufferViews"]) - 1

    def add(self, values: Any, kind: str = "<f4") -> int:
        array = np.ascontiguousarray(values, kind)
        code = {"<f4": 5126, "|u1": 5121, "<u2": 5123}[array.dtype.str]
        form = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}[array.size // len(array)]
        facts = {"bufferView": self.view(array), "componentType": code, "count": len(array), "type": form}
        self.json["accessors"].append(facts)
        return len(self.json["accessors"]) - 1

    def add_sparse(self, values: NDArray[np.float32]) -> int:
        rows = np.flatnonzero(values.any(axis=1))
        indices = {"bufferView": self.view(rows.astype("<u2")), "componentType": 5123}
        sparse = {"count": len(rows), "indices": indices, "values": {"bufferView": self.view(values[rows])}}
        facts = {"componentType": 5126, "count": len(values), "type": "VEC3", "sparse": sparse}
        self.json["accessors"].append(facts)
        return len(self.json["accessors"]) - 1

    def pack(self) -> bytes:
        data = self.data + b"\0" * (-len(self.data) % 4)
        text = json.dumps({**self.json, "buffers": [{"byteLength": len(data)}]}).encode()
        text += b" " * (-len(text) % 4)
        body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
        return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body


class Sample:
    """A random avatar: its arrays, and the files that should be read as them."""

    def __init__(self, joints: tuple[int, ...] = (4, 2, 3), influences: int = 3) -> None:
        rng = np.random.default_rng(5)
        self.joints = joints
        self.positions = rng.normal(size=(VERTICES, 3)).astype(np.float32)
        self.targets = rng.normal(size=(TARGETS, VERTICES, 3)).astype(np.float32) * 0.2
        # Each target moves some vertices only, so that they fall into several blocks; the last ten are never moved.
        self.targets *= (rng.random((TARGETS, VERTICES, 1)) < 0.5) & (np.arange(VERTICES)[:, None] < 30)
        sets = -(-influences // 4)
        index = rng.integers(0, len(joints), (VERTICES, 4 * sets))
        weight = np.zeros((VERTICES, 4 * sets))
        weight[:, :influences] = rng.random((VERTICES, influences)) + 0.05
        self.index, self.weight = index, (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        self.binds = rng.normal(size=(len(joints), 4, 4)) * 0.3 + np.eye(4)
        self.binds[:, 3] = (0, 0, 0, 1)
        self.offsets = rng.normal(size=(VERTICES, 3)).astype(np.float32) * 0.05
        self.colors = rng.random((VERTICES, 3)).astype(np.float32)
        self.logits = rng.uniform(-3, 4, VERTICES).astype(np.float32)
        self.logs = rng.uniform(-5, -2, (VERTICES, 3)).astype(np.float32)
        self.quats = rng.normal(size=(VERTICES, 4)).astype(np.float32)
        self.rebuild()

    def rebuild(self) -> None:
        """Makes the asset of the arrays as they are now."""
        a = self.asset = Asset()
        attributes = {"POSITION": a.add(self.positions)}
        for k in range(self.index.shape[1] // 4):
            attributes[f"JOINTS_{k}"] = a.add(self.index[:, 4 * k : 4 * k + 4], "|u1")
            attributes[f"WEIGHTS_{k}"] = a.add(self.weight[:, 4 * k : 4 * k + 4])
        targets = [{"POSITION": (a.add_sparse if k % 2 else a.add)(t)} for k, t in enumerate(self.targets)]
        primitive = {"attributes": attributes, "targets": targets, "mode": 0}
        nodes = []
        for n, (_, translation, rotation, scale) in enumerate(BONES):
            node = {"name": f"bone {n}", "translation": translation, "rotation": rotation, "scale": scale}
            children = [k for k, bone in enumerate(BONES) if bone[0] == n]
            nodes.append({**node, **({"children": children} if children else {})})
        nodes.append({"name": "body", "mesh": 0, "skin": 0, "translation": (9, 9, 9)})
        a.json["nodes"] = nodes
        a.json["meshes"] = [{"primitives": [primitive], "weights": [0, 0.25, 0, 0, 0],
                             "extras": {"targetNames": list(NAMES)}}]  # fmt: skip
        a.json["skins"] = [{"joints": list(self.joints), "inverseBindMatrices": a.add(
            self.binds.transpose(0, 2, 1).reshape(-1, 16))}]  # fmt: skip
        a.json["animations"] = [self._clip(a)]

    def _clip(self, a: Asset) -> dict[str, Any]:
        angles = RATE * TIMES
        turns = np.concatenate([np.sin(angles / 2)[:, None] * AXIS, np.cos(angles / 2)[:, None]], axis=1)
        turns[2] *= -1  # the same rotation: the shorter way is to be taken
        t = TIMES[:, None]
        values = CUBIC[0] + t * (CUBIC[1] + t * (CUBIC[2] + t * CUBIC[3]))
        slopes = CUBIC[1] + t * (2 * CUBIC[2] + 3 * t * CUBIC[3])
        spline = np.stack([slopes, values, slopes], axis=1).reshape(-1, 3)
        weights = np.linspace(0, 0.9, len(TIMES))[:, None] * [0, 1, 0, 0.5, 0]
        times = a.add(TIMES)
        made = ((2, "rotation", turns, "LINEAR"), (4, "translation", spline, "CUBICSPLINE"),
                (3, "scale", STEPS, "STEP"), (len(BONES), "weights", weights.reshape(-1), "LINEAR"))  # fmt: skip
        channels = [{"sampler": k, "target": {"node": n, "path": p}} for k, (n, p, _, _) in enumerate(made)]
        samplers = [{"input": times, "output": a.add(v), "interpolation": kind} for _, _, v, kind in made]
        return {"name": "turn", "channels": channels, "samplers": samplers}

    def matrices(self, seconds: float | None) -> F64:
        """(J, 4, 4) of the joints at a time of the clip, or at rest."""
        local = [twin.local_matrix(*(np.array(part) for part in bone[1:])) for bone in BONES]
        if seconds is not None:
            turn = np.append(np.sin(RATE * seconds / 2) * AXIS, np.cos(RATE * seconds / 2))
            local[2] = twin.local_matrix(np.array(BONES[2][1]), turn, np.array(BONES[2][3]))
            move = CUBIC[0] + seconds * (CUBIC[1] + seconds * (CUBIC[2] + seconds * CUBIC[3]))
            local[4] = twin.local_matrix(move, np.array(BONES[4][2]), np.array(BONES[4][3]))
            scale = STEPS[np.searchsorted(TIMES, seconds + 1e-9, side="right") - 1]
            local[3] = twin.local_matrix(np.array(BONES[3][1]), np.array(BONES[3][2]), scale)
        parents = [bone[0] for bone in BONES]
        return twin.skinning_matrices(parents, np.stack(local), list(self.joints), self.binds)

    def truth(self, matrices: F64, weights: F64) -> tuple[F64, F64]:
        """Centres and covariances by the twin, in the order of the vertices."""
        wide = [np.asarray(x, np.float64) for x in (self.positions, self.targets, weights)]
        bound = [np.asarray(x, np.float64) for x in (self.offsets, self.quats, np.exp(self.logs.astype(np.float64)))]
        exact = self.weight.astype(np.float64)
        exact /= exact.sum(axis=1, keepdims=True)
        return twin.avatar(*wide, self.index, exact, matrices, *bound)

    def ply(self, **columns: NDArray[Any]) -> bytes:
        """The Gaussians; `columns` in place of what it has."""
        given = {"offsets": self.offsets, "colors": self.colors, "logits": self.logits[:, None], "logs": self.logs,
                 "quats": self.quats} | columns  # fmt: skip
        names = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), "opacity", *(f"scale_{i}" for i in range(3)),
                 *(f"rot_{i}" for i in range(4))]  # fmt: skip
        table = np.concatenate(list(given.values()), axis=1).astype("<f4")
        header = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
        header += [f"property float {name}" for name in names] + ["end_header", ""]
        return "\n".join(header).encode() + table.tobytes()

    def files(self, **others: bytes) -> Files:
        """By name."""
        return {"skin.glb": self.asset.pack(), "offset.ply": self.ply(), **others}
