"""An opened scene: facts at once, splats and pictures when asked for, the same for .lens files and for sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters import SourceInfo, find_format, lens, open_source, read_splats, require_heeded
from splatlens.converters.format import ReadOptions
from splatlens.viewer.camera import Camera
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.viewer.lens_reader import LensReader
    from splatlens.viewer.render import Layer, Renderer

Image = NDArray[np.float32]
#: Hears what is being done and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]

#: Which way is up where no file says: against the y axis of the COLMAP frame.
DEFAULT_UP = (0.0, -1.0, 0.0)


class Scene:
    """An opened scene: a .lens file, or any source that can be read (then drawn from float32, unquantised).

    Facts are there at once; splats are read when first drawn or asked for. Use it in a `with` block, or `close` it.
    """

    def __init__(
        self,
        path: str | Path,
        progress: Progress | None = None,
        renderer: Renderer | None = None,
        options: ReadOptions = ReadOptions(),
    ) -> None:
        """Raises LensError. progress: hears of reading and of building the tree; renderer: None makes one if needed."""
        self.path, self._options = Path(path), options
        self.format = find_format(self.path).name
        self._tell = progress or (lambda what, share: None)
        self._reader: LensReader | None = None
        self._source: SourceInfo | None = None
        self._splats: Splats | None = None
        self._layers: dict[bool, list[Layer]] = {}
        self._renderer = renderer
        if self.format == "lens":
            require_heeded(self.path, lens.FORMAT, options)
            from splatlens.viewer.lens_reader import LensReader

            self._reader = LensReader.open(self.path)
        else:
            self._source = open_source(self.path, options).info

    def close(self) -> None:
        """Closes the file; pictures can no longer be drawn of a .lens scene."""
        if self._reader is not None:
            self._reader.close()

    def __enter__(self) -> Scene:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def cameras(self) -> tuple[Camera, ...]:
        """The training cameras; empty where the file has none."""
        if self._reader is not None:
            return self._reader.cameras()
        assert self._source is not None
        return self._source.cameras

    @property
    def up(self) -> tuple[float, float, float]:
        """Unit vector in scene coordinates."""
        if self._reader is not None:
            return self._reader.scene.up
        assert self._source is not None
        return self._source.up or DEFAULT_UP

    @property
    def start(self) -> Camera:
        """Where a viewer starts."""
        from splatlens.viewer.convert import start_camera

        if self._reader is not None:
            scene = self._reader.scene
            corners = np.array(scene.bounds or ((-1, -1, -1), (1, 1, 1)), np.float32)
            return scene.camera or start_camera(corners, scene.up)
        assert self._source is not None
        given = self._source.camera or next(iter(self._source.cameras), None)
        return given or start_camera(self.read().means, self.up)

    @property
    def background(self) -> tuple[float, float, float]:
        """r, g, b in 0..1."""
        if self._reader is not None:
            return self._reader.scene.background
        assert self._source is not None
        return self._source.background or (0.0, 0.0, 0.0)

    def facts(self) -> dict[str, Any]:
        """What `splatlens info --json` prints: plain values. Reads no splats."""
        if self._reader is not None:
            return {"path": str(self.path), "format": self.format, **self._reader.facts()}
        assert self._source is not None
        return self._source.to_json()

    def read(self) -> Splats:
        """All splats at full detail; of a .lens file as it stores them. Raises LensError."""
        if self._splats is None:
            what = f"reading {self.path.name}"
            self._splats, info = read_splats(self.path, lambda share: self._tell(what, share), self._options)
            if self._source is not None:
                self._source = info
        return self._splats

    def render(
        self,
        camera: Camera,
        *,
        budget: float | None = None,
        background: Sequence[float] | None = None,
        reference: bool = False,
    ) -> Image:
        """Draws the scene through the shaders, headless: (height, width, 4) float32.

        rgb over `background` (None: the scene's), unclipped; alpha = 1 - transmittance. budget: splats drawn at most,
        chosen by the level of detail; None draws all at full detail. reference: by the float64 NumPy renderer instead.
        Raises LensError, DeviceError without a graphics adapter.
        """
        from splatlens.viewer.frame import RenderOptions
        from splatlens.viewer.render import Renderer, render_reference

        r, g, b = background if background is not None else self.background
        options = RenderOptions(background=(float(r), float(g), float(b)))
        layers = self._drawn(budget is not None)
        most = np.inf if budget is None else float(budget)
        if reference:
            return render_reference(layers, camera, options, most)
        if self._renderer is None:
            self._renderer = Renderer()
        return self._renderer.render(layers, camera, options, most)

    def _drawn(self, with_tree: bool) -> list[Layer]:
        """The layers as the renderer takes them; a raw source gets its tree only for a budget."""
        from splatlens.viewer.render import PagedLayer, RawLayer
        from splatlens.viewer.scene import Kernel

        if self._reader is not None:
            if False not in self._layers:
                from splatlens.viewer.paged import LensPages

                self._layers[False] = [
                    PagedLayer(LensPages(layer), self._reader.layers[i].transform, layer.info.kernel)
                    for i, layer in self._reader.splats_layers.items()
                ]
            return self._layers[False]
        if with_tree not in self._layers:
            tree = None
            if with_tree:
                from splatlens.viewer.tree import build_tree

                tree = build_tree(self.read(), lambda share: self._tell("building the tree", share))
            splats, info = self.read(), self._source
            assert info is not None
            kernel = Kernel(Kernel().dilation if info.dilation is None else info.dilation, bool(info.antialias))
            self._layers[with_tree] = [RawLayer(splats, tree, kernel=kernel)]
        return self._layers[with_tree]
