"""Draws thumbnails headless, for scenes that carry no picture of their own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from splatlens.converters.opened import Scene
from splatlens.server_thumbs import Draw, Thumbnail
from splatlens.viewer.images import png_bytes
from splatlens.viewer.lens import LensReader
from splatlens.viewer.scene import thumbnail_type

if TYPE_CHECKING:
    from splatlens.viewer.render import Renderer

#: Pixels of a thumbnail: twice the size it is shown at, for fine screens.
SIZE = (640, 360)
#: Splats drawn at most: at this size more change nothing that is seen, and a software adapter takes a second for these.
BUDGET = 60_000


def drawer() -> Draw:
    """A function that gives a scene file's thumbnail: the picture in it, else one drawn from where the viewer starts.

    It keeps one renderer for all files, so it must be called from one thread at a time. It raises LensError for a
    damaged file, DeviceError without a graphics adapter.
    """
    renderers: list[Renderer] = []

    def draw(path: Path) -> Thumbnail:
        with LensReader.open(path) as reader:
            if stored := reader.thumbnail():
                return Thumbnail(stored, thumbnail_type(stored))
        if not renderers:
            from splatlens.viewer.render import Renderer  # here: where all scenes carry pictures no driver is needed

            renderers.append(Renderer(exact=False))
        with Scene(path, renderer=renderers[0]) as scene:
            # Without networks that finish the picture: dozens of runs, seconds each, for a list.
            image = scene.render(scene.start.resized(*SIZE), budget=BUDGET, postprocess=False)
        return Thumbnail(png_bytes(image), "image/png")

    return draw
