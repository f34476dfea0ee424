"""Fixtures every test may use, and the rule that a run in CI skips nothing silently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "SPLATLENS_TEST_DATA"
REQUIRE_VARIABLE = "SPLATLENS_REQUIRE_DATA"

#: Reasons a test may skip for although SPLATLENS_REQUIRE_DATA is set: the start of the message, and why it is honest.
ALLOWED_SKIPS: dict[str, str] = {
    "no non-loopback address": "the machine has no network interface besides loopback",
}


def required() -> bool:
    """Whether this run must be complete: set by .ci/run."""
    return os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real scenes; tests that use it carry `@pytest.mark.data`."""
    text = os.environ.get(DATA_VARIABLE, "")
    path = Path(text).resolve() if text else None
    if path is not None and path.is_dir():
        return path
    message = f"{DATA_VARIABLE} is {text!r}, not a folder of scenes" if text else f"{DATA_VARIABLE} is not set"
    if required():
        pytest.fail(f"{message}, and {REQUIRE_VARIABLE} forbids skipping")
    pytest.skip(message)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Soak tests run only when asked for by `-m soak`."""
    if "soak" in (config.option.markexpr or ""):
        return
    soak = [item for item in items if item.get_closest_marker("soak")]
    if soak:
        config.hook.pytest_deselected(items=soak)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Turns a skip into a failure where the run must be complete and the reason is not on the list."""
    report = yield
    if report.skipped and required() and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith(tuple(ALLOWED_SKIPS)):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} skipped where {REQUIRE_VARIABLE} forbids it: {reason}"
    return report


def pytest_report_header() -> list[str]:
    """Says which GPU adapter the shaders run on, which Chromium the page tests use, and whether real data is there."""
    import shutil

    try:
        from wgpu import gpu

        info = gpu.request_adapter_sync(power_preference="high-performance").info
        adapter = f"{info['device']} ({info['adapter_type']}, {info['backend_type']}, {info['description']})"
    except Exception as error:  # any failure to get one is what the header is to say
        adapter = f"none: {error}"
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or "none found"
    data = f"{os.environ.get(DATA_VARIABLE, 'not set')} ({'required' if required() else 'not required'})"
    return [f"wgpu adapter: {adapter}", f"chromium: {chromium}", f"real data: {data}"]
