"""The browser client as one immutable bundle: static/ and shaders/ in memory, under a hash of all their bytes."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

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
#: Modules that viewer pages do not import: what embedding pages start from, and a worker's own.
ELSEWHERE = ("embed.js", "element.js", "decode_worker.js")


@dataclass(frozen=True)
class Asset:
    """body: as on disk, JavaScript without comments. gzipped: the same at level 9. mime: content type."""

    body: bytes
    gzipped: bytes
    mime: str


@dataclass(frozen=True)
class Client:
    """hash: 16 hexadecimal digits over every path and byte. files: by path below the hash, as `static/viewer.js`."""

    hash: str
    files: dict[str, Asset]

    @property
    def modules(self) -> list[str]:
        """The modules of a viewer page, for modulepreload: without it each import level costs a round trip."""
        return [p for p in self.files if p.endswith((".js", ".mjs")) and p.rsplit("/", 1)[1] not in ELSEWHERE]


def load_client(static: Path = STATIC, shaders: Path = SHADERS) -> Client:
    """Read the client from disk. A change on disk shows after the next start, under another hash."""
    digest, files = hashlib.sha256(), {}
    for folder, prefix in ((static, "static"), (shaders, "shaders")):
        for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in CLIENT_SUFFIXES):
            relative = f"{prefix}/{path.relative_to(folder).as_posix()}"
            body = path.read_bytes()
            if path.suffix in (".js", ".mjs"):
                body = without_comments(body.decode()).encode()
            digest.update(f"{relative}\0{len(body)}\0".encode() + body)
            files[relative] = Asset(body, gzip.compress(body, 9, mtime=0), MIME_TYPES[path.suffix])
    return Client(digest.hexdigest()[:16], files)


def without_comments(source: str) -> str:
    """JavaScript without the comments that start a line: a third of its gzipped size is JSDoc.

    Lines keep their numbers, so errors name the right ones. Text over several lines may not hold comment marks.
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
        lines.append(rest)
    return "\n".join(lines)
