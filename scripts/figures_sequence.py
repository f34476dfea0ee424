"""Figures of sequences: the fitted sample, shaders beside float64 twins, bytes a splat, and what projecting costs."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from figures_base import ROOT, MissingError, Row, at_least, at_most, renderer, reported, sample_module

from splatlens.converters import gaussian4d, open_any
from splatlens.converters.format import ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.ply_rows import open_rows
from splatlens.converters.spacetime import chunks
from splatlens.viewer.assemble import assemble
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.fields import Field
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.layout import dtype
from splatlens.viewer.plan import pipeline, resolve
from splatlens.viewer.render import Layer, RawLayer, Renderer, render_reference
from splatlens.viewer.sequence import SequenceLayer, SequenceSplats, splats_of
from splatlens.viewer.sequence_kernels import Gaussians4D, Spacetime
from splatlens.viewer.splats import Splats

FOLDER = ROOT / "samples" / "sequence"
FILES = {"spacetime.ply": "Spacetime", "spacetime.splatv": ".splatv", "chkpnt4d.pth": "4D"}
#: Splats whose projecting is timed, and how often.
SPLATS, REPEATS = 100_000, 5
#: Shares of the span for pictures of shaders beside the reference.
TIMES = (0.1, 0.45, 0.8)


@cache
def _packed(name: str) -> SequenceSplats:
    path = FOLDER / name
    if not path.exists():
        raise MissingError(f"{path} is not there: run samples/sequence/train.py")
    source = open_any(path, ReadOptions(seconds=sample_module("sequence", "scene").SECONDS))
    assert isinstance(source, LayerSource)
    layer = source.layer()
    return SequenceSplats.read(Field(layer.properties, name, "properties"), layer.blobs.__getitem__)


def _exact(name: str) -> Spacetime | Gaussians4D:
    """The float64 values of a file, before they become words."""
    path = FOLDER / name
    if name.endswith(".ply"):
        (made,) = chunks(open_rows(path), Counter())
        return made
    c = gaussian4d.captured(path)
    return gaussian4d.chunk(c, slice(None), 0.0, 1.0, Counter())


def sequence() -> list[Row]:
    """All of them."""
    return [*_fit(), *_alike(), *_words(), *_cost()]


def _fit() -> list[Row]:
    """The fitted files against the scene at times and in a view that the fit has not seen."""
    scene = sample_module("sequence", "scene")
    options = RenderOptions(background=scene.BACKGROUND)
    parts, rows = scene.parts(), []
    found: dict[str, list[float]] = {name: [] for name in FILES}
    seen: dict[str, list[float]] = {name: [] for name in FILES}
    for times, views, into in (
        (scene.HELD_OUT_TIMES[::3], (scene.HELD_OUT_VIEW, *scene.VIEWS[::4]), found),
        (scene.TIMES[::6], scene.VIEWS[::4], seen),
    ):
        for time in times:
            truth = RawLayer(scene.splats(time, parts))
            for view in views:
                camera = scene.camera(*view)
                want = renderer().render([truth], camera, options)
                for name, values in into.items():
                    layer = SequenceLayer(_packed(name), time * scene.SECONDS)
                    got = renderer().render([layer], camera, options)
                    values.append(float(psnr(got[..., :3], want[..., :3])))
    for name, what in FILES.items():
        n, known = _packed(name).info.splats, float(np.mean(seen[name]))
        least = f"mean of {len(found[name])} pictures, least {min(found[name]):.1f}"
        detail = f"{least}; {known:.1f} where fitted; {n:,} splats"
        rows.append(at_least(f"sample sequence, {what}: held-out times", 28, float(np.mean(found[name])), "dB", detail))
    return rows


def _alike() -> list[Row]:
    """Shaders under wgpu beside the float64 renderer, and what they project beside the NumPy twins."""
    sys.path.insert(0, str(ROOT))
    from tests.reference.project_gaussian4d import project_gaussian4d
    from tests.reference.project_spacetime import project_spacetime
    from tests.shaders.frames import run_passes

    twins: dict[str, Callable[..., dict[str, Any]]] = {
        "spacetime": project_spacetime, "gaussian4d": project_gaussian4d,
    }  # fmt: skip
    rows, camera = [], sample_module("sequence", "scene").camera(20, 25, 320, 240)
    for name, what in FILES.items():
        made, worst, error = _packed(name), np.inf, 0.0
        for share in TIMES:
            layer = SequenceLayer(made, share * made.info.time.duration)
            got, want = renderer().render([layer], camera), render_reference([layer], camera)
            worst = min(worst, float(psnr(got[..., :3], want[..., :3])))
            frame, motion = assemble(camera, RenderOptions(), layer.draws()), made.info.motion
            words = {f"{motion}_words.{i}": part for i, part in enumerate(made.parts)}
            executor = run_passes(renderer().executor.device, frame, words, (f"project_{motion}",))
            projected, keys = executor.read("projected", dtype("Projected")), executor.read("keys")
            for group, draw in enumerate(frame.uploads["draws"]):
                uploads = (frame.uploads[f"{motion}.0"][0], made.parts[0])
                twin = twins[motion](frame.uploads["frame"][0], frame.uploads["layers"], draw, *uploads)
                n = len(twin["key"])
                own = slice(256 * group, 256 * group + n)
                both = (keys[own] != 0xFFFFFFFF) & (twin["key"] != 0xFFFFFFFF)
                for field in ("center", "depth"):
                    value = np.abs(twin[field][both])
                    gap = np.abs(projected[own][field][both] - twin[field][both])
                    error = max(error, float((gap / np.maximum(value, 1)).max(initial=0)))
        rows.append(at_least(f"sequence {what}: headless against the float64 renderer", 50, worst, "dB", "3 times"))
        shown = f"{error:.1e}"
        rows.append(
            Row(f"sequence {what}: centres and depths against the twin, relative", "≤ 1e-4", shown, error <= 1e-4)
        )
    return rows


def _words() -> list[Row]:
    """Bytes a splat, and what halves and bytes lose beside float32."""
    scene, rows = sample_module("sequence", "scene"), []
    options = RenderOptions(background=scene.BACKGROUND)
    for name in ("spacetime.ply", "chkpnt4d.pth"):
        made, exact, found = _packed(name), _exact(name), []
        for time in scene.HELD_OUT_TIMES[::3]:
            for view in scene.VIEWS[::4]:
                camera = scene.camera(*view)
                eye = camera.position
                want = renderer().render([RawLayer(splats_of(exact.at(time, eye)))], camera, options)
                layer = SequenceLayer(made, time * scene.SECONDS)
                found.append(float(psnr(renderer().render([layer], camera, options)[..., :3], want[..., :3])))
        info = made.info
        floats = 31 if info.motion == "spacetime" else 15 + 3 * info.coefficients * info.terms
        detail = f"{4 * info.words} bytes a splat instead of {4 * floats}; mean {np.mean(found):.1f}"
        what = f"sequence {FILES[name]}: words against float32, least of {len(found)} pictures"
        rows.append(at_least(what, 50, min(found), "dB", detail))
        frame = assemble(scene.camera(0, 20), RenderOptions(), SequenceLayer(made).draws())
        plan = resolve(pipeline(), frame.numbers, frame.lists)
        own = sum(part.nbytes for part in made.parts)
        others = (sum(b["size"] for b in plan["buffers"].values()) - own) / info.splats
        what = f"sequence {FILES[name]}: memory a splat beside its {4 * info.words} bytes of words"
        rows.append(at_most(what, 64, others, "bytes"))
    return rows


def _cost() -> list[Row]:
    """The projecting pass of sequences beside that of float32 records, as many splats, in one run."""
    camera = Camera.look_at((0, -1, -4.5), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    own, rows = Renderer(), []
    layers: dict[str, Layer] = {}
    for name in ("spacetime.ply", "chkpnt4d.pth"):
        motion = _exact(name)
        many = motion.take(np.resize(np.arange(len(motion)), SPLATS))
        made = SequenceSplats.of(many, _packed(name).info.time)
        layers[FILES[name]] = SequenceLayer(made, 0.45 * made.info.time.duration)
    visible = layers["4D"].splats(camera) if isinstance(layers["4D"], SequenceLayer) else None
    assert visible is not None
    for degree in (0, 3):
        rest = visible.take(np.resize(np.arange(len(visible)), SPLATS)).with_sh_degree(degree)
        layers[f"records, SH {degree}"] = RawLayer(Splats(rest.means, rest.quats, rest.scales, rest.opacities, rest.sh))
    least = dict.fromkeys(layers, np.inf)
    # In turns, the least of each: another program's load would count for one of them only.
    for _ in range(REPEATS):
        for name, layer in layers.items():
            plan = own.prepare([layer], camera, RenderOptions())
            for _ in range(2):
                spent = own.executor.run_timed(plan)
                least[name] = min(least[name], sum(s for n, s in spent.items() if n.startswith("project")))
    for name, layer in layers.items():
        share = ""
        if isinstance(layer, SequenceLayer):
            share = f"; {len(layer.splats(camera)) / SPLATS:.0%} of them there at this time"
        what = f"project {SPLATS:,} splats: {name}"
        rows.append(reported(what, f"{1e3 * least[name]:.1f} ms (least of {2 * REPEATS}{share})"))
    return rows
