"""The .lens reader in Chromium: its DecompressionStream reads what Python wrote, and refuses what Node's would take."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Route

from splatlens.viewer.lens import LensReader
from tests.lens_scenes import Tampered, main

READ = """async (name) => {
  const { openLens } = await import("/static/lens.js"), { urlSource } = await import("/static/bytes.js");
  const { crc32 } = await import("/static/inflate.js");
  const source = urlSource(name), words = [];
  try {
    const lens = await openLens(source.getBytes, { name, size: source.size });
    await lens.cameras();
    for (const { splats } of lens.layers) {
      for (let k = 0; splats && k < splats.pages; k++) {
        const page = await splats.page(k), sh = await splats.sh(page);
        for (const a of [page.words, sh]) words.push(crc32(new Uint8Array(a.buffer, a.byteOffset, a.byteLength)));
      }
    }
    return { words, error: null };
  } catch (error) {
    return { words, error: `${error.name}: ${error.message}` };
  }
}"""


def with_tail(data: bytes, tail: bytes) -> bytes:
    """The first page's geometry with bytes after its stream, which the directory counts as its own."""
    tampered = Tampered(data)
    entry = tampered.entries(0)[0]
    start, length = int(entry["geometry_offset"]), int(entry["geometry_length"])
    stream = bytes(tampered.data[start : start + length])
    return tampered.geometry(0, zlib.decompress(stream), stream=stream + tail).bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lens")
    main(str(folder))
    data = (folder / "layers.lens").read_bytes()
    (folder / "tail.lens").write_bytes(with_tail(data, b"\0\0\0\0"))
    member = zlib.compress(b"second")
    (folder / "member.lens").write_bytes(with_tail(data, member))
    (folder / "page.lens").write_bytes(b"<!doctype html>")
    return folder


def test_chromium_reads_what_python_wrote(browser: Browser, root: Path, files: Path) -> None:
    context = browser.new_context()

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix("https://lens.test/")
        if path.startswith("static/"):
            route.fulfill(body=(root / path).read_bytes(), content_type="text/javascript")
        elif not path:
            route.fulfill(body="<!doctype html><title>x</title>", content_type="text/html")
        else:
            data = (files / path).read_bytes()
            first, last = (int(v) for v in route.request.headers["range"].removeprefix("bytes=").split("-"))
            part = data[first : last + 1]
            headers = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(data)}"}
            route.fulfill(status=206, body=part, headers=headers, content_type="application/octet-stream")

    try:
        page = context.new_page()
        page.route("https://lens.test/**", answer)
        page.goto("https://lens.test/")
        for name in ("layers", "large"):
            want = []
            with LensReader.open(files / f"{name}.lens") as reader:
                for layer in reader.splats_layers.values():
                    for k in range(layer.pages):
                        own = layer.page(k)
                        want += [zlib.crc32(own.geometry.words.tobytes()), zlib.crc32(layer.sh_page(k, own).tobytes())]
            assert page.evaluate(READ, f"{name}.lens") == {"words": want, "error": None}
        for name in ("tail", "member"):
            got = page.evaluate(READ, f"{name}.lens")
            assert got["error"].startswith("FormatError: ") and "page 0: geometry" in got["error"], got
        assert "a web page" in page.evaluate(READ, "page.lens")["error"]
    finally:
        context.close()
