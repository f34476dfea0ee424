// Draws the projected splats back to front over the meshes, premultiplied: before or behind what lies at each pixel.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> projected: array<Projected>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<uniform> sort_info: SortInfo;
@group(0) @binding(4) var mesh_color: texture_2d<f32>;
@group(0) @binding(5) var mesh_front: texture_2d<f32>;

@vertex
fn draw_over_vs(@builtin(vertex_index) vertex: u32) -> DrawVertex {
  return splat_vertex(vertex);
}

@fragment
fn draw_over_fs(in: DrawVertex) -> @location(0) vec4f {
  let alpha = splat_alpha(in);
  let pixel = vec2i(in.position.xy);
  let front = textureLoad(mesh_front, pixel, 0).r;
  let mesh = textureLoad(mesh_color, pixel, 0);
  let behind = in.depth > front;
  let rest = select(1.0, 1.0 - mesh.a, behind);
  if (alpha < 1.0 / 255.0 || rest <= 0.0) {
    discard;
  }
  // The target holds mesh + (1 - coverage) * behind. What is behind gains s + (1 - alpha) * behind; with this source,
  // blending does that and leaves the mesh as it is. Splats behind come first, for the order is back to front.
  return vec4f(in.color.rgb * (alpha * rest) + select(vec3f(0.0), alpha * mesh.rgb, behind), alpha);
}
