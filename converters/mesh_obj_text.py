"""Wavefront OBJ as found in the wild, checked line by line and written plainly: what trimesh is then given to read.

trimesh 5 takes negative references from the end of the file instead of from their line, reference 0 for the first
vertex, and a face without texture coordinates for the end of all of its material's; it passes over what does not fit in
silence. So every reference is checked here, and made absolute; polygons become fans (Wavefront OBJ, version 3.0).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from splatlens.viewer.errors import FormatError

_AGAIN = "fetch or export the mesh again"
#: Elements that are left out, in words.
_OTHERS = {"l": "lines", "p": "points", "curv": "curves", "curv2": "curves", "surf": "curved surfaces"}


@dataclass(frozen=True)
class Group:
    """Faces of one material, with texture coordinates or without. name: of the object in the plain text."""

    name: str
    material: str
    textured: bool


@dataclass(frozen=True)
class Plain:
    """text: positions, texture coordinates and triangles, an object a group; libraries: .mtl files that are named.

    left_out: what is not drawn, counted, in words.
    """

    text: str
    groups: tuple[Group, ...]
    libraries: tuple[str, ...]
    left_out: Counter[str]


def plain_text(path: Path, text: str) -> Plain:
    """Raises FormatError with the line: numbers that are none, references to what is not there."""
    vertices, uvs = list[str](), list[str]()
    faces: dict[tuple[str, bool], list[str]] = {}
    libraries, left_out = dict[str, None](), Counter[str]()
    material = ""
    largest = [(0, 0), (0, 0)]  # reference and line, of v and vt
    coloured = True

    def fail(line: int, why: str) -> FormatError:
        return FormatError(f"{path}: line {line}: {why}; {_AGAIN}")

    for number, line in enumerate(_lines(text), 1):
        words = line.split()
        key = words[0] if words else "#"
        if key == "v":
            if len(words) < 4 or not _numbers(words[1:7]):
                raise fail(number, f"{_short(line)} is no position; expected v x y z")
            coloured = coloured and len(words) >= 7
            vertices.append(" ".join(words[:7]))
        elif key == "vt":
            if len(words) < 2 or not _numbers(words[1:3]):
                raise fail(number, f"{_short(line)} are no texture coordinates; expected vt u v")
            uvs.append(f"vt {words[1]} {words[2] if len(words) > 2 else 0}")
        elif key in ("f", "fo"):
            corners, textured = [], True
            for word in words[1:]:
                parts = word.split("/")
                try:
                    v = int(parts[0])
                    t = int(parts[1]) if len(parts) > 1 and parts[1] else None
                except ValueError:
                    raise fail(number, f"{_short(line)} is no face; expected f v/vt/vn ...") from None
                v = len(vertices) + 1 + v if v < 0 else v
                t = len(uvs) + 1 + t if t is not None and t < 0 else t
                if v < 1 or (t is not None and t < 1):
                    raise fail(number, f"{_short(line)}: {_short(word)} refers to what is not there before this line")
                if v > largest[0][0]:
                    largest[0] = v, number
                if t is not None and t > largest[1][0]:
                    largest[1] = t, number
                textured = textured and t is not None
                corners.append((v, t))
            if len(corners) < 3:
                left_out["faces of fewer than three corners"] += 1
                continue
            names = [f"{v}/{t}" if textured else str(v) for v, t in corners]
            one = faces.setdefault((material, textured), [])
            one += [f"f {names[0]} {names[i]} {names[i + 1]}" for i in range(1, len(names) - 1)]
        elif key == "usemtl":
            material = line.split(None, 1)[1].strip() if len(words) > 1 else ""
        elif key == "mtllib" and len(words) > 1:
            libraries[line.split(None, 1)[1].strip()] = None
        elif key in _OTHERS:
            left_out[_OTHERS[key]] += 1
    for (most, line_number), there, what in zip(largest, (vertices, uvs), ("v", "vt"), strict=True):
        if most > len(there):
            raise fail(line_number, f"a face refers to {what} {most}, there are {len(there)}")
    if not coloured:  # of vertices some of which have colours trimesh keeps none; rows of one length it reads at once
        vertices = [" ".join(row.split()[:4]) for row in vertices]
    groups = tuple(Group(f"g{i}", *key) for i, key in enumerate(faces))
    body = [f"o {group.name}\n" + "\n".join(rows) for group, rows in zip(groups, faces.values(), strict=True)]
    plain = "\n".join(["\n".join(vertices), "\n".join(uvs), *body, ""])
    return Plain(plain, groups, tuple(libraries), left_out)


def _numbers(words: list[str]) -> bool:
    try:
        return bool([float(word) for word in words])
    except ValueError:
        return False


def _lines(text: str) -> list[str]:
    """Lines without comments; those that end in a backslash go on, with empty ones for the numbers' sake."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for i, line in enumerate(lines):
        if "#" in line:
            at = 0 if line.lstrip().startswith("#") else line.find(" #")
            lines[i] = line = line[:at] if at >= 0 else line
        if line.endswith("\\") and i + 1 < len(lines):
            lines[i], lines[i + 1] = "", line[:-1] + " " + lines[i + 1]
    return lines


def _short(text: str) -> str:
    """Quoted for a message, at most 60 characters, always one line."""
    text = text.strip()
    return repr(text if len(text) <= 60 else text[:57] + "...")
