"""The streamed SOG reader: levels, environment, every kind of tree, other tools' files, damage."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import ReadOptions, find_format, open_source, read_splats, streamed_sog
from splatlens.converters.convert import convert
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import ReaderConformance, assert_same, in_order_of, random_splats
from tests.sog_encoder import encode_v2
from tests.test_sog import FIXTURES, STEPS


class TestStreamedSog(ReaderConformance):
    """Two leaves whose rows stand in one unit, and an environment that is the last third."""

    format_name = "streamed-sog"
    tolerance = STEPS
    mutations = 300

    def make(self, folder: Path, splats: Splats) -> Path:
        n = len(splats)
        units = {"0_0": splats.take(slice(0, n * 2 // 3)), "env": splats.take(slice(n * 2 // 3, n))}
        for name, part in units.items():
            encode_v2(part).folder(folder / name)
        half, end = n // 3, len(units["0_0"])
        leaves = [leaf({"0": (0, 0, half)}), leaf({"0": (0, half, end - half)})]
        meta = {
            "version": 1, "count": end, "counts": [end], "lodLevels": 1, "environment": "env/meta.json",
            "filenames": ["0_0/meta.json"], "tree": {"bound": {}, "children": leaves},
        }  # fmt: skip
        path = folder / "lod-meta.json"
        path.write_text(json.dumps(meta))
        return path


def leaf(lods: dict[str, tuple[int, int, int]]) -> dict[str, Any]:
    named = {key: dict(zip(("file", "offset", "count"), value, strict=True)) for key, value in lods.items()}
    return {"bound": {"min": [0, 0, 0], "max": [1, 1, 1]}, "lods": named}


def two_levels(folder: Path) -> dict[str, Any]:
    """Level 0 in units a (30 splats) and b (20), level 1 in unit deep/er/c (12); the meta, not yet saved."""
    for name, count, degree in (("a", 30, 1), ("b", 20, 2), ("deep/er/c", 12, 0), ("sky", 7, 0)):
        encode_v2(random_splats(count, degree, seed=count)).folder(folder / name)
    tree = {
        "bound": {},
        "children": [
            # A level left out, and one of no splats: this leaf has nothing to show at level 1 and 0 respectively.
            {"bound": {}, "children": [leaf({"0": (1, 10, 10)}), leaf({"0": (-1, 0, 0), "1": (2, 0, 5)})]},
            leaf({"0": (0, 20, 10), "1": (2, 5, 7)}),
            leaf({"0": (1, 0, 10)}),
            leaf({"0": (0, 0, 15)}),
        ],
    }
    names = ["a/meta.json", "./b/meta.json", "deep/er/c/meta.json"]
    return {"lodLevels": 2, "environment": None, "filenames": names, "tree": tree}


def save(folder: Path, meta: Any) -> Path:
    (folder / "lod-meta.json").write_text(json.dumps(meta))
    return folder


def rows(folder: Path, name: str, *ranges: tuple[int, int]) -> Splats:
    unit = read_splats(folder / name)[0]
    return Splats.concatenate([unit.take(slice(first, end)) for first, end in ranges])


def test_levels_by_hand(tmp_path: Path) -> None:
    """Rows in the order of the units and of their ranges; rows that no leaf names are not read; SH padded."""
    folder = save(tmp_path, two_levels(tmp_path))
    got, info = read_splats(folder)
    want = Splats.concatenate([rows(folder, "a", (0, 15), (20, 30)), rows(folder, "b", (0, 20))])
    assert_same(got, want, {})
    assert (info.splats, info.sh_degree, info.levels, info.path) == (45, 2, 2, folder)
    got, info = read_splats(folder / "lod-meta.json", options=ReadOptions(lod=1))
    assert_same(got, rows(folder, "deep/er/c", (0, 12)), {})
    assert (info.splats, info.sh_degree, info.levels) == (12, 0, 2)


def test_only_needed_units_are_opened(tmp_path: Path) -> None:
    """Units of other levels may be missing, and are not among the files that name the content."""
    folder = save(tmp_path, two_levels(tmp_path))
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    info = open_source(folder, ReadOptions(lod=1)).info
    unit = sorted((tmp_path / "deep/er/c").iterdir())
    assert sorted(info.files) == [*unit, folder / "lod-meta.json"]
    assert info.bytes == sum(p.stat().st_size for p in info.files)
    with pytest.raises(FormatError, match=r"unit 'a/meta\.json': no such file; fetch the whole scene"):
        open_source(folder)


def test_environment_belongs_to_every_level(tmp_path: Path) -> None:
    """It comes last; it may be an archive, and a level without splats of its own is then drawn."""
    meta = two_levels(tmp_path) | {"environment": "sky/meta.json", "lodLevels": 3}
    folder = save(tmp_path, meta)
    sky = rows(folder, "sky", (0, 7))
    for lod, count in ((0, 45), (1, 12), (2, 0)):
        got, info = read_splats(folder, options=ReadOptions(lod=lod))
        assert info.splats == len(got) == count + 7
        assert_same(got.take(slice(count, None)).with_sh_degree(0), sky, {})
    encode_v2(random_splats(7, 0, seed=7)).archive(tmp_path / "sky.sog")
    assert len(read_splats(save(tmp_path, meta | {"environment": "sky.sog"}))[0]) == 52


def test_levels_that_are_not_there(tmp_path: Path) -> None:
    folder = save(tmp_path, two_levels(tmp_path))
    for lod in (2, -1, 10**20):
        with pytest.raises(LensError) as caught:
            open_source(folder, ReadOptions(lod=lod))
        assert str(caught.value) == f"{folder}: there is no level {lod}; the scene has levels 0 (finest) to 1"
    unit = folder / "a"
    with pytest.raises(LensError, match="--lod has no meaning for SOG"):
        open_source(unit, ReadOptions(lod=1))


def test_recognised_beside_other_files(tmp_path: Path) -> None:
    """A folder that also holds a meta.json is streamed; so is a JSON file of another name."""
    folder = save(tmp_path, two_levels(tmp_path))
    (folder / "meta.json").write_bytes((folder / "a" / "meta.json").read_bytes())
    assert find_format(folder).name == "streamed-sog"
    assert find_format(folder / "meta.json").name == "sog"
    (folder / "lod-meta.json").rename(folder / "scene.json")
    assert find_format(folder / "scene.json").name == "streamed-sog"
    assert len(read_splats(folder / "scene.json")[0]) == 45


def test_units_that_disagree(tmp_path: Path) -> None:
    """The first says how all are drawn; warnings carry the unit's name, and not without end."""
    meta = two_levels(tmp_path)
    for name, model in (("a", "antialiased"), ("b", "cubes")):
        path = tmp_path / name / "meta.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model": model}))
    info = open_source(save(tmp_path, meta | {"counts": [44, 12]})).info
    assert info.antialias is True
    assert info.warnings == (
        "level 0 is said to have 44 splats, but the tree lists 45",
        "the units say differently how they were trained; all are drawn as the first says",
        "b/meta.json: unknown model 'cubes' is drawn as plain 3D Gaussians",
    )


def change(*path: Any) -> Callable[[Any], None]:
    """Sets a value deep inside: keys and indices, then the value."""

    def apply(meta: Any) -> None:
        *steps, last, value = path
        for step in steps:
            meta = meta[step]
        meta[last] = value

    return apply


LEAF = ("tree", "children", 1, "lods", "0")


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (change("version", 2), ["streamed SOG version 2 is not supported; version 1 is read"]),
        (change("lodLevels", 0), ["field lod-meta.lodLevels: expected an integer in 1..64"]),
        (change("lodLevels", None), ["field lod-meta.lodLevels"]),
        (change("counts", [1]), ["field lod-meta.counts: expected a list of 2"]),
        (change("counts", [-1, 0]), ["field lod-meta.counts[0]: expected an integer"]),
        (change("filenames", []), ["field lod-meta.filenames: expected a list of 1"]),
        (change("filenames", 0, "../a/meta.json"), ["lod-meta.filenames[0]: expected the name of a file inside"]),
        (change("filenames", 2, "/a/meta.json"), ["lod-meta.filenames[2]: expected the name of a file inside"]),
        (change("filenames", 0, "http://a/meta.json"), ["lod-meta.filenames[0]: expected the name of a file inside"]),
        (change("filenames", 0, 7), ["lod-meta.filenames[0]: expected a string"]),
        (change("filenames", 0, "gone/meta.json"), ["unit 'gone/meta.json': no such file; fetch the whole scene"]),
        (change("filenames", 0, "a/sh0.webp"), ["unit 'a/sh0.webp': neither a zip archive nor a meta.json"]),
        (change("filenames", 0, "b/meta.json"), ["unit 'b/meta.json'", "of which another leaf takes some"]),
        (change("environment", "../env/meta.json"), ["lod-meta.environment: expected the name of a file inside"]),
        (change("environment", "gone"), ["environment 'gone': no such file"]),
        (change("tree", None), ["field lod-meta.tree: expected an object, got None"]),
        (change("tree", "children", [{}] * 4097), ["field lod-meta.tree.children: expected a list of 0 to 4096"]),
        (change("filenames", ["a"] * 100_001), ["field lod-meta.filenames: expected a list of 1 to 100000"]),
        (change("tree", "children", 5), ["field lod-meta.tree.children: expected a list"]),
        (change("tree", "children", 0, 5), ["field lod-meta.tree.children[0]: expected an object, got 5"]),
        (change("tree", "children", 1, "lods", []), ["lod-meta.tree.children[1].lods: expected an object"]),
        (change(*LEAF, 3), ["lod-meta.tree.children[1].lods.0: expected an object, got 3"]),
        (change(*LEAF, "file", 3), ["tree.children[1].lods.0.file: expected an integer in 0..2, got 3"]),
        (change(*LEAF, "file", -1), ["tree.children[1].lods.0.file: expected an integer in 0..2, got -1"]),
        (change(*LEAF, "offset", -1), ["tree.children[1].lods.0.offset: expected an integer"]),
        (change(*LEAF, "offset", 1e300), ["tree.children[1].lods.0.offset: expected an integer"]),
        (change(*LEAF, "count", 2.5), ["tree.children[1].lods.0.count: expected an integer"]),
        (change(*LEAF, "count", 11), ["lods.0 takes rows 20 to 30, but the unit has 30; fetch"]),
        (change(*LEAF, "offset", 14), ["lods.0 takes rows 14 to 23, of which another leaf takes some; fetch"]),
        (change("tree", {"children": []}), ["level 0 has no splats; choose another level"]),
    ],
)
def test_damaged_metas(tmp_path: Path, damage: Callable[[Any], None], parts: list[str]) -> None:
    meta = two_levels(tmp_path)
    damage(meta)
    folder = save(tmp_path, meta)
    for path in (folder, folder / "lod-meta.json"):
        with pytest.raises(UnsupportedError if meta.get("version") == 2 else FormatError) as caught:
            read_splats(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: ") and message.isprintable()
        for part in parts:
            assert part in message, message


def test_damaged_unit_is_named(tmp_path: Path) -> None:
    folder = save(tmp_path, two_levels(tmp_path))
    (folder / "b" / "sh0.webp").write_bytes(b"RIFF")
    with pytest.raises(FormatError) as caught:
        read_splats(folder / "lod-meta.json")
    assert str(caught.value).startswith(f"{folder / 'lod-meta.json'}: unit 'b/meta.json': texture 'sh0.webp': ")


def test_deep_and_huge_trees(tmp_path: Path) -> None:
    """400 nested nodes are read, 100,000 refused, and so is a file longer than any real one, unread."""
    meta = two_levels(tmp_path)
    for _ in range(400):
        meta["tree"] = {"children": [meta["tree"]]}
    assert len(read_splats(save(tmp_path, meta))[0]) == 45
    path = tmp_path / "lod-meta.json"
    head = '{"lodLevels": 1, "filenames": ["a/meta.json"], "tree": '
    path.write_text(head + '{"children": [' * 100_000)
    with pytest.raises(FormatError, match="lod-meta: not valid JSON"):
        read_splats(path)
    with path.open("wb") as file:
        file.write(head.encode())
        file.truncate(streamed_sog.MAX_BYTES + 1)
    tracemalloc.start()
    with pytest.raises(FormatError, match="has 16777217 bytes, expected at most 16777216"):
        read_splats(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 18
    tracemalloc.stop()


def test_converts_a_level_to_lens(tmp_path: Path) -> None:
    report = convert([FIXTURES / "streamed"], tmp_path / "out.lens", read=ReadOptions(lod=1))
    assert (report.splats, report.sh_degree) == (28, 1)


@pytest.mark.parametrize(("lod", "count"), [(0, 40), (1, 20)])
def test_files_by_splat_transform(lod: int, count: int) -> None:
    """Level and environment, apart from SH within the steps of what they were made of."""
    got, info = read_splats(FIXTURES / "streamed", options=ReadOptions(lod=lod))
    assert (info.splats, info.sh_degree, info.levels, info.warnings) == (count + 8, 1, 2, ())
    steps = {"means": 2e-3, "quats": 0.08, "opacities": 0.045, "scales": 0.02, "sh": 0.1}
    for part, n, degree, seed in ((slice(0, count), count, 1, 200 + lod), (slice(count, None), 8, 0, 203)):
        want = random_splats(n, degree, seed=seed)
        want.opacities[0] = 1
        found = in_order_of(got.take(part), want)
        assert_same(found.with_sh_degree(0), want.with_sh_degree(0), steps)
    assert not got.sh[count:, 1:].any() and got.sh[:count, 1:].any()


@pytest.mark.data
@pytest.mark.parametrize(
    ("lod", "count"), list(enumerate((500_000, 250_000, 125_000, 31_000, 8_406, 3_000, 1_873)))
)
def test_real_levels(data_dir: Path, lod: int, count: int) -> None:
    """An older file, without version, count and counts; its units stand out of order in `filenames`."""
    info = open_source(data_dir / "playbot", ReadOptions(lod=lod)).info
    assert (info.splats, info.sh_degree, info.levels, len(info.files), info.warnings) == (count, 2, 7, 9, ())
    unit = data_dir / "playbot" / f"{lod}_0"
    assert set(info.files) == {*unit.iterdir(), data_dir / "playbot" / "lod-meta.json"}
    if lod == 2:
        got = read_splats(data_dir / "playbot" / "lod-meta.json", options=ReadOptions(lod=lod))[0]
        assert_same(got, read_splats(unit)[0], {})
        ply = read_splats(data_dir / "ply_converted/playbot_l2_sh2.ply")[0]
        np.testing.assert_array_equal(got.means, ply.means)
