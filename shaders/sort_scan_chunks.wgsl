// One workgroup: replaces each chunk's sum by the sum of all before it in (digit, chunk) order, which is where its keys go,
// and writes how many keys there are and what `draw` is to draw.

@group(0) @binding(0) var<uniform> frame: Frame;
@group(0) @binding(1) var<storage, read_write> sort_sums: array<u32>;
@group(0) @binding(2) var<storage, read_write> sort_info: SortInfo;
@group(0) @binding(3) var<storage, read_write> draw_args: DrawArgs;

const PARTS: u32 = SORT_CHUNK / SORT_DIGITS;  // invocations that share the chunks of a digit
var<workgroup> parts: array<u32, SORT_CHUNK>;

@compute @workgroup_size(SORT_CHUNK)
fn sort_scan_chunks(@builtin(local_invocation_index) lane: u32) {
  let digit = lane / PARTS;
  let length = (sort_chunks(frame.groups) + PARTS - 1u) / PARTS;
  let first = lane % PARTS * length;
  let end = min(first + length, sort_chunks(frame.groups));
  var sum = 0u;
  for (var chunk = first; chunk < end; chunk++) {
    sum += sort_sums[chunk * SORT_DIGITS + digit];
  }
  parts[lane] = sum;
  workgroupBarrier();
  var before = 0u;
  for (var i = 0u; i < lane; i++) {
    before += parts[i];
  }
  for (var chunk = first; chunk < end; chunk++) {
    let count = sort_sums[chunk * SORT_DIGITS + digit];
    sort_sums[chunk * SORT_DIGITS + digit] = before;
    before += count;
  }
  if (lane == SORT_CHUNK - 1u) {
    sort_info.count = before;
    draw_args = DrawArgs(SPLAT_VERTICES * before, 1u, 0u, 0u);
  }
}
