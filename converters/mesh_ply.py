"""PLY files with faces: vertex colours, face colours, or one texture; every byte order, and polygons.

Rows are read by plyfile, which takes faces of different sizes in binary files as well (trimesh 5 does not); the header
is checked first, so that it promises no more than the file holds.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_images import beside, decode_picture, read_bytes
from splatlens.converters.mesh_pieces import Piece, fan, plain_parts
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.converters.ply_header import Header, listed, read_header, with_comments
from splatlens.converters.source import SourceInfo
from splatlens.viewer.errors import FormatError, LensError

#: Names of a face's corners, and of coordinates in a texture: at vertices, and at the corners of faces.
_CORNERS = ("vertex_indices", "vertex_index")
_UVS = (("texture_u", "texture_v"), ("u", "v"), ("s", "t"))
_FACE_UVS = "texcoord"
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
_PLACE = ("x", "y", "z")
#: Columns of splats: with any of them it is one of the other kinds of PLY.
_SPLAT = {"f_dc_0", "f_rest_0", "opacity", "scale_0", "rot_0", "packed_position"}
#: Texts of comments that name a texture, as MeshLab and others write them.
_TEXTURE = "texturefile"
#: Vertical axis where no comment says: that of most models.
UP = (0.0, 1.0, 0.0)
_AGAIN = "fetch or export it again"


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a PLY with places, faces and nothing of a splat."""
    if head[:4] not in (b"ply\n", b"ply\r"):
        return False
    try:
        with path.open("rb") as file:
            header = read_header(path, file)
    except (LensError, OSError):
        return False
    columns = {e.name: {p.name for p in e.properties} for e in header.elements}
    faces = any(e.name == "face" and e.count for e in header.elements)
    found = columns.get("vertex", set())
    return faces and found.issuperset(_PLACE) and found.isdisjoint(_SPLAT)


def open_mesh_ply(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the header only. Raises LensError."""
    with path.open("rb") as file:
        header = read_header(path, file)
        size = file.seek(0, 2)
    _check(path, header, size)
    name = next((c[len(_TEXTURE) :].strip() for c in header.comments if c.lower().startswith(_TEXTURE)), None)
    texture = None if name is None else beside(path, name, "the texture that its header names")
    files = (path,) if texture is None else (path, texture)
    known = with_comments(SourceInfo(path, FORMAT.name, 0, 0, 0), header.comments)
    return mesh_source(path, FORMAT.name, partial(_read, path, texture), up=known.up or UP, files=files)


def _check(path: Path, header: Header, size: int) -> None:
    """Raises FormatError where the file cannot hold what its header promises."""
    for element in header.elements:
        row = max(element.row_bytes if not header.ascii else 2 * len(element.properties), 1)
        if element.count * row > size - header.size + 1:
            promise = f"{element.count} rows of element {element.name[:40]!r}, at least {row} bytes each"
            why = f"the header promises {promise}, but {size - header.size} bytes follow"
            raise FormatError(f"{path}: {why}; the file is truncated: {_AGAIN}")
    columns = {e.name: [p.name for p in e.properties] for e in header.elements}
    found = columns.get("vertex", [])
    if absent := [name for name in _PLACE if name not in found]:
        raise FormatError(f"{path}: missing columns {listed(absent)}; columns found: {listed(found)}; {_AGAIN}")
    if not any(p.list_count and p.name in _CORNERS for e in header.elements if e.name == "face" for p in e.properties):
        found = columns.get("face", [])
        raise FormatError(f"{path}: element face has no list {_CORNERS[0]} (columns: {listed(found)}); {_AGAIN}")


def _read(path: Path, texture: Path | None) -> MeshParts:
    from plyfile import PlyData, PlyParseError  # type: ignore[import-untyped]

    # Triangles alone are read a hundred times faster when that is said first; other faces refuse it.
    known = {"face": {name: 3 for name in _CORNERS}}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, on rows without numbers: an error follows
            try:
                data = PlyData.read(str(path), known_list_len=known)
            except (PlyParseError, ValueError, KeyError):
                data = PlyData.read(str(path))
    except (PlyParseError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise FormatError(f"{path}: {error}; the file is damaged: {_AGAIN}") from error
    vertex, face = data["vertex"].data, data["face"].data
    with np.errstate(over="ignore", invalid="ignore"):
        positions = np.stack([vertex[name].astype(np.float32) for name in _PLACE], axis=1)
    counts, corners = _lists(next(face[name] for name in _CORNERS if name in _names(face)))
    wrong = (corners < 0) | (corners >= len(positions))
    if wrong.any():
        at = int(np.argmax(wrong))
        which = int(np.searchsorted(np.cumsum(counts), at, side="right"))
        why = f"face {which} has corner {int(corners[at])}, there are {len(positions)} vertices"
        raise FormatError(f"{path}: {why}; {_AGAIN}")
    places, polygon = fan(counts)
    triangles = corners[places].astype(np.int32)
    piece = Piece(positions, triangles)
    notes = []
    if lost := int(np.count_nonzero(counts < 3)):
        notes.append(f"{lost} faces of fewer than three corners were left out")
    uvs = _uvs(vertex, face, corners, counts)
    if texture is not None and uvs is not None:
        image = decode_picture(read_bytes(texture), str(texture))[:, :, :3]
        uvs = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1)
        piece = replace(_unindexed(piece, corners, places), uvs=uvs.astype(np.float32), image=image)
    elif (colours := _colours(vertex)) is not None:
        piece = replace(piece, colours=colours)
    elif (colours := _colours(face)) is not None:
        single = Piece(positions[triangles].reshape(-1, 3), np.arange(triangles.size, dtype=np.int32).reshape(-1, 3))
        piece = replace(single, colours=np.repeat(colours[polygon], 3, axis=0))
    if texture is not None and uvs is None:
        notes.append(f"it names the texture {texture.name!r} but has no texture coordinates: drawn without")
    return plain_parts([piece], str(path), notes)


def _names(table: NDArray[Any]) -> tuple[str, ...]:
    return table.dtype.names or ()


def _lists(column: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Lengths of a list column's rows, and all their numbers."""
    if column.dtype != object:
        return np.full(len(column), column.shape[1], np.int64), column.ravel().astype(np.int64)
    counts = np.array([len(row) for row in column], np.int64)
    return counts, np.concatenate([np.zeros(0, np.int64), *column]).astype(np.int64)


def _uvs(
    vertex: NDArray[Any], face: NDArray[Any], corners: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """Coordinates in the texture, right and up, of every corner of every face; None where there are none."""
    if _FACE_UVS in _names(face):
        column = face[_FACE_UVS]
        rows = [column] if column.dtype != object else list(column)
        values = np.concatenate([np.asarray(row, np.float64).ravel() for row in rows])
        return values.reshape(-1, 2) if len(values) == 2 * len(corners) else None
    for u, v in _UVS:
        if {u, v} <= set(_names(vertex)):
            return np.stack([vertex[u][corners], vertex[v][corners]], axis=1).astype(np.float64)
    return None


def _unindexed(piece: Piece, corners: NDArray[np.int64], places: NDArray[np.int64]) -> Piece:
    """With a vertex for every corner of every face."""
    return replace(piece, positions=piece.positions[corners], triangles=places.astype(np.int32))


def _colours(table: NDArray[Any]) -> NDArray[np.uint8] | None:
    """(N, 3) of a table's colour columns; None where it has none."""
    names = next((names for names in _COLOURS if set(names) <= set(_names(table))), None)
    if names is None:
        return None
    values = np.stack([table[name] for name in names], axis=1)
    if values.dtype == np.uint8:
        return values
    values = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    # What white is the type says, or the largest value does.
    white = next((limit for limit in (1.0, 255.0, 65535.0) if values.max(initial=0) <= limit), 65535.0)
    white = 65535.0 if table.dtype[names[0]].kind == "u" and table.dtype[names[0]].itemsize == 2 else white
    return np.asarray(np.rint(np.clip(values / white, 0, 1) * 255), np.uint8)


FORMAT: Format = Format(
    "mesh-ply",
    "PLY mesh",
    (),
    sniff,
    open_mesh_ply,
    live=True,
    reads="faces of any size, ascii and binary of either byte order, colours of vertices or faces, one texture beside "
    "the file; without colours: grey, lit from the eye",
)
