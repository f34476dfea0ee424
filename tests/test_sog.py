"""The SOG reader: texels by hand, versions 1 and 2, folders and archives, other tools' files, every kind of damage."""

from __future__ import annotations

import io
import json
import math
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from splatlens.converters import find_format, open_source, read_splats, sog_files, sog_scene
from splatlens.converters.convert import convert
from splatlens.converters.sog_layout import centroids_size, inverse_log_transform, log_transform, texture_size
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.splats import Splats
from tests.conformance import (
    ReaderConformance,
    assert_same,
    check_reads_or_refuses,
    in_order_of,
    peak_bytes,
    random_splats,
    reset_peak,
)
from tests.sog_encoder import Encoded, archive, encode_v1, encode_v2, webp

#: Half a step of 16 bits of a log range of 5; of 1/255 for opacities and quaternions; of a range of 2.5 over 255.
STEPS = {"means": 1e-3, "quats": 0.04, "scales": 0.02, "opacities": 0.02, "sh": 0.06}
#: A version 1 opacity is a byte of a logit's range of 10.
STEPS_V1 = {**STEPS, "opacities": 0.05}


class TestFolder(ReaderConformance):
    format_name = "sog"
    tolerance = STEPS
    damaged = "quats.webp"
    mutations = 150

    def make(self, folder: Path, splats: Splats) -> Path:
        return encode_v2(splats).folder(folder)


class TestMeta(ReaderConformance):
    """The path of meta.json itself, and damage to it."""

    format_name = "sog"
    tolerance = STEPS
    mutations = 150

    def make(self, folder: Path, splats: Splats) -> Path:
        return encode_v2(splats).folder(folder) / "meta.json"


class TestArchive(ReaderConformance):
    format_name = "sog"
    tolerance = STEPS
    mutations = 150

    def make(self, folder: Path, splats: Splats) -> Path:
        return encode_v2(splats).archive(folder / "scene.sog")


class TestVersion1(ReaderConformance):
    format_name = "sog"
    tolerance = STEPS_V1
    mutations = 150

    def make(self, folder: Path, splats: Splats) -> Path:
        return encode_v1(splats).folder(folder) / "meta.json"


def refused(path: Path, *parts: str, kind: type[LensError] = FormatError) -> None:
    with pytest.raises(kind) as caught:
        read_splats(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and message.isprintable(), message
    for part in parts:
        assert part in message, message


def by_hand() -> Encoded:
    """Three splats whose values follow from the specification by arithmetic in the head."""

    def row(*texels: list[int]) -> np.ndarray:
        return np.array([[*texels, [9] * len(texels[0])]], np.uint8)  # one more texel than splats

    codebook = [0.0] * 256
    scales = [math.log(0.5), math.log(2), 0.0, *[9.0] * 253]
    colours = [0.25, -1.0, 2.0, *codebook[3:]]
    rest = [1.5, -0.5, *codebook[2:]]
    centroids = np.zeros((2, 64 * 3, 3), np.uint8)
    centroids[0, 3:6] = [[0, 1, 2], [1, 0, 2], [2, 2, 0]]  # entry 1: row 0, columns 3 to 5
    centroids[1, 0:3] = [[1, 1, 1], [0, 0, 0], [2, 2, 2]]  # entry 64: row 1, columns 0 to 2
    return Encoded(
        {
            "version": 2, "count": 3,
            "means": {"mins": [0, -2, -1], "maxs": [math.log(3), 2, -1], "files": ["means_l.webp", "means_u.webp"]},
            "scales": {"codebook": scales, "files": ["scales.webp"]},
            "quats": {"files": ["quats.webp"]},
            "sh0": {"codebook": colours, "files": ["sh0.webp"]},
            "shN": {"count": 65, "bands": 1, "codebook": rest, "files": ["shN_centroids.webp", "shN_labels.webp"]},
        },
        {
            "means_l.webp": row([0, 0, 7], [255, 255, 0], [1, 0, 0]),
            "means_u.webp": row([0, 0, 7], [255, 255, 0], [2, 128, 0]),
            "scales.webp": row([0, 1, 2], [2, 2, 2], [1, 0, 0]),
            "quats.webp": row([255, 0, 0, 252], [0, 0, 255, 254], [10, 20, 30, 251]),
            "sh0.webp": row([0, 1, 2, 0], [2, 1, 0, 255], [0, 0, 0, 51]),
            "shN_centroids.webp": centroids,
            "shN_labels.webp": row([1, 0, 0], [64, 0, 77], [0, 0, 0]),
        },
    )  # fmt: skip


def test_texels_by_hand(tmp_path: Path) -> None:
    splats, info = read_splats(by_hand().folder(tmp_path))
    assert (info.splats, info.sh_degree, info.dropped, info.antialias, info.flat) == (3, 1, {}, None, False)
    e = math.e
    third = math.exp(math.log(3) * 513 / 65535) - 1  # low byte 1, high byte 2
    middle = math.exp(-2 + 4 * 32768 / 65535) - 1  # just above zero
    want = [[0, -(e**2 - 1), -(e - 1)], [2, e**2 - 1, -(e - 1)], [third, middle, -(e - 1)]]
    np.testing.assert_allclose(splats.means, want, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(splats.scales, [[0.5, 2, 1], [1, 1, 1], [2, 0.5, 0.5]], rtol=1e-6)
    # Three components of 1/sqrt(2) are too long for a unit quaternion: the fourth is 0 and the rest is normalised.
    want_quats = [[0, 1, -1, -1], [-1, -1, 0, 1], [1, 0, 0, 0]]
    for got, quat in zip(splats.quats, want_quats, strict=True):
        np.testing.assert_allclose(got, np.array(quat) / np.linalg.norm(quat), atol=1e-6)
    np.testing.assert_array_equal(splats.opacities, np.array([0, 1, 0.2], np.float32))
    first = [[0.25, -1, 2], [1.5, -0.5, 0], [-0.5, 1.5, 0], [0, 0, 1.5]]
    second = [[2, -1, 0.25], [-0.5] * 3, [1.5] * 3, [0] * 3]
    np.testing.assert_array_equal(splats.sh[:2], np.array([first, second], np.float32))


def test_quaternions_by_hand(tmp_path: Path) -> None:
    """0.5 is (0.5 * sqrt(2) / 2 + 0.5) * 255 = 217.6; each component can be the one left out."""
    quats = np.array([[0.8, 0.2, -0.4, 0.4], [0.2, -0.8, 0.4, 0.4], [0.4, 0.2, 0.8, -0.4], [0.4, -0.2, 0.4, 0.8]])
    texels = np.array([[[164, 55, 200, 252], [91, 55, 55, 253], [200, 164, 55, 254], [200, 91, 200, 255]]], np.uint8)
    scene = by_hand()
    scene.meta["count"] = 4
    scene.pictures["quats.webp"] = texels
    scene.pictures["shN_labels.webp"][:] = 0
    got = read_splats(scene.folder(tmp_path))[0].quats
    sign = np.sign(np.einsum("ij,ij->i", got, quats))[:, None]
    np.testing.assert_allclose(got * sign, quats, atol=0.004)


def test_version_1_by_hand(tmp_path: Path) -> None:
    """Shares of the way between minimum and maximum of each channel; the opacity is a logit."""
    scene = encode_v1(random_splats(4, 1))
    scene.meta["scales"] |= {"mins": [-1, 0, 1], "maxs": [0, 2, 1]}
    scene.meta["sh0"] |= {"mins": [-1, 0, 1, -5], "maxs": [1, 5, 1, 5]}
    scene.meta["shN"] |= {"mins": [-1], "maxs": 4}
    scene.pictures["scales.webp"][0, 0] = 255, 51, 17
    scene.pictures["sh0.webp"][0, 0] = 0, 51, 255, 204
    scene.pictures["shN_centroids.webp"][0, 1] = 0, 51, 255
    splats, info = read_splats(scene.folder(tmp_path))
    assert (info.splats, info.sh_degree) == (4, 1)
    np.testing.assert_allclose(splats.scales[0], [1, math.exp(0.4), math.e], rtol=1e-6)
    np.testing.assert_allclose(splats.sh[0, 0], [-1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(splats.sh[0, 2], [-1, 0, 4], atol=1e-6)
    assert splats.opacities[0] == pytest.approx(1 / (1 + math.exp(-3)), rel=1e-6)


def test_layout_by_hand() -> None:
    """Sizes of the textures of the fixtures, and the transform at e - 1."""
    assert [texture_size(n) for n in (1, 16, 17, 60, 252_828, 500_000)] == [
        (4, 4), (4, 4), (8, 4), (8, 8), (504, 504), (708, 708),
    ]  # fmt: skip
    assert [centroids_size(65536, k) for k in (3, 8, 15)] == [(192, 1024), (512, 1024), (960, 1024)]
    assert centroids_size(65, 3) == (192, 2)
    x = np.array([0, math.e - 1, 1 - math.e, 1e30])
    np.testing.assert_allclose(log_transform(x)[:3], [0, 1, -1])
    np.testing.assert_allclose(inverse_log_transform(log_transform(x)), x, rtol=1e-12)
    assert inverse_log_transform(np.array([-1e4]))[0] == -np.inf


@pytest.mark.parametrize("top", ["", "scene/"])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives(tmp_path: Path, top: str, method: int) -> None:
    """At the root or in a folder, stored or deflated; what else the archive holds is never looked at."""
    splats = random_splats(50, 2)
    want = read_splats(encode_v2(splats).folder(tmp_path / "folder"))[0]
    files = {top + name: data for name, data in encode_v2(splats).files().items()}
    others = {"../../evil.txt": b"x", "/etc/evil": b"x", "__MACOSX/meta.json": b"x", "other/deep/meta.json": b"x"}
    path = archive(tmp_path / "a.sog", files | others, method)
    got, info = read_splats(path)
    assert_same(got, want, {})
    assert (info.files, info.bytes) == ((path,), path.stat().st_size)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.sog", "folder"]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archives_with_large_pictures(tmp_path: Path, method: int) -> None:
    """Noise of 460 kB, more than is ever read at once."""
    scene = encode_v2(random_splats(4, 0))
    noise = np.random.default_rng(0).integers(0, 256, (340, 340, 4), np.uint8)
    scene.meta["count"] = 340 * 340
    scene.pictures = {name: noise[..., : p.shape[2]] for name, p in scene.pictures.items()}
    got = read_splats(scene.archive(tmp_path / "a.sog", method=method))[0]
    assert_same(got, read_splats(scene.folder(tmp_path / "folder"))[0], {})


def test_folder_facts(tmp_path: Path) -> None:
    """A folder, its meta.json and links to both are the same scene; all its files are named, once."""
    folder = encode_v2(random_splats(9, 1)).folder(tmp_path / "scene")
    info = open_source(folder).info
    assert {p.name for p in info.files} == {p.name for p in folder.iterdir()}
    assert len(info.files) == 8 and info.bytes == sum(p.stat().st_size for p in folder.iterdir())
    (tmp_path / "linked").mkdir()
    for file in folder.iterdir():  # as download caches do
        (tmp_path / "linked" / file.name).symlink_to(file)
    for path in (folder / "meta.json", tmp_path / "linked"):
        assert_same(read_splats(path)[0], read_splats(folder)[0], {})
        assert find_format(path).name == "sog"


def test_model_and_antialias(tmp_path: Path) -> None:
    scene = by_hand()
    for said, antialias, flat, warnings in (
        ({}, None, False, ()),
        ({"model": "antialiased"}, True, False, ()),
        ({"model": "2dgs"}, None, True, ()),
        ({"model": "default"}, None, False, ()),
        ({"antialias": True}, True, False, ()),
        ({"antialias": False}, False, False, ()),
        ({"model": "cubes"}, None, False, ("unknown model 'cubes' is drawn as plain 3D Gaussians",)),
    ):
        info = open_source(Encoded(scene.meta | said, scene.pictures).folder(tmp_path)).info
        assert (info.antialias, info.flat, info.warnings) == (antialias, flat, warnings)


def test_other_sizes_and_kinds_of_pictures(tmp_path: Path) -> None:
    """Sides that are no multiple of 4, PNG, and alpha that no picture has."""
    splats = random_splats(5, 0)
    want = read_splats(encode_v2(splats).folder(tmp_path / "a"))[0]
    scene = encode_v2(splats)
    for name, picture in scene.pictures.items():
        scene.pictures[name] = picture.reshape(-1, picture.shape[2])[:5].reshape(1, 5, -1)
    folder = scene.folder(tmp_path / "b")
    assert_same(read_splats(folder)[0], want, {})
    Image.fromarray(scene.pictures["quats.webp"]).save(folder / "quats.webp", "png")
    assert_same(read_splats(folder)[0], want, {})


def test_pictures_without_alpha(tmp_path: Path) -> None:
    """Writers may leave it out where it is 255 throughout."""
    scene = encode_v2(random_splats(5, 0))
    scene.pictures["sh0.webp"] = scene.pictures["sh0.webp"][..., :3]
    scene.pictures["quats.webp"] = np.full((4, 4, 3), 128, np.uint8)
    got = read_splats(scene.folder(tmp_path))[0]
    assert (got.opacities == 1).all()
    np.testing.assert_allclose(got.quats, [[0, 0, 0, 1]] * 5, atol=0.003)


def test_pictures_replaced_while_open(tmp_path: Path) -> None:
    """A picture of another size, or none any more, between opening and reading."""
    scene = encode_v2(random_splats(5, 0))
    source = open_source(scene.folder(tmp_path))
    path = tmp_path / "scales.webp"
    path.write_bytes(webp(np.zeros((8, 4, 3), np.uint8)))
    with pytest.raises(FormatError, match=r"'scales\.webp': decodes to RGB 4x8, its header says 4x4"):
        list(source.chunks())
    path.unlink()
    with pytest.raises(FormatError, match=r"file 'scales\.webp' is missing"):
        list(source.chunks())


def test_sh_degree_4_is_reduced(tmp_path: Path) -> None:
    splats = random_splats(30, 3)
    want = read_splats(encode_v2(splats).folder(tmp_path / "three"))[0]
    scene = encode_v2(splats)
    wide = np.full((1, 64, 24, 3), 200, np.uint8)
    wide[:, :, :15] = scene.pictures["shN_centroids.webp"].reshape(1, 64, 15, 3)
    scene.pictures["shN_centroids.webp"] = wide.reshape(1, -1, 3)
    scene.meta["shN"]["bands"] = 4
    got, info = read_splats(scene.folder(tmp_path / "four"))
    assert_same(got, want, {})
    assert info.warnings == ("SH degree 4 was reduced to 3; the highest that can be drawn",)


def test_lossy_pictures_are_noticed(tmp_path: Path) -> None:
    """Also behind an extended header, where alpha is."""
    for name in ("means_l.webp", "sh0.webp"):
        scene = encode_v2(random_splats(64, 0))
        folder = scene.folder(tmp_path / name)
        (folder / name).write_bytes(webp(scene.pictures[name], lossless=False, quality=80))
        (warning,) = open_source(folder).info.warnings
        assert warning.startswith(f"texture {name} is lossy WebP")


def test_what_cannot_be_drawn_is_dropped(tmp_path: Path) -> None:
    """null, as older tools wrote infinities, centres beyond float32 and scales whose square is: counted, not drawn."""
    scene = by_hand()
    scene.meta["scales"]["codebook"][0] = None
    scene.meta["scales"]["codebook"][1] = 80.0
    splats, info = read_splats(scene.folder(tmp_path))
    assert (len(splats), info.dropped) == (1, {"NaN or infinity": 2})
    scene.meta["scales"]["codebook"][0] = 0.0
    assert read_splats(scene.folder(tmp_path))[1].dropped == {"scale overflow": 2}
    scene.meta["means"]["maxs"] = [1e4, 2, -1]
    refused(scene.folder(tmp_path), "none of the 3 splats is usable (1 with NaN or infinity, 2 with scale overflow)")
    scene.meta["sh0"]["codebook"][0] = 1e300
    refused(scene.folder(tmp_path), "none of the 3 splats is usable (3 with NaN or infinity)")


def change(key: str, value: Any) -> Callable[[Encoded], None]:
    """Sets a.b.c of meta.json; removes it for ...."""

    def apply(scene: Encoded) -> None:
        at: Any = scene.meta
        *path, last = key.split(".")
        for step in path:
            at = at[step]
        if value is ...:
            del at[last]
        else:
            at[last] = value

    return apply


def picture(name: str, shape: tuple[int, ...], fill: int = 0) -> Callable[[Encoded], None]:
    def apply(scene: Encoded) -> None:
        scene.pictures[name] = np.full(shape, fill, np.uint8)

    return apply


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (change("version", 3), ["SOG version 3 is not supported; versions 1 and 2 are read"]),
        (change("version", "2"), ["field meta.json.version: expected an integer"]),
        (change("count", 0), ["field meta.json.count: expected an integer in 1..268402689, got 0"]),
        (change("count", -5), ["meta.json.count"]),
        (change("count", 2.5), ["meta.json.count"]),
        (change("count", 10**30), ["meta.json.count"]),
        (change("count", ...), ["meta.json.count", "got None"]),
        (change("count", 5), ["texture 'means_l.webp' is 4x1, expected 4x4 for 5 splats"]),
        (change("means", ...), ["field meta.json.means: expected an object"]),
        (change("means.mins", [0, 1]), ["field meta.json.means.mins: expected a list of 3"]),
        (change("means.maxs", [0, 1, "x"]), ["field meta.json.means.maxs[2]: expected a finite number"]),
        (change("means.files", ["means_l.webp"]), ["field meta.json.means.files: expected a list of 2"]),
        (change("scales.codebook", []), ["meta.json.scales.codebook: expected a list of 1 to 256"]),
        (change("scales.codebook", [0.0] * 257), ["meta.json.scales.codebook: expected a list of 1 to 256"]),
        (change("scales.codebook", [0.0, 1.0]), ["texture 'scales.webp' points to entry 2 of a codebook of 2"]),
        (change("sh0.codebook", [0.0, 1.0]), ["texture 'sh0.webp' points to entry 2 of a codebook of 2"]),
        (change("shN.codebook", [0.0]), ["texture 'shN_centroids.webp' points to entry 2 of a codebook of 1"]),
        (change("shN.codebook", [True]), ["meta.json.shN.codebook[0]: expected a finite number, got True"]),
        (change("shN.bands", 5), ["meta.json.shN.bands: expected an integer in 0..4"]),
        (change("shN.bands", 2), ["'shN_centroids.webp' is 192x2, expected a width of 512 (SH degree 2)"]),
        (change("shN.count", 65537), ["meta.json.shN.count: expected an integer in 1..65536"]),
        (change("shN.count", 64), ["'shN_labels.webp' gives splat 1 the SH row 64 of a palette of 64"]),
        (picture("shN_centroids.webp", (1, 192, 3)), ["gives splat 1 the SH row 64 of a palette of 64"]),
        (picture("shN_centroids.webp", (2, 190, 3)), ["is 190x2, expected a width of 192 (SH degree 1)"]),
        (picture("shN_centroids.webp", (1025, 192, 3)), ["is 192x1025", "a height of 1 to 1024"]),
        (picture("sh0.webp", (1, 2, 4)), ["texture 'sh0.webp' is 2x1, expected 4x4 for 3 splats"]),
        (picture("sh0.webp", (2, 2, 4)), ["texture 'sh0.webp' is 2x2, expected 4x1 as 'means_l.webp' is"]),
        (picture("quats.webp", (300, 300, 4)), ["texture 'quats.webp' is 300x300, expected 4x4 for 3 splats"]),
        (change("quats.files", ["../quats.webp"]), ["meta.json.quats.files[0]: expected the name of a file inside"]),
        (change("quats.files", ["/etc/passwd"]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["a/../../b"]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["c:\\x.webp"]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["https://x/y.webp"]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["\0"]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["."]), ["expected the name of a file inside the scene's folder"]),
        (change("quats.files", ["x" * 300]), ["expected a string of at most 255 characters"]),
        (change("quats.files", ["gone\x1b.webp"]), ["file 'gone\\x1b.webp' is"]),
        (change("quats.files", ["meta.json"]), ["texture 'meta.json': not a WebP picture: it starts with b'{"]),
    ],
)
def test_damaged_scenes(tmp_path: Path, damage: Callable[[Encoded], None], parts: list[str]) -> None:
    """The same message of a folder and of an archive."""
    scene = by_hand()
    scene.meta["sh0"]["codebook"] = scene.meta["sh0"]["codebook"][:3]
    assert len(read_splats(scene.folder(tmp_path / "sound"))[0]) == 3
    damage(scene)
    kind = UnsupportedError if scene.meta.get("version") == 3 else FormatError
    refused(scene.folder(tmp_path / "a") / "meta.json", *parts, kind=kind)
    refused(scene.archive(tmp_path / "a.sog"), *parts, kind=kind)


def test_damaged_version_1(tmp_path: Path) -> None:
    for damage, part in (
        (change("means.shape", [9]), "meta.json.means.shape: expected a list of 2"),
        (change("means.shape", [-1, 3]), "expected an integer in 1..268402689, got -1"),
        (change("sh0.mins", [0, 0, 0]), "meta.json.sh0.mins: expected a list of 4"),
        (change("shN.maxs", [1, 2]), "meta.json.shN.maxs: expected a list of 1"),
        (picture("shN_centroids.webp", (1, 200, 3)), "192 (SH degree 1) or 512 (SH degree 2) or 960"),
        (picture("shN_labels.webp", (3, 3, 3), 255), "gives splat 0 the SH row 65535 of a palette of 64"),
    ):
        scene = encode_v1(random_splats(9, 2))
        damage(scene)
        refused(scene.folder(tmp_path), part)


def test_pictures_that_lie(tmp_path: Path) -> None:
    """Every cut of a picture, sizes in headers that the splats cannot fill, animation, other formats."""
    folder = by_hand().folder(tmp_path)
    path = folder / "sh0.webp"
    sound = path.read_bytes()
    for length in range(len(sound)):
        path.write_bytes(sound[:length])
        refused(folder, "sh0.webp")
    at = sound.index(b"VP8L") + 9
    assert sound[at - 1] == 0x2F
    for size, part in ((0x0FFF_FFFF, "is 16384x16384, expected 4x4"), (3 | 1 << 14, "is 4x2, expected 4x1 as")):
        path.write_bytes(sound[:at] + struct.pack("<I", size | 1 << 28) + sound[at + 4 :])
        refused(folder, part)
    frames = io.BytesIO()
    Image.new("RGB", (4, 1)).save(
        frames, "webp", save_all=True, append_images=[Image.new("RGB", (4, 1), "red")], lossless=True
    )
    path.write_bytes(frames.getvalue())
    refused(folder, "an animated WebP, expected one picture")
    for mode, part in (("L", "a PNG of 8 bits and colour type 0"), ("1", "a PNG of 1 bits")):
        Image.new(mode, (4, 1)).save(path, "png")
        refused(folder, part, "expected 8 bits of RGB or RGBA")
    Image.new("RGB", (4, 1)).save(path, "png")
    deep = path.read_bytes()
    path.write_bytes(deep[:24] + b"\x10" + deep[25:])
    refused(folder, "a PNG of 16 bits and colour type 2, expected 8 bits of RGB or RGBA")
    path.write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 40)
    refused(folder, "texture 'sh0.webp': not a WebP picture")
    path.write_bytes(sound + b"x" * (1 << 17))
    refused(folder, "file 'sh0.webp' has", "expected at most 65568")
    path.unlink()
    path.mkdir()
    refused(folder, "file 'sh0.webp' is missing beside it; fetch the whole scene")


def test_many_splats_in_few_bytes(tmp_path: Path) -> None:
    """A picture of one colour compresses to nothing: the count is checked against the bytes before anything decodes."""
    scene = by_hand()
    del scene.meta["shN"]
    scene.meta["count"] = 1_000_000
    scene.pictures = {name: np.zeros((1000, 1000, p.shape[2]), np.uint8) for name, p in scene.pictures.items()}
    folder = scene.folder(tmp_path)
    pictures = sum(p.stat().st_size for p in folder.glob("[mqs]*.webp") if not p.name.startswith("shN"))
    most = 8 * pictures + 65536
    refused(folder, f"1000000 splats in {pictures} bytes of pictures, expected at most {most}")


def test_archives_that_lie(tmp_path: Path) -> None:
    files = by_hand().files()
    path = tmp_path / "a.sog"

    def pack(more: dict[str, bytes]) -> bytes:
        return archive(path, files | more).read_bytes()

    data = pack({})
    for length in [*range(0, len(data) - 22, 97), *range(len(data) - 80, len(data))]:
        path.write_bytes(data[:length])
        refused(path)
    archive(path, {"notes.txt": b"hello"})
    refused(path, "the archive holds no meta.json at its root or in a folder there ('notes.txt'); expected one")
    archive(path, {"a/meta.json": b"{}", "b/meta.json": b"{}"})
    refused(path, "the archive holds 2 meta.json at its root or in a folder")
    archive(path, {"../meta.json": b"{}"})
    refused(path, "the archive holds no meta.json")
    archive(path, {name: data for name, data in files.items() if name != "quats.webp"})
    refused(path, "file 'quats.webp' is not in the archive")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as out:
        for name, content in [*files.items(), ("sh0.webp", b"other")]:
            out.writestr(name, content)
    refused(path, "the archive holds 'sh0.webp' twice")
    with zipfile.ZipFile(path, "w") as out:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o120777 if name == "sh0.webp" else 0o100644) << 16
            out.writestr(entry, content)
    refused(path, "file 'sh0.webp' in the archive is a link")
    archive(path, files, zipfile.ZIP_LZMA)
    refused(path, "is compressed by method 14, expected 0 (stored) or 8 (deflated)", kind=UnsupportedError)
    flags = bytearray(data)
    flags[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(flags)
    refused(path, "file 'meta.json' in the archive is encrypted", kind=UnsupportedError)
    broken = bytearray(data)
    broken[data.index(files["sh0.webp"]) + 40] ^= 1
    path.write_bytes(broken)
    refused(path, "damaged zip archive: Bad CRC-32 for file 'sh0.webp'")


def test_archives_that_would_fill_the_memory(tmp_path: Path) -> None:
    """Bombs: a meta.json of 16 MB of spaces, sizes that lie both ways, an endless directory."""
    files = by_hand().files()
    path = tmp_path / "a.sog"
    bomb = files["meta.json"] + b" " * (16 << 20)
    archive(path, files | {"meta.json": bomb}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    refused(path, f"file 'meta.json' has {len(bomb)} bytes, expected at most 1048576")
    data = path.read_bytes()
    entry = data.index(b"PK\x01\x02")
    for size in (len(files["meta.json"]), 9):  # less than there is: cut there, and then the CRC is wrong
        path.write_bytes(data[: entry + 24] + struct.pack("<I", size) + data[entry + 28 :])
        refused(path, "damaged zip archive: Bad CRC-32")
    archive(path, files, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    entry, size = data.index(b"PK\x01\x02"), len(files["meta.json"])
    path.write_bytes(data[: entry + 24] + struct.pack("<I", size + 5) + data[entry + 28 :])
    refused(path, f"file 'meta.json' has {size} bytes, not the {size + 5} that the archive declares")
    archive(path, files | {f"{i:05}.txt": b"" for i in range(3000)})
    refused(path, "damaged zip archive: a directory of", f"expected at most {sog_files.MAX_DIRECTORY}")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_other_files_are_not_sog(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", {"meta.json": b'{"title": "holiday"}'})
    (tmp_path / "b.json").write_text('{"frames": []}')
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "meta.json").write_text('{"title": "holiday"}')
    assert find_format(tmp_path / "a.zip").name != "sog"
    for name in ("b.json", "folder"):
        with pytest.raises(LensError) as caught:
            find_format(tmp_path / name)
        assert not str(caught.value).startswith("sog")
    for name, data in (("a.sog", b"hello"), ("meta.json", b""), ("b.sog", b"")):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, "neither a zip archive nor a meta.json")
    (tmp_path / "meta.json").write_text("{" + '"a":[' * 5000)
    refused(tmp_path / "meta.json", "not valid JSON")
    (tmp_path / "meta.json").write_text('{"version": NaN}')
    refused(tmp_path / "meta.json", "NaN is not JSON")


VALUES = [None, True, -1, 0, 1, 2.5, 1e308, -1e308, 10**40, "", "sh0.webp", "meta.json", [], [0], [1e308] * 3, {}]


def test_decoded_content_is_mutated(tmp_path: Path) -> None:
    """Texels, sizes and values of meta.json changed, then compressed again: read or refused, in bounded memory."""
    originals = [encode_v2(random_splats(6, 1)), encode_v1(random_splats(6, 1, seed=1)), encode_v2(random_splats(6, 0))]
    fields: list[tuple[int, str, str]] = []
    for i, original in enumerate(originals):
        for key, value in original.meta.items():
            fields += [(i, key, member) for member in (value if isinstance(value, dict) else [""])]
    sound = [original.files() for original in originals]
    texel = st.tuples(st.sampled_from(sorted(originals[0].pictures)), st.floats(0, 1), st.integers(0, 255))
    resized = st.tuples(st.sampled_from(sorted(originals[0].pictures)), st.integers(1, 70), st.integers(1, 20))

    @settings(
        max_examples=200, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from(fields),
        st.one_of(st.sampled_from(VALUES), st.none()),
        st.booleans(),
        st.lists(texel, max_size=6),
        st.lists(resized, max_size=1),
    )
    def check(field: Any, value: Any, set_it: bool, texels: Any, sizes: Any) -> None:
        index, key, member = field
        meta = json.loads(sound[index]["meta.json"])
        if set_it and member:
            meta[key][member] = value
        elif set_it:
            meta[key] = value
        changed = {name: originals[index].pictures[name].copy() for name, *_ in texels + sizes if name in sound[index]}
        for name, at, byte in texels:
            if name in changed:
                flat = changed[name].reshape(-1)
                flat[int(at * (len(flat) - 1))] = byte
        for name, width, height in sizes:
            if name in changed:
                changed[name] = np.resize(changed[name], (height, width, 3))
        check_reads_or_refuses(archive(tmp_path / "a.sog", sound[index] | Encoded(meta, changed).files()))

    before = reset_peak()
    check()
    assert peak_bytes() - before < 64 << 20


def test_planes_go_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded bytes beyond SPOOL_BYTES lie on disk, and the splats are the same."""
    folder = encode_v2(random_splats(3000, 2)).folder(tmp_path)
    want = read_splats(folder)[0]
    rolled = []

    class Spool(tempfile.SpooledTemporaryFile):  # type: ignore[type-arg]
        def rollover(self) -> None:
            rolled.append(self.tell())
            super().rollover()

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Spool)
    for limit, times in ((19 * 3000, 0), (19 * 3000 - 1, 1)):
        monkeypatch.setattr(sog_scene, "SPOOL_BYTES", limit)
        assert_same(read_splats(folder)[0], want, {})
        assert len(rolled) == times


def test_converts_to_lens(tmp_path: Path) -> None:
    """A folder is an input like any file."""
    folder = encode_v2(random_splats(300, 1)).folder(tmp_path / "scene")
    report = convert([folder], tmp_path / "out.lens")
    assert (report.splats, report.sh_degree) == (300, 1)
    assert len(read_splats(tmp_path / "out.lens")[0]) == 300


FIXTURES = Path(__file__).parent / "fixtures" / "sog"


@pytest.mark.parametrize(("name", "degree"), [("sh0", 0), ("sh1.sog", 1), ("sh2.sog", 2), ("sh3/meta.json", 3)])
def test_files_by_splat_transform(name: str, degree: int) -> None:
    """Within the format's steps of what they were made of (their tool cuts where ours rounds: a whole step)."""
    want = random_splats(64, degree, seed=100 + degree)
    want.opacities[0] = 1
    got, info = read_splats(FIXTURES / name)
    assert (info.splats, info.sh_degree, info.dropped, info.warnings) == (64, degree, {}, ())
    steps = {"means": 2e-3, "quats": 0.08, "opacities": 0.045, "scales": 0.02, "sh": 0.03}
    assert_same(in_order_of(got, want), want, steps)


@pytest.mark.parametrize("name", ["sh0", "sh3"])
def test_as_splat_transform_reads_it(name: str) -> None:
    """Its own decoder gives the same float32; opacities it cuts at 1e-6, and stores as logits."""
    got, want = read_splats(FIXTURES / name)[0], read_splats(FIXTURES / f"{name}.ply")[0]
    assert_same(got, want, {"quats": 3e-7, "scales": 2e-6, "opacities": 2e-5})


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "ply", "degree"),
    [
        ("playbot/2_0/meta.json", "ply_converted/playbot_l2_sh2.ply", 2),
        ("karangkidul_semarang/5_9", "ply_converted/semarang_5_9_sh3.ply", 3),
    ],
)
def test_real_scenes(data_dir: Path, name: str, ply: str, degree: int) -> None:
    """Centres and SH equal to the bit those of the PLY that splat-transform made of the same files."""
    got, info = read_splats(data_dir / name)
    want = read_splats(data_dir / ply)[0]
    assert (info.sh_degree, info.dropped, info.warnings) == (degree, {}, ())
    assert_same(got, want, {"quats": 3e-7, "scales": 2e-6, "opacities": 2e-5})


@pytest.mark.data
@pytest.mark.parametrize(("tile", "count"), [(5, 524_471), (6, 524_320), (7, 524_320), (8, 524_471)])
def test_real_headers(data_dir: Path, tile: int, count: int) -> None:
    info = open_source(data_dir / f"karangkidul_semarang/5_{tile}").info
    assert (info.splats, info.sh_degree, len(info.files), info.warnings) == (count, 3, 8, ())
