"""Textured triangles of an OBJ file as baked fields are exported, by NumPy: millions of lines in seconds, strictly.

Read are v, vt and f with three corners v/vt (or v/vt/vn); groups, materials, normals and comments are passed over and
everything else is an error (Wavefront OBJ, version 3.0). Other OBJ files are the business of converters/mesh_obj.py.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, UnsupportedError
from splatlens.viewer.mesh import Surface

Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]

#: Largest file read: 35 times a full shard of MobileNeRF (57,600 patches: 15 MB).
MAX_BYTES = 512 << 20
#: Lines that are passed over, by their first two bytes: normals, materials, groups.
_PASSED = ("vn", "us", "mt", "o ", "g ", "s ", "o\n", "g\n", "s\n", "g\r")
_SPACE, _TAB, _NEWLINE, _RETURN, _SLASH = b" \t\n\r/"


@dataclass(frozen=True)
class Triangles:
    """positions: (V, 3) float64. uvs: (V, 2) float64 as stored: v up, 0 to 1. triangles: (T, 3) int32, of both.

    A vertex is a pair of v and vt that corners have; where v and vt go together one to one, it is the file's own.
    """

    positions: NDArray[np.float64]
    uvs: NDArray[np.float64]
    triangles: NDArray[np.int32]


def read_triangles(path: Path) -> Triangles:
    """The triangles of a file. Raises FormatError, with the line where it is one line's fault, UnsupportedError."""
    return parse_triangles(read_bounded(path, MAX_BYTES), path)


def read_bounded(path: Path, limit: int) -> bytes:
    """A file's bytes. Raises UnsupportedError for more than `limit`, before reading, FormatError where it cannot be."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read() if size <= limit else b""
    except OSError as error:
        raise FormatError(f"{path}: cannot read: {error.strerror or error}") from error
    if size > limit:
        raise UnsupportedError(f"{path}: has {size} bytes, at most {limit >> 20} MiB are read; split the mesh")
    return data


def parse_triangles(data: bytes, path: Path) -> Triangles:
    """The same of a file's bytes; `path` stands in messages."""
    text = np.frombuffer(data + b"\n\n", np.uint8)
    ends = np.flatnonzero(text[:-1] == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lines = _Lines(text, starts, ends - starts + 1, path)
    first, second = text[starts], text[starts + 1]
    gap = (second == _SPACE) | (second == _TAB)
    places, faces = (first == ord("v")) & gap, (first == ord("f")) & gap
    texture = (first == ord("v")) & (second == ord("t"))
    known = places | texture | faces | (first == ord("#")) | (first == _NEWLINE) | (first == _RETURN)
    for word in _PASSED:
        known |= (first == ord(word[0])) & (second == ord(word[1]))
    if not known.all():
        lines.fail(int(np.argmin(known)), "is neither v, vt nor f")
    positions = lines.numbers(places, 1, (3, 4, 6), "x y z")[:, :3]
    uvs = lines.numbers(texture, 2, (2, 3), "u v")[:, :2]
    corners = _corners(lines, faces)
    for name, column, count in (("v", 0, len(positions)), ("vt", 1, len(uvs))):
        wrong = ((corners[:, :, column] < 1) | (corners[:, :, column] > count)).any(axis=1)
        if wrong.any():
            found = corners[np.argmax(wrong), :, column].tolist()
            lines.fail(int(np.flatnonzero(faces)[np.argmax(wrong)]), f"{name} indices {found}, there are 1 to {count}")
    corners -= 1
    if np.array_equal(corners[..., 0], corners[..., 1]) and len(positions) == len(uvs):
        return Triangles(positions, uvs, corners[..., 0].astype(np.int32))
    pairs, triangles = np.unique(corners[..., 0] * len(uvs) + corners[..., 1], return_inverse=True)
    one, other = np.divmod(pairs, len(uvs)) if len(uvs) else (pairs, pairs)
    return Triangles(positions[one], uvs[other], triangles.reshape(-1, 3).astype(np.int32))


def textured(mesh: Triangles, texels: NDArray[np.uint8], path: Path) -> Surface:
    """The surface of triangles and their image (H, W, C), which is cut to what they reach. Raises FormatError.

    An image's first row is v = 1. Texture coordinates may miss 0..1 by half a texel.
    """
    height, width = texels.shape[:2]
    uvs = np.stack([mesh.uvs[:, 0] * width, (1 - mesh.uvs[:, 1]) * height], axis=1)
    used = uvs[np.unique(mesh.triangles)]
    size = np.array([width, height])
    if not bool(((used >= -0.5) & (used <= size + 0.5)).all()):
        low, high = np.nanmin(mesh.uvs, axis=0).tolist(), np.nanmax(mesh.uvs, axis=0).tolist()
        raise FormatError(f"{path}: texture coordinates reach from {low} to {high}; expected 0 to 1, finite numbers")
    first = np.clip(np.floor(used.min(axis=0)).astype(int), 0, size - 1)
    last = np.clip(np.floor(used.max(axis=0)).astype(int), 0, size - 1)
    cut = np.ascontiguousarray(texels[first[1] : last[1] + 1, first[0] : last[0] + 1])
    return Surface(
        mesh.positions.astype(np.float32), mesh.triangles, uvs=(uvs - first).astype(np.float32), texels=cut
    )


@dataclass(frozen=True)
class _Lines:
    """A text by lines: where each starts, and its length with the newline."""

    text: Bytes
    starts: Rows
    lengths: Rows
    path: Path

    def fail(self, index: int, what: str, expected: str = "") -> None:
        """Raises FormatError about a line."""
        first = int(self.starts[index])
        line = self.text[first : first + min(int(self.lengths[index]), 60)].tobytes().decode("ascii", "replace").strip()
        why = f"{what}{f'; expected {expected}' if expected else ''}"
        raise FormatError(f"{self.path}: line {index + 1}: {line!r}: {why}; export the mesh again")

    def gathered(self, rows: NDArray[np.bool_], keyword: int) -> tuple[Bytes, Rows]:
        """The lines' bytes, one after another, keywords blanked; where each starts in them."""
        lengths = self.lengths[rows]
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]]) if len(lengths) else lengths
        copy = self.text[: int(self.starts[-1] + self.lengths[-1])][np.repeat(rows, self.lengths)]
        for i in range(keyword):
            copy[first + i] = _SPACE
        return copy, first

    def numbers(
        self, rows: NDArray[np.bool_], keyword: int, counts: tuple[int, ...], names: str, whole: bool = False
    ) -> NDArray[Any]:
        """(lines, numbers a line) of lines that all have as many, one of `counts`: float64, or int64 where `whole`.

        Slashes between whole numbers are white space. Raises FormatError.
        """
        copy, first = self.gathered(rows, keyword)
        if not len(first):
            return np.zeros((0, counts[0]))
        if whole:
            copy[copy == _SLASH] = _SPACE
        blank = copy <= _SPACE
        begins = ~blank & np.concatenate([[True], blank[:-1]])
        words = np.add.reduceat(begins, first, dtype=np.int64)
        wrong = words != (words[0] if int(words[0]) in counts else counts[0])
        if wrong.any():
            which = int(np.argmax(wrong))
            self.fail(int(np.flatnonzero(rows)[which]), f"{words[which]} numbers", names)
        values = _parsed(copy, int(words[0]) * len(first), whole)
        if values is None:
            self._find_bad(rows, keyword, names, whole)
        assert values is not None
        return values.reshape(len(first), -1)

    def _find_bad(self, rows: NDArray[np.bool_], keyword: int, names: str, whole: bool) -> None:
        """Raises FormatError for the first line whose words are not numbers: in halves, the file is long."""
        low, places = 0, np.flatnonzero(rows)
        high = len(places)
        while high - low > 1:
            middle = (low + high) // 2
            part = np.zeros(len(rows), bool)
            part[places[low:middle]] = True
            copy, _ = self.gathered(part, keyword)
            copy = np.where(copy == _SLASH, _SPACE, copy) if whole else copy
            low, high = (low, middle) if _parsed(copy, -1, whole) is None else (middle, high)
        self.fail(int(places[low]), f"are not {'whole ' if whole else ''}numbers", names)


def _corners(lines: _Lines, faces: NDArray[np.bool_]) -> Rows:
    """(T, 3, 2) indices of v and vt as the file counts them, from 1."""
    copy, first = lines.gathered(faces, 1)
    if not len(first):
        raise FormatError(f"{lines.path}: has no line f; expected triangles; export the mesh again")
    slashes = np.add.reduceat(copy == _SLASH, first, dtype=np.int64)
    wrong = ~np.isin(slashes, (3, 6)) | (slashes != slashes[0])
    double = np.flatnonzero((copy[:-1] == _SLASH) & (copy[1:] <= _SLASH))  # v//vn, v/ vt: empty or apart
    if len(double):
        wrong[np.searchsorted(first, double[0], side="right") - 1] = True
    if wrong.any():
        lines.fail(int(np.flatnonzero(faces)[np.argmax(wrong)]), "is no triangle", "f v/vt v/vt v/vt")
    width = 2 if slashes[0] == 3 else 3
    values = lines.numbers(faces, 1, (3 * width,), "f v/vt v/vt v/vt", whole=True)
    return values.reshape(-1, 3, width)[:, :, :2].copy()


def _parsed(text: Bytes, count: int, whole: bool) -> NDArray[Any] | None:
    """Numbers apart by white space; None where they are none, or not `count` (-1: any).

    Numbers too large for int64 become the largest there is (strtoll), so they are out of every range.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # older NumPy only warns of what it does not understand
        try:
            values = np.fromstring(text.tobytes(), np.int64 if whole else np.float64, sep=" ")
        except (ValueError, DeprecationWarning):
            return None
    return values if count in (-1, len(values)) else None
