// Pages of one splats layer of a .lens file: directory entries block by block, nodes and GPU words page by page.
import { ChangedError } from "./bytes.js";
import { maxPayloadLength, readCodec } from "./decode.js";
import { DAMAGED, FormatError, checkLengths, crc32, inflate } from "./inflate.js";
import * as L from "./lens_layout.js";

/**
 * @typedef {import("./lens.js").LensFile} LensFile
 * @typedef {import("./fields.js").JsonField} JsonField
 *
 * Consecutive clusters; sphere has 4, box and support 6 numbers a cluster, the rest one. childFirst is 0 and childPage -1 for leaves.
 * slots: pool slots, 1 or 2.
 * @typedef {{childFirst: Uint32Array, childPage: Int32Array, error: Float32Array, sphere: Float32Array, box: Float32Array,
 *   support: Float32Array, count: Uint16Array, childCount: Uint8Array, slots: Uint8Array}} PageNodes
 *
 * Where a page lies and what it needs. first: number of its first cluster. parent: page of its parents, -1 for page 0.
 * error: world length drawn while the page is missing.
 * @typedef {{page: number, first: number, count: number, slots: number, parent: number, error: number,
 *   geometry: Block, sh: Block | null}} Entry
 * @typedef {{offset: number, length: number, decoded: number}} Block
 *
 * @typedef {{page: number, first: number, parent: number, nodes: PageNodes} & import("./decode.js").Geometry} Page
 *
 * A layer's clusters, numbered 0 (the root) to clusters - 1 in file order, in pages 0 to pages - 1. splats: of the source;
 * stored: rows of all clusters. sh: GPU words of a page's SH, one SH slot a cluster.
 * @typedef {{splats: number, stored: number, clusters: number, pages: number, shDegree: number, codec: import("./decode.js").Codec,
 *   kernel: {dilation: number, antialias: boolean},
 *   entry: (page: number, signal?: AbortSignal) => Promise<Entry>,
 *   page: (page: number, signal?: AbortSignal) => Promise<Page>,
 *   sh: (page: Page, signal?: AbortSignal) => Promise<Uint32Array<ArrayBuffer>>}} Pages
 */

const R = L.RECORDS, HEAD = L.sizeOf(R["Directory block"]), ENTRY = L.sizeOf(R["Page entry"]), NODE = L.sizeOf(R.Node);

/**
 * Checks the layer's properties and directory sections.
 * @param {LensFile} file @param {number} layer @param {JsonField} properties @param {import("./decoder.js").Decoder} decoder
 * @returns {Pages}
 */
export function openPages(file, layer, properties, decoder) {
  const [splats, stored, clusters, pages] = ["splats", "stored", "clusters", "pages"].map((k) => properties.member(k).integer(1, 2 ** 40));
  const shDegree = properties.member("sh_degree").integer(0, 3), kernel = properties.member("kernel");
  const where = `${file.name}: layer ${layer}`;
  const codec = named(() => readCodec(properties.member("codec").object()), where);
  if (codec.sh_degree !== shDegree) throw new FormatError(`${where}: field sh_degree: ${shDegree}, its codec says ${codec.sh_degree}; ${DAMAGED}`);
  const { headOffset, headPages, tailOffset } = spans(file, layer, pages, where);
  if (clusters < pages || clusters > pages * L.PAGE_CLUSTERS || splats > stored) {
    throw new FormatError(`${where}: ${clusters} clusters in ${pages} pages, ${splats} of ${stored} splats cannot be; ${DAMAGED}`);
  }
  /** @type {Map<number, Promise<Entry[]>>} */
  const blocks = new Map();
  /** First child: its parent, of the pages read. @type {Map<number, number>} */
  const parents = new Map();

  /** The entries of a directory block, checked. @param {number} block @param {AbortSignal} [signal] */
  async function readBlock(block, signal) {
    const first = block ? headPages + (block - 1) * L.DIRECTORY_ENTRIES : 0;
    const count = block ? Math.min(L.DIRECTORY_ENTRIES, pages - first) : headPages;
    const offset = block ? tailOffset + (block - 1) * (HEAD + L.DIRECTORY_ENTRIES * ENTRY) : headOffset;
    const bytes = await file.read(offset, HEAD + count * ENTRY, `layer ${layer}: directory`, signal);
    const view = new DataView(bytes.buffer, bytes.byteOffset), place = `${where}: directory at byte ${offset}`;
    checkId(bytes, place);
    const head = L.readRecord(R["Directory block"], view, 0);
    if (crc32(bytes.subarray(HEAD), crc32(bytes.subarray(0, HEAD - 4))) !== head.crc32) throw new FormatError(`${place}: checksum differs; ${DAMAGED}`);
    if (head.layer !== layer || head.first_page !== first || head.page_count !== count) throw new FormatError(`${place}: is of other pages than its place says; ${DAMAGED}`);
    const entries = Array.from({ length: count }, (_, i) => toEntry(L.readRecord(R["Page entry"], view, HEAD + i * ENTRY), first + i));
    let next = block ? entries[0].first : 0;
    for (const e of entries) {
      if (e.first !== next) throw new FormatError(`${where}, page ${e.page}, field first_cluster: ${e.first}, expected ${next}; ${DAMAGED}`);
      next += e.count;
    }
    if (first + count === pages && next !== clusters) throw new FormatError(`${where}: its pages hold ${next} clusters, expected ${clusters}; ${DAMAGED}`);
    for (const e of entries) {
      for (const [part, b] of /** @type {const} */ ([["geometry", e.geometry], ["SH", e.sh]])) {
        if (b) file.take(b.offset - L.CONTENT_ID_BYTES, b.length + L.CONTENT_ID_BYTES, `layer ${layer}, page ${e.page}, ${part}`);
      }
    }
    return entries;
  }

  /** @param {Record<string, number>} r @param {number} page @returns {Entry} */
  function toEntry(r, page) {
    const n = r.cluster_count, place = `${where}, page ${page}`;
    /** @param {boolean} good @param {string} field @param {string} expected */
    const check = (good, field, expected) => {
      if (!good) throw new FormatError(`${place}, field ${field}: expected ${expected}, got ${r[field]}; ${DAMAGED}`);
    };
    check(n >= 1 && n <= L.PAGE_CLUSTERS, "cluster_count", `1 to ${L.PAGE_CLUSTERS}`);
    check(r.slot_count >= n && r.slot_count <= 2 * n, "slot_count", `${n} to ${2 * n}`);
    check(r.first_cluster + n <= clusters, "first_cluster", `clusters below ${clusters}`);
    check(page ? r.parent_page < page : r.parent_page === L.NONE, "parent_page", "an earlier page");
    check(Number.isFinite(r.error) && r.error >= 0, "error", "a finite length");
    const [geometryLimit, shLimit] = maxPayloadLength(new Uint16Array(n).fill(L.CLUSTER_SPLATS), shDegree);
    /** @param {"geometry" | "sh"} part @param {number} limit @returns {Block} */
    const block = (part, limit) => {
      const b = { offset: r[`${part}_offset`], length: r[`${part}_length`], decoded: r[`${part}_decoded`] };
      checkLengths(b.length, b.decoded, limit, L.MAX_DEFLATE_RATIO, `${place}: ${part} at byte ${b.offset}`);
      return b;
    };
    const geometry = block("geometry", geometryLimit + n * NODE);
    if (!shDegree) check(!r.sh_offset && !r.sh_length && !r.sh_decoded, "sh_length", "0: the layer has no SH");
    const parent = r.parent_page === L.NONE ? -1 : r.parent_page;
    return { page, first: r.first_cluster, count: n, slots: r.slot_count, parent, error: r.error, geometry, sh: shDegree ? block("sh", shLimit) : null };
  }

  /** @param {Uint8Array} bytes @param {string} place */
  function checkId(bytes, place) {
    if (!file.contentId.every((b, i) => bytes[i] === b)) throw new ChangedError(`${place}: another content id`);
  }

  /** @type {Pages["entry"]} */
  async function entry(page, signal) {
    if (!(page >= 0 && page < pages)) throw new RangeError(`${where}: no page ${page}`);
    const block = page < headPages ? 0 : 1 + Math.floor((page - headPages) / L.DIRECTORY_ENTRIES);
    let entries = blocks.get(block);
    if (!entries) {
      entries = readBlock(block, signal);
      blocks.set(block, entries);
      entries.catch(() => blocks.delete(block));
    }
    return (await entries)[page - (block ? headPages + (block - 1) * L.DIRECTORY_ENTRIES : 0)];
  }

  /** A block, inflated. @param {Block} b @param {number} page @param {string} part @param {AbortSignal} [signal] */
  async function read(b, page, part, signal) {
    const what = `layer ${layer}, page ${page}: ${part}`, place = `${file.name}: ${what} at byte ${b.offset}`;
    const bytes = await file.read(b.offset - L.CONTENT_ID_BYTES, b.length + L.CONTENT_ID_BYTES, what, signal);
    checkId(bytes, place);
    return inflate(bytes.subarray(L.CONTENT_ID_BYTES), b.decoded, place);
  }

  return {
    splats, stored, clusters, pages, shDegree, codec, entry,
    kernel: { dilation: kernel.member("dilation").number(0, 100), antialias: kernel.member("antialias").boolean() },
    async page(page, signal) {
      const e = await entry(page, signal);
      const bytes = await read(e.geometry, page, "geometry", signal);
      const nodes = toNodes(bytes, e, { clusters, pages }, where);
      claim(nodes, e.first, parents, where);
      const geometry = await placed(decoder.geometry(bytes.subarray(e.count * NODE), nodes.count, codec), `${where}, page ${page}: geometry at byte ${e.geometry.offset}`);
      if (nodes.slots.some((n, i) => n !== geometry.slots[i])) throw new FormatError(`${where}, page ${page}: its clusters take other slots than their nodes say; ${DAMAGED}`);
      return { page, first: e.first, parent: e.parent, nodes, ...geometry };
    },
    async sh(page, signal) {
      const e = await entry(page.page, signal);
      if (!e.sh) return new Uint32Array(0);
      const bytes = await read(e.sh, page.page, "SH", signal);
      return placed(decoder.sh(bytes, page.nodes.count, page.classes, codec), `${where}, page ${page.page}: SH at byte ${/** @type {Block} */ (e.sh).offset}`);
    },
  };
}

/** Runs a reader of JSON; its errors get the place in front. @template T @param {() => T} read @param {string} place @returns {T} */
function named(read, place) {
  try {
    return read();
  } catch (error) {
    throw new FormatError(`${place}: ${error instanceof Error ? error.message : error}`);
  }
}

/** What a decoder gives; what is wrong with the data gets the place in front. @template T @param {Promise<T>} decoded @param {string} place @returns {Promise<T>} */
async function placed(decoded, place) {
  try {
    return await decoded;
  } catch (error) {
    throw error instanceof FormatError ? new FormatError(`${place}: ${error.message}`) : error;
  }
}

/** Where a layer's directory lies. @param {LensFile} file @param {number} layer @param {number} pages @param {string} where */
function spans(file, layer, pages, where) {
  /** @param {number} kind */
  const sections = (kind) => file.sections.filter((s) => s.kind === kind && s.layer === layer);
  const heads = sections(L.SECTION.DIRECTORY), tails = sections(L.SECTION.DIRECTORY_TAIL);
  if (heads.length !== 1 || tails.length > 1) throw new FormatError(`${where}: ${heads.length} directories and ${tails.length} tails, expected one and at most one; ${DAMAGED}`);
  const headPages = (heads[0].length - HEAD) / ENTRY, left = pages - headPages;
  if (!Number.isInteger(headPages) || headPages < 1 || headPages > L.DIRECTORY_ENTRIES || left < 0) throw new FormatError(`${where}: a directory of ${heads[0].length} bytes for ${pages} pages; ${DAMAGED}`);
  const want = left * ENTRY + Math.ceil(left / L.DIRECTORY_ENTRIES) * HEAD, got = tails[0]?.length ?? 0;
  if (got !== want) throw new FormatError(`${where}: the rest of its directory has ${got} bytes, expected ${want} for ${pages} pages; ${DAMAGED}`);
  return { headOffset: heads[0].offset, headPages, tailOffset: tails[0]?.offset ?? 0 };
}

/**
 * The nodes at the start of a page, checked: ranges, finite bounds, and children that come later than their parent, so that
 * following children ends whatever the file holds.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {Entry} e @param {{clusters: number, pages: number}} layer @param {string} where
 * @returns {PageNodes}
 */
function toNodes(bytes, e, { clusters, pages }, where) {
  const n = e.count, place = `${where}, page ${e.page}`;
  if (bytes.length < n * NODE) throw new FormatError(`${place}: ${bytes.length} bytes are too few for the nodes of ${n} clusters; ${DAMAGED}`);
  /** @type {Record<string, number>} */
  const at = {};
  let offset = bytes.byteOffset;
  for (const field of R.Node) {
    at[field[0]] = offset;
    offset += n * L.sizeOf([field]);
  }
  const buffer = bytes.buffer;
  const childFirst = new Uint32Array(buffer, at.child_first, n).slice(), childPage = Int32Array.from(new Uint32Array(buffer, at.child_page, n));
  const error = new Float32Array(buffer, at.error, n).slice(), sphere = new Float32Array(buffer, at.sphere, 4 * n).slice();
  const box = new Float32Array(buffer, at.box, 6 * n).slice(), support = new Float32Array(buffer, at.support, 6 * n).slice();
  const count = new Uint16Array(buffer, at.count, n).slice(), childCount = new Uint8Array(buffer, at.child_count, n).slice();
  const slots = new Uint8Array(buffer, at.flags, n).slice();
  let total = 0;
  for (let i = 0; i < n; i++) {
    /** @param {boolean} good @param {string} field @param {string} expected */
    const check = (good, field, expected) => {
      if (!good) throw new FormatError(`${place}: cluster ${e.first + i}, field ${field}: expected ${expected}; ${DAMAGED}`);
    };
    const first = childFirst[i], end = first + childCount[i], page = childPage[i] >>> 0;
    check(count[i] >= 1 && count[i] <= L.CLUSTER_SPLATS, "count", `1 to ${L.CLUSTER_SPLATS} splats`);
    check(childCount[i] <= L.MAX_CHILDREN, "child_count", `at most ${L.MAX_CHILDREN}`);
    check((slots[i] & ~L.FLOAT32_CENTRES) === 0, "flags", `bits of ${L.FLOAT32_CENTRES} only`);
    if (childCount[i]) {
      check(first > e.first + i && end <= clusters, "child_first", `later clusters below ${clusters}`);
      check(page >= e.page && page < pages, "child_page", "this or a later page");
      check(page === e.page ? end <= e.first + n : first >= e.first + n, "child_first", "children in the page of child_page");
    } else {
      check(first === L.NONE && page === L.NONE, "child_first", "none for a leaf");
      check(error[i] === 0, "error", "0 for a leaf");
      childFirst[i] = 0;
    }
    check(Number.isFinite(error[i]) && error[i] >= 0, "error", "a finite length");
    check(sphere.subarray(4 * i, 4 * i + 4).every(Number.isFinite) && sphere[4 * i + 3] >= 0, "sphere", "finite numbers, a radius of at least 0");
    for (let k = 6 * i; k < 6 * i + 3; k++) {
      check(box[k] <= box[k + 3] && Number.isFinite(box[k]) && Number.isFinite(box[k + 3]), "box", "finite minimum and maximum");
      check(support[k] <= support[k + 3] && Number.isFinite(support[k]) && Number.isFinite(support[k + 3]), "support", "finite minimum and maximum");
    }
    slots[i] = 1 + (slots[i] & L.FLOAT32_CENTRES);
    total += slots[i];
  }
  if (total !== e.slots) throw new FormatError(`${place}, field slot_count: ${e.slots}, its nodes take ${total}; ${DAMAGED}`);
  return { childFirst, childPage, error, sphere, box, support, count, childCount, slots };
}

/** Notes whose children are whose, and that no two clusters share any. @param {PageNodes} nodes @param {number} first @param {Map<number, number>} parents @param {string} where */
function claim(nodes, first, parents, where) {
  for (let i = 0; i < nodes.count.length; i++) {
    for (let c = nodes.childFirst[i], end = c + nodes.childCount[i]; c < end; c++) {
      const other = parents.get(c) ?? first + i;
      if (other !== first + i) throw new FormatError(`${where}: cluster ${c}: child of clusters ${other} and ${first + i}; ${DAMAGED}`);
      parents.set(c, first + i);
    }
  }
}
