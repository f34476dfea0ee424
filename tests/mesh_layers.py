"""Small mesh layers for the tests of their files: trees of random surfaces, every kind of look, .lens files of them."""

from __future__ import annotations

import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.viewer.lens import BlobLayer, LensReader, write_lens
from splatlens.viewer.mesh import (
    Dense,
    Gaussians,
    Input,
    LightField,
    Look,
    MeshNodes,
    MeshTree,
    Network,
    Surface,
    plain_look,
    words_of,
)
from splatlens.viewer.mesh_lens import mesh_layer, open_mesh
from splatlens.viewer.scene import SceneInfo


def surface(
    channels: int, vertices: int = 20, texels: tuple[int, int] | None = None, seed: int = 0, decimals: int | None = None
) -> Surface:
    """Random; a third of the vertices repeat a position. texels: width, height. decimals: of the coordinates."""
    rng = np.random.default_rng(seed)
    positions = rng.normal(size=(vertices, 3)).astype(np.float32)
    repeat = rng.random(vertices) < 1 / 3
    positions[repeat] = positions[rng.integers(0, vertices, int(repeat.sum()))]
    if decimals is not None:
        positions = np.round(positions.astype(np.float64), decimals).astype(np.float32)
    triangles = rng.integers(0, vertices, (2 * vertices, 3)).astype(np.int32)
    if texels is None:
        return Surface(positions, triangles, values=rng.integers(0, 256, (vertices, channels)).astype(np.uint8))
    width, height = texels
    uvs = (rng.random((vertices, 2)) * [width, height]).astype(np.float32)
    # Waves with noise, a third of them empty.
    y, x = np.mgrid[:height, :width]
    waves = 128 + 100 * np.sin(x[..., None] / 5 + y[..., None] / 7 + np.arange(channels))
    data = np.clip(waves + rng.normal(0, 5, waves.shape), 1, 255).astype(np.uint8)
    data[rng.random((height, width)) < 0.3] = 0
    return Surface(positions, triangles, uvs, data)


def tree(look: Look, seed: int = 0, texels: bool = True) -> MeshTree:
    """Seven nodes: a root, four children, and two below the second of these; some with texels, some without."""
    rng = np.random.default_rng(seed)
    sizes = [None, (17, 9), None, (5, 31), (1, 1), None, (40, 3)] if texels else [None] * 7
    surfaces = [
        surface(look.channels, 10 + 7 * i, size, seed + i, 6 if i < 5 else None) for i, size in enumerate(sizes)
    ]
    corners = np.sort(rng.normal(size=(7, 2, 3)), axis=1)
    sphere = np.concatenate([rng.normal(size=(7, 3)), rng.random((7, 1)) + 1], axis=1)
    nodes = MeshNodes(
        np.array([1, 0, 5, 0, 0, 0, 0]), np.array([4, 0, 2, 0, 0, 0, 0]), np.array([1 / 3, 0, 0.1, 0, 0, 0, 0]), sphere,
        corners, np.array([len(s.triangles) for s in surfaces]), np.array([words_of(s) for s in surfaces]),
        np.array([0, 1, 1, 1, 1, 2, 2]),
    )  # fmt: skip
    return MeshTree(nodes, surfaces, look)


def network_look(channels: int = 8, empty: int | None = 0, seed: int = 0) -> Look:
    """As MobileNeRF's: features and a direction through a hidden layer."""
    rng = np.random.default_rng(seed)

    def dense(inputs: int, outputs: int, activation: str) -> Dense:
        kernel, bias = rng.normal(size=(inputs, outputs)), rng.normal(size=outputs)
        return Dense(kernel.astype(np.float32), bias.astype(np.float32), activation)

    inputs = (*(Input(i) for i in range(channels)), Input(channels, 2.0, np.pi / 2), Input(channels + 2))
    network = Network(inputs, (dense(len(inputs), 16, "relu"), dense(16, 3, "sigmoid")), 1)
    scale, offset = rng.normal(size=(2, channels)).astype(np.float32)
    turn = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.1))
    return Look(channels, network, scale, offset, turn, empty=empty, supersample=2)


def looks() -> dict[str, Look]:
    """One of every method."""
    rng = np.random.default_rng(3)
    ones, zeros = np.ones(24, np.float32), np.zeros(24, np.float32)
    field = LightField(
        8, rng.integers(0, 256, (5, 7, 8)).astype(np.uint8), rng.random(8).astype(np.float32), zeros[:8], "linear"
    )
    return {
        "network": network_look(),
        "gaussians": Look(24, Gaussians(3), ones, zeros),
        "lightfield": Look(24, field, ones, zeros, filter="linear"),
        "plain": plain_look(6, "head"),
    }


def lens_bytes(layers: list[BlobLayer], folder: Path) -> bytes:
    """A .lens file of layers."""
    write_lens(folder / "a.lens", layers, SceneInfo())
    return (folder / "a.lens").read_bytes()


def opened(data: bytes, layer: int = 0) -> MeshTree:
    """A mesh layer of a file in memory."""
    reader = LensReader.of_bytes(data, "a.lens")
    own = reader.layers[layer].properties
    return open_mesh(own, partial(reader.blob, layer), partial(reader.blob_part, layer), f"a.lens: layer {layer}")


def of_layer(made: BlobLayer, **changed: Any) -> MeshTree:
    """A layer read back without a file. changed: properties, and blobs, those given as bytes; pages_0 for `pages.0`."""
    blobs = {**made.blobs, **{k.replace("_0", ".0"): v for k, v in changed.items() if isinstance(v, bytes)}}
    own = {**made.properties, **{k: v for k, v in changed.items() if not isinstance(v, bytes)}}
    return open_mesh(own, blobs.__getitem__, lambda name, at, n: blobs[name][at : at + n], "a.lens: layer 0")


def layer_of(look: Look, texels: bool = True) -> BlobLayer:
    """The layer of `tree`."""
    return mesh_layer(tree(look, texels=texels), "baked")


@cache
def network_layer() -> BlobLayer:
    """The layer of `tree` with a network: its pictures take a while."""
    return layer_of(network_look())


if __name__ == "__main__":
    lens_bytes([layer_of(network_look())], Path(sys.argv[1]))
