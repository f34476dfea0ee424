"""Readers and writers of other formats: one file a format, one registry line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from splatlens.converters import (
    avatar,
    bakedsdf,
    compressed_ply,
    deform,
    gaussian4d,
    generator,
    gltf,
    ksplat,
    lens,
    mesh_gltf,
    mesh_obj,
    mesh_ply,
    mobilenerf,
    model_folder,
    nerf2mesh,
    ply,
    point_cloud,
    rad,
    rerend,
    scaffold,
    sog,
    spacetime,
    splat,
    splatv,
    spz,
    streamed_sog,
)
from splatlens.converters.filters import Tally, max_sh
from splatlens.converters.format import Format, ReadOptions, WriteOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.sidecar import with_sidecars
from splatlens.converters.source import CHUNK_ROWS, Source, SourceInfo, activate, checked
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats

__all__ = [
    "CHUNK_ROWS", "FORMATS", "Format", "LayerSource", "ReadOptions", "Source", "SourceInfo", "WriteOptions", "activate",
    "checked", "find_format", "find_writer", "open_any", "open_source", "read_splats", "require_heeded", "write_splats",
]  # fmt: skip

#: In the order in which they are tried.
FORMATS = (
    lens.FORMAT,
    streamed_sog.FORMAT,
    sog.FORMAT,
    mobilenerf.FORMAT,
    nerf2mesh.FORMAT,
    rerend.FORMAT,
    bakedsdf.FORMAT,
    avatar.FORMAT,
    deform.FORMAT,
    scaffold.FORMAT,
    spacetime.FORMAT,
    model_folder.FORMAT,
    compressed_ply.FORMAT,
    mesh_ply.FORMAT,
    mesh_gltf.FORMAT,
    mesh_obj.FORMAT,
    point_cloud.FORMAT,
    ply.FORMAT,
    spz.FORMAT,
    gltf.FORMAT,
    rad.FORMAT,
    generator.FORMAT,
    splatv.FORMAT,
    gaussian4d.FORMAT,
    ksplat.FORMAT,  # this one and the next have no magic: last
    splat.FORMAT,
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
        for known in FORMATS:
            if known.sniff(head, path):
                return known
    except FileNotFoundError:
        raise LensError(f"{path}: no such file or folder; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    if path.is_dir():
        raise FormatError(model_folder.describe(path, tuple(e for known in FORMATS for e in known.extensions)))
    known = max(FORMATS, key=lambda f: (f.matches(path.name), not f.live))
    if known.matches(path.name):  # the reader itself says best what is wrong with a file of its name
        return known
    extensions = ", ".join(dict.fromkeys(e for known in FORMATS for e in known.extensions))
    raise UnsupportedError(
        f"{path}: not a format that can be read (it starts with {head[:8]!r}); "
        f"readable are {extensions} and 3DGS model folders"
    )


def require_heeded(path: Path, known: Format, options: ReadOptions | WriteOptions) -> None:
    """Raises LensError where an option is given that the format has no use for."""
    for field in fields(options):
        given = field.compare and getattr(options, field.name) != field.default
        if given and field.name not in known.options:
            switch = "--" + field.name.replace("_", "-")
            raise LensError(f"{path}: {switch} has no meaning for {known.title}; leave it out")


def open_any(path: str | Path, options: ReadOptions = ReadOptions()) -> Source | LayerSource:
    """Opens a file or folder: facts now, splats, or a layer's model, when asked for. Raises LensError."""
    path = Path(path)
    known = find_format(path)
    require_heeded(path, known, options)
    try:
        source = known.open(path, options)
        return replace(source, info=with_sidecars(source.info))
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error


def open_source(path: str | Path, options: ReadOptions = ReadOptions()) -> Source:
    """Opens a file or folder of stored splats. Raises LensError, UnsupportedError for what makes its splats anew."""
    source = open_any(path, options)
    if isinstance(source, LayerSource):
        why = "holds no splats, it makes them; convert it to .lens, or bake it with --time"
        why = "is a mesh and holds no splats; convert it to .lens" if source.mesh else why
        raise UnsupportedError(f"{path}: {why}")
    return source


def read_splats(
    path: str | Path, progress: Callable[[float], None] | None = None, options: ReadOptions = ReadOptions()
) -> tuple[Splats, SourceInfo]:
    """All splats of a file or folder, and its facts with dropped rows counted.

    `progress` gets the fraction read, 0..1. Raises LensError, also where not one row is usable.
    """
    tally = Tally(open_source(path, options), progress or (lambda share: None))
    info = tally.source.info
    # One allocation, at most a small multiple of the file: readers check the count against its size.
    n, like = info.splats, Splats.empty(info.sh_degree)
    arrays = {f.name: np.empty((n, *getattr(like, f.name).shape[1:]), np.float32) for f in fields(Splats)}
    done = 0
    for part in tally.source.chunks():
        for name, array in arrays.items():
            array[done : done + len(part)] = getattr(part, name)
        done += len(part)
    if done == 0:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(tally.dropped.items()))
        raise FormatError(f"{path}: none of the {n} splats is usable ({reasons}); export the scene again")
    return Splats(**{name: array[:done] for name, array in arrays.items()}), tally.facts()


def write_splats(
    path: str | Path, splats: Splats, info: SourceInfo | None = None, options: WriteOptions = WriteOptions()
) -> int:
    """Writes splats in the format that the name ends with; the bytes written. Raises UnsupportedError for no format."""
    path = Path(path)
    known = find_writer(path)
    require_heeded(path, known, options)
    assert known.write is not None
    return known.write(path, max_sh(Source.of(splats, info), known.sh_degree), options)


def find_writer(path: Path) -> Format:
    """The format with a writer that a file's name ends with. Raises UnsupportedError."""
    # Of equal endings the one that is written: readers of other kinds of .ply come before it.
    known = max(FORMATS, key=lambda f: (f.matches(path.name), f.write is not None))
    if path.name.lower().endswith(known.written):
        return known
    writable = ", ".join([".lens", ".onnx (generators)", *dict.fromkeys(e for f in FORMATS for e in f.written)])
    raise UnsupportedError(f"{path}: cannot write {path.suffix or 'a file without extension'}; writable are {writable}")
