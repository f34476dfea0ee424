"""Checked access to values of parsed JSON: every error names the file, the field's path and what was expected."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from splatlens.viewer.errors import FormatError

#: Longest string of a scene description, characters: all of them must fit the first 16 KiB of a file.
MAX_TEXT = 2000
_REMEDY = "fetch the file again, or convert the scene again with `splatlens convert`"


@dataclass(frozen=True)
class Field:
    """A value, the file it is from, where in that file (`info.layers[2].transform`), and what to do about a fault."""

    value: Any
    file: str
    path: str
    remedy: str = _REMEDY

    def fail(self, expected: str) -> NoReturn:
        """Raises FormatError."""
        got = repr(self.value)
        got = got if len(got) <= 60 else got[:57] + "..."
        raise FormatError(f"{self.file}: field {self.path}: expected {expected}, got {got}; {self.remedy}")

    def has(self, key: str) -> bool:
        """Whether an object has the member, and it is not null."""
        return self.object().get(key) is not None

    def object(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            self.fail("an object")
        return self.value

    def member(self, key: str) -> Field:
        """A member of an object; null where it is missing."""
        return Field(self.object().get(key), self.file, f"{self.path}.{key}", self.remedy)

    def members(self, limit: int) -> dict[str, Field]:
        """All members of an object of at most `limit`."""
        if len(self.object()) > limit:
            self.fail(f"at most {limit} members")
        return {key: self.member(key) for key in self.object()}

    def items(self, low: int, high: int) -> list[Field]:
        """The elements of a list of low..high elements."""
        if not isinstance(self.value, list) or not low <= len(self.value) <= high:
            self.fail(f"a list of {low}" if low == high else f"a list of {low} to {high}")
        return [Field(v, self.file, f"{self.path}[{i}]", self.remedy) for i, v in enumerate(self.value)]

    def number(self, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number in low..high."""
        v = self.value
        # Compared before float(): an integer of 400 digits has no float.
        if isinstance(v, bool) or not isinstance(v, int | float) or not abs(v) <= 1.7e308 or not low <= v <= high:
            self.fail("a finite number" if math.isinf(low) and math.isinf(high) else f"a number in {low:g}..{high:g}")
        return float(v)

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high; JSON does not tell 1 from 1.0."""
        v = self.value
        whole = isinstance(v, int) or (isinstance(v, float) and v.is_integer())
        if isinstance(v, bool) or not whole or not low <= v <= high:
            self.fail(f"an integer in {low}..{high}")
        return int(v)

    def boolean(self) -> bool:
        if not isinstance(self.value, bool):
            self.fail("true or false")
        return bool(self.value)

    def text(self, limit: int = MAX_TEXT) -> str:
        if not isinstance(self.value, str) or len(self.value) > limit:
            self.fail(f"a string of at most {limit} characters")
        return str(self.value)

    def numbers(self, count: int) -> tuple[float, ...]:
        """A list of `count` finite numbers."""
        return tuple(f.number() for f in self.items(count, count))

    def rows(self, rows: int, columns: int) -> tuple[tuple[float, ...], ...]:
        """A list of `rows` lists of `columns` finite numbers."""
        return tuple(f.numbers(columns) for f in self.items(rows, rows))


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(data: bytes, file: str, path: str, remedy: str = _REMEDY) -> Field:
    """JSON text of a file. Raises FormatError where it is not valid UTF-8 or not JSON (NaN and infinities are not)."""
    try:
        return Field(json.loads(data.decode(), parse_constant=_no_constant), file, path, remedy)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{file}: {path}: not valid JSON ({error}); {remedy}") from error


def dump_json(value: Any) -> bytes:
    """JSON text with sorted keys and no spaces: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
