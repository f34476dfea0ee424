// Reads .lens files through nothing but getBytes(offset, length): header, scene description, attachments (pages: lens_pages.js).
import { JsonField } from "./fields.js";
import { DAMAGED, FormatError, UnsupportedError, checkLengths, crc32, inflate } from "./inflate.js";
import * as L from "./lens_layout.js";
import { here } from "./decoder.js";
import { openPages } from "./lens_pages.js";

/**
 * @typedef {import("./bytes.js").GetBytes} GetBytes
 * @typedef {import("./lens_pages.js").Pages} Pages
 * @typedef {import("./decoder.js").Decoder} Decoder
 * @typedef {import("./camera.js").Camera} Camera
 * @typedef {import("./camera.js").Vec3} Vec3
 *
 * Facts about the scene, in world coordinates. bounds: least and greatest centre, null where unknown. camera: where to start.
 * @typedef {{title: string, attribution: string, licence: string, source: string, converter: string, bounds: [Vec3, Vec3] | null,
 *   up: Vec3, background: Vec3, camera: Camera | null}} SceneInfo
 *
 * kind: splats, mesh, generator, ...; splats: set where the kind is `splats`; transform: 16 numbers, row-major, world from layer;
 * properties: the kind's own object. blob: the bytes of one of the layer's blobs; part: some of one that is stored raw, not checked.
 * @typedef {{index: number, kind: string, name: string, transform: Float64Array, splats: Pages | null, properties: Record<string, any>,
 *   blobs: string[], blob: (name: string, signal?: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>,
 *   part: (name: string, offset: number, length: number, signal?: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>}} Layer
 *
 * notices: what was skipped, one sentence each. cameras: the training views. attachment: null where the file has none of that name.
 * @typedef {{name: string, contentId: string, fileLength: number, scene: SceneInfo, layers: Layer[], notices: string[],
 *   cameras: (signal?: AbortSignal) => Promise<Camera[]>,
 *   attachment: (name: string, signal?: AbortSignal) => Promise<Uint8Array<ArrayBuffer> | null>}} Lens
 *
 * The file under the readers: bytes, the section table, and the byte ranges that are taken.
 * @typedef {{name: string, contentId: Uint8Array, sections: Record<string, number>[], fileLength: number,
 *   read: (offset: number, length: number, what: string, signal?: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>,
 *   take: (offset: number, length: number, what: string) => void}} LensFile
 */

/** Kinds of layers that have a meaning; what a viewer cannot draw it skips with a notice. */
export const LAYER_KINDS = ["splats", "mesh", "generator", "sequence", "postprocess", "volume"];
const OTHER_FILES = /** @type {const} */ ([
  ["ply", "a PLY file: convert it with `splatlens convert`"],
  ["PK\x03\x04", "a ZIP archive, perhaps a .sog: convert it with `splatlens convert`"],
  ["\x1f\x8b", "gzip data, perhaps a .spz, or a .lens that was compressed on the way"],
  ["<", "a web page: the server answered with HTML; check the address"],
  ["{", "JSON text; check the address"],
  ["version https://git-lfs", "a Git LFS pointer; upload the real file"],
]);
const KNOWN_SECTIONS = new Set(Object.values(L.SECTION));

/**
 * Opens a file: one request of 16 KiB. Rejects with FormatError, UnsupportedError, or what getBytes rejects with.
 * @param {GetBytes} getBytes
 * @param {{name?: string, size?: () => number | null, decoder?: Decoder, signal?: AbortSignal}} [options] size: of the whole file, where
 *   known by then; decoder: of pages, in this thread where not given
 * @returns {Promise<Lens>}
 */
export async function openLens(getBytes, { name = "scene.lens", size = () => null, decoder = here, signal } = {}) {
  const first = await getBytes(0, L.HEAD_BYTES, signal);
  const header = readHeader(first, name);
  const fileLength = header.file_length, actual = size();
  if (actual !== null && actual < fileLength) throw new FormatError(`${name}: ${actual} of ${fileLength} bytes: the file was cut; upload it again`);
  /** @type {string[]} */
  const notices = [];
  if (actual !== null && actual > fileLength) notices.push(`${actual - fileLength} bytes after the end of the scene are ignored`);
  /** @type {LensFile} */
  const file = {
    name, fileLength, contentId: first.slice(16, 16 + L.CONTENT_ID_BYTES), sections: [],
    async read(offset, length, what, signal) {
      const bytes = offset + length <= first.length ? first.slice(offset, offset + length) : await getBytes(offset, length, signal);
      if (bytes.length !== length) throw new FormatError(`${name}: ${what} at bytes ${offset}..${offset + length}: the file ends at byte ${offset + bytes.length}: it was cut; upload it again`);
      return bytes;
    },
    take: createExtents(name, fileLength),
  };
  file.take(0, header.head_length, "the header");
  file.sections = await readSections(file, header, notices, signal);
  const infos = find(file, L.SECTION.INFO, L.NONE);
  if (infos.length !== 1) throw new FormatError(`${name}: ${infos.length} scene descriptions, expected one; ${DAMAGED}`);
  const info = JsonField.parse(await readSection(file, infos[0], L.MAX_INFO_BYTES, signal), name, "info");
  const layers = readLayers(file, info, header.layer_count, notices, decoder);
  const attachments = info.member("attachments");
  attachments.object();
  /** @type {Lens["attachment"]} */
  const attachment = async (key, signal) => (attachments.has(key) ? readData(file, attachments.member(key), L.NONE, signal) : null);
  return {
    name, fileLength, contentId: [...file.contentId].map((b) => b.toString(16).padStart(2, "0")).join(""), notices, layers,
    scene: readScene(info), attachment,
    async cameras(signal) {
      const data = await attachment("cameras", signal);
      return data ? JsonField.parse(data, name, "cameras").items(0, 100_000).map(readCamera) : [];
    },
  };
}

/** The header, as far as it can be judged alone. @param {Uint8Array} first @param {string} name */
function readHeader(first, name) {
  if (!first.length) throw new FormatError(`${name}: the file is empty; upload it again`);
  if (L.MAGIC.some((b, i) => i < first.length && first[i] !== b)) {
    const text = String.fromCharCode(...first.subarray(0, 32));
    const other = OTHER_FILES.find(([start]) => text.startsWith(start));
    throw new FormatError(`${name}: byte 0: not a .lens file, but ${other ? other[1] : `something that starts with ${JSON.stringify(text.slice(0, 8))}; check that it is the right file`}`);
  }
  const size = L.sizeOf(L.RECORDS.Header);
  if (first.length < size) throw new FormatError(`${name}: the file ends at byte ${first.length}, inside its header; upload it again`);
  const h = L.readRecord(L.RECORDS.Header, new DataView(first.buffer, first.byteOffset), 0);
  if (h.version > L.VERSION) throw new UnsupportedError(`${name}: .lens version ${h.version}; this viewer reads version ${L.VERSION}: update it, or convert the scene again`);
  const head = size + h.section_count * L.sizeOf(L.RECORDS.Section);
  if (h.version < 1 || h.section_count < 1 || h.section_count > L.MAX_SECTIONS || h.head_length !== head || h.layer_count < 1 || h.layer_count > L.MAX_LAYERS || h.file_length < head) {
    throw new FormatError(`${name}: bytes 8..48: version ${h.version}, ${h.section_count} sections, ${h.layer_count} layers, ${h.head_length} of ${h.file_length} bytes cannot be; ${DAMAGED}`);
  }
  return h;
}

/** The section table, its checksum and ranges checked. @param {LensFile} file @param {Record<string, number>} header @param {string[]} notices @param {AbortSignal} [signal] */
async function readSections(file, header, notices, signal) {
  const bytes = await file.read(0, header.head_length, "header and section table", signal);
  const start = L.sizeOf(L.RECORDS.Header), step = L.sizeOf(L.RECORDS.Section), { name } = file;
  if (crc32(bytes.subarray(start), crc32(bytes.subarray(0, start - 4))) !== header.crc32) {
    throw new FormatError(`${name}: bytes 0..${bytes.length}: checksum of the header differs; ${DAMAGED}`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return Array.from({ length: header.section_count }, (_, i) => {
    const s = L.readRecord(L.RECORDS.Section, view, start + i * step);
    if (!KNOWN_SECTIONS.has(s.kind)) notices.push(`section ${i}: kind ${s.kind} is not known to this version and is skipped`);
    else if (s.encoding > L.ENCODING.ZLIB) throw new FormatError(`${name}: section ${i}, field encoding: expected 0 or 1, got ${s.encoding}; ${DAMAGED}`);
    else if (s.layer !== L.NONE && s.layer >= header.layer_count) throw new FormatError(`${name}: section ${i}, field layer: no layer ${s.layer}; ${DAMAGED}`);
    else if (s.encoding === L.ENCODING.RAW && s.length !== s.decoded_length) throw new FormatError(`${name}: section ${i}: stored raw, yet its lengths differ; ${DAMAGED}`);
    file.take(s.offset, s.length, `section ${i}`);
    return s;
  });
}

/** Indices of the sections of a kind and layer. @param {LensFile} file @param {number} kind @param {number} layer */
export function find(file, kind, layer) {
  return file.sections.flatMap((s, i) => (s.kind === kind && s.layer === layer ? [i] : []));
}

/** What a section holds, at most `limit` bytes. @param {LensFile} file @param {number} index @param {number} limit @param {AbortSignal} [signal] */
async function readSection(file, index, limit, signal) {
  const s = file.sections[index], where = `${file.name}: section ${index} at byte ${s.offset}`;
  if (s.decoded_length > limit || s.length > limit + limit / 1000 + 64) throw new FormatError(`${where}: ${s.decoded_length} bytes, at most ${limit} allowed; ${DAMAGED}`);
  const bytes = await file.read(s.offset, s.length, `section ${index}`, signal);
  if (crc32(bytes) !== s.crc32) throw new FormatError(`${where}: checksum differs: damaged, or replaced since it was opened; fetch it again`);
  if (s.encoding === L.ENCODING.RAW) return bytes;
  checkLengths(s.length, s.decoded_length, limit, L.MAX_DEFLATE_RATIO, where);
  return inflate(bytes, s.decoded_length, where);
}

/** The data section that a field names, or a part of it. @param {LensFile} file @param {JsonField} field @param {number} layer @param {AbortSignal} [signal] @param {[number, number]} [part] offset, length */
async function readData(file, field, layer, signal, part) {
  const index = field.integer(0, file.sections.length - 1), s = file.sections[index];
  if (s.kind !== L.SECTION.DATA || s.layer !== layer || (part && (s.encoding || part[0] + part[1] > s.length))) field.fail("the index of a data section of its own");
  if (part) return file.read(s.offset + part[0], part[1], `section ${index}`, signal);
  return readSection(file, index, L.MAX_DATA_BYTES, signal);
}

/** @param {LensFile} file @param {JsonField} info @param {number} count @param {string[]} notices @param {Decoder} decoder @returns {Layer[]} */
function readLayers(file, info, count, notices, decoder) {
  const fields = info.member("layers").items(count, count);
  return fields.map((field, index) => {
    const kind = field.member("kind").text(), name = field.member("name").text();
    const rows = field.member("transform"), transform = new Float64Array(rows.rows(4, 4).flat()), [a, b, c, , d, e, f, , g, h, i, , ...last] = transform;
    const determinant = Math.abs(a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g));
    if (last.some((v, k) => v !== (k < 3 ? 0 : 1)) || !(determinant > 1e-30 && determinant < 1e30)) rows.fail("an affine matrix that can be inverted");
    if (!LAYER_KINDS.includes(kind)) notices.push(`layer ${index} (${JSON.stringify(name)}): kind ${JSON.stringify(kind)} is not known to this version and is skipped`);
    const properties = field.member("properties"), blobs = field.member("blobs");
    return {
      index, kind, name, transform, properties: properties.object(), blobs: Object.keys(blobs.object()),
      splats: kind === "splats" ? openPages(file, index, properties, decoder) : null,
      blob: (key, signal) => readData(file, blobs.member(key), index, signal),
      part: (key, offset, length, signal) => readData(file, blobs.member(key), index, signal, [offset, length]),
    };
  });
}

/** @param {JsonField} info @returns {SceneInfo} */
function readScene(info) {
  /** @param {string} key */
  const text = (key) => (info.has(key) ? info.member(key).text() : "");
  /** @param {JsonField} field @returns {Vec3} */
  const vector = (field) => /** @type {Vec3} */ (field.numbers(3));
  const [low, high] = info.has("bounds") ? info.member("bounds").items(2, 2).map(vector) : [];
  if (low && high && low.some((v, i) => v > high[i])) info.member("bounds").fail("a minimum and a maximum");
  const up = vector(info.member("up"));
  if (!up.some((v) => v !== 0)) info.member("up").fail("a direction");
  return {
    title: text("title"), attribution: text("attribution"), licence: text("licence"), source: text("source"), converter: text("converter"),
    bounds: low && high ? [low, high] : null, up, background: vector(info.member("background")),
    camera: info.has("camera") ? readCamera(info.member("camera")) : null,
  };
}

/** @param {JsonField} field @returns {Camera} */
function readCamera(field) {
  const [width, height] = ["width", "height"].map((k) => field.member(k).number(1, 65536));
  const [fx, fy] = ["fx", "fy"].map((k) => field.member(k).number(1e-6, 1e9)), [cx, cy] = ["cx", "cy"].map((k) => field.member(k).number());
  const matrix = field.member("world_to_camera"), m = matrix.rows(4, 4);
  // R R^T is the identity up to 1e-3, and R does not mirror.
  let rigid = m[3].every((v, k) => v === (k < 3 ? 0 : 1));
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
    const product = m[i][0] * m[j][0] + m[i][1] * m[j][1] + m[i][2] * m[j][2];
    rigid &&= Math.abs(product - (i === j ? 1 : 0)) <= 1e-3;
  }
  const [[a, b, c], [d, e, f], [g, h, i]] = m;
  if (!rigid || a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) < 0) matrix.fail("a rotation and a translation");
  return { width, height, fx, fy, cx, cy, worldToCamera: m.flat() };
}

/** Byte ranges of a file; no two may overlap. @param {string} name @param {number} end @returns {LensFile["take"]} */
function createExtents(name, end) {
  /** Ascending by start. @type {{start: number, stop: number, what: string}[]} */
  const taken = [];
  return (offset, length, what) => {
    const stop = offset + length, place = `${name}: ${what}: bytes ${offset}..${stop}`;
    if (!(offset >= 0 && offset <= stop && stop <= end)) throw new FormatError(`${place} are outside of the file's ${end}; ${DAMAGED}`);
    let low = 0, high = taken.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (taken[middle].start <= offset) low = middle + 1;
      else high = middle;
    }
    for (const other of taken.slice(Math.max(0, low - 1), low + 1)) {
      if (offset < other.stop && other.start < stop) throw new FormatError(`${place} overlap ${other.what} at ${other.start}..${other.stop}; ${DAMAGED}`);
    }
    taken.splice(low, 0, { start: offset, stop, what });
  };
}
