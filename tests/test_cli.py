"""The command line: reports, one-line errors with exit code 2, camera choice, the cache of `view`, SSH."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from splatlens import api, cli, cli_output, cli_view
from splatlens.cli_render import Views, choose_cameras, output_paths
from splatlens.converters import read_splats, write_splats
from splatlens.converters.convert import require_one_kernel
from splatlens.converters.source import SourceInfo
from splatlens.viewer.camera_files import write_cameras
from splatlens.viewer.errors import LensError
from splatlens.viewer.images import read_image, write_image
from tests.conformance import random_splats
from tests.test_camera_files import some_cameras
from tests.test_ply_folder import make_model

UP = (0.0, -1.0, 0.0)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A small PLY, alone in a folder."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    write_splats(folder / "scene.ply", random_splats(600, 1))
    return folder / "scene.ply"


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    code = cli.run([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def fails(capsys: pytest.CaptureFixture[str], part: str, *arguments: str | Path) -> None:
    """The command fails with exit code 2 and one line on stderr that holds `part`."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert part in err


# convert and info


def test_convert_reports(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    out = scene.with_suffix(".lens")
    code, text, err = run(capsys, "convert", scene, out)
    assert (code, err) == (0, "")
    assert re.match(rf"{re.escape(str(out))}: 600 splats, SH 1, .* bytes a splat\), .* s", text)
    code, text, _ = run(capsys, "convert", scene, out, "--force", "--json")
    report = json.loads(text)
    assert (report["splats"], report["sh_degree"], report["bytes"]) == (600, 1, out.stat().st_size)
    assert report["seconds"] > 0 and report["peak_bytes"] > 1 << 20
    assert report["inputs"][0]["format"] == "3dgs-ply"


def test_convert_warns_of_dropped_rows(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    splats = random_splats(50, 0)
    splats.means[7] = np.nan
    write_splats(scene, splats)
    code, text, err = run(capsys, "convert", scene, scene.with_name("b.ply"))
    assert code == 0
    assert err == f"warning: {scene}: 1 of 50 splats dropped: 1 with NaN or infinity\n"
    assert "49 splats" in text


def test_several_inputs_become_one_scene(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    write_splats(scene.with_name("more.ply"), random_splats(40, 2, seed=5))
    out = scene.with_name("all.ply")
    code, text, _ = run(capsys, "convert", scene, scene.with_name("more.ply"), out, "--json")
    assert code == 0
    report = json.loads(text)
    assert (report["splats"], report["sh_degree"], len(report["inputs"])) == (640, 2, 2)
    first, _ = read_splats(scene)
    both, _ = read_splats(out)
    np.testing.assert_array_equal(both.means[:600], first.means)
    assert not both.sh[:600, 4:].any()


def test_inputs_of_different_kernels_do_not_mix() -> None:
    mip = SourceInfo(Path("a"), "x", 1, 0, 1, antialias=True, dilation=0.1)
    silent = SourceInfo(Path("b"), "x", 1, 0, 1)
    classic = SourceInfo(Path("c"), "x", 1, 0, 1, antialias=False, dilation=0.3)
    with pytest.raises(LensError, match=r"different kernels .*a: antialias True, dilation 0\.1; b: antialias False"):
        require_one_kernel([mip, silent])
    require_one_kernel([silent, classic])


def test_convert_refuses_before_it_reads(capsys: pytest.CaptureFixture[str], scene: Path, tmp_path: Path) -> None:
    before = scene.read_bytes()
    fails(capsys, "exists already; give --force", "convert", scene, scene)
    fails(capsys, "is both input and output", "convert", scene, scene, "--force")
    writable = ".lens, .onnx (generators), .sog, meta.json, .compressed.ply, .ply, .spz, .glb, .splat"
    fails(capsys, f"cannot write .obj; writable are {writable}", "convert", scene, tmp_path / "a.obj")
    fails(capsys, "no such folder; make it first", "convert", scene, tmp_path / "x" / "a.lens")
    fails(capsys, "no such file or folder", "convert", tmp_path / "gone.ply", tmp_path / "a.lens")
    fails(capsys, "Missing argument 'IN...'", "convert", scene)
    assert scene.read_bytes() == before
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["scene.ply", "scenes"]


@pytest.mark.parametrize("suffix", [".lens", ".ply"])
def test_a_failed_conversion_leaves_nothing(
    capsys: pytest.CaptureFixture[str], scene: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the disk is full at the last moment: the old file stays, nothing is beside it."""
    out = scene.with_name(f"out{suffix}")
    out.write_bytes(b"precious")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    fails(capsys, "No space left on device; free some space", "convert", scene, out, "--force")
    assert out.read_bytes() == b"precious"
    assert sorted(p.name for p in scene.parent.iterdir()) == sorted(["scene.ply", out.name])


def test_info_of_a_source(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = make_model(tmp_path / "garden", random_splats(30, 2), (7000, 30000))
    code, text, _ = run(capsys, "info", model, "--json")
    facts = json.loads(text)
    assert code == 0
    assert (facts["format"], facts["splats"], facts["sh_degree"]) == ("3dgs-model-folder", 30, 2)
    assert (facts["cameras"], facts["iteration"], facts["background"]) == (5, 30000, [1, 1, 1])
    code, text, _ = run(capsys, "info", model)
    assert "splats: 30\n" in text and "sh degree: 2\n" in text and "iteration: 30,000\n" in text


def test_info_of_a_lens_file(capsys: pytest.CaptureFixture[str], scene: Path) -> None:
    out = scene.with_suffix(".lens")
    assert cli.run(["convert", str(scene), str(out)]) == 0
    capsys.readouterr()
    code, text, _ = run(capsys, "info", out, "--json")
    facts = json.loads(text)
    assert code == 0
    assert (facts["format"], facts["version"], facts["bytes"]) == ("lens", 1, out.stat().st_size)
    assert facts["layers"][0]["kind"] == "splats"
    code, text, _ = run(capsys, "info", out)
    assert code == 0 and "layers[0]:\n" in text


def test_facts_beside_a_ply_end_up_in_the_lens(scene: Path) -> None:
    cameras = some_cameras(3)
    write_cameras(scene.with_suffix(".cameras.json"), cameras)
    facts = {"title": "A title", "attribution": "Me", "licence": "CC0-1.0", "up": [0, 0, 2], "background": [1, 0.5, 0]}
    scene.with_suffix(".scene.json").write_text(json.dumps(facts))
    api.convert(scene, scene.with_suffix(".lens"))
    with api.open(scene.with_suffix(".lens")) as opened:
        stored = opened.facts()
        assert [stored[k] for k in ("title", "attribution", "licence")] == ["A title", "Me", "CC0-1.0"]
        assert (opened.up, opened.background, len(opened.cameras)) == ((0, 0, 1), (1, 0.5, 0), 3)
        assert stored["source"] == "scene.ply"


def test_damaged_facts_beside_a_ply_are_a_warning(scene: Path) -> None:
    scene.with_suffix(".cameras.json").write_text("[]")
    damages = [("{", "not valid JSON"), ('{"up": [0, 0, 0]}', "scene.up: expected a direction"), ("[]", "an object")]
    for text, part in damages:
        scene.with_suffix(".scene.json").write_text(text)
        _, info = read_splats(scene)
        assert len(info.warnings) == 2
        assert part in info.warnings[0] and "at least one camera" in info.warnings[1]


@pytest.mark.parametrize("content", [b"", b"ply\n", b"hello", b"SPLATLENS?", bytes(5000)])
def test_damaged_files_are_one_line_for_every_command(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLATLENS_CACHE", str(tmp_path / "cache"))
    for name in ("bad.ply", "bad.lens"):
        bad = tmp_path / name
        bad.write_bytes(content)
        fails(capsys, name, "info", bad)
        fails(capsys, name, "convert", bad, tmp_path / "out.lens")
        fails(capsys, name, "render", bad, tmp_path / "out.png", "--position", "0,0,-5", "--target", "0,0,0")
        fails(capsys, name, "view", bad, "--no-browser")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.lens", "bad.ply"]


def test_errors_stay_one_line_whatever_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    fails(capsys, "no such file", "info", "a\nb\x1b[31m.ply")
    fails(capsys, "No such command 'fly'", "fly")
    fails(capsys, "No such option", "info", "--fast", "x")


def test_interruption_and_bugs(monkeypatch: pytest.MonkeyPatch, scene: Path) -> None:
    def raising(error: BaseException) -> None:
        def read(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr("splatlens.converters.convert.open_any", read)

    arguments = ["convert", str(scene), str(scene.with_suffix(".lens"))]
    raising(KeyboardInterrupt())
    assert cli.run(arguments) == 130
    raising(MemoryError())
    assert cli.run(arguments) == 2
    raising(ZeroDivisionError())  # a bug is not the user's error: it keeps its traceback
    with pytest.raises(ZeroDivisionError):
        cli.run(arguments)


# render and compare


def test_render_a_source_and_compare(capsys: pytest.CaptureFixture[str], scene: Path, tmp_path: Path) -> None:
    view = ("--position", "0,0,-12", "--target", "0,0,0", "--size", "96x64", "--fov", "60")
    assert run(capsys, "render", scene, tmp_path / "a.npy", *view)[0] == 0
    assert run(capsys, "render", scene, tmp_path / "b.npy", *view, "--reference")[0] == 0
    code, text, _ = run(capsys, "compare", tmp_path / "a.npy", tmp_path / "b.npy", "--json")
    report = json.loads(text)
    assert code == 0
    assert (report["width"], report["height"], report["equal"]) == (96, 64, False)
    assert report["psnr"] > 60 and report["ssim"] > 0.9999
    image = read_image(tmp_path / "a.npy")
    assert image.shape == (64, 96, 4) and image[..., 3].max() > 0.5
    # A background shows where the scene is transparent, and nowhere else.
    assert run(capsys, "render", scene, tmp_path / "c.npy", *view, "--background", "1,0,0")[0] == 0
    red = read_image(tmp_path / "c.npy")
    np.testing.assert_allclose(red[..., 0] - image[..., 0], 1 - image[..., 3], atol=1e-5)
    np.testing.assert_array_equal(red[..., 1:], image[..., 1:])


def test_render_within_a_budget(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    write_splats(tmp_path / "s.ply", random_splats(3000, 0))
    view = ("--position", "0,0,-12", "--target", "0,0,0", "--size", "64x64")
    for name, *more in (("full",), ("whole", "--budget", "3000"), ("few", "--budget", "300")):
        assert run(capsys, "render", tmp_path / "s.ply", tmp_path / f"{name}.npy", *view, *more)[0] == 0
    full, whole, few = (read_image(tmp_path / f"{name}.npy") for name in ("full", "whole", "few"))
    assert np.abs(full - whole).max() < 1e-3
    assert np.abs(full - few).max() > 1e-2
    assert few[..., 3].max() > 0.05


def test_render_several_cameras(capsys: pytest.CaptureFixture[str], scene: Path, tmp_path: Path) -> None:
    write_cameras(tmp_path / "c.json", [c.resized(64, 36) for c in some_cameras(3)])
    code, text, _ = run(
        capsys, "render", scene, tmp_path / "v-%03d.png", "--cameras", tmp_path / "c.json", "--json", "--reference"
    )
    assert code == 0
    assert [p["path"] for p in json.loads(text)["pictures"]] == [str(tmp_path / f"v-{i:03d}.png") for i in range(3)]
    assert read_image(tmp_path / "v-001.png").shape == (36, 64, 3)
    out = tmp_path / "one.png"
    arguments = ("--cameras", tmp_path / "c.json", "--index", "1", "--reference")
    assert run(capsys, "render", scene, out, *arguments)[0] == 0
    assert out.read_bytes() == (tmp_path / "v-001.png").read_bytes()
    assert run(capsys, "render", scene, out, *arguments, "--size", "32x18")[0] == 0
    assert read_image(out).shape == (18, 32, 3)


def test_cameras_are_chosen(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    write_cameras(file, some_cameras(3))

    def start():  # type: ignore[no-untyped-def]
        return some_cameras(1)[0]

    # Where nothing is said, where a viewer starts.
    ((_, camera),) = choose_cameras(Views(size=(64, 48)), UP, start)
    assert (camera.width, camera.height) == (64, 48)
    np.testing.assert_array_equal(camera.world_to_camera, start().world_to_camera)
    assert [i for i, _ in choose_cameras(Views(cameras=file), UP, start)] == [0, 1, 2]
    ((number, camera),) = choose_cameras(Views(cameras=file, index=2, size=(320, 180)), UP, start)
    assert (number, camera.width, camera.height) == (2, 320, 180)
    ((_, camera),) = choose_cameras(Views(position=(0, 0, -5), target=(0, 0, 0)), UP, start)
    assert (camera.width, camera.height) == (1280, 720)
    np.testing.assert_allclose(camera.fov_y, 50)
    np.testing.assert_allclose(camera.world_to_camera[1, :3], [0, 1, 0], atol=1e-12)  # y down, away from the scene's up
    for views, part in (
        (Views(position=(0, 0, 0)), "no camera; give --cameras FILE, or --position"),
        (Views(fov=40), "no camera"),
        (Views(index=1), "--index needs --cameras"),
        (Views(cameras=file, fov=40), "--cameras and --fov exclude each other"),
        (Views(cameras=file, index=3), "--index 3 is not one of its cameras, 0 to 2"),
        (Views(cameras=file, index=-1), "--index -1 is not one of its cameras"),
        (Views(position=(0, 0, 0), target=(0, 1, 0)), "span no view"),
    ):
        with pytest.raises(LensError, match=re.escape(part)):
            choose_cameras(views, UP, start)


def test_output_names(tmp_path: Path) -> None:
    def names(name: str, numbers: list[int]) -> list[str]:
        return [p.name for p in output_paths(tmp_path / name, numbers)]

    assert names("a.png", [4]) == ["a.png"]
    assert names("a-%03d.png", [0, 12]) == ["a-000.png", "a-012.png"]
    assert names("%d.npy", [7]) == ["7.npy"]
    assert names("100%s.png", [7]) == ["100%s.png"]  # nothing else of printf means anything
    for name, part in (
        ("a.png", "2 pictures need a number in the name"),
        ("%d-%d.png", "more than one number pattern"),
        ("a-%d.jpg", "not a picture's name"),
        ("missing/%d.png", "no such folder"),
    ):
        with pytest.raises(LensError, match=re.escape(part)):
            names(name, [0, 1])


def test_compare_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    grey = np.full((12, 13, 4), 0.5, np.float32)
    write_image(tmp_path / "a.npy", grey)
    write_image(tmp_path / "b.npy", grey + np.float32(0.1))
    write_image(tmp_path / "c.npy", grey[:5])
    code, text, _ = run(capsys, "compare", tmp_path / "a.npy", tmp_path / "b.npy")
    assert code == 0 and re.fullmatch(r"PSNR 20\.00 dB, SSIM 0\.\d{5}, largest difference 0\.10000\n", text)
    _, text, _ = run(capsys, "compare", tmp_path / "a.npy", tmp_path / "a.npy")
    assert "PSNR infinite (equal pictures), SSIM 1.00000" in text
    assert "SSIM not measured" in run(capsys, "compare", tmp_path / "c.npy", tmp_path / "c.npy")[1]
    fails(capsys, "different sizes, 13x12 and 13x5", "compare", tmp_path / "a.npy", tmp_path / "c.npy")
    fails(capsys, "gone.png: no such picture", "compare", tmp_path / "a.npy", tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("option", "value", "part"),
    [
        ("--size", "1280", "expected WIDTHxHEIGHT"),
        ("--size", "0x10", "expected WIDTHxHEIGHT"),
        ("--size", "9999x10", "1 to 8192"),
        ("--position", "1,2", "expected three numbers as x,y,z"),
        ("--target", "1,2,nan", "expected three numbers as x,y,z"),
        ("--up", "1,2,x", "expected three numbers"),
        ("--background", "0,0,2", "expected three numbers from 0 to 1 as r,g,b"),
        ("--fov", "180", "0<x<180"),
        ("--budget", "0", "x>=1"),
    ],
)
def test_values_that_are_none(capsys: pytest.CaptureFixture[str], option: str, value: str, part: str) -> None:
    fails(capsys, part, "render", "a.ply", "b.png", option, value)


# view and serve


def test_view_converts_once_by_content(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATLENS_CACHE", str(tmp_path / "cache"))
    told: list[str] = []
    first, _ = cli_view.prepare(scene, lambda what, share: told.append(what))
    assert first.is_relative_to(tmp_path / "cache") and first.name == "scene.lens"
    assert "converting" in told
    told.clear()
    stamp = first.stat().st_mtime_ns
    os.utime(first, ns=(stamp - 10**12, stamp - 10**12))
    again, _ = cli_view.prepare(scene, lambda what, share: told.append(what))
    assert again == first and "converting" not in told
    assert first.stat().st_mtime_ns > stamp - 10**12  # noted as used
    # Other content under the same name, of the same size.
    write_splats(scene, random_splats(600, 1, seed=9))
    other, _ = cli_view.prepare(scene, lambda what, share: None)
    assert other.parent != first.parent
    # A damaged cache entry is made again.
    other.write_bytes(other.read_bytes()[:100])
    assert cli_view.prepare(scene, lambda what, share: None)[0] == other
    assert other.stat().st_size > 100
    # Facts beside the file are part of its content.
    scene.with_suffix(".scene.json").write_text('{"title": "x"}')
    assert cli_view.prepare(scene, lambda what, share: None)[0].parent != other.parent


def test_view_serves_lens_files_as_they_are(scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPLATLENS_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "lens" / "scene.lens"
    out.parent.mkdir()
    api.convert(scene, out)
    assert cli_view.prepare(out, lambda what, share: None) == (out, ())
    assert cli_view.prepare(out.parent, lambda what, share: None) == (out.parent, ())
    assert cli_view.page_url("http://127.0.0.1:8000/", out) == "http://127.0.0.1:8000/view/scene"
    assert cli_view.page_url("http://127.0.0.1:8000/", out.parent) == "http://127.0.0.1:8000/"
    assert cli_view.page_url("http://h:1/", Path("a b#c.lens")) == "http://h:1/view/a%20b%23c"
    assert not (tmp_path / "cache").exists()


def test_the_cache_forgets_the_longest_unused(tmp_path: Path) -> None:
    for i in range(4):
        file = tmp_path / str(i) / "scene.lens"
        file.parent.mkdir()
        file.write_bytes(bytes(100))
        os.utime(file, (i, i))
    cli_view.prune(tmp_path, 250, keep=tmp_path / "0" / "scene.lens")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3"]


def test_cache_folders() -> None:
    home = Path.home()
    assert cli_view.cache_folder({}, "linux") == home / ".cache/splatlens"
    assert cli_view.cache_folder({"XDG_CACHE_HOME": "/c"}, "linux") == Path("/c/splatlens")
    assert cli_view.cache_folder({}, "darwin") == home / "Library/Caches/splatlens"
    assert cli_view.cache_folder({"LOCALAPPDATA": "/l"}, "win32") == Path("/l/splatlens/Cache")
    assert cli_view.cache_folder({"SPLATLENS_CACHE": "/own"}, "darwin") == Path("/own")


def test_cache_that_cannot_be_made(
    capsys: pytest.CaptureFixture[str], scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPLATLENS_CACHE", str(scene))
    fails(capsys, "set SPLATLENS_CACHE to a folder of yours", "view", scene)


def test_the_way_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ana")
    over = {"SSH_CONNECTION": "10.0.0.9 51000 10.0.0.7 22"}
    assert cli_view.ssh_line("http://127.0.0.1:8000/view/a", over) == "ssh -L 8000:127.0.0.1:8000 ana@10.0.0.7"
    other_port = {"SSH_CONNECTION": "10.0.0.9 51000 10.0.0.7 2222"}
    assert cli_view.ssh_line("http://127.0.0.1:81/", other_port) == "ssh -p 2222 -L 81:127.0.0.1:81 ana@10.0.0.7"
    assert cli_view.ssh_line("http://127.0.0.1:81/", {}) == f"ssh -L 81:127.0.0.1:81 ana@{socket.gethostname()}"
    assert cli_view.is_remote(over, "darwin")
    assert cli_view.is_remote({}, "linux")
    assert not cli_view.is_remote({"DISPLAY": ":0"}, "linux")
    assert not cli_view.is_remote({"WAYLAND_DISPLAY": "wayland-0"}, "linux")
    assert not cli_view.is_remote({}, "darwin")


def test_show_opens_a_browser_only_where_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = threading.Event()
    monkeypatch.setattr("webbrowser.open", lambda url: opened.set())
    for name in ("SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    said: list[str] = []
    cli_view.show("http://127.0.0.1:8000/", said.append)
    assert opened.wait(5) and said == ["http://127.0.0.1:8000/"]
    opened.clear()
    said.clear()
    cli_view.show("http://127.0.0.1:8000/", said.append, browser=False)
    monkeypatch.setenv("SSH_TTY", "/dev/pts/0")
    cli_view.show("http://127.0.0.1:8000/", said.append)
    assert not opened.wait(0.1)
    assert len(said) == 3 and "ssh -L 8000:127.0.0.1:8000" in said[2]


def test_free_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli_view.free_port(port) == 0
    assert cli_view.free_port(port) == port


def test_loopback() -> None:
    assert all(map(cli.is_loopback, ("127.0.0.1", "::1", "localhost", "127.8.8.8")))
    assert not any(map(cli.is_loopback, ("0.0.0.0", "::", "192.168.1.2", "example.org")))


def start(*arguments: str | Path, **environment: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A command that serves, and its first line of output: the address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "splatlens.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stdout is not None
    return process, [process.stdout.readline().strip()]


def test_view_end_to_end(scene: Path, tmp_path: Path) -> None:
    """Another process converts, serves and stops at SIGTERM; a second one finds the cache and a free port."""
    process, lines = start(
        "view", scene, "--port", "0", SPLATLENS_CACHE=str(tmp_path / "cache"), SSH_CONNECTION="1.1.1.1 1 2.2.2.2 22"
    )
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/view/scene", lines[0]), process.communicate(timeout=10)
        assert process.stdout is not None
        assert "ssh -L" in process.stdout.readline()
        with urllib.request.urlopen(lines[0], timeout=10) as response:
            page = response.read().decode()
        assert response.status == 200 and "scene" in page
    finally:
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err


def test_serve_end_to_end(scene: Path) -> None:
    api.convert(scene, scene.with_suffix(".lens"))
    process, lines = start("serve", scene.parent, "--port", "0", "--host", "0.0.0.0")
    try:
        with urllib.request.urlopen(f"{lines[0]}scenes.json", timeout=10) as response:
            assert [s["name"] for s in json.load(response)["scenes"]] == ["scene"]
    finally:
        process.terminate()
        _, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "WebGPU only in secure contexts" in err and "--tls-cert" in err


def test_serve_refuses(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fails(capsys, "does not exist", "serve", tmp_path / "gone")
    fails(capsys, "needs its certificate", "serve", tmp_path, "--tls-key", tmp_path / "k.pem")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        fails(capsys, "cannot listen", "serve", tmp_path, "--port", str(taken.getsockname()[1]))


# output


def test_progress_as_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the first second, then a line every five, then one at the end; a new task starts over."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with cli_output.progress() as tell:
        for i in range(1, 101):
            tell("reading", i / 100)
            clock[0] += 0.125  # exact in binary
        tell("writing", 0.5)
        tell("writing", 1)
    assert capsys.readouterr().err == "reading: 9%\nreading: 49%\nreading: 89%\nreading: 100%\n"


def test_progress_as_a_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(cli_output, "PATIENCE", 0.0)
    with cli_output.progress() as tell:
        tell("reading", 0.5)
    err = capsys.readouterr().err
    assert "reading" in err and "50%" in err
    monkeypatch.setattr(cli_output, "PATIENCE", 60.0)
    with cli_output.progress() as tell:
        tell("reading", 0.5)
    assert capsys.readouterr().err == ""


def test_sizes_in_words() -> None:
    got = [cli_output.bytes_text(n) for n in (0, 999, 1000, 59_668_885, 999_950, 10**15)]
    assert got == ["0 B", "999 B", "1 kB", "59.7 MB", "1000 kB", "1000 TB"]


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys)[0] == 2
    for name, command in cli.cli.commands.items():
        code, text, _ = run(capsys, name, "--help")
        assert code == 0
        assert command.help and text.startswith(f"Usage: splatlens {name} ")
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, f"{name} {parameter.name}"


def test_starting_is_quick_because_heavy_modules_wait() -> None:
    """`--help` and `info` of a PLY import neither the GPU nor the server."""
    code = "import sys, splatlens.cli; splatlens.cli.run(['info', '--help']); print(*sorted(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"wgpu", "aiohttp", "scipy", "PIL", "rich.progress"} & set(out.split())
