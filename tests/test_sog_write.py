"""The SOG writer: layout read by hand, what is lost and what is not, other tools' reading, odd scenes, whole or not."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from splatlens.converters import Source, WriteOptions, open_source, read_splats, sog_write, write_splats
from splatlens.converters.sog_layout import MAX_SIDE, log_transform
from splatlens.converters.sog_quats import AXES, CUBE, STEP, UPRIGHT, pack, shortest
from splatlens.converters.sog_scene import unpack_quats
from splatlens.converters.sog_write import palette_entries, write_sog
from splatlens.viewer.errors import LensError, UnsupportedError
from splatlens.viewer.splats import Splats, covariances, rotation_matrices
from tests.conformance import WriterConformance, assert_same, in_order_of, random_splats

FIXTURES = Path(__file__).parent / "fixtures" / "sog_write"
PICTURES = ["means_l.webp", "means_u.webp", "quats.webp", "scales.webp", "sh0.webp"]
SH_PICTURES = ["shN_centroids.webp", "shN_labels.webp"]


class _Writer(WriterConformance):
    format_name = "sog"
    reorders = True
    bounded = False
    #: Half a step of 16 bits of a log range of 5; of 1/255; of 256 codes for 2100 values or more, at their far ends.
    tolerance: ClassVar[dict[str, float]] = {"means": 1e-3, "opacities": 0.02, "scales": 0.15, "sh": 0.06}

    def compare(self, got: Splats, want: Splats) -> None:
        """Axes change their names, so rotations and scales are compared as what they draw."""
        size = np.linalg.norm(covariances(want), axis=(1, 2))[:, None, None]
        np.testing.assert_allclose(covariances(got) / size, covariances(want) / size, atol=0.15)
        got, want = (replace(s, quats=want.quats, scales=np.sort(s.scales, axis=1)) for s in (got, want))
        assert_same(got, want, self.tolerance)


class TestArchive(_Writer):
    file_name = "scene.sog"
    mutations = 100


class TestFolder(_Writer):
    file_name = "scene/meta.json"
    degrees = (0, 3)
    mutations = 100


def files_of(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[np.uint8]]]:
    """meta.json, and the pictures as Pillow decodes them."""
    if path.name == "meta.json":
        data = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    else:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            data = {name: archive.read(name) for name in archive.namelist()}
    pictures = {n: np.asarray(Image.open(io.BytesIO(d)).convert("RGBA")) for n, d in data.items() if n != "meta.json"}
    return json.loads(data["meta.json"]), pictures


def written(path: Path, splats: Splats, **facts: Any) -> Path:
    source = Source.of(splats)
    assert write_sog(path, Source(replace(source.info, **facts), source.read), WriteOptions()) > 0
    return path


def plain(count: int, sh_degree: int = 0) -> Splats:
    """Splats at rest at the origin, to set one thing at a time."""
    splats = random_splats(count, sh_degree)
    splats.means[:], splats.scales[:], splats.opacities[:], splats.sh[:] = 0, 1, 1, 0
    splats.quats[:] = 1, 0, 0, 0
    return splats


def test_texels_by_hand(tmp_path: Path) -> None:
    """Five splats, every byte by the specification's arithmetic."""
    splats = plain(5, 1)
    # t = sign(x) ln(|x| + 1) from -1 to 2: 65535 steps of 3 / 65535; the fourth is 1.4 steps above the first.
    t = np.array([-1, 2, 0, -1 + 1.4 * 3 / 65535, -1])
    splats.means[:, 0] = np.sign(t) * np.expm1(np.abs(t))
    splats.means[:, 2] = 7  # no extent
    splats.scales[:] = [[1, 2, 4], [2, 2, 2], [1, 1, 1], [4, 1, 1], [1, 1, 1]]
    splats.opacities[:] = [0, 1, 0.5, 0.2, 1.7]
    splats.sh[:, 0] = [[-1, 0, 3], [3, 3, 3], [0, 0, 0], [-1, -1, -1], [0, -1, 0]]
    splats.sh[0, 1:] = [[0.5, 0, 0], [0, 0.5, 0], [0, 0, -2]]
    splats.sh[3, 1:] = splats.sh[0, 1:]
    splats.sh[1, 1:] = -2
    path = written(tmp_path / "a.sog", splats)
    meta, pictures = files_of(path)
    assert (meta["version"], meta["count"], meta["asset"]) == (2, 5, {"generator": sog_write_generator()})
    assert "model" not in meta
    np.testing.assert_allclose(meta["means"]["mins"], [-1, 0, np.log(8)], atol=1e-7)
    np.testing.assert_allclose(meta["means"]["maxs"], [2, 0, np.log(8)], atol=1e-7)
    assert meta["means"]["files"] == PICTURES[:2]
    np.testing.assert_allclose(meta["scales"]["codebook"], np.log([1, 2, *[4] * 254]), rtol=1e-7)
    assert meta["sh0"] == {"codebook": [-1, 0, *[3] * 254], "files": ["sh0.webp"]}
    assert meta["shN"] == {"count": 3, "bands": 1, "codebook": [-2, 0, *[0.5] * 254], "files": SH_PICTURES}
    assert all(pictures[name].shape == (4, 4, 4) for name in [*PICTURES, "shN_labels.webp"])
    texel = {name: picture.reshape(-1, 4)[:5].tolist() for name, picture in pictures.items()}
    # Sorted by x: the two at -1 in their order, then 1 step (1.4 rounded), 21845 = 85 * 256 + 85, 65535.
    assert texel["means_l.webp"] == [[0, 0, 0, 255], [0, 0, 0, 255], [1, 0, 0, 255], [85, 0, 0, 255], [255, 0, 0, 255]]
    assert texel["means_u.webp"] == [[0, 0, 0, 255], [0, 0, 0, 255], [0, 0, 0, 255], [85, 0, 0, 255], [255, 0, 0, 255]]
    assert texel["scales.webp"] == [[0, 1, 2, 255], [0, 0, 0, 255], [2, 0, 0, 255], [0, 0, 0, 255], [1, 1, 1, 255]]
    assert texel["sh0.webp"] == [[0, 1, 2, 0], [1, 0, 1, 255], [0, 0, 0, 51], [1, 1, 1, 128], [2, 2, 2, 255]]
    assert all(t[3] == 252 and set(t[:3]) <= {127, 128} for t in texel["quats.webp"])
    # Entries by first use: that of 0 and 3, then the zeros of 4 and 2, then that of 1.
    assert [t[:2] for t in texel["shN_labels.webp"]] == [[0, 0], [1, 0], [0, 0], [1, 0], [2, 0]]
    centroids = pictures["shN_centroids.webp"]
    assert centroids.shape == (1, 192, 4)
    assert centroids[0, :3, :3].tolist() == [[2, 1, 1], [1, 2, 1], [1, 1, 0]]
    assert centroids[0, 3:6, :3].tolist() == [[1, 1, 1]] * 3
    assert centroids[0, 6:9, :3].tolist() == [[0, 0, 0]] * 3


def sog_write_generator() -> str:
    from splatlens import __version__

    return f"splatlens {__version__}"


def test_archive_entries_are_stored(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path / "a.sog", random_splats(200, 2))) as archive:
        entries = archive.infolist()
    assert sorted(e.filename for e in entries) == sorted([*PICTURES, *SH_PICTURES, "meta.json"])
    assert {(e.compress_type, e.date_time[0], e.flag_bits) for e in entries} == {(zipfile.ZIP_STORED, 1980, 0)}


def test_centres_to_half_a_step_and_rows_in_order(tmp_path: Path) -> None:
    splats = random_splats(3000, 0)
    splats.means[:] = np.random.default_rng(1).standard_t(1.5, (3000, 3)) * 20
    meta, pictures = files_of(written(tmp_path / "a.sog", splats))
    low, high = (pictures[name].reshape(-1, 4)[:3000, :3].astype(int) for name in PICTURES[:2])
    steps = low + 256 * high
    code = np.zeros(3000, np.int64)
    for bit in range(16):
        for axis in range(3):
            code |= (steps[:, axis] >> bit & 1) << 3 * bit + axis
    assert (np.diff(code) >= 0).all()
    t = np.sign(splats.means) * np.log1p(np.abs(splats.means.astype(np.float64)))
    mins, maxs = np.array(meta["means"]["mins"]), np.array(meta["means"]["maxs"])
    given = (t - mins) / (maxs - mins) * 65535
    rows = np.lexsort(np.round(given).T)
    np.testing.assert_array_equal(steps[np.lexsort(steps.T)], np.round(given)[rows].astype(int))


def test_rotations_of_the_cube() -> None:
    """24 that are all different, each a permutation of axes up to signs; half turns first, which permute none."""
    turns = rotation_matrices(CUBE)
    assert len({tuple(np.round(t).astype(int).ravel()) for t in turns}) == 24
    np.testing.assert_allclose(np.abs(turns), np.eye(3)[AXES].transpose(0, 2, 1), atol=1e-12)
    np.testing.assert_array_equal(AXES[:4], [[0, 1, 2]] * 4)
    assert len(UPRIGHT) == 8


def covariance(quats: NDArray[np.floating], scales: NDArray[np.floating]) -> NDArray[np.float64]:
    turned = rotation_matrices(quats.astype(np.float64)) * scales[:, None, :]
    return turned @ turned.transpose(0, 2, 1)


@pytest.mark.parametrize("flat", [False, True])
def test_shortest_rotation_draws_the_same(flat: bool) -> None:
    splats = random_splats(2000, 0)
    quats, scales = shortest(splats.quats, splats.scales, flat)
    np.testing.assert_allclose(covariance(quats, scales), covariances(splats), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-6)
    if flat:
        np.testing.assert_array_equal(scales[:, 2], splats.scales[:, 2])
        assert quats[:, 0].min() > 0.65
    else:
        # The farthest from every rotation of the cube is 62.8 degrees away: its w is cos(31.4 degrees).
        assert 0.853 < quats[:, 0].min() < 0.87
        assert np.abs(quats[:, 1:]).max() < 0.39


def test_rotations_round_where_it_shows_least() -> None:
    splats = random_splats(4000, 0)
    quats, scales = shortest(splats.quats, splats.scales, False)
    texels = pack(quats, scales)
    parts = quats[:, 1:] / STEP + 127.5
    assert np.abs(texels[:, :3] - parts).max() < 1.0001  # down or up, nothing else
    rounded = np.concatenate([np.round(parts), np.full((4000, 1), 252)], axis=1).astype(np.uint8)

    def moved(texels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How much the Gaussian differs, in units of its own axes."""
        axes = np.linalg.inv(rotation_matrices(quats) * scales[:, None, :])
        new = axes @ covariance(unpack_quats(texels), scales) @ axes.transpose(0, 2, 1)
        return np.linalg.norm(new - np.eye(3), axis=(1, 2))

    round_like = random_splats(4000, 0).scales.max(axis=1) < 20 * scales.min(axis=1)
    ours, nearest = (moved(t)[round_like] for t in (texels, rounded))
    assert np.sqrt((ours**2).mean()) < 0.9 * np.sqrt((nearest**2).mean())
    assert (ours < nearest + 0.02).all()


def test_what_was_read_from_such_a_file_is_kept(tmp_path: Path) -> None:
    """Written once more, nothing changes but the order of rows that share a place."""
    splats, _ = read_splats(written(tmp_path / "a.sog", random_splats(3000, 3)))
    # Any half turn, and sign, of the rotation that the bytes hold.
    w, x, y, z = splats.quats.T
    turned = replace(splats, quats=-np.stack([-x, w, z, -y], axis=1))
    again, _ = read_splats(written(tmp_path / "b.sog", turned))
    again = in_order_of(again, splats)
    assert_same(again, splats, {"means": 1e-6, "quats": 1e-6, "scales": 1e-6})


def test_weights_go_with_what_is_seen(tmp_path: Path) -> None:
    """2000 large opaque splats have colours of their own; 18,000 small faint ones do not take the codes from them."""
    splats = random_splats(20_000, 0)
    large = np.arange(20_000) < 2000
    splats.scales[large] *= 20
    splats.opacities[:] = np.where(large, 0.99, 0.05)
    splats.sh[:] = np.random.default_rng(4).uniform(0, 1, splats.sh.shape) + np.where(large, 2, -2)[:, None, None]
    meta, _ = files_of(written(tmp_path / "a.sog", splats))
    # Weight of a large one: 20 sqrt(20) small ones', a ninth as many: the cube root of 10 times the density of codes.
    assert 155 < np.count_nonzero(np.array(meta["sh0"]["codebook"]) > 0) < 190


@pytest.mark.parametrize("count", [1, 2, 5, 63, 64, 65, 1023, 1024, 1025, 3000])
def test_palette_of_small_scenes(tmp_path: Path, count: int) -> None:
    splats = random_splats(count, 1)
    path = written(tmp_path / "a.sog", splats)
    meta, pictures = files_of(path)
    entries = {3000: 2048}.get(count, min(count, 1024))
    assert meta["shN"]["count"] == entries == palette_entries(count)
    assert pictures["shN_centroids.webp"].shape == (-(-entries // 64), 192, 4)
    labels = pictures["shN_labels.webp"].reshape(-1, 4)[:count].astype(int) @ [1, 256, 0, 0]
    assert set(labels) == set(range(entries))
    got = in_order_of(read_splats(path)[0], splats)
    if count <= 1024:
        np.testing.assert_allclose(got.sh, splats.sh, atol=0.03)


def test_entries_of_large_scenes() -> None:
    assert [palette_entries(n) for n in (65_535, 65_536, 125_000, 10**7)] == [32_768, 65_536, 65_536, 65_536]


def test_shared_rows_are_kept_exactly(tmp_path: Path) -> None:
    """Not more kinds of SH than the palette has entries, nor values than the codebook: nothing is lost."""
    rng = np.random.default_rng(2)
    splats = random_splats(4000, 2)
    kinds = rng.choice(rng.normal(size=256).astype(np.float32), (900, 8, 3))
    splats.sh[:, 1:] = kinds[rng.integers(900, size=4000)]
    splats.sh[:, 0] = np.arange(12_000).reshape(4000, 3) % 256
    meta, _ = files_of(path := written(tmp_path / "a.sog", splats))
    assert meta["shN"]["count"] <= 900
    np.testing.assert_array_equal(in_order_of(read_splats(path)[0], splats).sh, splats.sh)


def test_model(tmp_path: Path) -> None:
    splats = random_splats(30, 0)
    for facts, model in (({"antialias": True}, "antialiased"), ({"flat": True}, "2dgs"), ({"antialias": False}, None)):
        meta, _ = files_of(path := written(tmp_path / "a.sog", splats, **facts))
        assert meta.get("model") == model
        info = open_source(path).info
        assert (info.antialias, info.flat) == (True if model == "antialiased" else None, model == "2dgs")


def odd_scenes() -> Iterator[tuple[str, Splats]]:
    one = random_splats(1, 3)
    yield "one splat", one
    yield "copies of one splat", Splats.concatenate([one] * 1500)
    plane = random_splats(300, 1)
    plane.means[:, 1], plane.scales[:, 1] = 3, 1e-12
    yield "a plane", plane
    wide = random_splats(300, 1)
    wide.means[:] *= np.float32(10) ** np.arange(-20, 37, 0.19)[:300, None].astype(np.float32)
    yield "means to 1e37", wide
    corners = random_splats(2, 0)
    corners.means[:] = np.finfo(np.float32).max * np.array([[1], [-1]], np.float32)
    yield "means at the ends of float32", corners
    sizes = random_splats(600, 0)
    sizes.scales[:] = np.exp(np.random.default_rng(0).uniform(-87, 44.3, (600, 3)))
    yield "scales from 1e-38 to 1e19", sizes
    unseen = random_splats(900, 1)
    unseen.opacities[:] = 0
    yield "nothing opaque", unseen
    loud = random_splats(1500, 1)
    loud.sh[:, 1:] *= np.float32(1e30)
    loud.sh[7, 0] = -1e30
    yield "SH of 1e30", loud
    dull = random_splats(2000, 3)
    dull.sh[:, 1:] = 0
    yield "SH all zero", dull


@pytest.mark.parametrize(("what", "splats"), list(odd_scenes()), ids=lambda v: v if isinstance(v, str) else "")
def test_odd_scenes(tmp_path: Path, what: str, splats: Splats) -> None:
    with np.errstate(all="raise", under="ignore"):
        path = written(tmp_path / "a.sog", splats)
    got, info = read_splats(path)
    assert (len(got), info.dropped) == (len(splats), {})
    t = [np.sort(log_transform(s.means[:, 0])) for s in (got, splats)]
    np.testing.assert_allclose(t[0], t[1], atol=max(1e-6, np.ptp(t[1]) / 65535))
    logs = [np.sort(np.log(s.scales.astype(np.float64)).ravel()) for s in (got, splats)]
    np.testing.assert_allclose(logs[0], logs[1], atol=max(1e-5, np.ptp(logs[1]) / 100))
    colours = [np.sort(s.sh[:, 0].ravel())[3:] for s in (got, splats)]  # three of 1e30 are not kept, nor do they harm
    np.testing.assert_allclose(*colours, atol=0.02)


def test_other_tools_read_the_same() -> None:
    """A file of ours as splat-transform read it, against the same scene written now and read by us."""
    want, _ = read_splats(FIXTURES / "theirs.ply")
    got, _ = read_splats(FIXTURES / "ours.sog")
    assert_same(got, want, {"scales": 1e-5, "opacities": 1e-5, "quats": 1e-6})


def test_same_values_as_the_file_other_tools_read(tmp_path: Path) -> None:
    got = files_of(written(tmp_path / "a.sog", fixture_scene()))
    want = files_of(FIXTURES / "ours.sog")
    assert got[0] | {"asset": None} == want[0] | {"asset": None}
    for name, picture in want[1].items():
        np.testing.assert_array_equal(got[1][name], picture, err_msg=name)


def fixture_scene() -> Splats:
    return random_splats(150, 2, seed=3)


def test_folder_is_replaced_and_old_pictures_go(tmp_path: Path) -> None:
    path = tmp_path / "scene" / "meta.json"
    written(path, random_splats(500, 2))
    (path.parent / "notes.txt").write_text("mine")
    assert (path.parent / "shN_labels.webp").exists()
    splats = random_splats(90, 0)
    written(path, splats)
    assert sorted(p.name for p in path.parent.iterdir()) == sorted([*PICTURES, "meta.json", "notes.txt"])
    assert len(read_splats(path)[0]) == 90
    assert path.parent.stat().st_mode & 0o777 == 0o777 & ~_mask()
    assert [p.name for p in tmp_path.iterdir()] == ["scene"]


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_meta_takes_its_place_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "scene" / "meta.json"
    written(path, random_splats(50, 1))
    placed = []
    real = os.replace
    monkeypatch.setattr("os.replace", lambda a, b: (placed.append(Path(b).name), real(a, b)))
    written(path, random_splats(60, 1))
    assert placed[-1] == "meta.json" and sorted(placed) == sorted([*PICTURES, *SH_PICTURES, "meta.json"])


@pytest.mark.parametrize("name", ["a.sog", "new/meta.json", "old/meta.json"])
def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / "old").mkdir()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(LensError, match=r"(sog|json|webp): cannot write: No space left on device; free some space"):
        written(tmp_path / name, random_splats(20, 1))
    assert [p.name for p in tmp_path.rglob("*")] == ["old"]


@pytest.mark.parametrize("name", ["gone/a.sog", "gone/new/meta.json"])
def test_missing_folder_is_told_before_the_work(tmp_path: Path, name: str) -> None:
    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        raise AssertionError("read before the folder was looked at")

    source = Source(Source.of(random_splats(3, 0)).info, read)
    with pytest.raises(LensError, match="cannot write here: No such file or directory; choose another folder"):
        write_sog(tmp_path / name, source, WriteOptions())


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LensError, match=r"a\.sog: no splats to write; check what the filters leave of splats"):
        write_sog(tmp_path / "a.sog", Source(Source.of(random_splats(3, 0)).info, lambda *_: iter(())), WriteOptions())
    monkeypatch.setattr(sog_write, "MAX_SIDE", 16)
    written(tmp_path / "a.sog", random_splats(256, 0))
    with pytest.raises(UnsupportedError, match=r"b\.sog: 257 splats do not fit the 16x16 texels of a WebP picture; "):
        written(tmp_path / "b.sog", random_splats(257, 0))
    assert [p.name for p in tmp_path.iterdir()] == ["a.sog"]
    assert MAX_SIDE == 16383


def test_progress_rises_to_one(tmp_path: Path) -> None:
    heard: list[float] = []
    write_splats(tmp_path / "a.sog", random_splats(500, 1), options=WriteOptions(progress=heard.append))
    assert heard == sorted(heard) and heard[-1] == 1 and len(heard) >= 3


@pytest.mark.data
def test_real_scene_with_shared_rows(data_dir: Path, tmp_path: Path) -> None:
    """playbot_l2, itself read from SOG: 65,529 kinds of SH, all kept; smaller than the 3.1 MB of the pictures raw."""
    want, _ = read_splats(data_dir / "ply_converted/playbot_l2_sh2.ply")
    path = written(tmp_path / "a.sog", want)
    got, _ = read_splats(path)
    assert path.stat().st_size < 2_900_000
    keys = [np.lexsort(np.concatenate([np.round(s.means, 4), s.sh[:, 0]], axis=1).T) for s in (got, want)]
    for name in ("sh", "opacities"):
        a, b = getattr(got, name)[keys[0]], getattr(want, name)[keys[1]]
        assert (np.abs(a - b) < 1e-5).reshape(len(a), -1).all(axis=1).mean() > 0.999
