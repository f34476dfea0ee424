// Stores what a workgroup of project found, and how many of its splats are to be drawn.
// Needs the globals `projected`, `keys` and `visible`; call both from uniform control flow.

var<workgroup> visible_count: atomic<u32>;

// wgpu-py leaves workgroup memory dirty: every run starts by clearing the count.
fn emit_begin(lane: u32) {
  if (lane == 0u) {
    atomicStore(&visible_count, 0u);
  }
  workgroupBarrier();
}

// live: whether this workgroup has a Draw at all (dispatches are rounded up); group: the Draw's number.
fn emit(live: bool, group: u32, lane: u32, splat: Projected, key: u32) {
  if (live) {
    projected[group * GROUP + lane] = splat;
    keys[group * GROUP + lane] = key;
    if (key != KEY_CULLED) {
      atomicAdd(&visible_count, 1u);
    }
  }
  workgroupBarrier();
  if (live && lane == 0u) {
    visible[group] = atomicLoad(&visible_count);
  }
}
