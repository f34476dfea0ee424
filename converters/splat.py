"""antimatter15's .splat, 32 bytes a splat without a header: reader and writer."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions, WriteOptions
from splatlens.converters.sorted_rows import Row, SortedRows
from splatlens.converters.source import Source, SourceInfo, checked
from splatlens.viewer.errors import FormatError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import SH_C0, Splats

#: A splat: centre, standard deviations (linear), colour and opacity, quaternion w x y z as 128 (q + 1)
#: (antimatter15/splat, convert.py).
ROW = np.dtype([("mean", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("quat", "u1", 4)])

#: Rows whose values `open_splat` looks at: a file of another kind named .splat is told by its first ones.
LOOK_ROWS = 64
#: No splat of a scene is larger or farther off; as ASCII, four letters are a number above 1e12.
LARGEST = 1e9
#: Rounded or truncated components, each off by up to 1/128, and 127 / 128 for 1: lengths of a unit quaternion.
LENGTHS = (0.95, 1.05)


def sniff(head: bytes, path: Path) -> bool:
    """Whether the file is one, although the format has no magic: its size fits and its first rows are splats.

    Strict, as any file might be asked about: every quaternion of unit length, every scale above zero.
    """
    if len(head) < ROW.itemsize or path.stat().st_size % ROW.itemsize:
        return False
    rows = np.frombuffer(head[: len(head) // ROW.itemsize * ROW.itemsize], ROW)
    lengths = np.linalg.norm(_quats(rows), axis=1)
    small = (np.abs(rows["mean"]) > 1e-30) | (rows["mean"] == 0)
    unit = (lengths > LENGTHS[0]) & (lengths < LENGTHS[1])
    return bool(_plausible(rows).all() and unit.all() and small.all() and (rows["scale"] > 1e-20).all())


def _plausible(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """(N,) whether centres and scales are finite and no larger than a scene's, and no scale is below zero."""
    inside = (np.abs(rows["mean"]) < LARGEST) & (rows["scale"] < LARGEST) & (rows["scale"] >= 0)
    found: NDArray[np.bool_] = inside.all(axis=1)
    return found


def _quats(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """(N, 4) w x y z, of about unit length."""
    return (rows["quat"].astype(np.float64) - 128) / 128


def open_splat(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Looks at the size and the first rows. Raises FormatError for a file that is cut or of another kind."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        count, rest = divmod(size, ROW.itemsize)
        first = np.frombuffer(file.read(min(count, LOOK_ROWS) * ROW.itemsize), ROW)
    odd = np.flatnonzero(~_plausible(first))
    if 2 * len(odd) > len(first):
        row = first[odd[0]]
        values = ", ".join(f"{value:.3g}" for value in (*row["mean"], *row["scale"]))
        kind = "rows of 32 bytes that start with a centre and three scales"
        why = f"not a .splat file: expected {kind}, but row {odd[0]} reads {values}"
        raise FormatError(f"{path}: {why}; if it is of another format, give it that format's extension")
    if rest:
        whole = f"{count} rows of 32 bytes and {rest} bytes of another" if count else f"only {rest} bytes"
        raise FormatError(f"{path}: {whole}: the file is cut or not a .splat; fetch or export it again")
    if not count:
        raise FormatError(f"{path}: the file is empty; fetch or export it again")

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        with path.open("rb") as file:
            for done in range(0, count, rows):
                wanted = min(rows, count - done)
                data = file.read(wanted * ROW.itemsize)
                if len(data) < wanted * ROW.itemsize:
                    cut = f"the file was cut short while it was read, in row {done + len(data) // ROW.itemsize}"
                    raise FormatError(f"{path}: {cut}; read it again once it is complete")
                yield _splats(np.frombuffer(data, ROW), dropped)

    return Source(SourceInfo(path, "splat", count, 0, size, files=(path,)), read)


def _splats(rows: NDArray[np.void], dropped: Counter[str]) -> Splats:
    rgba = rows["rgba"].astype(np.float64) / 255
    sh = ((rgba[:, None, :3] - 0.5) / SH_C0).astype(np.float32)
    return checked(rows["mean"], _quats(rows), rows["scale"], rgba[:, 3], sh, dropped)


def write_splat(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes the most important splats first, as antimatter15's converter does: by volume times opacity.

    A viewer that draws what has arrived then shows the scene's large parts at once. Values are rounded to the nearest
    step, quaternions have w >= 0, rows of equal importance keep their order. Sorted in runs by way of a temporary
    file ($TMPDIR) of 36 bytes a splat: memory does not grow with the scene. Raises LensError.
    """
    total = max(1, source.info.splats)
    with atomic_write(path) as file, SortedRows(path, ROW) as ordered:
        done = 0
        for part in source.chunks():
            ordered.add(*_keyed(part))
            done += len(part)
            options.progress(done / total / 2)
        written = 0
        for rows in ordered.merged():
            file.write(rows.view(np.uint8).data)
            written += len(rows)
            options.progress(0.5 + written / done / 2)
        return file.tell()


def _keyed(splats: Splats) -> tuple[NDArray[np.float32], NDArray[Row]]:
    """(N,) the smaller the more important, and the rows."""
    rows = np.zeros(len(splats), ROW)
    rows["mean"], rows["scale"] = splats.means, splats.scales
    colour = 0.5 + SH_C0 * splats.sh[:, 0].astype(np.float64)
    rows["rgba"] = _byte(255 * np.column_stack([colour, splats.opacities]))
    quats = splats.quats * np.where(splats.quats[:, :1] < 0, np.float32(-1), np.float32(1))
    rows["quat"] = _byte(128 * quats.astype(np.float64) + 128)
    with np.errstate(divide="ignore"):  # an opacity of 0 comes last
        volume = np.log(splats.scales.astype(np.float64)).sum(axis=1)
        key = -(volume + np.log(splats.opacities.astype(np.float64).clip(0, 1)))
    return key.astype(np.float32), rows


def _byte(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


FORMAT: Format = Format(
    "splat",
    "antimatter15 .splat",
    (".splat",),
    sniff,
    open_splat,
    write_splat,
    sh_degree=0,
    reads="32 bytes a splat; known without its extension by plausible first rows",
    writes="largest volume times opacity first; 8 bits a colour, opacity and quaternion component",
    loses="SH above degree 0, colours outside 0 to 1, rotation finer than half a degree; opacities above 1 are clipped",
)
