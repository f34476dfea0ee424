"""Which scene files a server may show: finds `.lens` files under its roots by name, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from splatlens.viewer.errors import LensError

SUFFIX = ".lens"
#: Folders below a root that are looked into, scenes that are listed, directory entries looked at in one listing.
MAX_DEPTH, MAX_SCENES, MAX_ENTRIES = 8, 2_000, 100_000
#: Longest scene name accepted in a URL, characters.
MAX_NAME = 512


@dataclass(frozen=True)
class Scene:
    """name: as in URLs, `/`-separated, without suffix. path: resolved file. size: bytes. mtime_ns: last change."""

    name: str
    path: Path
    size: int
    mtime_ns: int

    @property
    def title(self) -> str:
        return self.name.rsplit("/", 1)[-1]


class Catalogue:
    """The scenes below some roots: folders or `.lens` files, told apart by a label before the name where several.

    Nothing is cached: a file copied into a root is there at the next request.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        if not roots:
            raise LensError("serve: no folder given; name at least one folder with .lens files, or a .lens file")
        self._roots: dict[str, Path] = {}
        for given in roots:
            try:
                root = Path(given).resolve()
            except RuntimeError:  # a loop of links
                root = Path(given).absolute()
            if not root.is_dir() and not (root.is_file() and root.suffix == SUFFIX):
                state = (
                    "is not a .lens file; convert it first with `splatlens convert`"
                    if root.exists()
                    else "does not exist"
                )
                raise LensError(f"serve: {given} {state}")
            self._roots[self._label(root, alone=len(roots) == 1)] = root

    def _label(self, root: Path, *, alone: bool) -> str:
        """A file is known by its stem; a folder by its name, or by nothing when it is the only root."""
        if alone and root.is_dir():
            return ""
        base = (root.stem if root.is_file() else root.name) or "root"
        label, n = base, 2
        while label in self._roots:
            label, n = f"{base}-{n}", n + 1
        return label

    def find(self, name: str) -> Scene | None:
        """The scene of that name, or None: also for names that leave a root (.., absolute, hidden, through a link)."""
        if not 0 < len(name) <= MAX_NAME or "\0" in name or "\\" in name:
            return None
        parts = name.split("/")
        if any(not p or p.startswith(".") for p in parts):
            return None
        if "" in self._roots:
            return _scene(name, self._roots[""], parts)
        root = self._roots.get(parts[0])
        if root is None or root.is_file() != (len(parts) == 1):
            return None
        return _scene(name, root, parts[1:])

    def scenes(self) -> list[Scene]:
        """Every scene, by name; at most MAX_SCENES, looking at no more than MAX_ENTRIES directory entries."""
        found: list[Scene] = []
        for label, root in self._roots.items():
            for name in [label] if root.is_file() else _names(root, label):
                if len(found) == MAX_SCENES:
                    break
                if scene := self.find(name):
                    found.append(scene)
        return sorted(found, key=lambda s: s.name)


def _scene(name: str, root: Path, parts: Sequence[str]) -> Scene | None:
    try:
        path = (root.joinpath(*parts[:-1], parts[-1] + SUFFIX) if parts else root).resolve(strict=True)
        if not path.is_relative_to(root) or not path.is_file():
            return None
        stat = path.stat()
    except (OSError, ValueError, RuntimeError):  # absent, unreadable, name too long, a loop of links
        return None
    return Scene(name, path, stat.st_size, stat.st_mtime_ns)


def _names(root: Path, label: str) -> Iterator[str]:
    looked_at = 0
    for folder, folders, files in os.walk(root, followlinks=False):
        relative = Path(folder).relative_to(root)
        folders[:] = sorted(f for f in folders if not f.startswith(".")) if len(relative.parts) < MAX_DEPTH else []
        looked_at += len(folders) + len(files)
        if looked_at > MAX_ENTRIES:
            return
        for file in sorted(files):
            if file.endswith(SUFFIX) and not file.startswith(".") and file != SUFFIX:
                yield "/".join(p for p in (label, *relative.parts, file.removesuffix(SUFFIX)) if p)
