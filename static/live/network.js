// One post-processing layer's network: its model on a provider, run on the frame's own buffers.
import { readBuffer } from "../readback.js";
import { feedsOf, sizeOf } from "./contract.js";
import { createInputs, memoryTensors, padded } from "./inputs.js";
import { ModelError, createSession, queued } from "./ort.js";

/** @typedef {import("./contract.js").Contract} Contract */
/** @typedef {import("./contract.js").Values} Values */
/** @typedef {import("./ort.js").Ort} Ort */
/** @typedef {import("./ort.js").Tensor} Tensor */
/** @typedef {import("../camera.js").Camera} Camera */
/** @typedef {import("./contract.js").Moment} Moment */
/** @typedef {import("./live.js").LiveState} LiveState */
/** @typedef {ReturnType<typeof createNetwork>} Network */
/**
 * index: of the scene's layer. name: stands in messages. read: the model's bytes. moment: of this layer. notice: one line, the picture is
 * shown all the same.
 * @typedef {{index: number, name: string, contract: Contract, read: () => Promise<Uint8Array>, executor: import("../executor.js").Executor,
 *   moment: (live: LiveState) => Moment, notice: (text: string) => void}} NetworkOptions
 */

const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** @param {NetworkOptions} options */
export function createNetwork({ index, name, contract, read, executor, moment, notice }) {
  const { device } = executor, { graph } = contract, output = contract.outputs.image.output;
  const picture = Object.keys(contract.inputs).find((key) => contract.inputs[key].meaning === "image") ?? "";
  const given = graph.inputs[picture].type, gives = graph.outputs[output].type;
  let session = open(device), destroyed = false;
  /** Inputs but the picture. */
  const inputs = createInputs(device, name, graph);
  /** Tensors over buffers of ours, by the runtime they belong to. @type {WeakMap<Ort, WeakMap<GPUBuffer, Tensor>>} */
  const bound = new WeakMap();

  /** @param {GPUDevice | null} on */
  function open(on) {
    return Object.assign(createSession(name, read, { device: on }), { gpu: on !== null });
  }

  /** @param {Ort} ort @param {GPUBuffer} buffer @param {string} type @param {number[]} dims */
  function tensor(ort, buffer, type, dims) {
    let known = bound.get(ort);
    if (!known) bound.set(ort, (known = new WeakMap()));
    const old = known.get(buffer);
    if (old && old.dims.every((d, i) => d === dims[i])) return old;
    const made = ort.Tensor.fromGpuBuffer(buffer, { dataType: type, dims });
    known.set(buffer, made);
    return made;
  }

  /** @param {Record<string, Values>} feeds @param {GPUBuffer} from @param {GPUBuffer} to @param {number[]} shape */
  async function onGpu(feeds, from, to, shape) {
    await session.run((ort) => [{ ...inputs.tensors(ort, feeds), [picture]: tensor(ort, from, given, shape) }, { [output]: tensor(ort, to, gives, shape) }]);
  }

  /** By way of the processor's memory, there and back. @param {Record<string, Values>} feeds @param {GPUBuffer} from @param {GPUBuffer} to @param {number[]} shape */
  async function onProcessor(feeds, from, to, shape) {
    const bytes = await readBuffer(executor, from.label), count = sizeOf(shape);
    const values = given === "float16" ? new Uint16Array(bytes, 0, count) : new Float32Array(bytes, 0, count);
    const results = await session.run((ort) => [{ ...memoryTensors(ort, graph, feeds), [picture]: new ort.Tensor(given, values, shape) }, { [output]: null }]);
    const { dims: got, data } = results[output];
    if (got.length !== 4 || got.some((d, i) => d !== shape[i])) throw new ModelError(`${name}: output '${output}': gave [${got.join(", ")}] for an image of [${shape.join(", ")}]; expected the same shape: mend the model`);
    if (!destroyed) device.queue.writeBuffer(to, 0, padded(data.buffer, data.byteOffset, data.byteLength));
  }

  const { size = null, overlap = 0, multiple = 1 } = contract.image ?? {};
  return {
    index, name, given, gives, image: { size, overlap, multiple },

    /** Loads runtime and model, ahead of the first run. Rejects as Session.open. */
    load: () => queued(() => session.open()),

    /**
     * One run on the frame's buffers, on the processor where it cannot on the GPU. Resolves when all is submitted. Rejects with ModelError.
     * @param {GPUBuffer} from @param {GPUBuffer} to @param {number[]} size width, height
     * @param {LiveState} live @param {Camera} camera
     */
    run: (from, to, size, live, camera) => queued(async () => {
      if (destroyed) return;
      const feeds = feedsOf(contract, moment(live), camera, IDENTITY);
      const shape = [1, 3, size[1], size[0]];
      if (!session.gpu) return onProcessor(feeds, from, to, shape);
      try {
        await onGpu(feeds, from, to, shape);
      } catch (error) {
        if (destroyed || !(error instanceof ModelError)) throw error;
        await session.release();
        session = open(null);
        await onProcessor(feeds, from, to, shape);
        notice(`${name} runs on the processor, which is slower: ${error.message.replace(`${name}: `, "")}`);
      }
    }),

    /** Frees the model after what is queued. */
    destroy() {
      if (destroyed) return;
      destroyed = true;
      queued(async () => {
        await session.release();
        inputs.destroy();
      }).catch(() => {});
    },
  };
}
