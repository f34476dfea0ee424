"""PLY point clouds as round opaque splats sized by the distances between neighbours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.ply_header import listed, vertex_columns
from splatlens.converters.ply_rows import Rows, open_rows, pick
from splatlens.converters.source import CHUNK_ROWS, SCALE_LIMIT, Source, SourceInfo, checked
from splatlens.viewer.errors import FormatError
from splatlens.viewer.splats import SH_C0, Splats

if TYPE_CHECKING:
    from scipy.spatial import cKDTree

#: Neighbours whose mean distance sizes a splat (Kerbl et al. 2023, section 5.1).
NEIGHBOURS = 3
#: Standard deviation in units of that distance: a square grid shows no holes, and a point keeps its own colour.
SIGMA = 0.55
#: Largest size in units of the median: what lies alone, far from all others, becomes no cloud of its own.
LARGEST = 4.0
#: Size of a splat whose cloud has one place only, world units.
ALONE = 1.0
OPACITY = 0.99
#: Neighbours that tell the direction of the surface at a point without normal.
PLANE_NEIGHBOURS = 12
#: Direction of the light that shades clouds without colour, and brightness away from it and towards it.
LIGHT = (0.36, -0.8, -0.48)
DARK, BRIGHT = 0.25, 0.9

_PLACE = ("x", "y", "z")
_NORMAL = ("nx", "ny", "nz")
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
#: Columns of splats: with any of them a file is a splat PLY, if a damaged one.
_SPLAT = {"f_dc_0", "f_rest_0", "opacity", "scale_0", "rot_0", "packed_position"}


@dataclass(frozen=True)
class _Measured:
    """What takes all points to know, for each row of the file.

    sizes: (N,) standard deviations; shades: (N,) brightness, None where the file has colours; white: largest colour.
    """

    sizes: NDArray[np.float32]
    shades: NDArray[np.float32] | None
    white: float


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a PLY with places and nothing of a splat."""
    columns = vertex_columns(head, path)
    return columns.issuperset(_PLACE) and columns.isdisjoint(_SPLAT)


def open_point_cloud(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the header only. The first rows wait for the neighbours of all points: about 100 bytes a point meanwhile.

    Raises FormatError.
    """
    vertices = open_rows(path)
    if absent := [name for name in _PLACE if name not in vertices.index]:
        found = listed(tuple(vertices.index))
        raise FormatError(f"{path}: a point cloud without columns {listed(absent)}; columns found: {found}")
    colour = next((names for names in _COLOURS if all(name in vertices.index for name in names)), ())
    used = {*_PLACE, *(colour or _NORMAL)}
    ignored = tuple(name for name in vertices.index if name not in used)
    info = SourceInfo(path, "point-cloud", vertices.count, 0, vertices.bytes, ignored, files=(path,))
    info = info.with_warnings("a point cloud, not trained splats: drawn as round splats sized by their neighbours")
    if not colour:
        info = info.with_warnings("no columns red, green and blue: drawn in grey, shaded by the surface's direction")
    info = info.with_warnings(*vertices.warnings)

    @cache
    def measured() -> _Measured:
        return _measure(vertices, colour)

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        known, done = measured(), 0
        for table in vertices.tables(rows):
            n = len(table)
            with np.errstate(over="ignore", invalid="ignore"):
                means = pick(table, [vertices.index[name] for name in _PLACE]).astype(np.float32)
                if known.shades is None:
                    rgb = pick(table, [vertices.index[name] for name in colour]) / known.white
                else:
                    rgb = np.repeat(known.shades[done : done + n, None], 3, axis=1)
                sh = ((rgb - 0.5) / SH_C0).astype(np.float32)[:, None]
            quats = np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1))
            scales = np.repeat(known.sizes[done : done + n, None], 3, axis=1)
            yield checked(means, quats, scales, np.full(n, OPACITY, np.float32), sh, dropped)
            done += n

    return Source(info, read)


def _measure(vertices: Rows, colour: tuple[str, ...]) -> _Measured:
    """Reads all places, and of the colours the largest value."""
    from scipy.spatial import cKDTree  # half a second that no other format needs

    means = np.empty((vertices.count, 3), np.float32)
    normals = None
    if not colour:
        has = all(name in vertices.index for name in _NORMAL)
        normals = np.zeros((vertices.count, 3), np.float32) if has else None
    done, most = 0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for table in vertices.tables(CHUNK_ROWS):
            means[done : done + len(table)] = pick(table, [vertices.index[name] for name in _PLACE])
            if normals is not None:
                normals[done : done + len(table)] = pick(table, [vertices.index[name] for name in _NORMAL])
            if colour:
                values = pick(table, [vertices.index[name] for name in colour])
                most = max(most, float(np.max(values, where=np.isfinite(values), initial=0)))
            done += len(table)
    # Types of the PLY's own say what white is; of the others, the values do.
    kinds = {"u1": 255.0, "u2": 65535.0}
    white = kinds.get(vertices.types[vertices.index[colour[0]]], 0.0) if colour else 1.0
    white = white or next((limit for limit in (1.0, 255.0, 65535.0) if most <= limit), most)
    places, which = _distinct(means)
    del means
    tree = cKDTree(places)
    sizes = _sizes(tree)[which].astype(np.float32)
    shades = None
    if not colour:
        if normals is None or not np.any(normals):
            normals = _normals(tree)[which]
        length = np.linalg.norm(normals, axis=1).clip(np.finfo(np.float32).tiny)
        toward = np.abs(normals @ np.array(LIGHT, np.float32)) / length
        shades = (DARK + (BRIGHT - DARK) * np.nan_to_num(toward).clip(0, 1)).astype(np.float32)
    return _Measured(sizes, shades, white)


def _distinct(means: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """(M, 3) different finite places among means (N, 3), and (N,) which of them each is; 0 where it is not finite.

    Copies would be each other's neighbours at distance 0, and a tree cannot part them.
    """
    finite = np.isfinite(means).all(axis=1)
    which = np.zeros(len(means), np.intp)
    if not finite.any():
        return np.zeros((1, 3)), which
    rows = np.flatnonzero(finite)
    rows = rows[np.lexsort(means[rows].T)]
    first = np.ones(len(rows), bool)
    first[1:] = (means[rows[1:]] != means[rows[:-1]]).any(axis=1)
    which[rows] = np.cumsum(first) - 1
    return means[rows[first]].astype(np.float64), which


def _sizes(tree: cKDTree) -> NDArray[np.float64]:
    """(M,) standard deviations of the splats at the tree's places."""
    out = np.full(tree.n, ALONE)
    near = min(NEIGHBOURS, tree.n - 1)
    if near == 0:
        return out
    for first in range(0, tree.n, CHUNK_ROWS):
        distances, _ = tree.query(tree.data[first : first + CHUNK_ROWS], near + 1, workers=-1)
        out[first : first + len(distances)] = SIGMA * distances[:, 1:].mean(axis=1)
    # Places as far apart as float32 allows would have sizes that overflow.
    np.minimum(out, min(LARGEST * np.median(out), SCALE_LIMIT / 2), out=out)
    return out


def _normals(tree: cKDTree) -> NDArray[np.float32]:
    """(M, 3) unit normals of the planes through the places' neighbours, either side; for fewer than three, along z."""
    out = np.zeros((tree.n, 3), np.float32)
    out[:, 2] = 1
    near = min(PLANE_NEIGHBOURS, tree.n)
    if near < 3:
        return out
    for first in range(0, tree.n, CHUNK_ROWS):
        _, rows = tree.query(tree.data[first : first + CHUNK_ROWS], near, workers=-1)
        around = tree.data[rows] - tree.data[rows].mean(axis=1, keepdims=True)
        around /= np.abs(around).max(axis=(1, 2), keepdims=True)  # the squares of places 1e200 apart are infinite
        out[first : first + len(rows)] = np.linalg.eigh(around.transpose(0, 2, 1) @ around)[1][:, :, 0]
    return out


FORMAT: Format = Format(
    "point-cloud",
    "point cloud PLY",
    (),
    sniff,
    open_point_cloud,
    reads="x y z with red green blue (integers or floats; grey without), as round splats",
)
