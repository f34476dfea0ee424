"""What a conversion does to the splats of its inputs: transforms, crops and filters, once for all or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.dedupe import Dedupe
from splatlens.converters.filters import Crop, crop, max_sh, min_opacity, parse_crop
from splatlens.converters.source import Source
from splatlens.converters.transform import parse_transform
from splatlens.viewer.errors import LensError

F64 = NDArray[np.float64]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Edits:
    """transforms: (4, 4) of each input, old to new coordinates; crops: in new coordinates, of each input.

    Both empty for none. max_sh: highest SH degree kept; min_opacity: least opacity kept; dedupe: copies are left out,
    also those of earlier inputs' splats.
    """

    transforms: tuple[F64, ...] = ()
    crops: tuple[Crop, ...] = ()
    max_sh: int | None = None
    min_opacity: float | None = None
    dedupe: bool = False

    def matrix(self, index: int) -> F64:
        """Of one input."""
        return self.transforms[index] if self.transforms else np.eye(4)

    def apply(self, sources: Sequence[Source], numbers: Sequence[int] | None = None) -> list[Source]:
        """All but the transforms, which the output's format decides on. numbers: of the inputs, where some are none."""
        edited = list(sources)
        last: Dedupe | None = None
        for place, source in enumerate(edited):
            i = place if numbers is None else numbers[place]
            if self.max_sh is not None:
                source = max_sh(source, self.max_sh)
            if self.min_opacity is not None:
                source = min_opacity(source, self.min_opacity)
            if self.crops:
                source = crop(source, self.crops[i], self.matrix(i))
            if self.dedupe:
                last = Dedupe(source, last)
                source = last.source
            edited[place] = source
        return edited

    def of_inputs(self, owners: Sequence[int]) -> Edits:
        """For inputs that came apart: owners, the number of the input that each part is of."""
        transforms = tuple(self.transforms[i] for i in owners) if self.transforms else ()
        return replace(self, transforms=transforms, crops=tuple(self.crops[i] for i in owners) if self.crops else ())

    @property
    def removes(self) -> bool:
        """Whether rows may be left out."""
        return bool(self.crops) or self.min_opacity is not None or self.dedupe


def make_edits(
    inputs: int,
    transform: Sequence[str | F64] = (),
    crop: Sequence[str | Crop] = (),
    max_sh: int | None = None,
    min_opacity: float | None = None,
    dedupe: bool = False,
) -> Edits:
    """Edits of texts as the command line has them, or of values. Raises LensError."""
    matrices = [parse_transform(t) if isinstance(t, str) else np.asarray(t, np.float64) for t in transform]
    regions = [parse_crop(c) if isinstance(c, str) else c for c in crop]
    if max_sh is not None and not 0 <= max_sh <= 3:
        raise LensError(f"max_sh {max_sh}: expected an SH degree from 0 to 3")
    if min_opacity is not None and not 0 <= min_opacity <= 1:
        raise LensError(f"min_opacity {min_opacity}: expected an opacity from 0 to 1")
    each = _each("transform", matrices, inputs), _each("crop", regions, inputs)
    return Edits(*each, max_sh, min_opacity, dedupe)


def _each(name: str, given: list[_T], inputs: int) -> tuple[_T, ...]:
    """One for each input: given so, or one for all, or none."""
    if len(given) == 1:
        return tuple(given * inputs)
    if given and len(given) != inputs:
        raise LensError(f"{name}: given {len(given)} times for {inputs} inputs; give it once for all or once for each")
    return tuple(given)
