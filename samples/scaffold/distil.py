"""Distils a Scaffold-GS model from a trained scene of splats, and writes it as that code's training leaves it.

    pip install torch==2.13.0
    python samples/scaffold/distil.py SCENE.ply OUT_FOLDER [--splats 20000] [--steps 4000]

The scene is merged down to as many splats by moments (splatlens.viewer.merge); four neighbours share an anchor.
Offsets keep their centres exactly; features, scalings and the three MLPs are fitted to their colours, opacities and
covariances, seen from random sides. One thread, fixed seeds.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from networks import FEATURE, PER_ANCHOR, Scaffold, write_run
from numpy.typing import NDArray

from splatlens.converters import read_splats
from splatlens.viewer.merge import areas, merge
from splatlens.viewer.splats import SH_C0, Splats
from splatlens.viewer.tree import refine

Array = NDArray[np.float64]
SEED = 4
#: Opacities are at most this: the MLP ends in tanh, which comes to 1 nowhere.
MOST_OPAQUE = 0.99
#: Weight of a splat by its area x opacity, in units of the mean: neither dust nor walls rule the fit.
WEIGHTS = (0.05, 20.0)
#: Shares of colour, opacity and covariance in what is minimised.
COLOR_LOSS, OPACITY_LOSS, COVARIANCE_LOSS = 3.0, 0.5, 0.3
#: Distances of the random cameras from the scene's middle, in units of its half diagonal.
CAMERA_RANGE = (0.6, 2.4)


@dataclass(frozen=True)
class Targets:
    """What N anchors of k are to give, k rows an anchor: means, colors (N k, 3), opacities (N k,), covs (N k, 3, 3).

    scales (N k, 3): standard deviations, largest first. weights (N k,): of mean 1 or so.
    """

    means: Array
    colors: Array
    opacities: Array
    covs: Array
    scales: Array
    weights: Array


def targets(splats: Splats, count: int) -> Targets:
    """The scene merged down to `count` splats or a few fewer, neighbours of the merge tree after one another."""
    forest = merge(splats, np.zeros(len(splats), np.int64))
    nodes = refine(forest, forest.roots, count)
    nodes = nodes[: len(nodes) // PER_ANCHOR * PER_ANCHOR]
    # Nodes are in preorder, so what lies below one is a range, and its mean colour a difference of running sums.
    leaf = forest.source >= 0
    weight = np.where(leaf, forest.weight, 0)
    color = np.clip(0.5 + SH_C0 * splats.sh[np.maximum(forest.source, 0), 0].astype(np.float64), 0.002, 0.998)
    sums = np.concatenate([np.zeros((1, 4)), np.cumsum(np.column_stack([color * weight[:, None], weight]), axis=0)])
    below = sums[nodes + forest.size[nodes]] - sums[nodes]
    six = forest.covs[nodes]
    covs = six[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    scales = np.sqrt(np.maximum(np.linalg.eigvalsh(covs)[:, ::-1], 1e-16))
    opacities = np.minimum(forest.opacities[nodes], MOST_OPAQUE)
    mass = areas(six) * opacities
    weights = np.clip(mass / mass.mean(), *WEIGHTS)
    return Targets(forest.means[nodes], below[:, :3] / below[:, 3:], opacities, covs, scales, weights)


def started(want: Targets) -> Scaffold:
    """Anchors in the middle of their splats, features from the leading components of what they shall give."""
    n = len(want.means) // PER_ANCHOR
    grouped = want.means.reshape(n, PER_ANCHOR, 3)
    anchors = grouped.mean(axis=1)
    away = grouped - anchors[:, None]
    reach = np.maximum(np.abs(away).max(axis=1), 1e-6)
    largest = want.scales.reshape(n, PER_ANCHOR, 3).max(axis=1) * 1.3
    columns = [want.colors, want.opacities[:, None], 0.2 * np.log(want.scales)]
    table = np.concatenate([c.reshape(n, -1) for c in columns], axis=1)
    left = np.linalg.svd(table - table.mean(axis=0), full_matrices=False)[0] * (0.5 * np.sqrt(n))
    features = np.random.default_rng(SEED).normal(0, 0.5, (n, FEATURE))
    features[:, : left.shape[1]] = left[:, :FEATURE]
    return Scaffold(anchors, away / reach[:, None], features, np.log(np.concatenate([reach, largest], axis=1)))


def fit(model: Scaffold, want: Targets, steps: int) -> None:
    """Adam on all anchors at once, each step seen from another side."""

    def tensor(array: Array) -> torch.Tensor:
        return torch.tensor(array, dtype=torch.float32)

    colors, opacities, covs, weights = map(tensor, (want.colors, want.opacities, want.covs, want.weights))
    size = covs.square().sum((1, 2))
    rates = {"features": 2e-2, "log_scales": 2e-3, "networks": 4e-3}
    groups = {"features": [model.features], "log_scales": [model.log_scales], "networks": model.network_parameters()}
    optimiser = torch.optim.Adam([{"params": groups[name], "lr": rate} for name, rate in rates.items()])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, list(rates.values()), total_steps=steps, pct_start=0.1)
    low, high = want.means.min(axis=0), want.means.max(axis=0)
    middle, radius = tensor((low + high) / 2), float(np.linalg.norm(high - low)) / 2
    start = time.perf_counter()
    for step in range(steps):
        side = torch.nn.functional.normalize(torch.randn(3), dim=0)
        near, far = CAMERA_RANGE
        made = model(middle + side * radius * (near + (far - near) * torch.rand(1)))
        color = (weights[:, None] * (made.colors - colors).square()).mean()
        opacity = (weights * (made.opacities - opacities).square()).mean()
        shape = (weights * (made.covs() - covs).square().sum((1, 2)) / size).mean()
        optimiser.zero_grad()
        (COLOR_LOSS * color + OPACITY_LOSS * opacity + COVARIANCE_LOSS * shape).backward()
        optimiser.step()
        schedule.step()
        if step % 500 == 0 or step == steps - 1:
            parts = f"colour {color.item():.6f}  opacity {opacity.item():.6f}  shape {shape.item():.5f}"
            print(f"{step:5}  {time.perf_counter() - start:5.0f} s  {parts}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("out", type=Path, help="folder of the run; point_cloud/iteration_STEPS is made in it")
    parser.add_argument("--splats", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    want = targets(read_splats(arguments.scene)[0], arguments.splats)
    model = started(want)
    fit(model, want, arguments.steps)
    size = write_run(model, arguments.out, arguments.steps)
    print(f"{arguments.out}: {len(want.means):,} splats, {size:,} bytes", flush=True)


if __name__ == "__main__":
    main()
