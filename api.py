"""What `import splatlens` offers: open, convert, render and serve, with types. Heavy modules load when first used."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splatlens.converters.opened import Image, Progress, Scene
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

if TYPE_CHECKING:
    from splatlens.converters.convert import Converted


def open(path: str | Path, progress: Progress | None = None) -> Scene:
    """Opens a .lens file or any readable source. Raises LensError."""
    return Scene(path, progress)


def convert(
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Converts one source, or several in one coordinate frame, into the format that the output's extension names.

    progress hears (what, share done). Raises LensError; nothing is left half-written.
    """
    from splatlens.converters.convert import convert as run

    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    return run(several, output, force=force, progress=progress)


def render(
    scene: str | Path | Scene,
    camera: Camera,
    *,
    budget: float | None = None,
    background: Sequence[float] | None = None,
    reference: bool = False,
) -> Image:
    """One picture of a scene, as `Scene.render` draws it. For several, open the scene once and use that."""
    if isinstance(scene, Scene):
        return scene.render(camera, budget=budget, background=background, reference=reference)
    with Scene(scene) as opened:
        return opened.render(camera, budget=budget, background=background, reference=reference)


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
