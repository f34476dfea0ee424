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
from splatlens.viewer.tree import CLUSTER_SPLATS, MAX_CHILDREN, Tree, build_subtree
from splatlens.viewer.tree_top import Root, join, join_trees
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
        if len(parts) > 2 and whole > 4:  # neighbours are together: boxes take up little more than the scene
            volumes = [np.prod(np.ptp(part.means, axis=0)) for part in parts]
            assert sum(volumes) < 1.1 * np.prod(np.ptp(splats.means, axis=0))
            sides = np.array([np.ptp(part.means, axis=0) for part in parts])
            assert (sides.max(axis=1) < 3 * sides.min(axis=1)).all()


def blocks_of(part: Part) -> list[int]:
    """The blocks of a part, ascending as they should come."""
    return [number for p in part.parts for number in blocks_of(p)] if part.parts else [part.block]


def test_blocks_of_splats_at_one_place_and_of_outliers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks_module, "_READ_ROWS", 7)  # many pieces, of single rows too
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


def roots_of(splats: Splats, parts: int) -> tuple[list[Tree], list[Root]]:
    """Trees and roots of a scene cut into slabs."""
    rows = np.array_split(np.argsort(splats.means[:, 0]), parts)
    made = [build_subtree(splats.take(r), np.zeros(len(r), np.bool_)) for r in rows]
    return [tree for tree, _ in made], [Root.of(tree, moments) for tree, moments in made]


def test_a_joined_root_goes_on_from_its_children() -> None:
    trees, roots = roots_of(scene(3000, degree=1), 2)
    joined = join(roots)
    assert len(joined.splats) == CLUSTER_SPLATS and joined.splats.sh_degree == 1
    for name in ("leaves", "weight", "mass"):
        both = np.concatenate([getattr(root.moments, name) for root in roots])
        np.testing.assert_allclose(getattr(joined.moments, name).sum(), both.sum())
    assert joined.moments.leaves.sum() == 3000
    # Errors of merging add up, on top of those below.
    assert joined.moments.energy.sum() > sum(root.moments.energy.sum() for root in roots) > 0
    assert joined.moments.key.max() >= max(root.moments.key.max() for root in roots) > 0
    assert joined.error > max(root.error for root in roots) == max(tree.error.max() for tree in trees)
    assert join([replace(roots[0], error=1e9), roots[1]]).error == 1e9
    apart = join(roots, apart=True)
    left = apart.moments.leaves[apart.splats.means[:, 0] <= roots[0].centres[1, 0]].sum()
    assert left == 1500


def test_clusters_of_joined_trees_are_numbered_from_the_root() -> None:
    trees, roots = roots_of(scene(4000), 3)
    joined = join_trees(Part(parts=(Part(0), Part(parts=(Part(1), Part(2))))), trees, roots)
    c, sizes = joined.clusters, [len(tree) for tree in trees]
    assert len(c) == sum(sizes) + 2 and joined.counts.tolist() == [256, 256]
    assert joined.place[:5].tolist() == [sum(sizes), 0, sum(sizes) + 1, sizes[0], sizes[0] + sizes[1]]
    assert c.parent[:5].tolist() == [-1, 0, 0, 2, 2] and c.child_first[[0, 2]].tolist() == [1, 3]
    for i in np.flatnonzero(c.child_count):
        assert (np.flatnonzero(c.parent == i) == np.arange(c.child_first[i], c.child_first[i] + c.child_count[i])).all()
    assert (c.error[c.parent[1:]] >= c.error[1:]).all()
    # Rows are those of the blocks one after another, then those above.
    rows = np.concatenate([*(tree.splats.means for tree in trees), joined.above.means])
    for i in range(len(c)):
        own = rows[c.first[i] : c.first[i] + c.count[i]]
        np.testing.assert_array_equal(c.box[i], [own.min(axis=0), own.max(axis=0)])
