"""Writes checkpoints as torch lays them out, without torch: for tests of exporters, and of the reader."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORAGES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage",
    "int32": "IntStorage", "bool": "BoolStorage", "uint8": "ByteStorage",
}  # fmt: skip


@dataclass(frozen=True)
class Global:
    """module.name, as a pickle mentions it."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """function(*arguments), for REDUCE."""

    function: Global
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Object:
    """An object of a class with attributes, for NEWOBJ and BUILD."""

    kind: Global
    attributes: Mapping[str, Any]


@dataclass
class Writer:
    """Opcodes of protocol 2 for plain values, arrays (as tensors, storages kept aside), calls and objects."""

    out: io.BytesIO = field(default_factory=io.BytesIO)
    storages: list[NDArray[Any]] = field(default_factory=list)

    def dumps(self, value: Any) -> bytes:
        self.out.write(b"\x80\x02")
        self._put(value)
        self.out.write(b".")
        return self.out.getvalue()

    def _put(self, value: Any) -> None:
        write = self.out.write
        match value:
            case None:
                write(b"N")
            case bool():
                write(b"\x88" if value else b"\x89")
            case int():
                raw = value.to_bytes(10, "little", signed=True)
                write(b"\x8a\x0a" + raw)
            case float():
                write(b"G" + struct.pack(">d", value))
            case str():
                write(b"X" + struct.pack("<I", len(value.encode())) + value.encode())
            case tuple():
                write(b"(")
                for item in value:
                    self._put(item)
                write(b"t")
            case list():
                write(b"](")
                for item in value:
                    self._put(item)
                write(b"e")
            case dict():
                write(b"}(")
                for key, item in value.items():
                    self._put(key)
                    self._put(item)
                write(b"u")
            case Global():
                write(f"c{value.module}\n{value.name}\n".encode())
            case Call():
                self._put(value.function)
                self._put(value.arguments)
                write(b"R")
            case Object():
                self._put(value.kind)
                write(b")\x81")
                self._put(dict(value.attributes))
                write(b"b")
            case np.ndarray():
                self._tensor(value)
            case _:
                raise TypeError(type(value))

    def _tensor(self, array: NDArray[Any]) -> None:
        array = np.ascontiguousarray(array)
        key, kind = str(len(self.storages)), Global("torch", STORAGES[str(array.dtype)])
        self.storages.append(array)
        strides = tuple(s // array.itemsize for s in array.strides)
        self._put(Global("torch._utils", "_rebuild_tensor_v2"))
        self.out.write(b"(")
        self._put(("storage", kind, key, "cpu", array.size))
        self.out.write(b"Q")
        for part in (0, array.shape, strides, False, Call(Global("collections", "OrderedDict"), ())):
            self._put(part)
        self.out.write(b"tR")


def save(path: Path, value: Any, *, script: bool = False, order: str = "little") -> None:
    """A zip of torch.save, or with `script` one of TorchScript."""
    writer = Writer()
    pickled = writer.dumps(value)
    save_parts(path, pickled, writer.storages, script=script, order=order)


def save_parts(
    path: Path, pickled: bytes, storages: list[NDArray[Any]], *, script: bool = False, order: str = "little"
) -> None:
    """The same of a pickle that is given."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickled)
        archive.writestr(f"{path.stem}/byteorder", order)
        archive.writestr(f"{path.stem}/version", "3\n")
        if script:
            archive.writestr(f"{path.stem}/constants.pkl", b"\x80\x02).")
        for i, array in enumerate(storages):
            dtype = array.dtype.newbyteorder("<" if order == "little" else ">")
            archive.writestr(f"{path.stem}/data/{i}", array.astype(dtype).tobytes())


def save_script(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """A TorchScript archive of modules whose state dict is `tensors`: names are parted at their dots."""
    tree: dict[str, Any] = {}
    for name, array in tensors.items():
        *modules, last = name.split(".")
        node = tree
        for module in modules:
            node = node.setdefault(module, {})
        node[last] = array
    save(path, _module(tree), script=True)


def _module(tree: dict[str, Any]) -> Object:
    members = {key: _module(item) if isinstance(item, dict) else item for key, item in tree.items()}
    return Object(Global("__torch__.torch.nn.modules.container", "Sequential"), {"training": False, **members})
