"""Textures of ordinary meshes: files that a mesh names, only beside it, and pictures decoded to bytes as they are."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, LensError, UnsupportedError

Bytes = NDArray[np.uint8]

#: Most texels of a texture: 8192 x 8192, what graphics devices hold as one.
MAX_TEXELS = 1 << 26
#: Longest file of a texture: that many texels without compression.
MAX_BYTES = 4 * MAX_TEXELS + (1 << 16)
#: What Pillow may decode here: its other decoders are seldom used, and so seldom looked at.
KINDS = ("PNG", "JPEG", "WEBP", "BMP", "TGA")


def beside(path: Path, name: str, what: str) -> Path:
    """The file that a mesh names, which must lie in the mesh's folder or below it.

    path: the mesh; what: what the name is of, for messages. Raises UnsupportedError where it does not, and FormatError
    where there is none.
    """
    relative = name.replace("\\", "/")
    shown = repr(name if len(name) <= 80 else name[:77] + "...")
    folder = path.parent.resolve()
    plain = relative.isprintable() and not re.match(r"[\w+.-]*:|/", relative) and ".." not in relative.split("/")
    found = (folder / relative).resolve() if plain else folder
    if not plain or not found.is_relative_to(folder):
        why = f"{what} is {shown}; only files in the mesh's own folder are read"
        raise UnsupportedError(f"{path}: {why}; put the file there and name it so")
    if not found.is_file():
        raise FormatError(f"{path}: {what}: no file {shown} beside the mesh; fetch it too")
    return path.parent / relative


def read_bytes(file: Path, limit: int = MAX_BYTES) -> bytes:
    """A whole file. Raises UnsupportedError where it is longer than `limit`."""
    if (size := file.stat().st_size) > limit:
        raise UnsupportedError(f"{file}: {size} bytes, at most {limit} are read; make it smaller")
    return file.read_bytes()


def decode_picture(data: bytes, where: str) -> Bytes:
    """(H, W, 3), or (H, W, 4) with an alpha channel: bytes as stored, without colour management.

    where: what messages start with. Raises FormatError, UnsupportedError.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's own limit, which is larger than ours
            with Image.open(io.BytesIO(data), formats=KINDS) as picture:
                width, height = picture.size
                if width * height > MAX_TEXELS:
                    why = f"{width} x {height} texels, at most {MAX_TEXELS} are drawn"
                    raise UnsupportedError(f"{where}: {why}; make the picture smaller")
                if picture.mode.startswith(("I", "F")):
                    return _narrow(np.asarray(picture))
                alpha = picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info
                return np.array(picture.convert("RGBA" if alpha else "RGB"))
    except LensError:
        raise
    except Exception as error:  # decoders raise what they like, SyntaxError among it
        why = f"cannot be decoded ({error})" if data else "is empty"
        expected = "expected a PNG, JPEG, WebP, BMP or TGA picture"
        raise FormatError(f"{where}: {why}; {expected}: fetch or export it again") from error


def _narrow(grey: NDArray[np.generic]) -> Bytes:
    """(H, W, 3) of 16-bit greys (H, W)."""
    bytes_ = (np.clip(grey.astype(np.int64), 0, 65535) >> 8).astype(np.uint8)
    return np.repeat(bytes_[:, :, None], 3, axis=2)
