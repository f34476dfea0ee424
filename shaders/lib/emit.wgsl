// Stores what an invocation of project found. Needs the globals `projected` and `keys`.

// live: whether this workgroup has a Draw at all (dispatches are rounded up); group: the Draw's number.
fn emit(live: bool, group: u32, lane: u32, splat: Projected, key: u32) {
  if (live) {
    projected[group * GROUP + lane] = splat;
    keys[group * GROUP + lane] = key;
  }
}
