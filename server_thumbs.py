"""Thumbnails for the list of scenes: drawn headless once per file state, one at a time, and kept in memory."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from splatlens.server_scenes import Scene

log = logging.getLogger("splatlens.server")

#: Thumbnails kept; at some 40 kB each this is 10 MB.
KEPT = 256


@dataclass(frozen=True)
class Thumbnail:
    """body: encoded picture. mime: its content type."""

    body: bytes
    mime: str


#: Draws the thumbnail of a scene file; raises whatever it likes.
Draw = Callable[[Path], Thumbnail]


class Thumbnails:
    """Thumbnails by (path, size, change time), so a replaced file gets a new one. Failures are remembered too."""

    def __init__(self, draw: Draw | None) -> None:
        self._draw = draw
        self._tasks: OrderedDict[tuple[Path, int, int], asyncio.Task[Thumbnail | None]] = OrderedDict()
        # One thread: a software adapter takes all cores for one picture, and a graphics device likes one thread.
        self._executor = ThreadPoolExecutor(1, "splatlens-thumbnail")

    async def get(self, scene: Scene) -> Thumbnail | None:
        """The thumbnail, or None where it cannot be drawn. Callers at the same time share one drawing."""
        key = (scene.path, scene.size, scene.mtime_ns)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.ensure_future(self._run(scene.path))
            while len(self._tasks) > KEPT:
                _, oldest = self._tasks.popitem(last=False)
                oldest.cancel()
        self._tasks.move_to_end(key)
        return await asyncio.shield(task)

    async def _run(self, path: Path) -> Thumbnail | None:
        if self._draw is None:
            return None
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._draw, path)
        except Exception as error:  # whatever the drawing hits (no adapter, damaged file), the list must show
            log.warning("no thumbnail of %s: %s", path, error)
            return None

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
