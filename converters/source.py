"""What every reader hands out: facts about a file without decoding it, and its splats in chunks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.splats import Splats

Array = NDArray[np.floating]

#: Most rows a chunk holds unless asked otherwise: 2 MB at SH 3. Larger ones leave the cache and fault in fresh pages
#: for every temporary: 65,536 rows read a 60 MB PLY in 340 ms, 8,192 rows in 100 ms.
CHUNK_ROWS = 8192


@dataclass(frozen=True)
class SourceInfo:
    """Facts about a readable file or folder.

    path: as given; format: name in the registry; splats: rows the file declares, at least as many as it yields;
    sh_degree: 0 to 3;
    bytes: size on disk; ignored: columns present but not used; warnings: what was repaired or left out;
    dropped: rows left out and why, known once all rows were read; cameras: the training views;
    up: unit vector in scene coordinates, None where the file does not say; background: r, g, b in 0..1 or None;
    antialias, dilation: the blur the scene was trained with (Yu et al. 2024, Mip-Splatting), None where unknown;
    flat: trained as discs without thickness (Huang et al. 2024, 2DGS); levels: of detail that the source has;
    iteration: training steps; title, attribution, licence, camera (where to start): where given;
    files: all that was or will be read.
    """

    path: Path
    format: str
    splats: int
    sh_degree: int
    bytes: int
    ignored: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)
    cameras: tuple[Camera, ...] = ()
    up: tuple[float, float, float] | None = None
    background: tuple[float, float, float] | None = None
    antialias: bool | None = None
    dilation: float | None = None
    flat: bool = False
    levels: int = 1
    iteration: int | None = None
    title: str = ""
    attribution: str = ""
    licence: str = ""
    camera: Camera | None = None
    files: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """What people call the scene: the file's name without its endings, the folder's where names are fixed."""
        path = self.path.resolve()
        if path.name.lower() in ("meta.json", "lod-meta.json", "mlp.json"):
            path = path.parent
        return path.name if path.is_dir() else path.stem.removesuffix(".compressed") or path.name

    def with_warnings(self, *warnings: str) -> SourceInfo:
        """The same with further warnings."""
        return replace(self, warnings=(*self.warnings, *warnings))

    def to_json(self) -> dict[str, Any]:
        """Plain values for a JSON report; cameras as their number."""
        facts = asdict(replace(self, cameras=(), camera=None))
        del facts["camera"]
        return facts | {"path": str(self.path), "cameras": len(self.cameras), "files": [str(f) for f in self.files]}


@dataclass(frozen=True)
class Source:
    """An opened scene: `info` is known, rows are read only by `chunks`."""

    info: SourceInfo
    read: Callable[[int, Counter[str]], Iterator[Splats]]

    def chunks(self, rows: int = CHUNK_ROWS, dropped: Counter[str] | None = None) -> Iterator[Splats]:
        """The splats in file order, at most `rows` of them at a time; may be called again.

        Rows that no renderer can draw are left out and counted by reason in `dropped`. Raises LensError.
        """
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}")
        yield from self.read(rows, Counter() if dropped is None else dropped)

    @staticmethod
    def of(splats: Splats, info: SourceInfo | None = None) -> Source:
        """Splats in memory as a source."""

        def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
            for first in range(0, len(splats), rows):
                yield splats.take(slice(first, first + rows))

        info = info or SourceInfo(Path("splats"), "memory", len(splats), splats.sh_degree, 0)
        return Source(replace(info, splats=len(splats), sh_degree=splats.sh_degree), read)


#: Above it the square of a scale, an entry of the covariance, is infinite in float32.
SCALE_LIMIT = float(np.sqrt(np.finfo(np.float32).max))
TINY = float(np.finfo(np.float32).tiny)


def activate(
    means: Array, quats: Array, log_scales: Array, logits: Array, sh: NDArray[np.float32], dropped: Counter[str]
) -> Splats:
    """Splats of a chunk of trained parameters (Kerbl et al. 2023, section 5.1: exp for scales, sigmoid for opacities).

    means (N, 3), quats (N, 4) wxyz of any length, log_scales (N, 3), logits (N,): float32 or float64;
    sh (N, K, 3) float32. Rows are left out as `checked` does, and those whose logarithm or logit is infinite.
    Computed in the precision given: float32 values err by less than 4e-7 of themselves.
    """
    with np.errstate(over="ignore"):
        finite = None
        if not (np.isfinite(log_scales).all() and np.isfinite(logits).all()):
            finite = np.isfinite(log_scales).all(axis=1) & np.isfinite(logits)
        scales = np.exp(log_scales)
        opacities = 1 / (1 + np.exp(-logits))
    return checked(means, quats, scales, opacities, sh, dropped, finite)


def checked(
    means: Array,
    quats: Array,
    scales: Array,
    opacities: Array,
    sh: NDArray[np.float32],
    dropped: Counter[str],
    finite: NDArray[np.bool_] | None = None,
) -> Splats:
    """Splats of a chunk of activated values, only those that can be drawn.

    means (N, 3), quats (N, 4) wxyz of any length, scales (N, 3) linear, opacities (N,) clipped to 0 or more: float32 or
    float64; sh (N, K, 3) float32; finite (N,): rows already known to hold no NaN or infinity elsewhere. A row with NaN
    or infinity anywhere, with a quaternion of length zero or with a scale whose square overflows float32 is left out
    and counted in `dropped`, under the first of these that holds. Scales below the smallest normal float32 are raised
    to it, so that their logarithm exists.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore"):
        means = means.astype(np.float32)
        lengths, q = _normalised(quats)
        narrow = np.clip(scales, TINY, SCALE_LIMIT).astype(np.float32, copy=False)
        splats = Splats(means, q, narrow, np.maximum(opacities, 0).astype(np.float32, copy=False), sh)
        # Nearly always all of them can be drawn, and asking for all is ten times faster than asking row by row.
        all_finite = finite is None and all(np.isfinite(v).all() for v in (means, opacities, sh))
        # NaN compares as false, so bad scales and quaternions are seen by their extremes.
        if all_finite and scales.max(initial=0) < SCALE_LIMIT and lengths.min(initial=1) > 0:
            return splats
        finite = np.ones(len(means), bool) if finite is None else finite
        finite = finite & ~np.isnan(scales).any(axis=1)
        for part in (means, quats, opacities[:, None], sh.reshape(len(sh), -1)):
            finite &= np.isfinite(part).all(axis=1)
        good = {"NaN or infinity": finite, "zero quaternion": (quats != 0).any(axis=1)}
        good["scale overflow"] = (scales < SCALE_LIMIT).all(axis=1)
    keep = np.ones(len(means), bool)
    for reason, rows in good.items():
        if count := np.count_nonzero(keep & ~rows):
            dropped[reason] += int(count)
        keep &= rows
    return splats if keep.all() else splats.take(keep)


def _normalised(quats: Array) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Lengths (N,) of quaternions (N, 4), 0 and NaN where they have none, and the quaternions divided by them."""
    q = quats.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", q, q))
    # The squares of float64 values may vanish or overflow, those of float32 values do not: divided by the largest part.
    if not (lengths.min(initial=1) > 1e-140 and np.isfinite(lengths).all()):
        largest = np.abs(q).max(axis=1, keepdims=True)
        q /= np.where(largest > 0, largest, 1)
        lengths = np.sqrt(np.einsum("ij,ij->i", q, q))
    q /= np.where(lengths > 0, lengths, 1)[:, None]
    return lengths, q.astype(np.float32)
