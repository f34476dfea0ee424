// Decodes pages of meshes in a worker, where there can be one: a page takes tens of milliseconds, which the main thread has better use for.
import { startWorker } from "../decoder.js";
import { FormatError } from "../inflate.js";
import { decodePage } from "./decode.js";

/** @typedef {import("./decode.js").Packed} Packed */
/** @typedef {import("./decode.js").PageTask} PageTask */
/** @typedef {{task: PageTask, resolve: (nodes: Packed[] | Promise<Packed[]>) => void, reject: (error: unknown) => void}} Job */

/**
 * The worker starts with the first page and ends with `signal`. Where it does not start, or stops, pages are decoded in this thread.
 * @param {{picture?: import("./decode.js").DecodePicture, signal?: AbortSignal, start?: () => Worker}} [options] picture: decodes in this thread, with it
 */
export function createPageDecoder({ picture, signal, start = () => startWorker(new URL("decode_worker.js", import.meta.url)) } = {}) {
  /** @type {Map<number, Job>} */
  const jobs = new Map();
  /** @type {Worker | null} */
  let worker = null;
  let alone = Boolean(picture), running = false, next = 0;

  /** @param {unknown} [reason] why what is left fails; it is decoded in this thread where there is none */
  function end(reason) {
    worker?.terminate();
    worker = null;
    alone = true;
    const left = [...jobs.values()];
    jobs.clear();
    for (const { task, resolve, reject } of left) {
      if (reason) reject(reason);
      else resolve(decodePage(task));
    }
  }

  function begin() {
    try {
      worker = start();
    } catch {
      alone = true; // some browsers refuse at once
      return;
    }
    worker.onerror = (e) => {
      e.preventDefault();
      end();
    };
    worker.onmessage = ({ data }) => {
      if (data === "here") {
        running = true;
        for (const [id, { task }] of jobs) worker?.postMessage({ id, task });
        return;
      }
      const job = jobs.get(data.id);
      jobs.delete(data.id);
      if (data.packed) job?.resolve(data.packed);
      else job?.reject(new FormatError(data.error));
    };
  }

  signal?.addEventListener("abort", () => end(signal.reason), { once: true });

  return {
    /** Rejects with FormatError. @param {PageTask} task @returns {Promise<Packed[]>} */
    async page(task) {
      signal?.throwIfAborted();
      if (!worker && !alone) begin();
      if (!worker) return decodePage(task, picture);
      return new Promise((resolve, reject) => {
        const id = next++;
        jobs.set(id, { task, resolve, reject });
        if (running) worker?.postMessage({ id, task });
      });
    },
  };
}
