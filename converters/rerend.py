"""Re-ReND (Rojas et al. 2023, arXiv:2303.08717): the folder meshes_textures_N_M that its exporter writes.

NAME.obj, minmax.json and four RGBA mosaics (sararoma95/Re-ReND, internal/textures.py and viewer/free_syn.html):

- A mosaic has four columns of equal tiles, as many rows as it takes; tile j, counted along rows from the top, holds
  terms 4j to 4j + 3 in red, green, blue and alpha. 8 tiles make 32 terms, 16 make 64. feat_u, feat_v and feat_w.png are
  over the mesh's texture coordinates (v up), feat_b.png over the direction.
- minmax.json has min_u, max_u, ..., min_b, max_b, a number a term: byte / 255 * max + min; max is the range, not the
  largest.
- Colour = sigmoid of (sum u_j b_j, sum v_j b_j, sum w_j b_j). All four are looked up, not interpolated.
- Of the unit vector from the camera to the point, in the mesh's own frame (the viewer turns the mesh, and the
  direction back): column azimuth / 2 pi, row elevation / 2 pi from the top, negative angles plus 2 pi. The viewer takes
  3.1415 for pi, which moves negative angles by 1/30000 of a turn; here it is exact. It culls back faces, which are
  drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.feature_images import image_size, read_image
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.converters.obj_triangles import read_bounded, read_triangles, textured
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.mesh import MAX_CHANNELS, LightField, Look

NAME = "rerend"
RANGES, POSITION, DIRECTION = "minmax.json", ("feat_u.png", "feat_v.png", "feat_w.png"), "feat_b.png"
#: Columns of a mosaic, and terms of a tile.
COLUMNS, TILE_TERMS = 4, 4
UP = (0.0, 0.0, 1.0)
#: The start camera of the method's viewer for synthetic scenes, in the mesh's frame.
START = ((0.0, -3.464, 2.0), (0.0, 0.0, 0.0), 39.0, (800, 800))
_JSON_BYTES = 1 << 20
_AGAIN = "export the textures again"

Bytes = NDArray[np.uint8]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Ranges:
    """What bytes mean, for each of u, v, w and b: offset and scale, (terms,) float32 each."""

    terms: int
    offset: dict[str, F32]
    scale: dict[str, F32]


def folder_of(path: Path) -> Path:
    """The folder of a folder or of its minmax.json."""
    return path if path.is_dir() else path.parent


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is a folder of Re-ReND, or its minmax.json: at least two of its named files."""
    if not path.is_dir() and path.name.lower() != RANGES:
        return False
    return sum((folder_of(path) / name).is_file() for name in (RANGES, *POSITION, DIRECTION)) >= 2


def open_rerend(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """A folder or its minmax.json; pixels and triangles when asked for. Raises LensError."""
    folder = folder_of(path)
    missing = [name for name in (RANGES, *POSITION, DIRECTION) if not (folder / name).is_file()]
    if missing:
        raise FormatError(f"{path}: {', '.join(missing)} missing; copy all files that the exporter wrote")
    ranges = read_ranges(folder / RANGES)
    mesh = _mesh_of(path, folder)
    images = [folder / name for name in (*POSITION, DIRECTION)]
    sizes = [image_size(image, "RGBA", ("PNG",)) for image in images]
    for image, size in zip(images, sizes, strict=True):
        _tile_size(image, size, ranges.terms)
        if image.name != DIRECTION and size != sizes[0]:
            shapes = f"{size[0]} x {size[1]}, {POSITION[0]} {sizes[0][0]} x {sizes[0][1]}"
            raise FormatError(f"{image}: {shapes}; the three must be of one size; {_AGAIN}")

    def read() -> MeshParts:
        texels = np.concatenate([_unfolded(image, ranges.terms) for image in images[:3]], axis=-1)
        surface = textured(read_triangles(mesh), texels, mesh)
        return MeshParts([surface], look(ranges, _unfolded(images[3], ranges.terms)))

    def describe() -> dict[str, Any]:
        tile = _tile_size(images[3], sizes[3], ranges.terms)
        return {"terms": ranges.terms, "directions": f"{tile[0]} x {tile[1]}"}

    position, target, fov_y, size = START
    camera = Camera.look_at(position, target, UP, fov_y, *size)
    return mesh_source(path, NAME, read, describe, files=(mesh, folder / RANGES, *images), up=UP, camera=camera,
                       background=(1.0, 1.0, 1.0))  # fmt: skip


def read_ranges(path: Path) -> Ranges:
    """minmax.json. Raises FormatError where a list is missing or too short, UnsupportedError for other counts."""
    json = parse_json(read_bounded(path, _JSON_BYTES), str(path), "minmax", _AGAIN)
    first = json.member("min_u")
    terms = len(first.items(1, 1 << 10))
    if terms % (COLUMNS * TILE_TERMS) or 3 * terms > MAX_CHANNELS:
        raise UnsupportedError(f"{path}: {terms} terms; 16, 32, 48 or 64 can be drawn; export the textures so")
    found = {name: np.array(json.member(name).numbers(terms), np.float64)
             for name in (f"{kind}_{letter}" for letter in "uvwb" for kind in ("min", "max"))}  # fmt: skip
    for name, values in found.items():
        if not (np.abs(values) < np.finfo(np.float32).max).all():
            raise FormatError(f"{path}: {name} has numbers beyond float32; {_AGAIN}")
    narrow = {name: values.astype(np.float32) for name, values in found.items()}
    return Ranges(terms, {k: narrow[f"min_{k}"] for k in "uvwb"}, {k: narrow[f"max_{k}"] for k in "uvwb"})


def look(ranges: Ranges, directions: Bytes) -> Look:
    """How texels are to be seen: u, v and w of all terms; directions: (H, W, terms)."""
    field = LightField(ranges.terms, directions, ranges.scale["b"], ranges.offset["b"], "nearest")
    scale, offset = (np.concatenate([values[k] for k in "uvw"]) for values in (ranges.scale, ranges.offset))
    return Look(3 * ranges.terms, field, scale, offset)


def unfold(mosaic: Bytes, terms: int) -> Bytes:
    """(H, W, terms) of a mosaic (rows H, 4 W, 4): tile j is row j // 4 from the top, column j % 4."""
    rows = terms // (COLUMNS * TILE_TERMS)
    h, w = mosaic.shape[0] // rows, mosaic.shape[1] // COLUMNS
    tiles = mosaic.reshape(rows, h, COLUMNS, w, TILE_TERMS)
    return np.ascontiguousarray(tiles.transpose(1, 3, 0, 2, 4)).reshape(h, w, terms)


def _unfolded(image: Path, terms: int) -> Bytes:
    return unfold(read_image(image, "RGBA", ("PNG",)), terms)


def _tile_size(image: Path, size: tuple[int, int], terms: int) -> tuple[int, int]:
    """Width and height of a tile. Raises FormatError where a mosaic does not divide into its tiles."""
    rows = terms // (COLUMNS * TILE_TERMS)
    if size[0] % COLUMNS or size[1] % rows:
        why = f"{size[0]} x {size[1]} pixels; {terms} terms ({RANGES}) take {COLUMNS} columns and {rows} rows of tiles"
        raise FormatError(f"{image}: {why}; {_AGAIN}")
    return size[0] // COLUMNS, size[1] // rows


def _mesh_of(path: Path, folder: Path) -> Path:
    """The folder's only .obj; of several, the one that the folder above is called after, as the exporter has it."""
    meshes = sorted(p for p in folder.iterdir() if p.suffix.lower() == ".obj" and p.is_file())
    named = [p for p in meshes if p.stem == folder.resolve().parent.name] if len(meshes) > 1 else meshes
    if len(named) != 1:
        names = ", ".join(p.name for p in meshes[:8])
        why = f"several .obj files ({names}); leave one" if meshes else "no .obj file; copy NAME.obj there"
        raise FormatError(f"{path}: {why}")
    return named[0]


FORMAT = Format(
    NAME,
    "Re-ReND",
    (RANGES,),
    sniff,
    open_rerend,
    live=True,
    reads="folder with NAME.obj, minmax.json, feat_u.png, feat_v.png, feat_w.png, feat_b.png; 32 or 64 terms",
)
