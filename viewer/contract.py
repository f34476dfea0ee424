"""What an ONNX model's inputs and outputs mean: version 1 of the contract, from and to JSON (docs/generator.md)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import UnsupportedError
from splatlens.viewer.fields import Field
from splatlens.viewer.scene import Kernel, Vector

#: Key of the model's metadata_props.
METADATA_KEY = "splatlens.generator"
VERSION = 1
KINDS = ("generator", "postprocess")
#: Numbers an input of each meaning takes; None where the contract says how many.
INPUT_SIZES: dict[str, int | None] = {
    "time": 1, "frame": 1, "camera_position": 3, "world_to_camera": 16, "projection": 16, "viewport": 2,
    "controls": None, "track": None, "constant": None, "image": None,
}  # fmt: skip
#: Inputs of a post-processing network: it has no layer, so no camera.
POSTPROCESS_INPUTS = ("time", "frame", "viewport", "controls", "constant", "image")
#: Columns an output of each meaning may have; None for any number.
OUTPUT_COLUMNS: dict[str, tuple[int, ...] | None] = {
    "means": (3,), "scales": (3,), "quats": (4,), "covariances": (6,), "opacities": (1,), "colors": (3,),
    "sh": (3, 12, 27, 48), "count": (1,), "features": None,
}  # fmt: skip
MAX_CAPACITY = 1 << 24
MAX_CONTROLS, MAX_TRACKS, MAX_CHANNELS = 256, 256, 64
#: Numbers of one track at most: 64 MiB of float32.
MAX_TRACK_VALUES = 1 << 24
_TEXTS = ("title", "attribution", "licence", "source")
_REMEDY = "correct the model's contract (docs/generator.md)"


@dataclass(frozen=True)
class Input:
    """What a graph input is fed with.

    controls: their names, for the meaning `controls`. channel: for `track`. value: for `constant`. transpose: matrices
    column-major.
    """

    meaning: str
    controls: tuple[str, ...] = ()
    channel: str = ""
    value: tuple[float, ...] = ()
    transpose: bool = False

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"meaning": self.meaning}
        if self.meaning == "controls":
            out["controls"] = list(self.controls)
        if self.meaning == "track":
            out["channel"] = self.channel
        if self.meaning == "constant":
            out["value"] = list(self.value)
        if self.transpose:
            out["transpose"] = True
        return out

    @staticmethod
    def from_json(data: Field) -> Input:
        meaning = _one_of(data.member("meaning"), INPUT_SIZES)
        allowed = {"controls": {"controls"}, "track": {"channel"}, "constant": {"value"}}.get(meaning, set())
        matrix = {"transpose"} if meaning in ("world_to_camera", "projection") else set()
        _only(data, {"meaning", *allowed, *matrix})
        made = Input(meaning, transpose=data.has("transpose") and data.member("transpose").boolean())
        if meaning == "controls":
            names = tuple(f.text(200) for f in data.member("controls").items(1, MAX_CONTROLS))
            made = replace(made, controls=names)
        elif meaning == "track":
            made = replace(made, channel=data.member("channel").text(200))
        elif meaning == "constant":
            one = data.member("value")
            values = (one.number(),) if not isinstance(one.value, list) else tuple(
                f.number() for f in one.items(1, MAX_TRACK_VALUES)
            )
            made = replace(made, value=values)
        return made


@dataclass(frozen=True)
class Columns:
    """Which output of the graph has a meaning; first, count: its columns, count 0 for all of them."""

    output: str
    first: int = 0
    count: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"output": self.output, **({"columns": [self.first, self.count]} if self.count else {})}

    @staticmethod
    def from_json(data: Field) -> Columns:
        _only(data, {"output", "columns"})
        name = data.member("output").text(500)
        if not data.has("columns"):
            return Columns(name)
        first, count = data.member("columns").items(2, 2)
        return Columns(name, first.integer(0, 1 << 20), count.integer(1, 1 << 20))


@dataclass(frozen=True)
class TimeSpan:
    """start, end: what the model calls the first and the last moment. duration: seconds. frames: 0 for none."""

    start: float = 0.0
    end: float = 1.0
    duration: float = 1.0
    frames: int = 0
    loop: bool = True

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("start", "end", "duration", "frames", "loop")}

    @staticmethod
    def from_json(data: Field) -> TimeSpan:
        _only(data, {"start", "end", "duration", "frames", "loop"})
        start = data.member("start").number() if data.has("start") else 0.0
        end = data.member("end").number() if data.has("end") else 1.0
        if not start < end:
            data.fail("start below end")
        duration = data.member("duration").number(1e-3, 1e6) if data.has("duration") else min(end - start, 1e6)
        frames = data.member("frames").integer(1, 1 << 24) if data.has("frames") and data.member("frames").value else 0
        return TimeSpan(start, end, duration, frames, _flag(data, "loop", True))


@dataclass(frozen=True)
class Control:
    """kind: slider or toggle, which goes from 0 to 1."""

    name: str
    label: str
    group: str = ""
    kind: str = "slider"
    minimum: float = 0.0
    maximum: float = 1.0
    default: float = 0.0
    step: float = 0.01

    def to_json(self) -> dict[str, Any]:
        out: dict[str, Any] = {"name": self.name, "label": self.label, "kind": self.kind}
        if self.group:
            out["group"] = self.group
        if self.kind == "toggle":
            return {**out, "default": bool(self.default)}
        return {**out, "min": self.minimum, "max": self.maximum, "default": self.default, "step": self.step}

    @staticmethod
    def from_json(data: Field) -> Control:
        kind = _one_of(data.member("kind"), ("slider", "toggle")) if data.has("kind") else "slider"
        own = {"min", "max", "step"} if kind == "slider" else set()
        _only(data, {"name", "label", "group", "kind", "default", *own})
        name = data.member("name").text(200)
        label, group = (data.member(k).text(200) if data.has(k) else "" for k in ("label", "group"))
        if kind == "toggle":
            return Control(name, label or name, group, kind, 0, 1, float(_flag(data, "default", False)), 1)
        low = data.member("min").number() if data.has("min") else 0.0
        high = data.member("max").number() if data.has("max") else 1.0
        if not low < high:
            data.fail("min below max")
        default = data.member("default").number(low, high) if data.has("default") else low
        step = data.member("step").number(0, high - low) if data.has("step") else (high - low) / 100
        return Control(name, label or name, group, kind, low, high, default, step)


@dataclass(frozen=True)
class Track:
    """A recording. channels: name -> (frames, size) float32. linear: frames are mixed, else the last one is held."""

    name: str
    label: str
    duration: float
    channels: dict[str, NDArray[np.float32]]
    loop: bool = True
    linear: bool = True

    @property
    def frames(self) -> int:
        return len(next(iter(self.channels.values())))

    def to_json(self, moved: list[bytes] | None = None) -> dict[str, Any]:
        """moved: gets the channels' bytes, the JSON their offsets among all of them; None: they are in the JSON."""
        channels: dict[str, Any] = {}
        for name, values in self.channels.items():
            data = np.ascontiguousarray(values, "<f4").tobytes()
            channels[name] = {"size": values.shape[1]}
            if moved is None:
                channels[name]["data"] = base64.b64encode(data).decode()
            else:
                channels[name]["offset"] = sum(map(len, moved))
                moved.append(data)
        out = {"name": self.name, "label": self.label, "duration": self.duration, "frames": self.frames}
        return {**out, "loop": self.loop, "interpolation": "linear" if self.linear else "step", "channels": channels}

    @staticmethod
    def from_json(data: Field, blob: bytes) -> Track:
        _only(data, {"name", "label", "duration", "frames", "loop", "interpolation", "channels"})
        name = data.member("name").text(200)
        frames = data.member("frames").integer(1, 1 << 20)
        channels: dict[str, NDArray[np.float32]] = {}
        for key, one in data.member("channels").members(MAX_CHANNELS).items():
            _only(one, {"size", "data", "offset"})
            size = one.member("size").integer(1, MAX_TRACK_VALUES // frames)
            raw, length = blob, 4 * frames * size
            start = 0
            if one.has("data"):
                text = one.member("data")
                try:
                    raw = base64.b64decode(text.text(8 * MAX_TRACK_VALUES), validate=True)
                except (binascii.Error, ValueError):
                    text.fail("base64 text")
                if len(raw) != length:
                    text.fail(f"base64 of {frames} x {size} float32, {length} bytes")
            else:
                start = one.member("offset").integer(0, max(0, len(blob) - length))
                if len(blob) - start < length:
                    one.fail(f"{length} bytes at its offset in the blob 'tracks' of {len(blob)}")
            values = np.frombuffer(raw, "<f4", frames * size, start).reshape(frames, size)
            if not np.isfinite(values).all():
                one.fail("finite values")
            channels[key] = values
        if not channels:
            data.member("channels").fail("at least one channel")
        linear = not data.has("interpolation") or _one_of(data.member("interpolation"), ("linear", "step")) == "linear"
        label = data.member("label").text(200) if data.has("label") else name
        duration = data.member("duration").number(1e-3, 1e6)
        return Track(name, label, duration, channels, _flag(data, "loop", True), linear)


@dataclass(frozen=True)
class ImageSize:
    """What a post-processing network takes. size: (H, W) where static; multiple: of H and W where dynamic."""

    size: tuple[int, int] | None = None
    overlap: int = 0
    multiple: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"size": list(self.size), "overlap": self.overlap} if self.size else {"multiple": self.multiple}

    @staticmethod
    def from_json(data: Field) -> ImageSize:
        _only(data, {"size", "overlap", "multiple"})
        if data.has("size"):
            height, width = (f.integer(1, 16384) for f in data.member("size").items(2, 2))
            most = (min(height, width) - 1) // 2
            return ImageSize((height, width), data.member("overlap").integer(0, most) if data.has("overlap") else 0)
        return ImageSize(multiple=data.member("multiple").integer(1, 1024) if data.has("multiple") else 1)


@dataclass(frozen=True)
class Contract:
    """A whole contract; see docs/generator.md for every member."""

    kind: str
    inputs: dict[str, Input]
    outputs: dict[str, Columns]
    capacity: int = 0
    time: TimeSpan | None = None
    controls: tuple[Control, ...] = ()
    tracks: tuple[Track, ...] = ()
    bounds: tuple[Vector, Vector] | None = None
    kernel: Kernel = Kernel()
    up: Vector | None = None
    image: ImageSize | None = None
    texts: dict[str, str] = field(default_factory=dict)

    def to_json(self, moved: list[bytes] | None = None) -> dict[str, Any]:
        """With defaults filled in. moved: as Track.to_json has it."""
        out: dict[str, Any] = {"version": VERSION, "kind": self.kind, **self.texts}
        out["inputs"] = {name: one.to_json() for name, one in self.inputs.items()}
        out["outputs"] = {meaning: one.to_json() for meaning, one in self.outputs.items()}
        if self.kind == "generator":
            out |= {"capacity": self.capacity, "kernel": self.kernel.to_json()}
        if self.time:
            out["time"] = self.time.to_json()
        if self.controls:
            out["controls"] = [one.to_json() for one in self.controls]
        if self.tracks:
            out["tracks"] = [one.to_json(moved) for one in self.tracks]
        if self.bounds:
            out["bounds"] = [list(corner) for corner in self.bounds]
        if self.up:
            out["up"] = list(self.up)
        if self.image:
            out["image"] = self.image.to_json()
        return out

    @staticmethod
    def from_json(data: Field, blob: bytes = b"") -> Contract:
        """blob: the tracks' data, where they are not in the text.

        Raises FormatError, and UnsupportedError for a later version.
        """
        data = replace(data, remedy=_REMEDY)
        version = data.member("version").integer(1, 1 << 30)
        if version > VERSION:
            raise UnsupportedError(
                f"{data.file}: generator contract version {version}, this program reads {VERSION}; update it"
            )
        kind = _one_of(data.member("kind"), KINDS)
        own = {"capacity", "bounds", "kernel", "up", "tracks"} if kind == "generator" else {"image"}
        _only(data, {"version", "kind", "inputs", "outputs", "time", "controls", *own, *_TEXTS, "graph"})
        inputs = {name: Input.from_json(f) for name, f in data.member("inputs").members(256).items()} if data.has(
            "inputs"
        ) else {}
        outputs = {name: Columns.from_json(f) for name, f in data.member("outputs").members(64).items()}
        made = Contract(kind, inputs, outputs)
        if data.has("time"):
            made = replace(made, time=TimeSpan.from_json(data.member("time")))
        if data.has("controls"):
            controls = tuple(Control.from_json(f) for f in data.member("controls").items(0, MAX_CONTROLS))
            made = replace(made, controls=controls)
        if data.has("tracks"):
            tracks = tuple(Track.from_json(f, blob) for f in data.member("tracks").items(0, MAX_TRACKS))
            made = replace(made, tracks=tracks)
        made = replace(made, texts={k: data.member(k).text() for k in _TEXTS if data.has(k)})
        made = made._generator(data) if kind == "generator" else made._postprocess(data)
        made._check(data)
        return made

    def _generator(self, data: Field) -> Contract:
        made = replace(self, capacity=data.member("capacity").integer(1, MAX_CAPACITY))
        if data.has("bounds"):
            low, high = data.member("bounds").rows(2, 3)
            if any(a > b for a, b in zip(low, high, strict=True)):
                data.member("bounds").fail("a minimum and a maximum")
            made = replace(made, bounds=((low[0], low[1], low[2]), (high[0], high[1], high[2])))
        if data.has("kernel"):
            made = replace(made, kernel=Kernel.from_json(data.member("kernel")))
        if data.has("up"):
            x, y, z = data.member("up").numbers(3)
            made = replace(made, up=(x, y, z))
            if not (x or y or z):
                data.member("up").fail("a direction")
        return made

    def _postprocess(self, data: Field) -> Contract:
        return replace(self, image=ImageSize.from_json(data.member("image")) if data.has("image") else ImageSize())

    def _check(self, data: Field) -> None:
        """That names agree among each other. Raises FormatError."""
        for what, names in (("controls", [c.name for c in self.controls]), ("tracks", [t.name for t in self.tracks])):
            if len(set(names)) < len(names):
                data.member(what).fail("names that differ from each other")
        known, used = {c.name for c in self.controls}, set()
        channels: dict[str, int] = {}
        for track in self.tracks:
            for key, values in track.channels.items():
                if channels.setdefault(key, values.shape[1]) != values.shape[1]:
                    data.member("tracks").fail(f"the same size of channel {key!r} in every track")
        for name, one in self.inputs.items():
            where = data.member("inputs").member(name)
            for control in one.controls:
                if control not in known:
                    where.member("controls").fail(f"names of controls, and {control!r} is none")
            used |= set(one.controls)
            if one.meaning in ("time", "frame") and self.time is None:
                where.fail("a member 'time' in the contract, for this input's meaning")
            if one.meaning == "frame" and self.time is not None and not self.time.frames:
                where.fail("'frames' in the contract's 'time', for this input's meaning")
            if self.kind == "postprocess" and one.meaning not in POSTPROCESS_INPUTS:
                where.fail(f"one of {', '.join(POSTPROCESS_INPUTS)} as the meaning in a post-processing network")
            if self.kind == "generator" and one.meaning == "image":
                where.fail("another meaning: only post-processing networks are given the picture")
        if known - used:
            data.member("controls").fail(f"every control to be used by an input, and {min(known - used)!r} is not")
        outputs = data.member("outputs")
        if self.kind == "postprocess":
            if set(self.outputs) != {"image"} or [i.meaning for i in self.inputs.values()].count("image") != 1:
                outputs.fail("one input and one output of the meaning 'image'")
            return
        for meaning in self.outputs:
            if meaning not in OUTPUT_COLUMNS:
                outputs.fail(f"meanings among {', '.join(OUTPUT_COLUMNS)}, and {meaning!r} is none")
        has = set(self.outputs)
        shape = has & {"scales", "quats", "covariances"}
        if not {"means", "opacities"} <= has:
            outputs.fail("'means' and 'opacities'")
        if shape not in ({"scales", "quats"}, {"covariances"}):
            outputs.fail("'scales' and 'quats', or 'covariances'")
        if len(has & {"colors", "sh"}) != 1:
            outputs.fail("either 'colors' or 'sh'")


def _one_of(data: Field, allowed: Any) -> str:
    if data.value not in tuple(allowed):
        data.fail(f"one of {', '.join(allowed)}")
    return str(data.value)


def _only(data: Field, allowed: set[str]) -> None:
    unknown = sorted(set(data.object()) - allowed)
    if unknown:
        data.member(unknown[0]).fail(f"no such member (known are {', '.join(sorted(allowed))})")


def _flag(data: Field, key: str, default: bool) -> bool:
    return data.member(key).boolean() if data.has(key) else default
