"""What the readers of baked and ordinary meshes share: what cannot be drawn is left out, the rest becomes a layer."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import SourceInfo
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.mesh import Look, MeshTree, Surface

#: Largest coordinate that can be drawn: squares of distances stay below what float32 holds.
LIMIT = 1e18
#: Share of the time that building levels of detail takes; the rest encodes them.
BUILD_SHARE = 0.7
Progress = Callable[[float], None]


@dataclass(frozen=True)
class MeshParts:
    """A mesh as it was read: surfaces, how they are to be seen, and what the user should know of the reading.

    warnings: one sentence each, such as a shard that is absent; without the file's name, which is put before them.
    """

    surfaces: Sequence[Surface]
    look: Look
    warnings: tuple[str, ...] = ()


def mesh_source(
    path: Path,
    format_name: str,
    read: Callable[[], MeshParts],
    describe: Callable[[], dict[str, Any]] = dict,
    **facts: Any,
) -> LayerSource:
    """A source of a baked mesh.

    path: what was given; read: called once, when the triangles are first needed, so `open` reads heads only; raises
    LensError. describe: what `splatlens info` says besides method, counts and bounds, plain values. facts: fields of
    SourceInfo: files (all that is read: their sizes make `bytes`), up, camera, cameras, background, title, ..., and
    warnings that are known before anything is read. Triangles with a corner that is NaN, infinite or beyond 1e18, and
    those without area, are left out and counted in `info.dropped` once the mesh was read.
    """
    facts.setdefault("files", (path,))
    size = sum(file.stat().st_size for file in facts["files"] if file.is_file())
    info = SourceInfo(path, format_name, 0, 0, size, **{"dropped": {}, **facts})

    @functools.cache
    def parts() -> MeshParts:
        dropped = Counter[str]()
        made = read()
        kept = tuple(one for surface in made.surfaces if len((one := usable(surface, dropped)).triangles))
        info.dropped.update(dropped)
        if not kept:
            reasons = "".join(f"; {count} {reason}" for reason, count in sorted(dropped.items()))
            raise FormatError(f"{path}: has no triangle that can be drawn{reasons}; export the mesh again")
        return replace(made, surfaces=kept)

    trees: list[MeshTree] = []

    def tree(progress: Progress = lambda share: None) -> MeshTree:
        from splatlens.viewer.mesh_build import build_mesh

        if not trees:
            made = parts()
            try:
                trees.append(build_mesh(made.surfaces, made.look, progress))
            except LensError as error:
                raise type(error)(f"{path}: {error}") from error
        return trees[0]

    def layer(progress: Progress = lambda share: None) -> BlobLayer:
        from splatlens.viewer.mesh_lens import mesh_layer

        built = tree(lambda share: progress(BUILD_SHARE * share))
        return mesh_layer(built, info.name, lambda share: progress(BUILD_SHARE + (1 - BUILD_SHARE) * share))

    def described() -> dict[str, Any]:
        made = parts()
        return {"kind": "mesh", **mesh_facts(made.surfaces, made.look), **describe()}

    return LayerSource(info, layer, None, described, tree, lambda: parts().warnings, layer)


def usable(surface: Surface, dropped: Counter[str]) -> Surface:
    """The surface without triangles that cannot be drawn, counted by reason; vertices are kept, corners stay."""
    places = surface.positions.astype(np.float64)
    with np.errstate(invalid="ignore"):
        fine = np.all(np.abs(places) < LIMIT, axis=1)
    near = np.all(fine[surface.triangles], axis=1)
    a, b, c = (np.where(fine[:, None], places, 0)[surface.triangles[:, i]] for i in range(3))
    # Corners may coincide though their numbers differ; nearly collinear ones still cover pixels, seen from afar.
    area = np.any(np.cross(b - a, c - a) != 0, axis=1)
    for reason, rows in {"triangles with NaN or infinity": near, "triangles without area": area | ~near}.items():
        if count := int(np.count_nonzero(~rows)):
            dropped[reason] += count
    keep = near & area
    if keep.all() and fine.all():
        return surface
    # Corners that no kept triangle has must not spoil what is measured of all vertices.
    positions = np.where(fine[:, None], surface.positions, np.float32(0)) if not fine.all() else surface.positions
    return replace(surface, positions=positions, triangles=surface.triangles[keep])


def mesh_facts(surfaces: Sequence[Surface], look: Look) -> dict[str, Any]:
    """What can be said of a mesh in memory: plain values."""
    low, high = bounds_of(surfaces)
    facts: dict[str, Any] = {
        "method": type(look.method).__name__.lower(), "channels": look.channels,
        "triangles": sum(len(s.triangles) for s in surfaces), "vertices": sum(len(s.positions) for s in surfaces),
    }  # fmt: skip
    if textures := [s.texels.shape for s in surfaces if s.texels is not None]:
        facts["textures"] = [f"{w} x {h}" for h, w, _ in textures]
    return facts | {"bounds": [low.tolist(), high.tolist()]}


def bounds_of(surfaces: Sequence[Surface]) -> NDArray[np.float64]:
    """(2, 3) lowest and highest corners of all triangles, layer coordinates."""
    used = [surface.positions[np.unique(surface.triangles)] for surface in surfaces if len(surface.triangles)]
    lows, highs = ([fold(one, axis=0) for one in used] for fold in (np.min, np.max))
    return np.array([np.min(lows, axis=0), np.max(highs, axis=0)], np.float64)
