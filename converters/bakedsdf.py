"""BakedSDF (Yariv et al. 2023, arXiv:2302.14859): a glTF asset whose vertices carry colours and spherical Gaussians.

Attributes of a primitive, by what the method's viewer makes of them (bakedsdf.github.io, viewer/sg_renderer.js; names
in any case, unsigned bytes b that mean what is below, whether the accessor says `normalized` or not):

    COLOR_0 (3 or 4)    diffuse colour b / 255, the fourth is left out
    _SG_MEAN_i (3)      mean of lobe i, 2 b / 255 - 1, made a unit vector at each pixel
    _SG_SCALE_i (1)     100 b / 255
    _SG_COLOR_i (3)     b / 255
    _BYTE_NORMAL (3)    drawn by no one

The viewer evaluates lobes at -R d, d the unit vector from the camera to the point and R = (-1 0 0, 0 0 1, 0 1 0) from
the asset's frame (y up) to the one that was trained in. It culls back faces, which are drawn here. Coordinates are the
asset's, moved by its nodes.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.gltf_accessors import Accessor, find_accessor
from splatlens.converters.gltf_file import BLOCK_BYTES, MAGIC, MOST_ITEMS, Container, Reader, open_container
from splatlens.converters.gltf_nodes import placed_nodes, read_camera
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.fields import Field
from splatlens.viewer.mesh import MAX_LOBES, Gaussians, Look, Matrix, Surface

NAME = "bakedsdf"
UP = (0.0, 1.0, 0.0)
#: -R: from the asset's frame to the directions that lobes are given in.
DIRECTION: Matrix = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
#: Bytes from the start in which the sniffer looks for the word, in lower case.
SNIFF_BYTES, WORD = 1 << 20, b"_sg_mean_"
#: What an attribute of a lobe is called, with how many numbers it has.
LOBE = {"_SG_MEAN": 3, "_SG_SCALE": 1, "_SG_COLOR": 3}
#: A mean of a lobe that is not there: any that has a length. Its scale and colour are 0.
_NO_LOBE = (255, 128, 128, 0, 0, 0, 0)
#: Most triangles that nodes may show of a byte of the asset, by showing the same mesh again and again.
TRIANGLES_A_BYTE = 8
#: Rows of an accessor read at once.
ROWS = 1 << 20
_AGAIN = "export it again as BakedSDF's exporter writes it"

Number = TypeVar("Number", np.float32, np.uint8, np.uint32)


@dataclass(frozen=True)
class _Primitive:
    """Accessors of a primitive. lobes: for each, mean, scale and colour. indices: None where corners stand in a row."""

    where: str
    positions: Accessor
    color: Accessor
    lobes: tuple[tuple[Accessor, ...], ...]
    indices: Accessor | None

    @property
    def triangles(self) -> int:
        return (self.indices or self.positions).count // 3


def sniff(head: bytes, path: Path) -> bool:
    """Whether a .glb or .gltf names an attribute of a lobe in its first megabyte of JSON."""
    binary = head.startswith(MAGIC)
    if path.is_dir() or not (binary or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")):
        return False
    left = min(SNIFF_BYTES, int.from_bytes(head[12:16], "little") if binary else SNIFF_BYTES)
    with path.open("rb") as file:
        file.seek(20 if binary else 0)
        seen = b""
        while left and (block := file.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            seen = seen[-len(WORD) :] + block.lower()
            if WORD in seen:
                return True
    return False


def open_bakedsdf(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the JSON and checks every accessor against its buffer; vertices when asked for. Raises LensError."""
    container = open_container(path)
    placed = list(placed_nodes(container))
    shown: list[tuple[NDArray[np.float64], _Primitive]] = []
    found: dict[int, list[_Primitive]] = {}
    notes = Counter[str]()
    for node in placed:
        if node.node.has("mesh"):
            mesh = container.item("meshes", node.node.member("mesh"))
            number = int(node.node.member("mesh").value)
            if number not in found:
                primitives = mesh.member("primitives").items(1, MOST_ITEMS)
                found[number] = [p for one in primitives if (p := _find_primitive(container, one, notes)) is not None]
            shown += [(node.matrix, primitive) for primitive in found[number]]
            if len(shown) > MOST_ITEMS:
                raise UnsupportedError(f"{path}: its nodes show more than {MOST_ITEMS} pieces; join them")
    if not shown:
        raise FormatError(f"{path}: no node of its scene shows a mesh with spherical Gaussians; {_AGAIN}")
    total, size = sum(primitive.triangles for _, primitive in shown), container.size_on_disk()
    if total > TRIANGLES_A_BYTE * size:
        why = f"its nodes show {total} triangles out of {size} bytes"
        raise UnsupportedError(f"{path}: {why}: not a plausible scene; leave nodes out")
    lobes = max(len(primitive.lobes) for _, primitive in shown)

    def read() -> MeshParts:
        with container.opened() as reader:
            return MeshParts([_surface(reader, primitive, matrix, lobes) for matrix, primitive in shown], look(lobes))

    cameras = [read_camera(container, node, np.eye(4)) for node in placed if node.node.has("camera")]
    return mesh_source(
        path, NAME, read, lambda: {"lobes": lobes}, files=container.files(), up=UP,
        cameras=tuple(camera for camera in cameras if camera is not None),
        warnings=(*container.warnings, *(f"{n} {note}" for note, n in sorted(notes.items()))),
    )  # fmt: skip


def look(lobes: int) -> Look:
    """How bytes of a vertex are to be seen: diffuse 3, then for each lobe mean 3, scale 1, colour 3."""
    scale = np.array([1, 1, 1, *([2, 2, 2, 100, 1, 1, 1] * lobes)], np.float32)
    offset = np.array([0, 0, 0, *([-1, -1, -1, 0, 0, 0, 0] * lobes)], np.float32)
    return Look(3 + 7 * lobes, Gaussians(lobes), scale, offset, DIRECTION)


def _find_primitive(container: Container, primitive: Field, notes: Counter[str]) -> _Primitive | None:
    """The accessors of a primitive; None for one without lobes. Raises LensError."""
    where = f"{container.path}: {primitive.path.removeprefix('glTF.')}"
    attributes = {name.upper(): value for name, value in primitive.member("attributes").members(256).items()}
    numbers = {int(m[1]) for name in attributes if (m := re.fullmatch(r"_SG_(?:MEAN|SCALE|COLOR)_(\d{1,3})", name))}
    if not numbers:
        notes["primitives without spherical Gaussians were left out"] += 1
        return None
    if max(numbers) >= MAX_LOBES:
        raise UnsupportedError(f"{where}: has lobe {max(numbers)}; lobes 0 to {MAX_LOBES - 1} can be drawn")
    names = [f"{kind}_{i}" for i in range(max(numbers) + 1) for kind in LOBE]
    missing = [name for name in ("POSITION", "COLOR_0", *names) if name not in attributes]
    if missing:
        raise FormatError(f"{where}: has no {', '.join(missing)}; {_AGAIN}")
    mode = primitive.member("mode").integer(0, 6) if primitive.has("mode") else 4
    if mode != 4:
        raise UnsupportedError(f"{where}: mode {mode}; triangles (4) are drawn; {_AGAIN}")
    positions = _accessor(container, attributes["POSITION"], where, "POSITION", (3,), "float")
    color = _accessor(container, attributes["COLOR_0"], where, "COLOR_0", (3, 4), "unsigned byte")
    lobes = tuple(
        tuple(_accessor(container, attributes[f"{kind}_{i}"], where, f"{kind}_{i}", (width,), "unsigned byte")
              for kind, width in LOBE.items())
        for i in range(max(numbers) + 1)
    )  # fmt: skip
    for accessor in (color, *(one for lobe in lobes for one in lobe)):
        if accessor.count != positions.count:
            named = accessor.path.removeprefix("glTF.")
            raise FormatError(f"{where}: {named} has {accessor.count} rows, POSITION {positions.count}; {_AGAIN}")
    indices = None
    if primitive.has("indices"):
        indices = find_accessor(container, primitive.member("indices"))
        if indices.width != 1 or indices.type.kind != "u" or indices.normalised:
            raise FormatError(f"{where}: indices are {indices.width} x {indices.kind}, expected 1 x unsigned; {_AGAIN}")
    found = _Primitive(where, positions, color, lobes, indices)
    if (indices or positions).count % 3:
        raise FormatError(f"{where}: {(indices or positions).count} corners, expected three a triangle; {_AGAIN}")
    return found


def _accessor(
    container: Container, index: Field, where: str, name: str, widths: tuple[int, ...], kind: str
) -> Accessor:
    """An attribute's accessor, whose values are read as they are stored. Raises LensError for another kind."""
    accessor = find_accessor(container, index)
    plain = replace(accessor, normalised=False)
    if accessor.width not in widths or plain.kind != kind:
        expected = f"{' or '.join(map(str, widths))} x {kind}"
        raise FormatError(f"{where}: {name} is {accessor.width} x {accessor.kind}, expected {expected}; {_AGAIN}")
    return plain


def _surface(reader: Reader, primitive: _Primitive, matrix: NDArray[np.float64], lobes: int) -> Surface:
    """A primitive where a node shows it, with `lobes` lobes. Raises FormatError."""
    count = primitive.positions.count
    positions = _rows(reader, primitive.positions, np.float32)
    if not np.array_equal(matrix, np.eye(4)):
        with np.errstate(all="ignore"):  # what is not finite after it is left out with its triangles
            positions = (positions @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    values = np.empty((count, 3 + 7 * lobes), np.uint8)
    values[:, :3] = _rows(reader, primitive.color, np.uint8)[:, :3]
    for i in range(lobes):
        at = 3 + 7 * i
        if i < len(primitive.lobes):
            parts = [_rows(reader, accessor, np.uint8) for accessor in primitive.lobes[i]]
            values[:, at : at + 7] = np.concatenate(parts, axis=1)
        else:
            values[:, at : at + 7] = _NO_LOBE
    if primitive.indices is None:
        triangles = np.arange(count, dtype=np.int32).reshape(-1, 3)
    else:
        corners = _rows(reader, primitive.indices, np.uint32)
        if int(corners.max()) >= count:
            why = f"an index is {int(corners.max())}, there are {count} vertices"
            raise FormatError(f"{primitive.where}: {why}; {_AGAIN}")
        triangles = corners.astype(np.int32).reshape(-1, 3)
    return Surface(positions, triangles, values=values)


def _rows(reader: Reader, accessor: Accessor, dtype: type[Number]) -> NDArray[Number]:
    """(count, width) values of an accessor, all of them, as they are stored."""
    out = np.empty((accessor.count, accessor.width), dtype)
    size = accessor.width * accessor.type.itemsize
    for first in range(0, accessor.count, ROWS):
        n = min(ROWS, accessor.count - first)
        data = reader.read(accessor.buffer, accessor.start + first * accessor.stride, (n - 1) * accessor.stride + size)
        strides = (accessor.stride, accessor.type.itemsize)
        out[first : first + n] = np.ndarray((n, accessor.width), accessor.type, data, strides=strides)
    return out


FORMAT = Format(
    NAME,
    "BakedSDF",
    (".glb", ".gltf"),
    sniff,
    open_bakedsdf,
    live=True,
    reads="glTF 2.0 with bytes COLOR_0, _SG_MEAN_i, _SG_SCALE_i, _SG_COLOR_i at vertices, 1 to 4 lobes; scene nodes",
)
