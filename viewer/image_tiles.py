"""What a frame with post-processing networks needs: the plan's lists and the tiles' uniforms (static/live/tiles.js)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.contract import ImageSize
from splatlens.viewer.layout import dtype
from splatlens.viewer.tiles import tiles

#: Elements in a u32.
_PACKED = {"float32": 1, "float16": 2}


def image_lists(
    layers: Sequence[tuple[ImageSize, str, str]], width: int, height: int
) -> tuple[dict[str, list[dict[str, int | str]]], NDArray[np.void]]:
    """The lists of pipeline.json for these layers, in scene order, and (T,) ImageTile, one for each run.

    layers: the sizes each network takes, and the types of its input and output. Layer k reads the picture of the layer
    before it, `color` at first, and paints the texture `image.k`; `present` shows the last.
    """
    lists: dict[str, list[dict[str, int | str]]] = {"image_layers": [], "image_tiles": []}
    made: list[NDArray[np.void]] = []
    picture = "color"
    for k, (image, given, gives) in enumerate(layers):
        cut = tiles(image, width, height)
        w, h = cut[0].size
        words = {"input_words": -(-3 * w * h // _PACKED[given]), "output_words": -(-3 * w * h // _PACKED[gives])}
        lists["image_layers"].append({**words})
        names = {name: f"{name}.{k}" for name in ("image", "image_input", "image_output", "image_lost")}
        for tile in cut:
            lists["image_tiles"].append({"picture": picture, **names, "input_words": words["input_words"]})
            one = np.zeros((), dtype("ImageTile"))
            one["origin"], one["size"], one["first"], one["end"] = tile.origin, tile.size, tile.first, tile.end
            one["half_input"], one["half_output"] = given == "float16", gives == "float16"
            one["input_words"] = words["input_words"]
            made.append(one)
        picture = f"image.{k}"
    return {**lists, "shown": [{"picture": picture}]}, np.array(made, dtype("ImageTile"))
