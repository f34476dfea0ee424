"""Baked meshes: triangles with bytes on them, and what is to be made of the bytes (layers of kind `mesh`).

A mesh is a surface that carries C channels of bytes, in a texture or at its vertices. A method turns the bytes that a
pixel sees, and the direction it looks along, into its colour: a small network, spherical Gaussians, a light field, or
the bytes themselves. docs/format-mesh.md has the layer as it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import LensError

#: Most channels of bytes that a surface carries (Re-ReND: 3 x 64), and that a network or Gaussians are given.
MAX_CHANNELS, MAX_FEATURES = 192, 32
#: Most inputs, outputs and hidden units of a layer of a network, and most layers.
MAX_WIDTH, MAX_LAYERS = 64, 4
#: Most lobes of the spherical Gaussians.
MAX_LOBES = 4
FILTERS = ("nearest", "linear")
ACTIVATIONS = ("none", "relu", "sigmoid")
#: How a mesh that carries plain colours is lit: as it is, or by a light at the eye.
LIGHTS = ("none", "head")
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True)
class Surface:
    """A piece of a mesh, in layer coordinates.

    positions: (V, 3) float32. triangles: (T, 3) int32, rows of positions; both sides are seen. What it carries is
    either uvs, (V, 2) float32, and texels, (H, W, C) uint8, or values, (V, C) uint8, at the vertices. uvs count texels:
    x right, y down, the middle of the first texel at (0.5, 0.5).
    """

    positions: NDArray[np.float32]
    triangles: NDArray[np.int32]
    uvs: NDArray[np.float32] | None = None
    texels: NDArray[np.uint8] | None = None
    values: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        """Raises LensError where the arrays do not go together."""
        v = len(self.positions)
        if (self.values is None) == (self.texels is None) or (self.texels is None) != (self.uvs is None):
            raise LensError("mesh: a surface carries uvs and texels, or values at its vertices")
        if self.positions.shape != (v, 3) or self.triangles.ndim != 2 or self.triangles.shape[1] != 3:
            shapes = f"positions {self.positions.shape}, triangles {self.triangles.shape}"
            raise LensError(f"mesh: {shapes}; expected (n, 3)")
        if len(self.triangles) and not (self.triangles.min() >= 0 and self.triangles.max() < v):
            raise LensError(f"mesh: triangle corners reach {int(self.triangles.max())}, there are {v} vertices")

    @property
    def channels(self) -> int:
        """C."""
        carried = self.texels if self.texels is not None else self.values
        assert carried is not None
        return int(carried.shape[-1])


@dataclass(frozen=True)
class Dense:
    """A layer of a network: kernel (inputs, outputs), bias (outputs,), float32; activation: one of ACTIVATIONS."""

    kernel: NDArray[np.float32]
    bias: NDArray[np.float32]
    activation: str


@dataclass(frozen=True)
class Input:
    """One input of a network: sin(frequency * source + phase), or the source itself where the frequency is 0.

    source: a channel 0..C-1 as decoded; C, C+1, C+2 are x, y, z of the direction.
    """

    source: int
    frequency: float = 0.0
    phase: float = 0.0


@dataclass(frozen=True)
class Network:
    """Colour = activation(network(inputs)), three outputs; `base`: first of three channels that are added to them.

    The sum is cut to 0..1 (MobileNeRF, Chen et al. 2023, section 3; nerf2mesh, Tang et al. 2023, equation 5).
    """

    inputs: tuple[Input, ...]
    layers: tuple[Dense, ...]
    base: int | None = None


@dataclass(frozen=True)
class Gaussians:
    """Colour = diffuse + sum of colour_i exp(scale_i (dot(v, mean_i / |mean_i|) - 1)).

    BakedSDF, Yariv et al. 2023, equation 7. Channels: diffuse 3, then for each lobe mean 3, scale 1, colour 3. v is the
    method's direction.
    """

    lobes: int


@dataclass(frozen=True)
class LightField:
    """Colour = sigmoid(sum_j u_j b_j), (sum_j v_j b_j), (sum_j w_j b_j) (Re-ReND, Rojas et al. 2023, equation 4).

    Channels: u, v, w of `terms` each, terms a multiple of 4. directions: (H, W, terms) uint8, a map over the direction,
    looked up by `filter`; scale, offset: (terms,) of what its bytes mean: byte / 255 * scale + offset.
    """

    terms: int
    directions: NDArray[np.uint8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    filter: str = "nearest"


@dataclass(frozen=True)
class Plain:
    """Colour = channels 0, 1, 2. light "head": times 0.3 + 0.7 |cos| of the normal, channels 3, 4, 5 where C >= 6."""

    light: str = "none"


Method = Network | Gaussians | LightField | Plain


@dataclass(frozen=True)
class Look:
    """How a mesh is to be seen.

    channels: C. scale, offset: (C,) float32, of what bytes mean: byte / 255 * scale + offset. direction: 3 x 3, the
    method's direction = this times the unit vector from the camera to the point, in layer coordinates. filter: of
    texels, "nearest" or "linear". empty: the channel whose byte 0 says that there is nothing at a texel; None: all are
    there. supersample: 2: four samples a pixel, as the method's own viewer has it; coverage and bytes are averaged,
    each pixel is shaded once; 1: one sample.
    """

    channels: int
    method: Method
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]
    direction: Matrix = IDENTITY
    filter: str = "nearest"
    empty: int | None = None
    supersample: int = 1

    def __post_init__(self) -> None:
        """Raises LensError for what no stage can draw."""
        check_look(self)


def plain_look(channels: int = 3, light: str = "none", filter: str = "linear", empty: int | None = None) -> Look:
    """Colours as they are; normals, where there are six channels, as (n + 1) / 2."""
    scale, offset = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    scale[3:6], offset[3:6] = (2, -1) if channels >= 6 else (1, 0)
    return Look(channels, Plain(light), scale, offset, filter=filter, empty=empty)


def check_look(look: Look) -> None:
    """Raises LensError: sizes that do not chain, values that are not finite, unknown words."""
    c, method = look.channels, look.method

    def require(good: bool, what: str) -> None:
        if not good:
            raise LensError(f"mesh: {what}")

    most = MAX_FEATURES if isinstance(method, Network | Gaussians | Plain) else MAX_CHANNELS
    require(1 <= c <= most, f"{c} channels; 1 to {most} can be drawn")
    for name in ("scale", "offset"):
        values = getattr(look, name)
        require(values.shape == (c,) and bool(np.isfinite(values).all()), f"{name}: expected {c} finite numbers")
    require(bool(np.isfinite(np.array(look.direction)).all()), "direction: expected 3 x 3 finite numbers")
    require(look.filter in FILTERS, f"filter {look.filter!r}; expected one of {', '.join(FILTERS)}")
    require(look.empty is None or 0 <= look.empty < c, f"empty: no channel {look.empty} of {c}")
    require(look.supersample in (1, 2), f"supersample {look.supersample}; expected 1 or 2")
    if isinstance(method, Network):
        check_network(method, c, require)
    elif isinstance(method, Gaussians):
        require(1 <= method.lobes <= MAX_LOBES, f"{method.lobes} lobes; 1 to {MAX_LOBES} can be drawn")
        require(c >= 3 + 7 * method.lobes, f"{method.lobes} lobes take {3 + 7 * method.lobes} channels, there are {c}")
    elif isinstance(method, LightField):
        t, shape = method.terms, method.directions.shape
        require(t % 4 == 0 and t >= 4 and 3 * t <= MAX_CHANNELS, f"{t} terms; expected a multiple of 4 up to 64")
        require(c == 3 * t, f"{t} terms take {3 * t} channels, there are {c}")
        require(len(shape) == 3 and shape[2] == t and min(shape) > 0, f"directions {shape}; expected (h, w, {t})")
        good = all(v.shape == (t,) and bool(np.isfinite(v).all()) for v in (method.scale, method.offset))
        require(good and method.filter in FILTERS, f"directions: expected {t} finite scales and offsets, and a filter")
    else:
        require(c >= 3, f"{c} channels; colours take 3")
        require(method.light in LIGHTS, f"light {method.light!r}; expected one of {', '.join(LIGHTS)}")


def check_network(network: Network, channels: int, require: Any) -> None:
    """The lines of check_look that are a network's."""
    sizes = [len(network.inputs)] + [layer.kernel.shape[1] for layer in network.layers]
    require(1 <= len(network.layers) <= MAX_LAYERS, f"{len(network.layers)} layers; 1 to {MAX_LAYERS} can be drawn")
    require(all(1 <= n <= MAX_WIDTH for n in sizes), f"layers of {sizes} units; 1 to {MAX_WIDTH} can be drawn")
    require(sizes[-1] == 3, f"the network gives {sizes[-1]} values; expected 3, a colour")
    for i, layer in enumerate(network.layers):
        shape = layer.kernel.shape
        require(shape[0] == sizes[i], f"layer {i}: its kernel takes {shape[0]} values, it is given {sizes[i]}")
        require(layer.bias.shape == (shape[1],), f"layer {i}: {layer.bias.shape} biases for {shape[1]} outputs")
        finite = bool(np.isfinite(layer.kernel).all() and np.isfinite(layer.bias).all())
        require(finite, f"layer {i}: has weights that are not finite numbers")
        require(layer.activation in ACTIVATIONS, f"layer {i}: activation {layer.activation!r}")
    for i, one in enumerate(network.inputs):
        require(0 <= one.source < channels + 3, f"input {i}: no source {one.source} of {channels} channels and 3")
        require(bool(np.isfinite([one.frequency, one.phase]).all()), f"input {i}: expected finite numbers")
    require(network.base is None or 0 <= network.base <= channels - 3, f"base: no channels from {network.base} on")


@dataclass(frozen=True)
class MeshNodes:
    """The tree of levels of detail of a mesh layer, N nodes, 0 the root, parents before children; satisfies lod.Nodes.

    child_first, child_count (N,) int64: children are neighbours, at most 16; 0 for leaves. error (N,) float64, layer
    units: what refining a node repairs, at least each child's, 0 for leaves. sphere (N, 4), support (N, 2, 3): around
    all that is below. count (N,): triangles. words (N,): u32 that a node takes on the GPU. page (N,): page that it
    comes with: page 0 holds the root, every other one all children of one node.
    """

    child_first: NDArray[np.int64]
    child_count: NDArray[np.int64]
    error: NDArray[np.float64]
    sphere: NDArray[np.float64]
    support: NDArray[np.float64]
    count: NDArray[np.int64]
    words: NDArray[np.int64]
    page: NDArray[np.int64]


@dataclass(frozen=True)
class MeshTree:
    """A mesh with its levels of detail: what the builder gives and the layer's writer takes. surfaces: one a node."""

    nodes: MeshNodes
    surfaces: Sequence[Surface]
    look: Look


def words_of(surface: Surface) -> int:
    """u32 that a surface takes on the GPU (pack_surface)."""
    carried = -(-surface.channels // 4)
    vertex = 3 + (2 if surface.texels is not None else carried)
    texels = 0 if surface.texels is None else surface.texels.shape[0] * surface.texels.shape[1] * carried
    return len(surface.positions) * vertex + -(-3 * len(surface.triangles) // 2) + texels


def pack_surface(surface: Surface) -> NDArray[np.uint32]:
    """The words that shaders/lib/mesh.wgsl reads: vertices, corners as u16, texels row by row.

    A vertex is three float32 and two float32 of uv, or its channels, four bytes a word. At most 65,536 vertices.
    """
    vertices: list[NDArray[np.uint32]] = [np.ascontiguousarray(surface.positions, np.float32).view(np.uint32)]
    if surface.uvs is not None:
        vertices.append(np.ascontiguousarray(surface.uvs, np.float32).view(np.uint32))
    else:
        assert surface.values is not None
        vertices.append(channel_words(surface.values))
    corners = np.zeros(-(-3 * len(surface.triangles) // 2) * 2, np.uint16)
    corners[: 3 * len(surface.triangles)] = surface.triangles.ravel()
    parts = [np.concatenate(vertices, axis=1).ravel(), corners.view(np.uint32)]
    if surface.texels is not None:
        parts.append(channel_words(surface.texels).ravel())
    return np.concatenate(parts)


def channel_words(values: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(..., C) bytes as (..., ceil(C / 4)) words, the first channel in the lowest bits; missing ones are 0."""
    c = values.shape[-1]
    padded = np.zeros((*values.shape[:-1], -(-c // 4) * 4), np.uint8)
    padded[..., :c] = values
    return padded.view("<u4")
