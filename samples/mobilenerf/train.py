"""Fits a small MobileNeRF to the analytic scene and writes it as the method's exporter does.

    pip install torch==2.13.0
    python samples/mobilenerf/train.py samples/mobilenerf/field_phone

Quads stand around the scene's solids; what is fitted is which texels are there, eight features a texel and the network
of 11-16-16-3 that makes colours of them, by Adam on the rays of cameras around the scene (Chen et al. 2023, stages 2
and 3). A patch's features are a sum of grids of several resolutions: a texel that few rays meet is as those about it.
Then the features become bytes and the network is fitted once more to what is left of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from numpy.typing import NDArray
from patches import SIDE, Quads, image_size, patch_uvs, quads
from PIL import Image
from scipy.ndimage import uniform_filter
from torch import Tensor, nn
from torch.nn import functional

from splatlens.samples.fields import scene
from splatlens.samples.fields.views import Rays, seen

CHANNELS, WIDTH = 8, 16
#: Image of a shard: as the exporter's, a power of two; its own are 4096.
IMAGE = 512
VIEWS, PIXELS = 72, 384
BATCH, FIRST_STEPS, STEPS, LAST_STEPS = 16384, 1500, 800, 300
RATE_FEATURES, RATE_NETWORK = 0.03, 0.01
#: Sides of the grids that a patch's features are the sum of, interpolated linearly.
GRIDS = (3, 5, 9, SIDE)
#: Three features start as 0.5 and this much of the normal: reflections follow from it and the direction. Three others,
#: of eight bits too, as the darkest colour that a ray finds.
NORMALS, DARKEST = 0.45, (4, 5, 6)
#: Weight of the squared differences of neighbouring texels' logits: what few rays see stays like what is beside it.
SMOOTH = 3.5e-4
#: Least share of the rays that meet a texel that must find the scene there. Holes are closed where that much of the
#: square about them, so wide, is there.
OPAQUE, CLOSED, ABOUT = 0.5, 0.7, 5


class Colour(nn.Module):
    """Features and direction to colour."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(CHANNELS + 3, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)])

    def forward(self, features: Tensor, directions: Tensor) -> Tensor:
        x = torch.cat([features, directions], dim=1)
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return torch.sigmoid(self.layers[-1](x))


class Features(nn.Module):
    """Logits of the patches' features, as sums of grids from the coarsest on, added to where they start.

    normals: (P, 4, 3) at the corners; darkest: (P, SIDE, SIDE, 3) colours.
    """

    def __init__(self, normals: NDArray[np.float64], darkest: NDArray[np.float32]) -> None:
        super().__init__()
        count = len(normals)
        self.grids = nn.ParameterList([nn.Parameter(torch.zeros(count, CHANNELS, n, n)) for n in GRIDS])
        corners = torch.from_numpy(normals.reshape(count, 2, 2, 3).transpose(0, 3, 2, 1).copy()).float()
        start = torch.zeros(count, CHANNELS, SIDE, SIDE)
        start[:, :3] = torch.logit(0.5 + NORMALS * finer(corners, SIDE))
        start[:, DARKEST] = torch.logit(torch.from_numpy(darkest).permute(0, 3, 1, 2).clamp(0.02, 0.98))
        self.register_buffer("start", start)

    def forward(self) -> Tensor:
        """(patches of SIDE x SIDE, CHANNELS)"""
        out = self.grids[0]
        for n, grid in zip(GRIDS[1:], self.grids[1:], strict=True):
            out = grid + finer(out, n)
        return (self.start + out).permute(0, 2, 3, 1).reshape(-1, CHANNELS)


def finer(grids: Tensor, side: int) -> Tensor:
    """(P, C, n, n) at side x side, the same at the corners."""
    return functional.interpolate(grids, size=(side, side), mode="bilinear", align_corners=True)


def opacity(rays: Rays, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Texels (H, W) at which most of the rays find the scene; those that none meets are as their neighbours."""
    count = shape[0] * shape[1]
    hits = np.bincount(rays.texel, minlength=count)
    there = np.bincount(rays.texel, rays.matched, minlength=count)
    share = np.where(hits > 0, there / np.maximum(hits, 1), np.nan).reshape(*shape, 1)
    solid = filled(share)[..., 0] > OPAQUE
    about = uniform_filter(tiles(solid).astype(np.float64), (0, ABOUT, ABOUT), mode="nearest")
    return solid | untiled(about > CLOSED)


def filled(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image (H, W, C) with its NaN texels taken from neighbours of their own patch, as often as it takes."""
    h, w, c = image.shape
    patches = image.reshape(h // SIDE, SIDE, w // SIDE, SIDE, c).transpose(0, 2, 1, 3, 4).copy()
    for _ in range(2 * SIDE):
        padded = np.pad(patches, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=np.nan)
        beside = np.stack([padded[:, :, 1 + y : 1 + y + SIDE, 1 + x : 1 + x + SIDE]
                           for y, x in ((0, 1), (1, 0), (0, -1), (-1, 0))])  # fmt: skip
        known = ~np.isnan(beside)
        mean = np.where(known, beside, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        patches = np.where(np.isnan(patches) & known.any(axis=0), mean, patches)
    return np.where(np.isnan(patches), 0, patches).transpose(0, 2, 1, 3, 4).reshape(h, w, c)


def to_bytes(features: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(N, 8) features 0..1 as the exporter stores those of texels that are there: see decoded."""
    out = np.round(features * 255).astype(np.uint8)
    out[:, 0] = np.maximum(out[:, 0], 1)
    out[:, [3, 7]] = out[:, [3, 7]] // 2 + 128
    return out


def decoded(stored: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(N, 8) features that the bytes mean."""
    out = stored / 255
    out[:, [3, 7]] = 2 * out[:, [3, 7]] - 1
    return out.astype(np.float32)


def fit(rays: Rays, made: Quads, there: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], Colour]:
    """Bytes (texels, 8) and the network. there: the texels (H, W) that are."""
    torch.manual_seed(0)
    places = tiles(np.arange(there.size).reshape(there.shape))[: len(made.corners)].ravel()
    index = np.zeros(there.size, np.int64)
    index[places] = np.arange(len(places))
    darkest = np.ones((there.size, 3), np.float32)
    np.minimum.at(darkest, rays.texel, rays.color)
    net, logits = Colour(), Features(made.normals, darkest[places].reshape(-1, SIDE, SIDE, 3))
    at, *pairs = (torch.from_numpy(index[a]) for a in (rays.texel, *neighbours(there)))
    direction, color = torch.from_numpy(rays.direction), torch.from_numpy(rays.color)
    groups = [
        {"params": logits.parameters(), "lr": RATE_FEATURES},
        {"params": net.parameters(), "lr": RATE_NETWORK / 2},
    ]
    patch = torch.from_numpy(index[rays.texel] // SIDE**2)
    counts, order = torch.bincount(patch, minlength=len(made.corners)), torch.argsort(patch)
    first, start = torch.cumsum(counts, 0) - counts, time.perf_counter()

    def draw() -> Tensor:
        """Rows of a batch: of each patch as the root of how many it has, or the ground would have most."""
        of = torch.multinomial(counts.double().sqrt(), BATCH, replacement=True)
        return order[first[of] + (torch.rand(BATCH, dtype=torch.float64) * counts[of]).long()]

    def run(steps: int, optimizer: torch.optim.Optimizer, features: Tensor | None) -> None:
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [g["lr"] for g in optimizer.param_groups], steps, pct_start=0.05, final_div_factor=1e3
        )
        for step in range(steps):
            rows = draw()
            whole = logits() if features is None else None
            here = features[at[rows]] if whole is None else torch.sigmoid(whole.index_select(0, at[rows]))
            loss = ((net(here, direction[rows]) - color[rows]) ** 2).mean()
            apart = torch.zeros(())
            if whole is not None:
                some = torch.randint(len(pairs[0]), (BATCH,))
                one, other = (whole.index_select(0, pair[some]) for pair in pairs)
                apart = SMOOTH * ((one - other) ** 2).sum(1).mean()
            optimizer.zero_grad(set_to_none=True)
            (loss + apart).backward()
            optimizer.step()
            schedule.step()
            if step % 200 == 0 or step == steps - 1:
                good, spent = -10 * np.log10(loss.item()), time.perf_counter() - start
                print(f"{step:5d} {good:6.2f} dB {spent:5.0f} s", flush=True)

    with torch.no_grad():
        begun = torch.sigmoid(logits())
    run(FIRST_STEPS, torch.optim.Adam(net.parameters(), lr=RATE_NETWORK), begun)
    run(STEPS, torch.optim.Adam(groups), None)
    stored = to_bytes(torch.sigmoid(logits()).detach().numpy().astype(np.float64))
    run(LAST_STEPS, torch.optim.Adam(net.parameters(), lr=RATE_NETWORK / 2), torch.from_numpy(decoded(stored)))
    image = np.zeros((there.size, CHANNELS), np.uint8)
    image[places] = stored
    return image, net


def write(folder: Path, made: Quads, stored: NDArray[np.uint8], net: Colour) -> None:
    """The exporter's files of one shard: z up becomes y up, 1 - v, RGBA images, kernels as inputs by outputs."""
    folder.mkdir(parents=True, exist_ok=True)
    uvs = patch_uvs(len(made.corners)) / IMAGE
    lines = []
    for k, (corners, patch) in enumerate(zip(made.corners, uvs, strict=True)):
        lines += [f"v {x:.6f} {z:.6f} {-y:.6f}" for x, y, z in corners]
        lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in patch]
        lines += ["f " + " ".join(f"{4 * k + i}/{4 * k + i}" for i in triangle) for triangle in ((1, 2, 4), (1, 4, 3))]
    (folder / "shape0.obj").write_text("\n".join(lines) + "\n")
    height, width = image_size(len(made.corners))
    for i in range(2):
        image = np.zeros((IMAGE, IMAGE, 4), np.uint8)
        image[..., 3] = 128
        image[:height, :width] = stored.reshape(height, width, CHANNELS)[..., 4 * i : 4 * i + 4]
        Image.fromarray(image).save(folder / f"shape0.pngfeat{i}.png", optimize=True)
    fields: dict[str, Any] = {}
    for i, layer in enumerate(net.layers):
        fields[f"{i}_weights"] = listed(layer.weight.T)
        fields[f"{i}_bias"] = listed(layer.bias)
    (folder / "mlp.json").write_text(json.dumps({**fields, "obj_num": 1}))


def listed(values: Tensor) -> list[Any]:
    """Numbers with as many decimals as float32 has of those near 1."""
    return np.round(values.detach().numpy().astype(np.float64), 7).tolist()


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    cameras = scene.training_cameras(VIEWS, PIXELS, PIXELS)
    made = quads()
    blank = np.ones((*image_size(len(made.corners)), 1), np.uint8)
    there = opacity(seen(made.surface(blank), cameras), blank.shape[:2])
    rays = seen(made.surface(blank), cameras, there)
    # Patches that no ray meets are left out, as those that no training camera sees are by the exporter.
    met = tiles(np.bincount(rays.texel, minlength=there.size).reshape(there.shape))[: len(made.corners)]
    kept = np.flatnonzero(met.any(axis=(1, 2)))
    made, there = Quads(made.corners[kept], made.normals[kept]), untiled(tiles(there)[kept])
    rays = seen(made.surface(there[..., None].astype(np.uint8)), cameras, there)
    rays = rays.of(rays.matched)
    print(f"{len(kept)} patches, {np.count_nonzero(there)} texels, {len(rays)} rays", flush=True)
    stored, net = fit(rays, made, there)
    unknown = ~there.ravel() | (np.bincount(rays.texel, minlength=there.size) == 0)
    values = np.where(unknown[:, None], np.nan, stored).reshape(*there.shape, CHANNELS)
    stored = np.round(filled(values)).astype(np.uint8).reshape(-1, CHANNELS)
    stored[:, 0] = np.maximum(stored[:, 0], 1)
    stored[~there.ravel()] = (0, 0, 0, 128, 0, 0, 0, 128)
    write(folder, made, stored, net)
    print(f"{folder}: {sum(f.stat().st_size for f in folder.iterdir())} bytes")


def neighbours(there: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Numbers of texels that are there and side by side in one patch."""
    number = np.arange(there.size).reshape(there.shape)
    across = there[:, 1:] & there[:, :-1] & (np.arange(1, there.shape[1]) % SIDE > 0)
    down = there[1:] & there[:-1] & (np.arange(1, there.shape[0]) % SIDE > 0)[:, None]
    one = np.concatenate([number[:, :-1][across], number[:-1][down]])
    other = np.concatenate([number[:, 1:][across], number[1:][down]])
    return one, other


def tiles(image: NDArray[Any]) -> NDArray[Any]:
    """(patches, SIDE, SIDE) of an image (H, W)."""
    h, w = image.shape
    return image.reshape(h // SIDE, SIDE, w // SIDE, SIDE).swapaxes(1, 2).reshape(-1, SIDE, SIDE)


def untiled(parts: NDArray[Any]) -> NDArray[Any]:
    """The image (H, W) of patches, zeros where there is none."""
    h, w = image_size(len(parts))
    whole = np.zeros((h // SIDE * (w // SIDE), SIDE, SIDE), parts.dtype)
    whole[: len(parts)] = parts
    return whole.reshape(h // SIDE, w // SIDE, SIDE, SIDE).swapaxes(1, 2).reshape(h, w)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
