// Shades a mesh that carries its colours: as they are, or lit from the eye.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var<storage, read> mesh_layers: array<MeshLayer>;
@group(0) @binding(3) var<storage, read> mesh_blocks: array<MeshBlock>;
@group(0) @binding(4) var<storage, read> mesh_words: array<u32>;
@group(0) @binding(5) var mesh_ids: texture_2d<u32>;
@group(0) @binding(6) var<uniform> mesh_shading: MeshShading;
@group(0) @binding(7) var<storage, read> mesh_params: array<vec4f>;

@vertex
fn mesh_plain_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  return mesh_corner_of_target(vertex);
}

@fragment
fn mesh_plain_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let pixel = mesh_pixel(vec2u(position.xy));
  if (pixel.covered == 0.0) {
    return vec4f(0.0);
  }
  let carried = mesh_layers[mesh_shading.layer].carried;
  let first = pixel.channels[0] * mesh_params[0] + mesh_params[carried];
  var color = first.rgb;
  if (mesh_shading.light == 1u) {
    var normal = pixel.normal;
    if (mesh_shading.channels >= 6u) {
      let second = pixel.channels[1] * mesh_params[1] + mesh_params[carried + 1u];
      normal = vec3f(first.a, second.xy);
    }
    // Neither a normal of no length nor a direction of none has an angle; such pixels are lit in full.
    let lengths = length(normal) * length(pixel.direction);
    let cosine = select(1.0, abs(dot(normal, pixel.direction)) / lengths, lengths > 0.0);
    color *= 0.3 + 0.7 * cosine;
  }
  return vec4f(color, 1.0) * pixel.covered;
}
