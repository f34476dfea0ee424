"""Checkpoints of PyTorch read without it: files torch wrote in every layout, and hostile ones that must do nothing."""

from __future__ import annotations

import io
import os
import pickle
import random
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splatlens.converters import checkpoint, restricted_pickle
from splatlens.converters.checkpoint import read_checkpoint, state_dict
from splatlens.converters.restricted_pickle import Inert
from splatlens.viewer.errors import FormatError, LensError, UnsupportedError
from tests.checkpoint_files import Call, Global, Writer, save, save_parts

FIXTURES = Path(__file__).parent / "fixtures/checkpoints"
FLOATS = b"X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"


@pytest.mark.parametrize("name", ["state.zip.pth", "state.legacy.pth", "traced.pt", "scripted.pt", "big.zip.pth"])
def test_every_layout(name: str) -> None:
    got = state_dict(FIXTURES / name)
    with np.load(FIXTURES / "expected.npz") as expected:
        assert list(got) == expected.files
        for key in expected.files:
            assert got[key].dtype == expected[key].dtype
            np.testing.assert_array_equal(got[key], expected[key])


@pytest.mark.parametrize("name", ["mixed.zip.pth", "mixed.legacy.pth"])
def test_every_type(name: str) -> None:
    got = read_checkpoint(FIXTURES / name)
    base = np.arange(24, dtype=np.float32)
    want = {
        "half": np.array([1.5, -2], np.float16), "double": np.array([[1 / 3]]), "bool": np.array([True, False, True]),
        "long": np.array([-(2**40), 7]), "int": np.array([-5, 5], np.int32), "short": np.array([-300], np.int16),
        "char": np.array([-7], np.int8), "byte": np.array([255], np.uint8), "complex": np.array([1 + 2j], np.complex64),
        "scalar": np.array(3.25, np.float32), "empty": np.zeros((0, 3), np.float32),
        "view": base.reshape(4, 6)[1:, ::2].T, "shared": base[6:], "expanded": np.full((2, 3), 2, np.float32),
        "parameter": np.array([0.5], np.float32),
        # 1e30 in 8 bits of mantissa.
        "bfloat16": np.array([1.5, -3, 0x7149 * 65536], np.float32),
    }  # fmt: skip
    want["bfloat16"][2:] = np.array([0x714A << 16], np.uint32).view(np.float32)
    for key, array in want.items():
        assert got[key].dtype == array.dtype, key
        np.testing.assert_array_equal(got[key], array, key)
    assert got["size"] == (2, 3)
    assert got["dtype"].name == "torch.float16"
    assert (got["device"], got["numpy"]) == ("cpu", 0.1)
    assert [got["list"][0][0], got["list"][1][0][0], got["list"][1][1]] == [1, 2, "x"]
    assert got["adam"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert {"list.0", "list.1.0", "view"} <= set(state_dict(FIXTURES / name))
    with pytest.raises(ValueError, match="read-only"):
        got["view"][0, 0] = 1


def test_modules_are_inert() -> None:
    got = read_checkpoint(FIXTURES / "traced.pt")
    assert isinstance(got, Inert)
    assert got.name == "__torch__.torch.nn.modules.container.Sequential"
    assert got.attributes["training"] is False
    assert got.attributes["0"].name == "__torch__.torch.nn.modules.linear.Linear"


def test_our_writer_is_read(tmp_path: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": {"c": np.arange(3)}}
    for order in ("little", "big"):
        save(tmp_path / "x.pth", arrays, order=order)
        np.testing.assert_array_equal(state_dict(tmp_path / "x.pth")["a"], arrays["a"])
        np.testing.assert_array_equal(state_dict(tmp_path / "x.pth")["b.c"], arrays["b"]["c"])


class _Attack:
    """Pickles as whatever it is given."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def _touch(path: Path) -> str:
    return f"touch {path}"


Make = Callable[[Path], bytes]
ATTACKS: dict[str, tuple[Make, str]] = {
    "os.system": (lambda p: pickle.dumps(_Attack(os.system, (_touch(p),)), 2), r"(posix|os|nt)\.system"),
    "builtins.eval": (lambda p: pickle.dumps(_Attack(eval, (f"open({str(p)!r}, 'w')",)), 2), r"__builtin__\.eval"),
    "protocol 4": (lambda p: pickle.dumps(_Attack(eval, (f"open({str(p)!r}, 'w')",)), 4), r"builtins\.eval"),
    "protocol 0": (lambda p: pickle.dumps(_Attack(exec, (f"open({str(p)!r}, 'w')",)), 0), r"__builtin__\.exec"),
    "nested": (
        lambda p: pickle.dumps({"state": [1, (2, {"x": _Attack(os.system, (_touch(p),))})]}, 2),
        r"(posix|os|nt)\.system",
    ),
    "partial": (
        lambda p: b"\x80\x02cfunctools\npartial\n(cos\nsystem\nX" + struct.pack("<I", len(_touch(p)))
        + _touch(p).encode() + b"tR)R.",
        r"functools\.partial",
    ),
    "getattr": (lambda p: b"\x80\x02cbuiltins\ngetattr\n(cos\nsystem\nX\x01\0\0\0xtR.", r"builtins\.getattr"),
    "a member of what is known": (lambda p: b"\x80\x04\x8c\x05torch\x8c\x16FloatStorage.__class__\x93.", "__class__"),
    "setstate": (
        lambda p: b"\x80\x02ccodecs\nIncrementalDecoder\n)\x81}X\x0c\0\0\0__setstate__cos\nsystem\nsb.",
        r"codecs\.IncrementalDecoder",
    ),
    "copyreg": (lambda p: b"\x80\x02ccopy_reg\n_reconstructor\n(c__main__\nX\nc__builtin__\nobject\nNtR.", "copy_reg"),
    "a module that torch would import": (lambda p: b"\x80\x02ctorch.hub\nload\n)R.", r"torch\.hub\.load"),
    "whole model": (lambda p: b"\x80\x02ctorch.nn.modules.linear\nLinear\n)\x81}b.", r"torch\.nn\.modules\.linear\.L"),
    "INST": (lambda p: b"(X\x01\0\0\0xios\nsystem\n.", "INST"),
    "OBJ": (lambda p: b"\x80\x02(NN)o.", "OBJ"),
    "EXT1": (lambda p: b"\x80\x02\x82\x01.", "EXT1"),
    "NEWOBJ_EX": (lambda p: b"\x80\x04N)}\x92.", "NEWOBJ_EX"),
    "PERSID": (lambda p: b"P1\n.", "PERSID"),
    "set": (lambda p: b"\x80\x04\x8f.", "EMPTY_SET"),
}  # fmt: skip


@pytest.mark.parametrize("layout", ["zip", "script", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_refused_by_name(attack: str, layout: str, tmp_path: Path) -> None:
    make, name = ATTACKS[attack]
    victim, path = tmp_path / "victim", tmp_path / "attack.pth"
    _write(path, make(victim), layout)
    with pytest.raises(UnsupportedError, match=name) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "nothing was executed" in message
    assert message.isprintable()
    assert not victim.exists()


def test_attacks_are_real(tmp_path: Path) -> None:
    """That what is refused would have run: else the test above proves nothing."""
    victim = tmp_path / "victim"
    for attack in ("os.system", "builtins.eval", "nested", "partial"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pickle.loads(ATTACKS[attack][0](victim))
        assert victim.exists(), attack
        victim.unlink()


def _legacy(pickled: bytes) -> bytes:
    head = (FIXTURES / "state.legacy.pth").read_bytes()
    start = head.index(b"ccollections\nOrderedDict") - 2
    return head[:start] + pickled + b"\x80\x02]q\x00."


def _write(path: Path, pickled: bytes, layout: str, storages: list[Any] | None = None) -> None:
    if layout == "legacy":
        path.write_bytes(_legacy(pickled))
    else:
        save_parts(path, pickled, storages or [], script=layout == "script")


def _tensor(
    size: bytes = b"K\x06\x85", stride: bytes = b"K\x01\x85", offset: bytes = b"K\0", count: bytes = b"K\x06"
) -> bytes:
    """A pickle of one tensor of storage 0; sizes, strides, offset and the storage's length as opcodes."""
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n("
    return b"\x80\x02" + rebuild + b"(" + FLOATS + count + b"tQ" + offset + size + stride + b"\x89Nt" + b"R."


LONG = b"\x8a\x08" + struct.pack("<q", 1 << 60)
BROKEN: dict[str, tuple[bytes, str]] = {
    "past the storage": (_tensor(size=b"K\x07\x85"), "past the end"),
    "offset past it": (_tensor(offset=b"K\x01"), "past the end"),
    "stride past it": (_tensor(size=b"K\x02\x85", stride=b"K\x06\x85"), "past the end"),
    "huge size": (_tensor(size=LONG + b"\x85"), "past the end"),
    "huge stride": (_tensor(size=b"K\x02\x85", stride=LONG + b"\x85"), "past the end"),
    "expanded without end": (_tensor(size=LONG + b"\x85", stride=b"K\0\x85"), "past the end"),
    "overflowing product": (_tensor(size=LONG * 3 + b"\x87", stride=b"K\0K\0K\0\x87"), "past the end"),
    "negative size": (_tensor(size=b"J\xff\xff\xff\xff\x85"), "no whole number"),
    "negative stride": (_tensor(stride=b"J\xff\xff\xff\xff\x85"), "no whole number"),
    "negative offset": (_tensor(offset=b"J\xff\xff\xff\xff"), "no whole number"),
    "size of a thousand digits": (_tensor(size=b"\x8b" + struct.pack("<i", 500) + b"\x7f" * 500 + b"\x85"), "no whole"),
    "a float as size": (_tensor(size=b"G?\xf0\0\0\0\0\0\0\x85"), "no whole number"),
    "True as size": (_tensor(size=b"\x88\x85"), "no whole number"),
    "sizes without strides": (_tensor(size=b"K\x01K\x06\x86"), "2 dimensions with 1 strides"),
    "storage longer than its record": (_tensor(count=b"K\x07"), "24 bytes, the pickle says 28"),
    "storage of petabytes": (_tensor(count=LONG, size=LONG + b"\x85"), "the pickle says 4611686018427387904"),
    "two lengths": (_tensor()[:-1] + b"0" + _tensor(count=b"K\x05", size=b"K\x05\x85")[2:], "two lengths"),
    "no such storage": (_tensor().replace(b"X\x01\0\0\x000", b"X\x01\0\0\x009"), "data/9 is missing"),
    "a path as key": (_tensor().replace(b"X\x01\0\0\x000", b"X\x0b\0\0\x00../data.pkl"), "missing"),
    "a persistent id that is none": (b"\x80\x02(K\x01tQ.", "no storage"),
    "a storage of no type": (_tensor().replace(b"ctorch\nFloatStorage\n", b"ctorch\nfloat32\n"), "without type"),
    "a call of text": (b"\x80\x02X\x01\0\0\0x)R.", "cannot be called"),
    "a call of a type": (b"\x80\x02ctorch\nFloatStorage\n)R.", "cannot be called"),
    "a state for a list": (b"\x80\x02]}b.", "has none"),
    "an object of a function": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "no class"),
    "a tuple as key": (b"\x80\x02})Ns.", "neither text nor a number"),
    "a list as key": (b"\x80\x02}]Ns.", "neither text nor a number"),
    "items for text": (b"\x80\x02X\x01\0\0\0xNNs.", "no dict"),
    "appended to a dict": (b"\x80\x02}Na.", "no list"),
    "odd items": (b"\x80\x02}(Nu.", "without a value"),
    "empty stack": (b"\x80\x02\x85.", "more than the stack"),
    "pop of nothing": (b"\x80\x020.", "damaged"),
    "no mark": (b"\x80\x02t.", "damaged"),
    "no memo": (b"\x80\x02h\x07.", "nothing was stored"),
    "nothing": (b"", "damaged"),
    "no end": (b"\x80\x02N", "damaged"),
    "text past the end": (b"\x80\x02X\xff\xff\xff\x7fabc.", "damaged"),
    "not UTF-8": (b"\x80\x02X\x01\0\0\0\xff.", "damaged"),
    "numpy object": (b"\x80\x02cnumpy\ndtype\n(X\x02\0\0\0O8K\0K\x01tR.", "no number"),
    "numpy scalar too short": (
        b"\x80\x02cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(X\x02\0\0\0f8K\0K\x01tRc_codecs\nencode\n"
        b"(X\x01\0\0\0xX\x06\0\0\0latin1tRtR.", "1 bytes, expected 8",
    ),
    "another codec": (b"\x80\x02c_codecs\nencode\n(X\x01\0\0\0xX\x03\0\0\0hextR.", "another encoding"),
    "later protocol": (b"\x80\x06N.", "protocol 6"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pickles(name: str, tmp_path: Path) -> None:
    pickled, words = BROKEN[name]
    path = tmp_path / "broken.pth"
    _write(path, pickled, "zip", [np.zeros(6, np.float32)])
    with pytest.raises(LensError, match=re.escape(words)) as caught:
        state_dict(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_sound_tensor_of_that_making(tmp_path: Path) -> None:
    """That the pickles above fail for what was done to them."""
    _write(tmp_path / "sound.pth", _tensor(), "zip", [np.arange(6, dtype=np.float32)])
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "sound.pth"), np.arange(6))


def test_memo_index_allocates_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "x.pth", b"\x80\x02K\x05r\xff\xff\xff\xff0j\xff\xff\xff\xff.", "zip")
    assert read_checkpoint(tmp_path / "x.pth") == 5


def test_classes_of_scripts_only_in_scripts(tmp_path: Path) -> None:
    pickled = b"\x80\x02c__torch__.x\nNet\n)\x81}b."
    _write(tmp_path / "script.pt", pickled, "script")
    assert read_checkpoint(tmp_path / "script.pt") == Inert("__torch__.x.Net")
    _write(tmp_path / "plain.pth", pickled, "zip")
    with pytest.raises(UnsupportedError, match=r"__torch__\.x\.Net"):
        read_checkpoint(tmp_path / "plain.pth")


def test_objects_within_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_OBJECTS", 20000)
    _write(tmp_path / "loop.pth", b"\x80\x02]q\0h\0a.", "zip")
    with pytest.raises(FormatError, match="without end"):
        state_dict(tmp_path / "loop.pth")
    # 2^60 ways through 60 lists of twice the one before.
    bomb = b"\x80\x02]q\0" + b"".join(b"](h%ch%ceq%c" % (i, i, i + 1) for i in range(60)) + b"."
    _write(tmp_path / "bomb.pth", bomb, "zip")
    with pytest.raises(FormatError, match="without end"):
        state_dict(tmp_path / "bomb.pth")


def test_number_of_opcodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted_pickle, "MAX_OPCODES", 50)
    _write(tmp_path / "long.pth", b"\x80\x02" + b"N0" * 30 + b"N.", "zip")
    with pytest.raises(FormatError, match="over 50 pickle opcodes"):
        read_checkpoint(tmp_path / "long.pth")


def test_zip_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, pickled = tmp_path / "bomb.pth", _tensor()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", pickled)
        archive.writestr("bomb/data/0", bytes(24))
    with pytest.raises(UnsupportedError, match="data/0 is compressed"):
        read_checkpoint(path)
    monkeypatch.setattr(checkpoint, "MAX_PICKLE", 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", b"\x80\x02" + b"N0" * 1000 + b"N.")
    with pytest.raises(FormatError, match=r"data\.pkl has 2004 bytes, at most 1000 are read"):
        read_checkpoint(path)
    # The directory lies about the length: as many bytes are inflated as it says, and no more.
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02") + 24
    raw[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"data\.pkl"):
        read_checkpoint(path)


def test_overlapping_records(tmp_path: Path) -> None:
    """Stored records within each other: each holds all that follow, so together they are many times the file."""
    count, rest = 30, 2000
    region, places, sizes = bytes(4 * rest), [], []
    for i in reversed(range(count)):
        name = f"o/data/{i}".encode()
        entry = struct.pack("<HHHHHIIIHH", 20, 0, 0, 0, 33, zlib.crc32(region), len(region), len(region), len(name), 0)
        sizes.insert(0, len(region) // 4)
        region = b"PK\x03\x04" + entry + name + region
        places.insert(0, (name, entry, len(region)))
    writer = Writer()
    pickled = writer.dumps([np.zeros(size, np.float32) for size in sizes])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("o/data.pkl", pickled)
    raw = out.getvalue()
    start = raw.index(b"PK\x01\x02")
    end = start + len(region)
    central = raw[start : raw.index(b"PK\x05\x06")]
    for name, entry, from_end in places:
        central += b"PK\x01\x02" + struct.pack("<H", 20) + entry
        central += struct.pack("<HHHII", 0, 0, 0, 0, end - from_end) + name
    last = struct.pack("<HHHHIIH", 0, 0, count + 1, count + 1, len(central), end, 0)
    path = tmp_path / "overlap.pth"
    path.write_bytes(raw[:start] + region + central + b"PK\x05\x06" + last)
    with pytest.raises(FormatError, match=r"(?i)overlap"):
        read_checkpoint(path)


def test_one_storage_of_two_types(tmp_path: Path) -> None:
    other = _tensor().replace(b"FloatStorage", b"HalfStorage")
    _write(tmp_path / "x.pth", _tensor()[:-1] + b"0" + other[2:], "zip", [np.zeros(6, np.float32)])
    with pytest.raises(FormatError, match="two lengths or types of storage 0"):
        read_checkpoint(tmp_path / "x.pth")


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with pytest.raises(LensError, match="no such file"):
        read_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="no PyTorch checkpoint"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/b/data.pkl", b"")
    with pytest.raises(FormatError, match="a zip archive, but no checkpoint"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02N.")
        archive.writestr("a/byteorder", "middle")
    with pytest.raises(FormatError, match="byte order"):
        read_checkpoint(path)


def test_numbers_of_any_class_stay_numbers(tmp_path: Path) -> None:
    save(tmp_path / "x.pth", {"t": Call(Global("collections", "OrderedDict"), ([("a", 1)],)), "f": 0.5, "n": -(2**60)})
    assert read_checkpoint(tmp_path / "x.pth") == {"t": {"a": 1}, "f": 0.5, "n": -(2**60)}


@pytest.mark.parametrize("name", ["state.zip.pth", "state.legacy.pth", "traced.pt"])
def test_cut_anywhere(name: str, tmp_path: Path) -> None:
    whole, path = (FIXTURES / name).read_bytes(), tmp_path / name
    for end in range(0, len(whole), 3 if name == "state.legacy.pth" else 11):
        path.write_bytes(whole[:end])
        with pytest.raises(LensError) as caught:
            state_dict(path)
        assert str(caught.value).startswith(f"{path}: ")


def test_fuzz(tmp_path: Path) -> None:
    """Random changes to whole files, and to pickles in archives whose checksums are right: a result or a LensError."""
    rng = random.Random(5)
    files = {name: (FIXTURES / name).read_bytes() for name in ("mixed.legacy.pth", "mixed.zip.pth", "traced.pt")}
    pickles = {}
    for name in ("mixed.zip.pth", "traced.pt"):
        with zipfile.ZipFile(FIXTURES / name) as archive:
            root = archive.namelist()[0].split("/")[0]
            pickles[name] = archive.read(f"{root}/data.pkl")
    storages = [np.zeros(24, np.float32)] * 20
    outcomes = {"read": 0, "refused": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's, on names that came out twice
        for turn in range(600):
            name = rng.choice(list(files))
            if turn % 3 and name in pickles:
                path = tmp_path / "fuzz.pth"
                save_parts(path, _changed(rng, pickles[name]), storages, script=name == "traced.pt")
            else:
                path = tmp_path / name
                path.write_bytes(_changed(rng, files[name]))
            try:
                state_dict(path)
                outcomes["read"] += 1
            except LensError as error:
                assert str(error).startswith(f"{path}: ")
                assert str(error).isprintable()
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 20, outcomes


def _changed(rng: random.Random, raw: bytes) -> bytes:
    out = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(out))
        kind = rng.randrange(4)
        if kind == 0:
            out[at] = rng.randrange(256)
        elif kind == 1:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del out[at : at + rng.randint(1, 9)]
        else:
            out[at:at] = out[rng.randrange(len(out)) :][: rng.randint(1, 9)]
        if not out:
            break
    return bytes(out)
