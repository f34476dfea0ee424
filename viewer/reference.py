"""Float64 NumPy renderer: what every shader and every picture is compared with. Slow and plain on purpose.

Gaussian splatting after Kerbl et al. 2023 with gsplat's cut-off: EWA projection (Zwicker et al. 2001, equation 31),
alpha blending in depth order, splats dropped where alpha < 1/255, no stop on transmittance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions, slope_limits
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import SH_C0, Splats, rotation_matrices

F64 = NDArray[np.float64]

_TILE = 16
_ROWS = 256  # splats blended at once in a tile: 16 x 16 x 256 float64 fit the second-level cache


def sh_basis(directions: F64, coefficients: int) -> F64:
    """(N, K) real spherical harmonics of unit directions (N, 3), with the signs of 3DGS (Sloan 2008, appendix A2)."""
    x, y, z = directions.T
    xx, yy, zz = x * x, y * y, z * z
    b = [np.full_like(x, SH_C0)]
    if coefficients > 1:
        c = 0.4886025119029199
        b += [-c * y, c * z, -c * x]
    if coefficients > 4:
        c, d, e = 1.0925484305920792, 0.31539156525252005, 0.5462742152960396
        b += [c * x * y, -c * y * z, d * (2 * zz - xx - yy), -c * x * z, e * (xx - yy)]
    if coefficients > 9:
        c, d, e, f, g = 0.5900435899266435, 2.890611442640554, 0.4570457994644658, 0.3731763325901154, 1.445305721320277
        b += [
            -c * y * (3 * xx - yy), d * x * y * z, -e * y * (4 * zz - xx - yy), f * z * (2 * zz - 3 * xx - 3 * yy),
            -e * x * (4 * zz - xx - yy), g * z * (xx - yy), -c * x * (xx - 3 * yy),
        ]  # fmt: skip
    return np.stack(b, axis=1)


@dataclass(frozen=True)
class Projection:
    """M splats on the screen, nearest first.

    center (M, 2) pixels; cov (M, 3) a, b, c of the dilated 2D covariance, pixels^2; opacity (M,); color (M, 3);
    depth (M,) view z; extent (M, 2) half size of the box in which alpha >= 1/255; row (M,) source row.
    """


    center: F64
    cov: F64
    opacity: F64
    color: F64
    depth: F64
    extent: F64
    row: NDArray[np.int64]


def project(
    splats: Splats,
    camera: Camera,
    options: RenderOptions = RenderOptions(),
    transform: F64 | None = None,
    kernel: Kernel = Kernel(),
) -> Projection:
    """EWA projection and SH colour of every splat that can touch the picture, sorted by float32 depth, ties by row.

    transform: (4, 4) world-from-layer where the splats are a layer's; the view direction turns with it, not the SH.
    """
    view = camera.world_to_camera if transform is None else camera.world_to_camera @ transform
    eye = -np.linalg.solve(view[:3, :3], view[:3, 3])
    relative = splats.means.astype(np.float64) - eye
    t = relative @ view[:3, :3].T
    opacity = splats.opacities.astype(np.float64)
    row = np.flatnonzero((t[:, 2] > options.near) & (255 * opacity > 1))
    t, relative, opacity = t[row], relative[row], opacity[row]
    z = t[:, 2]
    low, high = slope_limits(camera)
    slope = np.clip(t[:, :2] / z[:, None], low, high)
    j = np.zeros((len(row), 2, 3))
    j[:, 0, 0], j[:, 1, 1] = camera.fx / z, camera.fy / z
    j[:, 0, 2], j[:, 1, 2] = -camera.fx * slope[:, 0] / z, -camera.fy * slope[:, 1] / z
    m = (j @ view[:3, :3]) @ (
        rotation_matrices(splats.quats[row].astype(np.float64)) * splats.scales[row].astype(np.float64)[:, None, :]
    )
    cov = m @ m.transpose(0, 2, 1)
    a, b, c = cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]
    if kernel.antialias:
        plain = np.maximum(a * c - b * b, 0)
        dilated = (a + kernel.dilation) * (c + kernel.dilation) - b * b
        opacity = opacity * np.sqrt(np.maximum(plain / dilated, 0.005**2))
    a, c = a + kernel.dilation, c + kernel.dilation
    center = t[:, :2] / z[:, None] * [camera.fx, camera.fy] + [camera.cx, camera.cy]
    k2 = 2 * np.log(np.maximum(255 * opacity, 1))
    extent = np.sqrt(k2[:, None] * np.stack([a, c], axis=1))
    seen = (k2 > 0) & ((center + extent > 0) & (center - extent < [camera.width, camera.height])).all(axis=1)
    keep = np.flatnonzero(seen)
    keep = keep[
        np.argsort(z[keep].astype(np.float32), kind="stable")
    ]  # float32, as the rasterizers that trained the splats compare
    sh = splats.sh[row[keep]].astype(np.float64)
    direction = relative[keep] / np.linalg.norm(relative[keep], axis=1, keepdims=True)
    color = np.maximum(np.einsum("nk,nkc->nc", sh_basis(direction, sh.shape[1]), sh) + 0.5, 0)
    return Projection(
        center[keep], np.stack([a, b, c], axis=1)[keep], opacity[keep], color, z[keep], extent[keep], row[keep]
    )


#: What a frame of meshes alone is blended from.
NO_SPLATS = Projection(
    np.zeros((0, 2)), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros(0), np.zeros((0, 2)),
    np.zeros(0, np.int64),
)  # fmt: skip


def render(splats: Splats, camera: Camera, options: RenderOptions = RenderOptions()) -> NDArray[np.float32]:
    """(height, width, 4) float32: rgb over the background, and alpha = 1 - transmittance."""
    return blend([project(splats, camera, options)], camera, options)


def blend(
    layers: Sequence[Projection],
    camera: Camera,
    options: RenderOptions = RenderOptions(),
    mesh: tuple[F64, F64] | None = None,
) -> NDArray[np.float32]:
    """The picture of projected layers, mixed by depth; equal depths go to the earlier layer.

    mesh: what meshes show, (height, width, 4) premultiplied, alpha being the coverage, and the view depth (height,
    width) where it lies, infinite for none. A splat whose centre is farther shows through 1 - coverage.
    """
    if not layers:
        layers = [NO_SPLATS]
    everything = [np.concatenate([getattr(p, name) for p in layers]) for name in Projection.__dataclass_fields__]
    p = Projection(*everything)
    if len(layers) > 1:
        order = np.argsort(p.depth.astype(np.float32), kind="stable")
        p = Projection(*(a[order] for a in everything))
    tiles_x, tiles_y = -(-camera.width // _TILE), -(-camera.height // _TILE)
    low = np.clip(np.floor((p.center - p.extent) / _TILE), 0, [tiles_x, tiles_y]).astype(np.int64)
    high = np.clip(np.ceil((p.center + p.extent) / _TILE), 0, [tiles_x, tiles_y]).astype(np.int64)
    size = high - low
    count = size[:, 0] * size[:, 1]
    index = np.repeat(np.arange(len(count)), count)
    k = np.arange(len(index)) - np.repeat(np.cumsum(count) - count, count)
    tile = (low[index, 1] + k // size[index, 0]) * tiles_x + low[index, 0] + k % size[index, 0]
    by_tile = np.argsort(tile, kind="stable")
    index = index[by_tile]
    edges = np.searchsorted(tile[by_tile], np.arange(tiles_x * tiles_y + 1))

    a, b, c = p.cov.T
    conic = np.stack([c, -b, a], axis=1) / (a * c - b * b)[:, None]
    image = np.zeros((tiles_y * _TILE, tiles_x * _TILE, 4))
    under, front = np.zeros(image.shape), np.full(image.shape[:2], np.inf)
    if mesh is not None:
        under[: camera.height, : camera.width], front[: camera.height, : camera.width] = mesh
    depth, front = p.depth.astype(np.float32), front.astype(np.float32)
    pixel = np.arange(_TILE) + 0.5
    for number in range(tiles_x * tiles_y):
        y0, x0 = np.array(divmod(number, tiles_x)) * _TILE
        tile_under = under[y0 : y0 + _TILE, x0 : x0 + _TILE].reshape(-1, 4)
        tile_front = front[y0 : y0 + _TILE, x0 : x0 + _TILE].reshape(-1)
        rest = 1 - tile_under[:, 3]
        before_mesh, transmittance = np.ones(_TILE * _TILE), np.ones(_TILE * _TILE)
        rgb = np.zeros((_TILE * _TILE, 3))
        for start in range(edges[number], edges[number + 1], _ROWS):
            i = index[start : min(start + _ROWS, edges[number + 1])]
            dx = x0 + pixel - p.center[i, 0, None]
            dy = y0 + pixel - p.center[i, 1, None]
            power = 0.5 * (
                conic[i, 0, None, None] * dx[:, None, :] ** 2 + conic[i, 2, None, None] * dy[:, :, None] ** 2
            )
            power += conic[i, 1, None, None] * dx[:, None, :] * dy[:, :, None]
            alpha = np.minimum(options.alpha_cap, p.opacity[i, None] * np.exp(-power.reshape(len(i), -1)))
            alpha[alpha < 1 / 255] = 0
            after = np.cumprod(1 - alpha, axis=0) * transmittance
            before = np.concatenate([transmittance[None], after[:-1]])
            weight = alpha * before
            if mesh is not None:
                behind = depth[i, None] > tile_front
                weight = weight * np.where(behind, rest, 1)
                before_mesh *= np.where(behind, 1, 1 - alpha).prod(axis=0)
            rgb += weight.T @ p.color[i]
            transmittance = after[-1]
        rgb += before_mesh[:, None] * tile_under[:, :3]
        transmittance = transmittance * rest
        out = image[y0 : y0 + _TILE, x0 : x0 + _TILE]
        out[..., :3] = (rgb + transmittance[:, None] * np.asarray(options.background)).reshape(_TILE, _TILE, 3)
        out[..., 3] = 1 - transmittance.reshape(_TILE, _TILE)
    return image[: camera.height, : camera.width].astype(np.float32)
