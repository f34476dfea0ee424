"""What the bytes of a mesh mean, in a .lens file: properties and blobs to Look and back (twin: static/mesh/look.js)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.lens_blocks import damaged
from splatlens.viewer.mesh import (
    ACTIVATIONS,
    FILTERS,
    LIGHTS,
    MAX_CHANNELS,
    MAX_LAYERS,
    MAX_LOBES,
    MAX_WIDTH,
    Dense,
    Gaussians,
    Input,
    LightField,
    Look,
    Network,
    Plain,
)

#: Longest side of the map over directions.
MAX_SIDE = 4096
WEIGHTS, DIRECTIONS = "weights", "directions"
_SOURCES = MAX_CHANNELS + 3


def look_properties(look: Look) -> dict[str, Any]:
    """The properties that are the look's; its float32 numbers are in the blobs."""
    method = look.method
    own: dict[str, Any] = {
        "channels": look.channels, "direction": [list(row) for row in look.direction], "filter": look.filter,
        "empty": look.empty, "supersample": look.supersample,
    }  # fmt: skip
    if isinstance(method, Network):
        inputs = [[one.source, one.frequency, one.phase] for one in method.inputs]
        layers = [{"outputs": len(one.bias), "activation": one.activation} for one in method.layers]
        return own | {"method": "network", "inputs": inputs, "layers": layers, "base": method.base}
    if isinstance(method, Gaussians):
        return own | {"method": "gaussians", "lobes": method.lobes}
    if isinstance(method, LightField):
        height, width, terms = method.directions.shape
        sizes = {"terms": terms, "width": width, "height": height, "direction_filter": method.filter}
        return own | {"method": "lightfield", **sizes}
    return own | {"method": "plain", "light": method.light}


def look_blobs(look: Look) -> dict[str, bytes]:
    """Blobs of the look: all its float32 numbers, and a light field's map over directions."""
    method = look.method
    floats: list[NDArray[np.float32]] = [look.scale, look.offset]
    blobs = {}
    if isinstance(method, Network):
        floats += [part for layer in method.layers for part in (layer.kernel, layer.bias)]
    elif isinstance(method, LightField):
        floats += [method.scale, method.offset]
        blobs[DIRECTIONS] = np.ascontiguousarray(method.directions).tobytes()
    return {WEIGHTS: b"".join(np.ascontiguousarray(one, "<f4").tobytes() for one in floats), **blobs}


def read_look(own: Field, blob: Callable[[str], bytes]) -> Look:
    """From a layer's properties and its blobs by name. Raises FormatError."""
    data = blob(WEIGHTS)
    weights = np.frombuffer(data[: len(data) & ~3], "<f4").astype(np.float32)
    used = 0

    def take(*shape: int) -> NDArray[np.float32]:
        nonlocal used
        n = int(np.prod(shape))
        part = weights[used : used + n]
        used += n
        # Too few are told once all are counted.
        return part.reshape(shape) if len(part) == n else np.zeros(shape, np.float32)

    channels = own.member("channels").integer(1, MAX_CHANNELS)
    scale, offset = take(channels), take(channels)
    name = _word(own.member("method"), ("network", "gaussians", "lightfield", "plain"))
    method: Network | Gaussians | LightField | Plain
    if name == "network":
        method = _network(own, take)
    elif name == "gaussians":
        method = Gaussians(own.member("lobes").integer(1, MAX_LOBES))
    elif name == "lightfield":
        method = _light_field(own, take, blob(DIRECTIONS))
    else:
        method = Plain(_word(own.member("light"), LIGHTS))
    if 4 * used != len(data):
        raise damaged(f"{own.file}: blob {WEIGHTS}: {len(data)} bytes, expected {4 * used}")
    rows = own.member("direction").rows(3, 3)
    empty = own.member("empty").integer(0, channels - 1) if own.has("empty") else None
    direction: Any = tuple(tuple(row) for row in rows)
    filter, samples = _word(own.member("filter"), FILTERS), own.member("supersample").integer(1, 2)
    try:
        return Look(channels, method, scale, offset, direction, filter, empty, samples)
    except LensError as error:
        raise FormatError(f"{own.file}: {own.path}: {error}; fetch or convert the file again") from error


def _word(field: Field, words: tuple[str, ...]) -> str:
    if field.value not in words:
        field.fail(f"one of {', '.join(words)}")
    return str(field.value)


def _network(own: Field, take: Callable[..., NDArray[np.float32]]) -> Network:
    inputs = []
    for one in own.member("inputs").items(1, MAX_WIDTH):
        source, frequency, phase = one.items(3, 3)
        inputs.append(Input(source.integer(0, _SOURCES - 1), frequency.number(), phase.number()))
    layers, width = [], len(inputs)
    for one in own.member("layers").items(1, MAX_LAYERS):
        outputs = one.member("outputs").integer(1, MAX_WIDTH)
        kernel, bias = take(width, outputs), take(outputs)
        layers.append(Dense(kernel, bias, _word(one.member("activation"), ACTIVATIONS)))
        width = outputs
    base = own.member("base").integer(0, MAX_CHANNELS - 1) if own.has("base") else None
    return Network(tuple(inputs), tuple(layers), base)


def _light_field(own: Field, take: Callable[..., NDArray[np.float32]], data: bytes) -> LightField:
    terms = own.member("terms").integer(1, MAX_CHANNELS)
    width, height = (own.member(name).integer(1, MAX_SIDE) for name in ("width", "height"))
    if len(data) != width * height * terms:
        raise damaged(f"{own.file}: blob {DIRECTIONS}: {len(data)} bytes, expected {width} x {height} x {terms}")
    directions = np.frombuffer(data, np.uint8).reshape(height, width, terms)
    filter = _word(own.member("direction_filter"), FILTERS)
    return LightField(terms, directions, take(terms), take(terms), filter)
