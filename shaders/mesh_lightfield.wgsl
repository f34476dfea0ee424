// Shades a mesh with a factorised light field: products of what the surface carries and what a map carries for the direction.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;
@group(0) @binding(5) var mesh_ids: texture_2d<u32>;
@group(0) @binding(6) var<uniform> mesh_shading: MeshShading;
@group(0) @binding(7) var<storage, read> mesh_params: array<vec4f>;
@group(0) @binding(8) var<storage, read> mesh_directions: array<u32>;

const TURN: f32 = 6.283185307179586;

@vertex
fn mesh_lightfield_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  return mesh_corner_of_target(vertex);
}

// First word of a texel of the map, which starts again at its borders.
fn mesh_direction_texel(texel: vec2i) -> u32 {
  let size = vec2i(mesh_shading.map_size);
  let inside = vec2u((texel % size + size) % size);
  return (inside.y * mesh_shading.map_size.x + inside.x) * (mesh_shading.terms / 4u);
}

// The map has the azimuth along x and the elevation along y, each from 0 to a whole turn.
fn mesh_direction_taps(direction: vec3f) -> MeshTaps {
  let across = length(direction.xy);
  let azimuth = select(0.0, atan2(direction.y, direction.x), across > 0.0);
  let elevation = select(0.0, atan2(direction.z, across), across > 0.0 || direction.z != 0.0);
  var angles = vec2f(azimuth, elevation);
  angles += select(vec2f(0.0), vec2f(TURN), angles < vec2f(0.0));
  let uv = angles / TURN * vec2f(mesh_shading.map_size);
  var taps: MeshTaps;
  if (mesh_shading.map_smoothed == 0u) {
    taps.at = vec4u(mesh_direction_texel(vec2i(floor(uv))));
    taps.weights = vec4f(1.0, 0.0, 0.0, 0.0);
    return taps;
  }
  let corner = floor(uv - 0.5);
  let f = uv - 0.5 - corner;
  taps.weights = vec4f((1.0 - f.x) * (1.0 - f.y), f.x * (1.0 - f.y), (1.0 - f.x) * f.y, f.x * f.y);
  for (var k = 0u; k < 4u; k++) {
    taps.at[k] = mesh_direction_texel(vec2i(corner) + vec2i(i32(k & 1u), i32(k >> 1u)));
  }
  return taps;
}

// Four terms for the direction, 0 to 1.
fn mesh_direction_terms(taps: MeshTaps, word: u32) -> vec4f {
  var sum = taps.weights.x * unpack4x8unorm(mesh_directions[taps.at.x + word]);
  if (mesh_shading.map_smoothed != 0u) {
    sum += taps.weights.y * unpack4x8unorm(mesh_directions[taps.at.y + word]);
    sum += taps.weights.z * unpack4x8unorm(mesh_directions[taps.at.z + word]);
    sum += taps.weights.w * unpack4x8unorm(mesh_directions[taps.at.w + word]);
  }
  return sum;
}

@fragment
fn mesh_lightfield_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = vec2u(position.xy);
  let layer = mesh_layers[mesh_shading.layer];
  let samples = mesh_frame.side * mesh_frame.side;
  var taps: array<MeshTaps, 4>;
  var direction = vec3f(0.0);
  var seen = 0u;
  for (var sample = 0u; sample < samples; sample++) {
    let number = mesh_seen(pixel, sample);
    if (number != MESH_NONE) {
      let hit = mesh_hit(number, mesh_sample(pixel, sample));
      taps[seen] = mesh_taps(hit, layer);
      direction += normalize(hit.relative);
      seen++;
    }
  }
  if (seen == 0u) {
    return vec4f(0.0);
  }
  let map = mesh_direction_taps(layer.direction * direction);
  let groups = mesh_shading.terms / 4u;
  let rows = 2u * layer.carried;  // then the map's own scales and offsets
  var sums = vec3f(0.0);
  for (var j = 0u; j < groups; j++) {
    let b = mesh_direction_terms(map, j) * mesh_params[rows + j] + mesh_params[rows + groups + j];
    // Linear in what the surface carries: the mean over the samples may as well be that of the products.
    for (var k = 0u; k < 3u; k++) {
      let word = k * groups + j;
      var sum = vec4f(0.0);
      for (var i = 0u; i < seen; i++) {
        sum += mesh_channels(taps[i], word);
      }
      sums[k] += dot(b, sum / f32(seen) * mesh_params[word] + mesh_params[layer.carried + word]);
    }
  }
  let color = 1.0 / (1.0 + exp(-max(sums, vec3f(-80.0))));  // below, exp would overflow
  return vec4f(color, 1.0) * (f32(seen) / f32(samples));
}
