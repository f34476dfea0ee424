"""Pixels of feature images: bounded, in the mode that the method writes, never converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, UnsupportedError

#: Largest side and most pixels of an image: an 8192-square one takes 256 MiB.
MAX_SIDE, MAX_PIXELS = 1 << 14, 1 << 26
#: Modes of Pillow: how many bytes a pixel has, and what people call it.
MODES = {"RGBA": (4, "red, green, blue and alpha"), "RGB": (3, "red, green and blue")}


def image_size(path: Path, mode: str, kinds: tuple[str, ...]) -> tuple[int, int]:
    """Width and height of an image of one of `kinds` (PNG, JPEG), from its head. Raises LensError as `read_image`."""
    return _open(path, mode, kinds, pixels=False)[0]


def read_image(path: Path, mode: str, kinds: tuple[str, ...]) -> NDArray[np.uint8]:
    """(H, W, 3 or 4) bytes as stored. Raises FormatError where the file is missing or damaged, or of another mode,
    UnsupportedError where it is larger than 8192 squared."""
    pixels = _open(path, mode, kinds, pixels=True)[1]
    assert pixels is not None
    return pixels


def _open(
    path: Path, mode: str, kinds: tuple[str, ...], pixels: bool
) -> tuple[tuple[int, int], NDArray[np.uint8] | None]:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise FormatError(f"{path}: this texture is missing; copy it next to the mesh, or export the scene again")
    kind = " or ".join(kinds)
    try:
        with Image.open(path, formats=kinds) as image:
            width, height = image.size
            if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
                most = f"at most {MAX_PIXELS >> 20} Mi pixels and {MAX_SIDE} a side are read"
                raise UnsupportedError(f"{path}: {width} x {height} pixels; {most}")
            if image.mode != mode:
                why = f"is a picture of mode {image.mode}; expected {mode}, 8 bits each of {MODES[mode][1]}"
                raise FormatError(f"{path}: {why}")
            return (width, height), np.asarray(image) if pixels else None
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        why = "too large" if isinstance(error, Image.DecompressionBombError) else f"not a {kind} picture"
        raise FormatError(f"{path}: {why}; export the scene again") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:  # what Pillow raises for damaged files
        raise FormatError(f"{path}: damaged: {str(error)[:120]}; expected a {kind} picture") from error
