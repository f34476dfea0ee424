"""Splats as rows of a temporary file: float32 records that can be read back in pieces."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

Rows = NDArray[np.float32]

#: Floats of a row before its SH: mean 3, quaternion 4, scales 3, opacity 1.
_HEAD = 11


def rows_of(splats: Splats) -> Rows:
    """(N, 11 + 3 K) float32: means, quats, scales, opacity, sh."""
    n = len(splats)
    parts = (splats.means, splats.quats, splats.scales, splats.opacities[:, None], splats.sh.reshape(n, -1))
    return np.concatenate(parts, axis=1)


def splats_of(rows: Rows) -> Splats:
    """What `rows_of` made rows of."""
    own = np.ascontiguousarray
    means, quats, scales = own(rows[:, :3]), own(rows[:, 3:7]), own(rows[:, 7:10])
    return Splats(means, quats, scales, own(rows[:, 10]), own(rows[:, _HEAD:]).reshape(len(rows), -1, 3))


def row_width(coefficients: int) -> int:
    """Floats of a row with so many SH coefficients."""
    return _HEAD + 3 * coefficients


@dataclass(frozen=True)
class RowFile:
    """Rows of `width` floats in an open file."""

    file: IO[bytes]
    width: int

    def append(self, rows: Rows) -> None:
        self.file.write(rows.tobytes())

    def load(self, first: int, count: int) -> Rows:
        """(count, width) rows from row `first` on."""
        self.file.seek(4 * self.width * first)
        return np.frombuffer(self.file.read(4 * self.width * count), np.float32).reshape(count, self.width)

    def gather(self, pieces: Iterable[tuple[int, int]]) -> Rows:
        """The rows of several (first, count), one after another."""
        loaded = [self.load(*piece) for piece in pieces]
        return np.concatenate(loaded) if loaded else np.zeros((0, self.width), np.float32)


@contextmanager
def temporary_files(what: str) -> Iterator[None]:
    """Tells apart a temporary file that fails: raises LensError for an OSError inside. what: the file is for."""
    try:
        yield
    except OSError as error:
        where, why = tempfile.gettempdir(), error.strerror or error
        message = f"{where}: the temporary file for {what} cannot be used: {why}"
        raise LensError(f"{message}; free some space or set TMPDIR to another folder") from error
