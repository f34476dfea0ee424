"""Writes the table of docs/formats.md from the registry of formats: `python scripts/formats_doc.py`."""

from __future__ import annotations

from pathlib import Path

from splatlens.converters import FORMATS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "formats.md"
START, END = "<!-- table: scripts/formats_doc.py -->\n", "<!-- end of table -->\n"


def table() -> str:
    """A row a format, in the order in which they are recognised."""
    lines = ["| format | names | read | written | what a file of it cannot hold |", "|---|---|---|---|---|"]
    for known in FORMATS:
        names = ", ".join(f"`{e}`" for e in known.extensions) or "by content"
        cells = known.title, names, known.reads or "no", known.writes or "no", known.loses
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def page(text: str) -> str:
    """The page with the present table."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return before + START + "\n" + table() + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
