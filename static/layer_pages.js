// One splats layer as the viewer holds it: what is known of its clusters, which are resident, and what a frame draws of them.
import { Nodes } from "./lod.js";
import { createPool } from "./pool.js";

/** @typedef {import("./lens.js").Layer} Layer */
/** @typedef {import("./lens_pages.js").Page} Page */
/** @typedef {import("./lens_pages.js").Pages} Pages */
/** @typedef {import("./assemble.js").ClusterDraws} ClusterDraws */
/** Queues GPU words of a slot. sh: into the SH buffer. @typedef {(words: Uint32Array<ArrayBuffer>, slot: number, sh: boolean) => void} Write */

/** Node metadata reserved at once; a file may claim any number, so more only comes with the clusters themselves. */
const RESERVED_CLUSTERS = 65536;

/**
 * @param {Layer} layer @param {Pages} pages of it
 * @param {{slots: number, slotWords: number, shSlotWords: number, write: Write}} options shSlotWords: u32 of one slot's SH, 0 for SH 0
 */
export function createLayerPages(layer, pages, { slots, slotWords, shSlotWords, write }) {
  const nodes = new Nodes(Math.min(pages.clusters, RESERVED_CLUSTERS)), pool = createPool(slots);
  /** Resident pages whose SH has not come: needed to decode it. @type {Map<number, Page>} */
  const plain = new Map();
  // By cluster, as long as it is known:
  let resident = new Uint8Array(nodes.capacity), degree = new Uint8Array(nodes.capacity);
  let pageOf = new Int32Array(nodes.capacity), childPage = new Int32Array(nodes.capacity), slotOf = new Int32Array(nodes.capacity);
  let origin = new Float32Array(3 * nodes.capacity), box = new Float32Array(6 * nodes.capacity);
  /** First cluster and count of every resident page. @type {Map<number, [number, number]>} */
  const spans = new Map();
  /** @type {Int32Array} */
  let drawn = new Int32Array(0);

  function grow() {
    /** @template {Uint8Array<ArrayBuffer> | Int32Array<ArrayBuffer> | Float32Array<ArrayBuffer>} A @param {A} old @param {A} larger */
    const copy = (old, larger) => (larger.set(old), larger);
    const n = nodes.capacity;
    resident = copy(resident, new Uint8Array(n));
    degree = copy(degree, new Uint8Array(n));
    pageOf = copy(pageOf, new Int32Array(n));
    childPage = copy(childPage, new Int32Array(n));
    slotOf = copy(slotOf, new Int32Array(n));
    origin = copy(origin, new Float32Array(3 * n));
    box = copy(box, new Float32Array(6 * n));
  }

  /** @param {number} page */
  function forget(page) {
    const [first, n] = /** @type {[number, number]} */ (spans.get(page));
    resident.fill(0, first, first + n);
    degree.fill(0, first, first + n);
    spans.delete(page);
    plain.delete(page);
  }

  /**
   * Writes each cluster's words to its slot, neighbouring slots at once.
   * @param {Uint32Array<ArrayBuffer>} words @param {ArrayLike<number>} from slot of each cluster in words @param {ArrayLike<number>} sizes slots it takes there
   * @param {ArrayLike<number>} to slot of each cluster in the pool @param {number} size words of a slot @param {boolean} sh
   */
  function writeRuns(words, from, sizes, to, size, sh) {
    for (let i = 0; i < to.length;) {
      let end = i + 1;
      while (end < to.length && to[end] - to[i] === from[end] - from[i] && to[end] === to[end - 1] + sizes[end - 1]) end++;
      write(words.subarray(from[i] * size, (from[end - 1] + sizes[end - 1]) * size), to[i], sh);
      i = end;
    }
  }

  return {
    layer, pages, nodes, pool,
    get resident() { return resident; },
    /** The clusters of the last cut. */
    get drawn() { return drawn; },
    get box() { return box; },

    /**
     * Takes a page into the pool. False where there is no place for it now.
     * @param {Page} page @param {number} frame
     */
    add(page, frame) {
      if (pool.has(page.page)) return true;
      const { first, nodes: n } = page, count = n.count.length;
      const placed = pool.insert(page.page, page.parent, n.slots, frame);
      placed.evicted.forEach(forget);
      if (!placed.place) return false;
      nodes.add(first, n);
      if (resident.length < nodes.capacity) grow();
      slotOf.set(placed.place, first);
      childPage.set(n.childPage, first);
      pageOf.fill(page.page, first, first + count);
      resident.fill(1, first, first + count);
      origin.set(page.origins, 3 * first);
      box.set(n.box, 6 * first);
      spans.set(page.page, [first, count]);
      writeRuns(page.words, page.firstSlot, page.slots, placed.place, slotWords, false);
      // The words are on the GPU; what is left is what the SH needs.
      if (shSlotWords) plain.set(page.page, { ...page, words: new Uint32Array(0) });
      return true;
    },

    /** The page that waits for its SH, if it does. @param {number} page */
    waiting: (page) => plain.get(page),

    /** @param {Page} page as `waiting` gave it @param {Uint32Array<ArrayBuffer>} words */
    addSh(page, words) {
      if (plain.get(page.page) !== page) return; // given up meanwhile, or taken in anew
      plain.delete(page.page);
      const count = page.nodes.count.length, one = new Uint8Array(count).fill(1);
      writeRuns(words, Int32Array.from(one.keys()), one, slotOf.subarray(page.first, page.first + count), shSlotWords, true);
      degree.fill(pages.shDegree, page.first, page.first + count);
    },

    /** Page that holds the children of a cluster, or the root for -1. @param {number} cluster */
    pageBelow: (cluster) => cluster < 0 ? 0 : childPage[cluster],

    /** Takes the clusters of a cut, ascending, as what is drawn; marks their pages as used. @param {Int32Array} clusters @param {number} frame */
    use(clusters, frame) {
      drawn = clusters;
      for (let i = 0, last = -1; i < clusters.length; i++) {
        const page = pageOf[clusters[i]];
        if (page !== last) pool.touch(page, frame);
        last = page;
      }
    },

    /** The draw records of the clusters in use. @returns {ClusterDraws} */
    draws() {
      const n = drawn.length;
      const out = {
        transform: layer.transform, length: n, slots: new Int32Array(n), counts: new Int32Array(n), shDegrees: new Uint8Array(n),
        origins: new Float32Array(3 * n), boxes: new Float32Array(6 * n), poolSlots: slots, shSlotWords, kernel: pages.kernel,
      };
      for (let i = 0; i < n; i++) {
        const c = drawn[i];
        out.slots[i] = slotOf[c];
        out.counts[i] = nodes.count[c];
        out.shDegrees[i] = degree[c];
        for (let k = 0; k < 3; k++) out.origins[3 * i + k] = origin[3 * c + k];
        for (let k = 0; k < 6; k++) out.boxes[6 * i + k] = box[6 * c + k];
      }
      return out;
    },

    /** Pages in use that wait for their SH, coarse ones first. */
    bare() {
      if (!plain.size) return [];
      const found = new Set();
      for (const c of drawn) if (plain.has(pageOf[c])) found.add(pageOf[c]);
      return [...found].sort((a, b) => a - b);
    },
  };
}

/** @typedef {ReturnType<typeof createLayerPages>} LayerPages */
