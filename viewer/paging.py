"""Puts the clusters of a tree into pages: coarse first, whole sibling groups, each page below one parent page."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.lens_layout import PAGE_CLUSTERS

if TYPE_CHECKING:
    from splatlens.viewer.tree import Clusters


@dataclass(frozen=True)
class Pages:
    """C clusters of a tree in P pages. A cluster's number in the file is its place in `order`.

    order: (C,) int32, the tree's cluster at each place; page 0 begins with the root. first: (P + 1,) int32, the place
    of each page's first cluster. parent: (P,) int32, the page that holds the parents of all clusters whose parents are
    not in the page itself; -1 for page 0. error: (P,) float64, world length: the largest error of a parent of the
    page's clusters, which is what is drawn while the page is missing (page 0: the root's own). It never grows from one
    page to the next.
    """

    order: NDArray[np.int32]
    first: NDArray[np.int32]
    parent: NDArray[np.int32]
    error: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.parent)


def paginate(tree: Clusters) -> Pages:
    """Pages of at most PAGE_CLUSTERS clusters.

    Sibling groups are taken by their parent's error, largest first. A group joins its parent's page while that has
    room, else the page that was last begun below its parent's page, else it begins one. So the order is the one a
    viewer that knows nothing of the camera would refine in, and a page needs one other page to be of use.
    Packing neighbours in space instead fetched 0.88 to 1.11 times as many pages for the test views at 10 to 100%.
    """
    child_first, child_count, error = tree.child_first.tolist(), tree.child_count.tolist(), tree.error.tolist()
    pages: list[list[int]] = [[0]]
    parent, errors = [-1], [error[0]]
    page_of = {0: 0}
    # Page of the last one begun below a page.
    open_below: dict[int, int] = {}
    groups = [(-error[0], 0)] if child_count[0] else []
    while groups:
        negative, cluster = heapq.heappop(groups)
        children = range(child_first[cluster], child_first[cluster] + child_count[cluster])
        home = page_of.pop(cluster)
        candidates = (home, open_below.get(home, -1))
        page = next((p for p in candidates if p >= 0 and len(pages[p]) + len(children) <= PAGE_CLUSTERS), -1)
        if page < 0:
            page = open_below[home] = len(pages)
            pages.append([])
            parent.append(home)
            errors.append(-negative)
        pages[page] += children
        for child in children:
            if child_count[child]:
                page_of[child] = page
                heapq.heappush(groups, (-error[child], child))
    first = np.cumsum([0, *map(len, pages)], dtype=np.int32)
    order = np.array([c for p in pages for c in p], np.int32)
    return Pages(order, first, np.array(parent, np.int32), np.array(errors, np.float64))
