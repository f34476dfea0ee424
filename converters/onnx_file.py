"""ONNX files: read whole with external data embedded, their contract found and written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import helper

from splatlens.viewer.contract import METADATA_KEY, Contract
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.lens_layout import MAX_DATA_BYTES


def read_model(path: Path) -> tuple[onnx.ModelProto, tuple[Path, ...]]:
    """The whole model, external data embedded, and the files that these were in.

    Raises LensError: damaged, too large, external data missing.
    """
    size = path.stat().st_size
    if size > MAX_DATA_BYTES:
        raise too_large(str(path), size)
    model = parsed(path.read_bytes(), str(path))
    if not model.HasField("graph") or not model.graph.output:
        raise FormatError(f"{path}: an ONNX model without a graph, or without outputs; export it again")
    entries = [entry for tensor in _external(model) for entry in tensor.external_data]
    names = sorted({entry.value for entry in entries if entry.key == "location"})
    if names:
        for name in names:
            file = path.parent / name
            if not name or Path(name).is_absolute() or ".." in Path(name).parts or file.is_symlink():
                raise FormatError(f"{path}: its external data {name!r} lie outside of its folder; export it again")
            if not file.is_file():
                why = f"its weights are in {name!r}, which is not beside it"
                raise FormatError(f"{path}: {why}; put that file there, or export without external data")
        total = size + sum((path.parent / name).stat().st_size for name in names)
        if total > MAX_DATA_BYTES:
            raise too_large(str(path), total)
        try:
            onnx.load_external_data_for_model(model, str(path.parent))
        except (onnx.checker.ValidationError, ValueError, OSError) as error:
            words = " ".join(str(error).split())[:300]
            raise FormatError(f"{path}: its external data cannot be read: {words}; export it again") from error
    return model, tuple(path.parent / name for name in names)


def parsed(data: bytes, name: str) -> onnx.ModelProto:
    """Raises FormatError where the bytes are cut or of another kind."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise FormatError(f"{name}: not a whole ONNX model ({error}); fetch or export it again") from error
    return model


def _external(model: onnx.ModelProto) -> list[Any]:
    """Tensors, subgraphs' and constants' included, whose data are in other files."""
    found: list[Any] = []

    def walk(graph: Any) -> None:
        found.extend(t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t") and attribute.t.data_location == onnx.TensorProto.EXTERNAL:
                    found.append(attribute.t)
                found.extend(t for t in attribute.tensors if t.data_location == onnx.TensorProto.EXTERNAL)
                if attribute.HasField("g"):
                    walk(attribute.g)
                for inner in attribute.graphs:
                    walk(inner)

    walk(model.graph)
    return found


def too_large(name: str, size: int) -> LensError:
    """A model beyond what a .lens holds in one blob."""
    most = MAX_DATA_BYTES >> 20
    return LensError(f"{name}: the model has {size:,} bytes, more than {most} MiB; prune it, or export it as float16")


def model_bytes(model: onnx.ModelProto, name: str) -> bytes:
    """Serialised. Raises LensError where it is larger than a .lens holds."""
    size = model.ByteSize()
    if size > MAX_DATA_BYTES:
        raise too_large(name, size)
    return bytes(model.SerializeToString())


def contract_of(model: onnx.ModelProto, name: str) -> Contract | None:
    """The contract in a model's metadata, None where it has none. Raises FormatError, UnsupportedError."""
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            remedy = "correct the model's contract (docs/generator.md)"
            return Contract.from_json(parse_json(entry.value.encode(), name, "contract", remedy))
    return None


def with_contract(model: onnx.ModelProto, contract: Contract | None) -> onnx.ModelProto:
    """A copy of a model with this contract in its metadata, or without any."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rest = {entry.key: entry.value for entry in model.metadata_props if entry.key != METADATA_KEY}
    own = {} if contract is None else {METADATA_KEY: json.dumps(contract.to_json())}
    helper.set_model_props(made, {**rest, **own})
    return made
