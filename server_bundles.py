"""The frame in one response: shaders, layout and pipeline as the page takes them, what few scenes need apart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from splatlens.viewer.assets import bare_wgsl

#: Lists of the pipeline that a scene of stored splats gives; those that the pipeline itself gives, not empty, every
#: frame has.
COMMON_LISTS = ("cluster_layers",)


def shader_bundles(bodies: dict[str, bytes]) -> dict[str, bytes]:
    """Two responses instead of twenty, each {layout, pipeline, files: {path: WGSL without comments}} as JSON.

    bodies: files of shaders/ by path. `bundle.json` is all that scenes of stored splats need; `bundle_live.json` has
    layout and pipeline whole, and the files that are not in the first: for scenes with layers of any other kind.
    """
    wgsl = {n: bare_wgsl(b.decode()) for n, b in sorted(bodies.items()) if n.endswith(".wgsl")}
    known = {n: json.loads(bodies[f"{n}.json"]) for n in ("layout", "pipeline") if f"{n}.json" in bodies}
    pipeline = known.get("pipeline", {"lists": {}, "buffers": {}, "passes": []})
    small = _common(pipeline)
    common = {path for one in _passes(small) for path in one["source"]}
    rare = {path for one in _passes(pipeline) for path in one["source"]} - common
    slim = dict(known)
    if "pipeline" in known:
        slim["pipeline"] = small
    if len(known) == 2:
        slim["layout"] = _layout(known["layout"], small)
    made = {
        "bundle": {**slim, "files": {n: text for n, text in wgsl.items() if n not in rare}},
        "bundle_live": {**known, "files": {n: text for n, text in wgsl.items() if n in rare}},
    }
    return {f"shaders/{n}.json": json.dumps(value, separators=(",", ":")).encode() for n, value in made.items()}


def _passes(pipeline: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every pass, those of groups included."""
    for item in pipeline["passes"]:
        yield from item.get("passes", [item])


def _common(pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """The pipeline of scenes of stored splats: their passes, and the lists, buffers and textures that these name."""
    lists = {name: entries for name, entries in pipeline["lists"].items() if entries}
    passes = [p for p in pipeline["passes"] if p.get("for", COMMON_LISTS[0]) in (*COMMON_LISTS, *lists)]
    lists = {name: lists[name] for name in lists if name in {p.get("for") for p in passes}}
    used = {str(value) for entries in lists.values() for entry in entries for value in entry.values()}
    for one in _passes({"passes": passes}):
        used |= set(one["bindings"])
        for what in (one.get("draw", {}), one.get("dispatch", {})):
            used |= {target["texture"] for target in what.get("targets", [])} | {str(what.get("indirect"))}
    kept = {kind: {n: v for n, v in pipeline.get(kind, {}).items() if n in used} for kind in ("buffers", "textures")}
    return {"lists": lists, **kept, "passes": passes}


def _layout(layout: Mapping[str, Any], pipeline: Mapping[str, Any]) -> dict[str, Any]:
    """The layout without the structs that no buffer of the pipeline holds."""
    elements = {buffer["element"] for buffer in pipeline["buffers"].values()}
    return {**layout, "structs": {n: s for n, s in layout["structs"].items() if n in elements}}
