"""What a generator gave: its attributes by meaning, as splats for the reference, and as the GPU takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.assemble import GeneratedDraws
from splatlens.viewer.contract import Columns, Contract
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats

#: Attribute of the stage's bindings for each meaning.
_BINDING = {
    "means": "means", "scales": "shapes", "covariances": "shapes", "quats": "turns", "opacities": "opacities",
    "colors": "colors", "sh": "colors",
}  # fmt: skip


@dataclass(frozen=True)
class Attributes:
    """Rows of a generator by meaning, as the model gave them, in float64. rows: how many of them are drawn.

    means (N, 3); scales (N, 3) and quats (N, 4), or covariances (N, 6) xx xy xz yy yz zz; opacities (N,); colors (N, 3)
    or sh (N, K, 3); features (N, F) or None. Arrays that were not given are None.
    """

    means: NDArray[np.float64]
    opacities: NDArray[np.float64]
    scales: NDArray[np.float64] | None
    quats: NDArray[np.float64] | None
    covariances: NDArray[np.float64] | None
    colors: NDArray[np.float64] | None
    sh: NDArray[np.float64] | None
    features: NDArray[np.float64] | None
    rows: int


def attributes(contract: Contract, outputs: Mapping[str, NDArray[Any]]) -> Attributes:
    """The outputs of a run, by graph name, in the contract's words; a count beyond 0..N is brought back into it."""
    found: dict[str, Any] = dict.fromkeys(("scales", "quats", "covariances", "colors", "sh", "features"))
    for meaning, columns in contract.outputs.items():
        if meaning != "count":
            found[meaning] = _table(outputs[columns.output], columns).astype(np.float64)
    found["opacities"] = found["opacities"][:, 0]
    n = len(found["means"])
    if found["sh"] is not None:
        found["sh"] = found["sh"].reshape(n, found["sh"].shape[1] // 3, 3)
    rows = n
    if "count" in contract.outputs:
        rows = int(np.clip(outputs[contract.outputs["count"].output].reshape(-1)[0], 0, n))
    return Attributes(**found, rows=rows)


def _table(array: NDArray[Any], columns: Columns) -> NDArray[Any]:
    """(N, C) of an output [N], [N, C] or [N, K, 3]; only the columns of a meaning."""
    table = array.reshape(len(array), -1) if len(array) else array.reshape(0, int(np.prod(array.shape[1:], dtype=int)))
    return table[:, columns.first : columns.first + columns.count] if columns.count else table


def usable(a: Attributes) -> NDArray[np.bool_]:
    """(N,) rows whose every value is finite and whose quaternion has a length: the others are not drawn."""
    given = [a.means, a.opacities, a.scales, a.quats, a.covariances, a.colors, a.sh]
    flat = [x.reshape(len(x), int(np.prod(x.shape[1:]))) for x in given if x is not None]  # -1 fails for no rows
    good = np.asarray(np.isfinite(np.concatenate(flat, axis=1)).all(axis=1))
    return good if a.quats is None else good & (a.quats != 0).any(axis=1)


def splats_of(a: Attributes) -> Splats:
    """The rows that are drawn, as splats: covariances are taken apart into axes and standard deviations.

    Eigenvalues that rounding made negative count as flat, as in the shader.
    """
    keep = usable(a) & (np.arange(len(a.means)) < a.rows)
    if a.covariances is not None:
        scales, quats = axes_of(a.covariances[keep])
    else:
        assert a.scales is not None and a.quats is not None
        scales = np.abs(a.scales[keep])
        quats = a.quats[keep] / np.linalg.norm(a.quats[keep], axis=1, keepdims=True)
    if a.sh is not None:
        sh = a.sh[keep]
    else:
        assert a.colors is not None
        sh = (a.colors[keep, None] - 0.5) / SH_C0
    arrays = (a.means[keep], quats, scales, np.maximum(a.opacities[keep], 0), sh)
    return Splats(*(np.ascontiguousarray(x, np.float32) for x in arrays))


def axes_of(covariances: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviations (N, 3) and quaternions (N, 4) w x y z of covariances (N, 6) xx xy xz yy yz zz."""
    xx, xy, xz, yy, yz, zz = covariances.T
    full = np.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(full)
    vectors[:, :, 2] *= np.sign(np.linalg.det(vectors))[:, None]  # a rotation, not a mirror
    return np.sqrt(np.maximum(values, 0)), quats_of(vectors)


def quats_of(rotations: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (N, 4) w x y z of rotation matrices (N, 3, 3), by the largest of four forms (Shepperd 1978)."""
    m = rotations
    x, y, z = m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]
    squares = np.stack([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z], axis=1)
    a, b, c = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    d, e, f = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    w, i, j, k = squares.T
    forms = np.stack([[w, a, b, c], [a, i, d, e], [b, d, j, f], [c, e, f, k]]).transpose(2, 0, 1)
    chosen = forms[np.arange(len(m)), squares.argmax(axis=1)]
    return np.asarray(chosen / np.linalg.norm(chosen, axis=1, keepdims=True))


@dataclass(frozen=True)
class GeneratedLayer:
    """One run of a generator as a layer of the renderer. outputs: by the graph's names. transform: layer to world."""

    contract: Contract
    outputs: Mapping[str, NDArray[Any]]
    transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @property
    def kernel(self) -> Kernel:
        """How its splats are blurred."""
        return self.contract.kernel

    def draws(self) -> tuple[GeneratedDraws | None, list[NDArray[np.uint32]], NDArray[np.int32]]:
        """What a frame needs, the words of each output, and [rows drawn, 0, 0, 0]; None where there is no row."""
        names = list(dict.fromkeys(c.output for m, c in self.contract.outputs.items() if m in _BINDING))
        rows = len(self.outputs[self.contract.outputs["means"].output])
        live = np.zeros(4, np.int32)
        live[0] = rows
        if "count" in self.contract.outputs:
            live[0] = self.outputs[self.contract.outputs["count"].output].reshape(-1)[0]
        if rows == 0:
            return None, [], live
        words = [_words(self.outputs[name]) for name in names]
        columns: dict[str, tuple[int, int, int, bool]] = {}
        coefficients = 0
        for meaning, one in self.contract.outputs.items():
            if meaning not in _BINDING:
                continue
            array = self.outputs[one.output]
            stride = array.size // rows
            half = array.dtype == np.float16
            columns[_BINDING[meaning]] = names.index(one.output), one.first, stride, half
            if meaning == "sh":
                coefficients = (one.count or stride) // 3
                assert coefficients in SH_COEFFICIENTS
        columns.setdefault("turns", columns["shapes"])
        box = None if self.contract.bounds is None else np.array(self.contract.bounds, np.float64)
        covariance = "covariances" in self.contract.outputs
        made = GeneratedDraws(
            self.transform, rows, coefficients, covariance, tuple(map(len, words)), columns, box, self.contract.kernel
        )
        return made, words, live

    def splats(self) -> Splats:
        """The rows that are drawn."""
        return splats_of(attributes(self.contract, self.outputs))


def _words(array: NDArray[Any]) -> NDArray[np.uint32]:
    """The bytes of a float32 or float16 array as u32, the last word filled up with zeros."""
    data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    return np.concatenate([data, np.zeros(-len(data) % 4, np.uint8)]).view(np.uint32)
