"""The distribution: wheel and sdist hold what they must, and a page is served from the wheel in a fresh environment."""

from __future__ import annotations

import email.parser
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

import splatlens
from splatlens.converters import write_splats
from tests.conformance import random_splats

ROOT = Path(__file__).resolve().parent.parent
#: onnxruntime-web, which runs generators in the page.
RUNTIME = ROOT / "static" / "vendor" / "onnxruntime"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """sdist and wheel by suffix, built from a copy: setuptools leaves its build folder in the source tree."""
    folder = tmp_path_factory.mktemp("dist")
    source = folder / "source"
    source.mkdir()
    for name in source_files():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    # The wheel is built from the sdist, as an index would. Not isolated: the build needs only setuptools, present here.
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "out"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in (folder / "out").iterdir()}


def source_files() -> list[str]:
    """What a clone has: as git says, or in an unpacked sdist as it lists itself."""
    if not (ROOT / ".git").exists():
        listed = (ROOT / "splatlens.egg-info/SOURCES.txt").read_text().splitlines()
        return [name for name in listed if (ROOT / name).is_file()]
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    # What scripts/setup.sh copied there is not in git, and belongs into the distribution.
    names += [str(path.relative_to(ROOT)) for path in RUNTIME.iterdir()]
    return [name for name in dict.fromkeys(names) if name and (ROOT / name).is_file()]


def data_files() -> set[str]:
    """What the program reads beside its modules, relative to the root."""
    places = [*(ROOT / "shaders").rglob("*"), *(ROOT / "static").rglob("*")]
    return {str(p.relative_to(ROOT)) for p in places if p.is_file()} | {"py.typed"}


def modules() -> set[str]:
    return {str(p.relative_to(ROOT)) for g in ("*.py", "viewer/*.py", "converters/*.py") for p in ROOT.glob(g)}


def test_the_wheel_holds_every_module_and_data_file_and_nothing_else(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built[".whl"]) as wheel:
        names = {n.removeprefix("splatlens/") for n in wheel.namelist() if n.startswith("splatlens/")}
        others = {n.split("/")[0] for n in wheel.namelist() if not n.startswith("splatlens/")}
        metadata = email.parser.Parser().parsestr(
            wheel.read(f"splatlens-{splatlens.__version__}.dist-info/METADATA").decode()
        )
        licence = wheel.read(f"splatlens-{splatlens.__version__}.dist-info/licenses/LICENSE")
    assert names == modules() | data_files()
    assert others == {f"splatlens-{splatlens.__version__}.dist-info"}
    assert metadata["License-Expression"] == "MIT" and b"MIT License" in licence
    assert metadata["Requires-Python"] == ">=3.11"


def test_the_wheel_holds_the_runtime_of_generators_of_the_pinned_version(built: dict[str, Path]) -> None:
    wanted = {"ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm.gz", "LICENSE.txt"}
    with zipfile.ZipFile(built[".whl"]) as wheel:
        inside = [Path(n) for n in wheel.namelist() if "/vendor/onnxruntime/" in n]
        script = wheel.read("splatlens/static/vendor/onnxruntime/ort.webgpu.bundle.min.mjs").decode()
    assert {path.name for path in inside} == wanted, "run scripts/setup.sh node"
    pinned = json.loads((ROOT / "package.json").read_text())["dependencies"]["onnxruntime-web"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", pinned)
    assert pinned in script[:300]


def test_the_sdist_can_be_built_and_tested(built: dict[str, Path]) -> None:
    with tarfile.open(built[".gz"]) as sdist:
        names = {n.partition("/")[2] for n in sdist.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "docs/cli.md", ".ci/run"}
    wanted |= {"scripts/setup.sh", "package.json", "package-lock.json", "tsconfig.json", "tests/test_wheel.py"}
    assert wanted | modules() | data_files() <= names
    assert not any(n.startswith((".venv", "node_modules", "build/")) for n in names)


def test_a_page_is_served_from_the_wheel_in_a_fresh_environment(built: dict[str, Path], tmp_path: Path) -> None:
    """Installed without this checkout on its path; dependencies are this environment's, so nothing is downloaded."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=os.name == "posix")
    scripts, python = home / ("Scripts" if os.name == "nt" else "bin"), "python.exe" if os.name == "nt" else "python"
    ours = {"base": str(home), "platbase": str(home)}
    packages = Path(sysconfig.get_path("purelib", vars=ours))
    install = [sys.executable, "-m", "pip", "--python", str(scripts / python), "install", "--no-deps", "--no-index"]
    done = subprocess.run([*install, "--quiet", str(built[".whl"])], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # A .pth line is a folder to import from. Not site-packages itself, whose own .pth files name this checkout.
    borrowed = tmp_path / "borrowed"
    borrowed.mkdir()
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if "splatlens" not in entry.name and entry.suffix != ".pth":
            (borrowed / entry.name).symlink_to(entry)
    (packages / "borrowed.pth").write_text(f"{borrowed}\n")

    where = subprocess.run(
        [scripts / python, "-c", "import splatlens; print(splatlens.__file__, splatlens.__version__)"],
        capture_output=True, text=True, cwd=tmp_path, check=True,
    ).stdout.split()  # fmt: skip
    assert Path(where[0]).is_relative_to(home) and where[1] == splatlens.__version__
    command = str(scripts / "splatlens")
    usage = subprocess.run([command, "--help"], capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert all(name in usage for name in ("view", "convert", "info", "render", "compare", "serve"))

    ply = tmp_path / "scenes" / "tiny.ply"
    ply.parent.mkdir()
    write_splats(ply, random_splats(300, 1))
    lens = ply.with_suffix(".lens")
    subprocess.run([command, "convert", ply, lens], cwd=tmp_path, check=True, capture_output=True)
    server = subprocess.Popen(
        [command, "serve", lens.parent, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        text=True,
    )
    try:
        assert server.stdout is not None
        base = server.stdout.readline().strip()
        assert base.startswith("http://127.0.0.1:"), server.communicate(timeout=10)

        def get(path: str) -> bytes:
            with urllib.request.urlopen(base + path, timeout=20) as response:
                assert response.status == 200
                return bytes(response.read())

        assert [s["name"] for s in json.loads(get("scenes.json"))["scenes"]] == ["tiny"]
        assert b"tiny" in get("")
        page = get("view/tiny").decode()
        # Everything that the page names comes from the wheel.
        linked = set(re.findall(r"(?:src|href)=\"((?:\.\./)+client/[^\"]+)\"", page))
        assert any(link.endswith(".js") for link in linked) and any(link.endswith(".css") for link in linked)
        for link in linked:
            assert get(link.lstrip("./"))
        assert get("scenes/tiny.lens") == lens.read_bytes()
    finally:
        server.terminate()
        server.communicate(timeout=20)
