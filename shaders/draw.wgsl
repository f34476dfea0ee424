// Draws the projected splats back to front, premultiplied.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> projected: array<Projected>;
@group(0) @binding(2) var<storage, read> order: array<u32>;
@group(0) @binding(3) var<uniform> sort_info: SortInfo;

@vertex
fn draw_vs(@builtin(vertex_index) vertex: u32) -> DrawVertex {
  return splat_vertex(vertex);
}

@fragment
fn draw_fs(in: DrawVertex) -> @location(0) vec4f {
  let alpha = splat_alpha(in);
  if (alpha < 1.0 / 255.0) {
    discard;
  }
  return vec4f(in.color.rgb * alpha, alpha);
}
