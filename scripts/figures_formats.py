"""Figures of formats: that every fixture reads, what writing and reading back costs, beside splat-transform."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from figures_base import (
    ROOT,
    SCENES,
    Image,
    MissingError,
    Row,
    Scene,
    at_least,
    at_most,
    data_file,
    decibels,
    renderer,
    reported,
    truth,
    work,
)  # fmt: skip
from figures_pictures import noisy_file

from splatlens.converters import open_source, read_splats, write_splats
from splatlens.converters.convert import convert
from splatlens.converters.format import ReadOptions, WriteOptions
from splatlens.viewer.render import RawLayer
from splatlens.viewer.splats import SH_C0

#: Their command line, a development tool of bench/.
TRANSFORM = ROOT / "bench" / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
#: Seconds it may take for a scene, and for the part of one that is meant to end: its k-means on the CPU takes hours
#: for a scene with SH (not done after 240 s for any of four, nor after 36 minutes of processor time for one).
PATIENCE, PATIENCE_PART = 60, 400
#: Rows on which its k-means takes one to three minutes on the CPU.
PART = 12_000
#: Output names by what they are beside: the same conversion by both tools, and how theirs is read.
BESIDE: dict[str, tuple[str, tuple[str, ...], ReadOptions, WriteOptions]] = {
    "SOG": ("sog", ("-g", "cpu"), ReadOptions(), WriteOptions()),
    # Their SPZ holds the coordinates of the PLY, not those of the specification.
    "SPZ v4": ("spz", (), ReadOptions(as_stored=True), WriteOptions()),
    "SPZ v3": ("spz", ("--spz-version", "3"), ReadOptions(as_stored=True), WriteOptions(spz_version=3)),
    "compressed PLY": ("compressed.ply", (), ReadOptions(), WriteOptions()),
}
#: Fixtures of the same four splats; whether their coordinates are as stored, and what their colours are times. The
#: script that made the last two by hand neither turned them to SPZ's frame nor scaled colours to SPZ's 0.15 a unit.
FOUR = {
    "minimal.ksplat": (False, 1.0),
    "minimal-v4.spz": (False, 1.0),
    "minimal-v3.spz": (False, 1.0),
    "minimal-v2.spz": (True, 0.15 / SH_C0),
    "minimal-raw.spz": (True, 0.15 / SH_C0),
}


def transform(*words: str | Path, patience: float = PATIENCE) -> float:
    """Runs splat-transform; seconds. Raises MissingError, TimeoutError."""
    node = shutil.which("node")
    if node is None or not TRANSFORM.is_file():
        raise MissingError("splat-transform: Node.js 18 or later and (cd bench && npm ci --ignore-scripts)")
    start = time.perf_counter()
    try:
        done = subprocess.run([node, TRANSFORM, "-q", "-w", *words], capture_output=True, text=True, timeout=patience)
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"not done after {patience:g} s") from None
    if done.returncode:
        raise RuntimeError(f"splat-transform {words[-1]}: {done.stderr.strip()[-200:]}")
    return time.perf_counter() - start


def draw(path: Path, scene: Scene, read: ReadOptions = ReadOptions()) -> list[Image]:
    """A file's pictures from the scene's views."""
    splats, _ = read_splats(path, options=read)
    return [renderer().render([RawLayer(splats)], camera) for camera in scene.cameras()]


def loss(path: Path, scene: Scene, original: Path, read: ReadOptions = ReadOptions()) -> list[float]:
    """dB of each view against the original's, drawn by the float64 reference."""
    return [decibels(image, truth(original, view, scene)) for view, image in enumerate(draw(path, scene, read))]


def _text(each: list[float]) -> str:
    return " / ".join(f"{d:.1f}" for d in each) + " dB"


@cache
def originals() -> list[tuple[str, Scene, Path]]:
    """(name, scene, PLY) of the three scenes and of those with noise on every f_rest."""
    rows = [(scene.name, scene, data_file(scene.file)) for scene in SCENES]
    with_sh = [scene for scene in SCENES if open_source(data_file(scene.file)).info.sh_degree]
    return rows + [(f"{scene.name}, SH noise", scene, noisy_file(scene, "multiplied")) for scene in with_sh]


def fixtures() -> list[Row]:
    """Every fixture of other tools reads; the four splats are the same in all six files."""
    rows, read, failed = [], 0, []
    for path in _fixture_paths():
        try:
            read += len(read_splats(path)[0])
        except Exception as error:  # named in the table, whatever it is
            failed.append(f"{path.name}: {str(error)[:80]}")
    what = f"{len(_fixture_paths())} files and folders of other tools read"
    rows.append(Row(what, "all", f"{read:,} splats" if not failed else "; ".join(failed), not failed))
    folder = data_file("splat_transform_fixtures/splat")
    want, _ = read_splats(folder / "minimal.splat")
    for name, (as_stored, colours) in FOUR.items():
        got, _ = read_splats(folder / name, options=ReadOptions(as_stored=as_stored))
        got = replace(got, sh=got.sh * np.float32(colours))
        parts = ("means", "scales", "opacities", "sh")
        largest = max(float(np.abs(getattr(got, p) - getattr(want, p)).max()) for p in parts)
        what = f"{name}{', as stored,' if as_stored else ''} beside minimal.splat: largest difference of a value"
        rows.append(at_most(what, 0.02, largest, ""))
    return rows


def _fixture_paths() -> list[Path]:
    root = data_file(".")
    found = [*root.glob("padilla/*.splat"), *root.glob("splat_transform_fixtures/splat/*")]
    found += [*root.glob("khr_gaussian_splatting/*.gl*"), *root.glob("karangkidul_semarang/*/meta.json")]
    found += [root / "playbot/lod-meta.json", root / "plush_photos/input.ply", root / "epfl_pc_short/pc_short.ply"]
    return sorted([*found, *root.glob("ply_converted/*.ply"), root / "train1000/train-1000.ply"])


def formats() -> list[Row]:
    """Each written format, drawn against the original; SOG, SPZ and compressed PLY beside splat-transform's."""
    return [row for name, scene, path in originals() for row in _formats(name, scene, path)]


def _formats(name: str, scene: Scene, path: Path) -> Iterator[Row]:
    for kind in ("ply", "splat", "glb"):
        out = work() / f"ours.{kind}"
        convert([path], out, force=True)
        yield reported(f"{name}: {kind}", f"{out.stat().st_size:,} B, {_text(loss(out, scene, path))}")
    for kind, (suffix, words, theirs_read, write) in BESIDE.items():
        ours, theirs, back = work() / f"ours.{suffix}", work() / f"theirs.{suffix}", work() / "back.ply"
        start = time.perf_counter()
        convert([path], ours, force=True, write=write)
        seconds = time.perf_counter() - start
        size, each = ours.stat().st_size, loss(ours, scene, path)
        measured = f"{size:,} B, {_text(each)}, {seconds:.1f} s"
        try:
            their_seconds = transform(path, theirs, *words) if kind != "SOG" else transform(*words, path, theirs)
        except TimeoutError as error:
            yield reported(f"{name}: {kind}; splat-transform: {error}", measured)
        else:
            their_size, their_each = theirs.stat().st_size, loss(theirs, scene, path, theirs_read)
            asked = f"≤ {their_size:,} B, ≥ {_text(their_each)} ({their_seconds:.1f} s)"
            better = size <= their_size and all(a >= b for a, b in zip(each, their_each, strict=True))
            yield Row(f"{name}: {kind} beside splat-transform", asked, measured, better)
        transform(ours, back)
        read = ReadOptions()
        if suffix == "spz":  # they take our right-up-back coordinates as they stand
            splats, _ = read_splats(back)
            write_splats(back, _turned(splats))
        same = min(decibels(a, b) for a, b in zip(draw(ours, scene), draw(back, scene, read), strict=True))
        yield at_least(f"{name}: our {kind} as splat-transform reads it, against as we do", 60, same, "dB")


def _turned(splats: Any) -> Any:
    from splatlens.converters.transform import TURN_X, transformed

    return transformed(splats, TURN_X)


def sog() -> list[Row]:
    """PLY to SOG: real k-means, and side by side with splat-transform where that ends."""
    rows = []
    noisy = noisy_file(SCENES[0], "multiplied")
    rows.append(at_most("PLY to SOG, noisy playbot_l2, 125,000 splats, SH 2", 60, _convert(noisy, "sog"), "s"))
    plant = data_file(SCENES[1].file)
    ours, theirs = [], []
    for _ in range(3):
        ours.append(_convert(plant, "sog"))
        theirs.append(transform("-g", "cpu", plant, work() / "theirs.sog"))
    detail = f"splat-transform {min(theirs):.1f} s in the same run"
    rows.append(at_most("PLY to SOG, plant, seconds of splat-transform's", 1, min(ours) / min(theirs), "times", detail))
    return rows + [_part(scene) for scene in (SCENES[0], SCENES[2])]


def _part(scene: Scene) -> Row:
    """As many rows as splat-transform's k-means on the CPU does in minutes, against their own float32 picture."""
    splats, _ = read_splats(noisy_file(scene, "multiplied"))
    chosen = np.sort(np.random.default_rng(0).permutation(len(splats))[:PART])
    path, ours, theirs = work() / "part.ply", work() / "part.sog", work() / "theirs.sog"
    write_splats(path, splats.take(chosen))
    start = time.perf_counter()
    convert([path], ours, force=True)
    seconds = time.perf_counter() - start
    what = f"{PART:,} rows of {scene.name}, SH noise, to SOG beside splat-transform"
    want = draw(path, scene)

    def measure(file: Path, seconds: float) -> tuple[int, float, str]:
        each = [decibels(a, b) for a, b in zip(draw(file, scene), want, strict=True)]
        return file.stat().st_size, min(each), f"{file.stat().st_size:,} B, {_text(each)}, {seconds:.1f} s"

    size, least, measured = measure(ours, seconds)
    try:
        their_size, their_least, asked = measure(theirs, transform("-g", "cpu", path, theirs, patience=PATIENCE_PART))
    except TimeoutError as error:
        return reported(f"{what}: {error}", measured)
    return Row(what, asked, measured, size <= their_size and least >= their_least)


def _convert(path: Path, suffix: str) -> float:
    """Seconds of `splatlens convert`, the whole process."""
    return float(_report(path, suffix)[1])


def _report(path: Path, suffix: str) -> tuple[dict[str, Any], float]:
    run = [sys.executable, "-c", "from splatlens.cli import main; main()", "convert", "--force", "--json"]
    start = time.perf_counter()
    done = subprocess.run([*run, str(path), str(work() / f"ours.{suffix}")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"convert {path.name}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout), time.perf_counter() - start


#: Best of five reads in one process, after one that is not counted.
READING = """
import sys, time
{setup}
best = 1e9
for i in range(6):
    start = time.perf_counter()
    {read}
    if i: best = min(best, time.perf_counter() - start)
print(best)
"""
OURS = ("from splatlens.converters import read_splats", "read_splats(sys.argv[1])")
#: gsply maps the file: its columns are copied so that both have float32 arrays of their own.
THEIRS = (
    "import gsply, numpy as np",
    "g = gsply.{function}(sys.argv[1]); "
    "[np.array(a, np.float32) for a in (g.means, g.scales, g.quats, g.opacities, g.sh0, g.shN) if a is not None]",
)


def reading() -> list[Row]:
    """PLY and SPZ to float32 arrays of all columns, beside gsply."""
    try:
        import gsply  # noqa: F401
    except ImportError:
        raise MissingError("gsply: pip install gsply==0.4.6") from None
    rows = []
    for scene in SCENES:
        ply = data_file(scene.file)
        spz = work() / f"{scene.name}.spz"
        write_splats(spz, *read_splats(ply), options=WriteOptions(spz_version=3))
        for path, function in ((ply, "plyread"), (spz, "read_spz")):
            setup, read = THEIRS
            ours = _best(READING.format(setup=OURS[0], read=OURS[1]), path)
            theirs = _best(READING.format(setup=setup, read=read.format(function=function)), path)
            detail = f"{ours * 1000:.0f} ms, gsply {theirs * 1000:.0f} ms"
            what = f"reading {scene.name}{path.suffix}, times gsply's time"
            rows.append(at_most(what, 2, ours / theirs, "times", detail))
    return rows


def _best(code: str, path: Path) -> float:
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, env=os.environ)
    if done.returncode:
        raise RuntimeError(f"reading {path.name}: {done.stderr.strip()[-200:]}")
    return float(done.stdout)


def memory() -> list[Row]:
    """Largest resident memory of a conversion, ten times the splats beside one."""
    from figures_sizes import tiled

    scene = SCENES[2]
    path = data_file(scene.file)
    ten = work() / "ten.ply"
    write_splats(ten, tiled(read_splats(path)[0], 5, 2))
    rows = []
    for suffix in ("ply", "compressed.ply", "splat", "spz", "glb", "lens", "sog"):
        one, many = (_report(p, suffix)[0] for p in (path, ten))
        least, most = one["peak_bytes"] / 1e6, many["peak_bytes"] / 1e6
        detail = f"{least:.0f} and {most:.0f} MB, {one['seconds']:.1f} and {many['seconds']:.1f} s"
        what = f"memory of PLY to {suffix}, {many['splats']:,} splats beside {one['splats']:,}"
        bounded = suffix != "sog"  # its images and palette are made as wholes
        rows.append(at_most(what, 1.3, most / least, "times", detail) if bounded else reported(what, detail))
        (work() / f"ours.{suffix}").unlink()
    return rows
