"""nerf2mesh (Tang et al. 2023, arXiv:2303.02091): the folder mesh_stage1 of a training run.

mlp.json has a network of 6 inputs without biases, bound and cascade, the number of meshes, each some twice as large as
the one before. A cascade c is mesh_{c}.obj with two images: feat0_{c}.jpg is the diffuse colour, feat1_{c}.jpg three
features. rgb = diffuse + sigmoid(network(direction, features)), cut to 0..1; texels are looked up, not interpolated
(nerf/renderer.py export_stage1, renderer.html). z points up; directions are in the frame of the vertices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from splatlens.converters.feature_images import image_size, read_image
from splatlens.converters.format import Format, ReadOptions
from splatlens.converters.layer_source import LayerSource
from splatlens.converters.mesh_source import MeshParts, mesh_source
from splatlens.converters.mlp_json import checked_look, dense, read_mlp, whole
from splatlens.converters.obj_triangles import read_triangles, textured
from splatlens.viewer.camera import Camera
from splatlens.viewer.errors import FormatError
from splatlens.viewer.mesh import MAX_LAYERS, Input, Look, Network, Surface

NAME = "nerf2mesh"
#: Diffuse colour, then features.
CHANNELS, FEATURES = 6, 3
#: Where a training run puts the folder.
STAGE = "mesh_stage1"
#: Most cascades: 2^15 times the size of the innermost.
MAX_CASCADES = 16
UP = (0.0, 0.0, 1.0)
#: The start camera of the method's viewer: renderer.html.
POSITION, FOV_Y, SIZE = (0.0, 2.0, 3.464), 60.0, (1280, 720)
KINDS = ("JPEG", "PNG")


def folder_of(path: Path) -> Path:
    """The folder of meshes: of itself, of its mlp.json, or of the training run that it is in."""
    folder = path if path.is_dir() else path.parent
    inner = folder / STAGE
    return inner if not (folder / "mlp.json").is_file() and (inner / "mlp.json").is_file() else folder


def sniff(head: bytes, path: Path) -> bool:
    """Whether a path is a folder of nerf2mesh, its mlp.json, or a run's folder with one in it."""
    if not path.is_dir() and path.name.lower() != "mlp.json":
        return False
    folder = folder_of(path)
    parts = ("mesh_*.obj", "feat[01]_*.jpg", "feat[01]_*.png")
    return (folder / "mlp.json").is_file() and any(True for part in parts for _ in folder.glob(part))


def open_nerf2mesh(path: Path, options: ReadOptions = ReadOptions()) -> LayerSource:
    """A folder or its mlp.json; cascades that are absent are left out with a warning. Raises LensError."""
    folder = folder_of(path)
    weights = folder / "mlp.json"
    fields = read_mlp(weights)
    count = whole(fields, "cascade", 1, MAX_CASCADES, weights, "export the second stage again")
    look = network_look(fields, weights)
    cascades = [c for c in range(count) if (folder / f"mesh_{c}.obj").is_file()]
    absent = [f"mesh_{c}.obj" for c in range(count) if c not in cascades]
    if not cascades:
        raise FormatError(f"{path}: none of its {count} cascades is there (mesh_0.obj, ...); copy them to mlp.json")
    textures = {c: _textures(folder, c) for c in cascades}
    warnings = (f"{', '.join(absent)} of {count} cascades absent; the rest is drawn",) if absent else ()

    def read() -> MeshParts:
        return MeshParts([_surface(folder / f"mesh_{c}.obj", textures[c]) for c in cascades], look)

    def describe() -> dict[str, Any]:
        return {"cascades": len(cascades), "absent": absent}

    files = (weights, *(file for c in cascades for file in (folder / f"mesh_{c}.obj", *textures[c])))
    camera = Camera.look_at(POSITION, (0, 0, 0), UP, FOV_Y, *SIZE)
    return mesh_source(path, NAME, read, describe, files=files, up=UP, camera=camera, warnings=warnings,
                       background=(1.0, 1.0, 1.0))  # fmt: skip


def network_look(fields: dict[str, Any], path: Path) -> Look:
    """The look of an mlp.json's weights: direction and features in, relu between, sigmoid last. Raises FormatError."""
    given = 3 + FEATURES
    depth = next(i for i in range(MAX_LAYERS + 1) if f"net.{i}.weight" not in fields or i == MAX_LAYERS)
    layers = []
    for i in range(max(depth, 1)):
        bias = f"net.{i}.bias"
        activation = "sigmoid" if i == depth - 1 else "relu"
        layers.append(dense(fields, f"net.{i}.weight", bias if bias in fields else None, given, activation, path))
        given = len(layers[-1].bias)
    sources = [*range(CHANNELS, CHANNELS + 3), *range(CHANNELS - FEATURES, CHANNELS)]
    network = Network(tuple(Input(i) for i in sources), tuple(layers), base=0)
    return checked_look(path, CHANNELS, network, np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32))


def _textures(folder: Path, cascade: int) -> tuple[Path, Path]:
    """A cascade's two images, JPEG or, from older runs, PNG. Raises LensError where they do not go together."""
    names = (f"feat0_{cascade}", f"feat1_{cascade}")
    first, second = (next((f for f in (folder / f"{n}.jpg", folder / f"{n}.png") if f.is_file()), folder / f"{n}.jpg")
                     for n in names)  # fmt: skip
    sizes = [image_size(file, "RGB", KINDS) for file in (first, second)]
    if sizes[0] != sizes[1]:
        shapes = " and ".join(f"{w} x {h}" for w, h in sizes)
        raise FormatError(f"{second}: {first.name} and it are {shapes}; both must be of one size")
    return first, second


def _surface(mesh: Path, images: tuple[Path, Path]) -> Surface:
    texels = np.concatenate([read_image(image, "RGB", KINDS) for image in images], axis=-1)
    return textured(read_triangles(mesh), texels, mesh)


FORMAT = Format(
    NAME,
    "nerf2mesh",
    ("mlp.json",),
    sniff,
    open_nerf2mesh,
    live=True,
    reads=f"folder {STAGE} with mlp.json, mesh_0.obj, feat0_0.jpg, feat1_0.jpg, ...",
)
