"""Any readable sources into one file: read, edited, and written in the format that the output's extension names."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from splatlens.converters import bake, find_format, find_writer, generator, lens, open_any, require_heeded
from splatlens.converters.edits import Edits
from splatlens.converters.filters import EmptyError, Tally, joined, max_sh, moved, moved_info, non_empty
from splatlens.converters.format import ReadOptions, WriteOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.convert import BlobLayer, SourceLayer, build_lens, peak_bytes
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.files import atomic_write
from splatlens.viewer.scene import LIVE_KINDS, Kernel, SceneInfo, check_transform

#: Facts of a written .lens that a report has.
WRITTEN = ("clusters", "pages", "stored", "coarse_splats", "parts")
READ_NAMES = {field.name for field in fields(ReadOptions)}
#: An input on its way into a file.
Part = Tally | LayerSource
#: Hears what is being done and the share of it that is done, 0 to 1.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Converted:
    """What a conversion took. splats: source splats written, and as many as generators can give.

    bytes: of the output; seconds: of the whole call; peak_bytes: largest resident memory of this process so far, 0
    where the system does not tell; inputs: what was read, with warnings and dropped rows; details: of the written file,
    for JSON.
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
    inputs: Sequence[str | Path],
    output: str | Path,
    *,
    force: bool = False,
    progress: Progress | None = None,
    edits: Edits = Edits(),
    read: ReadOptions = ReadOptions(),
    write: WriteOptions = WriteOptions(),
    moment: bake.Settings | None = None,
) -> Converted:
    """Converts one or more sources into one file: each a layer of a .lens, all after another in any other format.

    moment: inputs that make splats anew for every moment are taken at this one, and are stored splats from then on.
    Raises LensError: an input that cannot be read, inputs that do not go together, an output that exists (unless
    `force`) or cannot be written. Nothing is left half-written.
    """
    start = time.perf_counter()
    output = Path(output)
    tell = progress or (lambda what, share: None)
    check_output(output, force)
    if not inputs:
        raise LensError("convert: no input given; name at least one file or folder")
    for path in map(Path, inputs):
        if output.exists() and path.exists() and output.samefile(path):
            raise LensError(f"{output}: is both input and output; name another output")
    apart = _open_all([Path(path) for path in inputs], read)
    opened = [source for _, source in apart]
    edits = edits.of_inputs([i for i, _ in apart])
    opened = bake.baked(opened, moment) if moment is not None else opened
    if output.suffix.lower() == ".onnx":
        return _into_onnx(opened, output, edits, write, start)
    layers = {i: source for i, source in enumerate(opened) if isinstance(source, LayerSource)}
    for source in layers.values():
        _refuse_edits(source, edits, output)
    stored = [(i, source) for i, source in enumerate(opened) if isinstance(source, Source)]
    edited = edits.apply([source for _, source in stored], [i for i, _ in stored])
    tallies = [Tally(source, partial(tell, f"reading {source.info.path.name}")) for source in edited]
    parts: dict[int, Part] = {**layers, **{i: tally for (i, _), tally in zip(stored, tallies, strict=True)}}
    if output.suffix.lower() == ".lens":
        size, details = _into_lens([parts[i] for i in range(len(parts))], output, edits, write, tell)
    else:
        size, details = _into_flat(tallies, output, edits, write, tell)
    infos = tuple(part.facts() for _, part in sorted(parts.items()))
    splats, degree = sum(tally.splats for tally in tallies), details.pop("sh_degree")
    splats += sum(source.info.splats for source in layers.values())
    return Converted(output, splats, degree, size, time.perf_counter() - start, peak_bytes(), infos, details)


def _open_all(paths: Sequence[Path], options: ReadOptions) -> list[tuple[int, Source | LayerSource]]:
    """Opens every input; an option counts for those whose format heeds it, and must count for one at least.

    (number of the input, source): a .lens with live layers comes apart into several.
    """
    formats = [find_format(path) for path in paths]
    for field in fields(options):
        if getattr(options, field.name) != field.default and not any(field.name in f.options for f in formats):
            open_any(paths[0], options)  # says what it has no meaning for
    opened: list[tuple[int, Source | LayerSource]] = []
    for i, (path, known) in enumerate(zip(paths, formats, strict=True)):
        if known is lens.FORMAT:
            opened += [(i, part) for part in lens.open_parts(path)]
        else:
            heeded = {name: getattr(options, name) for name in READ_NAMES & set(known.options)}
            opened.append((i, open_any(path, replace(ReadOptions(), **heeded))))
    return opened


def _refuse_edits(source: LayerSource, edits: Edits, output: Path) -> None:
    """Raises LensError for what stored splats alone allow."""
    if output.suffix.lower() != ".lens":
        why = "holds no splats, it makes them for every moment"
        remedy = "write a .lens, or give --time SECONDS to take those of a moment"
        if source.mesh is not None:
            why, remedy = f"is a mesh, and a {output.suffix} holds splats alone", "write a .lens"
        raise LensError(f"{source.info.path}: {why}; {remedy}")
    asked = {
        "--crop": bool(edits.crops), "--max-sh": edits.max_sh is not None,
        "--min-opacity": edits.min_opacity is not None, "--dedupe": edits.dedupe,
    }  # fmt: skip
    of = "what makes its splats for every moment" if source.mesh is None else "meshes"
    for name, given in asked.items():
        if given:
            why = f"{name} has no meaning for {of}"
            raise LensError(f"{source.info.path}: {why}; leave it out, or convert this input alone")


def _into_onnx(
    opened: Sequence[Source | LayerSource], output: Path, edits: Edits, write: WriteOptions, start: float
) -> Converted:
    """The model of one input, alone, with its contract."""
    require_heeded(output, generator.FORMAT, write)
    if len(opened) != 1:
        raise LensError(f"{output}: an .onnx holds one model, given were {len(opened)} inputs; convert each alone")
    (source,) = opened
    if not isinstance(source, LayerSource) or source.model is None:
        raise LensError(f"{source.info.path}: has no model that an .onnx could hold; write a .lens")
    if edits != Edits():
        raise LensError(f"{output}: a model alone is written as it is; transforms and filters are kept by a .lens")
    data = source.model()
    with atomic_write(output) as file:
        file.write(data)
    info = source.info
    seconds = time.perf_counter() - start
    return Converted(output, info.splats, info.sh_degree, len(data), seconds, peak_bytes(), (info,), {})


def _into_lens(
    parts: list[Part], output: Path, edits: Edits, write: WriteOptions, tell: Progress
) -> tuple[int, dict[str, Any]]:
    """A layer for each input; bytes and details."""
    require_heeded(output, lens.FORMAT, write)
    layers: list[SourceLayer | BlobLayer] = []
    infos, names = [], Counter[str]()
    for i, part in enumerate(parts):
        matrix = edits.matrix(i)
        if isinstance(part, Tally) and len(parts) > 1 and edits.removes and part.count() == 0:
            continue  # a tile outside of the crop is no fault
        info = part.info if isinstance(part, LayerSource) else part.source.info
        made = None
        if isinstance(part, LayerSource):
            hear = partial(tell, f"preparing {info.path.name}")
            hear(0)
            made = part.made(hear)
        name = made.name if made is not None and made.name else info.name
        names[name] += 1
        name = name if names[name] == 1 else f"{name} {names[name]}"
        if made is not None:
            layers.append(replace(made, name=name, transform=check_transform(matrix @ made.transform)))
        elif isinstance(part, Tally):
            layers.append(SourceLayer(non_empty(part.source), name, matrix, kernel_of(info)))
        infos.append(moved_info(info, matrix))
    tallies = [part for part in parts if isinstance(part, Tally)]
    if not layers:
        raise nothing_left(tallies)
    if all(isinstance(layer, BlobLayer) and layer.kind == "postprocess" for layer in layers):
        why = "finishes pictures and makes none"
        raise LensError(f"{infos[0].path}: {why}; give a scene or a generator with it, as another input")
    try:
        report = build_lens(layers, output, scene_info(merge_info(infos)), partial(tell, "converting"))
    except EmptyError:
        raise nothing_left(tallies) from None
    written = report.written
    details: dict[str, Any] = {name: getattr(written, name) for name in WRITTEN}
    details |= {"tree_seconds": report.tree_seconds, "sh_degree": max(info.sh_degree for info in infos)}
    blobs = [layer for layer in layers if isinstance(layer, BlobLayer)]
    live = [{"kind": layer.kind, "name": layer.name} for layer in blobs if layer.kind in LIVE_KINDS]
    meshes = [{"name": layer.name} for layer in blobs if layer.kind == "mesh"]
    return written.bytes, details | ({"live": live} if live else {}) | ({"meshes": meshes} if meshes else {})


def _into_flat(
    tallies: list[Tally], output: Path, edits: Edits, write: WriteOptions, tell: Progress
) -> tuple[int, dict[str, Any]]:
    """All rows after another, transforms applied; bytes and details."""
    known = find_writer(output)
    require_heeded(output, known, write)
    sources = [moved(tally.source, edits.matrix(i)) for i, tally in enumerate(tallies)]
    require_one_kernel([source.info for source in sources])
    whole = joined(sources)
    source = max_sh(Source(merge_info([s.info for s in sources], whole.info), whole.read), known.sh_degree)
    assert known.write is not None
    try:
        size = known.write(output, non_empty(source), replace(write, progress=partial(tell, "writing")))
    except EmptyError:
        raise nothing_left(tallies) from None
    return size, {"sh_degree": source.info.sh_degree}


def nothing_left(tallies: Sequence[Tally]) -> LensError:
    """Why there is nothing to write."""
    dropped = sum((tally.dropped for tally in tallies), Counter())
    total = sum(tally.source.info.splats for tally in tallies)
    names = ", ".join(str(tally.source.info.path) for tally in tallies)
    if dropped.total() == total:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in sorted(dropped.items()))
        return FormatError(f"{names}: none of the {total} splats is usable ({reasons}); export the scene again")
    return LensError(f"{names}: the filters leave none of the {total} splats; loosen crop or opacity")


def check_output(output: Path, force: bool) -> None:
    """Raises LensError early: before minutes of work, not after."""
    if output.suffix.lower() not in (".lens", ".onnx"):
        find_writer(output)
    if output.is_dir():
        raise LensError(f"{output}: is a folder; name a file in it")
    if output.exists() and not force:
        raise LensError(f"{output}: exists already; give --force to replace it, or another name")
    folder = output.parent
    if output.name.lower() == "meta.json" and not folder.is_dir():
        folder = folder.parent  # the writer makes the folder that its files stand in
    if not folder.is_dir():
        raise LensError(f"{folder}: no such folder; make it first")


def kernel_of(info: SourceInfo) -> Kernel:
    """The blur to draw a source with; that of 3DGS where it does not say."""
    return Kernel(Kernel().dilation if info.dilation is None else info.dilation, bool(info.antialias))


def require_one_kernel(infos: Sequence[SourceInfo]) -> None:
    """Raises LensError where inputs were trained with different kernels: a flat format has one at most."""
    kernels = [kernel_of(info) for info in infos]
    if len(set(kernels)) > 1:
        pairs = zip(infos, kernels, strict=True)
        each = [f"{i.path.name}: antialias {k.antialias}, dilation {k.dilation}" for i, k in pairs]
        why = f"inputs trained with different kernels do not go into one flat file ({'; '.join(each)})"
        raise LensError(f"convert: {why}; write a .lens, or convert each alone")


def merge_info(infos: Sequence[SourceInfo], like: SourceInfo | None = None) -> SourceInfo:
    """One scene's facts of several sources': the first that says something counts; cameras and credits are all kept.

    like: what everything else is taken from, None for the first.
    """
    found: dict[str, Any] = {}
    for name in ("up", "background", "camera"):
        found[name] = next((value for info in infos if (value := getattr(info, name)) is not None), None)
    for name in ("attribution", "licence"):
        found[name] = "; ".join(dict.fromkeys(value for info in infos if (value := getattr(info, name))))
    titles = list(dict.fromkeys(info.title or info.name for info in infos))
    found["title"] = ", ".join(titles[:3]) + (f" and {len(titles) - 3} more" if len(titles) > 3 else "")
    found["cameras"] = tuple(camera for info in infos for camera in info.cameras)
    return replace(like or infos[0], **found)


def scene_info(info: SourceInfo) -> SceneInfo:
    """What a .lens file is to say about a source."""
    given = {name: value for name in ("up", "background") if (value := getattr(info, name)) is not None}
    return SceneInfo(
        title=info.title,
        attribution=info.attribution,
        licence=info.licence,
        source=info.path.resolve().name,
        camera=info.camera,
        cameras=info.cameras,
        **given,
    )
