// Post-processing networks in the frame: the picture is drawn, then for each run of a network its tensor is made, the network
// queued and its output painted, then the last picture is presented. Nothing leaves the GPU (viewer/postprocess.py does it headless).
import { readBuffer } from "../readback.js";
import { imageLists } from "./tiles.js";

/** @typedef {import("../camera.js").Camera} Camera */
/** @typedef {import("../executor.js").Executor} Executor */
/** @typedef {import("../plan.js").Plan} Plan */
/** @typedef {import("./tiles.js").ImageLayer} ImageLayer */
/** @typedef {import("./tiles.js").ImageLists} ImageLists */
/** @typedef {import("./live.js").LiveState} LiveState */
/**
 * index: of the scene's layer. run: queues one run of the network on our own buffers, whose tensors are [1, 3, size[1], size[0]]; it
 * resolves when the run is submitted, and rejects where the network fails.
 * @typedef {ImageLayer & {index: number, name: string,
 *   run: (input: GPUBuffer, output: GPUBuffer, size: number[], live: LiveState, camera: Camera) => Promise<void>}} NetworkLayer
 */
/**
 * compile: the stages of a frame with these lists. changed: the picture is out of date. notice: one line, the picture is shown all
 * the same. failed: a layer's network, which takes no part from then on.
 * @typedef {{executor: Executor, layout: import("../layout.js").Layout, compile: (lists: ImageLists) => Promise<unknown>,
 *   changed: () => void, notice: (text: string) => void, failed: (index: number, error: unknown) => void}} PostprocessOptions
 */

/** @typedef {ReturnType<typeof createPostprocess>} Postprocess */

/**
 * Layers may be added as their models arrive. A frame: `lists` (null: draw as without) joins the lists given to the planner, then
 * `draw` instead of `executor.run`.
 * @param {PostprocessOptions} options
 */
export function createPostprocess({ executor, layout, compile, changed, notice, failed }) {
  /** Ascending by index. @type {NetworkLayer[]} */
  const layers = [];
  /** Of `made`, so that a steady frame makes nothing. */
  let key = "";
  /** @type {(ReturnType<typeof imageLists> & {active: NetworkLayer[]}) | null} */
  let made = null;
  /** A plan cut before each image_paint. @type {WeakMap<Plan, Plan[]>} */
  const parts = new WeakMap();
  /** Lists whose tiles are in the uniforms of the last plan. @type {{made: unknown, plan: Plan | null}} */
  let written = { made: null, plan: null };
  /** Settings whose output was looked at for values that are not finite. */
  let checked = "";
  /** @type {Promise<unknown> | null} */
  let compiled = null;
  let busy = false, again = false, destroyed = false;

  /** @param {NetworkLayer} layer @param {unknown} error */
  function drop(layer, error) {
    const at = layers.indexOf(layer);
    if (at >= 0) layers.splice(at, 1);
    failed(layer.index, error);
    changed();
  }

  /** Tells of pixels that were shown unprocessed. A read-back: once for each setting of the layers, never while nothing is set.
   * @param {NetworkLayer[]} active @param {number} pixels */
  async function check(active, pixels) {
    for (const [k, layer] of active.entries()) {
      const [lost] = new Uint32Array(await readBuffer(executor, `image_lost.${k}`));
      if (lost && !destroyed) notice(`${layer.name}: ${lost} of ${pixels} pixels came out not finite and are shown unprocessed`);
    }
  }

  return {
    /**
     * Resolves once the layer takes part: the stages are the same whatever the size, and for all layers. Rejects as `compile`.
     * @param {NetworkLayer} layer
     */
    async add(layer) {
      compiled ??= compile(imageLists(layout, [layer], 1, 1).lists);
      await compiled;
      if (destroyed) return;
      layers.push(layer);
      layers.sort((a, b) => a.index - b.index);
      changed();
    },

    /** Whether a frame may start. Where one is under way, `changed` asks for the next when that is over. */
    free() {
      again ||= busy;
      return !busy;
    },

    /** What the frame's lists need beside its own; null where no network takes part. @param {LiveState} live @param {Camera} camera */
    lists(live, { width, height }) {
      const active = layers.filter((layer) => !live.off?.[layer.index]);
      if (!active.length) return null;
      const now = `${width} ${height} ${active.map((layer) => layer.index)}`;
      if (now !== key || !made) made = { ...imageLists(layout, active, width, height), active };
      key = now;
      return made.lists;
    },

    /**
     * Submits a prepared plan made with the last `lists`, in parts with the networks between them. Resolves when all is submitted;
     * where a network fails the frame is not presented, and `changed` asks for one without it.
     * @param {Plan} plan @param {LiveState} live @param {Camera} camera @param {() => GPUTexture | undefined} texture the canvas's, asked for at the end
     */
    async draw(plan, live, camera, texture) {
      if (!made) throw new Error("no post-processing network takes part in this frame");
      const { active, runs } = made, part = split(plan, parts);
      busy = true;
      try {
        if (written.made !== made || written.plan !== plan) runs.forEach(({ bytes }, i) => executor.write(`image_tile.${i}`, bytes));
        written = { made, plan };
        const settings = JSON.stringify([key, active.map(({ index }) => live.controls[index])]), look = settings !== checked;
        if (look) active.forEach((_, k) => executor.write(`image_lost.${k}`, new Uint32Array(4)));
        checked = settings;
        executor.run(part[0]);
        for (const [i, { layer, tile }] of runs.entries()) {
          const input = executor.buffer(`image_input.${layer}`), output = executor.buffer(`image_output.${layer}`);
          try {
            await active[layer].run(input, output, tile.size, live, camera);
          } catch (error) {
            if (!destroyed) drop(active[layer], error);
            return;
          }
          if (destroyed) return;
          executor.run(part[i + 1], i === runs.length - 1 ? texture() : undefined);
        }
        if (look) check(active, camera.width * camera.height).catch(() => {}); // the device's loss is told elsewhere
      } finally {
        busy = false;
        if (again && !destroyed) changed();
        again = false;
      }
    },

    destroy() {
      destroyed = true;
      layers.length = 0;
      made = null;
    },
  };
}

/** A plan cut before each image_paint, the same objects for the same plan. @param {Plan} plan @param {WeakMap<Plan, Plan[]>} known */
function split(plan, known) {
  let made = known.get(plan);
  if (!made) {
    const at = plan.passes.flatMap((pass, i) => pass.name === "image_paint" ? [i] : []);
    made = [0, ...at].map((from, k) => ({ ...plan, passes: plan.passes.slice(from, at[k]) }));
    known.set(plan, made);
  }
  return made;
}
