"""Sequences in Chromium: the headless picture at several times, steady frames for nothing, damaged ones told."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from splatlens.server import ServerConfig, background
from splatlens.viewer.convert import SourceLayer, build_lens
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.generator import Moment
from splatlens.viewer.lens import LensReader
from splatlens.viewer.lens_layers import BlobLayer
from splatlens.viewer.paged import LensPages
from splatlens.viewer.render import PagedLayer, Renderer
from splatlens.viewer.sequence import SequenceLayer
from tests.sequence_scenes import SPAN, sequence

from .conftest import INFO, blobs
from .test_live import ALIKE, ASIDE, CAMERA, MOVED, Live, Scenes, alike, target
from .test_live import show as show  # pytest finds the fixture by its name here

SECONDS = (0.0, 1.3, 3.9, 5.3)  # the last in the second round
MOTIONS = ("spacetime", "gaussian4d", "spacetime")


def layers(count: int = 3) -> list[BlobLayer]:
    made = [sequence(motion, 500 + 100 * k).layer(f"{motion} {k}") for k, motion in enumerate(MOTIONS[:count])]
    return [replace(layer, transform=MOVED) if k == 1 else layer for k, layer in enumerate(made)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scenes]:
    folder = tmp_path_factory.mktemp("sequences")
    stored = SourceLayer(blobs(256), "Stored")
    build_lens([stored, *layers()], folder / "moving.lens", INFO)
    short, odd, sound = layers()
    short = replace(short, blobs={"splats.0": short.blobs["splats.0"][:-4]})
    odd = replace(odd, properties={**odd.properties, "motion": "teleport"})
    build_lens([stored, short, odd, sound], folder / "damaged.lens", INFO)
    with background(ServerConfig((folder,))) as url:
        with urllib.request.urlopen(url) as index:
            found = re.search(r"client/[0-9a-f]+/", index.read().decode())
        assert found
        yield Scenes(url, folder, f"{url}{found[0]}static/")


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer()


def headless(served: Scenes, name: str, seconds: float, chosen: tuple[int, ...] = (0, 1, 2)) -> list[Any]:
    (stored,) = LensReader.open(served.folder / f"{name}.lens").splats_layers.values()
    made: list[Any] = [PagedLayer(LensPages(stored))]
    for k in chosen:
        transform = MOVED if k == 1 else np.eye(4)
        made.append(SequenceLayer(sequence(MOTIONS[k], 500 + 100 * k), seconds, transform))
    return made


def test_the_same_pictures_as_headless(show: Callable[..., Live], served: Scenes, renderer: Renderer) -> None:
    live = show("moving")
    cameras = [CAMERA, ASIDE] * 2
    pictures = live.pictures([None] * 4, [Moment(s) for s in SECONDS], cameras)
    assert len(pictures) == len(SECONDS)
    for seconds, camera, picture in zip(SECONDS, cameras, pictures, strict=True):
        decibels = alike(picture, headless(served, "moving", seconds), camera, renderer)
        assert decibels >= ALIKE, f"{seconds} s: {decibels:.1f} dB"
        still = renderer.render(headless(served, "moving", seconds + 0.5), camera, RenderOptions(background=(0, 0, 0)))
        assert np.abs(still - picture).max() > 0.1, "it moves"
    state = live("state")
    assert state["notices"] == [] and state["failures"] == []
    assert state["duration"] == SPAN.duration and state["rows"] == 1800


def test_a_frame_makes_nothing_and_reads_nothing_back(show: Callable[..., Live]) -> None:
    live = show("moving")
    live("settle", target(Moment(0.1), CAMERA, [None] * 4))
    cost = live("cost", [target(Moment(0.2 + 0.1 * k), CAMERA, [None] * 4) for k in range(10)])
    # What is written are the uniforms and draw records of a frame.
    assert 0 < cost.pop("written") < 10 * 1000
    assert cost == {**dict.fromkeys(cost, 0), "submits": 10}


def test_damaged_ones_are_told_and_the_rest_stays(
    show: Callable[..., Live], served: Scenes, renderer: Renderer
) -> None:
    live = show("damaged")
    (picture,) = live.pictures([None] * 4, [Moment(1.3)], [CAMERA])
    assert alike(picture, headless(served, "damaged", 1.3, (2,)), CAMERA, renderer) >= ALIKE
    state = live("state")
    assert [layer["state"] for layer in state["layers"]] == ["failed", "failed", "ready"]
    short, odd = (layer["error"] for layer in state["layers"][:2])
    assert "layer 1: blob splats.0: 33996 bytes, expected 34000 for 500 splats of 68 bytes" in short
    assert "layer 2: field properties.motion: expected one of spacetime, gaussian4d" in odd
