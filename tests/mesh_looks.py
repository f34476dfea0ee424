"""Looks of every method with random numbers in them, for the tests of what shades meshes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from splatlens.viewer.mesh import Dense, Gaussians, Input, LightField, Look, Matrix, Network

#: A method's axes that are not the layer's, as MobileNeRF's are.
TURNED: Matrix = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


def random_network(
    inputs: Sequence[Input], hidden: Sequence[int], activations: Sequence[str], base: int | None = None, seed: int = 1
) -> Network:
    """Weights such that every layer's sums are about as large as its inputs."""
    r = np.random.default_rng(seed)
    sizes = [len(inputs), *hidden, 3]
    layers = [
        Dense(
            (r.normal(size=(a, b)) * (1.5 / a) ** 0.5).astype(np.float32),
            (0.3 * r.normal(size=b)).astype(np.float32),
            activation,
        )
        for a, b, activation in zip(sizes, sizes[1:], activations, strict=False)
    ]
    return Network(tuple(inputs), tuple(layers), base)


def raw(*sources: int) -> list[Input]:
    """Inputs that are given as they are."""
    return [Input(s) for s in sources]


def encoded(sources: Sequence[int], frequencies: int) -> list[Input]:
    """Sines and cosines of 1, 2, 4, ... times the sources (Mildenhall et al. 2020, equation 4)."""
    return [
        Input(s, 2.0**k, phase) for s in sources for k in range(frequencies) for phase in (0.0, float(np.pi / 2))
    ]


def look_with(method: Any, channels: int, seed: int = 2, **changes: Any) -> Look:
    """A look whose channels have scales and offsets of their own."""
    r = np.random.default_rng(seed)
    scale = r.uniform(0.7, 1.3, channels).astype(np.float32)
    offset = r.uniform(-0.3, 0.1, channels).astype(np.float32)
    return Look(channels, method, scale, offset, **changes)


def gaussians_look(lobes: int, channels: int, **changes: Any) -> Look:
    """BakedSDF's scales: means -1 to 1, scales to 100, which here go to 20."""
    scale, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    for lobe in range(lobes):
        at = 3 + 7 * lobe
        scale[at : at + 3], offset[at : at + 3], scale[at + 3] = 2, -1, 20
    return Look(channels, Gaussians(lobes), scale, offset, **changes)


def light_field_look(
    terms: int, size: tuple[int, int], map_filter: str = "nearest", seed: int = 3, **changes: Any
) -> Look:
    """A map of random waves. size: width, height."""
    r = np.random.default_rng(seed)
    width, height = size
    y, x = np.meshgrid(np.arange(height) / height, np.arange(width) / width, indexing="ij")
    turns = 2 * np.pi * (x[..., None] * r.integers(1, 4, terms) + y[..., None] * r.integers(1, 3, terms))
    field = np.round(128 + 127 * np.sin(turns + r.uniform(0, 6, terms))).astype(np.uint8)
    scale = r.uniform(1, 2, terms).astype(np.float32)
    method = LightField(terms, field, scale, (-scale / 2).astype(np.float32), map_filter)
    return look_with(method, 3 * terms, seed, **changes)
