"""Fits diffuse colours and three spherical Gaussians a vertex to the analytic scene, and writes BakedSDF's GLB.

    pip install torch==2.13.0
    python samples/bakedsdf/train.py samples/bakedsdf/fields.glb

Yariv et al. 2023, section 4.3. Its surface comes from a trained distance field; here it is the scene's own, as meshes.
Lobes are first found vertex by vertex, the brightest direction first, then all vertices are fitted together on rays of
the training cameras, interpolated over triangles as the viewer does it. Bytes are rounded as they are fitted.
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from splatlens.samples.fields import scene
from splatlens.samples.fields.shapes import F64, I32, unit

#: Pieces of the meshes besides the patterns' edges, against those of scene.meshes().
DETAIL = 1.0
LOBES, MAX_SCALE = 3, 100.0
#: Directions a vertex sees in the first fit, rays a step in the second, and steps of both.
SEEN, RAYS, STEPS = 96, 1 << 15, (500, 1500)
#: From the scene (z up) to the asset (y up): the viewer's worldspace_R_opengl, its own inverse.
TO_ASSET = np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]])


def joined() -> tuple[F64, I32, F64, NDArray[np.int64]]:
    """All meshes as one: positions (V, 3), triangles (T, 3), normals (V, 3), solid of each vertex (V,)."""
    parts = scene.meshes(DETAIL)
    first = np.cumsum([0] + [len(p[0]) for p in parts])
    triangles = np.concatenate([p[1] + n for p, n in zip(parts, first[:-1], strict=True)]).astype(np.int32)
    ids = np.repeat(np.arange(len(parts)), [len(p[0]) for p in parts])
    return np.concatenate([p[0] for p in parts]), triangles, np.concatenate([p[3] for p in parts]), ids


class Vertices(torch.nn.Module):
    """What vertices carry, decoded: diffuse (V, 3), means (V, 3, 3) of any length, scales (V, 3), colours (V, 3, 3)."""

    def __init__(self, diffuse: F64, means: F64) -> None:
        super().__init__()
        n = len(diffuse)
        self.diffuse = torch.nn.Parameter(logit(torch.tensor(diffuse)))
        self.means = torch.nn.Parameter(torch.tensor(means, dtype=torch.float32))
        self.scales = torch.nn.Parameter(logit(torch.full((n, LOBES), 10 / MAX_SCALE)))
        self.colors = torch.nn.Parameter(logit(torch.full((n, LOBES, 3), 0.1)))

    def decoded(self) -> Tensor:
        """(V, 24) in 0..1, as bytes / 255: diffuse 3, then mean 3, scale, colour 3 of each lobe."""
        means = torch.nn.functional.normalize(self.means, dim=-1) * 0.5 + 0.5
        lobes = torch.cat([means, self.scales.sigmoid()[..., None], self.colors.sigmoid()], dim=-1)
        return torch.cat([self.diffuse.sigmoid(), lobes.flatten(1)], dim=1)


def logit(share: Tensor) -> Tensor:
    return torch.logit(share.float().clamp(0.004, 0.996))


def rounded(values: Tensor) -> Tensor:
    """To whole bytes, with the gradient of what was not rounded."""
    return values + (torch.round(values * 255) / 255 - values).detach()


def shaded(values: Tensor, back: Tensor) -> Tensor:
    """Colours of channels (N, 24) in 0..1 along unit directions `back` (N, 3) to the eye (equation 7)."""
    lobes = values[:, 3:].reshape(-1, LOBES, 7)
    means = torch.nn.functional.normalize(lobes[..., :3] * 2 - 1, dim=-1)
    lift = torch.exp(lobes[..., 3] * MAX_SCALE * ((means * back[:, None]).sum(-1) - 1))
    return values[:, :3] + (lobes[..., 4:] * lift[..., None]).sum(1)


def sphere(n: int) -> F64:
    """(n, 3) directions evenly on a golden spiral."""
    i = np.arange(n) + 0.5
    z, angle = 1 - 2 * i / n, i * 2.399963229728653
    return np.stack([np.sqrt(1 - z * z) * np.cos(angle), np.sqrt(1 - z * z) * np.sin(angle), z], axis=1)


def seen_by_vertices(positions: F64, normals: F64, ids: NDArray[np.int64], rng: np.random.Generator) -> tuple[F64, F64]:
    """Directions to the eye (V, SEEN, 3) in each vertex' upper half, and what it looks like from there (V, SEEN, 3)."""
    turn = unit(rng.normal(size=(len(positions), SEEN, 3)))
    facing = np.sum(turn * normals[:, None], axis=2, keepdims=True)
    back = np.where(facing < 0, turn - 2 * facing * normals[:, None], turn)
    flat = [np.repeat(a, SEEN, axis=0) for a in (positions, normals)]
    rgb = scene.radiance(*flat, -back.reshape(-1, 3), np.repeat(ids, SEEN))
    return back, rgb.reshape(len(positions), SEEN, 3)


def first_guess(back: F64, rgb: F64) -> tuple[F64, F64]:
    """Diffuse colours, and means: the brightest direction, then the brightest that is apart from those before."""
    diffuse = np.quantile(rgb, 0.1, axis=1)
    left = np.maximum(rgb - diffuse[:, None], 0).sum(axis=2)
    means = np.empty((len(rgb), LOBES, 3))
    rows = np.arange(len(rgb))
    for lobe in range(LOBES):
        means[:, lobe] = back[rows, left.argmax(axis=1)]
        left = left * (1 - np.exp(4 * (np.sum(back * means[:, None, lobe], axis=2) - 1)))
    return diffuse, means


def fit_vertices(model: Vertices, back: F64, rgb: F64) -> None:
    """Each vertex on its own directions."""
    back_, rgb_ = (torch.tensor(a, dtype=torch.float32) for a in (back, rgb))
    optimiser = torch.optim.Adam(model.parameters(), 0.05)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS[0])
    part = SEEN // 4
    for step in range(STEPS[0]):
        at = slice(step % 4 * part, step % 4 * part + part)
        values = model.decoded()[:, None].expand(-1, part, -1).reshape(-1, 24)
        loss = (shaded(values, back_[:, at].reshape(-1, 3)) - rgb_[:, at].reshape(-1, 3)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
        if step % 100 == 0:
            print(f"vertices {step}: {-10 * loss.log10():.2f} dB", flush=True)


def order_lobes(model: Vertices) -> None:
    """The same lobe of neighbours is to be the same reflection: grouped by colour, around three of all lobes' hues."""
    with torch.no_grad():
        color = model.colors.sigmoid().numpy().astype(np.float64)
        hue = color / color.sum(axis=2, keepdims=True)
        weight = color.sum(axis=2)
        flat, w = hue.reshape(-1, 3), weight.reshape(-1)
        centres = flat[np.argsort(-w)[: len(w) // 2]][:: max(1, len(w) // 2 // LOBES)][:LOBES]
        orders = np.array(list(permutations(range(LOBES))))
        for _ in range(30):
            cost = np.stack([(weight[:, o] * np.square(hue[:, o] - centres).sum(2)).sum(1) for o in orders], axis=1)
            best = orders[cost.argmin(axis=1)]
            mine, share = (np.take_along_axis(a, best if a.ndim == 2 else best[..., None], 1) for a in (hue, weight))
            centres = (mine * share[..., None]).sum(0) / share.sum(0)[:, None]
        order = torch.tensor(best)
        for values in (model.means, model.scales, model.colors):
            index = order if values.ndim == 2 else order[..., None].expand(-1, -1, 3)
            values.copy_(torch.gather(values, 1, index))
    print(f"lobes, by their colours:\n{centres.round(2)}", flush=True)


def camera_rays(positions: F64, triangles: I32) -> tuple[NDArray[np.int64], F64, F64, F64]:
    """What pixels of the training cameras see: triangle, weights of its corners, direction to the eye, colour.

    Rays meet the scene's solids; the point is moved to the triangle over the same coordinates u, v.
    """
    found = []
    parts = scene.meshes(DETAIL)
    first = np.cumsum([0] + [len(p[1]) for p in parts])
    for camera in scene.training_cameras():
        origin, directions = scene.rays(camera)
        flat = directions.reshape(-1, 3)
        hits = scene.trace(np.broadcast_to(origin, flat.shape), flat)
        rows = np.flatnonzero(hits.mask)
        points = origin + hits.t[rows, None] * flat[rows]
        rgb = scene.radiance(points, hits.normals[rows], flat[rows], hits.ids[rows])
        for i, (_, own, uvs, _) in enumerate(parts):
            mine = np.flatnonzero(hits.ids[rows] == i)
            uv = np.stack([hits.u, hits.v], axis=1)[rows[mine]]
            triangle, weights = locate(uv, uvs, own)
            fine = triangle >= 0
            found.append((triangle[fine] + first[i], weights[fine], -flat[rows[mine[fine]]], rgb[mine[fine]]))
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))  # type: ignore[return-value]


def locate(uv: F64, uvs: F64, triangles: I32) -> tuple[NDArray[np.int64], F64]:
    """The triangle that each uv lies in, -1 for none, and the weights of its corners; triangles are halves of cells."""
    u, v = (np.unique(uvs[:, k]) for k in (0, 1))
    cell = [np.clip(np.searchsorted(k, uv[:, i], side="right") - 1, 0, len(k) - 2) for i, k in enumerate((u, v))]
    key = cell[1] * len(u) + cell[0]
    corner = uvs[triangles]
    low = corner.min(axis=1)
    place = np.searchsorted(v, low[:, 1]) * len(u) + np.searchsorted(u, low[:, 0])
    triangle, weights = np.full(len(uv), -1), np.zeros((len(uv), 3))
    order = np.argsort(place, kind="stable")
    for turn in (0, 1):
        at = np.searchsorted(place[order], key) + turn
        fine = at < len(order)
        which = order[np.minimum(at, len(order) - 1)]
        fine &= place[which] == key
        a, b, c = (corner[which, k] for k in range(3))
        w = np.stack([area(b - uv, c - uv), area(c - uv, a - uv), area(a - uv, b - uv)], axis=1)
        w = w / area(b - a, c - a)[:, None]
        inside = fine & (w.min(axis=1) > -1e-6)
        triangle[inside], weights[inside] = which[inside], w[inside]
    return triangle, weights


def area(a: F64, b: F64) -> F64:
    """Signed areas (N,) of parallelograms of a and b (N, 2)."""
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def fit_rays(model: Vertices, corners: NDArray[np.int64], weights: F64, back: F64, rgb: F64) -> None:
    """All vertices together on the pixels of the training cameras, bytes rounded as in the file."""
    corner = torch.tensor(corners)
    share, eye, goal = (torch.tensor(a, dtype=torch.float32) for a in (weights, back, rgb))
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS[1], eta_min=5e-4)
    mean, generator = 0.0, torch.Generator().manual_seed(1)
    for step in range(STEPS[1]):
        at = torch.randint(len(corner), (RAYS,), generator=generator)
        values = (rounded(model.decoded())[corner[at]] * share[at][..., None]).sum(1)
        loss = (shaded(values, eye[at]) - goal[at]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
        mean = 0.98 * mean + 0.02 * loss.item() if step else loss.item()
        if step % 100 == 0 or step == STEPS[1] - 1:
            print(f"rays {step}: {-10 * np.log10(mean):.2f} dB", flush=True)


def glb(positions: F64, normals: F64, triangles: I32, values: NDArray[np.uint8]) -> bytes:
    """A binary glTF with the method's attributes: bytes, each attribute padded to four of them a vertex."""
    views: list[dict[str, int]] = []
    accessors: list[dict[str, object]] = []
    data = b""

    def add(array: NDArray[np.generic], kind: str, code: int, stride: int | None = None, **more: object) -> int:
        nonlocal data
        rows = array.reshape(len(array), -1)
        raw = rows.tobytes()
        if stride is not None and stride != rows.shape[1] * rows.itemsize:
            raw = np.pad(rows, ((0, 0), (0, stride - rows.shape[1]))).tobytes()
        view = {"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)}
        views.append(view | ({"byteStride": stride} if stride else {}))
        shape = {"componentType": code, "count": len(rows), "type": kind}
        accessors.append({"bufferView": len(views) - 1, **shape, **more})
        data += raw + bytes(-len(raw) % 4)
        return len(accessors) - 1

    place = (positions @ TO_ASSET.T).astype("<f4")
    low, high = place.min(axis=0).tolist(), place.max(axis=0).tolist()
    attributes = {"POSITION": add(place, "VEC3", 5126, None, min=low, max=high)}
    byte_normals = np.round((normals @ TO_ASSET.T) * 127.5 + 127.5).astype(np.uint8)
    attributes["_BYTE_NORMAL"] = add(byte_normals, "VEC3", 5121, 4)
    attributes["COLOR_0"] = add(values[:, :3], "VEC3", 5121, 4, normalized=True)
    for i in range(LOBES):
        lobe = values[:, 3 + 7 * i : 10 + 7 * i]
        attributes[f"_SG_MEAN_{i}"] = add(lobe[:, :3], "VEC3", 5121, 4)
        attributes[f"_SG_SCALE_{i}"] = add(lobe[:, 3], "SCALAR", 5121, 4)
        attributes[f"_SG_COLOR_{i}"] = add(lobe[:, 4:], "VEC3", 5121, 4)
    indices = add(triangles.ravel().astype("<u2"), "SCALAR", 5123)
    asset = {
        "asset": {"version": "2.0", "generator": "splatlens samples/bakedsdf/train.py"},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices}]}],
        "accessors": accessors, "bufferViews": views, "buffers": [{"byteLength": len(data)}],
    }  # fmt: skip
    text = json.dumps(asset, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.manual_seed(0)
    begun = time.monotonic()
    positions, triangles, normals, ids = joined()
    print(f"{len(positions)} vertices, {len(triangles)} triangles", flush=True)
    back, rgb = seen_by_vertices(positions, normals, ids, np.random.default_rng(0))
    model = Vertices(*first_guess(back, rgb))
    fit_vertices(model, back, rgb)
    order_lobes(model)
    triangle, weights, eye, goal = camera_rays(positions, triangles)
    print(f"{len(triangle)} rays, {time.monotonic() - begun:.0f} s", flush=True)
    fit_rays(model, triangles[triangle].astype(np.int64), weights, eye, goal)
    values = model.decoded().detach()
    # Lobes are given in the frame that was trained in, the scene's own.
    out.write_bytes(glb(positions, normals, triangles, torch.round(values * 255).to(torch.uint8).numpy()))
    print(f"{out}: {out.stat().st_size:,} bytes, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
