"""Figures of size, time and memory: the page's code, and conversion of a scene at one, four and ten times its size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from figures_base import SCENES, Row, at_most, data_file, lens_of, reported, source, work

from splatlens.converters import write_splats
from splatlens.server_assets import load_client
from splatlens.viewer.splats import Splats

#: Copies are moved apart by the scene's middle 98% and shaken by this share of a splat's own size.
JITTER = 0.05


#: One response with all WGSL, which a page fetches instead of the files.
SHADERS, LIVE_SHADERS = "shaders/bundle.json", "shaders/bundle_live.json"
READBACK = "static/readback.js"
WORKER, STYLES = "static/decode_worker.js", "static/viewer.css"


def page() -> list[Row]:
    """Gzipped JavaScript and WGSL that a page loads before the scene, each file as the server sends it.

    What scenes with live layers or meshes load besides, and onnxruntime-web, are told apart.
    """
    client = load_client()
    size = {name: len(asset.gzipped) / 1000 for name, asset in client.files.items()}
    code = [*client.modules, WORKER, SHADERS]
    plain = sum(len(client.files[name].body) for name in code) / 1000
    detail = f"{len(code)} files, {plain:.0f} kB raw; {size[SHADERS]:.1f} kB of it shaders"
    detail += f"; styles {size[STYLES]:.1f} kB more"
    besides = {
        kind: [LIVE_SHADERS, READBACK, *(name for name in size if name.startswith(f"static/{kind}/"))]
        for kind in ("live", "mesh")
    }
    runtime = [name for name in size if name.startswith("static/vendor/")]
    live, mesh = (f"{sum(size[n] for n in names):.1f} kB, {len(names)} files" for names in besides.values())
    engine = f"{sum(size[n] for n in runtime) / 1000:.1f} MB" if runtime else "not here"
    return [
        at_most("the page: JavaScript and WGSL, gzipped", 60, sum(size[name] for name in code), "kB", detail),
        reported("scenes with live layers load besides; with models, onnxruntime-web", f"{live}; {engine}"),
        reported("scenes with meshes load besides", mesh),
    ]


def tiled(splats: Splats, columns: int, rows: int) -> Splats:
    """Copies side by side in x and z, each with seeded jitter of its centres, so that no two are alike."""
    low, high = np.percentile(splats.means, [1, 99], axis=0)
    parts = []
    for k in range(columns * rows):
        rng = np.random.default_rng(k)
        step = np.array([k % columns, 0, k // columns]) * (high - low)
        shake = rng.standard_normal(splats.means.shape) * JITTER * splats.scales.max(axis=1, keepdims=True)
        parts.append(replace(splats, means=(splats.means + step + (shake if k else 0)).astype(np.float32)))
    return Splats.concatenate(parts)


def convert() -> list[Row]:
    """`splatlens convert` in a process of its own, on two cores."""
    scene = SCENES[2]
    path = data_file(scene.file)
    rows = []
    smallest = 0.0
    for times, (columns, deep) in {1: (1, 1), 4: (2, 2), 10: (5, 2)}.items():
        if times > 1:
            path = work() / f"{scene.name}_{times}.ply"
            write_splats(path, tiled(source(data_file(scene.file)), columns, deep))
        lens, report = lens_of(path)
        gib = report["peak_bytes"] / 1e9
        used = f"{report['processor_seconds']:.1f} s of processor time"
        size = f"{lens.stat().st_size / report['splats']:.1f} B a splat"
        if times == 1:
            smallest = gib
            what = f"conversion of {scene.name}, {report['splats']:,} splats: time"
            rows.append(at_most(what, 15, report["seconds"], "s", used))
            rows.append(at_most(f"conversion of {scene.name}: largest resident memory", 1.5, gib, "GB", size))
        else:
            path.unlink()
            what = f"conversion of {times} times as many, {report['splats']:,} splats"
            rows.append(reported(what, f"{report['seconds']:.1f} s, {used}, {size}"))
            share = f"{gib:.2f} GB"
            rows.append(at_most(f"{what}: memory, times that of one", 1.3, gib / smallest, "", share))
    return rows
