// Projects native 4D Gaussians (Yang et al. 2024) at a time: one workgroup a Draw, 256 splats at most. They come sliced, with
// what does not depend on the time already taken out. Words a plane each, docs/format-sequence.md: mean 3, time, width of the
// temporal opacity; halves: velocity 3, lower triangle L of the covariance = L L^T in space 6, opacity, the constant SH
// coefficient 3, step of the others; then those as bytes, three a coefficient.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> gaussian4d: Sequence;
@group(0) @binding(2) var<storage, read> layers: array<LayerView>;
@group(0) @binding(3) var<storage, read> draws: array<Draw>;
@group(0) @binding(4) var<storage, read> gaussian4d_words: array<u32>;
@group(0) @binding(5) var<storage, read_write> projected: array<Projected>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;

fn single(row: u32, plane: u32) -> f32 {
  return bitcast<f32>(gaussian4d_words[plane * gaussian4d.rows + row]);
}

fn pair(row: u32, plane: u32) -> vec2f {
  return unpack2x16float(gaussian4d_words[plane * gaussian4d.rows + row]);
}

// SH coefficient i, counted over all terms in time, 1 or more, in steps.
fn coefficient(row: u32, i: u32) -> vec3f {
  let byte = 3u * (i - 1u);
  let at = (12u + (byte >> 2u)) * gaussian4d.rows + row;
  let shift = 8u * (byte & 3u);
  var bits = gaussian4d_words[at] >> shift;
  if (shift > 8u) {
    bits |= gaussian4d_words[at + gaussian4d.rows] << (32u - shift);
  }
  return vec3f(vec3i(bitcast<i32>(bits << 24u), bitcast<i32>(bits << 16u), bitcast<i32>(bits << 8u)) >> vec3u(24u));
}

@compute @workgroup_size(GROUP)
fn project_gaussian4d(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = group_number(group, groups);
  let live = number < gaussian4d.groups;
  let target_group = gaussian4d.first + min(number, gaussian4d.groups - 1u);
  let draw = draws[target_group];
  var splat: Projected;
  var key = KEY_CULLED;
  if (live && lane < draw.count) {
    let row = draw.slot + lane;
    let dt = gaussian4d.time - single(row, 3u);
    let share = dt / single(row, 4u);
    let marginal = exp(-0.5 * share * share);
    let l22 = pair(row, 9u);
    let opacity = l22.y * marginal;
    let layer = layers[draw.layer];
    // Most splats of a long sequence are not there: they are read no further.
    if (marginal > gaussian4d.cut && 255.0 * opacity > 1.0) {
      let still = vec3f(single(row, 0u), single(row, 1u), single(row, 2u)) + draw.offset;
      let v2 = pair(row, 6u);
      let t = layer.linear * (still + gaussian4d.unit * dt * vec3f(pair(row, 5u), v2.x));
      if (t.z > frame.near) {
        let l1 = pair(row, 7u);
        let l2 = pair(row, 8u);
        let lower = gaussian4d.unit * mat3x3f(v2.y, l1.x, l2.x, 0.0, l1.y, l2.y, 0.0, 0.0, l22.x);
        let last = pair(row, 11u);
        // From the centre that does not move, as the rasterizer that trained them has it.
        let direction = normalize(still);
        var rest = vec3f(0.0);
        for (var n = 0u; n < gaussian4d.terms; n++) {
          var sum = vec3f(0.0);
          if (n > 0u) {
            sum = SH_C0 * coefficient(row, n * gaussian4d.sh_coefficients);
          }
          for (var k = 1u; k < gaussian4d.sh_coefficients; k++) {
            sum += sh_weight(k, direction) * coefficient(row, n * gaussian4d.sh_coefficients + k);
          }
          rest += cos(6.283185307179586 * f32(n) * dt / gaussian4d.period) * sum;
        }
        let color = 0.5 + SH_C0 * vec3f(pair(row, 10u), last.x) + last.y * rest;
        key = project_splat(layer, t, layer.linear * lower, opacity, color, &splat);
      }
    }
  }
  emit(live, target_group, lane, splat, key);
}
