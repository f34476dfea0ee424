"""Figures of generators: what a frame costs part by part, memory a splat, and the browser beside headless."""

from __future__ import annotations

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from figures_base import ROOT, Image, MissingError, Row, at_least, at_most, chromium, renderer, reported, work
from figures_gpu import BROWSER_FLAGS, floats
from numpy.typing import NDArray

from splatlens.viewer.assemble import assemble
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.plan import pipeline, resolve
from splatlens.viewer.render import Layer, RawLayer

#: Frames whose median is reported.
REPEATS, PAGE_REPEATS = 7, 3
SPLATS = 100_000
#: Rows of a scene: of a launched browser, its name and its file.
RowsOf = Callable[[Any, str, Path], list[Row]]
#: Samples with live layers, each with its make.py, and what else it is made with.
SAMPLES: dict[str, tuple[str, ...]] = {
    "avatar": (), "scaffold": (), "deform": (), "sequence": (), "postprocess": ("--density", "0.03"),
}  # fmt: skip
#: Shares of the scene's duration at which pictures are compared, and where sliders stand between their ends.
TIMES, SETTINGS = (0.1, 0.45, 0.8), (None, 0.7)
WIDTH, HEIGHT = 320, 200
#: A function that runs in the page.
_DRAW = ROOT / "scripts" / "figures_live.js"


def _project_ms(layer: Layer, camera: Camera) -> float:
    """Milliseconds of the projecting pass of a frame of one layer, the median."""
    plan = renderer().prepare([layer], camera, RenderOptions())
    times = [renderer().executor.run_timed(plan) for _ in range(REPEATS)]
    return 1e3 * statistics.median(sum(s for n, s in t.items() if n.startswith("project")) for t in times)


def _bytes_a_splat(contract: Contract, outputs: dict[str, NDArray[Any]]) -> tuple[float, float]:
    """(bytes of the outputs, bytes of all other buffers of a frame), for each splat."""
    draws, words, _ = GeneratedLayer(contract, outputs).draws()
    assert draws is not None
    camera = Camera.look_at((0, 0, -4), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    frame = assemble(camera, RenderOptions(), [draws])
    plan = resolve(pipeline(), frame.numbers, frame.lists)
    own = sum(4 * len(w) for w in words)
    return own / draws.rows, (sum(b["size"] for b in plan["buffers"].values()) - own) / draws.rows


def generated() -> list[Row]:
    """Projecting outputs where they lie beside projecting packed records, and memory a splat."""
    sys.path.insert(0, str(ROOT))
    from tests.generated_scenes import outputs_of
    from tests.twin_scenes import random_splats

    camera = Camera.look_at((0, 0, -4), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    rows = []
    for degree, layouts in ((0, ("quats", "covariances")), (3, ("sh", "float16", "float16 packed"))):
        splats = random_splats(SPLATS, 1, degree=degree, size=0.005)
        packed = _project_ms(RawLayer(splats), camera)
        for layout in layouts:
            contract, outputs = outputs_of(splats, layout)
            ms = _project_ms(GeneratedLayer(contract, outputs), camera)
            detail = f"{ms:.1f} ms, {ms / packed:.2f} of the {packed:.1f} ms that records take already packed"
            rows.append(reported(f"project {SPLATS:,} generated splats, SH {degree}, {layout}", detail))
            own, more = _bytes_a_splat(contract, outputs)
            what = f"memory a generated splat beside its outputs' {own:.0f} bytes ({layout})"
            rows.append(at_most(what, 64, more, "bytes"))
    return rows


@cache
def sample(name: str) -> Path:
    """The scene of a sample, made by its own script."""
    out = work() / "samples" / f"{name}.lens"
    out.parent.mkdir(exist_ok=True)
    script = ROOT / "samples" / name / "make.py"
    done = subprocess.run([sys.executable, script, out, *SAMPLES[name]], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr.strip().splitlines()[-1:]}")
    return out


def _duration(scene: Any) -> float:
    """Seconds of the longest of what depends on time, with the tracks that are chosen at the start."""
    found = [0.0]
    for layer in scene.live.values():
        if layer.contract is None:
            found.append(layer.sequence.info.time.duration)
            continue
        meanings = {one.meaning for one in layer.contract.inputs.values()}
        if layer.contract.time and meanings & {"time", "frame"}:
            found.append(layer.contract.time.duration)
        if layer.contract.tracks and "track" in meanings:
            found.append(layer.contract.tracks[0].duration)
    return max(found)


def _moments(scene: Any) -> list[tuple[int, float, list[tuple[int, str, float]]]]:
    """(number of the view, seconds, (layer, control, value)...): three times, two settings each of what has controls.

    Each time has a view of its own: what stands still is then no comparison of one picture with itself.
    """
    seconds = _duration(scene)
    controls = [(i, c) for i, layer in scene.live.items() if layer.contract for c in layer.contract.controls]
    made = []
    for view, at in enumerate(TIMES):
        for place in SETTINGS if controls else SETTINGS[:1]:
            values = [
                (i, c.name, c.default if place is None else c.minimum + place * (c.maximum - c.minimum))
                for i, c in controls
            ]
            made.append((view, at * seconds, values))
    return made


def views_of(scene: Any) -> list[tuple[Camera, dict[str, Any]]]:
    """As many cameras as TIMES at this figure's size, side by side, each with the page's pose of the same view."""
    start = scene.start
    m, position = start.world_to_camera, start.position
    low, high = (np.array(corner) for corner in scene.facts().get("bounds") or ((-1, -1, -1), (1, 1, 1)))
    step = 0.08 * float(np.linalg.norm((low + high) / 2 - position))
    fov = float(np.degrees(2 * np.arctan(start.height / (2 * start.fy))))
    made = []
    for k in range(len(TIMES)):
        eye = position + (k - 1) * step * m[0, :3]
        target, up = eye + m[2, :3], -m[1, :3]
        camera = Camera.look_at(eye.tolist(), target.tolist(), up.tolist(), fov, WIDTH, HEIGHT)
        made.append((camera, {"position": eye.tolist(), "target": target.tolist(), "up": up.tolist(), "fov": fov}))
    return made


def live() -> list[Row]:
    """Every sample in Chromium beside headless: the float picture at three times, views and two settings each."""
    return in_chromium({name: sample for name in SAMPLES}, _beside)


def in_chromium(scenes: Mapping[str, Callable[[str], Path]], rows_of: RowsOf) -> list[Row]:
    """The rows that each scene gives. scenes: by name, what makes their .lens file."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingError("playwright: pip install playwright") from error
    rows: list[Row] = []
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *BROWSER_FLAGS])
        for name, make in scenes.items():
            try:
                rows += rows_of(launched, name, make(name))
            except Exception as error:  # one sample's fault must not take the others' figures away
                rows.append(Row(f"sample {name}", "≥ 50 dB", f"failed: {str(error).strip()[:300]}", False))
        launched.close()
    return rows


def in_page(launched: Any, url: str, scene: str, moments: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's own viewer gives of a scene at moments: {seconds, controls, pose} each (figures_live.js)."""
    page = launched.new_page()
    page.goto(url)
    entry = page.evaluate("fetch(new URL('embed.js', document.baseURI)).then((r) => r.text())")
    client = url + entry.split("./")[1].split("static/")[0]
    given = {"width": WIDTH, "height": HEIGHT, "moments": moments, "repeats": PAGE_REPEATS}
    got: dict[str, Any] = page.evaluate(_DRAW.read_text(), {"client": client, "scene": f"{url}scenes/{scene}", **given})
    page.close()
    return got


def _beside(launched: Any, name: str, lens: Path) -> list[Row]:
    """One sample's rows."""
    import splatlens
    from splatlens import server

    with splatlens.open(lens) as scene, server.background(server.ServerConfig((lens.parent,))) as url:
        views, moments = views_of(scene), _moments(scene)
        asked = [{"seconds": t, "controls": controls, "pose": views[view][1]} for view, t, controls in moments]
        got = in_page(launched, url, lens.name, asked)
        decibels = []
        for (view, seconds, values), picture in zip(moments, got["pictures"], strict=True):
            controls = {f"{layer}:{key}": value for layer, key, value in values}
            want = scene.render(views[view][0], time=seconds, controls=controls, background=(0, 0, 0))
            decibels.append(psnr(floats(picture), want))
    amiss = [layer for layer in got["layers"] if layer["state"] != "ready"]
    detail = f"worst of {len(decibels)} moments, {got['splats']:,} splats, {_change(got['pictures'])}"
    detail += f"; not ready: {amiss}" if amiss else ""
    frame, moved = (statistics.median(got[k]) for k in ("frame", "moved"))
    return [
        at_least(f"sample {name}, Chromium against headless, float picture", 50, min(decibels), "dB", detail),
        reported(
            f"sample {name}, Chromium: milliseconds to a settled frame of another background, of another moment",
            f"{frame:.0f}, {moved:.0f}",
        ),
    ]


def psnr(got: Image, want: Image) -> float:
    """dB of the colours; alike to the last bit counts as 200."""
    error = float(np.mean((got[..., :3].astype(np.float64) - want[..., :3]) ** 2))
    return 200.0 if error == 0 else -10 * float(np.log10(error))


def _change(pictures: list[dict[str, Any]]) -> str:
    """How far the moments differ among each other: a comparison of pictures that stand still would say little."""
    pairs = itertools.pairwise(floats(p) for p in pictures)
    return f"neighbours of which are {max(psnr(b, a) for a, b in pairs):.0f} dB alike at most"


def cost() -> list[Row]:
    """What a frame of every sample costs on this machine: inference, projecting, sorting, drawing; medians."""
    import splatlens

    rows = []
    for name in SAMPLES:
        with splatlens.open(sample(name)) as scene:
            camera, _ = views_of(scene)[0]
            runs: dict[str, list[float]] = {}
            parts: dict[str, list[float]] = {}
            duration = _duration(scene)
            for k in range(REPEATS):
                start = time.perf_counter()
                layers = scene._drawn(False, scene._moments(duration * k / REPEATS, {}, ()), camera)
                runs.setdefault("inference", []).append(time.perf_counter() - start)
                plan = renderer().prepare(layers, camera, RenderOptions())
                passes: dict[str, float] = {}
                for stage, seconds in renderer().executor.run_timed(plan).items():
                    part = {"project": "project", "compact": "sort", "sort": "sort"}.get(stage.split("_")[0], "draw")
                    passes[part] = passes.get(part, 0.0) + seconds
                for part, seconds in passes.items():
                    parts.setdefault(part, []).append(seconds)
            ms = {part: 1e3 * statistics.median(values) for part, values in {**runs, **parts}.items()}
            detail = ", ".join(f"{part} {value:.1f}" for part, value in ms.items())
            what = f"sample {name}, {renderer().submitted:,} splats at {WIDTH}x{HEIGHT}: milliseconds a frame"
            rows.append(reported(what, detail))
    return rows
