"""The frame's uploads are the same bytes from Python and from JavaScript, for layers with transforms of their own."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from splatlens.viewer.assemble import (
    ATTRIBUTES,
    ClusterDraws,
    Draws,
    GeneratedDraws,
    RecordDraws,
    SequenceDraws,
    assemble,
    layer_view,
)
from splatlens.viewer.camera import Camera
from splatlens.viewer.frame import RenderOptions, depth_keys
from splatlens.viewer.layout import constant, dtype
from splatlens.viewer.scene import Kernel

ROOT = Path(__file__).resolve().parent.parent
CAMERA = Camera.look_at((300.0, -200.0, 150.0), (200, 0, 400), (0, -1, 0), 60, 640, 361)


def cluster_layer(n: int, seed: int, transform: np.ndarray) -> ClusterDraws:
    r = np.random.default_rng(seed)
    low = r.uniform(-500, 500, (n, 3)).astype(np.float32)
    boxes = np.stack([low, low + r.uniform(0, 30, (n, 3)).astype(np.float32)], axis=1)
    return ClusterDraws(
        transform, r.permutation(n), r.integers(1, 257, n), r.integers(0, 4, n), low, boxes, 2 * n, 256 * 12
    )


def transforms() -> list[np.ndarray]:
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    turned[:3, 3] = 10, -20, 5.5
    return [np.eye(4), turned]


def generated_layer(box: np.ndarray | None) -> GeneratedDraws:
    columns = {name: (k % 3, 7 * k, 3 + k, k == 2) for k, name in enumerate(ATTRIBUTES)}
    return GeneratedDraws(transforms()[1], 700, 4, box is None, (70, 80, 90), columns, box, Kernel(0.2, True))


def sequence_layer(motion: str) -> SequenceDraws:
    box = np.array([[-30.0, -2, -1], [1, 2, 30]])
    terms = 3 if motion == "gaussian4d" else 1
    return SequenceDraws(transforms()[1], motion, 600, 48, 16, terms, 0.7, 2.0**-9, 4.5, 0.05, box, Kernel(0.2, True))


def javascript(layer: Draws) -> dict[str, object]:
    """The layer as static/assemble.js takes it."""
    shared = {"transform": layer.transform.ravel().tolist(), "kernel": layer.kernel.to_json()}
    if isinstance(layer, RecordDraws):
        box = layer.box.ravel().tolist()
        return {**shared, "rows": layer.rows, "coefficients": layer.coefficients, "box": box}
    if isinstance(layer, GeneratedDraws):
        names = ("rows", "coefficients", "covariance", "words", "columns")
        flat = None if layer.box is None else layer.box.ravel().tolist()
        return {**shared, **{name: getattr(layer, name) for name in names}, "box": flat}
    if isinstance(layer, SequenceDraws):
        values = {name: value for name, value in vars(layer).items() if name not in ("transform", "kernel", "box")}
        return {**shared, **values, "box": layer.box.ravel().tolist()}
    same = {name: name for name in ("slots", "counts", "origins", "boxes")}
    arrays = {
        theirs: getattr(layer, ours).ravel().tolist() for ours, theirs in {**same, "sh_degrees": "shDegrees"}.items()
    }
    sizes = {"length": len(layer.slots), "poolSlots": layer.pool_slots, "shSlotWords": layer.sh_slot_words}
    return {**shared, **arrays, **sizes}


SCRIPT = """
import { readFileSync } from "node:fs";
import { createAssembler } from "%s";
const input = JSON.parse(readFileSync(0, "utf8"));
const assemble = createAssembler(JSON.parse(readFileSync("%s", "utf8")));
const fewer = input.layers.map((l) => ("slots" in l ? { ...l, length: 1 } : l));
assemble(input.camera, { ...input.options, background: [1, 1, 1] }, fewer);  // leaves nothing behind
const a = assemble(input.camera, input.options, input.layers, 1000);
const hex = ([name, upload]) => [name, Buffer.from(upload.bytes).toString("hex")];
const uploads = Object.fromEntries(Object.entries(a.uploads).map(hex));
console.log(JSON.stringify({ ...a, uploads }));
"""


@pytest.mark.parametrize("live", [False, True])
def test_javascript_packs_the_same_bytes(tmp_path: Path, live: bool) -> None:
    clusters = [cluster_layer(9 + 300 * i, i, t) for i, t in enumerate(transforms())]
    records = RecordDraws(transforms()[1], 600, 9, np.array([[-1.5, -1, -1], [1, 2, 3]]), Kernel(0.1, True))
    layers: list[Draws] = [clusters[0], records, clusters[1]]
    if live:
        layers = [generated_layer(np.array([[-900.0, -1, -1], [1, 2, 3000]])), *layers, generated_layer(None)]
        layers += [sequence_layer(motion) for motion in ("spacetime", "gaussian4d", "spacetime")]
    options = RenderOptions(near=0.05, alpha_cap=0.999, background=(0.25, 0.5, 1.0))
    script = tmp_path / "run.mjs"
    script.write_text(SCRIPT % ((ROOT / "static" / "assemble.js").as_uri(), ROOT / "shaders" / "layout.json"))
    c = CAMERA
    camera = {name: getattr(c, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    payload = {
        "camera": camera | {"worldToCamera": c.world_to_camera.ravel().tolist()},
        "options": {
            "near": 0.05,
            "alphaCap": 0.999,
            "background": [0.25, 0.5, 1.0],
        },
        "layers": [javascript(layer) for layer in layers],
    }
    done = subprocess.run(["node", script], input=json.dumps(payload), capture_output=True, text=True, check=True)
    theirs, ours = json.loads(done.stdout), assemble(CAMERA, options, layers, 1000)
    assert (theirs["groups"], theirs["numbers"], theirs["lists"]) == (ours.groups, ours.numbers, ours.lists)
    assert set(theirs["uploads"]) == set(ours.uploads)
    for name, array in ours.uploads.items():
        if name == "draws":  # offsets go through a solve here and Cramer's rule there: equal to float32 rounding
            other = np.frombuffer(bytes.fromhex(theirs["uploads"][name]), dtype("Draw"))
            np.testing.assert_allclose(other["offset"], array["offset"], rtol=2e-7, atol=1e-6)
            for field in ("slot", "layer", "sh_degree", "count"):
                np.testing.assert_array_equal(other[field], array[field])
        else:
            assert theirs["uploads"][name] == array.tobytes().hex(), name


def test_groups_of_several_layers_follow_each_other() -> None:
    box = np.array([[-1.0, -1, -1], [1, 1, 1]])
    a = assemble(
        CAMERA,
        RenderOptions(),
        [RecordDraws(np.eye(4), 600, 16, box), cluster_layer(4, 3, np.eye(4)), RecordDraws(np.eye(4), 1, 1, box)],
    )
    assert a.groups == 3 + 4 + 1
    assert a.uploads["draws"]["count"].tolist()[:3] == [256, 256, 88]
    assert a.uploads["draws"]["slot"].tolist()[:3] == [0, 256, 512]
    assert a.uploads["draws"]["layer"].tolist() == [0, 0, 0, 1, 1, 1, 1, 2]
    assert int(a.uploads["cluster_span.0"]["first"][0]) == 3
    assert int(a.uploads["record_span.1"]["first"][0]) == 7


def test_layer_view_undoes_the_layer_transform() -> None:
    view, eye = layer_view(CAMERA, transforms()[1])
    np.testing.assert_allclose(transforms()[1] @ [*eye, 1], [*CAMERA.position, 1], atol=1e-9)
    np.testing.assert_allclose(view[:3, :3] @ eye + view[:3, 3], 0, atol=1e-9)


@pytest.mark.parametrize(("near", "far"), [(0.01, 1e6), (1.0, 1.0), (0.5, 0.5000001), (1e-3, 3e38)])
def test_depth_keys_fit_their_bits_and_keep_order(near: float, far: float) -> None:
    base, shift = depth_keys(near, far)
    z = (
        np.sort(np.random.default_rng(0).uniform(near, far, 1000))
        .astype(np.float32)
        .clip(np.float32(near), np.float32(far))
    )
    keys = (z.view(np.uint32).astype(np.int64) - base) >> shift
    assert keys.min() >= 0 and keys.max() < 1 << constant("KEY_BITS")
    assert (np.diff(keys) >= 0).all()


def test_an_empty_scene_still_makes_a_frame() -> None:
    a = assemble(CAMERA, RenderOptions(), [])
    assert a.groups == 0 and "draws" not in a.uploads and int(a.uploads["frame"]["groups"][0]) == 0
