"""image_paint.wgsl against its NumPy twin: which pixels a tile paints, alpha, the background, values not finite."""

from __future__ import annotations

import numpy as np
import pytest
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.contract import ImageSize
from tests.reference.image_paint import image_paint
from tests.shaders.images import BACKGROUND, prepared, random_picture, run_labels

CASES = [(ImageSize(multiple=8), 21, 10), (ImageSize((9, 7), 2), 24, 23), (ImageSize((32, 32), 4), 24, 23)]


def random_output(elements: int, kind: str, seed: int) -> NDArray[np.uint32]:
    """A tensor's words: values of -0.2 to 1.2, one in twenty NaN or infinite."""
    r = np.random.default_rng(seed)
    values = r.uniform(-0.2, 1.2, elements + elements % 2)
    bad = r.random(len(values)) < 0.05
    values[bad] = r.choice([np.nan, np.inf, -np.inf], bad.sum())
    return values.astype(kind).view(np.uint32)


@pytest.mark.parametrize("kinds", [("float32", "float32"), ("float16", "float16"), ("float16", "float32")])
@pytest.mark.parametrize(("size", "width", "height"), CASES)
def test_image_paint(
    device: wgpu.GPUDevice, size: ImageSize, width: int, height: int, kinds: tuple[str, str]
) -> None:
    picture = random_picture(width, height)
    executor, plan, made = prepared(device, picture, [(size, *kinds)])
    executor.write("image_lost.0", np.zeros(4, np.uint32))
    want, lost = np.zeros_like(picture), 0
    for i, tile in enumerate(made):
        run_labels(executor, plan, f"image_tensor.{i}")
        given = executor.read("image_input.0")
        output = random_output(3 * int(tile["size"].prod()), kinds[1], i)
        executor.write("image_output.0", output)
        run_labels(executor, plan, f"image_paint.{i}")
        want, more = image_paint(want, picture, np.float32(BACKGROUND), tile, given, output)
        lost += more
    np.testing.assert_allclose(executor.read_texture("image.0"), want, rtol=0, atol=1e-6)
    assert lost > 0
    assert executor.read("image_lost.0")[0] == lost


def test_what_present_shows_is_the_last_layers_picture(device: wgpu.GPUDevice) -> None:
    """Two networks that hand on what they are given change nothing, whatever their tiles."""
    picture = np.clip(random_picture(24, 23), 0, 1)
    layers = [(ImageSize((9, 7), 2), "float32", "float32"), (ImageSize(multiple=16), "float32", "float32")]
    executor, plan, made = prepared(device, picture, layers)
    for i in range(len(made)):
        run_labels(executor, plan, f"image_tensor.{i}")
        layer = plan["passes"][2 * i]["bindings"][3].split(".")[1]
        executor.write(f"image_output.{layer}", executor.read(f"image_input.{layer}"))
        run_labels(executor, plan, f"image_paint.{i}")
    over = picture[..., :3] + (1 - picture[..., 3:]) * np.float32(BACKGROUND)
    for name in ("image.0", "image.1"):
        got = executor.read_texture(name)
        np.testing.assert_array_equal(got[..., 3], picture[..., 3])
        shown = got[..., :3] + (1 - got[..., 3:]) * np.float32(BACKGROUND)
        np.testing.assert_allclose(shown, np.clip(over, 0, 1), rtol=0, atol=1e-6)
    run_labels(executor, plan, "present.0")
    canvas = executor.read_texture("canvas")[..., :3]
    assert np.abs(canvas - np.clip(over, 0, 1) * 255).max() <= 0.51
