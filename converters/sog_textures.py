"""The pictures that SOG keeps its numbers in: their size before decoding, their texels in strips afterwards.

A byte of a texel is a number, so nothing may touch it on the way: no colour management, no premultiplied alpha.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.sog_files import Files
from splatlens.viewer.errors import FormatError, UnsupportedError

#: Bytes looked at for a picture's size; a colour profile before the pixels of a WebP is seldom longer.
HEAD_BYTES = 4096
#: Bytes a texel may take in the file, and what headers and metadata may take besides; noise takes 4.02.
TEXEL_BYTES, EXTRA_BYTES = 8, 1 << 16
#: Texels converted at once: 1 MB.
STRIP_TEXELS = 1 << 18
_REMEDY = "fetch or export the scene again"


@dataclass(frozen=True)
class Texture:
    """A picture's facts from its header. lossy: it does not hold the numbers that were written."""

    name: str
    width: int
    height: int
    png: bool
    lossy: bool

    @property
    def texels(self) -> int:
        return self.width * self.height

    @property
    def limit(self) -> int:
        """Most bytes its file may have."""
        return TEXEL_BYTES * self.texels + EXTRA_BYTES


def look(files: Files, name: str) -> Texture:
    """Reads the header only. Raises LensError for what is neither WebP nor PNG of 8-bit colours."""
    head = files.head(name, HEAD_BYTES)
    try:
        return _header(name, head)
    except (ValueError, struct.error) as error:
        why = str(error) if isinstance(error, ValueError) else f"the file ends inside its header, at {len(head)} bytes"
        raise FormatError(f"{files.label}: texture {name!r}: {why}; {_REMEDY}") from error


def _header(name: str, head: bytes) -> Texture:
    """Raises ValueError with the reason, struct.error where the header is cut."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height, depth, colour = struct.unpack_from(">IIBB", head, 16)
        if depth != 8 or colour not in (2, 6):
            raise ValueError(f"a PNG of {depth} bits and colour type {colour}, expected 8 bits of RGB or RGBA")
        return Texture(name, width, height, png=True, lossy=False)
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        raise ValueError(f"not a WebP picture: it starts with {head[:12]!r}")
    # RIFF chunks: four letters, length, data padded to an even length. VP8X is the extended header before the pixels.
    at, canvas = 12, None
    while at + 8 <= len(head):
        kind, length = struct.unpack_from("<4sI", head, at)
        data = at + 8
        if kind == b"VP8X":
            flags, w_low, w_high, h_low, h_high = struct.unpack_from("<B3xHBHB", head, data)
            if flags & 2:
                raise ValueError("an animated WebP, expected one picture")
            canvas = 1 + w_low + (w_high << 16), 1 + h_low + (h_high << 16)
        elif kind == b"VP8L":
            (bits,) = struct.unpack_from("<I", head, data + 1)
            width, height = canvas or (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
            return Texture(name, width, height, png=False, lossy=False)
        elif kind == b"VP8 ":
            w, h = struct.unpack_from("<HH", head, data + 6)
            width, height = canvas or (w & 0x3FFF, h & 0x3FFF)
            return Texture(name, width, height, png=False, lossy=True)
        at = data + length + length % 2
    if canvas is None:
        raise ValueError("a WebP without pixels")
    return Texture(name, *canvas, png=False, lossy=False)


def strips(files: Files, texture: Texture, count: int) -> Iterator[NDArray[np.uint8]]:
    """The first `count` texels in order, (M, 4) r g b a at a time; a picture without alpha has 255 there.

    While it decodes, Pillow and libwebp hold about 17 bytes a texel and three copies of the file. Raises LensError.
    """
    from PIL import Image, PngImagePlugin, WebPImagePlugin

    data = files.read(texture.name, texture.limit)
    where = f"{files.label}: texture {texture.name!r}"
    try:
        # Not Image.open: it warns of large pictures, whose size was checked against the splats.
        reader = PngImagePlugin.PngImageFile if texture.png else WebPImagePlugin.WebPImageFile
        image = reader(io.BytesIO(data))
        del data
        image.load()
    except Image.DecompressionBombError as error:
        raise UnsupportedError(f"{where}: {error}; write the scene as streamed SOG") from error
    except (OSError, EOFError, SyntaxError, ValueError, RuntimeError, struct.error) as error:
        why = ascii(str(error) or type(error).__name__)[1:-1][:120]
        raise FormatError(f"{where}: cannot decode it: {why}; {_REMEDY}") from error
    if image.size != (texture.width, texture.height) or image.mode not in ("RGB", "RGBA"):
        now = f"{image.mode} {image.width}x{image.height}"
        raise FormatError(f"{where}: decodes to {now}, its header says {texture.width}x{texture.height}; {_REMEDY}")
    rows = max(1, STRIP_TEXELS // texture.width)
    for top in range(0, texture.height, rows):
        left = count - top * texture.width
        if left <= 0:
            return
        strip = np.asarray(image.crop((0, top, texture.width, min(top + rows, texture.height))))
        texels = np.full((strip.shape[0] * strip.shape[1], 4), 255, np.uint8)
        texels[:, : strip.shape[2]] = strip.reshape(len(texels), -1)
        yield texels[:left]
