// Projects clusters of the page pool: one workgroup a Draw, one invocation a splat.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> cluster_span: Span;
@group(0) @binding(2) var<storage, read> layers: array<LayerView>;
@group(0) @binding(3) var<storage, read> draws: array<Draw>;
@group(0) @binding(4) var<storage, read> geometry: array<u32>;
@group(0) @binding(5) var<storage, read> sh_words: array<u32>;
@group(0) @binding(6) var<storage, read_write> projected: array<Projected>;
@group(0) @binding(7) var<storage, read_write> keys: array<u32>;

fn cluster_color(dc: vec3f, slot: u32, lane: u32, direction: vec3f, degree: u32) -> vec3f {
  var sum = SH_C0 * dc;
  let coefficients = (degree + 1u) * (degree + 1u);
  for (var k = 1u; k < coefficients; k++) {
    sum += sh_weight(k, direction) * decode_sh(slot, lane, k);
  }
  return sum + 0.5;
}

@compute @workgroup_size(GROUP)
fn project_clusters(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = group_number(group, groups);
  let live = number < cluster_span.groups;
  let target_group = cluster_span.first + min(number, cluster_span.groups - 1u);
  let draw = draws[target_group];
  var splat: Projected;
  var key = KEY_CULLED;
  if (live && lane < draw.count) {
    let s = decode_splat(draw.slot, lane, draw.offset);
    let layer = layers[draw.layer];
    let t = layer.linear * s.rel;
    if (t.z > frame.near) {
      let rotation = rotation_matrix(s.quat);
      let axes = layer.linear * mat3x3f(rotation[0] * s.scales.x, rotation[1] * s.scales.y, rotation[2] * s.scales.z);
      key = project_splat(layer, t, axes, s.opacity, cluster_color(s.dc, draw.slot, lane, normalize(s.rel), draw.sh_degree), &splat);
    }
  }
  emit(live, target_group, lane, splat, key);
}
