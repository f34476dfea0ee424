"""The 3DGS PLY reader and writer: every layout, every kind of damage, and plyfile as a second opinion."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from splatlens.converters import open_source, read_splats, write_splats
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import ReaderConformance, WriterConformance, assert_same, random_splats

#: exp(log(x)) and sigmoid(logit(x)) through float32: a few units in the last place of a value near 10.
ACTIVATION = {"scales": 4e-6, "opacities": 2e-6, "quats": 2e-7}


class TestPly(WriterConformance):
    format_name = "3dgs-ply"
    file_name = "scene.ply"
    tolerance = ACTIVATION


class TestAsciiPly(ReaderConformance):
    format_name = "3dgs-ply"
    tolerance = ACTIVATION
    mutations = 1000

    def make(self, folder: Path, splats: Splats) -> Path:
        return save(folder / "scene.ply", columns_of(splats), order="", kind="f4")


def columns_of(splats: Splats, normals: bool = True) -> dict[str, np.ndarray]:
    """Columns as the reference code names them, float64: an implementation apart from the writer's."""
    out: dict[str, np.ndarray] = {axis: splats.means[:, i] for i, axis in enumerate("xyz")}
    if normals:
        out |= {f"n{axis}": np.zeros(len(splats)) for axis in "xyz"}
    out |= {f"f_dc_{c}": splats.sh[:, 0, c] for c in range(3)}
    k = splats.sh.shape[1] - 1
    out |= {f"f_rest_{c * k + j}": splats.sh[:, j + 1, c] for c in range(3) for j in range(k)}
    o = splats.opacities.astype(np.float64)
    out["opacity"] = np.log(o / (1 - o))
    out |= {f"scale_{i}": np.log(splats.scales[:, i].astype(np.float64)) for i in range(3)}
    return out | {f"rot_{i}": splats.quats[:, i] for i in range(4)}


NAMES = {
    "f4": "float", "f8": "double", "i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int",
    "u4": "uint32",
}  # fmt: skip


def save(
    path: Path,
    columns: dict[str, np.ndarray],
    order: str = "<",
    kind: str | dict[str, str] = "f4",
    before: tuple[str, bytes] = ("", b""),
    after: tuple[str, bytes] = ("", b""),
    count: int | None = None,
    end: str = "\n",
) -> Path:
    """Writes a PLY by hand: any order of columns, any types, elements before and after."""
    kinds = {name: kind if isinstance(kind, str) else kind.get(name, "f4") for name in columns}
    rows = len(next(iter(columns.values())))
    table = np.empty(rows, [(name, (order or "<") + kinds[name]) for name in columns])
    for name, values in columns.items():
        table[name] = values
    form = {"<": "binary_little_endian", ">": "binary_big_endian", "": "ascii"}[order]
    lines = ["ply", f"format {form} 1.0", "comment made by a test", *filter(None, [before[0]])]
    lines += [f"element vertex {rows if count is None else count}"]
    lines += [f"property {NAMES[kinds[name]]} {name}" for name in columns]
    lines += [*filter(None, [after[0]]), "end_header", ""]
    body = table.tobytes()
    if order == "":
        body = "".join(" ".join(repr(v.item()) for v in row) + "\n" for row in table).encode()
    path.write_bytes(end.join(lines).encode() + before[1] + body + after[1])
    return path


def refused(path: Path, kind: type[LensError], *parts: str) -> None:
    """Reading fails with a one-line error of the kind that names the file and holds every part."""
    with pytest.raises(kind) as caught:
        read_splats(path)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize("normals", [True, False])
@pytest.mark.parametrize("order", ["<", ">", ""])
@pytest.mark.parametrize("degree", range(4))
def test_layouts(tmp_path: Path, degree: int, order: str, normals: bool) -> None:
    want = random_splats(50, degree)
    got, info = read_splats(save(tmp_path / "a.ply", columns_of(want, normals), order))
    assert_same(got, want, ACTIVATION)
    assert (info.sh_degree, info.ignored, info.warnings) == (degree, (), ())


def test_any_column_order_and_extra_columns(tmp_path: Path) -> None:
    want = random_splats(40, 3)
    columns = columns_of(want) | {"segment": np.arange(40), "confidence": np.ones(40)}
    names = list(columns)
    np.random.default_rng(3).shuffle(names)
    path = save(tmp_path / "a.ply", {name: columns[name] for name in names}, kind={"segment": "u1", "confidence": "f8"})
    got, info = read_splats(path)
    assert_same(got, want, ACTIVATION)
    assert sorted(info.ignored) == ["confidence", "segment"]


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_scalar_types(tmp_path: Path, order: str) -> None:
    """Doubles keep their precision until after the activation; whole numbers are read from every integer type."""
    want = random_splats(30, 1)
    got, _ = read_splats(save(tmp_path / "a.ply", columns_of(want), order, "f8"))
    assert_same(got, want, {"scales": 2e-7, "opacities": 2e-7, "quats": 2e-7})
    columns = columns_of(want)
    kinds = dict(zip(["x", "y", "z", "f_dc_0", "f_dc_1", "f_dc_2"], ["i1", "u1", "i2", "u2", "i4", "u4"], strict=True))
    for i, name in enumerate(kinds):
        columns[name] = np.arange(30) * (i + 1) % 120
    got, _ = read_splats(save(tmp_path / "b.ply", columns, order, kinds))
    np.testing.assert_array_equal(got.means, np.stack([columns[a] for a in "xyz"], axis=1))
    np.testing.assert_array_equal(got.sh[:, 0], np.stack([columns[f"f_dc_{c}"] for c in range(3)], axis=1))


@pytest.mark.parametrize("order", ["<", ">", ""])
def test_other_elements_before_and_after(tmp_path: Path, order: str) -> None:
    want = random_splats(20, 0)
    lists = "element face 3\nproperty uchar kind\nproperty list uchar int vertex_indices\nproperty list int short tags"
    rows = [(1, [2, 3, 4], []), (0, [], [9]), (5, [6] * 200, [7, 8])]
    body = b""
    for kind, indices, tags in rows:
        if order == "":
            body += " ".join(map(str, [kind, len(indices), *indices, len(tags), *tags])).encode() + b"\n"
        else:
            body += np.array([kind, len(indices)], "u1").tobytes() + np.array(indices, order + "i4").tobytes()
            body += np.array([len(tags)], order + "i4").tobytes() + np.array(tags, order + "i2").tobytes()
    scalars = ("element camera 2\nproperty float fx", b"1.5\n2.5\n" if order == "" else bytes(8))
    empty = "element empty 4000000000000000000"
    for before, after in ((lists, ""), ("", lists), (scalars[0], ""), ("", scalars[0]), (empty, "")):
        path = save(
            tmp_path / "a.ply",
            columns_of(want),
            order,
            before=(before, {lists: body, scalars[0]: scalars[1]}.get(before, b"")),
            after=(after, {lists: body, scalars[0]: scalars[1]}.get(after, b"")),
        )
        if before == empty and order == "":
            refused(path, FormatError, "ends inside", "element 'empty'")
            continue
        got, info = read_splats(path)
        assert_same(got, want, ACTIVATION)
        assert info.warnings == ()


def test_against_plyfile(tmp_path: Path) -> None:
    """A file that plyfile wrote is read; a file that we wrote, plyfile reads, with the reference code's columns."""
    want = random_splats(60, 2)
    columns = columns_of(want)
    table = np.empty(60, [(name, "f4") for name in columns])
    for name, values in columns.items():
        table[name] = values
    for text, order in ((True, "="), (False, "<"), (False, ">")):
        PlyData([PlyElement.describe(table, "vertex")], text, order).write(tmp_path / "theirs.ply")
        assert_same(read_splats(tmp_path / "theirs.ply")[0], want, ACTIVATION)
    write_splats(tmp_path / "ours.ply", want)
    vertex = PlyData.read(tmp_path / "ours.ply")["vertex"]
    assert [p.name for p in vertex.properties] == list(columns)
    for name, values in columns.items():
        np.testing.assert_allclose(vertex[name], values, rtol=1e-5, atol=1e-6, err_msg=name)


def test_activation(tmp_path: Path) -> None:
    """One splat by hand: exp, sigmoid and a quaternion brought to length 1."""
    row: dict[str, float] = {name: 0.0 for name in columns_of(random_splats(1, 1))}
    row |= {"x": 1, "y": -2, "z": 3, "scale_0": -1, "scale_1": 0, "scale_2": 2, "opacity": -1.5, "rot_0": 3, "rot_3": 4}
    row |= {f"f_rest_{i}": i for i in range(9)} | {"f_dc_1": 0.5}
    path = save(tmp_path / "a.ply", {name: np.array([value]) for name, value in row.items()})
    splats, _ = read_splats(path)
    np.testing.assert_array_equal(splats.means, [[1, -2, 3]])
    np.testing.assert_allclose(splats.scales, np.exp(np.array([[-1, 0, 2.0]])), rtol=4e-7)
    np.testing.assert_allclose(splats.opacities, [1 / (1 + np.exp(1.5))], rtol=4e-7)
    np.testing.assert_array_equal(splats.quats, np.array([[0.6, 0, 0, 0.8]], np.float32))
    # f_rest is channel-major, sh coefficient-major.
    np.testing.assert_array_equal(splats.sh, [[[0, 0.5, 0], [0, 3, 6], [1, 4, 7], [2, 5, 8]]])


@pytest.mark.parametrize("order", ["<", ""])
def test_unusable_rows_are_dropped_and_counted(tmp_path: Path, order: str) -> None:
    want = random_splats(60, 3)
    columns = {name: np.asarray(values, np.float64).copy() for name, values in columns_of(want).items()}
    bad: dict[int, dict[str, float]] = {
        3: {"x": np.nan}, 5: {"f_rest_44": np.inf}, 7: {"opacity": -np.inf}, 9: {"scale_1": np.nan},
        11: {"rot_2": np.inf}, 13: {"f_dc_0": np.nan, "scale_0": 1000}, 20: {f"rot_{i}": 0 for i in range(4)},
        30: {"scale_2": 89}, 31: {"scale_0": 45},
    }  # fmt: skip
    for row, values in bad.items():
        for name, value in values.items():
            columns[name][row] = value
    columns["nx"][40] = np.nan  # not used, so no reason to drop the row
    columns["rot_0"][41], columns["rot_1"][41], columns["rot_2"][41], columns["rot_3"][41] = 1e-30, 0, 0, 0
    columns["scale_0"][42] = -1000
    got, info = read_splats(save(tmp_path / "a.ply", columns, order))
    assert info.dropped == {"NaN or infinity": 6, "scale overflow": 2, "zero quaternion": 1}
    reasons = "6 with NaN or infinity, 2 with scale overflow, 1 with zero quaternion"
    assert info.warnings == (f"9 of 60 splats dropped: {reasons}",)
    keep = np.setdiff1d(np.arange(60), list(bad))
    np.testing.assert_array_equal(got.means, want.means[keep])
    np.testing.assert_array_equal(got.quats[keep == 41], [[1, 0, 0, 0]])
    assert got.scales[keep == 42, 0] == np.finfo(np.float32).tiny


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"scale_1": 45}, "scale overflow"),
        ({"scale_1": 1000}, "scale overflow"),
        ({f"rot_{i}": 0 for i in range(4)}, "zero quaternion"),
        ({"rot_1": np.nan}, "NaN or infinity"),
        ({"f_dc_2": np.inf}, "NaN or infinity"),
        ({"opacity": np.inf}, "NaN or infinity"),
        ({"scale_2": -np.inf}, "NaN or infinity"),
    ],
)
def test_one_unusable_row_alone(tmp_path: Path, values: dict[str, float], reason: str) -> None:
    columns = {name: np.asarray(each, np.float64).copy() for name, each in columns_of(random_splats(9, 0)).items()}
    for name, value in values.items():
        columns[name][4] = value
    got, info = read_splats(save(tmp_path / "a.ply", columns))
    assert (len(got), info.dropped) == (8, {reason: 1})


@pytest.mark.parametrize("length", [1e-200, 1e-300, 1e200, 1e300])
def test_quaternions_whose_squares_float64_cannot_hold(tmp_path: Path, length: float) -> None:
    columns = {name: np.asarray(each, np.float64).copy() for name, each in columns_of(random_splats(9, 0)).items()}
    for i, part in enumerate((0.6, 0, 0, 0.8)):
        columns[f"rot_{i}"][4] = part * length
    got, info = read_splats(save(tmp_path / "a.ply", columns, kind="f8"))
    assert info.dropped == {}
    np.testing.assert_allclose(got.quats[4], [0.6, 0, 0, 0.8], rtol=2e-7)
    np.testing.assert_allclose(got.quats[3], random_splats(9, 0).quats[3], rtol=2e-6)


def test_doubles_beyond_float32_are_dropped(tmp_path: Path) -> None:
    columns = {name: np.asarray(values, np.float64).copy() for name, values in columns_of(random_splats(4, 1)).items()}
    columns["x"][1], columns["f_rest_0"][2] = 1e39, -1e200
    _, info = read_splats(save(tmp_path / "a.ply", columns, kind="f8"))
    assert info.dropped == {"NaN or infinity": 2}


def test_nothing_usable(tmp_path: Path) -> None:
    columns = columns_of(random_splats(4, 0)) | {"x": np.full(4, np.nan)}
    refused(save(tmp_path / "a.ply", columns), FormatError, "none of the 4 splats is usable (4 with NaN or infinity)")


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    """However a file is cut, it is refused; only cuts in what follows the rows leave it readable."""
    for order in ("<", ""):
        whole = save(tmp_path / "a.ply", columns_of(random_splats(2, 0), normals=False), order).read_bytes()
        path = tmp_path / "cut.ply"
        last = len(whole) - (1 if order == "" else 0)  # an ascii file without its last line end is whole
        for size in range(last):
            path.write_bytes(whole[:size])
            if order == "" and whole[: size + 1].count(b"\n") == whole.count(b"\n") - 1 and len(whole) - size < 20:
                continue  # a cut within the last number leaves a number
            with pytest.raises(LensError, match=r"cut\.ply: "):
                read_splats(path)


@pytest.mark.parametrize("order", ["<", ""])
def test_more_rows_promised_than_there_are(tmp_path: Path, order: str) -> None:
    columns = columns_of(random_splats(5, 3))
    for count in (6, 10**6, 2**31, 2**60, 2**63, 2**64, 10**19):
        tracemalloc.start()
        path = save(tmp_path / "a.ply", columns, order, count=count)
        refused(path, FormatError, f"promises {count} rows", "truncated", "again")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


def test_stray_bytes_after_the_rows(tmp_path: Path) -> None:
    want = random_splats(5, 1)
    got, info = read_splats(save(tmp_path / "a.ply", columns_of(want), after=("", b"junk" * 10)))
    assert_same(got, want, ACTIVATION)
    assert info.warnings == ("40 bytes after the last row were ignored",)
    path = save(tmp_path / "a.ply", columns_of(want), after=("element camera 5\nproperty double fx", bytes(39)))
    (warning,) = read_splats(path)[1].warnings
    assert warning == "the file ends inside an element after the splats; the splats are complete"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    want = random_splats(5, 1)
    assert_same(read_splats(save(tmp_path / "a.ply", columns_of(want), end=end))[0], want, ACTIVATION)


def test_vertical_axis_of_nerfstudio(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ply", columns_of(random_splats(2, 0)), before=("comment Vertical Axis: z", b""))
    assert open_source(path).info.up == (0, 0, 1)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    columns = columns_of(random_splats(3, 1))
    for name in ("x", "rot_2", "scale_0", "opacity", "f_dc_1"):
        rest = {k: v for k, v in columns.items() if k != name}
        found = "columns found: " + ", ".join(rest)[:40]
        refused(save(tmp_path / "a.ply", rest), FormatError, f"missing columns {name};", found)
    rest = {k: v for k, v in columns.items() if k != "f_rest_4"} | {"f_rest_9": columns["x"]}
    refused(save(tmp_path / "a.ply", rest), FormatError, "missing columns f_rest_4 of 9 f_rest_*")


def test_unsupported_kinds(tmp_path: Path) -> None:
    columns = columns_of(random_splats(3, 0))
    extra = columns | {f"f_rest_{i}": np.zeros(3) for i in range(48)}
    refused(save(tmp_path / "a.ply", extra), UnsupportedError, "48 columns f_rest_*, expected 0, 9, 24 or 45")
    path = save(tmp_path / "a.ply", columns)
    path.write_bytes(path.read_bytes().replace(b"property float nx", b"property list int int nx"))
    refused(path, UnsupportedError, "list property 'nx' in element vertex")


def test_degree_4_is_reduced_and_said(tmp_path: Path) -> None:
    """72 columns, 24 a channel: the first 15 of each channel are kept."""
    columns = columns_of(random_splats(3, 0)) | {f"f_rest_{i}": np.full(3, i) for i in range(72)}
    got, info = read_splats(save(tmp_path / "a.ply", columns))
    assert (info.sh_degree, info.warnings) == (3, ("spherical harmonics of degree 4 were reduced to degree 3",))
    np.testing.assert_array_equal(got.sh[1, 1:], np.arange(15)[:, None] + np.array([0, 24, 48]))


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_flat_splats_are_thin_discs(tmp_path: Path, kind: str) -> None:
    """2DGS has no scale_2: a thousandth of the smaller scale, along the third axis of the rotation."""
    want = random_splats(50, 3)
    columns = {k: v for k, v in columns_of(want).items() if k != "scale_2"}
    got, info = read_splats(save(tmp_path / "a.ply", columns, kind=kind))
    assert (info.flat, info.warnings, info.ignored) == (True, (), ())
    np.testing.assert_allclose(got.scales[:, :2], want.scales[:, :2], rtol=4e-6)
    np.testing.assert_allclose(got.scales[:, 2], want.scales[:, :2].min(axis=1) * 1e-3, rtol=4e-6)
    np.testing.assert_allclose(got.quats, want.quats, rtol=1e-6, atol=1e-7)


def test_filter_of_mip_splatting_is_applied(tmp_path: Path) -> None:
    """Variances add up and the opacity shrinks with the volume: by hand for one splat, no change at width 0."""
    columns = {name: np.asarray(values, np.float64).copy() for name, values in columns_of(random_splats(4, 0)).items()}
    for i, scale in enumerate((3, 4, 12)):
        columns[f"scale_{i}"][0] = np.log(scale)
    columns["opacity"][0] = 0  # sigmoid 0.5
    columns["filter_3D"] = np.array([5, 0, np.nan, np.inf])
    got, info = read_splats(save(tmp_path / "a.ply", columns))
    np.testing.assert_allclose(got.scales[0], [34**0.5, 41**0.5, 13], rtol=4e-6)
    np.testing.assert_allclose(got.opacities[0], 0.5 * 3 * 4 * 12 / (34**0.5 * 41**0.5 * 13), rtol=4e-6)
    np.testing.assert_allclose(got.scales[1], random_splats(4, 0).scales[1], rtol=4e-6)
    np.testing.assert_allclose(got.opacities[1], random_splats(4, 0).opacities[1], rtol=4e-6)
    assert (info.antialias, info.dilation, info.ignored, info.dropped) == (True, 0.1, (), {"NaN or infinity": 2})
    assert "column filter_3D was applied" in info.warnings[0]


def test_filter_and_flat_splats_of_any_size(tmp_path: Path) -> None:
    """Scales that vanish beside the filter, or in float64, keep their signs: nothing is NaN that need not be."""
    columns = {name: np.asarray(values, np.float64).copy() for name, values in columns_of(random_splats(3, 0)).items()}
    columns["scale_0"][0], columns["scale_1"][1] = -2000, 80
    columns["filter_3D"] = np.array([0.1, 1e-30, 1e30])
    got, info = read_splats(save(tmp_path / "a.ply", columns))
    assert (info.dropped, got.opacities[0]) == ({"scale overflow": 2}, 0)
    np.testing.assert_allclose(got.scales[0, 0], 0.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("comment", "antialias", "flat"),
    [
        ("SplatRenderMode: mip", True, False),
        ("splatrendermode:  2DGS", False, True),
        ("SplatRenderMode: default", False, False),
        ("SplatRenderMode: other", None, False),
        ("antialiased 1", True, False),
        ("antialiased 0", False, False),
        ("antialiased 1\ncomment SplatRenderMode: default", False, False),
        ("Vertical Axis: up", None, False),
    ],
)
def test_comments_of_trainers(tmp_path: Path, comment: str, antialias: bool | None, flat: bool) -> None:
    path = save(tmp_path / "a.ply", columns_of(random_splats(2, 0)), before=(f"comment {comment}", b""))
    info = open_source(path).info
    assert (info.antialias, info.flat, info.up) == (antialias, flat, None)


def test_precision_of_the_activation(tmp_path: Path) -> None:
    """Scales and opacities over all that float32 can hold, within 4e-6 of float64's."""
    n = 4001
    columns = {name: np.tile(values, n) for name, values in columns_of(random_splats(1, 0)).items()}
    columns |= {f"scale_{i}": np.linspace(-80, 40, n) for i in range(3)} | {"opacity": np.linspace(-80, 80, n)}
    got, _ = read_splats(save(tmp_path / "a.ply", columns))
    scales, logits = (np.float32(columns[name]).astype(np.float64) for name in ("scale_0", "opacity"))
    np.testing.assert_allclose(got.scales[:, 0], np.exp(scales), rtol=4e-7)
    np.testing.assert_allclose(got.opacities, 1 / (1 + np.exp(-logits)), rtol=4e-7)


HEADER = b"ply\nformat binary_little_endian 1.0\n"


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        (b"", ["the file is empty"]),
        (b"hello, I am a text file\n" * 20, ["not a PLY file", "starts with b'hello, I'", "expected the line 'ply'"]),
        (b"plyformat", ["not a PLY file"]),
        (b"ply\n", ["no 'end_header' line before the file ends after 4 bytes"]),
        (b"ply\r\n", ["no 'end_header' line before the file ends after 5 bytes"]),
        (HEADER + b"element vertex 3", ["no 'end_header' line before"]),
        (HEADER + b"comment " + b"x" * (2 << 20), ["no 'end_header' line in the first 1048576 bytes"]),
        (HEADER + b"comment x\n" * 400_000, ["no 'end_header' line in the first 1048576 bytes"]),
        (b"ply\nelement vertex 3\nproperty float x\nend_header\n", ["no 'format' line"]),
        (b"ply\nformat binary_middle_endian 1.0\nend_header\n", ["line 2", "expected one 'format ascii|"]),
        (HEADER * 2 + b"end_header\n", ["line 3: cannot read 'ply'"]),
        (HEADER + b"end_header\n", ["no element 'vertex' (elements: none)"]),
        (HEADER + b"element face 3\nend_header\n", ["no element 'vertex' (elements: face)"]),
        (HEADER + b"property float x\nend_header\n", ["line 3: cannot read 'property float x'"]),
        (HEADER + b"element vertex -3\nend_header\n", ["line 3: cannot read 'element vertex -3'"]),
        (HEADER + b"element vertex 3.0\nend_header\n", ["line 3: cannot read"]),
        (HEADER + b"element vertex " + b"9" * 6000 + b"\nend_header\n", ["line 3: cannot read 'element vertex 9999"]),
        (HEADER + "element vertex ٣\nend_header\n".encode(), ["line 3: cannot read"]),
        (HEADER + b"element vertex 1\nelement vertex 1\nend_header\n", ["line 4", "is the second of that name"]),
        (HEADER + b"element vertex 1\nproperty float x\nproperty int x\nend_header\n", ["line 5", "the second of"]),
        (HEADER + b"element vertex 1\nproperty float16 x\nend_header\n", ["line 4: cannot read 'property float16 x'"]),
        (HEADER + b"element vertex 1\nproperty list float int x\nend_header\n", ["counts a list in floating point"]),
        (HEADER + b"nonsense\xff\x1b[31m\nend_header\n", ["line 3: cannot read 'nonsense\\\\xff"]),
    ],
)
def test_damaged_headers(tmp_path: Path, data: bytes, parts: list[str]) -> None:
    path = tmp_path / "a.ply"
    path.write_bytes(data)
    tracemalloc.start()
    refused(path, FormatError, *parts)
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


def test_zero_splats(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ply", columns_of(random_splats(1, 0)), count=0)
    refused(path, FormatError, "element vertex 0", "no splats", "export")


def test_list_lengths_that_lie(tmp_path: Path) -> None:
    for counts, value in (("int", -1), ("uint", 2**32 - 1), ("uchar", 255)):
        body = np.array([value], {"int": "<i4", "uint": "<u4", "uchar": "u1"}[counts]).tobytes()
        before = (f"element face 1\nproperty list {counts} double x", body)
        path = save(tmp_path / "a.ply", columns_of(random_splats(1, 0)), before=before)
        refused(path, FormatError, "ends inside the 1 rows of element 'face'")


def test_ascii_damage_names_the_line(tmp_path: Path) -> None:
    path = save(tmp_path / "a.ply", columns_of(random_splats(9, 0)), order="")
    lines = path.read_bytes().split(b"\n")
    first = lines.index(b"end_header") + 1
    damages = [(b"1 2 3", "3 values, expected 17"), (b"x " * 17, "cannot read a number"), (b"1" * 9000, "1 values")]
    damages += [(b"1 " * 18, "18 values, expected 17")]
    for damage, part in damages:
        path.write_bytes(b"\n".join([*lines[: first + 4], damage, *lines[first + 5 :]]))
        refused(path, FormatError, "row 4, line 5 after the header", part)
    path.write_bytes(b"\n".join([*lines[: first + 4], b"", b"  ", *lines[first + 4 :]]))
    assert len(read_splats(path)[0]) == 9


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    with pytest.raises(LensError, match=r"gone\.ply: no such file or folder"):
        open_source(tmp_path / "gone.ply")
    with pytest.raises(FormatError, match=r"a folder with neither point_cloud/.* \(it holds nothing\)"):
        open_source(tmp_path)
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedError, match=r"not a format that can be read .* readable are \.lens, "):
        open_source(tmp_path / "notes.txt")


def test_writer_refuses_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splats = random_splats(3, 0)
    with pytest.raises(UnsupportedError, match=r"cannot write \.obj; writable are \.lens, .*\.ply, "):
        write_splats(tmp_path / "a.obj", splats)
    with pytest.raises(LensError, match="cannot write here"):
        write_splats(tmp_path / "missing" / "a.ply", splats)
    write_splats(tmp_path / "a.ply", splats)
    before = (tmp_path / "a.ply").read_bytes()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_splats(tmp_path / "a.ply", random_splats(9, 1))
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]
    assert (tmp_path / "a.ply").read_bytes() == before


def test_writer_clips_what_has_no_logit(tmp_path: Path) -> None:
    splats = random_splats(4, 0)
    splats.opacities[:] = [0, 1, 1.5, 0.5]
    write_splats(tmp_path / "a.ply", splats)
    got, info = read_splats(tmp_path / "a.ply")
    assert info.dropped == {}
    np.testing.assert_allclose(got.opacities, [0, 1, 1, 0.5], atol=1e-7)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "count", "degree", "warnings"),
    [
        ("ply_converted/semarang_5_9_sh3.ply", 252_828, 3, ()),
        ("ply_converted/playbot_l2_sh2.ply", 125_000, 2, ()),
        ("ply_converted/plant_sh0.ply", 113_648, 0, ()),
        ("train1000/train-1000.ply", 1000, 3, ()),
        ("epfl_pc_short/pc_short.ply", 100, 3, ("14029 bytes after the last row were ignored",)),
    ],
)
def test_real_scenes(data_dir: Path, name: str, count: int, degree: int, warnings: tuple[str, ...]) -> None:
    """Sizes as published, and every column equal to what plyfile reads."""
    splats, info = read_splats(data_dir / name)
    assert (len(splats), info.sh_degree, info.dropped, info.warnings) == (count, degree, {}, warnings)
    vertex = PlyData.read(data_dir / name)["vertex"]
    np.testing.assert_array_equal(splats.means, np.stack([vertex[a] for a in "xyz"], axis=1))
    k = splats.sh.shape[1] - 1
    for c, j in itertools.product(range(3), range(k)):
        np.testing.assert_array_equal(splats.sh[:, j + 1, c], vertex[f"f_rest_{c * k + j}"])
    scales = np.stack([vertex[f"scale_{i}"] for i in range(3)], axis=1).astype(np.float64)
    np.testing.assert_allclose(splats.scales, np.exp(scales), rtol=4e-7)
