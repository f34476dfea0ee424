"""What the shading stages of meshes start from, in float64: channels and direction of each pixel that sees a layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.layout import constant

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class MeshPixels:
    """The P pixels of which samples see the layer, and means over these samples.

    at (P,): of row * width + column. channels (P, C): decoded. direction (P, 3): the method's. normal (P, 3): of the
    triangle that the last sample sees, layer coordinates. covered (P,): share of the samples.
    border (P,): least distance of a sample to the border of the texel that is nearest to it; infinite at vertices.
    """

    shape: tuple[int, int]
    at: NDArray[np.int64]
    channels: F64
    direction: F64
    normal: F64
    covered: F64
    border: F64

    def target(self, color: F64) -> F64:
        """(H, W, 4) that a stage adds: colours (P, 3) times the coverage, and the coverage."""
        out = np.zeros((self.shape[0] * self.shape[1], 4))
        out[self.at] = np.concatenate([color, np.ones((len(color), 1))], axis=1) * self.covered[:, None]
        return out.reshape(*self.shape, 4)


def mesh_pixels(
    frame: NDArray[np.void],
    mesh_frame: NDArray[np.void],
    layers: NDArray[np.void],
    blocks: NDArray[np.void],
    words: NDArray[np.uint32],
    ids: NDArray[np.uint32],
    shading: NDArray[np.void],
    params: NDArray[np.float32],
) -> MeshPixels:
    """Of the layer shading["layer"]; the arguments are the buffers, and ids (H side, W side) what mesh_ids holds."""
    side, layer, size = int(mesh_frame["side"]), layers[int(shading["layer"])], constant("MESH_BLOCK")
    carried, c = int(layer["carried"]), int(shading["channels"])
    height, width = ids.shape[0] // side, ids.shape[1] // side
    y, x = np.nonzero(ids)
    block = (ids[y, x].astype(np.int64) - 1) // size
    own = blocks["layer"][block] == shading["layer"]
    y, x, block = y[own], x[own], blocks[block[own]]
    triangle = block["first"] + (ids[y, x].astype(np.int64) - 1) % size
    half = 3 * triangle[:, None] + np.arange(3)
    corners = words[block["corners"][:, None] + half // 2] >> (16 * (half % 2)).astype(np.uint32) & 0xFFFF
    textured = block["width"] > 0
    stride = np.where(textured, 5, 3 + carried)[:, None]
    vertex = block["vertices"][:, None].astype(np.int64) + corners.astype(np.int64) * stride
    eye = layer["eye"].astype(np.float64) + layer["eye_rest"]
    seen = _floats(words, vertex[..., None] + np.arange(3)) - eye
    weights = _hit(frame, layer, seen, (x + 0.5) / side, (y + 0.5) / side)
    stored, border = _carried(layer, block, vertex, weights, words)
    values = stored[:, :c] / 255
    relative = np.einsum("nk,nkc->nc", weights, seen)
    relative /= np.linalg.norm(relative, axis=1, keepdims=True)
    at, where, count = np.unique(y // side * width + x // side, return_inverse=True, return_counts=True)

    def mean(of: F64) -> F64:
        total = np.zeros((len(at), of.shape[1]))
        np.add.at(total, where, of)
        return total / count[:, None]

    scale, offset = (params[k * carried : (k + 1) * carried].ravel()[:c].astype(np.float64) for k in (0, 1))
    normal = np.zeros((len(at), 3))
    order = np.argsort((y % side) * side + x % side, kind="stable")
    normal[where[order]] = np.cross(seen[:, 1] - seen[:, 0], seen[:, 2] - seen[:, 0])[order]
    nearest = np.full(len(at), np.inf)
    np.minimum.at(nearest, where, border)
    direction = mean(relative) @ layer["direction"][:, :3].astype(np.float64)
    return MeshPixels(
        (height, width), at, mean(values) * scale + offset, direction, normal, count / side**2, nearest
    )


def _floats(words: NDArray[np.uint32], at: NDArray[np.int64]) -> F64:
    return words[at].view(np.float32).astype(np.float64)


def _hit(frame: NDArray[np.void], layer: NDArray[np.void], seen: F64, x: F64, y: F64) -> F64:
    """(N, 3) weights of the corners (N, 3, 3), seen from the camera in layer coordinates, where rays meet triangles."""
    px, py = frame["principal"].astype(np.float64)
    fx, fy = frame["focal"].astype(np.float64)
    ray = np.stack([(x - px) / fx, (y - py) / fy, np.ones(len(x))], axis=1)
    corners = seen @ layer["linear"][:, :3].astype(np.float64)
    # a, b, c times the weights is along the ray: three equations for what is up to a factor the weights.
    found = np.linalg.solve(corners.swapaxes(1, 2), ray[..., None])[..., 0]
    found = np.clip(found / found.sum(axis=1, keepdims=True), 0, 1)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _carried(
    layer: NDArray[np.void],
    block: NDArray[np.void],
    vertex: NDArray[np.int64],
    weights: F64,
    words: NDArray[np.uint32],
) -> tuple[F64, F64]:
    """(N, 4 words) bytes of the samples, filtered, and (N,) distances to the border of the nearest texel."""
    carried, textured = int(layer["carried"]), block["width"] > 0

    def bytes_at(at: NDArray[np.int64]) -> F64:
        return words[at[..., None] + np.arange(carried)].view(np.uint8).astype(np.float64)

    stored, border = np.zeros((len(block), 4 * carried)), np.full(len(block), np.inf)
    plain = ~textured
    stored[plain] = np.einsum("nk,nkc->nc", weights[plain], bytes_at(vertex[plain] + 3))
    block, vertex, weights = block[textured], vertex[textured], weights[textured]
    size = np.stack([block["width"], block["height"]], axis=1).astype(np.int64)
    uv = np.einsum("nk,nkc->nc", weights, _floats(words, vertex[..., None] + np.arange(3, 5)))
    border[textured] = np.abs(uv - np.round(uv)).min(axis=1)

    def texel(at: F64) -> F64:
        column, row = np.clip(at.astype(np.int64), 0, size - 1).T
        return bytes_at(block["texels"].astype(np.int64) + (row * size[:, 0] + column) * carried)

    if not layer["smoothed"]:
        stored[textured] = texel(np.floor(uv))
        return stored, border
    corner = np.floor(uv - 0.5)
    f = uv - 0.5 - corner
    total, shares = np.zeros((len(uv), 4 * carried)), np.zeros((len(uv), 1))
    for step in ((0, 0), (1, 0), (0, 1), (1, 1)):
        found = texel(corner + step)
        share = np.where(step, f, 1 - f).prod(axis=1, keepdims=True)
        if layer["empty"] != constant("MESH_NONE"):
            share = share * (found[:, int(layer["empty"]), None] > 0)
        total, shares = total + share * found, shares + share
    stored[textured] = total / shares
    return stored, border
