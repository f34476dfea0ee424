// First pass of the sort, which drops the splats that are not drawn: counts the digits of each run's keys.
// A run is what one invocation walks in order, so stability needs no barrier, no workgroup memory and no atomic:
// all three are what software drivers pay most for (docs/pipeline.md), and no device has to promise forward progress.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> keys: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> sort_counts: array<u32>;

@compute @workgroup_size(SORT_CHUNK)
fn compact_count(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = group_number(group, groups);
  if (chunk >= sort_chunks(frame.groups)) {
    return;
  }
  let run = chunk * SORT_CHUNK + lane;
  var counts: array<u32, SORT_DIGITS>;
  if (run < frame.groups) {
    for (var i = run * SORT_RUN / 4u; i < (run + 1u) * SORT_RUN / 4u; i++) {
      let four = keys[i];
      for (var j = 0u; j < 4u; j++) {
        if (four[j] != KEY_CULLED) {
          counts[four[j] % SORT_DIGITS]++;
        }
      }
    }
  }
  for (var digit = 0u; digit < SORT_DIGITS; digit++) {
    sort_counts[sort_row(chunk, digit) + lane] = counts[digit];
  }
}
