"""Filters, copies, crops and transforms, alone and through whole conversions of one and several inputs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import splatlens
from splatlens import cli
from splatlens.converters import open_source, read_splats, write_splats
from splatlens.converters.convert import convert
from splatlens.converters.dedupe import Dedupe, row_hashes
from splatlens.converters.edits import make_edits
from splatlens.converters.filters import Crop, crop, joined, max_sh, min_opacity, moved, moved_info, parse_crop
from splatlens.converters.source import Source, SourceInfo
from splatlens.converters.transform import parse_transform, transformed
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.lens import LensReader
from splatlens.viewer.splats import Splats
from tests.conformance import assert_same, random_splats

VIEW = Camera.look_at((0.5, -1.0, -9.0), (0, 0, 0), (0, -1, 0), 50, 160, 120)


def rows(source: Source, chunk: int = 64) -> Splats:
    return Splats.concatenate(list(source.chunks(chunk)))


def test_crop_keeps_what_lies_in_the_new_place() -> None:
    splats = random_splats(2000, 0)
    matrix = parse_transform("rotate=0,0,90 scale=2 move=1,2,3")
    world = splats.means.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    box = parse_crop("4,-3,1,-2,5,9")  # corners in any order
    inside = ((world >= (-2, -3, 1)) & (world <= (4, 5, 9))).all(axis=1)
    assert 100 < inside.sum() < 1900
    assert_same(rows(crop(Source.of(splats), box, matrix)), splats.take(inside), {})
    ball = np.linalg.norm(world - (1, 2, 3), axis=1) <= 4.5
    assert_same(rows(crop(Source.of(splats), parse_crop("1,2,3,4.5"), matrix)), splats.take(ball), {})
    assert Crop((0, 0, 0), (1, 1, 1)).inside(np.array([[0.0, 1.0, 0.5], [0, 1.0001, 0]])).tolist() == [True, False]


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "1,2,3,0", "1,2,3,nan", "1,2,3,4,5", "0,0,0,1,1,inf"])
def test_bad_crops(text: str) -> None:
    with pytest.raises(LensError, match=r"^crop '.*': (expected a box|the radius)"):
        parse_crop(text)


def test_opacity_and_sh() -> None:
    splats = random_splats(500, 3)
    splats.opacities[3] = 0.25
    kept = rows(min_opacity(Source.of(splats), 0.25))
    assert_same(kept, splats.take(splats.opacities >= 0.25), {})
    assert 0.25 in kept.opacities
    low = max_sh(Source.of(splats), 1)
    assert low.info.sh_degree == 1
    assert np.array_equal(rows(low).sh, splats.sh[:, :4])
    assert max_sh(Source.of(splats.with_sh_degree(1)), 2).info.sh_degree == 1


@pytest.mark.parametrize("chunk", [1, 50, 10_000])
def test_copies_are_left_out_once(chunk: int) -> None:
    """The first stays; also over chunks and over inputs, in whichever order those are read, any number of times."""
    splats = random_splats(600, 2)
    almost = splats.take(np.arange(20))
    almost.sh[:, 8, 2] = np.nextafter(almost.sh[:, 8, 2], np.float32(9))
    first = Splats.concatenate([splats, splats.take(slice(100, 300)), almost])
    one = Dedupe(Source.of(first))
    two = Dedupe(Source.of(Splats.concatenate([splats.take(slice(590, None)), random_splats(30, 2, seed=4)])), one)
    for _ in range(2):
        assert_same(rows(two.source, chunk), random_splats(30, 2, seed=4), {})
        assert_same(rows(one.source, chunk), Splats.concatenate([splats, almost]), {})


def test_hashes() -> None:
    """Every value counts, its place too; -0 is 0; padding with zeros changes nothing."""
    splats = random_splats(1, 1)
    base = row_hashes(splats)[0]
    seen = {int(base)}
    for name in ("means", "quats", "scales", "opacities", "sh"):
        values = getattr(splats, name)
        for i in range(values.size):
            other = values.copy()
            other.flat[i] = np.nextafter(other.flat[i], np.float32(np.inf))
            seen.add(int(row_hashes(replace(splats, **{name: other}))[0]))
    assert len(seen) == 1 + 3 + 4 + 3 + 1 + 12
    swapped = replace(splats, means=splats.means[:, ::-1].copy())
    assert row_hashes(swapped)[0] not in seen
    assert row_hashes(splats.with_sh_degree(3))[0] == base
    zero = replace(splats, means=np.zeros((1, 3), np.float32))
    assert row_hashes(zero) == row_hashes(replace(splats, means=np.full((1, 3), -0.0, np.float32)))
    many = row_hashes(random_splats(200_000, 0))
    assert len(np.unique(many)) == len(many)
    assert 0.49 < np.unpackbits(many.view(np.uint8)).mean() < 0.51


def test_joined_takes_the_highest_degree() -> None:
    low, high = random_splats(30, 0), random_splats(40, 2, seed=1)
    both = joined([Source.of(low), Source.of(high)])
    assert (both.info.splats, both.info.sh_degree) == (70, 2)
    assert_same(rows(both), Splats.concatenate([low, high]), {})


def test_facts_move_along() -> None:
    matrix = parse_transform("rotate=90,0,0 scale=3")
    info = SourceInfo(Path("a"), "x", 1, 0, 1, cameras=(VIEW,), camera=VIEW, up=(0.0, -1.0, 0.0))
    got = moved_info(info, matrix)
    assert got.up == (0, 0, -1)
    np.testing.assert_allclose(got.cameras[0].position, matrix[:3, :3] @ VIEW.position)
    assert got.camera is not None and got.warnings == ()
    for mirror in (np.diag([-1.0, 1, 1, 1]), np.diag([1.0, 2, 1, 1])):
        got = moved_info(info, mirror)
        assert (got.cameras, got.camera) == ((), None)
        assert got.warnings == ("cameras left out: none sees the transformed scene as it was",)
    with pytest.raises(LensError, match="does something else"):
        moved(Source.of(random_splats(3, 0)), np.diag([1.0, 2, 1, 1]))


def test_edits_are_checked() -> None:
    assert len(make_edits(3, ["scale=2"]).transforms) == 3
    with pytest.raises(LensError, match="given 2 times for 3 inputs; give it once for all or once for each"):
        make_edits(3, ["scale=2", "scale=3"])
    for wrong in ({"max_sh": 4}, {"min_opacity": 1.5}, {"min_opacity": float("nan")}):
        with pytest.raises(LensError, match="expected an"):
            make_edits(1, **wrong)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two inputs of different SH degree, some rows in both."""
    first = random_splats(900, 2)
    write_splats(tmp_path / "a.ply", first)
    second = Splats.concatenate([random_splats(300, 1, seed=1).with_sh_degree(2), first.take(slice(0, 50))])
    write_splats(tmp_path / "b.ply", second)
    return tmp_path / "a.ply", tmp_path / "b.ply"


def test_into_a_flat_file(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Transforms are applied, filters see what they say, copies go; the picture is that of the parts."""
    out = tmp_path / "out.ply"
    turn = "rotate=0,40,0 scale=0.5"
    report = splatlens.convert(two, out, transform=["move=0,0,0", turn], min_opacity=0.2, dedupe=True)
    a, b = (read_splats(path)[0] for path in two)
    a, b = (s.take(s.opacities >= np.float32(0.2)) for s in (a, b.take(slice(0, 300))))
    want = Splats.concatenate([a, transformed(b, parse_transform(turn))])
    got, _ = read_splats(out)
    assert_same(got, want, {"scales": 1e-5, "opacities": 1e-5, "quats": 1e-6})
    assert (report.splats, report.sh_degree, report.bytes) == (len(want), 2, out.stat().st_size)


def test_into_layers(two: tuple[Path, Path], tmp_path: Path) -> None:
    """A layer each, its matrix not baked in, any matrix allowed; drawn as the flat file of the same edits."""
    out, flat = tmp_path / "out.lens", tmp_path / "flat.ply"
    transform = ["rotate=10,20,30", "rotate=0,40,0 scale=0.5 move=0,0,1"]
    report = splatlens.convert(two, out, transform=transform, crop="-4,-4,-4,4,4,4")
    splatlens.convert(two, flat, transform=transform, crop="-4,-4,-4,4,4,4")
    with LensReader.open(out) as reader:
        assert [layer.name for layer in reader.layers] == ["a", "b"]
        np.testing.assert_allclose(reader.layers[1].transform, parse_transform(transform[1]))
        assert [layer.splats.sh_degree for layer in reader.layers if layer.splats] == [2, 2]
    with splatlens.open(out) as scene, splatlens.open(flat) as whole:
        assert report.splats == len(whole.read())
        assert psnr(scene.render(VIEW)[..., :3], whole.render(VIEW)[..., :3]) > 40  # what quantisation costs
    # and back again, the layers' matrices applied
    back, _ = read_splats(out)
    np.testing.assert_allclose(back.means.mean(axis=0), read_splats(flat)[0].means.mean(axis=0), atol=1e-3)
    splatlens.convert(two[0], out, transform=np.diag([1.0, 2, 1, 1]), force=True)
    with pytest.raises(UnsupportedError, match=r"layer 0.*does something else"):
        open_source(out)


def test_a_tile_outside_the_crop_is_left_out(two: tuple[Path, Path], tmp_path: Path) -> None:
    edits = make_edits(2, ["move=0,0,0", "move=100,0,0"], ["-20,-20,-20,20,20,20"])
    convert(list(two), tmp_path / "out.lens", edits=edits)
    with LensReader.open(tmp_path / "out.lens") as reader:
        assert [layer.name for layer in reader.layers] == ["a"]
    assert convert(list(two), tmp_path / "out.ply", edits=edits).splats == 900


@pytest.mark.parametrize("name", ["out.lens", "out.ply"])
def test_filters_that_leave_nothing(two: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    for inputs in (two[:1], two):
        with pytest.raises(LensError, match=r"the filters leave none of the \d+ splats; loosen crop or opacity"):
            splatlens.convert(inputs, tmp_path / name, crop="50,50,50,60,60,60")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.ply", "b.ply"]


@pytest.mark.parametrize("name", ["out.lens", "out.ply"])
def test_nothing_usable(tmp_path: Path, name: str) -> None:
    splats = random_splats(5, 0)
    splats.means[:] = np.nan
    write_splats(tmp_path / "nan.ply", splats)
    with pytest.raises(LensError, match=r"none of the 5 splats is usable \(5 with NaN or infinity\)"):
        splatlens.convert(tmp_path / "nan.ply", tmp_path / name)


def test_dropped_rows_are_counted_once(tmp_path: Path) -> None:
    splats = random_splats(500, 0)
    splats.means[7] = np.nan
    write_splats(tmp_path / "a.ply", splats)
    for name in ("out.lens", "out.ply"):
        (info,) = splatlens.convert(tmp_path / "a.ply", tmp_path / name).inputs
        assert info.dropped == {"NaN or infinity": 1}
        assert info.warnings == ("1 of 500 splats dropped: 1 with NaN or infinity",)


def test_options_without_meaning(two: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(LensError, match="--lod has no meaning for 3D Gaussian Splatting PLY; leave it out"):
        splatlens.convert(two[0], tmp_path / "out.ply", lod=2)
    with pytest.raises(LensError, match="--as-stored has no meaning for splatlens scene"):
        splatlens.convert(two[0], tmp_path / "out.lens")
        splatlens.open(tmp_path / "out.lens", as_stored=True)
    for name in ("other.lens", "other.ply"):
        with pytest.raises(LensError, match=f"{name}: --spz-version has no meaning"):
            splatlens.convert(two[0], tmp_path / name, spz_version=3)


def test_from_the_command_line(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.ply"
    words = ["convert", *map(str, two), str(out), "--json", "--transform", "rotate=0,90,0", "--max-sh", "1"]
    words += ["--min-opacity", "0.1", "--dedupe", "--crop", "0,0,0,4"]
    assert cli.run(words) == 0
    report = json.loads(capsys.readouterr().out)
    got, info = read_splats(out)
    assert (report["splats"], report["sh_degree"]) == (len(got), 1) == (info.splats, info.sh_degree)
    assert (np.linalg.norm(got.means, axis=1) <= 4.0001).all() and got.opacities.min() >= 0.0999
    assert cli.run(["convert", str(two[0]), str(out), "--force", "--crop", "1,2"]) == 2
    assert "crop '1,2': expected a box" in capsys.readouterr().err


def test_memory_of_filters_is_a_chunk(tmp_path: Path) -> None:
    """Nothing is gathered: filters yield before the source has ended."""
    given = Counter[str]()

    def read(n: int, dropped: Counter[str]):  # type: ignore[no-untyped-def]
        for seed in range(10):
            given["parts"] += 1
            yield random_splats(100, 1, seed)

    source = Source(SourceInfo(Path("x"), "test", 1000, 1, 0), read)
    edits = make_edits(1, ["rotate=1,2,3"], ["0,0,0,100"], 0, 0.1, True)
    (edited,) = edits.apply([source])
    next(iter(joined([moved(edited, edits.matrix(0))]).chunks()))
    assert given["parts"] == 1


def test_names_of_scenes(tmp_path: Path) -> None:
    """Layers and titles are called what people call the file."""
    (tmp_path / "city").mkdir()
    for path, name in (
        ("a.b.ply", "a.b"), ("scan.compressed.ply", "scan"), ("city", "city"), ("city/meta.json", "city"),
        ("city/lod-meta.json", "city"), (".spz", ".spz"),
    ):  # fmt: skip
        assert SourceInfo(tmp_path / path, "x", 1, 0, 1).name == name


def test_credits_of_all_inputs_are_kept(two: tuple[Path, Path], tmp_path: Path) -> None:
    """Whoever merges two scenes under CC BY owes both their names."""
    for path, who in zip(two, ("Ann", "Bob"), strict=True):
        facts = {"attribution": who, "licence": "CC BY 4.0"}
        path.with_suffix(".scene.json").write_text(json.dumps(facts))
    splatlens.convert(two, tmp_path / "out.lens")
    with LensReader.open(tmp_path / "out.lens") as reader:
        assert (reader.scene.title, reader.scene.attribution, reader.scene.licence) == ("a, b", "Ann; Bob", "CC BY 4.0")


def test_layers_keep_their_kernels(two: tuple[Path, Path], tmp_path: Path) -> None:
    """An anti-aliased scene beside a classic one: two layers, but no single flat file."""
    splats = random_splats(300, 0)
    write_splats(tmp_path / "mip.ply", splats, SourceInfo(tmp_path / "x", "x", 300, 0, 1, antialias=True))
    splatlens.convert([tmp_path / "mip.ply", two[0]], tmp_path / "out.lens")
    with LensReader.open(tmp_path / "out.lens") as reader:
        assert [layer.splats.kernel.antialias for layer in reader.layers if layer.splats] == [True, False]
    with pytest.raises(LensError, match="different kernels do not go into one flat file"):
        splatlens.convert([tmp_path / "mip.ply", two[0]], tmp_path / "out.spz")
    assert not (tmp_path / "out.spz").exists()
