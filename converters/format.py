"""What a format is: how to know its files, read them and write them, and what it keeps, in words for the documents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import Source

#: Kinds of scenes of MobileNeRF: their files do not say in which frame the network was trained.
AXES = ("synthetic", "unbounded", "forward-facing")


@dataclass(frozen=True)
class ReadOptions:
    """How to read where a file alone does not decide.

    lod: the level of a source that has several, 0 the finest. as_stored: take coordinates as they stand in the file
    where the format's specification asks for a turn (SPZ stores right-up-back, glTF left-up-forward), for files of
    tools that never turned them. time_span: first and last moment in the scene's own time, seconds: how long it takes
    to play them, of splats that move by formulas. axes: one of AXES, the kind of scene that a MobileNeRF was trained
    on; None: guessed.
    """

    lod: int = 0
    as_stored: bool = False
    time_span: tuple[float, float] | None = None
    seconds: float | None = None
    axes: str | None = None


@dataclass(frozen=True)
class WriteOptions:
    """How to write. spz_version: 3 (gzip) or 4 (Zstandard). progress: hears the share done, 0 to 1."""

    spz_version: int = 4
    progress: Callable[[float], None] = field(default=lambda share: None, compare=False)


class Write(Protocol):
    """A writer: reads `source` in chunks, once or several times, and returns the bytes written.

    Whole or not at all: nothing is left half-written. Raises LensError.
    """

    def __call__(self, path: Path, source: Source, options: WriteOptions) -> int: ...


@dataclass(frozen=True)
class Format:
    """One format.

    name: as reports call it; title: as people do. extensions: how file names end, also whole names (meta.json).
    sniff(first 64 bytes, path): whether a file or folder is one, by content. open: facts at once, rows when asked for.
    reads_only: those of the extensions that are not written. sh_degree: the highest that a file of it holds; writers
    are given no more.
    options: fields of ReadOptions and WriteOptions that it heeds; the others must stay at their defaults.
    live: its files are no stored splats: `open` gives a LayerSource.
    reads, writes, loses: cells of the table in docs/formats.md; loses is what a file of it cannot hold.
    """

    name: str
    title: str
    extensions: tuple[str, ...]
    sniff: Callable[[bytes, Path], bool]
    open: Callable[[Path, ReadOptions], Source | LayerSource]
    write: Write | None = None
    reads_only: tuple[str, ...] = ()
    sh_degree: int = 3
    options: tuple[str, ...] = ()
    live: bool = False
    reads: str = ""
    writes: str = ""
    loses: str = ""

    @property
    def written(self) -> tuple[str, ...]:
        """How names of files end that are written in it."""
        return () if self.write is None else tuple(e for e in self.extensions if e not in self.reads_only)

    def matches(self, name: str) -> int:
        """Length of the extension that a file name ends with, 0 for none: the longest of all formats counts."""
        return max((len(e) for e in self.extensions if name.lower().endswith(e)), default=0)
