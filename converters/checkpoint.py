"""PyTorch checkpoints without PyTorch: zip and legacy files of torch.save, and TorchScript archives.

Layouts: torch/serialization.py (`_save`, `_legacy_save`), caffe2/serialize/inline_container.h and
torch/csrc/jit/serialization/export_module.cpp of pytorch 2.x. The pickles go through `restricted_pickle`, so nothing
is executed; every size is held against the file before anything of it is allocated.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from splatlens.converters.restricted_pickle import Bounded, Buildable, Inert, Known, Machine, printable
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError

#: Largest pickle read from an archive, bytes: 100,000 tensors take some 15 MB.
MAX_PICKLE = 1 << 26
#: Objects looked through for tensors at most, and how deep containers and modules may be nested.
MAX_OBJECTS, MAX_DEPTH = 1 << 20, 64
#: Elements that a tensor may have beyond those of its storage (stride 0: torch.expand), none of which is ever copied.
MAX_EXPANDED = 1 << 20
#: First bytes of a legacy file: protocol 2 and the pickled number 0x1950A86A20F9469CFC6C.
LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
LEGACY_PROTOCOL = 1001
#: torch's storage classes: NumPy code without byte order. bfloat16 has none: its bits are widened to float32.
STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf16", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
    "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16",
}  # fmt: skip
_DTYPES = (
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64",
    "complex128",
)  # fmt: skip
_BYTES_CODES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1")
_DAMAGED = "copy the checkpoint again"


def is_checkpoint(head: bytes) -> bool:
    """Whether a file that starts so may be one: a zip archive (other formats are zips too), or the legacy magic."""
    return head.startswith((b"PK\x03\x04", LEGACY_MAGIC))


def read_checkpoint(path: str | Path) -> Any:
    """The object a checkpoint holds.

    Tensors and parameters are NumPy arrays (bfloat16 as float32; views that must not be written to), OrderedDicts are
    dicts, TorchScript modules `Inert` objects with their attributes, devices their names, dtypes `Known` names. Raises
    LensError.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(LEGACY_MAGIC))
            if head == LEGACY_MAGIC:
                return _read_legacy(path, file)
            if head.startswith(b"PK\x03\x04"):
                return _read_archive(path, file)
    except FileNotFoundError:
        raise LensError(f"{path}: no such file; check the name") from None
    except OSError as error:
        raise LensError(f"{path}: cannot read: {error.strerror or error}") from error
    raise FormatError(f"{path}: no PyTorch checkpoint: it starts with {head[:8]!r}, neither a zip nor torch's magic")


def state_dict(path: str | Path) -> dict[str, NDArray[Any]]:
    """All tensors of a checkpoint by name: names of nested dicts, lists and modules joined by dots. LensError."""
    return dict(tensors(path, read_checkpoint(path)))


def tensors(path: str | Path, value: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """(name, array) of all tensors inside what `read_checkpoint` gave, in its order. Raises FormatError."""
    visited = 0
    stack: list[tuple[str, Any, int]] = [("", value, 0)]
    while stack:
        name, item, depth = stack.pop()
        visited += 1
        if visited > MAX_OBJECTS or depth > MAX_DEPTH:
            raise FormatError(f"{path}: objects nested without end at {printable(name)!r}; save the state dict alone")
        if isinstance(item, np.ndarray):
            yield name, item
        members = _members(item)
        stack.extend((f"{name}.{key}" if name else str(key), one, depth + 1) for key, one in reversed(members))


def _members(item: Any) -> list[tuple[Any, Any]]:
    if isinstance(item, Inert):
        return list(item.attributes.items())
    if isinstance(item, dict):
        return [(key, value) for key, value in item.items() if isinstance(key, str | int)]
    return list(enumerate(item)) if isinstance(item, list | tuple) else []


@dataclass
class _Storage:
    """A storage mentioned in the pickle: its elements are read when the first tensor asks for them."""

    code: str
    count: int
    read: Callable[[], NDArray[Any]] | None = None
    _values: NDArray[Any] | None = None

    @property
    def values(self) -> NDArray[Any]:
        """(count,) elements in this machine's byte order."""
        if self._values is None:
            assert self.read is not None  # set before any tensor is made
            self._values = self.read()
        return self._values


@dataclass
class _NumpyType(Buildable):
    """numpy.dtype, pickled as its code and a state that holds the byte order."""

    code: str
    order: str = "="

    def build(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("a numpy.dtype with an unknown state")
        self.order = state[1]


def _element_bytes(code: str) -> int:
    return 2 if code == "bf16" else int(np.dtype(code).itemsize)


def _decoded(raw: bytes, code: str, little: bool) -> NDArray[Any]:
    """Elements of a storage's bytes, in this machine's byte order."""
    order = "<" if little else ">"
    if code == "bf16":
        bits = np.frombuffer(raw, order + "u2").astype(np.uint32) << np.uint32(16)
        return np.asarray(bits.view(np.float32))
    if code == "?":  # any byte but 0 is true; NumPy takes the bytes as they are
        return np.asarray(np.frombuffer(raw, "u1") != 0)
    values: NDArray[Any] = np.frombuffer(raw, order + code)
    return values.astype(values.dtype.newbyteorder("="), copy=False)


def _whole(value: Any) -> int:
    """A count or position of the pickle."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise ValueError("a size, stride or offset that is no whole number from 0 on")
    return value


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> NDArray[Any]:
    """torch._utils._rebuild_tensor_v2: a view into the storage, checked against its length."""
    if not isinstance(storage, _Storage) or type(size) is not tuple or type(stride) is not tuple:
        raise TypeError("a tensor without storage, size or stride")
    first, shape, steps = _whole(offset), [_whole(n) for n in size], [_whole(n) for n in stride]
    if len(shape) != len(steps) or len(shape) > 32:
        raise ValueError(f"a tensor of {len(shape)} dimensions with {len(steps)} strides")
    count = math.prod(shape)
    last = first + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
    if count and (last >= storage.count or count > max(storage.count, MAX_EXPANDED)):
        raise ValueError("a tensor that reaches past the end of its storage")
    if not count:
        return np.empty(shape, _decoded(b"", storage.code, True).dtype)
    values = storage.values[first:]
    # The stride of a side of 1 says nothing, and may be any number.
    strides = [step * values.itemsize if n > 1 else 0 for n, step in zip(shape, steps, strict=True)]
    return as_strided(values, shape, strides, writeable=False)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _ordered(pairs: Any = ()) -> dict[Any, Any]:
    made = {}
    for pair in pairs:
        key, value = pair
        if not isinstance(key, str | int):
            raise TypeError("a key that is neither text nor a number")
        made[key] = value
    return made


def _size(dimensions: Any = ()) -> tuple[int, ...]:
    return tuple(_whole(n) for n in dimensions)


def _device(kind: Any, index: Any = None) -> str:
    if type(kind) is not str:
        raise TypeError("a device without a name")
    return kind if index is None else f"{kind}:{_whole(index)}"


def _first(value: Any, *_: Any) -> Any:
    """torch.jit._pickle: lists of one type, and values with the name of theirs."""
    return value


def _numpy_type(code: Any, *_: Any) -> _NumpyType:
    if code not in _BYTES_CODES:
        raise ValueError("a numpy.dtype that is no number")
    return _NumpyType(code)


def _numpy_scalar(kind: Any, raw: Any) -> Any:
    if not isinstance(kind, _NumpyType) or type(raw) is not bytes:
        raise TypeError("a NumPy scalar without type or bytes")
    dtype = np.dtype(kind.code).newbyteorder("=" if kind.order == "|" else kind.order)  # type: ignore[arg-type]
    if len(raw) != dtype.itemsize:
        raise ValueError(f"a NumPy scalar of {len(raw)} bytes, expected {dtype.itemsize}")
    return np.frombuffer(raw, dtype)[0].item()


def _latin1(text: Any, encoding: Any) -> bytes:
    """_codecs.encode: how protocol 2 writes bytes."""
    if type(text) is not str or encoding != "latin1":
        raise ValueError("bytes in another encoding than latin1")
    return text.encode("latin1")


def _known() -> dict[str, Known]:
    calls: dict[str, Callable[..., Any]] = {
        "torch._utils._rebuild_tensor": _tensor, "torch._utils._rebuild_tensor_v2": _tensor,
        "torch._utils._rebuild_parameter": _parameter, "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch.nn.parameter.Parameter": _parameter, "collections.OrderedDict": _ordered, "torch.Size": _size,
        "torch.device": _device, "torch.jit._pickle.restore_type_tag": _first, "numpy.dtype": _numpy_type,
        "numpy.core.multiarray.scalar": _numpy_scalar, "numpy._core.multiarray.scalar": _numpy_scalar,
        "_codecs.encode": _latin1,
    }  # fmt: skip
    calls |= {f"torch.jit._pickle.build_{kind}list": _first for kind in ("int", "double", "bool", "tensor")}
    known = {name: Known(name, call) for name, call in calls.items()}
    # torch.float32 and its like are pickled as globals; they are only mentioned, never called.
    return known | {f"torch.{name}": Known(f"torch.{name}") for name in (*STORAGES, *_DTYPES)}


KNOWN = _known()
#: The same, but tensors are passed over.
_MENTIONED = KNOWN | {name: Known(name, lambda *_: None) for name, one in KNOWN.items() if one.call is _tensor}


def _storage_id(value: Any) -> tuple[str, str, int, Any]:
    """(code, key, elements, view) of a persistent id, ("storage", type, key, location, elements[, view])."""
    if type(value) is not tuple or len(value) not in (5, 6) or value[0] != "storage":
        raise ValueError("a persistent id that is no storage")
    kind, key, count = value[1], value[2], value[4]
    if not isinstance(kind, Known) or kind.name.removeprefix("torch.") not in STORAGES or type(key) is not str:
        raise ValueError("a storage without type or key")
    return STORAGES[kind.name.removeprefix("torch.")], key, _whole(count), value[5] if len(value) == 6 else None


def _declared(
    storages: dict[str, _Storage], code: str, key: str, count: int, read: Callable[[], NDArray[Any]] | None = None
) -> _Storage:
    """The storage of a key, the same each time it is mentioned. Raises ValueError where mentions differ."""
    found = storages.setdefault(key, _Storage(code, count, read))
    if (found.code, found.count) != (code, count):
        raise ValueError(f"two lengths or types of storage {printable(key)}")
    return found


class _Archive:
    """The records of a zip of torch: NAME/data.pkl, NAME/data/KEY and so on, under whatever folder name."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        try:
            self.zip = zipfile.ZipFile(file)
            self.records = {info.filename: info for info in self.zip.infolist()}
        except (zipfile.BadZipFile, ValueError, EOFError, struct.error, NotImplementedError) as error:
            raise FormatError(f"{path}: damaged zip archive: {printable(str(error))}; {_DAMAGED}") from None
        roots = [name.removesuffix("data.pkl") for name in self.records if name.split("/")[1:] == ["data.pkl"]]
        if len(roots) != 1:
            raise FormatError(
                f"{path}: a zip archive, but no checkpoint: {len(roots)} records FOLDER/data.pkl, expected one"
            )
        self.root = roots[0]
        self.budget = path.stat().st_size
        order = self.read("byteorder", 16, b"little").strip()
        if order not in (b"little", b"big"):
            raise FormatError(f"{path}: byte order {order!r}, expected little or big; {_DAMAGED}")
        self.little = order == b"little"

    def __contains__(self, name: str) -> bool:
        return self.root + name in self.records

    def read(self, name: str, limit: int, absent: bytes | None = None) -> bytes:
        """A record of at most `limit` bytes. Raises FormatError."""
        info = self.records.get(self.root + name)
        if info is None:
            if absent is not None:
                return absent
            raise FormatError(f"{self.path}: the record {printable(name)} is missing from the archive; {_DAMAGED}")
        if info.file_size > limit:
            raise FormatError(f"{self.path}: {printable(name)} has {info.file_size} bytes, at most {limit} are read")
        try:
            with self.zip.open(info) as record:
                raw = record.read(limit + 1)
        except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, struct.error, NotImplementedError) as error:
            raise FormatError(f"{self.path}: {printable(name)}: {printable(str(error))}; {_DAMAGED}") from None
        except RuntimeError:  # zipfile's word for a missing password
            raise UnsupportedError(f"{self.path}: {printable(name)} is encrypted; decrypt the archive") from None
        if len(raw) != info.file_size:
            raise FormatError(
                f"{self.path}: {printable(name)} has {len(raw)} bytes, expected {info.file_size}; {_DAMAGED}"
            )
        return raw

    def storage(self, code: str, key: str, count: int) -> NDArray[Any]:
        """Elements of the record data/KEY. Raises FormatError."""
        name, need = f"data/{key}", count * _element_bytes(code)
        info = self.records.get(self.root + name)
        if info is not None and info.compress_type != zipfile.ZIP_STORED:
            raise UnsupportedError(f"{self.path}: {printable(name)} is compressed, as torch never does; save it again")
        if info is not None and info.file_size < need:
            raise FormatError(
                f"{self.path}: {printable(name)} has {info.file_size} bytes, the pickle says {need}; {_DAMAGED}"
            )
        # Records of a sound archive do not overlap, so all of them together are no longer than the file.
        self.budget -= info.file_size if info else 0
        if self.budget < 0:
            raise FormatError(f"{self.path}: records longer than the file in all: they overlap; {_DAMAGED}")
        return _decoded(self.read(name, info.file_size if info else 0)[:need], code, self.little)


def _read_archive(path: Path, file: BinaryIO) -> Any:
    archive = _Archive(path, file)
    storages: dict[str, _Storage] = {}

    def persistent(value: Any) -> _Storage:
        code, key, count, _ = _storage_id(value)
        return _declared(storages, code, key, count, lambda: archive.storage(code, key, count))

    inert = "__torch__." if "constants.pkl" in archive else ""
    machine = Machine(f"{path}: data.pkl", KNOWN, inert, persistent)
    return machine.load(io.BytesIO(archive.read("data.pkl", MAX_PICKLE)))


def _read_legacy(path: Path, file: BinaryIO) -> Any:
    """Magic, protocol, system, object and storage keys as pickles, then per key its length and elements.

    Elements are little-endian on every machine (torch/csrc/serialization.cpp, THPStorage_writeFileRaw).
    """
    file.seek(len(LEGACY_MAGIC))
    size = path.stat().st_size
    bounded = Bounded(file, size)
    protocol = Machine(f"{path}: protocol", {}).load(bounded)
    if protocol != LEGACY_PROTOCOL:
        raise UnsupportedError(f"{path}: another legacy protocol than {LEGACY_PROTOCOL}; save the file anew")
    Machine(f"{path}: system", {}).load(bounded)
    start = file.tell()
    storages: dict[str, _Storage] = {}

    def persistent(value: Any) -> _Storage:
        code, key, count, view = _storage_id(value)
        if view is not None:
            raise ValueError("a storage that is a view of another, which torch no longer writes")
        return _declared(storages, code, key, count)

    # The elements stand behind the object that asks for them: it is run once to know them, and once for good.
    Machine(f"{path}: object", _MENTIONED, persistent=persistent).load(bounded)
    keys = Machine(f"{path}: storage keys", {}).load(bounded)
    if type(keys) is not list or not all(type(key) is str for key in keys) or sorted(keys) != sorted(storages):
        raise FormatError(f"{path}: the list of storages is not that of the tensors; {_DAMAGED}")
    at = file.tell()
    for key in keys:
        found = storages[key]
        file.seek(at)
        raw = file.read(8)
        end = at + 8 + found.count * _element_bytes(found.code)
        if len(raw) < 8 or int.from_bytes(raw, "little") != found.count or end > size:
            raise FormatError(
                f"{path}: storage {printable(key)} of {found.count} elements at byte {at} ends at {end}, the file at "
                f"{size}, or says another length; {_DAMAGED}"
            )
        found.read = partial(_legacy_elements, file, found.code, at + 8, end)
        at = end
    file.seek(start)
    return Machine(f"{path}: object", KNOWN, persistent=persistent).load(bounded)


def _legacy_elements(file: BinaryIO, code: str, start: int, end: int) -> NDArray[Any]:
    """Elements between two bytes, the file left where it stood: its object is still being read."""
    back = file.tell()
    file.seek(start)
    raw = file.read(end - start)
    file.seek(back)
    return _decoded(raw, code, little=True)
