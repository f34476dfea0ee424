"""`splatlens view`: a scene converted once, by content, and the way to its page from wherever one sits."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import os
import shutil
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from splatlens import __version__
from splatlens.converters import find_format, open_any
from splatlens.converters.convert import convert
from splatlens.converters.format import ReadOptions
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens_layout import VERSION
from splatlens.viewer.lens_reader import LensReader

#: Most bytes that converted scenes may take in the cache; the longest unused go first.
CACHE_BYTES = 20 * 10**9
_BLOCK = 1 << 22


def cache_folder(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> Path:
    """Where converted scenes are kept: the user's cache folder of the platform, or $SPLATLENS_CACHE."""
    if own := environment.get("SPLATLENS_CACHE"):
        return Path(own)
    home = Path.home()
    if platform == "darwin":
        return home / "Library" / "Caches" / "splatlens"
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "splatlens" / "Cache"
    return Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "splatlens"


def content_key(
    files: tuple[Path, ...], tell: Callable[[str, float], None], options: ReadOptions = ReadOptions()
) -> str:
    """A name for what these files hold, for how they are read and for what makes .lens of it. Raises LensError."""
    digest = hashlib.sha256(f"splatlens {__version__}, .lens {VERSION}, {options}".encode())
    total, done = 0, 0
    try:
        total = sum(file.stat().st_size for file in files)
        for file in files:
            digest.update(f"\n{file.name}\n".encode())
            with file.open("rb") as stream:
                while block := stream.read(_BLOCK):
                    digest.update(block)
                    done += len(block)
                    tell("looking it up", done / max(total, 1))
    except OSError as error:
        raise LensError(f"{error.filename}: cannot read: {error.strerror or error}") from error
    return digest.hexdigest()[:32]


def prepare(
    path: Path, tell: Callable[[str, float], None], options: ReadOptions = ReadOptions()
) -> tuple[Path, tuple[str, ...]]:
    """What to serve for a path, and warnings: a .lens file or a folder of them as it is, anything else converted once.

    Raises LensError.
    """
    if path.is_dir() and any(path.glob("*.lens")):
        return path, ()
    if find_format(path).name == "lens":
        LensReader.open(path).close()  # a damaged file is better named here than in the browser
        return path, ()
    info = open_any(path, options).info
    folder = cache_folder() / "scenes"
    converted = folder / content_key(info.files, tell, options) / f"{info.name}.lens"
    with contextlib.suppress(LensError, OSError):
        LensReader.open(converted).close()
        os.utime(converted)  # used now: the last to be pruned
        return converted, info.warnings
    try:
        converted.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"cannot make the cache folder {converted.parent}: {error.strerror or error}"
        raise LensError(f"{path}: {why}; set SPLATLENS_CACHE to a folder of yours") from error
    report = convert([path], converted, force=True, progress=tell, read=options)
    prune(folder, CACHE_BYTES, keep=converted)
    return converted, report.inputs[0].warnings


def prune(folder: Path, limit: int, keep: Path) -> None:
    """Removes the longest unused converted scenes until the rest take at most `limit` bytes."""
    scenes = []
    for file in folder.glob("*/*.lens"):
        with contextlib.suppress(OSError):
            scenes.append((file.stat().st_mtime_ns, file.stat().st_size, file))
    total = sum(size for _, size, _ in scenes)
    for _, size, file in sorted(scenes):
        if total <= limit:
            return
        if file != keep:
            shutil.rmtree(file.parent, ignore_errors=True)
            total -= size


def free_port(port: int) -> int:
    """The port where it is free, else 0: any free one."""
    with socket.socket() as probe:
        # As the server binds: a port that a closed connection still lingers on counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(os.name == "posix"))
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def page_url(base: str, served: Path) -> str:
    """The address of the scene's own page, or of the list where a folder is served."""
    return base if served.is_dir() else f"{base}view/{quote(served.stem)}"


def is_remote(environment: Mapping[str, str] = os.environ, platform: str = sys.platform) -> bool:
    """Whether a browser started here would not be seen: over SSH, or without a display."""
    if any(environment.get(name) for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY")):
        return True
    return platform.startswith("linux") and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"))


def ssh_line(url: str, environment: Mapping[str, str] = os.environ) -> str:
    """The command that brings a port of this machine to the one that the user sits at."""
    port = urlsplit(url).port
    connection = environment.get("SSH_CONNECTION", "").split()
    host = connection[2] if len(connection) == 4 else socket.gethostname()
    at = f" -p {connection[3]}" if len(connection) == 4 and connection[3] != "22" else ""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "USER"
    return f"ssh{at} -L {port}:127.0.0.1:{port} {user}@{host}"


def show(url: str, say: Callable[[str], None], *, browser: bool = True) -> None:
    """Prints the address; opens it in a browser, or says how to reach it from elsewhere."""
    say(url)
    if is_remote():
        say(f"from your own machine: {ssh_line(url)}   then open the address above there")
    elif browser:
        # Some browsers' launchers return only when the browser is closed.
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
