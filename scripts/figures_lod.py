"""Figures of the level of detail: budgets against decimation, holes, and what the first 300 kB of a file draw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from figures_base import (
    SCENES,
    SHARES,
    Image,
    Row,
    Scene,
    at_least,
    data_file,
    decibels,
    lens_of,
    renderer,
    source,
    truth,
)
from figures_pictures import layer_of, noisy_file
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError
from splatlens.viewer.lens_nodes import LayerNodes
from splatlens.viewer.lens_reader import LensReader
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import LoadedClusters, PagedLayer

#: Bytes of a file after which a picture is asked for.
FIRST_BYTES = 300_000
#: Side of the blocks in which holes are looked for, pixels.
BLOCK = 8


def lod() -> list[Row]:
    """Mean over the views at each budget, drawn from the quantised .lens; the budget counts splats given to project."""
    rows = []
    for scene in SCENES:
        rows += _budgets(scene, data_file(scene.file), scene.name)
    for scene in SCENES:
        if source(data_file(scene.file)).sh_degree:
            rows += _budgets(scene, noisy_file(scene, "multiplied"), f"{scene.name}, 1% noise multiplied on f_rest")
    return rows


def _budgets(scene: Scene, path: Path, name: str) -> list[Row]:
    layer = layer_of(lens_of(path)[0])
    rows = []
    for share, decimation in zip(SHARES, scene.decimation, strict=True):
        budget = int(share * len(source(path)))
        each = []
        for view, camera in enumerate(scene.cameras()):
            each.append(decibels(renderer().render([layer], camera, budget=budget), truth(path, view, scene)))
            assert renderer().submitted <= budget, "more splats given to project than the budget allows"
        mean = float(np.mean(each))
        asked = decimation - 1 if share == 0.5 else decimation
        views = " / ".join(f"{d:.1f}" for d in each)
        rows.append(
            at_least(
                f"{name} at {share:.0%}, mean of three views",
                round(asked, 1),  # 43.2 - 1 in binary is not 42.2
                mean,
                "dB",
                f"{views}; aim {decimation + 1:.1f}",
            )
        )
    return rows


def blocks(alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """(rows, columns, 64): the alphas of whole 8 x 8 blocks."""
    h, w = (n // BLOCK * BLOCK for n in alpha.shape)
    tiles = alpha[:h, :w].reshape(h // BLOCK, BLOCK, w // BLOCK, BLOCK)
    return tiles.transpose(0, 2, 1, 3).reshape(h // BLOCK, w // BLOCK, -1)


def coverage() -> list[Row]:
    """Blocks wholly above alpha 0.5 at full detail: the least mean alpha that one keeps, over all views."""
    rows = []
    for scene in SCENES:
        path = data_file(scene.file)
        layer = layer_of(lens_of(path)[0])
        whole = [blocks(truth(path, view, scene)[..., 3]).min(axis=2) > 0.5 for view in range(len(scene.views))]
        for share in SHARES:
            least, count = np.inf, 0
            for camera, solid in zip(scene.cameras(), whole, strict=True):
                image = renderer().render([layer], camera, budget=int(share * len(source(path))))
                means = blocks(image[..., 3]).mean(axis=2)[solid]
                least, count = min(least, float(means.min())), count + int(solid.sum())
            asked = 0.25 if share < 0.1 else 0.5
            rows.append(
                at_least(
                    f"{scene.name} at {share:.0%}: least mean alpha of solid blocks",
                    asked,
                    least,
                    "",
                    f"{count} blocks",
                )
            )
    return rows


class FirstPages(LensPages):
    """The pages that a file's first bytes hold, SH only where it is among them."""

    def __init__(self, path: Path, limit: int) -> None:
        whole = LensReader.open(path)
        number = next(iter(whole.splats_layers))
        super().__init__(whole.splats_layers[number])
        data = path.read_bytes()[:limit]
        cut = LensReader(lambda offset, length: data[offset : offset + length], name=path.name).splats_layers[number]
        all_nodes = self.layer.nodes()
        resident, self.with_sh = np.zeros(len(all_nodes), bool), np.zeros(len(all_nodes), bool)
        self.whole_pages = 0
        for k in range(cut.pages):
            try:
                entry = cut.entry(k)
                clusters = slice(int(entry["first_cluster"]), int(entry["first_cluster"]) + int(entry["cluster_count"]))
                page = cut.page(k)
            except FormatError:  # beyond the cut
                continue
            resident[clusters] = True
            self.whole_pages += 1
            try:
                cut.sh_page(k, page)
                self.with_sh[clusters] = True
            except FormatError:
                pass
        self._limited = without_children(all_nodes, resident)

    @property
    def nodes(self) -> LayerNodes:  # type: ignore[override]
        """The tree, ending where children are not there."""
        return self._limited

    def load(self, clusters: NDArray[np.int64]) -> LoadedClusters:
        loaded = super().load(clusters)
        return replace(loaded, sh_degrees=np.where(self.with_sh[clusters], loaded.sh_degrees, 0))


def without_children(nodes: LayerNodes, resident: NDArray[np.bool_]) -> LayerNodes:
    """The nodes with no children where one of them is not resident: a cut of these is the cut of that residency."""
    inside = np.concatenate([[0], np.cumsum(resident)])
    first, count = nodes.child_first.astype(np.int64), nodes.child_count.astype(np.int64)
    last = np.minimum(first + count, len(resident))
    complete = inside[last] - inside[np.minimum(first, len(resident))] == count
    return replace(nodes, child_count=np.where(complete, nodes.child_count, 0).astype(nodes.child_count.dtype))


def first() -> list[Row]:
    """What the first 300 kB of the file, header and directory included, draw."""
    rows = []
    for scene in SCENES:
        path = data_file(scene.file)
        pages = FirstPages(lens_of(path)[0], FIRST_BYTES)
        layer = PagedLayer(pages)
        each: list[float] = []
        images: list[Image] = []
        for view, camera in enumerate(scene.cameras()):
            images.append(renderer().render([layer], camera))
            each.append(decibels(images[-1], truth(path, view, scene)))
        views = " / ".join(f"{d:.1f}" for d in each)
        detail = f"{views}; {pages.whole_pages} pages, SH in {pages.with_sh.sum()} of their clusters"
        rows.append(
            at_least(
                f"{scene.name}: first 300 kB, mean of three views",
                scene.decimation[3],
                float(np.mean(each)),
                "dB",
                detail,
            )
        )
    return rows
