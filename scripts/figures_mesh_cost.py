"""What meshes cost in a frame, pass by pass, beside a frame of splats; arithmetic and bytes beside their floor."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import wgpu
from figures_base import ROOT, SCENES, Row, data_file, lens_of, renderer, reported, work
from figures_pictures import layer_of

from splatlens.viewer.camera import Camera
from splatlens.viewer.executor import Executor
from splatlens.viewer.frame import RenderOptions
from splatlens.viewer.mesh import Gaussians, LightField, Look, Network
from splatlens.viewer.mesh_layer import MeshLayer
from splatlens.viewer.mesh_params import pack_directions, pack_params, wave_groups

#: Frames whose median is reported.
REPEATS = 7
#: Samples with a mesh, each with its make.py, by the method that shades it.
SAMPLES = {"mobilenerf": "network", "nerf2mesh": "network", "bakedsdf": "gaussians", "rerend": "lightfield"}
#: The scene whose frame of splats meshes are compared with; view a, 640x360, as figures_gpu.frame has it.
SPLATS = SCENES[1]


@dataclass(frozen=True)
class Work:
    """What shading one pixel takes. macs: multiply-adds of the method itself; done: those that the stage does, with
    inputs and outputs filled up to groups of four. waves: sines and exponentials. params: bytes that all pixels read
    again and again. carried: bytes of channels a tap.
    """

    macs: int
    done: int
    waves: int
    params: int
    carried: int


def work_of(look: Look) -> Work:
    """Counted from the look alone."""
    method, groups = look.method, -(-look.channels // 4)
    params = pack_params(look).nbytes
    decode = look.channels
    if isinstance(method, Network):
        units = [len(method.inputs), *(len(layer.bias) for layer in method.layers)]
        padded = [4 * (groups + 1 + wave_groups(method)), *(-(-n // 4) * 4 for n in units[1:])]
        macs = sum(a * b for a, b in pairwise(units))
        done = sum(a * b for a, b in pairwise(padded))
        waves = 4 * wave_groups(method)
        waves += sum(n for n, layer in zip(padded[1:], method.layers, strict=True) if layer.activation == "sigmoid")
        return Work(decode + macs, 4 * groups + done + waves, waves, params, 4 * groups)
    if isinstance(method, Gaussians):
        # A lobe: two dot products of 3, and 3 to add its colour.
        return Work(decode + 9 * method.lobes, 4 * groups + 9 * method.lobes, method.lobes, params, 4 * groups)
    if isinstance(method, LightField):
        terms = method.terms
        return Work(decode + 4 * terms, 4 * groups + 4 * terms, 3, params + pack_directions(look).nbytes, 4 * groups)
    return Work(3, 4, 0, params, 4 * groups)


@cache
def sample(name: str) -> Path:
    """The scene of a sample, made by its own script."""
    out = work() / "meshes" / f"{name}.lens"
    out.parent.mkdir(exist_ok=True)
    script = ROOT / "samples" / name / "make.py"
    done = subprocess.run([sys.executable, script, out], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{script}: {done.stderr.strip().splitlines()[-1:]}")
    return out


def timed(plan: Mapping[str, Any], executor: Executor) -> tuple[float, dict[str, float]]:
    """Milliseconds of a whole frame, and of its passes submitted alone and waited for: medians."""
    whole, passes = [], dict[str, list[float]]()
    executor.run_timed(plan)  # compiles
    for _ in range(REPEATS):
        for name, seconds in executor.run_timed(plan).items():
            passes.setdefault(name, []).append(seconds)
        start = time.perf_counter()
        executor.run(plan)
        executor.read("draw_args")
        whole.append(time.perf_counter() - start)
    return 1e3 * statistics.median(whole), {n: 1e3 * statistics.median(s) for n, s in passes.items()}


_FMA = """
@group(0) @binding(0) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  let x = vec4f(f32(id.x) * 1e-9) + vec4f(0.999, 0.998, 0.997, 0.996);
  var a = x; var b = x + 1.0; var c = x + 2.0; var d = x + 3.0;
  for (var i = 0u; i < 256u; i++) {
    a = a * x + x; b = b * x + x; c = c * x + x; d = d * x + x;
    a = a * x + x; b = b * x + x; c = c * x + x; d = d * x + x;
  }
  out[id.x] = a + b + c + d;
}
"""
#: Invocations of _FMA, the multiply-adds of each, and bytes of the copy.
INVOCATIONS, CHAIN, COPIED = 1 << 16, 256 * 8 * 4, 64 << 20


@cache
def peaks() -> tuple[float, float]:
    """This adapter's multiply-adds a second, in a kernel of nothing else, and bytes a second that a copy moves."""
    device = renderer().executor.device
    usage = wgpu.BufferUsage
    out = device.create_buffer(size=16 * INVOCATIONS, usage=usage.STORAGE | usage.COPY_SRC)
    source, target = (
        device.create_buffer(size=COPIED, usage=usage.STORAGE | usage.COPY_SRC | usage.COPY_DST) for _ in range(2)
    )
    module = device.create_shader_module(code=_FMA)
    kernel = device.create_compute_pipeline(layout="auto", compute={"module": module, "entry_point": "main"})
    group = device.create_bind_group(
        layout=kernel.get_bind_group_layout(0),
        entries=[{"binding": 0, "resource": {"buffer": out, "offset": 0, "size": out.size}}],
    )

    def fma(encoder: Any) -> None:
        p = encoder.begin_compute_pass()
        p.set_pipeline(kernel)
        p.set_bind_group(0, group)
        p.dispatch_workgroups(INVOCATIONS // 64)
        p.end()

    def seconds(encode: Any, result: Any) -> float:
        best = float("inf")
        for _ in range(REPEATS):
            start = time.perf_counter()
            encoder = device.create_command_encoder()
            encode(encoder)
            device.queue.submit([encoder.finish()])
            device.queue.read_buffer(result, 0, 16)
            best = min(best, time.perf_counter() - start)
        return best

    arithmetic = INVOCATIONS * CHAIN / seconds(fma, out)
    copy = seconds(lambda e: e.copy_buffer_to_buffer(source, 0, target, 0, COPIED), target)
    return arithmetic, 2 * COPIED / copy


def mesh_frames() -> list[Row]:
    """A frame of each sample's mesh beside a frame of splats, same adapter and size; and what its shading must cost."""
    import splatlens

    plan = renderer().prepare([layer_of(lens_of(data_file(SPLATS.file))[0])], SPLATS.cameras()[0], RenderOptions())
    submitted = renderer().submitted
    splats, passes = timed(plan, renderer().executor)
    what = f"{SPLATS.name}, 640x360: milliseconds of a frame of {submitted:,} splats"
    rows = [reported(what, _parts(splats, passes))]
    arithmetic, bandwidth = peaks()
    rows.append(
        reported(
            "floor of this adapter: multiply-adds of a kernel of nothing else, bytes of a copy",
            f"{arithmetic / 1e9:.1f} billion a second, {bandwidth / 1e9:.1f} GB a second",
        )
    )
    for name, method in SAMPLES.items():
        with splatlens.open(sample(name)) as scene:
            start = scene.start
            fov = float(np.degrees(2 * np.arctan(start.height / (2 * start.fy))))
            m, at = start.world_to_camera, start.position
            camera = Camera.look_at(at.tolist(), (at + m[2, :3]).tolist(), (-m[1, :3]).tolist(), fov, 640, 360)
            layers = scene._drawn(False, scene._moments(0.0, {}, ()), camera)
            rows += frame_rows(name, f"mesh_{method}", layers, camera, splats)
    return rows


def frame_rows(name: str, stage: str, layers: Sequence[Any], camera: Camera, splats: float) -> list[Row]:
    """Of one sample. splats: milliseconds of the frame that it is compared with."""
    executor, arithmetic, bandwidth = renderer().executor, *peaks()
    plan = renderer().prepare(layers, camera, RenderOptions())
    whole, passes = timed(plan, executor)
    (mesh,) = (layer for layer in layers if isinstance(layer, MeshLayer))
    samples = executor.read_texture("mesh_ids")
    covered = int((executor.read_texture("mesh_color")[..., 3] > 0).sum())
    pixels, seen = camera.width * camera.height, int((samples > 0).sum())
    triangles = sum(p["draw"]["vertices"] for p in plan["passes"] if p["name"] == "mesh_raster") // 3
    detail = f"{_parts(whole, passes)}; {covered / pixels:.0%} of the pixels, {triangles:,} triangles at most"
    what = f"sample {name}, 640x360: milliseconds of a frame of a mesh, {whole / splats:.2f} of that of splats"
    rows = [reported(what, detail)]
    one = work_of(mesh.mesh.look)
    # Each pixel reads its samples' ids and writes its colour; each sample its channels; the parameters once.
    moved = pixels * 16 + samples.size * 4 + seen * one.carried + one.params
    floor = max(covered * one.macs / arithmetic, moved / bandwidth)
    ms = passes[stage]
    detail = (
        f"{one.macs:,} a pixel ({one.done:,} done, {one.waves} sines and exponentials), {one.params:,} bytes of "
        f"numbers, {one.carried} of channels a tap: {moved / 1e6:.1f} MB; floor {1e3 * floor:.2f} ms "
        f"({'arithmetic' if covered * one.macs / arithmetic > moved / bandwidth else 'bytes'}), "
        f"measured {ms:.1f}, {ms / 1e3 / floor:.0f} times it"
    )
    return [*rows, reported(f"sample {name}, {stage}: multiply-adds and bytes", detail)]


def _parts(whole: float, passes: Mapping[str, float]) -> str:
    """A frame's milliseconds, and its passes'."""
    parts: dict[str, float] = {}
    for name, ms in passes.items():
        group = name.split("_")[0] if name.split("_")[0] in ("project", "compact", "sort") else name
        parts[group] = parts.get(group, 0.0) + ms
    return f"{whole:.1f} (passes alone: {', '.join(f'{n} {ms:.1f}' for n, ms in parts.items())})"
