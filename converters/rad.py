"""Spark's .rad, with its level-of-detail tree and chunks in files of their own: reader."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.rad_layout import AGAIN, CHUNK_MAGIC, MAGIC, NEEDED, Chunk, Header, read_chunk, read_header
from splatlens.converters.rad_planes import Planes
from splatlens.converters.source import CHUNK_ROWS, Source, SourceInfo, checked
from splatlens.viewer.errors import FormatError
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats


@dataclass(frozen=True)
class _Scene:
    """What is needed to read rows. degree: of SH that is read."""

    path: Path
    header: Header
    degree: int


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a .rad, or one chunk of one."""
    return head[:4] in (MAGIC, CHUNK_MAGIC)


def open_rad(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the headers of the file and of its chunks, and of a level-of-detail tree who has children.

    A tree's leaves are the scene; the merged splats above them are left out. Raises LensError.
    """
    header = read_header(path)
    degree = min(header.sh_degree, 3)
    scene = _Scene(path, header, degree)
    warnings, unknown, leaves = [], dict[str, None](), 0
    for number in range(len(header.ranges)):
        chunk = read_chunk(path, header, number)
        _sh_columns(scene, chunk)
        unknown |= dict.fromkeys(chunk.unknown)
        if header.lod:
            with Planes(path, chunk, ("child_count",)) as planes:
                for first in range(0, chunk.count, CHUNK_ROWS):
                    rows = min(CHUNK_ROWS, chunk.count - first)
                    leaves += rows - int(np.count_nonzero(planes.whole("child_count", first, rows)))
    if header.lod:
        if not leaves:
            raise FormatError(f"{path}: no splat of its tree is a leaf; {AGAIN}")
        merged = f"{header.count - leaves} merged splats of its level-of-detail tree are left out"
        warnings.append(f"{merged}; its {leaves} leaves are the scene")
    if header.sh_degree > 3:
        warnings.append(f"SH of degree {header.sh_degree} are reduced to degree 3")
    files = tuple(dict.fromkeys([path, *(source for source, _, _ in header.ranges)]))
    info = SourceInfo(
        path, "rad", leaves if header.lod else header.count, degree, sum(file.stat().st_size for file in files),
        tuple(unknown), tuple(warnings), files=files,
    )  # fmt: skip

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        codes: NDArray[np.float32] | None = None
        for number in range(len(header.ranges)):
            chunk = read_chunk(path, header, number)
            sh = _sh_columns(scene, chunk)
            lod = ("child_count",) if header.lod else ()
            code_names = tuple(f"sh{d}_code" for d in range(1, degree + 1) if f"sh{d}_code" in chunk.properties)
            with Planes(path, chunk, (*NEEDED, *sh, *lod, *code_names)) as planes:
                if code_names:
                    table = [planes.values(name, 0, chunk.properties[name].rows) for name in code_names]
                    with np.errstate(over="ignore", invalid="ignore"):
                        codes = np.concatenate(table, axis=1, dtype=np.float32, casting="same_kind")
                for first in range(0, chunk.count, rows):
                    part = _rows(scene, planes, sh, codes, first, min(rows, chunk.count - first), dropped)
                    if len(part):
                        yield part

    return Source(info, read)


def _sh_columns(scene: _Scene, chunk: Chunk) -> tuple[str, ...]:
    """Names of the columns that hold a chunk's SH: one of each degree, or labels of the codebook in the first chunk."""
    degrees = range(1, scene.degree + 1)
    own = tuple(f"sh{d}" for d in degrees)
    if "sh_label" in chunk.properties and degrees:
        own = ("sh_label",)
        codes = [f"sh{d}_code" for d in degrees if chunk.number == 0]
    else:
        codes = []
    if missing := [name for name in (*own, *codes) if name not in chunk.properties]:
        raise FormatError(f"{scene.path}: chunk {chunk.number}: without {', '.join(missing)}; {AGAIN}")
    return own


def _rows(
    scene: _Scene,
    planes: Planes,
    sh_columns: tuple[str, ...],
    codes: NDArray[np.float32] | None,
    first: int,
    rows: int,
    dropped: Counter[str],
) -> Splats:
    """Splats of a chunk's rows `first` on that no merged splat stands for."""
    sh = np.empty((rows, SH_COEFFICIENTS[scene.degree], 3), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        sh[:, 0] = (planes.values("rgb", first, rows) - 0.5) / SH_C0
        if sh_columns == ("sh_label",):
            labels = planes.whole("sh_label", first, rows)
            if codes is None or labels.max() >= len(codes):
                last = "without a codebook" if codes is None else f"past the {len(codes)} of its codebook"
                raise FormatError(f"{scene.path}: SH code {labels.max()} {last}; {AGAIN}")
            sh[:, 1:] = codes[labels].reshape(rows, -1, 3)
        else:
            for degree, name in enumerate(sh_columns, 1):  # coefficient after coefficient, colours innermost
                of, upto = SH_COEFFICIENTS[degree - 1], SH_COEFFICIENTS[degree]
                sh[:, of:upto] = planes.values(name, first, rows).reshape(rows, upto - of, 3)
    columns = [
        planes.values("center", first, rows), planes.quats(first, rows), planes.values("scales", first, rows),
        _opacities(planes.values("alpha", first, rows)[:, 0]),
    ]  # fmt: skip
    if scene.header.lod:
        leaf = planes.whole("child_count", first, rows) == 0
        columns, sh = [column[leaf] for column in columns], sh[leaf]
    means, quats, scales, opacities = columns
    return checked(means, quats, scales, opacities, sh, dropped)


def _opacities(stored: NDArray[np.float64]) -> NDArray[np.float64]:
    """Opacities a of merged splats are stored as 1 + (D - 1) / 4, D = sqrt(1 + e ln a), at most 5 (splatVertex.glsl).

    Spark draws them as 1 - (1 - exp(-d^2 / 2))^a, which is a exp(-d^2 / 2) far from the centre and flat near it, as
    an opacity above 1 is here.
    """
    d = np.minimum(4 * stored - 3, 5)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(stored > 1, np.exp((d * d - 1) / math.e), stored)


FORMAT: Format = Format(
    "rad",
    "Spark .rad",
    (".rad",),
    sniff,
    open_rad,
    reads="version 1, every encoding and SH codebooks, chunks inside or beside (.radc); of a tree, its leaves",
    loses="by Spark's choice colours, SH, scales and rotations to 8 bits",
)
