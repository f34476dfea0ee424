"""Small folders of MobileNeRF and nerf2mesh with known contents, written as the methods' exporters write them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Texels along a patch of MobileNeRF, and patches a row of the images made here.
PATCH, PER_ROW = 17, 3
SIDE = 64


def dense_weights(rng: np.random.Generator, sizes: list[int]) -> list[tuple[list[list[float]], list[float]]]:
    """Kernels, inputs by outputs, and biases of a network."""
    return [
        (rng.normal(0, 0.8, (a, b)).tolist(), rng.normal(0, 0.3, b).tolist())
        for a, b in itertools.pairwise(sizes)
    ]


def write_mobilenerf(folder: Path, shards: int = 1, quads: int = 5, seed: int = 0) -> NDArray[np.uint8]:
    """A folder of square patches that stand about the origin; the features (shards, SIDE, SIDE, 8) of its images.

    Texels of empty places are zeros with the alphas of zero, 128; some texels within patches are empty, too.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = {}
    for i, (kernel, bias) in enumerate(dense_weights(rng, [11, 16, 16, 3])):
        network[f"{i}_weights"], network[f"{i}_bias"] = kernel, bias
    (folder / "mlp.json").write_text(json.dumps({**network, "obj_num": shards}))
    made = np.zeros((shards, SIDE, SIDE, 8), np.uint8)
    made[..., [3, 7]] = 128
    for s in range(shards):
        lines = []
        for k in range(quads):
            row, column = divmod(k, PER_ROW)
            y, x = row * PATCH, column * PATCH
            patch = rng.integers(1, 256, (PATCH, PATCH, 8))
            patch[..., [3, 7]] = patch[..., [3, 7]] // 2 + 128
            patch[rng.random((PATCH, PATCH)) < 0.1] = (0, 0, 0, 128, 0, 0, 0, 128)
            made[s, y : y + PATCH, x : x + PATCH] = patch
            centre, turn = rng.normal(0, 0.4, 3), np.linalg.qr(rng.normal(size=(3, 3)))[0]
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                px, py, pz = centre + turn @ [i - 0.5, j - 0.5, 0]
                lines.append(f"v {px:.6f} {pz:.6f} {-py:.6f}")
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                u, v = (x + 0.5 + i * (PATCH - 1)) / SIDE, (y + 0.5 + j * (PATCH - 1)) / SIDE
                lines.append(f"vt {u:.6f} {1 - v:.6f}")
            a = 4 * k + 1
            lines += [f"f {a}/{a} {a + 1}/{a + 1} {a + 3}/{a + 3}", f"f {a}/{a} {a + 3}/{a + 3} {a + 2}/{a + 2}"]
        (folder / f"shape{s}.obj").write_text("\n".join(lines) + "\n")
        for i in range(2):
            Image.fromarray(made[s, ..., 4 * i : 4 * i + 4].copy()).save(folder / f"shape{s}.pngfeat{i}.png")
    return made


def write_nerf2mesh(folder: Path, cascades: int = 2, hidden: int = 32, seed: int = 0) -> None:
    """A folder of flat grids with seams: cascade c is twice as far out, and its images half as large."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = {f"net.{i}.weight": kernel for i, (kernel, _) in enumerate(dense_weights(rng, [6, hidden, 3]))}
    (folder / "mlp.json").write_text(json.dumps({**network, "bound": 2.0**cascades, "cascade": cascades}, indent=2))
    for c in range(cascades):
        side = SIDE >> c
        for i in range(2):
            smooth = rng.integers(40, 216, (4, 4, 3)).repeat(side // 4, 0).repeat(side // 4, 1).astype(np.uint8)
            Image.fromarray(smooth).save(folder / f"feat{i}_{c}.jpg", quality=95)
        lines = [f"mtllib mesh_{c}.mtl "]
        points = [(x, y) for y in range(3) for x in range(3)]
        lines += [f"v {(x - 1) * 2**c} {(y - 1) * 2**c} {0.25 * ((x + y) % 2) - c} " for x, y in points]
        # The middle column is a seam: its vertices have a vt on each side of it.
        charts = [[(x * 0.2 + 0.05, 0.1 + y * 0.4) for x in range(2) for y in range(3)],
                  [(x * 0.2 + 0.55, 0.1 + y * 0.4) for x in range(2) for y in range(3)]]  # fmt: skip
        lines += [f"vt {u} {1 - v} " for chart in charts for u, v in chart]
        lines += ["usemtl defaultMat "]
        for chart in range(2):
            for y in range(2):
                corners = [(y + dy) * 3 + chart + dx + 1 for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1))]
                texture = [6 * chart + 3 * dx + y + dy + 1 for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1))]
                pair = [f"{v}/{t}" for v, t in zip(corners, texture, strict=True)]
                lines += [f"f {pair[0]} {pair[1]} {pair[3]} ", f"f {pair[0]} {pair[3]} {pair[2]} "]
        (folder / f"mesh_{c}.obj").write_text("\n".join(lines) + "\n")
