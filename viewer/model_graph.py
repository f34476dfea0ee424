"""What the graph of an ONNX model declares (names, types, shapes), and whether a contract fits it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from splatlens.viewer.contract import INPUT_SIZES, OUTPUT_COLUMNS, Columns, Contract, Input
from splatlens.viewer.errors import FormatError
from splatlens.viewer.fields import Field

#: Element types that inputs may have, and outputs but `count`.
INPUT_TYPES = ("float32", "float16", "int32", "int64")
OUTPUT_TYPES = ("float32", "float16")
#: Shapes of inputs that are not single numbers, leading ones left out.
_SHAPES = {"camera_position": (3,), "world_to_camera": (4, 4), "projection": (4, 4), "viewport": (2,)}
_MAX_RANK = 8
_REMEDY = "correct the model or its contract (docs/generator.md)"


@dataclass(frozen=True)
class TensorType:
    """type: of the elements, as NumPy calls it. shape: None where a size is dynamic."""

    type: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.type} {shape_text(self.shape)}"

    @property
    def size(self) -> int | None:
        """How many elements, None where dynamic."""
        return None if None in self.shape else math.prod(d or 0 for d in self.shape)

    def to_json(self) -> dict[str, Any]:
        return {"type": self.type, "shape": list(self.shape)}

    @staticmethod
    def from_json(data: Field) -> TensorType:
        sizes = data.member("shape").items(0, _MAX_RANK)
        shape = tuple(None if f.value is None else f.integer(0, 2**40) for f in sizes)
        return TensorType(data.member("type").text(40), shape)


@dataclass(frozen=True)
class ModelGraph:
    """Inputs and outputs by name, initializers left out."""

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]

    def to_json(self) -> dict[str, Any]:
        """The contract's member `graph`."""
        return {
            "inputs": {name: one.to_json() for name, one in self.inputs.items()},
            "outputs": {name: one.to_json() for name, one in self.outputs.items()},
        }

    @staticmethod
    def from_json(data: Field) -> ModelGraph:
        """Raises FormatError."""
        return ModelGraph(
            {name: TensorType.from_json(f) for name, f in data.member("inputs").members(256).items()},
            {name: TensorType.from_json(f) for name, f in data.member("outputs").members(64).items()},
        )


def shape_text(shape: Sequence[int | None]) -> str:
    """[5000, 3], with ? for a dynamic size."""
    return f"[{', '.join('?' if d is None else str(d) for d in shape)}]"


def without_leading_ones(shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """[1, 4, 4] is a matrix, [1, 1] a number."""
    found = tuple(shape)
    while found and found[0] == 1:
        found = found[1:]
    return found


def require_fit(contract: Contract, graph: ModelGraph, name: str) -> None:
    """Raises FormatError, whose message starts with `name`, at the first input or output that does not fit."""
    fit = _Fit(contract, graph, name)
    for key in graph.inputs:
        if key not in contract.inputs:
            meanings = ", ".join(INPUT_SIZES)
            fit.fail(f"input {key!r}", f"has no entry in the contract's inputs; give it a meaning ({meanings})")
    for key, one in contract.inputs.items():
        if key not in graph.inputs:
            known = ", ".join(graph.inputs) or "none"
            fit.fail(f"input {key!r}", f"is in the contract, yet not in the graph, whose inputs are {known}")
        fit.input(key, one)
    for meaning, columns in contract.outputs.items():
        if columns.output not in graph.outputs:
            known = ", ".join(graph.outputs)
            fit.fail(f"output {columns.output!r}", f"({meaning}) is not in the graph, whose outputs are {known}")
        fit.output(meaning, columns)
    if contract.kind == "generator":
        fit.rows()


def static_rows(contract: Contract, graph: ModelGraph) -> bool:
    """Whether N is static for every output of a generator that fits its graph."""
    return all(graph.outputs[c.output].shape[0] is not None for m, c in contract.outputs.items() if m != "count")


@dataclass(frozen=True)
class _Fit:
    contract: Contract
    graph: ModelGraph
    name: str

    def fail(self, what: str, why: str) -> NoReturn:
        raise FormatError(f"{self.name}: {what}: {why}; {_REMEDY}")

    def input(self, key: str, one: Input) -> None:
        tensor = self.graph.inputs[key]
        what = f"input {key!r} ({one.meaning})"
        if one.meaning == "image":
            self._image(what, tensor)
            return
        if tensor.type not in INPUT_TYPES:
            self.fail(what, f"is {tensor.type}; expected {', '.join(INPUT_TYPES)}")
        size = tensor.size
        if size is None:
            self.fail(what, f"has the dynamic shape {shape_text(tensor.shape)}; export it with a static one")
        bare = without_leading_ones(tensor.shape)
        if one.meaning in _SHAPES:
            if bare != _SHAPES[one.meaning]:
                self.fail(what, f"has shape {shape_text(tensor.shape)}; expected {shape_text(_SHAPES[one.meaning])}")
        elif one.meaning == "controls":
            want = (len(one.controls),) if len(one.controls) > 1 else ()
            if bare != want:
                given, count = f"has shape {shape_text(tensor.shape)}", len(one.controls)
                self.fail(what, f"{given} for {count} controls; expected {shape_text((count,))}")
        elif one.meaning == "track":
            widths = {t.channels[one.channel].shape[1] for t in self.contract.tracks if one.channel in t.channels}
            if widths - {size}:
                given = f"has shape {shape_text(tensor.shape)}, {size} numbers"
                self.fail(what, f"{given}; the channel {one.channel!r} has {min(widths)} a frame")
        elif one.meaning == "constant":
            if len(one.value) not in (1, size):
                given = f"has shape {shape_text(tensor.shape)}, {size} numbers"
                self.fail(what, f"{given}; its value has {len(one.value)}, expected 1 or {size}")
        elif size != 1:
            self.fail(what, f"has shape {shape_text(tensor.shape)}; expected a single number, such as [1]")

    def _image(self, what: str, tensor: TensorType) -> None:
        if tensor.type not in OUTPUT_TYPES:
            self.fail(what, f"is {tensor.type}; expected {' or '.join(OUTPUT_TYPES)}")
        shape = tensor.shape
        dynamic = [d is None for d in shape[2:]]
        if len(shape) != 4 or shape[:2] != (1, 3) or any(dynamic) != all(dynamic):
            expected = "[1, 3, H, W], H and W both static or both dynamic"
            self.fail(what, f"has shape {shape_text(shape)}; expected {expected}")
        given = self.contract.image.size if self.contract.image else None
        if not dynamic[0] and given != shape[2:]:
            self.fail(what, f"has shape {shape_text(shape)}; the contract needs \"image\": {{\"size\": [H, W]}} of it")
        if dynamic[0] and given is not None:
            self.fail(what, "has dynamic H and W; the contract's \"image\" is to have \"multiple\", not \"size\"")

    def output(self, meaning: str, one: Columns) -> None:
        tensor = self.graph.outputs[one.output]
        what, shape = f"output {one.output!r} ({meaning})", tensor.shape
        if meaning == "count":
            if one.count or tensor.type != "int32" or tensor.size != 1:
                self.fail(what, f"is {tensor}; expected int32 [1], all of it")
            return
        if tensor.type not in OUTPUT_TYPES:
            self.fail(what, f"is {tensor.type}; expected {' or '.join(OUTPUT_TYPES)}")
        if meaning == "image":
            name = next(key for key, i in self.contract.inputs.items() if i.meaning == "image")
            want = self.graph.inputs[name].shape if name in self.graph.inputs else ()
            if len(shape) != 4 or any(None not in (a, b) and a != b for a, b in zip(shape, want, strict=False)):
                self.fail(what, f"has shape {shape_text(shape)}; expected that of the input, {shape_text(want)}")
            return
        if not shape or None in shape[1:]:
            self.fail(what, f"has shape {shape_text(shape)}; expected [N, C] with C static")
        has = math.prod(d or 0 for d in shape[1:])
        if one.count:
            if len(shape) != 2:
                self.fail(what, f"has shape {shape_text(shape)}; columns are taken of outputs [N, C] only")
            if one.first + one.count > has:
                end = one.first + one.count - 1
                self.fail(what, f"has {has} columns; its entry takes {one.first} to {end}")
        columns = one.count or has
        allowed = OUTPUT_COLUMNS[meaning]
        if allowed is not None and columns not in allowed:
            self.fail(what, f"has {columns} columns; expected {' or '.join(map(str, allowed))}")
        three = len(shape) == 3 and meaning == "sh" and shape[2] == 3
        if len(shape) > 2 and not three and meaning != "features":
            self.fail(what, f"has shape {shape_text(shape)}; expected [N, {columns}]")

    def rows(self) -> None:
        """That all outputs whose N is static have the same, which is the capacity where all are."""
        found = {
            one.output: self.graph.outputs[one.output].shape[0]
            for meaning, one in self.contract.outputs.items()
            if meaning != "count"
        }
        static = {n for n in found.values() if n is not None}  # some may be inferred where others are not
        if len(static) > 1:
            each = ", ".join(f"{key} {shape_text((n,))}" for key, n in found.items())
            self.fail("outputs", f"their numbers of rows differ ({each}); all have the same")
        n, capacity = max(static, default=0), self.contract.capacity
        if n > capacity or (None not in found.values() and n < capacity):
            self.fail("capacity", f"is {capacity} in the contract, and the graph's outputs have {n} rows")
