// A model's inputs in buffers of ours, written where they changed: a tensor in memory would cost a buffer and a copy in each run.
import { sizeOf } from "./contract.js";

/** @typedef {import("./contract.js").Values} Values */
/** @typedef {import("./contract.js").Contract["graph"]} Graph */
/** @typedef {import("./ort.js").Ort} Ort */
/** @typedef {import("./ort.js").Tensor} Tensor */

/** onnxruntime copies and binds whole multiples of this, bytes. */
export const UNIT = 16;
export const BYTES = /** @type {Record<string, number>} */ ({ float32: 4, float16: 2, int32: 4, int64: 8 });

/** Sizes of a tensor whose dynamic ones are not known, or not there. @param {{shape: (number | null)[]}} tensor */
export const dimsOf = ({ shape }) => shape.map((d) => d ?? 0);

/** A buffer that models and stages share. @param {GPUDevice} device @param {string} label @param {number} size bytes */
export function sharedBuffer(device, label, size) {
  return device.createBuffer({ label, size: Math.ceil(size / UNIT) * UNIT, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST });
}

/** Bytes of a buffer, filled up to whole words, as the GPU's queue takes them. @param {ArrayBufferLike} memory @param {number} offset @param {number} length */
export function padded(memory, offset, length) {
  const bytes = /** @type {Uint8Array<ArrayBuffer>} */ (new Uint8Array(memory, offset, length));
  if (length % 4 === 0) return bytes;
  const whole = new Uint8Array(Math.ceil(length / 4) * 4);
  whole.set(bytes);
  return whole;
}

/** @param {Values} a @param {Values | undefined} b */
function sameValues(a, b) {
  if (!b || a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (!Object.is(a[i], b[i])) return false;
  return true;
}

/** Whether two sets of inputs are the same to the bit. @param {Record<string, Values>} a @param {Record<string, Values>} b */
export function sameFeeds(a, b) {
  for (const name in a) if (!sameValues(a[name], b[name])) return false;
  return true;
}

/** Tensors in memory, for the processor. @param {Ort} ort @param {Graph} graph @param {Record<string, Values>} feeds @returns {Record<string, Tensor>} */
export function memoryTensors(ort, graph, feeds) {
  return Object.fromEntries(Object.entries(feeds).map(([key, values]) => [key, new ort.Tensor(graph.inputs[key].type, values, dimsOf(graph.inputs[key]))]));
}

/** @param {GPUDevice} device @param {string} name stands in labels @param {Graph} graph */
export function createInputs(device, name, graph) {
  /** @type {Map<string, GPUBuffer>} */
  const buffers = new Map();
  /** What the buffers hold. @type {Map<string, Values>} */
  const held = new Map();
  /** Tensors over the buffers, by the runtime they belong to. @type {WeakMap<Ort, Record<string, Tensor>>} */
  const bound = new WeakMap();

  return {
    /** Tensors over buffers that hold these values, once what is queued is done. @param {Ort} ort @param {Record<string, Values>} feeds @returns {Record<string, Tensor>} */
    tensors(ort, feeds) {
      let known = bound.get(ort);
      if (!known) bound.set(ort, (known = {}));
      const all = { ...known };
      for (const key in feeds) {
        const { type, shape } = graph.inputs[key], dims = dimsOf(graph.inputs[key]);
        if (type === "int64") { // has no place on the GPU
          all[key] = new ort.Tensor(type, feeds[key], dims);
          continue;
        }
        let buffer = buffers.get(key);
        if (!buffer) buffers.set(key, (buffer = sharedBuffer(device, `${name}: ${key}`, sizeOf(shape) * BYTES[type])));
        if (!sameValues(feeds[key], held.get(key))) {
          device.queue.writeBuffer(buffer, 0, padded(feeds[key].buffer, feeds[key].byteOffset, feeds[key].byteLength));
          held.set(key, feeds[key]);
        }
        all[key] = known[key] ??= ort.Tensor.fromGpuBuffer(buffer, { dataType: type, dims });
      }
      return all;
    },

    destroy() { for (const buffer of buffers.values()) buffer.destroy(); },
  };
}
