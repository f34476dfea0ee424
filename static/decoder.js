// Decodes pages in a worker, where there can be one: a page takes 9 ms of CPU, which the main thread has better use for.
import { decodeGeometry, decodeSh } from "./decode.js";
import { FormatError } from "./inflate.js";

/** @typedef {import("./decode.js").Geometry} Geometry */
/** @typedef {import("./decode.js").Codec} Codec */
/**
 * As decode.js, asynchronous. A payload is given away: its memory may be gone after the call.
 * @typedef {{geometry: (payload: Uint8Array<ArrayBuffer>, counts: Uint16Array, codec: Codec) => Promise<Geometry>,
 *   sh: (payload: Uint8Array<ArrayBuffer>, counts: Uint16Array, classes: Uint8Array, codec: Codec) => Promise<Uint32Array<ArrayBuffer>>,
 *   destroy: () => void}} Decoder
 */
/** @typedef {{task: import("./decode_worker.js").Task, resolve: (result: any) => void, reject: (error: unknown) => void}} Job */

/** Whatever goes wrong inside a decoder is the data's fault. @template T @param {() => T} decode @returns {Promise<T>} */
async function decoded(decode) {
  try {
    return decode();
  } catch (error) {
    throw new FormatError(error instanceof Error ? error.message : String(error));
  }
}

/** In this thread, within the call. @type {Decoder} */
export const here = {
  geometry: (payload, counts, codec) => decoded(() => decodeGeometry(payload, counts, codec)),
  sh: (payload, counts, classes, codec) => decoded(() => decodeSh(payload, counts, classes, codec)),
  destroy() {},
};

/** @returns {Worker} */
export function startWorker(url = new URL("decode_worker.js", import.meta.url)) {
  if (url.origin === globalThis.location?.origin) return new Worker(url, { type: "module" });
  // A worker must come from the page's own origin; one that only imports the real one may be a blob.
  const blob = URL.createObjectURL(new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" }));
  const worker = new Worker(blob, { type: "module" });
  const revoke = () => URL.revokeObjectURL(blob);
  worker.addEventListener("message", revoke, { once: true });
  worker.addEventListener("error", revoke, { once: true });
  return worker;
}

/**
 * A decoder with a worker of its own. Where the worker does not start, as under a policy that forbids it, it works in this thread.
 * @param {() => Worker} [start]
 * @returns {Decoder}
 */
export function createDecoder(start = () => startWorker()) {
  /** @type {Map<number, Job>} */
  const jobs = new Map();
  /** @type {Worker | null} */
  let worker = null;
  let running = false, next = 0;

  /** @param {Job} job */
  const send = ({ task }) => worker?.postMessage(task, [task.payload.buffer]);

  /** @param {Job} job */
  function decodeHere({ task: { payload, counts, classes, codec }, resolve, reject }) {
    (classes ? here.sh(payload, counts, classes, codec) : here.geometry(payload, counts, codec)).then(resolve, reject);
  }

  /** The worker cannot be used: what waits for it is done here, and what it took with it fails. */
  function giveUp() {
    worker?.terminate();
    worker = null;
    const left = [...jobs.values()];
    jobs.clear();
    for (const job of left) {
      if (running) job.reject(new Error("the decoding worker stopped"));
      else decodeHere(job);
    }
  }

  try {
    worker = start();
    worker.onerror = (e) => {
      e.preventDefault();
      giveUp();
    };
    worker.onmessage = ({ data }) => {
      if (data === "here") {
        running = true;
        jobs.forEach(send);
        return;
      }
      const job = jobs.get(data.id);
      jobs.delete(data.id);
      if (data.error === undefined) job?.resolve(data.result);
      else job?.reject(new FormatError(data.error));
    };
  } catch {
    worker = null; // some browsers refuse at once
  }

  /** @param {Uint8Array<ArrayBuffer>} payload @param {Uint16Array} counts @param {Uint8Array | null} classes @param {Codec} codec */
  const run = (payload, counts, classes, codec) => new Promise((resolve, reject) => {
    /** @type {Job} */
    const job = { task: { id: next++, payload: payload.slice(), counts, classes, codec }, resolve, reject };
    if (!worker) return decodeHere(job);
    jobs.set(job.task.id, job);
    if (running) send(job);
  });

  return {
    geometry: (payload, counts, codec) => run(payload, counts, null, codec),
    sh: (payload, counts, classes, codec) => run(payload, counts, classes, codec),
    destroy() {
      worker?.terminate();
      worker = null;
      for (const job of jobs.values()) job.reject(new DOMException("the scene was closed", "AbortError"));
      jobs.clear();
    },
  };
}
