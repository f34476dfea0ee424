"""Numbers that a shading stage reads from a storage buffer: what bytes mean, and weights (static/mesh/params.js)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.mesh import Input, LightField, Look, Network, channel_words

F32 = NDArray[np.float32]


def pack_params(look: Look) -> F32:
    """(n, 4) float32: scales of all channels, then offsets, four a row and 0 beyond the last channel; then what is the
    method's own: a light field's scales and offsets of its map; a network's inputs that are sines, and its weights.

    A network is given groups of four numbers: the channels, 0 beyond the last; the direction and 0; the sines. Each
    group of sines takes three rows: which of these numbers, frequencies, phases. Then, layer after layer, a group of
    outputs after the other: a row of biases, and for each group of inputs four rows, the weights of one input each.
    """
    parts = [_padded(look.scale), _padded(look.offset)]
    if isinstance(look.method, LightField):
        parts += [_padded(look.method.scale), _padded(look.method.offset)]
    elif isinstance(look.method, Network):
        parts += _network(look.method, look.channels)
    return np.concatenate(parts)


def pack_directions(look: Look) -> NDArray[np.uint32]:
    """Words of the light field's map of directions, row by row."""
    assert isinstance(look.method, LightField)
    return channel_words(look.method.directions).ravel()


def wave_groups(network: Network) -> int:
    """Groups of four inputs that are sines."""
    return -(-sum(one.frequency != 0 for one in network.inputs) // 4)


def _network(network: Network, channels: int) -> list[F32]:
    """Inputs that are sines, and the weights; those of the first layer in the order in which the stage has its inputs.

    So the stage need not gather the inputs that are channels as they are, in whatever order the method takes them.
    """
    direction = -(-channels // 4) * 4

    def number(one: Input) -> int:
        return one.source if one.source < channels else direction + one.source - channels

    waves = [one for one in network.inputs if one.frequency != 0]
    table = np.zeros((3, 4 * wave_groups(network)), np.float32)
    table[:, : len(waves)] = np.array([(number(one), one.frequency, one.phase) for one in waves]).reshape(-1, 3).T
    first = network.layers[0].kernel
    kernel = np.zeros((direction + 4 + table.shape[1], first.shape[1]))
    wave = direction + 4
    for one, row in zip(network.inputs, first.astype(np.float64), strict=True):
        if one.frequency == 0:
            kernel[number(one)] += row
        else:
            kernel[wave] = row
            wave += 1
    parts = [table.reshape(3, -1, 4).transpose(1, 0, 2).reshape(-1, 4)]
    for i, layer in enumerate(network.layers):
        parts.append(_weights(kernel if i == 0 else layer.kernel, layer.bias))
    return parts


def _weights(kernel: NDArray[np.floating], bias: F32) -> F32:
    """Rows of one layer. kernel (inputs, outputs)."""
    inputs, outputs = (-(-n // 4) for n in kernel.shape)
    square = np.zeros((4 * inputs, 4 * outputs), np.float32)
    square[: kernel.shape[0], : kernel.shape[1]] = kernel
    blocks = square.reshape(4 * inputs, outputs, 4).transpose(1, 0, 2)
    return np.concatenate([_padded(bias)[:, None], blocks], axis=1).reshape(-1, 4)


def _padded(values: F32) -> F32:
    """(n, 4), 0 beyond the last."""
    out = np.zeros((-(-len(values) // 4), 4), np.float32)
    out.reshape(-1)[: len(values)] = values
    return out
