"""What this run stands on: the adapter CI expects, and that nothing is skipped silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wgpu import gpu


def test_there_is_an_adapter_and_it_is_the_expected_one() -> None:
    info = gpu.request_adapter_sync(power_preference="high-performance").info
    expected = os.environ.get("SPLATLENS_EXPECT_ADAPTER", "")
    assert info["backend_type"] != "OpenGL", f"{info['device']!r} is driven through OpenGL: install a Vulkan driver"
    assert expected in info["device"], f"expected an adapter named {expected!r}, the shaders run on {info['device']!r}"


@pytest.mark.parametrize(
    ("reason", "required", "outcome"),
    [
        ("no GPU today", "", "1 skipped"),
        ("no GPU today", "1", "1 failed"),
        ("no non-loopback address", "1", "1 skipped"),
    ],
)
def test_no_skip_is_silent(tmp_path: Path, reason: str, required: str, outcome: str) -> None:
    """The hook of conftest.py, in a run of its own: with data required, a skip that is not on its list fails."""
    (tmp_path / "conftest.py").write_text((Path(__file__).parent / "conftest.py").read_text())
    (tmp_path / "test_a.py").write_text(f"import pytest\n\n\ndef test_a():\n    pytest.skip({reason!r})\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    environment = os.environ | {"SPLATLENS_REQUIRE_DATA": required}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert outcome in done.stdout, done.stdout + done.stderr
