"""Streamed SOG (PlayCanvas, version 1): a lod-meta.json, its tree of leaves, and SOG units that hold the leaves' rows.

Every leaf has, for each level of detail, a range of rows in one of the units. Reading a level takes the ranges of all
leaves at that level, unit after unit, and then the environment's splats, which belong to every level. Units that the
level does not need are never opened. Memory is that of the largest unit, see sog_scene.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.sog_files import inner_name
from splatlens.converters.sog_layout import MAX_SIDE
from splatlens.converters.sog_scene import Scene, open_scene
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field, parse_json
from splatlens.viewer.splats import Splats

NAME = "lod-meta.json"
#: Longest lod-meta.json, bytes: 40,000 leaves of 7 levels. As Python objects it may take 25 times that.
MAX_BYTES = 16 << 20
MAX_LEVELS = 64
#: Most units, and most children of a node; written trees are binary.
MAX_UNITS, MAX_CHILDREN = 100_000, 4096
#: Bytes of a lod-meta.json in which its first members are found.
SNIFF_BYTES = 1 << 16
_REMEDY = "fetch or export the scene again"

#: Rows first..end.
Range = tuple[int, int]


@dataclass(frozen=True)
class _Unit:
    """An opened SOG scene and the rows of it that are read, in order, none twice."""

    scene: Scene
    ranges: tuple[Range, ...]


def sniff(head: bytes, path: Path) -> bool:
    """Whether a folder or a JSON file is a streamed SOG scene."""
    if path.is_dir():
        return (path / NAME).is_file()
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return False
    with path.open("rb") as file:
        text = file.read(SNIFF_BYTES)
    return b'"lodLevels"' in text and b'"filenames"' in text


def open_streamed_sog(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads lod-meta.json and opens the units of the level `options.lod`. Raises LensError."""
    file = path / NAME if path.is_dir() else path
    top = _parse(path, file)
    levels = top.member("lodLevels").integer(1, MAX_LEVELS)
    if not 0 <= options.lod < levels:
        have = f"levels 0 (finest) to {levels - 1}" if levels > 1 else "the one level 0"
        raise LensError(f"{path}: there is no level {options.lod}; the scene has {have}")
    names = [inner_name(name) for name in top.member("filenames").items(1, MAX_UNITS)]
    ranges = _ranges(top.member("tree"), names, options.lod)
    warnings = _check_counts(top, ranges, levels, options.lod)
    units: dict[str, _Unit] = {}
    for name, found in ranges.items():
        scene = open_scene(file.parent / name, f"{path}: unit {name!r}")
        units[name] = _Unit(scene, _joined(f"{path}: unit {name!r}", scene.meta.count, found))
    if top.has("environment"):
        name = inner_name(top.member("environment"))
        scene = open_scene(file.parent / name, f"{path}: environment {name!r}")
        # A name for itself, should a level also use the file: the environment is drawn whole.
        units[f"environment {name}"] = _Unit(scene, ((0, scene.meta.count),))
    if not units:
        raise FormatError(f"{path}: level {options.lod} has no splats; choose another level")
    scenes = {name: unit.scene for name, unit in units.items()}
    first = next(iter(scenes.values()))
    if len({(s.meta.antialias, s.meta.flat) for s in scenes.values()}) > 1:
        warnings.append("the units say differently how they were trained; all are drawn as the first says")
    for name, scene in scenes.items():
        warnings += [f"{name}: {warning}" for warning in scene.warnings]
    if len(warnings) > 12:
        warnings[12:] = [f"and {len(warnings) - 12} more warnings"]
    degree = max(scene.sh_degree for scene in scenes.values())
    info = SourceInfo(
        path,
        "streamed-sog",
        sum(end - start for unit in units.values() for start, end in unit.ranges),
        degree,
        file.stat().st_size + sum(scene.bytes for scene in scenes.values()),
        warnings=tuple(warnings),
        antialias=first.meta.antialias,
        flat=first.meta.flat,
        levels=levels,
        files=(file, *dict.fromkeys(p for scene in scenes.values() for p in scene.paths)),
    )

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        for unit in units.values():
            for part in unit.scene.rows(unit.ranges, rows, dropped):
                yield part if part.sh_degree == degree else part.with_sh_degree(degree)

    return Source(info, read)


def _parse(path: Path, file: Path) -> Field:
    """The top of lod-meta.json, its version checked; the first published files name none."""
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise FormatError(f"{path}: {NAME} has {size} bytes, expected at most {MAX_BYTES}; {_REMEDY}")
    top = parse_json(file.read_bytes(), str(path), "lod-meta")
    top.object()
    if top.has("version") and (version := top.member("version").integer(0, 10**9)) != 1:
        why = f"streamed SOG version {version} is not supported; version 1 is read"
        raise UnsupportedError(f"{path}: {why}; export the scene as version 1")
    return top


def _ranges(tree: Field, names: list[str], lod: int) -> dict[str, list[tuple[int, int, Field]]]:
    """(first, end, where it says so) of a level's rows by unit, the units in the order of `filenames`.

    The tree is walked with a list of nodes, not by recursion: JSON may nest a thousand deep.
    """
    found: dict[int, list[tuple[int, int, Field]]] = {}
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if node.has("children"):
            nodes += reversed(node.member("children").items(0, MAX_CHILDREN))
        if not node.has("lods"):
            continue
        leaf = node.member("lods").member(str(lod))
        # A leaf without splats at this level has no entry, or one of count 0 and then any file.
        if leaf.value is None or (count := leaf.member("count").integer(0, MAX_SIDE**2)) == 0:
            continue
        file = leaf.member("file").integer(0, len(names) - 1)
        first = leaf.member("offset").integer(0, MAX_SIDE**2)
        found.setdefault(file, []).append((first, first + count, leaf))
    by_name: dict[str, list[tuple[int, int, Field]]] = {}
    for file in sorted(found):  # two indices may name one file
        by_name.setdefault(names[file], []).extend(found[file])
    return by_name


def _joined(label: str, count: int, found: list[tuple[int, int, Field]]) -> tuple[Range, ...]:
    """The ranges in order, adjacent ones made one. Raises FormatError past the unit's end or for rows used twice."""
    joined: list[Range] = []
    for first, end, field in sorted(found, key=lambda item: item[:2]):
        rows = f"{field.path} takes rows {first} to {end - 1}"
        if end > count:
            raise FormatError(f"{label}: {rows}, but the unit has {count}; {_REMEDY}")
        if joined and first < joined[-1][1]:
            raise FormatError(f"{label}: {rows}, of which another leaf takes some; {_REMEDY}")
        if joined and first == joined[-1][1]:
            joined[-1] = joined[-1][0], end
        else:
            joined.append((first, end))
    return tuple(joined)


def _check_counts(top: Field, ranges: dict[str, list[tuple[int, int, Field]]], levels: int, lod: int) -> list[str]:
    """A warning where the totals say otherwise than the tree."""
    if not top.has("counts"):
        return []
    said = top.member("counts").items(levels, levels)[lod].integer(0, 1 << 53)
    found = sum(end - first for unit in ranges.values() for first, end, _ in unit)
    return [] if said == found else [f"level {lod} is said to have {said} splats, but the tree lists {found}"]


FORMAT: Format = Format(
    "streamed-sog",
    "streamed SOG",
    (NAME,),
    sniff,
    open_streamed_sog,
    options=("lod",),
    reads="version 1, a folder or its lod-meta.json; one level (--lod, 0 the finest) with the environment",
)
