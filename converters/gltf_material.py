"""Materials of triangles in a glTF asset: base colour as bytes to show, where it repeats, and what is not there.

Source: glTF 2.0 sections 3.9 and 5.19, KHR_texture_transform, KHR_materials_pbrSpecularGlossiness, EXT_texture_webp.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.gltf_colour import decode_srgb, encode_srgb
from splatlens.converters.gltf_file import Container, Reader
from splatlens.converters.mesh_images import MAX_BYTES, decode_picture
from splatlens.converters.mesh_uv import CLAMP, MIRROR, REPEAT
from splatlens.viewer.errors import UnsupportedError
from splatlens.viewer.fields import Field

Bytes = NDArray[np.uint8]
F64 = NDArray[np.float64]

#: Sampler codes (section 5.26).
_WRAPS = {33071: CLAMP, 33648: MIRROR, 10497: REPEAT}
_WEBP, _TRANSFORM, _GLOSS = "EXT_texture_webp", "KHR_texture_transform", "KHR_materials_pbrSpecularGlossiness"
#: Opacity from which on a see-through material is drawn, and cutoff where the asset says none.
HALF = 0.5


@dataclass(frozen=True)
class Material:
    """factor: linear r, g, b and alpha that everything is multiplied by. cutoff: least alpha drawn, None: all is.

    image: number in `images`, None for none; texcoord: which coordinates it takes; transform: (2, 3) of them to those
    of the image; wrap: across and down.
    """

    factor: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    cutoff: float | None = None
    image: int | None = None
    texcoord: int = 0
    transform: tuple[tuple[float, float, float], tuple[float, float, float]] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    wrap: tuple[str, str] = (REPEAT, REPEAT)

    def placed(self, uvs: F64) -> NDArray[np.float32]:
        """Coordinates (V, 2) in images."""
        matrix = np.array(self.transform)
        return np.asarray(uvs @ matrix[:, :2].T + matrix[:, 2], np.float32)


def read_material(container: Container, primitive: Field, notes: Counter[str]) -> Material:
    """That of a primitive. notes: what is drawn otherwise than the asset has it. Raises LensError."""
    if not primitive.has("material"):
        return Material()
    material = container.item("materials", primitive.member("material"))
    mode = material.member("alphaMode").text() if material.has("alphaMode") else "OPAQUE"
    if mode not in ("OPAQUE", "MASK", "BLEND"):
        material.member("alphaMode").fail("OPAQUE, MASK or BLEND")
    cutoff = None
    if mode == "MASK":
        cutoff = material.member("alphaCutoff").number(0, 1e6) if material.has("alphaCutoff") else HALF
    elif mode == "BLEND":
        cutoff = HALF
        notes["a see-through material (alphaMode BLEND) is drawn where its opacity is at least a half"] += 1
    extensions = material.member("extensions")
    gloss = extensions.member(_GLOSS) if extensions.value and extensions.has(_GLOSS) else None
    base, names = gloss, ("diffuseFactor", "diffuseTexture")
    if base is None:
        base = material.member("pbrMetallicRoughness") if material.has("pbrMetallicRoughness") else None
        names = ("baseColorFactor", "baseColorTexture")
    if base is None:
        return Material(cutoff=cutoff)
    r, g, b, a = (1.0,) * 4
    if base.has(names[0]):
        r, g, b, a = (f.number(0, 1e6) for f in base.member(names[0]).items(4, 4))
    if not base.has(names[1]):
        return Material((r, g, b, a), cutoff)
    return _textured(container, base.member(names[1]), (r, g, b, a), cutoff)


def _textured(
    container: Container, info: Field, factor: tuple[float, float, float, float], cutoff: float | None
) -> Material:
    texture = container.item("textures", info.member("index"))
    own = texture.member("extensions")
    source = texture.member("source")
    if own.value and own.has(_WEBP):
        source = own.member(_WEBP).member("source")
    elif not texture.has("source"):
        kinds = ", ".join(own.object())[:100] if own.value else "none"
        why = f"{texture.path.removeprefix('glTF.')} has no PNG, JPEG or WebP picture (extensions: {kinds})"
        raise UnsupportedError(f"{container.path}: {why}; export it with one")
    container.item("images", source)
    wrap = (REPEAT, REPEAT)
    if texture.has("sampler"):
        sampler = container.item("samplers", texture.member("sampler"))
        wrap = (_wrap(sampler, "wrapS"), _wrap(sampler, "wrapT"))
    texcoord = info.member("texCoord").integer(0, 99) if info.has("texCoord") else 0
    matrix = Material().transform
    extensions = info.member("extensions")
    if extensions.value and extensions.has(_TRANSFORM):
        moved = extensions.member(_TRANSFORM)
        texcoord = moved.member("texCoord").integer(0, 99) if moved.has("texCoord") else texcoord
        x, y = moved.member("offset").numbers(2) if moved.has("offset") else (0.0, 0.0)
        sx, sy = moved.member("scale").numbers(2) if moved.has("scale") else (1.0, 1.0)
        turn = moved.member("rotation").number() if moved.has("rotation") else 0.0
        c, s = float(np.cos(turn)), float(np.sin(turn))
        # Counter-clockwise as seen, and the second coordinate points down: translation x rotation x scale.
        matrix = ((c * sx, s * sy, x), (-s * sx, c * sy, y))
    return Material(factor, cutoff, int(source.value), texcoord, matrix, wrap)


def _wrap(sampler: Field, key: str) -> str:
    if not sampler.has(key):
        return REPEAT
    code = sampler.member(key)
    if code.integer(0, 1 << 16) not in _WRAPS:
        code.fail("33071, 33648 or 10497")
    return _WRAPS[int(code.value)]


def read_picture(container: Container, reader: Reader, material: Material) -> Bytes:
    """The texture of a material with its factor applied: (H, W, 3), or (H, W, 4) with 0 where nothing is, else 255."""
    assert material.image is not None
    buffer, start, length = container.image(material.image)
    where = f"{container.path}: images[{material.image}]"
    if length > MAX_BYTES:
        raise UnsupportedError(f"{where}: {length} bytes, at most {MAX_BYTES} are read; make it smaller")
    picture = decode_picture(reader.read(buffer, start, length), where)
    colours = tinted(picture[:, :, :3], material.factor)
    if material.cutoff is None:
        return colours
    alpha = picture[:, :, 3] if picture.shape[2] == 4 else np.full(picture.shape[:2], 255, np.uint8)
    there = alpha * np.float64(material.factor[3] / 255) >= material.cutoff
    return colours if there.all() else np.concatenate([colours, there[:, :, None] * np.uint8(255)], axis=2)


def tinted(colours: Bytes, factor: tuple[float, float, float, float]) -> Bytes:
    """Display values multiplied by linear factors: a byte has 256 values, so a table a channel tells them all."""
    if factor[:3] == (1.0, 1.0, 1.0):
        return np.ascontiguousarray(colours)
    light = decode_srgb(np.arange(256) / 255)
    tables = [shown(light * f) for f in factor[:3]]
    return np.stack([tables[c][colours[:, :, c]] for c in range(3)], axis=2)


def shown(light: NDArray[np.floating]) -> Bytes:
    """Bytes of display values of linear light."""
    return np.asarray(np.rint(np.clip(encode_srgb(np.clip(light, 0, 1)), 0, 1) * 255), np.uint8)
