"""NumPy twin of converters/scaffold.py: the Gaussians of a Scaffold-GS model for one camera, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Name of a network to its Linear layers, (weight (out, in), bias (out,)).
Networks = dict[str, list[tuple[Array, Array]]]


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def perceptron(layers: list[tuple[Array, Array]], x: Array) -> Array:
    """x (N, in) through Linear layers with ReLU between them."""
    for i, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if i else x) @ weight.T.astype(np.float64) + bias
    return x


def scaffold(
    anchors: Array,
    offsets: Array,
    features: Array,
    log_scales: Array,
    networks: Networks,
    camera: Array,
    *,
    distances: tuple[bool, bool, bool] = (False, False, False),
    appearance: Array | None = None,
) -> dict[str, Array]:
    """Gaussians (N k rows) as `generate_neural_gaussians` makes them, before those of opacity <= 0 are taken out.

    anchors (N, 3), offsets (N, k, 3), features (N, F), log_scales (N, 6). networks: opacity, cov, color and, with a
    feature bank, bank. distances: which of opacity, cov and color are given the distance. appearance (A,): of the view.
    """
    n, k = offsets.shape[:2]
    view = anchors.astype(np.float64) - camera
    distance = np.linalg.norm(view, axis=1, keepdims=True)
    view = view / distance
    feature = features.astype(np.float64)
    if "bank" in networks:
        logits = perceptron(networks["bank"], np.concatenate([view, distance], axis=1))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        fourth, half = np.tile(feature[:, ::4], (1, 4)), np.tile(feature[:, ::2], (1, 2))
        feature = fourth * weights[:, :1] + half * weights[:, 1:2] + feature * weights[:, 2:]
    near = np.concatenate([feature, view], axis=1)
    far = np.concatenate([near, distance], axis=1)
    given = [far if with_distance else near for with_distance in distances]
    if appearance is not None:
        given[2] = np.concatenate([given[2], np.broadcast_to(appearance, (n, len(appearance)))], axis=1)
    opacity = np.tanh(perceptron(networks["opacity"], given[0])).reshape(n * k)
    covariance = perceptron(networks["cov"], given[1]).reshape(n * k, 7)
    color = sigmoid(perceptron(networks["color"], given[2])).reshape(n * k, 3)
    spread = np.repeat(np.exp(log_scales.astype(np.float64)), k, axis=0)
    turn = covariance[:, 3:]
    return {
        "means": np.repeat(anchors, k, axis=0) + offsets.reshape(n * k, 3) * spread[:, :3],
        "scales": spread[:, 3:] * sigmoid(covariance[:, :3]),
        "quats": turn / np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-12),
        "opacities": opacity,
        "colors": color,
    }
