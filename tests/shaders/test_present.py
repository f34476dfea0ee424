"""present.wgsl against its NumPy twin: background under premultiplied splats, rounded to 8 bits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import wgpu

from splatlens.viewer.executor import Executor
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.plan import pipeline, resolve
from tests.reference.present import present
from tests.shaders.frames import assemble_records
from tests.twin_scenes import TWIN_SCENES


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_present(device: wgpu.GPUDevice, alpha: float) -> None:
    scene = replace(TWIN_SCENES["plain"](), options=RenderOptions(background=(0.2, 0.5, 0.9)))
    frame, records = assemble_records(scene)
    frame.uploads["frame"]["background"][0, 3] = alpha
    plan = resolve(pipeline(), frame.numbers, frame.lists)
    executor = Executor(device)
    executor.prepare(plan)
    for name, data in {**frame.uploads, "records.0": records}.items():
        executor.write(name, data)
    executor.run(plan)
    got = executor.read_texture("canvas")
    want = present(executor.read_texture("color"), frame.uploads["frame"]["background"][0])
    assert np.abs(got - np.clip(want, 0, 1) * 255).max() <= 0.51
    assert got[..., 3].min() == (255 if alpha else 0)
