"""Readers of moving splats: against the official formulas' own results, into .lens files, and damaged files."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import ReadOptions, find_format, gaussian4d, open_any, spacetime, splatv
from splatlens.converters.convert import convert
from splatlens.viewer.contract import TimeSpan
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.fields import Field
from splatlens.viewer.lens import LensReader
from splatlens.viewer.sequence import SequenceSplats
from splatlens.viewer.sequence_kernels import Gaussians4D
from tests.checkpoint_files import save

FIXTURES = Path(__file__).resolve().parent / "fixtures" / "sequence"
EYE = np.array([0.3, -0.2, -4.0])
MODULES = {"spacetime": spacetime, "splatv": splatv, "gaussian4d": gaussian4d}


def chunks(monkeypatch: pytest.MonkeyPatch, path: Path) -> tuple[list[Any], Any]:
    """What a reader makes before it is packed, and the time span."""
    module = next(m for m in MODULES.values() if m.FORMAT is find_format(path))
    monkeypatch.setattr(module, "sequence_source", lambda info, span, read: (info, span, read))
    _, span, read = module.FORMAT.open(path, ReadOptions())
    return list(read(Counter())), span


def packed(path: Path) -> tuple[SequenceSplats, Any]:
    source = open_any(path)
    layer = source.layer()  # type: ignore[union-attr]
    return SequenceSplats.read(Field(layer.properties, str(path), "properties"), layer.blobs.__getitem__), source.info


def six(axes: np.ndarray) -> np.ndarray:
    whole = axes @ axes.transpose(0, 2, 1)
    return whole[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]


def check(got: Any, expected: Any, tag: str, times: tuple[float, ...], rtol: float) -> None:
    """Means, covariances, opacities and colours against those of PyTorch, relative to the largest of a kind."""
    for i, time in enumerate(times):
        moment = got.at(time, EYE)
        values = {"means": moment.means, "cov": six(moment.axes), "opacity": moment.opacities, "color": moment.colors}
        for name, value in values.items():
            want = expected[f"{tag}_{name}_{i}"]
            np.testing.assert_allclose(value, want, rtol=rtol, atol=rtol * np.abs(want).max(), err_msg=f"{name} {i}")


def run_folder(tmp_path: Path, tag: str) -> Path:
    """A checkpoint with the settings of its run beside it."""
    path = tmp_path / f"chkpnt_{tag}.pth"
    shutil.copy(FIXTURES / path.name, path)
    lines = ("gaussian_dim: 4", "time_duration: [0.0, 20.0]", "ModelParams:", "  frame_ratio: 2")
    (tmp_path / "config.yaml").write_text("\n".join(lines))
    prefilter = 0.4 if tag == "still" else -1.0
    (tmp_path / "cfg_args").write_text(f"Namespace(prefilter_var={prefilter}, white_background=True, sh_degree=3)")
    return path


@pytest.mark.parametrize("tag", ["turned", "still", "wide"])
def test_checkpoints_give_what_the_official_formulas_give(
    tmp_path: Path, tag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = run_folder(tmp_path, tag)
    with np.load(FIXTURES / "expected.npz") as expected:
        times = (1.0, 4.0, 7.25)
        made, info = packed(path)
        check(made.motion(0), expected, tag, times, 2e-2)
        assert info.background == (1, 1, 1) and info.iteration == 30000 and not info.warnings
        assert (made.info.time.start, made.info.time.end, made.info.time.duration) == (0, 10, 10)
        (exact,), _ = chunks(monkeypatch, path)
        check(exact, expected, tag, times, 1e-5)
    assert made.info.terms == (3 if tag == "turned" else 1)
    assert made.info.sh_degree == (1 if tag == "still" else 3)


def test_spacetime_ply_gives_what_the_official_formulas_give(monkeypatch: pytest.MonkeyPatch) -> None:
    path, times = FIXTURES / "spacetime.ply", (0.1, 0.5, 0.93)
    with np.load(FIXTURES / "expected.npz") as expected:
        check(packed(path)[0].motion(0), expected, "spacetime", times, 4e-3)
        (exact,), span = chunks(monkeypatch, path)
        check(exact, expected, "spacetime", times, 1e-5)
    assert (span.start, span.end, span.loop) == (0, 1, True)


def test_what_another_package_says_of_motion_and_marginal() -> None:
    with np.load(FIXTURES / "fourdgs.npz") as given:
        n = len(given["mu"])
        made = Gaussians4D(
            *(given[name].astype(np.float64) for name in ("positions", "motions", "mu", "sigma")),
            np.tile(np.eye(3), (n, 1, 1)), given["alpha"].astype(np.float64), np.zeros((n, 1, 1, 3)),
        )  # fmt: skip
        for i, time in enumerate(given["times"]):
            means, opacities = made.centres(float(time))
            rows = given[f"rows_{i}"]
            assert set(rows) == set(np.flatnonzero(opacities > 0)) and 5 < len(rows) < n
            np.testing.assert_allclose(means[rows], given[f"centers_{i}"], rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(opacities[rows], given[f"opacity_{i}"], rtol=1e-6)


def as_splatv(path: Path, out: Path, change: Callable[[dict[str, Any]], None] = lambda part: None) -> Path:
    """The splats of the fixture as a .splatv: by the layout of splaTV's shader, the row filled up with zeros."""
    table = np.frombuffer(path.read_bytes().split(b"end_header\n")[1], "<f4").reshape(-1, 32)
    x = {"means": table[:, :3], "center": table[:, 3:4], "width": np.exp(table[:, 4:5]), "motion": table[:, 8:17],
         "color": table[:, 17:20], "opacity": 1 / (1 + np.exp(-table[:, 20:21])), "scales": np.exp(table[:, 21:24]),
         "rot": table[:, 24:28], "omega": table[:, 28:32]}  # fmt: skip
    words = np.zeros((1024, 16), "<u4")
    n = len(table)

    def halves(first: int, values: np.ndarray) -> None:
        filled = np.concatenate([values, np.zeros((n, values.shape[1] % 2))], axis=1).astype("<f2")
        words[:n, first : first + filled.shape[1] // 2] = np.ascontiguousarray(filled).view("<u4")

    words[:n, :3] = x["means"].view("<u4")
    halves(3, x["rot"])
    halves(5, x["scales"])
    rgba = np.clip(np.rint(255 * np.concatenate([x["color"], x["opacity"]], axis=1)), 0, 255).astype("u1")
    words[:n, 7] = np.ascontiguousarray(rgba).view("<u4")[:, 0]
    halves(8, x["motion"])
    halves(13, x["omega"])
    halves(15, np.concatenate([x["center"], x["width"]], axis=1))
    camera = {"id": 0, "img_name": "a", "width": 640, "height": 480, "position": [0, 0, -4],
              "rotation": np.eye(3).tolist(), "fx": 500.0, "fy": 500.0}  # fmt: skip
    part = {"type": "splat", "size": words.nbytes, "texwidth": 4096, "texheight": 1, "cameras": [camera]}
    change(part)
    text = json.dumps([part]).encode()
    out.write_bytes((0x674B).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text + words.tobytes())
    return out


def test_splatv_holds_the_ply_it_was_made_of(tmp_path: Path) -> None:
    path = FIXTURES / "spacetime.ply"
    made, info = packed(as_splatv(path, tmp_path / "a.splatv"))
    want = packed(path)[0].motion(0)
    got = made.motion(0)
    assert len(got) == 12 and info.splats == 12  # the padding is none
    np.testing.assert_array_equal(got.means, want.means)
    for time in (0.1, 0.5, 0.93):
        a, b = got.at(time, EYE), want.at(time, EYE)
        np.testing.assert_allclose(a.means, b.means, atol=5e-3)
        np.testing.assert_allclose(six(a.axes), six(b.axes), atol=2e-2 * np.abs(six(b.axes)).max())
        np.testing.assert_allclose(a.opacities, b.opacities, atol=6e-3)
        np.testing.assert_allclose(a.colors, np.clip(b.colors, 0, 1), atol=3e-3)
    assert len(info.cameras) == 1 and info.camera.fx == 500
    assert "--seconds" in info.warnings[0]


def test_into_a_lens_with_other_inputs(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "spacetime.ply", tmp_path / "dance.ply")
    as_splatv(FIXTURES / "spacetime.ply", tmp_path / "song.splatv")
    options = ReadOptions(time_span=(0.0, 0.5), seconds=3.0)
    inputs = [tmp_path / "dance.ply", tmp_path / "song.splatv", run_folder(tmp_path, "turned")]
    done = convert(inputs, tmp_path / "out.lens", read=options)
    assert done.splats == 36
    with LensReader.open(tmp_path / "out.lens") as reader:
        assert [layer.kind for layer in reader.layers] == ["sequence"] * 3
        for i, motion in enumerate(["spacetime", "spacetime", "gaussian4d"]):
            properties = Field(reader.layers[i].properties, "out.lens", "properties")
            made = SequenceSplats.read(properties, lambda name, i=i: reader.blob(i, name))
            assert made.info.motion == motion and made.info.splats == 12
            assert made.info.time == TimeSpan(0.0, 0.5, 3.0)
        assert reader.scene.bounds is not None


def test_a_run_folder_and_its_frames(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "point_cloud" / "iteration_30000"
    folder.mkdir(parents=True)
    shutil.copy(FIXTURES / "spacetime.ply", folder / "point_cloud.ply")
    (tmp_path / "run" / "cfg_args").write_text("Namespace(duration=90, white_background=False)")
    source = open_any(tmp_path / "run")
    assert source.info.format == "spacetime-ply" and source.info.iteration == 30000
    assert source.layer().properties["time"]["duration"] == 3.0  # type: ignore[union-attr]
    assert source.layer().properties["time"]["frames"] == 90  # type: ignore[union-attr]


def test_the_span_is_guessed_from_the_splats_where_nothing_says_it(tmp_path: Path) -> None:
    path = tmp_path / "chkpnt30000.pth"
    shutil.copy(FIXTURES / "chkpnt_turned.pth", path)
    made, info = packed(path)
    assert any("--time-span" in one and "period" in one for one in info.warnings)
    assert -1 < made.info.time.start < 4 and 7 < made.info.time.end < 11
    (tmp_path / "a.yaml").write_text("time_duration: [0, 1]")
    (tmp_path / "b.yaml").write_text("time_duration: [0, 2]")
    assert any("configurations that differ" in one for one in packed(path)[1].warnings)


def write_ply(path: Path, table: np.ndarray, names: list[str] | None = None) -> Path:
    columns = names or fixture_columns()
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    lines += [f"property float {c}" for c in columns] + ["end_header", ""]
    path.write_bytes("\n".join(lines).encode() + table.astype("<f4").tobytes())
    return path


def fixture_columns() -> list[str]:
    head = (FIXTURES / "spacetime.ply").read_bytes().split(b"end_header\n")[0].decode().splitlines()
    return [line.split()[-1] for line in head if line.startswith("property")]


def fixture_table() -> np.ndarray:
    data = (FIXTURES / "spacetime.ply").read_bytes().split(b"end_header\n")[1]
    return np.frombuffer(data, "<f4").reshape(-1, 32).copy()


def test_rows_that_cannot_be_drawn_are_left_out_and_counted(tmp_path: Path) -> None:
    table = fixture_table()
    table[0, 0], table[1, 3], table[2, 9], table[3, 21] = np.nan, np.inf, np.nan, 200.0
    table[4, 24:28], table[5, 17] = 0, 1e6
    table[6, 4] = 500  # a width beyond float32 is only very wide
    source = open_any(write_ply(tmp_path / "bad.ply", table))
    layer = source.layer()  # type: ignore[union-attr]
    assert source.info.dropped == {"NaN or infinity": 4, "zero quaternion": 1, "a value beyond 65504": 1}
    assert layer.properties["splats"] == 6
    done = convert([tmp_path / "bad.ply"], tmp_path / "bad.lens")
    assert done.inputs[0].dropped["NaN or infinity"] == 4
    table[:, 0] = np.nan
    nothing = open_any(write_ply(tmp_path / "none.ply", table))
    with pytest.raises(FormatError, match=r"none.ply: none of the 12 splats is usable \(12 with NaN or infinity\)"):
        nothing.layer()  # type: ignore[union-attr]


def test_the_full_model_is_refused_by_name(tmp_path: Path) -> None:
    columns = fixture_columns()
    more = ("f_dc_3", "f_dc_4", "f_dc_5", "f_t_0", "f_t_1", "f_t_2")
    path = write_ply(tmp_path / "full.ply", np.zeros((3, 38)), [*columns, *more])
    with pytest.raises(UnsupportedError, match=r"full model, whose colours a network makes.*train the lite model"):
        open_any(path)
    with pytest.raises(FormatError, match="missing columns omega_3; columns found: x, y"):
        open_any(write_ply(tmp_path / "part.ply", np.zeros((3, 31)), columns[:-1]))


def damage(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:7], "expected the magic number 0x674b"),
        (lambda d: damage(d, 4, (1 << 30).to_bytes(4, "little")), "byte 4: a description of 1073741824 bytes, but"),
        (lambda d: d[:-64], r"description\[0\].size: expected at most the 65472 bytes that follow"),
        (lambda d: damage(d, 8, b"{"), "description: not valid JSON"),
        (lambda d: d[:9] + d[9:].replace(b'"splat"', b'"mesh!"', 1), "expected 'splat' as the type of one part"),
        (lambda d: d.replace(b'"size": 65536', b'"size": 65500', 1), "expected a multiple of 64, the bytes of a splat"),
        (lambda d: d[: len(d) - 65536] + bytes(65536), "all of its rows are zero"),
    ],
)
def test_damaged_splatv(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = as_splatv(FIXTURES / "spacetime.ply", tmp_path / "a.splatv")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FormatError, match=message) as caught:
        open_any(path)
    assert str(caught.value).startswith(str(path)) and str(caught.value).isprintable()


def test_odd_cameras_of_a_splatv_are_left_out(tmp_path: Path) -> None:
    wide = [{"fx": "wide"}]
    path = as_splatv(FIXTURES / "spacetime.ply", tmp_path / "a.splatv", lambda part: part.update(cameras=wide))
    info = open_any(path).info
    assert info.cameras == () and info.warnings[0].startswith("cameras left out: ")


def members() -> list[Any]:
    """What capture() gives, for 3 splats."""
    f = np.float32
    e = np.zeros(0, f)
    return [
        3, np.zeros((3, 3), f), np.zeros((3, 1, 3), f), np.zeros((3, 47, 3), f), np.zeros((3, 3), f),
        np.ones((3, 4), f), np.zeros((3, 1), f), e, e, e, e, {}, 1.0, np.zeros((3, 1), f), np.zeros((3, 1), f),
        np.ones((3, 4), f), True, e, 2,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        (0, 4, r"member 0 \(active_sh_degree\) is 4, expected 0 to 3"),
        (0, True, r"member 0 \(active_sh_degree\) is True"),
        (18, -1, r"member 18 \(active_sh_degree_t\) is -1"),
        (1, np.zeros((0, 3), np.float32), "xyz"),
        (1, "cloud", "xyz"),
        (5, np.ones((2, 4), np.float32), r"member 5 \(rotation\) is float32 \(2, 4\), expected floats \(3, 4\)"),
        (6, np.ones((3, 1), np.int64), r"member 6 \(opacity\) is int64"),
        (15, None, r"member 15 \(rotation_r\) is NoneType"),
        (3, np.zeros((3, 2, 3), np.float32), "3 SH coefficients, expected 16 of degree 3"),
    ],
)
def test_damaged_checkpoints_are_named(tmp_path: Path, index: int, value: Any, message: str) -> None:
    given = members()
    given[index] = value
    path = tmp_path / "chkpnt7.pth"
    save(path, (tuple(given), 7))
    with pytest.raises(FormatError, match=message) as caught:
        open_any(path)
    assert str(caught.value).startswith(str(path)) and str(caught.value).isprintable()


def test_other_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "chkpnt7.pth"
    save(path, (tuple(members()[:12]), 7))
    with pytest.raises(UnsupportedError, match=r"a checkpoint of 3D Gaussians; give the point_cloud.ply"):
        open_any(path)
    save(path, {"state": 1})
    with pytest.raises(FormatError, match="expected the pair"):
        open_any(path)
    given = members()
    given[17] = np.ones((3, 4, 4), np.float32)
    save(path, (tuple(given), 7))
    assert any("environment map" in one for one in open_any(path).info.warnings)


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    path = FIXTURES / "spacetime.ply"
    with pytest.raises(LensError, match="--time-span: 1 is not before 1"):
        open_any(path, ReadOptions(time_span=(1, 1)))
    with pytest.raises(LensError, match=r"--seconds: expected 0.001 to 1000000, got 0"):
        open_any(path, ReadOptions(seconds=0))
    plain = write_ply(tmp_path / "part.ply", np.zeros((3, 31)), fixture_columns()[:-1])
    plain.write_bytes(plain.read_bytes().replace(b"trbf_center", b"other_thing"))
    with pytest.raises(LensError, match="--seconds has no meaning for 3D Gaussian Splatting PLY"):
        open_any(plain, ReadOptions(seconds=2.0))
