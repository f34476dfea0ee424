"""Generators in real Chromium: the picture of the headless renderer, no read-back, nothing made anew, and failures."""

from __future__ import annotations

import base64
import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Page

from splatlens.server import ServerConfig, background
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import Contract
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.fields import parse_json
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.generator import FIRST, Model, Moment
from splatlens.viewer.lens import LensReader
from splatlens.viewer.lens_layers import BlobLayer
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import PagedLayer, Renderer
from splatlens.viewer.scene import SceneInfo
from tests import live_models as models

from .conftest import INFO, Opened, blobs, wait

OpenPage = Callable[..., Opened]
HERE = Path(__file__).parent
CAMERA = Camera.look_at((0.2, -0.5, -3.1), (0, 0, 0.1), (0, -1, 0), 48, 160, 96)
ASIDE = Camera.look_at((2.4, -0.3, -1.9), (0, 0.1, 0), (0, -1, 0), 52, 160, 96)
MOVED = np.array([[0, -0.8, 0, 0.6], [0.8, 0, 0, -0.3], [0, 0, 0.8, 0.5], [0, 0, 0, 1]])
#: Seconds, controls and tracks; the times lie within the span, in its second round and at its start.
MOMENTS = [
    Moment(seconds, controls, track)
    for seconds, track in ((0.0, FIRST), (0.77, "sway"), (3.3, None))
    for controls in ({}, {"size": 1.7, "warm": 1.0})
]
#: Decibels between the two, on the float target.
ALIKE = 50.0


def many() -> dict[str, BlobLayer]:
    return {
        "one": models.cloud("one", 1),
        "two": models.cloud("two", 2, count=300, transform=MOVED),
        "three": models.looking(),
        "four": models.shrinking(),
    }


@dataclass(frozen=True)
class Scenes:
    """A server of scenes, and the folder they are in. client: address of the page's modules."""

    url: str
    folder: Path
    client: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    folder = tmp_path_factory.mktemp("live")
    stored = SourceLayer(blobs(256), "Stored")
    build_lens([stored, *many().values()], folder / "many.lens", INFO)
    build_lens([models.cloud()], folder / "alone.lens", SceneInfo(title="Alone", camera=INFO.camera))
    trouble = [models.unknown_operator(), models.external_data(), models.failing(), models.cloud("long", count=700)]
    build_lens([stored, *trouble, models.broken_rows()], folder / "trouble.lens", INFO)
    rows = [models.shrinking("too many", twice=True), models.cloud("none", count=-3)]
    build_lens([stored, *rows], folder / "rows.lens", INFO)
    build_lens([stored, models.broken_rows()], folder / "spoiled.lens", INFO)
    build_lens([stored, models.half()], folder / "half.lens", INFO)
    with background(ServerConfig((folder,))) as url:
        with urllib.request.urlopen(url) as index:
            found = re.search(r"client/[0-9a-f]+/", index.read().decode())
        assert found
        yield Scenes(url, folder, f"{url}{found[0]}static/")


@dataclass(frozen=True)
class Live:
    """A scene opened by live_page.js."""

    page: Page

    def __call__(self, method: str, *values: Any) -> Any:
        return self.page.evaluate("([m, a]) => live[m](...a)", [method, list(values)])

    def pictures(self, scene: list[BlobLayer | None], moments: list[Moment], cameras: list[Camera]) -> list[Any]:
        given = [target(m, c, scene) for m, c in zip(moments, cameras, strict=True)]
        return [
            np.frombuffer(base64.b64decode(one["data"]), np.float32).reshape(one["height"], one["width"], 4)
            for one in self("pictures", given)
            if one["format"] == "rgba32float"
        ]


def target(moment: Moment, camera: Camera, scene: list[BlobLayer | None]) -> dict[str, Any]:
    """What SceneView.draw takes; controls go to each layer that has them."""
    keys = ("width", "height", "fx", "fy", "cx", "cy")
    place = {k: getattr(camera, k) for k in keys} | {"worldToCamera": camera.world_to_camera.reshape(-1).tolist()}
    live: dict[str, Any] = {"seconds": moment.seconds, "controls": {}, "tracks": {}}
    for index, layer in enumerate(scene):
        if layer is None:
            continue
        live["controls"][str(index)] = dict(moment.controls)
        if moment.track != FIRST:
            live["tracks"][str(index)] = moment.track
    return {"camera": place, "live": live}


@pytest.fixture
def show(open_page: OpenPage, served: Scenes) -> Callable[..., Live]:
    def make(name: str, *expected: str, **options: Any) -> Live:
        opened = open_page()
        opened.expect("favicon", *expected)
        page = opened.page
        module = (HERE / "live_page.js").read_text()
        page.route("**/live_page.js", lambda r: r.fulfill(body=module, content_type="text/javascript"))
        page.goto(served.url)
        script = """async ([base, client, src, options]) => {
            window.live = await (await import(`${base}live_page.js`)).open(client, src, options); }"""
        page.evaluate(script, [served.url, served.client, f"{served.url}scenes/{name}.lens", options])
        return Live(page)

    return make


_MODELS: dict[bytes, Model] = {}


def headless(layer: BlobLayer, moment: Moment, camera: Camera) -> GeneratedLayer:
    data = layer.blobs["model"]
    text = parse_json(layer.blobs["contract"], "test", "contract")
    contract = Contract.from_json(text, layer.blobs.get("tracks", b""))
    model = _MODELS.setdefault(data, Model(contract, data))
    own = {k: v for k, v in moment.controls.items() if k in {c.name for c in contract.controls}}
    track = moment.track if contract.tracks else None
    outputs = model.run(replace(moment, controls=own, track=track), camera, layer.transform)
    return GeneratedLayer(contract, outputs, layer.transform)


def stored(served: Scenes) -> PagedLayer:
    (layer,) = LensReader.open(served.folder / "many.lens").splats_layers.values()
    return PagedLayer(LensPages(layer))


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def alike(got: NDArray[np.float32], layers: list[Any], camera: Camera, renderer: Renderer) -> float:
    """Decibels between a picture of the page and the headless one, before the background and any rounding."""
    wanted = renderer.render(layers, camera, RenderOptions(background=(0, 0, 0)))
    assert wanted[..., 3].max() > 0.5
    return psnr(got[..., :3], wanted[..., :3])


def test_the_same_pictures_as_headless(
    show: Callable[..., Live], served: Scenes, renderer: Renderer
) -> None:
    """Several generators, one moved, one that sees the camera, one of dynamic size, and stored splats: one sort."""
    live = show("many")
    scene = list(many().values())
    cameras = [CAMERA, ASIDE] * 3
    pictures = live.pictures([None, *scene], MOMENTS, cameras)
    assert len(pictures) == len(MOMENTS)
    first = stored(served)
    for moment, camera, picture in zip(MOMENTS, cameras, pictures, strict=True):
        layers = [first, *(headless(one, moment, camera) for one in scene)]
        decibels = alike(picture, layers, camera, renderer)
        assert decibels >= ALIKE, f"{moment}: {decibels:.1f} dB"
    state = live("state")
    assert state["notices"] == [] and state["failures"] == []
    assert state["duration"] == 2


def test_nothing_is_read_back_and_nothing_made_in_the_steady_state(show: Callable[..., Live]) -> None:
    live = show("alone")
    scene: list[BlobLayer | None] = [models.cloud()]
    live("settle", target(Moment(0.1), CAMERA, scene))
    live("settle", target(Moment(0.15), CAMERA, scene))
    frames = [target(Moment(0.2 + 0.05 * k), CAMERA, scene) for k in range(10)]
    cost = live("cost", frames)
    runs = live("state")["layers"][0]["runs"]
    assert runs == 12, "once a moment"
    none = ("buffers", "textures", "readable", "maps", "copiesOut", "copies")
    assert {k: cost[k] for k in none} == dict.fromkeys(none, 0)
    assert cost["submits"] <= 30, "a frame, and what the runtime takes for a run"
    # What is not an input of the model does not make it run: the same moment, another camera.
    live("settle", target(Moment(0.65), ASIDE, scene))
    assert live("state")["layers"][0]["runs"] == runs
    # A control does, and its setting is looked at once for splats left out.
    changed = live("cost", [target(Moment(0.65, {"size": 1.5}), ASIDE, scene)] * 3)
    assert live("state")["layers"][0]["runs"] == runs + 1
    assert changed["readable"] <= 1


def test_counts_are_honoured_on_the_gpu_and_strange_ones_told(
    show: Callable[..., Live], served: Scenes, renderer: Renderer
) -> None:
    live = show("rows")
    scene = [models.shrinking("too many", twice=True), models.cloud("none", count=-3)]
    some, camera = Moment(0.4), CAMERA
    (picture,) = live.pictures([None, *scene], [some], [camera])
    layers = [stored(served), *(headless(one, some, camera) for one in scene)]
    assert alike(picture, layers, camera, renderer) >= ALIKE
    (empty,) = live.pictures([None, *scene], [Moment(0.0)], [camera])
    assert alike(empty, layers[:1], camera, renderer) >= ALIKE, "no rows at all"
    notices = " ".join(live("state")["notices"])
    assert "none: its count is -3, of 500 rows; none are drawn" in notices
    # Past its capacity it is out, and the rest stays.
    (after,) = live.pictures([None, *scene], [Moment(1.8)], [camera])
    assert alike(after, layers[:1], camera, renderer) >= ALIKE
    state = live("state")
    assert [layer["state"] for layer in state["layers"]] == ["failed", "ready"]
    assert "gave 900 rows, more than the contract's capacity of 500" in state["layers"][0]["error"]


def test_layers_that_fail_are_told_and_the_rest_stays(
    show: Callable[..., Live], served: Scenes, renderer: Renderer
) -> None:
    live = show("trouble")
    failing, long, spoiled = models.failing(), models.cloud("long", count=700), models.broken_rows()
    scene: list[BlobLayer | None] = [None, None, None, failing, long, spoiled]
    early = Moment(0.2)
    (picture,) = live.pictures(scene, [early], [CAMERA])
    layers = [stored(served), *(headless(one, early, CAMERA) for one in (failing, long, spoiled))]
    assert alike(picture, layers, CAMERA, renderer) >= ALIKE
    state = live("state")
    assert [layer["state"] for layer in state["layers"]] == ["failed", "failed", "ready", "ready", "ready"]
    strange, elsewhere = (layer["error"] for layer in state["layers"][:2])
    assert "strange: onnxruntime-web lacks an operator of the model" in strange and "Fly" in strange
    assert "elsewhere: its weights are in another file (external data)" in elsewhere
    assert any("long: its count is 700, of 500 rows; all are drawn" in text for text in state["notices"])
    # Later one fails half-way, another has rows that cannot be drawn.
    late = Moment(0.9)
    (picture,) = live.pictures(scene, [late], [CAMERA])
    layers = [stored(served), *(headless(one, late, CAMERA) for one in (long, spoiled))]
    assert alike(picture, layers, CAMERA, renderer) >= ALIKE
    state = live("state")
    assert [layer["state"] for layer in state["layers"]] == ["failed", "failed", "failed", "ready", "ready"]
    assert "failing: the model failed while it ran" in state["layers"][2]["error"]
    assert state["failures"] == []


def test_splats_left_out_are_counted_once(show: Callable[..., Live]) -> None:
    live = show("spoiled")
    scene: list[BlobLayer | None] = [None, models.broken_rows()]
    live("settle", target(Moment(1.5), CAMERA, scene))
    live.page.wait_for_function("() => live.notices.some((n) => n.startsWith('broken rows'))")
    for seconds in (1.51, 1.52):
        live("settle", target(Moment(seconds), CAMERA, scene))
    told = [n for n in live("state")["notices"] if n.startswith("broken rows")]
    found = re.match(r"broken rows: (\d+) of 400 splats", told[0])
    assert len(told) == 1 and found and 28 <= int(found[1]) <= 40


def test_float16_without_the_feature_runs_on_the_processor(
    show: Callable[..., Live], served: Scenes, renderer: Renderer
) -> None:
    live = show("half")
    one, moment = models.half(), Moment(0.6)
    (picture,) = live.pictures([None, one], [moment], [CAMERA])
    assert alike(picture, [stored(served), headless(one, moment, CAMERA)], CAMERA, renderer) >= ALIKE
    state = live("state")
    assert state["layers"][0]["state"] == "ready"
    assert live.page.evaluate("live.device.features.has('shader-f16')") is False
    assert any(text.startswith("half runs on the processor, which is slower") for text in state["notices"])


class TestPage:
    def test_a_lost_device_starts_models_again(self, open_page: OpenPage, served: Scenes) -> None:
        page = open_page().page
        page.add_init_script("""window.devices = []; const request = GPUAdapter.prototype.requestDevice;
            GPUAdapter.prototype.requestDevice = async function (...a) {
              devices.push(await request.apply(this, a)); return devices.at(-1); };""")
        page.goto(f"{served.url}view/alone")
        assert wait(page)["splats"] == models.ROWS
        page.evaluate("devices[0].destroy()")
        page.wait_for_function("() => devices.length === 2")
        assert wait(page)["splats"] == models.ROWS
        assert [one["state"] for one in page.evaluate("viewer.viewer.layers")] == ["ready"]

    def test_without_the_runtime_the_page_says_so_and_shows_the_rest(self, open_page: OpenPage, served: Scenes) -> None:
        opened = open_page()
        opened.expect("404")
        page = opened.page
        page.route("**/vendor/onnxruntime/*", lambda r: r.fulfill(status=404, body=""))
        page.goto(f"{served.url}view/many")
        assert wait(page)["splats"] == 256
        states = page.evaluate("viewer.viewer.layers")
        assert {one["state"] for one in states} == {"failed"}
        assert all("onnxruntime-web is not on this server" in one["error"] for one in states)

    def test_scenes_without_live_layers_fetch_nothing_of_it(self, open_page: OpenPage, served: Scenes) -> None:
        page = open_page().page
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        build_lens(blobs(300), served.folder / "plain.lens", SceneInfo(camera=INFO.camera))
        page.goto(f"{served.url}view/plain")
        wait(page)
        assert not [url for url in asked if "/live/" in url or "/vendor/" in url]

    def test_the_runtime_is_sent_packed_and_compiles_under_the_policy(
        self, open_page: OpenPage, served: Scenes
    ) -> None:
        page = open_page().page
        page.add_init_script("window.broken = [];")
        page.add_init_script("addEventListener('securitypolicyviolation', e => broken.push(e.blockedURI));")
        page.goto(f"{served.url}view/alone")
        wait(page)
        assert page.evaluate("broken") == []
        headers = page.evaluate(
            """async () => { const at = performance.getEntriesByType('resource').find((e) => e.name.endsWith('.wasm'));
            const type = (await fetch(at.name)).headers.get('content-type');
            return [type, at.encodedBodySize, at.decodedBodySize]; }"""
        )
        assert headers[0] == "application/wasm" and headers[1] < 8e6 < 20e6 < headers[2]
