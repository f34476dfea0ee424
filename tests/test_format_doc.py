"""docs/format.md against the code: every record, number and enumeration it states."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.viewer import lens_layout as layout
from splatlens.viewer.camera import Camera
from splatlens.viewer.lens import MEDIA_TYPE, BlobLayer, LensReader, SplatsLayer, write_lens
from splatlens.viewer.scene import CAMERAS, LAYER_KINDS, THUMBNAIL, SceneInfo
from tests.lens_scenes import random_tree

SCALARS = {"|u1": "u8", "<u2": "u16", "<u4": "u32", "<u8": "u64", "<f4": "f32"}


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs" / "format.md").read_text()


def section(page: str, title: str) -> str:
    """The text under a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.S | re.M)
    assert found, f"no heading {title!r}"
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """The tables of a text: rows of cells, without the heading and the rule below it."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", text, re.M)
    split = [[[c.strip() for c in row.strip("|").split("|")] for row in block.strip().split("\n")] for block in blocks]
    return [rows[2:] for rows in split]


@pytest.mark.parametrize("name", layout.RECORDS)
def test_records(page: str, name: str) -> None:
    record = layout.RECORDS[name]
    title = {"Section": "Section table"}.get(name, name)
    rows = tables(section(page, title))[0]
    want = []
    for field in record.names or ():
        kind, offset = record.fields[field][:2]
        n = int(np.prod(kind.shape, dtype=int))
        scalar = SCALARS[kind.base.str]
        want.append([str(offset), str(kind.itemsize), scalar if not kind.shape else f"{scalar}[{n}]", field])
    assert [row[:4] for row in rows] == want
    assert all(row[4] for row in rows), "every field is explained"
    assert sum(int(row[1]) for row in rows) == record.itemsize


def test_enumerations(page: str) -> None:
    kinds = tables(section(page, "Section table"))[1]
    assert [(int(r[0]), r[1]) for r in kinds] == [(int(k), k.name) for k in layout.SectionKind]
    encoding = next(r for r in tables(section(page, "Section table"))[0] if r[3] == "encoding")
    assert [f"{int(e)}: {e.name.lower()}" for e in layout.Encoding] == re.findall(r"\d: \w+", encoding[4])
    flags = next(r for r in tables(section(page, "Node"))[0] if r[3] == "flags")[4]
    assert re.findall(r"bit (\d+): (\w+)", flags) == [(str(int(f).bit_length() - 1), f.name) for f in layout.NodeFlag]
    layers = tables(section(page, "Information"))[1]
    assert [r[0].strip("`") for r in layers] == list(LAYER_KINDS)


def test_numbers(page: str) -> None:
    magic = " ".join(f"{b:02X}" for b in layout.MAGIC)
    facts = [
        f"# The `.lens` file, version {layout.VERSION}\n",
        f"Media type: `{MEDIA_TYPE}`",
        f"first {layout.HEAD_BYTES:,} bytes",
        f"first {layout.DIRECTORY_ENTRIES} pages",
        f"`{magic}`",
        f"64 + {layout.SECTION.itemsize} `section_count`",
        f"| 1 to {layout.MAX_SECTIONS:,} |",
        f"| 1 to {layout.MAX_LAYERS} |",
        f"at most {layout.MAX_INFO_BYTES:,} bytes decoded",
        f"at most 2^{layout.MAX_DATA_BYTES.bit_length() - 1} bytes decoded",
        f"holds 1 to {layout.DIRECTORY_ENTRIES} entries",
        f"({layout.DIRECTORY.itemsize} + {layout.DIRECTORY_ENTRIES} x {layout.PAGE.itemsize})",
        f"1 to {layout.PAGE_CLUSTERS} |",
        f"splats, 1 to {layout.CLUSTER_SPLATS} |",
        f"0 to {layout.MAX_CHILDREN} consecutive clusters",
        f"at most {layout.MAX_DEFLATE_RATIO:,} times",
        f"What the cut needs to know of a cluster, {layout.NODE.itemsize} bytes",
        f"The {layout.CONTENT_ID_BYTES} bytes before each stream",
        f"Header, {layout.HEADER.itemsize} bytes",
        "- **1.0**: ",
    ]
    text = page.replace("\n", " ") + page
    assert [fact for fact in facts if fact not in text and fact.replace("\n", " ") not in text] == []
    assert page.count("0xFFFFFFFF") >= 4 and layout.NONE == 0xFFFFFFFF


def test_members_of_the_description(page: str, tmp_path: Path) -> None:
    """A scene with everything: what is written is documented, and what is documented is written."""
    camera = Camera.look_at((3, -1, 3), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    thumbnail = b"\x89PNG\r\n\x1a\n" + bytes(100)
    info = SceneInfo("a", "b", "c", "d", "e", camera=camera, cameras=(camera,), thumbnail=thumbnail)
    layers: list[Any] = [SplatsLayer(random_tree(20, sh_degree=1)), BlobLayer("mesh", {"x": b"y"})]
    write_lens(tmp_path / "a.lens", layers, info)
    text: dict[str, Any] = LensReader.open(tmp_path / "a.lens").text.value
    own = section(page, "Information")
    documented = [name.strip("` ") for row in tables(own)[0] for name in row[0].split(",")]
    assert sorted(documented) == sorted(text)
    for row in tables(own)[0]:
        required = {name.strip("` ") for name in row[0].split(",")} & {"up", "background", "attachments", "layers"}
        assert bool(required) == ("required" in row[2]), row
    assert sorted(text["attachments"]) == sorted([CAMERAS, THUMBNAIL])
    assert f"`{CAMERAS}`" in own and f"`{THUMBNAIL}`" in own
    splats = tables(own)[2]
    assert sorted(row[0].strip("`") for row in splats) == sorted(text["layers"][0]["properties"])
    kernel = next(row for row in splats if row[0] == "`kernel`")[2]
    assert set(re.findall(r"`(\w+)`", kernel)) == set(text["layers"][0]["properties"]["kernel"])
    layer = re.search(r"\*\*Layer\*\*: (.*?)\n\n", own, re.S)
    assert layer and {m for m in re.findall(r"`(\w+)` \(", layer[1])} == set(text["layers"][1])
    described = re.search(r"\*\*Camera\*\*.*?: (.*?)\n\n", own, re.S)
    assert described and set(re.findall(r"`(\w+)`", described[1])) == set(text["camera"])


def test_words_of_rfc_2119_and_links(page: str, root: Path) -> None:
    assert "RFC 2119" in page and len(re.findall(r"\bMUST\b", page)) > 5
    for target in re.findall(r"\]\(([\w-]+\.md)\)", page):
        assert (root / "docs" / target).exists(), target
