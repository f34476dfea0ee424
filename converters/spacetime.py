"""Spacetime Gaussians, the lite model, as PLY (oppo-us-research/SpacetimeGaussians, scene/ourslite.py): reader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.model_folder import iterations, parse_cfg_args, with_run
from splatlens.converters.ply_header import listed, vertex_columns
from splatlens.converters.ply_rows import EXPORT, Rows, open_rows, pick
from splatlens.converters.sequence import (
    CHUNK_ROWS,
    F64,
    FRAME_RATE,
    FRAMES,
    activated,
    exp_widths,
    kept,
    sequence_source,
    time_span,
    unit_quats,
)
from splatlens.converters.source import SourceInfo
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.sequence_kernels import Spacetime

#: Columns by what they are; the three of a motion are those of one power of the time.
COLUMNS: dict[str, tuple[str, ...]] = {
    "means": ("x", "y", "z"),
    "times": ("trbf_center",),
    "widths": ("trbf_scale",),
    "motions": tuple(f"motion_{i}" for i in range(9)),
    "colors": ("f_dc_0", "f_dc_1", "f_dc_2"),
    "opacities": ("opacity",),
    "scales": ("scale_0", "scale_1", "scale_2"),
    "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
    "omegas": ("omega_0", "omega_1", "omega_2", "omega_3"),
}
#: What tells these files from other PLYs, and columns that the full model has and the lite one has not.
MARKS = frozenset(("trbf_center", "trbf_scale", "motion_0"))
FULL = ("f_dc_3", "f_t_0")


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is a PLY with the columns that only these have, or a run's folder."""
    if not path.is_dir():
        return vertex_columns(head, path) >= MARKS
    return bool(found := iterations(path)) and vertex_columns(b"ply\n", found[-1][1]) >= MARKS


def open_spacetime(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the header only, of the newest iteration where `path` is the folder of a run.

    Raises FormatError for a damaged file, UnsupportedError for the full model.
    """
    folder = path if path.is_dir() else None
    iteration, path = iterations(folder)[-1] if folder else (None, path)
    vertices = open_rows(path)
    if any(name in vertices.index for name in FULL):
        why = "Spacetime Gaussians of the full model, whose colours a network makes of the drawn picture, are not read"
        raise UnsupportedError(f"{path}: {why}; train the lite model (its configs/*_lite) and convert that")
    wanted = [name for names in COLUMNS.values() for name in names]
    missing = [name for name in wanted if name not in vertices.index]
    if missing:
        found = listed(tuple(vertices.index))
        raise FormatError(f"{path}: missing columns {listed(missing)}; columns found: {found}; {EXPORT} with them")
    ignored = tuple(n for n in vertices.index if n not in wanted and n not in ("nx", "ny", "nz"))
    info = SourceInfo(path, FORMAT.name, vertices.count, 0, vertices.bytes, ignored, vertices.warnings, files=(path,))
    frames, info = _frames(info)
    if folder:
        info = with_run(replace(info, path=folder, iteration=iteration))
    span = time_span(options, 0.0, 1.0, (frames or FRAMES) / FRAME_RATE, frames)
    if options.seconds is None:
        known = f"{frames} frames, by its cfg_args," if frames else "how long it takes is not in the file;"
        info = info.with_warnings(f"{known} played in {span.duration:.3g} s at its normal speed; change by --seconds")

    return sequence_source(info, span, lambda dropped: chunks(vertices, dropped))


def chunks(vertices: Rows, dropped: Counter[str]) -> Iterator[Spacetime]:
    """The rows that can be drawn, activated."""
    columns = {key: [vertices.index[name] for name in names] for key, names in COLUMNS.items()}
    for table in vertices.tables(CHUNK_ROWS):
        with np.errstate(over="ignore"):
            given = {key: pick(table, c).astype(np.float64) for key, c in columns.items()}
        scales, opacities = activated(given["scales"], given["opacities"][:, 0])
        widths = exp_widths(given["widths"][:, 0])
        yield moving(given, given["times"][:, 0], widths, scales, opacities, dropped)


def moving(
    given: dict[str, F64], times: F64, widths: F64, scales: F64, opacities: F64, dropped: Counter[str]
) -> Spacetime:
    """Splats of a chunk of which some values are activated; those that cannot be drawn are counted and left out.

    given: means (N, 3), motions (N, 9), quats and omegas (N, 4), colors (N, 3).
    """
    with np.errstate(invalid="ignore", over="ignore"):
        # Of rotation and change only the ratio counts.
        lengths, quats = unit_quats(given["quats"])
        omegas = given["omegas"] / lengths[:, None]
    turned: NDArray[np.bool_] = (given["quats"] != 0).any(axis=1)
    motions = given["motions"].reshape(-1, 3, 3)
    made = Spacetime(given["means"], motions, times, widths, quats, omegas, scales, opacities, given["colors"])
    out = kept(made, turned, dropped)
    assert isinstance(out, Spacetime)
    return out


def _frames(info: SourceInfo) -> tuple[int, SourceInfo]:
    """Frames that the run was trained on, 0 where unknown: by cfg_args, in the folder of point_cloud/iteration_N."""
    for folder in info.path.resolve().parents[:3]:
        file = folder / "cfg_args"
        if not file.is_file():
            continue
        try:
            frames = parse_cfg_args(file).get("duration")
        except LensError as error:
            return 0, info.with_warnings(f"settings left out: {error}")
        if isinstance(frames, int) and not isinstance(frames, bool) and 0 < frames <= 1 << 24:
            return frames, replace(info, files=(*info.files, file))
    return 0, info


FORMAT: Format = Format(
    "spacetime-ply",
    "Spacetime Gaussians (lite) PLY",
    (".ply",),
    sniff,
    open_spacetime,
    sh_degree=0,
    options=("time_span", "seconds"),
    live=True,
    reads="the lite model: polynomial motion, turning, temporal opacity; the full model is refused",
    loses="becomes a sequence layer: halves instead of float32 but for centres and times",
)
