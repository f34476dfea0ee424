"""Pictures on disk: PNG (8 bits, sRGB values as they are) and NPY (float32 RGBA)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.files import atomic_write

#: Most pixels of a picture that is read: 16k x 8k. Pillow's own limit is not an error but a warning.
MAX_PIXELS = 1 << 27
SUFFIXES = (".png", ".npy")


def write_image(path: Path, image: NDArray[np.float32]) -> None:
    """Writes (H, W, 4) float32: .png takes the colours, clipped to 0..1 and rounded; .npy takes all as it is.

    Raises LensError.
    """
    if path.suffix.lower() == ".npy":
        with atomic_write(path) as file:
            np.save(file, np.asarray(image, np.float32))
        return
    if path.suffix.lower() != ".png":
        raise unsupported(path)
    data = png_bytes(image)
    with atomic_write(path) as file:
        file.write(data)


def png_bytes(image: NDArray[np.float32]) -> bytes:
    """The colours of an (H, W, 3 or 4) picture as a PNG file, clipped to 0..1 and rounded."""
    from PIL import Image

    pixels = np.rint(np.clip(np.nan_to_num(image[..., :3]), 0, 1) * 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def read_image(path: Path) -> NDArray[np.float32]:
    """(H, W, 3 or 4) float32 of a .png (0..1) or .npy file. Raises LensError."""
    try:
        if path.suffix.lower() == ".npy":
            return _read_npy(path)
        if path.suffix.lower() == ".png":
            return _read_png(path)
    except FileNotFoundError:
        raise LensError(f"{path}: no such picture; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    raise unsupported(path)


def unsupported(path: Path) -> UnsupportedError:
    """For a name that is no picture's."""
    return UnsupportedError(f"{path}: not a picture's name; use .png (8 bits) or .npy (float32 RGBA)")


def _read_npy(path: Path) -> NDArray[np.float32]:
    try:
        # Mapped first: the header may promise more than the file holds, and that must not be allocated.
        with np.errstate(over="ignore"):
            image = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise FormatError(f"{path}: not an .npy file: {str(error)[:120]}; write it again") from error
    if image.ndim != 3 or image.shape[2] not in (3, 4) or image.dtype.kind not in "fu" or 0 in image.shape:
        why = f"expected float (height, width, 3 or 4), got {image.dtype} {image.shape}"
        raise FormatError(f"{path}: {why}; write it with `splatlens render`")
    if image.dtype.kind == "u":
        return np.asarray(image, np.float32) / np.float32(np.iinfo(image.dtype).max)
    return np.asarray(image, np.float32)


def _read_png(path: Path) -> NDArray[np.float32]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                raise UnsupportedError(f"{path}: {image.width}x{image.height} pixels, at most {MAX_PIXELS} are read")
            pixels = np.asarray(image.convert("RGBA" if "A" in image.getbands() else "RGB"))
    except UnidentifiedImageError as error:
        raise FormatError(f"{path}: not a PNG file; check its name and how it was fetched") from error
    except (SyntaxError, ValueError, OSError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise FormatError(f"{path}: a damaged PNG file: {str(error)[:120]}; write it again") from error
    return pixels.astype(np.float32) / np.float32(255)
