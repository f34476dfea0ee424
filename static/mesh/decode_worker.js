// The worker's side of decoder.js: decodes the pages it is sent, and gives the results' memory away.
import { decodePage } from "./decode.js";

/** @typedef {{id: number, task: import("./decode.js").PageTask}} Sent */

const scope = /** @type {{postMessage: (message: any, transfer?: Transferable[]) => void, onmessage: ((e: MessageEvent<Sent>) => void) | null}} */ (/** @type {unknown} */ (globalThis));

scope.onmessage = async ({ data: { id, task } }) => {
  try {
    const packed = await decodePage(task);
    scope.postMessage({ id, packed }, packed.map(({ words }) => words.buffer));
  } catch (error) {
    scope.postMessage({ id, error: error instanceof Error ? error.message : String(error) });
  }
};
scope.postMessage("here");
