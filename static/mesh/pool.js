// Where pages of mesh nodes lie in one buffer of words, and which may leave. Bookkeeping only: no GPU, no fetching.

/**
 * A resident page. at, size: words of the buffer that are its own. parent: the page of the node whose children it holds, -1 for
 * roots. children: resident pages right below it. used: the frame that last drew from it or from something below it.
 * @typedef {{page: number, parent: number, at: number, size: number, children: number, used: number}} Resident
 */

/**
 * Pages of any sizes enter below a resident parent, at the first place that is large enough, and leave only when no page below
 * them is resident: whatever leaves, something coarser is there to be drawn instead of it. Roots stay for good.
 * @param {number} capacity words
 */
export function createMeshPool(capacity) {
  /** @type {Map<number, Resident>} */
  const pages = new Map();
  /** What is free, ascending, no two side by side. @type {{at: number, size: number}[]} */
  let gaps = capacity ? [{ at: 0, size: capacity }] : [];
  let free = capacity;

  /** The first place for so many words, -1 where there is none. @param {number} size */
  function allocate(size) {
    const k = gaps.findIndex((gap) => gap.size >= size);
    if (k < 0) return -1;
    const { at } = gaps[k];
    if (gaps[k].size === size) gaps.splice(k, 1);
    else gaps[k] = { at: at + size, size: gaps[k].size - size };
    free -= size;
    return at;
  }

  /** @param {Resident} resident */
  function remove({ page, parent, at, size }) {
    pages.delete(page);
    free += size;
    /** @type {typeof gaps} */
    const joined = [];
    for (const gap of [...gaps, { at, size }].sort((a, b) => a.at - b.at)) {
      const last = joined.at(-1);
      if (last && last.at + last.size === gap.at) last.size += gap.size;
      else joined.push({ ...gap });
    }
    gaps = joined;
    const above = pages.get(parent);
    if (above) above.children--;
  }

  /** The page to give up first: unused for longest, ties to the later page. Only such as were last used before `frame`. @param {number} frame @param {number} spare a page that must stay */
  function leaving(frame, spare) {
    /** @type {Resident | null} */
    let best = null;
    for (const r of pages.values()) {
      if (r.parent < 0 || r.children > 0 || r.used >= frame || r.page === spare) continue;
      if (!best || r.used < best.used || (r.used === best.used && r.page > best.page)) best = r;
    }
    return best;
  }

  return {
    capacity,
    get free() { return free; },
    get size() { return pages.size; },
    /** @param {number} page */
    has: (page) => pages.has(page),
    /** @param {number} page @returns {Readonly<Resident> | undefined} */
    get: (page) => pages.get(page),
    residents: () => pages.values(),

    /** Marks a page as used in a frame, and with it all above it. @param {number} page @param {number} frame */
    touch(page, frame) {
      for (let r = pages.get(page); r && r.used < frame; r = pages.get(r.parent)) r.used = frame;
    },

    /**
     * Takes a page in, giving up pages not used since `frame` where there is no room. at: its first word, -1 where it cannot enter;
     * evicted: the pages given up, which happens even then.
     * @param {number} page @param {number} parent @param {number} size words @param {number} frame
     */
    insert(page, parent, size, frame) {
      if (pages.has(page)) throw new Error(`page ${page} is resident already`);
      /** @type {number[]} */
      const evicted = [];
      const above = pages.get(parent);
      if (size > capacity || (parent >= 0 && !above)) return { at: -1, evicted };
      let at = allocate(size);
      while (at < 0) {
        const out = leaving(frame, parent);
        if (!out) return { at, evicted };
        remove(out);
        evicted.push(out.page);
        at = allocate(size);
      }
      if (above) above.children++;
      pages.set(page, { page, parent, at, size, children: 0, used: frame });
      return { at, evicted };
    },

    /** Words of pages not used in `frame`: what an insert could get at most, besides the free ones. @param {number} frame */
    reclaimable(frame) {
      let n = 0;
      for (const r of pages.values()) if (r.parent >= 0 && r.used < frame) n += r.size;
      return n;
    },
  };
}
