"""Meshes in Chromium: pictures come back byte by byte, pages as the very words that Python packs, in a worker."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, Route

from splatlens.viewer.mesh import pack_surface, plain_look
from splatlens.viewer.mesh_lens import mesh_layer
from splatlens.viewer.mesh_texels import encode_texels, grid
from tests.mesh_layers import lens_bytes, looks, network_look, opened, tree

PICTURES = """async (names) => {
  const { WAYS } = await import("/static/mesh/picture.js"), { crc32 } = await import("/static/inflate.js"), out = {};
  for (const [name, width, height] of names) {
    const file = new Uint8Array(await (await fetch(name)).arrayBuffer());
    for (const way in WAYS) {
      const { data, swapped } = await WAYS[way](file, width, height), rgb = new Uint8Array(3 * width * height);
      for (let i = 0; i < rgb.length; i++) rgb[i] = data[4 * Math.floor(i / 3) + (swapped ? 2 - i % 3 : i % 3)];
      (out[way] ??= []).push(crc32(rgb));
    }
  }
  return out;
}"""

READ = """async ([name, withoutWorker]) => {
  if (withoutWorker) globalThis.Worker = class { constructor() { throw new Error("none"); } };
  const { openLens } = await import("/static/lens.js"), { urlSource } = await import("/static/bytes.js");
  const { crc32 } = await import("/static/inflate.js"), { openMesh } = await import("/static/mesh/nodes.js");
  const source = urlSource(name), end = new AbortController(), words = [];
  try {
    const lens = await openLens(source.getBytes, { name, size: source.size });
    const file = await openMesh(lens.layers[0], `${name}: layer 0`, end.signal);
    for (let k = 0; k < file.pages; k++) {
      for (const one of await file.read(k)) words.push(crc32(new Uint8Array(one.words.buffer)), one.words.length);
    }
    return { words, error: null };
  } catch (error) {
    return { words, error: `${error.name}: ${error.message}` };
  } finally {
    end.abort();
  }
}"""


@pytest.fixture(scope="module")
def pages(browser: Browser, root: Path) -> Any:
    """Makes pages of a site that has the scripts and the given files."""
    contexts = []

    def make(files: dict[str, bytes]) -> Page:
        def answer(route: Route) -> None:
            path = route.request.url.removeprefix("https://mesh.test/")
            if path.startswith("static/"):
                route.fulfill(body=(root / path).read_bytes(), content_type="text/javascript")
            elif not path:
                route.fulfill(body="<!doctype html><title>x</title>", content_type="text/html")
            elif found := re.fullmatch(r"bytes=(\d+)-(\d+)", route.request.headers.get("range", "")):
                first, last = int(found[1]), int(found[2])
                part = files[path][first : last + 1]
                headers = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(files[path])}"}
                route.fulfill(status=206, body=part, headers=headers, content_type="application/octet-stream")
            else:
                route.fulfill(body=files[path], content_type="image/webp")

        context = browser.new_context()
        contexts.append(context)
        context.route("https://mesh.test/**", answer)
        page = context.new_page()
        page.goto("https://mesh.test/")
        return page

    yield make
    for context in contexts:
        context.close()


def test_pictures_come_back_byte_by_byte(pages: Callable[[dict[str, bytes]], Page]) -> None:
    """All values of all channels, odd sizes, 1 to 24 channels, noise and smooth, by both ways."""
    rng, files, names, want = np.random.default_rng(0), {}, [], []
    every = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    cases = [np.repeat(every, 3, -1), np.roll(np.concatenate([every, every[::-1], 255 - every], -1), 5, 0)]
    sizes = [(1, 1, 1), (7, 3, 4), (33, 65, 8), (13, 5, 24), (3, 129, 3), (9000, 1, 6)]
    cases += [rng.integers(0, 256, size).astype(np.uint8) for size in sizes]
    cases += [np.zeros((5, 9, 2), np.uint8), np.full((4, 4, 3), 255, np.uint8)]
    for i, texels in enumerate(cases):
        h, w, c = texels.shape
        columns, rows = grid(w, h, c)
        files[f"{i}.webp"] = encode_texels(texels, None)
        names.append([f"{i}.webp", columns * w, rows * h])
        planes = np.zeros((h, w, 3 * rows * columns), np.uint8)
        planes[..., :c] = texels
        want.append(zlib.crc32(planes.reshape(h, w, columns, rows, 3).transpose(3, 0, 2, 1, 4).tobytes()))
    got = pages(files).evaluate(PICTURES, names)
    assert got == {"viaDecoder": want, "viaCanvas": want}


@pytest.mark.parametrize("alone", [False, True], ids=["worker", "main thread"])
def test_pages_become_the_words_that_python_packs(
    pages: Callable[[dict[str, bytes]], Page], tmp_path: Path, alone: bool
) -> None:
    made = {**looks(), "many": plain_look(30), "three": plain_look(3), "four": plain_look(4, empty=3)}
    files, want = {}, {}
    for name, look in made.items():
        files[f"{name}.lens"] = lens_bytes([mesh_layer(tree(look))], tmp_path)
        packed = [pack_surface(s) for s in opened(files[f"{name}.lens"]).surfaces]
        want[name] = [n for words in packed for n in (zlib.crc32(words.tobytes()), len(words))]
    page = pages(files)
    for name in made:
        assert page.evaluate(READ, [f"{name}.lens", alone]) == {"words": want[name], "error": None}


def test_other_pixels_are_told(pages: Callable[[dict[str, bytes]], Page], tmp_path: Path) -> None:
    """A browser that changes pictures, and a picture that is not the one that was stored."""
    page = pages({"a.lens": lens_bytes([mesh_layer(tree(network_look()))], tmp_path)})
    page.evaluate("""() => {
      const own = OffscreenCanvasRenderingContext2D.prototype, read = own.getImageData;
      own.getImageData = function (...a) {
        const pixels = read.apply(this, a);
        pixels.data[0] ^= 1;
        return pixels;
      };
    }""")
    # WebCodecs still has the very bytes.
    assert page.evaluate(READ, ["a.lens", True])["error"] is None
    page.evaluate("() => { delete globalThis.ImageDecoder; }")
    error = page.evaluate(READ, ["a.lens", True])["error"]
    assert error.startswith("FormatError: a.lens: layer 0: page 1 at byte ") and "protect privacy" in error, error
