"""The frame plan: counts, repeats, errors, and the same JSON from static/plan.js."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from splatlens.viewer.layout import constant, layout
from splatlens.viewer.plan import pipeline, resolve, spread

NODE_SCRIPT = Path(__file__).parent / "js" / "plan_twin.mjs"
NUMBERS = {"groups": 444, "layers": 2, "width": 640, "height": 361, "max_groups": 65535}
RECORDS = {"groups": 300, "rows": 76543, "stride": 13}
CLUSTERS = {"groups": 144, "slots": 200, "sh_slot_words": 768}
NOTHING: dict[str, list[dict[str, int | str]]] = {"cluster_layers": [], "record_layers": []}
MESHES: dict[str, list[dict[str, int | str]]] = {
    "meshes": [{"width": 1280, "height": 722, "layers": 2, "blocks": 9, "words": 1000}],
    "mesh_plain_layers": [
        {"load": load, "params": n, "mesh_shading": f"mesh_plain.{i}", "mesh_params": f"mesh_plain_params.{i}"}
        for i, (load, n) in enumerate([("clear", 2), ("load", 5)])
    ],
    "bare": [],
}
PASS: dict[str, Any] = {"name": "p", "source": ["p.wgsl"], "bindings": [], "dispatch": {"items": 1}}
DRAWING: dict[str, Any] = {"name": "p", "source": ["p.wgsl"], "bindings": []}


def tiny(**parts: Any) -> dict[str, Any]:
    """A frame of these parts alone."""
    return {"buffers": {}, "passes": [], **parts}


def frames() -> list[dict[str, Any]]:
    """What both sides must resolve alike: several layers, none at all, forced dimensions, formats of the device."""
    return [
        {"frame": pipeline(), "numbers": n, "lists": lists, "formats": formats}
        for n in (
            NUMBERS,
            NUMBERS | {"max_groups": 3, "groups": 400},
            NUMBERS | {"groups": 0},
            NUMBERS | {"groups": 65537},
        )
        for lists, formats in (
            ({"cluster_layers": [CLUSTERS], "record_layers": [RECORDS, RECORDS | {"rows": 1, "groups": 1}]}, {}),
            (NOTHING, {"color": "rgba32float"}),
            (NOTHING | MESHES, {"color": "rgba32float"}),
        )
        if n["max_groups"] > 3 or not lists["cluster_layers"]
    ] + [
        {
            "frame": tiny(
                lists={"l": [{"n": 5, "to": "b"}, {"n": 7, "to": "a"}]},
                buffers={
                    "a": {
                        "element": "vec4u",
                        "items": "$n",
                        "per": 2,
                        "times": "GROUP",
                        "usage": ["STORAGE"],
                        "for": "l",
                    },
                    "b": {"element": "f32", "items": 0, "usage": ["UNIFORM"]},
                    "c": {"element": "u32", "items": "$n", "usage": ["STORAGE"], "when": "l"},
                },
                passes=[
                    {"name": "g", "for": "l", "passes": [PASS | {"bindings": ["$to"]}, PASS | {"name": "q"}]},
                    PASS | {"dispatch": {"indirect": "b", "offset": 4}, "constants": {"c": "$n"}, "for": "l"},
                    PASS | {"dispatch": {"indirect": "b"}},
                ],
            ),
            "numbers": {"max_groups": 9},
            "lists": {},
            "formats": {},
        }
    ]


def test_javascript_resolves_the_same_plans(tmp_path: Path) -> None:
    cases = frames()
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"layout": layout(), "cases": cases}))
    run = subprocess.run(["node", NODE_SCRIPT, path], capture_output=True, text=True, check=True)
    for case, got in zip(cases, json.loads(run.stdout), strict=True):
        assert got == resolve(case["frame"], case["numbers"], case["lists"], case["formats"])


@pytest.mark.parametrize(
    ("groups", "limit", "want"),
    [
        (0, 3, [0, 0, 0]),
        (3, 3, [3, 1, 1]),
        (4, 3, [3, 2, 1]),
        (10, 3, [3, 3, 2]),
        (27, 3, [3, 3, 3]),
        (5, 65535, [5, 1, 1]),
    ],
)
def test_spread(groups: int, limit: int, want: list[int]) -> None:
    assert spread(groups, limit) == want


def test_spread_says_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="28 workgroups do not fit 3 a dimension"):
        spread(28, 3)


def test_counts_of_a_scene() -> None:
    plan = resolve(pipeline(), NUMBERS, {"cluster_layers": [CLUSTERS], "record_layers": [RECORDS]})
    buffers = plan["buffers"]
    assert buffers["keys"]["size"] == 4 * 444 * 256
    assert buffers["records.0"]["size"] == 4 * 76543 * 13
    assert buffers["geometry.0"]["size"] == 4 * 200 * constant("SLOT_WORDS")
    assert buffers["sort_info"]["size"] == 16  # the least a uniform may have
    labels = [p["label"] for p in plan["passes"]]
    assert labels[:2] == ["project_clusters.0", "project_records.0"]
    assert labels[6:10] == ["sort_count.0", "sort_scan_runs.0", "sort_scan_chunks.0", "sort_scatter.0"]
    assert labels[-2:] == ["draw.0", "present.0"]
    project = plan["passes"][1]
    assert project["dispatch"] == {"groups": [300, 1, 1]}
    assert project["bindings"][1] == "record_span.0"


def test_the_sorts_passes_depend_on_the_bits_of_keys_only() -> None:
    few = resolve(pipeline(), NUMBERS | {"groups": 1}, NOTHING)
    many = resolve(pipeline(), NUMBERS | {"groups": 1 << 18}, NOTHING)
    assert [p["label"] for p in few["passes"]] == [p["label"] for p in many["passes"]]
    assert len([p for p in few["passes"] if p["name"] in ("compact_scatter", "sort_scatter", "sort_finish")]) == -(
        -constant("KEY_BITS") // constant("SORT_BITS")
    )


def test_meshes_take_the_place_of_the_plain_draw() -> None:
    plan = resolve(pipeline(), NUMBERS, NOTHING | MESHES)
    passes = {p["label"]: p for p in plan["passes"]}
    drawn = ["mesh_raster.0", "mesh_plain.0", "mesh_plain.1", "mesh_resolve.0", "draw_over.0", "present.0"]
    assert list(passes)[-6:] == drawn
    raster = passes["mesh_raster.0"]["draw"]
    assert raster["vertices"] == 9 * constant("MESH_CORNERS") and raster["depth"] == "mesh_depths"
    assert [passes[f"mesh_plain.{i}"]["draw"]["targets"][0]["load"] for i in (0, 1)] == ["clear", "load"]
    assert plan["textures"]["mesh_ids"]["width"] == 1280 and plan["textures"]["mesh_front"]["width"] == 640
    assert plan["buffers"]["mesh_words"]["size"] == 4000 and plan["buffers"]["mesh_plain_params.1"]["size"] == 80
    without = resolve(pipeline(), NUMBERS, NOTHING)
    assert not [name for kind in ("buffers", "textures") for name in without[kind] if name.startswith("mesh")]


def test_passes_of_nothing_are_left_out() -> None:
    names = [p["name"] for p in resolve(pipeline(), NUMBERS | {"groups": 0}, NOTHING)["passes"]]
    # Whatever a frame before this one found, this one draws nothing: the arguments are written all the same.
    assert set(names) == {"sort_scan_chunks", "draw", "present"}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (tiny(buffers={"b": {"element": "u32", "items": 1, "usage": [], "size": 3}}), "buffer b: unknown key 'size'"),
        (tiny(buffers={"b": {"element": "u32", "items": "splats", "usage": []}}), "no number named 'splats'"),
        (tiny(buffers={"b": {"element": "Fame", "items": 1, "usage": []}}), "buffer b: no element named 'Fame'"),
        (tiny(buffers={"b": {"element": "u32", "items": "$n", "usage": []}}), r"\$n is not a field of the list entry"),
        (
            tiny(buffers={"b": {"element": "u32", "items": 1, "usage": [], "for": "leaves"}}),
            "no list named 'leaves'",
        ),
        (
            tiny(textures={"t": {"format": "r8unorm", "width": 1, "height": 1, "usage": [], "depth": 1}}),
            "texture t: unknown key 'depth'",
        ),
        (tiny(passes=[PASS | {"bind": []}]), "pass p: unknown key 'bind'"),
        (tiny(passes=[PASS | {"bindings": ["b"]}]), "no buffer or texture named 'b'"),
        (
            tiny(passes=[{"name": "g", "for": "l", "passes": [PASS], "bindings": []}]),
            "group of passes g: unknown key 'bindings'",
        ),
        (tiny(passes=[{"name": "g", "for": "l", "passes": [PASS | {"bind": []}]}]), "pass p: unknown key 'bind'"),
        (
            tiny(passes=[DRAWING | {"draw": {"targets": [], "count": 3}}]),
            "draw of p: unknown key 'count'",
        ),
        (
            tiny(passes=[DRAWING | {"draw": {"targets": [{"texture": "t", "depth": 1}]}}]),
            "target of p: unknown key 'depth'",
        ),
        (
            tiny(passes=[DRAWING | {"draw": {"targets": [{"texture": "t"}]}}]),
            "no buffer or texture named 't'",
        ),
        (tiny(passes=[PASS | {"dispatch": {"item": 1}}]), "dispatch of p: unknown key 'item'"),
    ],
)
def test_errors_name_the_place(frame: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^pipeline.json: .*{message}"):
        resolve(frame, {"max_groups": 1}, {"l": [{}]})
