"""Splats whose attributes are functions of time: Spacetime Gaussians and native 4D Gaussians, and their GPU words.

Spacetime Gaussians: Li et al. 2024, "Spacetime Gaussian Feature Splatting", section 4.1, the lite model (colours
without view or time). 4D Gaussians: Yang et al. 2024, "Real-time Photorealistic Dynamic Scene Representation and
Rendering with 4D Gaussian Splatting", sections 3.2 and 3.3. Words: docs/format-sequence.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import rotation_matrices

F64 = NDArray[np.float64]
Words = NDArray[np.uint32]

#: Words of a splat, 32 bits each; 4D Gaussians have their SH bytes after them.
SPACETIME_WORDS, GAUSSIAN4D_WORDS = 17, 12
#: Largest finite half, and the largest that scales, velocities and motions take of their unit.
HALF_MAX, UNIT_STEPS = 65504.0, 32768.0


@dataclass(frozen=True)
class Moment:
    """N splats at one time. covariance = axes axes^T.

    means (N, 3) and axes (N, 3, 3): layer coordinates; opacities (N,); colors (N, 3), clamped below at 0.
    """

    means: F64
    axes: F64
    opacities: F64
    colors: F64


@dataclass(frozen=True)
class Spacetime:
    """N Spacetime Gaussians, activated. dt = time - times.

    means (N, 3), motions (N, 3, 3): centre = means + motions[:, 0] dt + motions[:, 1] dt^2 + motions[:, 2] dt^3.
    times, widths (N,): temporal opacity exp(-(dt / widths)^2). quats, omegas (N, 4): rotation quats + omegas dt,
    normalised, w x y z. scales (N, 3): standard deviations. opacities (N,). colors (N, 3): sRGB.
    """

    means: F64
    motions: F64
    times: F64
    widths: F64
    quats: F64
    omegas: F64
    scales: F64
    opacities: F64
    colors: F64

    def __len__(self) -> int:
        return len(self.means)

    def take(self, rows: Any) -> Spacetime:
        return Spacetime(*(getattr(self, f.name)[rows] for f in fields(self)))

    def centres(self, time: float) -> tuple[F64, F64]:
        """Centres (N, 3) and opacities (N,) at a time."""
        dt = (time - self.times)[:, None]
        means = self.means + dt * (self.motions[:, 0] + dt * (self.motions[:, 1] + dt * self.motions[:, 2]))
        return means, self.opacities * np.exp(-np.square(dt[:, 0] / self.widths))

    def at(self, time: float, eye: F64) -> Moment:
        """The splats at a time; eye: the camera's centre, which these do not depend on."""
        means, opacities = self.centres(time)
        quats = self.quats + (time - self.times)[:, None] * self.omegas
        lengths = np.linalg.norm(quats, axis=1)
        turned = rotation_matrices(quats / np.where(lengths > 0, lengths, 1)[:, None])
        # No rotation at all at this time: not drawn.
        opacities = np.where(lengths > 0, opacities, 0)
        return Moment(means, turned * self.scales[:, None, :], opacities, np.maximum(self.colors, 0))

    def halves(self) -> F64:
        """(N, 11) what is stored as halves beside the lengths and the opacities."""
        return np.concatenate([self.quats, self.omegas, self.colors], axis=1)

    def lengths(self) -> F64:
        """(N, 12) what is stored in units of a length."""
        return np.concatenate([self.scales, self.motions.reshape(-1, 9)], axis=1)

    def pack(self, unit: float) -> Words:
        """(17, N) words, a plane each."""
        shapes = [self.quats, self.omegas, self.scales / unit, self.opacities[:, None]]
        halves = [*shapes, self.motions.reshape(-1, 9) / unit, self.colors]
        return _planes([self.means, self.times[:, None], self.widths[:, None]], halves)

    @staticmethod
    def unpack(words: Words, unit: float) -> Spacetime:
        """The float64 values that the words stand for."""
        floats, h = _floats(words[:5]), _halves(words[5:])
        motions = unit * h[:, 12:21].reshape(-1, 3, 3)
        return Spacetime(
            floats[:, :3], motions, floats[:, 3], floats[:, 4], h[:, :4], h[:, 4:8], unit * h[:, 8:11], h[:, 11],
            h[:, 21:24],
        )  # fmt: skip


@dataclass(frozen=True)
class Gaussians4D:
    """N native 4D Gaussians, sliced: their covariance in space and their velocity do not depend on the time.

    means, velocities (N, 3): centre = means + velocities (time - times). times, widths (N,): temporal opacity
    exp(-0.5 ((time - times) / widths)^2), at `cut` or below of which nothing is drawn. factors (N, 3, 3): lower
    triangles L, covariance in space = L L^T. opacities (N,). sh (N, T, K, 3): T terms of a Fourier series in time of K
    spherical harmonics each; colour = 0.5 + sum of cos(2 pi n (times - time) / period) Y_k(direction) sh[:, n, k], the
    direction from the camera to `means`.
    """

    means: F64
    velocities: F64
    times: F64
    widths: F64
    factors: F64
    opacities: F64
    sh: F64
    period: float = 1.0
    cut: float = 0.05

    def __len__(self) -> int:
        return len(self.means)

    def take(self, rows: Any) -> Gaussians4D:
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)[:-2]})

    def centres(self, time: float) -> tuple[F64, F64]:
        """Centres (N, 3) and opacities (N,) at a time."""
        dt = time - self.times
        marginal = np.exp(-0.5 * np.square(dt / self.widths))
        return self.means + dt[:, None] * self.velocities, self.opacities * np.where(marginal > self.cut, marginal, 0)

    def at(self, time: float, eye: F64) -> Moment:
        """The splats at a time; eye: (3,) the camera's centre in layer coordinates."""
        means, opacities = self.centres(time)
        # From the centre that does not move: so the rasterizer that trained them has it (forward.cu, preprocessCUDA).
        relative = self.means - eye
        basis = sh_basis(relative / np.linalg.norm(relative, axis=1, keepdims=True), self.sh.shape[2])
        terms = np.arange(self.sh.shape[1])
        series = np.cos(2 * np.pi * terms * (self.times - time)[:, None] / self.period)
        colors = np.einsum("nt,nk,ntkc->nc", series, basis, self.sh) + 0.5
        return Moment(means, self.factors, opacities, np.maximum(colors, 0))

    def halves(self) -> F64:
        """(N, 3 T K) what is stored as halves, and bytes of them, beside the lengths and the opacities."""
        return self.sh.reshape(len(self), -1)

    def lengths(self) -> F64:
        """(N, 12) what is stored in units of a length."""
        return np.concatenate([self.velocities, self.factors.reshape(-1, 9)], axis=1)

    def pack(self, unit: float) -> Words:
        """(12 + SH words, N) words, a plane each."""
        n = len(self)
        lower = self.factors[:, [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]] / unit
        sh = self.sh.reshape(n, -1, 3)
        rest = sh[:, 1:].reshape(n, -1)
        step = (np.abs(rest).max(axis=1, initial=0) / 127).astype(np.float16).astype(np.float64)
        halves = [self.velocities / unit, lower, self.opacities[:, None], sh[:, 0], step[:, None]]
        head = _planes([self.means, self.times[:, None], self.widths[:, None]], halves)
        data = np.zeros((n, 4 * sh_words(sh.shape[1])), np.int8)
        data[:, : rest.shape[1]] = np.clip(np.rint(rest / np.where(step > 0, step, 1)[:, None]), -127, 127)
        return np.concatenate([head, np.ascontiguousarray(data.view("<u4").T)])

    @staticmethod
    def unpack(words: Words, unit: float, coefficients: int, terms: int, period: float, cut: float) -> Gaussians4D:
        """The float64 values that the words stand for."""
        n = words.shape[1]
        floats, h = _floats(words[:5]), _halves(words[5:GAUSSIAN4D_WORDS])
        factors = np.zeros((n, 3, 3))
        factors[:, [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 1, 2]] = unit * h[:, 3:9]
        sh = np.zeros((n, terms * coefficients, 3))
        sh[:, 0] = h[:, 10:13]
        data = np.ascontiguousarray(words[GAUSSIAN4D_WORDS:].T).view(np.int8)[:, : 3 * (terms * coefficients - 1)]
        sh[:, 1:] = (h[:, 13:14] * data).reshape(n, -1, 3)
        return Gaussians4D(
            floats[:, :3], unit * h[:, :3], floats[:, 3], floats[:, 4], factors, h[:, 9],
            sh.reshape(n, terms, coefficients, 3), period, cut,
        )  # fmt: skip


def sh_words(coefficients: int) -> int:
    """Words that the SH of a 4D Gaussian takes beyond its first coefficient; coefficients: of all terms."""
    return -(-3 * (coefficients - 1) // 4)


def slice4d(scales: F64, left: F64, right: F64, prefilter: float = 0.0) -> tuple[F64, F64, F64]:
    """Velocities (N, 3), temporal standard deviations (N,) and factors (N, 3, 3) of 4D covariances R S S^T R^T.

    scales (N, 4): x y z t. left, right (N, 4): the unit quaternions (a, b, c, d) and (p, q, r, s) of the rotation R =
    flip(M_l M_r) (Yang et al. 2024, equation 5; fudan-zvg/4d-gaussian-splatting, utils/general_utils.py,
    build_rotation_4d). prefilter: variance added in time for the opacity only.
    """
    a, b, c, d = left.T
    p, q, r, s = right.T
    m_l = np.stack([a, -b, -c, -d, b, a, -d, c, c, d, a, -b, d, -c, b, a], axis=1).reshape(-1, 4, 4)
    m_r = np.stack([p, q, r, s, -q, p, -s, r, -r, s, p, -q, -s, -r, q, p], axis=1).reshape(-1, 4, 4)
    turned = (m_l @ m_r)[:, ::-1, ::-1] * scales[:, None, :]
    # A triangle with the time first, S = L L^T: its first column is the slope against time, what is left of the others
    # the covariance at a fixed time. Subtracting S12 S12^T / S_tt instead would cancel for splats that move fast.
    lower = lower_factor(turned[:, [3, 0, 1, 2]])
    velocities = lower[:, 1:, 0] / lower[:, :1, 0]
    return velocities, np.sqrt(np.square(lower[:, 0, 0]) + max(prefilter, 0)), lower[:, 1:, 1:]


def lower_factor(axes: F64) -> F64:
    """(N, K, K) lower triangles L, diagonal at least 0, with L L^T = axes axes^T, by LQ decomposition."""
    upper: F64 = np.asarray(np.linalg.qr(axes.transpose(0, 2, 1), mode="r"))
    lower = upper.transpose(0, 2, 1)
    signs = np.where(np.einsum("nii->ni", lower) < 0, -1.0, 1.0)
    return np.asarray(lower * signs[:, None, :])


def length_unit(largest: float) -> float:
    """The power of two in which lengths are stored as halves: the largest is at most 32768 of it."""
    return float(2.0 ** np.ceil(np.log2(largest / UNIT_STEPS))) if largest > 0 else 1.0


def _planes(floats: list[F64], halves: list[F64]) -> Words:
    """Planes of float32 words, then planes of two halves a word."""
    whole = np.ascontiguousarray(np.concatenate(floats, axis=1).astype("<f4").T).view("<u4")
    packed = np.ascontiguousarray(np.concatenate(halves, axis=1).astype("<f2")).view("<u4")
    return np.concatenate([whole, packed.T]).astype(np.uint32)


def _floats(words: Words) -> F64:
    """(N, P) of P planes of float32."""
    return np.ascontiguousarray(words.T).view(np.float32).astype(np.float64)


def _halves(words: Words) -> F64:
    """(N, 2 P) of P planes of two halves."""
    return np.ascontiguousarray(words.T).view(np.float16).astype(np.float64)
