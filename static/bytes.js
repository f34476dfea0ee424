// Where a scene's bytes come from: an address, by HTTP Range, or a Blob. Both give get_bytes(offset, length).
import { FormatError } from "./inflate.js";
import { FatalError } from "./stream.js";

/**
 * Bytes offset .. offset + length - 1, fewer at the end of the file.
 * @typedef {(offset: number, length: number, signal?: AbortSignal) => Promise<Uint8Array<ArrayBuffer>>} GetBytes
 */
/** @typedef {{getBytes: GetBytes, name: string, size: () => number | null}} Source */

/** The server answered, with something other than the bytes. */
export class HttpError extends Error {
  /** @param {string} url @param {number} status */
  constructor(url, status) {
    super(`${url}: HTTP ${status}`);
    this.status = status;
  }
}

/** The file is not the one that was opened. */
export class ChangedError extends FormatError {
  /** @param {string} place */
  constructor(place) {
    super(`${place}: the file was replaced since it was opened; open it again`);
    this.name = "ChangedError";
  }
}

/** A request that brings nothing for so long is given up and tried again, seconds. */
const SILENCE = 20;
/** Statuses that a repetition may cure: too many requests, and the server's or a proxy's own trouble. */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** A host without Range sends the whole file; up to this much is kept, bytes. */
const WHOLE_LIMIT = 1 << 30;

/** @param {Blob & {name?: string}} blob @returns {Source} */
export function blobSource(blob) {
  return {
    name: blob.name ?? "scene",
    size: () => blob.size,
    getBytes: async (offset, length) => new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer()),
  };
}

/**
 * @param {string} url
 * @param {{received?: (bytes: number) => void, fetch?: typeof fetch, silence?: number}} [options] received: told as bytes come in; silence: seconds
 * @returns {Source}
 */
export function urlSource(url, options = {}) {
  const doFetch = options.fetch ?? ((...args) => fetch(...args)), silence = (options.silence ?? SILENCE) * 1000;
  /** The version of the file: entity tag where the server gives one. @type {string | null} */
  let version = null;
  /** @type {number | null} */
  let size = null;
  /** The file itself, from a host without Range. @type {Promise<Uint8Array<ArrayBuffer>> | null} */
  let whole = null;

  /** @param {Response} response @param {number | null} total */
  function check(response, total) {
    const tag = response.headers.get("ETag");
    const found = `${tag?.startsWith("W/") ? "" : tag ?? ""} ${total ?? ""}`;
    if (version === null) version = found;
    else if (version !== found) throw new ChangedError(url);
    if (total !== null) size = total;
  }

  /**
   * A body as it comes in, at most `limit` bytes of it.
   * @param {Response} response @param {number} limit @param {() => void} alive called with every chunk
   */
  async function read(response, limit, alive) {
    /** @type {Uint8Array[]} */
    const chunks = [];
    let length = 0;
    const reader = response.body?.getReader();
    while (reader && length <= limit) { // up to its end, even where that is expected: cut off, it would count as failed
      const { done, value } = await reader.read();
      if (done) break;
      alive();
      chunks.push(value);
      length += value.length;
      options.received?.(value.length);
    }
    if (length > limit) reader?.cancel().catch(() => {});
    const bytes = new Uint8Array(Math.min(length, limit));
    let at = 0;
    for (const chunk of chunks) {
      bytes.set(chunk.subarray(0, bytes.length - at), at);
      at += chunk.length;
    }
    return bytes;
  }

  /** @type {GetBytes} */
  async function getBytes(offset, length, signal) {
    if (whole) return (await whole).slice(offset, offset + length);
    const control = new AbortController(), abort = () => control.abort(signal?.reason);
    if (signal?.aborted) abort();
    signal?.addEventListener("abort", abort);
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => control.abort(new Error(`${url}: no answer for ${silence / 1000} s`)), silence);
    };
    try {
      alive();
      const response = await doFetch(url, {
        headers: { Range: `bytes=${offset}-${offset + length - 1}` },
        signal: control.signal,
        // Chromium's cache takes one range of a file at a time: six at 200 ms each took 1,260 ms with it, 215 without.
        cache: "no-store",
      });
      const range = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
      if (response.status === 206) {
        if (range && Number(range[1]) !== offset) throw new FatalError(`${url}: asked for byte ${offset}, the server sent from byte ${range[1]}`);
        check(response, range ? Number(range[3]) : null);
        return await read(response, length, alive);
      }
      if (response.status === 200) {
        const total = Number(response.headers.get("Content-Length")) || null;
        if (total !== null && total > WHOLE_LIMIT) throw new FatalError(`${url}: this host ignores Range requests and the file is too large to load whole`);
        check(response, response.headers.has("Content-Encoding") ? null : total);
        const all = read(response, WHOLE_LIMIT, alive);
        whole = all;
        all.then((bytes) => { size = bytes.length; }, () => { whole = null; });
        return (await all).slice(offset, offset + length);
      }
      response.body?.cancel().catch(() => {});
      if (response.status === 416) { // nothing there: the file ends before offset
        const now = /^bytes \*\/(\d+)$/.exec(response.headers.get("Content-Range") ?? "");
        if (now && size !== null && Number(now[1]) !== size) throw new ChangedError(url);
        return new Uint8Array(0);
      }
      const error = new HttpError(url, response.status);
      throw PASSING.has(response.status) ? error : Object.assign(new FatalError(error.message), { status: response.status });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    }
  }

  return { getBytes, name: url.split(/[?#]/)[0].split("/").pop() || url, size: () => size };
}
