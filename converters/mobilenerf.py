"""MobileNeRF (Chen et al. 2023, arXiv:2208.00277): the folder NAME_phone that its exporter writes.

mlp.json has a network of 11 inputs and obj_num, the number of shards; a shard i is shape{i}.obj, patches of two
triangles, with eight features a texel in shape{i}.pngfeat0.png and feat1.png (jax3d, mobilenerf/stage3.py).

- A texel whose first byte is 0 is not there. The alphas of both images are stored as a // 2 + 128, for iPhones, so
  channels 3 and 7 mean 2 byte / 255 - 1. Texels are looked up, not interpolated; v points up.
- The method's viewers draw features at twice the size and average four samples before the network shades. Where not all
  four are covered they average zeros too, and blend what comes out with white by coverage. Here features are averaged
  over the samples that are covered, and the colour is weighted by coverage: only silhouettes differ.
- The network is given features and the direction in the frame that it was trained in. Synthetic and unbounded scenes
  were exported as (x, z, -y), forward-facing ones as they are: no file says which, see `guessed_axes`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splatlens.converters.feature_images import image_size, read_image
from splatlens.converters.format import AXES, Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.converters.mlp_json import checked_look, dense, read_mlp, whole
from splatlens.converters.obj_triangles import read_triangles, textured
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError, LensError
from splatlens.viewer.mesh import IDENTITY, MAX_LAYERS, Input, Look, Matrix, Network, Surface

NAME = "mobilenerf"
CHANNELS = 8
#: Most shards. The largest published scenes have 13.
MAX_SHARDS = 256
UP = (0.0, 1.0, 0.0)
#: (x, z, -y) back to (x, y, z).
Z_UP: Matrix = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class Axes:
    """What a kind of scene fixes. direction: from the exported frame to the network's. The rest: the start camera of
    the method's viewer for it, in exported coordinates; fov_y in degrees."""

    direction: Matrix
    position: tuple[float, float, float]
    target: tuple[float, float, float]
    fov_y: float
    size: tuple[int, int]


#: By the names of --axes. The unbounded viewer has a camera for each of its scenes; this is near that of its first.
SCENES = dict(
    zip(
        AXES,
        (
            Axes(Z_UP, (0.0, 2.0, 3.464), (0.0, 0.0, 0.0), 39.0, (800, 800)),
            Axes(Z_UP, (0.93, 0.0, 0.0), (-0.07, -0.4, 0.0), 47.0, (1256, 828)),
            Axes(IDENTITY, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0), 50.0, (1008, 756)),
        ),
        strict=True,
    )
)


def folder_of(path: Path) -> Path:
    """The folder of a folder or of its mlp.json."""
    return path if path.is_dir() else path.parent


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is a folder of MobileNeRF, or its mlp.json."""
    if not path.is_dir() and path.name.lower() != "mlp.json":
        return False
    folder = folder_of(path)
    return (folder / "mlp.json").is_file() and any(
        re.fullmatch(r"shape\d+\.(obj|pngfeat[01]\.png)", p.name, re.ASCII) for p in folder.glob("shape*")
    )


def open_mobilenerf(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """A folder or its mlp.json; shards that are absent are left out with a warning. Raises LensError."""
    folder = folder_of(path)
    weights = folder / "mlp.json"
    fields = read_mlp(weights)
    remedy = "the exporter writes it into the folder NAME_phone"
    count = whole(fields, "obj_num", 1, MAX_SHARDS, weights, remedy)
    shards = [i for i in range(count) if (folder / f"shape{i}.obj").is_file()]
    absent = [f"shape{i}.obj" for i in range(count) if i not in shards]
    if not shards:
        raise FormatError(f"{path}: none of its {count} shards is there (shape0.obj, ...); copy them next to mlp.json")
    for i in shards:
        _same_size(folder, i)
    guessed = options.axes is None
    name = options.axes or guessed_axes([folder / f"shape{i}.obj" for i in shards])
    if name not in SCENES:
        raise LensError(f"{path}: axes {name!r}; expected one of {', '.join(AXES)}")
    axes = SCENES[name]
    look = network_look(fields, weights, axes.direction)
    warnings: tuple[str, ...] = ()
    if absent:
        shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
        warnings = (f"{shown} of {count} shards absent; the rest is drawn",)

    def read() -> MeshParts:
        return MeshParts([_surface(folder, i) for i in shards], look)

    def describe() -> dict[str, Any]:
        return {"axes": name, "axes_guessed": guessed, "shards": len(shards), "absent": absent}

    files = (weights, *(folder / name for i in shards for name in _names(i)))
    camera = Camera.look_at(axes.position, axes.target, UP, axes.fov_y, *axes.size)
    return mesh_source(path, NAME, read, describe, files=files, up=UP, camera=camera, warnings=warnings,
                       background=(1.0, 1.0, 1.0))  # fmt: skip


def guessed_axes(files: Sequence[Path]) -> str:
    """The kind of scene by where its vertices are, from a sample of them.

    Planes of a forward-facing scene lie 1 to 25 in front of a camera at the origin that looks along -z; unbounded
    scenes have vertices far out, synthetic ones at most 1.6 from the origin (stage3.py: scene_grid_zend, zmax, scale).
    """
    places = np.array([p for file in files for p in _sampled(file)])
    if not len(places):
        return "synthetic"
    if places[:, 2].max() < -0.5:
        return "forward-facing"
    return "unbounded" if np.abs(places).max() > 2 else "synthetic"


def _sampled(file: Path, chunks: int = 16, size: int = 1 << 14) -> list[tuple[float, float, float]]:
    """Vertices that an OBJ has in a few places; what is wrong with it is for its reader to say."""
    end = file.stat().st_size
    found = []
    with file.open("rb") as stream:
        for at in range(0, end, max(size, end // chunks)):
            stream.seek(at)
            for match in re.finditer(rb"\nv (\S+) (\S+) (\S+)\s", b"\n" * (at == 0) + stream.read(size)):
                with contextlib.suppress(ValueError):
                    found.append((float(match[1]), float(match[2]), float(match[3])))
    return [place for place in found if np.isfinite(place).all()]


def network_look(fields: dict[str, Any], path: Path, direction: Matrix) -> Look:
    """The look of an mlp.json's weights: 11 inputs, relu between layers, sigmoid at the end. Raises FormatError."""
    depth = next(i for i in range(MAX_LAYERS + 1) if f"{i}_weights" not in fields or i == MAX_LAYERS)
    layers = []
    given = CHANNELS + 3
    for i in range(max(depth, 1)):
        layers.append(
            dense(fields, f"{i}_weights", f"{i}_bias", given, "sigmoid" if i == depth - 1 else "relu", path)
        )
        given = len(layers[-1].bias)
    scale, offset = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
    scale[[3, 7]], offset[[3, 7]] = 2, -1
    network = Network(tuple(Input(i) for i in range(CHANNELS + 3)), tuple(layers))
    return checked_look(path, CHANNELS, network, scale, offset, direction, empty=0, supersample=2)


def _names(shard: int) -> tuple[str, str, str]:
    return f"shape{shard}.obj", f"shape{shard}.pngfeat0.png", f"shape{shard}.pngfeat1.png"


def _same_size(folder: Path, shard: int) -> None:
    """Raises LensError where one of a shard's two images is missing, no RGBA PNG, or of another size than the other."""
    first, second = (folder / name for name in _names(shard)[1:])
    sizes = [image_size(file, "RGBA", ("PNG",)) for file in (first, second)]
    if sizes[0] != sizes[1]:
        shapes = " and ".join(f"{w} x {h}" for w, h in sizes)
        raise FormatError(f"{second}: {first.name} and it are {shapes}; both must be of one size")


def _surface(folder: Path, shard: int) -> Surface:
    mesh, *images = (folder / name for name in _names(shard))
    triangles = read_triangles(mesh)
    texels = np.concatenate([read_image(image, "RGBA", ("PNG",)) for image in images], axis=-1)
    return textured(triangles, texels, mesh)


FORMAT = Format(
    NAME,
    "MobileNeRF",
    ("mlp.json",),
    sniff,
    open_mobilenerf,
    options=("axes",),
    live=True,
    reads="folder with mlp.json, shape0.obj, shape0.pngfeat0.png, shape0.pngfeat1.png, ... (NAME_phone)",
)
