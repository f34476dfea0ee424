// Projects Spacetime Gaussians (Li et al. 2024, the lite model) at a time: one workgroup a Draw, 256 splats at most. Words a
// plane each, docs/format-sequence.md: mean 3, time, width of the temporal opacity; halves: rotation 4, its change 4, scales
// 3, opacity, motion 9, colour 3.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> spacetime: Sequence;
@group(0) @binding(2) var<storage, read> layers: array<LayerView>;
@group(0) @binding(3) var<storage, read> draws: array<Draw>;
@group(0) @binding(4) var<storage, read> spacetime_words: array<u32>;
@group(0) @binding(5) var<storage, read_write> projected: array<Projected>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;

fn single(row: u32, plane: u32) -> f32 {
  return bitcast<f32>(spacetime_words[plane * spacetime.rows + row]);
}

fn pair(row: u32, plane: u32) -> vec2f {
  return unpack2x16float(spacetime_words[plane * spacetime.rows + row]);
}

@compute @workgroup_size(GROUP)
fn project_spacetime(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = group_number(group, groups);
  let live = number < spacetime.groups;
  let target_group = spacetime.first + min(number, spacetime.groups - 1u);
  let draw = draws[target_group];
  var splat: Projected;
  var key = KEY_CULLED;
  if (live && lane < draw.count) {
    let row = draw.slot + lane;
    let dt = spacetime.time - single(row, 3u);
    let share = dt / single(row, 4u);
    let size = pair(row, 10u);
    let opacity = size.y * exp(-share * share);
    let layer = layers[draw.layer];
    // Most splats of a long sequence are not there: they are read no further.
    if (255.0 * opacity > 1.0) {
      let m01 = pair(row, 11u);
      let m23 = pair(row, 12u);
      let m45 = pair(row, 13u);
      let m67 = pair(row, 14u);
      let m8r = pair(row, 15u);
      let motion = dt * (vec3f(m01, m23.x) + dt * (vec3f(m23.y, m45) + dt * vec3f(m67, m8r.x)));
      let relative = vec3f(single(row, 0u), single(row, 1u), single(row, 2u)) + draw.offset + spacetime.unit * motion;
      let t = layer.linear * relative;
      let quat = vec4f(pair(row, 5u), pair(row, 6u)) + dt * vec4f(pair(row, 7u), pair(row, 8u));
      let length2 = dot(quat, quat);
      if (t.z > frame.near && length2 > 0.0) {
        let rotation = rotation_matrix(quat * inverseSqrt(length2));
        let scales = spacetime.unit * vec3f(pair(row, 9u), size.x);
        let axes = layer.linear * mat3x3f(rotation[0] * scales.x, rotation[1] * scales.y, rotation[2] * scales.z);
        key = project_splat(layer, t, axes, opacity, vec3f(m8r.y, pair(row, 16u)), &splat);
      }
    }
  }
  emit(live, target_group, lane, splat, key);
}
