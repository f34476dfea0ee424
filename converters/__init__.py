"""Readers and writers of other formats: one file a format, one registry line each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from splatlens.converters import lens, model_folder, ply
from splatlens.converters.sidecar import with_sidecars
from splatlens.converters.source import CHUNK_ROWS, Source, SourceInfo, activate
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats

__all__ = [
    "CHUNK_ROWS", "FORMATS", "Format", "Source", "SourceInfo",
    "activate", "find_format", "open_source", "read_splats", "require_writable", "write_splats",
]  # fmt: skip


@dataclass(frozen=True)
class Format:
    """A format: how to know it, read it and write it. sniff(first bytes, path) tells by content."""

    name: str
    extensions: tuple[str, ...]
    sniff: Callable[[bytes, Path], bool]
    open: Callable[[Path], Source]
    write: Callable[[Path, Splats, SourceInfo | None], None] | None = None


#: In the order in which they are tried.
FORMATS = (
    Format("lens", (".lens",), lens.sniff, lens.open_lens),
    Format("3dgs-model-folder", (), model_folder.sniff, model_folder.open_model_folder),
    Format("3dgs-ply", (".ply",), ply.sniff, ply.open_ply, ply.write_ply),
)

#: Bytes of a file that are enough to know its format.
SNIFF_BYTES = 64


def find_format(path: Path) -> Format:
    """The format of a file or folder: by content, then by extension. Raises LensError where there is none."""
    try:
        head = b""
        if not path.is_dir():
            with path.open("rb") as file:
                head = file.read(SNIFF_BYTES)
    except FileNotFoundError:
        raise LensError(f"{path}: no such file or folder; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    for known in FORMATS:
        if known.sniff(head, path):
            return known
    if path.is_dir():
        raise FormatError(model_folder.describe(path))
    for known in FORMATS:  # the reader itself says best what is wrong with a file of its name
        if path.suffix.lower() in known.extensions:
            return known
    extensions = ", ".join(e for known in FORMATS for e in known.extensions)
    raise UnsupportedError(
        f"{path}: not a format that can be read (it starts with {head[:8]!r}); "
        f"readable are {extensions} and 3DGS model folders"
    )


def open_source(path: str | Path) -> Source:
    """Opens a file or folder: facts now, splats when asked for. Raises LensError."""
    path = Path(path)
    known = find_format(path)
    try:
        source = known.open(path)
        return Source(with_sidecars(source.info), source.read)
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error


def read_splats(path: str | Path, progress: Callable[[float], None] | None = None) -> tuple[Splats, SourceInfo]:
    """All splats of a file or folder, and its facts with dropped rows counted.

    `progress` gets the fraction read, 0..1. Raises LensError, also where not one row is usable.
    """
    source = open_source(path)
    dropped: Counter[str] = Counter()
    # One allocation, at most a small multiple of the file: readers check the count against its size.
    n, like = source.info.splats, Splats.empty(source.info.sh_degree)
    arrays = {f.name: np.empty((n, *getattr(like, f.name).shape[1:]), np.float32) for f in fields(Splats)}
    done = 0
    for part in source.chunks(dropped=dropped):
        for name, array in arrays.items():
            array[done : done + len(part)] = getattr(part, name)
        done += len(part)
        if progress is not None:
            progress(min(1.0, (done + dropped.total()) / source.info.splats))
    counts = dict(sorted(dropped.items()))
    reasons = ", ".join(f"{count} with {reason}" for reason, count in counts.items())
    if done == 0:
        raise FormatError(f"{path}: none of the {n} splats is usable ({reasons}); export the scene again")
    info = replace(source.info, dropped=counts)
    if counts:
        info = info.with_warnings(f"{dropped.total()} of {info.splats} splats dropped: {reasons}")
    return Splats(**{name: array[:done] for name, array in arrays.items()}), info


def write_splats(path: str | Path, splats: Splats, info: SourceInfo | None = None) -> None:
    """Writes splats in the format that the extension names. Raises UnsupportedError where none does."""
    path = Path(path)
    require_writable(path)
    for known in FORMATS:
        if known.write is not None and path.suffix.lower() in known.extensions:
            known.write(path, splats, info)
            return


def require_writable(path: Path, also: tuple[str, ...] = ()) -> None:
    """Raises UnsupportedError unless a writer, or `also`, has the path's extension."""
    writable = [*also, *(e for known in FORMATS if known.write is not None for e in known.extensions)]
    if path.suffix.lower() not in writable:
        kind = path.suffix or "a file without extension"
        raise UnsupportedError(f"{path}: cannot write {kind}; writable are {', '.join(writable)}")
