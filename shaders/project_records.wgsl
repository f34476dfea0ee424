// Projects float32 records (mean 3, opacity 1, lower triangle L of covariance = L L^T 6, SH 3 * coefficients): one workgroup
// a Draw, 256 records at most.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> record_span: Span;
@group(0) @binding(2) var<storage, read> layers: array<LayerView>;
@group(0) @binding(3) var<storage, read> draws: array<Draw>;
@group(0) @binding(4) var<storage, read> records: array<f32>;
@group(0) @binding(5) var<storage, read_write> projected: array<Projected>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;

fn record_color(at: u32, direction: vec3f, coefficients: u32) -> vec3f {
  var sum = SH_C0 * vec3f(records[at], records[at + 1u], records[at + 2u]);
  for (var k = 1u; k < coefficients; k++) {
    let i = at + 3u * k;
    sum += sh_weight(k, direction) * vec3f(records[i], records[i + 1u], records[i + 2u]);
  }
  return sum + 0.5;
}

@compute @workgroup_size(GROUP)
fn project_records(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let number = group_number(group, groups);
  let live = number < record_span.groups;
  let target_group = record_span.first + min(number, record_span.groups - 1u);
  let draw = draws[target_group];
  var splat: Projected;
  var key = KEY_CULLED;
  if (live && lane < draw.count) {
    let at = (draw.slot + lane) * record_span.stride;
    let relative = vec3f(records[at], records[at + 1u], records[at + 2u]) + draw.offset;
    let layer = layers[draw.layer];
    let lower = mat3x3f(
      records[at + 4u], records[at + 5u], records[at + 7u],
      0.0, records[at + 6u], records[at + 8u],
      0.0, 0.0, records[at + 9u]);
    let t = layer.linear * relative;
    if (t.z > frame.near) {
      key = project_splat(layer, t, layer.linear * lower, records[at + 3u], record_color(at + 10u, normalize(relative), record_span.sh_coefficients), &splat);
    }
  }
  emit(live, target_group, lane, splat, key);
}
