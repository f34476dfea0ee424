"""Skinned avatars: Gaussians on a rigged mesh with blendshapes and clips, as a generator with sliders and tracks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.avatar_clips import Frames, rest, sampled
from splatlens.converters.avatar_files import GAUSSIANS, SKIN, Avatar, is_avatar, read_avatar
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.generator import model_source
from splatlens.converters.layer_source import LayerSource
from splatlens.viewer.contract import MAX_TRACK_VALUES, Columns, Contract, Control, Input, Track
from splatlens.viewer.errors import UnsupportedError

if TYPE_CHECKING:
    import onnx

Ints = NDArray[np.int64]

#: Groups of sliders by how expressions are named in ARKit (ARFaceAnchor.BlendShapeLocation).
GROUPS = {
    "brow": "Brows", "eye": "Eyes", "cheek": "Cheeks", "nose": "Nose", "jaw": "Jaw", "mouth": "Mouth",
    "tongue": "Tongue",
}  # fmt: skip
OTHERS = "Expression"
#: glTF's up (section 3.4).
UP = (0.0, 1.0, 0.0)


def open_avatar(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """An avatar's folder or archive; its graph is made when asked for. Raises LensError."""
    avatar = read_avatar(path)
    facts = {"splats": len(avatar.gaussians.vertices), "warnings": avatar.warnings, "files": avatar.files, "up": UP}
    return model_source(path, "avatar", lambda: model_of(avatar, path)[0], **facts)


def export(path: Path, recordings: Sequence[Path] = ()) -> onnx.ModelProto:
    """The generator of an avatar's folder or archive, with further recordings of expressions. Raises LensError."""
    return model_of(read_avatar(path, recordings), path)[0]


def model_of(avatar: Avatar, path: Path) -> tuple[onnx.ModelProto, Ints]:
    """The model, and which of the avatar's Gaussians each of its rows is. Raises UnsupportedError for endless clips."""
    from splatlens.converters.avatar_graph import BONES, EXPRESSION, OUTPUTS, RECORDED, build  # imports onnx, 0.3 s

    rig = avatar.rig
    at_rest = rest(rig)
    clips = [sampled(rig, clip) for clip in rig.clips]
    weights = [w for w in (*(c.weights for c in clips), *(r.weights for r in avatar.recordings)) if w is not None]
    bounds = min(0.0, *(float(w.min()) for w in weights), 0.0), max(1.0, *(float(w.max()) for w in weights), 1.0)
    faces = len(rig.targets) > 0
    made = build(rig, avatar.gaussians, at_rest, bool(clips), faces and bool(weights), bounds)
    inputs = {}
    if faces:
        inputs[EXPRESSION] = Input("controls", controls=rig.target_names)
    if faces and weights:
        inputs[RECORDED] = Input("track", channel="expression")
    if clips:
        inputs[BONES] = Input("track", channel="bones")
    controls = [
        Control(name, *_label(name), default=float(np.clip(value, 0, 1)))
        for name, value in zip(rig.target_names, rig.defaults, strict=True)
    ]
    order = [*GROUPS.values(), OTHERS]
    controls.sort(key=lambda c: (order.index(c.group), c.label))
    outputs = {meaning: Columns(*columns) for meaning, columns in OUTPUTS.items()}
    tracks = _tracks(avatar, clips, made.bones, at_rest, path)
    contract = Contract("generator", inputs, outputs, len(made.order), controls=tuple(controls), tracks=tracks, up=UP)
    return made.graph.model(contract), made.order


def _tracks(
    avatar: Avatar, clips: Iterable[Frames], bones: Ints, at_rest: NDArray[np.float64], path: Path
) -> tuple[Track, ...]:
    """Recordings, then clips, whose channel `bones` is what they add to the matrices at rest, so that none is zeros."""
    found: list[tuple[str, float, bool, dict[str, NDArray[np.float64]]]] = []
    for one in avatar.recordings:
        found.append((one.name, one.duration, True, {"expression": one.weights}))
    for clip in clips:
        channels = {"bones": (clip.matrices - at_rest)[:, bones].reshape(len(clip.matrices), -1)}
        if clip.weights is not None:
            channels["expression"] = clip.weights
        found.append((clip.name, clip.duration, clip.loop, channels))
    tracks = list[Track]()
    for name, duration, loop, channels in found:
        if sum(v.size for v in channels.values()) > MAX_TRACK_VALUES:
            why = f"track {name!r} has more than {MAX_TRACK_VALUES} numbers"
            raise UnsupportedError(f"{path}: {why}; cut it, or sample it at fewer frames a second")
        unique, number = name, 2
        while any(t.name == unique for t in tracks):
            unique, number = f"{name} {number}", number + 1
        narrow = {key: np.ascontiguousarray(values, np.float32) for key, values in channels.items()}
        tracks.append(Track(unique, _words(unique), max(duration, 1e-3), narrow, loop))
    return tuple(tracks)


def _label(name: str) -> tuple[str, str]:
    """Label and group of a slider: eyeBlinkLeft is "Blink left" among "Eyes"."""
    words = _words(name)
    first, _, others = words.partition(" ")
    group = GROUPS.get(first.lower(), "")
    return ((others or first).capitalize(), group) if group else (words, OTHERS)


def _words(name: str) -> str:
    """camelCase and snake_case as a phrase."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.replace("_", " "))
    phrase = " ".join(spaced.split())
    return (phrase[:1].upper() + phrase[1:].lower()) or name


FORMAT: Format = Format(
    "avatar",
    "Skinned avatar",
    (".zip",),
    is_avatar,
    open_avatar,
    live=True,
    reads=f"folder or .zip with {SKIN} (skin, morph targets, clips) and {GAUSSIANS}, as LAM's ([avatar](avatar.md))",
)
