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

    path: as given; format: name in the registry; splats: rows the file declares; sh_degree: 0 to 3;
    bytes: size on disk; ignored: columns present but not used; warnings: what was repaired or left out;
    dropped: rows left out and why, known once all rows were read; cameras: the training views;
    up: unit vector in scene coordinates, None where the file does not say; background: r, g, b in 0..1 or None;
    antialias, dilation: the blur the scene was trained with (Yu et al. 2024, Mip-Splatting), None where unknown;
    iteration: training steps, where the folder says; title, attribution, licence, camera (where to start): where given;
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
    iteration: int | None = None
    title: str = ""
    attribution: str = ""
    licence: str = ""
    camera: Camera | None = None
    files: tuple[Path, ...] = ()

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


#: Above it the square of a scale, an entry of the covariance, is infinite in float32.
SCALE_LIMIT = float(np.sqrt(np.finfo(np.float32).max))
TINY = float(np.finfo(np.float32).tiny)


def activate(
    means: Array, quats: Array, log_scales: Array, logits: Array, sh: NDArray[np.float32], dropped: Counter[str]
) -> Splats:
    """Splats of a chunk of trained parameters (Kerbl et al. 2023, section 5.1: exp for scales, sigmoid for opacities).

    means (N, 3), quats (N, 4) wxyz of any length, log_scales (N, 3), logits (N,): float32 or float64;
    sh (N, K, 3) float32. A row with NaN or infinity anywhere, with a quaternion of length zero or with a scale whose
    square overflows float32 is left out and counted in `dropped`, under the first of these that holds.
    Scales below the smallest normal float32 are raised to it, so that their logarithm exists.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        means = means.astype(np.float32)
        finite = np.ones(len(means), bool)
        for values in (means, quats, log_scales, logits[:, None], sh.reshape(len(sh), -1)):
            if not np.isfinite(values).all():  # ten times faster than row by row, and nearly always true
                finite &= np.isfinite(values).all(axis=1)
        # Divided by the largest part first: the squares of a quaternion such as (1e-30, 0, 0, 0) would vanish.
        q = quats.astype(np.float64)
        largest = np.abs(q).max(axis=1, keepdims=True, initial=0)
        q /= np.where(largest > 0, largest, 1)
        q /= np.sqrt(np.einsum("ij,ij->i", q, q))[:, None].clip(1)
        scales = np.exp(log_scales.astype(np.float64))
        opacities = (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
        good = {"NaN or infinity": finite, "zero quaternion": largest[:, 0] > 0}
        good["scale overflow"] = (scales < SCALE_LIMIT).all(axis=1)
        scales = np.clip(scales, TINY, SCALE_LIMIT).astype(np.float32)
        splats = Splats(means, q.astype(np.float32), scales, opacities, sh)
    keep = np.ones(len(means), bool)
    for reason, rows in good.items():
        if count := np.count_nonzero(keep & ~rows):
            dropped[reason] += int(count)
        keep &= rows
    return splats if keep.all() else splats.take(keep)
