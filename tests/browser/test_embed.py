"""Scenes in pages of another origin: an element, a function and a frame, under a strict policy of that page."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from .conftest import Opened, picture, wait

OpenPage = Callable[..., Opened]


@pytest.fixture(scope="module")
def sample(root: Path, server: str) -> Iterator[str]:
    """Address of samples/embed/, which shows `small` of the scene server from another origin."""
    spec = importlib.util.spec_from_file_location("embed_serve", root / "samples" / "embed" / "serve.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    httpd: ThreadingHTTPServer = module.make_server(server, "small")
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://localhost:{httpd.server_address[1]}/"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture(scope="module")
def blank(server: str) -> Iterator[str]:
    """An empty page of another origin; with `strict` after it one whose policy allows the least that works."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path in ("/", "/strict") else 404)
            self.send_header("Content-Type", "text/html")
            if self.path == "/strict":
                policy = f"default-src 'none'; script-src {server}; connect-src {server}; img-src data:"
                self.send_header("Content-Security-Policy", policy)
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>blank</title><link rel=icon href=data:,><body>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://localhost:{httpd.server_address[1]}/"
    httpd.shutdown()
    httpd.server_close()


def colourful(image: np.ndarray) -> bool:
    """Whether a picture shows both clouds."""
    pixels = image.reshape(-1, 3).astype(int)
    red, blue = pixels[:, 0] - pixels[:, 2] > 60, pixels[:, 2] - pixels[:, 0] > 60
    return bool(red.mean() > 0.005 and blue.mean() > 0.005)


def test_the_three_ways_of_the_sample(open_page: OpenPage, sample: str) -> None:
    opened = open_page(viewport={"width": 700, "height": 1400})
    opened.expect("favicon")
    page = opened.page
    page.add_init_script("window.broken = [];")
    page.add_init_script("addEventListener('securitypolicyviolation', e => broken.push(e.violatedDirective));")
    page.goto(sample)
    wait(page, "settled", "#element")
    assert colourful(picture(page, "#element"))
    expect(page.locator("#says")).to_have_text("ready")
    assert colourful(np.asarray(picture(page, "#function")))
    frame = page.frame_locator("#frame")
    expect(frame.locator(".ready")).to_be_attached()
    inner = next(f for f in page.frames if "/embed/" in f.url)
    inner.wait_for_function("() => viewer.viewer.stats.settled")
    expect(frame.get_by_role("link")).to_have_attribute("href", "../view/small")
    assert page.evaluate("broken") == []
    assert len(page.workers) == 3, "each decodes in a worker, also under the policies of this page and of the frame"

    before = picture(page, "#function")
    page.get_by_role("button", name="Turn").click()
    page.wait_for_timeout(500)
    assert np.abs(picture(page, "#function").astype(int) - before).mean() > 1

    page.get_by_role("button", name="Remove").click()
    expect(page.locator("#says")).to_have_text("removed")
    assert page.evaluate("document.querySelector('#function').shadowRoot.innerHTML") == "<slot></slot>"
    pose = "{position: [0, -1, -2], target: [0, 0, 0], up: [0, -1, 0], fov: 50}"
    page.evaluate(f"document.querySelector('#element').viewer.camera = {pose}")
    wait(page, "settled", "#element")
    assert colourful(picture(page, "#element")), "the others go on with the device they share"


ELEMENT = """async ([server, attributes]) => {
  await import(server + 'embed.js');
  const e = document.createElement('splat-lens');
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.style.cssText = 'width: 300px; height: 200px';
  e.id = 'e';
  window.events = [];
  for (const t of ['loading', 'ready', 'settled', 'error', 'camerachange']) e.addEventListener(t, () => events.push(t));
  document.body.append(e);
}"""


def test_the_element_follows_its_attributes_and_its_place(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    src = f"{server}scenes/small.lens"
    page.evaluate(ELEMENT, [server, {"src": src, "camera": "0,-0.6,-3,0,0,0,0,-1,0,45", "background": "#103050"}])
    wait(page, "settled", "#e")
    assert page.evaluate("events.filter((t) => t !== 'camerachange')")[:2] == ["loading", "ready"]
    assert page.evaluate("e.viewer.camera.position") == [0, -0.6, -3]
    assert np.abs(picture(page, "#e")[2, 2].astype(int) - [0x10, 0x30, 0x50]).max() <= 1

    page.evaluate("window.first = e.viewer; document.body.prepend(e)")
    page.wait_for_timeout(50)
    assert page.evaluate("first === e.viewer && first.state") == "ready", "moved, not begun anew"
    page.evaluate("e.src = e.src.replace('small', 'clouds')")
    page.wait_for_function("() => e.viewer.info?.title === 'Two clouds'")
    wait(page, "settled", "#e")
    page.evaluate("window.kept = e; kept.remove()")
    page.wait_for_function("() => first.state === 'destroyed' && kept.viewer === null")
    page.evaluate("document.body.append(kept)")
    wait(page, "settled", "#e")


def test_an_element_that_cannot_be_moved_has_no_tools(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    page.evaluate(ELEMENT, [server, {"src": f"{server}scenes/small.lens", "camera-controls": "none"}])
    wait(page, "settled", "#e")
    before = page.evaluate("e.viewer.camera")
    page.mouse.move(100, 100)
    page.mouse.down()
    page.mouse.move(180, 100)
    page.mouse.up()
    page.wait_for_timeout(200)
    assert page.evaluate("e.viewer.camera") == before
    expect(page.get_by_role("toolbar")).to_be_hidden()


def test_cooperative_gestures_leave_the_page_its_scrolling(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    page.evaluate("document.body.style.height = '3000px'")
    page.evaluate(ELEMENT, [server, {"src": f"{server}scenes/small.lens"}])
    wait(page, "settled", "#e")
    page.mouse.move(100, 100)
    page.mouse.wheel(0, 60)
    page.wait_for_function("() => scrollY > 0")
    before = page.evaluate("e.viewer.camera.position")
    page.evaluate("scrollTo(0, 0)")
    page.mouse.click(100, 100)
    page.mouse.wheel(0, 60)
    page.wait_for_function("(b) => e.viewer.camera.position[2] !== b[2]", arg=before)
    assert page.evaluate("scrollY") == 0


def test_a_transparent_scene_shows_the_page_behind(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    page.evaluate("document.body.style.background = 'rgb(250, 240, 10)'")
    page.evaluate(ELEMENT, [server, {"src": f"{server}scenes/small.lens", "background": "transparent"}])
    wait(page, "settled", "#e")
    image = picture(page, "#e")
    assert np.abs(image[2, 2].astype(int) - [250, 240, 10]).max() <= 1 and colourful(image)


def test_a_file_the_page_may_not_read_says_so(open_page: OpenPage, server: str, blank: str) -> None:
    opened = open_page()
    opened.expect("CORS", "ERR_FAILED")
    page = opened.page
    page.goto(blank)
    # The same server under its other name is another origin, and sends no header that allows reading.
    page.evaluate(ELEMENT, [server, {"src": blank.replace("localhost", "127.0.0.1")}])
    wait(page, "error", "#e")
    text = page.locator("#e .panel").inner_text()
    assert "cannot be reached" in text and "Access-Control-Allow-Origin" in text


def test_an_element_that_cannot_hold_a_viewer_is_refused(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    script = """async (server) => { const m = await import(server + 'embed.js');
        try { m.createViewer(document.createElement('canvas'), {}); } catch (e) { return e.message; } }"""
    assert "shadow root" in page.evaluate(script, server)


@pytest.mark.parametrize(("path", "workers"), [("", 1), ("strict", 0)])
def test_pages_are_decoded_in_a_worker_where_the_policy_allows(
    open_page: OpenPage, server: str, blank: str, path: str, workers: int
) -> None:
    opened = open_page()
    if not workers:
        opened.expect("worker", "Content Security Policy")
    page = opened.page
    page.goto(blank + path)
    page.evaluate(ELEMENT, [server, {"src": f"{server}scenes/clouds.lens"}])
    wait(page, "settled", "#e")
    assert colourful(picture(page, "#e"))
    assert len(page.workers) == workers
    page.evaluate("e.viewer.destroy()")
    for _ in range(100):  # a worker is told to end, and ends when its turn comes
        if not page.workers:
            break
        page.wait_for_timeout(100)
    assert not page.workers


def test_a_pool_smaller_than_the_scene_stays_coarser_and_comes_to_rest(
    open_page: OpenPage, server: str, blank: str
) -> None:
    page = open_page().page
    page.goto(blank)
    asked: list[str] = []
    page.on("request", lambda r: asked.append(r.headers.get("range", "")) if r.url.endswith(".lens") else None)
    script = """async (src) => { const { createViewer } = await import(src + 'embed.js');
        const e = document.createElement('div'); e.id = 'e'; e.style.cssText = 'width: 300px; height: 200px';
        document.body.append(e);
        e.viewer = createViewer(e, { src: src + 'scenes/clouds.lens', threshold: 0, memory: 1 }); }"""
    page.evaluate(script, server)
    first = wait(page, "settled", "#e")
    assert colourful(picture(page, "#e")) and 0 < first["splats"] < 20_000
    for x in (2.0, -2.0, 0.5):
        pose = {"position": [x, -0.5, 1.5 - abs(x)], "target": [x / 4, 0, 0], "up": [0, -1, 0], "fov": 30}
        page.evaluate("(p) => { e.viewer.camera = p; }", pose)
        assert wait(page, "settled", "#e")["splats"] > 0
    assert len(asked) < 200, "pages are not fetched only to be given up at once"


def test_without_a_source_it_waits(open_page: OpenPage, server: str, blank: str) -> None:
    page = open_page().page
    page.goto(blank)
    page.evaluate(ELEMENT, [server, {}])
    page.wait_for_function("() => e.viewer.state === 'idle'")
    page.evaluate("(s) => e.setAttribute('src', s)", f"{server}scenes/small.lens")
    wait(page, "settled", "#e")
