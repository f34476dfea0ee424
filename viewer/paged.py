"""Clusters of a .lens layer for the headless renderer: decodes the pages a cut needs into one pool of slots."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import codec
from splatlens.viewer.layout import constant
from splatlens.viewer.lens_nodes import LayerNodes
from splatlens.viewer.lens_pages import Page, SplatsReader
from splatlens.viewer.render import LoadedClusters
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats

#: Decoded pages kept for the next picture: 64 pages of 16 clusters with SH are about 50 MB.
_KEPT_PAGES = 64


class LensPages:
    """The clusters of one layer of an open .lens file, decoded page by page when a cut asks for them."""

    def __init__(self, layer: SplatsReader) -> None:
        self.layer = layer
        self._kept: OrderedDict[int, tuple[Page, NDArray[np.uint32]]] = OrderedDict()

    @cached_property
    def nodes(self) -> LayerNodes:
        """What the cut knows of the layer's clusters, in file order. Raises FormatError."""
        return self.layer.nodes()

    @property
    def boxes(self) -> NDArray[np.float64]:
        """(C, 2, 3) least and greatest centre of each cluster."""
        return self.nodes.box

    @cached_property
    def _first(self) -> NDArray[np.int64]:
        """(P,) first cluster of each page."""
        return np.array([int(self.layer.entry(k)["first_cluster"]) for k in range(self.layer.pages)])

    def load(self, clusters: NDArray[np.int64]) -> LoadedClusters:
        """GPU words of the given clusters, ascending, one after another. Raises FormatError."""
        slot_words = constant("SLOT_WORDS")
        sh_words = codec.sh_slot_words(self.layer.sh_degree)
        slots_of = self.nodes.slots[clusters].astype(np.int64)
        slots = np.cumsum(slots_of) - slots_of
        total = int(slots_of.sum())
        words = np.zeros(total * slot_words, np.uint32)
        sh = np.zeros(total * sh_words, np.uint32)
        origins = np.zeros((len(clusters), 3), np.float32)
        pages = np.searchsorted(self._first, clusters, side="right") - 1
        for i, (cluster, number) in enumerate(zip(clusters, pages, strict=True)):
            page, page_sh = self._page(int(number))
            local = int(cluster - self._first[number])
            g = page.geometry
            start, count = int(g.first_slot[local]) * slot_words, int(g.slots[local]) * slot_words
            words[slots[i] * slot_words : slots[i] * slot_words + count] = g.words[start : start + count]
            sh[slots[i] * sh_words : (slots[i] + 1) * sh_words] = page_sh[local * sh_words : (local + 1) * sh_words]
            origins[i] = g.origins[local]
        return LoadedClusters(words, sh, slots, np.full(len(clusters), self.layer.sh_degree), origins)

    def splats(self, clusters: NDArray[np.int64]) -> Splats:
        """The given clusters, ascending, as float32 splats. Raises FormatError."""
        pages = np.searchsorted(self._first, clusters, side="right") - 1
        sh_words = codec.sh_slot_words(self.layer.sh_degree)
        parts = []
        for cluster, number in zip(clusters, pages, strict=True):
            page, page_sh = self._page(int(number))
            i = int(cluster - self._first[number])
            own = page_sh[i * sh_words : (i + 1) * sh_words] if sh_words else None
            g = page.geometry
            count = int(page.nodes.count[i])
            parts.append(codec.dequantise(g.words, int(g.first_slot[i]), count, g.origins[i], own))
        if not parts:
            return Splats.empty(SH_COEFFICIENTS.index((self.layer.sh_degree + 1) ** 2))
        return Splats.concatenate(parts)

    def _page(self, number: int) -> tuple[Page, NDArray[np.uint32]]:
        if number in self._kept:
            self._kept.move_to_end(number)
        else:
            page = self.layer.page(number)
            self._kept[number] = page, self.layer.sh_page(number, page)
            if len(self._kept) > _KEPT_PAGES:
                self._kept.popitem(last=False)
        return self._kept[number]
