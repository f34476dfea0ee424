// onnxruntime-web, loaded once for the page when a scene needs it, and the one queue in which every model of the page runs.

/**
 * The part of onnxruntime-web that is used.
 * @typedef {{readonly dims: readonly number[], readonly location: string, readonly gpuBuffer: GPUBuffer, readonly data: ArrayBufferView, dispose: () => void}} Tensor
 * @typedef {{run: (feeds: Record<string, Tensor>, fetches: Record<string, Tensor | null>, options: object) => Promise<Record<string, Tensor>>, release: () => Promise<void>}} InferenceSession
 * @typedef {{Tensor: {new (type: string, data: ArrayBufferView, dims: readonly number[]): Tensor,
 *     fromGpuBuffer: (buffer: GPUBuffer, options: {dataType: string, dims: readonly number[]}) => Tensor},
 *   InferenceSession: {create: (model: Uint8Array, options: object) => Promise<InferenceSession>},
 *   env: {logLevel: string, wasm: {numThreads: number, wasmPaths: {wasm: string}}}}} Ort
 * spoiled: something failed in it.
 * @typedef {{ort: Ort, spoiled: boolean}} Runtime
 */
/** @typedef {ReturnType<typeof createSession>} Session */

const FOLDER = new URL("../vendor/onnxruntime/", import.meta.url);
const SCRIPT = "ort.webgpu.bundle.min.mjs", WASM = "ort-wasm-simd-threaded.asyncify.wasm";
/** Longest part of onnxruntime's own words in a message, characters. */
const WORDS = 300;

/** A model cannot be loaded, or failed while it ran. */
export class ModelError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "ModelError";
  }
}

/** onnxruntime-web is not there: nothing that runs on it can be shown. */
export class RuntimeMissingError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "RuntimeMissingError";
  }
}

/** For sessions and runs: what goes wrong is thrown, and told in the page, not in the console. */
const QUIET = { logSeverityLevel: 4 };

/** @type {Promise<unknown>} */
let last = Promise.resolve();

/**
 * Runs a task once all earlier ones are over. For the whole page: two runs at a time never resolve (docs/generator-runtime.md).
 * @template T @param {() => Promise<T>} task @returns {Promise<T>}
 */
export function queued(task) {
  const run = last.then(task);
  last = run.catch(() => {});
  return run;
}

/** @type {Promise<Runtime> | null} */
let loading = null;
let loads = 0;

/**
 * The runtime. Anew after something failed in one: an exception inside leaves it in a state in which a later run that brings
 * values to the processor never ends (docs/generator-runtime.md). Rejects with RuntimeMissingError.
 */
export async function loadRuntime() {
  if (loading && (await loading).spoiled) loading = null;
  if (!loading) {
    loading = importRuntime();
    loading.catch(() => { loading = null; });
  }
  return loading;
}

/** @returns {Promise<Runtime>} */
async function importRuntime() {
  const url = new URL(SCRIPT, FOLDER);
  if (loads++) url.search = `?again=${loads}`; // a module of its own
  /** @type {Ort} */
  let ort;
  try {
    ort = await import(url.href);
  } catch (error) {
    const status = await fetch(url).then((r) => r.status, () => 0);
    throw new RuntimeMissingError(status === 404
      ? "onnxruntime-web is not on this server, so models cannot run; where it is a checkout, run `make setup`, else install splatlens again"
      : `onnxruntime-web cannot be loaded, so models cannot run: ${error instanceof Error ? error.message : error}; check the connection and reload`);
  }
  ort.env.logLevel = "fatal";
  ort.env.wasm.numThreads = 1; // more take SharedArrayBuffer, which takes an isolated page
  ort.env.wasm.wasmPaths = { wasm: new URL(WASM, FOLDER).href };
  return { ort, spoiled: false };
}

/** onnxruntime's own words as one line. @param {unknown} error */
export function words(error) {
  const text = (error instanceof Error ? error.message : String(error)).replace(/^.*ERROR_MESSAGE: /s, "").replace(/\s+/g, " ").trim();
  return text.length > WORDS ? `${text.slice(0, WORDS - 1)}…` : text;
}

/** What is wrong with a model that cannot be loaded. @param {string} name @param {unknown} error */
function notLoaded(name, error) {
  const why = words(error);
  if (/external data/i.test(why)) return new ModelError(`${name}: its weights are in another file (external data), which is not in the scene; convert it again with that file beside the model`);
  if (/not a registered function|not.?implemented|no op registered|could not find an implementation/i.test(why)) return new ModelError(`${name}: onnxruntime-web lacks an operator of the model: ${why}; export it without`);
  return new ModelError(`${name}: not a model that onnxruntime-web can load: ${why}`);
}

/**
 * A model on one provider. Its methods are called within `queued`, one after another.
 * @param {string} name stands in messages
 * @param {() => Promise<Uint8Array>} read the model's bytes; again where the runtime had to be loaded anew
 * @param {{device: GPUDevice | null, gpuOutputs?: string[]}} options device: of the WebGPU provider; null for the WASM provider.
 *   gpuOutputs: outputs that are left on the GPU without a buffer of ours
 */
export function createSession(name, read, { device, gpuOutputs = [] }) {
  /** @type {Runtime | null} */
  let runtime = null;
  /** @type {InferenceSession | null} */
  let session = null;
  const options = {
    executionProviders: [device ? { name: "webgpu", device } : "wasm"], ...QUIET,
    ...(gpuOutputs.length && device ? { preferredOutputLocation: Object.fromEntries(gpuOutputs.map((key) => [key, "gpu-buffer"])) } : {}),
  };

  async function open() {
    if (session && runtime && !runtime.spoiled) return { session, runtime };
    await release();
    runtime = await loadRuntime();
    const bytes = await read();
    try {
      session = await runtime.ort.InferenceSession.create(bytes, options);
    } catch (error) {
      runtime.spoiled = true;
      throw notLoaded(name, error);
    }
    return { session, runtime };
  }

  async function release() {
    const old = session;
    session = null;
    await old?.release().catch(() => {});
  }

  return {
    /** Loads the model, where that has not been done. Rejects with ModelError, RuntimeMissingError, or what `read` rejects with. */
    open,
    /**
     * One run; it resolves when its work is submitted, before the GPU has done it. Rejects with ModelError.
     * @param {(ort: Ort) => [Record<string, Tensor>, Record<string, Tensor | null>]} bind feeds and fetches, made of that runtime's tensors
     */
    async run(bind) {
      const now = await open();
      try {
        return await now.session.run(...bind(now.runtime.ort), QUIET);
      } catch (error) {
        now.runtime.spoiled = true;
        throw new ModelError(`${name}: the model failed while it ran: ${words(error)}`);
      }
    },
    release,
  };
}
