// Reads the splats of a page pool slot. The stage declares geometry and sh_words, both array<u32> (docs/format-payload.md).

fn header_float(slot: u32, word: u32) -> f32 {
  return bitcast<f32>(geometry[slot * SLOT_WORDS + word]);
}

// Centre relative to the cluster's origin, layer units: 39 bits, 32 in `low`. A step of 0 stands for float32 in the slot
// after this one; else header word 7 has the bits of x and of y in its bytes 1 and 2.
fn decode_center(slot: u32, lane: u32, low: u32, high: u32) -> vec3f {
  let step = header_float(slot, 0u);
  if (step == 0.0) {
    let first = (slot + 1u) * SLOT_WORDS + lane;
    return vec3f(bitcast<f32>(geometry[first]), bitcast<f32>(geometry[first + GROUP]), bitcast<f32>(geometry[first + 2u * GROUP]));
  }
  let bits = geometry[slot * SLOT_WORDS + 7u];
  let x = (bits >> 8u) & 0xffu;
  let y = (bits >> 16u) & 0xffu;
  // x and y have 16 bits at most, so only z can reach beyond 32; with x + y = 0 it does not.
  let z = extractBits(low, x + y, 32u - x - y) | (high << ((32u - x - y) & 31u));
  return step * vec3f(f32(extractBits(low, 0u, x)), f32(extractBits(low, x, y)), f32(z));
}

// The turn that takes x to the longest axis, after a roll about x.
fn decode_quat(word: u32) -> vec4f {
  let y = (f32(word & 0x3ffu) - 512.0) * (sqrt(0.5) / AXIS_UNITS);
  let z = (f32((word >> 10u) & 0x3ffu) - 512.0) * (sqrt(0.5) / AXIS_UNITS);
  let s = (f32((word >> 20u) & 0x1ffu) - 256.0) * (sqrt(0.5) / ROLL_UNITS);
  let w = sqrt(max(1.0 - y * y - z * z, 0.0));
  let c = sqrt(max(1.0 - s * s, 0.0));
  return normalize(vec4f(w * c, w * s, y * c + z * s, z * c - y * s));
}

// offset: the cluster's origin - camera.
fn decode_splat(slot: u32, lane: u32, offset: vec3f) -> ClusterSplat {
  let first = slot * SLOT_WORDS + HEADER_WORDS + lane;
  let shape = geometry[first + GROUP];
  let turn = geometry[first + 2u * GROUP];
  let color = geometry[first + 3u * GROUP];
  let largest = header_float(slot, 1u) + f32(shape & 0x3ffu) / SCALE_STEPS;
  let smaller = vec2f(f32((shape >> 10u) & 0x7fu), f32((shape >> 17u) & 0x7fu)) / SCALE_STEPS;
  let root = f32(shape >> 24u) * header_float(slot, 2u);
  let least = vec3f(header_float(slot, 3u), header_float(slot, 4u), header_float(slot, 5u));
  let luma = least + header_float(slot, 6u) * vec3f(f32(color & 0x3ffu), f32((color >> 10u) & 0x1ffu), f32((color >> 19u) & 0x1ffu));
  // Orthonormal: grey, red - blue, magenta - green.
  let grey = luma.x * sqrt(1.0 / 3.0);
  let orange = luma.y * sqrt(0.5);
  let pink = luma.z * sqrt(1.0 / 6.0);
  var splat: ClusterSplat;
  splat.rel = offset + decode_center(slot, lane, geometry[first], (turn >> 29u) | ((color >> 28u) << 3u));
  splat.opacity = root * root;
  splat.quat = decode_quat(turn);
  splat.scales = exp2(vec3f(largest, largest - smaller.x, largest - smaller.y));
  splat.dc = vec3f(grey + orange + pink, grey - 2.0 * pink, grey - orange + pink);
  return splat;
}

// SH coefficient k, 1 to 15, of a splat whose cluster has its SH.
fn decode_sh(slot: u32, lane: u32, k: u32) -> vec3f {
  let words = geometry[slot * SLOT_WORDS + 7u] & 0xffu;
  let first = slot * words * GROUP + lane;
  let step = bitcast<f32>(sh_words[first + (words - 1u) * GROUP] & 0xffff0000u);
  let byte = 3u * (k - 1u);
  let shift = 8u * (byte & 3u);
  let low = sh_words[first + (byte >> 2u) * GROUP];
  var bits = low >> shift;
  if (shift > 8u) {
    bits |= sh_words[first + ((byte >> 2u) + 1u) * GROUP] << (32u - shift);
  }
  let values = vec3i(bitcast<i32>(bits << 24u), bitcast<i32>(bits << 16u), bitcast<i32>(bits << 8u)) >> vec3u(24u);
  return vec3f(values) * step;
}
