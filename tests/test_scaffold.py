"""Scaffold-GS runs: every layout and option against the float64 twin under onnxruntime, the folder as a format."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import find_format, open_any, scaffold
from splatlens.converters.layer_source import LayerSource
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import Contract
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.generated import GeneratedLayer, attributes
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.splats import SH_C0, Splats
from tests import checkpoint_files
from tests.reference.scaffold import Networks
from tests.reference.scaffold import scaffold as twin

NAMES = {"opacity": "opacity_mlp", "cov": "cov_mlp", "color": "color_mlp", "bank": "feature_bank_mlp"}


@dataclass(frozen=True)
class Run:
    """A random run: arrays as the twin takes them, and how its networks are stored."""

    arrays: dict[str, Any]
    networks: Networks
    distances: tuple[bool, bool, bool]
    embedding: Any = None
    layout: str = "split"

    def write(self, folder: Path, iteration: int = 30000) -> Path:
        place = folder / f"point_cloud/iteration_{iteration}"
        place.mkdir(parents=True)
        write_ply(place / "point_cloud.ply", **self.arrays)
        states = {NAMES[name]: state(layers) for name, layers in self.networks.items()}
        if self.embedding is not None:
            states["embedding_appearance"] = {"embedding.weight": self.embedding}
        if self.layout.startswith("split"):
            target = place / "checkpoint.pth" if self.layout == "split in a folder" else place
            target.mkdir(exist_ok=True)
            for name, tensors in states.items():
                checkpoint_files.save_script(target / f"{name}.pt", tensors)
        elif self.layout == "unite":
            if self.embedding is not None:
                states["appearance"] = states.pop("embedding_appearance")
            checkpoint_files.save(place / "checkpoints.pth", states)
        else:  # the first release
            if "feature_bank_mlp" in states:
                states["mlp_feature_bank"] = states.pop("feature_bank_mlp")
            checkpoint_files.save(place / "checkpoint.pth", states)
        return folder


def state(layers: list[tuple[Any, Any]]) -> dict[str, Any]:
    """As torch.nn.Sequential names them, an activation after every Linear."""
    named = {}
    for i, (weight, bias) in enumerate(layers):
        named |= {f"{2 * i}.weight": weight, f"{2 * i}.bias": bias}
    return named


def write_ply(path: Path, anchors: Any, offsets: Any, features: Any, log_scales: Any) -> None:
    """As `save_ply` does: normals, opacity and rotation stand there unused."""
    n = len(anchors)
    flat = offsets.transpose(0, 2, 1).reshape(n, -1)
    columns = [*"xyz", "nx", "ny", "nz", *(f"f_offset_{i}" for i in range(flat.shape[1]))]
    columns += [f"f_anchor_feat_{i}" for i in range(features.shape[1])]
    columns += ["opacity", *(f"scale_{i}" for i in range(6)), *(f"rot_{i}" for i in range(4))]
    unused = np.zeros((n, 3)), np.ones((n, 1)), np.ones((n, 4))
    table = np.concatenate([anchors, unused[0], flat, features, unused[1], log_scales, unused[2]], axis=1)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {n}\n"
    header += "".join(f"property float {name}\n" for name in columns) + "end_header\n"
    path.write_bytes(header.encode() + table.astype("<f4").tobytes())


def random_run(
    *, n: int = 40, k: int = 5, feature: int = 32, hidden: int = 32, distances: tuple[bool, bool, bool] = (False,) * 3,
    bank: bool = False, appearance: tuple[int, int] | None = None, depth: int = 1, layout: str = "split", seed: int = 0,
) -> Run:  # fmt: skip
    """depth: hidden layers. appearance: views and columns."""
    rng = np.random.default_rng(seed)

    def network(inputs: int, outputs: int) -> list[tuple[Any, Any]]:
        sizes = [inputs, *(hidden,) * depth, outputs]
        return [
            (rng.normal(0, b**-0.5, (a, b)).astype(np.float32), rng.normal(0, 0.3, a).astype(np.float32))
            for b, a in itertools.pairwise(sizes)
        ]

    size = feature + 3
    more = appearance[1] if appearance else 0
    networks = {"opacity": network(size + distances[0], k), "cov": network(size + distances[1], 7 * k)}
    networks["color"] = network(size + distances[2] + more, 3 * k)
    if bank:
        networks["bank"] = network(4, 3)
    arrays = {
        "anchors": rng.normal(0, 2, (n, 3)), "offsets": rng.normal(0, 1, (n, k, 3)),
        "features": rng.normal(0, 1, (n, feature)), "log_scales": rng.normal(-3, 0.5, (n, 6)),
    }  # fmt: skip
    arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
    embedding = rng.normal(0, 1, appearance).astype(np.float32) if appearance else None
    return Run(arrays, networks, distances, embedding, layout)


def loaded(folder: Path) -> Model:
    """As a viewer has it: from the layer of a .lens."""
    source = open_any(folder)
    assert isinstance(source, LayerSource)
    blobs = source.layer().blobs
    return Model(Contract.from_json(parse_json(blobs["contract"], str(folder), "contract")), blobs["model"], "model")


VARIANTS = {
    "plain": {},
    "every distance": {"distances": (True, True, True)},
    "the opacity's distance": {"distances": (True, False, False), "k": 10},
    "colour's distance and appearance": {"distances": (False, False, True), "appearance": (7, 16)},
    "feature bank": {"bank": True, "distances": (True, True, True), "feature": 16},
    "bank and appearance in one file": {"bank": True, "appearance": (3, 32), "layout": "unite"},
    "one file": {"layout": "unite", "hidden": 48},
    "first release": {"layout": "first", "bank": True, "distances": (True, True, True)},
    "MLPs in a folder": {"layout": "split in a folder", "feature": 50, "k": 1},
    "deeper": {"depth": 3, "hidden": 24},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_twin(options: dict[str, Any], tmp_path: Path) -> None:
    run = random_run(**options)
    model = loaded(run.write(tmp_path))
    for view, position in enumerate(((3.0, 0.2, -4.0), (-0.5, 9.0, 0.1), (0.3, 0.1, 0.2))):
        camera = Camera.look_at(position, (0.1, 0.2, 0.3), (0, -1, 0), 50, 64, 48)
        chosen = None if run.embedding is None else view % len(run.embedding)
        moment = Moment(controls={} if chosen is None else {"appearance": chosen})
        got = attributes(model.contract, model.run(moment, camera))
        want = twin(
            **run.arrays, networks=run.networks, camera=np.asarray(position), distances=run.distances,
            appearance=None if chosen is None else run.embedding[chosen],
        )  # fmt: skip
        quats = got.quats / np.linalg.norm(got.quats, axis=1, keepdims=True)
        for name, values in (("means", got.means), ("scales", got.scales), ("quats", quats)):
            assert_close(values, want[name], name)
        assert_close(got.opacities, np.maximum(want["opacities"], 0), "opacities")
        assert_close(got.colors, want["colors"], "colors")
        assert (got.opacities > 0).sum() not in (0, len(got.opacities))


def assert_close(got: Any, want: Any, name: str) -> None:
    """Each row's error below 1e-4 of its largest value; of opacities and colours of 1, as both end there."""
    got, want = got.reshape(len(want), -1), want.reshape(len(want), -1)
    scale = 1.0 if name in ("opacities", "colors") else np.abs(want).max(axis=1, keepdims=True)
    assert (np.abs(got - want) / scale).max() < 1e-4, name


def test_found_by_content(tmp_path: Path) -> None:
    """A run's folder and the PLY of its anchors are known, whatever they are called; plain runs stay what they are."""
    folder = random_run().write(tmp_path / "run", iteration=7000)
    random_run(k=3).write(folder)
    (folder / "cfg_args").write_text("Namespace(white_background=True, n_offsets=99, feat_dim=__import__('os'))")
    assert find_format(folder).name == "scaffold-gs"
    source = open_any(folder)
    assert isinstance(source, LayerSource)
    assert (source.info.splats, source.info.iteration) == (40 * 3, 30000)
    assert source.info.background == (1, 1, 1)
    ply = folder / "point_cloud/iteration_7000/point_cloud.ply"
    assert find_format(ply).name == "scaffold-gs"
    assert open_any(ply).info.splats == 40 * 5
    assert find_format(Path(__file__).parent / "fixtures/sog/sh0.ply").name == "3dgs-ply"


def test_contract(tmp_path: Path) -> None:
    run = random_run(appearance=(4, 8))
    contract = loaded(run.write(tmp_path)).contract
    assert (contract.kind, contract.capacity) == ("generator", 200)
    (control,) = contract.controls
    assert (control.minimum, control.maximum, control.step) == (0, 3, 1)
    away = np.linalg.norm(run.embedding - run.embedding.mean(axis=0), axis=1)
    assert control.default == np.argmin(away)
    means = run.arrays["anchors"][:, None] + run.arrays["offsets"] * np.exp(run.arrays["log_scales"][:, None, :3])
    np.testing.assert_allclose(contract.bounds, [means.min(axis=(0, 1)), means.max(axis=(0, 1))], rtol=1e-5)


def test_appearance_between_two_views(tmp_path: Path) -> None:
    run = random_run(appearance=(4, 8))
    model = loaded(run.write(tmp_path))
    camera = Camera.look_at((3, 1, 2), (0, 0, 0), (0, -1, 0), 50, 64, 48)
    got = attributes(model.contract, model.run(Moment(controls={"appearance": 1.25}), camera))
    mixed = 0.75 * run.embedding[1] + 0.25 * run.embedding[2]
    want = twin(**run.arrays, networks=run.networks, camera=camera.position, appearance=mixed)
    assert_close(got.colors, want["colors"], "colors")


def test_camera_inside_an_anchor(tmp_path: Path) -> None:
    """Where the reference divides by 0 all stay finite."""
    run = random_run()
    model = loaded(run.write(tmp_path))
    inside = tuple(float(v) for v in run.arrays["anchors"][3])
    camera = Camera.look_at(inside, (9, 9, 9), (0, -1, 0), 50, 64, 48)
    got = attributes(model.contract, model.run(Moment(), camera))
    for values in (got.means, got.scales, got.quats, got.opacities, got.colors):
        assert np.isfinite(values).all()


def test_drawn_as_the_twin_says(tmp_path: Path) -> None:
    """What the MLP gives 0 or less is not drawn, the rest as stored splats would be."""
    run = random_run(n=60, k=4)
    run.arrays["log_scales"][:, 3:] += 1.5
    model = loaded(run.write(tmp_path))
    camera = Camera.look_at((0.5, -2, -9), (0, 0, 0), (0, -1, 0), 50, 48, 32)
    layer = GeneratedLayer(model.contract, model.run(Moment(), camera))
    want = twin(**run.arrays, networks=run.networks, camera=camera.position)
    drawn = want["opacities"] > 0
    sh = ((want["colors"] - 0.5) / SH_C0)[:, None]
    names = ("means", "quats", "scales", "opacities")
    splats = Splats(*(want[name][drawn].astype(np.float32) for name in names), sh[drawn].astype(np.float32))
    assert psnr(reference.render(layer.splats(), camera), reference.render(splats, camera)) > 80


def test_operators_are_few(tmp_path: Path) -> None:
    """Those of which onnxruntime's WebGPU provider has kernels, with inputs as few as it takes anywhere."""
    model = scaffold.export(random_run(bank=True, appearance=(3, 8)).write(tmp_path))
    assert {node.op_type for node in model.graph.node} <= {
        "Abs", "Add", "Concat", "Div", "Identity", "MatMul", "Max", "Mul", "ReduceSum", "Relu", "Reshape", "Sigmoid",
        "Slice", "Softmax", "Sqrt", "Sub", "Tanh",
    }  # fmt: skip
    assert max(len(node.input) for node in model.graph.node if node.op_type != "Slice") == 2
    assert model.opset_import[0].version <= 17


def _broken(run: Run, change: str, folder: Path) -> None:
    """Writes the run with one thing wrong."""
    place = run.write(folder) / "point_cloud/iteration_30000"
    ply = place / "point_cloud.ply"
    arrays, networks = dict(run.arrays), dict(run.networks)
    match change:
        case "no networks":
            for file in place.glob("*.pt"):
                file.unlink()
        case "one network missing":
            (place / "cov_mlp.pt").unlink()
        case "offsets of another run":
            write_ply(ply, **{**arrays, "offsets": np.tile(arrays["offsets"], (1, 2, 1))})
        case "features of another run":
            write_ply(ply, **{**arrays, "features": arrays["features"][:, :20]})
        case "embedding missing":
            (place / "embedding_appearance.pt").unlink()
        case "weights not finite":
            networks["cov"][0][0][3, 3] = np.nan
            checkpoint_files.save_script(place / "cov_mlp.pt", state(networks["cov"]))
        case "layers that do not fit":
            tensors = state(networks["cov"])
            checkpoint_files.save_script(place / "cov_mlp.pt", {**tensors, "2.weight": tensors["2.weight"][:, :5]})
        case "a network cut short":
            file = place / "opacity_mlp.pt"
            file.write_bytes(file.read_bytes()[:700])
        case "anchors cut short":
            ply.write_bytes(ply.read_bytes()[:-10])
        case "anchors not finite":
            write_ply(ply, **{**arrays, "anchors": arrays["anchors"] * np.nan})
        case "four scales":
            ply.write_bytes(ply.read_bytes().replace(b"scale_5", b"other_5"))
        case "a gap":
            ply.write_bytes(ply.read_bytes().replace(b"f_offset_4\n", b"f_offset_x\n"))
        case "Octree-GS":
            ply.write_bytes(ply.read_bytes().replace(b"property float nx\n", b"property float level\n"))
        case "an attack":
            pickled = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."
            checkpoint_files.save_parts(place / "color_mlp.pt", pickled, [], script=True)


BROKEN = {
    "no networks": "anchors without their MLPs",
    "one network missing": "cov_mlp is missing",
    "offsets of another run": "opacity_mlp gives 5 numbers, expected 10",
    "features of another run": r"opacity_mlp takes 35 numbers, expected 23 or 24 \(feature 20, direction 3, dist",
    "embedding missing": r"color_mlp takes 43 numbers, expected 35 or 36 .*embedding_appearance\.pt missing",
    "weights not finite": "cov_mlp has weights that are not finite",
    "layers that do not fit": r"cov_mlp\.2\.weight: .*is no linear layer",
    "a network cut short": r"opacity_mlp\.pt: damaged zip",
    "anchors cut short": "truncated",
    "anchors not finite": "none of the 40 anchors is finite",
    "four scales": r"5 scale_\*, expected 3 k, F and 6",
    "a gap": "with gaps",
    "Octree-GS": "Octree-GS",
    "an attack": r"os\.system.*nothing was executed",
}


@pytest.mark.parametrize("change", BROKEN)
def test_bad_input(change: str, tmp_path: Path) -> None:
    _broken(random_run(appearance=(3, 8) if change == "embedding missing" else None), change, tmp_path)
    with pytest.raises(LensError, match=BROKEN[change]) as caught:
        open_any(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()


def test_anchors_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    run = random_run()
    run.arrays["features"][5, 3] = np.inf
    assert open_any(run.write(tmp_path)).info.splats == 39 * 5


def test_too_many_splats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaffold, "MAX_CAPACITY", 199)
    with pytest.raises(LensError, match="40 anchors of 5 make 200 splats, at most 199"):
        open_any(random_run().write(tmp_path))
