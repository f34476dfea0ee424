"""HTTP server: the list of scenes, the pages, the client and the scene files. Read-only; safe to face a network."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from aiohttp import hdrs, web
from multidict import CIMultiDict

from splatlens import __version__
from splatlens.server_assets import MIME_TYPES, Asset, Client, load_client
from splatlens.server_scenes import Catalogue, Scene
from splatlens.server_thumbs import Draw, Thumbnails
from splatlens.viewer.assets import STATIC
from splatlens.viewer.errors import DeviceError, FormatError, LensError, UnsupportedError

log = logging.getLogger("splatlens.server")

#: Requests answered at once; more get 503. Bounds open files and memory, not visitors (a page holds at most 6 connections).
MAX_ACTIVE = 512
#: Seconds a browser may reuse /embed.js, the one address that does not change with the client.
EMBED_MAX_AGE = 60
IMMUTABLE = "public, max-age=31536000, immutable, no-transform"
#: For what other origins may load: scenes, thumbnails, client. The rest keeps to its own origin.
CROSS_ORIGIN = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "Content-Range, ETag, Accept-Ranges",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
#: Scripts, styles and data from this origin only, nothing inline. blob: is for dropped files and pictures.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self' blob:; "
    "worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors "
)


@dataclass(frozen=True)
class ServerConfig:
    """roots: folders or `.lens` files to serve. title: heading of the list. draw_thumbnail: makes a scene's picture, None for posters only."""

    roots: tuple[Path, ...]
    title: str = "Scenes"
    draw_thumbnail: Draw | None = None


class SceneResponse(web.FileResponse):
    """A file with Range and ETag, as it is on disk: aiohttp would send NAME.gz beside it to whoever accepts gzip, and byte ranges of that."""

    async def prepare(self, request: web.BaseRequest) -> Any:
        headers = CIMultiDict(request.headers)
        headers.popall(hdrs.ACCEPT_ENCODING, None)
        # aiohttp reads If-Range only as a date. An entity tag there means "the range of that version, else all of it".
        wanted = headers.get(hdrs.IF_RANGE, "")
        if wanted.startswith(('"', "W/")) and wanted != self._current_etag():
            headers.popall(hdrs.RANGE, None)
        return await super().prepare(request.clone(headers=headers))

    def _current_etag(self) -> str:
        try:
            stat = self._path.stat()
        except OSError:
            return ""
        return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


class Routes:
    """The handlers. Every address a page holds is relative, so the server works below any path prefix of a proxy."""

    def __init__(self, config: ServerConfig, client: Client) -> None:
        self.config, self.client = config, client
        self.catalogue = Catalogue(config.roots)
        self.thumbnails = Thumbnails(config.draw_thumbnail)
        self.templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(STATIC / "pages"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )

    def table(self) -> list[web.RouteDef]:
        return [
            web.get("/", self.index),
            web.get("/scenes.json", self.listing),
            web.get("/view/{name:.+}", self.view),
            web.get("/embed/{name:.+}", self.embed),
            web.get("/embed.js", self.embed_script),
            web.get("/client/{hash}/{path:.+}", self.client_file),
            web.get("/scenes/{name:.+}.lens", self.scene_file),
            web.options("/scenes/{name:.+}.lens", self.scene_preflight),
            web.get("/thumbs/{name:.+}.png", self.thumbnail),
        ]

    # Pages

    async def index(self, request: web.Request) -> web.Response:
        scenes = await asyncio.to_thread(self.catalogue.scenes)
        return self._page("index.html", 0, "'self'", title=self.config.title, scenes=[_card(s) for s in scenes], version=__version__)

    async def view(self, request: web.Request) -> web.Response:
        return await self._viewer(request, embedded=False)

    async def embed(self, request: web.Request) -> web.Response:
        return await self._viewer(request, embedded=True)

    async def _viewer(self, request: web.Request, *, embedded: bool) -> web.Response:
        scene = await self._find(request)
        base, path = _base(1 + scene.name.count("/")), quote(scene.name)
        settings = {"src": f"{base}scenes/{path}.lens", "poster": f"{base}thumbs/{path}.png", "name": scene.title, "home": None if embedded else base}
        return self._page("view.html", 1 + scene.name.count("/"), "*" if embedded else "'self'", title=scene.title, settings=settings, embedded=embedded)

    def _page(self, template: str, depth: int, ancestors: str, status: int = 200, **values: object) -> web.Response:
        base = _base(depth)
        client = f"{base}client/{self.client.hash}/"
        text = self.templates.get_template(template).render(base=base, client=client, modules=self.client.modules, **values)
        headers = {hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": PAGE_POLICY + ancestors}
        if ancestors == "*":  # an embedding page that isolates itself (COEP) takes only frames that say this
            headers |= {"Cross-Origin-Resource-Policy": "cross-origin", "Cross-Origin-Embedder-Policy": "credentialless"}
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=headers)

    # Data

    async def listing(self, request: web.Request) -> web.Response:
        scenes = await asyncio.to_thread(self.catalogue.scenes)
        return web.json_response({"ok": True, "scenes": [_card(s) for s in scenes]}, headers={hdrs.CACHE_CONTROL: "no-cache"})

    async def scene_file(self, request: web.Request) -> web.StreamResponse:
        scene = await self._find(request)
        _check_range(request, scene.size)
        headers = {**CROSS_ORIGIN, hdrs.CONTENT_TYPE: MIME_TYPES[".lens"], hdrs.CACHE_CONTROL: "public, no-cache, no-transform"}
        response = SceneResponse(scene.path, headers=headers)
        await response.prepare(request)  # here, so that the count of active requests includes the sending
        return response

    async def scene_preflight(self, request: web.Request) -> web.Response:
        allow = {"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Range, If-Range, If-Match, If-None-Match", "Access-Control-Max-Age": "86400"}
        return web.Response(status=204, headers={**CROSS_ORIGIN, **allow})

    async def thumbnail(self, request: web.Request) -> web.Response:
        thumbnail = await self.thumbnails.get(await self._find(request))
        headers = {**CROSS_ORIGIN, hdrs.CACHE_CONTROL: "public, max-age=60"}
        if thumbnail is None:
            return _asset(request, self.client.files["static/poster.svg"], headers)
        return web.Response(body=thumbnail.body, headers={**headers, hdrs.CONTENT_TYPE: thumbnail.mime})

    async def embed_script(self, request: web.Request) -> web.Response:
        text = f'export * from "./client/{self.client.hash}/static/embed.js";\n'
        headers = {**CROSS_ORIGIN, hdrs.CONTENT_TYPE: MIME_TYPES[".js"], hdrs.CACHE_CONTROL: f"public, max-age={EMBED_MAX_AGE}, must-revalidate"}
        return web.Response(body=text.encode(), headers=headers)

    async def client_file(self, request: web.Request) -> web.Response:
        asset = self.client.files.get(request.match_info["path"]) if request.match_info["hash"] == self.client.hash else None
        if asset is None:
            raise web.HTTPNotFound(text="no such client file; the client may have been updated: reload the page")
        return _asset(request, asset, {**CROSS_ORIGIN, hdrs.CACHE_CONTROL: IMMUTABLE})

    async def _find(self, request: web.Request) -> Scene:
        name = request.match_info["name"]
        scene = await asyncio.to_thread(self.catalogue.find, name)
        if scene is None:
            raise web.HTTPNotFound(text=f"no scene named {name[:80]!r} here")
        return scene

    # The edge

    @web.middleware
    async def edge(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        """Every failure, from the router's 404 to a bug, leaves in one shape; a page asked for by a browser gets it as a page."""
        active = request.app[ACTIVE]
        if len(active) >= MAX_ACTIVE:
            return _failure(503, "too many requests at once; try again in a moment", {hdrs.RETRY_AFTER: "1"})
        active.add(id(request))
        try:
            return await handler(request)
        except web.HTTPException as error:
            status, message = error.status, error.text if error.text and not error.text.startswith(f"{error.status}") else error.reason
            kept = {k: v for k, v in error.headers.items() if k in (hdrs.ALLOW, hdrs.CONTENT_RANGE, hdrs.LOCATION)}
        except Exception as error:
            status, message = next(((s, str(error)) for kind, s in STATUS_OF if isinstance(error, kind)), (500, "internal error; see the server's log"))
            kept = {}
            if status == 500:
                log.exception("%s %s", request.method, request.path)
        finally:
            active.discard(id(request))
        if request.path.startswith(("/view/", "/embed/")) and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            page = self._page("error.html", request.path.count("/") - 1, "'self'", status, title=f"{status}", message=message)
            page.headers.extend(kept)
            return page
        if request.path.startswith(("/scenes/", "/client/", "/thumbs/", "/embed.js")):  # a foreign page must be able to read why
            kept |= CROSS_ORIGIN
        return _failure(status, message or "", kept)


#: The error table: what an exception means to a client. First match wins; anything else is 500, with its text kept in the log.
STATUS_OF: tuple[tuple[type[Exception], int], ...] = (
    (FileNotFoundError, 404),
    (PermissionError, 404),  # whether an unreadable file exists is nobody's business
    (UnsupportedError, 415),
    (FormatError, 422),
    (DeviceError, 503),
    (LensError, 400),
)
ACTIVE: web.AppKey[set[int]] = web.AppKey("active", set)


def create_app(config: ServerConfig, client: Client | None = None) -> web.Application:
    """The application. Raises LensError when a root does not exist."""
    routes = Routes(config, client or load_client())
    # No handler reads a body, so none is accepted beyond 1 KiB.
    app = web.Application(middlewares=[routes.edge], client_max_size=1024)
    app[ACTIVE] = set()
    app.add_routes(routes.table())

    async def harden(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        response.headers.setdefault(hdrs.CACHE_CONTROL, "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers[hdrs.SERVER] = "splatlens"

    async def close(_app: web.Application) -> None:
        await routes.thumbnails.close()

    app.on_response_prepare.append(harden)
    app.on_cleanup.append(close)
    return app


def _base(depth: int) -> str:
    return "../" * depth or "./"


def _card(scene: Scene) -> dict[str, object]:
    path = quote(scene.name)
    return {"name": scene.name, "title": scene.title, "bytes": scene.size, "view": f"view/{path}", "file": f"scenes/{path}.lens", "thumbnail": f"thumbs/{path}.png"}


def _asset(request: web.Request, asset: Asset, headers: dict[str, str]) -> web.Response:
    zipped = "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
    headers = {**headers, hdrs.CONTENT_TYPE: asset.mime, hdrs.VARY: hdrs.ACCEPT_ENCODING}
    if zipped:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    return web.Response(body=asset.gzipped if zipped else asset.body, headers=headers)


def _check_range(request: web.Request, size: int) -> None:
    """A range that cannot be served is 416 in the common shape; FileResponse would send it without a body."""
    try:
        start = request.http_range.start
    except ValueError:
        start = size
    if start is not None and start >= size > 0:
        raise web.HTTPRequestRangeNotSatisfiable(text=f"the file has {size} bytes; ask for one range inside it", headers={hdrs.CONTENT_RANGE: f"bytes */{size}"})


def _failure(status: int, message: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"ok": False, "error": message, "status": status}, status=status, headers=headers)


# Running


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None:
        raise LensError("serve: a TLS key needs its certificate; give --tls-cert too")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise LensError(f"serve: TLS certificate {cert} with key {key or cert} cannot be used ({error}); both must be PEM files that belong together") from error
    return context


@contextlib.asynccontextmanager
async def serving(config: ServerConfig, host: str = "127.0.0.1", port: int = 8000, tls_cert: Path | None = None, tls_key: Path | None = None) -> AsyncIterator[str]:
    """Serve while the block runs; yields the base URL, ending in `/`. Port 0 takes a free one.

    Raises LensError for a root, certificate, host or port that cannot be used.
    """
    tls = _tls(tls_cert, tls_key)
    runner = web.AppRunner(create_app(config), access_log=None, keepalive_timeout=30, shutdown_timeout=2)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, ssl_context=tls).start()
        except (OSError, OverflowError) as error:
            raise LensError(f"serve: cannot listen on {host} port {port} ({error}); choose another --host or --port (port 0 takes a free one)") from error
        shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
        yield f"{'https' if tls else 'http'}://{shown}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


def run(
    config: ServerConfig,
    host: str = "127.0.0.1",
    port: int = 8000,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    on_ready: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve until Ctrl-C or SIGTERM. `on_ready` gets the URL once connections are accepted. Raises as `serving`."""

    async def main() -> None:
        stop = asyncio.Event()
        for name in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
                asyncio.get_running_loop().add_signal_handler(name, stop.set)
        async with serving(config, host, port, tls_cert, tls_key) as url:
            on_ready(url)
            await stop.wait()

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())


@contextlib.contextmanager
def background(config: ServerConfig, host: str = "127.0.0.1", port: int = 0, tls_cert: Path | None = None, tls_key: Path | None = None) -> Iterator[str]:
    """Serve from a thread while the block runs (notebooks, tests); yields the URL. Raises as `serving`."""
    started: list[str | BaseException] = []
    ready, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def main() -> None:
        try:
            async with serving(config, host, port, tls_cert, tls_key) as url:
                started.append(url)
                ready.set()
                await stop.wait()
        except BaseException as error:
            started.append(error)
            ready.set()

    def body() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=body, name="splatlens-server", daemon=True)
    thread.start()
    ready.wait()
    if isinstance(started[0], BaseException):
        thread.join()
        raise started[0]
    try:
        yield started[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
