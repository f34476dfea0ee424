"""Leaves out splats that are copies of others, in one source or over several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.source import Source
from splatlens.viewer.row_file import rows_of
from splatlens.viewer.splats import Splats


class Dedupe:
    """Rows that equal an earlier row bit for bit, in this source or one before it, are left out.

    `previous` comes before this source. Keeps a 64-bit hash of every row, 8 bytes a splat: among 10^7 splats the chance
    that two different ones collide is 3 in a million.
    """

    def __init__(self, source: Source, previous: Dedupe | None = None) -> None:
        self._source = source
        self._previous = previous
        self._after: NDArray[np.uint64] | None = None
        self.source = Source(source.info, self._read)

    def seen(self) -> NDArray[np.uint64]:
        """Sorted hashes of all rows up to the end of this source; reads it unless that was done."""
        if self._after is None:
            for _ in self._read(1 << 16, Counter()):
                pass
        assert self._after is not None
        return self._after

    def _read(self, rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        # Sorted runs, each at least twice as long as the next: every hash is merged log2(N) times, not N / rows times.
        runs = [] if self._previous is None else [self._previous.seen()]
        for part in self._source.chunks(rows, dropped):
            hashes = row_hashes(part)
            first = np.zeros(len(part), bool)
            first[np.unique(hashes, return_index=True)[1]] = True
            for run in runs:
                first &= ~_contained(run, hashes)
            runs.append(np.sort(hashes[first]))
            while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
                last = runs.pop()
                runs[-1] = np.sort(np.concatenate([runs[-1], last]))
            if first.any():
                yield part if first.all() else part.take(first)
        self._after = np.sort(np.concatenate([np.empty(0, np.uint64), *runs]))


def _contained(run: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if len(run) == 0:
        return np.zeros(len(values), bool)
    at = np.minimum(np.searchsorted(run, values), len(run) - 1)
    return np.asarray(run[at] == values)


#: Odd multipliers: the fractional part of the golden ratio, and splitmix64's (Steele, Lea, Flood 2014).
_GOLDEN, _MIX = 0x9E3779B97F4A7C15, np.uint64(0xBF58476D1CE4E5B9)


def row_hashes(splats: Splats) -> NDArray[np.uint64]:
    """(N,) hashes of all values of a row, -0 as 0; SH of any degree padded with zeros hashes alike."""
    words = (rows_of(splats) + np.float32(0)).view(np.uint32).astype(np.uint64)
    out = np.zeros(len(words), np.uint64)
    for column in range(words.shape[1]):
        # Each column with a multiplier of its own; zeros add nothing.
        mixed = words[:, column] * np.uint64(_GOLDEN * (2 * column + 1) % 2**64)
        mixed ^= mixed >> np.uint64(31)
        mixed *= _MIX
        out += mixed ^ mixed >> np.uint64(29)
    return out
