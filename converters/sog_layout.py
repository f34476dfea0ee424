"""Facts of the SOG format that its reader and its writer share: texture sizes, transforms, names.

Source: the PlayCanvas SOG specification (developer.playcanvas.com, "The SOG Format"), version 2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The version that `meta.json` names; version 1 files name none.
VERSION = 2
#: Largest width or height of a WebP picture, texels.
MAX_SIDE = 16383
#: Palette entries that stand side by side in a row of the centroids' texture.
ENTRIES_ACROSS = 64
#: SH coefficients a colour channel has besides the first, by degree.
REST = (0, 3, 8, 15)
#: Entries of a codebook: an index is a byte.
CODEBOOK = 256
#: Largest palette of SH rows: a label is two bytes.
MAX_PALETTE = 1 << 16
#: Alpha of a quaternion's texel is this plus the index (0 w, 1 x, 2 y, 3 z) of the component left out, the largest.
QUAT_TAG = 252
#: The components that r, g and b then hold, by the index of the one left out.
QUAT_OTHERS = ((1, 2, 3), (0, 2, 3), (0, 1, 3), (0, 1, 2))

META_NAME = "meta.json"
#: Texture names as every known writer gives them; readers go by the names in `meta.json`.
MEANS_FILES = ("means_l.webp", "means_u.webp")
SCALES_FILES = ("scales.webp",)
QUATS_FILES = ("quats.webp",)
SH0_FILES = ("sh0.webp",)
SHN_FILES = ("shN_centroids.webp", "shN_labels.webp")

#: `model` in `meta.json`: trained with a compensated blur (Yu et al. 2024), and as discs (Huang et al. 2024).
ANTIALIASED = "antialiased"
FLAT = "2dgs"


def texture_size(count: int) -> tuple[int, int]:
    """Width and height of the textures of `count` splats: multiples of 4, nearly square; splat i is texel i."""
    width = math.ceil(math.sqrt(count) / 4) * 4
    return width, math.ceil(count / width / 4) * 4


def centroids_size(entries: int, rest: int) -> tuple[int, int]:
    """Width and height of the texture of `entries` SH rows of `rest` coefficients.

    Coefficient j of entry n is the texel in row n // 64, column (n % 64) * rest + j; r, g, b are its channels.
    """
    return ENTRIES_ACROSS * rest, math.ceil(entries / ENTRIES_ACROSS)


def log_transform(x: NDArray[Any]) -> NDArray[np.float64]:
    """sign(x) ln(|x| + 1), the scale on which centres are quantised; float64."""
    x = np.asarray(x, np.float64)
    transformed: NDArray[np.float64] = np.copysign(np.log1p(np.abs(x)), x)
    return transformed


def inverse_log_transform(v: NDArray[Any]) -> NDArray[np.float64]:
    """sign(v) (exp(|v|) - 1); float64, infinite where that overflows."""
    v = np.asarray(v, np.float64)
    with np.errstate(over="ignore"):
        x: NDArray[np.float64] = np.copysign(np.expm1(np.abs(v)), v)
    return x
