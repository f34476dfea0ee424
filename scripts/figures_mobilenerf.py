"""Figures of a real MobileNeRF shard: its picture beside the method's own math, its bytes, its texels one by one."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
from figures_base import ROOT, Row, at_least, at_most, data_file, lens_of, reported
from numpy.typing import NDArray
from scipy.spatial import cKDTree

import splatlens
from splatlens.converters.obj_triangles import read_triangles
from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import MeshTree

sys.path.insert(0, str(ROOT / "tests"))

from reference import mobilenerf as official

F64 = NDArray[np.float64]
SHARD, SIZE, FOV = 2, (480, 360), 39.0
#: Positions and targets: the shard is a third of its scene, in crumbs, so from near.
POSES = (((0.1, -0.5, -0.45), (0.34, -0.76, -0.72)), ((0.42, -0.6, -0.02), (0.35, -0.76, -0.13)),
         ((0.5, -0.52, -0.5), (0.3, -0.77, -0.75)))  # fmt: skip
#: Depths within a share of this of each other are no silhouette.
NEAR = 0.02
#: Points nearer than this are one texel's middle, scene units: texels are 0.001 wide and coordinates have 6 decimals.
SAME = 2e-5
#: Texels that a middle may lie outside of a triangle and still be on its edge: 6 decimals of 4096 are off by 0.002.
EDGE = 0.02


@cache
def folder() -> Path:
    return data_file("mobilenerf_poster/mlp.json").parent


@cache
def poster() -> splatlens.Scene:
    return splatlens.open(lens_of(folder())[0])


def rows() -> list[Row]:
    """Pictures, bytes, texels."""
    return [*pictures(), *sizes(), *texels()]


def pictures() -> list[Row]:
    """Three poses against float64 NumPy that reads the source files itself."""
    scene = poster()
    inside, whole, kept, covered = [], [], [], []
    for position, target in POSES:
        camera = Camera.look_at(position, target, (0, 1, 0), FOV, *SIZE)
        want = official.render(folder(), [SHARD], camera.world_to_camera, camera.fy, SIZE)
        got = scene.render(camera, background=(1, 1, 1))[..., :3]
        mask = want.inside(NEAR)
        inside.append(_decibels(got[mask], want.color[mask]))
        whole.append(_decibels(got, want.color))
        kept.append(float(mask.mean()))
        covered.append(float(np.isfinite(want.depth).any(axis=2).mean()))
    share = f"{_percent(kept)} of the pixels kept, {_percent(covered)} show anything"
    what = "MobileNeRF poster, three poses beside the method's own math, away from silhouettes: least"
    detail = f"{', '.join(f'{d:.1f}' for d in inside)} dB; {share}"
    return [
        at_least(what, 40, min(inside), "dB", detail),
        reported("the same, all pixels, silhouettes as the method's viewer blends them",
                 ", ".join(f"{d:.1f}" for d in whole) + " dB"),
    ]  # fmt: skip


def sizes() -> list[Row]:
    """The .lens beside the source files."""
    made, report = lens_of(folder())
    files = [folder() / "mlp.json", *folder().glob(f"shape{SHARD}.*")]
    given = sum(file.stat().st_size for file in files)
    share = 100 * made.stat().st_size / given
    detail = f"{made.stat().st_size:,} of {given:,} bytes; {report['processor_seconds']:.0f} s of processor time"
    what = "MobileNeRF poster as .lens, all levels of detail: share of its source files"
    return [at_most(what, 60, share, "%", detail)]


def texels() -> list[Row]:
    """Texels of the source found again in the leaves of the file, and what they take on the GPU."""
    (tree,) = poster()._meshes.values()
    mesh = read_triangles(folder() / f"shape{SHARD}.obj")
    image = official.read_shard(folder(), SHARD).features
    height, width = image.shape[:2]
    uvs = np.stack([mesh.uvs[:, 0] * width, (1 - mesh.uvs[:, 1]) * height], axis=1)
    places, cells = middles(mesh.positions[mesh.triangles], uvs[mesh.triangles])
    values = image[cells[:, 1], cells[:, 0]]
    seen = values[:, 0] > 0
    leaves = np.flatnonzero(tree.nodes.child_count == 0)
    found, stored = leaf_texels(tree, leaves)
    near = cKDTree(found).query_ball_point(places[seen], SAME)
    same = sum(any((stored[j] == value).all() for j in js) for js, value in zip(near, values[seen], strict=True))
    count = int(np.count_nonzero(seen))
    reached = np.unique(cells[:, 1] * width + cells[:, 0])
    filled = int((image[reached // width, reached % width, 0] > 0).sum())
    taken = sum(int(tree.surfaces[int(n)].texels.size) for n in leaves if tree.surfaces[int(n)].texels is not None)
    every = 4 * int(tree.nodes.words.sum())
    needed = len(reached) * 8 / 1e6
    detail = f"{filled:,} filled ones of {len(reached):,} take {filled * 8 / 1e6:.2f} MB; two 4096-square images 134 MB"
    return [
        Row("MobileNeRF poster: filled texels of the source that are in the .lens where they were, byte for byte",
            "all", f"{same:,} of {count:,}", same == count),
        at_most("MobileNeRF poster: texels on the GPU at full detail", round(needed, 2), taken / 1e6, "MB", detail),
        reported("MobileNeRF poster: words of all nodes of all levels", f"{every / 1e6:.2f} MB"),
    ]  # fmt: skip


def middles(corners: F64, uvs: F64) -> tuple[F64, NDArray[np.int64]]:
    """(N, 3) where the middles of texels lie that are inside of triangles, edges included, and (N, 2) which texels."""
    places, cells = [], []
    for points, uv in zip(corners, uvs, strict=True):
        low, high = np.floor(uv.min(axis=0)).astype(int), np.floor(uv.max(axis=0)).astype(int)
        x, y = (a.ravel() for a in np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1)))
        system = np.concatenate([uv.T, np.ones((1, 3))])
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        weights = np.linalg.solve(system, np.stack([x + 0.5, y + 0.5, np.ones(len(x))]))
        # Patches reach from middle to middle, so edges count: by distance, in texels, as pieces of triangles are small.
        sides = np.linalg.norm(np.roll(uv, -1, axis=0) - np.roll(uv, 1, axis=0), axis=1)
        rows = (weights * abs(np.linalg.det(system)) > -EDGE * sides[:, None]).all(axis=0)
        places.append(weights[:, rows].T @ points)
        cells.append(np.stack([x[rows], y[rows]], axis=1))
    return np.concatenate(places), np.concatenate(cells)


def leaf_texels(tree: MeshTree, leaves: NDArray[np.int64]) -> tuple[F64, NDArray[np.uint8]]:
    """Middles of the leaves' texels and their bytes."""
    places, values = [], []
    for n in leaves:
        surface = tree.surfaces[int(n)]
        assert surface.uvs is not None and surface.texels is not None, "a leaf without texels"
        corners = surface.positions.astype(np.float64)[surface.triangles]
        at, cells = middles(corners, surface.uvs.astype(np.float64)[surface.triangles])
        inside = np.clip(cells, 0, np.array(surface.texels.shape[1::-1]) - 1)
        places.append(at)
        values.append(surface.texels[inside[:, 1], inside[:, 0]])
    return np.concatenate(places), np.concatenate(values)


def _decibels(got: NDArray[np.floating], want: F64) -> float:
    return float(-10 * np.log10(np.mean((np.asarray(got, np.float64) - want) ** 2)))


def _percent(shares: list[float]) -> str:
    return "/".join(f"{100 * s:.1f}" for s in shares) + "%"
