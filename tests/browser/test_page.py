"""The page in a real browser: it draws, moves, resizes, rests, and says what is wrong."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from splatlens.server import ServerConfig, background
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.lens import LensReader
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import PagedLayer, render_reference
from splatlens.viewer.scene import Kernel, SceneInfo

from .conftest import Opened, blobs, picture, wait

OpenPage = Callable[..., Opened]

#: Hides WebGPU as browsers without it do.
NO_GPU = "Object.defineProperty(Navigator.prototype, 'gpu', { get: () => undefined });"
NO_ADAPTER = "GPU.prototype.requestAdapter = async () => null;"
#: Keeps every device, so that a test can lose it.
KEEP_DEVICES = """window.devices = []; const request = GPUAdapter.prototype.requestDevice;
GPUAdapter.prototype.requestDevice = async function (...a) {
  devices.push(await request.apply(this, a));
  return devices.at(-1);
};"""


def red_left_blue_right(image: np.ndarray[Any, Any]) -> bool:
    """Whether the two clouds are where the start camera sees them."""
    h, w = image.shape[:2]
    left = image[h // 3 : -h // 3, w // 5 : w // 2 - w // 12].reshape(-1, 3).mean(axis=0)
    right = image[h // 3 : -h // 3, w // 2 + w // 12 : -w // 5].reshape(-1, 3).mean(axis=0)
    return bool(left[0] > 60 and left[0] > 2 * left[2] and right[2] > 60 and right[2] > 2 * right[0])


def panel(page: Page) -> str:
    """The text of the message that stands instead of the scene."""
    wait(page, "error")
    text: str = page.locator(".panel .card").inner_text()
    return text


class TestScene:
    def test_draws_rests_moves_and_resizes(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/clouds")
        stats = wait(page)
        first = picture(page)
        assert red_left_blue_right(first)
        assert 0 < stats["splats"] <= 20_000 and stats["bytes"] > 100_000
        expect(page.locator(".title strong")).to_have_text("Two clouds")
        expect(page.locator(".credit")).to_have_text("Made for tests · CC0")
        assert page.title() == "Two clouds"

        frames = page.evaluate("viewer.viewer.frames")
        page.wait_for_timeout(700)
        assert page.evaluate("viewer.viewer.frames") == frames, "a still view draws nothing"
        assert np.array_equal(picture(page), first)

        page.mouse.move(240, 135)
        page.mouse.down()
        page.mouse.move(300, 145, steps=3)
        page.mouse.up()
        wait(page)
        turned = picture(page)
        assert page.evaluate("viewer.viewer.frames") > frames
        assert np.abs(turned.astype(int) - first).mean() > 2, "a drag turns the scene"
        page.keyboard.press("r")
        wait(page)
        assert np.array_equal(picture(page), first), "R goes back to the start, to the byte"

        page.set_viewport_size({"width": 300, "height": 400})
        page.wait_for_function("() => viewer.shadowRoot.querySelector('canvas').height === 400")
        wait(page)
        tall = picture(page)
        assert tall.shape == (400, 300, 3) and red_left_blue_right(tall[100:300])

    def test_device_pixels(self, open_page: OpenPage, server: str) -> None:
        page = open_page(device_scale_factor=2, viewport={"width": 240, "height": 160}).page
        page.goto(f"{server}view/small")
        wait(page)
        assert page.evaluate("(c => [c.width, c.height])(viewer.shadowRoot.querySelector('canvas'))") == [480, 320]
        assert picture(page).shape == (320, 480, 3)

    def test_keys_wheel_and_touch_move_the_camera(self, open_page: OpenPage, server: str) -> None:
        page = open_page(has_touch=True).page
        page.goto(f"{server}view/small")
        wait(page)
        start = page.evaluate("viewer.viewer.camera")

        def moved(act: Callable[[], object], changed: str) -> None:
            before = page.evaluate("viewer.viewer.camera")
            act()
            script = "([k, b]) => JSON.stringify(viewer.viewer.camera[k]) !== JSON.stringify(b[k])"
            page.wait_for_function(script, arg=[changed, before])

        moved(lambda: page.keyboard.press("ArrowLeft", delay=60), "position")
        moved(lambda: page.keyboard.press("w", delay=60), "target")
        moved(lambda: page.keyboard.press("+", delay=60), "position")
        page.mouse.move(200, 100)
        moved(lambda: page.mouse.wheel(0, 200), "position")
        moved(lambda: page.mouse.dblclick(200, 140), "target")
        touch = page.context.new_cdp_session(page)

        def pinch() -> None:
            for kind, points in (
                ("touchStart", [(200, 100), (240, 100)]),
                ("touchMove", [(150, 100), (290, 100)]),
                ("touchEnd", []),
            ):
                touch_points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
                touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touch_points})

        moved(pinch, "position")
        page.keyboard.press("r")
        assert page.evaluate("viewer.viewer.camera") == start

    def test_the_same_view_is_the_same_bytes_whatever_arrived_first(self, open_page: OpenPage, server: str) -> None:
        pictures = []
        for held in (0, 1):
            page = open_page().page
            page.add_init_script(f"""let n = 0; const real = fetch;
                window.fetch = async (...a) => {{ // every other request waits
                    if (n++ > 2 && n % 2 === {held}) await new Promise((r) => setTimeout(r, 150));
                    return real(...a);
                }};""")
            page.goto(f"{server}view/clouds")
            wait(page)
            pictures.append(picture(page))
        assert np.array_equal(*pictures)

    def test_a_link_opens_the_exact_view(self, open_page: OpenPage, server: str) -> None:
        opened = open_page(permissions=["clipboard-read", "clipboard-write"])
        page = opened.page
        page.goto(f"{server}view/clouds")
        wait(page)
        pose = "{position: [1.2, -1, -2.5], target: [0.1, 0, 0], up: [0, -1, 0], fov: 40}"
        page.evaluate(f"viewer.viewer.camera = {pose}")
        wait(page)
        here = picture(page)
        page.get_by_role("button", name="Copy a link").click()
        expect(page.get_by_role("status")).to_have_text("Link to this view copied")
        link = page.evaluate("navigator.clipboard.readText()")
        assert link.startswith(f"{server}view/clouds#view=1.2,-1,-2.5,0.1,0,0,")
        page.wait_for_function("() => location.hash.startsWith('#view=1.2')")
        other = open_page().page
        other.goto(link)
        wait(other)
        assert np.array_equal(picture(other), here)
        other.evaluate("location.hash = '#view=0,0,-4,0,0,0,0,-1,0,50'")
        other.wait_for_function("() => viewer.viewer.camera.position[2] === -4")

    def test_each_layer_is_drawn_with_its_own_kernel(self, open_page: OpenPage, tmp_path: Path) -> None:
        """A scene of an anti-aliased and of a wide layer, as the headless renderer draws them."""
        # A cluster each: there is nothing to refine.
        thin = [replace(blobs(256, seed=seed), scales=np.full((256, 3), 0.002, np.float32)) for seed in (1, 2)]
        kernels = (Kernel(0.1, antialias=True), Kernel(2.0))
        build_lens([SourceLayer(s, kernel=k) for s, k in zip(thin, kernels, strict=True)], tmp_path / "mixed.lens")
        page = open_page().page
        with background(ServerConfig((tmp_path,))) as url:
            page.goto(f"{url}view/mixed")
            wait(page)
            pose = "{position: [1, -1, -2.5], target: [0, 0, 0], up: [0, -1, 0], fov: 40}"
            page.evaluate(f"viewer.viewer.camera = {pose}")
            wait(page)
            got = picture(page) / 255
        camera = Camera.look_at((1, -1, -2.5), (0, 0, 0), (0, -1, 0), 40, got.shape[1], got.shape[0])
        with LensReader.open(tmp_path / "mixed.lens") as reader:
            pages = [LensPages(layer) for layer in reader.splats_layers.values()]
            want, swapped = (
                render_reference([PagedLayer(p, kernel=k) for p, k in zip(pages, order, strict=True)], camera)
                for order in (kernels, kernels[::-1])
            )
        assert psnr(got, want[..., :3].clip(0, 1)) > 40
        assert psnr(got, swapped[..., :3].clip(0, 1)) < 30

    def test_a_scene_dropped_or_set_replaces_the_old_one(self, open_page: OpenPage, server: str, scenes: Path) -> None:
        page = open_page().page
        page.goto(f"{server}view/small")
        wait(page)
        data = (scenes / "clouds.lens").read_bytes().hex()
        page.evaluate(
            """(hex) => { const t = new DataTransfer();
            const bytes = Uint8Array.from(hex.match(/../g), (b) => parseInt(b, 16));
            t.items.add(new File([bytes], 'dropped.lens'));
            dispatchEvent(new DragEvent('drop', { dataTransfer: t, cancelable: true, bubbles: true })); }""",
            data,
        )
        page.wait_for_function("() => viewer.viewer.info?.title === 'Two clouds'")
        wait(page)
        assert red_left_blue_right(picture(page))

    def test_a_background_shows_through(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/small")
        wait(page)
        page.evaluate("viewer.viewer.background = 'rgb(10 200 30)'")
        page.wait_for_timeout(200)
        wait(page)
        assert np.abs(picture(page)[3, 3].astype(int) - [10, 200, 30]).max() <= 1

    def test_the_list_leads_to_the_scene(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(server)
        expect(page.locator(".scenes li")).to_have_count(4)
        page.wait_for_function("() => [...document.images].every((i) => i.complete && i.naturalWidth > 0)")
        page.get_by_text("clouds", exact=True).click()
        wait(page, "ready")
        assert urlsplit(page.url).path == "/view/clouds"
        page.get_by_text("All scenes").click()
        expect(page.locator(".scenes li")).to_have_count(4)


class TestAccess:
    def test_keys_overlay(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/small")
        wait(page)
        page.keyboard.press("?")
        keys = page.get_by_role("dialog", name="Keys")
        expect(keys).to_be_visible()
        for text in ("W A S D", "Double-click", "Fly, and back to orbit"):
            expect(keys).to_contain_text(text)
        expect(keys.get_by_role("button", name="Close")).to_be_focused()
        page.keyboard.press("Escape")
        expect(keys).to_be_hidden()
        expect(page.get_by_role("application")).to_be_focused()
        page.get_by_role("button", name="Keys").click()
        expect(keys).to_be_visible()
        keys.get_by_role("button", name="Close").click()
        expect(keys).to_be_hidden()

    def test_everything_is_named_and_reached_by_keyboard(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/small")
        wait(page)
        scene = page.get_by_role("application")
        expect(scene).to_be_focused()
        expect(scene).to_have_attribute("aria-label", "3D scene: Small")
        expect(scene).to_have_accessible_description(re.compile("Arrow keys orbit"))
        names = []
        for _ in range(7):
            page.keyboard.press("Tab")
            names.append(page.evaluate("(e => e && (e.ariaLabel || e.textContent))(viewer.shadowRoot.activeElement)"))
        tools = ["Fly (F)", "Back to the start (R)", "Copy a link to this view", "Full screen", "Keys (?)"]
        assert [n for n in names if n in tools] == tools
        page.get_by_role("button", name="Fly").click()
        expect(page.get_by_role("button", name="Fly")).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Fly")).to_have_attribute("aria-pressed", "false")


class TestMessages:
    def test_a_bad_file(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/text")
        text = panel(page)
        assert "no .lens file" in text and "PLY" in text and "splatlens convert" in text
        assert page.get_by_role("alert").is_visible()

    def test_a_cut_file(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.goto(f"{server}view/cut")
        assert "cut" in panel(page)

    def test_a_missing_file_then_found_again(self, open_page: OpenPage, server: str) -> None:
        opened = open_page()
        opened.expect("404")
        page = opened.page
        page.route("**/scenes/*.lens", lambda r: r.fulfill(status=404))
        page.goto(f"{server}view/small")
        assert "no scene at this address" in panel(page)
        page.unroute("**/scenes/*.lens")
        page.get_by_role("button", name="Try again").click()
        wait(page)
        expect(page.locator(".panel")).to_be_hidden()

    def test_no_webgpu(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.add_init_script(NO_GPU)
        page.goto(f"{server}view/small")
        text = panel(page)
        assert "This browser has no WebGPU" in text and "Update the browser" in text

    def test_no_adapter(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.add_init_script(NO_ADAPTER)
        page.goto(f"{server}view/small")
        text = panel(page)
        assert "No graphics adapter" in text and "driver" in text

    def test_an_insecure_origin_says_what_to_do(self, open_page: OpenPage, scenes: Path) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.connect(("192.0.2.1", 9))  # sends nothing: only asks which address would be used
                address = s.getsockname()[0]
            except OSError:
                address = "127.0.0.1"
        if address.startswith("127."):
            pytest.skip("no non-loopback address")
        with background(ServerConfig((scenes,)), host="0.0.0.0") as url:
            port = urlsplit(url).port
            page = open_page().page
            page.goto(f"http://{address}:{port}/view/small")
            assert page.evaluate("isSecureContext") is False
            text = panel(page)
        assert "not secure" in text and f"http://{address}:{port}" in text
        assert f"http://localhost:{port}/view/small" in text
        assert f"ssh -L {port}:localhost:{port} {address}" in text
        assert "--tls-cert" in text

    def test_a_policy_that_forbids_everything_else_is_kept(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.add_init_script("window.broken = [];")
        page.add_init_script("addEventListener('securitypolicyviolation', e => broken.push(e.blockedURI));")
        page.goto(f"{server}view/small")
        wait(page)
        page.keyboard.press("?")
        assert page.evaluate("broken") == []


class TestDevice:
    def test_a_lost_device_is_started_again_with_the_same_view(self, open_page: OpenPage, server: str) -> None:
        opened = open_page()
        page = opened.page
        page.add_init_script(KEEP_DEVICES)
        page.goto(f"{server}view/clouds")
        wait(page)
        page.evaluate("viewer.viewer.camera = {...viewer.viewer.camera, position: [1, -1, -3]}")
        wait(page)
        before = picture(page)
        page.evaluate("devices[0].destroy()")
        page.wait_for_function("() => devices.length === 2")
        wait(page)
        assert np.array_equal(picture(page), before)
        expect(page.locator(".panel")).to_be_hidden()

    def test_a_device_lost_over_and_over_is_told(self, open_page: OpenPage, server: str) -> None:
        opened = open_page()
        page = opened.page
        page.add_init_script(KEEP_DEVICES)
        page.goto(f"{server}view/small")
        for n in range(1, 5):
            page.wait_for_function("(n) => devices.length === n && viewer.viewer.state === 'ready'", arg=n)
            page.evaluate("devices.at(-1).destroy()")
        assert "keeps failing" in panel(page)
        page.get_by_role("button", name="Try again").click()
        wait(page)

    def test_destroy_leaves_nothing_behind(self, open_page: OpenPage, server: str) -> None:
        page = open_page().page
        page.add_init_script(KEEP_DEVICES)
        page.goto(f"{server}view/small")
        wait(page)
        page.evaluate("window.lost = false; void devices[0].lost.then(() => window.lost = true)")
        page.evaluate("viewer.viewer.destroy(); viewer.viewer.destroy()")
        page.wait_for_function("() => lost")
        assert page.evaluate("viewer.viewer.state") == "destroyed"
        assert page.evaluate("viewer.shadowRoot.innerHTML") == "<slot></slot>"


class TestNetwork:
    def test_failing_requests_are_repeated(self, open_page: OpenPage, server: str) -> None:
        opened = open_page()
        opened.expect("503", "ERR_CONNECTION_FAILED")
        page = opened.page
        seen: dict[str, int] = {}

        def unreliable(route: Route) -> None:
            asked = route.request.headers["range"]
            seen[asked] = seen.get(asked, 0) + 1
            if seen[asked] == 1 and not asked.startswith("bytes=0-"):
                route.fulfill(status=503) if len(seen) % 2 else route.abort("connectionfailed")
            else:
                route.continue_()

        page.route("**/scenes/*.lens", unreliable)
        page.goto(f"{server}view/clouds")
        wait(page)
        assert red_left_blue_right(picture(page))
        assert max(seen.values()) >= 2

    def test_a_host_without_range_works(self, open_page: OpenPage, server: str, scenes: Path) -> None:
        page = open_page().page
        asked = []

        def whole(route: Route) -> None:
            asked.append(route.request.url)
            route.fulfill(body=(scenes / "clouds.lens").read_bytes())

        page.route("**/scenes/*.lens", whole)
        page.goto(f"{server}view/clouds")
        wait(page)
        assert red_left_blue_right(picture(page)) and len(asked) == 1

    def test_a_damaged_part_leaves_the_rest_to_be_seen(self, open_page: OpenPage, server: str, scenes: Path) -> None:
        data = bytearray((scenes / "clouds.lens").read_bytes())
        page = open_page().page

        def damaged(route: Route) -> None:
            first, last = map(int, route.request.headers["range"].removeprefix("bytes=").split("-"))
            body = bytearray(data[first : last + 1])
            if first > len(data) // 2:
                body[-3] ^= 0xFF
            headers = {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{len(data)}"}
            route.fulfill(status=206, body=bytes(body), headers=headers)

        page.route("**/scenes/*.lens", damaged)
        page.goto(f"{server}view/clouds")
        wait(page)
        expect(page.get_by_role("status")).to_contain_text("stays coarse")
        assert red_left_blue_right(picture(page))

    def test_a_scene_replaced_on_the_server_is_opened_anew(
        self, open_page: OpenPage, scenes: Path, tmp_path: Path
    ) -> None:
        shutil.copy(scenes / "clouds.lens", tmp_path / "it.lens")
        with background(ServerConfig((tmp_path,))) as url:
            opened = open_page()
            opened.expect("416")
            page = opened.page
            hold = True

            def held(route: Route) -> None:
                nonlocal hold
                if hold and int(route.request.headers["range"][6:].split("-")[0]) > 60_000:
                    hold = False
                    build_lens(blobs(900, seed=5), tmp_path / "it.lens", SceneInfo(title="New"))
                route.continue_()

            page.route("**/scenes/*.lens", held)
            page.goto(f"{url}view/it")
            page.wait_for_function("() => viewer.viewer?.info?.title === 'New'")
            wait(page)
