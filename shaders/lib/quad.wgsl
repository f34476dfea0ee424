// The triangle that covers a projected splat, and the splat's alpha at a pixel: a triangle a splat (two of them cost SwiftShader
// a fifth more, and GPUs as much) and no instances (SwiftShader pays 20 us for each).
// Needs the globals `frame`, `projected`, `order` and `sort_info`.

struct DrawVertex {
  @builtin(position) position: vec4f,
  @location(0) @interpolate(flat) center: vec2f,
  @location(1) @interpolate(flat) whiten: vec4f,  // rows: pixels -> sigmas along the major and minor axis
  @location(2) @interpolate(flat) color: vec4f,
  @location(3) @interpolate(flat) depth: f32,     // view z of the centre
}

fn splat_vertex(vertex: u32) -> DrawVertex {
  // The order is front to back, ties by index, as the reference blends; drawing starts from its end.
  let splat = projected[order[sort_info.count - 1u - vertex / SPLAT_VERTICES]];
  let blue_opacity = unpack2x16float(splat.ba);
  // The corners of the equilateral triangle around the unit circle: (-sqrt 3, -1), (sqrt 3, -1), (0, 2).
  let corner = f32(vertex % SPLAT_VERTICES);
  let sides = select(vec2f(3.4641016 * corner - 1.7320508, -1.0), vec2f(0.0, 2.0), corner == 2.0);
  // Alpha falls to 1/255 at k sigma. Rasterisers place vertices on a grid as coarse as 1/16 pixel: the margin keeps every pixel
  // centre inside (half of it is left where an edge runs aslant to a needle), and the fragment's own test decides.
  let k = sqrt(2.0 * log(255.0 * blue_opacity.y));
  let major = length(splat.major);
  let along = splat.major / major;
  let across = vec2f(-along.y, along.x);
  let position = splat.center + sides.x * (k * major + 0.125) * along + sides.y * (k * splat.minor + 0.125) * across;
  let ndc = position / frame.viewport * vec2f(2.0, -2.0) + vec2f(-1.0, 1.0);
  var out: DrawVertex;
  out.position = vec4f(ndc, 0.0, 1.0);
  out.center = splat.center;
  out.whiten = vec4f(along / major, across / splat.minor);
  out.color = vec4f(unpack2x16float(splat.rg), blue_opacity);
  out.depth = splat.depth;
  return out;
}

fn splat_alpha(in: DrawVertex) -> f32 {
  // Distance in sigmas from the exact pixel centre: interpolated coordinates would carry the vertices' rounding.
  let d = in.position.xy - in.center;
  let u = dot(in.whiten.xy, d);
  let v = dot(in.whiten.zw, d);
  return min(frame.alpha_cap, in.color.a * exp(-0.5 * (u * u + v * v)));
}
