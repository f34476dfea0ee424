"""glTF 2.0 assets with KHR_gaussian_splatting, .glb and .gltf: reader, and writer of .glb.

Source: extensions/2.0/Khronos/KHR_gaussian_splatting of github.com/KhronosGroup/glTF, and the glTF 2.0 specification.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.gltf_file import BLOCK_BYTES, MAGIC, MOST_ITEMS, Container, Reader, open_container
from splatlens.converters.gltf_nodes import Placed, decomposed, place, placed_nodes, read_camera
from splatlens.converters.gltf_primitives import (
    EXTENSION,
    SPZ_EXTENSIONS,
    Notes,
    Primitive,
    as_degree,
    colour_space,
    find_primitive,
    splat_extension,
    spz_view,
)
from splatlens.converters.gltf_spz import open_stream
from splatlens.converters.gltf_write import OWN_EXTRAS, TURN_Z, write_glb
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.splats import Splats

#: Bytes of a .gltf in which its sniffer looks for what all names of the extension contain.
SNIFF_BYTES, _WORD = 1 << 20, b"_gaussian_splat"
#: Most splats that nodes and primitives may make of a byte of the asset, by showing the same data again and again.
SPLATS_A_BYTE = 100
#: Extensions that an asset may require without harm: of the splats, of what is not drawn, and of data that are
#: refused where splats use them.
_KNOWN = (EXTENSION, *SPZ_EXTENSIONS, "KHR_mesh_quantization")
_HARMLESS = (
    "KHR_materials_", "KHR_texture_", "EXT_texture_", "KHR_lights_", "KHR_animation_",
    "KHR_draco_mesh_compression", "KHR_meshopt_compression", "EXT_meshopt_compression",
)  # fmt: skip

#: Chunks of one mesh primitive in its own coordinates: reader, rows, dropped.
Chunks = Callable[[Reader, int, Counter[str]], Iterator[Splats]]


@dataclass(frozen=True)
class _Part:
    """Splats of a mesh primitive as a node shows them: moved by `matrix` (4, 4) into the scene."""

    count: int
    sh_degree: int
    matrix: NDArray[np.float64]
    chunks: Chunks


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file is a binary glTF, or JSON that names the extension in its first megabyte."""
    if head.startswith(MAGIC):
        return True
    if not head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") or path.is_dir():
        return False
    with path.open("rb") as file:
        seen = b""
        for _ in range(0, SNIFF_BYTES, BLOCK_BYTES):
            seen = seen[-len(_WORD) :] + file.read(BLOCK_BYTES)
            if _WORD in seen:
                return True
    return False


def open_gltf(path: Path, options: ReadOptions = ReadOptions()) -> Source:
    """Reads the JSON, and of each SCALE up to 65,536 rows to tell the logarithms of drafts from scales.

    glTF is +X left, +Y up, +Z forward (section 3.4): half a turn about z makes right, down, forward of it, and is left
    out with `as_stored`. Raises FormatError for a damaged asset, UnsupportedError for what is not read.
    """
    container = open_container(path)
    _check_extensions(container)
    notes = Notes(Counter())
    frame = np.eye(4) if options.as_stored else TURN_Z
    placed = list(placed_nodes(container))
    parts, antialias = _find_parts(container, placed, frame, notes)
    total = sum(part.count for part in parts)
    degree = max(part.sh_degree for part in parts)
    info = SourceInfo(path, "gltf", total, degree, container.size_on_disk(), _ignored(container))
    info = info.with_warnings(*container.warnings, *notes.warnings())
    info = replace(info, up=(0.0, 1.0 if options.as_stored else -1.0, 0.0), files=container.files())
    cameras = [read_camera(container, node, frame) for node in placed if node.node.has("camera")]
    info = replace(info, cameras=tuple(camera for camera in cameras if camera is not None), antialias=antialias)

    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        with container.opened() as reader:
            for part in parts:
                for splats in part.chunks(reader, rows, dropped):
                    yield place(as_degree(splats, degree), part.matrix)

    return Source(_described(info, container), read)


def _check_extensions(container: Container) -> None:
    if not container.json.has("extensionsRequired"):
        return
    for name in container.json.member("extensionsRequired").items(0, 1000):
        if name.text(1000) not in _KNOWN and not name.value.startswith(_HARMLESS):
            why = f"the asset requires {name.value!r:.80}, which is not supported"
            raise UnsupportedError(f"{container.path}: {why}; export it without, or as a 3D Gaussian Splatting PLY")


def _find_parts(
    container: Container, placed: list[Placed], frame: NDArray[np.float64], notes: Notes
) -> tuple[list[_Part], bool | None]:
    """What the scene's nodes show, and whether it was trained with anti-aliasing, where SPZ streams say."""
    found: dict[int, list[tuple[int, int, Chunks]]] = {}
    plain = list[Primitive]()
    logarithms: list[bool] = []
    antialias: bool | None = None

    def of_attributes(primitive: Primitive) -> Chunks:
        return lambda reader, rows, dropped: primitive.chunks(reader, rows, dropped, logarithms[0])

    def of_stream(source: Source) -> Chunks:
        return lambda reader, rows, dropped: source.read(rows, dropped)

    parts = list[_Part]()
    total = 0
    for node in placed:
        if not node.node.has("mesh"):
            continue
        mesh = container.item("meshes", node.node.member("mesh"))
        number = int(node.node.member("mesh").value)
        if number not in found:
            found[number] = []
            for primitive in mesh.member("primitives").items(1, MOST_ITEMS):
                if splat_extension(primitive) is None:
                    notes.add("a primitive that holds no splats (triangles, lines or points) was left out")
                elif (view := spz_view(primitive)) is not None:
                    source = open_stream(container, primitive, view)
                    colour_space(primitive, notes)
                    for warning in source.info.warnings:
                        notes.add(warning)
                    antialias = bool(antialias or source.info.antialias)
                    found[number].append((source.info.splats, source.info.sh_degree, of_stream(source)))
                else:
                    plain.append(find_primitive(container, primitive, notes))
                    found[number].append((plain[-1].count, plain[-1].sh_degree, of_attributes(plain[-1])))
        if found[number]:
            matrix = _matrix(container, node, frame)
            parts += [_Part(count, degree, matrix, chunks) for count, degree, chunks in found[number]]
            total += sum(count for count, _, _ in found[number])
            if total > SPLATS_A_BYTE * (size := container.size_on_disk()) or len(parts) > MOST_ITEMS:
                why = f"its nodes show {total} splats or more in {len(parts)} pieces, out of {size} bytes"
                raise UnsupportedError(f"{container.path}: {why}: not a plausible scene; leave nodes out")
            if node.node.member("extensions").value and node.node.member("extensions").has("EXT_mesh_gpu_instancing"):
                notes.add("EXT_mesh_gpu_instancing of splats is not supported; they are shown once")
    if not parts:
        held = f'"{EXTENSION}"' in json.dumps(container.json.value.get("meshes"))
        why = "no node of its scene shows the splats" if held else f"no primitive has {EXTENSION}: a mesh, not splats"
        raise UnsupportedError(f"{container.path}: {why}; export it from software for splats")
    with container.opened() as reader:
        signs = [primitive.sign_of_scales(reader) for primitive in plain]
    # Scales are unsigned, and of a trained scene some logarithms are negative; scales of 0 alone would draw nothing.
    logarithms.append(bool(signs) and (min(signs) < 0 or max(signs) == 0))
    if logarithms[0]:
        notes.add("SCALE is taken for logarithms, as drafts of the extension had it: its values cannot be scales")
    return parts, antialias


def _matrix(container: Container, placed: Placed, frame: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4, 4) from a node's mesh into the scene."""
    try:
        decomposed(placed.matrix)
    except LensError as error:
        node = placed.node.path.removeprefix("glTF.")
        raise UnsupportedError(f"{container.path}: {node}: {error}; apply the transform before exporting") from error
    return np.asarray(frame @ placed.matrix, np.float64)


def _ignored(container: Container) -> tuple[str, ...]:
    return tuple(name for name in ("animations", "skins") if container.json.value.get(name))


def _described(info: SourceInfo, container: Container) -> SourceInfo:
    """With title, attribution and licence, as Sketchfab names them, and the kernel that our writer notes."""
    asset = container.json.member("asset")
    extras = _object(asset.value.get("extras"))
    own = _object(extras.get(OWN_EXTRAS))
    title, author, licence = (_text(extras.get(name)) for name in ("title", "author", "license"))
    info = replace(info, title=title, attribution=author or _text(asset.value.get("copyright")), licence=licence)
    dilation = own.get("dilation")
    if isinstance(own.get("antialias"), bool):
        info = replace(info, antialias=own["antialias"])
    if isinstance(dilation, float | int) and not isinstance(dilation, bool) and 0 <= dilation < 100:
        info = replace(info, dilation=float(dilation))
    return info


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    """A string of a foreign file, in one printable line of at most 500 characters; else nothing."""
    return "".join(c if c.isprintable() else " " for c in value[:500]).strip() if isinstance(value, str) else ""


FORMAT: Format = Format(
    "gltf",
    "glTF with KHR_gaussian_splatting",
    (".glb", ".gltf"),
    sniff,
    open_gltf,
    write_glb,
    reads_only=(".gltf",),
    options=("as_stored",),
    reads=(
        ".glb and .gltf 2.0 with embedded or external buffers, every component type, SH 0 to 3, SPZ streams, scene "
        "nodes with their transforms, cameras; drafts of the extension"
    ),
    writes=".glb, float32 attributes, colours for viewers without splats, cameras",
    loses="opacities above 1 are clipped; off-centre cameras; no background or start camera",
)
