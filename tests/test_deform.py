"""4DGaussians runs: the exported graph against torch's own answer and against the float64 twin, and damaged runs."""

from __future__ import annotations

import importlib.util
import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from splatlens.converters import deform, find_format, open_any, read_splats
from splatlens.converters.deform import export
from splatlens.converters.deform_network import read_network
from splatlens.converters.format import ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.opened import Scene
from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.contract import Contract
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import parse_json
from splatlens.viewer.frame import RenderOptions
from tests.checkpoint_files import save
from tests.reference import deform as twin

FIXTURE = Path(__file__).parent / "fixtures" / "deform"
SAMPLE = Path(__file__).parent.parent / "samples" / "deform"
ITERATION = "point_cloud/iteration_30"
TIMES = (0.0, 0.013, 0.37, 0.5, 0.81, 0.9999, 1.0)
#: Operators that a graph may have: all are in onnxruntime's WebGPU provider.
OPERATORS = {
    "Abs", "Add", "Clip", "Cos", "Exp", "Gather", "Identity", "MatMul", "Mul", "Relu", "Reshape", "Sigmoid", "Sin",
    "Slice", "Sub",
}  # fmt: skip
NET = "deformation_net"
State = dict[str, Any]


def random_state(
    sizes: tuple[int, int, int, int] = (4, 5, 6, 7), scales: int = 2, channels: int = 3, width: int = 8, depth: int = 1,
    **options: Any,
) -> State:  # fmt: skip
    """A state dict as the authors' network has it for those options; weights that make a difference."""
    rng = np.random.default_rng(8)
    state: State = {f"{NET}.grid.aabb": np.array([[1, 1.2, 0.9], [-1, -0.8, -1.1]], np.float32)}

    def linear(key: str, takes: int, gives: int) -> None:
        state[f"{key}.weight"] = rng.normal(0, 1.2 / np.sqrt(takes), (gives, takes)).astype(np.float32)
        state[f"{key}.bias"] = rng.normal(0, 0.3, gives).astype(np.float32)

    for scale in range(scales):
        axes = [n * 2**scale for n in sizes[:3]] + [sizes[3]]
        for number, (a, b) in enumerate(itertools.combinations(range(4), 2)):
            plane = rng.normal(1, 0.5, (1, channels, axes[b], axes[a])).astype(np.float32)
            state[f"{NET}.grid.grids.{scale}.{number}"] = plane
    features = scales * channels * (3 if options.get("grid_pe") else 1)
    linear(f"{NET}.feature_out.0", 4 if options.get("no_grid") else features, width)
    for layer in range(1, depth):
        linear(f"{NET}.feature_out.{2 * layer}", width, width)
    heads = {"pos_deform": 3, "scales_deform": 3, "rotations_deform": 4, "opacity_deform": 1, "shs_deform": 48}
    if options.get("static_mlp"):
        heads["static_mlp"] = 1
    for head, columns in heads.items():
        linear(f"{NET}.{head}.1", width, width)
        linear(f"{NET}.{head}.3", width, columns)
    if options.get("empty_voxel"):
        state[f"{NET}.empty_voxel.grid"] = rng.uniform(0.2, 1.5, (1, 1, 3, 4, 5)).astype(np.float32)
        state[f"{NET}.empty_voxel.xyz_min"] = np.array([-1, -0.8, -1.1], np.float32)
        state[f"{NET}.empty_voxel.xyz_max"] = np.array([1, 1.2, 0.9], np.float32)
    linear("timenet.0", 9, 4)
    state["time_poc"] = np.float32([1, 2, 4, 8])
    return state


def random_rows(count: int = 60) -> dict[str, Any]:
    """Splats inside and outside the planes, and one on each corner."""
    rng = np.random.default_rng(9)
    rows = {
        "means": rng.normal(0, 0.8, (count, 3)), "log_scales": rng.normal(-3, 0.5, (count, 3)),
        "quats": rng.normal(0, 1, (count, 4)), "logits": rng.normal(0, 1.5, (count, 1)),
        "sh": rng.normal(0, 0.3, (count, 16, 3)),
    }  # fmt: skip
    rows["means"][:2] = [[1, 1.2, 0.9], [-1, -0.8, -1.1]]
    return {k: v.astype(np.float32) for k, v in rows.items()}


def write_run(folder: Path, state: State, rows: dict[str, Any], options: dict[str, Any]) -> Path:
    """A model folder as a run of the authors' code leaves it."""
    iteration = folder / "point_cloud" / "iteration_7"
    iteration.mkdir(parents=True)
    count, sh = len(rows["means"]), rows["sh"]
    names = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(3 * sh.shape[1] - 3))]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    rest = sh[:, 1:].transpose(0, 2, 1).reshape(count, -1)
    parts = (rows["means"], sh[:, 0], rest, rows["logits"], rows["log_scales"], rows["quats"])
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property float {name}" for name in names] + ["end_header", ""]
    ply = "\n".join(header).encode() + np.concatenate(parts, axis=1).astype("<f4").tobytes()
    (iteration / "point_cloud.ply").write_bytes(ply)
    save(iteration / "deformation.pth", state)
    save(iteration / "deformation_table.pth", np.ones(count, bool))
    words = ", ".join(f"{key}={value!r}" for key, value in options.items())
    settings = ", ".join(["sh_degree=3", "multires=[1, 2]", *([words] if words else [])])
    (folder / "cfg_args").write_text(f"Namespace({settings})")
    return folder


class Graph:
    """An exported run under onnxruntime."""

    def __init__(self, folder: Path) -> None:
        self.model = export(folder)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            self.model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def at(self, time: float) -> dict[str, Any]:
        names = ["means", "scales", "quats", "opacities", "sh"]
        made = dict(zip(names, self._session.run(names, {"time": np.float32([time])}), strict=True))
        made["quats"] = made["quats"] / np.linalg.norm(made["quats"], axis=1, keepdims=True)
        return made


def assert_close(got: dict[str, Any], want: dict[str, Any], most: float) -> None:
    """Each row's error within `most` of its largest value; opacities within `most`."""
    for name, values in want.items():
        flat = values.reshape(len(values), -1)
        scale = 1.0 if name == "opacities" else np.abs(flat).max(axis=1, keepdims=True)
        assert (np.abs(got[name].reshape(flat.shape) - flat) / scale).max() < most, name


def test_torch() -> None:
    """A run that torch wrote, at five times, as torch computes it."""
    graph = Graph(FIXTURE / "model")
    answer = np.load(FIXTURE / "torch.npz")
    for i, time in enumerate(answer["times"]):
        want = {name: answer[name][i].astype(np.float64) for name in answer.files if name != "times"}
        assert_close(graph.at(float(time)), want, 1e-5)


VARIANTS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "all move": {"no_do": False, "no_dshs": False},
    "nothing moves": {"no_dx": True, "no_ds": True, "no_dr": True},
    "only centres": {"no_ds": True, "no_dr": True},
    "deep": {"depth": 3},
    "static_mlp": {"static_mlp": True, "no_do": False, "no_dshs": False},
    "empty_voxel": {"empty_voxel": True, "no_do": False, "no_dshs": False},
    "apply_rotation": {"apply_rotation": True},
    "grid_pe": {"grid_pe": 2},
    "no_grid": {"no_grid": True, "no_do": False},
    "one row of time": {"sizes": (3, 4, 5, 1)},
    "even rows, one cell": {"sizes": (1, 2, 5, 6), "scales": 1},
    "four scales": {"scales": 4, "channels": 2},
}


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_twin(variant: dict[str, Any], tmp_path: Path) -> None:
    options = {k: v for k, v in variant.items() if k not in ("depth", "sizes", "scales", "channels")}
    state, rows = random_state(**variant), random_rows()
    graph = Graph(write_run(tmp_path, state, rows, options))
    assert {node.op_type for node in graph.model.graph.node} <= OPERATORS
    exact = {k: v.astype(np.float64) for k, v in rows.items()}
    for time in TIMES:
        assert_close(graph.at(time), twin.deform(state, exact, time, options), 1e-4)


def test_outside_of_time() -> None:
    """A time beyond the ends is the end's, as the border of the planes is."""
    graph = Graph(FIXTURE / "model")
    for beyond, end in ((-0.3, 0.0), (1.7, 1.0)):
        assert graph.at(beyond)["means"].tobytes() == graph.at(end)["means"].tobytes()


def test_options_are_asked_for(tmp_path: Path) -> None:
    """Heads exist whether used or not: without cfg_args the authors' defaults count, and the scene says so."""
    state, rows = random_state(), random_rows()
    folder = write_run(tmp_path / "run", state, rows, {"no_do": False})
    exact = {k: v.astype(np.float64) for k, v in rows.items()}
    assert_close(Graph(folder).at(0.3), twin.deform(state, exact, 0.3, {"no_do": False}), 1e-4)
    (folder / "cfg_args").unlink()
    assert_close(Graph(folder).at(0.3), twin.deform(state, exact, 0.3, {}), 1e-4)
    (warning,) = open_any(folder).info.warnings
    assert "no cfg_args" in warning and "all but opacities and colours" in warning


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deform, "MAX_BYTES", 7584)  # 24 splats of 48 + 11 + 2 (4 + 6) numbers
    export(FIXTURE / "model")
    monkeypatch.setattr(deform, "MAX_BYTES", 7583)
    with pytest.raises(UnsupportedError, match=r"iteration_30: 24 splats of 316 bytes, more than the 7,583 bytes"):
        export(FIXTURE / "model")


def test_older_network(tmp_path: Path) -> None:
    """The first release has no heads for colours: they stay."""
    state = {k: v for k, v in random_state().items() if "shs_deform" not in k}
    rows = random_rows()
    folder = write_run(tmp_path, state, rows, {})
    assert Graph(folder).at(0.4)["sh"].tobytes() == rows["sh"].tobytes()


def test_source() -> None:
    """A folder with a deformation is not taken for plain splats; its layer says all that a viewer asks."""
    assert find_format(FIXTURE / "model").name == "4dgaussians"
    source = open_any(FIXTURE / "model")
    assert isinstance(source, LayerSource)
    assert (source.info.splats, source.info.sh_degree, source.info.iteration) == (24, 3, 30)
    assert source.info.background == (1, 1, 1) and source.info.warnings == ()
    contract = Contract.from_json(parse_json(source.layer().blobs["contract"], "layer", "contract"))
    assert contract.time is not None and contract.capacity == 24 and contract.bounds is not None
    assert (contract.time.start, contract.time.end, contract.time.duration) == (0, 1, 2 * 7 / 30)


def test_duration() -> None:
    source = open_any(FIXTURE / "model", ReadOptions(seconds=9))
    assert isinstance(source, LayerSource)
    contract = Contract.from_json(parse_json(source.layer().blobs["contract"], "layer", "contract"))
    assert contract.time is not None and contract.time.duration == 9
    with pytest.raises(LensError, match=r"model: a duration of -1 seconds; give 0\.001 to 1,000,000"):
        export(FIXTURE / "model", -1)


def test_plain_folder_stays_plain(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE / "model", tmp_path / "run")
    for file in (folder / ITERATION).glob("*.pth"):
        file.unlink()
    assert find_format(folder).name == "3dgs-model-folder"
    with pytest.raises(FormatError, match=r"run: not a 4DGaussians model folder: no .*deformation\.pth"):
        export(folder)


def test_rows_without_a_place(tmp_path: Path) -> None:
    """Splats with NaN cannot be interpolated: they are left out, the others stay as they are."""
    state, rows = random_state(), random_rows()
    good = Graph(write_run(tmp_path / "good", state, rows, {})).at(0.4)
    rows["means"][3, 1], rows["logits"][7, 0] = np.nan, np.inf
    left = Graph(write_run(tmp_path / "bad", state, rows, {})).at(0.4)
    assert_close(left, {k: np.delete(v, [3, 7], axis=0) for k, v in good.items()}, 1e-6)
    rows["means"][:] = np.nan
    with pytest.raises(UnsupportedError, match=r"cloud\.ply: 0 of 60 splats are finite, expected 1 to 16,777,216"):
        export(write_run(tmp_path / "none", state, rows, {}))


@pytest.mark.parametrize(
    "name, message",
    [
        ("deformation.pth", r"iteration_30: no deformation\.pth, which says how .*it holds deformation_accum\.pth"),
        ("deformation_table.pth", ""),
        ("cfg_args", ""),
    ],
)
def test_missing_file(name: str, message: str, tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE / "model", tmp_path / "run")
    next(folder.rglob(name)).unlink()
    if message:
        with pytest.raises(FormatError, match=message):
            open_any(folder)
    else:  # the authors' own loader goes on without them
        assert any(f"no {name}" in warning for warning in open_any(folder).info.warnings)


def test_table(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE / "model", tmp_path / "run")
    save(folder / ITERATION / "deformation_table.pth", np.arange(24) > 3)
    assert any("marks 4 splats as still" in warning for warning in open_any(folder).info.warnings)
    save(folder / ITERATION / "deformation_table.pth", np.ones(23, bool))
    with pytest.raises(FormatError, match=r"table\.pth: \(23,\), expected a flag for each of the 24 splats"):
        open_any(folder)


def test_damaged_network(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURE / "model", tmp_path / "run")
    network = folder / ITERATION / "deformation.pth"
    network.write_bytes(network.read_bytes()[:9000])
    source = open_any(folder)
    assert isinstance(source, LayerSource)
    with pytest.raises(LensError, match=r"deformation\.pth"):
        source.layer()


def nan(values: Any) -> Any:
    values = values.copy()
    values.flat[2] = np.nan
    return values


#: What is put in place of a tensor (None: it is taken away), and what the message says.
DAMAGE: dict[str, tuple[str, Any, str]] = {
    "head gone": ("pos_deform.1.weight", None, r"no tensor 'deformation_net\.pos_deform\.1\.weight' \(there are def"),
    "plane gone": ("grid.grids.1.4", None, r"no tensor 'deformation_net\.grid\.grids\.1\.4'"),
    "first plane gone": ("grid.grids.0.0", None, r"no planes deformation_net\.grid\.grids\.0\.0 to"),
    "sizes do not chain": (
        "scales_deform.3.weight",
        np.zeros((3, 7), np.float32),
        r"scales_deform\.3\.weight is float32 3 x 7, expected floats 3 x 8",
    ),
    "trunk does not fit": (
        "feature_out.0.weight",
        np.zeros((8, 5), np.float32),
        r"feature_out\.0\.weight takes 5 features, the planes give 6",
    ),
    "planes differ": (
        "grid.grids.0.3",
        np.ones((1, 3, 6, 9), np.float32),
        r"grids\.0\.3 has 9 cells along y, deformation_net\.grid\.grids\.0\.0 has 5",
    ),
    "scales differ": (
        "grid.grids.1.2", np.ones((1, 3, 8, 8), np.float32), r"1\.4 has 7 cells along t, .*1\.2 has 8"
    ),
    "integers": ("pos_deform.3.bias", np.zeros(3, np.int64), r"pos_deform\.3\.bias is int64 3, expected floats 3"),
    "NaN": ("rotations_deform.1.weight", nan, r"rotations_deform\.1\.weight has 1 of 64 values NaN or infinite"),
    "aabb without extent": (
        "grid.aabb", np.float32([[1, 1, 1], [-1, 1, -1]]), r"grid\.aabb has no extent along y: both corners are at 1"
    ),
    "aabb of another shape": ("grid.aabb", np.zeros(6, np.float32), r"grid\.aabb is float32 6, expected floats 2 x 3"),
    "aabb gone": ("grid.aabb", None, r"no tensor 'deformation_net\.grid\.aabb'"),
    "grid_pe unknown": (
        "feature_out.0.weight",
        np.zeros((8, 18), np.float32),
        r"three times the planes' features, as with grid_pe, which is None",
    ),
}  # fmt: skip


@pytest.mark.parametrize("key, value, message", DAMAGE.values(), ids=DAMAGE)
def test_bad_network(key: str, value: Any, message: str) -> None:
    state = random_state()
    name = f"{NET}.{key}"
    if value is None:
        del state[name]
    else:
        state[name] = value(state[name]) if callable(value) else value
    with pytest.raises(LensError, match=message) as caught:
        read_network(Path("deformation.pth"), state, {})
    text = str(caught.value)
    assert text.startswith("deformation.pth: ") and "\n" not in text


def test_another_checkpoint() -> None:
    with pytest.raises(FormatError, match=r"no tensor 'deformation_net\.\*', it holds other: not a 4DGaussians"):
        read_network(Path("x.pth"), {"other": np.zeros(3, np.float32)}, {})


def test_bounds_in_place_of_aabb() -> None:
    """A state dict without the box: the one that the network starts with, where cfg_args names its size."""
    state = random_state()
    del state[f"{NET}.grid.aabb"]
    assert read_network(Path("x.pth"), state, {"bounds": 1.6}).aabb.tolist() == [[1.6] * 3, [-1.6] * 3]


def test_box_in_either_order(tmp_path: Path) -> None:
    """The authors store the greater corner first; the other way round mirrors the planes, as it does in theirs."""
    state, rows = random_state(), random_rows()
    state[f"{NET}.grid.aabb"] = state[f"{NET}.grid.aabb"][::-1].copy()
    exact = {k: v.astype(np.float64) for k, v in rows.items()}
    graph = Graph(write_run(tmp_path, state, rows, {}))
    assert_close(graph.at(0.6), twin.deform(state, exact, 0.6, {}), 1e-4)


def test_colours_of_another_degree(tmp_path: Path) -> None:
    rows = random_rows()
    rows["sh"] = rows["sh"][:, :4]
    folder = write_run(tmp_path, random_state(), rows, {"no_dshs": False})
    with pytest.raises(FormatError, match=r"12 columns of spherical harmonics, but .*shs_deform moves 48"):
        export(folder)


def test_sample(tmp_path: Path) -> None:
    """The trained sample: made as a user makes it, and close to its scene at a time between the trained ones."""
    out = tmp_path / "jellyfish.lens"
    script = SAMPLE / "make.py"
    done = subprocess.run([sys.executable, str(script), str(out)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sum(f.stat().st_size for f in (SAMPLE / "model").rglob("*")) < 1.5e6
    camera = Camera.look_at((0.7, -0.8, -3.6), (0.1, 0.15, 0.1), (0, -1, 0), 50, 64, 48)
    moment, duration = 9.5 / 40, 4.0
    with Scene(out) as opened:
        assert opened.facts()["title"] == "Jellyfish"
        got = opened.render(camera, time=moment * duration, reference=True)
    spec = importlib.util.spec_from_file_location("jellyfish_scene", SAMPLE / "scene.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    options = RenderOptions(background=module.BACKGROUND)
    want = reference.render(module.Scene().at(moment).splats(), camera, options)
    rest = reference.render(read_splats(next((SAMPLE / "model").rglob("*.ply")))[0], camera, options)
    assert psnr(got[..., :3], want[..., :3]) > 32 > 22 > psnr(rest[..., :3], want[..., :3])
