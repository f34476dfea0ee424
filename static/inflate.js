// Inflates one RFC 1950 (zlib) stream within bounds, and the two checksums of a .lens file.
import { FatalError } from "./stream.js";

/** A file is damaged, cut, or not what it says it is. */
export class FormatError extends FatalError {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "FormatError";
  }
}

/** The file is sound, but its version, kind or feature is not supported. */
export class UnsupportedError extends FatalError {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "UnsupportedError";
  }
}

export const DAMAGED = "the file is damaged; fetch or convert it again";

const CRC_TABLE = new Uint32Array(256).map((_, i) => {
  for (let k = 0; k < 8; k++) i = i & 1 ? (i >>> 1) ^ 0xedb88320 : i >>> 1;
  return i;
});

/** CRC-32 (that of zlib and PNG), going on from an earlier one. @param {Uint8Array} bytes @param {number} [crc] */
export function crc32(bytes, crc = 0) {
  let c = ~crc;
  for (let i = 0; i < bytes.length; i++) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

/** Adler-32 (RFC 1950, section 8.2). @param {Uint8Array} bytes */
export function adler32(bytes) {
  let a = 1, b = 0;
  // 3800 bytes keep b below 2^31, so engines stay with integers: 65520 * 3801 + 255 * 3800 * 3801 / 2 = 2.09e9.
  for (let i = 0; i < bytes.length;) {
    for (const end = Math.min(i + 3800, bytes.length); i < end; i++) b += a += bytes[i];
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

/**
 * What a stream holds: exactly `length` bytes, its checksum the last four of `data`. Rejects with FormatError.
 * @param {Uint8Array<ArrayBuffer>} data @param {number} length @param {string} where stands in messages
 * @returns {Promise<Uint8Array<ArrayBuffer>>}
 */
export async function inflate(data, length, where) {
  const out = new Uint8Array(length);
  const decoder = new DecompressionStream("deflate");
  const writer = decoder.writable.getWriter();
  // Rejections of these are those of the reader below, which reports them.
  writer.write(data).catch(() => {});
  writer.close().catch(() => {});
  const reader = decoder.readable.getReader();
  let at = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (at + value.length > length) {
        at = Infinity;
        break;
      }
      out.set(value, at);
      at += value.length;
    }
  } catch (error) {
    throw new FormatError(`${where}: not a sound zlib stream (${error instanceof Error ? error.message : error}); ${DAMAGED}`);
  } finally {
    reader.cancel().catch(() => {});
  }
  if (at !== length) throw new FormatError(`${where}: expected ${length} bytes, ${at > length ? "it holds more" : `it holds ${at}`}; ${DAMAGED}`);
  // Chromium refuses bytes after the stream, Node takes them: the checksum must be where the stream is said to end.
  const n = data.length, end = ((data[n - 4] << 24) | (data[n - 3] << 16) | (data[n - 2] << 8) | data[n - 1]) >>> 0;
  if (end !== adler32(out)) throw new FormatError(`${where}: bytes lie after its zlib stream; ${DAMAGED}`);
  return out;
}

/**
 * Throws where a block's lengths cannot be: beyond `limit` decoded bytes, or more than deflate can hold.
 * @param {number} stored @param {number} decoded @param {number} limit @param {number} ratio @param {string} where
 */
export function checkLengths(stored, decoded, limit, ratio, where) {
  if (stored >= 8 && decoded > 0 && decoded <= limit && decoded <= stored * ratio) return;
  throw new FormatError(`${where}: ${stored} stored and ${decoded} decoded bytes cannot be, at most ${limit} decoded; ${DAMAGED}`);
}
