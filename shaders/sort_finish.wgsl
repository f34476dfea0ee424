// The last sort_scatter: only the values are wanted, the indices of the splats in the order they are drawn in.

override shift: u32;

@group(0) @binding(0) var<uniform> sort_info: SortInfo;
@group(0) @binding(1) var<storage, read> keys: array<vec4u>;
@group(0) @binding(2) var<storage, read> sort_values: array<vec4u>;
@group(0) @binding(3) var<storage, read> sort_counts: array<u32>;
@group(0) @binding(4) var<storage, read> sort_sums: array<u32>;
@group(0) @binding(5) var<storage, read_write> order: array<u32>;

@compute @workgroup_size(SORT_CHUNK)
fn sort_finish(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = group_number(group, groups);
  let run = chunk * SORT_CHUNK + lane;
  let end = min((run + 1u) * SORT_RUN, sort_info.count);
  if (run * SORT_RUN >= end) {
    return;
  }
  var next: array<u32, SORT_DIGITS>;
  for (var digit = 0u; digit < SORT_DIGITS; digit++) {
    next[digit] = sort_sums[chunk * SORT_DIGITS + digit] + sort_counts[sort_row(chunk, digit) + lane];
  }
  for (var i = run * SORT_RUN; i < end; i += 4u) {
    let four = keys[i / 4u];
    let values_of_four = sort_values[i / 4u];
    for (var j = 0u; j < min(4u, end - i); j++) {
      let digit = (four[j] >> shift) % SORT_DIGITS;
      order[next[digit]] = values_of_four[j];
      next[digit]++;
    }
  }
}
