"""Levels of detail of meshes: leaves as they came, no cracks between any of them, errors that are true, small roots."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.spatial import cKDTree

from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh import Look, MeshTree, Surface, plain_look, words_of
from splatlens.viewer.mesh_build import NODE_WORDS, TEXTURED_WORDS, BuildReport, build_mesh, build_mesh_report
from splatlens.viewer.mesh_clean import MAX_EDGE
from splatlens.viewer.mesh_distance import Surfaces, apart, closest
from splatlens.viewer.mesh_footprint import touched
from splatlens.viewer.mesh_packing import pack
from splatlens.viewer.mesh_pieces import Piece
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes
from splatlens.viewer.mesh_simplify import clustered, simplified
from tests.mesh_built import PATCH, ROW, ball, levels, open_edges, patches, random_cut, torus

Floats = NDArray[np.floating]


@cache
def built(name: str) -> tuple[MeshTree, BuildReport]:
    if name == "torus":
        return build_mesh_report([torus()], plain_look())
    if name == "ball":
        return build_mesh_report([ball(rows=100)], plain_look())
    if name == "fine torus":
        return build_mesh_report([torus(around=160, across=64, width=900)], plain_look())
    surface, look = patches(side=20)
    return build_mesh_report([surface], look)


#: Bytes of all filled texels of a mesh.
ONLY = [200, 50, 100, 1, 2, 3, 254, 255]
TREES = ("torus", "fine torus", "ball", "patches")


def leaves(tree: MeshTree) -> list[Surface]:
    return [s for s, n in zip(tree.surfaces, tree.nodes.child_count, strict=True) if n == 0]


def inside(points: Floats, corners: Floats) -> NDArray[np.float64]:
    """(n, T, 3) barycentric coordinates of (n, 2) points in (T, 3, 2) triangles."""
    a, b, c = (corners[None, :, k] for k in range(3))
    area = (b - a)[..., 0] * (c - a)[..., 1] - (b - a)[..., 1] * (c - a)[..., 0]
    p = points[:, None]

    def part(q: Floats, r: Floats) -> NDArray[np.float64]:
        return np.asarray(((q - p)[..., 0] * (r - p)[..., 1] - (q - p)[..., 1] * (r - p)[..., 0]) / area)

    return np.stack([part(b, c), part(c, a), part(a, b)], axis=-1)


def test_leaves_show_every_filled_texel_unchanged() -> None:
    """At random points of all quads: what the source's nearest texel says, filled or empty, a leaf says too."""
    surface, look = patches(side=12)
    tree = build_mesh([surface], look)
    rng = np.random.default_rng(5)
    assert surface.uvs is not None and surface.texels is not None
    t = rng.integers(0, len(surface.triangles), 6000)
    weights = rng.dirichlet([1, 1, 1], len(t))
    corners = surface.triangles[t]
    at = np.einsum("nk,nkc->nc", weights, surface.positions[corners].astype(np.float64))
    uv = np.einsum("nk,nkc->nc", weights, surface.uvs[corners].astype(np.float64))
    clear = (np.abs(uv - np.rint(uv)) > 0.005).all(axis=1)  # not at a border of texels
    at, uv = at[clear], uv[clear]
    want = surface.texels[np.floor(uv[:, 1]).astype(int), np.floor(uv[:, 0]).astype(int)]
    seen = np.zeros((len(at), 8), np.uint8)
    for leaf in leaves(tree):
        assert leaf.uvs is not None and leaf.texels is not None
        # The sheet is a graph over x and y, and these are linear in a quad: it is enough to look from above.
        w = inside(at[:, :2], leaf.positions[leaf.triangles][..., :2].astype(np.float64))
        point, triangle = np.nonzero((w > 1e-9).all(axis=2))
        uvs = np.einsum("nk,nkc->nc", w[point, triangle], leaf.uvs[leaf.triangles[triangle]].astype(np.float64))
        got = leaf.texels[np.floor(uvs[:, 1]).astype(int), np.floor(uvs[:, 0]).astype(int)]
        assert np.array_equal(got[got[:, 0] > 0], want[point][got[:, 0] > 0])
        seen[point] = np.maximum(seen[point], got)
    filled = want[:, 0] > 0
    assert 0.2 < filled.mean() < 0.8
    assert np.array_equal(seen[filled], want[filled])
    assert not seen[~filled].any()


def test_leaves_of_linear_textures_interpolate_the_same() -> None:
    surface, tree = torus(), built("torus")[0]
    assert surface.uvs is not None and surface.texels is not None
    rows = {surface.positions[t].tobytes(): i for i, t in enumerate(surface.triangles)}
    assert len(rows) == len(surface.triangles) == sum(len(leaf.triangles) for leaf in leaves(tree))
    rng = np.random.default_rng(1)
    for leaf in leaves(tree):
        assert leaf.uvs is not None and leaf.texels is not None
        row = np.array([rows[leaf.positions[t].tobytes()] for t in leaf.triangles])
        weights = rng.dirichlet([1, 1, 1], len(row))
        want = np.einsum("nk,nkc->nc", weights, surface.uvs[surface.triangles[row]].astype(np.float64))
        got = np.einsum("nk,nkc->nc", weights, leaf.uvs[leaf.triangles].astype(np.float64))
        assert np.abs(linear(leaf.texels, got) - linear(surface.texels, want)).max() < 0.1  # steps of a byte


def linear(texels: NDArray[np.uint8], uvs: Floats) -> NDArray[np.float64]:
    low = np.floor(uvs - 0.5).astype(int)
    part = uvs - 0.5 - low
    out = np.zeros((len(uvs), texels.shape[2]))
    for dy in (0, 1):
        for dx in (0, 1):
            y, x = np.clip(low[:, 1] + dy, 0, len(texels) - 1), np.clip(low[:, 0] + dx, 0, texels.shape[1] - 1)
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            out += weight[:, None] * texels[y, x]
    return out


@pytest.mark.parametrize("name", ["fine torus", "ball"])
def test_any_cut_of_a_closed_mesh_is_closed(name: str) -> None:
    tree = built(name)[0]
    rng = np.random.default_rng(0)
    cuts = [random_cut(tree.nodes, rng, share) for share in (0.2, 0.5, 0.8, 0.9, 1.0) for _ in range(3)]
    assert len({tuple(c) for c in cuts}) > 3
    assert [open_edges(tree, c) for c in cuts] == [0] * len(cuts)


def test_no_background_shows_through_a_mixed_cut() -> None:
    tree = built("ball")[0]
    camera = Camera.look_at((1.5, 1.1, -1.2), (0, 0, 0), (0, 1, 0), 50, 120, 90)
    rng = np.random.default_rng(2)
    for share in (0.5, 0.8):
        cut = [0]
        while len(set(levels(tree.nodes)[cut])) < 2:
            cut = random_cut(tree.nodes, rng, share)
        drawn = draw_meshes([DrawnMesh([tree.surfaces[i] for i in cut], tree.look, np.eye(4))], camera, RenderOptions())
        covered = drawn.color[..., 3] > 0
        assert covered.sum() > 3000
        assert np.array_equal(binary_fill_holes(covered), covered)


@pytest.mark.parametrize("name", TREES)
def test_nodes_are_a_tree_that_can_be_cut_and_paged(name: str) -> None:
    tree, report = built(name)
    nodes = tree.nodes
    n = len(tree.surfaces)
    parent = np.full(n, -1)
    for i in range(n):
        kids = np.arange(nodes.child_first[i], nodes.child_first[i] + nodes.child_count[i])
        assert len(kids) <= 16 and (len(kids) == 0 or kids[0] > i)
        parent[kids] = i
        assert len(kids) == 0 or nodes.error[i] > 0
        assert (nodes.error[kids] <= nodes.error[i]).all()
        assert len(set(nodes.page[kids])) <= 1
        held = [tree.surfaces[i].positions]
        below = list(kids)
        while below:
            k = below.pop()
            held.append(tree.surfaces[k].positions)
            below += range(nodes.child_first[k], nodes.child_first[k] + nodes.child_count[k])
        points = np.concatenate(held).astype(np.float64)
        assert (points >= nodes.support[i, 0]).all() and (points <= nodes.support[i, 1]).all()
        far = np.linalg.norm(points - nodes.sphere[i, :3], axis=1).max()
        assert far <= nodes.sphere[i, 3] * (1 + 1e-9)
    assert parent[0] == -1 and (parent[1:] >= 0).all()
    assert (nodes.error[nodes.child_count == 0] == 0).all()
    assert nodes.page[0] == 0 and sorted(set(nodes.page)) == list(range(int((nodes.child_count > 0).sum()) + 1))
    assert nodes.words.tolist() == [words_of(s) for s in tree.surfaces]
    assert nodes.count.tolist() == [len(s.triangles) for s in tree.surfaces]
    assert nodes.words.max() <= NODE_WORDS and max(len(s.positions) for s in tree.surfaces) <= 1 << 16
    assert report.triangles <= nodes.count[nodes.child_count == 0].sum()


def test_errors_are_not_less_than_the_deviation() -> None:
    """Of a ball, every point of a node is as far from the sphere as its radius says."""
    tree = built("ball")[0]
    rng = np.random.default_rng(3)

    def deviation(s: Surface) -> float:
        corners = s.positions[s.triangles].astype(np.float64)
        weights = rng.dirichlet([1, 1, 1], (len(corners), 4))
        return float(np.abs(np.linalg.norm(np.einsum("tsk,tkc->tsc", weights, corners), axis=2) - 1).max())

    full = max(deviation(leaf) for leaf in leaves(tree))
    inner = [i for i in range(len(tree.surfaces)) if tree.nodes.child_count[i]]
    for i in inner:
        assert full < deviation(tree.surfaces[i]) <= tree.nodes.error[i] + full


@pytest.mark.parametrize(("name", "times"), [("ball", 6), ("fine torus", 2)])
def test_levels_become_smaller(name: str, times: float) -> None:
    """A seam that goes through the whole mesh keeps its vertices: the torus becomes smaller more slowly."""
    nodes = built(name)[0].nodes
    level = levels(nodes)
    assert level.max() >= 2
    for held in (nodes.count, nodes.words):
        total = np.bincount(level, held)
        assert (total[:-1] * times < total[1:]).all()


def test_texels_that_nothing_touches_take_no_memory() -> None:
    surface, _ = patches(side=20)
    tree, report = built("patches")
    assert surface.texels is not None
    quads = len(np.unique(surface.triangles // 4))
    held = sum(leaf.texels.shape[0] * leaf.texels.shape[1] for leaf in leaves(tree) if leaf.texels is not None)
    assert report.texels < held < 0.6 * quads * PATCH**2
    whole = int(tree.nodes.words.sum())
    assert whole < 2 * quads * PATCH**2  # two words a texel: all levels, with their triangles
    assert report.empty > 0
    empty = [leaf.texels[leaf.texels[..., 0] == 0] for leaf in leaves(tree) if leaf.texels is not None]
    assert not np.concatenate(empty).any()


def test_reduced_texels_count_only_what_is_there() -> None:
    surface, look = patches(side=20)
    assert surface.texels is not None
    texels = np.where(surface.texels[..., :1] > 0, np.array(ONLY, np.uint8), 0)
    texels[..., 1] |= np.where(texels[..., 0] == 0, 99, 0).astype(np.uint8)  # what an empty one says is nothing
    tree = build_mesh([replace(surface, texels=texels.astype(np.uint8))], look)
    reduced = [s.texels for i, s in enumerate(tree.surfaces) if tree.nodes.child_count[i] and s.texels is not None]
    assert reduced
    for atlas in reduced:
        filled = atlas[..., 0] > 0
        assert filled.any() and (atlas[filled] == ONLY).all()
        assert not atlas[~filled].any()


def test_vertex_bytes_keep_the_coverage_and_the_colours() -> None:
    """Where quads hang together nowhere, the root has vertex bytes, triangles of the filled texels' area."""
    surface, look = patches(side=28, halves=0.0)
    tree = build_mesh([surface], look)
    root = tree.surfaces[0]
    assert root.values is not None and surface.texels is not None
    assert words_of(root) <= NODE_WORDS
    texels = surface.texels[: -(-784 // ROW) * PATCH]
    corners = root.positions[root.triangles].astype(np.float64)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum() / 2
    whole = surface.positions[surface.triangles].astype(np.float64)
    total = np.linalg.norm(np.cross(whole[:, 1] - whole[:, 0], whole[:, 2] - whole[:, 0]), axis=1).sum() / 2
    share = (texels[..., 0] > 0).sum() / (784 * PATCH**2)
    assert area / total == pytest.approx(share, rel=0.1)
    filled = texels[texels[..., 0] > 0].astype(float).mean(axis=0)
    assert np.abs(root.values.astype(float).mean(axis=0) - filled).max() < 12


def test_what_draws_nothing_is_dropped_and_counted() -> None:
    one = ball(rows=8)
    extra = np.array([[0, 0, 5], [3, 3, 3], [5, 4, 5]], np.int32)  # three of no area
    bad = Surface(
        np.concatenate([one.positions, np.full((4, 3), np.nan, np.float32)]),  # that no triangle uses
        np.concatenate([one.triangles, extra]),
        values=np.concatenate([one.values, np.zeros((4, 3), np.uint8)]) if one.values is not None else None,
    )
    tree, report = build_mesh_report([bad], plain_look())
    assert report == BuildReport(degenerate=3, empty=0, triangles=len(one.triangles), texels=0)
    assert len(tree.surfaces) == 1 and len(tree.surfaces[0].positions) == len(one.positions)
    assert np.isfinite(tree.surfaces[0].positions).all()


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (lambda s: replace(s, positions=np.where(np.arange(len(s.positions))[:, None] == 7, np.nan, s.positions)),
         "mesh: 1 positions are not finite numbers, the first is vertex 7"),
        (lambda s: replace(s, uvs=np.where(np.arange(len(s.uvs))[:, None] == 3, np.inf, s.uvs)),
         "mesh: 1 uvs are not numbers below 1048576, the first is vertex 3"),
        (lambda s: replace(s, uvs=s.uvs * np.float32(3e3)),
         "mesh: its triangles cover 2.91e+11 texels, too many; are its uvs in texels?"),
        (lambda s: replace(s, uvs=s.uvs[:-1]), "mesh: uvs (3976, 2) for 3977 vertices"),
        (lambda s: replace(s, texels=s.texels[..., :2]), "mesh carries 2 channels; its look has 3"),
        (lambda s: replace(s, texels=s.texels[:0]), "mesh: texels (0, 256, 3); expected (height, width, channels)"),
        (lambda s: replace(s, triangles=s.triangles[:0]),
         "mesh: there is nothing to draw (0 triangles have no area, 0 only empty texels)"),
    ],
)  # fmt: skip
def test_meshes_that_cannot_be_drawn_are_refused(broken: Callable[[Surface], Surface], says: str) -> None:
    with pytest.raises(LensError) as refused:
        build_mesh([broken(torus())], plain_look())
    assert str(refused.value) == says


def test_the_same_mesh_twice_is_the_same_tree() -> None:
    surface, look = patches(side=12)
    one, two = (build_mesh([surface], look) for _ in range(2))
    for a, b in zip(one.surfaces, two.surfaces, strict=True):
        for name in ("positions", "triangles", "uvs", "texels", "values"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None) and (x is None or np.array_equal(x, y))
    assert np.array_equal(one.nodes.error, two.nodes.error) and np.array_equal(one.nodes.sphere, two.nodes.sphere)


def test_progress_goes_from_0_to_1() -> None:
    told: list[float] = []
    build_mesh([torus()], plain_look(), told.append)
    assert told[0] == 0 and told[-1] == 1 and told == sorted(told) and len(told) > 4


def box(width: int) -> tuple[Surface, Look]:
    """A closed box of twelve triangles, with `width` texels along one of its six squares and 8 along the others."""
    faces, uvs, texels, x = [], [], np.zeros((width, width + 5 * 8, 3), np.uint8), 0
    for axis in range(3):
        for side in (0, 1):
            e = np.roll(np.eye(3), axis, axis=0)
            faces.append(e[0] * side + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) @ e[1:])
            n = width if not faces[1:] else 8
            square = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
            uvs.append(square * (n - 1) + 0.5 + np.array([x, 0]))
            texels[:n, x : x + n] = np.random.default_rng(axis).integers(0, 255, (n, n, 3))
            x += n
    t = np.concatenate([np.array([[0, 1, 2], [0, 2, 3]]) + 4 * k for k in range(6)])
    p, uv = np.concatenate(faces).astype(np.float32), np.concatenate(uvs).astype(np.float32)
    return Surface(p, t.astype(np.int32), uvs=uv, texels=texels), plain_look()


def test_large_triangles_are_cut_without_cracks() -> None:
    surface, look = box(500)
    tree = build_mesh([surface], look)
    assert len(leaves(tree)) > 8
    assert tree.nodes.words.max() < 2 * TEXTURED_WORDS
    longest = max(float(np.linalg.norm(s.uvs[s.triangles] - np.roll(s.uvs[s.triangles], 1, axis=1), axis=2).max())
                  for s in leaves(tree) if s.uvs is not None)  # fmt: skip
    assert longest <= MAX_EDGE
    rng = np.random.default_rng(0)
    assert [open_edges(tree, random_cut(tree.nodes, rng, share)) for share in (0.0, 0.5, 0.9, 1.0)] == [0] * 4


def test_a_palette_is_a_texture_too() -> None:
    """All corners of a triangle at one texel: nothing to interpolate, and next to nothing to hold."""
    one = ball(rows=64)
    z = one.positions[one.triangles, 2].mean(axis=1)
    uvs = np.repeat(np.stack([np.where(z > 0, 1.5, 6.5), np.full(len(z), 2.5)], 1), 3, axis=0).astype(np.float32)
    texels = np.zeros((4, 8, 3), np.uint8)
    texels[2, 1], texels[2, 6] = (250, 10, 20), (5, 200, 30)
    t = np.arange(3 * len(z), dtype=np.int32).reshape(-1, 3)
    surface = Surface(one.positions[one.triangles.ravel()], t, uvs=uvs, texels=texels)
    tree = build_mesh([surface], plain_look(filter="nearest"))
    for leaf in leaves(tree):
        assert leaf.texels is not None and leaf.texels.size <= 3 * 8
        assert {tuple(c) for c in leaf.texels.reshape(-1, 3).tolist()} <= {(250, 10, 20), (5, 200, 30), (0, 0, 0)}
    rng = np.random.default_rng(0)
    assert [open_edges(tree, random_cut(tree.nodes, rng, share)) for share in (0.0, 0.5, 1.0)] == [0] * 3


def test_meshes_of_both_kinds_share_a_tree() -> None:
    tree, report = build_mesh_report([ball(rows=48), torus()], plain_look())
    assert tree.surfaces[0].values is not None and report.texels == 256 * 128
    assert sorted({s.texels is None for s in leaves(tree)}) == [False, True]
    rng = np.random.default_rng(0)
    assert [open_edges(tree, random_cut(tree.nodes, rng, share)) for share in (0.0, 0.5, 0.9, 1.0)] == [0] * 4


@pytest.mark.parametrize(("filter", "near", "far"), [("nearest", 0.499, 0.503), ("linear", 0.999, 1.0)])
def test_the_texels_of_triangles(filter: str, near: float, far: float) -> None:
    """All texels whose square a point of the triangle is in, and no others: against points sampled densely."""
    rng = np.random.default_rng(4)
    size = np.array([0.2, 1, 4])[np.arange(12) % 3, None, None]
    corners = rng.uniform(-3, 3, (12, 1, 2)) + rng.uniform(-1, 1, (12, 3, 2)) * size
    corners[0] = corners[0, 0]  # a point
    corners[1, 2] = corners[1, 0] * 0.25 + corners[1, 1] * 0.75  # a line
    got: list[set[tuple[int, int]]] = [set() for _ in corners]
    for triangle, x, y in touched(corners, filter):
        for t, *texel in zip(triangle.tolist(), x.tolist(), y.tolist(), strict=True):
            got[t].add((texel[0], texel[1]))
    side = np.linspace(0, 1, 200)
    u, v = (a.ravel() for a in np.meshgrid(side, side))
    weights = np.stack([1 - u - v, u, v], axis=1)[u + v <= 1 + 1e-12]
    x, y = (a.ravel() for a in np.meshgrid(np.arange(-9, 9), np.arange(-9, 9)))
    for texels, triangle in zip(got, corners, strict=True):
        points = weights @ triangle
        off = cKDTree(points).query(np.stack([x, y], axis=1) + 0.5, p=np.inf)[0]
        sure, never = off < near, off > far + 0.05  # points lie up to 0.05 apart
        assert {(i, j) for i, j in zip(x[sure].tolist(), y[sure].tolist(), strict=True)} <= texels
        assert not {(i, j) for i, j in zip(x[never].tolist(), y[never].tolist(), strict=True)} & texels


def test_locked_vertices_stay_in_the_middle_of_a_surface_too() -> None:
    """Where another node only touches this one in a point, there is no border to tell it."""
    one = ball(rows=40)
    places = np.arange(len(one.positions))
    piece = Piece(one.positions, one.triangles.astype(np.int64), places, values=one.values)
    locked = np.random.default_rng(6).random(len(places)) < 0.02
    small = simplified(piece, locked, len(one.triangles) // 8)
    assert len(small.triangles) < len(one.triangles) / 2
    assert set(np.flatnonzero(locked)) <= set(small.place.tolist())
    assert np.array_equal(small.positions[small.place >= 0], one.positions[small.place[small.place >= 0]])
    ends = np.sort(np.stack([small.triangles, np.roll(small.triangles, 1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    assert (np.unique(ends, axis=0, return_counts=True)[1] % 2 == 0).all()


def test_clusters_leave_locked_triangles_as_they_are() -> None:
    one = ball(rows=40)
    places = np.arange(len(one.positions))
    piece = Piece(one.positions, one.triangles.astype(np.int64), places, values=one.values)
    locked = one.positions[:, 2] > 0.5
    coarse = clustered(piece, locked, 0.3)
    assert len(coarse.triangles) < len(one.triangles) * 0.6
    held = {tuple(sorted(t)) for t in coarse.place[coarse.triangles].tolist()}
    cap = piece.triangles[locked[piece.triangles].all(axis=1)]
    assert len(cap) > 500 and {tuple(sorted(t)) for t in cap.tolist()} <= held
    # Around them there is no gap: each edge of the border between the two has two triangles.
    ends = np.sort(np.stack([coarse.triangles, np.roll(coarse.triangles, 1, axis=1)], axis=2).reshape(-1, 2), axis=1)
    edge, count = np.unique(ends, axis=0, return_counts=True)
    assert (count[np.isin(coarse.place[edge], np.flatnonzero(locked)).all(axis=1)] == 2).all()


def test_halves_of_patches_close_up_in_the_atlas() -> None:
    """Two triangles of 17 x 17 texels are packed into 17 x 18, where rectangles take twice as much."""
    k = np.arange(17)
    upper, lower = np.stack([0 * k, k]), np.stack([k, 0 * k + 16])
    x, y, width, height = pack([upper, lower] * 32, (np.full(64, 17), np.full(64, 17)))
    used = 64 * 17 * 18 // 2
    assert used <= width * height < 1.15 * used
    taken = np.zeros((height, width), int)
    for i, chart in enumerate([upper, lower] * 32):
        for c in range(17):
            taken[y[i] + chart[0, c] : y[i] + chart[1, c] + 1, x[i] + c] += 1
    assert taken.max() == 1 and taken.sum() == used


def test_closest_points_and_distances_of_surfaces() -> None:
    a, b, c = (np.tile(np.array([p], float), (4, 1)) for p in ((0, 0, 0), (2, 0, 0), (0, 2, 0)))
    points = np.array([[0.5, 0.5, 3], [-1, -1, 0], [1, -2, 0], [2, 2, 1]], float)
    weights, distance = closest(points, a, b, c)
    assert distance == pytest.approx([3, 2**0.5, 2, 3**0.5])
    assert weights == pytest.approx(np.array([[0.5, 0.25, 0.25], [1, 0, 0], [0.5, 0.5, 0], [0, 0.5, 0.5]]))
    one = ball(rows=24)
    larger = Surfaces(one.positions * np.float32(1.1), one.triangles.astype(np.int64))
    assert apart(larger, Surfaces(one.positions, one.triangles.astype(np.int64))) == pytest.approx(0.1, rel=0.05)
