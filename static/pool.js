// Which pages are resident in a layer's fixed pool of GPU slots, and which may leave. Bookkeeping only: no GPU, no fetching.

/**
 * A resident page. slots: first slot of each of its clusters. parent: page of its clusters' parents, -1 for the root page.
 * used: the frame that last drew from it or from something below it.
 * @typedef {{page: number, parent: number, slots: Int32Array, sizes: ArrayLike<number>, children: number, used: number}} Resident
 */

/**
 * Pages enter below a resident parent and leave only when no page below them is resident, so every cluster's ancestors are
 * always there to be drawn instead of it: coarser rather than missing.
 * @param {number} capacity slots
 */
export function createPool(capacity) {
  /** @type {Map<number, Resident>} */
  const pages = new Map();
  /** 1 where a slot is taken. */
  const taken = new Uint8Array(capacity);
  let free = capacity;

  /**
   * Slots for clusters of the given sizes (1, or 2 neighbouring ones); null where they do not fit. Singles fill from the
   * bottom and pairs from the top, which keeps pairs possible.
   * @param {ArrayLike<number>} sizes
   */
  function allocate(sizes) {
    const slots = new Int32Array(sizes.length);
    let low = 0, high = capacity - 2;
    for (let i = 0; i < sizes.length; i++) {
      if (sizes[i] === 1) {
        while (low < capacity && taken[low]) low++;
        slots[i] = low < capacity ? low : -1;
      } else {
        while (high >= 0 && (taken[high] || taken[high + 1])) high--;
        slots[i] = high;
      }
      if (slots[i] < 0) {
        for (let j = 0; j < i; j++) taken.fill(0, slots[j], slots[j] + sizes[j]);
        return null;
      }
      taken.fill(1, slots[i], slots[i] + sizes[i]);
    }
    return slots;
  }

  /** @param {Resident} resident */
  function remove(resident) {
    pages.delete(resident.page);
    for (let i = 0; i < resident.slots.length; i++) {
      taken.fill(0, resident.slots[i], resident.slots[i] + resident.sizes[i]);
      free += resident.sizes[i];
    }
    const parent = pages.get(resident.parent);
    if (parent) parent.children--;
  }

  /**
   * The page to give up first: of those with nothing resident below, the one unused for longest; ties go to the later page,
   * which is finer. Only pages last used before `frame`.
   * @param {number} frame @param {number} spare a page that must stay: the root stays because all others enter below it
   */
  function leaving(frame, spare) {
    /** @type {Resident | null} */
    let best = null;
    for (const r of pages.values()) {
      if (r.children > 0 || r.used >= frame || r.page === spare) continue;
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

    /**
     * Marks a page as used in a frame, and with it all above it.
     * @param {number} page @param {number} frame
     */
    touch(page, frame) {
      for (let r = pages.get(page); r && r.used < frame; r = pages.get(r.parent)) r.used = frame;
    },

    /**
     * Takes a page in, giving up pages not used since `frame` where there is no room. slots is null where it cannot enter
     * (its parent is not resident, or all else is in use); evicted are the pages given up, which happens even then.
     * @param {number} page @param {number} parent -1 for the root page, which stays for good
     * @param {ArrayLike<number>} sizes slots of each cluster, 1 or 2
     * @param {number} frame
     * @returns {{slots: Int32Array | null, evicted: number[]}}
     */
    insert(page, parent, sizes, frame) {
      if (pages.has(page)) throw new Error(`page ${page} is resident already`);
      /** @type {number[]} */
      const evicted = [];
      const above = pages.get(parent);
      let need = 0;
      for (let i = 0; i < sizes.length; i++) need += sizes[i];
      if (need > capacity || (parent >= 0 && !above)) return { slots: null, evicted };
      let slots = free >= need ? allocate(sizes) : null;
      while (!slots) {
        const out = leaving(frame, parent);
        if (!out) return { slots: null, evicted };
        remove(out);
        evicted.push(out.page);
        if (free >= need) slots = allocate(sizes);
      }
      free -= need;
      if (above) above.children++;
      pages.set(page, { page, parent, slots, sizes, children: 0, used: frame });
      return { slots, evicted };
    },

    /** Slots that pages not used in `frame` hold: what an insert could get at most, besides the free ones. @param {number} frame */
    reclaimable(frame) {
      let n = 0;
      for (const r of pages.values()) {
        if (r.parent < 0 || r.used >= frame) continue;
        for (let i = 0; i < r.sizes.length; i++) n += r.sizes[i];
      }
      return n;
    },
  };
}
