// Replaces each run's count of a digit by the sum of those before it in its chunk, and stores the chunk's sum: one invocation a
// (chunk, digit).

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read_write> sort_counts: array<vec4u>;
@group(0) @binding(2) var<storage, read_write> sort_sums: array<u32>;

@compute @workgroup_size(SORT_CHUNK)
fn sort_scan_runs(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let item = group_number(group, groups) * SORT_CHUNK + lane;
  if (item >= sort_chunks(frame.groups) * SORT_DIGITS) {
    return;
  }
  var sum = 0u;
  for (var i = item * SORT_CHUNK / 4u; i < (item + 1u) * SORT_CHUNK / 4u; i++) {
    let count = sort_counts[i];
    let before = vec4u(0u, count.x, count.x + count.y, count.x + count.y + count.z) + sum;
    sort_counts[i] = before;
    sum = before.w + count.w;
  }
  sort_sums[item] = sum;
}
