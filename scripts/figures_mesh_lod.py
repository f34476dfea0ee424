"""Figures of meshes' levels of detail: what building takes, what the levels take, how a cut at a pixel looks."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from figures_base import ROOT, Image, MissingError, Row, at_most, data_file, decibels, renderer, reported

from splatlens.viewer.camera import Camera
from splatlens.viewer.mesh import Look, MeshTree, Surface, plain_look
from splatlens.viewer.mesh_build import BuildReport, build_mesh_report
from splatlens.viewer.mesh_layer import MeshLayer, choose_nodes

#: Distances of the cameras, in radii of the mesh.
DISTANCES = (4.0, 8.0, 16.0, 32.0)
#: Pictures with so many samples a pixel, each way, are what full detail should look like.
SAMPLES = 4
#: Texels of a patch of MobileNeRF, each way.
PATCH = 17

Meshes = tuple[list[Surface], Look]


def mesh_lod() -> list[Row]:
    """Building and looks of real and generated meshes. Those whose files are not here are left out with a line."""
    rows: list[Row] = []
    for name, make in (
        ("MobileNeRF poster", poster),
        ("armadillo, normals at its vertices", armadillo),
        ("textured torus", ring),
    ):
        try:
            make()
        except MissingError as error:
            rows.append(reported(f"{name}: levels of detail", str(error)))
            continue
        rows += _rows(name, make)
    return rows


def _rows(name: str, make: Callable[[], Meshes]) -> list[Row]:
    surfaces, look = make()
    tree, report, seconds = _built(make)
    nodes = tree.nodes
    leaves = nodes.child_count == 0
    built = f"{report.triangles:,} triangles, {len(leaves)} nodes ({int(leaves.sum())} leaves), {seconds:.1f} s"
    rows = [reported(f"{name}: built", f"{built} of processor time; root {int(nodes.words[0]) * 4 / 1e3:.0f} kB")]
    if report.texels:
        word = -(-look.channels // 4) * 4
        held = sum(_texels(s) for s, leaf in zip(tree.surfaces, leaves, strict=True) if leaf) * word / 1e6
        whole = float(nodes.words.sum()) * 4 / 1e6
        filled = report.texels * word / 1e6
        detail = f"leaves' texels {held:.2f} MB; filled texels that can be seen {filled:.2f} MB"
        what = f"{name}: GPU memory with all levels resident, triangles too"
        if look.empty is None:
            rows.append(reported(what, f"{whole:.2f} MB ({detail})"))
        else:
            patches = len(np.unique(surfaces[0].triangles // 4)) * PATCH**2 * word / 1e6
            rows.append(at_most(f"{what}, against the used patches", round(patches, 2), whole, "MB", detail))
    return rows + _pictures(name, tree)


def _pictures(name: str, tree: MeshTree) -> list[Row]:
    """Cuts at a pixel of error, against pictures of full detail with 16 samples a pixel: as near as full detail is."""
    layer = MeshLayer(tree)
    centre, radius = tree.nodes.sphere[0, :3], float(tree.nodes.sphere[0, 3])
    full, coarse, apart, told = [], [], [], []
    for k, distance in enumerate(DISTANCES):
        a = 1.1 * k + 0.3
        position = centre + radius * distance * np.array([0.9 * np.cos(a), 0.35, 0.9 * np.sin(a)])
        camera = Camera.look_at(tuple(position), tuple(centre), (0, 1, 0), 45, 480, 360)
        truth = _supersampled(layer, camera)
        whole, cut = renderer().render([layer], camera), renderer().render([layer], camera, budget=1e9)
        full.append(decibels(whole, truth))
        coarse.append(decibels(cut, truth))
        apart.append("same" if np.array_equal(whole, cut) else f"{decibels(whole, cut):.1f}")
        chosen = choose_nodes([layer], camera, 0.01, 1.0)[0]
        told.append(f"{int(tree.nodes.count[chosen].sum()):,}")
    loss = float(np.mean(full) - np.mean(coarse))
    detail = f"full {np.mean(full):.1f} dB, cut {np.mean(coarse):.1f} dB; the two of each other {' / '.join(apart)} dB"
    detail += f"; triangles {' / '.join(told)}"
    where = " / ".join(f"{d:g}" for d in DISTANCES)
    what = f"{name}: loss of cuts at 1 pixel against 16 samples a pixel, at {where} radii"
    return [at_most(what, 0.5, loss, "dB", detail)]


def _supersampled(layer: MeshLayer, camera: Camera) -> Image:
    n = SAMPLES
    large = replace(camera, width=camera.width * n, height=camera.height * n, fx=camera.fx * n, fy=camera.fy * n,
                    cx=camera.cx * n, cy=camera.cy * n)  # fmt: skip
    picture = renderer().render([layer], large)
    return np.asarray(picture.reshape(camera.height, n, camera.width, n, 4).mean((1, 3)), np.float32)


@cache
def _built(make: Callable[[], Meshes]) -> tuple[MeshTree, BuildReport, float]:
    surfaces, look = make()
    begin = time.process_time()
    tree, report = build_mesh_report(surfaces, look)
    return tree, report, time.process_time() - begin


def _texels(surface: Surface) -> int:
    return 0 if surface.texels is None else surface.texels.shape[0] * surface.texels.shape[1]


@cache
def poster() -> Meshes:
    """The real shard, with its network. Raises MissingError."""
    from splatlens.converters import mobilenerf

    weights = data_file("mobilenerf_poster/mlp.json")
    axes = mobilenerf.guessed_axes([weights.parent / "shape2.obj"])
    look = mobilenerf.network_look(mobilenerf.read_mlp(weights), weights, mobilenerf.SCENES[axes].direction)
    return [mobilenerf._surface(weights.parent, 2)], look


@cache
def armadillo() -> Meshes:
    """A scan of 99,976 triangles; its colours are its normals. Raises MissingError."""
    lines = [line.split() for line in data_file("meshes/armadillo.obj").read_text().splitlines()]
    positions = np.array([w[1:4] for w in lines if w[:1] == ["v"]], np.float32)
    corners = [[c.split("/")[0] for c in w[1:4]] for w in lines if w[:1] == ["f"]]
    t = np.array(corners, np.int64) - 1
    p = positions.astype(np.float64)
    across = np.cross(p[t[:, 1]] - p[t[:, 0]], p[t[:, 2]] - p[t[:, 0]])
    normals = np.zeros(p.shape)
    for k in range(3):
        np.add.at(normals, t[:, k], across)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    values = np.rint((normals + 1) * 127.5).astype(np.uint8)
    return [Surface(positions, t.astype(np.int32), values=values)], plain_look()


@cache
def ring() -> Meshes:
    """A torus of 49,152 triangles with one texture of 1024 x 512 over it."""
    sys.path.append(str(ROOT))
    from tests.mesh_built import torus

    return [torus(around=256, across=96, width=1024)], plain_look()
