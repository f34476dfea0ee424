"""Triangles of glTF 2.0 assets, .glb and .gltf: textures, vertex colours, nodes, poses at rest.

By our own reader of the container and Pillow, not by trimesh: that one passes over images and materials it cannot read
in silence and keeps whole files in memory, while converters/gltf_file.py checks every length and every URI.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.gltf_accessors import FLOAT, TYPES, Accessor, find_accessor
from splatlens.converters.gltf_file import MAGIC, MOST_ITEMS, Container, Reader, open_container
from splatlens.converters.gltf_material import Material, read_material, read_picture, shown
from splatlens.converters.gltf_nodes import Placed, all_nodes, read_camera
from splatlens.converters.gltf_pose import morphed, posed
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_pieces import Piece, plain_parts
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field

F64 = NDArray[np.float64]

#: Extensions that an asset may require without harm to its triangles.
_KNOWN = ("KHR_texture_transform", "KHR_mesh_quantization", "EXT_texture_webp")
_HARMLESS = ("KHR_materials_", "KHR_lights_", "KHR_animation_", "KHR_node_visibility")
#: What else primitives may be made of, by their mode (section 5.24).
_MODES = ("points", "lines", "line loops", "line strips", "triangles", "strips", "fans")
TRIANGLES = 4
#: Attributes that are read, by how their names begin.
_READ = ("POSITION", "TEXCOORD_", "COLOR_0", "JOINTS_", "WEIGHTS_")
#: Most triangles that an asset may show, by showing the same ones again and again.
MOST_TRIANGLES = 20_000_000
UP = (0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Drawn:
    """A primitive of triangles as a node shows it."""

    primitive: Field
    node: Placed
    mesh: Field
    material: Material


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a glTF asset with primitives of triangles and no splats."""
    if path.is_dir() or not (head.startswith(MAGIC) or head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{")):
        return False
    try:
        primitives = _primitives(open_container(path))
    except (LensError, OSError):
        return False
    splats = any("gaussian_splat" in name for one in primitives for name in one.value.get("extensions") or {})
    return not splats and any(_mode(one) >= TRIANGLES for one in primitives)


def _primitives(container: Container) -> list[Field]:
    """All of an asset. Raises FormatError."""
    meshes = container.items("meshes")
    found = [one for mesh in meshes for one in mesh.member("primitives").items(1, MOST_ITEMS)]
    for one in found:
        if one.has("extensions"):
            one.member("extensions").object()
    return found


def _mode(primitive: Field) -> int:
    return primitive.member("mode").integer(0, 6) if primitive.has("mode") else TRIANGLES


def open_mesh_gltf(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the JSON; finds that buffers, accessors and images are there. Raises LensError."""
    container = open_container(path)
    _check_extensions(container)
    nodes = all_nodes(container)
    notes = Counter[str]()
    drawn = _find(container, nodes, notes)
    images = {image for one in drawn if (image := one.material.image) is not None}
    if container.json.value.get("animations"):
        notes["animations are not played"] = 1
    pictures = [container.image(image)[0].path for image in sorted(images)]
    files = tuple(dict.fromkeys([*container.files(), *pictures]))
    cameras = [read_camera(container, node, np.eye(4)) for node in nodes.values() if node.node.has("camera")]
    warnings = [*container.warnings, *(text if n == 1 else f"{text} ({n} times)" for text, n in notes.items())]
    facts: dict[str, Any] = {"files": files, "warnings": tuple(warnings), "up": UP, **_credits(container)}
    facts["cameras"] = tuple(camera for camera in cameras if camera is not None)
    return mesh_source(path, FORMAT.name, partial(_read, container, drawn, nodes), **facts)


def _credits(container: Container) -> dict[str, str]:
    """Title, attribution and licence, as Sketchfab names them."""
    asset = container.json.member("asset").object()
    extras = asset.get("extras") if isinstance(asset.get("extras"), dict) else {}
    assert isinstance(extras, dict)
    found = {"title": extras.get("title"), "attribution": extras.get("author") or asset.get("copyright")}
    found["licence"] = extras.get("license")
    texts = {k: "".join(c for c in v[:500] if c.isprintable()) for k, v in found.items() if isinstance(v, str)}
    return {k: v for k, v in texts.items() if v}


def _check_extensions(container: Container) -> None:
    if not container.json.has("extensionsRequired"):
        return
    for name in container.json.member("extensionsRequired").items(0, 1000):
        if name.text(1000) not in _KNOWN and not name.value.startswith(_HARMLESS):
            why = f"the asset requires {name.value!r:.80}, which is not supported"
            raise UnsupportedError(f"{container.path}: {why}; export it without, uncompressed")


def _find(container: Container, nodes: dict[int, Placed], notes: Counter[str]) -> list[Drawn]:
    drawn, total = list[Drawn](), 0
    for node in nodes.values():
        if not node.node.has("mesh"):
            continue
        mesh = container.item("meshes", node.node.member("mesh"))
        if node.node.member("extensions").value and node.node.member("extensions").has("EXT_mesh_gpu_instancing"):
            notes["EXT_mesh_gpu_instancing is not supported; the mesh is shown once"] += 1
        for primitive in mesh.member("primitives").items(1, MOST_ITEMS):
            if (mode := _mode(primitive)) < TRIANGLES:
                notes[f"a primitive of {_MODES[mode]} was left out"] += 1
                continue
            for name in primitive.member("extensions").value or {}:
                if "draco" in name:
                    why = f"{primitive.path.removeprefix('glTF.')} is compressed with {name:.80}"
                    raise UnsupportedError(f"{container.path}: {why}, which is not supported; export it without")
            if not primitive.member("attributes").has("POSITION"):
                notes["a primitive without positions was left out"] += 1
                continue
            corners = _corners(container, primitive)
            total += corners // 3 if mode == TRIANGLES else corners
            if total > MOST_TRIANGLES or len(drawn) >= MOST_ITEMS:
                why = f"its nodes show more than {MOST_TRIANGLES} triangles or {MOST_ITEMS} pieces"
                raise UnsupportedError(f"{container.path}: {why}; leave nodes out")
            drawn.append(Drawn(primitive, node, mesh, read_material(container, primitive, notes)))
        if node.node.has("skin"):
            notes["a skinned mesh is drawn in the pose that its joints have in the file"] += 1
        elif mesh.has("weights") or node.node.has("weights"):
            notes["a morphing mesh is drawn with the weights that it has in the file"] += 1
    if not drawn:
        raise FormatError(f"{container.path}: no node of its scene shows triangles; export it with its scene")
    return drawn


def _corners(container: Container, primitive: Field) -> int:
    """How many corners a primitive names; finds all that reading it takes, so that the asset's files are known."""
    attributes = primitive.member("attributes").members(100)
    counts = {name: find_accessor(container, f).count for name, f in attributes.items() if name.startswith(_READ)}
    if primitive.has("indices"):
        return find_accessor(container, primitive.member("indices")).count
    return counts["POSITION"]


def _read(container: Container, drawn: Sequence[Drawn], nodes: dict[int, Placed]) -> MeshParts:
    pieces, notes = [], Counter[str]()
    pictures: dict[Material, NDArray[np.uint8]] = {}
    with container.opened() as reader:
        for one in drawn:
            piece = _piece(container, reader, one, nodes, notes)
            if len(piece.triangles) and piece.uvs is not None:
                key = replace(one.material, texcoord=0, transform=Material().transform, wrap=Material().wrap)
                if key not in pictures:
                    pictures[key] = read_picture(container, reader, one.material)
                piece = replace(piece, image=pictures[key])
            pieces.append(piece)
    texts = [text if n == 1 else f"{text} ({n} times)" for text, n in notes.items()]
    return plain_parts(pieces, str(container.path), texts)


def _piece(
    container: Container, reader: Reader, one: Drawn, nodes: dict[int, Placed], notes: Counter[str]
) -> Piece:
    """Triangles where the node has them, without their texture yet. Raises LensError."""
    where = f"{container.path}: {one.primitive.path.removeprefix('glTF.')}"
    attributes, material = one.primitive.member("attributes"), one.material

    def rows(name: str, widths: tuple[int, ...]) -> Accessor | None:
        if not attributes.has(name):
            return None
        accessor = find_accessor(container, attributes.member(name))
        if accessor.width not in widths or (name != "POSITION" and accessor.count < count):
            expected = f"expected {' or '.join(map(str, widths))} in {count} rows or more; export it again"
            raise FormatError(f"{where}: {name} has {accessor.width} values in {accessor.count} rows; {expected}")
        return accessor

    count = 0
    position = rows("POSITION", (3,))
    assert position is not None
    count = position.count
    places = position.rows(reader, 0, count).astype(np.float64)
    places = morphed(container, reader, one.primitive, one.node.node, one.mesh, places)
    places = posed(container, reader, one.primitive, one.node, nodes, places)
    triangles = _triangles(container, reader, one.primitive, count, where)
    with np.errstate(over="ignore", invalid="ignore"):
        piece = Piece(places.astype(np.float32), triangles, flat=_flat(material))
    colours = rows("COLOR_0", (3, 4))
    light = np.ones((count, 4))
    if colours is not None:
        values = colours.rows(reader, 0, count).astype(np.float64)
        whole = not colours.normalised and colours.type != TYPES[FLOAT]
        values = values / np.iinfo(colours.type).max if whole else values
        light[:, : values.shape[1]] = np.nan_to_num(values)
    uvs = None if material.image is None else rows(f"TEXCOORD_{material.texcoord}", (2,))
    if uvs is not None:
        if colours is not None and (light[:, :3] < 1).any():
            notes["vertex colours beside a texture are not applied"] += 1
        return replace(piece, uvs=material.placed(uvs.rows(reader, 0, count).astype(np.float64)), wrap=material.wrap)
    if material.image is not None:
        notes["a texture without texture coordinates is not drawn"] += 1
    if material.cutoff is not None:
        clear = light[:, 3] * material.factor[3] < material.cutoff
        piece = replace(piece, triangles=triangles[~clear[triangles].all(axis=1)])
    if colours is not None:
        piece = replace(piece, colours=shown(light[:, :3] * np.array(material.factor[:3])))
    return piece


def _flat(material: Material) -> tuple[int, int, int]:
    if material == Material():
        return Piece.flat
    r, g, b = (int(v) for v in shown(np.array(material.factor[:3])))
    return r, g, b


def _triangles(
    container: Container, reader: Reader, primitive: Field, count: int, where: str
) -> NDArray[np.int32]:
    """(T, 3) of triangles, strips and fans (section 3.7.2.1)."""
    corners = np.arange(count)
    if primitive.has("indices"):
        accessor = find_accessor(container, primitive.member("indices"))
        if accessor.width != 1 or accessor.type.kind != "u":
            raise FormatError(f"{where}: indices of {accessor.kind}; expected unsigned integers; export it again")
        corners = accessor.stored(reader, 0, accessor.count)[:, 0].astype(np.int64)
        if int(corners.max()) >= count:
            why = f"index {int(corners.max())} at row {int(np.argmax(corners))}, there are {count} vertices"
            raise FormatError(f"{where}: {why}; fetch or export it again")
    mode, n = _mode(primitive), len(corners)
    if mode == TRIANGLES:
        return corners[: n // 3 * 3].reshape(-1, 3).astype(np.int32)
    first = np.arange(max(n - 2, 0))
    if mode == TRIANGLES + 1:
        odd = first % 2
        rows = np.stack([first, first + 1 + odd, first + 2 - odd], axis=1)
    else:
        rows = np.stack([np.zeros_like(first), first + 1, first + 2], axis=1)
    return corners[rows].astype(np.int32)


FORMAT: Format = Format(
    "mesh-gltf",
    "glTF mesh",
    (),
    sniff,
    open_mesh_gltf,
    live=True,
    reads="triangles, strips and fans of .glb and .gltf 2.0, base colour textures (PNG, JPEG, WebP; repeated, "
    "mirrored, transformed), factors, vertex colours, masks, node transforms, skins and morphs at rest; without "
    "colours: lit from the eye",
)
