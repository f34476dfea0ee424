"""Float64 colours of mesh pixels from what their samples see: what the shading stages are compared with.

A pixel is shaded once for each layer that it sees: from the mean of the bytes, decoded, and of the unit directions over
its samples that see the layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import Dense, Gaussians, LightField, Look, Network, Plain, Surface
from splatlens.viewer.mesh_raster_reference import DrawnMesh, Samples

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

_VALUES = 1 << 20  # channels of samples held at once, 8 MB


def shade(meshes: Sequence[DrawnMesh], number: int, samples: Samples, camera: Camera) -> F64:
    """(height, width, 4): colour times coverage, and coverage, of the layer `number` of a frame."""
    mesh, soup, shape = meshes[number], samples.soup, samples.triangle.shape
    triangle = samples.triangle.reshape(-1, shape[2])
    weights, depth = samples.weights.reshape(*triangle.shape, 3), samples.depth.reshape(triangle.shape)
    own = triangle >= 0
    own[own] = soup.mesh[triangle[own]] == number
    pixels = np.flatnonzero(own.any(axis=1))
    picture = np.zeros((len(triangle), 4))
    first_surface = sum(len(one.surfaces) for one in meshes[:number])
    view = camera.world_to_camera @ mesh.transform
    inverse = np.linalg.inv(view[:3, :3])
    step = max(1, _VALUES // (mesh.look.channels * shape[2]))
    for start in range(0, len(pixels), step):
        pixel = pixels[start : start + step]
        row, column = own[pixel].nonzero()
        at = (pixel[row], column)
        seen = np.bincount(row, minlength=len(pixel))
        first = np.cumsum(seen) - seen

        def mean(values: F64, first: I64 = first, seen: I64 = seen) -> F64:
            return np.asarray(np.add.reduceat(values, first, axis=0) / seen[:, None])

        found = fetch(mesh, soup.surface[triangle[at]] - first_surface, soup.row[triangle[at]], weights[at])
        channels = mean(found) / 255 * mesh.look.scale + mesh.look.offset
        toward = (_rays(camera, at[0], column, shape[2]) * depth[at][:, None]) @ inverse.T
        direction = mean(unit(toward)) @ np.array(mesh.look.direction).T
        # The plane that the last of the samples sees stands for all.
        corners = soup.corners[triangle[at][first + seen - 1]] @ inverse.T
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        covered = seen[:, None] / shape[2]
        picture[pixel] = np.concatenate([colors(mesh.look, channels, direction, normal) * covered, covered], axis=1)
    return picture.reshape(*shape[:2], 4)


def _rays(camera: Camera, pixel: I64, sample: I64, samples: int) -> F64:
    """(N, 3) through samples of pixels, both numbered row by row; view coordinates, z 1."""
    side = round(samples**0.5)
    x = pixel % camera.width + (sample % side + 0.5) / side
    y = pixel // camera.width + (sample // side + 0.5) / side
    return np.stack([(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, np.ones(len(x))], axis=1)


def unit(vectors: F64) -> F64:
    """(N, 3) of length 1; 0 where there is none."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1))


def fetch(mesh: DrawnMesh, surface: I64, row: I64, weights: F64) -> F64:
    """(N, C) bytes at points of triangles: row, of surfaces; weights (N, 3): of the corners."""
    out = np.zeros((len(row), mesh.look.channels))
    for number in np.unique(surface):
        at = surface == number
        one = mesh.surfaces[number]
        corners = one.triangles[row[at]]
        if one.values is not None:
            out[at] = np.einsum("nk,nkc->nc", weights[at], one.values[corners].astype(np.float64))
        else:
            assert one.uvs is not None
            uv = np.einsum("nk,nkc->nc", weights[at], one.uvs[corners].astype(np.float64))
            out[at] = texels_at(one, uv, mesh.look.filter, mesh.look.empty)
    return out


def texels_at(surface: Surface, uv: F64, filter: str, empty: int | None) -> F64:
    """(N, C) bytes at texel coordinates (N, 2); outside of the texture those at its border."""
    texels = surface.texels
    assert texels is not None
    if filter == "nearest":
        return _wrapped(texels, np.floor(uv), (False, False)).astype(np.float64)
    found, share = bilinear(texels, uv, (False, False))
    if empty is not None:
        share = share * (found[..., empty] > 0)  # what is empty has no colour to give
        share /= share.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkc->nc", share, found))


def bilinear(texels: NDArray[np.uint8], uv: F64, wrap: tuple[bool, bool]) -> tuple[F64, F64]:
    """The four texels around each point, (N, 4, C), and their shares, (N, 4)."""
    corner = np.floor(uv - 0.5)
    x, y = (uv - 0.5 - corner).T
    found = [_wrapped(texels, corner + np.array([dx, dy]), wrap) for dy in (0, 1) for dx in (0, 1)]
    share = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], axis=1)
    return np.stack(found, axis=1).astype(np.float64), share


def _wrapped(texels: NDArray[np.uint8], cell: F64, wrap: tuple[bool, bool]) -> NDArray[np.uint8]:
    """(N, C) texels of whole coordinates x, y (N, 2), which start again or stop at the borders."""
    sizes = (texels.shape[1], texels.shape[0])
    x, y = (
        np.mod(c, n) if again else np.clip(c, 0, n - 1) for c, n, again in zip(cell.T, sizes, wrap, strict=True)
    )
    return np.asarray(texels[y.astype(np.int64), x.astype(np.int64)])


def colors(look: Look, channels: F64, direction: F64, normal: F64) -> F64:
    """(N, 3) of decoded channels (N, C), the method's directions (N, 3) and the triangles' normals (N, 3)."""
    method = look.method
    if isinstance(method, Network):
        return network(method, channels, direction)
    if isinstance(method, Gaussians):
        return gaussians(method, channels, direction)
    if isinstance(method, LightField):
        return light_field(method, channels, direction)
    return plain(method, channels, direction, normal)


def network(method: Network, channels: F64, direction: F64) -> F64:
    """The network's colours, and those that the surface carries itself."""
    given = np.concatenate([channels, direction], axis=1)
    values = np.stack(
        [
            np.sin(one.frequency * given[:, one.source] + one.phase) if one.frequency else given[:, one.source]
            for one in method.inputs
        ],
        axis=1,
    )
    for layer in method.layers:
        values = _dense(layer, values)
    if method.base is not None:
        values = values + channels[:, method.base : method.base + 3]
    return np.asarray(np.clip(values, 0, 1))


def _dense(layer: Dense, values: F64) -> F64:
    values = values @ layer.kernel.astype(np.float64) + layer.bias
    if layer.activation == "relu":
        return np.maximum(values, 0)
    return _sigmoid(values) if layer.activation == "sigmoid" else values


def _sigmoid(values: F64) -> F64:
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * values))  # does not overflow


def gaussians(method: Gaussians, channels: F64, direction: F64) -> F64:
    """Diffuse colours and what each lobe adds."""
    total = channels[:, :3].copy()
    for lobe in range(method.lobes):
        at = 3 + 7 * lobe
        mean, scale, color = unit(channels[:, at : at + 3]), channels[:, at + 3], channels[:, at + 4 : at + 7]
        total += color * np.exp(scale * ((mean * direction).sum(axis=1) - 1))[:, None]
    return np.asarray(total)


def light_field(method: LightField, channels: F64, direction: F64) -> F64:
    """The sums of products of what the surface and the map of directions carry.

    The map has the azimuth atan2(y, x) along x and the elevation along y, each from 0 to a whole turn.
    """
    x, y, z = direction.T
    turn = 2 * np.pi
    angles = np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=1)
    uv = np.where(angles < 0, angles + turn, angles) / turn * method.directions.shape[1::-1]
    if method.filter == "nearest":
        found = _wrapped(method.directions, np.floor(uv), (True, True)).astype(np.float64)
    else:
        found = np.asarray(np.einsum("nkc,nk->nc", *bilinear(method.directions, uv, (True, True))))
    across = found / 255 * method.scale + method.offset
    terms = method.terms
    sums = [(channels[:, k * terms : (k + 1) * terms] * across).sum(axis=1) for k in range(3)]
    return _sigmoid(np.stack(sums, axis=1))


def plain(method: Plain, channels: F64, direction: F64, normal: F64) -> F64:
    """The colours that the surface carries, lit from the eye where the method says so."""
    if method.light == "none":
        return channels[:, :3]
    if channels.shape[1] >= 6:
        normal = channels[:, 3:6]
    lengths = np.linalg.norm(normal, axis=1) * np.linalg.norm(direction, axis=1)
    cosine = np.abs((normal * direction).sum(axis=1)) / np.where(lengths > 0, lengths, 1)
    return np.asarray(channels[:, :3] * (0.3 + 0.7 * np.where(lengths > 0, cosine, 1))[:, None])
