"""Time and controls in the page: by mouse, by keyboard, by program and by link; what is said of layers that fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page, expect

from splatlens.server import ServerConfig, background
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.scene import SceneInfo

from .conftest import INFO, Opened, blobs, picture, wait
from .live_scenes import DURATION, figure, live_scene

OpenPage = Callable[..., Opened]

HERE = "viewer.viewer"
#: A view that a link can say exactly.
VIEW = "#view=0,-0.6,-3.2,0,-0.1,0,0,-1,0,50"
#: All that is set of time and controls.
STATE = f"[{HERE}.time, {HERE}.playing, {HERE}.speed, {HERE}.loop, {HERE}.controls, {HERE}.tracks, {HERE}.layers]"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of `live.lens`, `broken.lens` (whose figure's model is no model) and `still.lens` (nothing lives)."""
    folder = tmp_path_factory.mktemp("live")
    info = replace(INFO, title="Live")
    live_scene(folder / "live.lens", blobs(600), info)
    whole = figure()
    bad = replace(whole, blobs={**whole.blobs, "model": b"\x08\x08 no model"})
    build_lens([SourceLayer(blobs(600), "Clouds"), bad], folder / "broken.lens", info)
    build_lens(blobs(600), folder / "still.lens", SceneInfo(title="Still", camera=INFO.camera))
    with background(ServerConfig((folder,))) as url:
        yield url


def differ(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> bool:
    """Whether two pictures show something else: a hundred pixels by 40 of 255."""
    return bool((np.abs(a.astype(int) - b).max(axis=-1) > 40).sum() > 100)


def until(page: Page, condition: str) -> None:
    page.wait_for_function(f"() => {condition}")


def rest(page: Page) -> NDArray[np.uint8]:
    """The picture once everything has come and been drawn."""
    wait(page)
    return picture(page)


def test_time_by_mouse_and_keyboard_and_by_link(open_page: OpenPage, live: str) -> None:
    page = open_page(reduced_motion="no-preference").page
    page.goto(f"{live}view/live{VIEW}")
    until(page, f"{HERE}?.playing && {HERE}.time > 0")  # by itself
    before = page.evaluate(f"{HERE}.frames")
    until(page, f"{HERE}.frames > {before} + 2")
    expect(page.get_by_role("application")).to_be_focused()
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play (Space)")).to_be_visible()
    first = rest(page)
    time, frames = page.evaluate(f"[{HERE}.time, {HERE}.frames]")
    page.wait_for_timeout(300)
    assert page.evaluate(f"[{HERE}.time, {HERE}.frames]") == [time, frames], "at rest nothing is drawn"

    page.keyboard.press(".")
    assert page.evaluate(f"{HERE}.time") == pytest.approx((time + DURATION / 100) % DURATION, abs=1e-6)
    page.keyboard.press(",")
    assert page.evaluate(f"{HERE}.time") == pytest.approx(time, abs=1e-6)

    scrub = page.get_by_role("slider", name="Time")
    box = scrub.bounding_box()
    assert box
    page.mouse.move(box["x"] + 20, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    late = rest(page)
    assert page.evaluate(f"{HERE}.time / {HERE}.duration") == pytest.approx(0.9, abs=0.03)
    assert not page.evaluate(f"{HERE}.playing") and differ(first, late)
    expect(scrub).to_have_attribute("aria-valuetext", f"{page.evaluate(f'{HERE}.time'):.2f} of 4.00 seconds")
    until(page, "/[#&]t=3\\.\\d+$/.test(location.hash)")

    other = open_page().page
    other.goto(page.url)
    assert np.array_equal(rest(other), late), "the link shows the frame of exactly that time"
    assert other.evaluate(STATE) == page.evaluate(STATE)

    page.get_by_role("button", name="Play").click()
    until(page, f"{HERE}.playing && /play=1/.test(location.hash)")
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    page.mouse.down()
    held = page.evaluate(f"{HERE}.time")
    page.wait_for_timeout(150)
    assert page.evaluate(f"{HERE}.time") == held, "held by hand it rests"
    page.mouse.up()
    until(page, f"{HERE}.playing && {HERE}.time > {held}")
    page.get_by_role("button", name="Pause (Space)").click()
    page.get_by_role("combobox", name="Speed").select_option("2")
    page.get_by_role("button", name="Loop").click()
    until(page, "location.hash.endsWith('&speed=2&loop=0')")
    expect(page.get_by_role("button", name="Loop")).to_have_attribute("aria-pressed", "false")
    scrub.focus()
    page.keyboard.press("End")
    assert page.evaluate(f"{HERE}.time") == DURATION
    page.keyboard.press("Space")
    until(page, f"{HERE}.playing && {HERE}.time > 0 && {HERE}.time < 3")
    until(page, f"!{HERE}.playing && {HERE}.time === {DURATION}")


def test_controls_by_mouse_and_keyboard_and_by_link(open_page: OpenPage, live: str) -> None:
    page = open_page(viewport={"width": 760, "height": 420}).page
    page.goto(f"{live}view/live{VIEW}&future=1")
    start = rest(page)
    assert not page.evaluate(f"{HERE}.playing"), "who asked for reduced motion starts it by hand"
    seen = [start]

    def changed(act: Callable[[], Any], condition: str) -> None:
        act()
        until(page, condition)
        seen.append(rest(page))
        assert differ(seen[-2], seen[-1]), condition

    def value(name: str) -> str:
        return f"{HERE}.controls.find((c) => c.name === '{name}').value"

    panel = page.get_by_role("region", name="Controls")
    lift = panel.get_by_role("slider", name="Lift")
    box = lift.bounding_box()
    assert box
    right = box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2
    changed(lambda: page.mouse.click(*right), f"{value('lift')} > 0.6")
    at = page.evaluate(value("lift"))
    assert at * 10 == pytest.approx(round(at * 10), abs=1e-5), "the mouse finds steps"
    lift.press("ArrowLeft")
    until(page, f"Math.abs({value('lift')} - {at - 0.1}) < 1e-6")
    expect(lift).to_have_attribute("aria-valuetext", f"{at - 0.1:.1f}")
    panel.get_by_role("button", name="Reset Lift").click()
    expect(lift).to_be_focused()
    changed(lambda: None, f"{value('lift')} === 0")
    changed(lambda: panel.get_by_role("slider", name="Warm").press("End"), f"{value('warm')} === 1")
    changed(lambda: page.evaluate(f"{HERE}.time = 2.25"), f"{HERE}.time === 2.25")
    changed(lambda: panel.get_by_role("combobox", name="Animation").select_option("Shake"), f"{HERE}.tracks[1].chosen")
    changed(lambda: panel.get_by_role("combobox", name="Animation").select_option("None"), f"!{HERE}.tracks[1].chosen")
    changed(lambda: panel.get_by_role("switch", name="Negative").press("Space"), f"!{HERE}.layers[1].on")
    tail = "&t=2.25&off=2&c.1.warm=1&track.1=&future=1"
    until(page, f"location.hash.endsWith('{tail}')")

    other = open_page(viewport={"width": 760, "height": 420}).page
    other.goto(page.url)
    assert np.array_equal(rest(other), seen[-1])
    assert other.evaluate(STATE) == page.evaluate(STATE)
    expect(other.get_by_role("switch", name="Negative")).not_to_be_checked()

    changed(panel.get_by_role("switch", name="Hide").click, f"{value('hide')} === 1")
    changed(panel.get_by_role("button", name="Reset all").click, f"{value('hide')} === 0")
    page.evaluate(f"location.hash = '{VIEW}&t=0'")
    until(page, f"{HERE}.time === 0")
    assert np.array_equal(rest(page), start), "and it is as it was"

    panel.get_by_role("slider", name="Warm").press("Escape")
    expect(panel).to_be_hidden()
    expect(page.get_by_role("application")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("Play and pause")


def test_a_program_sets_time_and_controls_before_and_after_the_scene_is_there(open_page: OpenPage, live: str) -> None:
    opened = open_page()
    opened.expect("nonsense")
    page = opened.page
    page.goto(live)
    page.evaluate(
        """async (server) => {
        await import(server + 'embed.js');
        document.body.innerHTML = '<splat-lens id=e time=1 speed=0.5 loop=none autoplay=none></splat-lens>';
        e.style.cssText = 'width: 300px; height: 200px';
        e.setAttribute('src', server + 'scenes/live.lens');
        window.seen = [];
        for (const t of ['timechange', 'controlchange']) e.addEventListener(t, (x) => seen.push([t, x.detail]));
        window.wrong = '';
        addEventListener('error', (x) => { wrong = x.message; });
        e.viewer.setControl('warm', 0.75);
        e.viewer.setTrack(null);
        e.viewer.setControl('nonsense', 1);
        }""",
        live,
    )
    wait(page, "settled", "#e")
    assert 'no control "nonsense"; there are lift, warm, hide, amount' in page.evaluate("wrong")
    assert page.evaluate("[e.viewer.time, e.viewer.duration, e.viewer.speed, e.viewer.loop, e.viewer.playing]") == [
        1, DURATION, 0.5, False, False,
    ]  # fmt: skip
    assert page.evaluate("e.viewer.controls.map((c) => [c.layer, c.name, c.kind, c.value])") == [
        [1, "lift", "slider", 0], [1, "warm", "slider", 0.75], [1, "hide", "toggle", 0], [2, "amount", "slider", 1],
    ]  # fmt: skip
    assert page.evaluate("e.viewer.tracks.map((t) => [t.name, t.chosen])") == [["nod", False], ["shake", False]]
    assert page.evaluate("e.viewer.layers.map((l) => [l.index, l.kind, l.name, l.state, l.error, l.on])") == [
        [1, "generator", "Figure", "ready", "", True], [2, "postprocess", "Negative", "ready", "", True],
    ]  # fmt: skip
    assert page.evaluate("e.viewer.hash").endswith("&t=1&c.1.warm=0.75&track.1=")

    first = picture(page, "#e")
    page.evaluate("seen.length = 0; e.setAttribute('time', 3); e.viewer.setControl('warm', 0)")
    wait(page, "settled", "#e")
    assert differ(first, picture(page, "#e"))
    assert page.evaluate("seen.map(([t, d]) => [t, d.time ?? d.value])") == [["timechange", 3], ["controlchange", 0]]
    for call in ("setControl('no', 1)", "setTrack('no')", "setLayer(1, false)", "time = NaN", "speed = 9"):
        script = f"(() => {{ try {{ e.viewer.{call} }} catch (x) {{ return x.name }} }})()"
        assert page.evaluate(script) == "RangeError", call
    page.evaluate("e.viewer.play()")
    page.wait_for_function("() => e.viewer.time === 4 && !e.viewer.playing")
    page.evaluate("e.viewer.destroy()")
    assert page.evaluate("e.shadowRoot.innerHTML") == "<slot></slot>"


def test_on_a_phone_the_scene_stays_free(open_page: OpenPage, live: str) -> None:
    page = open_page(viewport={"width": 360, "height": 640}, has_touch=True).page
    page.goto(f"{live}view/live")
    wait(page)
    panel = page.get_by_role("region", name="Controls")
    expect(panel).to_be_hidden()
    for part in (page.locator(".bar"), page.locator(".tools")):
        box = part.bounding_box()
        assert box and box["y"] > 640 * 0.72 and box["x"] >= 0 and box["x"] + box["width"] <= 360
    more = page.get_by_role("button", name="Controls")
    expect(more).to_have_attribute("aria-expanded", "false")
    more.tap()
    expect(panel).to_be_visible()
    expect(more).to_have_attribute("aria-expanded", "true")
    box = panel.bounding_box()
    assert box and box["y"] > 640 * 0.4 and box["x"] >= 0 and box["x"] + box["width"] <= 360
    for control in page.locator(".bar button:visible, .controls button:visible, .controls select, .bar select").all():
        size = control.bounding_box()
        assert size and size["height"] >= 40 and size["width"] >= 40 and 0 <= size["x"] <= 360 - size["width"]
    panel.get_by_role("button", name="Close").tap()
    expect(panel).to_be_hidden()


def test_a_layer_that_fails_says_so_and_the_rest_stays(open_page: OpenPage, live: str) -> None:
    opened = open_page(viewport={"width": 760, "height": 420})
    page = opened.page
    page.goto(f"{live}view/broken")
    wait(page, "ready")
    until(page, f"{HERE}.layers[0].state === 'failed'")
    shown = rest(page)
    panel = page.get_by_role("region", name="Controls")
    error = page.evaluate(f"{HERE}.layers[0].error")
    assert len(error) > 20 and "\n" not in error
    expect(panel.get_by_text(error)).to_be_visible()
    expect(panel.get_by_role("slider", name="Warm")).to_be_hidden()
    assert (shown.reshape(-1, 3).max(axis=1) > 60).mean() > 0.02, "the clouds are there"


def test_scenes_without_live_layers_load_nothing_for_them(open_page: OpenPage, live: str) -> None:
    page = open_page().page
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.url))
    page.goto(f"{live}view/still#t=1&c.0.warm=1")
    wait(page)
    assert not [url for url in asked if "/static/live/" in url or "_live" in url or "onnx" in url]
    page.evaluate(f"{HERE}.play(); {HERE}.setControl('warm', 1)")
    assert page.evaluate(STATE) == [0, False, 1, True, [], [], []]
    expect(page.locator(".bar, .controls")).to_have_count(0)
