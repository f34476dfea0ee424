"""Builds ONNX graphs node by node, for the exporters: few operators, all of which onnxruntime's WebGPU provider has."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from splatlens.viewer.contract import METADATA_KEY, Contract

#: Opset of exported graphs: the oldest that has all they use, so that old runtimes take them; and its IR version.
OPSET, IR_VERSION = 17, 8
_TYPES = {
    "float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32, "int64": TensorProto.INT64
}  # fmt: skip


class Graph:
    """A graph under construction. Values are named by strings; equal constants are stored once."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], str] = {}
        self._initializers: list[Any] = []

    def input(self, name: str, shape: tuple[int | str, ...], kind: str = "float32") -> str:
        """Declares an input; a string in the shape is a dynamic size."""
        self._inputs.append(helper.make_tensor_value_info(name, _TYPES[kind], shape))
        return name

    def output(self, value: str, name: str, shape: tuple[int | str, ...], kind: str = "float32") -> None:
        """Declares `value` as an output called `name`."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, _TYPES[kind], shape))

    def constant(self, array: NDArray[Any] | float | int | list[int], kind: str = "") -> str:
        """A constant: floats are float32, integers int64 unless `kind` says otherwise; one number has shape [1]."""
        values = np.asarray(array)
        if kind:
            values = values.astype(kind)
        elif values.dtype.kind == "f":
            values = values.astype(np.float32)
        elif values.dtype.kind in "iu":
            values = values.astype(np.int64)
        key = values.tobytes(), str(values.dtype), values.shape
        if key not in self._constants:
            self._constants[key] = f"c{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), self._constants[key]))
        return self._constants[key]

    def op(self, operator: str, *inputs: str | NDArray[Any] | float, **attributes: Any) -> str:
        """A node with one result, whose name is returned. Inputs that are not names become constants."""
        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        result = f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, names, [result], **attributes))
        return result

    def columns(self, value: str, first: int, count: int, axis: int = 1) -> str:
        """value[:, first : first + count]."""
        return self.op("Slice", value, *(self.constant([v]) for v in (first, first + count, axis)))

    def reshape(self, value: str, *shape: int) -> str:
        return self.op("Reshape", value, self.constant(list(shape)))

    def linear(self, value: str, weight: NDArray[np.floating[Any]], bias: NDArray[np.floating[Any]] | None) -> str:
        """x W^T + b as torch.nn.Linear stores them: weight (out, in), bias (out,)."""
        product = self.op("MatMul", value, np.ascontiguousarray(weight.T, np.float32))
        return product if bias is None else self.op("Add", product, bias.astype(np.float32))

    def normalised(self, value: str) -> str:
        """Rows divided by their length (at least 1e-12)."""
        square = self.op("ReduceSum", self.op("Mul", value, value), self.constant([1]), keepdims=1)
        return self.op("Div", value, self.op("Sqrt", self.op("Max", square, 1e-24)))

    def model(self, contract: Contract, metadata: dict[str, str] | None = None) -> onnx.ModelProto:
        """The checked model, with its contract and other metadata."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._initializers)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="splatlens")
        made.ir_version = IR_VERSION
        helper.set_model_props(made, {METADATA_KEY: json.dumps(contract.to_json()), **(metadata or {})})
        onnx.checker.check_model(made, full_check=True)
        return made
