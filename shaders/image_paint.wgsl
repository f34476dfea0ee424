// Paints the pixels that are kept of one run of a post-processing network. What it gives is the picture over the background, so
// that is taken off again where splats let it through; alpha stays. A pixel that came out not finite stays as it was.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> image_tile: ImageTile;
@group(0) @binding(2) var color: texture_2d<f32>;
@group(0) @binding(3) var<storage, read> image_input: array<u32>;
@group(0) @binding(4) var<storage, read> image_output: array<u32>;
@group(0) @binding(5) var<storage, read_write> image_lost: array<atomic<u32>>;

// Bits of an element: float32 as they are, float16 in the lower half.
fn output_bits(element: u32) -> u32 {
  if (image_tile.half_output == 1u) {
    return (image_output[element / 2u] >> (16u * (element % 2u))) & 0xffffu;
  }
  return image_output[element];
}

fn output_value(bits: u32) -> f32 {
  return select(bitcast<f32>(bits), unpack2x16float(bits).x, image_tile.half_output == 1u);
}

fn input_value(element: u32) -> f32 {
  if (image_tile.half_input == 1u) {
    return unpack2x16float(image_input[element / 2u])[element % 2u];
  }
  return bitcast<f32>(image_input[element]);
}

@vertex
fn image_paint_vs(@builtin(vertex_index) vertex: u32) -> @builtin(position) vec4f {
  // Two triangles: corners 0 1 2 and 2 1 3 of the kept rectangle.
  let corner = array(0u, 1u, 2u, 2u, 1u, 3u)[vertex];
  let x = select(image_tile.first.x, image_tile.end.x, (corner & 1u) == 1u);
  let y = select(image_tile.first.y, image_tile.end.y, corner > 1u);
  let ndc = vec2f(vec2u(x, y)) / frame.viewport * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0);
  return vec4f(ndc, 0.0, 1.0);
}

@fragment
fn image_paint_fs(@builtin(position) position: vec4f) -> @location(0) vec4f {
  let at = vec2u(position.xy);
  let inside = at - image_tile.origin;
  let plane = image_tile.size.x * image_tile.size.y;
  let element = inside.y * image_tile.size.x + inside.x;
  let bits = vec3u(output_bits(element), output_bits(plane + element), output_bits(2u * plane + element));
  // By their bits: shader compilers may take it that no value is NaN.
  let exponent = select(0x7f800000u, 0x7c00u, image_tile.half_output == 1u);
  var made = vec3f(output_value(bits.x), output_value(bits.y), output_value(bits.z));
  if (any((bits & vec3u(exponent)) == vec3u(exponent))) {
    made = vec3f(input_value(element), input_value(plane + element), input_value(2u * plane + element));
    atomicAdd(&image_lost[0], 1u);
  }
  let alpha = textureLoad(color, vec2i(at), 0).a;
  return vec4f(made - (1.0 - alpha) * frame.background.rgb, alpha);
}
