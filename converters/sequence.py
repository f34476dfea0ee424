"""What the readers of moving splats share: rows that cannot be drawn, the time span, a live source of it all."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import SCALE_LIMIT, TINY, SourceInfo
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.contract import TimeSpan
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.scene import Kernel
from splatlens.viewer.sequence import SequenceSplats, storable
from splatlens.viewer.sequence_kernels import Gaussians4D, Spacetime

F64 = NDArray[np.float64]
Moving = Spacetime | Gaussians4D
#: Rows read at once: 160 MB of float64 for 4D Gaussians with all their colours.
CHUNK_ROWS = 1 << 17
#: Frames and frames a second of a sequence that says neither: what the authors of Spacetime Gaussians train on.
FRAMES, FRAME_RATE = 50, 30.0
#: Widths in time, below and above which nothing changes; their inverse squares are float32.
WIDTHS = (1e-15, 1e15)


def sequence_source(
    info: SourceInfo, span: TimeSpan, read: Callable[[Counter[str]], Iterator[Moving]], kernel: Kernel = Kernel()
) -> LayerSource:
    """A live source of splats that move by formulas.

    read: the rows that can be drawn, chunk by chunk, anew at every call; it counts the others, by reason. They are in
    `info.dropped` once the layer was made.
    """
    info = replace(info, dropped={})

    @functools.cache
    def packed() -> SequenceSplats:
        first = Counter[str]()
        counts = iter((first,))

        def chunks() -> Iterator[Moving]:
            return read(next(counts, Counter()))

        try:
            made = SequenceSplats.pack(chunks, span, kernel)
        except LensError as error:
            if sum(first.values()) < info.splats:
                raise LensError(f"{info.path}: {error}") from error
            reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(first.items()))
            why = f"none of the {info.splats} splats is usable ({reasons})"
            raise FormatError(f"{info.path}: {why}; export the scene again") from error
        info.dropped.update(first)
        return made

    def layer() -> BlobLayer:
        return packed().layer(info.name)

    def describe() -> dict[str, Any]:
        facts = packed().info.to_json()
        return {name: facts[name] for name in ("motion", "time", "terms", "bounds")}

    return LayerSource(info, layer, None, describe)


def kept(motion: Moving, given: NDArray[np.bool_], dropped: Counter[str]) -> Moving:
    """The rows that can be drawn and stored. given: (N,) those known to have a rotation."""
    keep = np.ones(len(motion), np.bool_)
    for reason, rows in {**storable(motion), "zero quaternion": given}.items():
        if count := int(np.count_nonzero(keep & ~rows)):
            dropped[reason] += count
        keep &= rows
    return motion if keep.all() else motion.take(keep)


def unit_quats(quats: F64) -> tuple[F64, F64]:
    """Lengths (N,), 1 where they are 0, and the quaternions (N, 4) divided by them."""
    lengths = np.linalg.norm(quats, axis=1)
    lengths = np.where(lengths > 0, lengths, 1)
    return lengths, quats / lengths[:, None]


def activated(log_scales: F64, logits: F64) -> tuple[F64, F64]:
    """Standard deviations, those that overflow NaN, and opacities (Kerbl et al. 2023, section 5.1)."""
    with np.errstate(over="ignore", invalid="ignore"):
        scales = np.exp(log_scales)
        scales = np.where(scales < SCALE_LIMIT, np.maximum(scales, TINY), np.nan)
        return scales, 1 / (1 + np.exp(-logits))


def exp_widths(logarithms: F64) -> F64:
    """Widths in time of their logarithms, NaN where these are."""
    with np.errstate(over="ignore"):
        return np.asarray(np.clip(np.exp(logarithms), *WIDTHS))


def time_span(options: ReadOptions, start: float, end: float, seconds: float, frames: int = 0) -> TimeSpan:
    """The span of a file, with what the options say instead. Raises LensError."""
    if options.time_span is not None:
        if not options.time_span[0] < options.time_span[1]:
            raise LensError(f"--time-span: {options.time_span[0]:g} is not before {options.time_span[1]:g}")
        seconds *= (options.time_span[1] - options.time_span[0]) / (end - start)
        start, end = options.time_span
        frames = 0
    if options.seconds is not None:
        if not 1e-3 <= options.seconds <= 1e6:
            raise LensError(f"--seconds: expected 0.001 to 1000000, got {options.seconds:g}")
        seconds = options.seconds
    return TimeSpan(start, end, min(max(seconds, 1e-3), 1e6), frames)
