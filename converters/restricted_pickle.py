"""Reads pickles of plain values without Python's unpickler: what is not on the caller's list is refused by name.

Python's own unpickler calls what a file tells it to, and takes memory at its word (a memo index of 2^32 allocates
64 GB). Here `pickletools.genops` parses the opcodes, which executes nothing, and a stack machine of our own runs them.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, BinaryIO, cast

from splatlens.viewer.errors import FormatError, UnsupportedError

#: Most opcodes run: about 100,000 tensors. Every opcode allocates at most some hundred bytes and what it itself holds.
MAX_OPCODES = 1 << 22
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset((
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
))  # fmt: skip
_PUTS = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_GETS = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
#: Tuples are no keys: Python hashes them by recursion in C, and a file may nest them until the stack overflows.
_KEYS = (str, int, float, bytes, type(None))


@dataclass(frozen=True)
class Known:
    """A global on the list. call: what REDUCE does with its arguments; None where it is only mentioned (a type)."""

    name: str
    call: Callable[..., Any] | None = None


@dataclass
class Inert:
    """An object of a class that was not loaded: its name and the attributes the pickle gives it."""

    name: str
    attributes: dict[str, Any] = field(default_factory=dict)


class Buildable:
    """Base of values that a pickle completes with a state after it made them (BUILD)."""

    def build(self, state: Any) -> None:
        """Takes the state over. Raises ValueError or TypeError for a state it cannot have."""
        raise NotImplementedError


def printable(text: str) -> str:
    """Text of a file for a message: one line of ASCII, at most 120 characters."""
    return text.encode("unicode_escape").decode("ascii")[:120]


@dataclass(frozen=True)
class Bounded:
    """A file that is asked for no more than it has: reading 2^60 bytes of an open file allocates them first.

    size: bytes of the file.
    """

    file: BinaryIO
    size: int

    def read(self, count: int) -> bytes:
        return self.file.read(min(count, max(self.size - self.file.tell(), 0)))

    def readline(self) -> bytes:
        return self.file.readline()

    def tell(self) -> int:
        return self.file.tell()


@dataclass
class Machine:
    """Runs one pickle.

    where: path and part, for messages. known: globals by "module.name". inert: prefix of class names whose objects are
    made as `Inert`, "" for none. persistent: makes a value of a persistent id.
    """

    where: str
    known: Mapping[str, Known]
    inert: str = ""
    persistent: Callable[[Any], Any] | None = None
    _stack: list[Any] = field(default_factory=list)
    _marks: list[list[Any]] = field(default_factory=list)
    _memo: dict[int, Any] = field(default_factory=dict)

    def load(self, file: Bounded | BytesIO) -> Any:
        """The object of the pickle at which `file` stands. Raises FormatError, UnsupportedError."""
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(BinaryIO, file))):
                if count > MAX_OPCODES:
                    raise FormatError(f"{self.where}: over {MAX_OPCODES} pickle opcodes; save the state dict alone")
                if opcode.name == "STOP":
                    return self._stack.pop()
                self._step(opcode.name, argument)
            raise ValueError("it has no end")
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError) as error:
            what = "an index that nothing was stored under" if isinstance(error, KeyError) else str(error)
            raise FormatError(f"{self.where}: damaged pickle: {printable(what)}; copy the file again") from None

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _LITERALS:
            stack.append(argument)
        elif name in _PUTS:
            self._memo[argument] = stack[-1]
        elif name in _GETS:
            stack.append(self._memo[argument])
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            count = _TUPLES[name]
            if count > len(stack):
                raise IndexError("tuple of more than the stack holds")
            items = tuple(stack[len(stack) - count :])
            del stack[len(stack) - count :]
            stack.append(items)
        else:
            action = getattr(self, f"_op_{name.lower()}", None)
            if action is None:
                raise UnsupportedError(
                    f"{self.where}: pickle opcode {name}, which no checkpoint of tensors needs; nothing was executed; "
                    "save the state dict with torch.save"
                )
            action(argument)

    def _to_mark(self) -> list[Any]:
        """What was pushed since the last mark, taken off."""
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _op_proto(self, version: int) -> None:
        if version > 5:
            raise UnsupportedError(f"{self.where}: pickle protocol {version}; up to 5 is read; save the file anew")

    def _op_frame(self, length: int) -> None:
        pass  # only tells readers how much to buffer

    def _op_mark(self, _: None) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _op_pop(self, _: None) -> None:
        self._stack.pop()

    def _op_pop_mark(self, _: None) -> None:
        self._to_mark()

    def _op_dup(self, _: None) -> None:
        self._stack.append(self._stack[-1])

    def _op_memoize(self, _: None) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _op_tuple(self, _: None) -> None:
        items = tuple(self._to_mark())
        self._stack.append(items)

    def _op_empty_list(self, _: None) -> None:
        self._stack.append([])

    def _op_list(self, _: None) -> None:
        items = self._to_mark()
        self._stack.append(items)

    def _op_append(self, _: None) -> None:
        value = self._stack.pop()
        _list(self._stack[-1]).append(value)

    def _op_appends(self, _: None) -> None:
        items = self._to_mark()
        _list(self._stack[-1]).extend(items)

    def _op_empty_dict(self, _: None) -> None:
        self._stack.append({})

    def _op_dict(self, _: None) -> None:
        items = self._to_mark()
        self._stack.append({})
        self._set(items)

    def _op_setitem(self, _: None) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set([key, value])

    def _op_setitems(self, _: None) -> None:
        self._set(self._to_mark())

    def _set(self, items: list[Any]) -> None:
        """Puts alternating keys and values into the dict on top of the stack."""
        target = self._stack[-1]
        if type(target) is not dict:
            raise TypeError("items set on what is no dict")
        if len(items) % 2:
            raise ValueError("a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise TypeError("a key that is neither text nor a number")
            target[key] = value

    def _op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._stack.append(self._find(module, name))

    def _op_stack_global(self, _: None) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise TypeError("a global whose name is no text")
        self._stack.append(self._find(module, name))

    def _find(self, module: str, name: str) -> Known:
        full = f"{module}.{name}"
        if found := self.known.get(full):
            return found
        if self.inert and full.startswith(self.inert):
            return Known(full)
        raise UnsupportedError(
            f"{self.where}: the pickle asks for {printable(full)}, which is not on the list of what checkpoints of "
            "tensors are made of; nothing was executed; save the state dict (torch.save(model.state_dict(), ...)) "
            "instead of the object"
        )

    def _op_reduce(self, _: None) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Known) or function.call is None or type(arguments) is not tuple:
            raise TypeError("a call of what cannot be called")
        self._stack.append(function.call(*arguments))

    def _op_newobj(self, _: None) -> None:
        arguments, kind = self._stack.pop(), self._stack.pop()
        if not isinstance(kind, Known) or not self.inert or not kind.name.startswith(self.inert) or arguments != ():
            raise TypeError("an object made of what is no class of the archive")
        self._stack.append(Inert(kind.name))

    def _op_build(self, _: None) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, Inert):
            if type(state) is not dict or not all(type(key) is str for key in state):
                raise TypeError("attributes without names")
            target.attributes.update(state)
        elif isinstance(target, Buildable):
            target.build(state)
        elif type(target) is not dict:  # state dicts carry their modules' versions, which nobody needs
            raise TypeError("a state for what has none")

    def _op_binpersid(self, _: None) -> None:
        if self.persistent is None:
            raise ValueError("a persistent id where none may be")
        self._stack.append(self.persistent(self._stack.pop()))


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise TypeError("items appended to what is no list")
    return value
