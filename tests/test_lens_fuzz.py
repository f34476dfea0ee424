"""Thousands of damaged .lens files: each is read right or refused with an error of ours, by Python and JavaScript."""

from __future__ import annotations

import json
import subprocess
import tempfile
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from splatlens.viewer.lens import BlobLayer, LensReader, SplatsLayer, write_lens
from splatlens.viewer.lens_layout import DIRECTORY, HEADER, NODE, PAGE, SECTION, SectionKind
from splatlens.viewer.scene import SceneInfo
from tests.lens_scenes import Tampered, random_tree

#: Values that find what is not checked: ends of ranges, neighbours of limits, signs, and floats that are not numbers.
EDGES = (0, 1, 2, 15, 16, 17, 127, 128, 255, 256, 257, 1 << 15, 1 << 16, *(1 << k for k in (31, 32, 53, 60)))
EDGES += ((1 << 31) - 1, (1 << 32) - 1, (1 << 64) - 1)
FLOATS = (0.0, -1.0, 1e38, np.nan, np.inf, -np.inf)
VALUES = st.sampled_from([*EDGES, *FLOATS, -1, 1.5, "", "x" * 3000, None, True, [], {}, [[]], [0, 0, 0], 10**400])
#: Faults that only show over all pages together; the page reads one at a time and draws what it can.
WHOLE_TREE = ("leaves hold", "expected one;", "larger than its parent's", "are in another page")
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@cache
def scene() -> bytes:
    """Two small splats layers, one of another kind, cameras: every part of the format in about 9 kB."""
    camera = Camera.look_at((3, -1, 3), (0, 0, 0), (0, -1, 0), 50, 640, 360)
    info = SceneInfo(title="Fuzz", camera=camera, cameras=(camera,) * 8)
    layers = [
        SplatsLayer(random_tree(24, 1, sh_degree=1, rows=3, children=5)),
        BlobLayer("mesh", {"a": b"abc" * 50}),
        SplatsLayer(random_tree(18, 2, rows=2)),
    ]
    with tempfile.TemporaryDirectory() as folder:
        write_lens(Path(folder) / "a.lens", layers, info)
        return (Path(folder) / "a.lens").read_bytes()


def contents(data: bytes) -> list[Any]:
    """Everything a reader gets out of a file."""
    reader = LensReader.of_bytes(data, "a.lens")
    out: list[Any] = [reader.facts(), len(reader.cameras()), reader.content_id, reader.blob(1, "a")]
    for layer in reader.splats_layers.values():
        out.append(layer.nodes().support.tobytes())
        for k in range(layer.pages):
            page = layer.page(k)
            out += [page.geometry.words.tobytes(), page.nodes.error.tobytes()]
            out.append(layer.sh_page(k, page).tobytes() if layer.sh_degree else b"")
    return out


def complaint(data: bytes, watch_memory: bool = False) -> str:
    """What is said of a file, nothing where it is read; errors must be ours and name it, and memory stay small."""
    if watch_memory:  # makes it three times slower
        tracemalloc.start()
    try:
        contents(data)
        return ""
    except (FormatError, UnsupportedError) as error:
        assert str(error).startswith("a.lens: "), error
        return str(error)
    finally:
        if watch_memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 64 << 20


def head_length() -> int:
    """Bytes of header, sections, description and first directory blocks."""
    rows = Tampered(scene()).sections
    inside = np.isin(rows["kind"], (SectionKind.INFO, SectionKind.DIRECTORY))
    return int((rows["offset"] + rows["length"])[inside].max())


def test_untouched() -> None:
    assert not complaint(scene()) and len(scene()) < 12_000


def test_cut_anywhere() -> None:
    """Every length, with and without the reader knowing the file's size."""
    data = scene()
    for n in range(0, len(data), 7):
        with pytest.raises(FormatError):
            LensReader.of_bytes(data[:n], "a.lens")
        with pytest.raises(FormatError, match=r"a.lens: .*(empty|ends at byte)"):
            LensReader(lambda offset, length, n=n: data[:n][offset : offset + length], name="a.lens").check()


def test_any_byte_flipped_in_the_head_is_refused() -> None:
    data, rng = scene(), np.random.default_rng(0)
    for at in range(head_length()):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(0, 8))
        with pytest.raises(LensError):
            LensReader.of_bytes(bytes(flipped), "a.lens").check()


@SETTINGS
@given(st.data())
def test_any_byte_flipped_in_a_block_is_noticed(draw: st.DataObject) -> None:
    data = bytearray(scene())
    at = draw.draw(st.integers(head_length(), len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        # Bits that fill up the last byte of a deflate stream mean nothing: then all comes out as it was.
        assert contents(bytes(data)) == contents(scene())
    except FormatError as error:
        assert str(error).startswith("a.lens: ")


@SETTINGS
@given(st.data())
def test_mixed_up_bytes(draw: st.DataObject) -> None:
    """Ranges cut out, doubled, swapped or overwritten."""
    data = scene()
    a, b = sorted(draw.draw(st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))))
    part = draw.draw(st.sampled_from([b"", data[a:b] * 2, bytes(b - a), data[a:b][::-1], data[:20]]))
    complaint(data[:a] + part + data[b:])


@SETTINGS
@given(st.data())
def test_records_with_right_checksums(draw: st.DataObject) -> None:
    """Any field of any record set to values that find what is not checked, checksums mended."""
    complaint(tampered_records(draw), watch_memory=True)


def tampered_records(draw: st.DataObject) -> bytes:
    tampered = Tampered(scene())
    for _ in range(draw.draw(st.integers(1, 3))):
        layer = draw.draw(st.sampled_from([0, 2]))
        names = {"header": HEADER, "sections": SECTION, "directory": DIRECTORY, "entries": PAGE, "nodes": NODE}
        name = draw.draw(st.sampled_from(sorted(names)))
        field = draw.draw(st.sampled_from(names[name].names))
        value = draw.draw(st.sampled_from(EDGES + FLOATS if names[name][field].base.kind == "f" else EDGES))
        pick = draw.draw(st.integers(0, 99))

        def change(rows: np.ndarray, field: str = field, value: float = value, pick: int = pick) -> None:
            column = rows[field]
            flat = column.reshape(-1)
            with np.errstate(all="ignore"):
                whole = (1 << 8 * column.itemsize) - 1
                flat[pick % len(flat)] = value if column.dtype.kind == "f" else int(value) & whole
            column[...] = flat.reshape(column.shape)

        try:
            if name == "nodes":
                tampered.nodes(pick % len(tampered.entries(layer)), change, layer)
            elif name in ("header", "sections"):
                change(getattr(tampered, name))
            else:
                change(getattr(tampered, name)(layer))
        except Exception:  # an earlier change may have taken away what this one needs
            break
    return tampered.bytes()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, v in inner for p in places(v, (*path, key)))]


@SETTINGS
@given(st.data())
def test_descriptions_with_right_checksums(draw: st.DataObject) -> None:
    complaint(tampered_description(draw))


def tampered_description(draw: st.DataObject) -> bytes:
    """Any value of the description replaced, or taken away."""

    def change(text: Any) -> None:
        path = draw.draw(st.sampled_from([p for p in places(text) if p]))
        for key in path[:-1]:
            text = text[key]
        value = draw.draw(VALUES)
        if value is None:
            del text[path[-1]]
        else:
            text[path[-1]] = value

    return Tampered(scene()).info(change).bytes()


def test_both_readers_agree(root: Path, tmp_path: Path) -> None:
    """Node opens what Python opens and refuses what it refuses, over a few hundred files."""
    files: list[bytes] = [scene()]

    @settings(max_examples=250, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def collect(draw: st.DataObject) -> None:
        data, kind = bytearray(scene()), draw.draw(st.integers(0, 3))
        if kind == 0:
            files.append(tampered_records(draw))
        elif kind == 1:
            files.append(tampered_description(draw))
        elif kind == 2:
            data[draw.draw(st.integers(0, len(data) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
            files.append(bytes(data))
        else:
            files.append(bytes(data[: draw.draw(st.integers(0, len(data)))]))

    collect()
    for i, data in enumerate(files):
        (tmp_path / f"{i}.lens").write_bytes(data)
    script = root / "tests" / "js" / "lens_outcomes.mjs"
    done = subprocess.run(["node", script, tmp_path, str(len(files))], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert len(outcomes) == len(files)
    for i, (data, outcome) in enumerate(zip(files, outcomes, strict=True)):
        assert outcome["error"] in (None, "FormatError", "ChangedError", "UnsupportedError"), f"{i}: {outcome}"
        message = complaint(data)
        if any(fault in message for fault in WHOLE_TREE):
            continue
        assert (outcome["error"] is None) == (not message), f"{i}: JavaScript: {outcome}; Python: {message}"
    assert {o["error"] for o in outcomes} >= {None, "FormatError"}
