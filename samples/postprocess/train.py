"""Trains the two networks of this sample: `detail` gives back what a small splat budget takes, `ink` is a style.

    python samples/postprocess/train.py SCENE.lens [--cache views.npz] [--only detail]

SCENE.lens is the Tholos sample. Needs torch (pip install torch==2.13.0); a quarter of an hour on one core.
Writes detail.onnx and ink.onnx beside this file and prints the figures of README.md, of views held out from the fit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import networks
import numpy as np
import torch
import views
from numpy.typing import NDArray
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
SEED = 2026
#: Side of the squares that a step learns from, pixels, and how many of them.
CROP, BATCH = 96, 8


def run(layers: nn.ModuleList, kind: str, image: Tensor) -> Tensor:
    """What the exported graph computes at strength 1, unclipped: networks.graph has the same operators."""
    x = image
    for layer in layers[:-1]:
        x = torch.relu(layer(x))
    x = layers[-1](x)
    return image + nn.functional.pixel_shuffle(x, 2) if kind == "detail" else x


def crops(given: NDArray[np.float32], wanted: NDArray[np.float32], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A batch of squares at random places, half of them mirrored."""
    picked: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for _ in range(BATCH):
        n, y, x = (int(rng.integers(m)) for m in (len(given), given.shape[2] - CROP + 1, given.shape[3] - CROP + 1))
        turn = -1 if rng.random() < 0.5 else 1
        a, b = (images[n, :, y : y + CROP, x : x + CROP][..., ::turn] for images in (given, wanted))
        picked.append((a, b))
    a, b = (np.ascontiguousarray(np.stack(side)) for side in zip(*picked, strict=True))
    return torch.from_numpy(a), torch.from_numpy(b)


def train(kind: str, given: NDArray[np.float32], wanted: NDArray[np.float32], steps: int) -> nn.ModuleList:
    """Least squares by Adam, the rate falling to nothing as a cosine."""
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    layers = nn.ModuleList(
        nn.Conv2d(n, m, size, stride, padding) for n, m, size, stride, padding in networks.LAYERS[kind]
    )
    if kind == "detail":
        for parameter in layers[-1].parameters():
            nn.init.zeros_(parameter)  # starts as the picture itself
    optimiser = torch.optim.Adam(layers.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    start, mean = time.perf_counter(), 0.0
    for step in range(1, steps + 1):
        a, b = crops(given, wanted, rng)
        loss = torch.mean((run(layers, kind, a) - b) ** 2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        mean += (float(loss.detach()) - mean) / min(step, 200)
        if step % 500 == 0:
            took = time.perf_counter() - start
            print(f"{kind}: step {step}, {-10 * np.log10(mean):.2f} dB on the squares, {took:.0f} s", flush=True)
    return layers


def report(kind: str, layers: nn.ModuleList, given: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    """Mean dB over held-out views, of the input and of the output."""
    before, after = [], []
    with torch.no_grad():
        for a, b in zip(given, wanted, strict=True):
            out = run(layers, kind, torch.from_numpy(a[None]))[0].numpy().clip(0, 1)
            before.append(-10 * np.log10(np.mean((a - b) ** 2)))
            after.append(-10 * np.log10(np.mean((out - b) ** 2)))
    print(f"{kind}: {len(after)} held-out views, input {np.mean(before):.2f} dB, output {np.mean(after):.2f} dB, "
          f"least gain {np.min(np.subtract(after, before)):.2f} dB", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("views.npz"), help="where rendered views are kept")
    parser.add_argument("--only", choices=sorted(networks.LAYERS))
    parser.add_argument("--steps", type=int, default=4000)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seen = views.load(arguments.scene, arguments.cache)
    n = seen.training
    for kind in [arguments.only] if arguments.only else sorted(networks.LAYERS):
        given = seen.coarse if kind == "detail" else seen.full
        wanted = seen.full if kind == "detail" else networks.ink(seen.full)
        layers = train(kind, given[:n], wanted[:n], arguments.steps)
        report(kind, layers, given[n:], wanted[n:])
        weights = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]
        model = networks.graph(kind, weights)
        (HERE / f"{kind}.onnx").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main()
