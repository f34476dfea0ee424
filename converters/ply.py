"""PLY files of trained Gaussians, 3D (Kerbl et al. 2023) and flat (Huang et al. 2024): reader and writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions, WriteOptions
from splatlens.converters.ply_header import comments_of, listed, with_comments
from splatlens.converters.ply_rows import EXPORT, open_rows, pick
from splatlens.converters.source import Array, Source, SourceInfo, activate, checked
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

#: Third standard deviation of a flat splat, in units of its smaller one. 2DGS has discs without thickness; its
#: authors add 1e-6 units for viewers of 3DGS, which is no disc where splats are 1e-5 units large. At a thousandth the
#: edge of a disc 500 pixels wide stays below the 0.55 pixels by which every splat is blurred.
FLATNESS = 1e-3
#: pixels^2 by which Mip-Splatting blurs unless told otherwise; its PLY files do not say.
MIP_DILATION = 0.1

_MEANS = ("x", "y", "z")
_QUATS = ("rot_0", "rot_1", "rot_2", "rot_3")
_SCALES = ("scale_0", "scale_1", "scale_2")
_COLOUR = ("f_dc_0", "f_dc_1", "f_dc_2")
_NORMALS = ("nx", "ny", "nz")
#: Width of the 3D filter that Mip-Splatting keeps beside a splat, world units (Yu et al. 2024, section 4.1).
_FILTER = "filter_3D"


@dataclass(frozen=True)
class _Columns:
    """Where a file's columns are: indices into a row.

    geometry: means, quats, scales (two of a flat splat), opacity; sh: coefficient-major, 3 for each coefficient;
    filter: one or none; cut: coefficients a channel has beyond degree 3.
    """

    geometry: tuple[list[int], ...]
    sh: list[int]
    filter: list[int]
    cut: int
    ignored: tuple[str, ...]


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a PLY."""
    return head[:4] in (b"ply\n", b"ply\r")


def open_ply(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header only. Raises FormatError for a damaged file, UnsupportedError for one of another kind."""
    vertices = open_rows(path)
    columns = find_columns(path, vertices.index)
    degree = SH_COEFFICIENTS.index(len(columns.sh) // 3)
    info = SourceInfo(path, "3dgs-ply", vertices.count, degree, vertices.bytes, columns.ignored, files=(path,))
    info = with_comments(info, vertices.comments)
    if columns.cut:
        info = info.with_warnings("spherical harmonics of degree 4 were reduced to degree 3")
    if len(columns.geometry[2]) == 2:
        info = replace(info, flat=True)
    if columns.filter:
        why = f"column {_FILTER} was applied; the blur it goes with is not in the file: {MIP_DILATION} pixels^2 assumed"
        info = replace(info, antialias=True, dilation=MIP_DILATION).with_warnings(why)
    info = info.with_warnings(*vertices.warnings)

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for table in vertices.tables(rows):
            with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and then counts as such
                means, quats, log_scales, logits = (pick(table, part) for part in columns.geometry)
                sh = pick(table, columns.sh).astype(np.float32, copy=False).reshape(len(means), -1, 3)
            if info.flat and log_scales.shape[1] == 2:
                third = log_scales.min(axis=1, keepdims=True) + np.log(FLATNESS, dtype=log_scales.dtype)
                log_scales = np.concatenate([log_scales, third], axis=1)
            if columns.filter:
                filters = pick(table, columns.filter)
                yield _filtered(means, quats, log_scales, logits[:, 0], filters, sh, dropped)
            else:
                yield activate(means, quats, log_scales, logits[:, 0], sh, dropped)

    return Source(info, read)


def _filtered(
    means: Array, quats: Array, log_scales: Array, logits: Array, filters: Array, sh: NDArray[np.float32],
    dropped: Counter[str],
) -> Splats:  # fmt: skip
    """`activate`, each Gaussian convolved with its isotropic 3D filter of width filters (N, 1).

    Variances add up; the opacity shrinks as the volume grows (Yu et al. 2024, equation 7).
    """
    finite = np.isfinite(log_scales).all(axis=1) & np.isfinite(logits) & np.isfinite(filters[:, 0])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        narrow = np.exp(log_scales.astype(np.float64))
        scales = np.hypot(narrow, filters)
        opacities = np.prod(narrow / scales, axis=1) / (1 + np.exp(-logits.astype(np.float64)))
    return checked(means, quats, scales, opacities, sh, dropped, finite)


def find_columns(path: Path, index: dict[str, int]) -> _Columns:
    """Matches names to meanings, in whatever order they stand."""
    found = listed(tuple(index))
    flat = "scale_1" in index and "scale_2" not in index
    scales = _SCALES[:2] if flat else _SCALES
    required = (*_MEANS, *_QUATS, *scales, "opacity", *_COLOUR)
    missing = [name for name in required if name not in index]
    if missing:
        raise FormatError(f"{path}: missing columns {listed(missing)}; columns found: {found}; {EXPORT}")
    rest = sum(name.startswith("f_rest_") for name in index)
    if rest not in (0, 9, 24, 45, 72):
        expected = "expected 0, 9, 24 or 45 (SH degree 0 to 3)"
        raise UnsupportedError(f"{path}: {rest} columns f_rest_*, {expected}; {EXPORT}")
    absent = [f"f_rest_{i}" for i in range(rest) if f"f_rest_{i}" not in index]
    if absent:
        missing_rest = f"missing columns {listed(absent)} of {rest} f_rest_*"
        raise FormatError(f"{path}: {missing_rest}; columns found: {found}; {EXPORT}")
    # f_rest is channel-major: all coefficients of red, then green, then blue.
    per_channel = rest // 3
    kept = min(per_channel, SH_COEFFICIENTS[-1] - 1)
    sh = [index[name] for name in _COLOUR]
    sh += [index[f"f_rest_{channel * per_channel + k}"] for k in range(kept) for channel in range(3)]
    used = {*required, *(f"f_rest_{i}" for i in range(rest)), *_NORMALS, _FILTER}  # normals: by habit, always zero
    geometry = tuple([index[name] for name in names] for names in (_MEANS, _QUATS, scales, ("opacity",)))
    filters = [index[_FILTER]] if _FILTER in index else []
    ignored = tuple(name for name in index if name not in used)
    return _Columns(geometry, sh, filters, per_channel - kept, ignored)


def write_ply(path: Path, source: Source, options: WriteOptions) -> int:
    """Writes little-endian float32 in the column order of the 3DGS reference code, zero normals included.

    Opacities are clipped to the open interval (0, 1), whose ends have no finite logit. One pass, a chunk in memory.
    Raises LensError where the file cannot be written; what stood at `path` stays until the new file is complete.
    """
    names = [*_MEANS, *_NORMALS, *_COLOUR]
    names += [f"f_rest_{i}" for i in range(3 * (SH_COEFFICIENTS[source.info.sh_degree] - 1))]
    names += ["opacity", *_SCALES, *_QUATS]
    properties = [f"property float {name}" for name in names]
    total = source.info.splats

    def header(count: int) -> bytes:
        # Rows may be left out, so the count is known last: a comment pads the header to the length it had at first.
        room = "comment " + " " * (len(str(total)) - len(str(count)))
        lines = ["ply", "format binary_little_endian 1.0", *comments_of(source.info), room]
        lines += [f"element vertex {count}", *properties, "end_header", ""]
        return "\n".join(lines).encode()

    with atomic_write(path) as file:
        file.write(header(total))
        done = 0
        for part in source.chunks():
            file.write(_rows(part, len(names)))
            done += len(part)
            options.progress(done / total)
        size = file.tell()
        file.seek(0)
        file.write(header(done))
    return size


def _rows(splats: Splats, columns: int) -> bytes:
    """Rows as trained: logarithms, logits, SH channel-major."""
    n, k = splats.sh.shape[:2]
    opacities = np.clip(splats.opacities.astype(np.float64), np.finfo(np.float32).tiny, 1 - np.finfo(np.float32).epsneg)
    scales = np.clip(splats.scales, np.finfo(np.float32).tiny, None)
    parts = (
        splats.means, np.zeros((n, 3)), splats.sh[:, 0], splats.sh[:, 1:].transpose(0, 2, 1).reshape(n, 3 * (k - 1)),
        np.log(opacities / (1 - opacities))[:, None], np.log(scales.astype(np.float64)), splats.quats,
    )  # fmt: skip
    table = np.empty((n, columns), "<f4")
    np.concatenate(parts, axis=1, out=table, casting="same_kind")
    return table.tobytes()


FORMAT: Format = Format(
    "3dgs-ply",
    "3D Gaussian Splatting PLY",
    (".ply",),
    sniff,
    open_ply,
    write_ply,
    reads="ascii and binary of either byte order, columns in any order and type, SH 0 to 4 (4 cut to 3), "
    "2DGS, Mip-Splatting's 3D filter",
    writes="float32, the reference code's columns",
    loses="nothing of a trained splat; opacities above 1 are clipped; no cameras, dilation or licence",
)
