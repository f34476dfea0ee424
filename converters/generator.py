"""ONNX models (.onnx) as live sources: contract, bounds and the layer of a .lens; the exporters end here too."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splatlens.converters import visionary
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.source import SourceInfo
from splatlens.viewer.blob_layer import BlobLayer
from splatlens.viewer.contract import MAX_CAPACITY, Contract
from splatlens.viewer.errors import FormatError
from splatlens.viewer.fields import dump_json
from splatlens.viewer.generator import Model, Moment, load
from splatlens.viewer.model_graph import ModelGraph, require_fit
from splatlens.viewer.splats import SH_COEFFICIENTS

if TYPE_CHECKING:
    import onnx

#: Fields of ModelProto (onnx.proto3): number -> wire type.
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
#: IR versions that exist, with room for some to come; version 3 is the first with `opset_import`.
_IR_VERSIONS = range(3, 21)


def sniff(head: bytes, path: Path) -> bool:
    """Whether a file that starts with `head` is an ONNX model: protobuf of known fields that begins with ir_version.

    ONNX has no magic; a graph comes within the first 64 bytes or follows fields that are walked over here.
    """
    if len(head) < 4 or head[0] != 0x08 or head[1] not in _IR_VERSIONS:
        return False
    at, fields = 2, 1
    while at < len(head):
        number, wire = head[at] >> 3, head[at] & 7
        at += 1
        if head[at - 1] & 0x80:  # field numbers from 16 take two bytes
            if at == len(head):
                break
            number |= (head[at] & 0x7F) << 4
            number &= 0x7FF
            at += 1
        if _MODEL_FIELDS.get(number) != wire:
            return False
        value, shift = 0, 0
        while at < len(head):
            value |= (head[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not head[at - 1] & 0x80:
                break
        fields += 1
        if wire == 2:
            if number == 7:
                return value > 0
            at += value
    return fields > 1



@dataclass(frozen=True)
class Prepared:
    """A model that was read: its contract, what its graph declares, warnings, and itself with the contract inside."""

    contract: Contract
    graph: ModelGraph
    model: onnx.ModelProto
    warnings: tuple[str, ...] = ()


def prepare(model: onnx.ModelProto, name: str) -> Prepared:
    """Finds the contract, or makes one for a model of Visionary's, and holds it against the graph. Raises LensError."""
    from splatlens.converters.onnx_file import contract_of, model_bytes, with_contract  # imports onnx, 0.3 s

    contract = contract_of(model, name)
    warnings: tuple[str, ...] = ()
    _, graph = load(model_bytes(model, name), name, optimise=False)
    if contract is None:
        contract, warnings = _adapted(model, graph, name)
        model = with_contract(model, contract)
    require_fit(contract, graph, name)
    return Prepared(contract, graph, model, warnings)


def _adapted(model: onnx.ModelProto, graph: ModelGraph, name: str) -> tuple[Contract, tuple[str, ...]]:
    if not visionary.recognise(graph):
        why = "has no contract in its metadata (key 'splatlens.generator'), so nothing says what it takes and gives"
        raise FormatError(f"{name}: {why}; add one as docs/generator.md shows")
    from splatlens.converters.onnx_file import model_bytes
    from splatlens.viewer.generator_bounds import probe_camera

    contract, warnings = visionary.adapt(graph, name)
    if contract.capacity == 0:
        trial = Model(replace(contract, capacity=MAX_CAPACITY), model_bytes(model, name), name)
        rows = len(trial.run(Moment(), probe_camera())[contract.outputs["means"].output])
        contract, warnings = visionary.adapt(graph, name, max(rows, 1))
        warnings = (*warnings, f"its N is dynamic: the {rows} rows of one run count as its capacity")
    return contract, warnings


def model_source(
    path: Path, format_name: str, model: onnx.ModelProto | Callable[[], onnx.ModelProto], **facts: Any
) -> LayerSource:
    """A live source of a model with a contract. path: what it was made of; facts: fields of SourceInfo.

    Where `model` is a function it is called once, when first needed: at once unless `splats` is among the facts.
    """
    name = str(path)

    @functools.cache
    def prepared() -> Prepared:
        return prepare(model() if callable(model) else model, name)

    def layer() -> BlobLayer:
        return generator_layer(prepared(), name)

    def whole() -> bytes:
        from splatlens.converters.onnx_file import model_bytes

        return model_bytes(prepared().model, name)

    def describe() -> dict[str, Any]:
        made = prepared()
        return live_facts(made.contract, made.graph)

    size = sum(f.stat().st_size for f in facts.get("files", (path,)) if f.is_file())
    info = SourceInfo(path, format_name, 0, 0, size, files=(path,))
    if "splats" not in facts:
        info = replace(info, **contract_facts(prepared()))
    return LayerSource(replace(info, **facts), layer, whole, describe)


def contract_facts(made: Prepared) -> dict[str, Any]:
    """Fields of SourceInfo that a contract tells."""
    contract, kernel = made.contract, made.contract.kernel
    facts: dict[str, Any] = {"splats": contract.capacity, "sh_degree": sh_degree(contract, made.graph)}
    facts |= {"warnings": made.warnings, **{k: v for k, v in contract.texts.items() if k != "source"}}
    if contract.kind == "generator":
        length = math.hypot(*contract.up) if contract.up else 1.0
        up = tuple(v / length for v in contract.up) if contract.up else None
        facts |= {"up": up, "antialias": kernel.antialias, "dilation": kernel.dilation}
    return facts


def sh_degree(contract: Contract, graph: ModelGraph) -> int:
    """Of a generator's colours: 0 where they are final."""
    if "sh" not in contract.outputs:
        return 0
    one = contract.outputs["sh"]
    shape = graph.outputs[one.output].shape
    columns = one.count or (shape[1] or 0) * (3 if len(shape) == 3 else 1)
    return SH_COEFFICIENTS.index(columns // 3)


def live_facts(contract: Contract, graph: ModelGraph) -> dict[str, Any]:
    """What `splatlens info` says of a model: plain values, one line an input, output, control and track."""
    facts: dict[str, Any] = {"kind": contract.kind, "capacity": contract.capacity or None}
    facts["inputs"] = [f"{key}: {one.meaning}, {graph.inputs[key]}" for key, one in contract.inputs.items()]
    facts["outputs"] = [f"{m}: {one.output}, {graph.outputs[one.output]}" for m, one in contract.outputs.items()]
    if contract.time:
        facts["time"] = contract.time.to_json()
    facts["controls"] = [
        f"{c.name}: {c.kind}, {c.minimum:g} to {c.maximum:g}, default {c.default:g}" for c in contract.controls
    ]
    facts["tracks"] = [f"{t.name}: {t.duration:g} s, {t.frames} frames" for t in contract.tracks]
    facts["bounds"] = [list(corner) for corner in contract.bounds] if contract.bounds else None
    return facts


def generator_layer(made: Prepared, name: str) -> BlobLayer:
    """The layer of a .lens, with bounds measured where the contract has none. Raises LensError."""
    from splatlens.converters.onnx_file import model_bytes, with_contract
    from splatlens.viewer.generator_bounds import measure_bounds

    contract = made.contract
    if contract.kind == "generator" and contract.bounds is None:
        contract = replace(contract, bounds=measure_bounds(Model(contract, model_bytes(made.model, name), name)))
    moved: list[bytes] = []
    text = {**contract.to_json(moved), "graph": made.graph.to_json()}
    # With recordings the model's own copy of them would be a second one; the blobs have them.
    model = with_contract(made.model, None) if contract.tracks else made.model
    blobs = {"model": model_bytes(model, name), "contract": dump_json(text)}
    if moved:
        blobs["tracks"] = b"".join(moved)
    properties = {"capacity": contract.capacity} if contract.kind == "generator" else {}
    return BlobLayer(contract.kind, blobs, properties)


def open_onnx(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """Reads the whole model: its contract is at the end of it. Raises LensError."""
    from splatlens.converters.onnx_file import read_model

    model, beside = read_model(path)
    return model_source(path, "onnx", model, files=(path, *beside))


FORMAT: Format = Format(
    "onnx",
    "ONNX generator or post-processing network",
    (".onnx",),
    sniff,
    open_onnx,
    live=True,
    reads="models with a contract ([generator](generator.md)), and Visionary's",
    writes="one generator or network alone, with its contract",
    loses="everything but one model: no splats beside it, no place in the scene",
)
