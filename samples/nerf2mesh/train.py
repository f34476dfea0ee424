"""Fits a small nerf2mesh to the analytic scene and writes it as the second stage of the method's training does.

    pip install torch==2.13.0
    python samples/nerf2mesh/train.py samples/nerf2mesh/mesh_stage1

What is fitted is the diffuse colour and three features a texel and the network of 6-32-3 that makes what is added of
them, by Adam on the rays of cameras around the scene (Tang et al. 2023, section 3.2). A texture is a sum of images of
several resolutions, each a half of the one before: a texel that few rays meet is as those about it. Features start as
normals, or the network finds no highlights. Then the diffuse colours are solved for by least squares, images are
written as JPEG, as the method does, and the network is fitted once more to what that leaves of them.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
from charts import CASCADES, SIDE, Chart, cascade, joined
from numpy.typing import NDArray
from PIL import Image
from scipy import sparse
from scipy.sparse.linalg import cg
from torch import Tensor, nn
from torch.nn import functional

from splatlens.samples.fields import scene
from splatlens.samples.fields.views import Rays, seen
from splatlens.viewer.mesh import Surface

HIDDEN = 32
VIEWS, PIXELS = 72, 384
BATCH, FIRST_STEPS, STEPS, LAST_STEPS = 16384, 5000, 800, 300
RATE_DIFFUSE, RATE_FEATURES, RATE_NETWORK = 0.04, 0.012, 0.015
#: Texels along a texel of each level of a texture: paint has crisp edges, what shines changes slowly over a solid.
DIFFUSE_LEVELS, FEATURE_LEVELS = (1, 2, 4, 8), (4, 8, 16)
#: Where features start: 0.5 and this much of the normal. Reflections follow from it and the direction.
NORMALS = 0.45
#: Weight of the squared difference of neighbouring texels' diffuse colours, beside the rays that meet them; a half of
#: it where they are EDGE apart, less past that. Solved for so often, each time with weights after the last answer.
SMOOTH, EDGE, ROUNDS = 10.0, 0.03, 3
#: Colours of the scene that are cut off there say nothing but that it is as bright.
WHITE = 0.999
#: Of the images of diffuse colours and of features; neither is stored at half the resolution.
QUALITY = (95, 97)


class Texture(nn.Module):
    """A chart's texture: logits of diffuse colours and features, as sums of levels interpolated linearly.

    start: (height, width, 6) what these are added to, 0 to 1.
    """

    def __init__(self, chart: Chart, start: Tensor) -> None:
        super().__init__()
        self.chart = chart
        self.diffuse, self.features = (
            nn.ParameterList([nn.Parameter(torch.zeros(1, 3, *self._size(n))) for n in levels])
            for levels in (DIFFUSE_LEVELS, FEATURE_LEVELS)
        )
        self.register_buffer("start", torch.logit(start.permute(2, 0, 1)))

    def forward(self) -> Tensor:
        """(6, height, width)"""
        diffuse, features = self._sum(self.diffuse, DIFFUSE_LEVELS), self._sum(self.features, FEATURE_LEVELS)
        return self.start + torch.cat([diffuse[0], features[0]])

    def _sum(self, levels: nn.ParameterList, along: tuple[int, ...]) -> Tensor:
        """At the texture's resolution, from the coarsest level on."""
        out, at = levels[-1], along[-1]
        for i in reversed(range(len(along) - 1)):
            out = levels[i] + self._finer(out, at // along[i], along[i])
            at = along[i]
        return out if at == 1 else self._finer(out, at, 1)

    def _finer(self, level: Tensor, times: int, n: int) -> Tensor:
        """A level at `times` its resolution. All charts close along u: the last texel is beside the first."""
        height, width = self._size(n)
        around = functional.pad(functional.pad(level, (1, 1, 0, 0), "circular"), (0, 0, 1, 1), "replicate")
        fine = functional.interpolate(around, scale_factor=times, mode="bilinear")
        return fine[..., times : times + height, times : times + width]

    def _size(self, n: int) -> tuple[int, int]:
        """Height and width of the level whose texels are n of the texture's along."""
        return -(-self.chart.size[1] // n), -(-self.chart.size[0] // n)


class Specular(nn.Module):
    """What is added to the diffuse colour."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.ModuleList([nn.Linear(6, HIDDEN, bias=False), nn.Linear(HIDDEN, 3, bias=False)])

    def forward(self, directions: Tensor, features: Tensor) -> Tensor:
        return torch.sigmoid(self.net[1](torch.relu(self.net[0](torch.cat([directions, features], dim=1)))))


def numbers() -> list[NDArray[np.int64]]:
    """(height, width) a chart: numbers of its texels in the images, that of each cascade below the one before."""
    image = np.arange(len(CASCADES) * SIDE**2).reshape(len(CASCADES), SIDE, SIDE)
    return [np.concatenate([image[c][r] for r in chart.rectangles], axis=1) for c in range(len(CASCADES))
            for chart in CASCADES[c]]  # fmt: skip


def begun(rays: Rays, count: int) -> NDArray[np.float32]:
    """(count, 6) where texels start: the darkest colour that a ray finds, and the normal."""
    values = np.full((count, 6), 0.5, np.float32)
    darkest = np.ones((count, 3), np.float32)
    np.minimum.at(darkest, rays.texel, rays.color)
    met = np.bincount(rays.texel, minlength=count) > 0
    values[met, :3] = np.clip(darkest[met], 0.02, 0.98)
    for number, chart in zip(numbers(), (chart for charts in CASCADES for chart in charts), strict=True):
        values[number, 3:] = 0.5 + NORMALS * chart.normals()
    return values


def draw(rays: Rays) -> Callable[[], Tensor]:
    """What draws rows of a batch: of each chart as the root of how many it has, or the ground would have most."""
    chart = np.zeros(len(CASCADES) * SIDE**2, np.int64)
    for i, number in enumerate(numbers()):
        chart[number] = i
    counts = torch.from_numpy(np.bincount(chart[rays.texel]))
    order = torch.from_numpy(np.argsort(chart[rays.texel], kind="stable"))
    first = torch.cumsum(counts, 0) - counts

    def rows() -> Tensor:
        of = torch.multinomial(counts.double().sqrt(), BATCH, replacement=True)
        return order[first[of] + (torch.rand(BATCH, dtype=torch.float64) * counts[of]).long()]

    return rows


def fit(rays: Rays, count: int) -> tuple[NDArray[np.float32], Specular]:
    """(count, 6) diffuse colour and features, 0 to 1, and the network: first that alone, then all."""
    net = Specular()
    values = begun(rays, count)
    first, texel = torch.from_numpy(values), torch.from_numpy(rays.texel)
    run(FIRST_STEPS, torch.optim.Adam(net.parameters(), lr=RATE_NETWORK), rays, net, lambda rows: first[texel[rows]])
    textures = nn.ModuleList(
        [Texture(chart, first[torch.from_numpy(number)])
         for number, chart in zip(numbers(), (chart for charts in CASCADES for chart in charts), strict=True)]
    )  # fmt: skip
    places = np.concatenate([n.ravel() for n in numbers()])
    index = np.zeros(count, np.int64)
    index[places] = np.arange(len(places))
    at = torch.from_numpy(index[rays.texel])
    groups = [
        {"params": [p for t in textures for p in t.diffuse], "lr": RATE_DIFFUSE},
        {"params": [p for t in textures for p in t.features], "lr": RATE_FEATURES},
        {"params": list(net.parameters()), "lr": RATE_NETWORK / 3},
    ]

    def whole() -> Tensor:
        return torch.cat([texture().reshape(6, -1) for texture in textures], dim=1)

    run(STEPS, torch.optim.Adam(groups), rays, net, lambda rows: torch.sigmoid(whole().index_select(1, at[rows]).T))
    with torch.no_grad():
        values[places] = torch.sigmoid(whole()).T.numpy()
    return values, net


def run(
    steps: int, optimizer: torch.optim.Optimizer, rays: Rays, net: Specular, carried: Callable[[Tensor], Tensor]
) -> None:
    """Steps of Adam. carried: what the rays of these rows find, (N, 6)."""
    direction, color = torch.from_numpy(rays.direction), torch.from_numpy(rays.color)
    rates = [g["lr"] for g in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, steps, pct_start=0.05, final_div_factor=1e3)
    drawn, start = draw(rays), time.perf_counter()
    for step in range(steps):
        rows = drawn()
        here, want = carried(rows), color[rows]
        off = here[:, :3] + net(direction[rows], here[:, 3:]) - want
        # Shown cut to 0..1: past 1 is right where the scene is that bright.
        loss = (off**2 * ~((want > WHITE) & (off > 0))).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 200 == 0 or step == steps - 1:
            good, spent = -10 * np.log10(loss.item()), time.perf_counter() - start
            print(f"{step:5d} {good:6.2f} dB {spent:5.0f} s", flush=True)


def solved(rays: Rays, values: NDArray[np.float32], net: Specular) -> NDArray[np.float32]:
    """(texels, 3) diffuse colours: of least squares over all rays and pairs of neighbours, features and network given.

    That is the mean over the rays that meet a texel, less what is added to it, drawn to its neighbours as to SMOOTH of
    a ray each, but not across edges; texels that no ray meets are what is about them.
    """
    color, direction = torch.from_numpy(rays.color), torch.from_numpy(rays.direction)
    rest = np.empty_like(rays.color)
    features = torch.from_numpy(values[:, 3:])
    with torch.no_grad():
        for i in range(0, len(rays), 1 << 18):
            part = slice(i, i + (1 << 18))
            rest[part] = color[part] - net(direction[part], features[rays.texel[part]])
    counts = rays.color <= WHITE
    hits, total = (
        np.stack([np.bincount(rays.texel, w[:, c], len(values)) for c in range(3)], axis=1)
        for w in (counts, counts * rest)
    )
    out = values[:, :3].copy()
    for number in numbers():
        out[number.ravel()] = drawn_together(hits[number], total[number], out[number])
    return out


def drawn_together(
    hits: NDArray[np.float64], total: NDArray[np.float64], start: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(H W, 3) colours of a chart, of the rays that meet its texels and the sum of what they find, (H, W, 3) each."""
    grid = np.arange(hits[..., 0].size).reshape(hits.shape[:2])
    one = np.concatenate([grid.ravel(), grid[1:].ravel()])
    other = np.concatenate([np.roll(grid, 1, axis=1).ravel(), grid[:-1].ravel()])
    out = start.reshape(-1, 3).astype(np.float64)
    for _ in range(ROUNDS):
        weight = SMOOTH / (1 + ((out[one] - out[other]) ** 2).sum(axis=1) / EDGE**2)
        beside = sparse.coo_matrix((weight, (one, other)), (grid.size, grid.size)).tocsr()
        beside = beside + beside.T
        apart = sparse.diags(np.asarray(beside.sum(axis=1)).ravel() + 1e-6) - beside
        for c in range(3):
            known = sparse.diags(hits[..., c].ravel())
            wanted = total[..., c].ravel() + 1e-6 * out[:, c]
            out[:, c], _ = cg(apart + known, wanted, out[:, c], maxiter=100, rtol=1e-4)
    return np.clip(out, 0, 1)


def write_images(folder: Path, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The JPEG files; (texels, 6) what they are read back as."""
    back = []
    for c, image in enumerate(values.reshape(len(CASCADES), SIDE, SIDE, 6)):
        read = []
        for i in range(2):
            path = folder / f"feat{i}_{c}.jpg"
            bytes_ = np.round(255 * image[..., 3 * i : 3 * i + 3]).astype(np.uint8)
            Image.fromarray(bytes_).save(path, quality=QUALITY[i], subsampling="4:4:4", optimize=True)
            with Image.open(path) as stored:
                read.append(np.array(stored))
        back.append(np.concatenate(read, axis=2).reshape(-1, 6))
    return (np.concatenate(back) / 255).astype(np.float32)


def write_mesh(path: Path, surface: Surface) -> None:
    """v, vt with 1 - v, f v/vt."""
    assert surface.uvs is not None
    lines = [f"mtllib {path.stem}.mtl "]
    lines += [f"v {x:.4f} {y:.4f} {z:.4f} " for x, y, z in surface.positions.tolist()]
    lines += [f"vt {u / SIDE:.6f} {1 - v / SIDE:.6f} " for u, v in surface.uvs.tolist()]
    lines += ["usemtl defaultMat "]
    lines += ["f " + " ".join(f"{i + 1}/{i + 1}" for i in row) + " " for row in surface.triangles.tolist()]
    path.write_text("\n".join(lines) + "\n")
    path.with_suffix(".mtl").write_text(f"newmtl defaultMat \nKd 1 1 1 \nmap_Kd feat0_{path.stem[-1]}.jpg \n")


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    parts = [cascade(charts) for charts in CASCADES]
    rays = seen(joined(parts, SIDE), scene.training_cameras(VIEWS, PIXELS, PIXELS))
    rays = rays.of(rays.matched)
    count = len(CASCADES) * SIDE**2
    triangles, texels = sum(len(p.triangles) for p in parts), sum(n.size for n in numbers())
    print(f"{triangles} triangles, {texels} texels, {len(rays)} rays", flush=True)
    values, net = fit(rays, count)
    values[:, :3] = solved(rays, values, net)
    stored = torch.from_numpy(write_images(folder, values))
    at = torch.from_numpy(rays.texel)
    run(LAST_STEPS, torch.optim.Adam(net.parameters(), lr=RATE_NETWORK / 8), rays, net, lambda rows: stored[at[rows]])
    for c, part in enumerate(parts):
        write_mesh(folder / f"mesh_{c}.obj", part)
    weights = {f"net.{i}.weight": np.round(layer.weight.detach().numpy().T.astype(float), 7).tolist()
               for i, layer in enumerate(net.net)}  # fmt: skip
    bounds = {"bound": 4, "cascade": len(parts)}
    (folder / "mlp.json").write_text(json.dumps({**weights, **bounds}, indent=2))
    print(f"{folder}: {sum(f.stat().st_size for f in folder.iterdir())} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
