"""Layers of kind `sequence`: splats that move by formulas, as a .lens file has them and as a renderer takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.assemble import SequenceDraws, layer_view
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import TimeSpan
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.generated import quats_of
from splatlens.viewer.layout import constant
from splatlens.viewer.scene import Kernel, Vector
from splatlens.viewer.sequence_kernels import (
    F64,
    GAUSSIAN4D_WORDS,
    HALF_MAX,
    SPACETIME_WORDS,
    Gaussians4D,
    Moment,
    Spacetime,
    Words,
    length_unit,
    sh_words,
)
from splatlens.viewer.splats import SH_C0, SH_COEFFICIENTS, Splats

KIND = "sequence"
#: What moves the splats; each has a stage of its own, project_<motion>.wgsl.
MOTIONS = ("spacetime", "gaussian4d")
#: Terms of the Fourier series in time that colours may have.
MAX_TERMS = 8
MAX_SPLATS = 1 << 24
#: Bytes of a part: one storage binding at WebGPU's default limit, and half of what a blob may have.
PART_BYTES = 128 << 20
#: Times at which the box of centres is measured; what lies between them is bridged by the distance to the next.
BOX_TIMES = 33
#: Splats a chunk at a time, anew at every call.
Chunks = Callable[[], Iterator[Spacetime | Gaussians4D]]


@dataclass(frozen=True)
class SequenceInfo:
    """The properties of a sequence layer (docs/format-sequence.md).

    motion: which formulas. splats: in all parts. sh_degree: of the colours, 0 for spacetime. terms: of their Fourier
    series in time, `period` (model time) its length. cut: temporal opacity at or below which a splat is not drawn.
    unit: of stored lengths, a power of two. time: the span, model time. bounds: of all visible centres at all times.
    """

    motion: str
    splats: int
    time: TimeSpan
    unit: float
    bounds: tuple[Vector, Vector]
    sh_degree: int = 0
    terms: int = 1
    period: float = 1.0
    cut: float = 0.0
    kernel: Kernel = Kernel()

    @property
    def coefficients(self) -> int:
        """SH coefficients of one term, a channel."""
        return SH_COEFFICIENTS[self.sh_degree]

    @property
    def words(self) -> int:
        """Words of a splat, 32 bits each."""
        spatial = sh_words(self.coefficients * self.terms)
        return SPACETIME_WORDS if self.motion == "spacetime" else GAUSSIAN4D_WORDS + spatial

    def parts(self, part_bytes: int = PART_BYTES) -> list[int]:
        """Splats of each part: as many whole workgroups as fit, the rest in the last one."""
        group = constant("GROUP")
        rows = part_bytes // (4 * self.words) // group * group
        return [min(rows, self.splats - first) for first in range(0, self.splats, rows)]

    def to_json(self) -> dict[str, Any]:
        names = ("motion", "splats", "sh_degree", "terms", "period", "cut", "unit")
        plain = {name: getattr(self, name) for name in names}
        bounds = [list(corner) for corner in self.bounds]
        return {**plain, "time": self.time.to_json(), "kernel": self.kernel.to_json(), "bounds": bounds}

    @staticmethod
    def from_json(data: Field) -> SequenceInfo:
        """Raises FormatError."""
        motion = data.member("motion")
        if motion.value not in MOTIONS:
            motion.fail(f"one of {', '.join(MOTIONS)}")
        bounds = data.member("bounds")
        low, high = bounds.rows(2, 3)
        if any(a > b for a, b in zip(low, high, strict=True)):
            bounds.fail("a minimum and a maximum")
        unit = data.member("unit")
        if np.frexp(unit.number(2.0**-120, 2.0**100))[0] != 0.5:
            unit.fail("a power of two")
        span = data.member("time")
        made = SequenceInfo(
            str(motion.value),
            data.member("splats").integer(1, MAX_SPLATS),
            TimeSpan.from_json(span),
            unit.number(),
            ((low[0], low[1], low[2]), (high[0], high[1], high[2])),
            data.member("sh_degree").integer(0, 3),
            data.member("terms").integer(1, MAX_TERMS),
            data.member("period").number(1e-30, 1e30),
            data.member("cut").number(0, 1),
            Kernel.from_json(data.member("kernel")),
        )
        if made.motion == "spacetime" and (made.sh_degree or made.terms > 1 or made.cut):
            motion.fail("sh_degree 0, one term and no cut with it")
        return made


@dataclass(frozen=True)
class SequenceSplats:
    """Splats over time: facts, and the words of each part, (words, rows)."""

    info: SequenceInfo
    parts: tuple[Words, ...]

    @staticmethod
    def of(
        motion: Spacetime | Gaussians4D, time: TimeSpan, kernel: Kernel = Kernel(), part_bytes: int = PART_BYTES
    ) -> SequenceSplats:
        """Splats in memory; see `pack`."""
        return SequenceSplats.pack(lambda: iter((motion,)), time, kernel, part_bytes)

    @staticmethod
    def pack(chunks: Chunks, time: TimeSpan, kernel: Kernel = Kernel(), part_bytes: int = PART_BYTES) -> SequenceSplats:
        """Packs splats that can all be stored (see `storable`), in their order. Goes through the chunks twice.

        Raises LensError where there is none.
        """
        count, largest, low, high = 0, 0.0, np.full(3, np.inf), np.full(3, -np.inf)
        like: Spacetime | Gaussians4D | None = None
        for chunk in chunks():
            like, count = chunk, count + len(chunk)
            largest = max(largest, float(np.abs(chunk.lengths()).max(initial=0)))
            box = _box(chunk, time)
            low, high = np.minimum(low, box[0]), np.maximum(high, box[1])
        if like is None or not count:
            raise LensError("sequence: the scene has no splats; check that the source file is the right one")
        if not (low <= high).all():
            when = f"between {time.start:g} and {time.end:g}, the times that it is played"
            raise LensError(f"sequence: none of its {count} splats is visible {when}; give --time-span")
        own: dict[str, Any] = {"motion": "spacetime"}
        if isinstance(like, Gaussians4D):
            terms, coefficients = like.sh.shape[1:3]
            own = {"motion": "gaussian4d", "sh_degree": SH_COEFFICIENTS.index(coefficients), "terms": terms}
            own |= {"period": like.period, "cut": like.cut}
        corners = (_vector(low), _vector(high))
        info = SequenceInfo(splats=count, time=time, unit=length_unit(largest), bounds=corners, kernel=kernel, **own)
        parts = [np.empty((info.words, rows), np.uint32) for rows in info.parts(part_bytes)]
        first = 0
        for chunk in chunks():
            words, done = chunk.pack(info.unit), 0
            while done < len(chunk):
                part, at = divmod(first + done, parts[0].shape[1])
                rows = min(len(chunk) - done, parts[part].shape[1] - at)
                parts[part][:, at : at + rows] = words[:, done : done + rows]
                done += rows
            first += len(chunk)
        return SequenceSplats(info, tuple(parts))

    def layer(self, name: str = "") -> BlobLayer:
        """The layer of a .lens file."""
        blobs = {f"splats.{i}": part.astype("<u4").tobytes() for i, part in enumerate(self.parts)}
        return BlobLayer(KIND, blobs, self.info.to_json(), name)

    @staticmethod
    def read(properties: Field, blob: Callable[[str], bytes]) -> SequenceSplats:
        """From a layer's properties and its blobs by name. Raises FormatError."""
        info = SequenceInfo.from_json(properties)
        parts = []
        for i, rows in enumerate(info.parts()):
            data = blob(f"splats.{i}")
            if len(data) != 4 * info.words * rows:
                raise FormatError(
                    f"{properties.file}: blob splats.{i}: {len(data)} bytes, expected {4 * info.words * rows} for "
                    f"{rows} splats of {4 * info.words} bytes; fetch or convert the file again"
                )
            parts.append(np.frombuffer(data, "<u4").astype(np.uint32).reshape(info.words, rows))
        return SequenceSplats(info, tuple(parts))

    def motion(self, part: int) -> Spacetime | Gaussians4D:
        """The float64 values that a part's words stand for."""
        i = self.info
        if i.motion == "spacetime":
            return Spacetime.unpack(self.parts[part], i.unit)
        return Gaussians4D.unpack(self.parts[part], i.unit, i.coefficients, i.terms, i.period, i.cut)


def storable(motion: Spacetime | Gaussians4D) -> dict[str, NDArray[np.bool_]]:
    """(N,) rows that the words can hold, by what is wrong with the others."""
    n = len(motion)
    singles = [getattr(motion, name) for name in ("means", "times", "widths", "opacities")]
    values = np.concatenate([a.reshape(n, -1) for a in (*singles, motion.lengths(), motion.halves())], axis=1)
    with np.errstate(over="ignore"):
        finite = np.isfinite(values.astype(np.float32)).all(axis=1)
        inside = (np.abs(motion.halves()) <= HALF_MAX).all(axis=1)
    return {"NaN or infinity": np.asarray(finite), "a value beyond 65504": np.asarray(inside)}


def model_time(span: TimeSpan, seconds: float) -> float:
    """The model's time at seconds of the scene's clock (docs/generator.md, "Time")."""
    share = seconds / span.duration
    share = share % 1.0 if span.loop else min(max(share, 0.0), 1.0)
    return span.start + (span.end - span.start) * share


def _box(motion: Spacetime | Gaussians4D, span: TimeSpan) -> tuple[F64, F64]:
    """Least and greatest centre where splats are visible, over the span; infinite where none ever is."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    if not len(motion):
        return low, high
    before, seen = motion.means, np.zeros(len(motion), np.bool_)
    for time in np.linspace(span.start, span.end, BOX_TIMES):
        means, opacities = motion.centres(float(time))
        now = 255 * opacities > 1
        # A step counts whole where the splat is seen at its end or at its start.
        for points in (means[now | seen], before[now & (time > span.start)]):
            low = np.minimum(low, points.min(axis=0, initial=np.inf))
            high = np.maximum(high, points.max(axis=0, initial=-np.inf))
        before, seen = means, now
    return low, high


def _vector(values: F64) -> Vector:
    return (float(values[0]), float(values[1]), float(values[2]))


@dataclass(frozen=True)
class SequenceLayer:
    """A sequence at `seconds` of the scene's clock, for viewer.render's Renderer and render_reference."""

    sequence: SequenceSplats
    seconds: float = 0.0
    transform: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))

    @property
    def kernel(self) -> Kernel:
        return self.sequence.info.kernel

    @property
    def time(self) -> float:
        return model_time(self.sequence.info.time, self.seconds)

    def draws(self) -> list[SequenceDraws]:
        """One a part, in order."""
        i = self.sequence.info
        box = np.array(i.bounds)
        return [
            SequenceDraws(
                self.transform, i.motion, part.shape[1], part.shape[0], i.coefficients, i.terms, self.time, i.unit,
                i.period, i.cut, box, i.kernel,
            )
            for part in self.sequence.parts
        ]  # fmt: skip

    def splats(self, camera: Camera) -> Splats:
        """The splats at this time as `camera` sees them: colours evaluated, those that are invisible left out."""
        _, eye = layer_view(camera, self.transform)
        moments = (self.sequence.motion(i).at(self.time, eye) for i in range(len(self.sequence.parts)))
        return Splats.concatenate([splats_of(moment) for moment in moments])


def splats_of(moment: Moment) -> Splats:
    """The visible splats of a moment, their colours as constants."""
    rows = 255 * moment.opacities > 1
    sh = (moment.colors[rows, None] - 0.5) / SH_C0
    return Splats(
        moment.means[rows].astype(np.float32), *_shape(moment.axes[rows]), moment.opacities[rows].astype(np.float32),
        sh.astype(np.float32),
    )  # fmt: skip


def _shape(axes: F64) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit quaternions (N, 4) w x y z and standard deviations (N, 3) of axes (N, 3, 3), by their singular vectors."""
    if not len(axes):
        return np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)
    u, s, _ = np.linalg.svd(axes)
    u = u * np.where(np.linalg.det(u) < 0, -1.0, 1.0)[:, None, None]
    return quats_of(u).astype(np.float32), s.astype(np.float32)
