// Pages of a mesh layer to the words that the GPU reads (viewer/mesh_codec.py, pack_surface in viewer/mesh.py; docs/format-mesh.md).
import { DAMAGED, FormatError, adler32, checkLengths, inflate } from "../inflate.js";
import { MAX_DEFLATE_RATIO } from "../lens_layout.js";
import { decodePicture, pictureSize } from "./picture.js";

/**
 * A node. words: vertices, corners, texels, as pack_surface has them. width, height: of its texels, 0 where the vertices carry bytes.
 * @typedef {{vertices: number, triangles: number, width: number, height: number}} Shape
 * @typedef {Shape & {words: Uint32Array<ArrayBuffer>}} Packed
 * A file to pixels, four bytes each; swapped where red and blue are. Tried in turn until the checksum fits.
 * @typedef {(file: Uint8Array<ArrayBuffer>, width: number, height: number, attempt: number) => Promise<Pixels | null>} DecodePicture
 * @typedef {{data: Uint8Array | Uint8ClampedArray, swapped: boolean}} Pixels
 * where: stands in messages.
 * @typedef {{data: Uint8Array<ArrayBuffer>, shapes: Shape[], channels: number, empty: number | null, where: string}} PageTask
 * @typedef {{channels: number, where: string, modes: Uint8Array, fresh: number[], rows: Uint16Array[], xyz: Float32Array[], uv: Float32Array[],
 *   values: Uint8Array, steps: Uint16Array}} Geometry
 */

/** Corners are u16. Longest side of a picture. Modes of floats and corners: see viewer/mesh_codec.py. */
export const MAX_VERTICES = 65536, MAX_SIDE = 16383;
const COLUMNS = 5, BITS = 255, MAX_DECIMALS = 9, FRESH = 0, STEPS = 1;
const SIGN = 0x80000000 | 0;

/** @param {Shape} shape @param {number} channels */
export function wordsOf({ vertices, triangles, width, height }, channels) {
  const carried = Math.ceil(channels / 4);
  return vertices * (3 + (width ? 2 : carried)) + Math.ceil((3 * triangles) / 2) + width * height * carried;
}

/**
 * The nodes of a page. Rejects with FormatError.
 * @param {PageTask} task @param {DecodePicture} [picture]
 * @returns {Promise<Packed[]>}
 */
export async function decodePage({ data, shapes, channels, empty, where }, picture = decodePicture) {
  const head = 8 + 8 * shapes.length;
  if (data.length < head + 8) throw new FormatError(`${where}: ${data.length} bytes, too few for a page of ${shapes.length} nodes; ${DAMAGED}`);
  const view = new DataView(data.buffer, data.byteOffset), table = Array.from({ length: head / 4 }, (_, k) => view.getUint32(4 * k, true));
  const [stored, decoded, ...pictures] = table, whole = head + stored + shapes.reduce((sum, _, i) => sum + pictures[2 * i], 0);
  if (whole !== data.length) throw new FormatError(`${where}: its parts have ${whole} bytes, the page ${data.length}; ${DAMAGED}`);
  const place = `${where}: geometry`, most = shapes.reduce((sum, s) => sum + s.vertices * (26 + (s.width ? 16 : channels)) + 6 * s.triangles, COLUMNS + 1);
  checkLengths(stored, decoded, most, MAX_DEFLATE_RATIO, place);
  const packed = packNodes(readColumns(await inflate(data.subarray(head, head + stored), decoded, place), shapes, channels, place), shapes);
  let at = head + stored;
  await Promise.all(packed.map(async (node, i) => {
    const length = pictures[2 * i], check = pictures[2 * i + 1], file = data.subarray(at, at += length), own = `${where}: texels of node ${i} of it`;
    if (!node.width) {
      if (length || check) throw new FormatError(`${own}: ${length} bytes, yet it has no texels; ${DAMAGED}`);
      return;
    }
    const texels = await readTexels(file, node, channels, empty, check, own, picture), start = node.words.length - node.width * node.height * Math.ceil(channels / 4);
    spread(texels, channels, new Uint8Array(node.words.buffer, 4 * start));
  }));
  return packed;
}

/** The columns of the geometry of a page, decoded. @param {Uint8Array} data @param {Shape[]} shapes @param {number} channels @param {string} where @returns {Geometry} */
function readColumns(data, shapes, channels, where) {
  let at = 0;
  /** @param {number} n */
  const take = (n) => {
    if (at + n > data.length) throw new FormatError(`${where}: ends after ${data.length} bytes, inside of a column; ${DAMAGED}`);
    return data.subarray(at, at += n);
  };
  /** @param {(s: Shape) => number} f */
  const sum = (f) => shapes.reduce((n, s) => n + f(s), 0);
  const modes = take(COLUMNS + 1), repeats = pairs(take(2 * sum((s) => s.vertices)));
  let row = 0;
  const rows = shapes.map((s) => repeats.subarray(row, row += s.vertices)), fresh = rows.map((one) => one.reduce((n, back) => n + (back ? 0 : 1), 0));
  const positions = fresh.reduce((n, k) => n + k, 0), textured = sum((s) => (s.width ? s.vertices : 0)), plain = sum((s) => (s.width ? 0 : s.vertices));
  const floats = [..."xyzuv"].map((name, k) => {
    const mode = modes[k], place = `${where}: ${name}`;
    if (mode > MAX_DECIMALS && mode !== BITS) throw new FormatError(`${place}: mode: expected 0 to ${MAX_DECIMALS} or ${BITS}, got ${mode}; ${DAMAGED}`);
    return readFloats(take((mode === BITS ? 4 : 8) * (k < 3 ? positions : textured)), mode, place);
  });
  const values = take(channels * plain).slice();
  for (let c = 0; c < channels; c++) for (let i = 1; i < plain; i++) values[c * plain + i] += values[c * plain + i - 1];
  const steps = pairs(take(6 * sum((s) => s.triangles)));
  if (at !== data.length) throw new FormatError(`${where}: ${data.length - at} bytes after its last column; ${DAMAGED}`);
  if (modes[COLUMNS] !== FRESH && modes[COLUMNS] !== STEPS) throw new FormatError(`${where}: mode of corners: expected 0 or 1, got ${modes[COLUMNS]}; ${DAMAGED}`);
  if (modes[COLUMNS] === STEPS) for (let i = 1; i < steps.length; i++) steps[i] += steps[i - 1];
  return { channels, where, modes, fresh, rows, xyz: floats.slice(0, 3), uv: floats.slice(3), values, steps };
}

/** Numbers of 16 bits whose low bytes come first, then all high ones. @param {Uint8Array} data */
function pairs(data) {
  const n = data.length / 2;
  return Uint16Array.from({ length: n }, (_, i) => data[i] | (data[n + i] << 8));
}

/** Numbers of 32 bits of either sign, byte by byte. @param {Uint8Array} data */
function numbers(data) {
  const n = data.length / 4;
  return Int32Array.from({ length: n }, (_, i) => {
    const code = data[i] | (data[n + i] << 8) | (data[2 * n + i] << 16) | (data[3 * n + i] << 24);
    return (code >>> 1) ^ -(code & 1);
  });
}

/** Bit patterns of floats as numbers in the floats' order; and back, as the second half is the first one's mirror. @param {number} bits */
const ordered = (bits) => (bits < 0 ? ~bits : bits | SIGN), unordered = (/** @type {number} */ n) => (n < 0 ? n & ~SIGN : ~n);

/** A column of floats: differences of numbers in their order, or of decimal numbers and by how much the floats miss these. @param {Uint8Array} data @param {number} mode @param {string} where */
function readFloats(data, mode, where) {
  const half = mode === BITS ? data.length : data.length / 2, steps = numbers(data.subarray(0, half)), rest = numbers(data.subarray(half));
  const out = new Float32Array(steps.length), bits = new Int32Array(out.buffer), unit = 10 ** mode;
  let sum = 0, finite = true;
  for (let i = 0; i < out.length; i++) {
    sum = (sum + steps[i]) | 0;
    if (mode === BITS) bits[i] = unordered(sum);
    else {
      out[i] = sum / unit;
      bits[i] = unordered((ordered(bits[i]) + rest[i]) | 0);
    }
    finite &&= Number.isFinite(out[i]);
  }
  if (!finite) throw new FormatError(`${where}: a vertex has NaN or infinity; ${DAMAGED}`);
  return out;
}

/** Vertices and corners of every node, with room for its texels. @param {Geometry} g @param {Shape[]} shapes @returns {Packed[]} */
function packNodes({ channels, where, modes, fresh, rows, xyz: [x, y, z], uv: [u, v], values, steps }, shapes) {
  const plain = values.length / channels, carried = Math.ceil(channels / 4);
  let first = 0, corner = 0, texture = 0, value = 0;
  return shapes.map((shape, k) => {
    const words = new Uint32Array(wordsOf(shape, channels)), floats = new Float32Array(words.buffer), bytes = new Uint8Array(words.buffer);
    const stride = 3 + (shape.width ? 2 : carried), { vertices, triangles } = shape, back = rows[k];
    let seen = 0;
    for (let i = 0; i < vertices; i++) {
      // Position number among the new ones of its node: the latest one less how far back.
      const number = back[i] ? seen - back[i] : seen++;
      if (number < 0) throw new FormatError(`${where}: a vertex repeats a position before the first; ${DAMAGED}`);
      const from = first + number, to = i * stride;
      [floats[to], floats[to + 1], floats[to + 2]] = [x[from], y[from], z[from]];
      if (shape.width) [floats[to + 3], floats[to + 4]] = [u[texture + i], v[texture + i]];
      else for (let c = 0; c < channels; c++) bytes[4 * (to + 3) + c] = values[c * plain + value + i];
    }
    const corners = new Uint16Array(words.buffer, 4 * vertices * stride, 3 * triangles);
    let next = 0;
    for (let i = 0; i < corners.length; i++) {
      let at = steps[corner + i];
      if (modes[COLUMNS] === FRESH) at = at ? next - at : next++;
      if (!(at >= 0 && at < vertices)) throw new FormatError(`${where}: triangle corner ${at} of ${vertices} vertices; ${DAMAGED}`);
      corners[i] = at;
    }
    first += fresh[k];
    corner += corners.length;
    if (shape.width) texture += vertices;
    else value += vertices;
    return { ...shape, words };
  });
}

/**
 * Texels, their channels side by side, checked. A picture may be decoded inexactly where a browser hides what it is: then the next way is tried.
 * @param {Uint8Array<ArrayBuffer>} file @param {Shape} shape @param {number} channels @param {number | null} empty @param {number} check
 * @param {string} where @param {DecodePicture} picture
 */
async function readTexels(file, { width, height }, channels, empty, check, where, picture) {
  const planes = Math.ceil(channels / 3), rows = Math.min(planes, Math.floor(MAX_SIDE / height)), columns = Math.ceil(planes / rows);
  const size = [columns * width, rows * height], found = pictureSize(file);
  if (!found || found[0] !== size[0] || found[1] !== size[1]) throw new FormatError(`${where}: expected a lossless WebP picture of ${size[0]} x ${size[1]} without alpha; ${DAMAGED}`);
  const texels = new Uint8Array(width * height * channels);
  for (let attempt = 0; ; attempt++) {
    let pixels;
    try {
      pixels = await picture(file, size[0], size[1], attempt);
    } catch (error) {
      throw new FormatError(`${where}: the picture cannot be decoded (${error instanceof Error ? error.message : error}); ${DAMAGED}`);
    }
    if (!pixels) throw new FormatError(`${where}: the decoded bytes differ from those that were stored: the file is damaged, or this browser changes pictures to protect privacy; allow this page to read them`);
    for (let c = 0; c < channels; c++) {
      const plane = Math.floor(c / 3), part = c % 3, shift = pixels.swapped ? 2 - part : part, left = Math.floor(plane / rows) * width, top = (plane % rows) * height;
      for (let y = 0; y < height; y++) {
        let from = 4 * ((top + y) * size[0] + left) + shift, to = y * width * channels + c;
        for (let x = 0; x < width; x++, from += 4, to += channels) texels[to] = pixels.data[from];
      }
    }
    if (empty !== null) for (let at = 0; at < texels.length; at += channels) if (!texels[at + empty]) texels.fill(0, at, at + channels);
    if (adler32(texels) === check) return texels;
  }
}

/** Channels into whole words, four bytes each. @param {Uint8Array} texels @param {number} channels @param {Uint8Array} out */
function spread(texels, channels, out) {
  const step = 4 * Math.ceil(channels / 4);
  if (step === channels) return out.set(texels);
  for (let from = 0, to = 0; from < texels.length; from += channels, to += step) for (let c = 0; c < channels; c++) out[to + c] = texels[from + c];
}
