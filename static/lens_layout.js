// The byte layout of a .lens file: records and limits of version 1 (docs/format.md; a test compares this, viewer/lens_layout.py and the page).

/** Scalars: bytes and how a DataView reads them, little-endian. @type {Record<string, [number, (view: DataView, at: number) => number]>} */
const SCALARS = {
  u8: [1, (v, at) => v.getUint8(at)],
  u16: [2, (v, at) => v.getUint16(at, true)],
  u32: [4, (v, at) => v.getUint32(at, true)],
  // Above 2^53 it is inexact, and larger than any file: every use of one is checked against the file's length.
  u64: [8, (v, at) => v.getUint32(at, true) + v.getUint32(at + 4, true) * 2 ** 32],
  f32: [4, (v, at) => v.getFloat32(at, true)],
};

/** A field: name, scalar, how many. @typedef {[name: string, scalar: string, count?: number]} Field */

/** @satisfies {Record<string, Field[]>} */
export const RECORDS = /** @type {const} */ ({
  "Header": [
    ["magic", "u8", 8], ["version", "u16"], ["minor", "u16"], ["head_length", "u32"], ["content_id", "u8", 16], ["file_length", "u64"],
    ["section_count", "u32"], ["layer_count", "u32"], ["reserved", "u8", 12], ["crc32", "u32"],
  ],
  "Section": [
    ["kind", "u16"], ["encoding", "u8"], ["reserved", "u8"], ["layer", "u32"], ["offset", "u64"], ["length", "u64"],
    ["decoded_length", "u64"], ["crc32", "u32"], ["reserved2", "u32"],
  ],
  "Directory block": [["content_id", "u8", 16], ["layer", "u32"], ["first_page", "u32"], ["page_count", "u32"], ["crc32", "u32"]],
  "Page entry": [
    ["geometry_offset", "u64"], ["sh_offset", "u64"], ["geometry_length", "u32"], ["geometry_decoded", "u32"], ["sh_length", "u32"],
    ["sh_decoded", "u32"], ["first_cluster", "u32"], ["cluster_count", "u16"], ["slot_count", "u16"], ["parent_page", "u32"], ["error", "f32"],
  ],
  "Node": [
    ["child_first", "u32"], ["child_page", "u32"], ["error", "f32"], ["sphere", "f32", 4], ["box", "f32", 6], ["support", "f32", 6],
    ["count", "u16"], ["child_count", "u8"], ["flags", "u8"],
  ],
});

/** Bytes of a record. @param {readonly Readonly<Field>[]} fields */
export const sizeOf = (fields) => fields.reduce((sum, [, scalar, n = 1]) => sum + SCALARS[scalar][0] * n, 0);

/**
 * The numbers of a record; byte arrays are left out.
 * @template {readonly Readonly<Field>[]} F
 * @param {F} fields @param {DataView} view @param {number} at
 * @returns {Record<F[number][0], number>}
 */
export function readRecord(fields, view, at) {
  /** @type {Record<string, number>} */
  const out = {};
  for (const [name, scalar, n] of fields) {
    const [size, read] = SCALARS[scalar];
    if (n === undefined) out[name] = read(view, at);
    at += size * (n ?? 1);
  }
  return out;
}

export const MAGIC = [0x89, 0x4c, 0x45, 0x4e, 0x53, 0x0d, 0x0a, 0x1a];
export const VERSION = 1;
/** Bytes of the first request: header, sections, description and each layer's first directory block lie inside them. */
export const HEAD_BYTES = 16384;
export const CONTENT_ID_BYTES = 16;
export const PAGE_CLUSTERS = 16, MAX_CHILDREN = 16, CLUSTER_SPLATS = 256;
/** Entries of every directory block but a layer's first and last. */
export const DIRECTORY_ENTRIES = 128;
/** Bounds that keep a hostile file from asking for much memory. */
export const MAX_SECTIONS = 1024, MAX_LAYERS = 256, MAX_INFO_BYTES = 65536, MAX_DATA_BYTES = 2 ** 28;
/** Deflate cannot shrink further (RFC 1951: 258 bytes of a match in two bits). */
export const MAX_DEFLATE_RATIO = 1032;
/** "no page", "no layer". */
export const NONE = 0xffffffff;
export const SECTION = { INFO: 1, DIRECTORY: 2, DIRECTORY_TAIL: 3, DATA: 4 };
export const ENCODING = { RAW: 0, ZLIB: 1 };
/** Bits of a node's flags. */
export const FLOAT32_CENTRES = 1;
