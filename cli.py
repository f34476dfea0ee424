"""The command line: parses, calls the API, prints. Errors of the user's are one line on stderr and exit code 2."""

from __future__ import annotations

import ipaddress
import math
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from splatlens import __version__
from splatlens.cli_output import bytes_text, facts_lines, fail, print_json, progress, warn
from splatlens.cli_types import COLOUR, SETTING, SIZE, VECTOR
from splatlens.converters.format import AXES as KINDS
from splatlens.converters.format import ReadOptions
from splatlens.viewer.errors import LensError

PATH = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON report on stdout.")
LOD = click.option("--lod", type=click.IntRange(0), default=0, help="Level of a streamed SOG, 0 the finest.")
AS_STORED = click.option(
    "--as-stored", is_flag=True, help="SPZ, glTF: coordinates as they stand, for files whose writer never turned them."
)
AXES = click.option(
    "--axes", type=click.Choice(KINDS), help="MobileNeRF: the kind of scene it was trained on. Default: guessed."
)
CONTROLS = click.option(
    "--control", "controls", type=SETTING, multiple=True, help="Of a generator: NAME=VALUE or LAYER:NAME=VALUE."
)
TRACKS = click.option(
    "--track", "tracks", multiple=True, metavar="NAME", help="Recording that plays: NAME, LAYER:NAME, or none."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="splatlens %(version)s")
def cli() -> None:
    """Viewer, converter and server for trained radiance fields.

    Start with: splatlens view scene.ply
    """


@cli.command()
@click.argument("scene", type=PATH)
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="A free one if taken.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@LOD
@AS_STORED
@AXES
def view(scene: Path, port: int, no_browser: bool, lod: int, as_stored: bool, axes: str | None) -> None:
    """Show SCENE (any readable file or folder, or a folder of .lens files) in the browser.

    What is no .lens yet is converted first; the result is kept, by content, in your cache folder.
    """
    from splatlens import server
    from splatlens.cli_view import free_port, page_url, prepare, show
    from splatlens.server_draw import drawer

    with progress() as tell:
        served, warnings = prepare(scene, tell, ReadOptions(lod, as_stored, axes=axes))
    for message in warnings:
        warn(message)
    config = server.ServerConfig((served,), title=served.stem, draw_thumbnail=drawer())

    def ready(base: str) -> None:
        show(page_url(base, served), click.echo, browser=not no_browser)
        click.echo("Ctrl-C stops the server", err=True)

    server.run(config, port=free_port(port), on_ready=ready)


@cli.command()
@click.argument("inputs", nargs=-1, required=True, type=PATH, metavar="IN...")
@click.argument("output", type=PATH, metavar="OUT")
@click.option("--transform", multiple=True, metavar="WORDS", help='Such as "rotate=0,90,0 scale=2 move=0,1,0".')
@click.option("--crop", multiple=True, metavar="REGION", help="Keep a box x,y,z,x,y,z or a sphere x,y,z,radius.")
@click.option("--max-sh", type=click.IntRange(0, 3), help="Leave out spherical harmonics above this degree.")
@click.option("--min-opacity", type=click.FloatRange(0, 1), help="Leave out splats less opaque.")
@click.option("--dedupe", is_flag=True, help="Leave out splats that are copies of others.")
@LOD
@AS_STORED
@AXES
@click.option("--time-span", type=(float, float), metavar="START END", help="Of a sequence: moments that are played.")
@click.option("--seconds", type=float, help="Of a sequence: how long that takes.")
@click.option("--spz-version", type=click.Choice(["3", "4"]), default="4", show_default=True, help="Of SPZ written.")
@click.option("--time", type=click.FloatRange(0), help="Take generators and sequences at this second, as splats.")
@CONTROLS
@TRACKS
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@JSON
def convert(
    inputs: tuple[Path, ...],
    output: Path,
    as_json: bool,
    spz_version: str,
    controls: tuple[tuple[str, float], ...],
    **options: Any,
) -> None:
    """Convert files or folders into OUT, in the format that its name ends with (docs/formats.md).

    Several inputs become a layer each of a .lens, and follow one another in any other format. --transform and --crop
    count for all inputs, or are given once for each; transforms come first. Generators and post-processing networks
    (.onnx with a contract, docs/generator.md) become layers of a .lens as well, and OUT.onnx is a generator alone.
    """
    from splatlens import api

    with progress() as tell:
        report = api.convert(
            inputs, output, progress=tell, spz_version=int(spz_version), controls=dict(controls), **options
        )
    if as_json:
        print_json(report.to_json())
        return
    for info in report.inputs:
        for message in info.warnings:
            warn(f"{info.path}: {message}")
    memory = f", {bytes_text(report.peak_bytes)} of memory at most" if report.peak_bytes else ""
    meshes = len(report.details.get("meshes", ()))
    a_splat = "" if meshes else f" ({report.bytes / max(report.splats, 1):.1f} bytes a splat)"
    held = [f"{meshes} mesh{'es' * (meshes > 1)}"] * bool(meshes)
    held += [f"{report.splats:,} splats, SH {report.sh_degree}"] * bool(report.splats or not meshes)
    what = f"{', '.join(held)}, {bytes_text(report.bytes)}{a_splat}"
    click.echo(f"{report.path}: {what}, {report.seconds:.1f} s{memory}")


@cli.command()
@click.argument("file", type=PATH)
@LOD
@AXES
@JSON
def info(file: Path, lod: int, axes: str | None, as_json: bool) -> None:
    """Say what FILE (or a model folder) is and holds, without reading its splats."""
    from splatlens import api

    with api.open(file, lod=lod, axes=axes) as scene:
        facts = scene.facts()
    if as_json:
        print_json(facts)
    else:
        click.echo("\n".join(facts_lines(facts)))


@cli.command()
@click.argument("scene", type=PATH)
@click.argument("out", type=PATH, metavar="OUT")
@click.option("--size", type=SIZE, help="Pixels. Default: the camera file's, else 1280x720.")
@click.option("--cameras", type=PATH, help="Camera file: ours, 3DGS cameras.json or nerfstudio transforms.json.")
@click.option("--index", type=int, help="Only this camera of the file, from 0.")
@click.option("--position", type=VECTOR, help="Where the camera stands. Default: where a viewer starts.")
@click.option("--target", type=VECTOR, help="What it looks at.")
@click.option("--up", type=VECTOR, help="What is up in the picture. Default: the scene's.")
@click.option("--fov", type=click.FloatRange(0, 180, True, True), help="Vertical field of view, degrees. Default: 50.")
@click.option("--budget", type=click.IntRange(1), help="Draw at most so many splats, by level of detail.")
@click.option("--background", type=COLOUR, help="0..1 each. Default: the scene's.")
@click.option("--reference", is_flag=True, help="Draw with the NumPy reference instead of the shaders.")
@click.option("--time", type=click.FloatRange(0), default=0.0, show_default=True, help="Second of the scene's clock.")
@click.option("--frames", type=click.IntRange(1, 100_000), help="So many pictures from --time on, as OUT-%03d.png.")
@click.option("--fps", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True, help="Of --frames.")
@CONTROLS
@TRACKS
@click.option("--no-postprocess", is_flag=True, help="Leave out networks that finish the picture.")
@LOD
@AS_STORED
@AXES
@JSON
def render(
    scene: Path,
    out: Path,
    budget: int | None,
    background: tuple[float, float, float] | None,
    reference: bool,
    time: float,
    frames: int | None,
    fps: float,
    controls: tuple[tuple[str, float], ...],
    tracks: tuple[str, ...],
    no_postprocess: bool,
    lod: int,
    as_stored: bool,
    axes: str | None,
    as_json: bool,
    **views: Any,
) -> None:
    """Draw SCENE headless into OUT: .png (8 bits), or .npy (the float32 RGBA target before rounding).

    SCENE is a .lens or any readable source; a source is drawn from float32, and with --budget its tree is built first.
    Several cameras, or --frames, take a name with a number, such as OUT-%03d.png.
    """
    from splatlens.cli_render import Clock, Views, draw

    options = {"budget": budget, "background": background, "reference": reference, "controls": dict(controls)}
    options |= {"tracks": tracks, "postprocess": not no_postprocess}
    read = ReadOptions(lod, as_stored, axes=axes)
    drawn = draw(scene, out, Views(**views), options, read, Clock(time, frames, fps))
    if as_json:
        print_json({"pictures": [{"path": str(path), "seconds": seconds} for path, seconds in drawn]})
    else:
        for path, seconds in drawn:
            click.echo(f"{path}  {seconds:.2f} s")


@cli.command()
@click.argument("model", type=PATH)
@click.option("--cameras", type=PATH, help="Camera file: models that see the camera are tried with these as well.")
@JSON
def check(model: Path, cameras: Path | None, as_json: bool) -> None:
    """Test MODEL (.onnx) against the contract of generators and post-processing networks (docs/generator.md).

    One line a finding, with what to do about it. The exit code is 0 where nothing breaks the contract, else 2.
    """
    from splatlens.cli_check import report, run_check

    found = run_check(model, cameras)
    if as_json:
        print_json(found.to_json())
    else:
        report(found)
    if not found.passed:
        raise click.exceptions.Exit(2)


@cli.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@JSON
def compare(a: Path, b: Path, as_json: bool) -> None:
    """PSNR and SSIM of two pictures (.png or .npy), colours only, on a scale of 0 to 1."""
    from splatlens.viewer.compare import compare as compare_images
    from splatlens.viewer.images import read_image

    result = compare_images(read_image(a), read_image(b))
    equal = math.isinf(result.psnr)
    if as_json:
        print_json(asdict(result) | {"psnr": None if equal else result.psnr, "equal": equal})
        return
    likeness = "not measured (a side is under 11 pixels)" if result.ssim is None else f"{result.ssim:.5f}"
    ratio = "infinite (equal pictures)" if equal else f"{result.psnr:.2f} dB"
    click.echo(f"PSNR {ratio}, SSIM {likeness}, largest difference {result.largest:.5f}")


@cli.command()
@click.argument("dirs", nargs=-1, required=True, type=PATH, metavar="DIR...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@click.option("--tls-cert", type=PATH, help="PEM certificate: serves HTTPS.")
@click.option("--tls-key", type=PATH, help="PEM key of the certificate, unless it holds both.")
def serve(dirs: tuple[Path, ...], host: str, port: int, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Serve the .lens files of folders (or single ones), read-only, until Ctrl-C."""
    from splatlens import api

    def ready(url: str) -> None:
        click.echo(url)
        if not is_loopback(host) and tls_cert is None:
            warn(
                "browsers have WebGPU only in secure contexts: from other machines this page works over HTTPS "
                "(--tls-cert, --tls-key, or a proxy) or through ssh -L"
            )

    api.serve(*dirs, host=host, port=port, tls_cert=tls_cert, tls_key=tls_key, on_ready=ready)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(arguments: list[str] | None = None) -> int:
    """Runs a command; the exit code. 0 done, 2 the user's error, 130 interrupted; anything else raises."""
    # Mesa's drivers look for a Wayland display and complain on stderr where this is unset, as it is over SSH.
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())
    try:
        code = cli.main(arguments, prog_name="splatlens", standalone_mode=False)
    except (click.Abort, KeyboardInterrupt):
        return 130
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        fail(error.format_message())
        return 2
    except LensError as error:
        fail(str(error))
        return 2
    except BrokenPipeError:
        # The reader of our output went away (| head); what Python flushes at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except MemoryError:
        fail("not enough memory for this scene; give fewer inputs at once or use a larger machine")
        return 2
    except OSError as error:
        fail(f"{error.filename or 'system'}: {error.strerror or error}")
        return 2
    return code if isinstance(code, int) else 0  # Exit's code; commands themselves give None


def main() -> None:
    """The console script."""
    sys.exit(run())


if __name__ == "__main__":
    main()
