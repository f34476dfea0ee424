"""lib/decode.wgsl against its NumPy twin viewer/dequantise.py: every splat of pages of all kinds, field by field."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import wgpu

from splatlens.viewer import codec
from splatlens.viewer.assets import SHADERS
from splatlens.viewer.layout import constant
from splatlens.viewer.splats import SH_COEFFICIENTS
from tests.codec_scenes import encode, spans
from tests.test_codec import hard_scene

_FLOATS = 14 + 45
_PROBE = f"""
@group(0) @binding(0) var<storage, read> geometry: array<u32>;
@group(0) @binding(1) var<storage, read> sh_words: array<u32>;
@group(0) @binding(2) var<storage, read> slots: array<u32>;
@group(0) @binding(3) var<storage, read> offsets: array<f32>;
@group(0) @binding(4) var<storage, read_write> found: array<f32>;

@compute @workgroup_size(GROUP)
fn probe(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {{
  let offset = vec3f(offsets[3u * group.x], offsets[3u * group.x + 1u], offsets[3u * group.x + 2u]);
  let slot = slots[group.x];
  let s = decode_splat(slot, lane, offset);
  let first = (group.x * GROUP + lane) * {_FLOATS}u;
  var values = array<f32, 14>(s.rel.x, s.rel.y, s.rel.z, s.quat.x, s.quat.y, s.quat.z, s.quat.w, s.scales.x, s.scales.y,
    s.scales.z, s.opacity, s.dc.x, s.dc.y, s.dc.z);
  for (var i = 0u; i < 14u; i++) {{
    found[first + i] = values[i];
  }}
  let words = geometry[slot * SLOT_WORDS + 7u] & 0xffu;
  let two = select(4u, 9u, words == SH_WORDS_2);
  let coefficients = select(select(two, 16u, words == SH_WORDS_3), 1u, words == 0u);
  for (var k = 1u; k < coefficients; k++) {{
    let c = decode_sh(slot, lane, k);
    found[first + 11u + 3u * k] = c.x;
    found[first + 12u + 3u * k] = c.y;
    found[first + 13u + 3u * k] = c.z;
  }}
}}
"""


def _run(device: wgpu.GPUDevice, buffers: list[np.ndarray], size: int, groups: int) -> np.ndarray:
    source = "\n".join([*((SHADERS / f).read_text() for f in ("structs.wgsl", "lib/decode.wgsl")), _PROBE])
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": device.create_shader_module(code=source), "entry_point": "probe"}
    )
    inputs = [device.create_buffer_with_data(data=b.tobytes(), usage=wgpu.BufferUsage.STORAGE) for b in buffers]
    out = device.create_buffer(size=size, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC)
    entries = [{"binding": i, "resource": {"buffer": b}} for i, b in enumerate([*inputs, out])]
    bound = device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries)
    encoder = device.create_command_encoder()
    run = encoder.begin_compute_pass()
    run.set_pipeline(pipeline)
    run.set_bind_group(0, bound)
    run.dispatch_workgroups(groups)
    run.end()
    device.queue.submit([encoder.finish()])
    return np.frombuffer(device.queue.read_buffer(out), np.float32)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_decode_equals_its_twin(device: wgpu.GPUDevice, degree: int) -> None:
    splats = hard_scene(degree)
    encoded = encode(splats, *spans(len(splats)))
    page = encoded.pages[-1]
    assert set(encoded.quantised.slots[page.clusters]) == {1, 2}
    g = codec.decode_geometry(zlib.decompress(page.geometry.data), page.counts, encoded.codec)
    n, per = len(page.counts), codec.sh_slot_words(degree)
    total = int(g.slots.sum())
    # SH has the slot number of its cluster, of two the first.
    sh = np.zeros((total, max(per, 1)), np.uint32)
    if page.sh:
        own = codec.decode_sh(zlib.decompress(page.sh.data), page.counts, g.classes, encoded.codec)
        sh[g.first_slot] = own.reshape(n, per)
    camera = np.array([0.3, -7.0, 2.5])
    offsets = (g.origins.astype(np.float64) - camera).astype(np.float32)
    size = n * constant("GROUP") * _FLOATS * 4
    found = _run(device, [g.words, sh, g.first_slot.astype(np.uint32), offsets], size, n)
    found = found.reshape(n, constant("GROUP"), _FLOATS)
    for i, count in enumerate(page.counts):
        slot = int(g.first_slot[i])
        want = codec.dequantise(g.words, slot, count, offsets[i], sh[slot] if degree else None)
        got = found[i, :count].astype(np.float64)
        np.testing.assert_allclose(got[:, :3], want.means, rtol=1e-6, atol=1e-6 * np.abs(offsets[i]).max())
        np.testing.assert_allclose(got[:, 3:7], want.quats, rtol=0, atol=1e-6)
        np.testing.assert_allclose(got[:, 7:10], want.scales, rtol=5e-6)
        np.testing.assert_allclose(got[:, 10], want.opacities, rtol=1e-6)
        dc = want.sh[:, 0]
        np.testing.assert_allclose(got[:, 11:14], dc, rtol=0, atol=2e-6 * max(1.0, np.abs(dc).max()))
        rest = want.sh[:, 1:].reshape(count, -1)
        np.testing.assert_allclose(got[:, 14 : 11 + 3 * SH_COEFFICIENTS[degree]], rest, rtol=1e-6, atol=1e-12)
        assert np.abs(rest).max(initial=0 if degree == 0 else -1) >= (0.1 if degree else 0)
