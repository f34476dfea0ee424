"""Figures of the GPU work: the sort, the passes of a frame, and the browser beside wgpu-py."""

from __future__ import annotations

import base64
import shutil
import statistics
import sys
import time
from typing import Any

import numpy as np
from figures_base import (
    ROOT,
    SCENES,
    Image,
    MissingError,
    Row,
    at_least,
    chromium,
    data_file,
    lens_of,
    renderer,
    reported,
    work,
)
from figures_pictures import layer_of

from splatlens.viewer.compare import psnr
from splatlens.viewer.executor import Executor, request_device
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.render import Renderer

#: Frames whose median is reported.
REPEATS = 7


def finish(executor: Executor, name: str) -> None:
    """Waits for all that was submitted, by reading a small buffer: wgpu-py 0.32's on_submitted_work_done_sync fails."""
    executor.read(name)


def sort() -> list[Row]:
    """Index for index NumPy's stable argsort, in every case asked; and how fast."""
    sys.path.insert(0, str(ROOT))
    from tests.shaders.harness import frame_plan
    from tests.shaders.sort_cases import grouped, key_kinds, random_keys, sorted_order
    from tests.shaders.test_sort import check_sorted, run_sort, sort_passes

    device = request_device(default_limits=True)
    sizes = [0, 1, 2, 255, 256, 257, 2047, 2048, 2049, 65535, 10**6]
    cases, wrong = 0, []
    for n in sizes:
        executor = Executor(device)
        for kind, keys in key_kinds(n).items():
            cases += 1
            try:
                check_sorted(run_sort(device, grouped(keys), executor=executor), grouped(keys))
            except AssertionError:
                wrong.append(f"{n} {kind}")
    keys = grouped(random_keys(3000))
    more = {"a count under capacity": {"room": 500}, "three workgroups a dimension": {"max_groups": 3}}
    for name, options in more.items():
        cases += 1
        some = keys if "room" in options else random_keys(577 * 256)
        try:
            check_sorted(run_sort(device, some, **options), some)
        except AssertionError:
            wrong.append(name)
    result = f"{cases - len(wrong)} of {cases}" + (f"; wrong: {', '.join(wrong)}" if wrong else "")
    rows = [Row("sort equal to NumPy's stable argsort, n from 0 to 10^6", "every case", result, not wrong)]
    keys = grouped(random_keys(10**6, culled=0.0))
    executor = run_sort(device, keys)
    plan = frame_plan(sort_passes(), {"groups": len(keys) // 256})
    seconds = []
    for _ in range(REPEATS):
        executor.write("keys", keys)
        finish(executor, "sort_info")
        start = time.perf_counter()
        executor.run(plan)
        finish(executor, "sort_info")
        seconds.append(time.perf_counter() - start)
    middle = statistics.median(seconds)
    rows.append(
        reported(
            "sort of 10^6 keys, compaction included",
            f"{1e3 * middle:.1f} ms, {len(keys) / middle / 1e6:.1f} million keys a second",
        )
    )
    start = time.perf_counter()
    sorted_order(keys)
    rows.append(reported("NumPy's stable argsort of the same keys", f"{1e3 * (time.perf_counter() - start):.1f} ms"))
    return rows


def frame() -> list[Row]:
    """Milliseconds of each pass, submitted alone and waited for, and of whole frames; all splats, from .lens."""
    rows = []
    for scene in SCENES:
        layer = layer_of(lens_of(data_file(scene.file))[0])
        plan = renderer().prepare([layer], scene.cameras()[0], RenderOptions())
        executor = renderer().executor
        passes: dict[str, list[float]] = {}
        whole = []
        for _ in range(REPEATS):
            for name, seconds in executor.run_timed(plan).items():
                passes.setdefault(name, []).append(seconds)
            start = time.perf_counter()
            executor.run(plan)
            finish(executor, "sort_info")
            whole.append(time.perf_counter() - start)
        parts: dict[str, float] = {}
        for name, seconds in passes.items():
            group = name.split("_")[0] if name.split("_")[0] in ("project", "compact", "sort") else name
            parts[group] = parts.get(group, 0.0) + statistics.median(seconds)
        detail = ", ".join(f"{name} {1e3 * s:.1f}" for name, s in parts.items())
        what = f"{scene.name}, view a, 640x360: frame of {renderer().submitted:,} splats"
        rows.append(reported(what, f"{1e3 * statistics.median(whole):.1f} ms (passes alone: {detail})"))
    return rows


#: A function that runs in the page.
_DRAW = (ROOT / "scripts" / "figures_browser.js").read_text()
#: WebGPU on SwiftShader, as the tests have it.
BROWSER_FLAGS = (
    "--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-vulkan=swiftshader", "--use-angle=swiftshader",
    "--use-webgpu-adapter=swiftshader", "--disable-gpu-sandbox",
)  # fmt: skip


def browser() -> list[Row]:
    """The same scene, size and camera in headless Chromium and under wgpu-py: float target, and 8-bit pixels."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingError("playwright: pip install playwright") from error
    from splatlens import server

    folder = work() / "served"
    folder.mkdir(exist_ok=True)
    rows = []
    path = chromium()
    config = server.ServerConfig((folder,))
    with server.background(config) as url, sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *BROWSER_FLAGS])
        for scene in SCENES:
            lens = lens_of(data_file(scene.file))[0]
            shutil.copy(lens, folder / lens.name)
            camera = scene.cameras()[0]
            position, target, fov = scene.views[0]
            page = launched.new_page()
            page.goto(url)
            entry = page.evaluate("fetch(new URL('embed.js', document.baseURI)).then((r) => r.text())")
            client = url + entry.split("./")[1].split("static/")[0]
            pose = {"position": position, "target": target, "up": (0, -1, 0), "fov": fov}
            size = {"width": camera.width, "height": camera.height}
            address = f"{url}scenes/{lens.name}"
            got = page.evaluate(_DRAW, {"client": client, "scene": address, "pose": pose, **size})
            page.close()
            image = floats(got)
            assert image.shape[:2] == (camera.height, camera.width), "the page drew another size"
            want = Renderer(exact=got["format"] == "rgba32float").render([layer_of(lens)], camera)
            shown, asked = (np.rint(np.clip(i[..., :3], 0, 1) * 255) for i in (image, want))
            near = 100 * float((np.abs(shown - asked).max(axis=2) <= 1).mean())
            name = f"{scene.name}, view a: Chromium ({got['adapter']}) against wgpu-py"
            detail = f"{got['splats']:,} splats, {got['format']}"
            rows.append(at_least(f"{name}, float target", 55, psnr(image, want), "dB", detail))
            rows.append(at_least(f"{name}, 8-bit pixels within 1/255", 99.9, near, "%"))
            same = "identical" if got["equal"] else "differ"
            rows.append(Row(f"{scene.name}: two frames in Chromium", "identical bytes", same, bool(got["equal"])))
        launched.close()
    return rows


def floats(got: dict[str, Any]) -> Image:
    """(height, width, 4) of the bytes that the page sent: rows padded to 256 bytes, half or single floats."""
    kind = np.float32 if got["format"] == "rgba32float" else np.float16
    data = np.frombuffer(base64.b64decode(got["bytes"]), np.uint8).reshape(got["height"], got["row"])
    pixels = data[:, : got["width"] * 4 * np.dtype(kind).itemsize].copy().view(kind)
    return pixels.reshape(got["height"], got["width"], 4).astype(np.float32)
