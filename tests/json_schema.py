"""A validator of the JSON schema keywords that docs/generator.schema.json uses, and of no others (2020-12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: isinstance(v, int | float) and not isinstance(v, bool) and v == int(v),
}
#: Words about a schema rather than about what it allows.
SILENT = {"$schema", "title", "description", "$defs", "then", "else"}


def valid(value: Any, schema: Any, root: Any) -> bool:
    """Whether the value fits. Raises KeyError for a keyword that is not known here."""
    if isinstance(schema, bool):
        return schema
    return all(KEYWORDS[k](value, v, schema, root) for k, v in schema.items() if k not in SILENT)


def _equal(a: Any, b: Any) -> bool:
    """As JSON has it: 0 is 0.0, and neither is false."""
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _type(v: Any, want: Any, schema: Any, root: Any) -> bool:
    return any(TYPES[name](v) for name in ([want] if isinstance(want, str) else want))


def _properties(v: Any, want: Any, schema: Any, root: Any) -> bool:
    return not isinstance(v, dict) or all(valid(v[k], s, root) for k, s in want.items() if k in v)


def _additional(v: Any, want: Any, schema: Any, root: Any) -> bool:
    named = schema.get("properties", {})
    return not isinstance(v, dict) or all(valid(x, want, root) for k, x in v.items() if k not in named)


def _names(v: Any, want: Any, schema: Any, root: Any) -> bool:
    return not isinstance(v, dict) or all(valid(k, want, root) for k in v)


def _items(v: Any, want: Any, schema: Any, root: Any) -> bool:
    first = len(schema.get("prefixItems", []))
    return not isinstance(v, list) or all(valid(x, want, root) for x in v[first:])


def _prefix(v: Any, want: Any, schema: Any, root: Any) -> bool:
    return not isinstance(v, list) or all(valid(x, s, root) for x, s in zip(v, want, strict=False))


def _if(v: Any, want: Any, schema: Any, root: Any) -> bool:
    return valid(v, schema.get("then" if valid(v, want, root) else "else", True), root)


def _ref(v: Any, want: Any, schema: Any, root: Any) -> bool:
    assert want.startswith("#/$defs/")
    return valid(v, root["$defs"][want.removeprefix("#/$defs/")], root)


def _number(v: Any) -> bool:
    return TYPES["number"](v)


KEYWORDS: dict[str, Callable[[Any, Any, Any, Any], bool]] = {
    "type": _type,
    "const": lambda v, want, schema, root: _equal(v, want),
    "enum": lambda v, want, schema, root: any(_equal(v, one) for one in want),
    "required": lambda v, want, schema, root: not isinstance(v, dict) or set(want) <= set(v),
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": _names,
    "minProperties": lambda v, want, schema, root: not isinstance(v, dict) or len(v) >= want,
    "maxProperties": lambda v, want, schema, root: not isinstance(v, dict) or len(v) <= want,
    "items": _items,
    "prefixItems": _prefix,
    "minItems": lambda v, want, schema, root: not isinstance(v, list) or len(v) >= want,
    "maxItems": lambda v, want, schema, root: not isinstance(v, list) or len(v) <= want,
    "contains": lambda v, want, schema, root: not isinstance(v, list) or any(valid(x, want, root) for x in v),
    "maxLength": lambda v, want, schema, root: not isinstance(v, str) or len(v) <= want,
    "minimum": lambda v, want, schema, root: not _number(v) or v >= want,
    "maximum": lambda v, want, schema, root: not _number(v) or v <= want,
    "not": lambda v, want, schema, root: not valid(v, want, root),
    "allOf": lambda v, want, schema, root: all(valid(v, s, root) for s in want),
    "anyOf": lambda v, want, schema, root: any(valid(v, s, root) for s in want),
    "oneOf": lambda v, want, schema, root: sum(valid(v, s, root) for s in want) == 1,
    "if": _if,
    "$ref": _ref,
}
