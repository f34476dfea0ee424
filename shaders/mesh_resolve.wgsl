// The meshes' picture as what splats are drawn over, and the view depth of the nearest mesh at each pixel.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> mesh_frame: MeshFrame;
@group(0) @binding(2) var mesh_color: texture_2d<f32>;
@group(0) @binding(3) var mesh_depths: texture_depth_2d;

struct Resolved {
  @location(0) color: vec4f,
  @location(1) front: f32,
}

@vertex
fn mesh_resolve_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  // One triangle that covers the target.
  return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn mesh_resolve_fs(@builtin(position) position: vec4f) -> Resolved {
  let pixel = vec2u(position.xy);
  var nearest = 0.0;  // depths are near / z
  for (var sample = 0u; sample < mesh_frame.side * mesh_frame.side; sample++) {
    let at = pixel * mesh_frame.side + vec2u(sample % mesh_frame.side, sample / mesh_frame.side);
    nearest = max(nearest, textureLoad(mesh_depths, at, 0));
  }
  var out: Resolved;
  out.color = textureLoad(mesh_color, pixel, 0);
  out.front = select(MESH_FAR, frame.near / nearest, nearest > 0.0);
  return out;
}
