"""A small network's weights in JSON, as baked fields are exported with (mlp.json): strict, and bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.converters.obj_triangles import read_bounded
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.mesh import MAX_WIDTH, Dense, Look

#: Largest file read. Four layers of 64 x 64 weights of 22 characters are 360 kB.
MAX_BYTES = 8 << 20


def read_mlp(path: Path) -> dict[str, Any]:
    """The fields of an mlp.json. Raises FormatError, UnsupportedError."""
    data = read_bounded(path, MAX_BYTES)
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON: {str(error)[:120]}; export the scene again") from error
    if not isinstance(fields, dict):
        raise FormatError(f"{path}: expected an object with weights, got {type(fields).__name__}")
    return fields


def whole(fields: dict[str, Any], key: str, low: int, high: int, path: Path, remedy: str) -> int:
    """A whole number from low to high. Raises FormatError."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        got = "it is missing" if key not in fields else f"got {_short(value)}"
        raise FormatError(f"{path}: {key}: expected a whole number from {low} to {high}, {got}; {remedy}")
    return value


def dense(fields: dict[str, Any], kernel: str, bias: str | None, inputs: int, activation: str, path: Path) -> Dense:
    """A layer that takes `inputs` values: kernel (inputs, outputs), a list for each input; bias None: zeros.

    Raises FormatError for sizes that do not chain and for weights that are not finite numbers.
    """
    weights = _matrix(fields, kernel, path)
    if len(weights) != inputs:
        why = f"takes {len(weights)} values, it is given {inputs}"
        raise FormatError(f"{path}: {kernel}: {why}; the layers' sizes do not chain")
    shifts = np.zeros(weights.shape[1])
    if bias is not None:
        shifts = _numbers(fields.get(bias), path, bias)
        if len(shifts) != weights.shape[1]:
            why = f"has {len(shifts)} numbers for {weights.shape[1]} outputs of {kernel}"
            raise FormatError(f"{path}: {bias}: {why}; the layers' sizes do not chain")
    return Dense(weights.astype(np.float32), shifts.astype(np.float32), activation)


def checked_look(path: Path, *given: Any, **facts: Any) -> Look:
    """A look of these fields. Raises FormatError with the file's name where it cannot be drawn."""
    try:
        return Look(*given, **facts)
    except LensError as error:
        raise FormatError(f"{path}: {str(error).removeprefix('mesh: ')}") from error


def _matrix(fields: dict[str, Any], key: str, path: Path) -> NDArray[np.float64]:
    rows = fields.get(key)
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_WIDTH:
        got = "it is missing" if key not in fields else f"got {_short(rows)}"
        raise FormatError(f"{path}: {key}: expected 1 to {MAX_WIDTH} lists of weights, {got}")
    made = [_numbers(row, path, f"{key}[{i}]") for i, row in enumerate(rows)]
    for i, row in enumerate(made):
        if len(row) != len(made[0]):
            raise FormatError(f"{path}: {key}[{i}]: has {len(row)} weights, the first list has {len(made[0])}")
    return np.stack(made)


def _numbers(row: object, path: Path, where: str) -> NDArray[np.float64]:
    """1 to 64 numbers that float32 can hold."""
    if not isinstance(row, list) or not 1 <= len(row) <= MAX_WIDTH:
        raise FormatError(f"{path}: {where}: expected 1 to {MAX_WIDTH} numbers, got {_short(row)}")
    for i, value in enumerate(row):
        # NaN compares as false. JSON's own grammar has no NaN, Python's writer and reader have.
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= 1e30:
            why = f"expected a finite number, got {_short(value)}"
            raise FormatError(f"{path}: {where}[{i}]: {why}; the training has failed, or the file is damaged")
    return np.array(row, np.float64)


def _short(value: object) -> str:
    """A value for a message: one short line."""
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
