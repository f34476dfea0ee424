"""docs/format-mesh.md against the code: records, members, limits; and a page read by the document alone."""

from __future__ import annotations

import io
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from splatlens.viewer import mesh, mesh_codec, mesh_lens, mesh_look, mesh_texels
from splatlens.viewer.mesh import Plain, plain_look
from tests.mesh_layers import layer_of, looks, network_look, tree
from tests.test_format_doc import SCALARS, section, tables


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "format-mesh.md").read_text()


@pytest.mark.parametrize("name", mesh_lens.RECORDS)
def test_records(page: str, name: str) -> None:
    record = mesh_lens.RECORDS[name]
    want = []
    for field in record.names or ():
        kind, offset = (record.fields or {})[field][:2]
        n, scalar = int(np.prod(kind.shape, dtype=int)), SCALARS[kind.base.str]
        want.append([str(offset), str(kind.itemsize), scalar if not kind.shape else f"{scalar}[{n}]", field])
    rows = tables(section(page, name))[0]
    assert [row[:4] for row in rows] == want and all(row[4] for row in rows)


def test_the_page_has_the_same_records(root: Path) -> None:
    text = (root / "static" / "mesh" / "nodes.js").read_text()
    for name, record in mesh_lens.RECORDS.items():
        found = re.search(rf"export const {name.upper()} = .*?\(\[(.*?)\]\);", text, re.S)
        assert found
        sizes = [(f, record[f].base.itemsize, int(np.prod(record[f].shape, dtype=int))) for f in record.names or ()]
        assert [(n, int(s), int(k)) for n, s, k in re.findall(r'\["(\w+)", (\d), (\d)\]', found[1])] == sizes


def test_members(page: str) -> None:
    """What is written is documented, for every method, and what is documented is written."""
    common, own = (tables(section(page, "Properties"))[i] for i in range(2))
    names = {m.strip("` ") for row in common for m in row[0].split(",")}
    for method, look in looks().items():
        made = layer_of(look)
        extra = {m.strip("` ") for row in own if row[1] == f"`{method}`" for m in row[0].split(",")}
        assert names | extra == set(made.properties)
        blobs = {"nodes", "pages.0", "weights"} | ({"directions"} if method == "lightfield" else set())
        assert set(made.blobs) == blobs
    documented = {row[0].split(",")[0].strip("`") for row in tables(section(page, "Blobs"))[0]}
    assert documented == {"nodes", "pages.0", "weights", "directions"}
    inputs = next(row for row in own if row[0] == "`layers`")[3]
    assert set(re.findall(r"`(\w+)` \(", inputs)) == set(layer_of(network_look()).properties["layers"][0])


def test_numbers(page: str, root: Path) -> None:
    facts = [
        f"1 to {mesh_lens.MAX_NODES:,} |",
        f"1 to {mesh.MAX_FEATURES}, up to {mesh.MAX_CHANNELS} for `lightfield`",
        f"list of 1 to {mesh.MAX_WIDTH} |",
        f"list of 1 to {mesh.MAX_LAYERS} |",
        f"1 to {mesh.MAX_LOBES}; channels",
        f"1 to {mesh_look.MAX_SIDE:,} |",
        f"V, at most {mesh_codec.MAX_VERTICES:,}",
        f"at most {mesh_texels.MAX_SIDE:,}; 0 where",
        f"at most 2^{mesh_codec.MAX_PAGE_WORDS.bit_length() - 1} words",
        f"Mode {mesh_codec.BITS}:",
        f"Mode d, 0 to {mesh_codec.MAX_DECIMALS}:",
        f"Mode {mesh_codec.FRESH}: n minus",
        f"Mode {mesh_codec.STEPS}: differences",
    ]
    assert [fact for fact in facts if fact not in page] == []
    scripts = [(root / "static" / "mesh" / f"{name}.js").read_text() for name in ("decode", "nodes", "look")]
    constants = [
        f"MAX_VERTICES = {mesh_codec.MAX_VERTICES}, MAX_SIDE = {mesh_texels.MAX_SIDE};",
        f"BITS = {mesh_codec.BITS}, MAX_DECIMALS = {mesh_codec.MAX_DECIMALS}, FRESH = 0, STEPS = 1;",
        f"MAX_NODES = 2 ** {mesh_lens.MAX_NODES.bit_length() - 1}, MAX_PAGE_WORDS = 2 ** 25;",
        f"MAX_CHANNELS: {mesh.MAX_CHANNELS}, MAX_FEATURES: {mesh.MAX_FEATURES}, MAX_WIDTH: {mesh.MAX_WIDTH}, "
        f"MAX_LAYERS: {mesh.MAX_LAYERS}, MAX_LOBES: {mesh.MAX_LOBES}, MAX_SIDE: {mesh_look.MAX_SIDE} }}",
    ]
    assert [one for one in constants if not any(one in text for text in scripts)] == []


def test_a_page_read_by_the_document_alone() -> None:
    """Steps of the document, one number at a time, with nothing of the codec."""
    for look in (plain_look(5, empty=2), plain_look(3)):
        given, made = tree(look), layer_of(look)
        assert isinstance(look.method, Plain)
        size, c = 61, look.channels
        nodes, pages = made.blobs["nodes"][: 7 * size], made.blobs["nodes"][7 * size :]
        counts = {name: np.frombuffer(nodes, t, 7, 7 * at) for name, t, at in
                  (("T", "<u4", 48), ("V", "<u4", 52), ("w", "<u2", 56), ("h", "<u2", 58))}  # fmt: skip
        part, offset, length, crc = np.frombuffer(pages, "<u4").reshape(4, 3)
        for k, span in enumerate((range(1), range(1, 5), range(5, 7))):
            data = made.blobs[f"pages.{part[k]}"][offset[k] : offset[k] + length[k]]
            assert zlib.crc32(data) == crc[k]
            v, t = ([int(counts[name][i]) for i in span] for name in "VT")
            w, h = ([int(counts[name][i]) for i in span] for name in "wh")
            head = np.frombuffer(data, "<u4", 2 + 2 * len(span)).tolist()
            at = 8 + 8 * len(span)
            body = zlib.decompress(data[at : at + head[0]])
            assert len(body) == head[1]
            at += head[0]
            read = Reader(body)
            modes = list(read.take(6))
            repeats = read.numbers(sum(v), 2)
            fresh = repeats.count(0)
            textured = sum(n for n, wide in zip(v, w, strict=True) if wide)
            floats = [read.floats(n, mode) for n, mode in zip([fresh] * 3 + [textured] * 2, modes, strict=False)]
            rows = [list(read.take(sum(v) - textured)) for _ in range(c)]
            values = [[sum(row[: i + 1]) % 256 for row in rows] for i in range(sum(v) - textured)]
            corners = read.numbers(3 * sum(t), 2)
            assert read.at == len(body)
            new = vertex = uv = value = corner = last = 0
            for j, i in enumerate(span):
                want, seen, places = given.surfaces[i], [], []
                for _ in range(v[j]):
                    if repeats[vertex] == 0:
                        seen.append(tuple(column[new] for column in floats[:3]))
                        new += 1
                    places.append(seen[-1] if repeats[vertex] == 0 else seen[-repeats[vertex]])
                    vertex += 1
                n, triangles = 0, []
                for _ in range(3 * t[j]):
                    last = n - corners[corner] if modes[5] == 0 else (last + corners[corner]) % 65536
                    n = max(n, last + 1)
                    triangles.append(last)
                    corner += 1
                got = np.array(places, np.float32)[triangles]
                assert got.tobytes() == want.positions[want.triangles.ravel()].tobytes()
                picture = data[at : at + head[2 + 2 * j]]
                at += len(picture)
                if not w[j]:
                    assert want.values is not None and not picture
                    own = np.array(values[value : value + v[j]], np.uint8)
                    assert (own[triangles] == want.values[want.triangles.ravel()]).all()
                    value += v[j]
                    continue
                assert want.uvs is not None and want.texels is not None
                own = np.array([column[uv : uv + v[j]] for column in floats[3:]], np.float32).T
                assert (own[triangles] == want.uvs[want.triangles.ravel()]).all()
                uv += v[j]
                pixels = np.asarray(Image.open(io.BytesIO(picture)))
                planes = pixels.reshape(-(-c // 3), h[j], w[j], 3).transpose(1, 2, 0, 3).reshape(h[j], w[j], -1)
                texels = np.where(planes[..., look.empty, None] == 0, 0, planes) if look.empty is not None else planes
                texels = np.ascontiguousarray(texels[..., :c], np.uint8)
                there = np.ones((h[j], w[j]), np.bool_) if look.empty is None else want.texels[..., look.empty] > 0
                assert (texels[there] == want.texels[there]).all() and not texels[~there].any()
                assert zlib.adler32(texels.tobytes()) == head[3 + 2 * j]
            assert at == len(data)


class Reader:
    """Columns of a geometry."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        self.at += n
        return self.data[self.at - n : self.at]

    def numbers(self, count: int, size: int) -> list[int]:
        rows = [self.take(count) for _ in range(size)]
        return [sum(row[i] << 8 * k for k, row in enumerate(rows)) for i in range(count)]

    def signless(self, count: int) -> list[int]:
        return [-(code + 1) // 2 if code % 2 else code // 2 for code in self.numbers(count, 4)]

    def floats(self, count: int, mode: int) -> list[np.float32]:
        steps = self.signless(count)
        sums = [sum(steps[: i + 1]) % 2**32 for i in range(count)]
        if mode == 255:
            return [unordered(n) for n in sums]
        whole = [n - 2**32 if n >= 2**31 else n for n in sums]
        return [
            unordered((ordered(np.float32(k / 10**mode)) + rest) % 2**32)
            for k, rest in zip(whole, self.signless(count), strict=True)
        ]


def ordered(value: np.float32) -> int:
    bits = int(np.array(value, np.float32).view(np.uint32))
    return bits ^ 0xFFFFFFFF if bits >> 31 else bits | 1 << 31


def unordered(number: int) -> np.float32:
    bits = number & ~(1 << 31) if number >> 31 else number ^ 0xFFFFFFFF
    return np.uint32(bits).view(np.float32)
