"""structs.wgsl, layout.json, NumPy dtypes, static/layout.js and the GPU all mean the same bytes."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wgpu

from splatlens.viewer import layout as module
from splatlens.viewer.assets import SHADERS
from splatlens.viewer.executor import request_device
from splatlens.viewer.layout import constant, dtype, layout, parse

NODE_SCRIPT = Path(__file__).parent / "js" / "plan_twin.mjs"
STRUCTS = sorted(layout()["structs"])


def words(name: str) -> list[tuple[str, int]]:
    """WGSL expression and byte offset of each number in a struct, in order."""
    out = []
    for field in layout()["structs"][name]["fields"]:
        for index in itertools.product(*map(range, field["shape"])):
            steps = [field["stride"], 4] if len(index) == 2 else [4]
            offset = field["offset"] + sum(i * s for i, s in zip(index, steps, strict=False))
            out.append((field["name"] + "".join(f"[{i}]" for i in index), offset))
    return out


@pytest.fixture(scope="module")
def device() -> wgpu.GPUDevice:
    return request_device(default_limits=True)


@pytest.mark.parametrize("name", STRUCTS)
def test_a_shader_reads_every_field_where_layout_says(device: wgpu.GPUDevice, name: str) -> None:
    expressions = words(name)
    reads = "\n".join(f"  found[{i}u] = bitcast<u32>(given[1].{e});" for i, (e, _) in enumerate(expressions))
    code = f"""{(SHADERS / "structs.wgsl").read_text()}
@group(0) @binding(0) var<storage, read> given: array<{name}>;
@group(0) @binding(1) var<storage, read_write> found: array<u32>;
@compute @workgroup_size(1) fn probe() {{
{reads}
}}"""
    size = layout()["structs"][name]["size"]
    # Every word differs, and is a normal float32: nothing is flushed to zero on the way through an f32.
    pattern = 0x3F800000 + np.arange(2 * size // 4, dtype=np.uint32)
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC
    given = device.create_buffer_with_data(data=pattern, usage=usage)
    found = device.create_buffer(size=4 * len(expressions), usage=usage)
    shader = device.create_shader_module(code=code)
    pipeline = device.create_compute_pipeline(layout="auto", compute={"module": shader, "entry_point": "probe"})
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": i, "resource": {"buffer": b, "offset": 0, "size": b.size}} for i, b in enumerate((given, found))
        ],
    )
    encoder = device.create_command_encoder()
    p = encoder.begin_compute_pass()
    p.set_pipeline(pipeline)
    p.set_bind_group(0, group)
    p.dispatch_workgroups(1)
    p.end()
    device.queue.submit([encoder.finish()])
    got = np.frombuffer(device.queue.read_buffer(found), np.uint32)
    assert [(e, int(w)) for (e, _), w in zip(expressions, got, strict=True)] == [
        (e, int(pattern[(size + offset) // 4])) for e, offset in expressions
    ]


def random_values(name: str) -> dict[str, Any]:
    """A value a field: numbers, rows, or columns of numbers."""
    r = np.random.default_rng(len(name))
    values: dict[str, Any] = {}
    for field in layout()["structs"][name]["fields"]:
        if field["scalar"] == "f32":
            value = r.normal(size=field["shape"]).astype(np.float32)
        else:
            value = r.integers(0, 2**31, field["shape"])
        values[field["name"]] = np.asarray(value).tolist()
    return values


def test_numpy_and_javascript_pack_the_same_bytes(tmp_path: Path) -> None:
    cases = [{"struct": name, "values": random_values(name)} for name in STRUCTS]
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"layout": layout(), "cases": cases}))
    run = subprocess.run(["node", NODE_SCRIPT, path], capture_output=True, text=True, check=True)
    for case, got in zip(cases, json.loads(run.stdout), strict=True):
        record = np.zeros((), dtype(case["struct"]))
        for name, value in case["values"].items():
            array = np.asarray(value)
            record[name][tuple(map(slice, array.shape))] = array
        assert got == {"before": False, "bytes": record.tobytes().hex(), "values": case["values"]}


def test_layout_json_is_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert module.main(["--check"]) == 0
    (tmp_path / "structs.wgsl").write_text((SHADERS / "structs.wgsl").read_text() + "const EXTRA: u32 = 1u;\n")
    (tmp_path / "layout.json").write_text((SHADERS / "layout.json").read_text())
    monkeypatch.setattr(module, "SHADERS", tmp_path)
    assert module.main(["--check"]) == 1
    assert "out of date: run `python -m splatlens.viewer.layout`" in capsys.readouterr().err
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0


def test_offsets_follow_the_specification() -> None:
    # The example of WGSL section 14.4.1, as far as the grammar goes.
    s = parse("""
        const N: u32 = 3u;  // a comment
        struct A { u: f32, v: f32, w: vec2f, x: f32 }
        struct B { a: vec2f, b: vec3f, c: f32, d: f32, e: mat3x3f, f: array<f32, N>, g: mat2x2f, h: array<u32, 5>,
                   i: atomic<u32> }
    """)
    assert s["constants"] == {"N": 3}
    assert [f["offset"] for f in s["structs"]["A"]["fields"]] == [0, 4, 8, 16]
    assert s["structs"]["A"]["size"] == 24
    assert [f["offset"] for f in s["structs"]["B"]["fields"]] == [0, 16, 28, 32, 48, 96, 112, 128, 148]
    assert (s["structs"]["B"]["size"], s["structs"]["B"]["align"]) == (160, 16)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("const N: u32 = 1u + 1u;", "near line 1: expected"),
        ("const A: u32 = 1u;\nfn f() {}", "near line 2: expected .* got 'fn f"),
        ("struct S { a: vec3h }", "type 'vec3h' is not in the accepted grammar"),
        ("struct S { a: array<vec4f, 2> }", "arrays of scalars only"),
        ("struct S { a: bool }", "type 'bool'"),
    ],
)
def test_what_is_outside_the_grammar_is_an_error(source: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(source)


def test_constants_are_numbers() -> None:
    assert constant("GROUP") == 256
    assert constant("KEY_CULLED") == 0xFFFFFFFF
