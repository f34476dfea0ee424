"""Every shader in real Chromium: Tint compiles what naga lets through, and the same plans give the same results."""

from __future__ import annotations

import base64
import gzip
import mimetypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, Route

from splatlens.viewer.assemble_mesh import METHODS
from splatlens.viewer.executor import Executor, request_device
from splatlens.viewer.layout import constant
from splatlens.viewer.plan import pipeline, resolve
from tests.shaders.frames import assemble_layers
from tests.shaders.harness import frame_block
from tests.shaders.sort_cases import grouped, key_kinds, random_keys, sorted_order
from tests.test_pipeline_lint import STAGES
from tests.twin_scenes import TWIN_SCENES

ROOT = Path(__file__).resolve().parent.parent.parent
HOST = "http://localhost"  # a secure context; nothing listens there, the routes answer
NUMBERS = {"groups": 5, "layers": 2, "width": 64, "height": 32, "max_groups": 65535}
NOTHING: dict[str, list[dict[str, int]]] = {"cluster_layers": [], "record_layers": []}
EVERYTHING: dict[str, list[dict[str, Any]]] = {
    "cluster_layers": [{"groups": 2, "slots": 4, "sh_slot_words": 256 * 12}],
    "record_layers": [{"groups": 3, "rows": 700, "stride": 58}],
    "spacetime_layers": [{"groups": 2, "rows": 300, "words": 17}],
    "gaussian4d_layers": [{"groups": 2, "rows": 300, "words": 48}],
    "meshes": [{"width": 128, "height": 64, "layers": 4, "blocks": 3, "words": 100}],
    **{
        f"mesh_{name}_layers": [
            {"load": "clear", "params": 5, "directions": 7}
            | {"mesh_shading": f"mesh_{name}.0", "mesh_params": f"mesh_{name}_params.0"}
        ]
        for name in METHODS
    },
    "image_layers": [{"input_words": 3 * 64 * 32, "output_words": 3 * 64 * 32}],
    "image_tiles": [
        {"picture": "color", "input_words": 3 * 64 * 32}
        | {name: f"{name}.0" for name in ("image", "image_input", "image_output", "image_lost")}
    ],
    "generated_outputs": [{"words": 70}],
    "generated_layers": [
        {"groups": 1, **dict.fromkeys(("means", "shapes", "turns", "opacities", "colors"), "generated_output.0")}
    ],
}


def serve(route: Route) -> None:
    """Answers from static/, shaders/ and this folder."""
    path = ROOT / route.request.url.removeprefix(f"{HOST}/").split("?")[0]
    packed = path.with_name(f"{path.name}.gz")
    if route.request.url == f"{HOST}/":
        route.fulfill(body="<!doctype html><title>shaders</title>", content_type="text/html")
    elif path.is_file():
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        route.fulfill(body=path.read_bytes(), content_type=kind or "text/plain")
    elif packed.is_file():  # as the server has it
        kind = mimetypes.guess_type(path.name)[0]
        route.fulfill(body=gzip.decompress(packed.read_bytes()), content_type=kind or "text/plain")
    else:
        route.fulfill(status=404, body="")


def visit(open_page: Callable[..., Any], *expected: str) -> Page:
    """An empty page that can import the client; `expected`: parts of console messages that are no problem."""
    opened = open_page()
    opened.expect("favicon", *expected)
    page: Page = opened.page
    page.route(f"{HOST}/**", serve)
    page.goto(f"{HOST}/")
    return page


@pytest.fixture
def page(open_page: Callable[..., Any]) -> Page:
    return visit(open_page)


def call(page: Page, function: str, **arguments: Any) -> Any:
    """A function of shader_page.js."""
    script = f"async (a) => (await import('/tests/browser/shader_page.js')).{function}(a)"
    return page.evaluate(script, arguments)


def encode(data: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(data).tobytes()).decode()


def decode(text: str, dtype: Any = np.uint32) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(text), dtype)


def sort_run(keys: NDArray[np.uint32], max_groups: int = 65535) -> dict[str, Any]:
    """One run of the sort for `run` of shader_page.js."""
    groups = len(keys) // constant("GROUP")
    return {
        "numbers": {**NUMBERS, "groups": groups, "max_groups": max_groups},
        "lists": NOTHING,
        "uploads": {"frame": encode(frame_block(groups=groups, max_groups=max_groups)), "keys": encode(keys)},
    }


def test_every_stage_compiles(page: Page) -> None:
    got = call(page, "compile", numbers=NUMBERS, lists=EVERYTHING)
    assert got == {"outcome": STAGES, "errors": []}


@pytest.mark.parametrize(
    ("file", "was", "now", "message"),
    [
        ("lib/sort.wgsl", "(groups + SORT_CHUNK", "(group + SORT_CHUNK", "unresolved value 'group'"),
        # What naga lets through: this is why every shader is compiled here too.
        (
            "sort_scan_chunks.wgsl",
            "  workgroupBarrier();",
            "  if (sum > 0u) { workgroupBarrier(); }",
            "uniform control",
        ),
    ],
)
def test_what_tint_rejects_is_reported_with_file_and_line(
    open_page: Callable[..., Any], file: str, was: str, now: str, message: str
) -> None:
    lines = (ROOT / "shaders" / file).read_text().split("\n")
    line = next(i for i, text in enumerate(lines, 1) if was in text)
    page = visit(open_page, "WGSL", message)
    got = call(page, "compile", numbers=NUMBERS, lists=NOTHING, edits={file: [[was, now]]})
    assert got["outcome"].startswith("ShaderError: ")
    assert f"shaders/{file}:{line}:" in got["outcome"]
    assert message in got["outcome"]


def test_a_missing_file_is_reported(open_page: Callable[..., Any]) -> None:
    page = visit(open_page, "404")
    page.route(f"{HOST}/shaders/lib/sort.wgsl", lambda route: route.fulfill(status=404, body=""))
    got = call(page, "compile", numbers=NUMBERS, lists=NOTHING)
    assert got["outcome"] == f"Error: {HOST}/shaders/lib/sort.wgsl: HTTP 404, expected a shader"


def test_sorts_like_numpy(page: Page) -> None:
    cases = [(grouped(keys), 65535) for keys in key_kinds(20_000).values()]
    cases += [(grouped(random_keys(n, n)), 65535) for n in (0, 1, 2, 255, 256, 257, 65535)]
    cases += [(random_keys(400 * constant("GROUP")), 2), (random_keys(577 * constant("GROUP")), 3)]
    outputs = ["order", "sort_info", "draw_args"]
    got = call(page, "run", chosen=["compact", "sort"], runs=[sort_run(*case) for case in cases], outputs=outputs)
    assert got["errors"] == []
    for (keys, _), buffers in zip(cases, got["buffers"], strict=True):
        want = sorted_order(keys)
        assert decode(buffers["sort_info"])[0] == len(want)
        assert decode(buffers["draw_args"]).tolist() == [constant("SPLAT_VERTICES") * len(want), 1, 0, 0]
        np.testing.assert_array_equal(decode(buffers["order"])[: len(want)], want)


def test_buffers_grow_by_half_and_are_kept_when_large_enough(page: Page) -> None:
    frames = [grouped(random_keys(n, n)) for n in (2_000, 2_300, 40_000, 3_000)]
    runs = [sort_run(keys) for keys in frames]
    got = call(page, "run", chosen=["compact", "sort"], runs=runs, outputs=["order"])
    assert got["errors"] == []
    for keys, buffers in zip(frames, got["buffers"], strict=True):
        want = sorted_order(keys)
        np.testing.assert_array_equal(decode(buffers["order"])[: len(want)], want)
    # 8 groups, then 9 asked for and half as much again as there were made, then what is asked for, then nothing.
    words = [len(decode(buffers["order"])) // constant("GROUP") for buffers in got["buffers"]]
    assert words == [8, 12, 157, 157]
    assert ["order" in names for names in got["made"]] == [True, True, True, False]


@pytest.mark.parametrize(
    ("names", "kind"),
    # Half floats lose what 2,000 layers add up to, and adapters round them differently: 49 dB.
    [
        (["plain"], "rgba16float"),
        (["plain"], "rgba32float"),
        (["2,000 overlapping"], "rgba32float"),
        (["plain", "antialiased"], "rgba32float"),  # layers with kernels of their own
    ],
)
def test_the_same_picture_as_headless(page: Page, names: list[str], kind: str) -> None:
    frame, records = assemble_layers([TWIN_SCENES[name]() for name in names])
    uploads = {**frame.uploads, **records}
    executor = Executor(request_device(default_limits=True))
    plan = resolve(pipeline(), frame.numbers, frame.lists, {"color": kind})
    executor.prepare(plan)
    for buffer, data in uploads.items():
        executor.write(buffer, data)
    executor.run(plan)
    run = {"numbers": frame.numbers, "lists": frame.lists, "uploads": {k: encode(v) for k, v in uploads.items()}}
    stages = ["project", "compact", "sort", "draw", "present"]
    size = (frame.numbers["height"], frame.numbers["width"], 4)

    got = call(page, "run", chosen=stages, runs=[run], texture="color", formats={"color": kind}, float32=True)
    assert got["errors"] == []
    dtype = np.float16 if kind == "rgba16float" else np.float32
    picture = decode(got["picture"]["data"], dtype).reshape(size).astype(np.float32)
    assert picture.any()
    error = float(np.mean((picture - executor.read_texture("color")) ** 2))
    assert error < 10**-5.5  # 55 dB

    got = call(page, "run", chosen=stages, runs=[run], texture="canvas", formats={"color": kind}, float32=True)
    pixels = decode(got["picture"]["data"], np.uint8).reshape(size).astype(int)
    difference = np.abs(pixels - executor.read_texture("canvas"))
    assert (difference.max(axis=2) <= 1).mean() > 0.999


def test_the_executor_tells_of_errors_and_ends_once(open_page: Callable[..., Any]) -> None:
    page = visit(open_page, "BufferUsage")
    block = frame_block(groups=0, max_groups=65535, background=(0, 0, 0, 1))
    group = {name: np.asarray(block[name]).tolist() for name in block.dtype.names or ()}
    got = call(page, "lifecycle", numbers=NUMBERS | {"groups": 0}, lists=NOTHING, group=group)
    assert got["refused"] == [
        "no buffer named keys: the plan has not been prepared",
        "sort_scan_chunks is not compiled: await compile(plan) first",
        "this executor was destroyed",
        "no buffer named keys: the plan has not been prepared",
    ]
    assert len(got["errors"]) == 1 and got["errors"][0].startswith("WebGPU: ")
    assert got["silent"]
    assert got["timed"] == ["draw", "present", "sort_scan_chunks"]
    assert got["label"] == "keys"
    assert got["format"] in ("rgba8unorm", "bgra8unorm")
    assert got["size"] == block.nbytes
