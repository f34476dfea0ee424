"""Fits a small nerf2mesh to the analytic scene and writes it as the second stage of the method's training does.

    pip install torch==2.13.0
    python samples/nerf2mesh/train.py samples/nerf2mesh/mesh_stage1

The meshes are the scene's solids, each a rectangle of an image by its own coordinates; what is fitted is the diffuse
colour and three features a texel and the network of 6-32-3 that makes what is added of them, by Adam on the rays of 60
cameras (Tang et al. 2023, section 3.2). Images are written as JPEG, as the method does, and the network is fitted once
more to what that leaves of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from splatlens.samples.fields import scene
from splatlens.samples.fields.views import Rays, seen
from splatlens.viewer.mesh import Surface

HIDDEN = 32
#: Side of the images, and what the meshes have of the scene's own pieces.
SIDE, DETAIL = 576, 0.42
#: Solids by cascade, inside and outside of the unit cube, each with its rectangle: x, y, width, height in texels.
CASCADES = (
    {"ball": (0, 0, 352, 176), "ring": (0, 176, 576, 64), "pedestal": (0, 240, 420, 92), "top": (0, 332, 360, 72)},
    {"ground": (0, 0, 576, 260), "ruby": (0, 260, 192, 96), "jade": (192, 260, 220, 112), "violet": (0, 372, 212, 104)},
)
VIEWS, PIXELS = 60, 208
BATCH, STEPS, LAST_STEPS = 12288, 1600, 300
RATE_TEXELS, RATE_NETWORK = 0.08, 0.004
#: Weight of the squared differences of neighbouring texels' logits: JPEG keeps what is smooth.
SMOOTH = 5e-5
#: As OpenCV's imwrite has them: quality 95, colours at half the resolution.
QUALITY, SUBSAMPLING = 95, "4:2:0"


def cascade(solids: dict[str, tuple[int, int, int, int]]) -> Surface:
    """The mesh of a cascade; texels are blank."""
    meshes = dict(zip((s.name for s in scene.SOLIDS), scene.meshes(DETAIL), strict=True))
    places, uvs, triangles, count = [], [], [], 0
    for name, (x, y, width, height) in solids.items():
        positions, rows, coordinates, _ = meshes[name]
        places.append(np.round(positions, 5))
        # From the middle of the first texel to that of the last: what is looked up is the chart's own.
        uvs.append(np.array([x + 0.5, y + 0.5]) + coordinates * (width - 1, height - 1))
        triangles.append(rows + count)
        count += len(positions)
    return Surface(
        np.concatenate(places).astype(np.float32),
        np.concatenate(triangles).astype(np.int32),
        np.concatenate(uvs).astype(np.float32),
        np.zeros((SIDE, SIDE, 6), np.uint8),
    )


def stacked(parts: list[Surface]) -> Surface:
    """All cascades as one surface, their images one above the other."""
    counts = np.cumsum([0] + [len(p.positions) for p in parts])
    return Surface(
        np.concatenate([p.positions for p in parts]),
        np.concatenate([p.triangles + n for p, n in zip(parts, counts, strict=False)]).astype(np.int32),
        np.concatenate([p.uvs + np.float32([0, SIDE * i]) for i, p in enumerate(parts) if p.uvs is not None]),
        np.zeros((SIDE * len(parts), SIDE, 6), np.uint8),
    )


class Specular(nn.Module):
    """What is added to the diffuse colour."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleList([nn.Linear(6, HIDDEN, bias=False), nn.Linear(HIDDEN, 3, bias=False)])

    def forward(self, directions: Tensor, features: Tensor) -> Tensor:
        return torch.sigmoid(self.net[1](torch.relu(self.net[0](torch.cat([directions, features], dim=1)))))


def fit(rays: Rays, texels: int) -> tuple[NDArray[np.float64], Specular]:
    """(texels, 6) diffuse colour and features, 0 to 1, and the network."""
    net = Specular()
    logits = nn.Parameter(torch.zeros(texels, 6))
    at = torch.from_numpy(rays.texel)
    met = torch.unique(at)
    groups = [{"params": [logits], "lr": RATE_TEXELS}, {"params": net.parameters(), "lr": RATE_NETWORK}]

    def smooth() -> Tensor:
        some = met[torch.randint(len(met), (BATCH,))]
        here = logits[some]
        beside = [logits[(some + step) % texels] for step in (1, SIDE)]
        return SMOOTH * sum(((here - there) ** 2).sum(1).mean() for there in beside)

    run(STEPS, torch.optim.Adam(groups), rays, net, lambda rows: torch.sigmoid(logits[at[rows]]), smooth)
    return torch.sigmoid(logits).detach().numpy().astype(np.float64), net


def run(steps, optimizer, rays, net, carried, extra=None) -> None:  # type: ignore[no-untyped-def]
    """Steps of Adam. carried: what the rays of these rows find, (N, 6). extra: adds to the loss."""
    direction, color = torch.from_numpy(rays.direction), torch.from_numpy(rays.color)
    rates = [g["lr"] for g in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.05, final_div_factor=1e3)
    start = time.perf_counter()
    for step in range(steps):
        rows = torch.randint(len(color), (BATCH,))
        here = carried(rows)
        # Cut to 0..1 as the viewer does, but past 1 the gradient still leads back.
        loss = ((here[:, :3] + net(direction[rows], here[:, 3:]) - color[rows]) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        (loss + extra() if extra else loss).backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            good, spent = -10 * np.log10(loss.item()), time.perf_counter() - start
            print(f"{step:5d} {good:6.2f} dB {spent:5.0f} s", flush=True)


def write_images(folder: Path, values: NDArray[np.float64], met: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The JPEG files; (texels, 6) what they are read back as. Texels that no ray met are as the nearest one met."""
    back = []
    for c in range(len(CASCADES)):
        rows = slice(c * SIDE**2, (c + 1) * SIDE**2)
        nearest = distance_transform_edt(~met[rows].reshape(SIDE, SIDE), return_distances=False, return_indices=True)
        image = values[rows].reshape(SIDE, SIDE, 6)[tuple(nearest)]
        read = []
        for i in range(2):
            path = folder / f"feat{i}_{c}.jpg"
            bytes_ = np.round(255 * image[..., 3 * i : 3 * i + 3]).astype(np.uint8)
            Image.fromarray(bytes_).save(path, quality=QUALITY, subsampling=SUBSAMPLING, optimize=True)
            with Image.open(path) as stored:
                read.append(np.array(stored))
        back.append(np.concatenate(read, axis=2).reshape(-1, 6))
    return (np.concatenate(back) / 255).astype(np.float32)


def write_mesh(path: Path, surface: Surface) -> None:
    """v, vt with 1 - v, f v/vt."""
    assert surface.uvs is not None
    lines = [f"mtllib {path.stem}.mtl "]
    lines += [f"v {x:.5f} {y:.5f} {z:.5f} " for x, y, z in surface.positions.tolist()]
    lines += [f"vt {u / SIDE:.6f} {1 - v / SIDE:.6f} " for u, v in surface.uvs.tolist()]
    lines += ["usemtl defaultMat "]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in row) + " " for row in surface.triangles.tolist()]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl defaultMat \nKd 1 1 1 \nmap_Kd feat0_{path.stem[-1]}.jpg \n")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [cascade(solids) for solids in CASCADES]
    rays = seen(stacked(parts), scene.training_cameras(VIEWS, PIXELS, PIXELS))
    rays = rays.of(rays.matched)
    count = len(CASCADES) * SIDE**2
    met = np.bincount(rays.texel, minlength=count) > 0
    triangles = sum(len(p.triangles) for p in parts)
    print(f"{triangles} triangles, {np.count_nonzero(met)} texels, {len(rays)} rays", flush=True)
    values, net = fit(rays, count)
    stored = torch.from_numpy(write_images(folder, values, met))
    at = torch.from_numpy(rays.texel)
    run(LAST_STEPS, torch.optim.Adam(net.parameters(), lr=RATE_NETWORK / 2), rays, net, lambda rows: stored[at[rows]])
    for c, part in enumerate(parts):
        write_mesh(folder / f"mesh_{c}.obj", part)
    weights = {f"net.{i}.weight": np.round(layer.weight.detach().numpy().T.astype(float), 7).tolist()
               for i, layer in enumerate(net.net)}  # fmt: skip
    bounds = {"bound": 4, "cascade": len(parts)}
    (folder / "mlp.json").write_text(json.dumps({**weights, **bounds}, indent=2))
    print(f"{folder}: {sum(f.stat().st_size for f in folder.iterdir())} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
