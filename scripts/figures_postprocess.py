"""Figures of post-processing: what the sample's networks gain on held-out views, the page beside headless, costs."""

from __future__ import annotations

import statistics
import sys
import time
from functools import cache

import numpy as np
from figures_base import ROOT, Image, MissingError, Row, at_least, chromium, decibels, renderer, reported
from figures_gpu import BROWSER_FLAGS

from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import ImageSize
from splatlens.viewer.generator import Moment
from splatlens.viewer.postprocess import Postprocess, finish

sys.path[:0] = [str(ROOT), str(ROOT / "samples" / "postprocess")]

SCENE = ROOT / "samples" / "out" / "tholos.lens"
NETWORKS, STRENGTHS = ("detail", "ink"), (0.5, 1.0)
#: Size of the pictures compared with the page's: software adapters take seconds for a convolution.
SMALL = (144, 81)
#: Views compared with the page's, of the held-out ones; frames whose median is reported, and their size.
VIEWS, REPEATS, FRAME = (0, 3, 6), 5, (1280, 720)


@cache
def _held_out() -> tuple[list[Camera], list[Image], list[Image]]:
    """(cameras, coarse, whole) of the views that nothing was fitted to, as train.py has them."""
    import views

    import splatlens

    if not SCENE.exists():
        raise MissingError(f"{SCENE}: run `make demo`")
    with splatlens.open(SCENE) as scene:
        held = [c.resized(views.WIDTH, views.HEIGHT) for i, c in enumerate(scene.cameras) if views.is_held_out(i)]
        pictures = [[scene.render(c, budget=budget) for c in held] for budget in (views.BUDGET, None)]
    return held, pictures[0], pictures[1]


def gain() -> list[Row]:
    """dB of input and output against what each network learnt, through the committed .onnx; and where it does harm."""
    import networks

    from tests.image_networks import sample

    cameras, coarse, whole = _held_out()
    rows = []
    for name in NETWORKS:
        given = coarse if name == "detail" else whole
        drawn = networks.ink(np.stack([p[..., :3].transpose(2, 0, 1).clip(0, 1) for p in whole]))
        wanted = whole if name == "detail" else list(drawn.transpose(0, 2, 3, 1))
        model = sample(name)
        made = [finish(p, [Postprocess(model)], c) for p, c in zip(given, cameras, strict=True)]
        before, after = ([decibels(a, b) for a, b in zip(side, wanted, strict=True)] for side in (given, made))
        least = min(np.subtract(after, before))
        detail = f"mean of {len(after)}; input {np.mean(before):.2f} dB, least gain of a view {least:.2f} dB"
        asked, reached = round(float(np.mean(before)), 2), float(np.mean(after))
        rows.append(at_least(f"network {name}, held-out views", asked, reached, "dB", detail))
    full = [decibels(finish(p, [Postprocess(sample("detail"))], c), p) for p, c in zip(whole, cameras, strict=True)]
    rows.append(reported("network detail on pictures that lack nothing", f"{np.mean(full):.1f} dB of them are left"))
    return rows


def browser() -> list[Row]:
    """Each network in Chromium beside headless, on three views and at two strengths: the float picture."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise MissingError("playwright: pip install playwright") from error
    import json

    import splatlens
    from tests.browser import test_postprocess as page_test
    from tests.image_networks import SAMPLE, sample

    seen, drawn = [], []
    with splatlens.open(SCENE) as scene:
        for i in VIEWS:
            seen.append(_held_out()[0][i].resized(*SMALL))
            drawn.append(scene.render(seen[-1], budget=40_000, background=(0, 0, 0)))
    rows = []
    with sync_playwright() as playwright, page_test.tree_server() as url:
        launched = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", *BROWSER_FLAGS])
        page = launched.new_page()
        page.set_default_timeout(600_000)
        page.goto(url)
        for name in NETWORKS:
            model = sample(name)
            text = json.dumps({**model.contract.to_json(), "graph": model.graph.to_json()})
            layer = {"name": name, "contract": text, "model": page_test.encode((SAMPLE / f"{name}.onnx").read_bytes())}
            cases = [(k, strength) for k in range(len(VIEWS)) for strength in STRENGTHS]
            frames = [page_test.frame(drawn[k], controls={"1": {"strength": s}}) for k, s in cases]
            got = page_test.run(page, [layer], frames, (0, 0, 0))
            worst = np.inf
            for (k, strength), one in zip(cases, got["pictures"], strict=True):
                want = finish(drawn[k], [Postprocess(model, Moment(controls={"strength": strength}))], seen[k])
                made = page_test.picture_of(one, *SMALL)
                worst = min(worst, decibels(made, want))
            told = f"; {got['told']}" if got["told"] else ""
            detail = f"worst of {len(cases)}; a frame {statistics.median(got['seconds']):.1f} s on this adapter{told}"
            rows.append(at_least(f"network {name}, Chromium against headless, float picture", 50, worst, "dB", detail))
        launched.close()
    return rows


def cost() -> list[Row]:
    """Milliseconds a frame of 1280 x 720: the stages around a network, and the network itself under onnxruntime."""
    from tests.image_networks import sample
    from tests.shaders.images import prepared, random_picture

    width, height = FRAME
    camera = Camera(width, height, 900, 900, width / 2, height / 2, np.eye(4))
    picture = random_picture(width, height)
    rows = []
    for name in NETWORKS:
        model = sample(name)
        size = model.contract.image or ImageSize()
        executor, plan, made = prepared(renderer().executor.device, picture, [(size, "float32", "float32")])
        stages = {**plan, "passes": [p for p in plan["passes"] if p["name"] != "present"]}
        times = [executor.run_timed(stages) for _ in range(REPEATS)]
        each = {key: 1e3 * statistics.median(t[key] for t in times) for key in times[0]}
        start = time.perf_counter()
        finish(picture, [Postprocess(model)], camera)
        ran = 1e3 * (time.perf_counter() - start)
        parts = ", ".join(f"{key} {ms:.1f} ms" for key, ms in each.items())
        detail = f"{parts}; the network {ran:,.0f} ms under onnxruntime on this processor"
        rows.append(reported(f"network {name}, {width} x {height}, {len(made)} run{'s' * (len(made) > 1)}", detail))
    return rows


def postprocess() -> list[Row]:
    return [*gain(), *browser(), *cost()]
