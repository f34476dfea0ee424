"""Quantisation of one layer: its steps, its SH basis, and the integer rules that encoder and decoders share."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.fields import Field
from splatlens.viewer.layout import constant
from splatlens.viewer.splats import SH_COEFFICIENTS

Integers = NDArray[np.int32]

#: Steps of the logarithm of scales, a factor of two. The DC lattice: units of the SH coefficient, at exponent 0.
SCALE_STEPS = constant("SCALE_STEPS")
COLOR_UNIT = 2.0**-6
#: Largest shift of each quantity: the field of the GPU word it lands in has no room for more.
MAX_SHIFT = {"middle": 5, "thin": 6, "axis": 7, "roll": 7, "color": 7, "sh": 7}
#: Steps of the largest scale double every 32 steps (two octaves) below the knee, up to 16.
_ZONE = 32
_COARSEST = 16
#: How far the anisotropy narrows the steps of a rotation: it counts up to these ratios (steps of the log scale).
_MAX_NEEDLE, _MAX_DISC = 80, 64


@dataclass(frozen=True)
class LayerCodec:
    """What decoding the clusters of a layer needs besides their bytes; stored as JSON in the layer's description.

    opacity_step: of the square root of opacity. knee: index of the largest scale, in 1 / SCALE_STEPS octaves, above
    which its steps are smallest. importance: (zero, low, high). steps: by quantity, 32 log2 of the step; see `shifts`.
    sh_step: SH value of one unit. sh_basis: (components, 3 * coefficients without DC) int8, coefficient-major.
    """

    sh_degree: int
    opacity_step: float
    knee: int
    importance: tuple[int, int, int]
    steps: dict[str, int]
    sh_step: float
    sh_basis: NDArray[np.int8]

    def to_json(self) -> dict[str, Any]:
        basis = base64.b64encode(self.sh_basis.tobytes()).decode()
        return {
            "sh_degree": self.sh_degree,
            "opacity_step": self.opacity_step,
            "knee": self.knee,
            "importance": list(self.importance),
            "steps": dict(self.steps),
            "sh_step": self.sh_step,
            "sh_basis": basis,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> LayerCodec:
        """Raises FormatError where a member is missing or out of range."""
        top = Field(data, "layer", "codec")
        degree = top.member("sh_degree").integer(0, 3)
        width = 3 * (SH_COEFFICIENTS[degree] - 1)
        text = top.member("sh_basis").text(4 * (width * width // 3 + 1))
        try:
            raw = base64.b64decode(text, validate=True)
        except binascii.Error:
            top.member("sh_basis").fail("base64")
        if (len(raw) % width if width else len(raw)) or len(raw) > width * width:
            top.member("sh_basis").fail(f"at most {width} rows of {width} bytes")
        limits = top.member("importance").items(3, 3)
        importance = (
            limits[0].integer(-(2**15), 2**15),
            limits[1].integer(-1024, 1024),
            limits[2].integer(-1024, 1024),
        )
        if importance[1] > importance[2]:
            top.member("importance").fail("low at most high")
        steps = top.member("steps")
        return LayerCodec(
            degree,
            top.member("opacity_step").number(2.0**-20, 1.0),
            top.member("knee").integer(-4096, 4096),
            importance,
            {name: steps.member(name).integer(-4096, 4096) for name in MAX_SHIFT},
            top.member("sh_step").number(2.0**-40, 2.0**20),
            np.frombuffer(raw, np.int8).reshape(-1, width or 1),
        )


def log2_index(root: Integers) -> Integers:
    """16 * log2 of positive integers below 2^24, exact integer arithmetic: linear between powers of two; 0 for 0."""
    root = np.maximum(root, 1)
    whole = np.frexp(root.astype(np.float32))[1] - 1
    return np.asarray(16 * whole + ((root << 4) >> whole) - 16, np.int32)


def scale_index(code: Integers, knee: int) -> Integers:
    """Index of the largest scale, SCALE_STEPS an octave, that a code stands for.

    Steps are 1 above the knee and then 2, 4, 8 and 16, each for two octaves: large splats matter more than small ones.
    """
    out, top, step = np.asarray(code + knee, np.int32), 0, 1
    index = knee
    while step < _COARSEST:
        step *= 2
        out = np.where(code < top, index + step * (code - top), out)
        top -= _ZONE // step
        index -= _ZONE
    return out.astype(np.int32)


def scale_code(index: NDArray[np.float64], knee: int) -> Integers:
    """The code whose scale_index is nearest to a real index, about."""
    relative = index - knee
    out, top, step, start = relative, 0.0, 1, 0.0
    while step < _COARSEST:
        step *= 2
        out = np.where(relative < start, top + (relative - start) / step, out)
        top -= _ZONE // step
        start -= _ZONE
    return np.asarray(np.rint(out), np.int32)


def importance(codec: LayerCodec, scale: Integers, root: Integers) -> Integers:
    """How much a splat's errors matter: steps shrink with the square root of opacity x largest scale, within limits.

    scale: index of the largest scale. root: square root of opacity, steps. A unit is 1/32 of a halving of the step.
    """
    zero, low, high = codec.importance
    return np.asarray(np.clip(scale + 2 * log2_index(root) - zero, low, high), np.int32)


def shifts(codec: LayerCodec, name: str, weight: Integers, middle: Integers | int, thin: Integers | int) -> Integers:
    """Left shift of a stored quantity: its step is 2^shift lattice units.

    weight: importance less 16 for each half octave that the cluster is coarser, 24 for SH. middle, thin: steps that the
    second and the third scale lie below the first. Directions matter more the longer a splat is, roll the more it is
    a blade.
    """
    exponent = codec.steps[name] - weight
    if name == "thin":
        exponent = exponent + (np.minimum(middle, _MAX_DISC) >> 1)
    elif name == "axis":
        exponent = exponent - np.minimum(middle, _MAX_NEEDLE) - ((3 * np.clip(thin - middle, 0, _MAX_DISC)) >> 2)
    elif name == "roll":
        exponent = exponent - np.clip(thin - middle, 0, _MAX_DISC)
    return np.asarray(np.clip(exponent >> 5, 0, MAX_SHIFT[name]), np.int32)
