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
    if sys.stderr.isatty():
        with _bar() as tell:
            yield tell
    else:
        yield _Lines().tell


class _Lines:
    """A line when something has taken more than PATIENCE, then every LINE_EVERY seconds, and one when it is done."""

    def __init__(self) -> None:
        self.what, self.next, self.shown = "", 0.0, False

    def tell(self, what: str, share: float) -> None:
        now = time.monotonic()
        if what != self.what:
            self.what, self.next, self.shown = what, now + PATIENCE, False
        if now >= self.next or (share >= 1 and self.shown):
            click.echo(f"{what}: {share:.0%}", err=True)
            self.next, self.shown = now + LINE_EVERY, share < 1


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[str, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    texts = (TextColumn("{task.description}"), TextColumn("{task.percentage:>3.0f}%"))
    columns = (texts[0], BarColumn(), texts[1], TimeRemainingColumn())
    start = time.monotonic()
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bars:
        bars.stop()

        def tell(what: str, share: float) -> None:
            if time.monotonic() - start < PATIENCE:
                return
            if not bars.live.is_started:
                bars.start()
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share, refresh=True)

        yield tell


def print_json(report: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    click.echo(json.dumps(report, indent=2, allow_nan=False))


def warn(message: str) -> None:
    click.echo(f"warning: {message}", err=True)


def fail(message: str) -> None:
    """An error as one line, whatever the message holds."""
    line = " ".join(message.split())
    click.echo("error: " + "".join(c if c.isprintable() else repr(c)[1:-1] for c in line), err=True)


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
        if value is None or value in ("", [], {}, ()):
            continue
        if isinstance(value, dict):
            yield f"{indent}{label}:"
            yield from facts_lines(value, indent + "  ")
        elif isinstance(value, list | tuple) and any(isinstance(v, dict) for v in value):
            for i, item in enumerate(value):
                yield f"{indent}{label}[{i}]:"
                yield from facts_lines(item, indent + "  ")
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
