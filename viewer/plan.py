"""Resolves shaders/pipeline.json and this frame's numbers into plain data: buffers, textures and passes. No GPU here.

Grammar (docs/pipeline.md; static/plan.js gives the same JSON). A count is {"items": x, "per": y, "times": z}
= ceil(x / y) * z, where x, y, z are integers, names of given numbers or constants, or "$field" of the entry of the list
that a pass, a group of passes, a buffer or a texture is repeated `for`. What is there only `when` a list has an entry
takes its fields from the first one. A texture of format "canvas" is what the page
shows: the page's executor draws to its canvas, ours to an rgba8unorm texture.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from splatlens.viewer.assets import SHADERS
from splatlens.viewer.layout import layout

Entry = Mapping[str, int | str]

_ELEMENTS = {"u32": 4, "f32": 4, "i32": 4, "vec4u": 16, "vec4f": 16}
_BUFFER_KEYS = {"element", "items", "per", "times", "usage", "for", "when"}
_TEXTURE_KEYS = {"format", "width", "height", "usage", "for", "when"}
_GROUP_KEYS = {"name", "for", "passes"}
_PASS_KEYS = {"name", "source", "bindings", "constants", "for", "dispatch", "draw"}
_DISPATCH_KEYS = {"items", "per", "times", "indirect", "offset"}
_DRAW_KEYS = {"targets", "depth", "vertices", "indirect", "offset"}
_TARGET_KEYS = {"texture", "load", "blend"}


@cache
def pipeline() -> dict[str, Any]:
    """The frame of shaders/pipeline.json."""
    result: dict[str, Any] = json.loads((SHADERS / "pipeline.json").read_text())
    return result


def spread(groups: int, limit: int) -> list[int]:
    """Workgroups [x, y, z] of at most `limit` each whose product is at least `groups`; shaders number them x first."""
    x = min(groups, limit)
    y = min(-(-groups // max(x, 1)), limit)
    z = -(-groups // max(x * y, 1))
    if z > limit:
        raise ValueError(f"{groups} workgroups do not fit {limit} a dimension")
    return [x, y, z]


def resolve(
    frame: Mapping[str, Any],
    numbers: Mapping[str, int],
    lists: Mapping[str, Sequence[Entry]],
    formats: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Plain JSON of one frame: {"buffers": {name: {size, usage}}, "textures": {...}, "passes": [...]}.

    numbers: named counts, among them max_groups. lists: what passes and buffers are repeated for (layers, digits);
    lists of the frame itself are overridden by those given. formats: textures whose format the device decides.
    Raises ValueError for unknown keys and names.
    """
    constants = layout()["constants"]
    every = {**frame.get("lists", {}), **lists}

    def number(value: int | str, entry: Entry | None) -> int:
        if isinstance(value, int):
            return value
        if value.startswith("$"):
            if entry is None or value[1:] not in entry:
                raise ValueError(f"pipeline.json: {value} is not a field of the list entry")
            return int(entry[value[1:]])
        if value in numbers:
            return int(numbers[value])
        if value in constants:
            return int(constants[value])
        raise ValueError(f"pipeline.json: no number named {value!r}")

    def count(item: Mapping[str, Any], entry: Entry | None) -> int:
        return -(-number(item["items"], entry) // number(item.get("per", 1), entry)) * number(
            item.get("times", 1), entry
        )

    def check(item: Mapping[str, Any], keys: set[str], where: str) -> None:
        if unknown := set(item) - keys:
            raise ValueError(f"pipeline.json: {where}: unknown key {sorted(unknown)[0]!r}")

    def entries(item: Mapping[str, Any]) -> Sequence[Entry | None]:
        name = item.get("for", item.get("when"))
        if name is None:
            return (None,)
        if name not in every:
            raise ValueError(f"pipeline.json: no list named {name!r}")
        found: Sequence[Entry | None] = every[name]
        return found if "for" in item else found[:1]

    def named(name: str, item: Mapping[str, Any], i: int) -> str:
        return f"{name}.{i}" if "for" in item else name

    buffers: dict[str, Any] = {}
    for name, item in frame["buffers"].items():
        check(item, _BUFFER_KEYS, f"buffer {name}")
        element = item["element"]
        if element not in _ELEMENTS and element not in layout()["structs"]:
            raise ValueError(f"pipeline.json: buffer {name}: no element named {element!r}")
        size = _ELEMENTS[element] if element in _ELEMENTS else layout()["structs"][element]["size"]
        for i, entry in enumerate(entries(item)):
            # A binding holds at least one element, a uniform at least 16 bytes.
            buffers[named(name, item, i)] = {
                "size": max(16, size, -(-count(item, entry) * size // 4) * 4),
                "usage": item["usage"],
            }

    textures: dict[str, Any] = {}
    formats = formats or {}
    for name, item in frame.get("textures", {}).items():
        check(item, _TEXTURE_KEYS, f"texture {name}")
        form = formats.get(name, item["format"])
        if form in frame["textures"]:  # the same as that texture's
            form = formats.get(form, frame["textures"][form]["format"])
        for i, entry in enumerate(entries(item)):
            textures[named(name, item, i)] = {
                "format": form,
                "width": number(item["width"], entry),
                "height": number(item["height"], entry),
                "usage": item["usage"],
            }

    def resource(name: str, index: int, entry: Entry | None) -> str:
        if name.startswith("$"):
            name = str((entry or {})[name[1:]])
        for candidate in (f"{name}.{index}", name):
            if candidate in buffers or candidate in textures:
                return candidate
        raise ValueError(f"pipeline.json: no buffer or texture named {name!r}")

    passes: list[dict[str, Any]] = []

    def add(item: Mapping[str, Any], index: int, entry: Entry | None) -> None:
        out: dict[str, Any] = {
            "name": item["name"],
            "label": item["name"] if entry is None else f"{item['name']}.{index}",
            "source": item["source"],
            "bindings": [resource(b, index, entry) for b in item["bindings"]],
            "constants": {k: number(v, entry) for k, v in item.get("constants", {}).items()},
        }
        if "dispatch" in item:
            d = item["dispatch"]
            check(d, _DISPATCH_KEYS, f"dispatch of {item['name']}")
            if "indirect" in d:
                out["dispatch"] = {"indirect": resource(d["indirect"], index, entry), "offset": d.get("offset", 0)}
            else:
                out["dispatch"] = {"groups": spread(count(d, entry), number("max_groups", None))}
                if out["dispatch"]["groups"][0] == 0:
                    return
        else:
            check(item["draw"], _DRAW_KEYS, f"draw of {item['name']}")
            targets = []
            for target in item["draw"]["targets"]:
                check(target, _TARGET_KEYS, f"target of {item['name']}")
                one = {**target, "texture": resource(target["texture"], index, entry)}
                targets.append(one | ({"load": (entry or {})["load"]} if target["load"] == "$load" else {}))
            out["draw"] = {**item["draw"], "targets": targets}
            if isinstance(out["draw"].get("vertices"), Mapping):
                out["draw"]["vertices"] = count(out["draw"]["vertices"], entry)
        passes.append(out)

    for item in frame["passes"]:
        group = item.get("passes", [item])
        if "passes" in item:
            check(item, _GROUP_KEYS, f"group of passes {item.get('name')}")
        for one in group:
            check(one, _PASS_KEYS, f"pass {one.get('name')}")
        for i, entry in enumerate(entries(item)):
            for one in group:
                add(one, i, entry)
    return {"buffers": buffers, "textures": textures, "passes": passes}
