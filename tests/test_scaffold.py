"""Scaffold-GS runs: every layout and option against the float64 twin under onnxruntime, the folder as a format."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import find_format, open_any, scaffold
from splatlens.converters.live import LiveSource
from splatlens.viewer.camera import Camera
from splatlens.viewer.contract import Contract
from splatlens.viewer.errors import LensError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.generated import GeneratedLayer, attributes
from splatlens.viewer.generator import Model, Moment
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
    assert isinstance(source, LiveSource)
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
        assert_close(got.opacities, want["opacities"], "opacities")
        assert_close(got.colors, want["colors"], "colors")
        assert (got.opacities > 0).sum() not in (0, len(got.opacities))


def assert_close(got: Any, want: Any, name: str) -> None:
    """Each row's error below 1e-4 of its largest value; of opacities and colours of 1, as both end there."""
    got, want = got.reshape(len(want), -1), want.reshape(len(want), -1)
    scale = 1.0 if name in ("opacities", "colors") else np.abs(want).max(axis=1, keepdims=True)
    assert (np.abs(got - want) / scale).max() < 1e-4, name
