"""Writing files so that an interrupted run leaves nothing half-written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from splatlens.viewer.errors import LensError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """An open binary file that becomes `path` when the block ends, and vanishes when it raises.

    The temporary file stands beside `path`, so the rename stays within one file system. Raises LensError where the
    folder is missing, not writable or full.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise LensError(f"{path}: cannot write here: {error.strerror or error}; choose another folder") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        # mkstemp makes the file private; give it what open() would have.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            why = f"cannot write: {error.strerror or error}"
            raise LensError(f"{path}: {why}; free some space or choose another folder") from error
        raise
