"""Serves scenes over HTTP or HTTPS: `run` until stopped, `serving` and `background` while a block runs."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from aiohttp import web

from splatlens.server_app import ServerConfig, create_app
from splatlens.viewer.errors import LensError

__all__ = ["ServerConfig", "background", "create_app", "run", "serving"]


def _tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None:
        raise LensError("serve: a TLS key needs its certificate; give --tls-cert too")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise LensError(
            f"serve: TLS certificate {cert} with key {key or cert} cannot be used ({error}); "
            "both must be PEM files that belong together"
        ) from error
    return context


@contextlib.asynccontextmanager
async def serving(
    config: ServerConfig,
    host: str = "127.0.0.1",
    port: int = 8000,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> AsyncIterator[str]:
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
            raise LensError(
                f"serve: cannot listen on {host} port {port} ({error}); "
                "choose another --host or --port (port 0 takes a free one)"
            ) from error
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
def background(
    config: ServerConfig,
    host: str = "127.0.0.1",
    port: int = 0,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
) -> Iterator[str]:
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
