"""Rules of the tree: imports go one way, one truth per fact, one version, a first line that says the job."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import splatlens

ROOT = Path(__file__).resolve().parent.parent
NOT_OURS = {".git", ".venv", "node_modules", "build", "dist", "out", "shared"}

#: Who may import whom: a module may import its own rank and lower ones.
RANKS = {"viewer": 0, "converters": 1, "server": 2, "api": 3, "cli": 4}
#: What viewer must do without altogether, and what only inside the function that needs it.
VIEWER_NEVER = {"aiohttp", "plyfile", "jinja2", "click", "rich"}
VIEWER_LAZILY = {"PIL", "onnxruntime"}


def files(*suffixes: str) -> Iterator[Path]:
    """Every file of ours with such a suffix."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        if path.suffix in suffixes and not any(p in NOT_OURS or p.endswith("_cache") for p in parts):
            yield path


PYTHON = list(files(".py"))
PACKAGE = [p for p in PYTHON if p.parent == ROOT or p.parent.name in ("viewer", "converters")]


def rank(name: str) -> int | None:
    """The rank of `splatlens.x.y`, None where it has none (the package itself)."""
    part = name.split(".")[1] if name.startswith("splatlens.") else ""
    return RANKS.get(part.split("_")[0])


def imported(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """(module, whether inside a function or for types only) of every import."""
    lazy = set()
    for node in ast.walk(tree):
        typing = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or typing:
            lazy |= {id(n) for n in ast.walk(node) if isinstance(n, ast.Import | ast.ImportFrom)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            if module == "splatlens":
                yield from ((f"splatlens.{alias.name}", id(node) in lazy) for alias in node.names)
            else:
                yield module, id(node) in lazy


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    module = ".".join(("splatlens", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    own = rank(module)
    for name, lazy in imported(ast.parse(path.read_text())):
        assert not name.startswith("."), f"relative import {name}"
        if own is None:
            assert module == "splatlens" and name in ("splatlens.api", "__future__"), f"{module} imports {name}"
            continue
        other = rank(name)
        assert other is None or other <= own, f"{module} imports {name}, which stands above it"
        if own == 0:
            top = name.split(".")[0]
            assert top not in VIEWER_NEVER, f"{module} imports {top}"
            assert lazy or top not in VIEWER_LAZILY, f"{module} imports {top} at module level"


def test_nothing_imports_a_bare_part_of_the_package() -> None:
    """`import viewer` would work from the root of a checkout and nowhere else."""
    bare = {p.stem for p in PACKAGE if p.parent == ROOT} - {"__init__"} | {"viewer", "converters"}
    for path in PYTHON:
        for name, _ in imported(ast.parse(path.read_text())):
            assert name.split(".")[0] not in bare, f"{path.relative_to(ROOT)} imports {name}"


def test_the_client_imports_only_itself() -> None:
    before = r"^\s*(?:import|export)\b[^'\";]*?from\s*|^\s*import\s*|\bimport\s*\(\s*"
    pattern = re.compile(rf"(?:{before})([\"'])(.+?)\1", re.M)
    seen = 0
    for path in sorted((ROOT / "static").rglob("*.js")):
        for _, name in pattern.findall(path.read_text()):
            if name.startswith("onnxruntime-web"):
                continue
            assert name.startswith("./") or name.startswith("../"), f"{path.name} imports {name!r}"
            target = (path.parent / name).resolve()
            assert target.is_relative_to(ROOT / "static") and target.is_file(), f"{path.name} imports {name!r}"
            seen += 1
    assert seen > 10


def test_no_two_truths_kept_equal_by_hand() -> None:
    words = re.compile("(keep|kept|stay)" + r"\s+(this\s+|these\s+|them\s+)?in\s+" + "sync", re.I)
    for path in files(".py", ".js", ".mjs", ".wgsl", ".md", ".json", ".toml", ".html", ".css", ".sh"):
        assert not words.search(path.read_text(errors="replace")), path.relative_to(ROOT)


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == splatlens.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text()
    latest = re.search(r"^## \[(.+?)\]", changelog, re.M)
    assert latest is not None and latest[1] in ("Unreleased", splatlens.__version__)


def test_locked_tools_are_the_declared_ones() -> None:
    declared = json.loads((ROOT / "package.json").read_text())["devDependencies"]
    locked = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    assert {name: locked[f"node_modules/{name}"]["version"] for name in declared} == declared


def test_the_first_line_says_the_job() -> None:
    for path in PYTHON:
        text = path.read_text()
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), f"{path.relative_to(ROOT)} has no docstring"
    for path in files(".js", ".mjs", ".wgsl"):
        if path.relative_to(ROOT).parts[0] == "bench" or "vendor" in path.parts:
            continue  # pages that show other viewers, as those want to be called; what is others' own
        assert path.read_text().lstrip().startswith(("//", "#!")), f"{path.relative_to(ROOT)} starts without a comment"


def test_the_public_names_are_typed_and_documented() -> None:
    for name in splatlens.__all__:
        thing = getattr(splatlens, name)
        assert name == "__version__" or thing.__doc__, name
    for function in (splatlens.open, splatlens.convert, splatlens.render, splatlens.serve):
        hints = set(function.__annotations__)
        assert hints == {*function.__code__.co_varnames[: function.__code__.co_argcount], *hints}
        assert "return" in hints
    assert (ROOT / "py.typed").is_file()
