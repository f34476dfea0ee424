"""What a frame draws of meshes is the same from Python and from JavaScript: lists, and the uploads byte for byte."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer.assemble_mesh import MeshDraws, assemble_meshes
from splatlens.viewer.camera import Camera
from splatlens.viewer.layout import dtype
from splatlens.viewer.mesh import Dense, Gaussians, Input, LightField, Look, Network, plain_look

ROOT = Path(__file__).resolve().parent.parent
CAMERA = Camera.look_at((300.1, -200.7, 150.3), (200, 0, 400), (0, -1, 0), 60, 640, 361)
SCRIPT = """
import { readFileSync } from "node:fs";
import { createMeshAssembler } from "%s";
const input = JSON.parse(readFileSync(0, "utf8"));
const assemble = createMeshAssembler(JSON.parse(readFileSync("%s", "utf8")));
assemble(input.camera, input.layers.map((l) => ({ ...l, at: l.at.slice(1) })), 1);  // leaves nothing behind
const { lists, moving, fixed } = assemble(input.camera, input.layers, 5000);
const hex = ([name, bytes]) => [name, Buffer.from(bytes).toString("hex")];
const again = assemble({ ...input.camera, width: 9 }, input.layers, 5000);
const uploads = Object.fromEntries(Object.entries({ ...moving, ...fixed }).map(hex));
const none = assemble(input.camera, input.layers.map((l) => ({ ...l, at: [] })), 5000);
const large = assemble({ ...input.camera, width: 5000 }, input.layers, 5000).lists.meshes[0].width;
const width = again.lists.meshes[0].width;
console.log(JSON.stringify({ lists, uploads, same: again.fixed === fixed, width, none, large }));
"""


def random_look(channels: int, method: Any, **rest: Any) -> Look:
    r = np.random.default_rng(channels)
    scale, offset = r.normal(size=(2, channels)).astype(np.float32)
    return Look(channels, method, scale, offset, **rest)


def looks() -> list[Look]:
    r = np.random.default_rng(8)
    f32 = lambda *shape: r.normal(size=shape).astype(np.float32)  # noqa: E731
    turn = ((-1.0, 0.5, 0.0), (0.0, 0.0, 1.0), (0.25, 1.0, 0.0))
    inputs = tuple(Input(k, 0.5 * (k % 3), 1.25) for k in range(9))
    network = Network(inputs, (Dense(f32(9, 16), f32(16), "relu"), Dense(f32(16, 3), f32(3), "sigmoid")), base=2)
    bare = Network(inputs[:2], (Dense(f32(2, 3), f32(3), "none"),))
    directions = r.integers(0, 256, (5, 7, 8), np.uint8)
    field = LightField(8, directions, f32(8), f32(8), "linear")
    return [
        plain_look(7, "head"),
        random_look(8, network, direction=turn, filter="nearest", empty=3, supersample=2),
        random_look(17, Gaussians(2), filter="linear"),
        random_look(6, bare),
        random_look(24, field, empty=0),
        plain_look(3),
        random_look(12, LightField(4, directions[:, :, :4], f32(4), f32(4))),
    ]


def layers() -> list[MeshDraws]:
    r = np.random.default_rng(9)
    out = []
    for k, look in enumerate(looks()):
        n = 0 if k == 5 else 1 + k
        turned = np.eye(4)
        turned[:3, :3] = [[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 2.0]]
        turned[:3, 3] = 10, -20, 5.5 * k
        size = r.integers(1, 50, (n, 2)) * (r.integers(0, 2, n) if k % 2 else np.ones(n, np.int64))[:, None]
        at, vertices, triangles = r.integers(0, 5000, n), r.integers(3, 900, n), r.integers(1, 400, n)
        out.append(MeshDraws(turned if k else np.eye(4), look, at, vertices, triangles, size))
    return out


def javascript(look: Look) -> dict[str, Any]:
    """A Look as static/mesh/assemble.js has it; its arrays as lists."""
    method = look.method
    kinds = {Network: "network", Gaussians: "gaussians", LightField: "lightfield"}
    made: dict[str, Any] = {"kind": kinds.get(type(method), "plain")}
    if isinstance(method, Network):
        made["inputs"] = [vars(one) for one in method.inputs]
        made["layers"] = [
            {"kernel": d.kernel.ravel().tolist(), "bias": d.bias.tolist(), "activation": d.activation}
            for d in method.layers
        ]
        made["base"] = method.base
    elif isinstance(method, LightField):
        height, width, _ = method.directions.shape
        made |= {"terms": method.terms, "directions": method.directions.ravel().tolist(), "filter": method.filter}
        made |= {"width": width, "height": height, "scale": method.scale.tolist(), "offset": method.offset.tolist()}
    else:
        made |= vars(method)
    rest = {k: getattr(look, k) for k in ("channels", "filter", "empty", "supersample")}
    arrays = {k: getattr(look, k).tolist() for k in ("scale", "offset")}
    return {**rest, **arrays, "method": made, "direction": np.array(look.direction).ravel().tolist()}


def test_javascript_packs_the_same_bytes(tmp_path: Path) -> None:
    script = tmp_path / "run.mjs"
    module = (ROOT / "static" / "mesh" / "assemble.js").as_uri()
    script.write_text(SCRIPT % (module, ROOT / "shaders" / "layout.json"))
    camera = {name: getattr(CAMERA, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    draws = layers()
    payload = {
        "camera": camera | {"worldToCamera": CAMERA.world_to_camera.ravel().tolist()},
        "layers": [
            {"transform": d.transform.ravel().tolist(), "look": javascript(d.look)}
            | {name: getattr(d, name).ravel().tolist() for name in ("at", "vertices", "triangles", "size")}
            for d in draws
        ],
    }
    run = subprocess.run(["node", script], input=json.dumps(payload), capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    got = json.loads(run.stdout)
    wanted = assemble_meshes(CAMERA, draws, 5000)
    assert got["lists"] == wanted.lists and got["lists"]["meshes"][0]["layers"] == len(draws) - 1
    assert got["uploads"].keys() == wanted.uploads.keys()
    for name, upload in wanted.uploads.items():
        hexed = bytes.fromhex(got["uploads"][name])
        if name == "mesh_layers":
            # What is left of the eye's float64 comes of other solvers.
            mine = np.frombuffer(hexed, dtype("MeshLayer"))
            np.testing.assert_allclose(mine["eye_rest"], upload["eye_rest"], atol=1e-11)
            assert np.abs(mine["eye_rest"]).max() > 1e-6
            for field in set(mine.dtype.names or ()) - {"eye_rest"}:
                assert mine[field].tobytes() == upload[field].tobytes(), field
        else:
            assert hexed[: upload.nbytes] == upload.tobytes(), name
            assert not any(hexed[upload.nbytes :]) and len(hexed) < upload.nbytes + 16
    assert got["same"] and got["width"] == 18, "what the nodes alone decide is not made anew"
    large = assemble_meshes(replace(CAMERA, width=5000), draws, 5000).lists["meshes"][0]["width"]
    assert got["large"] == large == 5000, "no texture is larger than WebGPU's default limit"
    assert got["none"] is None and assemble_meshes(CAMERA, [draws[5]], 5000).lists == {}


@pytest.mark.parametrize("triangles", [1, 63, 64, 65, 200])
def test_blocks_cover_every_triangle_once(triangles: int) -> None:
    draws = MeshDraws(np.eye(4), plain_look(), *(np.array([v, v]) for v in (7, 100, triangles)), np.zeros((2, 2), int))
    blocks = assemble_meshes(CAMERA, [draws], 900).uploads["mesh_blocks"]
    assert int(blocks["count"].sum()) == 2 * triangles and blocks["count"].max() <= 64
    assert blocks["first"].tolist() == [*range(0, triangles, 64)] * 2
