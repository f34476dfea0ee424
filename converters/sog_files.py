"""Access to the files of a SOG scene, in a folder or in a zip archive, so that neither can lead anywhere else."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from splatlens.converters.sog_layout import META_NAME
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field

#: Longest meta.json, bytes; real ones have 16 kB, three codebooks of 256 numbers.
MAX_META = 1 << 20
#: Longest directory of an archive, bytes: some 1500 entries, where a scene has 8.
MAX_DIRECTORY = 1 << 17
#: Longest name of a file within the scene, characters.
MAX_NAME = 255
ZIP_START = (b"PK\x03\x04", b"PK\x05\x06")
_REMEDY = "fetch or export the scene again"


class Files(Protocol):
    """Read access by name. `label` starts every message; each method raises LensError, OSError where the disk fails."""

    @property
    def label(self) -> str: ...

    def size(self, name: str) -> int:
        """Bytes of a file, decompressed."""

    def head(self, name: str, count: int) -> bytes:
        """The first bytes of a file."""

    def read(self, name: str, limit: int) -> bytes:
        """A whole file of at most `limit` bytes, the limit checked before anything is read."""

    def paths(self, names: list[str]) -> tuple[Path, ...]:
        """The files on disk that hold the named ones."""

    def stored(self, names: list[str]) -> int:
        """Bytes on disk of the named files."""


def open_files(path: Path, label: str) -> tuple[Files, str]:
    """The files that `path` (a folder, a meta.json of any name, or an archive) holds, and the name of its meta.json."""
    if path.is_dir():
        return FolderFiles(path, label), META_NAME
    if not path.is_file():
        raise FormatError(f"{label}: no such file; fetch the whole scene")
    with path.open("rb") as file:
        head = file.read(64)
    if head.startswith(ZIP_START):
        return ZipFiles.open(path, label)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return FolderFiles(path.parent, label), path.name
    start = f"it starts with {head[:8]!r}" if head else "the file is empty"
    raise FormatError(f"{label}: neither a zip archive nor a meta.json ({start}); {_REMEDY}")


def inner_name(field: Field) -> str:
    """A file's name within the scene: relative, with forward slashes, never upwards. Raises FormatError."""
    name = field.text(MAX_NAME)
    parts = [part for part in name.split("/") if part != "."]
    if not parts or any(part in ("", "..") for part in parts) or set(name) & set('\\:\0'):
        field.fail("the name of a file inside the scene's folder")
    return "/".join(parts)


@dataclass(frozen=True)
class FolderFiles:
    """Files in a folder. Links are followed: download caches store every file as a link out of the folder."""

    folder: Path
    label: str

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file():  # neither absent, nor a folder, nor a pipe that would never end
            raise FormatError(f"{self.label}: file {name!r} is missing beside it; fetch the whole scene")
        return path

    def size(self, name: str) -> int:
        return self._path(name).stat().st_size

    def head(self, name: str, count: int) -> bytes:
        with self._path(name).open("rb") as file:
            return file.read(count)

    def read(self, name: str, limit: int) -> bytes:
        size = self.size(name)
        _check_size(self.label, name, size, limit)
        return self.head(name, size)

    def paths(self, names: list[str]) -> tuple[Path, ...]:
        return tuple(self._path(name) for name in names)

    def stored(self, names: list[str]) -> int:
        return sum(self.size(name) for name in names)


@dataclass(frozen=True)
class ZipFiles:
    """Files in a zip archive, at its root or in one folder there. Nothing is ever extracted to disk.

    entries: by name, those that may be read; others of the archive are never looked at.
    """

    path: Path
    label: str
    entries: dict[str, zipfile.ZipInfo]

    @staticmethod
    def open(path: Path, label: str, anchor: str = META_NAME) -> tuple[ZipFiles, str]:
        """Reads the archive's directory only. anchor: the file that tells which folder of the archive is meant."""
        with _archive(path, label) as archive:
            found = archive.infolist()
        tops = [i.filename[: -len(anchor)] for i in found if i.filename.split("/")[-1] == anchor]
        tops = [top for top in dict.fromkeys(tops) if top.count("/") <= 1 and top not in ("/", "../", "__MACOSX/")]
        if not tops or (len(tops) > 1 and "" not in tops):
            holds = ", ".join(ascii(i.filename[:40]) for i in found[:4]) + (", ..." if len(found) > 4 else "")
            why = f"the archive holds {len(tops) or 'no'} {anchor} at its root or in a folder there"
            raise FormatError(f"{label}: {why} ({holds or 'nothing'}); expected one; {_REMEDY}")
        top = "" if "" in tops else tops[0]
        entries: dict[str, zipfile.ZipInfo] = {}
        twice = set()
        for info in found:
            name = info.filename[len(top) :]
            if info.filename.startswith(top) and not info.is_dir():
                if name in entries:
                    twice.add(name)
                entries[name] = info
        if twice:
            raise FormatError(f"{label}: the archive holds {min(twice)[:80]!r} twice; {_REMEDY}")
        return ZipFiles(path, label, entries), anchor

    def _entry(self, name: str) -> zipfile.ZipInfo:
        info = self.entries.get(name)
        if info is None:
            raise FormatError(f"{self.label}: file {name!r} is not in the archive; {_REMEDY}")
        if info.flag_bits & 1:
            raise UnsupportedError(f"{self.label}: file {name!r} in the archive is encrypted; pack it unencrypted")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise FormatError(f"{self.label}: file {name!r} in the archive is a link, expected the file; {_REMEDY}")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            why = f"is compressed by method {info.compress_type}, expected 0 (stored) or 8 (deflated)"
            raise UnsupportedError(f"{self.label}: file {name!r} in the archive {why}; pack it again")
        return info

    def size(self, name: str) -> int:
        return self._entry(name).file_size

    def head(self, name: str, count: int) -> bytes:
        info = self._entry(name)
        with _archive(self.path, self.label) as archive, archive.open(info) as file:
            return file.read(count)

    def read(self, name: str, limit: int) -> bytes:
        info = self._entry(name)
        _check_size(self.label, name, info.file_size, limit)
        with _archive(self.path, self.label) as archive, archive.open(info) as file:
            # By its declared size, at which it compares the CRC-32: without one, all of a bomb would be inflated first.
            # In pieces, for `_Sparing` gives no more at once.
            pieces, left = [], info.file_size
            while left and (piece := file.read(min(left, MAX_DIRECTORY))):
                pieces.append(piece)
                left -= len(piece)
            data = b"".join(pieces)
        if len(data) != info.file_size:
            why = f"has {len(data)} bytes, not the {info.file_size} that the archive declares"
            raise FormatError(f"{self.label}: file {name!r} {why}; {_REMEDY}")
        return data

    def paths(self, names: list[str]) -> tuple[Path, ...]:
        return (self.path,)

    def stored(self, names: list[str]) -> int:
        return self.path.stat().st_size


def _check_size(label: str, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise FormatError(f"{label}: file {name!r} has {size} bytes, expected at most {limit}; {_REMEDY}")


class _Sparing(io.RawIOBase):
    """A file that refuses to read much at once: `zipfile` reads an archive's directory whole, whatever its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            here = self._file.tell()
            size = self._file.seek(0, io.SEEK_END) - here
            self._file.seek(here)
        if size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"a directory of {size} bytes, expected at most {MAX_DIRECTORY}")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


@contextmanager
def _archive(path: Path, label: str) -> Iterator[zipfile.ZipFile]:
    """The archive, its errors told as ours."""
    try:
        with path.open("rb") as file, zipfile.ZipFile(_Sparing(file)) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, NotImplementedError, RuntimeError) as e:
        why = ascii(str(e) or type(e).__name__)[1:-1][:160]
        raise FormatError(f"{label}: damaged zip archive: {why}; {_REMEDY}") from e
