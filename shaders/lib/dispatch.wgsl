// The running number of a workgroup in a dispatch spread over up to three dimensions (plan.spread), x first.
fn group_number(group: vec3u, groups: vec3u) -> u32 {
  return group.x + groups.x * (group.y + groups.y * group.z);
}
