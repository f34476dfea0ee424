"""Post-processing networks in real Chromium: the same picture as headless, nothing read back, and what goes wrong."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page

from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import ImageSize
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.postprocess import Postprocess, finish
from tests.image_networks import contract, convolution, network, network_bytes, nothing
from tests.shaders.images import BACKGROUND, random_picture

ROOT = Path(__file__).resolve().parent.parent.parent
WIDTH, HEIGHT = 53, 31
TILED = ImageSize((24, 20), 6)
#: Of the page's loading of the runtime, milliseconds: its WebAssembly takes seconds to compile.
PATIENCE = 120_000


class Files(SimpleHTTPRequestHandler):
    """The tree as it is; the runtime, which is kept packed, as the server sends it."""

    def send_head(self) -> Any:
        if not self.path.split("?")[0].endswith(".wasm"):
            return super().send_head()
        data = Path(f"{self.translate_path(self.path)}.gz").read_bytes()
        self.send_response(200)
        for name, value in (("Type", "application/wasm"), ("Encoding", "gzip"), ("Length", str(len(data)))):
            self.send_header(f"Content-{name}", value)
        self.end_headers()
        return BytesIO(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def tree_server() -> Iterator[str]:
    """Serves the tree while the block runs; an address to visit."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(ROOT))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/tests/browser/postprocess_page.js"
        server.shutdown()


# One page for all: loading onnxruntime-web is most of what they take.
@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    with tree_server() as url:
        made = browser.new_page()
        made.set_default_timeout(PATIENCE)
        made.goto(url)
        yield made
        made.close()


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def layer(body: Any, size: ImageSize, kind: str = "float32", name: str = "net") -> dict[str, str]:
    """A layer as the page takes it: its contract as a .lens holds it, and its model."""
    data = network_bytes(body, size, kind)
    graph = Model(contract(size), data, name).graph.to_json()
    return {"name": name, "contract": json.dumps({**contract(size).to_json(), "graph": graph}), "model": encode(data)}


def frame(picture: NDArray[np.float32], **more: Any) -> dict[str, Any]:
    height, width = picture.shape[:2]
    return {"picture": encode(picture.tobytes()), "width": width, "height": height, **more}


def run(
    page: Page,
    layers: list[dict[str, str]],
    frames: list[dict[str, Any]],
    background: Sequence[float] = BACKGROUND,
) -> Any:
    script = "async (a) => (await import('/tests/browser/postprocess_page.js')).run(a)"
    return page.evaluate(script, {"layers": layers, "frames": frames, "background": [*background, 1]})


def over(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 4) with the background under it, as the headless renderer gives it."""
    made = picture.copy()
    made[..., :3] += (1 - made[..., 3:]) * np.float32(BACKGROUND)
    return made


def picture_of(got: dict[str, str], width: int, height: int) -> NDArray[np.float32]:
    """(H, W, 4) of the page's texture, premultiplied."""
    return np.frombuffer(base64.b64decode(got["data"]), np.float32).reshape(height, width, 4)


def shown(got: dict[str, str], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.float32]:
    return over(picture_of(got, width, height))


def test_the_same_picture_as_headless(page: Page) -> None:
    """Two layers, tiled and whole, two strengths, another size, each turned off; no read-back once it is settled."""
    picture, larger = random_picture(WIDTH, HEIGHT), random_picture(61, 47, seed=2)
    layers = [layer(convolution, TILED, name="tiled"), layer(convolution, ImageSize(multiple=16), name="whole")]
    settings: list[dict[int, float]] = [{1: 0.7, 2: 1.5}, {1: 2.0, 2: 0.25}]
    frames = [
        *(frame(picture, controls={str(k): {"strength": v} for k, v in s.items()}, repeat=3) for s in settings),
        frame(larger, controls={"1": {"strength": 0.7}}),
        frame(picture, off={"1": True}),
        frame(picture, off={"1": True, "2": True}),
    ]
    got = run(page, layers, frames)
    assert got["told"] == []
    models = [network(convolution, TILED), network(convolution, ImageSize(multiple=16))]
    cases = [
        *((picture, s, (True, True)) for s in settings),
        (larger, {1: 0.7, 2: 1.0}, (True, True)),
        (picture, {1: 1.0, 2: 1.0}, (False, True)),
        (picture, {1: 1.0, 2: 1.0}, (False, False)),
    ]
    for (drawn, strengths, on), one in zip(cases, got["pictures"], strict=True):
        height, width = drawn.shape[:2]
        seen = Camera(width, height, 50, 50, 0, 0, np.eye(4))
        chosen = [
            Postprocess(model, Moment(controls={"strength": strengths[k]}), on[k - 1])
            for k, model in enumerate(models, 1)
        ]
        want = finish(over(drawn), chosen, seen)
        made = shown(one, width, height)
        assert psnr(made, want) > 100, (strengths, on)
        np.testing.assert_array_equal(made[..., 3], drawn[..., 3])
        canvas = np.frombuffer(base64.b64decode(one["canvas"]), np.uint8).reshape(height, width, 4)[..., :3]
        assert np.abs(canvas - np.clip(want[..., :3], 0, 1) * 255).max() <= 0.51
    assert [one["shown"] for one in got["pictures"]] == ["image.1", "image.1", "image.1", "image.0", "color"]
    # The third frame of the same setting: nothing made of ours, nothing mapped.
    for counted in got["counted"][:2]:
        assert counted["maps"] == 0
        assert counted["textures"] == 0


def test_what_is_not_finite_is_told_once_a_setting(page: Page) -> None:
    picture = random_picture(WIDTH, HEIGHT)
    dark = layer(lambda g, image, s: g.op("Sqrt", g.op("Sub", image, g.op("Mul", s, 0.25))), ImageSize(), name="dark")
    frames = [frame(picture, controls={"1": {"strength": v}}, repeat=3) for v in (2.0, 0.0)]
    got = run(page, [dark], frames)
    base = np.clip(over(picture)[..., :3], 0, 1)
    lost = (base < 0.5).any(axis=2)
    want = f"notice: dark: {lost.sum()} of {lost.size} pixels came out not finite and are shown unprocessed"
    assert got["told"] == [want]
    made = shown(got["pictures"][0])[..., :3]
    np.testing.assert_allclose(made[lost], base[lost], atol=1e-6)
    np.testing.assert_allclose(made[~lost], np.sqrt(base[~lost] - 0.5), atol=1e-5)


def test_a_network_that_fails_is_dropped_and_the_others_stay(page: Page) -> None:
    failing = layer(lambda g, image, s: g.reshape(image, 1, 3, 7, 7), ImageSize(), name="failing")
    picture = random_picture(WIDTH, HEIGHT)
    got = run(page, [failing, layer(nothing, ImageSize(), name="fine")], [frame(picture)] * 2)
    assert len(got["told"]) == 1
    assert got["told"][0].startswith("failed 1: failing: the model failed while it ran: ")
    np.testing.assert_allclose(shown(got["pictures"][1]), np.clip(over(picture), 0, 1), atol=1e-6)


def test_float16_runs_on_the_processor_where_the_device_lacks_it(page: Page) -> None:
    """The page's device has no shader-f16: onnxruntime refuses, the processor takes over, and it is told."""
    picture = random_picture(WIDTH, HEIGHT)
    size = ImageSize(multiple=16)
    got = run(page, [layer(convolution, size, "float16", name="half")], [frame(picture), frame(picture)])
    notices = [text for text in got["told"] if not text.startswith("device: ")]
    assert len(notices) == 1, got["told"]
    assert notices[0].startswith("notice: half runs on the processor, which is slower: the model failed while it ran: ")
    seen = Camera(WIDTH, HEIGHT, 50, 50, 0, 0, np.eye(4))
    want = finish(over(picture), [Postprocess(network(convolution, size, "float16"))], seen)
    assert psnr(shown(got["pictures"][1]), want) > 60
