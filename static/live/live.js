// The layers of a scene that are made anew for every moment: generators, sequences, post-processing networks.
import { emptyLists } from "../assemble.js";
import { parseContract } from "./contract.js";
import { createGenerator, outputsOf } from "./generator.js";
import { RuntimeMissingError } from "./ort.js";

/** @typedef {import("../lens.js").Lens} Lens */
/** @typedef {import("../lens.js").Layer} Layer */
/** @typedef {import("../camera.js").Camera} Camera */
/** @typedef {import("../plan.js").Entry} Entry */
/** @typedef {import("../assemble.js").Draws} Draws */
/** @typedef {import("./contract.js").Contract} Contract */
/** @typedef {import("./generator.js").Generator} Generator */
/** @typedef {import("./network.js").Network} Network */
/** @typedef {import("./sequence.js").Sequence} Sequence */
/**
 * What the scene is set to, owned by the viewer (playback.js). Keys are indices of layers; tracks: null for none, the first where not
 * said; off: layers that take no part.
 * @typedef {{seconds: number, controls: Record<number, Record<string, number>>, tracks: Record<number, string | null>, off?: Record<number, boolean>}} LiveState
 */
/**
 * One of them. contract: null where it cannot be read; of a sequence only its `time`. runs: of a generator's model so far.
 * @typedef {{index: number, kind: string, name: string, contract: Contract | import("./sequence.js").SequenceContract | null,
 *   state: "loading" | "ready" | "failed", error: unknown, runs: number}} LiveLayer
 */
/**
 * settled: every output is of its own inputs. stale: the last finished ones may be drawn. wait: a run is writing into what a frame reads,
 * or is about to; `changed` tells when it is over.
 * @typedef {"settled" | "stale" | "wait"} Readiness
 */
/**
 * compile: the stages of a frame with these lists, and its buffers. changed: the picture is out of date. notice: one line for the
 * reader; the rest of the scene is drawn.
 * @typedef {{executor: import("../executor.js").Executor, layout: import("../layout.js").Layout, compile: (lists: Record<string, Entry[]>) => Promise<unknown>,
 *   changed: () => void, notice: (text: string) => void, signal: AbortSignal}} LiveOptions
 */
/** @typedef {Awaited<ReturnType<typeof createLive>>} Live */

/** Kinds of layers that are live. */
export const LIVE_KINDS = ["generator", "sequence", "postprocess"];
/** @type {LiveState} */
const AT_REST = { seconds: 0, controls: {}, tracks: {} };

/** @param {unknown} error */
const textOf = (error) => error instanceof Error ? error.message : String(error);

/**
 * Reads the contracts; `load` then reads the models, which are many times larger.
 * @param {Lens} lens @param {LiveOptions} options
 */
export async function createLive(lens, { executor, layout, compile, changed, notice, signal }) {
  const chosen = lens.layers.filter((layer) => LIVE_KINDS.includes(layer.kind));
  /** @type {LiveLayer[]} */
  const layers = chosen.map(({ index, kind, name }) => ({ index, kind, name: name || `layer ${index}`, contract: null, state: "loading", error: null, runs: 0 }));
  /** By index of the layer. @type {Map<number, Generator>} */
  const generators = new Map();
  /** @type {Map<number, Sequence>} */
  const sequences = new Map();
  /** @type {Map<number, Network>} */
  const networks = new Map();
  /** @type {import("./postprocess.js").Postprocess | null} */
  let post = null;
  let state = AT_REST, batch = false, fresh = false, destroyed = false, missing = false;
  /** Settings that were looked at for splats left out, by layer. @type {Map<number, string>} */
  const looked = new Map();

  /** @param {LiveLayer} layer @param {unknown} error */
  function fail(layer, error) {
    if (destroyed || layer.state === "failed") return;
    Object.assign(layer, { state: "failed", error });
    generators.get(layer.index)?.destroy();
    networks.get(layer.index)?.destroy();
    // Once, however many layers wait for it.
    if (!(error instanceof RuntimeMissingError && missing)) notice(textOf(error));
    missing ||= error instanceof RuntimeMissingError;
    changed();
  }

  /** @param {Layer} layer */
  async function contractOf(layer) {
    const file = `${lens.name}: layer ${layer.index}`;
    const [text, tracks] = await Promise.all([layer.blob("contract", signal), layer.blobs.includes("tracks") ? layer.blob("tracks", signal) : new Uint8Array(0)]);
    return parseContract(text, tracks, file);
  }

  await Promise.all(layers.map(async (one, i) => {
    const layer = chosen[i];
    try {
      if (one.kind === "sequence") {
        const { createSequence } = await import("./sequence.js");
        const sequence = await createSequence(layer, { executor, signal });
        sequences.set(one.index, sequence);
        one.contract = sequence.contract;
      } else one.contract = await contractOf(layer);
    } catch (error) {
      if (signal.aborted) throw error;
      fail(one, error);
    }
  }));

  // Buffers are numbered in the order of the layers, of all that may ever be drawn: a number never changes.
  let outputs = 0;
  const { maxStorageBufferBindingSize, maxBufferSize } = executor.device.limits, limit = Math.min(maxStorageBufferBindingSize, maxBufferSize);
  for (const [i, one] of layers.entries()) {
    if (one.state === "failed" || one.kind === "sequence") continue;
    const { index, name } = one, layer = chosen[i], contract = /** @type {Contract} */ (one.contract);
    const largest = one.kind === "generator" ? 4 * Math.max(...outputsOf(contract).words) : 0;
    if (largest > limit) {
      fail(one, new Error(`${name}: ${contract.capacity} splats take an output of ${largest} bytes, this adapter binds at most ${limit}: make a model of fewer`));
      continue;
    }
    const read = () => layer.blob("model", signal), moment = (/** @type {LiveState} */ live) => momentOf(index, contract, live);
    if (one.kind === "generator") {
      generators.set(index, createGenerator({ name, contract, transform: layer.transform, read, executor, number: generators.size, firstOutput: outputs, notice }));
      outputs += outputsOf(contract).names.length;
    } else {
      const { createNetwork } = await import("./network.js");
      networks.set(index, createNetwork({ index, name, contract, read, executor, moment, notice }));
    }
  }

  /** @param {number} index @param {Contract} contract @param {LiveState} live */
  function momentOf(index, contract, live) {
    const track = live.tracks[index];
    return { seconds: live.seconds, controls: live.controls[index] ?? {}, track: track === undefined ? contract.tracks[0]?.name ?? null : track };
  }

  /** Generators that take part. */
  const running = () => layers.flatMap((layer) => {
    const generator = generators.get(layer.index);
    return generator && layer.state === "ready" ? [{ layer, generator }] : [];
  });

  /** Lists of pipeline.json for the stages of every live layer, and the buffers of all their outputs. */
  function lists() {
    const all = emptyLists();
    for (const generator of generators.values()) {
      const { words, columns } = generator.draws(), base = all.generated_outputs.length;
      const entry = Object.fromEntries(Object.entries(columns).map(([name, [output]]) => [name, `generated_output.${base + output}`]));
      all.generated_outputs.push(...words.map((n) => ({ words: n })));
      all.generated_layers.push({ groups: 1, ...entry });
    }
    // In the order of the frame: which of two is opened first is open.
    for (const { index } of layers) sequences.get(index)?.lists(all);
    return all;
  }

  /** @param {LiveLayer} layer */
  async function loadLayer(layer) {
    const { index } = layer, network = networks.get(index);
    try {
      if (network) {
        await network.load();
        if (!post) {
          const { createPostprocess } = await import("./postprocess.js");
          post ??= createPostprocess({ executor, layout, compile, changed, notice, failed: (at, error) => fail(/** @type {LiveLayer} */ (layers.find((l) => l.index === at)), error) });
        }
        if (destroyed) return;
        await post.add(network);
      } else await (generators.get(index)?.load() ?? sequences.get(index)?.load());
      if (destroyed || layer.state === "failed") return;
      layer.state = "ready";
      changed();
    } catch (error) {
      if (!signal.aborted) fail(layer, error);
    }
  }

  /** Runs all that lack outputs of a moment, one after another; a frame is drawn from all of them. @param {{layer: LiveLayer, generator: Generator, feeds: Record<string, import("./contract.js").Values>}[]} due */
  async function start(due) {
    batch = true;
    for (const { layer, generator, feeds } of due) {
      if (destroyed) break;
      await generator.run(feeds).catch((error) => fail(layer, error));
      layer.runs = generator.ran;
    }
    batch = false;
    fresh = true;
    if (!destroyed) changed();
  }

  /** @param {LiveState} now @param {Camera} camera */
  const dueFor = (now, camera) => running().flatMap(({ layer, generator }) => {
    const feeds = generator.feeds(momentOf(layer.index, generator.contract, now), camera);
    return generator.current(feeds) ? [] : [{ layer, generator, feeds }];
  });

  /** Running layers with other settings than last time; what is left out of them in the next frame will be known. */
  function watched() {
    const due = running().filter(({ layer, generator }) => {
      const { controls, track } = momentOf(layer.index, generator.contract, state), key = JSON.stringify([controls, track]);
      const seen = looked.get(layer.index) === key;
      looked.set(layer.index, key);
      return generator.ran && !seen;
    });
    for (const { generator } of due) generator.watch();
    return due;
  }

  /** Tells of splats that were left out. A read-back: once for each setting, never while it plays. @param {ReturnType<typeof watched>} due */
  async function report(due) {
    for (const { generator } of due) {
      const { count, left, rows } = await generator.culled();
      if (destroyed) return;
      if (left > 0) notice(`${generator.name}: ${left} of ${rows} splats have values that are not finite, or no rotation, and are left out`);
      if (count < 0 || count > rows) notice(`${generator.name}: its count is ${count}, of ${rows} rows; ${count < 0 ? "none" : "all"} are drawn`);
    }
  }

  const live = {
    layers,
    /** Most splats that generators and sequences may draw. */
    get rows() { return [...live.draws().values()].flat().reduce((n, one) => n + ("rows" in one ? one.rows : 0), 0); },
    /** Of the centres of what is drawn, where known. */
    get boxes() { return [...live.draws().values()].flat().flatMap((one) => "box" in one && one.box && one.rows ? [{ transform: one.transform, box: one.box }] : []); },
    /** Seconds that the longest of what depends on time takes; 0 where nothing does. */
    get duration() {
      return Math.max(0, ...layers.map(({ index, contract, state: s }) => {
        if (!contract || s === "failed") return 0;
        if (!("inputs" in contract)) return contract.time.duration;
        const meanings = Object.values(contract.inputs).map((one) => one.meaning), { track } = momentOf(index, contract, state);
        const timed = meanings.includes("time") || meanings.includes("frame") ? contract.time?.duration ?? 0 : 0;
        return Math.max(timed, meanings.includes("track") ? contract.tracks.find((one) => one.name === track)?.duration ?? 0 : 0);
      }));
    },
    get loading() { return layers.some((layer) => layer.state === "loading"); },
    /** Whether there is anything to draw, or nothing will ever be. */
    get drawable() { return running().some(({ generator }) => generator.ran) || layers.some((l) => l.kind === "sequence" && l.state === "ready") || !live.loading; },

    /** The networks' part in the next frame, null where none takes part: lists for the plan, and the drawing of it. @param {Camera} camera */
    images(camera) {
      const own = post, lists = own?.lists(state, camera);
      if (!own || !lists) return null;
      return { lists, draw: (/** @type {import("../plan.js").Plan} */ plan, /** @type {() => GPUTexture} */ texture) => own.draw(plan, state, camera, texture) };
    },

    /** Reads models and makes sessions, in the background; call it once the streamed splats have been asked for. */
    load() {
      const all = layers.filter((layer) => layer.state === "loading");
      const ready = generators.size || sequences.size ? compile(lists()) : Promise.resolve();
      ready.then(() => all.forEach(loadLayer), (error) => { for (const layer of all) fail(layer, error); });
    },

    /**
     * Sees to it that outputs of this moment come. Call `after` once a frame is drawn from those that are there.
     * @param {LiveState | undefined} now @param {Camera} camera @returns {Readiness}
     */
    update(now, camera) {
      state = now ?? AT_REST;
      if (post && !post.free()) return "wait";
      if (batch) return running().some(({ generator }) => generator.gpu || generator.writing) ? "wait" : "stale";
      const due = dueFor(state, camera);
      if (!due.length) return "settled";
      // Play moves on while a run is under way: what it gave is drawn before the next one overwrites it.
      if (fresh) return "stale";
      start(due);
      return due.some(({ generator }) => generator.gpu) ? "wait" : "stale";
    },

    /** A frame was drawn: the outputs may be overwritten. @param {Camera} camera @param {ReturnType<typeof watched>} look what `watch` gave */
    after(camera, look) {
      if (look.length) report(look).catch(() => {}); // the device's loss is told elsewhere
      if (!fresh || batch) return;
      fresh = false;
      const due = dueFor(state, camera);
      if (due.length) start(due);
    },

    /** What a frame draws of each layer, by the layer's index; no rows of one that is not ready. */
    draws() {
      /** @type {Map<number, (import("../assemble.js").GeneratedDraws | import("../assemble.js").SequenceDraws)[]>} */
      const all = new Map();
      for (const [index, generator] of generators) {
        const made = generator.draws();
        all.set(index, [layers.some((l) => l.index === index && l.state === "ready") ? made : { ...made, rows: 0 }]);
      }
      for (const [index, sequence] of sequences) all.set(index, sequence.parts(state.seconds));
      return all;
    },

    /** Before a settled frame: the layers whose settings are new since they were last looked at. */
    watch: watched,

    destroy() {
      if (destroyed) return;
      destroyed = true;
      post?.destroy();
      for (const one of [...generators.values(), ...networks.values(), ...sequences.values()]) one.destroy();
    },
  };
  return live;
}
