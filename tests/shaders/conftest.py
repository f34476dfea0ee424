"""The device of shader tests: WebGPU's default limits, whatever the adapter could do."""

from __future__ import annotations

import pytest
import wgpu

from splatlens.viewer.executor import request_device


@pytest.fixture(scope="session")
def device() -> wgpu.GPUDevice:
    return request_device(default_limits=True)
