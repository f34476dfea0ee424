// Makes the input of a post-processing network of the picture: [1, 3, height, width], over the background, clipped to 0..1,
// edge pixels repeated past the edge. An invocation a word: a float32, or two float16.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> image_tile: ImageTile;
@group(0) @binding(2) var picture: texture_2d<f32>;
@group(0) @binding(3) var<storage, read_write> image_input: array<u32>;

fn image_value(element: u32) -> f32 {
  let plane = image_tile.size.x * image_tile.size.y;
  let channel = element / plane;
  if (channel > 2u) {
    return 0.0;  // the second half of the last word, where the number of elements is odd
  }
  let inside = element % plane;
  let at = image_tile.origin + vec2u(inside % image_tile.size.x, inside / image_tile.size.x);
  let pixel = textureLoad(picture, vec2i(min(at, vec2u(frame.viewport) - 1u)), 0);
  return clamp(pixel[channel] + (1.0 - pixel.a) * frame.background[channel], 0.0, 1.0);
}

@compute @workgroup_size(GROUP)
fn image_tensor(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let word = GROUP * group_number(group, groups) + lane;
  if (word >= image_tile.input_words) {
    return;
  }
  if (image_tile.half_input == 1u) {
    image_input[word] = pack2x16float(vec2f(image_value(2u * word), image_value(2u * word + 1u)));
  } else {
    image_input[word] = bitcast<u32>(image_value(word));
  }
}
