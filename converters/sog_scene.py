"""An opened SOG scene: its checked facts, and the rows of its splats, decoded one picture at a time.

Decoding holds one picture, 17 bytes a texel and three times its file while libwebp works on it, and puts the bytes that
count aside: 17 a splat, 19 with SH, in memory up to SPOOL_BYTES and in a temporary file ($TMPDIR) beyond. Rows then
come by the chunk, with 12 MB for the palette. A WebP picture cannot be decoded in parts, so this grows with the number
of splats: 4 million of pure noise take 157 MB, 39 bytes each, trained ones less.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.sog_files import MAX_META, Files, open_files
from splatlens.converters.sog_layout import (
    ENTRIES_ACROSS,
    MAX_PALETTE,
    QUAT_OTHERS,
    QUAT_TAG,
    REST,
    inverse_log_transform,
    texture_size,
)
from splatlens.converters.sog_meta import Meta, Palette, parse_meta
from splatlens.converters.sog_textures import Texture, look, strips
from splatlens.converters.source import checked
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.splats import Splats

#: Splats that a byte of the pictures may hold at most, and how many they may hold whatever their size: trained scenes
#: have 12 to 20 bytes a splat, copies of one splat compress to nothing.
SPLATS_A_BYTE, FREE_SPLATS = 8, 1 << 16
#: Texels that a picture may have for a splat, and besides: for sides rounded up to powers of two.
TEXELS_A_SPLAT, FREE_TEXELS = 4, 1 << 16
#: Most bytes of decoded planes held in memory: 1.7 million splats.
SPOOL_BYTES = 32 << 20
#: A quaternion's component by its byte: all but the largest are at most 1 / sqrt(2).
_QUAT_PARTS = (np.arange(256) / 255 * 2 - 1) / np.sqrt(2)
_REMEDY = "fetch or export the scene again"


@dataclass(frozen=True)
class Scene:
    """Facts, without any texels. textures: those of the splats, as `Meta` names them; centroids: of the palette.

    paths: the files on disk; bytes: what they take.
    """

    files: Files
    meta: Meta
    textures: dict[str, Texture]
    centroids: Texture | None
    paths: tuple[Path, ...]
    bytes: int
    warnings: tuple[str, ...]

    @property
    def sh_degree(self) -> int:
        """As it is read: at most 3."""
        palette = self.meta.palette
        return 0 if palette is None else min(3, palette.degree or 0)

    def rows(self, ranges: Sequence[tuple[int, int]], rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        """The splats of the ranges (first, end), in order, at most `rows` at a time. Raises LensError."""
        with _decoded(self) as planes:
            for first, end in ranges:
                for start in range(first, end, rows):
                    yield planes.splats(start, min(rows, end - start), dropped)


def open_scene(path: Path, label: str) -> Scene:
    """Reads meta.json and the headers of the pictures. Raises LensError, its message starting with `label`."""
    files, name = open_files(path, label)
    meta = parse_meta(files.read(name, MAX_META), label, name if name.isprintable() else "meta.json")
    roles = {"means_l": meta.means[0], "means_u": meta.means[1], "scales": meta.scales}
    roles |= {"quats": meta.quats, "sh0": meta.sh0}
    if meta.palette is not None:
        roles["shN_labels"] = meta.palette.labels
    textures = {role: look(files, texture) for role, texture in roles.items()}
    _check_sizes(label, meta.count, list(textures.values()))
    warnings, centroids = list(meta.warnings), None
    if meta.palette is not None:
        centroids = look(files, meta.palette.centroids)
        meta = replace(meta, palette=_fit(label, meta.palette, centroids))
        if meta.palette and (meta.palette.degree or 0) > 3:
            warnings.append(f"SH degree {meta.palette.degree} was reduced to 3; the highest that can be drawn")
    names = [t.name for t in (*textures.values(), *([centroids] if centroids else []))]
    warnings += [
        f"texture {t.name} is lossy WebP, so its numbers are damaged; export the scene with lossless pictures"
        for t in (*textures.values(), centroids)
        if t is not None and t.lossy
    ]
    size = sum(files.size(one) for one in names)
    if meta.count > (most := SPLATS_A_BYTE * size + FREE_SPLATS):
        claim = f"{meta.count} splats in {size} bytes of pictures"
        raise FormatError(f"{label}: {claim}, expected at most {most}; {_REMEDY}")
    on_disk = [name, *dict.fromkeys(names)]
    return Scene(files, meta, textures, centroids, files.paths(on_disk), files.stored(on_disk), tuple(warnings))


def _check_sizes(label: str, count: int, textures: list[Texture]) -> None:
    """All pictures of the splats have one size, enough for them and not far more."""
    width, height = texture_size(count)
    for texture in textures:
        first = textures[0]
        is_size = f"{label}: texture {texture.name!r} is {texture.width}x{texture.height}"
        if not count <= texture.texels <= TEXELS_A_SPLAT * count + FREE_TEXELS:
            raise FormatError(f"{is_size}, expected {width}x{height} for {count} splats; {_REMEDY}")
        if (texture.width, texture.height) != (first.width, first.height):
            raise FormatError(f"{is_size}, expected {first.width}x{first.height} as {first.name!r} is; {_REMEDY}")


def _fit(label: str, palette: Palette, centroids: Texture) -> Palette:
    """The palette with degree and entries as its texture has room for; a version 1 file says neither."""
    widths = {ENTRIES_ACROSS * rest: degree for degree, rest in enumerate((*REST, 24)) if degree}
    degree = widths.get(centroids.width)
    most = MAX_PALETTE // ENTRIES_ACROSS
    if degree is None or centroids.height > most or palette.degree not in (None, degree):
        wanted = [f"{w} (SH degree {d})" for w, d in widths.items() if palette.degree in (None, d)]
        why = f"is {centroids.width}x{centroids.height}, expected a width of {' or '.join(wanted)}"
        raise FormatError(f"{label}: texture {centroids.name!r} {why} and a height of 1 to {most}; {_REMEDY}")
    room = ENTRIES_ACROSS * centroids.height
    return replace(palette, degree=degree, entries=min(palette.entries or room, room))


@dataclass(frozen=True)
class _Planes:
    """Decoded bytes, plane after plane. starts: where a plane's first splat is; widths: bytes a splat; palette:
    (entries, K - 1, 3) float32 or None."""

    scene: Scene
    spool: IO[bytes]
    starts: dict[str, int]
    widths: dict[str, int]
    palette: NDArray[np.float32] | None

    def _plane(self, role: str, first: int, count: int) -> NDArray[np.uint8]:
        width = self.widths[role]
        self.spool.seek(self.starts[role] + width * first)
        return np.frombuffer(self.spool.read(width * count), np.uint8).reshape(count, width)

    def splats(self, first: int, count: int, dropped: Counter[str]) -> Splats:
        """Rows first..first + count."""
        meta = self.scene.meta
        steps = self._plane("means_l", first, count) + np.uint16(256) * self._plane("means_u", first, count)
        means = inverse_log_transform(meta.mins + (meta.maxs - meta.mins) * (steps / 65535))
        bytes_of_scales = self._plane("scales", first, count)
        with np.errstate(over="ignore"):
            scales = np.exp(meta.log_scales)[np.arange(3), bytes_of_scales]
            colours = meta.colours.astype(np.float32)
        sh0 = self._plane("sh0", first, count)
        sh = np.empty((count, 1 + (0 if self.palette is None else self.palette.shape[1]), 3), np.float32)
        sh[:, 0] = colours[np.arange(3), sh0[:, :3]]
        if self.palette is not None:
            sh[:, 1:] = self.palette[self._plane("shN_labels", first, count).copy().view("<u2")[:, 0]]
        quats = unpack_quats(self._plane("quats", first, count))
        return checked(means, quats, scales, meta.opacities[sh0[:, 3]], sh, dropped)


def unpack_quats(texels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(N, 4) quaternions w x y z of texels (N, 4): three components, the largest left out and positive.

    An alpha that names no component stands for no rotation, as in every other reader.
    """
    parts = _QUAT_PARTS[texels[:, :3]]
    largest = np.sqrt(np.maximum(0, 1 - np.einsum("ij,ij->i", parts, parts)))
    quats = np.zeros((len(texels), 4))
    quats[:, 0] = 1
    for left_out, others in enumerate(QUAT_OTHERS):
        rows = np.flatnonzero(texels[:, 3] == QUAT_TAG + left_out)
        quats[rows, left_out] = largest[rows]
        quats[rows[:, None], others] = parts[rows]
    return quats


@contextmanager
def _decoded(scene: Scene) -> Iterator[_Planes]:
    """All pictures decoded, one after the other. Raises LensError, also where a byte points past its table."""
    meta = scene.meta
    keep = {"means_l": 3, "means_u": 3, "scales": 3, "quats": 4, "sh0": 4, "shN_labels": 2}
    widths = {role: width for role, width in keep.items() if role in scene.textures}
    limits = {"scales": (3, meta.scale_codes), "sh0": (3, meta.colour_codes)}
    starts: dict[str, int] = {}
    try:
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as spool:
            for role, width in widths.items():
                starts[role] = spool.tell()
                done = 0
                for strip in strips(scene.files, scene.textures[role], meta.count):
                    if role in limits:
                        _check_codes(scene, scene.textures[role], strip[:, : limits[role][0]], limits[role][1])
                    if role == "shN_labels":
                        _check_labels(scene, strip, done)
                    spool.write(strip[:, :width].tobytes())
                    done += len(strip)
            yield _Planes(scene, spool, starts, widths, _palette(scene))
    except OSError as error:
        raise LensError(f"{scene.files.label}: cannot be decoded: {error.strerror or error}") from error


def _check_codes(scene: Scene, texture: Texture, values: NDArray[np.uint8], codes: int) -> None:
    if codes < 256 and values.size and (worst := int(values.max())) >= codes:
        why = f"points to entry {worst} of a codebook of {codes}"
        raise FormatError(f"{scene.files.label}: texture {texture.name!r} {why}; {_REMEDY}")


def _check_labels(scene: Scene, strip: NDArray[np.uint8], done: int) -> None:
    """Refused rather than drawn without SH: a label past the palette means that one of the two files is another's."""
    palette = scene.meta.palette
    assert palette is not None and palette.entries is not None
    labels = strip[:, 0] + np.uint16(256) * strip[:, 1]
    past = np.flatnonzero(labels >= palette.entries)
    if len(past):
        why = f"gives splat {done + past[0]} the SH row {labels[past[0]]} of a palette of {palette.entries}"
        raise FormatError(f"{scene.files.label}: texture {palette.labels!r} {why}; {_REMEDY}")


def _palette(scene: Scene) -> NDArray[np.float32] | None:
    """(entries, K - 1, 3): the SH rows, cut to degree 3."""
    palette = scene.meta.palette
    if palette is None or palette.entries is None or palette.degree is None or scene.centroids is None:
        return None
    rest = scene.centroids.width // ENTRIES_ACROSS
    with np.errstate(over="ignore"):
        table = palette.table.astype(np.float32)
    values = np.empty((palette.entries * rest, 3), np.float32)
    done = 0
    for strip in strips(scene.files, scene.centroids, len(values)):
        _check_codes(scene, scene.centroids, strip[:, :3], palette.codes)
        values[done : done + len(strip)] = table[strip[:, :3]]
        done += len(strip)
    return values.reshape(palette.entries, rest, 3)[:, : REST[min(palette.degree, 3)]]
