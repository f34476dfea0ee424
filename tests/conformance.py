"""What every reader and writer must do: a format's test subclasses `ReaderConformance` and makes its files."""

from __future__ import annotations

import resource
import sys
import tracemalloc
from pathlib import Path
from typing import ClassVar

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from splatlens.converters import find_format, open_source, read_splats
from splatlens.viewer.errors import LensError
from splatlens.viewer.splats import SH_COEFFICIENTS, Splats


def random_splats(count: int, sh_degree: int, seed: int = 0) -> Splats:
    """Splats with values as trained scenes have them."""
    rng = np.random.default_rng(seed)
    quats = rng.normal(size=(count, 4))
    return Splats(
        rng.normal(0, 3, (count, 3)).astype(np.float32),
        (quats / np.linalg.norm(quats, axis=1, keepdims=True)).astype(np.float32),
        np.exp(rng.normal(-4, 1, (count, 3))).astype(np.float32),
        rng.uniform(0.01, 0.99, count).astype(np.float32),
        rng.normal(0, 0.3, (count, SH_COEFFICIENTS[sh_degree], 3)).astype(np.float32),
    )


def assert_same(got: Splats, want: Splats, tolerance: dict[str, float]) -> None:
    """Every field within its relative tolerance, quaternions up to their sign; 0 means equal bits."""
    assert len(got) == len(want)
    assert got.sh_degree == want.sh_degree
    sign = np.sign(np.einsum("ij,ij->i", got.quats, want.quats))[:, None]
    for name in ("means", "quats", "scales", "opacities", "sh"):
        a, b = getattr(got, name), getattr(want, name)
        a = a * sign if name == "quats" else a
        np.testing.assert_allclose(a, b, rtol=tolerance.get(name, 0), atol=tolerance.get(name, 0) * 0.1, err_msg=name)


class ReaderConformance:
    """Subclass it, set `format_name` and `tolerance`, and give `make`."""

    format_name: str
    #: Relative error the format costs by itself, by field; absent is exact.
    tolerance: ClassVar[dict[str, float]] = {}
    #: SH degrees the format can hold.
    degrees: tuple[int, ...] = (0, 1, 2, 3)
    #: Files mutated by `test_mutated_files`, and which file of a folder.
    mutations = 2500
    damaged = ""

    def make(self, folder: Path, splats: Splats) -> Path:
        """Writes `splats` as a file or folder of the format under `folder` and returns its path."""
        raise NotImplementedError

    def test_recognised_by_content(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, random_splats(3, self.degrees[0]))
        assert find_format(path).name == self.format_name
        if path.is_file():
            renamed = path.with_name("no_extension")
            renamed.write_bytes(path.read_bytes())
            assert find_format(renamed).name == self.format_name

    def test_round_trip(self, tmp_path: Path) -> None:
        for degree in self.degrees:
            want = random_splats(700, degree, seed=degree)
            path = self.make(tmp_path, want)
            got, info = read_splats(path)
            assert_same(got, want, self.tolerance)
            assert (info.format, info.splats, info.sh_degree, info.dropped) == (self.format_name, 700, degree, {})
            assert info.path == path

    def test_chunks_are_bounded_ordered_and_repeatable(self, tmp_path: Path) -> None:
        source = open_source(self.make(tmp_path, random_splats(1000, self.degrees[-1])))
        whole = Splats.concatenate(list(source.chunks()))
        for rows in (1, 7, 333, 1000, 10**9):
            parts = list(source.chunks(rows if rows > 1 else 64))
            assert all(1 <= len(p) <= max(rows, 64) for p in parts)
            assert_same(Splats.concatenate(parts), whole, {})

    def test_opening_reads_no_rows(self, tmp_path: Path) -> None:
        path = self.make(tmp_path, random_splats(5000, self.degrees[-1]))
        open_source(path)  # imports and caches are not what is measured
        tracemalloc.start()
        open_source(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 18

    def test_mutated_files(self, tmp_path: Path) -> None:
        """A damaged file is read or refused with a LensError of one line: nothing else, no large allocation."""
        originals = []
        for degree in self.degrees[:2]:
            path = self.make(tmp_path, random_splats(5, degree, seed=degree))
            target = path / self.damaged
            originals.append(target.read_bytes())

        # derandomize: a failure in CI must be seen again at the desk.
        @settings(
            max_examples=self.mutations,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.sampled_from(originals), st.lists(mutation(), min_size=1, max_size=4))
        def check(original: bytes, mutations: list[Mutation]) -> None:
            data = original
            for mutate in mutations:
                data = apply(mutate, data)
            target.write_bytes(data)
            check_reads_or_refuses(path)

        before = peak_bytes()
        check()
        assert peak_bytes() - before < 64 << 20


def peak_bytes() -> int:
    """Most memory this process ever held; tracemalloc would make the mutations five times slower."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


Mutation = tuple[str, float, bytes]

#: Pieces that make headers lie: sizes at the edges of integer types, keywords, line ends.
PIECES = [
    b"0", b"-1", b"1e9", b"1152921504606846976", b"18446744073709551616", b"9" * 5000, b"nan", b"inf", b"\n", b"\r\n",
    b"\r", b" ", b"property", b"property float x\n", b"property list uchar int i\n", b"element vertex 7\n",
    b"element face 9\n", b"end_header\n", b"ascii", b"double", b"uchar", b"list", b"\x00",
    b"\xff" * 8, b"\x7f\x80\x00\x00" * 4, b"\xc3\x28",
]  # fmt: skip


def mutation() -> st.SearchStrategy[Mutation]:
    """(kind, place as a fraction of the file, bytes)."""
    place = st.one_of(st.floats(0, 1), st.floats(0, 0.3))
    payload = st.one_of(st.binary(min_size=1, max_size=12), st.sampled_from(PIECES))
    return st.tuples(st.sampled_from(["replace", "insert", "delete", "cut", "repeat", "word"]), place, payload)


def apply(mutate: Mutation, data: bytes) -> bytes:
    """One mutation: overwrite, insert, delete or repeat bytes, cut the file, replace a word of the header."""
    kind, place, payload = mutate
    at = int(place * len(data))
    if kind == "replace":
        return data[:at] + payload + data[at + len(payload) :]
    if kind == "insert":
        return data[:at] + payload + data[at:]
    if kind == "delete":
        return data[:at] + data[at + 4 * len(payload) :]
    if kind == "cut":
        return data[:at]
    if kind == "repeat":
        return data[: at + 16] + data[at:]
    words = data[:600].split(b" ")
    words[int(place * (len(words) - 1))] = payload
    return b" ".join(words) + data[600:]


def check_reads_or_refuses(path: Path) -> None:
    """Reads to the end with valid values, or raises a LensError that names the file in one line."""
    try:
        splats, info = read_splats(path)
    except LensError as error:
        message = str(error)
        assert message.startswith(str(path)), message
        assert message.isprintable(), message
        assert len(message) < 2000
    else:
        assert 0 < len(splats) <= info.splats
        assert len(splats) + sum(info.dropped.values()) == info.splats
        for name in ("means", "quats", "scales", "opacities", "sh"):
            assert np.isfinite(getattr(splats, name)).all(), name
        np.testing.assert_allclose(np.linalg.norm(splats.quats, axis=1), 1, atol=1e-6)
        assert (splats.scales > 0).all()
        assert (splats.opacities >= 0).all() and (splats.opacities <= 1).all()
