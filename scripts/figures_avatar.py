"""Figures of avatars: the graph beside its float64 twin, what linear mixing between frames costs, and bytes."""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
from figures_base import ROOT, MissingError, Row, at_most, data_file, reported, work
from numpy.typing import NDArray

from splatlens.converters.avatar import model_of
from splatlens.converters.avatar_clips import posed, sampled
from splatlens.converters.avatar_files import Avatar, read_avatar
from splatlens.converters.avatar_graph import blocks
from splatlens.converters.onnx_file import contract_of, model_bytes, with_contract
from splatlens.viewer.generated import attributes
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.generator_bounds import probe_camera

F64 = NDArray[np.float64]
#: Gaussians held against the twin, which takes them one by one, and frames of each clip.
ROWS, FRAMES = 300, 3


def rows() -> list[Row]:
    """The table's lines: of the sample, and of the real head where it is."""
    made = _figures("avatar sample", _sample())
    try:
        return [*made, *_figures("LAM head", data_file("lam_avatar/p2-1.zip"))]
    except MissingError as missing:
        return [*made, reported("LAM head", str(missing))]


@cache
def _sample() -> Path:
    """The sample's archive."""
    sys.path.insert(0, str(ROOT / "samples" / "avatar"))
    import make

    path = work() / "pip.zip"
    make.write_avatar(path)
    return path


def _figures(name: str, path: Path) -> list[Row]:
    avatar = read_avatar(path)
    start = time.perf_counter()
    made, order = model_of(avatar, path)
    seconds = time.perf_counter() - start
    contract, data = contract_of(made, name), model_bytes(made, name)
    assert contract is not None
    model = Model(contract, data, name)
    worst, mixing, fastest = _errors(avatar, model, order)
    bare = len(model_bytes(with_contract(made, None), name))
    what = f"{len(order):,} Gaussians, {len(avatar.rig.target_names)} blendshapes, {len(contract.tracks)} tracks"
    sizes = f"{bare / 1e6:.2f} MB and {(len(data) - bare) / 1e6:.2f} MB of recordings, made in {seconds:.1f} s; {what}"
    return [
        at_most(f"{name}: graph against its float64 twin, worst relative error", 100, worst / 1e-6, "x 1e-6"),
        reported(f"{name}: linear mixing between frames puts a Gaussian off by at most", f"{mixing:.4f} mm"),
        reported(f"{name}: blendshapes stored", _stored(avatar)),
        reported(f"{name}: model", sizes),
        reported(f"{name}: one run under onnxruntime", f"{fastest:.1f} ms"),
    ]


def _errors(avatar: Avatar, model: Model, order: NDArray[np.int64]) -> tuple[float, float, float]:
    """Worst relative error against the twin; worst distance of mixed frames from the clip, mm; fastest run, ms.

    Centres relative to the figure's farthest coordinate, covariances each to its largest entry.
    """
    sys.path.insert(0, str(ROOT))
    from tests.reference import avatar as twin

    rig, g = avatar.rig, avatar.gaussians
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(order), min(ROWS, len(order)), replace=False)
    bound = order[chosen]
    at = g.vertices[bound]
    turns, scales, _ = np.linalg.svd(g.factors[bound])
    quats = np.stack([twin.quaternion(t * np.linalg.det(t)) for t in turns])
    worst, mixing, times = 0.0, 0.0, [np.inf]
    for clip in rig.clips:
        frames = sampled(rig, clip)
        count = len(frames.matrices) if frames.loop else len(frames.matrices) - 1
        for k in rng.choice(count, min(FRAMES, count), replace=False):
            values = {n: float(v) for n, v in zip(rig.target_names, rng.random(len(rig.target_names)), strict=True)}
            for seconds, share in ((k * clip.duration / count, 0.0), ((k + 0.5) * clip.duration / count, 0.5)):
                start = time.perf_counter()
                out = attributes(model.contract, model.run(Moment(seconds, values, clip.name), probe_camera()))
                times.append(time.perf_counter() - start)
                following = (k + 1) % len(frames.matrices)
                mixed = (1 - share) * frames.matrices[k] + share * frames.matrices[following]
                weights = np.array(list(values.values()))
                if frames.weights is not None:
                    weights = weights + (1 - share) * frames.weights[k] + share * frames.weights[following]
                weights = np.clip(weights, 0, 1)
                means, covariances = twin.avatar(
                    rig.positions[at].astype(np.float64), rig.targets[:, at].astype(np.float64), weights,
                    rig.joints[at], rig.weights[at], _square(mixed), g.offsets[bound], quats, scales,
                )  # fmt: skip
                six = covariances.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]
                assert out.covariances is not None
                off = np.abs(out.covariances[chosen] - six).max(axis=1) / np.abs(six).max(axis=1)
                far = np.abs(out.means[chosen] - means).max() / np.abs(means).max()
                worst = max(worst, float(far), float(off.max()))
                exact = posed(rig, clip, np.array([seconds]))[0][0]
                mixing = max(mixing, _apart(avatar, exact, mixed))
    return worst, mixing, 1e3 * min(times)


def _square(matrices: F64) -> F64:
    """(J, 4, 4) of (J, 3, 4)."""
    return np.concatenate([matrices, np.tile([[[0.0, 0, 0, 1]]], (len(matrices), 1, 1))], axis=1)


def _apart(avatar: Avatar, one: F64, other: F64) -> float:
    """Millimetres between where two sets of matrices (J, 3, 4) put the vertices, at most."""
    rig = avatar.rig
    at = avatar.gaussians.vertices
    mixed = np.einsum("nk,nkij->nij", rig.weights[at], (one - other)[rig.joints[at]])
    places = np.concatenate([rig.positions[at], np.ones((len(at), 1))], axis=1)
    return 1e3 * float(np.linalg.norm(np.einsum("nij,nj->ni", mixed, places), axis=1).max())


def _stored(avatar: Avatar) -> str:
    active = (avatar.rig.targets[:, avatar.gaussians.vertices] != 0).any(axis=2)
    cells = {most: sum(len(b.rows) * len(b.targets) for b in blocks(active, most)) for most in (16, 64)}
    sizes = ", ".join(f"{12e-6 * n:.2f} MB in {most} blocks" for most, n in cells.items())
    return f"{sizes}; {12e-6 * active.size:.2f} MB as one, {12e-6 * active.sum():.2f} MB are not zero"
