// Puts the finished frame on the canvas: background under premultiplied splats, rounded by the target's own format.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var picture: texture_2d<f32>;

@vertex
fn present_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  // One triangle that covers the target.
  return vec4f(f32(vertex & 1u) * 4.0 - 1.0, f32(vertex >> 1u) * 4.0 - 1.0, 0.0, 1.0);
}

@fragment
fn present_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let splats = textureLoad(picture, vec2i(position.xy), 0);
  let rest = (1.0 - splats.a) * frame.background.a;
  return vec4f(splats.rgb + rest * frame.background.rgb, splats.a + rest);
}
