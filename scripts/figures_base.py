"""What every figure needs: rows of the table, the machine, the real scenes, their views and their pictures."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splatlens.viewer import reference
from splatlens.viewer.camera import Camera
from splatlens.viewer.compare import psnr
from splatlens.viewer.splats import Splats

ROOT = Path(__file__).resolve().parent.parent
DATA_VARIABLE = "SPLATLENS_TEST_DATA"
Image = NDArray[np.float32]


class MissingError(Exception):
    """Something a figure needs is not here; the message says what and how to get it."""


@dataclass(frozen=True)
class Row:
    """One line of the table. reached: None where nothing is asked, or nothing could be measured."""

    what: str
    asked: str
    measured: str
    reached: bool | None = None


def at_least(what: str, asked: float, measured: float, unit: str, detail: str = "") -> Row:
    return Row(what, f"≥ {asked:g} {unit}".rstrip(), _with(measured, unit, detail), measured >= asked)


def at_most(what: str, asked: float, measured: float, unit: str, detail: str = "") -> Row:
    return Row(what, f"≤ {asked:g} {unit}".rstrip(), _with(measured, unit, detail), measured <= asked)


def _with(measured: float, unit: str, detail: str) -> str:
    digits = 0 if abs(measured) >= 1000 else 1 if abs(measured) >= 10 else 2
    return f"{measured:,.{digits}f} {unit}".rstrip() + (f" ({detail})" if detail else "")


def reported(what: str, measured: str) -> Row:
    return Row(what, "–", measured)


@dataclass(frozen=True)
class Scene:
    """A real scene: file below the data folder, views (position, target, fov), figures to reach.

    decimation: mean dB over the views of uniform decimation at 50, 25, 10 and 2% (data/lod_baseline.md).
    """

    name: str
    file: str
    views: tuple[tuple[tuple[float, float, float], tuple[float, float, float], float], ...]
    decimation: tuple[float, float, float, float]
    most_bytes: float

    def cameras(self) -> list[Camera]:
        return [Camera.look_at(p, t, (0, -1, 0), fov, 640, 360) for p, t, fov in self.views]


SCENES = (
    Scene(
        "playbot_l2_sh2",
        "ply_converted/playbot_l2_sh2.ply",
        (
            ((1.6, -0.9, -1.6), (0, -0.45, 0), 50),
            ((-1.2, -0.7, 1.5), (0, -0.45, 0), 40),
            ((0.9, -0.6, 0.2), (0, -0.5, 0), 50),
        ),
        (32.2, 28.9, 26.0, 22.6),
        32,
    ),
    Scene(
        "plant_sh0",
        "ply_converted/plant_sh0.ply",
        (((0.7, -0.3, -1.0), (0, 0, 0), 50), ((-0.8, -0.5, 0.7), (0, 0, 0), 50), ((0.4, -0.2, -0.4), (0, 0, 0), 50)),
        (43.2, 38.3, 33.7, 27.6),
        24,
    ),
    Scene(
        "semarang_5_9_sh3",
        "ply_converted/semarang_5_9_sh3.ply",
        (
            ((300, -200, 150), (200, 0, 400), 60),
            ((250, -60, 300), (200, 0, 400), 60),
            ((0, -300, 0), (200, 0, 300), 60),
        ),
        (27.3, 24.1, 21.8, 19.4),
        32,
    ),
)
#: Shares of the splats at which detail is measured.
SHARES = (0.5, 0.25, 0.1, 0.02)


def data_file(relative: str) -> Path:
    """A file of the real scenes. Raises MissingError."""
    folder = os.environ.get(DATA_VARIABLE, "")
    if not folder:
        raise MissingError(f"real scenes: set {DATA_VARIABLE} to their folder")
    path = Path(folder) / relative
    if not path.exists():
        raise MissingError(f"{path} is not there")
    return path


@cache
def sample_module(sample: str, name: str) -> Any:
    """A script of a sample as a module; not by its own name, which other samples have too."""
    spec = importlib.util.spec_from_file_location(f"{sample}_{name}", ROOT / "samples" / sample / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


@cache
def work() -> Path:
    """A folder for what is made on the way, removed at the end."""
    path = Path(tempfile.mkdtemp(prefix="splatlens-figures-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def source(path: Path) -> Splats:
    """The splats of a file, float32."""
    from splatlens.converters import read_splats

    return read_splats(path)[0]


@cache
def lens_of(path: Path) -> tuple[Path, dict[str, Any]]:
    """The file as .lens, and the report of `splatlens convert --json`, run as a process of its own on two cores.

    The report has processor_seconds too: what the wall clock would say at most, were the machine idle.
    """
    out = work() / f"{path.stem}.lens"
    run = [sys.executable, "-c", "from splatlens.cli import main; main()", "convert", "--force", "--json"]
    before = _two_cores if hasattr(os, "sched_setaffinity") else None
    children = os.times()
    done = subprocess.run([*run, str(path), str(out)], capture_output=True, text=True, preexec_fn=before)
    if done.returncode:
        raise RuntimeError(f"convert {path.name}: {done.stderr.strip().splitlines()[-1:]}")
    used = sum(os.times()[2:4]) - sum(children[2:4])
    return out, {**json.loads(done.stdout), "processor_seconds": used}


def _two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


@cache
def truth(path: Path, view: int, scene: Scene) -> Image:
    """The whole scene from float32 by the float64 NumPy reference, black background."""
    return reference.render(source(path), scene.cameras()[view])


@cache
def renderer() -> Any:
    """One headless renderer for all pictures."""
    from splatlens.viewer.render import Renderer

    return Renderer()


def decibels(got: Image, want: Image) -> float:
    """PSNR of the colours, clipped to 0..1 as they are shown."""
    return psnr(np.clip(got[..., :3], 0, 1), np.clip(want[..., :3], 0, 1))


def machine() -> list[str]:
    """What the figures were measured on, as lines of Markdown."""
    import scipy
    import wgpu

    import splatlens

    model = platform.processor() or platform.machine()
    memory = ""
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
        kib = int(
            next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal")).split()[1]
        )
        memory = f", {kib / 2**20:.0f} GiB"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = f", load average {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    try:
        from splatlens.viewer.executor import adapter_name, request_device

        adapter = adapter_name(request_device())
    except Exception as error:  # whatever it is, it is what the line is to say
        adapter = f"none ({error})"
    versions = f"splatlens {splatlens.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    return [
        f"- Machine: {model}, {cores} cores{memory}, {system()}{load}",
        f"- Adapter: {adapter}",
        f"- Versions: {versions}, SciPy {scipy.__version__}, wgpu {wgpu.__version__}",
        f"- Browser and Node: {chromium_version()}, {node_version()}",
    ]


def system() -> str:
    release = Path("/etc/os-release")
    if not release.exists():
        return platform.platform()
    names = [
        line.split("=", 1)[1].strip('"') for line in release.read_text().splitlines() if line.startswith("PRETTY_NAME")
    ]
    return f"{names[0] if names else platform.system()} ({platform.system()} {platform.release()})"


def chromium() -> str:
    """Path of the browser. Raises MissingError."""
    done = subprocess.run([str(ROOT / "scripts" / "chromium.sh")], capture_output=True, text=True)
    if done.returncode:
        raise MissingError("Chromium: install one, or set CHROMIUM to its path")
    return done.stdout.strip()


def chromium_version() -> str:
    try:
        return subprocess.run([chromium(), "--version"], capture_output=True, text=True).stdout.strip() or "Chromium"
    except MissingError:
        return "no Chromium"


def node_version() -> str:
    node = shutil.which("node")
    return (
        f"Node {subprocess.run([node, '--version'], capture_output=True, text=True).stdout.strip()}"
        if node
        else "no Node"
    )


Section = Callable[[], list[Row]]
