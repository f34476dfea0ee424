"""The deformation network of a 4DGaussians run, out of its state dict: what there is, by keys and shapes, checked.

hustvl/4DGaussians (Wu et al. 2024), scene/deformation.py and scene/hexplane.py. Six planes a scale, over the pairs
xy xz xt yz yt zt of place and time, each (1, C, second axis, first axis); their products at a point go through a
perceptron, and a head for each attribute gives what is added to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, UnsupportedError

F32 = NDArray[np.float32]
#: Weight (out, in) and bias (out,) of a torch.nn.Linear.
Layer = tuple[F32, F32]

#: Axes of the six planes, in the order of the state dict; axis 3 is time.
PAIRS = tuple(combinations(range(4), 2))
#: Columns each head adds to, the option that turns it off, and that option's default (arguments/__init__.py). A state
#: dict has all heads, used or not.
HEADS = {
    "pos_deform": (3, "no_dx", False),
    "scales_deform": (3, "no_ds", False),
    "rotations_deform": (4, "no_dr", False),
    "opacity_deform": (1, "no_do", True),
    "shs_deform": (48, "no_dshs", True),
}
_PREFIX = "deformation_net"
_GRIDS = f"{_PREFIX}.grid.grids"
_AGAIN = "copy the iteration's folder again, or save it again with the authors' save_deformation"


@dataclass(frozen=True)
class Network:
    """All that decides how splats move.

    aabb: (2, 3), the corner at coordinate -1 and the one at +1 (the authors store the greater one first, which mirrors
    the planes). planes: for each scale six (C, H, W); empty where place and time go into the perceptron as they are
    (no_grid). trunk: linear layers with ReLU between. heads: those in use, by name, two layers with ReLU before each.
    mask: a head that scales the undeformed attributes, or None. voxels: or a grid (X, Y, Z) of such factors with its
    corners (2, 3). harmonics: sin and cos of features times this number go along, 0 for none. multiply: rotations are
    multiplied by the head's quaternion rather than added.
    """

    aabb: NDArray[np.float64]
    planes: tuple[tuple[F32, ...], ...]
    trunk: tuple[Layer, ...]
    heads: dict[str, tuple[Layer, Layer]]
    mask: tuple[Layer, Layer] | None
    voxels: tuple[F32, NDArray[np.float64]] | None
    harmonics: float
    multiply: bool

    @property
    def channels(self) -> int:
        """C, the same in all scales; 0 without planes."""
        return self.planes[0][0].shape[0] if self.planes else 0

    @property
    def time_rows(self) -> int:
        """Rows of the time planes, 1 without planes."""
        return self.planes[0][2].shape[1] if self.planes else 1


def read_network(path: Path, state: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]) -> Network:
    """The network of a state dict. path: of its file, for messages.

    settings: the run's ModelHiddenParams as far as known; those that the state dict shows by itself are not asked for.
    Raises FormatError, and UnsupportedError for what the authors' code itself could not run.
    """
    tensors = _Tensors(path, state)
    if not any(key.startswith(f"{_PREFIX}.") for key in state):
        names = ", ".join(sorted(state)[:4]) or "nothing"
        raise FormatError(f"{path}: no tensor 'deformation_net.*', it holds {names}: not a 4DGaussians deformation")
    planes = tuple(_scale(tensors, s) for s in _numbered(state, f"{_GRIDS}.{{}}.0"))
    shapes = [scale[2].shape for scale in planes]
    for what, sizes in (("channels", [s[0] for s in shapes]), ("rows of time", [s[1] for s in shapes])):
        if len(set(sizes)) > 1:
            raise FormatError(f"{path}: the scales of {_GRIDS} have {sizes} {what}, expected one number; {_AGAIN}")
    trunk = _trunk(tensors)
    width = len(trunk[-1][1])
    features = planes[0][0].shape[0] * len(planes) if planes else 0
    takes = trunk[0][0].shape[1]
    no_grid = takes == 4 and (features != 4 or settings.get("no_grid") is True)
    harmonics = 0.0
    if no_grid:
        planes = ()
    elif not planes:
        raise FormatError(f"{path}: no planes {_GRIDS}.0.0 to {_GRIDS}.0.5; {_AGAIN}")
    elif takes == 3 * features:
        harmonics = _harmonics(path, settings)
    elif takes != features:
        raise FormatError(
            f"{path}: {_PREFIX}.feature_out.0.weight takes {takes} features, the planes give {features}; {_AGAIN}"
        )
    used = [name for name, (_, option, default) in HEADS.items() if settings.get(option, default) is False]
    heads = {name: tensors.head(name, width, HEADS[name][0]) for name in used}
    masked = f"{_PREFIX}.static_mlp.1.weight" in state
    mask = tensors.head("static_mlp", width, 1) if masked else None
    voxels = _voxels(tensors) if f"{_PREFIX}.empty_voxel.grid" in state and not masked else None
    multiply = settings.get("apply_rotation") is True
    return Network(_aabb(tensors, settings), planes, trunk, heads, mask, voxels, harmonics, multiply)


@dataclass(frozen=True)
class _Tensors:
    """Tensors by name, each checked as it is taken."""

    path: Path
    state: Mapping[str, NDArray[Any]]

    def take(self, key: str, shape: tuple[int | None, ...]) -> F32:
        """A tensor of a shape, None for any size. Raises FormatError."""
        if key not in self.state:
            near = sorted(k for k in self.state if k.rsplit(".", 2)[0] == key.rsplit(".", 2)[0])
            found = f" (there are {', '.join(near[:4])})" if near else ""
            raise FormatError(f"{self.path}: no tensor {key!r}{found}; {_AGAIN}")
        values = self.state[key]
        fits = values.ndim == len(shape) and all(w in (None, n) for n, w in zip(values.shape, shape, strict=True))
        if not fits or values.size == 0 or values.dtype.kind != "f":
            want = " x ".join("n" if w is None else str(w) for w in shape)
            have = " x ".join(map(str, values.shape)) or "a single number"
            raise FormatError(f"{self.path}: {key} is {values.dtype} {have}, expected floats {want}; {_AGAIN}")
        narrow = np.ascontiguousarray(values, np.float32)
        if bad := int(np.count_nonzero(~np.isfinite(narrow))):
            raise FormatError(
                f"{self.path}: {key} has {bad} of {narrow.size} values NaN or infinite: the training diverged; "
                "take an earlier iteration"
            )
        return narrow

    def layer(self, key: str, takes: int | None, gives: int | None) -> Layer:
        weight = self.take(f"{key}.weight", (gives, takes))
        return weight, self.take(f"{key}.bias", (len(weight),))

    def head(self, name: str, width: int, columns: int) -> tuple[Layer, Layer]:
        inner = self.layer(f"{_PREFIX}.{name}.1", width, None)
        return inner, self.layer(f"{_PREFIX}.{name}.3", len(inner[1]), columns)


def _numbered(state: Mapping[str, NDArray[Any]], pattern: str) -> list[int]:
    """0, 1, 2 ... as long as a key of the pattern exists."""
    found: list[int] = []
    for number in count():
        if pattern.format(number) not in state:
            return found
        found.append(number)
    raise AssertionError


def _scale(tensors: _Tensors, scale: int) -> tuple[F32, ...]:
    """Six planes (C, H, W) whose sizes agree along their common axes."""
    made: list[F32] = []
    sizes: dict[int, tuple[int, str]] = {}
    for number, pair in enumerate(PAIRS):
        key = f"{_GRIDS}.{scale}.{number}"
        plane = tensors.take(key, (1, made[0].shape[0] if made else None, None, None))[0]
        for axis, size in zip(pair, plane.shape[:0:-1], strict=True):
            known, where = sizes.setdefault(axis, (size, key))
            if known != size:
                raise FormatError(
                    f"{tensors.path}: {key} has {size} cells along {'xyzt'[axis]}, {where} has {known}; {_AGAIN}"
                )
        made.append(plane)
    return tuple(made)


def _trunk(tensors: _Tensors) -> tuple[Layer, ...]:
    layers = [tensors.layer(f"{_PREFIX}.feature_out.0", None, None)]
    for number in count(2, 2):
        if f"{_PREFIX}.feature_out.{number}.weight" not in tensors.state:
            return tuple(layers)
        layers.append(tensors.layer(f"{_PREFIX}.feature_out.{number}", len(layers[-1][1]), None))
    raise AssertionError


def _harmonics(path: Path, settings: Mapping[str, Any]) -> float:
    factor = settings.get("grid_pe")
    if not isinstance(factor, int | float) or not 1 < factor < 1e6:  # the authors' code adds none for 1, and then fails
        raise UnsupportedError(
            f"{path}: {_PREFIX}.feature_out.0.weight takes three times the planes' features, as with grid_pe, which "
            f"is {factor!r} in cfg_args beside it; put grid_pe=<the number used in training>, at least 2, there"
        )
    return float(factor)


def _aabb(tensors: _Tensors, settings: Mapping[str, Any]) -> NDArray[np.float64]:
    key = f"{_PREFIX}.grid.aabb"
    bounds = settings.get("bounds")
    if key not in tensors.state and isinstance(bounds, int | float) and bounds > 0:
        return np.outer([1.0, -1.0], np.full(3, bounds, np.float64))  # as HexPlaneField starts
    aabb = tensors.take(key, (2, 3)).astype(np.float64)
    for axis in range(3):
        if aabb[0, axis] == aabb[1, axis]:
            raise FormatError(
                f"{tensors.path}: {key} has no extent along {'xyz'[axis]}: both corners are at {aabb[0, axis]:g}; "
                f"{_AGAIN}"
            )
    return aabb


def _voxels(tensors: _Tensors) -> tuple[F32, NDArray[np.float64]]:
    key = f"{_PREFIX}.empty_voxel"
    grid = tensors.take(f"{key}.grid", (1, 1, None, None, None))[0, 0]
    corners = np.stack([tensors.take(f"{key}.xyz_{end}", (3,)) for end in ("min", "max")]).astype(np.float64)
    if (corners[0] == corners[1]).any():
        raise FormatError(f"{tensors.path}: {key}.xyz_min and {key}.xyz_max enclose nothing; {_AGAIN}")
    return grid, corners
