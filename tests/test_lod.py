"""The cut: exact cover at any residency, budget, threshold, and the same ids as static/lod.js."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splatlens.viewer.camera import Camera
from splatlens.viewer.lod import CutLayer, CutView, cut, priorities, visible

NODE_SCRIPT = Path(__file__).parent / "js" / "lod_cut.mjs"


@dataclass(frozen=True)
class Clusters:
    """Just what the cut reads, with parents, made at random."""

    sphere: np.ndarray
    error: np.ndarray
    support: np.ndarray
    child_first: np.ndarray
    child_count: np.ndarray
    count: np.ndarray
    parent: np.ndarray


def random_clusters(rng: np.random.Generator, size: int) -> Clusters:
    """A tree of about `size` clusters: children inside their parent's bounds, errors no larger than their parent's."""
    parent, depth = [-1], [0]
    child_first, child_count = [0], [0]
    at = 0
    while at < len(parent):
        if len(parent) < size and (at == 0 or rng.random() < 0.6):
            child_first[at], child_count[at] = len(parent), int(rng.integers(1, 6))
            for _ in range(child_count[at]):
                parent.append(at)
                depth.append(depth[at] + 1)
                child_first.append(0)
                child_count.append(0)
        at += 1
    n = len(parent)
    half = 4.0 / 2.0 ** np.array(depth)
    centre = np.zeros((n, 3))
    error = np.zeros(n)
    for i in range(n):
        if i:
            centre[i] = centre[parent[i]] + rng.uniform(-0.5, 0.5, 3) * half[parent[i]]
        if child_count[i]:
            # Quantised, so that ties are met.
            error[i] = np.ceil(rng.uniform(0, 4)) * (0.25 if not i else error[parent[i]] / 4)
    support = np.stack([centre - half[:, None], centre + half[:, None]], axis=1)
    sphere = np.concatenate([centre, half[:, None]], axis=1)
    count = rng.integers(1, 257, n)
    return Clusters(sphere, error, support, np.array(child_first), np.array(child_count), count, np.array(parent))


def random_camera(rng: np.random.Generator) -> Camera:
    position = rng.uniform(-6, 6, 3)
    target, fov = list(rng.uniform(-1, 1, 3)), float(rng.uniform(20, 90))
    c = Camera.look_at(list(position), target, (0.01, -1, 0.02), fov, 640, 360)
    return Camera(c.width, c.height, c.fx * 1.1, c.fy, c.cx + 31, c.cy - 17, c.world_to_camera)


def random_transform(rng: np.random.Generator) -> np.ndarray:
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    t = np.eye(4)
    t[:3, :3] = q * rng.uniform(0.2, 3)
    t[:3, 3] = rng.uniform(-2, 2, 3)
    return t


def random_residency(rng: np.random.Generator, nodes: Clusters) -> np.ndarray:
    """Whole sibling groups below resident clusters."""
    resident = np.zeros(len(nodes.error), np.bool_)
    resident[0] = rng.random() < 0.95
    for i in range(len(nodes.error)):
        a, b = int(nodes.child_first[i]), int(nodes.child_first[i] + nodes.child_count[i])
        if resident[i] and rng.random() < 0.7:
            resident[a:b] = True
    return resident


def random_layers(
    rng: np.random.Generator, count: int, size: int = 60
) -> tuple[list[CutLayer], Camera, list[np.ndarray]]:
    camera = random_camera(rng)
    layers, transforms = [], []
    for _ in range(count):
        nodes, t = random_clusters(rng, size), random_transform(rng)
        resident = random_residency(rng, nodes) if rng.random() < 0.7 else None
        layers.append(CutLayer(nodes, CutView.of_camera(camera, 0.05, t), resident))
        transforms.append(t)
    return layers, camera, transforms


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    layers=st.integers(1, 3),
    share=st.floats(0, 1.2),
    threshold=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_cut_covers_every_seen_leaf_once_at_any_residency(
    seed: int, layers: int, share: float, threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    stack, _, _ = random_layers(rng, layers)
    budget = share * sum(int(layer.nodes.count[layer.nodes.child_count == 0].sum()) for layer in stack)
    result = cut(stack, budget, threshold)
    total = 0
    for layer, ids in zip(stack, result.clusters, strict=True):
        nodes: Any = layer.nodes
        drawn = set(ids.tolist())
        assert ids.tolist() == sorted(drawn)
        total += int(nodes.count[ids].sum())
        seen = visible(nodes, layer.view)
        root = (layer.resident is None or layer.resident[0]) and seen[0]
        assert all(seen[i] for i in drawn)
        assert layer.resident is None or all(layer.resident[i] for i in drawn)
        for leaf in np.flatnonzero(nodes.child_count == 0):
            line = [int(leaf)]
            while nodes.parent[line[-1]] >= 0:
                line.append(int(nodes.parent[line[-1]]))
            times = sum(i in drawn for i in line)
            # A leaf in sight has every ancestor in sight only if their boxes contain it, which the tree promises.
            if all(seen[i] for i in line) and root:
                assert times == 1
            else:
                assert times <= 1
    assert total == result.splats
    roots = sum(int(layer.nodes.count[0]) for layer, ids in zip(stack, result.clusters, strict=True) if 0 in ids)
    assert result.splats <= max(budget, roots + sum(int(layer.nodes.count[0]) for layer in stack))


def test_cut_refines_the_largest_priority_first_and_stops_at_the_threshold() -> None:
    rng = np.random.default_rng(5)
    view = CutView.of_camera(Camera.look_at((0, 0, -20), (0, 0, 0), (0, -1, 0), 60, 64, 64))
    layer = CutLayer(random_clusters(rng, 200), view)
    order = priorities(layer.nodes, layer.view)
    everything = cut([layer], np.inf)
    inner = np.flatnonzero(layer.nodes.child_count)
    assert not set(everything.clusters[0].tolist()) & set(inner.tolist())
    some = cut([layer], np.inf, threshold=float(np.median(order[inner])))
    drawn_inner = [i for i in some.clusters[0] if layer.nodes.child_count[i]]
    assert drawn_inner
    assert max(order[i] for i in drawn_inner) < np.median(order[inner])
    assert 0 < len(some.clusters[0]) < len(everything.clusters[0])


def test_cut_never_exceeds_the_budget_once_it_holds_the_roots() -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        stack, _, _ = random_layers(rng, 2)
        roots = sum(int(layer.nodes.count[0]) for layer in stack)
        for budget in (roots, 2 * roots, 5 * roots):
            assert cut(stack, budget).splats <= budget


def test_cut_names_what_is_missing() -> None:
    rng = np.random.default_rng(7)
    nodes = random_clusters(rng, 40)
    view = CutView.of_camera(Camera.look_at((0, 0, -12), (0, 0, 0), (0, -1, 0), 60, 64, 64))
    none = np.zeros(len(nodes.error), np.bool_)
    assert cut([CutLayer(nodes, view, none)], 1e9).wanted == [(0, -1)]
    root = none.copy()
    root[0] = True
    result = cut([CutLayer(nodes, view, root)], 1e9)
    assert result.wanted == [(0, 0)]
    assert result.clusters[0].tolist() == [0]


def test_visible_keeps_every_point_inside_the_picture() -> None:
    rng = np.random.default_rng(8)
    for _ in range(50):
        nodes, camera, t = random_clusters(rng, 80), random_camera(rng), random_transform(rng)
        seen = visible(nodes, CutView.of_camera(camera, 0.05, t))
        low, high = nodes.support[:, 0], nodes.support[:, 1]
        points = low + rng.random((40, len(low), 3)) * (high - low)
        world = points @ t[:3, :3].T + t[:3, 3]
        x, y, z = np.moveaxis(world @ camera.world_to_camera[:3, :3].T + camera.world_to_camera[:3, 3], -1, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
        inside = (z > 0.05) & (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)
        assert not (inside.any(axis=0) & ~seen).any()
        assert not seen.all() or inside.any()


def test_javascript_cuts_the_same_clusters(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node, "node is needed: install Node.js 18 or later"
    rng = np.random.default_rng(9)
    cases, expected = [], []
    for _ in range(60):
        stack, camera, transforms = random_layers(rng, int(rng.integers(1, 4)), int(rng.integers(1, 400)))
        budget = float(rng.integers(0, 30_000))
        threshold = float(rng.choice([0.0, 5.0, 40.0]))
        cases.append(
            {
                "camera": {k: getattr(camera, k) for k in ("width", "height", "fx", "fy", "cx", "cy")}
                | {"worldToCamera": camera.world_to_camera.ravel().tolist()},
                "near": 0.05,
                "budget": budget,
                "threshold": threshold,
                "layers": [
                    {
                        "transform": t.ravel().tolist(),
                        "resident": None if layer.resident is None else layer.resident.astype(int).tolist(),
                        "sphere": layer.nodes.sphere.ravel().tolist(),
                        "error": layer.nodes.error.tolist(),
                        "support": layer.nodes.support.ravel().tolist(),
                        "childFirst": layer.nodes.child_first.tolist(),
                        "childCount": layer.nodes.child_count.tolist(),
                        "count": layer.nodes.count.tolist(),
                    }
                    for layer, t in zip(stack, transforms, strict=True)
                ],
            }
        )
        result = cut(stack, budget, threshold)
        expected.append(
            {
                "clusters": [c.tolist() for c in result.clusters],
                "splats": result.splats,
                "wanted": [x for pair in result.wanted for x in pair],
                "priorities": [priorities(layer.nodes, layer.view).tolist() for layer in stack],
                "planes": [layer.view.planes.ravel().tolist() for layer in stack],
            }
        )
    path = tmp_path / "cases.json"
    path.write_text(json.dumps(cases))
    run = subprocess.run([node, str(NODE_SCRIPT), str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    assert got == expected
    assert len({e["splats"] for e in expected}) > 20
    assert any(e["wanted"] for e in expected)
    with pytest.raises(AssertionError):
        assert got == expected[::-1]
