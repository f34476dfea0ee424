"""Figures of 4DGaussians: the trained sample at times it never saw, its graph beside the twin, what a frame costs."""

from __future__ import annotations

import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from figures_base import ROOT, Image, Row, at_least, at_most, decibels, renderer, reported, sample_module

from splatlens.converters import read_splats
from splatlens.converters.checkpoint import state_dict
from splatlens.converters.deform import export
from splatlens.viewer.contract import METADATA_KEY, Contract
from splatlens.viewer.fields import parse_json
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generated import GeneratedLayer, attributes
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.render import RawLayer

SAMPLE = ROOT / "samples" / "deform"
#: Trained on are the times 0, 1/40 .. 1; these lie in the middle between two of them.
INTERVALS = 40
HELD_OUT = tuple((i + 0.5) / INTERVALS for i in (2, 9, 16, 23, 30, 37))
SIZE = (640, 480)
#: Runs of which the fastest counts.
RUNS = 20


def rows() -> list[Row]:
    """The table's lines."""
    return [*_pictures(), *_twin(), *_cost()]


@cache
def _model() -> Model:
    model = export(SAMPLE / "model")
    text = {entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY]
    contract = Contract.from_json(parse_json(text.encode(), "deform", "contract"))
    return Model(contract, model.SerializeToString(), "deform")


def _outputs(moment: float) -> dict[str, Any]:
    """The model's outputs at a time 0 to 1."""
    model, camera = _model(), sample_module("deform", "scene").cameras(*SIZE)[0]
    assert model.contract.time is not None
    return model.run(Moment(seconds=moment * model.contract.time.duration), camera)


def _ply() -> Path:
    return next((SAMPLE / "model").rglob("point_cloud.ply"))


def _pictures() -> list[Row]:
    """The fitted model and its splats at rest against the scene itself."""
    made, draw = sample_module("deform", "scene"), renderer()
    scene, rest = made.Scene(), RawLayer(read_splats(_ply())[0])
    options = RenderOptions(background=made.BACKGROUND)
    fitted: list[list[float]] = []
    still: list[list[float]] = []
    for camera in made.cameras(*SIZE):
        at_rest: Image = draw.render([rest], camera, options)
        fitted.append([])
        still.append([])
        for moment in HELD_OUT:
            want = draw.render([RawLayer(scene.at(moment).splats())], camera, options)
            got = draw.render([GeneratedLayer(_model().contract, _outputs(moment))], camera, options)
            fitted[-1].append(decibels(got, want))
            still[-1].append(decibels(at_rest, want))
    least = min(min(view) for view in fitted)
    views = ", ".join(f"{np.mean(view):.1f}" for view in fitted)
    detail = f"three views: {views}; worst picture {least:.1f}"
    what = f"4DGaussians sample, {len(HELD_OUT)} held-out times, mean of the worst view"
    apart = f"{np.mean(still):.1f} dB on average, best picture {max(max(view) for view in still):.1f}"
    return [
        at_least(what, 28, min(float(np.mean(view)) for view in fitted), "dB", detail),
        reported("the same pictures from the splats at rest", apart),
    ]


def _twin() -> list[Row]:
    """Largest error of an attribute's row over the largest value in it."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tests.reference.deform import deform

    splats = _parameters()
    state, worst = state_dict(next((SAMPLE / "model").rglob("deformation.pth"))), 0.0
    for moment in (0.0, 0.31, 0.62, 0.999):
        got = attributes(_model().contract, _outputs(moment))
        want = deform(state, splats, moment, {"no_do": False})
        assert got.quats is not None and got.scales is not None
        quats = got.quats / np.linalg.norm(got.quats, axis=1, keepdims=True)
        for values, exact in ((got.means, want["means"]), (got.scales, want["scales"]), (quats, want["quats"])):
            worst = max(worst, float((np.abs(values - exact) / np.abs(exact).max(axis=1, keepdims=True)).max()))
        worst = max(worst, float(np.abs(got.opacities - want["opacities"][:, 0]).max()))
    return [Row("4DGaussians graph beside its float64 twin, four times", "≤ 1e-4", f"{worst:.1e}", worst <= 1e-4)]


def _parameters() -> dict[str, Any]:
    """The sample's splats as they were trained, float64."""
    from splatlens.converters.ply_rows import open_rows

    vertices = open_rows(_ply())
    table = np.concatenate(list(vertices.tables(1 << 16))).astype(np.float64)

    def take(*names: str) -> Any:
        return table[:, [vertices.index[name] for name in names]]

    return {
        "means": take("x", "y", "z"), "log_scales": take("scale_0", "scale_1", "scale_2"),
        "quats": take("rot_0", "rot_1", "rot_2", "rot_3"), "logits": take("opacity"),
        "sh": take("f_dc_0", "f_dc_1", "f_dc_2")[:, None],
    }  # fmt: skip


def _cost() -> list[Row]:
    """Processor time of a run, and bytes."""
    model = _model()
    best = np.inf
    for run in range(RUNS):
        before = time.process_time()
        _outputs((run + 0.5) / RUNS)
        best = min(best, time.process_time() - before)
    count = model.contract.capacity
    size = len(export(SAMPLE / "model").SerializeToString())
    checkpoint = sum(f.stat().st_size for f in (SAMPLE / "model").rglob("*") if f.is_file())
    return [
        reported(f"a run of it, {count:,} splats, onnxruntime on the CPU", f"{1e3 * best:.1f} ms of processor time"),
        at_most("its checkpoint", 1.5, checkpoint / 1e6, "MB", f"{size / 1e6:.2f} MB as ONNX"),
    ]


if __name__ == "__main__":
    for row in rows():
        print(f"{row.what} | {row.asked} | {row.measured} | {row.reached}")
