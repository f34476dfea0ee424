// Shades a mesh with spherical Gaussians: its diffuse colour, and lobes of colour around directions.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;
@group(0) @binding(5) var mesh_ids: texture_2d<u32>;
@group(0) @binding(6) var<uniform> mesh_shading: MeshShading;
@group(0) @binding(7) var<storage, read> mesh_params: array<vec4f>;

@vertex
fn mesh_gaussians_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  return mesh_corner_of_target(vertex);
}

// What a lobe of colour adds. mean: of any length; one of none has a cosine of 0.
fn lobe(direction: vec3f, mean: vec3f, scale: f32, color: vec3f) -> vec3f {
  let size = length(mean);
  let cosine = dot(direction, mean) / select(1.0, size, size > 0.0);
  return color * exp(scale * (cosine - 1.0));
}

@fragment
fn mesh_gaussians_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = mesh_pixel(vec2u(position.xy));
  if (pixel.covered == 0.0) {
    return vec4f(0.0);
  }
  let carried = mesh_layers[mesh_shading.layer].carried;
  var v: array<vec4f, MESH_FEATURES>;
  for (var k = 0u; k < carried; k++) {
    v[k] = pixel.channels[k] * mesh_params[k] + mesh_params[carried + k];
  }
  // Seven channels a lobe from the fourth on, by places known beforehand: no index is computed.
  var color = v[0].rgb + lobe(pixel.direction, vec3f(v[0].w, v[1].xy), v[1].z, vec3f(v[1].w, v[2].xy));
  if (mesh_shading.lobes > 1u) {
    color += lobe(pixel.direction, vec3f(v[2].zw, v[3].x), v[3].y, vec3f(v[3].zw, v[4].x));
  }
  if (mesh_shading.lobes > 2u) {
    color += lobe(pixel.direction, v[4].yzw, v[5].x, v[5].yzw);
  }
  if (mesh_shading.lobes > 3u) {
    color += lobe(pixel.direction, v[6].xyz, v[6].w, v[7].xyz);
  }
  return vec4f(color, 1.0) * pixel.covered;
}
