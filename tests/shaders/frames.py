"""Runs chosen passes of the frame on an assembled scene and reads what they wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.assemble import Assembly, RecordDraws, assemble
from splatlens.viewer.executor import Executor
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.layout import dtype
from splatlens.viewer.plan import pipeline, resolve
from splatlens.viewer.records import pack_records
from splatlens.viewer.sequence import SequenceLayer, SequenceSplats
from splatlens.viewer.splats import Splats
from tests.twin_scenes import CAMERA, TwinScene


def run_passes(
    device: wgpu.GPUDevice,
    frame: Assembly,
    uploads: Mapping[str, NDArray[Any]],
    names: tuple[str, ...],
    formats: Mapping[str, str] | None = None,
) -> Executor:
    """An executor that has run the passes of these names once."""
    everything = pipeline()
    some = {**everything, "passes": [p for p in everything["passes"] if p["name"] in names]}
    plan = resolve(some, frame.numbers, frame.lists, formats)
    executor = Executor(device)
    executor.prepare(plan)
    for name, data in {**frame.uploads, **uploads}.items():
        executor.write(name, data)
    executor.run(plan)
    return executor


def assemble_records(
    scene: TwinScene, transform: NDArray[np.float64] | None = None, max_groups: int = 65535
) -> tuple[Assembly, NDArray[np.float32]]:
    """The frame of a twin scene as one record layer, and its records."""
    s = scene.splats
    box = np.stack([s.means.min(axis=0), s.means.max(axis=0)])
    layer = RecordDraws(np.eye(4) if transform is None else transform, len(s), s.sh.shape[1], box, scene.kernel)
    return assemble(scene.camera, scene.options, [layer], max_groups), pack_records(s)


def assemble_layers(scenes: Sequence[TwinScene]) -> tuple[Assembly, dict[str, NDArray[np.float32]]]:
    """The frame of several twin scenes as a record layer each, drawn from the first one's camera; their records."""
    layers, records = [], {}
    for i, scene in enumerate(scenes):
        s = scene.splats
        box = np.stack([s.means.min(axis=0), s.means.max(axis=0)])
        layers.append(RecordDraws(np.eye(4), len(s), s.sh.shape[1], box, scene.kernel))
        records[f"records.{i}"] = pack_records(s)
    return assemble(scenes[0].camera, scenes[0].options, layers), records


def check_projected(executor: Executor, group: int, want: Mapping[str, Any]) -> None:
    """Compares the records, keys and count that one workgroup wrote with a twin's.

    Splats whose box ends within 0.01 pixel of the picture's edge may be culled by either side.
    """
    n = len(want["key"])
    rows = slice(256 * group, 256 * group + n)
    got = executor.read("projected", dtype("Projected"))[rows]
    keys = executor.read("keys")[256 * group : 256 * group + 256]
    culled = np.uint32(0xFFFFFFFF)
    assert (keys[n:] == culled).all()
    keys = keys[:n]
    sure = want["edge"] > 0.01
    np.testing.assert_array_equal((keys == culled)[sure], (want["key"] == culled)[sure])
    both = (keys != culled) & (want["key"] != culled)
    assert both.any()
    # One step of the float32 depth moves a key by at most one.
    assert np.abs(keys[both].astype(np.int64) - want["key"][both]).max() <= 1
    got = got[both]
    np.testing.assert_allclose(got["center"], want["center"][both], rtol=1e-5, atol=2e-3)
    np.testing.assert_allclose(got["depth"], want["depth"][both], rtol=1e-5, atol=1e-6)
    major, minor = got["major"].astype(np.float64), got["minor"].astype(np.float64)
    a, b, c = want["cov"][both].T
    length = np.linalg.norm(major, axis=1)
    across = np.stack([-major[:, 1], major[:, 0]], axis=1) / length[:, None] * minor[:, None]
    size = a + c
    for value, i, j in ((a, 0, 0), (b, 0, 1), (c, 1, 1)):
        np.testing.assert_allclose(
            (major[:, i] * major[:, j] + across[:, i] * across[:, j]) / size, value / size, atol=2e-5
        )
    # The area decides how a needle fades: it must hold although the axes differ by orders of magnitude.
    np.testing.assert_allclose((length * minor) ** 2, a * c - b * b, rtol=2e-3)
    half = np.stack([got["rg"], got["ba"]], axis=1).copy().view(np.float16).astype(np.float64)
    np.testing.assert_allclose(half[:, :3], want["color"][both], rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(half[:, 3], want["opacity"][both], rtol=1e-3, atol=1e-5)


def sequence_groups(
    device: wgpu.GPUDevice, splats: SequenceSplats, seconds: float, transform: NDArray[np.float64] | None = None
) -> Iterator[tuple[Executor, int, tuple[Any, ...]]]:
    """Runs a sequence's stage; for every group of every part (executor, group, what its twin takes)."""
    motion = splats.info.motion
    layer = SequenceLayer(splats, seconds, np.eye(4) if transform is None else transform)
    frame = assemble(CAMERA, RenderOptions(), layer.draws())
    words = {f"{motion}_words.{i}": part for i, part in enumerate(splats.parts)}
    executor = run_passes(device, frame, words, (f"project_{motion}",))
    uploads, group = frame.uploads, 0
    for i, part in enumerate(splats.parts):
        own = uploads[f"{motion}.{i}"][0]
        for _ in range(int(own["groups"])):
            yield executor, group, (uploads["frame"][0], uploads["layers"], uploads["draws"][group], own, part)
            group += 1
    assert group == frame.groups


def empty_scene(scene: TwinScene) -> TwinScene:
    """The scene without splats."""
    return TwinScene(Splats.empty(3), scene.camera, RenderOptions())
