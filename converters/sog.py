"""SOG, the compact scenes of PlayCanvas: a folder of WebP pictures with a meta.json, or both in one .sog archive."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.sog_files import ZIP_START, open_files
from splatlens.converters.sog_layout import META_NAME
from splatlens.converters.sog_scene import open_scene
from splatlens.converters.sog_write import write_sog
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

#: Bytes of a meta.json in which both its first members are found: each codebook takes 5 kB.
SNIFF_BYTES = 1 << 16


def sniff(head: bytes, path: Path) -> bool:
    """Whether a folder, a JSON file or an archive describes a SOG scene."""
    is_folder = path.is_dir()
    if is_folder and not (path / META_NAME).is_file():
        return False
    if not is_folder and not head.startswith(ZIP_START) and head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return False
    try:
        files, name = open_files(path, str(path))
        text = files.head(name, SNIFF_BYTES)
    except LensError:
        return False
    return all(member in text for member in (b'"means"', b'"quats"', b'"files"'))


def open_sog(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads meta.json and the headers of the pictures. Raises LensError."""
    scene = open_scene(path, str(path))
    meta = scene.meta
    info = SourceInfo(
        path, "sog", meta.count, scene.sh_degree, scene.bytes, warnings=scene.warnings,
        antialias=meta.antialias, flat=meta.flat, files=scene.paths,
    )  # fmt: skip

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        return scene.rows([(0, meta.count)], rows, dropped)

    return Source(info, read)


FORMAT: Format = Format(
    "sog",
    "SOG",
    (".sog", META_NAME),
    sniff,
    open_sog,
    write_sog,
    reads="versions 1 and 2, as a folder, its meta.json or a .sog archive; SH 0 to 3 (4 is reduced); model",
    writes="version 2, as .sog or as the folder of a meta.json; SH 0 to 3; model",
    loses="precision: 16-bit centres on a log scale, 8 bits elsewhere; at most 65,536 kinds of SH; order, also of axes",
)
