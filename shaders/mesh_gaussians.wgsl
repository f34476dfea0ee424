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

@fragment
fn mesh_gaussians_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = mesh_pixel(vec2u(position.xy));
  if (pixel.covered == 0.0) {
    return vec4f(0.0);
  }
  let carried = mesh_layers[mesh_shading.layer].carried;
  var values: array<vec4f, MESH_FEATURES>;
  for (var k = 0u; k < carried; k++) {
    values[k] = pixel.channels[k] * mesh_params[k] + mesh_params[carried + k];
  }
  var color = values[0].rgb;
  for (var lobe = 0u; lobe < mesh_shading.lobes; lobe++) {
    // Mean 3, scale 1, colour 3.
    var own: array<f32, 7>;
    for (var k = 0u; k < 7u; k++) {
      let channel = 3u + 7u * lobe + k;
      own[k] = values[channel / 4u][channel % 4u];
    }
    let mean = vec3f(own[0], own[1], own[2]);
    let size = length(mean);
    let cosine = dot(pixel.direction, mean) / select(1.0, size, size > 0.0);
    color += vec3f(own[4], own[5], own[6]) * exp(own[3] * (cosine - 1.0));
  }
  return vec4f(color, 1.0) * pixel.covered;
}
