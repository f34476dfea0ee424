"""The registry of formats as a whole: every entry is tested by the conformance class, and names do not collide."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

from splatlens.converters import FORMATS, find_format, find_writer, open_source
from splatlens.converters.format import ReadOptions, WriteOptions
from splatlens.viewer.errors import LensError, UnsupportedError

TESTS = Path(__file__).resolve().parent


def conformance() -> dict[str, set[str]]:
    """Format names by the conformance classes that test files derive for them."""
    found: dict[str, set[str]] = {}
    for path in TESTS.glob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef):
                continue
            bases = {base.id for base in node.bases if isinstance(base, ast.Name)}
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "format_name":
                    found.setdefault(ast.literal_eval(line.value), set()).update(bases)
    return found


@pytest.mark.parametrize("known", FORMATS, ids=lambda f: f.name)
def test_every_format_is_held_to_the_conformance_class(known) -> None:  # type: ignore[no-untyped-def]
    if known.live or known.name in ("lens", "3dgs-model-folder"):
        return  # their own tests: .lens is quantised by the scene, a folder is a PLY with facts, models hold no splats
    want = "WriterConformance" if known.write is not None else "ReaderConformance"
    assert want in conformance().get(known.name, set()), f"no test class derives {want} for {known.name}"


def test_names_and_extensions() -> None:
    assert len({known.name for known in FORMATS}) == len(FORMATS)
    for known in FORMATS:
        assert all(extension == extension.lower() for extension in known.extensions)
        options = {*ReadOptions.__dataclass_fields__, *WriteOptions.__dataclass_fields__}
        assert set(known.options) <= options
        for extension in known.extensions:
            longest = max(FORMATS, key=lambda f, e=extension: f.matches(f"x{e}"))  # type: ignore[misc]
            assert extension in longest.extensions


def test_the_longest_extension_names_the_writer() -> None:
    assert find_writer(Path("a.b.ply")).name == "3dgs-ply"
    assert find_writer(Path("A.COMPRESSED.PLY")).name == "compressed-ply"
    assert find_writer(Path("x/meta.json")).name == "sog"
    for name in ("lod-meta.json", "a.ksplat", "a.json", "ply", "a.gltf"):
        with pytest.raises(UnsupportedError, match="cannot write"):
            find_writer(Path(name))


@pytest.mark.parametrize("seed", range(40))
def test_noise_is_no_format(tmp_path: Path, seed: int) -> None:
    """Random bytes, texts and archives of something else, under any name, are refused in one line."""
    rng = np.random.default_rng(seed)
    starts = [b"", b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"{", b"glTF", b"RAD0", b"ply\n", b"NGSP", b"\x00\x01\x00\x00"]
    data = starts[seed % len(starts)] + rng.bytes(int(rng.integers(0, 5000)))
    names = ["noise", *(f"noise{extension}" for known in FORMATS for extension in known.extensions)]
    for name in names:
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(LensError) as caught:
            source = open_source(path)
            for _ in source.chunks():
                pass
        message = str(caught.value)
        assert message.startswith(str(tmp_path)) and message.isprintable() and len(message) < 2000


def test_folders_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(LensError, match=r"holds notes\.txt"):
        find_format(tmp_path)
