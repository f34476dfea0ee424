"""Pictures and tiles for the tests of the post-processing stages, which are run as the frame runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.contract import ImageSize
from splatlens.viewer.executor import Executor
from splatlens.viewer.image_tiles import image_lists
from splatlens.viewer.plan import pipeline, resolve
from tests.shaders.harness import frame_block

BACKGROUND = (0.2, 0.5, 0.9)


def random_picture(width: int, height: int, seed: int = 1) -> NDArray[np.float32]:
    """(H, W, 4) premultiplied, some colours above 1."""
    r = np.random.default_rng(seed)
    alpha = r.uniform(0, 1, (height, width, 1))
    return np.concatenate([r.uniform(0, 1.3, (height, width, 3)) * alpha, alpha], axis=2).astype(np.float32)


def prepared(
    device: wgpu.GPUDevice,
    picture: NDArray[np.float32],
    layers: list[tuple[ImageSize, str, str]],
    max_groups: int = 65535,
) -> tuple[Executor, dict[str, Any], NDArray[np.void]]:
    """An executor whose `color` holds a picture, the plan of these layers' passes, and their tiles.

    layers: what each network takes, and the types of its input and output.
    """
    height, width = picture.shape[:2]
    lists, made = image_lists(layers, width, height)
    frame = pipeline()
    some = {**frame, "passes": [p for p in frame["passes"] if p["name"] in ("image", "present")]}
    nothing = {name: [] for name in ("cluster_layers", "record_layers", "spacetime_layers", "gaussian4d_layers")}
    numbers = {"groups": 1, "layers": 1, "width": width, "height": height, "max_groups": max_groups}
    plan = resolve(some, numbers, {**nothing, **lists}, {"color": "rgba32float"})
    color = plan["textures"]["color"]
    plan["textures"]["color"] = {**color, "usage": [*color["usage"], "COPY_DST"]}
    executor = Executor(device)
    executor.prepare(plan)
    executor.write("frame", frame_block(viewport=(width, height), background=(*BACKGROUND, 1), max_groups=max_groups))
    for i, tile in enumerate(made):
        executor.write(f"image_tile.{i}", tile.reshape(1))
    device.queue.write_texture(
        {"texture": executor.textures["color"]}, np.ascontiguousarray(picture),
        {"bytes_per_row": 16 * width, "rows_per_image": height}, (width, height, 1),
    )  # fmt: skip
    return executor, plan, made


def run_labels(executor: Executor, plan: dict[str, Any], *labels: str) -> None:
    """Runs some of the plan's passes."""
    chosen = [p for p in plan["passes"] if p["label"] in labels]
    assert len(chosen) == len(labels)
    executor.run({**plan, "passes": chosen})
