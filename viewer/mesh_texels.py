"""Texels of a mesh as a lossless picture: C channels as RGB planes without alpha (docs/format-mesh.md, "Pictures").

WebP, as browsers decode it natively, and as it is the smallest: 3,400 patches of MobileNeRF's poster, 8 channels, take
1.03 MB, with zlib and Paeth's predictor 1.55 MB.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_blocks import damaged

U8 = NDArray[np.uint8]

#: Longest side of a WebP picture.
MAX_SIDE = 16383
#: Bytes of a lossless WebP file before its picture's data: RIFF, size, WEBP, VP8L, size, signature, sizes.
_HEAD = 25


def grid(width: int, height: int, channels: int) -> tuple[int, int]:
    """Columns and rows of planes of a picture: one above the other while that is no taller than MAX_SIDE."""
    planes = -(-channels // 3)
    rows = min(planes, MAX_SIDE // height)
    return -(-planes // rows), rows


def clear_empty(texels: U8, empty: int | None) -> U8:
    """Texels whose byte of the channel `empty` is 0 have no colour: 0 in every channel."""
    if empty is None:
        return np.ascontiguousarray(texels)
    return np.where(texels[..., empty, None] > 0, texels, np.uint8(0))


def encode_texels(texels: U8, empty: int | None, quick: bool = False) -> bytes:
    """(H, W, C) as a WebP file. empty: as `clear_empty`, which the reader does. Raises LensError.

    quick: a fifth of the time for a tenth more bytes (the poster's patches: 3.1 s and 1.20 MB, 14.9 s and 1.08 MB).
    """
    h, w, c = texels.shape
    if grid(w, h, c)[0] * w > MAX_SIDE:
        raise LensError(f"mesh: {w} x {h} texels of {c} channels exceed a picture of {MAX_SIDE}^2: build smaller nodes")
    pictures = [_picture(texels)]
    if empty is not None and not texels[..., empty].all():
        pictures.append(_picture(fill_empty(texels, empty)))
        # Which is smaller the fastest method tells well enough.
        pictures.sort(key=lambda one: len(_webp(one, 1, 20)))
    # Method 6 takes four times as long for as many bytes.
    return _webp(pictures[0], 4, 75) if quick else _webp(pictures[0], 5, 100)


def _picture(texels: U8) -> U8:
    h, w, c = texels.shape
    columns, rows = grid(w, h, c)
    picture = np.zeros((rows * h, columns * w, 3), np.uint8)
    for channel in range(c):
        x, y = divmod(channel // 3, rows)
        picture[y * h : (y + 1) * h, x * w : (x + 1) * w, channel % 3] = texels[..., channel]
    return picture


def _webp(picture: U8, method: int, quality: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "WEBP", lossless=True, exact=True, method=method, quality=quality)
    return out.getvalue()


def decode_texels(data: bytes, shape: tuple[int, int, int], empty: int | None, where: str) -> U8:
    """(H, W, C) of a WebP file. Raises FormatError where it is none, lossy, has alpha or another size."""
    from PIL import Image

    h, w, c = shape
    columns, rows = grid(w, h, c)
    size = (columns * w, rows * h)
    if picture_size(data) != size:
        raise damaged(f"{where}: expected a lossless WebP picture of {size[0]} x {size[1]} without alpha")
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            picture = np.asarray(image.convert("RGB"))
    except Exception as error:  # whatever Pillow finds wrong with a damaged picture
        raise damaged(f"{where}: the picture cannot be decoded ({type(error).__name__})") from error
    if picture.shape != (rows * h, columns * w, 3):
        raise damaged(f"{where}: a picture of {picture.shape}")
    out = np.empty(shape, np.uint8)
    for channel in range(c):
        x, y = divmod(channel // 3, rows)
        out[..., channel] = picture[y * h : (y + 1) * h, x * w : (x + 1) * w, channel % 3]
    return clear_empty(out, empty)


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a file that is one lossless WebP picture without alpha and nothing else; None for others."""
    if len(data) < _HEAD or data[:4] != b"RIFF" or data[8:16] != b"WEBPVP8L" or data[20] != 0x2F:
        return None
    whole, picture, bits = (int.from_bytes(data[at : at + 4], "little") for at in (4, 16, 21))
    # Chunks have an even number of bytes; 14 bits of width - 1, 14 of height - 1, alpha, 3 of the version.
    if whole + 8 != len(data) or 20 + picture + picture % 2 != len(data) or bits >> 28:
        return None
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def fill_empty(texels: U8, empty: int | None) -> U8:
    """Gives empty texels the colour of a neighbour, which takes few bits, and 0 in the channel that says so.

    Left or upper one, whichever changed less along the other way (the predictor "select" of WebP): the poster's texels
    take 15% fewer bytes than with zeros, and 5% fewer than with the left one.
    """
    if empty is None:
        return texels
    h, w, c = texels.shape
    hole = texels[..., empty] == 0
    # Skewed, so that every step takes a whole anti-diagonal: row y, column x lies at column x + y.
    wide = np.zeros((h + 1, w + h + 1, c), np.int16)
    there = np.zeros((h + 1, w + h + 1), np.bool_)
    for y in range(h):
        wide[y + 1, y + 1 : y + 1 + w] = texels[y]
        there[y + 1, y + 1 : y + 1 + w] = ~hole[y]
    for k in range(1, w + h):
        top, bottom = max(1, k - w + 1), min(h, k) + 1
        rows, before = slice(top, bottom), slice(top - 1, bottom - 1)
        left, up, corner = wide[rows, k - 1], wide[before, k - 1], wide[before, k - 2]
        nearer = np.abs(up - corner).sum(axis=1) < np.abs(left - corner).sum(axis=1)
        # There is nothing left of the first column, and nothing above the first row.
        number = np.arange(top, bottom)
        nearer = (nearer & (number != k)) | (number == 1)
        wide[rows, k] = np.where(there[rows, k, None], wide[rows, k], np.where(nearer[:, None], left, up))
    out: U8 = np.stack([wide[y + 1, y + 1 : y + 1 + w] for y in range(h)]).astype(np.uint8)
    out[..., empty][hole] = 0
    return out
