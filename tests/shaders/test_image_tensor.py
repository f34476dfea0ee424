"""image_tensor.wgsl against its NumPy twin: padding, tiles, float16, odd sizes, dispatches of several dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu

from splatlens.viewer.contract import ImageSize
from tests.reference.image_tensor import image_tensor
from tests.shaders.images import BACKGROUND, prepared, random_picture, run_labels

CASES = [
    (ImageSize(multiple=8), 21, 10, 65535),  # padded on two sides
    (ImageSize((9, 7), 2), 24, 23, 65535),  # many tiles, the last of a row moved back; 189 elements: an odd number
    (ImageSize((32, 32), 4), 24, 23, 3),  # larger than the picture; 12 workgroups, three a dimension
]


@pytest.mark.parametrize("kind", ["float32", "float16"])
@pytest.mark.parametrize(("size", "width", "height", "max_groups"), CASES)
def test_image_tensor(
    device: wgpu.GPUDevice, size: ImageSize, width: int, height: int, max_groups: int, kind: str
) -> None:
    picture = random_picture(width, height)
    executor, plan, made = prepared(device, picture, [(size, kind, "float32")], max_groups)
    for i, tile in enumerate(made):
        run_labels(executor, plan, f"image_tensor.{i}")
        want = image_tensor(picture, np.float32(BACKGROUND), tile)
        got = executor.read("image_input.0")[: len(want)]
        if kind == "float32":
            np.testing.assert_allclose(got.view(np.float32), want.view(np.float32), rtol=0, atol=2e-7)
        else:  # rounding to float16 may go either way
            np.testing.assert_allclose(got.view(np.float16), want.view(np.float16), rtol=2**-10, atol=1e-6)
