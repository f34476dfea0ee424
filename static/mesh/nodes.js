// Mesh layers of .lens files: nodes, pages, look (twin: viewer/mesh_lens.py; docs/format-mesh.md).
import { JsonField } from "../fields.js";
import { DAMAGED, FormatError, crc32 } from "../inflate.js";
import { MAX_CHILDREN, MAX_SECTIONS } from "../lens_layout.js";
import { Nodes } from "../lod.js";
import { createPageDecoder } from "./decoder.js";
import { MAX_SIDE, MAX_VERTICES, wordsOf } from "./decode.js";
import { readLook } from "./look.js";

/** @typedef {import("../lens.js").Layer} Layer */
/** @typedef {import("./decode.js").Packed} Packed */
/**
 * nodes: what the cut knows. page, words: of each node, the page that it comes with and what it takes on the GPU. pages: how many; read: the
 * nodes of one, ascending. Page 0 is the root, every other one all children of one node.
 * @typedef {{nodes: Nodes, look: import("./assemble.js").Look, page: Int32Array, words: Float64Array, pages: number,
 *   read: (page: number, signal?: AbortSignal) => Promise<Packed[]>}} MeshFile
 */

/** Most nodes of a layer; u32 of a page, WebGPU's default limit of a storage binding. */
export const MAX_NODES = 2 ** 20, MAX_PAGE_WORDS = 2 ** 25;
/** Columns of the blob `nodes`, in its order: name, bytes of a number, numbers a node. A test compares them with the document. */
export const NODE = /** @type {const} */ ([
  ["child_first", 4, 1], ["error", 4, 1], ["sphere", 4, 4], ["support", 4, 6], ["triangles", 4, 1], ["vertices", 4, 1], ["width", 2, 1], ["height", 2, 1], ["child_count", 1, 1],
]);
export const PAGE = /** @type {const} */ ([["part", 4, 1], ["offset", 4, 1], ["length", 4, 1], ["crc32", 4, 1]]);
const FLOATS = ["error", "sphere", "support"];

/** @param {readonly (readonly [string, number, number])[]} record */
const sizeOf = (record) => record.reduce((sum, [, size, n]) => sum + size * n, 0);

/**
 * Numbers of every field, and where they end.
 * @template {readonly (readonly [string, number, number])[]} R
 * @param {R} record @param {Uint8Array<ArrayBuffer>} data @param {number} at @param {number} count
 * @returns {Record<R[number][0], Float64Array>}
 */
function columns(record, data, at, count) {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  /** @type {Record<string, Float64Array>} */
  const out = {};
  for (const [name, size, n] of record) {
    const column = out[name] = new Float64Array(count * n);
    for (let i = 0; i < column.length; i++, at += size) {
      column[i] = FLOATS.includes(name) ? view.getFloat32(at, true) : size === 4 ? view.getUint32(at, true) : size === 2 ? view.getUint16(at, true) : view.getUint8(at);
    }
  }
  return /** @type {Record<R[number][0], Float64Array>} */ (out);
}

/**
 * Reads what a view of the layer needs before any page. Rejects with FormatError. Its worker ends with `signal`.
 * @param {Layer} layer @param {string} where file and layer, in messages @param {AbortSignal} [signal]
 * @param {{picture?: import("./decode.js").DecodePicture}} [options] picture: where there is no browser to decode them
 * @returns {Promise<MeshFile>}
 */
export async function openMesh(layer, where, signal, { picture } = {}) {
  const own = new JsonField(layer.properties, where, "properties"), field = layer.properties.method === "lightfield";
  const [data, weights, directions] = await Promise.all([layer.blob("nodes", signal), layer.blob("weights", signal), field ? layer.blob("directions", signal) : null]);
  const look = readLook(own, weights, directions);
  const count = own.member("nodes").integer(1, MAX_NODES), pages = own.member("pages").integer(1, MAX_NODES), parts = own.member("parts").integer(1, MAX_SECTIONS);
  const expected = count * sizeOf(NODE) + pages * sizeOf(PAGE);
  if (data.length !== expected) throw new FormatError(`${where}: blob nodes: ${data.length} bytes, expected ${expected}; ${DAMAGED}`);
  const records = columns(NODE, data, 0, count), table = columns(PAGE, data, count * sizeOf(NODE), pages);
  const firsts = checkNodes(records, count, where);
  if (firsts.length !== pages || table.part.some((k) => k >= parts)) throw new FormatError(`${where}: blob nodes: ${firsts.length} pages, the properties say ${pages} in ${parts} parts; ${DAMAGED}`);
  const page = new Int32Array(count), words = new Float64Array(count), total = new Float64Array(pages);
  let leaves = 0;
  for (let i = 0, k = 0; i < count; i++) {
    if (firsts[k + 1] === i) k++;
    page[i] = k;
    total[k] += words[i] = wordsOf(shapeOf(i), look.channels);
    if (!records.child_count[i]) leaves += records.triangles[i];
  }
  const large = total.findIndex((n) => n > MAX_PAGE_WORDS);
  if (large >= 0) throw new FormatError(`${where}: blob nodes: page ${large} takes more than ${MAX_PAGE_WORDS} words; ${DAMAGED}`);
  if (own.member("triangles").integer(0, 2 ** 40) !== leaves) own.member("triangles").fail("the triangles of all leaves");
  const nodes = new Nodes(count), { sphere, error, support } = records;
  nodes.add(0, { sphere, error, support, childFirst: records.child_first, childCount: records.child_count, count: records.triangles });
  const decoder = createPageDecoder({ picture, signal });

  /** @param {number} i */
  function shapeOf(i) {
    return { vertices: records.vertices[i], triangles: records.triangles[i], width: records.width[i], height: records.height[i] };
  }

  return {
    nodes, look, page, words, pages,
    async read(k, aborted) {
      const name = `pages.${table.part[k]}`, place = `${where}: page ${k} at byte ${table.offset[k]} of ${name}`;
      const bytes = await layer.part(name, table.offset[k], table.length[k], aborted);
      if (crc32(bytes) !== table.crc32[k]) throw new FormatError(`${place}: checksum differs, or the file was replaced since it was opened; ${DAMAGED}`);
      const shapes = Array.from({ length: (firsts[k + 1] ?? count) - firsts[k] }, (_, j) => shapeOf(firsts[k] + j));
      return decoder.page({ data: bytes, shapes, channels: look.channels, empty: look.empty, where: place });
    },
  };
}

/** First node of each page. Throws where the nodes are no tree. @param {Record<typeof NODE[number][0], Float64Array>} r @param {number} n @param {string} where */
function checkNodes(r, n, where) {
  const hasParent = new Uint8Array(n), firsts = [0];
  /** @param {unknown} good @param {number} i @param {string} what */
  const check = (good, i, what) => {
    if (!good) throw new FormatError(`${where}: blob nodes, node ${i}: ${what}; ${DAMAGED}`);
  };
  for (let i = 0; i < n; i++) {
    const first = r.child_first[i], children = r.child_count[i];
    check(children <= MAX_CHILDREN && (children ? first > i && first + children <= n : !first), i, "children that are none, or before it");
    const floats = [r.error[i], ...r.sphere.subarray(4 * i, 4 * i + 4), ...r.support.subarray(6 * i, 6 * i + 6)];
    check(floats.every(Number.isFinite), i, "NaN or infinity");
    check(floats[0] >= 0 && floats[4] >= 0, i, "an error or a radius below 0");
    check(floats[5] <= floats[8] && floats[6] <= floats[9] && floats[7] <= floats[10], i, "a least corner above the greatest");
    check(r.width[i] <= MAX_SIDE && r.height[i] <= MAX_SIDE && (r.width[i] > 0) === (r.height[i] > 0), i, "a size of texels that cannot be");
    check(r.vertices[i] <= MAX_VERTICES && r.triangles[i] <= MAX_PAGE_WORDS, i, "more vertices or triangles than can be");
    for (let k = first; k < first + children; k++) {
      check(!hasParent[k], k, "not one parent");
      check(r.error[k] <= r.error[i], k, "a larger error than its parent's");
      hasParent[k] = 1;
    }
    if (children) firsts.push(first);
  }
  for (let i = 1; i < n; i++) check(hasParent[i], i, "not one parent");
  return firsts.sort((a, b) => a - b);
}
