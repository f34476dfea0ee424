"""How onnxruntime-web reaches the page: packed, unchanged, under the content hash; and told where it is absent."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from splatlens.server import ServerConfig
from splatlens.server_app import create_app
from splatlens.server_assets import load_client

WASM = b"\0asm\1\0\0\0" + bytes(5000)
#: A regular expression that looks like a comment, as in code that was made small.
SCRIPT = b"var a=/[/*]/;\n  // kept\nexport default a;\n"


@pytest.fixture
def static(tmp_path: Path) -> Path:
    """A client with a runtime of few bytes, and no pages."""
    folder = tmp_path / "static" / "vendor" / "runtime"
    folder.mkdir(parents=True)
    (folder / "it.wasm.gz").write_bytes(gzip.compress(WASM, mtime=0))
    (folder / "it.mjs").write_bytes(SCRIPT)
    (folder / "LICENSE.txt").write_text("MIT")
    (tmp_path / "no shaders").mkdir()
    return tmp_path / "static"


async def test_packed_files_are_sent_as_they_lie_and_unpacked_for_who_wants_them_plain(static: Path) -> None:
    client = load_client(static, static.parent / "no shaders")
    app = create_app(ServerConfig((static,)), client)
    async with TestClient(TestServer(app), auto_decompress=False) as http:
        at = f"/client/{client.hash}/static/vendor/runtime/it.wasm"
        packed = await http.get(at, headers={"Accept-Encoding": "gzip"})
        assert await packed.read() == (static / "vendor/runtime/it.wasm.gz").read_bytes()
        assert packed.headers["Content-Encoding"] == "gzip" and packed.headers["Content-Type"] == "application/wasm"
        assert packed.headers["Access-Control-Allow-Origin"] == "*" and "immutable" in packed.headers["Cache-Control"]
        plain = await http.get(at, headers={"Accept-Encoding": "identity"})
        assert await plain.read() == WASM and "Content-Encoding" not in plain.headers
        assert (await http.get(f"{at}.gz")).status == 404


def test_what_others_wrote_is_sent_unchanged_and_not_preloaded(static: Path) -> None:
    client = load_client(static, static.parent / "no shaders")
    assert client.files["static/vendor/runtime/it.mjs"].body == SCRIPT
    assert client.modules == [] and client.has_runtime
    (static / "vendor/runtime/it.wasm.gz").write_bytes(gzip.compress(WASM + b"1", mtime=0))
    assert load_client(static, static.parent / "no shaders").hash != client.hash


def test_a_server_without_it_says_so(static: Path, caplog: pytest.LogCaptureFixture) -> None:
    (static / "vendor/runtime/it.wasm.gz").unlink()
    with caplog.at_level(logging.WARNING):
        create_app(ServerConfig((static,)), load_client(static, static.parent / "no shaders"))
    assert "onnxruntime-web is not installed here" in caplog.text and "scripts/setup.sh node" in caplog.text
