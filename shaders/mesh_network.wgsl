// Shades a mesh with a small network: what the surface carries, the direction and sines of them go in, a colour comes out.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;
@group(0) @binding(5) var mesh_ids: texture_2d<u32>;
@group(0) @binding(6) var<uniform> mesh_shading: MeshShading;
@group(0) @binding(7) var<storage, read> mesh_params: array<vec4f>;

@vertex
fn mesh_network_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  return mesh_corner_of_target(vertex);
}

// Of any size: the turns are taken off in two parts, the first of which has so few bits that products with it are exact.
fn precise_sin(x: vec4f) -> vec4f {
  let turns = round(x * 0.15915494309189535);
  return sin((x - turns * 6.28125) - turns * 0.0019353071795864769);
}

fn activated(x: vec4f, activation: u32) -> vec4f {
  if (activation == 1u) {
    return max(x, vec4f(0.0));
  }
  if (activation == 2u) {
    return 1.0 / (1.0 + exp(-max(x, vec4f(-80.0))));  // below, exp would overflow
  }
  return x;
}

@fragment
fn mesh_network_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = mesh_pixel(vec2u(position.xy));
  if (pixel.covered == 0.0) {
    return vec4f(0.0);  // discarded, software adapters go on with them: 478 ms, not 32, for 64 x 64 units and an empty picture
  }
  // Groups of four: channels, the direction, sines (pack_params in viewer/mesh_params.py orders the weights like that).
  // Then layers write the second part of the array and the first by turns: no copies, and it is set to 0 only once.
  var values: array<vec4f, MESH_GIVEN + MESH_UNITS>;
  let carried = mesh_layers[mesh_shading.layer].carried;
  for (var k = 0u; k < carried; k++) {
    values[k] = pixel.channels[k] * mesh_params[k] + mesh_params[carried + k];
  }
  values[carried] = vec4f(pixel.direction, 0.0);
  var at = 2u * carried;
  var given = carried + 1u;
  for (var k = 0u; k < mesh_shading.waves; k++) {
    let source = vec4u(mesh_params[at]);
    let x = vec4f(values[source.x / 4u][source.x % 4u], values[source.y / 4u][source.y % 4u],
      values[source.z / 4u][source.z % 4u], values[source.w / 4u][source.w % 4u]);
    values[given] = precise_sin(mesh_params[at + 1u] * x + mesh_params[at + 2u]);
    given++;
    at += 3u;
  }
  var color = vec3f(0.0);
  if (mesh_shading.base != MESH_NONE) {
    for (var k = 0u; k < 3u; k++) {
      let channel = mesh_shading.base + k;
      color[k] = values[channel / 4u][channel % 4u];
    }
  }
  var first = 0u;
  var next = MESH_GIVEN;
  for (var layer = 0u; layer < mesh_shading.depth; layer++) {
    let units = (mesh_shading.outputs[layer] + 3u) / 4u;
    let activation = mesh_shading.activations[layer];
    for (var k = 0u; k < units; k++) {
      var sum = mesh_params[at];
      at++;
      for (var i = 0u; i < given; i++) {
        sum += mat4x4f(mesh_params[at], mesh_params[at + 1u], mesh_params[at + 2u], mesh_params[at + 3u]) * values[first + i];
        at += 4u;
      }
      values[next + k] = activated(sum, activation);
    }
    given = units;
    first = next;
    next = MESH_GIVEN - next;
  }
  color = clamp(color + values[first].xyz, vec3f(0.0), vec3f(1.0));
  return vec4f(color, 1.0) * pixel.covered;
}
