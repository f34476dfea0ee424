"""Live layers of a scene (generators, sequences, post-processing) headless: settings, and layers at a moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import Field
from splatlens.viewer.generated import GeneratedLayer, attributes, usable
from splatlens.viewer.generator import FIRST, Model, Moment, read_contract
from splatlens.viewer.model_graph import ModelGraph
from splatlens.viewer.scene import Kernel, Vector
from splatlens.viewer.sequence import SequenceLayer, SequenceSplats
from splatlens.viewer.splats import Splats

#: What stands for no track at all, unless a track is called so.
NO_TRACK = "none"


@dataclass(frozen=True)
class Settings:
    """What the user chose for a whole scene. seconds: of its clock.

    controls: by name, or "layer:name" (the layer's name or number) where several have one. tracks: names of tracks, or
    "layer:track"; "none" chooses none.
    """

    seconds: float = 0.0
    controls: Mapping[str, float] = field(default_factory=dict)
    tracks: Sequence[str] = ()


@dataclass(frozen=True)
class LiveLayer:
    """One live layer. index: its number in the scene. place: what messages start with. contract: None for sequences.

    blob: gives the data of a name.
    """

    index: int
    kind: str
    name: str
    transform: NDArray[np.float64]
    place: str
    blob: Callable[[str], bytes]
    properties: dict[str, Any]

    @cached_property
    def declared(self) -> tuple[Contract, ModelGraph]:
        """Of what has a model. Raises LensError where the contract is damaged or does not fit."""
        raw = self.blob("contract")
        tracks = self.blob("tracks") if b'"offset"' in raw else b""
        contract, graph = read_contract(raw, tracks, self.place)
        if contract.kind != self.kind:
            raise FormatError(f"{self.place}: its contract is that of a {contract.kind}; convert the scene again")
        return contract, graph

    @property
    def contract(self) -> Contract | None:
        """None for sequences. Raises LensError as `declared`."""
        return None if self.kind == "sequence" else self.declared[0]

    @cached_property
    def model(self) -> Model:
        """Raises LensError where it cannot be loaded."""
        assert self.contract is not None
        return Model(self.contract, self.blob("model"), self.place)

    @cached_property
    def sequence(self) -> SequenceSplats:
        """Raises FormatError."""
        return SequenceSplats.read(Field(self.properties, self.place, "properties"), self.blob)

    @property
    def kernel(self) -> Kernel:
        """How its splats are blurred."""
        return self.sequence.info.kernel if self.contract is None else self.contract.kernel

    @property
    def bounds(self) -> tuple[Vector, Vector] | None:
        """Of its centres, layer coordinates."""
        return self.sequence.info.bounds if self.contract is None else self.contract.bounds

    @property
    def track_names(self) -> tuple[str, ...]:
        return () if self.contract is None else tuple(t.name for t in self.contract.tracks)

    @property
    def control_names(self) -> tuple[str, ...]:
        return () if self.contract is None else tuple(c.name for c in self.contract.controls)

    def at(self, moment: Moment, camera: Camera) -> GeneratedLayer | SequenceLayer:
        """What is drawn at a moment. Raises LensError."""
        if self.contract is None:
            return SequenceLayer(self.sequence, moment.seconds, self.transform)
        return GeneratedLayer(self.contract, self.model.run(moment, camera, self.transform), self.transform)

    def splats(self, moment: Moment, camera: Camera) -> Splats:
        """The splats drawn at a moment, layer coordinates; colours that depend on the view as `camera` sees them."""
        layer = self.at(moment, camera)
        return layer.splats() if isinstance(layer, GeneratedLayer) else layer.splats(camera)

    def notices(self, moment: Moment, camera: Camera) -> list[str]:
        """What is amiss with the rows of a generator at a moment, one sentence each."""
        if self.contract is None or self.kind != "generator":
            return []
        outputs = self.model.run(moment, camera, self.transform)
        found, n = attributes(self.contract, outputs), len(outputs[self.contract.outputs["means"].output])
        notices = []
        if "count" in self.contract.outputs:
            count = int(outputs[self.contract.outputs["count"].output].reshape(-1)[0])
            if not 0 <= count <= n:
                notices.append(f"{self.place}: count is {count}, {n} rows came; {found.rows} are drawn")
        bad = int(np.count_nonzero(~usable(found)[: found.rows]))
        if bad:
            notices.append(f"{self.place}: {bad:,} of {found.rows:,} splats left out: not finite, or a zero quaternion")
        return notices


def live_layer(layer: BlobLayer, place: str) -> LiveLayer:
    """Of a layer in memory. place: the file's name."""
    return LiveLayer(0, layer.kind, layer.name, layer.transform, place, layer.blobs.__getitem__, layer.properties)


def moments_of(layers: Sequence[LiveLayer], settings: Settings, file: str) -> list[Moment]:
    """The moment of each layer. Raises LensError: a name that no layer has, or that several have."""
    controls: list[dict[str, float]] = [{} for _ in layers]
    for key, value in settings.controls.items():
        i, name = _find(layers, key, lambda layer: layer.control_names, "control", file)
        controls[i][name] = value
    tracks: list[str | None] = [FIRST for _ in layers]
    for key in settings.tracks:
        i, name = _find(layers, key, _tracks, "track", file)
        tracks[i] = None if name == NO_TRACK and name not in layers[i].track_names else name
    return [Moment(settings.seconds, c, t) for c, t in zip(controls, tracks, strict=True)]


def _tracks(layer: LiveLayer) -> tuple[str, ...]:
    return (*layer.track_names, NO_TRACK) if layer.track_names else ()


def _find(
    layers: Sequence[LiveLayer], key: str, names: Callable[[LiveLayer], tuple[str, ...]], what: str, file: str
) -> tuple[int, str]:
    """(place in `layers`, name) of "name", "layer:name" or "number of the layer:name"."""
    pairs = [(i, name) for i, layer in enumerate(layers) for name in names(layer)]
    found = [(i, name) for i, name in pairs if key == name]
    found = found or [(i, n) for i, n in pairs if key in (f"{layers[i].name}:{n}", f"{layers[i].index}:{n}")]
    if len(found) == 1:
        return found[0]
    if found:
        each = " or ".join(f"{layers[i].index}:{name}" for i, name in found)
        raise LensError(f"{file}: {what} {key!r}: several layers have one; say {each} (number of the layer)")
    known = ", ".join(f"{layers[i].name}:{n}" if layers[i].name else n for i, n in pairs if n != NO_TRACK)
    raise LensError(f"{file}: no {what} {key!r}; it has {known or 'none'}")
