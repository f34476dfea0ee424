"""An opened scene: facts at once, splats and pictures when asked for, the same for .lens files and for sources."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters import SourceInfo, find_format, lens, open_any, read_splats, require_heeded
from splatlens.converters.format import ReadOptions
from splatlens.converters.generator import live_facts
from splatlens.converters.layer_source import LayerSource
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.viewer.generated import Attributes
    from splatlens.viewer.generator import Moment
    from splatlens.viewer.lens_reader import LensReader
    from splatlens.viewer.live import LiveLayer
    from splatlens.viewer.mesh import MeshTree
    from splatlens.viewer.render import Layer, Renderer

Image = NDArray[np.float32]
#: Hears what is being done and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]

#: Which way is up where no file says: against the y axis of the COLMAP frame.
DEFAULT_UP = (0.0, -1.0, 0.0)


class Scene:
    """An opened scene: a .lens file, or any source that can be read (then drawn from float32, unquantised).

    Facts are there at once; splats are read, and models loaded, when first drawn or asked for. Use it in a `with`
    block, or `close` it. notices: what was amiss in the last picture, one sentence each.
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
        self._layers: dict[bool, dict[int, Layer]] = {}
        self._live: dict[int, LiveLayer] | None = None
        self._trees: dict[int, MeshTree] | None = None
        self._layer_source: LayerSource | None = None
        self._renderer = renderer
        self.notices: list[str] = []
        if self.format == "lens":
            require_heeded(self.path, lens.FORMAT, options)
            from splatlens.viewer.lens_reader import LensReader

            self._reader = LensReader.open(self.path)
        else:
            source = open_any(self.path, options)
            self._source, self._layer_source = source.info, source if isinstance(source, LayerSource) else None

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
        if given := self._source.camera or next(iter(self._source.cameras), None):
            return given
        if self._layer_source is not None:
            if self._layer_source.mesh is not None:
                corners = np.array(list(itertools.product(*self._meshes[0].nodes.support[0].T)))
                return start_camera(corners.astype(np.float32), self.up)
            bounds = next(iter(self.live.values())).bounds
            return start_camera(np.array(bounds or ((-1, -1, -1), (1, 1, 1)), np.float32), self.up)
        return start_camera(self.read().means, self.up)

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
            facts = {"path": str(self.path), "format": self.format, **self._reader.facts()}
            for i, layer in self.live.items():
                if layer.kind != "sequence":
                    facts["layers"][i] |= {"live": live_facts(*layer.declared)}
            return facts
        assert self._source is not None
        if (source := self._layer_source) is None:
            return self._source.to_json()
        described = source.describe()
        return source.facts().to_json() | {"mesh" if source.mesh else "live": described}

    @property
    def live(self) -> dict[int, LiveLayer]:
        """Generators, sequences and post-processing networks, by the number of their layer. Loads no model."""
        if self._live is None:
            from splatlens.viewer.live import live_layer

            source = self._layer_source
            if self._reader is not None:
                self._live = lens.live_layers(self._reader)
            elif source is None or source.mesh is not None:
                self._live = {}
            else:
                self._live = {0: live_layer(source.layer(), str(self.path))}
        return self._live

    @property
    def _meshes(self) -> dict[int, MeshTree]:
        """Baked meshes, by the number of their layer; a source is read and its levels of detail built."""
        if self._trees is None:
            source = self._layer_source
            if self._reader is not None:
                self._trees = lens.mesh_trees(self._reader)
            else:
                self._tell(f"preparing {self.path.name}", 0)
                self._trees = {0: source.mesh()} if source is not None and source.mesh is not None else {}
        return self._trees

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
        time: float = 0.0,
        controls: Mapping[str, float] | None = None,
        tracks: Sequence[str] = (),
        postprocess: bool = True,
        budget: float | None = None,
        background: Sequence[float] | None = None,
        reference: bool = False,
    ) -> Image:
        """Draws the scene through the shaders, headless: (height, width, 4) float32.

        rgb over `background` (None: the scene's), unclipped; alpha = 1 - transmittance. time: seconds of the scene's
        clock; controls, tracks: of its live layers, by name or "layer:name" ("none" for no track); postprocess: whether
        post-processing networks finish the picture. budget: splats drawn at most, chosen by the level of detail; None
        draws all at full detail. reference: by the float64 NumPy renderer instead.
        Raises LensError, DeviceError without a graphics adapter.
        """
        from splatlens.viewer.frame import RenderOptions
        from splatlens.viewer.render import Renderer, render_reference

        r, g, b = background if background is not None else self.background
        options = RenderOptions(background=(float(r), float(g), float(b)))
        moments = self._moments(time, controls, tracks)
        layers = self._drawn(budget is not None, moments, camera)
        most = np.inf if budget is None else float(budget)
        if reference:
            picture = render_reference(layers, camera, options, most)
        else:
            if self._renderer is None:
                self._renderer = Renderer()
            picture = self._renderer.render(layers, camera, options, most)
        return self._finished(picture, camera, moments) if postprocess else picture

    def generated(
        self,
        camera: Camera | None = None,
        *,
        time: float = 0.0,
        controls: Mapping[str, float] | None = None,
        tracks: Sequence[str] = (),
    ) -> dict[int, Attributes]:
        """What each generator gave, `features` included, by the number of its layer. camera: None is `start`."""
        from splatlens.viewer.generated import GeneratedLayer, attributes

        found, seen = {}, camera or self.start
        for i, moment in self._moments(time, controls, tracks).items():
            if self.live[i].kind == "generator":
                layer = self.live[i].at(moment, seen)
                assert isinstance(layer, GeneratedLayer)
                found[i] = attributes(layer.contract, layer.outputs)
        return found

    def _moments(
        self, time: float, controls: Mapping[str, float] | None, tracks: Sequence[str]
    ) -> dict[int, Moment]:
        from splatlens.viewer.live import Settings, moments_of

        settings = Settings(time, controls or {}, tracks)
        found = moments_of(list(self.live.values()), settings, str(self.path))
        return dict(zip(self.live, found, strict=True))

    def _drawn(self, with_tree: bool, moments: dict[int, Moment], camera: Camera) -> list[Layer]:
        """The layers as the renderer takes them, in their order."""
        layers = dict(self._stored(with_tree))
        self.notices = []
        for i, live in self.live.items():
            if live.kind != "postprocess":
                layers[i] = live.at(moments[i], camera)
                self.notices += live.notices(moments[i], camera)
        if not layers:
            raise LensError(f"{self.path}: has nothing to draw: it finishes pictures; convert it together with a scene")
        return [layers[i] for i in sorted(layers)]

    def _finished(self, picture: Image, camera: Camera, moments: dict[int, Moment]) -> Image:
        """The picture after the scene's post-processing networks."""
        if all(live.kind != "postprocess" for live in self.live.values()):
            return picture
        from splatlens.viewer.postprocess import Postprocess, finish

        networks = [Postprocess(live.model, moments[i]) for i, live in self.live.items() if live.kind == "postprocess"]
        return finish(picture, networks, camera, self.notices.append)

    def _stored(self, with_tree: bool) -> dict[int, Layer]:
        """The layers of stored splats and of meshes; a raw source of splats gets its tree only for a budget."""
        from splatlens.viewer.mesh_layer import MeshLayer
        from splatlens.viewer.render import PagedLayer, RawLayer
        from splatlens.viewer.scene import Kernel

        if self._layer_source is not None:
            return {i: MeshLayer(tree) for i, tree in self._meshes.items()}
        if self._reader is not None:
            if False not in self._layers:
                from splatlens.viewer.paged import LensPages

                infos = self._reader.layers
                self._layers[False] = {
                    i: PagedLayer(LensPages(layer), infos[i].transform, layer.info.kernel)
                    for i, layer in self._reader.splats_layers.items()
                }
                self._layers[False] |= {i: MeshLayer(tree, infos[i].transform) for i, tree in self._meshes.items()}
            return self._layers[False]
        if with_tree not in self._layers:
            tree = None
            if with_tree:
                from splatlens.viewer.tree import build_tree

                tree = build_tree(self.read(), lambda share: self._tell("building the tree", share))
            splats, info = self.read(), self._source
            assert info is not None
            kernel = Kernel(Kernel().dilation if info.dilation is None else info.dilation, bool(info.antialias))
            self._layers[with_tree] = {0: RawLayer(splats, tree, kernel=kernel)}
        return self._layers[with_tree]
