// One generator layer: its model on a provider, its inputs and outputs in buffers of ours, and what a frame draws of them.
import { readBuffer } from "../readback.js";
import { constantOutputs } from "./constants.js";
import { feedsOf, sizeOf } from "./contract.js";
import { BYTES, UNIT, createInputs, dimsOf, memoryTensors, padded, sameFeeds, sharedBuffer } from "./inputs.js";
import { ModelError, createSession, queued } from "./ort.js";

/** @typedef {import("./contract.js").Contract} Contract */
/** @typedef {import("./contract.js").Moment} Moment */
/** @typedef {import("./contract.js").Values} Values */
/** @typedef {import("./ort.js").Tensor} Tensor */
/** @typedef {import("../camera.js").Camera} Camera */
/** @typedef {import("../executor.js").Executor} Executor */
/** @typedef {import("../assemble.js").GeneratedDraws} GeneratedDraws */
/** @typedef {ReturnType<typeof createGenerator>} Generator */
/**
 * name: stands in messages. read: the model's bytes. number: among the generators, as its buffers are numbered; firstOutput: of its
 * outputs. notice: one line, the layer is drawn all the same.
 * @typedef {{name: string, contract: Contract, transform: ArrayLike<number>, read: () => Promise<Uint8Array>, executor: Executor,
 *   number: number, firstOutput: number, notice: (text: string) => void}} GeneratorOptions
 */

/** Attribute of the stage's bindings for each meaning. @type {Record<string, string>} */
const BINDING = { means: "means", scales: "shapes", covariances: "shapes", quats: "turns", opacities: "opacities", colors: "colors", sh: "colors" };
/** Outputs that a generator's splats are made of, in the order of their buffers, and those buffers' words. @param {Contract} contract */
export function outputsOf(contract) {
  const names = [...new Set(Object.entries(contract.outputs).flatMap(([meaning, one]) => meaning in BINDING ? [one.output] : []))];
  const words = names.map((name) => {
    const { type, shape } = contract.graph.outputs[name], row = sizeOf(shape.slice(1));
    return Math.max(4, Math.ceil(contract.capacity * row * BYTES[type] / UNIT) * (UNIT / 4));
  });
  return { names, words };
}

/** @param {GeneratorOptions} options */
export function createGenerator({ name, contract, transform, read, executor, number, firstOutput, notice }) {
  const { device } = executor, { graph, capacity } = contract, { names, words } = outputsOf(contract);
  const counted = contract.outputs.count?.output ?? null, wanted = counted ? [...names, counted] : names;
  const dynamic = wanted.some((key) => graph.outputs[key].shape.includes(null));
  /** Outputs that no input reaches: known once the model has been read. */
  let constant = new Set();
  const live = `generated_live.${number}`, buffers = names.map((_, k) => `generated_output.${firstOutput + k}`);
  const inputs = createInputs(device, name, graph);
  /** @type {GPUBuffer | null} */
  let countBuffer = null;
  let session = open(device), rows = 0, writing = false, destroyed = false, ran = 0;
  /** Inputs of the last run that succeeded. @type {Record<string, Values> | null} */
  let last = null;
  /** Tensors over the buffers of the outputs, by the runtime they belong to. @type {WeakMap<import("./ort.js").Ort, Record<string, Tensor | null>>} */
  const bound = new WeakMap();

  /** @param {GPUDevice | null} on */
  function open(on) {
    return Object.assign(createSession(name, readOnce, { device: on, gpuOutputs: dynamic ? wanted : [] }), { gpu: on !== null });
  }

  async function readOnce() {
    const model = await read();
    constant = dynamic ? constant : constantOutputs(model, names);
    return model;
  }

  /** Where a run on the GPU leaves its outputs, made once; null: in a buffer of its own. @param {import("./ort.js").Ort} ort */
  function outputs(ort) {
    let made = bound.get(ort);
    if (made) return made;
    made = {};
    if (dynamic) for (const key of wanted) made[key] = null;
    else {
      for (const [k, key] of names.entries()) made[key] = ort.Tensor.fromGpuBuffer(executor.buffer(buffers[k]), { dataType: graph.outputs[key].type, dims: dimsOf(graph.outputs[key]) });
      // Not into the row the shader reads: onnxruntime copies whole units, and what is behind the count is ours.
      if (counted) made[counted] = ort.Tensor.fromGpuBuffer(countBuffer ??= sharedBuffer(device, `${name}: count`, 4), { dataType: "int32", dims: dimsOf(graph.outputs[counted]) });
    }
    bound.set(ort, made);
    return made;
  }

  /** @param {import("./ort.js").Ort} ort @param {Record<string, Values>} feeds @returns {[Record<string, Tensor>, Record<string, Tensor | null>]} */
  function onGpu(ort, feeds) {
    const fetches = outputs(ort);
    // What is constant lies there since the first run: onnxruntime would make a buffer and copy it anew in each.
    return [inputs.tensors(ort, feeds), ran && constant.size < wanted.length ? Object.fromEntries(Object.entries(fetches).filter(([key]) => !constant.has(key))) : fetches];
  }

  /** @param {import("./ort.js").Ort} ort @param {Record<string, Values>} feeds @returns {[Record<string, Tensor>, Record<string, Tensor | null>]} */
  const onProcessor = (ort, feeds) => [memoryTensors(ort, graph, feeds), Object.fromEntries(wanted.map((key) => [key, null]))];

  /** Takes what a run gave to where a frame reads it. @param {Record<string, Tensor>} results */
  function take(results) {
    const dims = names.map((key) => results[key]?.dims[0] ?? capacity), given = dynamic || !session.gpu ? dims[0] : capacity;
    if (dims.some((n) => n !== given)) throw new ModelError(`${name}: outputs differ in their number of rows (${names.map((key, k) => `${key} ${dims[k]}`).join(", ")}); mend the model`);
    if (given > capacity) throw new ModelError(`${name}: gave ${given} rows, more than the contract's capacity of ${capacity}; raise the capacity`);
    const moves = counted ? [...names, counted] : names;
    const encoder = device.createCommandEncoder({ label: name });
    let copies = 0;
    moves.forEach((key, k) => {
      const result = results[key];
      if (!result) return; // constant
      const to = key === counted ? live : buffers[k], count = key === counted;
      if (result.location === "gpu-buffer") {
        if (!dynamic && !count) return; // it was written where it belongs
        const size = count ? 4 : Math.ceil(sizeOf([...result.dims]) * BYTES[graph.outputs[key].type] / 4) * 4;
        if (size) encoder.copyBufferToBuffer(result.gpuBuffer, 0, executor.buffer(to), 0, size), copies++;
      } else {
        const { buffer: memory, byteOffset, byteLength } = result.data;
        executor.write(to, padded(memory, byteOffset, count ? 4 : byteLength));
      }
    });
    if (copies) device.queue.submit([encoder.finish()]);
    // The copy is submitted, so the memory may be used again by the next run.
    if (dynamic && session.gpu) for (const key of moves) results[key].dispose();
    if (!counted && (given !== rows || !ran)) executor.write(live, new Int32Array([given]));
    rows = given;
  }

  /** @param {Record<string, Values>} feeds */
  async function runOnce(feeds) {
    writing = session.gpu;
    try {
      const results = await session.run((ort) => session.gpu ? onGpu(ort, feeds) : onProcessor(ort, feeds));
      if (!destroyed) take(results);
    } finally {
      writing = false;
    }
  }

  return {
    name, contract, transform, words,
    /** Whether a run is writing into the buffers that frames read. */
    get writing() { return writing; },
    /** Runs finished so far. */
    get ran() { return ran; },
    /** Whether it runs on the GPU, else on the processor. */
    get gpu() { return session.gpu; },
    /** Loads runtime and model, ahead of the first run. Rejects as Session.open. */
    load: () => queued(() => session.open()),

    /** @param {Moment} moment @param {Camera} camera */
    feeds: (moment, camera) => feedsOf(contract, moment, camera, transform),
    /** Whether the outputs are of these inputs. @param {Record<string, Values>} feeds */
    current: (feeds) => last !== null && sameFeeds(feeds, last),

    /**
     * Runs the model, on the processor where it cannot on the GPU. Resolves when all is submitted that frames read.
     * @param {Record<string, Values>} feeds
     */
    run: (feeds) => queued(async () => {
      if (destroyed) return;
      try {
        await runOnce(feeds);
      } catch (error) {
        if (!session.gpu || destroyed || !(error instanceof ModelError)) throw error;
        await session.release();
        session = open(null);
        await runOnce(feeds);
        notice(`${name} runs on the processor, which is slower: ${error.message.replace(`${name}: `, "")}`);
      }
      last = feeds;
      ran++;
    }),

    /** What a frame draws of it: its buffers always, no row before the first run. @returns {GeneratedDraws} */
    draws() {
      /** @type {GeneratedDraws["columns"]} */
      const columns = {};
      let coefficients = 0;
      for (const [meaning, one] of Object.entries(contract.outputs)) {
        if (!(meaning in BINDING)) continue;
        const { type, shape } = graph.outputs[one.output], stride = sizeOf(shape.slice(1)), [first, count] = one.columns ?? [0, stride];
        columns[BINDING[meaning]] = [names.indexOf(one.output), first, stride, type === "float16"];
        if (meaning === "sh") coefficients = count / 3;
      }
      columns.turns ??= columns.shapes;
      return { transform, rows, coefficients, covariance: "covariances" in contract.outputs, words, columns, box: contract.bounds, kernel: contract.kernel };
    },

    /**
     * Before a frame: sets the number of left out rows to none. After it, `culled` tells. A read-back, so only for frames that stay.
     */
    watch() { executor.write(live, new Int32Array([0]), 4); },
    async culled() {
      const [count, left] = new Int32Array(await readBuffer(executor, live));
      return { count, left, rows };
    },

    /** Frees the model after what is queued. */
    destroy() {
      if (destroyed) return;
      destroyed = true;
      queued(async () => {
        await session.release();
        inputs.destroy();
        countBuffer?.destroy();
      }).catch(() => {});
    },
  };
}
