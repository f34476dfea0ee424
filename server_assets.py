"""The browser client as one immutable bundle: static/ and shaders/ in memory, under a hash of all their bytes."""

from __future__ import annotations

import gzip
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from splatlens.server_bundles import shader_bundles
from splatlens.viewer.assets import SHADERS, STATIC
from splatlens.viewer.lens_layout import MEDIA_TYPE

#: Content types by suffix. A module with another type is refused by browsers, so the host's MIME table is not asked.
MIME_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".wgsl": "text/wgsl; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".lens": MEDIA_TYPE,
}
#: What belongs to the client. HTML templates do not: they are rendered, never sent.
CLIENT_SUFFIXES = (".js", ".mjs", ".css", ".json", ".wgsl", ".wasm", ".svg")
#: Modules that viewer pages do not import: what embedding pages start from, a worker's own, and one that only modules
#: import which are themselves imported on demand.
ELSEWHERE = ("embed.js", "element.js", "decode_worker.js", "readback.js")
#: Folders of what pages import only when a scene needs it.
ON_DEMAND = ("static/live/", "static/mesh/", "static/vendor/")
#: What others wrote, already without comments: sent as it is.
VENDOR = "static/vendor/"
#: Suffix of files that are stored as they are sent: gzip -9 of onnxruntime-web's 27 MB takes 5 to 12 seconds.
PACKED = ".gz"


@dataclass(frozen=True)
class Asset:
    """plain: as on disk, JavaScript without comments and types; None for what is kept only packed. mime: content type.

    gzipped: the same at level 9.
    """

    plain: bytes | None
    gzipped: bytes
    mime: str

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.gzipped) if self.plain is None else self.plain


@dataclass(frozen=True)
class Client:
    """hash: 16 hexadecimal digits over every path and byte. files: by path below the hash, as `static/viewer.js`."""

    hash: str
    files: dict[str, Asset]

    @property
    def has_runtime(self) -> bool:
        """Whether onnxruntime-web is there, which runs generators (scripts/setup.sh copies it)."""
        return any(p.startswith(VENDOR) and p.endswith(".wasm") for p in self.files)

    @property
    def modules(self) -> list[str]:
        """The modules of a viewer page, for modulepreload: without it each import level costs a round trip."""
        scripts = [p for p in self.files if p.endswith((".js", ".mjs")) and not p.startswith(ON_DEMAND)]
        return [p for p in scripts if p.rsplit("/", 1)[1] not in ELSEWHERE]


def load_client(static: Path = STATIC, shaders: Path = SHADERS) -> Client:
    """Read the client from disk. A change on disk shows after the next start, under another hash."""
    digest, bodies, packed = hashlib.sha256(), {}, {}
    for folder, prefix in ((static, "static"), (shaders, "shaders")):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and _suffix(p) in CLIENT_SUFFIXES):
            name, body = f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes()
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
            if path.suffix == PACKED:
                packed[name.removesuffix(PACKED)] = body
            else:
                script = path.suffix in (".js", ".mjs") and not name.startswith(VENDOR)
                bodies[name] = slim_script(body.decode()).encode() if script else body
    bodies |= shader_bundles({n.removeprefix("shaders/"): b for n, b in bodies.items() if n.startswith("shaders/")})
    files = {n: Asset(b, gzip.compress(b, 9, mtime=0), MIME_TYPES[Path(n).suffix]) for n, b in bodies.items()}
    files |= {n: Asset(None, b, MIME_TYPES[Path(n).suffix]) for n, b in packed.items()}
    return Client(digest.hexdigest()[:16], files)


def _suffix(path: Path) -> str:
    """`.wasm` of `name.wasm` and of `name.wasm.gz`."""
    return Path(path.stem).suffix if path.suffix == PACKED else path.suffix


def slim_script(source: str) -> str:
    """JavaScript without indentation, types and comments: a third of its gzipped size.

    Comments that end a line go where they hold no quote. Lines keep their numbers, so errors name the right ones. Text
    over several lines may not hold comment marks.
    """
    lines, inside = [], False
    for line in source.split("\n"):
        rest = line
        while True:
            if inside:
                _, end, rest = rest.partition("*/")
                inside = not end
            bare = rest.lstrip()
            if inside or bare.startswith("//"):
                rest = ""
            elif bare.startswith("/*"):
                rest, inside = bare[2:], True
                continue
            break
        # A quote after the mark may be the end of a text that holds the mark.
        lines.append(re.sub(r"/\*\* @.*?\*/ ?|\s+// [^'\"`]*$", "", rest.lstrip()))
    return "\n".join(lines)
