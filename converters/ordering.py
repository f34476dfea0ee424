"""Rows of a source in spatial order, in bounded memory: sorted at once where few, by way of a file where many."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.source import Source
from splatlens.viewer.errors import LensError
from splatlens.viewer.row_file import RowFile, row_width, rows_of, splats_of
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

#: Most rows held at once: 31 MB at SH 3, and as much again for the sorted copy.
MEMORY_ROWS = 1 << 17
#: Rows that a bucket of the file holds about.
BUCKET_ROWS = 1 << 16
#: Codes sampled a bucket, to choose the buckets' bounds: their sizes then vary by about a sixteenth.
SAMPLES = 256


def morton_codes(
    means: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]
) -> NDArray[np.uint64]:
    """(N,) 63-bit Z-order codes of means (N, 3) in the box low..high, 21 bits an axis, x the lowest (Morton 1966).

    21 bits keep order where one outlier stretches the box a thousandfold.
    """
    span = np.where(high > low, high.astype(np.float64) - low, 1)
    cells = ((means.astype(np.float64) - low) / span * (2**21 - 1)).astype(np.uint64)
    codes: NDArray[np.uint64] = spread(cells[:, 0])
    for axis in (1, 2):
        codes |= spread(cells[:, axis]) << np.uint64(axis)
    return codes


def spread(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """21 bits to every third of 63."""
    for shift, mask in (
        (32, 0x1F00000000FFFF), (16, 0x1F0000FF0000FF), (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3), (2, 0x1249249249249249),
    ):  # fmt: skip
        bits = (bits | bits << np.uint64(shift)) & np.uint64(mask)
    return bits


@contextmanager
def in_morton_order(source: Source) -> Iterator[Source]:
    """The same rows along a Z-order curve, equal codes in the source's order; its `info.splats` is their exact number.

    Reads `source` once. More than MEMORY_ROWS rows go through a temporary file ($TMPDIR), removed at the end of the
    block. Raises LensError, also where that file cannot be written.
    """
    held: list[Splats] = []
    count = 0
    low, high = np.full(3, np.inf, np.float32), np.full(3, -np.inf, np.float32)
    file: IO[bytes] | None = None
    try:
        for part in source.chunks():
            low, high = np.minimum(low, part.means.min(axis=0)), np.maximum(high, part.means.max(axis=0))
            held.append(part)
            count += len(part)
            if file is not None or count > MEMORY_ROWS:
                file = file or tempfile.TemporaryFile()  # noqa: SIM115
                for one in held:
                    file.write(rows_of(one).tobytes())
                held = []
        if file is None:
            splats = Splats.concatenate(held)
            held = []
            order = np.argsort(morton_codes(splats.means, low, high), kind="stable")
            yield Source.of(splats.take(order), source.info)
        else:
            with tempfile.TemporaryFile() as bucket_file:
                buckets = _distribute(file, bucket_file, count, source.info.sh_degree, low, high)
                file.close()
                yield Source(replace(source.info, splats=count), buckets.read)
    except OSError as error:
        why = f"the temporary file for sorting cannot be used: {error.strerror or error}"
        raise LensError(f"{source.info.path}: {why}; free some space or set TMPDIR to another folder") from error
    finally:
        if file is not None:
            file.close()


def exact_chunks(source: Source, rows: int) -> Iterator[Splats]:
    """Chunks of exactly `rows` rows, but for the last."""
    held: list[Splats] = []
    count = 0
    for part in source.chunks():
        held.append(part)
        count += len(part)
        if count >= rows:
            whole = Splats.concatenate(held)
            for first in range(0, count - rows + 1, rows):
                yield whole.take(slice(first, first + rows))
            # A copy: a view would keep the whole alive while the next is put together.
            held = [whole.take(np.arange(count - count % rows, count))]
            del whole
            count %= rows
    if count:
        yield Splats.concatenate(held)


def in_compact_runs(chunks: Iterable[Splats], run: int) -> Iterator[Splats]:
    """The same chunks, rows ordered so that each run of `run` of them fills a small box (see `compact_order`)."""
    for part in chunks:
        yield part.take(compact_order(part.means, run))


def compact_order(means: NDArray[np.float32], run: int) -> NDArray[np.intp]:
    """(N,) order of means (N, 3) whose runs of `run` rows have small boxes; only the last run may be shorter.

    Splits at multiples of `run` as a surface-area heuristic would (Wald 2007, "On fast construction of SAH-based
    bounding volume hierarchies"), but with the box's diagonal as the cost of a row: the error of a position that is
    quantised in its run's box grows with it. y counts twice, for formats that spare it a bit. Positions of 11, 10 and
    11 bits err by 3 to 5 dB less than in runs along a Z-order curve, whose boxes grow where it jumps.
    """
    points = means.astype(np.float64) * (1, 2, 1)
    side = np.zeros(len(points), bool)
    runs = []
    # For each part the same rows thrice, sorted along each axis; splitting keeps them sorted.
    waiting = [[np.argsort(points[:, axis], kind="stable") for axis in range(3)]]
    while waiting:
        part = waiting.pop()
        n = len(part[0])
        if n <= run:
            runs.append(part[0])
            continue
        at = np.arange(run, n, run)
        costs = [_split_costs(points[rows], at) for rows in part]
        axis = int(np.argmin([cost.min() for cost in costs]))
        left = part[axis][: at[int(np.argmin(costs[axis]))]]
        side[part[axis]] = False
        side[left] = True
        waiting += [[rows[~side[rows]] for rows in part], [rows[side[rows]] for rows in part]]
    return np.concatenate(runs)


def _split_costs(points: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Cost of splitting sorted points (N, 3) before each row of `at`: on both sides rows times the box's diagonal."""
    starts = np.concatenate([[0], at])
    low, high = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    left = np.maximum.accumulate(high) - np.minimum.accumulate(low)
    right = np.maximum.accumulate(high[::-1])[::-1] - np.minimum.accumulate(low[::-1])[::-1]
    diagonal = [np.sqrt(np.einsum("ij,ij->i", box, box)) for box in (left[:-1], right[1:])]
    costs: NDArray[np.float64] = at * diagonal[0] + (len(points) - at) * diagonal[1]
    return costs


@dataclass(frozen=True)
class _Buckets:
    """Rows in a file, block after block; every row of a bucket comes before every row of the next.

    bounds: codes that part the buckets. sizes: (blocks, buckets) rows, in the order in which they stand in the file.
    """

    file: RowFile
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    bounds: NDArray[np.uint64]
    sizes: NDArray[np.int64]

    def read(self, rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        firsts = (np.cumsum(self.sizes) - self.sizes.ravel()).reshape(self.sizes.shape)
        for bucket, (first, size) in enumerate(zip(firsts.T, self.sizes.T, strict=True)):
            pieces = [(int(a), int(n)) for a, n in zip(first, size, strict=True) if n]
            # One code only, however many rows (copies of one splat): nothing to sort, and perhaps too much to hold.
            alone = 0 < bucket < len(self.bounds) and self.bounds[bucket] == self.bounds[bucket - 1] + np.uint64(1)
            for block in [[piece] for piece in pieces] if alone else [pieces] if pieces else []:
                splats = splats_of(self.file.gather(block))
                if not alone:
                    order = np.argsort(morton_codes(splats.means, self.low, self.high), kind="stable")
                    splats = splats.take(order)
                for at in range(0, len(splats), rows):
                    yield splats.take(slice(at, at + rows))


def _distribute(
    file: IO[bytes], out: IO[bytes], count: int, sh_degree: int, low: NDArray[np.float32], high: NDArray[np.float32]
) -> _Buckets:
    """Sorts rows of `file` into buckets in `out`, a block at a time."""
    width = row_width(SH_COEFFICIENTS[sh_degree])
    source, target = RowFile(file, width), RowFile(out, width)
    blocks = [(first, min(BUCKET_ROWS, count - first)) for first in range(0, count, BUCKET_ROWS)]

    def codes(rows: NDArray[np.float32]) -> NDArray[np.uint64]:
        return morton_codes(rows[:, :3], low, high)

    step = max(1, BUCKET_ROWS // SAMPLES)
    samples = np.sort(np.concatenate([codes(source.load(*block)[::step]) for block in blocks]))
    chosen = samples[SAMPLES::SAMPLES]
    values, times = np.unique(chosen, return_counts=True)
    # A code that fills a bucket by itself gets one of its own.
    bounds = np.unique(np.concatenate([values, values[times > 1] + np.uint64(1)]))
    sizes = np.zeros((len(blocks), len(bounds) + 1), np.int64)
    for block, counts in zip(blocks, sizes, strict=True):
        rows = source.load(*block)
        bucket = np.searchsorted(bounds, codes(rows), side="right")
        target.append(rows[np.argsort(bucket, kind="stable")])
        counts[:] = np.bincount(bucket, minlength=len(counts))
    return _Buckets(target, low, high, bounds, sizes)
