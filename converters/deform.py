"""Model folders of 4DGaussians: splats, and a network of planes that moves them (Wu et al. 2024), to ONNX.

A run of hustvl/4DGaussians leaves point_cloud/iteration_N/ with point_cloud.ply (the splats at rest), deformation.pth
(the network's state dict) and deformation_table.pth, beside cfg_args and cameras.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splatlens.converters.checkpoint import read_checkpoint, state_dict
from splatlens.converters.deform_network import HEADS, Network, read_network
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.generator import model_source
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.model_folder import iterations, open_model_folder, parse_cfg_args
from splatlens.converters.ply import find_columns
from splatlens.converters.ply_rows import open_rows, pick
from splatlens.viewer.contract import MAX_CAPACITY, Columns, Contract, Input, TimeSpan
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError

if TYPE_CHECKING:
    import onnx

    from splatlens.converters.deform_graph import Rows

NETWORK, TABLE = "deformation.pth", "deformation_table.pth"
#: By which a run is known, even one that lacks the network itself.
_MARKS = (NETWORK, TABLE, "deformation_accum.pth")
#: Frames a second that the moments of a run are taken to have, and frames for each row of the time planes: the authors
#: advise half as many rows as frames (arguments/__init__.py). The files do not say how long the scene lasts.
FRAME_RATE, FRAMES_PER_ROW = 30, 2
#: Seconds of a run without planes.
DURATION = 4.0
#: Of constants, in a model: protobuf's 2 GiB less what the network itself takes.
MAX_BYTES = (1 << 31) - (1 << 27)
_AGAIN = "copy the iteration's folder again"


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is a model folder whose newest iteration has a deformation."""
    newest = iterations(path)[-1:] if path.is_dir() else []
    return any((file.parent / mark).is_file() for _, file in newest for mark in _MARKS)


def open_deform(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the PLY's header and the small files; the network when it is asked for. Raises LensError."""
    _require_duration(path, options.seconds)
    still = open_model_folder(path).info
    folder = iterations(path)[-1][1].parent
    if not (folder / NETWORK).is_file():
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:6])
        raise FormatError(
            f"{folder}: no {NETWORK}, which says how the splats move (it holds {there}); {_AGAIN}, or give "
            "point_cloud.ply itself for the splats at rest"
        )
    settings, warnings = _settings(path)
    warnings += _table_warnings(folder / TABLE, still.splats)
    files = tuple(f for f in (*still.files, folder / NETWORK, folder / TABLE) if f.is_file())
    facts = {k: getattr(still, k) for k in ("cameras", "up", "background", "iteration", "sh_degree", "splats")}
    facts |= {"warnings": (*still.warnings, *warnings), "files": files}
    return model_source(path, FORMAT.name, lambda: _model(folder, settings, options.seconds), **facts)


def export(path: str | Path, duration: float | None = None) -> onnx.ModelProto:
    """The model of a run's newest iteration. duration: seconds from time 0 to 1; None: 2 frames a row of time at 30 a
    second. Raises LensError."""
    path = Path(path)
    if not sniff(b"", path):
        raise FormatError(f"{path}: not a 4DGaussians model folder: no point_cloud/iteration_N/{NETWORK} in it")
    _require_duration(path, duration)
    return _model(iterations(path)[-1][1].parent, _settings(path)[0], duration)


def _require_duration(path: Path, seconds: float | None) -> None:
    if seconds is not None and not 1e-3 <= seconds <= 1e6:
        raise LensError(f"{path}: a duration of {seconds:g} seconds; give 0.001 to 1,000,000")


def _model(folder: Path, settings: dict[str, Any], duration: float | None) -> onnx.ModelProto:
    network = read_network(folder / NETWORK, state_dict(folder / NETWORK), settings)
    rows = _rows(folder / "point_cloud.ply", network)
    width = rows.sh.shape[1] + 11 + len(network.planes) * (network.channels + 6)
    if 4 * width * len(rows) > MAX_BYTES:
        raise UnsupportedError(
            f"{folder}: {len(rows):,} splats of {4 * width} bytes, more than the {MAX_BYTES:,} bytes that an ONNX file "
            "holds; train with fewer splats"
        )
    seconds = FRAMES_PER_ROW * network.time_rows / FRAME_RATE if network.planes else DURATION
    contract = Contract(
        "generator",
        {"time": Input("time")},
        {name: Columns(name) for name in ("means", "scales", "quats", "opacities", "sh")},
        capacity=len(rows),
        time=TimeSpan(0, 1, duration or seconds),
    )
    from splatlens.converters.deform_graph import build  # imports onnx, 0.3 s

    return build(network, rows).model(contract)


def _rows(path: Path, network: Network) -> Rows:
    """The splats at rest, without those that hold NaN or infinity (they have no place among the planes)."""
    vertices = open_rows(path)
    columns = find_columns(path, vertices.index)
    if len(columns.geometry[2]) != 3 or columns.filter:
        raise UnsupportedError(f"{path}: columns of 2DGS or Mip-Splatting beside a deformation of 3D splats; {_AGAIN}")
    if "shs_deform" in network.heads and len(columns.sh) != HEADS["shs_deform"][0]:
        raise FormatError(
            f"{path}: {len(columns.sh)} columns of spherical harmonics, but deformation_net.shs_deform moves "
            f"{HEADS['shs_deform'][0]} (degree 3); take the PLY and {NETWORK} of one run"
        )
    table = np.concatenate(
        [np.concatenate([pick(part, list(c)) for c in (*columns.geometry, columns.sh)], axis=1)
         for part in vertices.tables(1 << 16)]
    ).astype(np.float32)  # fmt: skip
    table = table[np.isfinite(table).all(axis=1)]
    if not 0 < len(table) <= MAX_CAPACITY:
        raise UnsupportedError(
            f"{path}: {len(table)} of {vertices.count} splats are finite, expected 1 to {MAX_CAPACITY:,}; "
            "export the scene again"
        )
    means, quats, scales, logits, sh = np.split(table, [3, 7, 10, 11], axis=1)
    from splatlens.converters.deform_graph import Rows

    return Rows(means, scales, quats, logits, sh)


def _settings(path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What cfg_args says about the deformation, and warnings."""
    file = path / "cfg_args"
    why = "which attributes move is not known, the authors' defaults are taken: all but opacities and colours"
    if not file.is_file():
        return {}, (f"no cfg_args: {why}",)
    try:
        settings = parse_cfg_args(file)
    except LensError as error:
        return {}, (f"settings left out: {error}; {why}",)
    if not any(option in settings for _, option, _ in HEADS.values()):
        return settings, (f"cfg_args has none of {', '.join(option for _, option, _ in HEADS.values())}: {why}",)
    return settings, ()


def _table_warnings(path: Path, splats: int) -> tuple[str, ...]:
    """Checks the table of splats that move, which the authors' renderer loads and never uses. Raises LensError."""
    if not path.is_file():
        return (f"no {path.name}: all splats are taken to move, as the authors' own loader has it",)
    table = read_checkpoint(path)
    shape = table.shape if isinstance(table, np.ndarray) else type(table).__name__
    if shape != (splats,):
        raise FormatError(
            f"{path}: {shape}, expected a flag for each of the {splats} splats of point_cloud.ply; take the files of "
            "one iteration"
        )
    still = int(np.count_nonzero(table == 0))
    return (f"{path.name} marks {still} splats as still; the authors' renderer moves them too",) if still else ()


FORMAT: Format = Format(
    "4dgaussians",
    "4DGaussians model folder",
    (),
    sniff,
    open_deform,
    options=("seconds",),
    live=True,
    reads="the newest iteration's PLY and deformation.pth (planes, perceptron, masks), all options of cfg_args",
)
