"""nerf2mesh folders: what is read, cascades, the picture against the method's own formula, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatlens.converters import find_format, nerf2mesh, open_any
from splatlens.converters.layer_source import LayerSource
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import LensError
from splatlens.viewer.mesh import IDENTITY, Network
from splatlens.viewer.mesh_reference import DrawnMesh, draw_meshes
from tests.baked_folders import SIDE, write_nerf2mesh


def opened(folder: Path) -> LayerSource:
    source = open_any(folder)
    assert isinstance(source, LayerSource)
    return source


def parts(folder: Path, cascades: int = 2):  # type: ignore[no-untyped-def]
    fields = json.loads((folder / "mlp.json").read_text())
    surfaces = [nerf2mesh._surface(folder / f"mesh_{c}.obj", nerf2mesh._textures(folder, c)) for c in range(cascades)]
    return surfaces, nerf2mesh.network_look(fields, folder / "mlp.json")


def test_what_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "mesh_stage1"
    write_nerf2mesh(folder)
    for path in (folder, folder / "mlp.json", folder.parent):
        assert find_format(path).name == "nerf2mesh"
        facts = opened(path).describe()
        assert (facts["method"], facts["channels"], facts["triangles"], facts["cascades"]) == ("network", 6, 16, 2)
    info = opened(folder).info
    assert info.up == (0, 0, 1) and info.camera is not None and len(info.files) == 7
    surfaces, look = parts(folder)
    # 9 places, of which 3 lie on the seam and are two vertices each.
    assert [len(s.positions) for s in surfaces] == [12, 12]
    assert isinstance(look.method, Network)
    assert (look.empty, look.supersample, look.filter, look.method.base) == (None, 1, "nearest", 0)
    assert look.direction == IDENTITY
    assert [one.source for one in look.method.inputs] == [6, 7, 8, 3, 4, 5]
    assert [layer.kernel.shape for layer in look.method.layers] == [(6, 32), (32, 3)]
    assert not any(layer.bias.any() for layer in look.method.layers)
    with Image.open(folder / "feat1_0.jpg") as image:
        whole = np.array(image)
    uvs, texels = surfaces[0].uvs, surfaces[0].texels
    assert uvs is not None and texels is not None
    # v = 1 is the first row; the surface has what its triangles reach of the image.
    x, y = int(0.05 * SIDE), int(0.1 * SIDE)
    np.testing.assert_array_equal(texels[..., 3:], whole[y : y + texels.shape[0], x : x + texels.shape[1]])


def test_picture_is_the_formula(tmp_path: Path) -> None:
    """Colours of pixels by hand: diffuse + sigmoid(W1 relu(W0 [direction, features])), cut to 0..1."""
    write_nerf2mesh(tmp_path)
    surfaces, look = parts(tmp_path)
    camera = Camera.look_at((0.3, -0.4, 4), (0, 0, 0), (0, 1, 0), 50, 24, 20)
    picture = draw_meshes([DrawnMesh(surfaces, look, np.eye(4))], camera)
    fields = json.loads((tmp_path / "mlp.json").read_text())
    kernels = [np.array(fields[f"net.{i}.weight"]) for i in range(2)]
    seen = picture.samples
    checked = 0
    for y, x in np.argwhere(seen.triangle[..., 0] >= 0):
        triangle, weights = seen.triangle[y, x, 0], seen.weights[y, x, 0]
        surface = surfaces[seen.soup.surface[triangle]]
        assert surface.uvs is not None and surface.texels is not None
        uv = np.floor(weights @ surface.uvs[surface.triangles[seen.soup.row[triangle]]]).astype(int)
        carried = surface.texels[uv[1], uv[0]] / 255
        point = weights @ surface.positions[surface.triangles[seen.soup.row[triangle]]]
        direction = (point - camera.position) / np.linalg.norm(point - camera.position)
        added = np.maximum(np.concatenate([direction, carried[3:]]) @ kernels[0], 0) @ kernels[1]
        want = np.clip(carried[:3] + 1 / (1 + np.exp(-added)), 0, 1)
        np.testing.assert_allclose(picture.color[y, x], [*want, 1], atol=1e-5)
        checked += 1
    assert checked > 100


def test_absent_cascades_are_named(tmp_path: Path) -> None:
    write_nerf2mesh(tmp_path, cascades=3)
    (tmp_path / "mesh_1.obj").unlink()
    source = opened(tmp_path)
    assert source.info.warnings == ("mesh_1.obj of 3 cascades absent; the rest is drawn",)
    assert source.describe()["triangles"] == 16


def test_networks_of_other_sizes(tmp_path: Path) -> None:
    """Wider, and with a layer and biases more, as long as they chain."""
    write_nerf2mesh(tmp_path, cascades=1, hidden=64)
    fields = json.loads((tmp_path / "mlp.json").read_text())
    fields["net.2.weight"] = np.ones((3, 3)).tolist()
    fields["net.1.bias"] = [1, 2, 3]
    look = nerf2mesh.network_look(fields, tmp_path / "mlp.json")
    assert isinstance(look.method, Network)
    assert [layer.activation for layer in look.method.layers] == ["relu", "relu", "sigmoid"]
    assert look.method.layers[1].bias.tolist() == [1, 2, 3]


def test_older_runs_have_png(tmp_path: Path) -> None:
    write_nerf2mesh(tmp_path, cascades=1)
    for i in range(2):
        with Image.open(tmp_path / f"feat{i}_0.jpg") as image:
            image.save(tmp_path / f"feat{i}_0.png")
        (tmp_path / f"feat{i}_0.jpg").unlink()
    assert opened(tmp_path).describe()["triangles"] == 8


def _mlp(change: Callable[[dict], object]) -> Callable[[Path], object]:  # type: ignore[type-arg]
    def apply(folder: Path) -> None:
        fields = json.loads((folder / "mlp.json").read_text())
        change(fields)
        (folder / "mlp.json").write_text(json.dumps(fields))

    return apply


@pytest.mark.parametrize(("spoil", "says"), [
    (lambda f: (f / "feat1_1.jpg").unlink(), "feat1_1.jpg: this texture is missing"),
    (lambda f: Image.new("RGB", (8, 8)).save(f / "feat1_0.jpg"), "feat0_0.jpg and it are 64 x 64 and 8 x 8"),
    (lambda f: Image.new("L", (64, 64)).save(f / "feat0_0.jpg"), "mode L; expected RGB"),
    (lambda f: (f / "feat0_0.jpg").write_bytes((f / "feat0_0.jpg").read_bytes()[:400]), "feat0_0.jpg: damaged"),
    (_mlp(lambda m: m.pop("cascade")), "cascade: expected a whole number from 1 to 16, it is missing"),
    (_mlp(lambda m: m.update(cascade=True)), "cascade: expected a whole number from 1 to 16, got True"),
    (_mlp(lambda m: m.pop("net.0.weight")), "net.0.weight: expected .* it is missing"),
    (_mlp(lambda m: m["net.0.weight"].pop()), "net.0.weight: takes 5 values, it is given 6"),
    (_mlp(lambda m: m["net.1.weight"].pop()), "net.1.weight: takes 31 values, it is given 32"),
    (_mlp(lambda m: [row.append(0) for row in m["net.1.weight"]]), "the network gives 4 values; expected 3"),
    (_mlp(lambda m: m["net.1.weight"][0].__setitem__(0, float("-inf"))), "expected a finite number, got -inf"),
    (lambda f: (f / "mesh_0.obj").write_text("v 0 0 0\nvt 0 0\nf 1/1 1/1 2/1\n"), r"v indices \[1, 1, 2\]"),
    (lambda f: [(f / f"mesh_{c}.obj").unlink() for c in range(2)], "none of its 2 cascades is there"),
])  # fmt: skip
def test_refused(tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    write_nerf2mesh(tmp_path)
    spoil(tmp_path)
    with pytest.raises(LensError, match=says) as caught:
        opened(tmp_path).describe()
    message = str(caught.value)
    assert message.startswith(str(tmp_path)) and message.isprintable()
