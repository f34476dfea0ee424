"""Ordinary meshes: triangles with textures, colours or neither, as surfaces that one plain look shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.mesh_source import MeshParts
from splatlens.converters.mesh_uv import REPEAT, into_image
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.mesh import Look, Surface, plain_look

Bytes = NDArray[np.uint8]

#: Colour of what has none, display values: white paper in the light of a lamp.
GREY = (204, 204, 204)


@dataclass(frozen=True)
class Piece:
    """Triangles of one material, layer coordinates; display values 0..255.

    positions: (V, 3) float32; triangles: (T, 3) int32. With a texture: image, (H, W, 3), or (H, W, 4) whose last byte
    is 0 where there is nothing and 255 elsewhere, and uvs, (V, 2), in images, right and down; wrap: what becomes of
    coordinates outside 0..1. Without: colours, (V, 3), of the vertices, else `flat`, one colour for all.
    """

    positions: NDArray[np.float32]
    triangles: NDArray[np.int32]
    uvs: NDArray[np.float32] | None = None
    image: Bytes | None = None
    wrap: tuple[str, str] = (REPEAT, REPEAT)
    colours: Bytes | None = None
    flat: tuple[int, int, int] = GREY


def plain_parts(pieces: Sequence[Piece], name: str, warnings: Sequence[str] = ()) -> MeshParts:
    """Pieces as one mesh: textures and vertex colours as they are; where no piece has any, lit by a light at the eye.

    name: what messages start with. Raises LensError.
    """
    painted = any(piece.image is not None or piece.colours is not None for piece in pieces)
    holes = any(piece.image is not None and piece.image.shape[2] == 4 for piece in pieces)
    notes = list(warnings)
    if not painted:
        surfaces = [_lit(piece) for piece in pieces]
        return MeshParts(surfaces, _smoothed(plain_look(6, "head")), tuple(notes))
    surfaces, channels = [], 4 if holes else 3
    padded: dict[int, Bytes] = {}
    for piece in pieces:
        if piece.image is None or piece.uvs is None:
            surfaces.append(Surface(piece.positions, piece.triangles, values=_padded(_colours(piece), channels)))
            continue
        uvs = piece.uvs
        if bad := int(np.count_nonzero(~np.isfinite(uvs).all(axis=1))):
            notes.append(f"{bad} texture coordinates are not finite: 0 was taken for them")
            uvs = np.nan_to_num(uvs, nan=0, posinf=0, neginf=0)
        height, width = piece.image.shape[:2]
        try:
            charts = into_image(piece.positions, uvs, piece.triangles, piece.wrap, (width, height))
        except LensError as error:
            raise UnsupportedError(f"{name}: {error}") from error
        if id(piece.image) not in padded:  # pieces share textures, and so their memory
            padded[id(piece.image)] = _padded(piece.image, channels)
        texels = padded[id(piece.image)]
        places = charts.uvs * np.array([width, height], np.float32)
        surfaces.append(Surface(charts.positions, charts.triangles, places, texels))
    return MeshParts(surfaces, _smoothed(plain_look(channels, empty=3 if holes else None)), tuple(notes))


def _smoothed(look: Look) -> Look:
    """With four samples a pixel: edges of one sample stand out beside splats, which have none."""
    return replace(look, supersample=2)


def _colours(piece: Piece) -> Bytes:
    """(V, 3)."""
    if piece.colours is not None:
        return piece.colours
    return np.broadcast_to(np.array(piece.flat, np.uint8), (len(piece.positions), 3))


def _padded(values: Bytes, channels: int) -> Bytes:
    """Colours with a last channel that says they are there, where `channels` asks for one."""
    missing = channels - values.shape[-1]
    full = np.full((*values.shape[:-1], max(missing, 0)), 255, np.uint8)
    return np.ascontiguousarray(np.concatenate([values, full], axis=-1)[..., :channels])


def _lit(piece: Piece) -> Surface:
    """With smooth normals in channels 3 to 5, as bytes of (n + 1) / 2."""
    normals = np.rint((smooth_normals(piece.positions, piece.triangles) + 1) / 2 * 255).astype(np.uint8)
    return Surface(piece.positions, piece.triangles, values=np.concatenate([_colours(piece), normals], axis=1))


def smooth_normals(positions: NDArray[np.float32], triangles: NDArray[np.int32]) -> NDArray[np.float64]:
    """(V, 3) unit normals: of the triangles around a place, by area; vertices at one place share theirs."""
    flat = np.ascontiguousarray(np.nan_to_num(positions, posinf=0, neginf=0)) + np.float32(0)
    _, place = np.unique(flat.view("V12").ravel(), return_inverse=True)
    # Differences of places, not of vertices: far out the squares would overflow float32.
    a, b, c = (flat[triangles[:, i]].astype(np.float64) for i in range(3))
    weights = np.cross(b - a, c - a)
    normals = np.zeros((int(place.max(initial=-1)) + 1, 3))
    for axis in range(3):
        for corner in range(3):
            at = place[triangles[:, corner]]
            normals[:, axis] += np.bincount(at, weights[:, axis], minlength=len(normals))
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 0, normals / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))
    return np.asarray(normals[place])


def fan(counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Polygons as fans of triangles: (T, 3) places among all corners, and (T,) the polygon that each is of.

    counts: (P,) corners a polygon, those under three give nothing. Corners follow one polygon after another.
    """
    first = np.concatenate([[0], np.cumsum(counts)])[:-1]
    each = np.maximum(counts - 2, 0)
    polygon = np.repeat(np.arange(len(counts)), each)
    step = np.arange(len(polygon)) - np.repeat(np.cumsum(each) - each, each)
    start = first[polygon]
    return np.stack([start, start + step + 1, start + step + 2], axis=1), polygon
