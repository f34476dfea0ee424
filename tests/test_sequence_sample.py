"""The fitted sample: its three files read, and show the scene they were fitted to at times they have not seen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import ReadOptions, open_any
from splatlens.viewer.compare import psnr
from splatlens.viewer.fields import Field
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.render import RawLayer, Renderer
from splatlens.viewer.sequence import SequenceLayer, SequenceSplats

FOLDER = Path(__file__).resolve().parent.parent / "samples" / "sequence"


@pytest.fixture(scope="module")
def scene() -> Any:
    """samples/sequence/scene.py, as a module of another name: other samples have a scene.py too."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("sequence_scene", FOLDER / "scene.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["sequence_scene"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "least"), [("spacetime.ply", 31.0), ("spacetime.splatv", 31.0), ("chkpnt4d.pth", 27.0)]
)
def test_held_out_times(scene: Any, name: str, least: float) -> None:
    path = FOLDER / name
    assert path.stat().st_size < 1.5e6
    layer = open_any(path, ReadOptions(seconds=scene.SECONDS)).layer()  # type: ignore[union-attr]
    made = SequenceSplats.read(Field(layer.properties, name, "properties"), layer.blobs.__getitem__)
    renderer, options, parts = Renderer(), RenderOptions(background=scene.BACKGROUND), scene.parts()
    found = []
    for time in scene.HELD_OUT_TIMES[2::11]:
        camera = scene.camera(*scene.HELD_OUT_VIEW)
        truth = renderer.render([RawLayer(scene.splats(time, parts))], camera, options)
        got = renderer.render([SequenceLayer(made, time * scene.SECONDS)], camera, options)
        found.append(psnr(got[..., :3], truth[..., :3]))
    assert np.mean(found) > least, found
