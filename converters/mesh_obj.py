"""Wavefront OBJ with its .mtl files and textures, read by trimesh after every line of it was checked."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_images import beside, decode_picture, read_bytes
from splatlens.converters.mesh_obj_text import plain_text
from splatlens.converters.mesh_pieces import GREY, Piece, plain_parts
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.viewer.errors import FormatError

Bytes = NDArray[np.uint8]

#: Longest .obj and .mtl read, bytes: as text, lines and numbers an .obj takes some ten times as much memory.
MAX_BYTES, MAX_MTL_BYTES = 1 << 29, 1 << 22
#: Which way is up: OBJ does not say, most exporters mean this.
UP = (0.0, 1.0, 0.0)
_LIBRARY = re.compile(rb"^[ \t]*mtllib[ \t]+(.+?)[ \t]*\r?$", re.MULTILINE)
#: Options of a texture in an .mtl file, and how many words follow each.
_OPTIONS = {
    "-blendu": 1, "-blendv": 1, "-boost": 1, "-bm": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-texres": 1, "-type": 1,
    "-mm": 2, "-o": 3, "-s": 3, "-t": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Material:
    """name; diffuse: display values 0..1; texture: its file, None where it has none; library: of which .mtl."""

    name: str
    diffuse: tuple[float, float, float] | None
    texture: Path | None
    library: Path


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is called .obj: the format has no magic."""
    return path.suffix.lower() == ".obj" and not path.is_dir() and b"\0" not in head


def open_obj(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Finds the materials and their textures; triangles are read later. Raises LensError: a texture that is absent."""
    data = read_bytes(path, MAX_BYTES)
    notes: list[str] = []
    libraries = dict.fromkeys(found.decode("utf-8", "replace") for found in _LIBRARY.findall(data))
    materials: dict[str, Material] = {}
    files = [path]
    for name in libraries:
        # One line may name several; a name may have spaces in it.
        several = [name] if name.lower().endswith(".mtl") and not re.search(r"\.mtl\s", name, re.I) else name.split()
        for one in several:
            try:
                library = beside(path, one, "a library of materials (mtllib)")
            except FormatError as error:
                notes.append(f"{str(error).removeprefix(f'{path}: ')}; drawn without its materials")
                continue
            files.append(library)
            for material in _materials(library, notes):
                materials.setdefault(material.name, material)
    files += [m.texture for m in materials.values() if m.texture is not None]
    del data
    read, known = partial(_read, path, materials), tuple(notes)
    return mesh_source(path, FORMAT.name, read, files=tuple(dict.fromkeys(files)), warnings=known, up=UP)


def _materials(library: Path, notes: list[str]) -> Iterator[Material]:
    """The materials of an .mtl file, textures found. Raises LensError."""
    from trimesh.exchange.obj import parse_mtl

    text = read_bytes(library, MAX_MTL_BYTES).decode("utf-8", "replace")
    # trimesh loads textures itself, and says nothing where it cannot: their lines are kept from it under another name.
    plain = re.sub(r"(?im)^([ \t]*)map_kd\b", r"\1texture_kd", text)
    try:
        found = parse_mtl(plain)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise FormatError(f"{library}: not a library of materials ({error}); fetch or export it again") from error
    for name, given in found.items():
        texture = None
        if words := given.get("texture_kd"):
            file, ignored = _texture_name([str(word) for word in words])
            texture = beside(library, file, f"the texture of material {name[:80]!r}")
            if ignored:
                notes.append(f"material {name!r:.80}: {', '.join(ignored)} of its texture are not applied")
        if float(_first(given.get("d", 1))) < 1:
            notes.append(f"material {name!r:.80} is transparent; it is drawn opaque")
        diffuse = given.get("diffuse")
        good = isinstance(diffuse, list) and len(diffuse) == 3 and bool(np.isfinite(diffuse).all())
        yield Material(name, (diffuse[0], diffuse[1], diffuse[2]) if good else None, texture, library)


def _first(value: Any) -> float:
    """A number of a library: trimesh leaves what it does not know as words."""
    try:
        return float(value[-1] if isinstance(value, list) else value)
    except (ValueError, IndexError):
        return 1.0


def _texture_name(words: list[str]) -> tuple[str, list[str]]:
    """The file's name at the end of a texture's line, and the options before it."""
    ignored = []
    while len(words) > 1 and words[0].lower() in _OPTIONS:
        option, words = words[0].lower(), words[1:]
        ignored.append(option)
        count = 0
        while count < _OPTIONS[option] and len(words) > 1 and re.fullmatch(r"[-+.\deE]+|on|off|\w", words[0]):
            words, count = words[1:], count + 1
    return " ".join(words), ignored


def _read(path: Path, materials: dict[str, Material]) -> MeshParts:
    from trimesh.exchange.obj import load_obj

    plain = plain_text(path, read_bytes(path, MAX_BYTES).decode("utf-8", "replace"))
    if not plain.groups:
        raise FormatError(f"{path}: has no faces; export it as a mesh")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of NumPy, on words among numbers: an error follows
            stream = io.BytesIO(plain.text.encode())
            loaded = load_obj(
                stream, skip_materials=True, maintain_order=True, split_objects=True, group_material=False
            )
    except (ValueError, TypeError, IndexError) as error:
        raise FormatError(f"{path}: {error}; fetch or export the mesh again") from error
    notes = [f"{count} {what} were left out" for what, count in sorted(plain.left_out.items())]
    missing = sorted({g.material for g in plain.groups if g.material and materials and g.material not in materials})
    notes += [f"material {name!r:.80} is in no library: drawn without" for name in missing[:10]]
    images: dict[Path, Bytes] = {}
    pieces = []
    for group in plain.groups:
        mesh, material = loaded["geometry"][group.name], materials.get(group.material)
        with np.errstate(over="ignore", invalid="ignore"):
            positions = np.asarray(mesh["vertices"], np.float64).astype(np.float32)
        triangles = np.asarray(mesh["faces"]).astype(np.int32)
        uvs = getattr(mesh.get("visual"), "uv", None)
        if material is not None and material.texture is not None and uvs is not None and group.textured:
            file = material.texture
            if file not in images:
                images[file] = decode_picture(read_bytes(file), str(file))[:, :, :3]
            places = np.stack([uvs[:, 0], 1 - uvs[:, 1]], axis=1).astype(np.float32)
            pieces.append(Piece(positions, triangles, places, images[file]))
            continue
        if material is not None and material.texture is not None:
            why = "have no texture coordinates: drawn without its texture"
            notes.append(f"faces of material {material.name!r:.80} {why}")
        colours = _bytes(mesh["vertex_colors"]) if "vertex_colors" in mesh else None
        flat = _flat(material)
        pieces.append(Piece(positions, triangles, colours=colours, flat=flat))
    return plain_parts(pieces, str(path), notes)


def _flat(material: Material | None) -> tuple[int, int, int]:
    if material is None or material.diffuse is None:
        return GREY
    r, g, b = (round(255 * min(max(v, 0.0), 1.0)) for v in material.diffuse)
    return r, g, b


def _bytes(colours: NDArray[np.floating]) -> Bytes:
    """(V, 3) of colours beside vertices: 0..1, or 0..255 where one is larger."""
    values = np.nan_to_num(np.asarray(colours, np.float64), posinf=0, neginf=0)
    values = values if values.max(initial=0) > 1 else values * 255
    return np.asarray(np.rint(np.clip(values, 0, 255)), np.uint8)


FORMAT: Format = Format(
    "obj",
    "Wavefront OBJ mesh",
    (".obj",),
    sniff,
    open_obj,
    live=True,
    reads="polygons, relative references, vertex colours, diffuse colours and textures of .mtl files beside it, "
    "repeated ones as well; without colours: grey, lit from the eye",
)
