"""What this run stands on: an adapter for the shaders, and the one CI expects."""

from __future__ import annotations

import os

from wgpu import gpu


def test_there_is_an_adapter_and_it_is_the_expected_one() -> None:
    info = gpu.request_adapter_sync(power_preference="high-performance").info
    expected = os.environ.get("SPLATLENS_EXPECT_ADAPTER", "")
    assert expected in info["device"], f"expected an adapter named {expected!r}, the shaders run on {info['device']!r}"
