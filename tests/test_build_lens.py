"""Building .lens files from sources: one layer or several, each with its own transform and kernel."""

from __future__ import annotations

import tempfile
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splatlens.viewer import blocks as blocks_module
from splatlens.viewer import quantised_file as file_module
from splatlens.viewer.blocks import Part, in_blocks
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.convert import SourceLayer, build_lens, start_camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.lens import LensReader
from splatlens.viewer.lens_build import plan_source
from splatlens.viewer.paged import LensPages
from splatlens.viewer.quantised_file import quantised_file
from splatlens.viewer.render import PagedLayer, RawLayer, render_reference
from splatlens.viewer.row_file import rows_of
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import Splats
from splatlens.viewer.tree import CLUSTER_SPLATS, MAX_CHILDREN
from tests.test_tree import scene
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


@pytest.mark.parametrize(("rows", "whole"), [(999, 800), (5000, 3000), (1, 4), (40_000, 8192)])
def test_blocks_hold_every_splat_once_and_lie_apart(rows: int, whole: int) -> None:
    splats = random_splats(12_345 if whole > 4 else 40, 4, degree=1, size=0.01)
    with in_blocks(Chunks(splats, rows).chunks(), whole) as blocks:
        parts = [blocks.take(k) for k in range(len(blocks.sizes))]
        assert [len(part) for part in parts] == list(blocks.sizes)
        assert blocks.count == len(splats) and len(blocks.centres) == -(-len(splats) // blocks.step)
        assert blocks_of(blocks.top) == list(range(len(parts)))
        most = whole if len(splats) <= whole else whole // 2
        assert max(blocks.sizes) <= 2 * most and len(parts) <= 2 * -(-len(splats) // most)
        want, got = rows_of(splats), rows_of(Splats.concatenate(parts))
        np.testing.assert_array_equal(got[np.lexsort(got.T)], want[np.lexsort(want.T)])
        if len(parts) > 2:  # neighbours are together: boxes take up little more than the scene
            volumes = [np.prod(np.ptp(part.means, axis=0)) for part in parts]
            assert sum(volumes) < 1.1 * np.prod(np.ptp(splats.means, axis=0))


def blocks_of(part: Part) -> list[int]:
    """The blocks of a part, ascending as they should come."""
    return [number for p in part.parts for number in blocks_of(p)] if part.parts else [part.block]


def test_blocks_of_splats_at_one_place_and_of_outliers() -> None:
    splats = random_splats(5000, 5, degree=0, size=0.01)
    means = splats.means.copy()
    means[:4000] = 1
    means[-30:] *= 1000
    splats = replace(splats, means=means)
    with in_blocks(iter([splats]), 1000) as blocks:
        assert max(blocks.sizes) <= 1000
        assert blocks_of(blocks.top) == list(range(len(blocks.sizes)))
        # What the middle 80% of centres do not reach lies apart.
        assert blocks.top.apart and [blocks.sizes[k] for k in blocks_of(blocks.top.parts[1])] == [30]
        assert sum(blocks.sizes) == 5000


@pytest.mark.parametrize("degree", [0, 2])
def test_a_tree_of_blocks_keeps_its_promises(degree: int) -> None:
    """As tests/test_tree.py has them, on trees of many tiny blocks joined: read back from the quantised rows."""
    rng = np.random.default_rng(6)
    splats = random_splats(9_000, 6, degree=degree, size=0.02)
    far = random_splats(100, 7, degree=degree, size=0.02)
    splats = Splats.concatenate([splats, replace(far, means=(far.means * 500).astype(np.float32))])
    splats = splats.take(rng.permutation(len(splats)))
    with quantised_file() as rows:
        heard: list[float] = []
        made = plan_source(SourceLayer(splats, "it"), rows, heard.append, whole=1500)
        assert heard == sorted(heard) and heard[-1] == 1
        plan = made.plan
        assert plan.info.splats is not None and plan.info.splats.splats == len(splats)
        assert plan.info.splats.stored < 1.7 * len(splats)
        assert sorted(plan.place) == list(range(plan.info.splats.clusters))
        everything = rows.take(plan.place[plan.pages.order])
        assert (everything.count == plan.nodes["count"]).all()
        leaf = np.repeat(plan.nodes["child_count"] == 0, everything.count)
    assert leaf.sum() == len(splats)
    got, want = everything.centers[leaf], splats.means
    np.testing.assert_array_equal(got[np.lexsort(got.T)], want[np.lexsort(want.T)])


def test_a_scene_of_blocks_is_written_whole(tmp_path: Path) -> None:
    """Through the reader: its checks of the tree, errors, bounds and counts; and the same bytes twice."""
    splats = random_splats(4000, 8, degree=1, size=0.02)
    layers = [SourceLayer(Chunks(splats, 512), "a"), SourceLayer(splats, "b", SHIFT)]
    for name in ("a.lens", "b.lens"):
        build_lens(layers, tmp_path / name, whole=700)
    assert (tmp_path / "a.lens").read_bytes() == (tmp_path / "b.lens").read_bytes()
    with LensReader.open(tmp_path / "a.lens") as reader:
        reader.check()
        nodes = reader.splats(0).nodes()
        assert nodes.count[nodes.child_count == 0].sum() == 4000
        assert nodes.child_count.max() <= MAX_CHILDREN and nodes.count.max() <= CLUSTER_SPLATS
        # Spheres and supports hold those of the children, up to the rounding of float32.
        for i in np.flatnonzero(nodes.child_count):
            kids = slice(nodes.child_first[i], nodes.child_first[i] + nodes.child_count[i])
            apart = np.linalg.norm(nodes.sphere[kids, :3] - nodes.sphere[i, :3], axis=1)
            assert (apart + nodes.sphere[kids, 3] <= nodes.sphere[i, 3] + 1e-5).all()
            assert (nodes.support[i, 0] <= nodes.support[kids, 0]).all()
            assert (nodes.support[i, 1] >= nodes.support[kids, 1]).all()
            assert (nodes.box[kids, 0] >= nodes.support[i, 0]).all()


def test_many_small_blocks_draw_as_well_as_one(tmp_path: Path) -> None:
    """A tenth of the splats of 18 blocks loses less than a decibel against those of one."""
    splats = scene(9000, degree=0)
    camera = Camera.look_at((0.5, -1.5, -1.5), (0, 0, 0), (0, -1, 0), 60, 160, 120)
    whole = render_reference([RawLayer(splats)], camera)[..., :3]
    found = []
    for name, most in (("one.lens", 9000), ("many.lens", 1000)):
        build_lens(splats, tmp_path / name, whole=most)
        with LensReader.open(tmp_path / name) as reader:
            image = render_reference([PagedLayer(LensPages(reader.splats(0)))], camera, budget=900)
        found.append(psnr(image[..., :3], whole))
    assert found[0] > 20 and found[1] > found[0] - 1


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    with pytest.raises(LensError, match=r"missing: the temporary file for building .* set TMPDIR to another folder"):
        build_lens(random_splats(500, 1), tmp_path / "a.lens", whole=100)
    assert not list(tmp_path.iterdir())


def test_memory_of_a_build_does_not_grow_with_the_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own allocations, NumPy's included, for four times the splats; bounds as small as the scenes."""
    monkeypatch.setattr(blocks_module, "SAMPLE_ROWS", 1000)
    monkeypatch.setattr(blocks_module, "_READ_ROWS", 1000)
    monkeypatch.setattr(file_module, "_IN_MEMORY", 1 << 16)
    peaks = []
    for times in (1, 4):
        splats = random_splats(6000 * times, 9, degree=0, size=0.02)
        source = Chunks(splats, 1000)
        tracemalloc.start()
        build_lens(source, tmp_path / "a.lens", whole=3000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
