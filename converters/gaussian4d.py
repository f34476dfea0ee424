"""Native 4D Gaussians of a chkpntN.pth (fudan-zvg/4d-gaussian-splatting, scene/gaussian_model.py): reader."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.checkpoint import is_checkpoint, read_checkpoint
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.model_folder import parse_cfg_args
from splatlens.converters.sequence import (
    CHUNK_ROWS,
    WIDTHS,
    activated,
    exp_widths,
    kept,
    sequence_source,
    time_span,
    unit_quats,
)
from splatlens.converters.source import SourceInfo
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.sequence import MAX_TERMS
from splatlens.viewer.sequence_kernels import Gaussians4D, lower_factor, slice4d
from splatlens.viewer.splats import SH_COEFFICIENTS, rotation_matrices

#: Members of the captured tuple: of a 4D model, and of a 3D one, which the reference code of 3DGS writes too.
CAPTURED, CAPTURED_3D = 19, 12
#: Temporal opacity at or below which the rasterizer draws nothing (forward.cu, computeCov3D_conditional).
CUT = 0.05
#: Longest configuration read, bytes; theirs have 1,300.
MAX_CONFIG = 1 << 16
_AGAIN = "give a chkpntN.pth that 4D Gaussian Splatting has saved"


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a PyTorch checkpoint with the name that the training code gives."""
    return is_checkpoint(head) and re.fullmatch(r"chkpnt\w*\.pth", path.name) is not None


@dataclass(frozen=True)
class Captured:
    """What a checkpoint holds of N splats, as trained: logarithms and logits, float32.

    means (N, 3), scales (N, 4) x y z t, quats (N, 4), right (N, 4) None for splats that turn in space only, opacities
    (N,), times (N,), sh (N, C, 3) with all terms of the series after another. degree, terms: of the colours.
    """

    means: NDArray[np.float32]
    scales: NDArray[np.float32]
    quats: NDArray[np.float32]
    right: NDArray[np.float32] | None
    opacities: NDArray[np.float32]
    times: NDArray[np.float32]
    sh: tuple[NDArray[np.float32], NDArray[np.float32]]
    degree: int
    terms: int
    iteration: int
    environment: bool


def open_gaussian4d(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the whole checkpoint. Raises FormatError, UnsupportedError for a 3D one or anything but tensors in it."""
    c = captured(path)
    settings = run_settings(path)
    info = SourceInfo(
        path, FORMAT.name, len(c.means), c.degree, path.stat().st_size, warnings=settings.warnings,
        background=settings.background, iteration=c.iteration, files=(path, *settings.files),
    )  # fmt: skip
    if c.environment:
        info = info.with_warnings("its environment map, drawn behind the splats, is left out")
    start, end = settings.span or _guess(c.times)
    span = time_span(options, start, end, min(max(end - start, 1e-3), 1e6))
    # The colours' series was trained over the whole span, whichever part of it is played.
    period = end - start if settings.span else span.end - span.start
    if settings.span is None and options.time_span is None:
        where = "no configuration (.yaml) with time_duration beside the checkpoint"
        matter = "; the colours' period depends on it" if c.terms > 1 else ""
        guess = f"{span.start:.3g} to {span.end:.3g} taken, of the splats' own times{matter}"
        info = info.with_warnings(f"{where}: {guess}; give --time-span")

    def read(dropped: Counter[str]) -> Iterator[Gaussians4D]:
        for first in range(0, len(c.means), CHUNK_ROWS):
            rows = slice(first, first + CHUNK_ROWS)
            yield chunk(c, rows, settings.prefilter, period, dropped)

    return sequence_source(info, span, read)


def captured(path: Path) -> Captured:
    """The splats of a checkpoint. Raises LensError."""
    value = read_checkpoint(path)
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], tuple):
        raise FormatError(f"{path}: expected the pair (splats, iteration); {_AGAIN}")
    given, iteration = value
    if len(given) == CAPTURED_3D:
        raise UnsupportedError(f"{path}: a checkpoint of 3D Gaussians; give the point_cloud.ply of the run instead")
    if len(given) != CAPTURED:
        raise FormatError(f"{path}: {len(given)} captured members, expected {CAPTURED}; {_AGAIN}")
    n = len(given[1]) if isinstance(given[1], np.ndarray) and given[1].ndim else 0
    if not n:
        raise FormatError(f"{path}: captured member 1 (xyz) holds no splats; {_AGAIN}")
    names = {1: ("xyz", (n, 3)), 2: ("features_dc", (n, 1, 3)), 3: ("features_rest", (n, -1, 3)),
             4: ("scaling", (n, 3)), 5: ("rotation", (n, 4)), 6: ("opacity", (n, 1)), 13: ("t", (n, 1)),
             14: ("scaling_t", (n, 1))}  # fmt: skip
    turned = given[16] is True
    if turned:
        names[15] = ("rotation_r", (n, 4))
    found = {name: _array(path, index, name, given[index], shape) for index, (name, shape) in names.items()}
    degree = _whole(path, 0, "active_sh_degree", given[0], 3)
    in_time = _whole(path, 18, "active_sh_degree_t", given[18], MAX_TERMS - 1)
    coefficients, columns = SH_COEFFICIENTS[degree], 1 + found["features_rest"].shape[1]
    if columns < coefficients:
        raise FormatError(f"{path}: {columns} SH coefficients, expected {coefficients} of degree {degree}; {_AGAIN}")
    # The rasterizer has the series for degree 3 only (forward.cu, computeColorFromSH_4D); with force_sh_3d there are no
    # coefficients for it, and with 33 of them (sh_channels_4d) all but the first 16 are unused.
    terms = min(in_time + 1, columns // coefficients) if degree == 3 else 1
    scales = np.concatenate([found["scaling"], found["scaling_t"]], axis=1)
    return Captured(
        found["xyz"], scales, found["rotation"], found.get("rotation_r"), found["opacity"][:, 0], found["t"][:, 0],
        (found["features_dc"], found["features_rest"]), degree, terms, iteration if isinstance(iteration, int) else 0,
        isinstance(given[17], np.ndarray) and given[17].size > 0,
    )  # fmt: skip


def _array(path: Path, index: int, name: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float32]:
    good = isinstance(value, np.ndarray) and value.ndim == len(shape) and value.dtype.kind == "f"
    if not good or any(want not in (-1, have) for want, have in zip(shape, value.shape, strict=True)):
        got = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
        want = ", ".join("any" if s < 0 else str(s) for s in shape)
        raise FormatError(f"{path}: captured member {index} ({name}) is {got}, expected floats ({want}); {_AGAIN}")
    out: NDArray[np.float32] = value.astype(np.float32, copy=False)
    return out


def _whole(path: Path, index: int, name: str, value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise FormatError(f"{path}: captured member {index} ({name}) is {value!r:.40}, expected 0 to {most}; {_AGAIN}")
    return value


def chunk(c: Captured, rows: slice, prefilter: float, period: float, dropped: Counter[str]) -> Gaussians4D:
    """Some rows, activated and sliced; those that cannot be drawn are counted and left out."""
    means, times = c.means[rows].astype(np.float64), c.times[rows].astype(np.float64)
    logarithms, quats = c.scales[rows].astype(np.float64), c.quats[rows].astype(np.float64)
    scales, opacities = activated(logarithms[:, :3], c.opacities[rows].astype(np.float64))
    sh = np.concatenate([part[rows] for part in c.sh], axis=1)[:, : c.terms * SH_COEFFICIENTS[c.degree]]
    given = (quats != 0).any(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        _, left = unit_quats(quats)
        widths = exp_widths(logarithms[:, 3])
    if c.right is None:
        velocities = np.zeros_like(means)
        # What is trained there is the variance, not the standard deviation (get_cov_t without rot_4d).
        widths = np.sqrt(widths + prefilter)
        factors = np.full((len(means), 3, 3), np.nan)
        sound = np.isfinite(scales).all(axis=1) & np.isfinite(left).all(axis=1)
        factors[sound] = lower_factor(rotation_matrices(left[sound]) * scales[sound, None, :])
    else:
        right = c.right[rows].astype(np.float64)
        given &= (right != 0).any(axis=1)
        _, right = unit_quats(right)
        four = np.concatenate([scales, widths[:, None]], axis=1)
        sound = np.isfinite(four).all(axis=1) & np.isfinite(left).all(axis=1) & np.isfinite(right).all(axis=1)
        velocities, factors = np.full_like(means, np.nan), np.full((len(means), 3, 3), np.nan)
        velocities[sound], widths[sound], factors[sound] = slice4d(four[sound], left[sound], right[sound], prefilter)
    made = Gaussians4D(
        means, velocities, times, np.clip(widths, *WIDTHS), factors, opacities,
        sh.astype(np.float64).reshape(len(means), c.terms, -1, 3), period, CUT,
    )  # fmt: skip
    out = kept(made, given, dropped)
    assert isinstance(out, Gaussians4D)
    return out


def _guess(times: NDArray[np.float32]) -> tuple[float, float]:
    """A span by the splats' own times: they are scattered over 1.2 times the span at first (create_from_pcd)."""
    finite = times[np.isfinite(times)].astype(np.float64)
    low, high = np.quantile(finite, [0.001, 0.999]) if len(finite) else (0.0, 1.0)
    middle, half = (low + high) / 2, (high - low) / 2.4
    return (float(middle - half), float(middle + half)) if half > 0 else (float(low), float(low) + 1)


@dataclass(frozen=True)
class Settings:
    """What a run's folder says. span: time_duration or None. prefilter: variance in time, 0 for none."""

    span: tuple[float, float] | None = None
    prefilter: float = 0.0
    background: tuple[float, float, float] | None = None
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()


def run_settings(path: Path) -> Settings:
    """The settings beside a checkpoint: cfg_args, which the code writes, and the configuration, which it is given."""
    made = Settings()
    cfg = path.parent / "cfg_args"
    if cfg.is_file():
        made = replace(made, files=(cfg,))
        try:
            given = parse_cfg_args(cfg)
        except LensError as error:
            given, made = {}, replace(made, warnings=(f"settings left out: {error}",))
        variance, white = given.get("prefilter_var"), given.get("white_background")
        if isinstance(variance, int | float) and 0 < variance < 1e6:
            made = replace(made, prefilter=float(variance))
        if isinstance(white, bool):
            made = replace(made, background=(1.0, 1.0, 1.0) if white else (0.0, 0.0, 0.0))
    number = r"([-+]?[\d_.]+(?:[eE][-+]?\d+)?)"
    spans = {}
    for file in sorted(path.parent.glob("*.yaml"))[:16]:
        text = file.read_bytes()[:MAX_CONFIG].decode("utf-8", "replace")
        if match := re.search(rf"^time_duration:\s*\[\s*{number}\s*,\s*{number}\s*\]", text, re.M | re.ASCII):
            share = re.search(rf"^\s+frame_ratio:\s*{number}", text, re.M | re.ASCII)
            try:
                low, high, ratio = float(match[1]), float(match[2]), float(share[1]) if share else 1.0
            except ValueError:
                continue
            if low < high:
                spans[file] = (low / max(ratio, 1), high / max(ratio, 1))
    if len(set(spans.values())) > 1:
        names = ", ".join(file.name for file in spans)
        why = f"configurations that differ in their time_duration are left out: {names}"
        return replace(made, warnings=(*made.warnings, why))
    if spans:
        file, span = next(iter(spans.items()))
        made = replace(made, span=span, files=(*made.files, file))
    return made


FORMAT: Format = Format(
    "gaussian4d",
    "4D Gaussian Splatting checkpoint",
    (".pth",),
    sniff,
    open_gaussian4d,
    options=("time_span", "seconds"),
    live=True,
    reads="chkpntN.pth with and without 4D rotation, SH 0 to 3 with a Fourier series in time, time_duration of a "
    ".yaml beside it; no environment map",
    loses="becomes a sequence layer: halves instead of float32 but for centres and times, SH in steps of 1/127",
)
