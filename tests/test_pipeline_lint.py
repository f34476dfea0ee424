"""What pipeline.json, the shaders, their NumPy twins and their tests promise each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from splatlens.viewer import plan
from splatlens.viewer.assemble import ATTRIBUTES
from splatlens.viewer.assets import SHADERS
from splatlens.viewer.executor import DEFAULT_LIMITS, joined_source
from splatlens.viewer.layout import constant
from splatlens.viewer.plan import pipeline

TESTS = Path(__file__).resolve().parent
BINDING = re.compile(r"@group\((\d+)\) @binding\((\d+)\) var(?:<([^>]*)>)? (\w+)\s*:\s*([^;]+);")


def passes() -> list[dict[str, Any]]:
    """Every pass, those of groups included."""
    return [p for item in pipeline()["passes"] for p in item.get("passes", [item])]


#: What the stages that shade meshes bind under one name: a buffer of each method, by the stage's name.
SHADING = {"$mesh_shading": "{}", "$mesh_params": "{}_params"}
PASSES = [pytest.param(p, id=f"{i}-{p['name']}") for i, p in enumerate(passes())]
STAGES = sorted({p["name"] for p in passes()})


def code(p: dict[str, Any]) -> str:
    """A pass's WGSL without comments."""
    return re.sub(r"//[^\n]*", "", joined_source(tuple(p["source"])))


@pytest.mark.parametrize("p", PASSES)
def test_bindings_are_named_as_in_the_shader(p: dict[str, Any]) -> None:
    declared = BINDING.findall(code(p))
    assert len(declared) == len(re.findall(r"@binding\(", code(p)))
    assert [(g, b) for g, b, *_ in declared] == [("0", str(i)) for i in range(len(declared))]
    # A binding that differs from repeat to repeat is named after the list's field.
    assert [name for *_, name, _ in declared] == [b.removeprefix("$") for b in p["bindings"]]


@pytest.mark.parametrize("p", PASSES)
def test_resources_are_used_as_they_were_made(p: dict[str, Any]) -> None:
    lists: dict[str, Any] = pipeline()["lists"]
    for (_, _, space, _, kind), name in zip(BINDING.findall(code(p)), p["bindings"], strict=True):
        names = [name]
        if name.startswith("$"):  # which of several buffers it is, the frame's own lists say, or those that are given
            names = [e[name[1:]] for entries in lists.values() for e in entries if name[1:] in e]
            fixed = name[1:] if name.startswith("$image") else "generated_output"
            names = names or [SHADING[name].format(p["name"]) if name in SHADING else fixed]
            assert names != ["generated_output"] or name[1:] in ATTRIBUTES
        for one in names:
            if space == "":
                assert kind.startswith("texture_") and one in pipeline()["textures"]
                continue
            buffer = pipeline()["buffers"][one]
            assert ("UNIFORM" if space == "uniform" else "STORAGE") in buffer["usage"], one
            element = re.sub(r"array<(?:atomic<)?(\w+)>+", r"\1", kind)
            assert element == buffer["element"] or (element, buffer["element"]) == ("vec4u", "u32"), one
    storage = [b for b in BINDING.findall(code(p)) if b[2].startswith("storage")]
    assert len(storage) <= DEFAULT_LIMITS["max-storage-buffers-per-shader-stage"]


@pytest.mark.parametrize("p", PASSES)
def test_a_stage_is_a_file_and_an_entry_point_of_the_same_name(p: dict[str, Any]) -> None:
    assert p["source"][-1] == f"{p['name']}.wgsl"
    entries = re.findall(r"@(compute|vertex|fragment)\b[^{]*?\bfn (\w+)", code(p))
    if "draw" in p:
        assert entries == [("vertex", f"{p['name']}_vs"), ("fragment", f"{p['name']}_fs")]
    else:
        assert entries == [("compute", p["name"])]
    for library in p["source"][:-1]:
        assert library == "structs.wgsl" or library.startswith("lib/")
        assert "@binding" not in re.sub(r"//[^\n]*", "", (SHADERS / library).read_text())


@pytest.mark.parametrize("p", PASSES)
def test_overrides_are_the_manifests_constants(p: dict[str, Any]) -> None:
    assert sorted(re.findall(r"\boverride (\w+)", code(p))) == sorted(p.get("constants", {}))
    # Safari takes the length of a workgroup array from an override for 0.
    for length in re.findall(r"var<workgroup>[^;]*array<[^;]*,([^;]*)>;", code(p)):
        assert not set(re.findall(r"[a-z]\w*", length)) & set(p.get("constants", {}))


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_twin_and_a_test(stage: str) -> None:
    assert re.search(rf"^def {stage}\(", (TESTS / "reference" / f"{stage}.py").read_text(), re.M)
    test = (TESTS / "shaders" / f"test_{stage}.py").read_text()
    assert f"from tests.reference.{stage} import {stage}" in test
    assert re.search(rf"\b{stage}\(", test.replace("def test_", ""))


def test_no_shader_is_left_over() -> None:
    used = {f for p in passes() for f in p["source"]}
    assert used == {str(f.relative_to(SHADERS)) for f in SHADERS.rglob("*.wgsl")}


def test_no_buffer_is_left_over() -> None:
    used = {b for p in passes() for b in p["bindings"]} | {p["draw"].get("indirect") for p in passes() if "draw" in p}
    used |= {"generated_output"}  # bound by way of "$means" and the others
    used |= {b.removeprefix("$") for b in used if b and b.startswith("$image")}
    used |= {SHADING[b].format(p["name"]) for p in passes() for b in p["bindings"] if b in SHADING}
    used |= {v for entries in pipeline()["lists"].values() for e in entries for v in e.values()}
    assert set(pipeline()["buffers"]) <= used


def test_only_structs_wgsl_declares_what_buffers_hold() -> None:
    bound = {t for p in passes() for *_, kind in BINDING.findall(code(p)) for t in re.findall(r"\w+", kind)}
    for path in SHADERS.rglob("*.wgsl"):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        if path.name == "structs.wgsl":
            continue
        for name, fields in re.findall(r"\bstruct (\w+)\s*\{([^}]*)\}", text):
            # What functions hand each other lies in no buffer.
            if path.parent.name == "lib" and name not in bound and "@" not in fields:
                continue
            # Between a vertex and a fragment stage: every field says which location or builtin it is.
            for field in filter(None, (f.strip() for f in re.split(r",(?![^(]*\))", fields))):
                assert field.startswith(("@location", "@builtin")), f"{path.name}: {name}"


def test_the_sort_covers_every_bit_of_a_key_once() -> None:
    bits, digits = constant("SORT_BITS"), pipeline()["lists"]["digits"]
    last = next(p for p in passes() if p["name"] == "sort_finish")
    shifts = [0, *(d["shift"] for d in digits), last["constants"]["shift"]]
    assert shifts == list(range(0, constant("KEY_BITS"), bits))
    assert shifts[-1] + bits >= constant("KEY_BITS")


def test_each_digit_reads_what_the_one_before_it_wrote() -> None:
    first = next(p for p in passes() if p["name"] == "compact_scatter")
    last = next(p for p in passes() if p["name"] == "sort_finish")
    there = tuple(first["bindings"][-2:])
    for d in pipeline()["lists"]["digits"]:
        assert (d["keys"], d["values"]) == there
        there = (d["to_keys"], d["to_values"])
        assert not set(there) & {d["keys"], d["values"]}
    assert there == (last["bindings"][1], last["bindings"][2])
    assert last["bindings"][-1] not in there


def test_workgroup_memory_is_cleared_by_hand() -> None:
    # wgpu-py leaves it dirty: what reads it must have written it. Only one stage uses any, whole, before its barrier.
    users = [path.name for path in SHADERS.rglob("*.wgsl") if "var<workgroup>" in path.read_text()]
    assert users == ["sort_scan_chunks.wgsl"]


def test_the_documentation_names_every_stage_and_key() -> None:
    text = (TESTS.parent / "docs" / "pipeline.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+)` \|", text, re.M)) == STAGES
    keys = {key for name, group in vars(plan).items() if name.endswith("_KEYS") for key in group}
    assert len(keys) > 15
    assert {k for k in keys if f'"{k}"' not in text and f"`{k}`" not in text} == set()
