"""Pages: whole sibling groups, at most 16 clusters, one parent page, coarse first."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from splatlens.viewer.lens_layout import PAGE_CLUSTERS
from splatlens.viewer.paging import Pages, paginate
from splatlens.viewer.tree import Tree, build_tree
from tests.lens_scenes import random_splats, random_tree


def page_of(pages: Pages) -> np.ndarray:
    """(C,) page of each of the tree's clusters."""
    out = np.empty(len(pages.order), np.int64)
    out[pages.order] = np.repeat(np.arange(len(pages)), np.diff(pages.first))
    return out


def check(tree: Tree, pages: Pages) -> None:
    assert sorted(pages.order.tolist()) == list(range(len(tree))), "every cluster in one page"
    assert pages.order[0] == 0, "the root comes first"
    sizes = np.diff(pages.first)
    assert pages.first[0] == 0 and sizes.min() >= 1 and sizes.max() <= PAGE_CLUSTERS
    page, place = page_of(pages), np.argsort(pages.order)
    for c in np.flatnonzero(tree.child_count):
        kids = np.arange(tree.child_first[c], tree.child_first[c] + tree.child_count[c])
        assert len(set(page[kids])) == 1, "siblings share a page"
        assert (np.diff(place[kids]) == 1).all(), "and keep their order, one after another"
        assert page[kids[0]] in (page[c], *np.flatnonzero(pages.parent == page[c])), "below their parents' page"
        assert place[kids[0]] > place[c]
    below = pages.parent[1:]
    assert pages.parent[0] == -1 and (below < np.arange(1, len(pages))).all() and (below >= 0).all()
    assert (np.diff(pages.error) <= 0).all(), "coarse first"
    for k in range(1, len(pages)):
        parents = tree.parent[pages.order[pages.first[k] : pages.first[k + 1]]]
        outside = parents[page[parents] != k]
        assert pages.error[k] == tree.error[outside].max()
        assert (page[outside] == pages.parent[k]).all(), "of one subtree"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(0, 2**32 - 1), st.integers(1, 16))
def test_random_trees(clusters: int, seed: int, children: int) -> None:
    tree = random_tree(clusters, seed, children=children, rows=1)
    check(tree, paginate(tree))


def test_one_cluster() -> None:
    pages = paginate(random_tree(1))
    assert pages.order.tolist() == [0] and pages.first.tolist() == [0, 1] and pages.parent.tolist() == [-1]


def test_real_tree_fills_its_pages() -> None:
    tree = build_tree(random_splats(20_000))
    pages = paginate(tree)
    check(tree, pages)
    # 4 to one groups fill 16 to 13 on the real scenes; a page half empty costs a request.
    assert len(tree) / len(pages) > 0.6 * PAGE_CLUSTERS


def test_same_tree_same_pages() -> None:
    tree = random_tree(200, 7)
    a, b = paginate(tree), paginate(tree)
    assert all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("order", "first", "parent", "error"))
