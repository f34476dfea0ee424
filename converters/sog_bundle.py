"""Where the files of a SOG scene go: a .sog archive, or a folder beside its meta.json; whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from splatlens.converters.sog_layout import META_NAME, SHN_FILES
from splatlens.viewer.errors import LensError
from splatlens.viewer.files import atomic_write

#: Takes a file's name and its bytes; meta.json comes last.
Add = Callable[[str, bytes], None]


def bundle(path: Path) -> AbstractContextManager[Add]:
    """A place for files: an archive, or for `meta.json` its folder. Opened before the work, so that a missing folder is
    told at once. Raises LensError where it cannot be written."""
    if path.name.lower() != META_NAME:
        return _archive(path)
    return _present_folder(path) if path.parent.is_dir() else _new_folder(path)


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[Add]:
    """Entries are stored, as readers that map the archive into memory expect, and dated 1980 for equal bytes."""
    with atomic_write(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:

        def add(name: str, data: bytes) -> None:
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, 0o644 << 16  # as on Unix, whatever this is
            archive.writestr(entry, data)

        yield add


@contextlib.contextmanager
def _new_folder(path: Path) -> Iterator[Add]:
    """A folder that appears with all its files."""
    folder = path.parent
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{folder.name[:40]}.", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise LensError(f"{path}: cannot write here: {error.strerror or error}; choose another folder") from error
    try:

        def add(name: str, data: bytes) -> None:
            (part / name).write_bytes(data)

        yield add
        # mkdtemp makes the folder private; give it what mkdir() would have.
        mask = os.umask(0)
        os.umask(mask)
        part.chmod(0o777 & ~mask)
        part.rename(folder)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            why = f"cannot write: {error.strerror or error}"
            raise LensError(f"{path}: {why}; free some space or choose another folder") from error
        raise


@contextlib.contextmanager
def _present_folder(path: Path) -> Iterator[Add]:
    """Files that take their places together at the end, meta.json last; pictures of SH that the scene there had and
    this one has not are removed."""
    with contextlib.ExitStack() as stack:
        meta = stack.enter_context(atomic_write(path))
        names = set()

        def add(name: str, data: bytes) -> None:
            # The stack closes what was entered last first: every picture before meta.json.
            file = meta if name == META_NAME else stack.enter_context(atomic_write(path.with_name(name)))
            file.write(data)
            names.add(name)

        yield add
    for name in SHN_FILES:
        if name not in names:
            path.with_name(name).unlink(missing_ok=True)
