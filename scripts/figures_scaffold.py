"""Figures of the Scaffold-GS sample: its pictures beside the scene it was distilled from, its graph beside the twin."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
from figures_base import ROOT, SCENES, Image, Row, at_least, data_file, decibels, renderer, reported, source
from numpy.typing import NDArray

from splatlens.converters.generator import prepare
from splatlens.converters.onnx_file import model_bytes
from splatlens.converters.scaffold import export
from splatlens.converters.scaffold_model import Mlp, ScaffoldModel, read_model
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.generated import GeneratedLayer, attributes
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.splats import Splats

RUN = ROOT / "samples" / "scaffold" / "run"
#: The scene it was distilled from, and three views that none of the figures above use: where the fit looked from, on
#: other sides of the plant than the held-out ones.
PLANT = next(scene for scene in SCENES if scene.name == "plant_sh0")
FITTED = (
    ((0.9, 0.2, 0.9), (0, 0, 0), 50), ((-1.1, -0.3, -0.3), (0, 0, 0), 50), ((-0.1, -0.45, -0.6), (0, 0, 0), 50),
)  # fmt: skip


@cache
def model() -> Model:
    prepared = prepare(export(RUN), RUN.name)
    return Model(prepared.contract, model_bytes(prepared.model, RUN.name), RUN.name)


def anchors_ply() -> Path:
    (found,) = RUN.glob("point_cloud/iteration_*/point_cloud.ply")
    return found


def picture(camera: Camera) -> Image:
    """The sample headless, on the GPU."""
    return np.asarray(renderer().render([GeneratedLayer(model().contract, model().run(Moment(), camera))], camera))


def scaffold() -> list[Row]:
    """Held-out views, the fit's own, the twin, and sizes."""
    scene: Splats = source(data_file(PLANT.file))
    rows = []
    for name, cameras in (("held-out", PLANT.cameras()), ("fitted", fitted())):
        measured = [decibels(picture(c), reference.render(scene, c)) for c in cameras]
        each = ", ".join(f"{m:.1f}" for m in measured)
        what = f"Scaffold-GS distilled from {PLANT.name}, {name} views: least"
        rows.append(at_least(what, 28, min(measured), "dB", each))
    trained, _ = read_model(anchors_ply())
    worst = max(twin_error(trained, c) for c in PLANT.cameras())
    what = "Scaffold-GS graph beside its float64 twin: largest error, as a share of its row's largest value"
    rows.append(Row(what, "≤ 1e-4", f"{worst:.1e}", worst <= 1e-4))
    size = sum(f.stat().st_size for f in RUN.rglob("*") if f.is_file())
    n, k = len(trained.anchors), trained.k
    drawn = [int((attributes(model().contract, model().run(Moment(), c)).opacities > 1 / 255).sum())
             for c in PLANT.cameras()]  # fmt: skip
    detail = f"{n:,} anchors of {k}, {size:,} bytes; drawn of {n * k:,}: " + ", ".join(f"{d:,}" for d in drawn)
    return [*rows, reported("Scaffold-GS sample", f"{detail}; the scene has {len(scene):,} splats")]


def fitted() -> list[Camera]:
    return [Camera.look_at(p, t, (0, -1, 0), fov, 640, 360) for p, t, fov in FITTED]


def twin_error(trained: ScaffoldModel, camera: Camera) -> float:
    """Largest error of a row of the graph's outputs, as a share of the row's largest value (of 1: opacity, colour)."""
    sys.path.insert(0, str(ROOT))
    from tests.reference.scaffold import scaffold as twin

    def layers(mlp: Mlp) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        return [(w.astype(np.float64), b.astype(np.float64)) for w, b in mlp.layers]

    networks = {"opacity": layers(trained.opacity), "cov": layers(trained.covariance), "color": layers(trained.color)}
    arrays = (a.astype(np.float64) for a in (trained.anchors, trained.offsets, trained.features, trained.log_scales))
    want = twin(*arrays, networks, np.asarray(camera.position, np.float64), distances=trained.distances)
    want["opacities"] = np.maximum(want["opacities"], 0)
    got = attributes(model().contract, model().run(Moment(), camera))
    assert got.quats is not None
    quats = got.quats / np.linalg.norm(got.quats, axis=1, keepdims=True)
    pairs = {"means": got.means, "scales": got.scales, "quats": quats, "opacities": got.opacities, "colors": got.colors}
    errors = []
    for name, values in pairs.items():
        away = np.abs(values - want[name]).reshape(len(values), -1).max(axis=1)
        whole = np.abs(want[name]).reshape(len(values), -1).max(axis=1)
        errors.append((away / (whole if name in ("means", "scales", "quats") else 1)).max())
    return float(max(errors))
