"""The files of an avatar, in a folder or a zip archive: its rig, its Gaussians, and expressions recorded for it.

The layout is that of LAM (He et al. 2025, "LAM: Large Avatar Model for One-shot Animatable Gaussian Head"; exported by
`tools/generateARKITGLBWithBlender.py` of aigc3d/LAM for OpenAvatarChat); docs/avatar.md describes it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.avatar_rig import Rig, read_rig, with_clips
from splatlens.converters.ply_header import listed
from splatlens.converters.ply_rows import open_rows, pick
from splatlens.converters.sog_files import ZIP_START, ZipFiles
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field, parse_json
from splatlens.viewer.splats import rotation_matrices

F64 = NDArray[np.float64]
Ints = NDArray[np.int64]

SKIN, GAUSSIANS, CLIPS, ORDER = "skin.glb", "offset.ply", "animation.glb", "vertex_order.json"
#: What names of files with recorded expressions contain.
EXPRESSION = "expression"
#: Most bytes of each file out of an archive, and most of a JSON: two minutes of 52 expressions have 5 MB.
MOST_BYTES, MOST_JSON = 512 << 20, 64 << 20
#: Most recordings beside one avatar; most frames of one.
MOST_RECORDINGS, MOST_FRAMES = 16, 1 << 16
#: Opacity at or below which nothing is drawn.
INVISIBLE = 1 / 255
_COLUMNS = {
    "offsets": ("x", "y", "z"), "colors": ("f_dc_0", "f_dc_1", "f_dc_2"), "opacities": ("opacity",),
    "scales": ("scale_0", "scale_1", "scale_2"), "quats": ("rot_0", "rot_1", "rot_2", "rot_3"),
}  # fmt: skip
_REMEDY = "export the avatar again"


@dataclass(frozen=True)
class Gaussians:
    """M of the Gaussians, each bound to a vertex. vertices (M,); offsets (M, 3) from the vertex at rest.

    factors (M, 3, 3): axes as columns, each as long as its standard deviation, so that the covariance at rest is
    factor factor^T; opacities (M,) and colors (M, 3), 0 to 1.
    """

    vertices: Ints
    offsets: F64
    factors: F64
    opacities: F64
    colors: F64


@dataclass(frozen=True)
class Recording:
    """Expressions over time. weights (F, T) of the rig's morph targets, evenly spaced over `duration` seconds."""

    name: str
    duration: float
    weights: F64


@dataclass(frozen=True)
class Avatar:
    """All that an avatar is made of. bytes, files: on disk."""

    rig: Rig
    gaussians: Gaussians
    recordings: tuple[Recording, ...]
    warnings: tuple[str, ...]
    files: tuple[Path, ...]


def is_avatar(head: bytes, path: Path) -> bool:
    """Whether a folder or an archive holds a rig and Gaussians for it."""
    if path.is_dir():
        return (path / SKIN).is_file() and (path / GAUSSIANS).is_file()
    if not head.startswith(ZIP_START[0]):
        return False
    try:
        files, _ = ZipFiles.open(path, str(path), SKIN)
    except LensError:
        return False
    return GAUSSIANS in files.entries


def read_avatar(path: Path, recordings: Sequence[Path] = ()) -> Avatar:
    """An avatar's folder or archive, whole. recordings: of expressions, besides those in it and beside the archive.

    Raises LensError.
    """
    with _folder(path) as (folder, label):
        try:
            avatar = _read(folder)
            beside = sorted(p for p in path.parent.glob("*.json") if EXPRESSION in p.name.lower() and path.is_file())
            inside = sorted(p for p in folder.glob("*.json") if EXPRESSION in p.name.lower())
            found = list[Recording]()
            warnings = list(avatar.warnings)
            for file in (*inside, *beside, *recordings)[:MOST_RECORDINGS]:
                recording, unknown = read_recording(file, avatar.rig.target_names, file in beside)
                found += [recording] if recording else []
                if unknown:
                    warnings.append(f"{file.name}: expressions that the rig has not: {listed(unknown)}")
        except (FormatError, UnsupportedError) as error:
            raise type(error)(str(error).replace(str(folder), label)) from error
    on_disk = (path,) if path.is_file() else tuple(p for p in sorted(path.iterdir()) if p.name in _NAMES or p in inside)
    return replace(
        avatar, recordings=tuple(found), warnings=tuple(warnings), files=(*on_disk, *beside, *recordings)
    )


_NAMES = (SKIN, GAUSSIANS, CLIPS, ORDER)


@contextmanager
def _folder(path: Path) -> Iterator[tuple[Path, str]]:
    """The folder of the files, and what messages call it. Of an archive only files of known names are taken out."""
    if path.is_dir():
        yield path, str(path)
        return
    files, _ = ZipFiles.open(path, str(path), SKIN)
    wanted = [name for name in _NAMES if name in files.entries]
    wanted += [n for n in files.entries if EXPRESSION in n.lower() and n.endswith(".json") and "/" not in n]
    with tempfile.TemporaryDirectory(prefix="splatlens") as made:
        for number, name in enumerate(wanted[: len(_NAMES) + MOST_RECORDINGS]):
            limit = MOST_JSON if name.endswith(".json") else MOST_BYTES
            # An archive's names may be anything; only what is harmless on every disk is kept of them.
            safe = re.sub(r"[^\w.-]", "_", name)[-100:]
            if (Path(made) / safe).exists():
                safe = f"{number} {safe}"
            (Path(made) / safe).write_bytes(files.read(name, limit))
        yield Path(made), str(path)


def _read(folder: Path) -> Avatar:
    for name in (SKIN, GAUSSIANS):
        if not (folder / name).is_file():
            raise FormatError(f"{folder}: no {name} in it; an avatar has {SKIN} and {GAUSSIANS} (docs/avatar.md)")
    rig = read_rig(folder / SKIN)
    if (folder / CLIPS).is_file():
        rig = with_clips(rig, folder / CLIPS)
    if not len(rig.targets) and not rig.clips:
        why = f"{folder / SKIN}: it has no morph targets, and no clip moves its skeleton"
        raise FormatError(f"{why}, so nothing in it moves; export it with its shape keys or animations")
    warnings = list(rig.warnings)
    if not len(rig.targets):
        warnings.append(f"{SKIN} has no morph targets: no expressions, only clips")
    if (folder / ORDER).is_file():
        _check_order(folder / ORDER, len(rig.positions))
    gaussians, told = read_gaussians(folder / GAUSSIANS, len(rig.positions))
    return Avatar(rig, gaussians, (), (*warnings, *told), ())


def read_gaussians(path: Path, vertices: int) -> tuple[Gaussians, list[str]]:
    """Those Gaussians that can be seen, row i bound to vertex i, and warnings.

    x y z are offsets from the vertex at rest; f_dc_0..2 are colours 0 to 1 (not SH coefficients); opacity is a logit,
    scales are logarithms, rot_0..3 is w x y z, of any length: as `GaussianModel.save_ply(rgb2sh=False,
    offset2xyz=True)` of aigc3d/LAM writes them. Raises FormatError.
    """
    rows = open_rows(path)
    missing = [name for names in _COLUMNS.values() for name in names if name not in rows.index]
    if missing:
        why = f"{path}: element vertex has no column {listed(missing)}"
        raise FormatError(f"{why}; expected the columns of an avatar's Gaussians (docs/avatar.md)")
    if rows.count != vertices:
        why = f"{path}: {rows.count} Gaussians, but {SKIN} has {vertices} vertices"
        raise FormatError(f"{why}; expected one for each vertex, in its order: {_REMEDY}")
    order = [rows.index[name] for names in _COLUMNS.values() for name in names]
    table = np.concatenate([pick(part, order) for part in rows.tables(vertices)]).astype(np.float64)
    parts, at = {}, 0
    for key, names in _COLUMNS.items():
        parts[key], at = table[:, at : at + len(names)], at + len(names)
    with np.errstate(over="ignore", invalid="ignore"):
        scales, opacities = np.exp(parts["scales"]), 1 / (1 + np.exp(-parts["opacities"][:, 0]))
        lengths = np.linalg.norm(parts["quats"], axis=1)
        good = np.isfinite(table).all(axis=1) & (lengths > 0) & (scales < 1e15).all(axis=1)
    colors = parts["colors"]
    if good.any() and (colors[good].min() < -1e-3 or colors[good].max() > 1 + 1e-3):
        why = f"{path}: f_dc is {colors[good].min():.3g} to {colors[good].max():.3g}"
        raise FormatError(f"{why}; an avatar's are colours, 0 to 1, not SH: write 0.5 + 0.28209 f_dc in their place")
    seen = opacities > INVISIBLE
    keep = np.flatnonzero(good & seen)
    if not len(keep):
        raise FormatError(f"{path}: none of its {vertices} Gaussians can be seen (NaN, or opacity 0); {_REMEDY}")
    told = []
    if not good.all():
        told.append(f"{int((~good).sum())} Gaussians with NaN, infinity or a zero quaternion were left out")
    turns = rotation_matrices(parts["quats"][keep] / lengths[keep, None])
    factors = turns * scales[keep].astype(np.float64)[:, None, :]
    made = Gaussians(keep, parts["offsets"][keep], factors, opacities[keep], np.clip(colors[keep], 0, 1))
    return made, [*told, *rows.warnings]


def read_recording(path: Path, names: Sequence[str], lenient: bool = False) -> tuple[Recording | None, list[str]]:
    """A recording of expressions for a rig with the morph targets `names`, and its expressions that are none of them.

    `{"names": [...], "frames": [{"weights": [...], "time": seconds}, ...]}`, as LAM_Audio2Expression writes it. Times
    that are uneven are resampled at their median step. Raises FormatError; where all are unknown that too, but None
    with `lenient`, for a file that may be another avatar's.
    """
    if path.stat().st_size > MOST_JSON:
        raise FormatError(f"{path}: {path.stat().st_size} bytes, expected at most {MOST_JSON}; cut the recording")
    root = parse_json(path.read_bytes(), str(path), "recording", _REMEDY)
    theirs = [f.text(100) for f in root.member("names").items(1, 1024)]
    frames = root.member("frames").items(1, MOST_FRAMES)
    place = {name: n for n, name in enumerate(names)}
    unknown = [name for name in theirs if name not in place]
    if len(unknown) == len(theirs) and lenient:
        return None, unknown
    if len(unknown) == len(theirs):
        why = f"none of its expressions ({listed(theirs)}) is a morph target of the rig ({listed(list(names))})"
        raise FormatError(f"{path}: {why}; give a recording made for this rig")
    values, times = np.zeros((len(frames), len(theirs))), np.zeros(len(frames))
    for number, frame in enumerate(frames):
        values[number] = frame.member("weights").numbers(len(theirs))
        times[number] = frame.member("time").number(0, 1e6) if frame.has("time") else number / 30
    if (np.diff(times) <= 0).any():
        frames[int(np.argmax(np.diff(times) <= 0)) + 1].member("time").fail("a time after the frame's before it")
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1 / 30
    count = max(1, min(round((times[-1] - times[0]) / step) + 1, MOST_FRAMES))
    even = times[0] + np.arange(count) * step
    weights = np.zeros((count, len(names)))
    for column, name in enumerate(theirs):
        if name in place:
            weights[:, place[name]] = np.interp(even, times, values[:, column])
    return Recording(path.stem, max(count * step, 1e-3), weights), unknown


def _check_order(path: Path, vertices: int) -> None:
    """The order in which LAM's renderer once drew the vertices: not used, but damaged it tells of a damaged avatar."""
    if path.stat().st_size > MOST_JSON:
        raise FormatError(f"{path}: {path.stat().st_size} bytes, expected at most {MOST_JSON}; {_REMEDY}")
    root: Field = parse_json(path.read_bytes(), str(path), "order", _REMEDY)
    order = [f.integer(0, vertices - 1) for f in root.items(vertices, vertices)]
    if len(set(order)) < vertices:
        root.fail("every vertex once")
