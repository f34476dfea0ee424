"""How a picture is cut into what a post-processing network takes, and what is kept of each (docs/generator.md)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from splatlens.viewer.contract import ImageSize


@dataclass(frozen=True)
class Tile:
    """One run of a network. All pairs are x, y in pixels.

    origin: pixel of the picture that the tensor's first is. size: width, height of the tensor; pixels past the
    picture's edge repeat the edge's. first, end: the pixels of the picture taken from it, `end` not included.
    """

    origin: tuple[int, int]
    size: tuple[int, int]
    first: tuple[int, int]
    end: tuple[int, int]


def spans(length: int, tile: int, overlap: int) -> list[tuple[int, int, int]]:
    """(origin, first, end) of the tiles along one side of a picture.

    Tiles follow one another every tile - overlap pixels; the last one is moved back to end with the picture. The border
    between two neighbours is the middle of what they share, rounded down.
    """
    step = tile - overlap
    count = 1 if length <= tile else -(-(length - overlap) // step)
    origins = [min(k * step, max(length - tile, 0)) for k in range(count)]
    borders = [(a + tile + b) // 2 for a, b in pairwise(origins)]
    return list(zip(origins, [0, *borders], [*borders, length], strict=True))


def tiles(image: ImageSize, width: int, height: int) -> list[Tile]:
    """The runs that a picture takes, row by row. One, rounded up to the multiple, where sizes are dynamic."""
    if image.size is None:
        w, h = (-(-side // image.multiple) * image.multiple for side in (width, height))
        return [Tile((0, 0), (w, h), (0, 0), (width, height))]
    h, w = image.size
    return [
        Tile((x, y), (w, h), (x0, y0), (x1, y1))
        for y, y0, y1 in spans(height, h, image.overlap)
        for x, x0, x1 in spans(width, w, image.overlap)
    ]
