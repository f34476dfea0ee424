"""Documentation against code: every option and route is documented, and every documented command line parses."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import click
import pytest

from splatlens.cli import cli
from splatlens.converters import FORMATS
from splatlens.server import ServerConfig, create_app

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def sections(path: Path) -> dict[str, str]:
    """Heading to the text below it, of second level headings."""
    parts = re.split(r"^## (.+)$", path.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_option_is_documented(name: str) -> None:
    """Each command has a section in docs/cli.md whose table lists exactly its options."""
    title = next((t for t in sections(ROOT / "docs/cli.md") if t.startswith(f"`splatlens {name} ")), None)
    assert title is not None, f"docs/cli.md has no section on {name}"
    documented = set(re.findall(r"^\| `(--[a-z-]+)", sections(ROOT / "docs/cli.md")[title], re.M))
    options = [p for p in cli.commands[name].params if isinstance(p, click.Option)]
    assert documented == {o for option in options for o in option.opts if o.startswith("--")}


def test_every_route_is_documented(tmp_path: Path) -> None:
    """docs/server.md lists exactly the routes, with patterns written in capitals."""
    app = create_app(ServerConfig((tmp_path,)))
    routes = set()
    for resource in app.router.resources():
        pattern = re.sub(r"\{(\w+)(:[^}]*)?\}", lambda m: m[1].upper(), resource.canonical)
        routes.add(pattern)
    documented = set(re.findall(r"^\| `(/[^`]*)`", (ROOT / "docs/server.md").read_text(), re.M))
    assert documented == routes


def command_lines(text: str) -> list[str]:
    """`splatlens ...` lines of fenced blocks, comments cut off."""
    blocks = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", text, re.M | re.S)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.split("  #")[0] for line in lines if line.startswith("splatlens ")]


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_documented_command_lines_parse(path: Path) -> None:
    for line in command_lines(path.read_text()):
        _, name, *arguments = shlex.split(line)
        if name.startswith("--"):
            continue
        assert name in cli.commands, f"{path.name}: {line}"
        cli.commands[name].make_context(name, arguments)  # raises for an option or value that does not exist


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_anchors_exist(path: Path) -> None:
    """Links to a heading of the same or another page."""
    for file, anchor in re.findall(r"\]\(([^)#\s:]*)#([^)\s]+)\)", path.read_text()):
        target = path.parent / file if file else path
        headings = re.findall(r"^#+ (.+)$", target.read_text(), re.M)
        slugs = {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{path.name} links to {file}#{anchor}"


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = re.findall(r"(?:^|`)make ([a-z]+)\b", (ROOT / "README.md").read_text(), re.M)
    assert {"demo", "test"} <= set(named)
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.M), f"README names make {target}"


def test_makefile_lists_its_targets() -> None:
    """`make help` prints what .PHONY names."""
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.search(r"^\.PHONY: (.+)$", makefile, re.M)[1].split())  # type: ignore[index]
    described = set(re.findall(r"^([a-z]+):.*##", makefile, re.M))
    assert described == phony


def test_the_table_of_formats_is_that_of_the_registry() -> None:
    """python scripts/formats_doc.py writes it. Every format says what is read, written and lost."""
    sys.path.insert(0, str(ROOT / "scripts"))
    import formats_doc

    text = formats_doc.PAGE.read_text()
    assert text == formats_doc.page(text), "run python scripts/formats_doc.py"
    for known in FORMATS:
        assert known.reads and known.title, known.name
        assert bool(known.writes) == (known.write is not None or known.name in ("lens", "onnx")), known.name
        assert known.loses or known.write is None, known.name
