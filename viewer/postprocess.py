"""Runs post-processing networks on a finished picture, headless: cuts it into tiles and puts them together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import ImageSize
from splatlens.viewer.errors import LensError
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.model_graph import shape_text
from splatlens.viewer.tiles import Tile, tiles

Image = NDArray[np.float32]
#: Hears what went wrong without being an error, one line.
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Postprocess:
    """A layer of kind `postprocess`. on: whether it takes part."""

    model: Model
    moment: Moment = field(default_factory=Moment)
    on: bool = True


def finish(picture: Image, layers: Sequence[Postprocess], camera: Camera, notice: Notice = lambda text: None) -> Image:
    """The picture after every layer that is on, in their order: (H, W, 4) float32, alpha kept.

    picture: as Renderer.render gives it, rgb over the background. camera: what it was drawn with. Raises LensError.
    """
    for layer in layers:
        if layer.on:
            picture = apply(layer.model, picture, layer.moment, camera, notice)
    return picture


def apply(
    model: Model, picture: Image, moment: Moment, camera: Camera, notice: Notice = lambda text: None
) -> Image:
    """The picture after one network. A pixel for which it gives a value that is not finite stays as it was.

    Raises LensError: the network fails, or gives another size than it was given.
    """
    contract = model.contract
    name = next(key for key, one in contract.inputs.items() if one.meaning == "image")
    output = contract.outputs["image"].output
    given = np.clip(picture[..., :3], 0, 1)
    made = picture.copy()
    height, width = picture.shape[:2]
    lost = 0
    for tile in tiles(contract.image or ImageSize(), width, height):
        tensor = cut(given, tile).astype(model.graph.inputs[name].type)
        result = model.run(moment, camera, images={name: tensor})[output]
        if result.shape != tensor.shape:
            sizes = f"{shape_text(result.shape)} for an image of {shape_text(tensor.shape)}"
            raise LensError(f"{model.name}: output {output!r}: gave {sizes}; expected the same shape: mend the model")
        lost += paste(made, given, result, tile)
    if lost:
        notice(f"{model.name}: {lost:,} of {width * height:,} pixels came out not finite and are shown unprocessed")
    return made


def cut(given: Image, tile: Tile) -> Image:
    """(1, 3, h, w) of a picture (H, W, 3), edge pixels repeated outside."""
    (x, y), (w, h) = tile.origin, tile.size
    rows = np.minimum(np.arange(y, y + h), given.shape[0] - 1)
    columns = np.minimum(np.arange(x, x + w), given.shape[1] - 1)
    return np.ascontiguousarray(given[rows][:, columns].transpose(2, 0, 1)[None])


def paste(made: Image, given: Image, result: NDArray[Any], tile: Tile) -> int:
    """Writes a tile's kept pixels to `made` (H, W, 4); how many were not finite, which take those of `given`."""
    (x0, y0), (x1, y1), (x, y) = tile.first, tile.end, tile.origin
    kept = result[0, :, y0 - y : y1 - y, x0 - x : x1 - x].transpose(1, 2, 0).astype(np.float32)
    fine = np.asarray(np.isfinite(kept).all(axis=2))
    made[y0:y1, x0:x1, :3] = np.where(fine[..., None], kept, given[y0:y1, x0:x1])
    return int(fine.size - np.count_nonzero(fine))
