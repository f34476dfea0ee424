"""Reads shaders/structs.wgsl into layout.json: offsets, strides and constants for Python and JavaScript.

`python -m splatlens.viewer.layout` writes the file, `--check` fails where it is out of date. Offsets follow the WGSL
specification, section 14.4 (memory layout); the grammar is small on purpose and everything outside it is an error.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from typing import Any

import numpy as np

from splatlens.viewer.assets import SHADERS

_SCALARS = {"f32": "<f4", "u32": "<u4", "i32": "<i4"}
_SUFFIX = {"f": "f32", "u": "u32", "i": "i32"}


def _align(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment


def parse_type(name: str, constants: dict[str, Any]) -> dict[str, Any]:
    """Layout of a WGSL type: scalar, shape (rows first), row stride, size and alignment in bytes."""
    name = name.strip()
    if name in _SCALARS:
        return {"scalar": name, "shape": [], "stride": 4, "size": 4, "align": 4}
    if m := re.fullmatch(r"atomic<(u32|i32)>", name):
        return parse_type(m[1], constants)
    if m := re.fullmatch(r"vec([234])([fui])", name):
        n = int(m[1])
        return {"scalar": _SUFFIX[m[2]], "shape": [n], "stride": 4, "size": 4 * n, "align": 8 if n == 2 else 16}
    if m := re.fullmatch(r"mat([234])x([234])f", name):
        columns, rows = int(m[1]), int(m[2])
        stride = 8 if rows == 2 else 16
        return {"scalar": "f32", "shape": [columns, rows], "stride": stride, "size": columns * stride, "align": stride}
    if m := re.fullmatch(r"array<(\w+),\s*(\w+)>", name):
        inner = parse_type(m[1], constants)
        length = constants[m[2]] if m[2] in constants else int(m[2].rstrip("u"))
        if inner["shape"]:
            raise ValueError(f"structs.wgsl: {name}: arrays of scalars only")
        return {"scalar": inner["scalar"], "shape": [length], "stride": 4, "size": 4 * length, "align": 4}
    raise ValueError(f"structs.wgsl: type {name!r} is not in the accepted grammar")


def parse(source: str) -> dict[str, Any]:
    """{"constants": {name: number}, "structs": {name: {"size", "align", "fields": [...]}}} of WGSL declarations."""
    text = re.sub(r"//[^\n]*", "", source)
    constants: dict[str, Any] = {}
    structs: dict[str, Any] = {}
    position = 0
    item = re.compile(
        r"\s*(?:const\s+(\w+)\s*:\s*(u32|i32|f32)\s*=\s*([-\w.+]+)\s*;|struct\s+(\w+)\s*\{([^}]*)\}\s*;?)\s*"
    )
    while position < len(text.rstrip()):
        m = item.match(text, position)
        if not m:
            line = source.count("\n", 0, position) + 1
            raise ValueError(
                f"structs.wgsl: near line {line}: expected `const NAME: u32 = 1u;` or a struct, "
                f"got {text[position : position + 40].strip()!r}"
            )
        position = m.end()
        if m[1]:
            constants[m[1]] = float(m[3].rstrip("f")) if m[2] == "f32" else int(m[3].rstrip("ui"), 0)
            continue
        fields, offset, alignment = [], 0, 4
        for declaration in filter(None, (d.strip() for d in re.split(r",(?![^<]*>)", m[5]))):
            name, _, kind = declaration.partition(":")
            t = parse_type(kind, constants)
            offset = _align(offset, t["align"])
            fields.append({"name": name.strip(), "offset": offset, **{k: t[k] for k in ("scalar", "shape", "stride")}})
            offset += t["size"]
            alignment = max(alignment, t["align"])
        structs[m[4]] = {"size": _align(offset, alignment), "align": alignment, "fields": fields}
    return {"constants": constants, "structs": structs}


@cache
def layout() -> dict[str, Any]:
    """The committed layout.json."""
    result: dict[str, Any] = json.loads((SHADERS / "layout.json").read_text())
    return result


def constant(name: str) -> int:
    """An integer constant of structs.wgsl."""
    return int(layout()["constants"][name])


@cache
def dtype(struct: str) -> np.dtype[Any]:
    """NumPy dtype of a struct. Matrices are (columns, rows padded to 4): column-major, as WGSL stores them."""
    s = layout()["structs"][struct]
    formats = []
    for f in s["fields"]:
        shape = tuple(f["shape"])
        if len(shape) == 2:
            shape = (shape[0], f["stride"] // 4)
        formats.append((_SCALARS[f["scalar"]], shape) if shape else _SCALARS[f["scalar"]])
    return np.dtype(
        {
            "names": [f["name"] for f in s["fields"]],
            "formats": formats,
            "offsets": [f["offset"] for f in s["fields"]],
            "itemsize": s["size"],
        }
    )


def main(arguments: list[str]) -> int:
    text = json.dumps(parse((SHADERS / "structs.wgsl").read_text()), indent=1) + "\n"
    path = SHADERS / "layout.json"
    if arguments == ["--check"]:
        if not path.exists() or path.read_text() != text:
            print("shaders/layout.json is out of date: run `python -m splatlens.viewer.layout`", file=sys.stderr)
            return 1
        return 0
    path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
