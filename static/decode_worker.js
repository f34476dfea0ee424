// The worker's side of decoder.js: decodes what it is sent, and gives the result's memory away.
import { decodeGeometry, decodeSh } from "./decode.js";

/** @typedef {{id: number, payload: Uint8Array<ArrayBuffer>, counts: Uint16Array, classes: Uint8Array | null, codec: import("./decode.js").Codec}} Task classes: set for SH */

const scope = /** @type {{postMessage: (message: any, transfer?: Transferable[]) => void, onmessage: ((e: MessageEvent<Task>) => void) | null}} */ (/** @type {unknown} */ (globalThis));

scope.onmessage = ({ data: { id, payload, counts, classes, codec } }) => {
  try {
    const result = classes ? decodeSh(payload, counts, classes, codec) : decodeGeometry(payload, counts, codec);
    scope.postMessage({ id, result }, [result instanceof Uint32Array ? result.buffer : result.words.buffer]);
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
scope.postMessage("here");
