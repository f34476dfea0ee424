"""Spatial order: the same in memory and by way of a file, against a plain sort."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splatlens.converters import ordering
from splatlens.converters.ordering import exact_chunks, in_morton_order, morton_codes, spread
from splatlens.converters.source import Source, SourceInfo
from splatlens.viewer.splats import Splats
from tests.conformance import assert_same, random_splats


def plain_codes(means: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[int]:
    """Bit by bit, with Python's integers."""
    codes = []
    for row in means.tolist():
        box = zip(row, low.tolist(), high.tolist(), strict=True)
        cells = [int((v - a) / (b - a) * (2**21 - 1)) for v, a, b in box]
        codes.append(sum((cells[axis] >> bit & 1) << (3 * bit + axis) for bit in range(21) for axis in range(3)))
    return codes


def test_codes_against_bit_by_bit() -> None:
    means = random_splats(300, 0).means
    low, high = means.min(axis=0), means.max(axis=0)
    assert morton_codes(means, low, high).tolist() == plain_codes(means, low, high)
    assert int(spread(np.array([2**21 - 1], np.uint64))[0]) == sum(1 << 3 * i for i in range(21))


def test_a_flat_scene_has_codes() -> None:
    means = np.zeros((4, 3), np.float32)
    assert morton_codes(means, means[0], means[0]).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("copies", [0, 3000])
def test_by_file_as_in_memory(copies: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where more rows than a bucket holds stand in one place, and with an outlier a thousand times farther."""
    splats = random_splats(4000, 1)
    splats.means[:copies] = splats.means[7]
    splats.means[3999] = 4000
    with in_morton_order(Source.of(splats)) as ordered:
        want = Splats.concatenate(list(ordered.chunks()))
    codes = morton_codes(splats.means, splats.means.min(axis=0), splats.means.max(axis=0))
    assert_same(want, splats.take(np.argsort(codes, kind="stable")), {})
    monkeypatch.setattr(ordering, "MEMORY_ROWS", 500)
    monkeypatch.setattr(ordering, "BUCKET_ROWS", 256)
    with in_morton_order(Source.of(splats)) as ordered:
        assert ordered.info.splats == 4000
        for rows in (100, 8192):  # twice: it can be read again
            parts = list(ordered.chunks(rows))
            assert max(map(len, parts)) <= rows
            assert_same(Splats.concatenate(parts), want, {})


def test_memory_is_bounded_by_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ordering, "MEMORY_ROWS", 8192)
    monkeypatch.setattr(ordering, "BUCKET_ROWS", 4096)

    def peak(parts: int) -> int:
        def read(rows: int, dropped: Counter[str]) -> Iterator[Splats]:
            for seed in range(parts):
                yield random_splats(1000, 1, seed)

        tracemalloc.start()
        with in_morton_order(Source(SourceInfo(Path("x"), "test", 1000 * parts, 1, 0), read)) as ordered:
            for _ in ordered.chunks():
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(300) < 1.3 * peak(30)


def test_exact_chunks() -> None:
    splats = random_splats(1000, 0)
    for given, rows in ((300, 256), (7, 256), (1000, 64), (256, 256), (64, 1000)):
        source = Source.of(splats)
        cut = replace(source, read=lambda n, dropped, given=given, read=source.read: read(given, dropped))
        parts = list(exact_chunks(cut, rows))
        assert [len(p) for p in parts[:-1]] == [rows] * (len(parts) - 1) and 1 <= len(parts[-1]) <= rows
        assert_same(Splats.concatenate(parts), splats, {})
