"""What the command line prints: progress, reports and one-line errors."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

#: Seconds before anything is shown: what is done sooner needs no progress.
PATIENCE = 1.0
#: Seconds between plain lines.
LINE_EVERY = 5.0


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Gives a callback for (what, share done 0..1); stderr gets a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines().tell
        return
    bar = _Bar()
    try:
        yield bar.tell
    finally:
        bar.close()


class _Lines:
    """A line when something has taken more than PATIENCE, then every LINE_EVERY seconds, and one when it is done.

    What is read and written at once is told of in turns: each has its own clock.
    """

    def __init__(self) -> None:
        self.next: dict[str, float] = {}
        self.shown: set[str] = set()

    def tell(self, what: str, share: float) -> None:
        now = time.monotonic()
        if now >= self.next.setdefault(what, now + PATIENCE) or (share >= 1 and what in self.shown):
            click.echo(f"{what}: {share:.0%}", err=True)
            self.next[what] = now + LINE_EVERY
            self.shown.add(what)
            if share >= 1:
                self.shown.discard(what)


class _Bar:
    """A bar a task, from PATIENCE on, gone when all is done."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.bars: Any = None
        self.tasks: dict[str, Any] = {}

    def tell(self, what: str, share: float) -> None:
        if time.monotonic() - self.start < PATIENCE:
            return
        if self.bars is None:
            from rich.console import Console
            from rich.progress import Progress

            self.bars = Progress(console=Console(stderr=True), transient=True, auto_refresh=False)
            self.bars.start()
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=1.0)
        self.bars.update(self.tasks[what], completed=share, refresh=True)

    def close(self) -> None:
        if self.bars is not None:
            self.bars.stop()


def print_json(report: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(report, indent=2, allow_nan=False))


def warn(message: str) -> None:
    click.echo(f"warning: {message}", err=True)


def fail(message: str) -> None:
    """An error as one line, whatever the message holds."""
    click.echo("error: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in message), err=True)


def bytes_text(count: int) -> str:
    """1,234,567 as 1.23 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"


def facts_lines(facts: dict[str, Any], indent: str = "") -> Iterator[str]:
    """`name: value` lines of nested facts; what is empty or unknown is left out."""
    for name, value in facts.items():
        label = name.replace("_", " ")
        if value is None or value in ("", [], {}, ()) or (name, value) in (("flat", False), ("levels", 1)):
            continue
        if isinstance(value, dict):
            yield f"{indent}{label}:"
            yield from facts_lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and any(isinstance(v, dict) for v in value):
            for i, item in enumerate(value):
                yield f"{indent}{label}[{i}]:"
                yield from facts_lines(item, indent + "  ")
        elif isinstance(value, list | tuple) and any(isinstance(v, str) and "," in v for v in value):
            yield f"{indent}{label}:"
            yield from (f"{indent}  {item}" for item in value)
        elif isinstance(value, list | tuple):
            yield f"{indent}{label}: {', '.join(_plain(v) for v in value)}"
        elif name == "bytes":
            yield f"{indent}size: {bytes_text(value)} ({value:,} bytes)"
        else:
            yield f"{indent}{label}: {_plain(value)}"


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
