// First pass of the sort, which drops the splats that are not drawn: moves each key and its index to their place
// by the key's lowest digit.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read> keys: array<vec4u>;
@group(0) @binding(2) var<storage, read> sort_counts: array<u32>;
@group(0) @binding(3) var<storage, read> sort_sums: array<u32>;
@group(0) @binding(4) var<storage, read_write> sort_keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> order: array<u32>;

@compute @workgroup_size(SORT_CHUNK)
fn compact_scatter(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
  let chunk = group_number(group, groups);
  let run = chunk * SORT_CHUNK + lane;
  if (run >= frame.groups) {
    return;
  }
  var next: array<u32, SORT_DIGITS>;
  for (var digit = 0u; digit < SORT_DIGITS; digit++) {
    next[digit] = sort_sums[chunk * SORT_DIGITS + digit] + sort_counts[sort_row(chunk, digit) + lane];
  }
  for (var i = run * SORT_RUN; i < (run + 1u) * SORT_RUN; i += 4u) {
    let four = keys[i / 4u];
    for (var j = 0u; j < 4u; j++) {
      if (four[j] != KEY_CULLED) {
        let digit = four[j] % SORT_DIGITS;
        sort_keys[next[digit]] = four[j];
        order[next[digit]] = i + j;
        next[digit]++;
      }
    }
  }
}
