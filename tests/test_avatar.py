"""Avatars: rig, clips and Gaussians read exactly, the graph against its float64 twin, and everything wrong named."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from splatlens.converters import avatar, avatar_files, avatar_graph, find_format, open_any
from splatlens.converters.avatar_clips import posed, rest, sampled
from splatlens.converters.avatar_files import read_avatar
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.onnx_file import contract_of, model_bytes
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.generated import Attributes, attributes
from splatlens.viewer.generator import Model, Moment
from splatlens.viewer.generator_bounds import probe_camera
from tests.avatar_rigs import NAMES, TIMES, VERTICES, Files, Sample
from tests.reference import avatar as twin

F64 = NDArray[np.float64]
SCRIPT = Path(__file__).resolve().parent.parent / "samples" / "avatar" / "make.py"


def folder(path: Path, files: Files) -> Path:
    path.mkdir(exist_ok=True)
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def archive(path: Path, files: Files, top: str = "pip/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in files.items():
            made.writestr(top + name, data)
    return path


def run(path: Path) -> tuple[Model, NDArray[np.int64]]:
    made, order = avatar.model_of(read_avatar(path), path)
    contract = contract_of(made, str(path))
    assert contract is not None
    return Model(contract, model_bytes(made, str(path)), str(path)), order


def gaussians(model: Model, moment: Moment) -> Attributes:
    return attributes(model.contract, model.run(moment, probe_camera()))


def six(covariances: F64) -> F64:
    return covariances.reshape(-1, 9)[:, [0, 1, 2, 4, 5, 8]]


def assert_close(found: Attributes, order: NDArray[np.int64], truth: tuple[F64, F64], limit: float = 1e-5) -> None:
    """Centres to `limit` of the largest, covariances to `limit` of each one's largest entry; 1e-4 is asked."""
    means, covariances = truth[0][order], six(truth[1])[order]
    assert np.abs(found.means - means).max() < limit * np.abs(means).max()
    assert found.covariances is not None
    assert (np.abs(found.covariances - covariances).max(axis=1) < limit * np.abs(covariances).max(axis=1)).all()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sample, Model, NDArray[np.int64]]:
    sample = Sample()
    return sample, *run(folder(tmp_path_factory.mktemp("plain"), sample.files()))


EXPRESSIONS = ({}, {"jawOpen": 1.0, "mouth_smile": 0.5}, {"eyeBlinkLeft": 0.0, "breathe": 0.7, "browInnerUp": 1.0})


@pytest.mark.parametrize("values", EXPRESSIONS)
def test_rest_pose_with_expressions(plain: tuple[Sample, Model, NDArray[np.int64]], values: dict[str, float]) -> None:
    """The mesh's own weights are the defaults; the mesh node's own transform does not count (glTF section 3.7.3.3)."""
    sample, model, order = plain
    given = {"eyeBlinkLeft": 0.25} | values
    weights = np.array([given.get(name, 0.0) for name in NAMES])
    found = gaussians(model, Moment(0.3, values, None))
    assert_close(found, order, sample.truth(sample.matrices(None), weights))
    assert np.allclose(found.opacities, 1 / (1 + np.exp(-sample.logits[order].astype(np.float64))), atol=1e-6)
    assert found.colors is not None
    assert np.allclose(found.colors, sample.colors[order], atol=1e-6)


@pytest.mark.parametrize("values", EXPRESSIONS[:2])
@pytest.mark.parametrize("frame", [0, 1, 2, 3])
def test_clip_at_its_frames(
    plain: tuple[Sample, Model, NDArray[np.int64]], frame: int, values: dict[str, float]
) -> None:
    """Spherical, cubic and stepped keys between keys, and sliders on top of the clip's own weights, at most 1."""
    sample, model, order = plain
    (track,) = model.contract.tracks
    # Keys 0.4, 0.5 and 0.3 s apart are slower than the least rate, 10 a second. No finer: its steps stay jumps.
    assert (track.frames, track.loop, round(track.duration, 6)) == (13, False, 1.2)
    seconds = min((0, 2, 7, 12)[frame] * 0.1, 1.2)
    recorded = np.interp(seconds, TIMES, np.linspace(0, 0.9, 4)) * np.array([0, 1, 0, 0.5, 0])
    given = {"eyeBlinkLeft": 0.25} | values
    weights = np.minimum(np.array([given.get(name, 0.0) for name in NAMES]) + recorded, 1)
    found = gaussians(model, Moment(seconds, values, "turn"))
    assert_close(found, order, sample.truth(sample.matrices(seconds), weights), 3e-5)


def test_between_frames_matrices_are_mixed(plain: tuple[Sample, Model, NDArray[np.int64]]) -> None:
    sample, model, order = plain
    mixed = 0.75 * sample.matrices(0.4) + 0.25 * sample.matrices(0.5)
    recorded = np.interp(0.425, [0.4, 0.5], np.interp([0.4, 0.5], TIMES, np.linspace(0, 0.9, 4)))
    weights = np.array([0, min(0.25 + recorded, 1), 0, 0.5 * recorded, 0])
    assert_close(gaussians(model, Moment(0.425, {}, "turn")), order, sample.truth(mixed, weights), 3e-5)


def test_many_joints_and_two_sets_of_weights(tmp_path: Path) -> None:
    """Six influences of six joints are a product with dense weights; two of six are gathered: the same numbers."""
    ways = {}
    for influences in (6, 2):
        sample = Sample((5, 4, 3, 2, 1, 0), influences)
        model, order = run(folder(tmp_path / str(influences), sample.files()))
        ways[influences] = avatar.export(tmp_path / str(influences)).graph.node
        found = gaussians(model, Moment(0.4, {}, "turn"))
        clip = np.interp(0.4, TIMES, np.linspace(0, 0.9, 4)) * np.array([0, 1, 0, 0.5, 0]) + [0, 0.25, 0, 0, 0]
        assert_close(found, order, sample.truth(sample.matrices(0.4), clip), 3e-5)
    gathers = {n: sum(node.op_type == "Gather" for node in nodes) for n, nodes in ways.items()}
    assert gathers[2] == gathers[6] + 2


def test_blocks_hold_every_gaussian_once_with_all_its_targets() -> None:
    rng = np.random.default_rng(3)
    active = rng.random((12, 300)) < rng.random((12, 1)) * 0.5
    made = avatar_graph.blocks(active, 6)
    assert len(made) == 6
    assert np.array_equal(np.sort(np.concatenate([b.rows for b in made])), np.arange(300))
    for block in made:
        assert np.array_equal(np.flatnonzero(active[:, block.rows].any(axis=1)), block.targets)
    stored = sum(len(b.rows) * len(b.targets) for b in made)
    assert active.sum() <= stored < 0.9 * active.size


def test_blocks_join_what_costs_least() -> None:
    """Two families of targets, some Gaussians one target short: the families stay apart, and nothing else does."""
    kinds = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1]], bool)
    made = avatar_graph.blocks(np.repeat(kinds, 50, axis=0).T, 2)
    assert sorted(tuple(b.targets) for b in made) == [(0, 1, 2), (3, 4, 5)]
    assert [len(b.rows) for b in made] == [100, 100]


def test_sliders_are_grouped_and_readable(plain: tuple[Sample, Model, NDArray[np.int64]]) -> None:
    found = [(c.name, c.label, c.group, c.default) for c in plain[1].contract.controls]
    assert found == [
        ("browInnerUp", "Inner up", "Brows", 0.0), ("eyeBlinkLeft", "Blink left", "Eyes", 0.25),
        ("jawOpen", "Open", "Jaw", 0.0), ("mouth_smile", "Smile", "Mouth", 0.0),
        ("breathe", "Breathe", "Expression", 0.0),
    ]  # fmt: skip
    assert plain[1].contract.inputs["expression"].controls == NAMES


def test_archive_and_folder_are_one(tmp_path: Path) -> None:
    """Found by content; what macOS adds to an archive is not looked at."""
    files = Sample().files()
    names = {"__MACOSX/pip/skin.glb": b"no", "pip/.DS_Store": b"no"}
    packed = archive(tmp_path / "pip.dat", {f"pip/{n}": d for n, d in files.items()} | names, "")
    opened = folder(tmp_path / "pip", files)
    assert find_format(packed) is find_format(opened) is avatar.FORMAT
    assert avatar.export(packed).SerializeToString() == avatar.export(opened).SerializeToString()
    source = open_any(packed)
    assert isinstance(source, LayerSource)
    assert (source.info.splats, source.info.up, source.info.files) == (VERTICES, (0, 1, 0), (packed,))
    assert [p.name for p in open_any(opened).info.files] == ["offset.ply", "skin.glb"]


def test_clips_of_another_file_are_bound_by_name(tmp_path: Path) -> None:
    sample, other = Sample(), Sample()
    clip = sample.asset.json.pop("animations")
    nodes = other.asset.json["nodes"]
    # The same skeleton with its nodes in another order, and one more.
    shuffled = [{"name": "extra"}, *(
        {**n, **({"children": [c + 1 for c in n["children"]]} if "children" in n else {})} for n in nodes
    )]  # fmt: skip
    other.asset.json["nodes"] = shuffled
    for channel in other.asset.json["animations"][0]["channels"]:
        channel["target"]["node"] += 1
    other.asset.json["animations"][0]["channels"].pop()  # the mesh's weights: another mesh
    foreign = {**other.asset.json["animations"][0], "name": "foreign", "channels": [
        {"sampler": 0, "target": {"node": 0, "path": "rotation"}}]}  # fmt: skip
    other.asset.json["animations"].append(foreign)
    path = folder(tmp_path / "two", sample.files(**{"animation.glb": other.asset.pack()}))
    model, order = run(path)
    assert clip
    assert [t.name for t in model.contract.tracks] == ["turn"]
    assert read_avatar(path).warnings == ("clips that move nothing of this skeleton were left out: foreign",)
    found = gaussians(model, Moment(0.4, {"eyeBlinkLeft": 0.0}, "turn"))
    assert_close(found, order, sample.truth(sample.matrices(0.4), np.zeros(5)), 3e-5)


def test_a_clip_that_closes_loops(tmp_path: Path) -> None:
    """Its last key is its first, so that frame is not stored twice; it turns too fast for ten frames a second."""
    sample = Sample()
    asset = sample.asset
    angles = np.array([0, 0.4, -0.3, 0])
    turns = np.stack([0 * angles, np.sin(angles / 2), 0 * angles, np.cos(angles / 2)], axis=1)
    asset.json["animations"][0] = {
        "name": "sway", "channels": [{"sampler": 0, "target": {"node": 2, "path": "rotation"}}],
        "samplers": [{"input": asset.add(np.array([0, 0.3, 0.7, 1.0])), "output": asset.add(turns)}],
    }  # fmt: skip
    rig = read_avatar(folder(tmp_path / "loop", sample.files())).rig
    frames = sampled(rig, rig.clips[0])
    assert (frames.loop, len(frames.matrices), frames.duration, frames.weights) == (True, 20, 1.0, None)
    exact, _ = posed(rig, rig.clips[0], np.arange(20) * 0.05)
    assert np.allclose(frames.matrices, exact, atol=1e-12)
    assert np.abs(frames.matrices[0] - frames.matrices[10]).max() > 0.01


def recording(names: list[str], frames: list[dict[str, Any]]) -> bytes:
    return json.dumps({"names": names, "frames": frames, "head_pose": []}).encode()


def test_recorded_expressions_become_a_track(tmp_path: Path) -> None:
    """Uneven times are made even; names that the rig has not are told; one of another rig beside the file is let be."""
    sample = Sample()
    frames = [{"time": t, "weights": [t, 0.5, 9]} for t in (0.0, 0.1, 0.2, 0.4, 0.5)]
    data = recording(["breathe", "jawOpen", "tongueOut"], frames)
    packed = archive(tmp_path / "pip.zip", sample.files(**{"my_expression.json": data}))
    (tmp_path / "other_Expression.json").write_bytes(recording(["x"], [{"weights": [0]}]))
    found = read_avatar(packed)
    assert found.warnings == (
        "my_expression.json: expressions that the rig has not: tongueOut",
        "other_Expression.json: expressions that the rig has not: x",
    )
    (one,) = found.recordings
    assert round(one.duration, 6) == 0.6
    assert np.allclose(one.weights[:, 3], [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert np.allclose(one.weights[:, 0], 0.5)
    model, order = run(packed)
    assert [t.name for t in model.contract.tracks] == ["my_expression", "turn"]
    weights = np.array([min(0.5 + 0.8, 1), 0.25, 0, 0.3, 0])
    found_at = gaussians(model, Moment(0.3, {"jawOpen": 0.8}, "my_expression"))
    assert_close(found_at, order, sample.truth(sample.matrices(None), weights))
    given = tmp_path / "given.json"
    given.write_bytes(recording(["breathe"], [{"weights": [0.5]}]))
    extra = contract_of(avatar.export(packed, [given]), "x")
    assert extra is not None
    assert [t.name for t in extra.tracks] == ["my_expression", "given", "turn"]


def test_gaussians_that_cannot_be_seen_are_left_out(tmp_path: Path) -> None:
    sample = Sample()
    sample.logits[3] = -6  # opacity 0.0025
    sample.offsets[5, 1] = np.nan
    sample.quats[7] = 0
    path = folder(tmp_path / "few", sample.files())
    found = read_avatar(path)
    assert sorted(set(range(VERTICES)) - set(found.gaussians.vertices)) == [3, 5, 7]
    assert found.warnings == ("2 Gaussians with NaN, infinity or a zero quaternion were left out",)
    model, order = run(path)
    sample.offsets[5], sample.quats[7] = 0, 1
    truth = sample.truth(sample.matrices(None), np.array([0, 0.25, 0, 0, 0]))
    rows = found.gaussians.vertices[order]
    assert_close(gaussians(model, Moment(track=None)), np.asarray(rows), truth)


def test_weights_that_do_not_sum_to_one_are_normalised(tmp_path: Path) -> None:
    sample, truth = Sample(), Sample()
    sample.weight[4] *= 2
    sample.weight[9] *= 0.5
    sample.rebuild()
    path = folder(tmp_path / "sums", sample.files())
    assert read_avatar(path).warnings == ("weights of 2 vertices did not sum to one and were normalised",)
    model, order = run(path)
    expected = truth.truth(truth.matrices(None), np.array([0, 0.25, 0, 0, 0]))
    assert_close(gaussians(model, Moment(track=None)), order, expected)


def test_sliders_alone_and_clips_alone(tmp_path: Path) -> None:
    still, faceless = Sample(), Sample()
    del still.asset.json["animations"]
    model, order = run(folder(tmp_path / "still", still.files()))
    assert list(model.contract.inputs) == ["expression"]
    truth = still.truth(still.matrices(None), np.array([1, 0.25, 0, 0, 0]))
    assert_close(gaussians(model, Moment(0, {"jawOpen": 1})), order, truth)
    mesh = faceless.asset.json["meshes"][0]
    del mesh["primitives"][0]["targets"], mesh["weights"], mesh["extras"]
    path = folder(tmp_path / "faceless", faceless.files())
    assert read_avatar(path).warnings == ("skin.glb has no morph targets: no expressions, only clips",)
    model, order = run(path)
    assert (list(model.contract.inputs), model.contract.controls) == (["bones"], ())
    truth = faceless.truth(faceless.matrices(0.4), np.zeros(5))
    assert_close(gaussians(model, Moment(0.4, {}, "turn")), order, truth, 3e-5)


def changed(change: Callable[[Sample], None], **others: bytes) -> Callable[[], Files]:
    """Files of a sample whose asset or arrays were changed."""

    def make() -> Files:
        sample = Sample()
        change(sample)
        return sample.files(**others)

    return make


def no_skin(s: Sample) -> None:
    del s.asset.json["nodes"][-1]["skin"]


def nothing_moves(s: Sample) -> None:
    del s.asset.json["animations"], s.asset.json["meshes"][0]["primitives"][0]["targets"]
    del s.asset.json["meshes"][0]["weights"], s.asset.json["meshes"][0]["extras"]


def far_joint(s: Sample) -> None:
    s.index[6, 1] = 3
    s.rebuild()


def weightless(s: Sample) -> None:
    s.weight[6] = 0
    s.rebuild()


def nan_position(s: Sample) -> None:
    s.positions[11, 2] = np.nan
    s.rebuild()


def short_target(s: Sample) -> None:
    s.asset.json["accessors"][3]["count"] = 39


def far_row(s: Sample) -> None:
    s.asset.json["accessors"][4]["count"] = 12
    s.asset.json["accessors"][0]["count"] = 12
    for k in (1, 2, 3, 5, 7):
        s.asset.json["accessors"][k]["count"] = 12
    s.asset.json["accessors"][6]["count"] = 12


def cycle(s: Sample) -> None:
    s.asset.json["nodes"][3]["children"] = [0]


def zero_turn(s: Sample) -> None:
    sampler = s.asset.json["animations"][0]["samplers"][0]
    sampler["output"] = s.asset.add(np.zeros((4, 4)))


def falling_times(s: Sample) -> None:
    s.asset.json["animations"][0]["samplers"][0]["input"] = s.asset.add(np.array([0, 0.5, 0.4, 1.2]))


def foreign_clips() -> Files:
    sample, other = Sample(), Sample()
    for node in other.asset.json["nodes"]:
        node["name"] = "other " + node["name"]
    return sample.files(**{"animation.glb": other.asset.pack()})


def wide_colours() -> Files:
    sample = Sample()
    return {**sample.files(), "offset.ply": sample.ply(colors=sample.colors * 3 - 1)}


def fewer_gaussians() -> Files:
    sample = Sample()
    files = sample.files()
    fewer = sample.ply().replace(b"vertex 40", b"vertex 39")
    return {**files, "offset.ply": fewer[: -14 * 4]}


def no_opacity() -> Files:
    sample = Sample()
    return {**sample.files(), "offset.ply": sample.ply().replace(b"float opacity", b"float opaque")}


def order_of(values: list[int]) -> Callable[[], Files]:
    return lambda: Sample().files(**{"vertex_order.json": json.dumps(values).encode()})


BAD: dict[str, tuple[Callable[[], Files], str]] = {
    "no skin": (changed(no_skin), "skin.glb: no skin; expected one mesh with a skin, to whose vertices the Gaussians"
                " are bound: export it with its armature, as one mesh"),
    "nothing moves": (changed(nothing_moves), "skin.glb: it has no morph targets, and no clip moves its skeleton, so"
                      " nothing in it moves; export it with its shape keys or animations"),
    "joint out of range": (changed(far_joint), "skin.glb: meshes[0].primitives[0].attributes: vertex 6 names joint 3,"
                           " expected 0 to 2; export it again"),
    "no weight": (changed(weightless), "skin.glb: meshes[0].primitives[0].attributes: vertex 6 has no weight, so no"
                  " joint; weight it and export it again"),
    "NaN position": (changed(nan_position), "skin.glb: accessors[0]: row 11 holds NaN or infinity; mend the mesh and"
                     " export it again"),
    "short target": (changed(short_target), "skin.glb: accessors[3] has 39 rows, expected 40, as many as there are"
                     " vertices or keys; export it again"),
    "sparse row": (changed(far_row), "skin.glb: accessors[4]: its sparse part names row 27 of 12; export it again"),
    "cycle": (changed(cycle), "skin.glb: nodes[0] is its own ancestor; export it again"),
    "zero quaternion": (changed(zero_turn), "skin.glb: field glTF.animations[0].samplers[0].output: expected rotations"
                        " without zero quaternions, got 14; fetch the file again, or convert the scene again with"
                        " `splatlens convert`"),
    "falling times": (changed(falling_times), "skin.glb: field glTF.animations[0].samplers[0].input: expected at most"
                      " 1048576 rising times from 0 on, got 14; fetch the file again, or convert the scene again with"
                      " `splatlens convert`"),
    "other skeleton": (foreign_clips, "animation.glb: none of its 1 clips moves a bone of this skeleton: its nodes are"
                       " other body, other bone 0, other bone 1, other bone 2, other bone 3, other bone 4, ...; give"
                       " clips of a skeleton with the same names"),
    "colours": (wide_colours, "offset.ply: f_dc is -0.987 to 1.99; an avatar's are colours, 0 to 1, not SH: write 0.5 +"
                " 0.28209 f_dc in their place"),
    "fewer Gaussians": (fewer_gaussians, "offset.ply: 39 Gaussians, but skin.glb has 40 vertices; expected one for each"
                        " vertex, in its order: export the avatar again"),
    "column": (no_opacity, "offset.ply: element vertex has no column opacity; expected the columns of an avatar's"
               " Gaussians (docs/avatar.md)"),
    "order out of range": (order_of([*range(39), 40]), "vertex_order.json: field order[39]: expected an integer in"
                           " 0..39, got 40; export the avatar again"),
    "order too short": (order_of([0, 1]), "vertex_order.json: field order: expected a list of 40, got [0, 1]; export"
                        " the avatar again"),
    "order twice": (order_of([0] * 40), "vertex_order.json: field order: expected every vertex once, got [0, 0, 0, 0,"
                    " 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,...; export the avatar again"),
    "expressions": (lambda: Sample().files(**{"expression.json": recording(["a", "b"], [{"weights": [0, 0]}])}),
                    "expression.json: none of its expressions (a, b) is a morph target of the rig (jawOpen,"
                    " eyeBlinkLeft, mouth_smile, breathe, browInnerUp); give a recording made for this rig"),
    "expression width": (lambda: Sample().files(**{"expression.json": recording(["jawOpen"], [{"weights": []}])}),
                         "expression.json: field recording.frames[0].weights: expected a list of 1, got []; export the"
                         " avatar again"),
    "expression times": (lambda: Sample().files(**{"expression.json": recording(
        ["jawOpen"], [{"weights": [0], "time": 1}, {"weights": [0], "time": 1}])}),
        "expression.json: field recording.frames[1].time: expected a time after the frame's before it, got 1; export"
        " the avatar again"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("packed", [False, True])
def test_what_is_wrong_is_named(tmp_path: Path, case: str, packed: bool) -> None:
    """The whole message, of a folder and of an archive: it starts with the path that was given."""
    make, message = BAD[case]
    path = archive(tmp_path / "bad.zip", make()) if packed else folder(tmp_path / "bad", make())
    with pytest.raises(FormatError) as error:
        avatar.export(path)
    assert str(error.value) == f"{path}/{message}"


def test_archives_lead_nowhere_else_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Sample().files()
    evil = {f"pip/{n}": d for n, d in files.items()} | {"pip/../../expression.json": b"{}", "/expression.json": b"{}"}
    evil["pip/..\\expression.json"] = recording(["jawOpen"], [{"weights": [0]}])
    before = sorted(tmp_path.iterdir())
    path = archive(tmp_path / "evil.zip", evil, "")
    contract = contract_of(avatar.export(path), "evil")
    assert contract is not None
    assert [t.name for t in contract.tracks] == [".._expression", "turn"]
    assert sorted(tmp_path.iterdir()) == sorted([*before, path])
    bomb = archive(tmp_path / "bomb.zip", {**files, "offset.ply": b"\0" * 3_000_000})
    monkeypatch.setattr(avatar_files, "MOST_BYTES", 1 << 20)
    with pytest.raises(FormatError, match=r"bomb\.zip: file 'offset\.ply' has 3000000 bytes, expected at most 1048576"):
        avatar.export(bomb)


def test_archives_that_are_no_avatars(tmp_path: Path) -> None:
    path = archive(tmp_path / "other.zip", {"readme.txt": b"hello"})
    with pytest.raises(FormatError, match=r"other\.zip: the archive holds no skin\.glb at its root or in a folder"):
        open_any(path)
    sample = Sample()
    primitives = sample.asset.json["meshes"][0]["primitives"]
    primitives.append(primitives[0])
    with pytest.raises(UnsupportedError, match="its mesh has 2 materials; join them"):
        open_any(folder(tmp_path / "two", sample.files()))


def test_cut_files_raise_only_our_errors(tmp_path: Path) -> None:
    """Every part of each file missing from its end: an error of ours, or an avatar (where the end does not matter)."""
    files = Sample().files()
    for name, data in files.items():
        for size in range(0, len(data), len(data) // 12):
            path = folder(tmp_path / "cut", {**files, name: data[:size]})
            with pytest.raises(LensError):
                avatar.export(path)


def test_sample_is_an_avatar_with_clips_that_loop(tmp_path: Path) -> None:
    """Made as a user does, with a fiftieth of the discs on its body; the same bytes twice."""
    run_script = [sys.executable, str(SCRIPT), str(tmp_path / "pip.lens"), "--density", "0.02"]
    done = subprocess.run(run_script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = read_avatar(tmp_path / "pip.zip")
    assert found.warnings == ()
    assert len(found.rig.joint_nodes) >= 12
    assert len(found.rig.target_names) >= 5
    frames = [sampled(found.rig, clip) for clip in found.rig.clips]
    assert [f.name for f in frames] == ["idle", "wave", "walk", "nod", "hop"]
    assert all(f.loop for f in frames)
    at_rest = rest(found.rig)
    assert np.abs(at_rest - np.eye(4)[:3]).max() < 1e-6
    for f in frames:
        assert np.abs(f.matrices - at_rest).max() > 0.05, f.name
    facts = json.loads((tmp_path / "pip.scene.json").read_text())
    assert facts["licence"] == "CC0-1.0"
    first = (tmp_path / "pip.zip").read_bytes()
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import make, pathlib; " + (
        f"make.write_avatar(pathlib.Path({str(tmp_path / 'pip.zip')!r}), 0.02)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "pip.zip").read_bytes() == first


@pytest.mark.data
def test_real_head(data_dir: Path) -> None:
    """LAM's example: what is in it, and 400 of its Gaussians against the twin while it speaks and turns."""
    path = data_dir / "lam_avatar" / "p2-1.zip"
    found = read_avatar(path)
    assert found.warnings == ("test_expression_1s.json: expressions that the rig has not: tongueOut",)
    assert (len(found.rig.positions), len(found.gaussians.vertices)) == (20018, 18494)
    assert (len(found.rig.target_names), len(found.rig.clips)) == (51, 12)
    low, high = found.rig.positions.min(axis=0), found.rig.positions.max(axis=0)
    assert np.all(low > [-0.2, 1.4, -0.2])
    assert np.all(high < [0.2, 1.9, 0.2])
    model, order = run(path)
    assert len(model.contract.tracks) == 13
    closed, open_ = (gaussians(model, Moment(0, {"jawOpen": jaw}, None)).means for jaw in (0.0, 1.0))
    moved = (open_ - closed)[:, 1]
    assert (moved < -0.01).sum() > 800  # chin and lower lip
    assert moved.max() < 0.01
    rng = np.random.default_rng(0)
    rows = rng.choice(len(order), 400, replace=False)
    g, rig = found.gaussians, found.rig
    index = {clip.name: clip for clip in rig.clips}
    for name, seconds in (("yumi_h5_a3_hello", 17 / 24), ("test_expression_1s", 10.0)):
        weights = np.zeros(51)
        matrices = np.tile(np.eye(4), (len(rig.joint_nodes), 1, 1))
        matrices[:, :3] = rest(rig)
        if name in index:
            matrices[:, :3] = posed(rig, index[name], np.array([seconds]))[0][0]
        else:
            weights = found.recordings[0].weights[300]
        at = g.vertices[order[rows]]
        turns, scales, _ = np.linalg.svd(g.factors[order[rows]])
        quats = np.stack([twin.quaternion(t * np.linalg.det(t)) for t in turns])
        truth = twin.avatar(
            rig.positions[at].astype(np.float64), rig.targets[:, at].astype(np.float64), weights, rig.joints[at],
            rig.weights[at], matrices, g.offsets[order[rows]], quats, scales,
        )  # fmt: skip
        out = gaussians(model, Moment(seconds, {}, name))
        assert np.abs(out.means[rows] - truth[0]).max() < 2e-5
        assert out.covariances is not None
        error = np.abs(out.covariances[rows] - six(truth[1])).max(axis=1)
        assert (error < 1e-4 * np.abs(six(truth[1])).max(axis=1)).all()
