"""Float64 rasteriser of triangles: which one each sample's ray meets first. What mesh_raster.wgsl is compared with.

Homogeneous edge functions (Olano and Greer 1997): a ray d through a sample meets the triangle a, b, c where
d.(b x c), d.(c x a) and d.(a x b) have one sign, at the view depth det / (their sum). Nothing is divided by a vertex's
depth, so triangles across the near plane, or around the camera, need no clipping.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import Look, Surface

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

#: Hits this much farther than the nearest one, relative, are still told (Samples.gap).
GAP = 1e-4
#: Pixels from a triangle's edge within which Samples.edge tells the distance.
EDGE = 1 / 16
_TILE = 32  # a large triangle is tried in blocks of 32 x 32 samples, those that it does not touch left out
_PAIRS = 1 << 20  # (triangle, sample) pairs tried at once: some 200 MB


@dataclass(frozen=True)
class DrawnMesh:
    """A mesh layer as a frame draws it: the surfaces of its cut, how they look, world-from-layer (4, 4)."""

    surfaces: Sequence[Surface]
    look: Look
    transform: F64


@dataclass(frozen=True)
class Soup:
    """All triangles of a frame, in the order (mesh, surface, triangle).

    corners (T, 3, 3): view coordinates. mesh, surface, row (T,): mesh, surface of all meshes' and triangle in it.
    """

    corners: F64
    mesh: I64
    surface: I64
    row: I64


@dataclass(frozen=True)
class Samples:
    """What n samples a pixel see: (height, width, n, ...), the samples row by row.

    triangle: row of the Soup, -1 for none. weights (..., 3): of its corners, in space, their sum 1. depth: view z,
    infinite for none. How near each sample is to being something else: edge, pixels to the boundary of a triangle that
    is or would be the nearest; gap, (depth of the second hit) / depth - 1; texel, texels to the border of one that is
    seen or was found empty. All three are infinite or large where there is nothing to say.
    """

    soup: Soup
    triangle: I64
    weights: F64
    depth: F64
    edge: F64
    gap: F64
    texel: F64


def soup_of(meshes: Sequence[DrawnMesh], camera: Camera) -> Soup:
    """The triangles as the camera sees them."""
    corners, numbers = [np.zeros((0, 3, 3))], [np.zeros((0, 3), np.int64)]
    count = 0
    for m, one in enumerate(meshes):
        view = camera.world_to_camera @ one.transform
        eye = -np.linalg.solve(view[:3, :3], view[:3, 3])
        for s in one.surfaces:
            seen = (s.positions.astype(np.float64) - eye) @ view[:3, :3].T
            corners.append(seen[s.triangles])
            rows = np.arange(len(s.triangles))
            numbers.append(np.stack([np.full_like(rows, m), np.full_like(rows, count), rows], axis=1))
            count += 1
    return Soup(np.concatenate(corners), *np.concatenate(numbers).T)


class Texels:
    """Where the texels of all surfaces lie, one after the other, and which of them are empty."""

    def __init__(self, meshes: Sequence[DrawnMesh], soup: Soup) -> None:
        self.soup = soup
        surfaces = [(s, one.look) for one in meshes for s in one.surfaces]
        shapes = [(0, 0) if s.texels is None else s.texels.shape[:2] for s, _ in surfaces]
        self.size = np.array([(w, h) for h, w in shapes], np.int64).reshape(-1, 2)
        area = self.size.prod(axis=1)
        self.first = np.cumsum(area) - area
        self.there = np.ones(int(area.sum()), bool)
        uvs = [np.zeros((0, 3, 2))]
        for (s, look), start, n in zip(surfaces, self.first, area, strict=True):
            if s.texels is None or s.uvs is None:
                uvs.append(np.full((len(s.triangles), 3, 2), np.nan))
                continue
            uvs.append(s.uvs.astype(np.float64)[s.triangles])
            if look.empty is not None:
                self.there[start : start + n] = s.texels[..., look.empty].ravel() > 0
        self.uvs = np.concatenate(uvs)

    def at(self, triangle: I64, weights: F64) -> F64:
        """(N, 2) uv of points of triangles; NaN where the triangle's bytes are its vertices'."""
        return np.asarray(np.einsum("nk,nkc->nc", weights, self.uvs[triangle]))

    def found(self, triangle: I64, weights: F64) -> tuple[NDArray[np.bool_], F64]:
        """Whether the nearest texel is there (N,), and the distance to the next one's border (N,), texels."""
        uv = self.at(triangle, weights)
        surface = self.soup.surface[triangle]
        textured = ~np.isnan(uv[:, 0])
        there, border = np.ones(len(uv), bool), np.full(len(uv), np.inf)
        uv, surface = uv[textured], surface[textured]
        cell = np.clip(np.floor(uv).astype(np.int64), 0, self.size[surface] - 1)
        there[textured] = self.there[self.first[surface] + cell[:, 1] * self.size[surface, 0] + cell[:, 0]]
        border[textured] = np.abs(uv - np.round(uv)).min(axis=1)
        return there, border


def raster(meshes: Sequence[DrawnMesh], camera: Camera, near: float, supersample: int) -> Samples:
    """The nearest triangle at each sample's ray whose texel there is not empty, and is farther than `near` (view z).

    supersample: 1, the pixels' centres, or 2, the centres of a grid twice as fine. Among equal depths the first of
    (mesh, surface, triangle) is seen.
    """
    soup = soup_of(meshes, camera)
    texels = Texels(meshes, soup)
    width, height = camera.width * supersample, camera.height * supersample
    depth = np.full(width * height, np.inf)
    found: list[tuple[Any, ...]] = []  # hits: sample, depth, triangle, weights
    doubts: list[tuple[Any, ...]] = []  # sample, depth, pixels to an edge, texels to a border
    edges, det = _edges(soup.corners, camera)
    slope = np.linalg.norm(edges[:, :, :2], axis=2)
    slope[slope == 0] = np.inf
    for triangle, x, y in _pairs(soup.corners, edges, slope, camera, near, supersample):
        px, py = (x + 0.5) / supersample, (y + 0.5) / supersample
        e = edges[triangle, :, 0] * px[:, None] + edges[triangle, :, 1] * py[:, None] + edges[triangle, :, 2]
        total = e.sum(axis=1)
        inside: NDArray[np.bool_] = np.asarray((e >= 0).all(axis=1))
        away = (e / slope[triangle]).min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = det[triangle] / total
        keep = ((away > -EDGE) & (total > 0) & (z > near * (1 - GAP))).nonzero()[0]
        sample = (y * width + x)[keep]
        z, away, triangle = z[keep], np.abs(away[keep]), triangle[keep]
        weights = e[keep] / total[keep, None]
        there, border = texels.found(triangle, weights)
        hit = inside[keep] & (z > near)
        doubt = (away < EDGE) | (hit & (border < EDGE)) | (z < near * (1 + GAP))
        away[z < near * (1 + GAP)] = 0
        doubts.append((sample[doubt], z[doubt], away[doubt], np.where(hit, border, np.inf)[doubt]))
        hit &= there
        np.minimum.at(depth, sample[hit], z[hit])
        hit &= z <= depth[sample] * (1 + GAP)
        found.append((sample[hit], z[hit], triangle[hit], weights[hit]))
    return _nearest(soup, found, doubts, depth, camera, supersample)


def _edges(corners: F64, camera: Camera) -> tuple[F64, F64]:
    """(T, 3, 3) coefficients of x, y (pixels) and 1 of each edge's function, and the determinant (T,), >= 0."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    normals = np.stack([np.cross(b, c), np.cross(c, a), np.cross(a, b)], axis=1)
    det = np.einsum("ni,ni->n", a, normals[:, 0])
    normals[det < 0] *= -1  # both sides are seen
    x, y = normals[..., 0] / camera.fx, normals[..., 1] / camera.fy
    return np.stack([x, y, normals[..., 2] - x * camera.cx - y * camera.cy], axis=2), np.abs(det)


def _boxes(corners: F64, camera: Camera, near: float) -> tuple[F64, F64]:
    """(T, 2), (T, 2) pixels: the box around the part of each triangle in front of the near plane; low > high: none."""
    after, front = np.roll(corners, -1, axis=1), corners[..., 2] >= near
    crossing = front != (after[..., 2] >= near)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (near - corners[..., 2]) / (after[..., 2] - corners[..., 2])
    share = np.where(crossing, share, 0)
    cut = corners + share[..., None] * (after - corners)
    cut[..., 2] = near
    points, seen = np.concatenate([corners, cut], axis=1), np.concatenate([front, crossing], axis=1)
    flat = points[..., :2] / np.where(seen, points[..., 2], 1)[..., None]
    flat = flat * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    low = np.where(seen[..., None], flat, np.inf).min(axis=1, initial=np.inf)
    return low, np.where(seen[..., None], flat, -np.inf).max(axis=1, initial=-np.inf)


def _pairs(
    corners: F64, edges: F64, slope: F64, camera: Camera, near: float, supersample: int
) -> Iterator[tuple[I64, I64, I64]]:
    """(triangle, x, y) of samples in the boxes of triangles, many at a time."""
    size = np.array([camera.width, camera.height]) * supersample
    low, high = _boxes(corners, camera, near * (1 - GAP))
    first = np.clip(np.ceil((low - EDGE) * supersample - 0.5), 0, size).astype(np.int64)
    last = np.clip(np.floor((high + EDGE) * supersample - 0.5) + 1, 0, size).astype(np.int64)
    extent = np.maximum(last - first, 0) * (last > first).all(axis=1, keepdims=True)
    blocks = -(-extent // _TILE)
    index, k = _counted(blocks.prod(axis=1))
    corner = first[index] + np.stack([k % blocks[index, 0], k // blocks[index, 0]], axis=1) * _TILE
    room = np.minimum(last[index] - corner, _TILE)
    # An edge's function is linear: where it is negative at all four corners of a block, the triangle is not in it.
    several = blocks[index].prod(axis=1) > 1
    reach = np.full((len(index), 3), -np.inf)
    for dx in (0, 1):
        for dy in (0, 1):
            p = (corner + 0.5 + [dx, dy] * (room - 1)) / supersample
            there = edges[index, :, 0] * p[:, :1] + edges[index, :, 1] * p[:, 1:] + edges[index, :, 2]
            reach = np.maximum(reach, there)
    kept = ~several | (reach / slope[index] > -EDGE).all(axis=1)
    index, corner, room = index[kept], corner[kept], room[kept]
    area = room.prod(axis=1)
    ends = np.cumsum(area)
    start = 0
    while start < len(area):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS, side="right")))
        part, k = _counted(area[start:stop])
        part += start
        yield index[part], corner[part, 0] + k % room[part, 0], corner[part, 1] + k // room[part, 0]
        start = stop


def _counted(counts: I64) -> tuple[I64, I64]:
    """Row i repeated counts[i] times, and 0, 1, ... within each."""
    rows = np.repeat(np.arange(len(counts)), counts)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)


def _nearest(
    soup: Soup, found: list[tuple[Any, ...]], doubts: list[tuple[Any, ...]], depth: F64, camera: Camera, n: int
) -> Samples:
    """The first of all hits at each sample, and how sure that is."""
    triangle, gap = np.full(len(depth), -1), np.full(len(depth), np.inf)
    weights = np.zeros((len(depth), 3))
    edge, texel = np.full(len(depth), np.inf), np.full(len(depth), np.inf)
    if found:
        sample, z, index, w = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((index, z, sample))
        order = order[z[order] <= depth[sample[order]] * (1 + GAP)]
        sample, z, index, w = sample[order], z[order], index[order], w[order]
        is_first = np.diff(sample, prepend=-1) != 0
        triangle[sample[is_first]], weights[sample[is_first]] = index[is_first], w[is_first]
        is_second = ~is_first & np.roll(is_first, 1)
        gap[sample[is_second]] = z[is_second] / depth[sample[is_second]] - 1
        sample, z, away, border = (np.concatenate(parts) for parts in zip(*doubts, strict=True))
        ahead = z <= depth[sample] * (1 + GAP)
        np.minimum.at(edge, sample[ahead], away[ahead])
        np.minimum.at(texel, sample[ahead], border[ahead])

    def pixels(values: NDArray[Any]) -> NDArray[Any]:
        parts = values.reshape(camera.height, n, camera.width, n, *values.shape[1:])
        return parts.swapaxes(1, 2).reshape(camera.height, camera.width, n * n, *values.shape[1:])

    return Samples(soup, *(pixels(values) for values in (triangle, weights, depth, edge, gap, texel)))
