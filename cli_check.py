"""`splatlens check`: one line a finding, and a summary of what the model costs."""

from __future__ import annotations

from pathlib import Path

import click

from splatlens.cli_output import bytes_text
from splatlens.converters.check import check
from splatlens.converters.check_report import Report
from splatlens.viewer.camera_files import read_cameras


def run_check(model: Path, cameras: Path | None) -> Report:
    """Raises LensError where a file cannot be read."""
    return check(model, read_cameras(cameras, (640, 480)) if cameras else ())


def report(found: Report) -> None:
    """Errors and warnings to stdout, each a line; last the verdict with the figures."""
    for finding in found.findings:
        line = f"{finding.level}: {finding.what}: {finding.text}"
        click.echo("".join(c if c.isprintable() else " " for c in line))
    click.echo(f"{found.path}: {summary(found)}")


def summary(found: Report) -> str:
    """The verdict, and what a run costs on this machine."""
    facts, verdict = found.facts, "passes" if found.passed else "breaks the contract"
    if "seconds_per_run" not in facts:
        return verdict
    cost = f"{1e3 * facts['seconds_per_run']:.3g} ms a run on this machine's CPU, {facts['runs']} runs"
    if facts["kind"] == "postprocess":
        what = "tiles" if facts["tiled"] else "pictures"
        return f"{verdict}: post-processing of {what}, {bytes_text(facts['bytes'])}, {cost}"
    size = f"{facts['bytes_per_splat']} bytes each on the GPU ({bytes_text(facts['gpu_bytes'])})"
    return f"{verdict}: generator of up to {facts['capacity']:,} splats, {size}, {bytes_text(facts['bytes'])}, {cost}"
