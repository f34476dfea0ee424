"""Any readable sources into one file: read, made one, and written in the format that the output's extension names."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from splatlens.converters import SourceInfo, find_writer, read_splats, write_splats
from splatlens.viewer.convert import build_lens, peak_bytes
from splatlens.viewer.errors import LensError
from splatlens.viewer.scene import Kernel, SceneInfo
from splatlens.viewer.splats import Splats

#: Hears what is being done and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Converted:
    """What a conversion took. splats: source splats written; bytes: of the output; seconds: of the whole call.

    peak_bytes: largest resident memory of this process so far, 0 where the system does not tell; inputs: what was
    read, with warnings and dropped rows; details: of the written file, for JSON.
    """

    path: Path
    splats: int
    sh_degree: int
    bytes: int
    seconds: float
    peak_bytes: int
    inputs: tuple[SourceInfo, ...]
    details: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        facts = {name: getattr(self, name) for name in ("splats", "sh_degree", "bytes", "seconds", "peak_bytes")}
        inputs = [info.to_json() for info in self.inputs]
        return {"output": str(self.path), **facts, "inputs": inputs, "details": self.details}


def convert(
    inputs: Sequence[str | Path], output: str | Path, *, force: bool = False, progress: Progress | None = None
) -> Converted:
    """Converts one or more sources, in one coordinate frame, into one file.

    Raises LensError: an input that cannot be read, inputs that do not go together, an output that exists (unless
    `force`) or cannot be written. Nothing is left half-written.
    """
    start = time.perf_counter()
    output = Path(output)
    tell = progress or (lambda what, share: None)
    check_output(output, force)
    if not inputs:
        raise LensError("convert: no input given; name at least one file or folder")
    read = []
    for path in map(Path, inputs):
        if output.exists() and path.exists() and output.samefile(path):
            raise LensError(f"{output}: is both input and output; name another output")
        read.append(read_splats(path, partial(tell, f"reading {path.name}")))
    infos = tuple(info for _, info in read)
    merged = merge_info(infos)
    splats = read[0][0] if len(read) == 1 else Splats.concatenate([part for part, _ in read])
    del read
    details: dict[str, Any] = {}
    if output.suffix.lower() == ".lens":
        kernel = Kernel() if merged.dilation is None else Kernel(merged.dilation)
        kernel = replace(kernel, antialias=bool(merged.antialias))
        report = build_lens(splats, output, scene_info(merged), partial(tell, "converting"), kernel=kernel)
        written = report.written
        details = {"tree_seconds": report.tree_seconds, "clusters": written.clusters, "pages": written.pages}
        details |= {"stored": written.stored, "coarse_splats": written.coarse_splats, "parts": written.parts}
    else:
        write_splats(output, splats, merged)
    seconds = time.perf_counter() - start
    size = output.stat().st_size
    return Converted(output, len(splats), splats.sh_degree, size, seconds, peak_bytes(), infos, details)


def check_output(output: Path, force: bool) -> None:
    """Raises LensError early: before minutes of work, not after."""
    if output.suffix.lower() != ".lens":
        find_writer(output)
    if output.is_dir():
        raise LensError(f"{output}: is a folder; name a file in it")
    if output.exists() and not force:
        raise LensError(f"{output}: exists already; give --force to replace it, or another name")
    if not output.parent.is_dir():
        raise LensError(f"{output.parent}: no such folder; make it first")


def merge_info(infos: Sequence[SourceInfo]) -> SourceInfo:
    """One scene's facts of several sources': the first that says something counts, cameras are all kept.

    Raises LensError where they were trained with different kernels.
    """
    first = infos[0]
    kernels = {(bool(info.antialias), info.dilation or Kernel().dilation) for info in infos}
    if len(kernels) > 1:
        each = [f"{i.path.name}: antialias {bool(i.antialias)}, dilation {i.dilation or 'not said'}" for i in infos]
        why = f"inputs trained with different kernels do not go into one scene ({'; '.join(each)})"
        raise LensError(f"convert: {why}; convert each alone")
    found: dict[str, Any] = {}
    for name in ("up", "background", "camera", "title", "attribution", "licence"):
        found[name] = next((value for info in infos if (value := getattr(info, name))), getattr(first, name))
    return replace(first, cameras=tuple(camera for info in infos for camera in info.cameras), **found)


def scene_info(info: SourceInfo) -> SceneInfo:
    """What a .lens file is to say about a source."""
    name = info.path.resolve().name
    given = {name: value for name in ("up", "background") if (value := getattr(info, name)) is not None}
    return SceneInfo(
        title=info.title or Path(name).stem,
        attribution=info.attribution,
        licence=info.licence,
        source=name,
        camera=info.camera,
        cameras=info.cameras,
        **given,
    )
