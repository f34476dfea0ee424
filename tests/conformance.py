"""What every reader and writer must do: a format's test subclasses `ReaderConformance` or `WriterConformance`."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from splatlens.converters import (
    FORMATS,
    Format,
    Source,
    SourceInfo,
    WriteOptions,
    find_format,
    open_source,
    ordering,
    read_splats,
    write_splats,
)
from splatlens.viewer import convert
from splatlens.viewer.errors import FormatError, LensError
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


def in_order_of(got: Splats, want: Splats) -> Splats:
    """`got` in the order of `want`, matched one to one by the nearest centres: for writers that sort."""
    cost = cdist(want.means, got.means)
    rows, columns = linear_sum_assignment(cost)
    assert rows.tolist() == list(range(len(want)))
    return got.take(columns)


class ReaderConformance:
    """Subclass it, set `format_name` and `tolerance`, and give `make`."""

    format_name: str
    #: Whether the writer sorts the rows.
    reorders = False
    #: Relative error the format costs by itself, by field; absent is exact.
    tolerance: ClassVar[dict[str, float]] = {}
    #: SH degrees the format can hold.
    degrees: tuple[int, ...] = (0, 1, 2, 3)
    #: Files mutated by `test_mutated_files`, and which file of a folder.
    mutations = 2500
    damaged = ""
    #: Opacities above 1 stand for merged splats.
    most_opacity = 1.0

    def make(self, folder: Path, splats: Splats) -> Path:
        """Writes `splats` as a file or folder of the format under `folder` and returns its path."""
        raise NotImplementedError

    def compare(self, got: Splats, want: Splats) -> None:
        """What a round trip keeps, row by row."""
        assert_same(got, want, self.tolerance)

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
            self.compare(in_order_of(got, want) if self.reorders else got, want)
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
            check_reads_or_refuses(path, self.most_opacity)

        before = reset_peak()
        check()
        assert peak_bytes() - before < 64 << 20


class WriterConformance(ReaderConformance):
    """For formats that are also written. Set `file_name` besides."""

    file_name: str
    #: Fields of WriteOptions to write with.
    options: ClassVar[dict[str, Any]] = {}
    #: Whether ten times the splats take no more than 1.3 times the memory.
    bounded = True

    @property
    def format(self) -> Format:
        return next(f for f in FORMATS if f.name == self.format_name)

    def make(self, folder: Path, splats: Splats) -> Path:
        path = folder / self.file_name
        assert write_splats(path, splats, options=WriteOptions(**self.options)) == bytes_of(path)
        return path

    def write(self, path: Path, source: Source) -> int:
        assert self.format.write is not None
        return self.format.write(path, source, WriteOptions(**self.options))

    def test_values_at_the_edges(self, tmp_path: Path) -> None:
        """Opacities 0, 1 and above, the smallest scales, one splat: clipped, not refused."""
        splats = random_splats(4, self.degrees[-1])
        splats.opacities[:] = 0, 1, 2.5, 0.5
        splats.scales[1] = np.finfo(np.float32).tiny
        got, _ = read_splats(self.make(tmp_path, splats))
        got = in_order_of(got, splats) if self.reorders else got
        np.testing.assert_allclose(got.opacities, [0, 1, 1, 0.5], atol=max(1e-6, self.tolerance.get("opacities", 0)))
        assert (got.scales[1] < 1e-4).all()
        assert len(read_splats(self.make(tmp_path, splats.take(slice(2, 3))))[0]) == 1

    def test_fewer_rows_than_promised(self, tmp_path: Path) -> None:
        """Rows that a filter leaves out are not in the file."""
        source = Source.of(random_splats(900, 1))
        most = replace(source.info, splats=1500)
        self.write(tmp_path / self.file_name, Source(most, source.read))
        got, info = read_splats(tmp_path / self.file_name)
        assert len(got) == info.splats == 900

    def test_whole_or_nothing(self, tmp_path: Path) -> None:
        """A source that fails half-way leaves what stood there, and nothing beside it."""

        def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
            yield random_splats(600, 0)
            raise FormatError("half.way: the source ends here")

        info = SourceInfo(Path("half.way"), "test", 1200, 0, 0)
        folder = tmp_path / "empty"
        folder.mkdir()
        with pytest.raises(FormatError, match="the source ends here"):
            self.write(folder / self.file_name, Source(info, read))
        assert [p for p in folder.rglob("*") if p.is_file()] == []
        path = self.make(tmp_path, random_splats(50, 0))
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        with pytest.raises(FormatError, match="the source ends here"):
            self.write(path, Source(info, read))
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_same_bytes_twice(self, tmp_path: Path) -> None:
        splats = random_splats(3000, self.degrees[-1])
        path = self.make(tmp_path, splats)
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        assert self.make(tmp_path, splats) == path
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_memory_of_writing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Peak of NumPy's and Python's allocations; libraries' own are measured by the figures."""
        if not self.bounded:
            return
        monkeypatch.setattr(ordering, "MEMORY_ROWS", 8192)
        monkeypatch.setattr(ordering, "BUCKET_ROWS", 4096)
        peaks = []
        for parts in (20, 200):

            def read(rows: int, dropped: Counter[str], parts: int = parts) -> Iterator[Splats]:
                for seed in range(parts):
                    yield random_splats(1000, self.degrees[-1], seed)

            source = Source(SourceInfo(Path("many"), "test", 1000 * parts, self.degrees[-1], 0), read)
            tracemalloc.start()
            self.write(tmp_path / self.file_name, source)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.3 * peaks[0], peaks


def bytes_of(path: Path) -> int:
    """Bytes of a file, or of all files of the folder that a meta.json stands in."""
    files = path.parent.iterdir() if path.name == "meta.json" else [path]
    return sum(file.stat().st_size for file in files)


def reset_peak() -> int:
    """Starts `peak_bytes` anew where the system lets it, so that an earlier test's peak hides nothing; bytes now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc_pid_clear_refs(5): resets VmHWM
    return peak_bytes()


def peak_bytes() -> int:
    """Most memory this process held since `reset_peak`; tracemalloc would make the mutations five times slower."""
    return convert.peak_bytes()


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


def check_reads_or_refuses(path: Path, most_opacity: float = 1.0) -> None:
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
        assert (splats.opacities >= 0).all() and (splats.opacities <= most_opacity).all()
