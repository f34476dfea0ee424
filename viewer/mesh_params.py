"""The numbers that a shading stage reads from storage buffers: what bytes mean (twin: static/mesh/params.js)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.mesh import LightField, Look, channel_words


def pack_params(look: Look) -> NDArray[np.float32]:
    """(n, 4) float32: scales of all channels, then offsets, four a row and 0 beyond the last channel."""
    rows = -(-look.channels // 4)
    out = np.zeros((2, 4 * rows), np.float32)
    out[0, : look.channels], out[1, : look.channels] = look.scale, look.offset
    return out.reshape(-1, 4)


def pack_directions(look: Look) -> NDArray[np.uint32]:
    """Words of the light field's map of directions, row by row."""
    assert isinstance(look.method, LightField)
    return channel_words(look.method.directions).ravel()
