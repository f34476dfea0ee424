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
    stored, border = np.zeros((len(x), 4 * carried)), np.full(len(x), np.inf)
    for i in range(len(x)):
        stored[i], border[i] = _carried(layer, block[i], vertex[i], weights[i], words)
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
) -> tuple[F64, float]:
    """All bytes of a sample, filtered, and the distance to the border of the nearest texel."""
    carried, width, height = int(layer["carried"]), int(block["width"]), int(block["height"])

    def bytes_at(at: int) -> F64:
        return words[at : at + carried].view(np.uint8).astype(np.float64)

    if width == 0:
        return np.sum([w * bytes_at(v + 3) for w, v in zip(weights, vertex.tolist(), strict=True)], axis=0), np.inf
    u, v = weights @ _floats(words, vertex[:, None] + np.arange(3, 5))

    def texel(x: float, y: float) -> F64:
        column, row = min(max(int(x), 0), width - 1), min(max(int(y), 0), height - 1)
        return bytes_at(int(block["texels"]) + (row * width + column) * carried)

    border = float(np.abs(np.array([u, v]) - np.round([u, v])).min())
    if not layer["smoothed"]:
        return texel(np.floor(u), np.floor(v)), border
    x0, y0 = np.floor(u - 0.5), np.floor(v - 0.5)
    fx, fy = u - 0.5 - x0, v - 0.5 - y0
    total, sum_of = np.zeros(4 * carried), 0.0
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        found, share = texel(x0 + dx, y0 + dy), (fx if dx else 1 - fx) * (fy if dy else 1 - fy)
        if layer["empty"] == constant("MESH_NONE") or found[int(layer["empty"])] > 0:
            total, sum_of = total + share * found, sum_of + share
    return total / sum_of, border
