// What shading a pixel starts from: the channels and the direction, averaged over the samples that see the layer.
// Needs the globals of lib/mesh.wgsl, `mesh_ids` and `mesh_shading`.

// What the surface carries at a point.
fn mesh_taps(hit: MeshHit, layer: MeshLayer) -> MeshTaps {
  var taps: MeshTaps;
  if (hit.block.width == 0u) {
    taps.at = hit.block.vertices + 3u + (3u + layer.carried) * vec4u(hit.corners, hit.corners.x);
    taps.weights = vec4f(hit.weights, 0.0);
    return taps;
  }
  let uv = mesh_uv(hit);
  if (layer.smoothed == 0u) {
    taps.at = vec4u(mesh_texel(hit.block, layer, vec2i(floor(uv))));
    taps.weights = vec4f(1.0, 0.0, 0.0, 0.0);
    return taps;
  }
  let corner = floor(uv - 0.5);
  let f = uv - 0.5 - corner;
  taps.weights = vec4f((1.0 - f.x) * (1.0 - f.y), f.x * (1.0 - f.y), (1.0 - f.x) * f.y, f.x * f.y);
  for (var k = 0u; k < 4u; k++) {
    taps.at[k] = mesh_texel(hit.block, layer, vec2i(corner) + vec2i(i32(k & 1u), i32(k >> 1u)));
    // Texels where nothing is have no colour to give. The nearest one is there, or the sample would not be.
    if (layer.empty != MESH_NONE && mesh_empty(layer, taps.at[k])) {
      taps.weights[k] = 0.0;
    }
  }
  taps.weights /= dot(taps.weights, vec4f(1.0));
  return taps;
}

// Four channels at a point, 0 to 1. word: the channels 4 * word and on.
fn mesh_channels(taps: MeshTaps, word: u32) -> vec4f {
  var sum = taps.weights.x * unpack4x8unorm(mesh_words[taps.at.x + word]);
  // Most taps are one texel alone.
  if (taps.weights.x != 1.0) {
    sum += taps.weights.y * unpack4x8unorm(mesh_words[taps.at.y + word]);
    sum += taps.weights.z * unpack4x8unorm(mesh_words[taps.at.z + word]);
    sum += taps.weights.w * unpack4x8unorm(mesh_words[taps.at.w + word]);
  }
  return sum;
}

// The number of the triangle that a sample of a pixel sees, MESH_NONE where it is not of the layer that is being shaded.
fn mesh_seen(pixel: vec2u, sample: u32) -> u32 {
  let id = textureLoad(mesh_ids, pixel * mesh_frame.side + vec2u(sample % mesh_frame.side, sample / mesh_frame.side), 0).r;
  if (id == 0u || mesh_blocks[(id - 1u) / MESH_BLOCK].layer != mesh_shading.layer) {
    return MESH_NONE;
  }
  return id - 1u;
}

// Where a sample of a pixel lies, pixels.
fn mesh_sample(pixel: vec2u, sample: u32) -> vec2f {
  let side = mesh_frame.side;
  return vec2f(pixel) + (vec2f(f32(sample % side), f32(sample / side)) + 0.5) / f32(side);
}

// channels: as stored, 0 to 1. direction: the method's. normal: layer coordinates, of any length. covered: share of the pixel.
struct MeshPixel {
  channels: array<vec4f, MESH_FEATURES>,
  direction: vec3f,
  normal: vec3f,
  covered: f32,
}

fn mesh_pixel(pixel: vec2u) -> MeshPixel {
  var out: MeshPixel;
  let layer = mesh_layers[mesh_shading.layer];
  let samples = mesh_frame.side * mesh_frame.side;
  var seen = 0.0;
  for (var sample = 0u; sample < samples; sample++) {
    let number = mesh_seen(pixel, sample);
    if (number == MESH_NONE) {
      continue;
    }
    let hit = mesh_hit(number, mesh_sample(pixel, sample));
    let taps = mesh_taps(hit, layer);
    for (var word = 0u; word < layer.carried; word++) {
      out.channels[word] += mesh_channels(taps, word);
    }
    out.direction += normalize(hit.relative);
    out.normal = hit.normal;
    seen += 1.0;
  }
  if (seen == 0.0) {
    return out;
  }
  for (var word = 0u; word < layer.carried; word++) {
    out.channels[word] /= seen;
  }
  out.direction = layer.direction * (out.direction / seen);
  out.covered = seen / f32(samples);
  return out;
}

fn mesh_corner_of_target(vertex: u32) -> vec4f {
  // One triangle that covers the target.
  return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}
