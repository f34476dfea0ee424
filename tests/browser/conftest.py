"""Real Chromium with WebGPU on a software adapter, and a server of small scenes made here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from splatlens.server import ServerConfig, background
from splatlens.viewer.camera import Camera
from splatlens.viewer.convert import build_lens
from splatlens.viewer.scene import SceneInfo
from splatlens.viewer.splats import Splats

FLAGS = [
    "--no-sandbox", "--enable-unsafe-webgpu", "--enable-features=Vulkan", "--use-vulkan=swiftshader",
    "--use-angle=swiftshader", "--use-webgpu-adapter=swiftshader", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
#: Milliseconds that anything in a page may take: SwiftShader compiles the pipelines in one to five seconds.
PATIENCE = 30_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs Chromium."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium() -> str:
    """Path of the browser: $CHROMIUM, or an installed one. Fails where there is none: these tests are not optional."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    mac = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
    found = os.environ.get("CHROMIUM") or next((p for n in names if (p := shutil.which(n))), None)
    if not found and not Path(mac).exists():
        pytest.fail("no Chromium found: install it (apt install chromium) or set CHROMIUM to its path")
    return found or mac


# One browser a module: sync Playwright keeps an event loop running in this thread, and async tests elsewhere start one.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()


@dataclass
class Opened:
    """A page, and what went wrong in it that the test did not ask for."""

    page: Page
    problems: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def expect(self, *parts: str) -> None:
        """Messages with one of these parts are no problem."""
        self.expected += parts

    def check(self) -> None:
        unexpected = [p for p in self.problems if not any(e in p for e in self.expected)]
        assert not unexpected, "\n".join(unexpected)


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Makes pages of contexts with the given options; console errors and exceptions fail the test at its end."""
    contexts: list[BrowserContext] = []
    opened: list[Opened] = []

    def make(**options: Any) -> Opened:
        size = {"width": 480, "height": 270}
        contexts.append(browser.new_context(**{"viewport": size, "reduced_motion": "reduce", **options}))
        page = contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        one = Opened(page)
        page.on("console", lambda m: one.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: one.problems.append(f"exception: {e}"))
        opened.append(one)
        return one

    yield make
    try:
        for one in opened:
            one.check()
    finally:
        for context in contexts:
            context.close()


def blobs(n: int, seed: int = 1) -> Splats:
    """Two clouds of splats, red on the left (-x) and blue on the right, and few green ones far above (-y is up)."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    means = rng.normal(0, 0.25, (n, 3)) + np.where(side[:, None] == 1, [0.7, 0, 0], [-0.7, 0, 0])
    color = np.where(side[:, None] == 1, [0.1, 0.15, 0.9], [0.9, 0.15, 0.1])
    top = rng.random(n) < 0.05
    means[top], color[top] = means[top] * [0.3, 0.3, 0.3] + [0, -0.8, 0], [0.1, 0.8, 0.2]
    quats = rng.normal(size=(n, 4))
    sh = np.zeros((n, 4, 3))
    sh[:, 0] = (color + rng.normal(0, 0.02, (n, 3)) - 0.5) / 0.28209479177387814
    sh[:, 1:] = rng.normal(0, 0.02, (n, 3, 3))
    arrays = (
        means,
        quats / np.linalg.norm(quats, axis=1, keepdims=True),
        np.exp(rng.normal(-3.6, 0.3, (n, 3))),
        rng.uniform(0.3, 0.95, n),
        sh,
    )
    return Splats(*(a.astype(np.float32) for a in arrays))


INFO = SceneInfo(
    title="Two clouds",
    attribution="Made for tests",
    licence="CC0",
    background=(0.0, 0.0, 0.0),
    camera=Camera.look_at((0, -0.6, -3.2), (0, -0.1, 0), (0, -1, 0), 50, 640, 360),
)


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `clouds.lens` (20,000 splats, many pages), `small.lens` (600) and files that are no scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    build_lens(blobs(20_000), folder / "clouds.lens", INFO)
    build_lens(blobs(600), folder / "small.lens", SceneInfo(title="Small", camera=INFO.camera))
    (folder / "text.lens").write_text("ply\nformat ascii 1.0\n")
    data = (folder / "clouds.lens").read_bytes()
    (folder / "cut.lens").write_bytes(data[: len(data) // 2])
    return folder


@pytest.fixture(scope="session")
def server(scenes: Path) -> Iterator[str]:
    with background(ServerConfig((scenes,))) as url:
        yield url


def wait(page: Page, state: str = "settled", element: str = "#viewer") -> dict[str, Any]:
    """Waits until the viewer of `element` is `ready`, `settled` or `error`; its stats."""
    condition = {
        "ready": "v.state === 'ready'",
        "settled": "v.state === 'ready' && v.stats.settled",
        "error": "v.state === 'error'",
    }[state]
    script = f"""(s) => {{ const v = document.querySelector(s)?.viewer;
        if (v && v.state === 'error' && {str(state != "error").lower()}) throw new Error('viewer: ' + inside(s));
        function inside(s) {{ return document.querySelector(s).shadowRoot.querySelector('.panel').textContent; }}
        return v && ({condition}); }}"""
    page.wait_for_function(script, arg=element)
    stats: dict[str, Any] = page.evaluate("(s) => document.querySelector(s).viewer.stats", element)
    return stats


def picture(page: Page, element: str = "#viewer") -> NDArray[np.uint8]:
    """(H, W, 3) what the element shows, without tools and texts."""
    from io import BytesIO

    from PIL import Image

    style = ".dock, .controls, .title, .credit, .progress, .toast, .ring { visibility: hidden !important; }"
    page.evaluate(
        """([s, css]) => { const root = document.querySelector(s).shadowRoot, sheet = new CSSStyleSheet();
        sheet.replaceSync(css); root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet]; }""",
        [element, style],
    )
    data = page.locator(element).screenshot()
    page.evaluate(
        """(s) => { const root = document.querySelector(s).shadowRoot;
        root.adoptedStyleSheets = root.adoptedStyleSheets.slice(0, -1); }""",
        element,
    )
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))
