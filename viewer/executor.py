"""Runs a resolved plan on a wgpu device: makes what it names, loops over its passes. Decides nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray

from splatlens.viewer.assets import SHADERS, bare_wgsl
from splatlens.viewer.errors import DeviceError

#: WebGPU's default limits, asked for by name: wgpu-py's own default device grants more, and overruns would pass tests.
DEFAULT_LIMITS = {
    "max-storage-buffers-per-shader-stage": 8,
    "max-compute-invocations-per-workgroup": 256,
    "max-compute-workgroup-storage-size": 16384,
    "max-storage-buffer-binding-size": 128 << 20,
    "max-buffer-size": 256 << 20,
    "max-compute-workgroups-per-dimension": 65535,
}
FLOAT32_BLENDABLE = "float32-blendable"
#: Format of the textures a frame declares as "canvas": headless there is none to ask.
CANVAS_FORMAT = "rgba8unorm"
#: Formats that can be read back: type of a channel, channels.
_TEXELS: dict[str, tuple[type[np.generic], int]] = {
    "rgba16float": (np.float16, 4), "rgba32float": (np.float32, 4), "rgba8unorm": (np.uint8, 4),
    "r32float": (np.float32, 1), "r32uint": (np.uint32, 1),
}  # fmt: skip
_LARGER = ("max-storage-buffer-binding-size", "max-buffer-size")


def request_device(*, default_limits: bool = False) -> wgpu.GPUDevice:
    """A device with WebGPU's default limits, and larger buffers where the adapter has them. Raises DeviceError."""
    try:
        adapter = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    except RuntimeError as error:
        raise DeviceError(
            f"no GPU adapter: {error}. Install a Vulkan driver (a software one: `apt install mesa-vulkan-drivers "
            "libvulkan1`), or draw with --reference"
        ) from error
    limits = dict(DEFAULT_LIMITS)
    if not default_limits:
        limits |= {name: int(adapter.limits[name]) for name in _LARGER}
    return adapter.request_device_sync(
        required_limits=limits, required_features=sorted({FLOAT32_BLENDABLE} & set(adapter.features))
    )


def target_format(device: wgpu.GPUDevice) -> str:
    """The most exact format splats can be blended in: rgba32float where the adapter blends it, else rgba16float.

    2,000 overlapping splats in rgba16float: 66 dB where blending rounds to nearest, 49 dB on lavapipe, which truncates.
    """
    return "rgba32float" if FLOAT32_BLENDABLE in device.features else "rgba16float"


def adapter_name(device: wgpu.GPUDevice) -> str:
    """`device (driver, backend)` of the adapter a device came from."""
    info = device.adapter.info
    return f"{info.get('device')} ({info.get('description')}, {info.get('backend_type')})"


@cache
def joined_source(files: tuple[str, ...]) -> str:
    """A stage's WGSL: its files joined by newlines, without comments."""
    return "\n".join(bare_wgsl((SHADERS / f).read_text()) for f in files)


class Executor:
    """Holds the GPU objects of a plan. Buffers keep their contents as long as a plan does not ask for larger ones."""

    def __init__(self, device: wgpu.GPUDevice) -> None:
        self.device = device
        self.buffers: dict[str, wgpu.GPUBuffer] = {}
        self.textures: dict[str, wgpu.GPUTexture] = {}
        self._pipelines: dict[Any, Any] = {}
        self._groups: dict[Any, Any] = {}
        self._waited = device.create_buffer(label="waited", size=4, usage=wgpu.BufferUsage.COPY_SRC)

    def prepare(self, plan: Mapping[str, Any]) -> None:
        """Makes the buffers and textures the plan names, where they are absent, too small or of another size."""
        limit = int(self.device.limits["max-storage-buffer-binding-size"])
        for name, b in plan["buffers"].items():
            old = self.buffers.get(name)
            if old is not None and old.size >= b["size"]:
                continue
            if b["size"] > limit:
                raise DeviceError(
                    f"buffer {name} needs {b['size']:,} bytes, this adapter binds {limit:,}: use a smaller --budget"
                )
            size = b["size"]
            if old is not None:
                # Half as much again when it grows: a count that creeps up must not make a new buffer every frame.
                size = max(size, min(limit, old.size * 3 // 8 * 4))
                old.destroy()
            usage = 0
            for u in b["usage"]:
                usage |= wgpu.BufferUsage[u]
            self.buffers[name] = self.device.create_buffer(label=name, size=size, usage=usage)
            self._groups.clear()
        for name, t in plan["textures"].items():
            size = (t["width"], t["height"], 1)
            form = CANVAS_FORMAT if t["format"] == "canvas" else t["format"]
            texture = self.textures.get(name)
            if texture is not None and tuple(texture.size) == size and texture.format == form:
                continue
            usage = 0
            for u in t["usage"]:
                usage |= wgpu.TextureUsage[u]
            self.textures[name] = self.device.create_texture(label=name, size=size, format=form, usage=usage)
            self._groups.clear()

    def write(self, name: str, data: NDArray[Any] | bytes, offset: int = 0) -> None:
        """Queues bytes into a buffer."""
        view = np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data
        if (view.nbytes if isinstance(view, np.ndarray) else len(view)) > 0:
            self.device.queue.write_buffer(self.buffers[name], offset, view)

    def read(self, name: str, dtype: Any = np.uint32) -> NDArray[Any]:
        """A buffer's contents, waited for."""
        return np.frombuffer(self.device.queue.read_buffer(self.buffers[name]), dtype)

    def read_texture(self, name: str) -> NDArray[Any]:
        """(height, width, 4) float32, or (height, width) of one channel as it is, of a texture, waited for."""
        texture = self.textures[name]
        width, height, _ = texture.size
        kind, channels = _TEXELS[texture.format]
        size = channels * np.dtype(kind).itemsize
        row = -(-width * size // 256) * 256  # rows of a copied texture are padded to 256 bytes
        data = self.device.queue.read_texture(
            {"texture": texture}, {"bytes_per_row": row, "rows_per_image": height}, (width, height, 1)
        )
        rows = np.ascontiguousarray(np.frombuffer(data, np.uint8).reshape(height, row)[:, : width * size]).view(kind)
        return rows if channels == 1 else rows.reshape(height, width, channels).astype(np.float32)

    def run(self, plan: Mapping[str, Any]) -> None:
        """Encodes every pass of the plan and submits them as one command buffer."""
        self._submit(plan["passes"])

    def run_timed(self, plan: Mapping[str, Any]) -> dict[str, float]:
        """Seconds of each pass by name, each submitted alone and waited for: for benchmarks."""
        seconds: dict[str, float] = {}
        for item in plan["passes"]:
            start = time.perf_counter()
            self._submit([item])
            # wgpu-py 0.32's on_submitted_work_done_sync raises TypeError; reading a buffer waits for the queue too.
            self.device.queue.read_buffer(self._waited)
            seconds[item["name"]] = seconds.get(item["name"], 0.0) + time.perf_counter() - start
        return seconds

    def _submit(self, passes: Iterable[Mapping[str, Any]]) -> None:
        encoder = self.device.create_command_encoder()
        for item in passes:
            pipeline = self._pipeline(item)
            group = self._group(item, pipeline)
            if "dispatch" in item:
                p = encoder.begin_compute_pass(label=item["label"])
                p.set_pipeline(pipeline)
                p.set_bind_group(0, group)
                d = item["dispatch"]
                if "indirect" in d:
                    p.dispatch_workgroups_indirect(self.buffers[d["indirect"]], d["offset"])
                else:
                    p.dispatch_workgroups(*d["groups"])
                p.end()
            else:
                self._draw(encoder, item, pipeline, group)
        self.device.queue.submit([encoder.finish()])

    def _draw(self, encoder: Any, item: Mapping[str, Any], pipeline: Any, group: Any) -> None:
        d = item["draw"]
        attachments = [
            {
                "view": self.textures[t["texture"]].create_view(),
                "load_op": t["load"],
                "store_op": "store",
                "clear_value": (0, 0, 0, 0),
            }
            for t in d["targets"]
        ]
        depth = None
        if "depth" in d:
            # Reversed: near / z, so that float32 is as fine far away as it is near, and 0 is nothing.
            view = self.textures[d["depth"]].create_view()
            depth = {"view": view, "depth_load_op": "clear", "depth_store_op": "store", "depth_clear_value": 0.0}
        p = encoder.begin_render_pass(
            label=item["label"], color_attachments=attachments, depth_stencil_attachment=depth
        )
        p.set_pipeline(pipeline)
        p.set_bind_group(0, group)
        if "indirect" in d:
            p.draw_indirect(self.buffers[d["indirect"]], d.get("offset", 0))
        else:
            p.draw(d["vertices"])
        p.end()

    def _pipeline(self, item: Mapping[str, Any]) -> Any:
        key = (
            tuple(item["source"]),
            item["name"],
            tuple(sorted(item["constants"].items())),
            self._target_formats(item),
        )
        if key in self._pipelines:
            return self._pipelines[key]
        module = self.device.create_shader_module(label=item["name"], code=joined_source(tuple(item["source"])))
        if "dispatch" in item:
            stage = {"module": module, "entry_point": item["name"], "constants": item["constants"]}
            made = self.device.create_compute_pipeline(label=item["name"], layout="auto", compute=stage)
        else:
            formats = self._target_formats(item)
            targets = [
                {"format": f, **({"blend": t["blend"]} if "blend" in t else {})}
                for f, t in zip(formats, item["draw"]["targets"], strict=True)
            ]
            made = self.device.create_render_pipeline(
                label=item["name"],
                layout="auto",
                vertex={"module": module, "entry_point": f"{item['name']}_vs", "constants": item["constants"]},
                fragment={
                    "module": module,
                    "entry_point": f"{item['name']}_fs",
                    "constants": item["constants"],
                    "targets": targets,
                },
                primitive={"topology": "triangle-list", "cull_mode": "none"},
                depth_stencil=self._depth_state(item),
            )
        self._pipelines[key] = made
        return made

    def _depth_state(self, item: Mapping[str, Any]) -> dict[str, Any] | None:
        if "depth" not in item["draw"]:
            return None
        form = self.textures[item["draw"]["depth"]].format
        return {"format": form, "depth_write_enabled": True, "depth_compare": "greater"}

    def _target_formats(self, item: Mapping[str, Any]) -> tuple[str, ...]:
        return tuple(self.textures[t["texture"]].format for t in item.get("draw", {}).get("targets", ()))

    def _group(self, item: Mapping[str, Any], pipeline: Any) -> Any:
        key = (item["label"], id(pipeline), tuple(item["bindings"]))
        if key not in self._groups:
            entries = []
            for i, name in enumerate(item["bindings"]):
                if name in self.buffers:
                    entries.append(
                        {
                            "binding": i,
                            "resource": {"buffer": self.buffers[name], "offset": 0, "size": self.buffers[name].size},
                        }
                    )
                else:
                    entries.append({"binding": i, "resource": self.textures[name].create_view()})
            self._groups[key] = self.device.create_bind_group(
                label=item["label"], layout=pipeline.get_bind_group_layout(0), entries=entries
            )
        return self._groups[key]
