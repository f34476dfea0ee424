"""Runs ONNX generators and post-processing networks headless: what each input is fed with, and the model itself."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract, Input, TimeSpan, Track
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.model_graph import ModelGraph, TensorType, require_fit, shape_text

Array = NDArray[Any]
Matrix = NDArray[np.float64]

#: Of `projection`, world units (docs/generator.md).
PROJECTION_NEAR, PROJECTION_FAR = 0.01, 100.0
#: The track that is chosen at the start.
FIRST: Final = "\0first"
#: A run is stopped after this many seconds: models come from others, and may loop for ever.
RUN_SECONDS = 300.0
#: Longest part of onnxruntime's own words in a message, characters.
_WORDS = 300
_ORT_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(int32)": "int32",
    "tensor(int64)": "int64", "tensor(bool)": "bool", "tensor(uint8)": "uint8", "tensor(int8)": "int8",
}  # fmt: skip


@dataclass(frozen=True)
class Moment:
    """The state of one live layer. seconds: of the scene's clock. controls: those that differ from their defaults.

    track: its name, None for none; FIRST: the first, where there are any.
    """

    seconds: float = 0.0
    controls: Mapping[str, float] = field(default_factory=dict)
    track: str | None = FIRST


def share(seconds: float, duration: float, loop: bool) -> float:
    """The share of a duration that has passed: 0 to 1, below 1 with loop."""
    passed = seconds / duration
    return passed - math.floor(passed) if loop else min(max(passed, 0.0), 1.0)


def sample(track: Track | None, channel: str, seconds: float, size: int) -> NDArray[np.float64]:
    """(size,) numbers of a channel at a time; zeros where the track has none of the name."""
    if track is None or channel not in track.channels:
        return np.zeros(size)
    values, frames = track.channels[channel], track.frames
    u = share(seconds, track.duration, track.loop)
    place = u * frames if track.loop else u * (frames - 1)
    low = math.floor(place)
    first: NDArray[np.float64] = values[low % frames].astype(np.float64)
    if not track.linear:
        return first
    following = (low + 1) % frames if track.loop else min(low + 1, frames - 1)
    return np.asarray(first + (values[following].astype(np.float64) - first) * (place - low))


def projection(camera: Camera) -> Matrix:
    """(4, 4) clip from camera coordinates, row-major: x right, y up, depth 0 to 1."""
    n, f = PROJECTION_NEAR, PROJECTION_FAR
    m = np.zeros((4, 4))
    m[0, 0], m[0, 2] = 2 * camera.fx / camera.width, 2 * camera.cx / camera.width - 1
    m[1, 1], m[1, 2] = -2 * camera.fy / camera.height, 1 - 2 * camera.cy / camera.height
    m[2, 2], m[2, 3] = f / (f - n), -n * f / (f - n)
    m[3, 2] = 1
    return m


def control_values(contract: Contract, moment: Moment, name: str = "controls") -> dict[str, float]:
    """Every control's value: as given, within its range, else its default. Raises LensError for names that are none."""
    known = {c.name for c in contract.controls}
    for key, value in moment.controls.items():
        if key not in known:
            raise LensError(f"{name}: no control {key!r}; it has {', '.join(sorted(known)) or 'none'}")
        if not math.isfinite(value):
            raise LensError(f"{name}: control {key!r}: {value} is no number; give a finite one")
    return {
        c.name: min(max(float(moment.controls.get(c.name, c.default)), c.minimum), c.maximum) for c in contract.controls
    }


def chosen_track(contract: Contract, moment: Moment, name: str = "tracks") -> Track | None:
    """The track of a moment. Raises LensError for a name that is none."""
    if moment.track is None or (moment.track == FIRST and not contract.tracks):
        return None
    if moment.track == FIRST:
        return contract.tracks[0]
    found = next((t for t in contract.tracks if t.name == moment.track), None)
    if found is None:
        known = ", ".join(t.name for t in contract.tracks) or "none"
        raise LensError(f"{name}: no track {moment.track!r}; it has {known}")
    return found


def feeds(
    contract: Contract,
    graph: ModelGraph,
    moment: Moment,
    camera: Camera,
    transform: Matrix | None = None,
    name: str = "model",
) -> dict[str, Array]:
    """An array of the declared type and shape for each input but those of the meaning `image`.

    transform: (4, 4) world from layer coordinates, affine; None is the identity. Values are computed in float64, then
    rounded to float32, then converted to the input's type (to integers: the nearest, halves upward). Raises LensError
    for controls and tracks that the contract does not have.
    """
    controls, track = control_values(contract, moment, name), chosen_track(contract, moment, name)
    made: dict[str, Array] = {}
    for key, one in contract.inputs.items():
        if one.meaning == "image":
            continue
        tensor = graph.inputs[key]
        values = _value(one, contract.time, tensor, moment.seconds, controls, track, camera, transform)
        if one.transpose:
            values = values.reshape(4, 4).T
        made[key] = _typed(values, tensor)
    return made


def _value(
    one: Input,
    time: TimeSpan | None,
    tensor: TensorType,
    seconds: float,
    controls: dict[str, float],
    track: Track | None,
    camera: Camera,
    transform: Matrix | None,
) -> NDArray[np.float64]:
    size = tensor.size or 1
    layer = np.eye(4) if transform is None else transform
    if one.meaning in ("time", "frame"):
        assert time is not None
        u = share(seconds, time.duration, time.loop)
        if one.meaning == "time":
            return np.array([time.start + (time.end - time.start) * u])
        return np.array([float(min(math.floor(u * time.frames), time.frames - 1))])
    if one.meaning == "camera_position":
        return np.asarray((np.linalg.inv(layer) @ np.append(camera.position, 1.0))[:3])
    if one.meaning == "world_to_camera":
        return np.asarray(camera.world_to_camera @ layer)
    if one.meaning == "projection":
        return projection(camera)
    if one.meaning == "viewport":
        return np.array([camera.width, camera.height], np.float64)
    if one.meaning == "controls":
        return np.array([controls[key] for key in one.controls])
    if one.meaning == "track":
        return sample(track, one.channel, seconds, size)
    return np.array(one.value if len(one.value) == size else one.value * size, np.float64)


def _typed(values: NDArray[np.float64], tensor: TensorType) -> Array:
    if tensor.type.startswith("int"):
        typed: Array = np.floor(values + 0.5).astype(tensor.type)
    else:
        with np.errstate(over="ignore"):
            typed = values.astype(np.float32).astype(tensor.type)
    return np.array(typed.reshape([d or 0 for d in tensor.shape]), order="C")  # ascontiguousarray has no 0-d arrays


class Model:
    """An ONNX model and its contract under onnxruntime, on the CPU."""

    def __init__(self, contract: Contract, model: bytes, name: str = "model") -> None:
        """name: what messages start with. Raises LensError: a model that cannot be loaded, or does not fit."""
        self.contract, self.name = contract, name
        self._session, self.graph = load(model, name)
        require_fit(contract, self.graph, name)
        self.runs = 0
        self._last: tuple[dict[str, Array], dict[str, Array]] | None = None

    def run(
        self,
        moment: Moment,
        camera: Camera,
        transform: Matrix | None = None,
        images: Mapping[str, Array] | None = None,
    ) -> dict[str, Array]:
        """Output name -> array. The model runs only where a feed differs from the last run's.

        images: arrays for the inputs of the meaning `image`. Raises LensError: the model fails, or gives other shapes
        or types than its graph declares, or more rows than its capacity.
        """
        given = {**feeds(self.contract, self.graph, moment, camera, transform, self.name), **(images or {})}
        if self._last is None or not _equal(self._last[0], given):
            self._last = None
            self._last = given, self._run(given)
        return self._last[1]

    def forget(self) -> None:
        """The next run runs the model, whatever its feeds."""
        self._last = None

    def _run(self, given: dict[str, Array]) -> dict[str, Array]:
        names = list(self.graph.outputs)
        self.runs += 1
        import onnxruntime

        options = onnxruntime.RunOptions()
        options.log_severity_level = 4
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            options.terminate = True

        timer = threading.Timer(RUN_SECONDS, stop)
        timer.daemon = True
        timer.start()
        try:
            found = self._session.run(names, given, options)
        except Exception as error:  # onnxruntime's own classes, which have no common base but this one
            if stopped.is_set():
                why = f"the model was stopped after {RUN_SECONDS:g} s of one run"
                raise LensError(f"{self.name}: {why}; make it smaller, or end its loops") from error
            raise LensError(f"{self.name}: the model failed while it ran: {_words(error)}; mend the model") from error
        finally:
            timer.cancel()
        outputs = dict(zip(names, found, strict=True))
        for key, array in outputs.items():
            want = self.graph.outputs[key]
            sizes = zip(want.shape, array.shape, strict=False)
            fits = len(want.shape) == array.ndim and all(a is None or a == b for a, b in sizes)
            if not fits or str(array.dtype) != want.type:
                got = f"{array.dtype} {shape_text(array.shape)}"
                raise LensError(f"{self.name}: output {key!r} is {got}; its graph declares {want}: mend the model")
        if self.contract.kind == "generator":
            self._check_rows(outputs)
        return outputs

    def _check_rows(self, outputs: dict[str, Array]) -> None:
        entries = self.contract.outputs.items()
        rows = {one.output: len(outputs[one.output]) for meaning, one in entries if meaning != "count"}
        if len(set(rows.values())) > 1:
            each = ", ".join(f"{key} {n}" for key, n in rows.items())
            raise LensError(f"{self.name}: outputs differ in their number of rows ({each}); mend the model")
        most = max(rows.values())
        if most > self.contract.capacity:
            why = f"gave {most} rows, more than the contract's capacity of {self.contract.capacity}"
            raise LensError(f"{self.name}: {why}; raise the capacity")


def load(model: bytes, name: str, optimise: bool = True) -> tuple[Any, ModelGraph]:
    """The onnxruntime session of a model, on the CPU, and what its graph declares. Raises LensError.

    optimise: not worth its time where only the graph is asked for.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what goes wrong is raised
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _not_loaded(name, _words(error)) from error
    return session, ModelGraph(_tensors(session.get_inputs()), _tensors(session.get_outputs()))


def _tensors(found: list[Any]) -> dict[str, TensorType]:
    return {
        one.name: TensorType(
            _ORT_TYPES.get(one.type, one.type), tuple(d if isinstance(d, int) else None for d in one.shape)
        )
        for one in found
    }


def _not_loaded(name: str, words: str) -> LensError:
    low = words.lower()
    if "external" in low:
        why = "its weights are in another file (external data), which is not there"
        return FormatError(f"{name}: {why}; put it beside the model and convert again, or export without external data")
    if "not a registered function/op" in low or "not_implemented" in low or "no op registered" in low:
        return UnsupportedError(f"{name}: onnxruntime lacks an operator of the model: {words}; export it without")
    return FormatError(f"{name}: not a model that onnxruntime can load: {words}; export it again")


def _words(error: Exception) -> str:
    """onnxruntime's own words as one printable line."""
    text = " ".join("".join(c if c.isprintable() else " " for c in str(error)).split())
    return text if len(text) <= _WORDS else text[: _WORDS - 3] + "..."


def _equal(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() == b.keys() and all(a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a)


def read_contract(data: bytes, tracks: bytes, name: str) -> tuple[Contract, ModelGraph]:
    """The blobs `contract` and `tracks` of a layer. Raises FormatError, UnsupportedError for a later version."""
    field_ = parse_json(data, name, "contract")
    contract, graph = Contract.from_json(field_, tracks), ModelGraph.from_json(field_.member("graph"))
    require_fit(contract, graph, name)
    return contract, graph
