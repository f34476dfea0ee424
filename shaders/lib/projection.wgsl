// EWA projection of one splat (Zwicker et al. 2001; Kerbl et al. 2023) into a Projected record and its sort key.
// Needs the global `frame`.

// Depth as a key of KEY_BITS bits, the nearest first (depth_keys in viewer/frame.py).
fn depth_key(z: f32) -> u32 {
  let bits = bitcast<u32>(z);
  return min(select(0u, bits - frame.key_base, bits > frame.key_base) >> frame.key_shift, (1u << KEY_BITS) - 1u);
}

// Writes `out` and returns the splat's key, or KEY_CULLED where it can not touch the picture.
// t: camera coordinates, t.z beyond the near plane. axes: camera-from-layer * R * S; the covariance is axes * transpose(axes).
// layer: whose kernel it is.
fn project_splat(layer: LayerView, t: vec3f, axes: mat3x3f, opacity: f32, color: vec3f, out: ptr<function, Projected>) -> u32 {
  let slope = t.xy / t.z;
  let s = clamp(slope, frame.slope_min, frame.slope_max);
  let f = frame.focal / t.z;
  // Rows of J * axes: the 2D covariance is m * transpose(m).
  let rows = transpose(axes);
  let mx = f.x * (rows[0] - s.x * rows[2]);
  let my = f.y * (rows[1] - s.y * rows[2]);
  let a0 = dot(mx, mx);
  let b = dot(mx, my);
  let c0 = dot(my, my);
  // det of the undilated covariance by Cauchy-Binet: a0 * c0 - b * b cancels to nothing for needles in float32.
  let minors = cross(mx, my);
  let det0 = dot(minors, minors);
  let a = a0 + layer.dilation;
  let c = c0 + layer.dilation;
  let det = det0 + layer.dilation * (a0 + c0) + layer.dilation * layer.dilation;
  var o = opacity;
  if (layer.antialias == 1u) {
    o *= sqrt(max(det0 / det, 0.005 * 0.005));
  }
  let k2 = 2.0 * log(255.0 * o);
  let center = slope * frame.focal + frame.principal;
  let extent = sqrt(max(k2, 0.0) * vec2f(a, c));
  if (!(k2 > 0.0) || !all(center + extent > vec2f(0.0)) || !all(center - extent < frame.viewport)) {
    return KEY_CULLED;
  }
  let half_difference = 0.5 * (a - c);
  let radius = sqrt(half_difference * half_difference + b * b);
  let lambda1 = 0.5 * (a + c) + radius;
  let lambda2 = det / lambda1;
  // The longer of the two equal forms of the eigenvector; any direction serves where the splat is round.
  var direction = select(vec2f(b, radius - half_difference), vec2f(radius + half_difference, b), half_difference >= 0.0);
  let length2 = dot(direction, direction);
  direction = select(vec2f(1.0, 0.0), direction * inverseSqrt(length2), length2 > 1e-30);
  (*out).center = center;
  (*out).major = direction * sqrt(lambda1);
  (*out).minor = sqrt(lambda2);
  (*out).depth = t.z;
  let rgb = min(max(color, vec3f(0.0)), vec3f(65504.0));
  (*out).rg = pack2x16float(rgb.xy);
  (*out).ba = pack2x16float(vec2f(rgb.z, min(o, 65504.0)));
  return depth_key(t.z);
}
