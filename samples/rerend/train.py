"""Fits Re-ReND's factorised light field, 32 terms, to the analytic scene, and writes it as the method's exporter does.

    pip install torch==2.13.0
    python samples/rerend/train.py samples/rerend/fields/meshes_textures_1_8

Rojas et al. 2023: colour = sigmoid(sum_j u_j(x) b_j(d)), and so for v and w. The authors train two networks and bake
them into textures; here the textures are fitted themselves, by weighted least squares in turns: texels for the map of
directions as it is, then the map for the texels. Weights make of errors before the sigmoid errors of colour.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from atlas import Atlas, make_atlas, write_obj
from numpy.typing import NDArray
from PIL import Image

from splatlens.samples.fields import scene
from splatlens.samples.fields.shapes import F64, TURN, Disc

#: Terms, and how many of them level discs use, whose normals are all one: the others are 0 there and cost no bytes.
TERMS, FLAT_TERMS = 32, 4
#: Map of directions: columns of azimuth, rows of elevation over a whole turn, and rows that cameras above look along:
#: from straight down to level (the last quarter), and up to 12 degrees (the first rows).
COLUMNS, ROWS = 192, 192
RISING = 7
#: Directions each texel is fitted to, rounds of the fit, and the ridge that keeps features small.
SEEN, ROUNDS, RIDGE = 128, 2, 3e-4
#: Step between bytes of position features, the same for all terms: those that matter little take few values.
STEP = 0.035


def map_directions() -> tuple[F64, NDArray[np.int64]]:
    """Directions (M, 3) of the middles of the map's texels that are fitted, and their number in the map (M,)."""
    rows = np.concatenate([np.arange(RISING), np.arange(3 * ROWS // 4, ROWS)])
    y, x = (a.ravel() for a in np.meshgrid(rows, np.arange(COLUMNS), indexing="ij"))
    elevation, azimuth = (y + 0.5) / ROWS * TURN, (x + 0.5) / COLUMNS * TURN
    c = np.cos(elevation)
    return np.stack([c * np.cos(azimuth), c * np.sin(azimuth), np.sin(elevation)], axis=1), y * COLUMNS + x


def before_sigmoid(atlas: Atlas, rows: NDArray[np.int64], directions: F64) -> tuple[F64, F64]:
    """Values (R, S, 3) whose sigmoid is the scene's colour at texels `rows` along directions (R, S, 3); the colours."""
    s = directions.shape[1]
    same = (atlas.points[rows], atlas.normals[rows], atlas.ids[rows])
    opened = np.repeat(scene.openness(*same), s)
    flat = [np.repeat(a, s, axis=0) for a in same]
    moving = scene.gloss(flat[0], flat[1], directions.reshape(-1, 3), flat[2], opened).reshape(len(rows), s, 3)
    rgb = np.clip(scene.diffuse(*same)[:, None] + moving, 0.01, 0.99)
    return np.log(rgb / (1 - rgb)), rgb


class Samples:
    """Texels T, each with SEEN directions of the map that it faces: index (T, SEEN) into the M directions, values
    before the sigmoid (T, SEEN, 3) and weights (T, SEEN, 3), all float32; flat (T,): texels of level discs."""

    def __init__(self, atlas: Atlas, directions: F64, rng: np.random.Generator) -> None:
        self.flat = np.isin(atlas.ids, [i for i, s in enumerate(scene.SOLIDS) if isinstance(s.shape, Disc)])
        n = len(atlas.ids)
        shares = np.sqrt(1 - directions[:, 2] ** 2)  # rows near straight down hold less of the sphere
        self.index = rng.choice(len(directions), (n, 6 * SEEN), p=shares / shares.sum()).astype(np.int32)
        target, weight = np.empty((n, SEEN, 3), np.float32), np.empty((n, SEEN, 3), np.float32)
        kept = np.empty((n, SEEN), np.int32)
        for at in range(0, n, 2048):
            part = slice(at, min(at + 2048, n))
            d = directions[self.index[part]]
            facing = -np.einsum("tsk,tk->ts", d, atlas.normals[part])
            # Those that are seen come first, in random order; where there are too few, some of the back's.
            order = np.argsort(facing <= 0.03, axis=1, kind="stable")[:, :SEEN]
            kept[part] = np.take_along_axis(self.index[part], order, 1)
            facing = np.take_along_axis(facing, order, 1)
            target[part], rgb = before_sigmoid(atlas, np.arange(n)[part], directions[kept[part]])
            share = np.clip(facing, 0.02, 1) * atlas.areas[part, None]
            weight[part] = np.square(rgb * (1 - rgb)) * share[..., None]
        self.index, self.target, self.weight = kept, target, weight
        self.weight /= self.weight.mean()


def first_map(atlas: Atlas, directions: F64, rng: np.random.Generator, flat: NDArray[np.bool_]) -> F64:
    """(M, TERMS): leading singular vectors over directions, of some texels of discs, then of what is left of others."""
    terms = np.empty((len(directions), 0))
    for group, count in ((flat, FLAT_TERMS), (~flat, TERMS - FLAT_TERMS)):
        rows = rng.choice(np.flatnonzero(group), 300, replace=False)
        table = np.empty((len(rows), 3, len(directions)))
        for i, row in enumerate(rows):
            values = before_sigmoid(atlas, rows[i : i + 1], directions[None])[0][0]
            seen = np.where(directions @ atlas.normals[row] < 0, 1, 0.1)[:, None]
            mean = (values * seen).sum(0) / seen.sum()
            table[i] = ((values - mean) * seen + mean).T
        matrix = table.reshape(-1, len(directions))
        basis = np.linalg.qr(terms)[0]
        matrix = matrix - matrix @ basis @ basis.T
        # The few rows' own products are the smaller matrix.
        vectors = matrix.T @ np.linalg.eigh(matrix @ matrix.T)[1][:, : -count - 1 : -1]
        terms = np.concatenate([terms, np.linalg.qr(vectors)[0] * np.sqrt(len(directions))], axis=1)
    return terms


def fit_texels(samples: Samples, terms: F64) -> NDArray[np.float32]:
    """(T, 3, TERMS): features of each texel and colour for the map as it is."""
    out = np.zeros((len(samples.index), 3, TERMS), np.float32)
    across = torch.tensor(terms, dtype=torch.float32)
    for flat, count in ((True, FLAT_TERMS), (False, TERMS)):
        rows = np.flatnonzero(samples.flat == flat)
        for part in np.array_split(rows, max(1, len(rows) // 1024)):
            b = across[torch.tensor(samples.index[part], dtype=torch.int64), :count]
            w, goal = torch.tensor(samples.weight[part]), torch.tensor(samples.target[part])
            heavy = b[:, None] * w.permute(0, 2, 1)[..., None]
            gram = heavy.transpose(2, 3) @ b[:, None]
            scale = w.sum(1)[:, :, None, None]
            gram += RIDGE * scale * torch.eye(count)
            right = heavy.transpose(2, 3) @ goal.permute(0, 2, 1)[..., None]
            out[part, :, :count] = torch.linalg.solve(gram, right)[..., 0].numpy()
    return out


def fit_map(samples: Samples, features: NDArray[np.float32], terms: F64) -> F64:
    """(M, TERMS): the map for the texels as they are; stays near what it was where few texels look."""
    order = np.argsort(samples.index.ravel(), kind="stable")
    ends = np.searchsorted(samples.index.ravel()[order], np.arange(len(terms) + 1))
    target, weight = samples.target.reshape(-1, 3), samples.weight.reshape(-1, 3)
    out = terms.copy()
    for m in range(len(terms)):
        rows = order[ends[m] : ends[m + 1]]
        if not len(rows):
            continue
        u = features[rows // SEEN].reshape(-1, TERMS)
        w = weight[rows].reshape(-1, 1)
        pull = 1e-3 * max(float(w.sum()), 1.0)
        gram = (u * w).T @ u + pull * np.eye(TERMS)
        right = (u * w).T @ target[rows].reshape(-1) + pull * terms[m]
        out[m] = np.linalg.solve(gram, right)
    return out


def separated(terms: F64, features: NDArray[np.float32], flat: NDArray[np.bool_]) -> F64:
    """The same span with terms square to each other, those that matter most first, discs' terms before the others."""
    m = len(terms)
    first, rest = terms[:, :FLAT_TERMS], terms[:, FLAT_TERMS:]
    basis, corner = np.linalg.qr(first)
    scores = features[flat][..., :FLAT_TERMS].reshape(-1, FLAT_TERMS) @ corner.T
    first = basis @ np.linalg.svd(scores.T @ scores)[0]
    rest = rest - first @ (first.T @ rest)
    basis, corner = np.linalg.qr(rest)
    scores = features[~flat][..., FLAT_TERMS:].reshape(-1, TERMS - FLAT_TERMS) @ corner.T
    return np.concatenate([first, basis @ np.linalg.svd(scores.T @ scores)[0]], axis=1) * np.sqrt(m)


def error(samples: Samples, features: NDArray[np.float32], terms: F64) -> str:
    """PSNR of colours over the samples, weighted by area, of discs and of the others."""
    said = []
    for flat in (True, False):
        rows = np.flatnonzero(samples.flat == flat)[::7]
        made = np.einsum("tck,tsk->tsc", features[rows], terms[samples.index[rows]])
        sigmoid = [1 / (1 + np.exp(-v)) for v in (made, samples.target[rows])]
        share = samples.weight[rows] / np.square(sigmoid[1] * (1 - sigmoid[1]))
        said.append(-10 * np.log10((np.square(sigmoid[0] - sigmoid[1]) * share).sum() / share.sum()))
    return f"discs {said[0]:.2f} dB, others {said[1]:.2f} dB"


def quantised(values: F64, step: float = 0.0) -> tuple[NDArray[np.uint8], F64, F64]:
    """Bytes (..., K), lowest (K,) and range (K,): byte / 255 * range + lowest. step: least distance of two bytes."""
    flat = values.reshape(-1, values.shape[-1])
    low = flat.min(axis=0)
    span = np.maximum(flat.max(axis=0) - low, max(255 * step, 1e-6))
    return np.round((values - low) / span * 255).astype(np.uint8), low, span


def mosaic(texels: NDArray[np.uint8]) -> Image.Image:
    """(H, W, TERMS) as four columns of RGBA tiles, row by row from the top."""
    h, w, terms = texels.shape
    tiles = texels.reshape(h, w, terms // 16, 4, 4).transpose(2, 0, 3, 1, 4)
    return Image.fromarray(np.ascontiguousarray(tiles.reshape(terms // 16 * h, 4 * w, 4)), "RGBA")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    begun, rng = time.monotonic(), np.random.default_rng(0)
    atlas = make_atlas()
    directions, numbers = map_directions()
    samples = Samples(atlas, directions, rng)
    print(f"{len(atlas.ids)} texels, {len(directions)} directions, {time.monotonic() - begun:.0f} s", flush=True)
    terms = first_map(atlas, directions, rng, samples.flat)
    for turn in range(ROUNDS):
        features = fit_texels(samples, terms)
        print(f"round {turn}: {error(samples, features, terms)}, {time.monotonic() - begun:.0f} s", flush=True)
        terms = separated(fit_map(samples, features, terms), features, samples.flat)
    # The map's bytes are fixed first: the texels then make good what rounding it did.
    codes, low, span = quantised(terms)
    ranges = {"min_b": low.tolist(), "max_b": span.tolist()}
    terms = codes / 255 * span + low
    features = fit_texels(samples, terms)
    print(f"map rounded: {error(samples, features, terms)}", flush=True)
    table = np.zeros((ROWS * COLUMNS, TERMS), np.uint8)
    table[numbers] = codes
    mosaic(table.reshape(ROWS, COLUMNS, TERMS)).save(out / "feat_b.png", optimize=True)
    for channel, letter in enumerate("uvw"):
        codes, low, span = quantised(features[:, channel], STEP)
        features[:, channel] = codes / 255 * span + low
        ranges |= {f"min_{letter}": low.tolist(), f"max_{letter}": span.tolist()}
        mosaic(atlas.spread(codes)).save(out / f"feat_{letter}.png", optimize=True)
    print(f"rounded: {error(samples, features, terms)}", flush=True)
    (out / "minmax.json").write_text(json.dumps(ranges, indent=1))
    write_obj(out / f"{out.resolve().parent.name}.obj", atlas)
    size = sum(p.stat().st_size for p in out.iterdir())
    print(f"{out}: {size:,} bytes, {time.monotonic() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
