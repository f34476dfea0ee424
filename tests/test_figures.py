"""`make figures`: the table's form, honest gaps, and the measures that are more than a call."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from splatlens.viewer.lod import CutLayer, CutView, cut
from tests.test_lod import random_camera
from tests.twin_scenes import random_splats

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import figures  # noqa: E402
import figures_base  # noqa: E402
import figures_lod  # noqa: E402
import figures_pictures  # noqa: E402
import figures_sizes  # noqa: E402


def test_rows_say_whether_they_reach_what_is_asked() -> None:
    assert figures_base.at_least("x", 45, 45.0, "dB").reached is True
    assert figures_base.at_least("x", 45, 44.99, "dB").reached is False
    assert figures_base.at_most("x", 24, 24.01, "B").reached is False
    assert figures_base.reported("x", "7").reached is None
    row = figures_base.at_least("a | b", 45, 44.9, "dB", "two\nlines")
    assert figures.line("s", row) == "| s | a \\| b | ≥ 45 dB | 44.9 dB (two lines) | **short** |"


def test_missing_things_are_named_and_faults_do_not_hide_the_rest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(figures_base.DATA_VARIABLE, raising=False)
    monkeypatch.setattr(figures, "machine", lambda: ["- Machine: one"])

    def broken() -> list[figures_base.Row]:
        raise ValueError("broke here")

    monkeypatch.setitem(figures.SECTIONS, "twins", broken)
    assert figures.main(["detail", "twins", "page"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "- Machine: one"
    table = {line.split(" | ")[0].strip("| "): line for line in out[4:]}
    assert "not measured: real scenes: set SPLATLENS_TEST_DATA" in table["detail"]
    assert "failed: ValueError: broke here" in table["twins"]
    assert any(line.startswith("| page |") and "≤ 60 kB" in line for line in out)
    assert figures.main(["detail"]) == 0
    assert figures.main(["no-such"]) == 2


def test_every_section_is_documented() -> None:
    text = (ROOT / "docs" / "figures.md").read_text()
    documented = [line.split("`")[1] for line in text.splitlines() if line.startswith("| `")]
    assert documented == list(figures.SECTIONS)


def test_machine_names_adapter_and_versions() -> None:
    text = "\n".join(figures_base.machine())
    for word in ("Machine:", "cores", "Adapter:", "Versions: splatlens", "wgpu", "Browser and Node:"):
        assert word in text


def test_blocks_are_whole_tiles() -> None:
    alpha = np.zeros((17, 25), np.float32)
    alpha[8:16, 16:24] = 1
    alpha[0, 0] = 0.5
    tiles = figures_lod.blocks(alpha)
    assert tiles.shape == (2, 3, 64)
    np.testing.assert_allclose(tiles.mean(axis=2), [[0.5 / 64, 0, 0], [0, 0, 1]])


def test_a_tree_without_absent_children_is_cut_as_by_residency(tmp_path: Path) -> None:
    nodes, pages = lens_nodes(tmp_path)
    rng = np.random.default_rng(5)
    for _ in range(20):
        resident = np.isin(pages, np.flatnonzero(rng.random(pages.max() + 1) < 0.6)) | (pages == 0)
        view = CutView.of_camera(random_camera(rng))
        want = cut([CutLayer(nodes, view, resident)], np.inf)
        got = cut([CutLayer(figures_lod.without_children(nodes, resident), view)], np.inf)
        np.testing.assert_array_equal(got.clusters[0], want.clusters[0])


def test_first_bytes_draw_only_what_they_hold(tmp_path: Path) -> None:
    path = lens_file(tmp_path)
    whole = figures_lod.FirstPages(path, path.stat().st_size)
    assert whole.with_sh.all()
    assert whole.whole_pages == whole.layer.pages
    entry = whole.layer.entry(1)
    some = figures_lod.FirstPages(path, int(entry["geometry_offset"]) + int(entry["geometry_length"]))
    assert 0 < some.whole_pages < whole.whole_pages
    assert some.nodes.child_count.sum() < whole.nodes.child_count.sum()
    clusters = np.arange(int(some.layer.entry(0)["cluster_count"]))
    loaded = some.load(clusters)
    np.testing.assert_array_equal(loaded.sh_degrees > 0, some.with_sh[clusters])


def lens_file(folder: Path) -> Path:
    from splatlens.viewer.convert import build_lens

    path = folder / "scene.lens"
    build_lens(random_splats(12_000, 3, degree=1, size=0.02), path)
    return path


def lens_nodes(folder: Path):  # type: ignore[no-untyped-def]
    from splatlens.viewer.lens_reader import LensReader

    with LensReader.open(lens_file(folder)) as reader:
        layer = next(iter(reader.splats_layers.values()))
        nodes = layer.nodes()
        counts = [int(layer.entry(k)["cluster_count"]) for k in range(layer.pages)]
    return nodes, np.repeat(np.arange(len(counts)), counts)


def test_noise_changes_every_view_dependent_value_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from splatlens.converters import read_splats, write_splats

    splats = random_splats(400, 4, degree=2)
    write_splats(tmp_path / "scene.ply", splats)
    monkeypatch.setenv(figures_base.DATA_VARIABLE, str(tmp_path))
    scene = figures_base.Scene("scene", "scene.ply", (), (0, 0, 0, 0), 32)
    for kind, most in (("multiplied", 0.06), ("added", 0.06)):
        noisy = read_splats(figures_pictures.noisy_file(scene, kind))[0]
        np.testing.assert_array_equal(noisy.means, splats.means)
        np.testing.assert_array_equal(noisy.sh[:, 0], splats.sh[:, 0])
        change = np.abs(noisy.sh[:, 1:] - splats.sh[:, 1:])
        assert (change > 0).mean() > 0.99
        assert 0.005 * 0.15 < change.mean() < 0.02 * 0.15
        assert change.max() < most


def test_tiled_copies_lie_side_by_side_and_differ() -> None:
    splats = random_splats(500, 6)
    four = figures_sizes.tiled(splats, 2, 2)
    assert len(four) == 2000
    np.testing.assert_array_equal(four.means[:500], splats.means)
    moved = four.means[500:1000] - splats.means
    step = np.median(moved, axis=0)
    assert step[0] > 1.5
    assert abs(step[1]) < 0.05
    assert (np.abs(moved - step).max(axis=1) > 1e-4).mean() > 0.9


def test_page_counts_javascript_and_wgsl() -> None:
    row, *besides = figures_sizes.page()
    files = int(row.measured.split("(")[1].split(" files")[0])
    elsewhere = {"embed.js", "element.js", "readback.js"}  # what embedding pages start from, and what is read on demand
    assert files == len({p.name for p in ROOT.glob("static/*.js")} - elsewhere) + 1  # all shaders come as one
    for folder, more in zip(("live", "mesh"), besides, strict=True):
        count = int(more.measured.split(", ")[1].split(" files")[0])
        assert count == len([p for p in (ROOT / "static" / folder).iterdir() if p.suffix in (".js", ".css")]) + 2
    assert "kB of it shaders" in row.measured
    assert 5 < float(row.measured.split()[0]) < 200
