"""Building .lens files from sources: one layer or several, each with its own transform and kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splatlens.viewer.convert import SourceLayer, build_lens, start_camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens import LensReader
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import Splats
from tests.twin_scenes import random_splats

SHIFT = np.array([[0.0, -2, 0, 10], [2, 0, 0, -20], [0, 0, 2, 5], [0, 0, 0, 1]])


class Chunks:
    """A source that hands out so many rows at a time."""

    def __init__(self, splats: Splats, rows: int) -> None:
        self.splats, self.rows = splats, rows

    def chunks(self) -> Iterator[Splats]:
        for first in range(0, len(self.splats), self.rows):
            yield self.splats.take(slice(first, first + self.rows))


def test_several_sources_make_one_layer_each(tmp_path: Path) -> None:
    one, two = random_splats(3000, 1, degree=2), random_splats(700, 2, degree=0)
    layers = [SourceLayer(Chunks(one, 999), "one"), SourceLayer(two, "two", SHIFT, Kernel(0.1, True))]
    heard: list[float] = []
    report = build_lens(layers, tmp_path / "a.lens", progress=heard.append)
    assert heard == sorted(heard) and heard[-1] == 1
    assert report.written.splats == 3700
    with LensReader.open(tmp_path / "a.lens") as reader:
        reader.check()
        assert [layer.name for layer in reader.layers] == ["one", "two"]
        assert [layer.splats and layer.splats.splats for layer in reader.layers] == [3000, 700]
        assert [layer.splats and layer.splats.kernel for layer in reader.layers] == [Kernel(), Kernel(0.1, True)]
        assert [layer.splats and layer.splats.sh_degree for layer in reader.layers] == [2, 0]
        np.testing.assert_array_equal(reader.layers[1].transform, SHIFT)
        moved = (two.means @ SHIFT[:3, :3].T + SHIFT[:3, 3]).astype(np.float32)
        both = np.concatenate([one.means, moved])
        # The start camera frames all layers where they are in the world, and so do the bounds.
        assert reader.scene.camera is not None
        want = start_camera(both, reader.scene.up)
        np.testing.assert_allclose(reader.scene.camera.world_to_camera, want.world_to_camera, atol=1e-6)
        np.testing.assert_allclose(np.array(reader.scene.bounds)[0], both.min(axis=0), atol=0.1)


def test_one_source_is_one_layer(tmp_path: Path) -> None:
    splats = random_splats(900, 3)
    build_lens(splats, tmp_path / "a.lens", kernel=Kernel(0.2), name="it")
    build_lens([SourceLayer(splats, "it", kernel=Kernel(0.2))], tmp_path / "b.lens")
    assert (tmp_path / "a.lens").read_bytes() == (tmp_path / "b.lens").read_bytes()


def test_layers_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(LensError, match="no layers given"):
        build_lens([], tmp_path / "a.lens")
    flat = replace(SourceLayer(random_splats(9, 0)), transform=np.zeros((4, 4)))
    with pytest.raises(LensError, match="field transform: expected an affine"):
        build_lens([flat], tmp_path / "a.lens")
    assert not list(tmp_path.iterdir())
