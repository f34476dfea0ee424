"""glTF with KHR_gaussian_splatting: layout by hand, drafts, scene graphs, other tools' files, every kind of damage."""

from __future__ import annotations

import base64
import copy
import json
import struct
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.converters import (
    ReadOptions,
    Source,
    SourceInfo,
    WriteOptions,
    gltf_write,
    open_source,
    read_splats,
    write_splats,
)
from splatlens.converters.gltf_colour import decode_srgb, display_sh, encode_srgb
from splatlens.converters.gltf_file import BLOCK_BYTES, open_container
from splatlens.converters.transform import transformed
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.reference import sh_basis
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats, covariances, rotation_matrices
from tests.conformance import ReaderConformance, WriterConformance, assert_same, check_reads_or_refuses, random_splats

EXT = "KHR_gaussian_splatting"
SPZ = f"{EXT}_compression_spz_2"
FIXTURES = Path(__file__).parent / "fixtures" / "gltf"
Json = dict[str, Any]

#: Quaternions are normalised on reading.
TOLERANCE = {"quats": 2e-7}
#: Half a turn about z: glTF's frame and back.
TURN = np.diag([-1.0, -1.0, 1.0, 1.0])


class TestGlb(WriterConformance):
    format_name = "gltf"
    file_name = "scene.glb"
    tolerance = TOLERANCE
    mutations = 700


class TestEmbedded(ReaderConformance):
    """A .gltf with base64, by the encoder below."""

    format_name = "gltf"
    tolerance = TOLERANCE
    mutations = 400

    def make(self, folder: Path, splats: Splats) -> Path:
        return save_gltf(folder / "scene.gltf", *asset(attributes_of(splats)))


def attributes_of(splats: Splats) -> dict[str, np.ndarray]:
    """Attributes in glTF's frame, by hand: x and y negated, the same turn for rotations and harmonics."""
    s = transformed(splats, TURN)
    out = {"POSITION": s.means, "ROTATION": s.quats[:, [1, 2, 3, 0]], "SCALE": s.scales, "OPACITY": s.opacities}
    orders = [(degree, n) for degree in range(splats.sh_degree + 1) for n in range(2 * degree + 1)]
    return out | {f"SH_DEGREE_{degree}_COEF_{n}": s.sh[:, k] for k, (degree, n) in enumerate(orders)}


CODES = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}


def asset(*primitives: dict[str, np.ndarray], normalised: tuple[str, ...] = (), **members: Any) -> tuple[Json, bytes]:
    """An asset of one mesh, and its only buffer: an encoder apart from the writer's."""
    made: Json = {"asset": {"version": "2.0"}, "extensionsUsed": [EXT], "nodes": [{"mesh": 0}]}
    made |= {"scene": 0, "scenes": [{"nodes": [0]}], "accessors": [], "bufferViews": [], "meshes": [{"primitives": []}]}
    data = b""
    for arrays in primitives:
        used = {}
        for name, array in arrays.items():
            used[name if name in ("POSITION", "COLOR_0") else f"{EXT}:{name}"] = len(made["accessors"])
            width = array.shape[1] if array.ndim == 2 else 1
            accessor = {"bufferView": len(made["bufferViews"]), "componentType": CODES[array.dtype.str[1:]]}
            accessor |= {"count": len(array), "type": "SCALAR" if width == 1 else f"VEC{width}"}
            made["accessors"].append(accessor | ({"normalized": True} if name in normalised else {}))
            made["bufferViews"].append({"buffer": 0, "byteOffset": len(data), "byteLength": array.nbytes})
            data += array.tobytes() + bytes(-array.nbytes % 4)
        extension = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
        made["meshes"][0]["primitives"].append({"attributes": used, "mode": 0, "extensions": {EXT: extension}})
    made["buffers"] = [{"byteLength": len(data)}]
    return made | members, data


def save_glb(path: Path, made: Json, data: bytes | None) -> Path:
    text = json.dumps(made).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if data is not None:
        chunks += struct.pack("<I4s", len(data), b"BIN\0") + data
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


def save_gltf(path: Path, made: Json, data: bytes) -> Path:
    uri = "data:application/octet-stream;base64," + base64.b64encode(data).decode()
    path.write_text(json.dumps(made | {"buffers": [{"byteLength": len(data), "uri": uri}]}))
    return path


def extension_of(made: Json) -> Json:
    found: Json = made["meshes"][0]["primitives"][0]["extensions"][EXT]
    return found


def refused(path: Path, kind: type[LensError], *parts: str) -> None:
    with pytest.raises(kind) as caught:
        read_splats(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    for part in parts:
        assert part in message, message


def test_written_bytes(tmp_path: Path) -> None:
    """Two splats with SH 1, byte by byte against the documents."""
    splats = Splats(
        np.array([[1, 2, 3], [-4, 5, 6]], np.float32),
        np.array([[0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0]], np.float32),
        np.array([[0.1, 0.2, 0.3], [1, 2, 3]], np.float32),
        np.array([0.25, 1.5], np.float32),
        np.arange(24, dtype=np.float32).reshape(2, 4, 3) / 8,
    )
    path = tmp_path / "a.glb"
    size = write_splats(path, splats)
    data = path.read_bytes()
    assert (len(data), data[:8]) == (size, b"glTF\x02\0\0\0")
    length, room = struct.unpack("<II", data[8:16])
    assert (length, room % 4, data[16:20]) == (size, 0, b"JSON")
    made = json.loads(data[20 : 20 + room])
    chunk, kind = struct.unpack("<I4s", data[20 + room : 28 + room])
    # POSITION 12, COLOR_0 4, ROTATION 16, SCALE 12, OPACITY 4, four coefficients of 12: 96 bytes a splat.
    assert (chunk, kind, len(data) - 28 - room) == (192, b"BIN\0", 192)
    assert made["buffers"] == [{"byteLength": 192}]
    assert [v["byteOffset"] for v in made["bufferViews"]] == [0, 24, 32, 64, 88, 96, 120, 144, 168]
    assert {v["target"] for v in made["bufferViews"]} == {34962}
    primitive = made["meshes"][0]["primitives"][0]
    names = ["POSITION", "COLOR_0", *(f"{EXT}:{n}" for n in ("ROTATION", "SCALE", "OPACITY", "SH_DEGREE_0_COEF_0"))]
    names += [f"{EXT}:SH_DEGREE_1_COEF_{n}" for n in range(3)]
    assert primitive["attributes"] == {name: i for i, name in enumerate(names)}
    assert primitive["mode"] == 0
    assert primitive["extensions"] == {EXT: {
        "kernel": "ellipse", "colorSpace": "srgb_rec709_display",
        "projection": "perspective", "sortingMethod": "cameraDistance",
    }}  # fmt: skip
    assert made["extensionsUsed"] == [EXT]
    first = made["accessors"][0]
    assert (first["min"], first["max"], first["count"], first["type"]) == ([-1, -5, 3], [4, -2, 6], 2, "VEC3")
    assert made["accessors"][1]["componentType"] == 5121 and made["accessors"][1]["normalized"] is True
    body = data[28 + room :]
    floats = np.frombuffer(body, "<f4")
    assert floats[:6].tolist() == [-1, -2, 3, 4, -5, 6]
    # f_dc 0, 1/8, 2/8 gives 0.5, 0.5353, 0.5705, in linear light 0.2140, 0.2480, 0.2854; f_dc 12/8 to 14/8
    # gives 0.9231, 0.9584, 0.9937: 0.8340, 0.9080, 0.9857.
    assert list(body[24:32]) == [55, 63, 73, 64, 213, 232, 251, 255]
    quats = floats[8:16].reshape(2, 4)
    turned = rotation_matrices(np.roll(quats, 1, axis=1).astype(np.float64))
    cov = turned @ np.apply_along_axis(np.diag, 1, splats.scales.astype(np.float64) ** 2) @ turned.transpose(0, 2, 1)
    half = np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_allclose(cov, half @ covariances(splats) @ half, rtol=1e-6)
    np.testing.assert_array_equal(floats[16:22].reshape(2, 3), splats.scales)
    assert floats[22:24].tolist() == [0.25, 1]
    # Real harmonics of degree 1 are -y, z, -x: half a turn about z negates the first and the last.
    signs = np.array([1, -1, 1, -1])[:, None, None]
    np.testing.assert_array_equal(floats[24:].reshape(4, 2, 3), splats.sh.transpose(1, 0, 2) * signs)


def test_facts_survive(tmp_path: Path) -> None:
    splats = random_splats(9, 0)
    camera = Camera.look_at((1, -2, -5), (0, 0, 1), (0.1, -1, 0), 40, 1920, 1080)
    info = SourceInfo(tmp_path / "x", "test", 9, 0, 0, cameras=(camera,), antialias=True, dilation=0.1)
    info = replace(info, title="A “house”", attribution="Ada", licence="CC-BY-4.0")
    write_splats(tmp_path / "a.glb", splats, info)
    got = open_source(tmp_path / "a.glb").info
    assert (got.title, got.attribution, got.licence) == (info.title, "Ada", "CC-BY-4.0")
    assert (got.antialias, got.dilation, got.up, got.warnings) == (True, 0.1, (0, -1, 0), ())
    assert json.loads((tmp_path / "a.glb").read_bytes()[20:].split(b"BIN\0")[0][:-4])["asset"]["copyright"] == "Ada"
    again = got.cameras[0]
    np.testing.assert_allclose(again.world_to_camera, camera.world_to_camera, atol=2e-7)
    np.testing.assert_allclose([again.width, again.height, again.fx, again.fy], [1920, 1080, camera.fx, camera.fy])
    assert open_source(tmp_path / "a.glb", ReadOptions(as_stored=True)).info.up == (0, 1, 0)


def test_as_stored(tmp_path: Path) -> None:
    splats = random_splats(20, 3)
    write_splats(tmp_path / "a.glb", splats)
    got, _ = read_splats(tmp_path / "a.glb", options=ReadOptions(as_stored=True))
    assert_same(got, transformed(splats, TURN), TOLERANCE)


def test_rows_moved_together_hold_every_plane(tmp_path: Path) -> None:
    """Fewer rows than promised leave no gaps: the same bytes as when the number was right."""
    splats = random_splats(500, 2)
    write_splats(tmp_path / "a.glb", splats)
    source = Source.of(splats)
    gltf_write.write_glb(tmp_path / "b.glb", Source(replace(source.info, splats=77_777), source.read), WriteOptions())
    assert (tmp_path / "b.glb").read_bytes() == (tmp_path / "a.glb").read_bytes()


def test_more_than_the_length_fields_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gltf_write, "MOST_BYTES", 40_000)
    with pytest.raises(LensError, match=r"a\.glb: 1000 splats need \d+ bytes, and a \.glb holds 40000 at most; write"):
        write_splats(tmp_path / "a.glb", random_splats(1000, 0))
    assert list(tmp_path.iterdir()) == []
    # What is promised may be too much where filters leave little.
    source = Source.of(random_splats(100, 0))
    promised = Source(replace(source.info, splats=10**9), source.read)
    gltf_write.write_glb(tmp_path / "a.glb", promised, WriteOptions())
    assert open_source(tmp_path / "a.glb").info.splats == 100


def test_only_binary_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a\.gltf: cannot write \.gltf; writable are .*\.glb"):
        write_splats(tmp_path / "a.gltf", random_splats(3, 0))
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_write(tmp_path: Path) -> None:
    def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
        yield from ()

    source = Source(SourceInfo(Path("none"), "test", 9, 0, 0), read)
    with pytest.raises(FormatError, match="no splats to write"):
        gltf_write.write_glb(tmp_path / "a.glb", source, WriteOptions())
    assert list(tmp_path.iterdir()) == []


def test_component_types(tmp_path: Path) -> None:
    """Every type of the specification's table, against values worked out by hand."""
    base = attributes_of(random_splats(2, 0))
    quats = np.array([[127, 0, 0, 0], [0, 0, 90, -90]], "i1")
    cases: list[tuple[str, np.ndarray, bool, list[list[float]]]] = [
        ("ROTATION", quats, True, [[1, 0, 0, 0], [0, 0, 0.5**0.5, -(0.5**0.5)]]),
        ("ROTATION", (quats.astype("i2") * 258), True, [[1, 0, 0, 0], [0, 0, 0.5**0.5, -(0.5**0.5)]]),
        ("SCALE", np.array([[1, 2, 3], [4, 5, 255]], "u1"), False, [[1, 2, 3], [4, 5, 255]]),
        ("SCALE", np.array([[51, 255, 3], [1, 2, 4]], "u1"), True, [[0.2, 1, 3 / 255], [1 / 255, 2 / 255, 4 / 255]]),
        ("SCALE", np.array([[1, 300, 3], [4, 5, 6]], "u2"), False, [[1, 300, 3], [4, 5, 6]]),
        ("SCALE", np.array([[13107, 65535, 1], [1, 1, 1]], "u2"), True, [[0.2, 1, 1 / 65535], [1 / 65535] * 3]),
        ("OPACITY", np.array([51, 255], "u1"), True, [[0.2], [1]]),
        ("OPACITY", np.array([13107, 65535], "u2"), True, [[0.2], [1]]),
        ("POSITION", np.array([[-128, 127, 1], [2, 3, 4]], "i1"), False, [[-128, 127, 1], [2, 3, 4]]),
        ("POSITION", np.array([[-128, 127, 0], [0, 0, 0]], "i1"), True, [[-1, 1, 0], [0, 0, 0]]),
        ("POSITION", np.array([[-32768, 32767, 0], [0, 0, 0]], "i2"), True, [[-1, 1, 0], [0, 0, 0]]),
        ("POSITION", np.array([[65535, 7, 0], [0, 0, 0]], "u2"), False, [[65535, 7, 0], [0, 0, 0]]),
    ]
    for name, array, normalised, want in cases:
        made, data = asset(base | {name: array}, normalised=(name,) if normalised else ())
        got, info = read_splats(save_glb(tmp_path / "a.glb", made, data), options=ReadOptions(as_stored=True))
        quats_xyzw = got.quats[:, [1, 2, 3, 0]]
        field = {"ROTATION": quats_xyzw, "SCALE": got.scales, "OPACITY": got.opacities[:, None], "POSITION": got.means}
        np.testing.assert_allclose(field[name], want, rtol=1e-6, err_msg=f"{name} {array.dtype}")
        assert info.warnings == ()


def test_interleaved_rows(tmp_path: Path) -> None:
    """One view with byteStride for all attributes, as engines like it."""
    splats = random_splats(50, 1)
    arrays = attributes_of(splats)
    made, _ = asset(arrays)
    rows = np.concatenate([np.asarray(a).reshape(50, -1) for a in arrays.values()], axis=1)
    at = 0
    for accessor, array in zip(made["accessors"], arrays.values(), strict=True):
        accessor |= {"bufferView": 0, "byteOffset": at}
        at += array.nbytes // 50
    made["bufferViews"] = [{"buffer": 0, "byteOffset": 8, "byteLength": rows.nbytes, "byteStride": at}]
    made["buffers"] = [{"byteLength": rows.nbytes + 8}]
    path = save_glb(tmp_path / "a.glb", made, bytes(8) + rows.tobytes())
    for rows_asked in (7, 50):
        assert_same(Splats.concatenate(list(open_source(path).chunks(rows_asked))), splats, TOLERANCE)
    made["bufferViews"][0]["byteStride"] = at - 4
    save_glb(path, made, bytes(8) + rows.tobytes())
    assert len(read_splats(path)[0]) <= 50  # overlapping rows are legal; a stride below the row is not
    made["bufferViews"][0]["byteStride"] = 4
    refused(save_glb(path, made, bytes(8) + rows.tobytes()), FormatError, "bufferViews[0].byteStride", "12..252")


def test_data_uris_are_read_by_range(tmp_path: Path) -> None:
    """Base64 decoded at any offset and length, with and without padding, equals all of it at once."""
    for size in (1, 2, 3, 300, 301, 302):
        data = np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes()
        for padding in (True, False):
            text = base64.b64encode(data).decode().rstrip("" if padding else "=")
            made = {"asset": {"version": "2.0", "x": "data:,y"}, "buffers": [{"byteLength": size}]}
            made["buffers"][0]["uri"] = f"data:a/b;base64,{text}"  # type: ignore[index]
            path = tmp_path / "a.gltf"
            whole = json.dumps(made)
            # The start of the URI straddles the blocks in which the file is read.
            path.write_text(" " * (BLOCK_BYTES - 9 - whole.index('"data:a/b')) + whole)
            container = open_container(path)
            buffer = container.buffer(0)
            with container.opened() as reader:
                for first in range(0, size, max(1, size // 13)):
                    for length in {1, (size - first) // 2 or 1, size - first}:
                        assert reader.read(buffer, first, length) == data[first : first + length]


def test_embedded_data_costs_no_memory(tmp_path: Path) -> None:
    splats = random_splats(60_000, 0)
    path = save_gltf(tmp_path / "a.gltf", *asset(attributes_of(splats)))
    assert path.stat().st_size > 4_000_000
    open_source(path)
    tracemalloc.start()
    source = open_source(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    for _ in source.chunks(2048):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_external_buffers(tmp_path: Path) -> None:
    splats = random_splats(30, 1)
    made, data = asset(attributes_of(splats))
    folder = tmp_path / "scene"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "my splats.bin").write_bytes(data)
    path = folder / "scene.gltf"

    def named(uri: str, length: int = len(data)) -> Path:
        path.write_text(json.dumps(made | {"buffers": [{"byteLength": length, "uri": uri}]}))
        return path

    got, info = read_splats(named("data/my%20splats.bin"))
    assert_same(got, splats, TOLERANCE)
    assert info.files == (path, folder / "data" / "my splats.bin")
    assert info.bytes == path.stat().st_size + len(data)
    refused(named("data/my%20splats.bin", len(data) + 1), FormatError, f"should have {len(data) + 1} bytes")
    refused(named("gone.bin"), FormatError, "buffers[0]: no file 'gone.bin' beside it")
    refused(named("data"), FormatError, "no file 'data'")
    (tmp_path / "secret.bin").write_bytes(data)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "out").symlink_to(tmp_path)
    tricks = ["../secret.bin", "data/../../secret.bin", "%2e%2e/secret.bin", "..%2Fsecret.bin"]
    tricks += [str(tmp_path / "secret.bin"), "link.bin", "out/secret.bin", "file:///etc/passwd", "http://host/a.bin"]
    tricks += ["..\\secret.bin", "a\0b", "C:x"]
    for uri in tricks:
        refused(named(uri), UnsupportedError, "only files in the asset's own folder are read")


def placed(made: Json, **node: Any) -> Json:
    return made | {"nodes": [{"mesh": 0} | node]}


def turned(axis: list[float], degrees: float) -> tuple[list[float], np.ndarray]:
    """xyzw and the (3, 3) of a rotation, by Rodrigues' formula."""
    u = np.array(axis) / np.linalg.norm(axis)
    a = np.radians(degrees)
    k = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
    return [*(u * np.sin(a / 2)).tolist(), float(np.cos(a / 2))], np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def test_hierarchy_and_instances(tmp_path: Path) -> None:
    """World matrices down a tree, one mesh in two nodes, in depth-first order, as `transformed` places splats."""
    splats = random_splats(40, 3)
    made, data = asset(attributes_of(splats))
    q, r = turned([1, 2, 3], 50)
    outer = np.eye(4)
    outer[:3, :3], outer[:3, 3] = 2 * r, (1, 2, 3)
    inner = np.array([[0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]], float)
    made["nodes"] = [
        {"children": [2, 1], "rotation": q, "scale": [2, 2, 2], "translation": [1, 2, 3]},
        {"mesh": 0},
        {"mesh": 0, "matrix": inner.T.ravel().tolist()},
        {"mesh": 0, "name": "in no scene"},
    ]
    got, info = read_splats(save_glb(tmp_path / "a.glb", made, data))
    assert (info.splats, len(got)) == (80, 80)
    inner_, outer_ = (TURN @ m @ TURN for m in (outer @ inner, outer))
    for part, matrix in ((slice(0, 40), inner_), (slice(40, 80), outer_)):
        want = transformed(splats, matrix)
        error = np.abs(covariances(got.take(part)) - covariances(want)).max(axis=(1, 2))
        assert (error < 2e-6 * want.scales.max(axis=1) ** 2).all()
        assert_same(replace(got.take(part), quats=want.quats), want, {"means": 2e-6, "scales": 1e-6, "sh": 1e-5})
    made["scenes"] = [{}, {"nodes": [3]}]
    made["scene"] = 1
    assert_same(read_splats(save_glb(tmp_path / "a.glb", made, data))[0], splats, TOLERANCE)
    del made["scene"], made["scenes"]
    assert open_source(save_glb(tmp_path / "a.glb", made, data)).info.splats == 120  # all roots


def test_uneven_scales(tmp_path: Path) -> None:
    """The covariance is M C C^T M^T and SH turn by the rotation of M ("Ellipse Kernel", "Splat Lighting")."""
    splats = random_splats(200, 2)
    q, r = turned([3, -1, 2], 70)
    made, data = asset(attributes_of(splats))
    path = save_glb(tmp_path / "a.glb", placed(made, rotation=q, scale=[0.5, 3, 1.25], translation=[1, 0, 0]), data)
    got, info = read_splats(path, options=ReadOptions(as_stored=True))
    m = r @ np.diag([0.5, 3, 1.25])
    stored = transformed(splats, TURN)
    want = m @ covariances(stored) @ m.T
    error = np.abs(covariances(got) - want).max(axis=(1, 2)) / np.abs(want).max(axis=(1, 2))
    assert error.max() < 1e-6
    np.testing.assert_allclose(got.means, stored.means @ m.T + [1, 0, 0], rtol=1e-5, atol=1e-5)
    rotation = np.eye(4)
    rotation[:3, :3] = r
    np.testing.assert_allclose(got.sh, transformed(stored, rotation).sh, atol=2e-6)
    assert info.warnings == ()
    splats.quats[:] = 1, 0, 0, 0  # axes that stay axes: quaternions with components of zero
    made, data = asset(attributes_of(splats))
    got, _ = read_splats(save_glb(path, placed(made, scale=[2, 3, 4]), data))
    want = np.apply_along_axis(np.diag, 1, (splats.scales.astype(np.float64) * [2, 3, 4]) ** 2)
    np.testing.assert_allclose(covariances(got), want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("node", "part"),
    [
        ({"matrix": [1, 0, 0, 0, 0.5, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}, "shears, flattens or mirrors unevenly"),
        ({"scale": [1, 1, 0]}, "shears, flattens or mirrors unevenly"),
        ({"scale": [1, 2, -3]}, "shears, flattens or mirrors unevenly"),
        ({"scale": [1e200, 1e200, 1e200]}, "shears, flattens"),
        ({"matrix": [1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}, "shears"),
    ],
)
def test_transforms_that_splats_cannot_follow(tmp_path: Path, node: Json, part: str) -> None:
    made, data = asset(attributes_of(random_splats(3, 0)))
    refused(save_glb(tmp_path / "a.glb", placed(made, **node), data), UnsupportedError, "nodes[0]: ", part)


def test_mirror_images(tmp_path: Path) -> None:
    """Undefined by the extension; drawn as a mirror would show it."""
    splats = random_splats(20, 3)
    made, data = asset(attributes_of(splats))
    path = save_glb(tmp_path / "a.glb", placed(made, scale=[-2, -2, -2]), data)
    assert_same(read_splats(path)[0], transformed(splats, np.diag([-2.0, -2, -2, 1])), {"quats": 2e-7, "scales": 1e-6})


def test_several_primitives_and_other_kinds(tmp_path: Path) -> None:
    """Splats of all primitives follow each other, padded to the highest SH degree; triangles are left out, and said."""
    a, b = random_splats(30, 3, seed=1), random_splats(20, 0, seed=2)
    made, data = asset(attributes_of(a), attributes_of(b))
    made["meshes"][0]["primitives"].insert(1, {"attributes": {"POSITION": 0}})
    made["meshes"][0]["primitives"].append({"attributes": {"POSITION": 0}, "mode": 0})
    got, info = read_splats(save_glb(tmp_path / "a.glb", made, data))
    assert (len(got), info.sh_degree) == (50, 3)
    assert_same(got.take(slice(0, 30)), a, TOLERANCE)
    np.testing.assert_array_equal(got.sh[30:, :1], b.sh)
    assert not got.sh[30:, 1:].any()
    left_out = "a primitive that holds no splats (triangles, lines or points) was left out (2 primitives)"
    assert info.warnings == (left_out,)


def test_drafts_with_logarithms(tmp_path: Path) -> None:
    splats = random_splats(100, 0)
    splats.scales[::2] *= 1000  # logarithms of either sign
    arrays = attributes_of(splats)
    arrays["SCALE"] = np.log(arrays["SCALE"])
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    np.testing.assert_allclose(got.scales, splats.scales, rtol=3e-6)
    assert len(info.warnings) == 1 and "SCALE is taken for logarithms" in info.warnings[0]
    for scales in ([3, -2, 0], [3, 2, 1]):  # a signed type is enough
        arrays["SCALE"] = np.array([scales] * 100, "i1")
        got, _ = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
        np.testing.assert_allclose(got.scales[0], np.exp(scales), rtol=1e-6)
    arrays["SCALE"] = np.zeros((100, 3), "f4")
    assert (read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))[0].scales == 1).all()
    # A scale of zero beside others is a disc, and no draft.
    arrays["SCALE"] = splats.scales * np.array([1, 0, 1], np.float32)
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    assert info.warnings == () and (got.scales[:, 1] < 1e-30).all()


def test_negative_scales_past_the_rows_looked_at(tmp_path: Path) -> None:
    splats = random_splats(70_000, 0)
    arrays = attributes_of(splats)
    arrays["SCALE"][1050] = -1  # between the blocks looked at, of 1024 rows every 1093
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    assert (len(got), info.dropped) == (69_999, {"a negative scale": 1})


def test_rows_that_cannot_be_drawn(tmp_path: Path) -> None:
    arrays = attributes_of(random_splats(9, 1))
    arrays["POSITION"][0, 1] = np.nan
    arrays["SCALE"][1, 2] = np.inf
    arrays["ROTATION"][2] = 0
    arrays["OPACITY"][3] = np.inf
    arrays["SH_DEGREE_1_COEF_2"][4, 0] = -np.inf
    arrays["OPACITY"][5:7] = 3, -1
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    assert info.dropped == {"NaN or infinity": 2, "scale overflow": 1, "zero quaternion": 1}
    assert got.opacities[1:3].tolist() == [1, 0]


def test_draft_colours(tmp_path: Path) -> None:
    """COLOR_0 stands in for SH, and its alpha for OPACITY; linear light where the final extension names the space."""
    splats = random_splats(2, 0)
    arrays = attributes_of(splats)
    del arrays["SH_DEGREE_0_COEF_0"], arrays["OPACITY"]
    arrays["COLOR_0"] = np.array([[0, 51, 255, 51], [255, 0, 0, 255]], "u1")
    made, data = asset(arrays, normalised=("COLOR_0",))
    for space, value in (("srgb_rec709_display", 0.4845292), (None, 0.2), ("BT.709-sRGB", 0.2)):
        extension_of(made)["colorSpace"] = space
        got, info = read_splats(save_glb(tmp_path / "a.glb", made, data))
        np.testing.assert_allclose(got.sh[0, 0] * 0.28209479 + 0.5, [0, value, 1], atol=1e-6)
        np.testing.assert_allclose(got.opacities, [0.2, 1], rtol=1e-6)
        assert info.warnings == ("colours come from COLOR_0, as there are no spherical harmonics",)


def test_kernels(tmp_path: Path) -> None:
    """An unknown kernel falls back to the ellipse where its attributes are there, as the extension suggests."""
    splats = random_splats(5, 1)
    made, data = asset(attributes_of(splats))
    extension_of(made)["kernel"] = "customShape"
    got, info = read_splats(save_glb(tmp_path / "a.glb", made, data))
    assert_same(got, splats, TOLERANCE)
    assert info.warnings == ("kernel 'customShape' is unknown; drawn as 'ellipse', as the specification suggests",)
    del made["meshes"][0]["primitives"][0]["attributes"][f"{EXT}:SCALE"]
    path = save_glb(tmp_path / "a.glb", made, data)
    refused(path, UnsupportedError, "kernel 'customShape' is not supported, and the splats have no SCALE")
    made["extensionsRequired"] = [EXT, "EXT_gaussian_splatting_kernel_customShape"]
    path = save_glb(tmp_path / "a.glb", made, data)
    refused(path, UnsupportedError, "requires 'EXT_gaussian_splatting_kernel_customShape', which is not supported")


def test_unknown_words_are_said(tmp_path: Path) -> None:
    made, data = asset(attributes_of(random_splats(5, 0)))
    extension_of(made).update(colorSpace="x" * 150, projection="fisheye", sortingMethod="none")
    made["meshes"][0]["primitives"][0]["mode"] = 4
    warnings = " / ".join(open_source(save_glb(tmp_path / "a.glb", made, data)).info.warnings)
    for part in ("colour space 'xxx", "projection 'fisheye' is unknown", "sortingMethod 'none'", "is 4, not 0"):
        assert part in warnings


def test_degrees(tmp_path: Path) -> None:
    """Degree 4 is reduced, an incomplete degree left out; both are said."""
    splats = random_splats(5, 3)
    arrays = attributes_of(splats)
    arrays |= {f"SH_DEGREE_4_COEF_{n}": arrays["SH_DEGREE_0_COEF_0"] for n in range(9)}
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    assert_same(got, splats, TOLERANCE)
    assert info.warnings == ("SH of degree 4 was reduced to degree 3",)
    del arrays["SH_DEGREE_2_COEF_3"]
    got, info = read_splats(save_glb(tmp_path / "a.glb", *asset(arrays)))
    np.testing.assert_array_equal(got.sh, splats.sh[:, :4])
    assert info.warnings == ("SH degree 2 is incomplete; it and higher ones were left out",)


def test_curves() -> None:
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(encode_srgb(decode_srgb(x)), x, atol=1e-6)
    got = encode_srgb(np.array([0.2140411, 0.0031308, -0.2140411]))
    np.testing.assert_allclose(got, [0.5, 0.0404499, -0.5], atol=1e-6)


def test_linear_light(tmp_path: Path) -> None:
    """Exact at degree 0; above it near the converted colours in every direction, for harmonics as trained ones."""
    rng = np.random.default_rng(5)
    directions = rng.normal(size=(300, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # The last is far from any trained scene: harmonics that swing to 30 times what a display shows.
    for degree, spread, limit in ((0, 0.03, 1e-7), (1, 0.03, 2.5e-4), (3, 0.03, 1.4e-3), (3, 2, 0.12)):
        k = SH_COEFFICIENTS[degree]
        sh = rng.normal(0, spread, (200, k, 3)).astype(np.float32)
        sh[:, 0] = rng.uniform(-1.2, 1.2, (200, 3))
        basis = sh_basis(directions, k)
        want = encode_srgb(np.maximum(np.einsum("dk,nkc->ndc", basis, sh) + 0.5, 0)).clip(0, 1)
        shown = (np.einsum("dk,nkc->ndc", basis, display_sh(sh)) + 0.5).clip(0, 1)
        assert np.sqrt(np.mean((shown - want) ** 2)) < limit
    splats = random_splats(4, 0)
    made, data = asset(attributes_of(splats))
    extension_of(made)["colorSpace"] = "lin_rec709_display"
    got, info = read_splats(save_glb(tmp_path / "a.glb", made, data))
    np.testing.assert_array_equal(got.sh, display_sh(splats.sh))
    assert len(info.warnings) == 1 and "linear light" in info.warnings[0]


def spz_asset(stream: bytes, where: str) -> tuple[Json, bytes]:
    made: Json = {"asset": {"version": "2.0"}, "nodes": [{"mesh": 0, "translation": [1, 2, 3]}]}
    made |= {"extensionsUsed": [EXT, SPZ], "extensionsRequired": [EXT, SPZ], "buffers": [{"byteLength": len(stream)}]}
    made["bufferViews"] = [{"buffer": 0, "byteLength": len(stream)}]
    made["accessors"] = [{"componentType": 5126, "count": 300, "type": "VEC3"}]
    held: Json = {SPZ: {"bufferView": 0}}
    held = {EXT: {"extensions": held}} if where == "inside" else {EXT: {}} | held if where == "beside" else held
    made["meshes"] = [{"primitives": [{"attributes": {"POSITION": 0}, "mode": 0, "extensions": held}]}]
    return made, stream + bytes(-len(stream) % 4)


@pytest.mark.parametrize("where", ["inside", "beside", "alone"])
def test_spz_streams(tmp_path: Path, where: str) -> None:
    """The stream's coordinates are the node's; a source may be read again, and long after it was opened."""
    splats = random_splats(300, 2)
    write_splats(tmp_path / "a.spz", splats)
    stored, spz_info = read_splats(tmp_path / "a.spz", options=ReadOptions(as_stored=True))
    path = save_glb(tmp_path / "a.glb", *spz_asset((tmp_path / "a.spz").read_bytes(), where))
    source = open_source(path)
    assert (source.info.format, source.info.splats, source.info.sh_degree) == ("gltf", 300, 2)
    assert source.info.antialias == bool(spz_info.antialias)
    matrix = np.eye(4)
    matrix[:3, 3] = 1, 2, 3
    want = transformed(stored, TURN @ matrix)
    for rows in (64, 1000):
        assert_same(Splats.concatenate(list(source.chunks(rows))), want, {"quats": 2e-7})


def test_damaged_spz_streams_name_the_asset(tmp_path: Path) -> None:
    write_splats(tmp_path / "a.spz", random_splats(300, 0))
    stream = (tmp_path / "a.spz").read_bytes()
    for damaged in (stream[:100], b"nonsense" * 9, stream[:8] + b"\xff\xff\xff\x7f" + stream[12:]):
        path = save_glb(tmp_path / "a.glb", *spz_asset(damaged, "inside"))
        refused(path, FormatError, "SPZ stream of meshes[0].primitives[0]")
    assert not [name for name in tmp_path.iterdir() if name.suffix not in (".spz", ".glb")]


GOOD, GOOD_DATA = asset(attributes_of(random_splats(4, 1)))


def changed(path: str, value: Any) -> Json:
    """GOOD with the member at a path such as "accessors.0.count" replaced, removed where the value is ... ."""
    made = copy.deepcopy(GOOD)
    *way, last = [int(p) if p.isdecimal() else p for p in path.split("/")]
    owner: Any = made
    for step in way:
        owner = owner[step]
    if value is ...:
        del owner[last]
    else:
        owner[last] = value
    return made


ATTRIBUTES = "meshes/0/primitives/0/attributes"


@pytest.mark.parametrize(
    ("path", "value", "kind", "parts"),
    [
        ("asset/version", "1.0", UnsupportedError, ["glTF version '1.0'; version 2.0 is read"]),
        ("asset/version", "3.0", UnsupportedError, ["glTF version '3.0'"]),
        ("asset", ..., FormatError, ["field glTF.asset"]),
        ("extensionsRequired", ["MPEG_buffer_circular"], UnsupportedError, ["requires 'MPEG_buffer_circular'"]),
        ("meshes", ..., FormatError, ["nodes[0].mesh"]),
        ("nodes/0/mesh", 1, FormatError, ["nodes[0].mesh", "0..0"]),
        ("nodes/0/mesh", -1, FormatError, ["nodes[0].mesh"]),
        ("nodes", [{"children": [0], "mesh": 0}], FormatError, ["nodes[0] is reached twice"]),
        ("nodes", [{"children": [1, 2]}, {"children": [2]}, {"mesh": 0}], FormatError, ["nodes[2] is reached twice"]),
        ("nodes/0/rotation", [0, 0, 0, 0], FormatError, ["a unit quaternion"]),
        ("nodes/0/matrix", [1] * 15, FormatError, ["nodes[0].matrix", "a list of 16"]),
        ("nodes/0", {"name": "empty"}, UnsupportedError, ["no node of its scene shows the splats"]),
        ("scene", 1, FormatError, ["glTF.scene"]),
        ("meshes/0/primitives/0/extensions", ..., UnsupportedError, [f"no primitive has {EXT}: a mesh, not splats"]),
        ("meshes/0/primitives/0/indices", 0, UnsupportedError, ["splats with indices"]),
        (f"{ATTRIBUTES}/POSITION", ..., FormatError, ["the splats have no POSITION"]),
        (f"{ATTRIBUTES}/{EXT}:OPACITY", ..., FormatError, ["the splats have no OPACITY"]),
        (f"{ATTRIBUTES}/{EXT}:SH_DEGREE_0_COEF_0", ..., FormatError, ["no SH_DEGREE_0_COEF_0"]),
        (f"{ATTRIBUTES}/{EXT}:ROTATION", 0, FormatError, ["ROTATION is 3 x float, expected 4 x float"]),
        (f"{ATTRIBUTES}/{EXT}:OPACITY", 1e9, FormatError, ["integer in 0..7"]),
        ("accessors/1/count", 3, FormatError, ["accessors[1] has 3 rows, POSITION 4"]),
        ("accessors/0/count", 5, FormatError, ["5 rows need 60 bytes of bufferViews[0], which has 48"]),
        ("accessors/0/count", 0, FormatError, ["accessors[0].count"]),
        ("accessors/0/count", 2**62, FormatError, ["accessors[0].count"]),
        ("accessors/0/count", 2**39, FormatError, ["rows need"]),
        ("accessors/0/byteOffset", 4, FormatError, ["4 rows need 52 bytes"]),
        ("accessors/0/componentType", 5124, FormatError, ["componentType", "5126"]),
        ("accessors/0/componentType", 5125, FormatError, ["POSITION is 3 x unsigned int"]),
        ("accessors/3/componentType", 5121, FormatError, ["OPACITY is 1 x unsigned byte, expected"]),
        ("accessors/0/normalized", True, FormatError, ["not float"]),
        ("accessors/0/type", "VEC9", FormatError, ["accessors[0].type", "VEC3"]),
        ("accessors/0/sparse", {"count": 1}, UnsupportedError, ["accessors[0] is sparse"]),
        ("accessors/0/bufferView", ..., UnsupportedError, ["accessors[0] has no bufferView"]),
        ("accessors/0/bufferView", 8, FormatError, ["accessors[0].bufferView", "0..7"]),
        ("bufferViews/0/byteLength", 1e6, FormatError, ["bufferViews[0] ends at byte 1000000 of buffers[0]"]),
        ("bufferViews/0/byteOffset", 2**53, FormatError, ["ends at byte"]),
        ("bufferViews/0/extensions", {"EXT_meshopt_compression": {}}, UnsupportedError, ["EXT_meshopt_compression"]),
        ("buffers/0/byteLength", 10**6, FormatError, ["buffers[0] should have 1000000 bytes, but"]),
        ("buffers/0/uri", "data:text/plain,abc", FormatError, ["a data URI of another kind than base64"]),
        ("buffers/0/uri", "data:7", FormatError, ["a data URI of another kind"]),
        ("buffers/0/uri", "data:;base64,AAAA", FormatError, ["should have", "but 3 are there"]),
        ("buffers", ..., FormatError, ["bufferViews[0].buffer", "the asset has no buffers"]),
    ],
)  # fmt: skip
def test_damaged_json(tmp_path: Path, path: str, value: Any, kind: type[LensError], parts: list[str]) -> None:
    refused(save_glb(tmp_path / "a.glb", changed(path, value), GOOD_DATA), kind, *parts)


def test_text_that_is_no_base64(tmp_path: Path) -> None:
    text = base64.b64encode(GOOD_DATA).decode()
    for bad in ("!" + text[1:], text[:40] + "\\n" + text[42:], text[:8] + "====" + text[12:]):
        made = json.dumps(GOOD | {"buffers": [{"byteLength": len(GOOD_DATA), "uri": "@"}]})
        (tmp_path / "a.gltf").write_text(made.replace('"@"', f'"data:;base64,{bad}"'))
        refused(tmp_path / "a.gltf", FormatError, "buffers[0]: not base64")
    (tmp_path / "a.gltf").write_text(made.split("@")[0] + "data:;base64," + text)
    refused(tmp_path / "a.gltf", FormatError, "the file ends within embedded data")


def header(version: int = 2, length: int = 20, chunk: bytes = b"\0\0\0\0JSON") -> bytes:
    return struct.pack("<4sII", b"glTF", version, length) + chunk


@pytest.mark.parametrize(
    ("data", "kind", "parts"),
    [
        (b"glTF", FormatError, ["the file ends after 4 bytes, in the header"]),
        (header(1), UnsupportedError, ["binary glTF version 1; version 2 is read"]),
        (header(3), UnsupportedError, ["binary glTF version 3"]),
        (header(length=21), FormatError, ["promises 21 bytes, the file has 20: truncated"]),
        (header(length=12), FormatError, ["the first chunk is no JSON"]),
        (header(chunk=b"\0\0\0\0BIN\0"), FormatError, ["the first chunk is no JSON"]),
        (header(chunk=b"\x01\0\0\0JSON"), FormatError, ["the chunk at byte 12 should have 1 bytes, but 0 are left"]),
        (header(chunk=b"\xff\xff\xff\xffJSON"), FormatError, ["should have 4294967295 bytes"]),
        (header(), FormatError, ["not valid JSON"]),
        (header(length=22, chunk=b"\x02\0\0\0JSON[]"), FormatError, ["expected an object"]),
        (header(length=24, chunk=b"\x04\0\0\0JSON\xff\xfe{}"), FormatError, ["not valid JSON"]),
        (header(length=20 + 60_000, chunk=b"\x60\xea\0\0JSON" + b"[" * 60_000), FormatError, ["not valid JSON"]),
    ],
)  # fmt: skip
def test_damaged_containers(tmp_path: Path, data: bytes, kind: type[LensError], parts: list[str]) -> None:
    path = tmp_path / "a.glb"
    path.write_bytes(data)
    refused(path, kind, *parts)


def test_json_that_is_too_long(tmp_path: Path) -> None:
    """Eight megabytes at most, found before it is parsed or held."""
    path = tmp_path / "a.gltf"
    path.write_bytes(b'{"asset": {"version": "2.0"}, "x": [' + b"[],\n" * 8_000_000 + b"[]]}")
    tracemalloc.start()
    refused(path, UnsupportedError, "more than 8388608 bytes of JSON")
    assert tracemalloc.get_traced_memory()[1] < 32 << 20
    tracemalloc.stop()


def test_instances_beyond_belief(tmp_path: Path) -> None:
    """A small file cannot ask for billions of rows by showing the same ones again."""
    made, data = asset(attributes_of(random_splats(1000, 0)))
    made["meshes"][0]["primitives"] *= 3000
    made["nodes"] = [{"mesh": 0}] * 2000
    made["scenes"][0]["nodes"] = list(range(2000))
    refused(save_glb(tmp_path / "a.glb", made, data), UnsupportedError, "66000000 splats or more in 66000 pieces")
    del made["meshes"][0]["primitives"][10:]
    refused(save_glb(tmp_path / "a.glb", made, data), UnsupportedError, "splats or more in", "not a plausible scene")


def test_truncated_at_every_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    write_splats(path, random_splats(2, 0))
    data = path.read_bytes()
    for end in [*range(0, 64), *range(64, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:end])
        with pytest.raises(LensError):
            read_splats(path)


def test_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    write_splats(path, random_splats(1000, 0))
    source = open_source(path)
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(FormatError, match=r"buffers\[0\]: the file was cut short while it was read"):
        list(source.chunks())


def test_trailing_bytes_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    write_splats(path, random_splats(2, 0))
    path.write_bytes(path.read_bytes() + b"more")
    assert open_source(path).info.warnings == ("4 bytes after the end of the asset were ignored",)


def leaves(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Ways to every member and element, containers too."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(leaf for key, inner in items for leaf in leaves(inner, (*way, key)))]


NASTY = [
    None, True, -1, 0, 1, 3, 0.5, 252, 5120, 5121, 5126, 2**31, 2**63, 1e308, -1e308, 10**400, "", "x", "VEC4",
    "data:0", "../x", "\x1b[31m", [], [0], [0] * 3, [1e200] * 3, [1] * 16, {}, {"mesh": 0}, [[]],
]  # fmt: skip


def test_mutated_json(tmp_path: Path) -> None:
    """Any value of the JSON replaced, in a sound container: read or refused in one line."""
    camera = {"type": "perspective", "perspective": {"yfov": 0.7, "aspectRatio": 1.5, "znear": 0.01}}
    nodes = [{"mesh": 0, "children": [1], "scale": [2, 2, 2]}, {"camera": 0, "rotation": [0, 0, 0, 1]}]
    extra = {"nodes": nodes, "cameras": [camera], "extensionsRequired": [EXT]}
    extras = {"splatlens": {"antialias": True, "dilation": 0.3}, "title": "t"}
    own = {"version": "2.0", "copyright": "x", "extras": extras}
    whole = GOOD | extra | {"asset": own}
    ways = leaves(whole)[1:]
    path = tmp_path / "a.glb"

    @settings(
        max_examples=500,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.tuples(st.sampled_from(ways), st.sampled_from(NASTY)), min_size=1, max_size=3))
    def check(changes: list[tuple[tuple[Any, ...], Any]]) -> None:
        made = copy.deepcopy(whole)
        for way, value in changes:
            owner: Any = made
            try:
                for step in way[:-1]:
                    owner = owner[step]
                owner[way[-1]] = copy.deepcopy(value)
            except (LookupError, TypeError):
                pass  # an earlier change took the place away
        save_glb(path, made, GOOD_DATA)
        check_reads_or_refuses(path)

    check()


def test_a_file_of_splat_transform() -> None:
    """Its GLB of our PLY reads as the splats the PLY was made of: the same frame, half a turn about z."""
    got, info = read_splats(FIXTURES / "splat_transform_3.7.0.glb")
    want = random_splats(24, 3, seed=24)
    assert (info.warnings, info.up) == ((), (0, -1, 0))
    np.testing.assert_allclose(covariances(got), covariances(want), rtol=1e-4, atol=1e-9)
    assert_same(replace(got, quats=want.quats), want, {"scales": 4e-6, "opacities": 2e-6, "sh": 1e-6})


#: POSITION, ROTATION, SCALE (logarithms), OPACITY and colour space of the matrix; what a name says stands below.
MATRIX: Json = {
    "rotation_f32": {}, "rotation_i8_norm": {}, "rotation_i16_norm": {},
    "scale_f32": {"scale": [0.2, -0.1, 0.7], "linear": False},
    "scale_i8": {"scale": [1, -2, 3]}, "scale_i8_norm": {"scale": [1, 0, -1]},
    "scale_i16": {"scale": [2, -3, 4]}, "scale_i16_norm": {"scale": [1, 0, -1]},
    "opacity_f32": {"opacity": 0.75}, "opacity_u8_norm": {"opacity": 64 / 255},
    "opacity_u16_norm": {"opacity": 16384 / 65535},
    "sh_degree0": {}, "sh_degree1": {"degree": 1}, "sh_degree2": {"degree": 2}, "sh_degree3": {"degree": 3},
}  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("suffix", ["glb", "gltf"])
def test_conformance_matrix(data_dir: Path, suffix: str) -> None:
    """Fifteen meshes, one splat each, of a draft with logarithms: values as the names of the meshes say."""
    got, info = read_splats(data_dir / f"khr_gaussian_splatting/khr_conformance_matrix.{suffix}")
    assert (len(got), info.sh_degree, info.dropped, len(info.cameras)) == (15, 3, {}, 1)
    assert len(info.warnings) == 2
    np.testing.assert_allclose(got.means, [[-1, -2, 3]] * 15)
    for i, (name, facts) in enumerate(MATRIX.items()):
        scale = np.exp(facts.get("scale", [0, 0.5, -0.5]))
        np.testing.assert_allclose(got.scales[i], scale, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(got.opacities[i], facts.get("opacity", 0.25), rtol=1e-6, err_msg=name)
        # Half a turn about x (xyzw 1, 0, 0, 0), then the frame's about z: the axes keep their lines.
        np.testing.assert_allclose(covariances(got)[i], np.diag(scale**2), rtol=1e-5, atol=1e-6 * scale.max() ** 2)
        k = SH_COEFFICIENTS[facts.get("degree", 0)]
        stored = np.arange(k)[:, None] + np.array([0.1, 0.2, 0.3])
        if facts.get("linear", True):
            stored = display_sh(stored[None].astype(np.float32))[0]
            colour = 0.5 + 0.28209479 * np.array([0.1, 0.2, 0.3])
            shown = 1.055 * colour ** (1 / 2.4) - 0.055
            if k == 1:
                np.testing.assert_allclose(0.5 + 0.28209479 * got.sh[i, 0], shown, rtol=1e-6)
        # By band -y z -x; xy -yz . -xz .; and so on: the sign of x and y at half a turn about z.
        signs = np.array([1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1])[:k, None]
        np.testing.assert_allclose(got.sh[i, :k], stored * signs, rtol=1e-5, err_msg=name)
        assert not got.sh[i, k:].any()
    # At (4, 5, 6) in glTF's frame, looking along its -z.
    camera = info.cameras[0]
    np.testing.assert_allclose(camera.position, [-4, -5, 6], atol=1e-12)
    np.testing.assert_allclose(camera.world_to_camera[2, :3], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(camera.fov_y, 45, atol=1e-6)


@pytest.mark.data
def test_conformance_fallback(data_dir: Path) -> None:
    got, info = read_splats(data_dir / "khr_gaussian_splatting/khr_extensible_fallback.gltf")
    assert len(info.warnings) == 4 and "'customShape'" in info.warnings[0]
    np.testing.assert_allclose(got.means, [[-1, -2, 3]])
    np.testing.assert_allclose(got.scales, [[1, 1, 1]])
    np.testing.assert_allclose(got.opacities, [0.5])
    linear = 0.28209479 * np.array([1, 2, 3])
    np.testing.assert_allclose(0.5 + 0.28209479 * got.sh[0, 0], 1.055 * linear ** (1 / 2.4) - 0.055, rtol=1e-4)


@pytest.mark.data
def test_real_scene_round_trip(data_dir: Path, tmp_path: Path) -> None:
    splats, _ = read_splats(data_dir / "train1000/train-1000.ply")
    write_splats(tmp_path / "a.glb", splats)
    got, info = read_splats(tmp_path / "a.glb")
    assert_same(got, splats, TOLERANCE)
    assert info.warnings == ()
