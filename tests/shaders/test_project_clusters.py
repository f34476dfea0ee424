"""project_clusters.wgsl against its NumPy twin, on clusters of .lens files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import wgpu

from splatlens.viewer.assemble import Assembly, ClusterDraws, assemble
from splatlens.viewer.convert import build_lens
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.layout import constant
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import LoadedClusters
from splatlens.viewer.splats import Splats
from tests.reference.project_clusters import project_clusters
from tests.shaders.frames import check_projected, run_passes
from tests.twin_scenes import CAMERA, random_splats


def clusters_of(
    splats: Splats,
    path: Path,
    transform: np.ndarray,
    *,
    max_groups: int = 65535,
    sh: bool = True,
    options: RenderOptions = RenderOptions(),
) -> tuple[Assembly, LoadedClusters, LensPages]:
    """The frame that draws every cluster of the scene's tree, inner ones too."""
    build_lens(splats, path / "scene.lens")
    pages = LensPages(LensReader.of_bytes((path / "scene.lens").read_bytes()).splats(0))
    everything = np.arange(len(pages.nodes.count))
    loaded = pages.load(everything)
    degrees = loaded.sh_degrees if sh else np.zeros_like(loaded.sh_degrees)
    slots = len(loaded.words) // constant("SLOT_WORDS")
    layer = ClusterDraws(
        transform,
        loaded.slots,
        pages.nodes.count,
        degrees,
        loaded.origins,
        pages.boxes,
        slots,
        len(loaded.sh_words) // slots,
    )
    return assemble(CAMERA, options, [layer], max_groups), loaded, pages


def check(device: wgpu.GPUDevice, frame: Assembly, loaded: LoadedClusters, pages: LensPages) -> None:
    uploads = {"geometry.0": loaded.words, "sh_words.0": loaded.sh_words}
    executor = run_passes(device, frame, uploads, ("project_clusters",))
    seen = 0
    for group in range(frame.groups):
        cluster = pages.splats(np.array([group]))
        draw = frame.uploads["draws"][group]
        want = project_clusters(
            frame.uploads["frame"][0], frame.uploads["layers"], draw, cluster, loaded.origins[group].astype(np.float64)
        )
        if (want["key"] != constant("KEY_CULLED")).any():
            check_projected(executor, group, want)
            seen += 1
    assert seen


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_every_sh_degree(device: wgpu.GPUDevice, tmp_path: Path, degree: int) -> None:
    check(device, *clusters_of(random_splats(700, degree, degree=degree), tmp_path, np.eye(4)))


def test_without_its_sh_a_cluster_shows_its_base_colour(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    frame, loaded, pages = clusters_of(random_splats(300, 5), tmp_path, np.eye(4), sh=False)
    empty = LoadedClusters(
        loaded.words, np.zeros_like(loaded.sh_words), loaded.slots, loaded.sh_degrees, loaded.origins
    )
    check(device, frame, empty, pages)


def test_float32_centres(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    # Tiny splats far apart: 11 bits would shift them by many sigmas.
    frame, loaded, pages = clusters_of(random_splats(300, 6, size=1e-5, spread=1.0), tmp_path, np.eye(4))
    assert (pages.nodes.slots == 2).any()
    check(device, frame, loaded, pages)


def test_the_near_plane_cuts_through_clusters(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    check(device, *clusters_of(random_splats(300, 9), tmp_path, np.eye(4), options=RenderOptions(near=4.0)))


def test_a_moved_layer(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    transform = np.eye(4)
    transform[:3, :3] = 0.5 * np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    transform[:3, 3] = 0.3, 0.1, -0.2
    check(device, *clusters_of(random_splats(500, 7), tmp_path, transform))


def test_dispatch_over_three_dimensions(device: wgpu.GPUDevice, tmp_path: Path) -> None:
    results = []
    for limit in (65535, 3):
        frame, loaded, _ = clusters_of(random_splats(2500, 8, degree=1), tmp_path, np.eye(4), max_groups=limit)
        assert frame.groups > 9
        uploads = {"geometry.0": loaded.words, "sh_words.0": loaded.sh_words}
        executor = run_passes(device, frame, uploads, ("project_clusters",))
        results.append(tuple(executor.read(name).tobytes() for name in ("keys", "projected")))
    assert results[0] == results[1]
