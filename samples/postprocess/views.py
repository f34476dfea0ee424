"""What the networks learn from: pictures of the Tholos sample, whole and with a tenth of its splats.

Rendered once and kept in a file, for training takes them many times.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import splatlens

#: Size of the pictures, pixels, and the splats that the coarse ones may take (the scene has 396,000).
WIDTH, HEIGHT, BUDGET = 640, 360, 40_000
#: Every sixth of the sample's 48 views is held out: nothing is fitted to it.
HELD_OUT = 6
Images = NDArray[np.float32]


def is_held_out(number: int) -> bool:
    """Whether nothing is fitted to this view of the sample's."""
    return number % HELD_OUT == HELD_OUT - 1


@dataclass(frozen=True)
class Views:
    """coarse, full: (N, 3, H, W) float32, 0 to 1. Views of the training set first, `training` of them."""

    coarse: Images
    full: Images
    training: int


def load(scene: Path, cache: Path) -> Views:
    """The views of a scene, rendered where `cache` does not hold them yet; 16 bits a value there."""
    if not cache.exists():
        coarse, full, training = _render(scene)
        np.savez_compressed(cache, coarse=coarse, full=full, training=training)
    stored = np.load(cache)
    coarse, full = ((stored[name] / 65535).astype(np.float32) for name in ("coarse", "full"))
    return Views(coarse, full, int(stored["training"]))


def _render(scene: Path) -> tuple[NDArray[np.uint16], NDArray[np.uint16], int]:
    with splatlens.open(scene) as opened:
        cameras = [c.resized(WIDTH, HEIGHT) for c in opened.cameras]
        held = [c for i, c in enumerate(cameras) if is_held_out(i)]
        training = [c for i, c in enumerate(cameras) if not is_held_out(i)]

        def pictures(budget: float | None) -> NDArray[np.uint16]:
            taken = [opened.render(c, budget=budget)[..., :3] for c in training + held]
            return np.asarray(np.rint(np.clip(np.stack(taken), 0, 1) * 65535), np.uint16).transpose(0, 3, 1, 2)

        return pictures(BUDGET), pictures(None), len(training)
