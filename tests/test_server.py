"""The server: what it serves, what it never serves, and the headers both leave with."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from yarl import URL

from splatlens.server import ServerConfig, background, create_app, run
from splatlens.server_app import ACTIVE, MAX_ACTIVE
from splatlens.server_assets import load_client, slim_script
from splatlens.server_scenes import MAX_DEPTH, Catalogue
from splatlens.server_thumbs import Thumbnail
from splatlens.viewer.assets import ROOT
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.plan import resolve

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A folder to serve, with neighbours that must never be seen."""
    root = tmp_path / "scenes"
    (root / "in side").mkdir(parents=True)
    (root / "plant.lens").write_bytes(CONTENT)
    (root / "plant.lens.gz").write_bytes(gzip.compress(b"another file"))
    (root / "plant.lens.br").write_bytes(b"another file")
    (root / "in side" / "räum #1.lens").write_bytes(CONTENT[:100])
    (root / "notes.txt").write_text("private")
    (root / ".hidden.lens").write_bytes(b"private")
    (root / "folder.lens").mkdir()
    (tmp_path / "secret.lens").write_bytes(b"private")
    (root / "out.lens").symlink_to(tmp_path / "secret.lens")
    (root / "up").symlink_to(tmp_path)
    (root / "loop.lens").symlink_to(root / "loop.lens")
    (root / "alias.lens").symlink_to(root / "plant.lens")
    return root


@pytest.fixture
async def client(aiohttp_client: Any, scenes: Path) -> TestClient[Any, Any]:
    made: TestClient[Any, Any] = await aiohttp_client(create_app(ServerConfig((scenes,), title="My <scenes>")))
    return made


async def failure(response: ClientResponse, status: int) -> str:
    """The message of a failed request, after checking its shape."""
    assert response.status == status
    assert response.content_type == "application/json"
    body = json.loads(await response.text())
    assert body.keys() == {"ok", "error", "status"} and body["ok"] is False and body["status"] == status
    assert isinstance(body["error"], str) and body["error"]
    return body["error"]


class TestScenes:
    async def test_a_scene_is_sent_as_it_is(self, client: TestClient[Any, Any]) -> None:
        r = await client.get("/scenes/plant.lens", headers={"Accept-Encoding": "gzip, br"})
        assert r.status == 200 and await r.read() == CONTENT
        assert r.headers["Content-Type"] == "application/vnd.splatlens.lens"
        assert "Content-Encoding" not in r.headers
        assert r.headers["Accept-Ranges"] == "bytes"
        assert "no-transform" in r.headers["Cache-Control"]
        assert r.headers["Access-Control-Allow-Origin"] == "*"
        assert r.headers["Access-Control-Expose-Headers"] == "Content-Range, ETag, Accept-Ranges"
        assert r.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert r.headers["X-Content-Type-Options"] == "nosniff"

    @pytest.mark.parametrize(
        ("asked", "first", "last"),
        [("0-9", 0, 9), ("100-", 100, 10239), ("-5", 10235, 10239), ("10000-99999", 10000, 10239)],
    )
    async def test_a_range_is_of_the_file_whatever_encodings_are_accepted(
        self, client: TestClient[Any, Any], asked: str, first: int, last: int
    ) -> None:
        r = await client.get("/scenes/plant.lens", headers={"Range": f"bytes={asked}", "Accept-Encoding": "gzip, br"})
        assert r.status == 206 and await r.read() == CONTENT[first : last + 1]
        assert r.headers["Content-Range"] == f"bytes {first}-{last}/10240"
        assert "Content-Encoding" not in r.headers

    @pytest.mark.parametrize(
        "asked", ["bytes=10240-", "bytes=99999-100000", "bytes=5-2", "bytes=a-b", "bytes=0-1,5-6", "lines=0-1"]
    )
    async def test_a_range_outside_the_file_is_416_with_its_size(
        self, client: TestClient[Any, Any], asked: str
    ) -> None:
        r = await client.get("/scenes/plant.lens", headers={"Range": asked})
        assert "10240 bytes" in await failure(r, 416)
        assert r.headers["Content-Range"] == "bytes */10240"
        assert r.headers["Access-Control-Allow-Origin"] == "*"

    async def test_etag_revalidates_and_changes_with_the_file(self, client: TestClient[Any, Any], scenes: Path) -> None:
        tag = (await client.get("/scenes/plant.lens")).headers["ETag"]
        r = await client.get("/scenes/plant.lens", headers={"If-None-Match": tag})
        assert r.status == 304 and await r.read() == b""
        assert r.headers["Access-Control-Allow-Origin"] == "*"
        part = {"Range": "bytes=0-3"}
        assert (await client.get("/scenes/plant.lens", headers={**part, "If-Range": tag})).status == 206
        (scenes / "plant.lens").write_bytes(b"new")
        assert (await client.get("/scenes/plant.lens")).headers["ETag"] != tag
        r = await client.get("/scenes/plant.lens", headers={**part, "If-Range": tag})
        assert r.status == 200 and await r.read() == b"new", "never bytes of one version placed in another"

    async def test_head_and_preflight(self, client: TestClient[Any, Any]) -> None:
        r = await client.head("/scenes/plant.lens")
        assert r.status == 200 and r.headers["Content-Length"] == "10240" and await r.read() == b""
        r = await client.options(
            "/scenes/plant.lens", headers={"Origin": "https://example.org", "Access-Control-Request-Headers": "range"}
        )
        assert r.status == 204 and "Range" in r.headers["Access-Control-Allow-Headers"]

    async def test_names_with_spaces_and_signs(self, client: TestClient[Any, Any]) -> None:
        for path in ("scenes/in%20side/r%C3%A4um%20%231.lens", "scenes/in%20side%2Fr%C3%A4um%20%231.lens"):
            r = await client.get(f"/{path}")
            assert r.status == 200 and await r.read() == CONTENT[:100]

    async def test_a_link_inside_the_root_is_followed(self, client: TestClient[Any, Any]) -> None:
        assert (await client.get("/scenes/alias.lens")).status == 200

    @pytest.mark.parametrize(
        "path",
        [
            "scenes/out.lens", "scenes/up/secret.lens", "scenes/loop.lens", "scenes/folder.lens", "scenes/.hidden.lens",
            "scenes/notes.txt", "scenes/notes.txt.lens", "scenes/plant.lens.gz", "scenes/../secret.lens",
            "scenes/%2e%2e/secret.lens", "scenes/..%2fsecret.lens", "scenes/in%20side/..%2f..%2fsecret.lens",
            "scenes/%2fetc/passwd.lens", "scenes//etc/passwd.lens", "scenes/..%5csecret.lens", "scenes/plant%00.lens",
            "scenes/%ff%fe.lens", "scenes/C:/plant.lens", "scenes/.lens", "scenes/" + "a" * 600 + ".lens",
            "scenes/" + "a/" * 200 + "a.lens", "static/viewer.js", "client/../server.py",
        ],
    )  # fmt: skip
    async def test_nothing_outside_the_root_is_served(self, scenes: Path, path: str) -> None:
        with background(ServerConfig((scenes,))) as url:  # http.client sends paths as they are; other clients tidy them
            connection = http.client.HTTPConnection(url.split("/")[2], timeout=10)
            connection.request("GET", f"/{path}")
            response = connection.getresponse()
            body = response.read()
            connection.close()
        assert response.status == 404, body
        assert b"private" not in body
        assert json.loads(body)["ok"] is False


class TestCatalogue:
    def test_lists_what_it_would_serve(self, scenes: Path) -> None:
        assert [s.name for s in Catalogue([scenes]).scenes()] == ["alias", "in side/räum #1", "plant"]

    def test_several_roots_have_labels(self, scenes: Path, tmp_path: Path) -> None:
        other = tmp_path / "else" / "scenes"
        other.mkdir(parents=True)
        (other / "plant.lens").write_bytes(b"2")
        catalogue = Catalogue([scenes, other, scenes / "plant.lens", tmp_path / "secret.lens"])
        names = [s.name for s in catalogue.scenes()]
        assert names == ["plant", "scenes-2/plant", "scenes/alias", "scenes/in side/räum #1", "scenes/plant", "secret"]
        assert [catalogue.find(n) is not None for n in names] == [True] * 6
        assert (
            catalogue.find("secret/plant") is None
            and catalogue.find("scenes") is None
            and catalogue.find("scenes-3/plant") is None
        )

    def test_folders_too_deep_are_not_looked_into(self, tmp_path: Path) -> None:
        for depth in (MAX_DEPTH, MAX_DEPTH + 1):
            folder = tmp_path.joinpath(*["d"] * depth)
            folder.mkdir(parents=True)
            (folder / f"{depth}.lens").touch()
        assert [s.title for s in Catalogue([tmp_path]).scenes()] == [str(MAX_DEPTH)]

    def test_roots_that_cannot_be_served_say_why(self, scenes: Path) -> None:
        for root, message in (
            (scenes / "none", "does not exist"),
            (scenes / "notes.txt", "splatlens convert"),
            (scenes / "loop.lens", "does not exist"),
        ):
            with pytest.raises(LensError, match=message):
                Catalogue([root])
        with pytest.raises(LensError, match="name at least one folder"):
            Catalogue([])


class TestPages:
    async def test_the_list_names_every_scene(self, client: TestClient[Any, Any]) -> None:
        r = await client.get("/")
        text = await r.text()
        assert r.status == 200 and r.content_type == "text/html"
        assert "My &lt;scenes&gt;" in text
        assert 'href="view/in%20side/r%C3%A4um%20%231"' in text and 'src="thumbs/plant.png"' in text
        listing = await (await client.get("/scenes.json")).json()
        assert listing["ok"] and [s["name"] for s in listing["scenes"]] == ["alias", "in side/räum #1", "plant"]
        for scene in listing["scenes"]:
            assert (await client.get(f"/{scene['view']}")).status == 200
            assert (await client.get(f"/{scene['file']}")).status == 200

    async def test_an_empty_folder_says_what_to_do(self, aiohttp_client: Any, tmp_path: Path) -> None:
        client = await aiohttp_client(create_app(ServerConfig((tmp_path,))))
        assert "splatlens convert" in await (await client.get("/")).text()

    @pytest.mark.parametrize(("path", "ancestors"), [("/view/plant", "'self'"), ("/embed/plant", "*"), ("/", "'self'")])
    async def test_pages_allow_nothing_inline_and_say_who_may_frame_them(
        self, client: TestClient[Any, Any], path: str, ancestors: str
    ) -> None:
        r = await client.get(path)
        policy = dict(p.strip().split(" ", 1) for p in r.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'" and policy["style-src"] == "'self'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'", "WebAssembly, which runs models, and nothing more"
        assert policy["frame-ancestors"] == ancestors
        assert policy["base-uri"] == "'none'" and policy["form-action"] == "'none'"
        text = await r.text()
        assert not re.search(r"<script(?![^>]*(src=|application/json))|<style|\son\w+=|\sstyle=", text)

    @pytest.mark.parametrize(
        "path",
        ["/view/plant", "/embed/plant", "/view/in%20side/r%C3%A4um%20%231", "/view/in%20side%2Fr%C3%A4um%20%231", "/"],
    )
    async def test_every_address_in_a_page_leads_somewhere(self, client: TestClient[Any, Any], path: str) -> None:
        text = await (await client.get(path)).text()
        addresses = re.findall(r'(?:href|src)="([^"]*)"', text)
        if match := re.search(r'id="splatlens-config">(.*?)</script>', text):
            settings = json.loads(match[1])
            addresses += [settings["src"], settings["poster"], settings["page"]]
            assert (settings["home"] is None) == path.startswith("/embed")
        assert len(addresses) > 3
        base = client.make_url(path)
        for address in addresses:
            assert not address.startswith("/"), "relative, for servers below a path prefix"
            r = await client.get(base.join(URL(address, encoded=True)).relative())
            assert r.status == 200, address

    async def test_settings_cannot_end_their_script_block(self, aiohttp_client: Any, tmp_path: Path) -> None:
        (tmp_path / "<").mkdir()
        (tmp_path / "<" / "script>&'.lens").touch()
        client = await aiohttp_client(create_app(ServerConfig((tmp_path,))))
        text = await (await client.get("/view/%3C/script%3E&'")).text()
        match = re.search(r'id="splatlens-config">(.*?)</script>', text)
        assert match and json.loads(match[1])["name"] == "script>&'"

    async def test_a_missing_scene_is_a_page_for_browsers_and_json_for_programs(
        self, client: TestClient[Any, Any]
    ) -> None:
        r = await client.get("/view/nothing", headers={"Accept": "text/html,*/*"})
        assert r.status == 404 and r.content_type == "text/html" and "no scene named" in await r.text()
        assert "no scene named 'nothing'" in await failure(await client.get("/view/nothing"), 404)


class TestClientFiles:
    async def test_client_files_are_immutable_typed_and_zipped(self, client: TestClient[Any, Any]) -> None:
        bundle = load_client()
        assert {
            "static/viewer.js",
            "static/viewer.css",
            "shaders/pipeline.json",
            "shaders/structs.wgsl",
        } <= bundle.files.keys()
        types = {
            "js": "text/javascript",
            "mjs": "text/javascript",
            "wasm": "application/wasm",
            "css": "text/css",
            "json": "application/json",
            "wgsl": "text/wgsl",
            "svg": "image/svg+xml",
        }
        for path, asset in bundle.files.items():
            r = await client.get(f"/client/{bundle.hash}/{path}")
            assert r.status == 200 and await r.read() == asset.body
            assert r.content_type == types[path.rsplit(".", 1)[1]]
            assert "immutable" in r.headers["Cache-Control"]
            assert (
                r.headers["Access-Control-Allow-Origin"] == "*"
                and r.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
            )
        r = await client.get(
            f"/client/{bundle.hash}/static/viewer.js", auto_decompress=False, headers={"Accept-Encoding": "gzip"}
        )
        assert (
            r.headers["Content-Encoding"] == "gzip"
            and gzip.decompress(await r.read()) == bundle.files["static/viewer.js"].body
        )

    async def test_templates_and_other_hashes_are_not_client_files(self, client: TestClient[Any, Any]) -> None:
        hash_ = load_client().hash
        for path in (
            f"{hash_}/static/pages/view.html",
            f"{hash_}/static/../server.py",
            f"{hash_}/static/%2e%2e/server.py",
            "0000000000000000/static/viewer.js",
        ):
            await failure(await client.get(f"/client/{path}"), 404)

    def test_the_hash_changes_with_any_byte_and_any_name(self, tmp_path: Path) -> None:
        static, shaders = tmp_path / "static", tmp_path / "shaders"
        static.mkdir(), shaders.mkdir()
        (static / "a.js").write_text("1")
        (static / "pages").mkdir()
        (static / "pages" / "p.html").write_text("1")
        hashes = [load_client(static, shaders).hash]
        for change in (
            lambda: (static / "a.js").write_text("2"),
            lambda: (static / "a.js").rename(static / "b.js"),
            lambda: (shaders / "s.wgsl").touch(),
        ):
            change()
            hashes.append(load_client(static, shaders).hash)
        assert len(set(hashes)) == 4
        made = {"shaders/bundle.json", "shaders/bundle_live.json"}
        assert load_client(static, shaders).files.keys() == {"static/b.js", "shaders/s.wgsl", *made}

    async def test_embed_js_is_short_lived_and_leads_to_the_client(self, client: TestClient[Any, Any]) -> None:
        r = await client.get("/embed.js")
        assert r.content_type == "text/javascript" and r.headers["Access-Control-Allow-Origin"] == "*"
        assert "max-age=60" in r.headers["Cache-Control"] and "immutable" not in r.headers["Cache-Control"]
        match = re.search(r'from "\./(client/.*)"', await r.text())
        assert match and (await client.get(f"/{match[1]}")).status == 200

    def test_comments_and_types_stay_at_home_and_lines_keep_their_numbers(self) -> None:
        source = "/** doc\n * more */\nconst a = 1; // goes\n  // goes\nf('http://x // stays');\n"
        source += "/** @type {X} */ (b).c(/** @type {Y} */ (d));\n  /* x */ /* y */ e();\n"
        assert slim_script(source) == "\n\nconst a = 1;\n\nf('http://x // stays');\n(b).c((d));\ne();\n"
        for path, asset in load_client().files.items():
            if path.endswith(".js"):
                original = (ROOT / path).read_text()
                served = asset.body.decode()
                assert len(served.split("\n")) == len(original.split("\n")) and "@type" not in served
                # Text over several lines could hold what looks like a comment.
                assert all(line.count("`") % 2 == 0 for line in original.split("\n")), path
            elif path.endswith(".wgsl"):
                assert asset.body == (ROOT / path).read_bytes()

    def test_the_frame_comes_in_one_file(self) -> None:
        files = load_client().files
        bundle, live = (json.loads(files[f"shaders/{n}.json"].body) for n in ("bundle", "bundle_live"))
        whole, layout = (json.loads((ROOT / "shaders" / f"{n}.json").read_text()) for n in ("pipeline", "layout"))
        assert live["pipeline"] == whole and live["layout"] == layout
        # What is left of both in the first draws stored splats as the whole would.
        numbers = {"groups": 7, "layers": 2, "width": 64, "height": 48, "max_groups": 65535}
        lists = {name: entries for name, entries in whole["lists"].items() if entries}
        lists |= {"cluster_layers": [{"groups": 3, "slots": 64, "sh_slot_words": 768}] * 2, "record_layers": []}
        small, full = (resolve(one, numbers, lists) for one in (bundle["pipeline"], whole))
        assert small["passes"] == full["passes"] and len(small["passes"]) > 15
        for kind in ("buffers", "textures"):
            assert small[kind].items() <= full[kind].items()
        assert bundle["layout"]["constants"] == layout["constants"]
        assert bundle["layout"]["structs"].items() <= layout["structs"].items()
        elements = {buffer["element"] for buffer in bundle["pipeline"]["buffers"].values()}
        assert bundle["layout"]["structs"].keys() == elements - {"u32"}
        assert "Generated" not in elements and "project_generated" not in str(bundle["pipeline"])
        paths = {p.relative_to(ROOT / "shaders").as_posix() for p in (ROOT / "shaders").rglob("*.wgsl")}
        assert bundle["files"].keys() | live["files"].keys() == paths
        assert not bundle["files"].keys() & live["files"].keys()
        # What layers need that few scenes have comes apart.
        assert "project_generated.wgsl" in live["files"] and "lib/projection.wgsl" in bundle["files"]
        for path, text in {**bundle["files"], **live["files"]}.items():
            lines = (ROOT / "shaders" / path).read_text().split("\n")
            assert text.split("\n") == [line.split("//")[0].rstrip(" \t") if "//" in line else line for line in lines]

    def test_what_a_page_loads_is_small(self) -> None:
        client = load_client()
        loaded = [*client.modules, "static/decode_worker.js", "shaders/bundle.json"]
        assert sum(len(client.files[p].gzipped) for p in loaded) <= 60_000


class TestThumbnails:
    async def test_drawn_once_a_file_state_and_shared(self, aiohttp_client: Any, scenes: Path) -> None:
        calls: list[Path] = []

        def draw(path: Path) -> Thumbnail:
            calls.append(path)
            return Thumbnail(b"picture", "image/webp")

        client = await aiohttp_client(create_app(ServerConfig((scenes,), draw_thumbnail=draw)))
        for r in await asyncio.gather(*(client.get("/thumbs/plant.png") for _ in range(5))):
            assert r.status == 200 and await r.read() == b"picture" and r.content_type == "image/webp"
        assert len(calls) == 1
        (scenes / "plant.lens").write_bytes(b"changed")
        await client.get("/thumbs/plant.png")
        assert len(calls) == 2

    async def test_a_neutral_poster_where_it_cannot_be_drawn(self, aiohttp_client: Any, scenes: Path) -> None:
        def draw(path: Path) -> Thumbnail:
            raise FormatError("damaged")

        for drawing in (draw, None):
            client = await aiohttp_client(create_app(ServerConfig((scenes,), draw_thumbnail=drawing)))
            r = await client.get("/thumbs/plant.png")
            assert r.status == 200 and r.content_type == "image/svg+xml" and b"<svg" in await r.read()
        await failure(await client.get("/thumbs/nothing.png"), 404)


class TestEdge:
    async def test_unknown_paths_and_methods(self, client: TestClient[Any, Any]) -> None:
        await failure(await client.get("/nothing"), 404)
        r = await client.post("/scenes/plant.lens", data=b"x" * 100)
        await failure(r, 405)
        assert set(r.headers["Allow"].split(",")) == {"GET", "HEAD", "OPTIONS"}
        await failure(await client.put("/"), 405)
        await failure(await client.delete("/view/plant"), 405)

    async def test_a_bug_is_500_without_its_text(
        self, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(self: Catalogue) -> None:
            raise RuntimeError("secret path")

        monkeypatch.setattr(Catalogue, "scenes", broken)
        assert "secret" not in await failure(await client.get("/"), 500)

    async def test_known_errors_have_their_status(
        self, client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for error, status in (
            (FormatError("a"), 422),
            (LensError("a"), 400),
            (FileNotFoundError("a"), 404),
            (PermissionError("a"), 404),
        ):

            def broken(self: Catalogue, error: Exception = error) -> None:
                raise error

            monkeypatch.setattr(Catalogue, "scenes", broken)
            await failure(await client.get("/scenes.json"), status)

    async def test_too_many_requests_at_once(self, aiohttp_client: Any, scenes: Path) -> None:
        release = threading.Event()

        def draw(path: Path) -> Thumbnail:
            release.wait(20)
            return Thumbnail(b"", "image/png")

        app = create_app(ServerConfig((scenes,), draw_thumbnail=draw))
        client = await aiohttp_client(app)
        try:
            waiting = [asyncio.ensure_future(client.get("/thumbs/plant.png")) for _ in range(40)]
            await asyncio.sleep(0.2)
            app[ACTIVE].update(range(-MAX_ACTIVE, 0))
            r = await client.get("/scenes.json")
            await failure(r, 503)
            assert r.headers["Retry-After"] == "1"
            app[ACTIVE].difference_update(range(-MAX_ACTIVE, 0))
        finally:
            release.set()
        assert all(r.status == 200 for r in await asyncio.gather(*waiting))
        assert not app[ACTIVE]

    async def test_every_answer_is_hardened(self, client: TestClient[Any, Any]) -> None:
        for path in (
            "/",
            "/view/plant",
            "/nothing",
            "/scenes.json",
            "/scenes/plant.lens",
            "/thumbs/plant.png",
            "/embed.js",
        ):
            r = await client.get(path)
            assert r.headers["X-Content-Type-Options"] == "nosniff" and r.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in r.headers["Content-Security-Policy"]
            assert "Cross-Origin-Resource-Policy" in r.headers and "Cache-Control" in r.headers
            assert "aiohttp" not in r.headers["Server"] and "Python" not in r.headers["Server"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    subprocess.run(command, check=True, capture_output=True)
    yield cert, key


class TestRunning:
    def test_port_0_takes_a_free_port_and_names_it(self, scenes: Path) -> None:
        with background(ServerConfig((scenes,))) as one, background(ServerConfig((scenes,))) as two:
            assert one != two
            for url in (one, two):
                assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
                with urllib.request.urlopen(f"{url}scenes.json", timeout=10) as r:
                    assert json.load(r)["ok"]

    def test_a_taken_port_says_so(self, scenes: Path) -> None:
        with background(ServerConfig((scenes,))) as url:
            port = int(url.split(":")[2].strip("/"))
            with pytest.raises(LensError, match=f"port {port}.*--port"), background(ServerConfig((scenes,)), port=port):
                pass

    def test_tls(self, scenes: Path, certificate: tuple[Path, Path]) -> None:
        cert, key = certificate
        with background(ServerConfig((scenes,)), tls_cert=cert, tls_key=key) as url:
            assert url.startswith("https://")
            context = ssl.create_default_context(cafile=str(cert))
            context.check_hostname = False
            with urllib.request.urlopen(f"{url}scenes.json", context=context, timeout=10) as r:
                assert json.load(r)["ok"]

    def test_tls_files_that_do_not_fit_say_so(self, scenes: Path, certificate: tuple[Path, Path]) -> None:
        cert, key = certificate
        for given in ((scenes / "none.pem", key), (key, cert), (None, key)):
            with (
                pytest.raises(LensError, match=r"TLS|--tls-cert"),
                background(ServerConfig((scenes,)), tls_cert=given[0], tls_key=given[1]),
            ):
                pass

    def test_run_ends_on_a_signal(self, scenes: Path) -> None:
        urls: list[str] = []

        def ready(url: str) -> None:
            urls.append(url)
            os.kill(os.getpid(), signal.SIGTERM)

        run(ServerConfig((scenes,)), port=0, on_ready=ready)
        assert len(urls) == 1
