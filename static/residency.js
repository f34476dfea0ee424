// Which pages are resident in a room of fixed size, and which may leave. Bookkeeping only: no GPU, no fetching.

/**
 * A resident page. place: where it lies, size: what it asked for, as the room has them; need: units of the room that it takes. parent:
 * the page of what it refines, -1 for roots. children: resident pages right below it. used: the frame that last drew from it or from
 * something below it.
 * @template P, S @typedef {{page: number, parent: number, place: P, size: S, need: number, children: number, used: number}} Resident
 */
/**
 * What pages lie in. capacity: its units. needOf: those that a size takes. allocate: a place, null where there is none now. release:
 * gives one back.
 * @template P, S @typedef {{capacity: number, needOf: (size: S) => number, allocate: (size: S) => P | null, release: (place: P, size: S) => void}} Room
 */

/**
 * Pages enter below a resident parent and leave only when no page below them is resident, so whatever leaves, something coarser is
 * there to be drawn instead of it. Roots stay for good.
 * @template P, S @param {Room<P, S>} room
 */
export function createResidency({ capacity, needOf, allocate, release }) {
  /** @type {Map<number, Resident<P, S>>} */
  const pages = new Map();
  let free = capacity;

  /** @param {Resident<P, S>} resident */
  function remove({ page, parent, place, size, need }) {
    pages.delete(page);
    release(place, size);
    free += need;
    const above = pages.get(parent);
    if (above) above.children--;
  }

  /**
   * The page to give up first: of those with nothing resident below, the one unused for longest; ties go to the later page,
   * which is finer. Only pages last used before `frame`.
   * @param {number} frame @param {number} spare a page that must stay, for another enters below it
   */
  function leaving(frame, spare) {
    /** @type {Resident<P, S> | null} */
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
    /** @param {number} page @returns {Readonly<Resident<P, S>> | undefined} */
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
     * Takes a page in, giving up pages not used since `frame` where there is no room. place is null where it cannot enter
     * (its parent is not resident, or all else is in use); evicted are the pages given up, which happens even then.
     * @param {number} page @param {number} parent -1 for roots @param {S} size @param {number} frame
     * @returns {{place: P | null, evicted: number[]}}
     */
    insert(page, parent, size, frame) {
      if (pages.has(page)) throw new Error(`page ${page} is resident already`);
      /** @type {number[]} */
      const evicted = [];
      const above = pages.get(parent), need = needOf(size);
      if (need > capacity || (parent >= 0 && !above)) return { place: null, evicted };
      let place = free >= need ? allocate(size) : null;
      while (place === null) {
        const out = leaving(frame, parent);
        if (!out) return { place, evicted };
        remove(out);
        evicted.push(out.page);
        if (free >= need) place = allocate(size);
      }
      free -= need;
      if (above) above.children++;
      pages.set(page, { page, parent, place, size, need, children: 0, used: frame });
      return { place, evicted };
    },

    /** Units of pages not used in `frame`: what an insert could get at most, besides the free ones. @param {number} frame */
    reclaimable(frame) {
      let n = 0;
      for (const r of pages.values()) if (r.parent >= 0 && r.used < frame) n += r.need;
      return n;
    },
  };
}
