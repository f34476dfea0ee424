"""What `import splatlens` offers: open, convert, render and serve, with types. Heavy modules load when first used."""

from __future__ import annotations

import builtins
import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import ReadOptions, WriteOptions
from splatlens.converters.opened import Image, Progress, Scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.converters.convert import Converted

Matrix = NDArray[np.float64]


def open(
    path: str | Path,
    progress: Progress | None = None,
    *,
    lod: int = 0,
    as_stored: bool = False,
    axes: str | None = None,
) -> Scene:
    """Opens a .lens file or any readable source. Raises LensError.

    lod: the level of a source that has several, 0 the finest; as_stored, axes: see `convert`.
    """
    return Scene(path, progress, options=ReadOptions(lod, as_stored, axes=axes))


def convert(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    transform: str | Matrix | Sequence[str | Matrix] = (),
    crop: str | Sequence[str] = (),
    max_sh: int | None = None,
    min_opacity: float | None = None,
    dedupe: bool = False,
    lod: int = 0,
    as_stored: bool = False,
    axes: str | None = None,
    time_span: tuple[float, float] | None = None,
    seconds: float | None = None,
    spz_version: int = 4,
    time: float | None = None,
    controls: Mapping[str, float] | None = None,
    tracks: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Converts one source, or several, into the format that the output's name ends with.

    Several inputs become a layer each of a .lens, and follow one another in any other format.
    transform: (4, 4) old to new coordinates, or words such as "rotate=0,90,0 scale=2 move=0,1,0", for all inputs or one
    for each; a .lens keeps it as the layer's matrix, other formats take similarities. crop: "x,y,z,x,y,z" keeps what
    lies in the box, "x,y,z,radius" in the sphere, new coordinates. max_sh: highest SH degree kept; min_opacity: least
    opacity kept, 0 to 1; dedupe: bitwise copies of a splat are left out. lod: level of a streamed SOG, 0 the finest;
    as_stored: no turn to the 3DGS frame for SPZ and glTF files whose writer made none. axes: the kind of scene that a
    MobileNeRF was trained on, "synthetic", "unbounded" or "forward-facing"; guessed where not given. spz_version: 3 or
    4. time_span: first and last moment that are played, in its own time, of a scene that moves by formulas; seconds:
    they take.
    time, controls, tracks: generators and sequences are taken at this moment (seconds; values and names as
    `Scene.render` has them) and become stored splats.
    progress hears (what, share done). Raises LensError; nothing is left half-written.
    """
    from splatlens.converters.convert import convert as run
    from splatlens.converters.edits import make_edits

    paths = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    one = isinstance(transform, str) or (isinstance(transform, np.ndarray) and transform.ndim == 2)
    edits = make_edits(
        len(paths),
        cast(Sequence["str | Matrix"], [transform] if one else transform),
        [crop] if isinstance(crop, str) else crop,
        max_sh,
        min_opacity,
        dedupe,
    )
    write = WriteOptions(spz_version=spz_version)
    read = ReadOptions(lod, as_stored, time_span, seconds, axes)
    moment = None
    if time is not None or controls or tracks:
        from splatlens.viewer.live import Settings

        moment = Settings(time or 0.0, controls or {}, tracks)
    return run(paths, output, force=force, progress=progress, edits=edits, read=read, write=write, moment=moment)


def render(
    scene: str | Path | Scene,
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
    """One picture of a scene, as `Scene.render` draws it. For several, open the scene once and use that."""
    with contextlib.nullcontext(scene) if isinstance(scene, Scene) else Scene(scene) as opened:
        return opened.render(
            camera,
            time=time,
            controls=controls,
            tracks=tracks,
            postprocess=postprocess,
            budget=budget,
            background=background,
            reference=reference,
        )


def serve(
    *roots: str | Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    tls_cert: str | Path | None = None,
    tls_key: str | Path | None = None,
    on_ready: Callable[[str], None] = lambda url: builtins.print(url, flush=True),
) -> None:
    """Serves folders of .lens files, or single ones, until Ctrl-C or SIGTERM; `on_ready` gets the address.

    Port 0 takes a free one. `splatlens.server.background` serves while a block runs. Raises LensError.
    """
    from splatlens import server
    from splatlens.server_draw import drawer

    config = server.ServerConfig(tuple(Path(root) for root in roots), draw_thumbnail=drawer())
    cert, key = (None if path is None else Path(path) for path in (tls_cert, tls_key))
    server.run(config, host, port, cert, key, on_ready)


__all__ = ["Camera", "LensError", "Scene", "Splats", "convert", "open", "render", "serve"]
