"""Parts a scene of any size into blocks of neighbouring splats that fit into memory, by way of a temporary file."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.row_file import RowFile, row_width, rows_of, splats_of
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import bulk, outlying

Ints = NDArray[np.int64]

#: A scene of up to so many splats is one block, whose tree takes 0.45 GB at SH 3; a larger one has blocks of about half
#: as many.
WHOLE_SPLATS = 1 << 18
#: Rows of a sample of the scene, at most twice as many: bounds of the blocks, steps of the codec.
SAMPLE_ROWS = 1 << 16
#: Rows read from the file at once: 15 MB at SH 3.
_READ_ROWS = 1 << 16


@dataclass(frozen=True)
class Part:
    """A node of the hierarchy that blocks form: a block by its number, or two parts, or none of both where empty.

    apart: its two parts are the scene and its skies and far outliers.
    """

    block: int = -1
    parts: tuple[Part, ...] = ()
    apart: bool = False


@dataclass(frozen=True)
class Blocks:
    """The blocks of a scene of `count` splats. top: how they lie together.

    sample: every `step`-th splat, none where there is one block. centres: (S, 3) of every `step`-th splat.
    take(k): block k, rows in the order of the source; once each.
    """

    count: int
    sizes: tuple[int, ...]
    top: Part
    sample: Splats
    centres: NDArray[np.float32]
    step: int
    take: Callable[[int], Splats]


@contextmanager
def in_blocks(chunks: Iterable[Splats], whole: int = WHOLE_SPLATS) -> Iterator[Blocks]:
    """Parts what `chunks` yields: one block where it has no more than `whole` splats, else blocks of about half of it.

    Then all of it goes through the folder of temporary files, where it takes 472 bytes a splat at SH 3. Raises OSError.
    """
    size = max(1, whole // 2)
    held: list[Splats] = []
    count = 0
    with ExitStack() as stack:
        spool: RowFile | None = None
        for part in chunks:
            held.append(part)
            count += len(part)
            if count > whole:
                if spool is None:
                    file = stack.enter_context(tempfile.TemporaryFile())
                    spool = RowFile(file, row_width(held[0].sh.shape[1]))
                for one in held:
                    spool.append(rows_of(one))
                held = []
        if spool is None:
            held = held if len(held) == 1 else [Splats.concatenate(held)]
            # Popped, so that who takes it is the last to hold it: 60 MB while it is quantised.
            yield Blocks(count, (count,), Part(0), Splats.empty(), held[0].means, 1, lambda k: held.pop(k))
            return
        step = -(-count // SAMPLE_ROWS) if count > 2 * SAMPLE_ROWS else 1
        # Copies, for views would keep all rows in memory.
        chosen = [rows[-first % step :: step].copy() for first, rows in _read(spool, count)]
        sample = splats_of(np.concatenate(chosen))
        del chosen
        planes = _Planes.of(sample, count, size)
        target = RowFile(stack.enter_context(tempfile.TemporaryFile()), spool.width)
        pieces = _distribute(spool, count, target, planes)
        spool.file.close()
        blocks: list[list[tuple[int, int]]] = []
        top = _number(planes.top, [_cut(p, size) for p in pieces], blocks)
        sizes = tuple(sum(n for _, n in block) for block in blocks)
        yield Blocks(count, sizes, top, sample, sample.means, step, lambda k: splats_of(target.gather(blocks[k])))


def _read(file: RowFile, count: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for first in range(0, count, _READ_ROWS):
        yield first, file.load(first, min(_READ_ROWS, count - first))


@dataclass(frozen=True)
class _Plane:
    """Rows with means[axis] < at lie in `below`, the others in `above`; a cell is the number of one."""

    axis: int
    at: float
    below: _Plane | int
    above: _Plane | int


@dataclass(frozen=True)
class _Planes:
    """Cells of a scene: planes part the bulk, and outliers beyond low..high on their own."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    inside: _Plane | int
    far: _Plane | int
    cells: int

    @staticmethod
    def of(sample: Splats, count: int, size: int) -> _Planes:
        """Planes for cells of about `size` of the scene's `count` splats."""
        low, high = bulk(sample.means)
        far = outlying(sample, low, high)
        share = count / len(sample) / size
        cells = [max(1, math.ceil(share * n)) for n in (np.count_nonzero(~far), np.count_nonzero(far))]
        inside = _planes(sample.means[~far], cells[0], 0)
        return _Planes(low, high, inside, _planes(sample.means[far], cells[1], cells[0]), sum(cells))

    @property
    def top(self) -> Part:
        """The hierarchy, with cells for blocks."""
        return Part(parts=(_part(self.inside), _part(self.far)), apart=True)

    def cell_of(self, rows: NDArray[np.float32]) -> Ints:
        """(N,) cells of rows."""
        cells = np.empty(len(rows), np.int64)
        far = outlying(splats_of(rows), self.low, self.high)
        for planes, chosen in ((self.inside, ~far), (self.far, far)):
            _locate(planes, rows[:, :3], np.flatnonzero(chosen), cells)
        return cells


def _planes(points: NDArray[np.float32], cells: int, first: int) -> _Plane | int:
    """Planes that part points into `cells` sets of about equal numbers, across the longest side; the first's number."""
    if cells == 1 or not len(points):
        return first
    below = cells // 2
    axis = int(np.argmax(points.max(axis=0) - points.min(axis=0)))
    at = float(np.quantile(points[:, axis], below / cells))
    left = points[:, axis] < at
    return _Plane(axis, at, _planes(points[left], below, first), _planes(points[~left], cells - below, first + below))


def _part(plane: _Plane | int) -> Part:
    return Part(plane) if isinstance(plane, int) else Part(parts=(_part(plane.below), _part(plane.above)))


def _locate(plane: _Plane | int, means: NDArray[np.float32], rows: Ints, cells: Ints) -> None:
    """Writes the cells of some rows."""
    if isinstance(plane, int):
        cells[rows] = plane
        return
    left = means[rows, plane.axis] < plane.at
    _locate(plane.below, means, rows[left], cells)
    _locate(plane.above, means, rows[~left], cells)


def _distribute(spool: RowFile, count: int, target: RowFile, planes: _Planes) -> list[list[tuple[int, int]]]:
    """Writes the rows sorted by cell, so many at a time; for each cell its pieces in `target`: (first row, rows)."""
    pieces: list[list[tuple[int, int]]] = [[] for _ in range(planes.cells)]
    for first, rows in _read(spool, count):
        cells = planes.cell_of(rows)
        target.append(rows[np.argsort(cells, kind="stable")])
        sizes = np.bincount(cells, minlength=planes.cells)
        starts = first + np.cumsum(sizes) - sizes
        for cell in np.flatnonzero(sizes):
            pieces[cell].append((int(starts[cell]), int(sizes[cell])))
    return pieces


def _cut(pieces: list[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    """The pieces of a cell as those of its blocks: one, or more of equal size where it has over twice `size` rows.

    No plane parts splats at the same place; and a sample may be unlucky.
    """
    total = sum(n for _, n in pieces)
    count = -(-total // size) if total > 2 * size else 1
    edges = [total * k // count for k in range(count + 1)]
    out: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    at = 0
    for first, n in pieces:
        for k in range(count):
            low, high = max(at, edges[k]), min(at + n, edges[k + 1])
            if low < high:
                out[k].append((first + low - at, high - low))
        at += n
    return out


def _number(part: Part, cells: list[list[list[tuple[int, int]]]], blocks: list[list[tuple[int, int]]]) -> Part:
    """The hierarchy of blocks from that of cells, whose blocks are appended to `blocks`; empty ones are left out."""
    if part.parts:
        parts = [p for p in (_number(p, cells, blocks) for p in part.parts) if p.parts or p.block >= 0]
        return Part(parts=tuple(parts), apart=part.apart) if len(parts) > 1 else parts[0] if parts else Part()
    own = [pieces for pieces in cells[part.block] if pieces]
    first = len(blocks)
    blocks += own
    return _halves(list(range(first, len(blocks))))


def _halves(numbers: list[int]) -> Part:
    if len(numbers) < 2:
        return Part(numbers[0]) if numbers else Part()
    half = len(numbers) // 2
    return Part(parts=(_halves(numbers[:half]), _halves(numbers[half:])))
