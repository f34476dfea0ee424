"""Figures of generators: what a frame costs part by part, memory a splat, and the browser beside headless."""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
from figures_base import ROOT, Row, at_most, renderer, reported
from numpy.typing import NDArray

from splatlens.viewer.assemble import assemble
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer
from splatlens.viewer.plan import pipeline, resolve
from splatlens.viewer.render import Layer, RawLayer

#: Frames whose median is reported.
REPEATS = 7
SPLATS = 100_000


def _project_ms(layer: Layer, camera: Camera) -> float:
    """Milliseconds of the projecting pass of a frame of one layer, the median."""
    plan = renderer().prepare([layer], camera, RenderOptions())
    times = [renderer().executor.run_timed(plan) for _ in range(REPEATS)]
    return 1e3 * statistics.median(sum(s for n, s in t.items() if n.startswith("project")) for t in times)


def _bytes_a_splat(contract: Contract, outputs: dict[str, NDArray[Any]]) -> tuple[float, float]:
    """(bytes of the outputs, bytes of all other buffers of a frame), for each splat."""
    draws, words, _ = GeneratedLayer(contract, outputs).draws()
    assert draws is not None
    camera = Camera.look_at((0, 0, -4), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    frame = assemble(camera, RenderOptions(), [draws])
    plan = resolve(pipeline(), frame.numbers, frame.lists)
    own = sum(4 * len(w) for w in words)
    return own / draws.rows, (sum(b["size"] for b in plan["buffers"].values()) - own) / draws.rows


def generated() -> list[Row]:
    """Projecting outputs where they lie beside projecting packed records, and memory a splat."""
    sys.path.insert(0, str(ROOT))
    from tests.generated_scenes import outputs_of
    from tests.twin_scenes import random_splats

    camera = Camera.look_at((0, 0, -4), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    rows = []
    for degree, layouts in ((0, ("quats", "covariances")), (3, ("sh", "float16", "float16 packed"))):
        splats = random_splats(SPLATS, 1, degree=degree, size=0.005)
        packed = _project_ms(RawLayer(splats), camera)
        for layout in layouts:
            contract, outputs = outputs_of(splats, layout)
            ms = _project_ms(GeneratedLayer(contract, outputs), camera)
            detail = f"{ms:.1f} ms, {ms / packed:.2f} of the {packed:.1f} ms that records take already packed"
            rows.append(reported(f"project {SPLATS:,} generated splats, SH {degree}, {layout}", detail))
            own, more = _bytes_a_splat(contract, outputs)
            what = f"memory a generated splat beside its outputs' {own:.0f} bytes ({layout})"
            rows.append(at_most(what, 64, more, "bytes"))
    return rows
