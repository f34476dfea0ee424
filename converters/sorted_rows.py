"""Rows in the order of a key, in bounded memory: sorted runs in a temporary file, merged as they are read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError

Row = np.void

#: Rows sorted at once, and rows of all runs together that a merge holds: 0.6 MB of 36 bytes each.
RUN_ROWS = 1 << 14
#: Fewest rows of a run that a merge reads at once: more than 1000 runs, 16 million rows, take more memory.
FEWEST = 16


class SortedRows:
    """Collects rows with keys, then hands them out by rising key, equal keys in the order they came in.

    path: what is being written, for messages; row: the rows' type. Raises LensError where the temporary file cannot
    be written. Reading back rows that were sorted already costs one run, however many they are.
    """

    def __init__(self, path: Path, row: np.dtype[Any]) -> None:
        self._path = path
        self._type = np.dtype([("key", np.float32), ("row", row)])
        self._held: list[NDArray[Row]] = []
        self._count = 0
        self._runs: list[tuple[int, int]] = []  # first row and one past the last
        self._last = np.float32(-np.inf)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> SortedRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, keys: NDArray[np.float32], rows: NDArray[Row]) -> None:
        """Keys (N,), no NaN, and their rows (N,)."""
        keyed = np.empty(len(rows), self._type)
        keyed["key"], keyed["row"] = keys, rows
        self._held.append(keyed)
        self._count += len(keyed)
        if self._count >= RUN_ROWS:
            self._flush()

    def _flush(self) -> None:
        """Sorts what is held and appends it to the file, to the last run where it continues that."""
        run = np.concatenate(self._held)
        self._held, self._count = [], 0
        run = run[np.argsort(run["key"], kind="stable")]
        try:
            self._file = self._file or tempfile.TemporaryFile()  # noqa: SIM115
            self._file.write(run.view(np.uint8).data)
        except OSError as error:
            why = f"the temporary file for sorting cannot be written: {error.strerror or error}"
            raise LensError(f"{self._path}: {why}; free some space or set TMPDIR to another folder") from error
        first, end = self._runs[-1] if self._runs else (0, 0)
        if self._runs and run["key"][0] >= self._last:
            self._runs[-1] = first, end + len(run)
        else:
            self._runs.append((end, end + len(run)))
        self._last = run["key"][-1]

    def merged(self) -> Iterator[NDArray[Row]]:
        """The rows in order, in blocks of about RUN_ROWS. Once only."""
        if self._count:
            self._flush()
        most = max(FEWEST, RUN_ROWS // max(1, len(self._runs)))
        runs = list(self._runs)
        while runs:
            heads = [self._load(first, min(end, first + most)) for first, end in runs]
            # Every row not yet loaded has a key of at least the last one loaded of its run. Rows of just that key may
            # follow in the first run that ends with it, so later runs keep theirs.
            ends = zip(heads, runs, strict=True)
            lasts = [head["key"][-1] if first + most < end else np.inf for head, (first, end) in ends]
            stop = int(np.argmin(lasts))
            taken = [
                int(np.searchsorted(head["key"], lasts[stop], side="right" if i <= stop else "left"))
                for i, head in enumerate(heads)
            ]
            block = np.concatenate([head[:n] for head, n in zip(heads, taken, strict=True)])
            del heads
            rows = block["row"][np.argsort(block["key"], kind="stable")]
            del block
            yield rows
            del rows
            runs = [(first + n, end) for (first, end), n in zip(runs, taken, strict=True) if first + n < end]

    def _load(self, first: int, end: int) -> NDArray[Row]:
        assert self._file is not None
        self._file.seek(first * self._type.itemsize)
        return np.frombuffer(self._file.read((end - first) * self._type.itemsize), self._type)
