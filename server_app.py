"""The HTTP application: the list of scenes, the pages, the client and the scene files. Read-only."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
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

#: Requests answered at once; more get 503. Bounds open files and memory; a page holds at most 6 connections.
MAX_ACTIVE = 512
#: Seconds a browser may reuse /embed.js, the one address that does not change with the client.
EMBED_MAX_AGE = 60
IMMUTABLE = "public, max-age=31536000, immutable, no-transform"
RUNTIME_REMEDY = "in a checkout run `scripts/setup.sh node`, else install splatlens again"
#: For what other origins may load: scenes, thumbnails, client. The rest keeps to its own origin.
CROSS_ORIGIN = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "Content-Range, ETag, Accept-Ranges",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
ISOLATED = {"Cross-Origin-Embedder-Policy": "require-corp"}
#: Scripts, styles and data from this origin only, nothing inline. blob: is for dropped files and pictures,
#: 'wasm-unsafe-eval' for onnxruntime-web, which runs generators.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self' blob:; worker-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors "
)


@dataclass(frozen=True)
class ServerConfig:
    """roots: folders or `.lens` files to serve. title: heading of the list.

    draw_thumbnail: makes a scene's picture; None shows a neutral poster for each.
    """

    roots: tuple[Path, ...]
    title: str = "Scenes"
    draw_thumbnail: Draw | None = None


class SceneResponse(web.FileResponse):
    """A file with Range and ETag, as it is on disk.

    aiohttp would send NAME.gz beside it to whoever accepts gzip, and byte ranges of that.
    """

    async def prepare(self, request: web.BaseRequest) -> Any:
        if self.prepared:  # by the handler; aiohttp asks once more after it
            return None
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
            loader=jinja2.FileSystemLoader(STATIC / "pages"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
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
        return self._page(
            "index.html",
            request,
            "'self'",
            title=self.config.title,
            scenes=[_card(s) for s in scenes],
            version=__version__,
        )

    async def view(self, request: web.Request) -> web.Response:
        return await self._viewer(request, embedded=False)

    async def embed(self, request: web.Request) -> web.Response:
        return await self._viewer(request, embedded=True)

    async def _viewer(self, request: web.Request, *, embedded: bool) -> web.Response:
        scene = await self._find(request)
        base, card = _base(request), _card(scene)
        settings = {
            "src": f"{base}{card['file']}",
            "poster": f"{base}{card['thumbnail']}",
            "name": scene.title,
            "home": None if embedded else base,
            "page": f"{base}{card['view']}",
        }
        return self._page("view.html", request, "*" if embedded else "'self'", title=scene.title, settings=settings)

    def _page(
        self, template: str, request: web.Request, ancestors: str, status: int = 200, **values: object
    ) -> web.Response:
        base = _base(request)
        client = f"{base}client/{self.client.hash}/"
        text = self.templates.get_template(template).render(
            base=base, client=client, modules=self.client.modules, **values
        )
        headers = {hdrs.CACHE_CONTROL: "no-cache", "Content-Security-Policy": PAGE_POLICY + ancestors}
        if ancestors == "*":  # an embedding page that isolates itself (COEP) takes only frames that say this
            headers |= {"Cross-Origin-Resource-Policy": "cross-origin", **ISOLATED}
        return web.Response(text=text, content_type="text/html", charset="utf-8", status=status, headers=headers)

    # Data

    async def listing(self, request: web.Request) -> web.Response:
        scenes = await asyncio.to_thread(self.catalogue.scenes)
        return web.json_response(
            {"ok": True, "scenes": [_card(s) for s in scenes]}, headers={hdrs.CACHE_CONTROL: "no-cache"}
        )

    async def scene_file(self, request: web.Request) -> web.StreamResponse:
        scene = await self._find(request)
        _check_range(request, scene.size)
        headers = {
            **CROSS_ORIGIN,
            hdrs.CONTENT_TYPE: MIME_TYPES[".lens"],
            hdrs.CACHE_CONTROL: "public, no-cache, no-transform",
        }
        response = SceneResponse(scene.path, headers=headers)
        with contextlib.suppress(ConnectionError):  # the viewer drops requests that no longer matter
            await response.prepare(request)  # here, so that the count of active requests includes the sending
        return response

    async def scene_preflight(self, request: web.Request) -> web.Response:
        allow = {
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Range, If-Range, If-Match, If-None-Match",
            "Access-Control-Max-Age": "86400",
        }
        return web.Response(status=204, headers={**CROSS_ORIGIN, **allow})

    async def thumbnail(self, request: web.Request) -> web.Response:
        thumbnail = await self.thumbnails.get(await self._find(request))
        headers = {**CROSS_ORIGIN, hdrs.CACHE_CONTROL: "public, max-age=60"}
        if thumbnail is None:
            return _asset(request, self.client.files["static/poster.svg"], headers)
        return web.Response(body=thumbnail.body, headers={**headers, hdrs.CONTENT_TYPE: thumbnail.mime})

    async def embed_script(self, request: web.Request) -> web.Response:
        text = f'export * from "./client/{self.client.hash}/static/embed.js";\n'
        headers = {
            **CROSS_ORIGIN,
            hdrs.CONTENT_TYPE: MIME_TYPES[".js"],
            hdrs.CACHE_CONTROL: f"public, max-age={EMBED_MAX_AGE}, must-revalidate",
        }
        return web.Response(body=text.encode(), headers=headers)

    async def client_file(self, request: web.Request) -> web.Response:
        asset = (
            self.client.files.get(request.match_info["path"])
            if request.match_info["hash"] == self.client.hash
            else None
        )
        if asset is None:
            raise web.HTTPNotFound(text="no such client file; the client may have been updated: reload the page")
        # A worker of a page that isolates itself must say that it does too.
        return _asset(request, asset, {**CROSS_ORIGIN, **ISOLATED, hdrs.CACHE_CONTROL: IMMUTABLE})

    async def _find(self, request: web.Request) -> Scene:
        name = request.match_info["name"]
        scene = await asyncio.to_thread(self.catalogue.find, name)
        if scene is None:
            raise web.HTTPNotFound(text=f"no scene named {name[:80]!r} here")
        return scene

    # The edge

    @web.middleware
    async def edge(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Every failure, from the router's 404 to a bug, leaves in one shape; browsers asking for a page get one."""
        active = request.app[ACTIVE]
        if len(active) >= MAX_ACTIVE:
            return _failure(503, "too many requests at once; try again in a moment", {hdrs.RETRY_AFTER: "1"})
        active.add(id(request))
        kept: dict[str, str] = {}
        try:
            return await handler(request)
        except web.HTTPException as error:
            # aiohttp's own texts only repeat the status: "404: Not Found".
            own = error.text and not error.text.startswith(str(error.status))
            status, message = error.status, (error.text if own else error.reason) or ""
            kept = {k: v for k, v in error.headers.items() if k in (hdrs.ALLOW, hdrs.CONTENT_RANGE, hdrs.LOCATION)}
        except Exception as error:
            status, message = _status_of(error)
            if status == 500:
                log.exception("%s %s", request.method, request.path)
        finally:
            active.discard(id(request))
        if request.path.startswith(("/view/", "/embed/")) and "text/html" in request.headers.get(hdrs.ACCEPT, ""):
            page = self._page("error.html", request, "'self'", status, title=f"{status}", message=message)
            page.headers.extend(kept)
            return page
        if request.path.startswith(
            ("/scenes/", "/client/", "/thumbs/", "/embed.js")
        ):  # a foreign page must be able to read why
            kept |= CROSS_ORIGIN
        return _failure(status, message, kept)


#: The error table: what an exception means to a client; first match wins. All else is 500, its text kept in the log.
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
    if not routes.client.has_runtime:
        log.warning("onnxruntime-web is not installed here, so pages leave generators out; %s", RUNTIME_REMEDY)
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


def _base(request: web.Request) -> str:
    """From the page asked for back to `/`, as a browser resolves it: by the slashes it sent, not by decoded ones."""
    return "../" * (request.rel_url.raw_path.count("/") - 1) or "./"


def _card(scene: Scene) -> dict[str, object]:
    path = quote(scene.name)
    return {
        "name": scene.name,
        "title": scene.title,
        "bytes": scene.size,
        "size": _size(scene.size),
        "view": f"view/{path}",
        "file": f"scenes/{path}.lens",
        "thumbnail": f"thumbs/{path}.png",
    }


def _size(size: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{max(1, round(size / 1e3))} kB"


def _status_of(error: Exception) -> tuple[int, str]:
    for kind, status in STATUS_OF:
        if isinstance(error, kind):
            return status, str(error)
    return 500, "internal error; see the server's log"


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
        raise web.HTTPRequestRangeNotSatisfiable(
            text=f"the file has {size} bytes; ask for one range inside it",
            headers={hdrs.CONTENT_RANGE: f"bytes */{size}"},
        )


def _failure(status: int, message: str, headers: dict[str, str]) -> web.Response:
    return web.json_response({"ok": False, "error": message, "status": status}, status=status, headers=headers)
