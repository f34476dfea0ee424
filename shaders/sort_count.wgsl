// Counts one digit of each run's keys.

override shift: u32;

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<uniform> sort_info: SortInfo;
@group(0) @binding(2) var<storage, read> keys: array<vec4u>;
@group(0) @binding(3) var<storage, read_write> sort_counts: array<u32>;

@compute @workgroup_size(SORT_CHUNK)
fn sort_count(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = group_number(group, groups);
  if (chunk >= sort_chunks(frame.groups)) {
    return;
  }
  let run = chunk * SORT_CHUNK + lane;
  let end = min((run + 1u) * SORT_RUN, sort_info.count);
  var counts: array<u32, SORT_DIGITS>;
  for (var i = run * SORT_RUN; i < end; i += 4u) {
    let four = keys[i / 4u];
    for (var j = 0u; j < min(4u, end - i); j++) {
      counts[(four[j] >> shift) % SORT_DIGITS]++;
    }
  }
  for (var digit = 0u; digit < SORT_DIGITS; digit++) {
    sort_counts[sort_row(chunk, digit) + lane] = counts[digit];
  }
}
