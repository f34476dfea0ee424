"""A layer of a .lens that has no clusters: properties and blobs. Apart, as trees import scipy and converters do not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError
from splatlens.viewer.scene import LAYER_KINDS


def _identity() -> NDArray[np.float64]:
    return np.eye(4)


@dataclass(frozen=True)
class BlobLayer:
    """A layer of any other kind: its own properties (JSON values) and blobs by name.

    raw: names of blobs that are stored as they are, never deflated: readers fetch parts of them.
    """

    kind: str
    blobs: dict[str, bytes]
    properties: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    transform: NDArray[np.float64] = field(default_factory=_identity)
    raw: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.kind == LAYER_KINDS[0]:
            raise LensError("layer: a layer of kind 'splats' has clusters; use SplatsLayer")
