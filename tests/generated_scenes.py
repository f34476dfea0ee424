"""Outputs of generators made of twin scenes: every way a contract may lay its attributes out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer.contract import Columns, Contract
from splatlens.viewer.scene import Kernel
from splatlens.viewer.splats import SH_C0, Splats, covariances

LAYOUTS = ("quats", "covariances", "sh", "one output", "float16", "float16 packed")


def outputs_of(splats: Splats, layout: str, kernel: Kernel = Kernel()) -> tuple[Contract, dict[str, NDArray[Any]]]:
    """A contract without inputs, and what its model would give for these splats."""
    n = len(splats)
    full = covariances(splats)[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)
    tables = {"means": splats.means, "opacities": splats.opacities}
    if layout in ("covariances", "one output", "float16 packed"):
        tables["covariances"] = full
    else:
        tables |= {"scales": splats.scales, "quats": splats.quats * np.float32(3)}  # of any length
    if layout in ("sh", "float16", "float16 packed"):
        tables["sh"] = splats.sh
    else:
        tables["colors"] = np.maximum(0.5 + np.float32(SH_C0) * splats.sh[:, 0], 0)
    kind = np.float16 if layout.startswith("float16") else np.float32
    outputs: dict[str, NDArray[Any]] = {k: v.astype(kind) for k, v in tables.items()}
    meanings = {name: Columns(name) for name in outputs}
    if "packed" in layout or layout == "one output":
        meanings, first = {}, 1  # a column of no meaning before them: rows of odd length, halves that straddle words
        parts = [np.full((n, 1), 7, kind)]
        for name, table in outputs.items():
            flat = table.reshape(n, -1)
            meanings[name] = Columns("everything", first, flat.shape[1])
            first += flat.shape[1]
            parts.append(flat)
        outputs = {"everything": np.concatenate(parts, axis=1)}
    return Contract("generator", {}, meanings, n, kernel=kernel), outputs
