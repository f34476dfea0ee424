"""Meshes in real Chromium: the headless picture, streaming coarse first, memory, failures, picking, a still view."""

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
from playwright.sync_api import Page, Route, expect

from splatlens.server import ServerConfig, background
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generator import FIRST, Moment
from splatlens.viewer.lens import LensReader
from splatlens.viewer.lens_layout import HEAD_BYTES
from splatlens.viewer.mesh import MeshTree
from splatlens.viewer.mesh_layer import MeshLayer
from splatlens.viewer.mesh_lens import NODE, PAGE, mesh_layer, together
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import Layer, PagedLayer, Renderer
from splatlens.viewer.scene import SceneInfo
from tests import live_models as models

from .conftest import INFO, Opened, blobs, picture, wait
from .mesh_scenes import colored, featured
from .test_live import ALIKE, headless, target

OpenPage = Callable[..., Opened]
HERE = Path(__file__).parent
CAMERA = Camera.look_at((0.2, -0.5, -3.1), (0, 0, 0), (0, -1, 0), 48, 160, 96)
#: So near to one corner, and to the one across, that little else is in sight.
CORNERS = [Camera.look_at((k, k, -0.9), (k, k, 0), (0, -1, 0), 40, 96, 96) for k in (-0.75, 0.75)]
ASIDE = Camera.look_at((2.4, -0.3, -1.9), (0, 0.1, 0), (0, -1, 0), 52, 160, 96)
MOVED = np.array([[0, -0.8, 0, 0.6], [0.8, 0, 0, -0.3], [0, 0, 0.8, 0.5], [0, 0, 0, 1]])
NOW = Moment(0.4)


@dataclass(frozen=True)
class Scenes:
    """A server of scenes, and the folder they are in. client: address of the page's modules. featured: a mesh."""

    url: str
    folder: Path
    client: str
    featured: MeshTree


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    folder, tree = tmp_path_factory.mktemp("meshes"), featured(4)
    look, small = SceneInfo(title="Landscape", camera=INFO.camera), mesh_layer(colored(), "Colours")
    build_lens([mesh_layer(tree, "Hills")], folder / "alone.lens", look)
    mixed = [SourceLayer(blobs(256), "Stored"), mesh_layer(tree, "Hills"), models.cloud()]
    build_lens([*mixed, replace(small, transform=MOVED)], folder / "mixed.lens", INFO)
    pages = bytearray(small.blobs["pages.0"])
    pages[9] ^= 0xFF  # the root comes first
    bad = replace(small, name="Bad", blobs={**small.blobs, "pages.0": bytes(pages)})
    build_lens([SourceLayer(blobs(256), "Stored"), bad, replace(small, name="Good")], folder / "bad.lens", INFO)
    build_lens([bad], folder / "worse.lens", INFO)
    build_lens([small], folder / "small.lens", INFO)
    with background(ServerConfig((folder,))) as url:
        with urllib.request.urlopen(url) as index:
            found = re.search(r"client/[0-9a-f]+/", index.read().decode())
        assert found
        yield Scenes(url, folder, f"{url}{found[0]}static/", tree)


@dataclass(frozen=True)
class View:
    """A scene opened by live_page.js."""

    page: Page

    def __call__(self, method: str, *values: Any) -> Any:
        return self.page.evaluate("([m, a]) => live[m](...a)", [method, list(values)])

    def pictures(self, *cameras: Camera, scene: tuple[Any, ...] = ()) -> list[NDArray[np.float32]]:
        given = [target(NOW, camera, list(scene)) for camera in cameras]
        return [
            np.frombuffer(base64.b64decode(one["data"]), np.float32).reshape(one["height"], one["width"], 4)
            for one in self("pictures", given)
            if one["format"] == "rgba32float"
        ]


@pytest.fixture
def show(open_page: OpenPage, served: Scenes) -> Callable[..., View]:
    def make(name: str, routed: Callable[[Route], None] | None = None, **options: Any) -> View:
        opened = open_page()
        opened.expect("favicon")
        page = opened.page
        module = (HERE / "live_page.js").read_text()
        page.route("**/live_page.js", lambda r: r.fulfill(body=module, content_type="text/javascript"))
        if routed:
            page.route("**/*.lens", routed)
        page.goto(served.url)
        script = """async ([base, client, src, options]) => {
            window.live = await (await import(`${base}live_page.js`)).open(client, src, options); }"""
        page.evaluate(script, [served.url, served.client, f"{served.url}scenes/{name}.lens", options])
        return View(page)

    return make


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def alike(got: NDArray[np.float32], layers: list[Layer], camera: Camera, renderer: Renderer) -> float:
    """Decibels between a picture of the page and the headless one, before the background and any rounding.

    With a budget, so that both refine what is wrong by more than a pixel. All pixels, those at edges too: samples
    decide by exact edges, whatever grid the adapter's rasteriser has.
    """
    wanted = renderer.render(layers, camera, RenderOptions(background=(0, 0, 0)), budget=1e6)
    assert wanted[..., 3].max() > 0.5
    return psnr(got[..., :3], wanted[..., :3])


def test_the_same_picture_as_headless_with_splats_and_a_generator(
    show: Callable[..., View], served: Scenes, renderer: Renderer
) -> None:
    """Two meshes, one of texels through a network at four samples a pixel, the other moved; splats of two kinds."""
    view, cloud = show("mixed"), models.cloud()
    pictures = view.pictures(CAMERA, ASIDE, scene=(None, None, cloud, None))
    assert len(pictures) == 2
    (stored,) = LensReader.open(served.folder / "mixed.lens").splats_layers.values()
    for camera, got in zip((CAMERA, ASIDE), pictures, strict=True):
        layers = [PagedLayer(LensPages(stored)), headless(cloud, Moment(0.4, {}, FIRST), camera)]
        meshes = [MeshLayer(served.featured), MeshLayer(colored(), MOVED)]
        assert alike(got, [*layers, *meshes], camera, renderer) >= ALIKE
        assert alike(got, [*layers, meshes[0]], camera, renderer) < 30, "each layer is seen"
    state = view("state")
    assert state["notices"] == [] and state["failures"] == []


def test_pages_come_coarse_first_and_a_still_view_does_no_work(
    show: Callable[..., View], served: Scenes, renderer: Renderer
) -> None:
    asked: list[int] = []

    def watched(route: Route) -> None:
        asked.append(int(route.request.headers["range"].removeprefix("bytes=").split("-")[0]))
        route.continue_()

    view, here = show("alone", watched), target(NOW, CAMERA, [])
    shares = view("covered", here)
    assert len(shares) >= 2 and min(shares) > 0.9 * shares[-1] > 0.1, "never empty once there is a picture"
    spans, above = page_spans(served), parents(served.featured)
    # What the file's first request brings needs no other: the coarsest pages.
    there = [k for k, (_, end) in spans.items() if end <= HEAD_BYTES]
    pages = there + [k for offset in asked for k, (start, _) in spans.items() if start == offset]
    assert 0 in there and len(pages) - len(there) > 5 and len(pages) == len(set(pages))
    assert all(above[page] in pages[:k] for k, page in enumerate(pages) if page)
    assert alike(view.pictures(CAMERA)[0], [MeshLayer(served.featured)], CAMERA, renderer) >= ALIKE
    # Nothing is made, read or written anew but a few uniforms, also where the camera moves and the nodes stay.
    none = ("buffers", "textures", "readable", "maps", "copiesOut", "copies")
    for frames in ([here] * 3, [target(NOW, replace(CAMERA, cx=CAMERA.cx + k / 8), []) for k in range(3)]):
        view("settle", frames[0])
        cost = view("cost", frames)
        assert {k: cost[k] for k in none} == dict.fromkeys(none, 0) and cost["submits"] == 3
        assert cost["written"] < 3 * 1000
    x, y, z = view("pick", here, 80.5, 48.5)
    assert abs(z - 0.25 * np.sin(3 * x) * np.cos(2.5 * y)) < 0.02 and np.hypot(x, y) < 0.2
    assert view("pick", here, 2, 2) is None


def page_spans(served: Scenes) -> dict[int, tuple[int, int]]:
    """The bytes of alone.lens at which each page of its mesh begins and ends."""
    blobs_of = mesh_layer(served.featured, "Hills").blobs
    nodes = len(served.featured.surfaces)
    table = together(blobs_of["nodes"][nodes * NODE.itemsize :], PAGE, int(served.featured.nodes.page.max()) + 1)
    begin = (served.folder / "alone.lens").read_bytes().index(blobs_of["pages.0"])
    starts = begin + table["offset"].astype(int)
    return {k: (int(at), int(at + row["length"])) for k, (at, row) in enumerate(zip(starts, table, strict=True))}


def parents(tree: MeshTree) -> dict[int, int]:
    """The page above each page but the root's."""
    nodes, inner = tree.nodes, np.flatnonzero(tree.nodes.child_count)
    return {int(nodes.page[nodes.child_first[i]]): int(nodes.page[i]) for i in inner}


def test_memory_is_kept_and_pages_give_way(show: Callable[..., View], served: Scenes, renderer: Renderer) -> None:
    """With memory for few pages each corner is as fine as headless, one after the other, and the whole is coarse."""
    words = int(served.featured.nodes.words.sum())
    memory = 4 * words // 3
    view = show("alone", memory=memory)
    for camera in (CORNERS[0], CORNERS[1], CORNERS[0]):
        (got,) = view.pictures(camera)
        assert alike(got, [MeshLayer(served.featured)], camera, renderer) >= ALIKE
    assert view("sizeOf", "mesh_words") <= memory
    near = replace(CAMERA, width=320, height=192, fx=8 * CAMERA.fx, fy=8 * CAMERA.fy, cx=160, cy=96)
    (got,) = view.pictures(near)
    assert 15 < alike(got, [MeshLayer(served.featured)], near, renderer) < ALIKE, "coarser, not missing"


def test_a_layer_that_cannot_be_read_is_told_and_the_others_are_shown(
    show: Callable[..., View], served: Scenes, renderer: Renderer
) -> None:
    view = show("bad")
    (got,) = view.pictures(CAMERA)
    (stored,) = LensReader.open(served.folder / "bad.lens").splats_layers.values()
    layers: list[Layer] = [PagedLayer(LensPages(stored)), MeshLayer(colored())]
    assert alike(got, layers, CAMERA, renderer) >= ALIKE
    state = view("state")
    assert len(state["notices"]) == 1 and state["failures"] == []
    assert state["notices"][0].startswith("Bad is not shown: ") and "checksum" in state["notices"][0]
    # The nearest of mesh and splats is picked: here the one, there the other.
    front, here = renderer.executor.read_texture("mesh_front"), target(NOW, CAMERA, [])
    picked = {(x, y): [*view("pick", here, x, y), 1] for x in range(52, 112, 12) for y in (30, 48, 66)}
    shares = [(CAMERA.world_to_camera @ point)[2] / front[y, x] for (x, y), point in picked.items()]
    assert min(shares) < 0.99 and max(shares) == pytest.approx(1, abs=1e-4)
    assert view("sizeOf", "mesh_words") == 2 * 4 * int(colored().nodes.words.sum()), "never more than all would take"


class TestPage:
    def test_a_scene_of_meshes_alone(self, open_page: OpenPage, served: Scenes) -> None:
        page = open_page().page
        page.goto(f"{served.url}view/alone")
        assert wait(page)["splats"] == 0
        shown = picture(page)
        assert (shown.max(axis=2) > 40).mean() > 0.1
        frames = page.evaluate("viewer.viewer.frames")
        page.wait_for_timeout(300)
        assert page.evaluate("viewer.viewer.frames") == frames
        box = page.locator("#viewer").bounding_box()
        assert box
        page.mouse.dblclick(box["width"] / 2 + 40, box["height"] / 2)
        page.wait_for_function("() => Math.abs(viewer.viewer.camera.target[0]) > 0.05")
        x, y, z = page.evaluate("viewer.viewer.camera.target")
        assert abs(z - 0.25 * np.sin(3 * x) * np.cos(2.5 * y)) < 0.02

    def test_a_lost_device_brings_the_meshes_back(self, open_page: OpenPage, served: Scenes) -> None:
        page = open_page().page
        page.add_init_script("""window.devices = []; const request = GPUAdapter.prototype.requestDevice;
            GPUAdapter.prototype.requestDevice = async function (...a) {
              devices.push(await request.apply(this, a)); return devices.at(-1); };""")
        page.goto(f"{served.url}view/small")
        wait(page)
        before = picture(page)
        page.evaluate("devices[0].destroy()")
        page.wait_for_function("() => devices.length === 2")
        wait(page)
        assert np.array_equal(picture(page), before)

    def test_what_is_not_shown_is_said(self, open_page: OpenPage, served: Scenes) -> None:
        page = open_page().page
        page.goto(f"{served.url}view/bad")
        wait(page)
        expect(page.get_by_role("status")).to_contain_text("Bad is not shown")
        page.goto(f"{served.url}view/worse")
        wait(page, "error")
        expect(page.get_by_role("alert")).to_be_visible()

    def test_scenes_of_stored_splats_fetch_nothing_of_it(self, open_page: OpenPage, served: Scenes) -> None:
        build_lens(blobs(300), served.folder / "plain.lens", SceneInfo(camera=INFO.camera))
        page = open_page().page
        asked: list[str] = []
        page.on("request", lambda r: asked.append(r.url))
        page.goto(f"{served.url}view/plain")
        wait(page)
        assert not [url for url in asked if "/mesh/" in url or "bundle_live" in url]
