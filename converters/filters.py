"""Filters of sources: what each keeps is decided chunk by chunk, while the rows are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.source import Source, SourceInfo
from splatlens.converters.transform import moved_camera, similarity, transformed
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import Splats

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Crop:
    """A box (low, high: corners) or a sphere (low: centre; radius), world coordinates; centres inside stay."""

    low: tuple[float, float, float]
    high: tuple[float, float, float] | None = None
    radius: float = 0.0

    def inside(self, means: F64) -> NDArray[np.bool_]:
        """(N,) of means (N, 3); the boundary belongs to it."""
        if self.high is None:
            inside = ((means - self.low) ** 2).sum(axis=1) <= self.radius**2
        else:
            inside = ((means >= self.low) & (means <= self.high)).all(axis=1)
        return np.asarray(inside)


def parse_crop(text: str) -> Crop:
    """ "x,y,z,x,y,z" is the box between two corners, "x,y,z,radius" a sphere. Raises LensError."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        numbers = []
    if not np.isfinite(numbers).all() or len(numbers) not in (4, 6):
        raise LensError(f"crop {text!r}: expected a box x,y,z,x,y,z (two corners) or a sphere x,y,z,radius")
    low = (numbers[0], numbers[1], numbers[2])
    if len(numbers) == 4:
        if numbers[3] <= 0:
            raise LensError(f"crop {text!r}: the radius must be above 0")
        return Crop(low, radius=numbers[3])
    pairs = [sorted((numbers[axis], numbers[axis + 3])) for axis in range(3)]
    (x0, x1), (y0, y1), (z0, z1) = pairs
    return Crop((x0, y0, z0), (x1, y1, z1))


def keep(source: Source, choose: Callable[[Splats], NDArray[np.bool_]]) -> Source:
    """Only the rows that `choose` gives True for."""

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for part in source.chunks(rows, dropped):
            kept = choose(part)
            if kept.all():
                yield part
            elif kept.any():
                yield part.take(kept)

    return Source(source.info, read)


def crop(source: Source, region: Crop, matrix: F64) -> Source:
    """Rows whose centre, after `matrix` (4, 4), lies in the region."""
    linear, move = matrix[:3, :3].T, matrix[:3, 3]
    return keep(source, lambda part: region.inside(part.means.astype(np.float64) @ linear + move))


def min_opacity(source: Source, least: float) -> Source:
    """Rows at least that opaque."""
    return keep(source, lambda part: part.opacities >= np.float32(least))


def max_sh(source: Source, degree: int) -> Source:
    """SH bands up to `degree`, 0 to 3; what has fewer stays as it is."""
    return with_sh_degree(source, min(degree, source.info.sh_degree))


def with_sh_degree(source: Source, degree: int) -> Source:
    """SH cut or padded with zeros to `degree`."""
    if source.info.sh_degree == degree:
        return source

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for part in source.chunks(rows, dropped):
            yield part.with_sh_degree(degree)

    return Source(replace(source.info, sh_degree=degree), read)


def moved(source: Source, matrix: F64) -> Source:
    """Every row after `matrix` (4, 4), and the facts with a place or direction. LensError unless a similarity."""
    if np.array_equal(matrix, np.eye(4)):
        return source
    similarity(matrix)  # refused now, not when the first row is read

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for part in source.chunks(rows, dropped):
            yield transformed(part, matrix)

    return Source(moved_info(source.info, matrix), read)


def moved_info(info: SourceInfo, matrix: F64) -> SourceInfo:
    """The facts that have a place or a direction after `matrix`; cameras are left out where none sees the same."""
    if info.up is not None:
        x, y, z = matrix[:3, :3] @ info.up
        length = float(np.sqrt(x * x + y * y + z * z))
        info = replace(info, up=(float(x / length), float(y / length), float(z / length)))
    try:
        if np.linalg.det(matrix[:3, :3]) < 0:
            raise LensError("mirrored")
        cameras = tuple(moved_camera(camera, matrix) for camera in info.cameras)
        return replace(info, cameras=cameras, camera=info.camera and moved_camera(info.camera, matrix))
    except LensError:
        given = bool(info.cameras or info.camera)
        info = replace(info, cameras=(), camera=None)
        return info.with_warnings("cameras left out: none sees the transformed scene as it was") if given else info


def joined(sources: list[Source]) -> Source:
    """All rows one source after another, in the highest SH degree of them."""
    degree = max(source.info.sh_degree for source in sources)
    padded = [with_sh_degree(source, degree) for source in sources]

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for source in padded:
            yield from source.chunks(rows, dropped)

    info = replace(padded[0].info, splats=sum(source.info.splats for source in sources))
    return Source(info, read)


class EmptyError(LensError):
    """No row came."""


def non_empty(source: Source) -> Source:
    """The same; raises EmptyError at the end of a pass that met no row."""

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        count = 0
        for part in source.chunks(rows, dropped):
            count += len(part)
            yield part
        if count == 0:
            raise EmptyError(f"{source.info.path}: no splats")

    return Source(source.info, read)


class Tally:
    """What a pass over a source met: rows, those left out, and progress to `tell` (share of the rows, 0 to 1).

    splats, dropped: of the last complete pass.
    """

    def __init__(self, source: Source, tell: Callable[[float], None] = lambda share: None) -> None:
        self.splats = 0
        self.dropped: Counter[str] = Counter()
        self._source, self._tell = source, tell
        self.source = Source(source.info, self._read)

    def _read(self, rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        count, met = 0, Counter[str]()
        for part in self._source.chunks(rows, met):
            count += len(part)
            self._tell(min(1.0, (count + met.total()) / max(self._source.info.splats, 1)))
            yield part
        self.splats, self.dropped = count, met
        dropped.update(met)

    def count(self) -> int:
        """Rows of a pass made for it alone."""
        return sum(len(part) for part in self.source.chunks())

    def facts(self) -> SourceInfo:
        """The source's facts with the rows left out, and a warning on them."""
        info = replace(self.source.info, dropped=dict(sorted(self.dropped.items())))
        if not info.dropped:
            return info
        reasons = ", ".join(f"{count} with {reason}" for reason, count in info.dropped.items())
        return info.with_warnings(f"{self.dropped.total()} of {info.splats} splats dropped: {reasons}")
