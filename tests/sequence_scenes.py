"""Random sequences of both motions, for the tests of the shaders, the file and the page."""

from __future__ import annotations

import numpy as np

from splatlens.viewer.contract import TimeSpan
from splatlens.viewer.scene import Kernel
from splatlens.viewer.sequence import SequenceSplats
from splatlens.viewer.sequence_kernels import Gaussians4D, Spacetime, lower_factor

SPAN = TimeSpan(-0.5, 1.5, 4.0)


def spacetime(n: int = 600, seed: int = 1) -> Spacetime:
    """Splats that come and go over SPAN, some of them there all the time."""
    r = np.random.default_rng(seed)
    widths = np.where(r.random(n) < 0.2, 1e15, r.uniform(0.05, 1.0, n))
    quats = r.normal(size=(n, 4))
    return Spacetime(
        r.uniform(-1, 1, (n, 3)), r.normal(size=(n, 3, 3)) * [[0.4], [0.2], [0.1]], r.uniform(-0.5, 1.5, n),
        widths, quats / np.linalg.norm(quats, axis=1, keepdims=True), r.normal(size=(n, 4)) * 0.7,
        np.exp(r.normal(np.log(0.06), 0.6, (n, 3))), r.uniform(0.02, 0.99, n), r.uniform(-0.1, 1.1, (n, 3)),
    )  # fmt: skip


def gaussians4d(n: int = 600, seed: int = 2, coefficients: int = 16, terms: int = 3) -> Gaussians4D:
    """The same as 4D Gaussians, their colours lively in view and in time."""
    r = np.random.default_rng(seed)
    sh = r.normal(size=(n, terms, coefficients, 3)) * 0.12
    sh[:, 0, 0] = r.uniform(-1.2, 1.6, (n, 3))
    axes = r.normal(size=(n, 3, 3)) * np.exp(r.normal(np.log(0.06), 0.6, (n, 1, 3)))
    widths = np.where(r.random(n) < 0.2, 1e15, r.uniform(0.05, 1.0, n))
    return Gaussians4D(
        r.uniform(-1, 1, (n, 3)), r.normal(size=(n, 3)) * 0.4, r.uniform(-0.5, 1.5, n), widths, lower_factor(axes),
        r.uniform(0.02, 0.99, n), sh, 2.0,
    )  # fmt: skip


def sequence(motion: str, n: int = 600, part_bytes: int = 128 << 20) -> SequenceSplats:
    """A packed sequence; small part_bytes make it several parts."""
    made = spacetime(n) if motion == "spacetime" else gaussians4d(n)
    return SequenceSplats.of(made, SPAN, Kernel(0.2), part_bytes)
