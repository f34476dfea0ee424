"""Quantised clusters in a temporary file: appended block by block, taken page by page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.quantise import Quantised

#: Fields of Quantised with an entry a row, kept in the file; those with an entry a cluster are kept in memory.
_ROWS = ("position", "root", "scale", "middle", "thin", "axis", "roll", "color", "sh", "centers")
_CLUSTERS = (
    "origins", "sort_axis", "slots", "exact", "coarse", "position_exponent", "color_exponent", "sh_exponent",
    "scale_first", "color_base",
)  # fmt: skip
#: Bytes up to which the file is in memory.
_IN_MEMORY = 1 << 24
#: Rows written at once.
_WRITE_ROWS = 1 << 14


class QuantisedFile:
    """Clusters of one layer, numbered as they were appended. `take` may be called from several threads."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = Lock()
        self._parts: list[Quantised] = []
        self._whole: Quantised | None = None
        self._record: np.dtype[Any] | None = None

    def append(self, quantised: Quantised) -> None:
        """All clusters of `quantised`, made with one codec, after those that are there."""
        arrays = {name: getattr(quantised, name) for name in _ROWS}
        fields = [(name, array.dtype, array.shape[1:]) for name, array in arrays.items()]
        record = self._record = np.dtype(fields)
        with self._lock:
            self._file.seek(0, 2)
            for first in range(0, len(quantised.root), _WRITE_ROWS):
                part = {name: array[first : first + _WRITE_ROWS] for name, array in arrays.items()}
                rows = np.empty(len(part["root"]), record)
                for name, array in part.items():
                    rows[name] = array
                self._file.write(rows.tobytes())
        none: dict[str, Any] = {name: array[:0].copy() for name, array in arrays.items()}
        # Copies, for a view would keep all rows in memory.
        self._parts.append(replace(quantised, order=quantised.order[:0].copy(), **none))
        self._whole = None

    @property
    def clusters(self) -> Quantised:
        """What is kept in memory of all clusters: no rows; `first` is a cluster's first row in the file."""
        if self._whole is None:
            parts = self._parts
            names = (*_CLUSTERS, "count")
            joined: dict[str, Any] = {name: np.concatenate([getattr(p, name) for p in parts]) for name in names}
            self._whole = replace(parts[0], first=np.cumsum(joined["count"]) - joined["count"], **joined)
            self._parts = [self._whole]
        return self._whole

    def take(self, clusters: Sequence[int] | NDArray[np.integer]) -> Quantised:
        """Some clusters with their rows, numbered from 0 in the order given."""
        whole, record = self.clusters, self._record
        assert record is not None
        chosen = np.asarray(clusters, np.int64)
        parts = []
        with self._lock:
            for first, count in zip(whole.first[chosen].tolist(), whole.count[chosen].tolist(), strict=True):
                self._file.seek(first * record.itemsize)
                parts.append(np.frombuffer(self._file.read(count * record.itemsize), record))
        rows = np.concatenate(parts)
        count = whole.count[chosen]
        own: dict[str, Any] = {name: getattr(whole, name)[chosen] for name in _CLUSTERS}
        values: dict[str, Any] = {name: np.ascontiguousarray(rows[name]) for name in _ROWS}
        return replace(whole, first=np.cumsum(count) - count, count=count, **own, **values)


@contextmanager
def quantised_file() -> Iterator[QuantisedFile]:
    """A file for the clusters of one layer, gone at the end of the block."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        yield QuantisedFile(file)
