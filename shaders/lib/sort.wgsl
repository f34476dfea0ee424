// How the sort divides its work: runs of SORT_RUN keys, one a group of the frame, and chunks of SORT_CHUNK runs.

const_assert SORT_RUN == GROUP;
const_assert SORT_DIGITS == 1u << SORT_BITS;
const_assert SORT_CHUNK_COUNTS == SORT_CHUNK * SORT_DIGITS;
const_assert SORT_SCAN_RUNS * SORT_DIGITS == SORT_CHUNK * SORT_CHUNK;

fn sort_chunks(groups: u32) -> u32 {
  return (groups + SORT_CHUNK - 1u) / SORT_CHUNK;
}

// Where the counts of a chunk's runs lie for one digit: neighbouring invocations write neighbouring words, and one scans them in order.
fn sort_row(chunk: u32, digit: u32) -> u32 {
  return (chunk * SORT_DIGITS + digit) * SORT_CHUNK;
}
