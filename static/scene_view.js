// A scene on a device: the cut of each frame, the requests it leads to, and the frame itself.
import { RENDER_DEFAULTS, createAssembler, emptyLists, layerView } from "./assemble.js";
import { createDecoder } from "./decoder.js";
import { Executor, targetFormat } from "./executor.js";
import { UnsupportedError } from "./inflate.js";
import { createLayerPages } from "./layer_pages.js";
import { constantOf } from "./layout.js";
import { openLens } from "./lens.js";
import { Cutter, cutView } from "./lod.js";
import { createPlanner, resolve } from "./plan.js";
import { createStream } from "./stream.js";

/** @typedef {import("./camera.js").Camera} Camera */
/** @typedef {import("./camera.js").Vec3} Vec3 */
/** @typedef {import("./lens.js").Lens} Lens */
/** @typedef {import("./plan.js").Frame} Frame */
/** @typedef {import("./layout.js").Layout} Layout */
/** @typedef {import("./live/live.js").Live} Live */
/**
 * memory: bytes of GPU memory for splats and meshes. threshold: pixels of error below which nothing is refined. target: the camera, and the
 * splats it may spend, for which to fetch; null while unknown. changed: the picture is out of date. trouble: failures in a row, 0
 * once over. failed: a part that cannot be read. broken: nothing can be drawn, for the device fails or the root cannot be read.
 * notice: one line about a layer that is not drawn, or not as it should be.
 * @typedef {{format: GPUTextureFormat, memory: number, threshold?: number, target: () => Target | null, changed: () => void,
 *   trouble: (failures: number) => void, failed: (error: unknown) => void, broken: (error: unknown) => void, notice?: (text: string) => void}} ViewOptions
 */
/** live: what time and controls are set to. @typedef {{camera: Camera, budget: number, live?: import("./live/live.js").LiveState}} Target */
/**
 * splats: drawn; settled: nothing more will arrive for this view; progress: share of what it needs, 0..1; submitted: when all of it is
 * with the GPU, where that takes longer than the call.
 * @typedef {{splats: number, settled: boolean, progress: number, submitted?: Promise<void>}} Drawn
 */
/** @typedef {Awaited<ReturnType<typeof createSceneView>>} SceneView */
/** centre, radius: of the ball around the splats' centres. @typedef {Awaited<ReturnType<typeof openScene>>} OpenScene */

const BUNDLE = new URL("../shaders/bundle.json", import.meta.url), LIVE_BUNDLE = new URL("../shaders/bundle_live.json", import.meta.url);
/** Refine until an error is hard to see: viewer/tree.py scales errors so that it is one at a pixel. */
const THRESHOLD = 1;
/** Slots a page takes at most, when its own number is not known yet. */
const PAGE_SLOTS = 16;
const LIVE_KINDS = ["generator", "sequence", "postprocess"];
/** Kinds of layers whose frames the first bundle has not all of. */
const RARE_KINDS = ["mesh", ...LIVE_KINDS];
/** A picture needs one of them. */
const SHOWN_KINDS = ["splats", "mesh", "generator", "sequence"];
/** Coefficients of one splat's SH are packed in this many words, by degree. @param {Layout} layout @param {number} degree */
const shWords = (layout, degree) => degree ? constantOf(layout, `SH_WORDS_${degree}`) : 0;

/**
 * All that a frame of stored splats is made of, or what the frames of all scenes are made of besides (server_bundles.py).
 * @typedef {{layout: Layout, pipeline: Frame, files: Record<string, string>}} Bundle
 */

/** @param {URL} url @returns {Promise<Bundle>} */
async function fetchBundle(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}, expected a part of the viewer`);
  return response.json();
}

/**
 * Reads a file's head; what else it takes to draw is fetched meanwhile.
 * @param {import("./bytes.js").Source} source @param {AbortSignal} signal
 */
export async function openScene(source, signal) {
  const bundles = [fetchBundle(BUNDLE)];
  bundles[0].catch(() => {});
  const decoder = createDecoder();
  signal.addEventListener("abort", () => decoder.destroy());
  const lens = await openLens(source.getBytes, { name: source.name, size: source.size, decoder, signal });
  if (!lens.layers.some((l) => SHOWN_KINDS.includes(l.kind))) throw new UnsupportedError(`${lens.name}: none of its layers (${lens.layers.map((l) => l.kind).join(", ")}) can be drawn by this version`);
  if (lens.layers.some((l) => RARE_KINDS.includes(l.kind))) bundles.push(fetchBundle(LIVE_BUNDLE));
  const frame = Promise.all(bundles).then(([first, all = first]) => ({ ...all, files: { ...first.files, ...all.files } }));
  frame.catch(() => {});
  const { up, background, camera, bounds } = lens.scene;
  const centre = /** @type {Vec3} */ (bounds ? bounds[0].map((low, i) => (low + bounds[1][i]) / 2) : [0, 0, 0]);
  const radius = bounds ? Math.hypot(...bounds[0].map((low, i) => bounds[1][i] - low)) / 2 || 1 : 1;
  return {
    info: lens.scene, contentId: lens.contentId, up, background, camera, centre, radius,
    /** @param {GPUDevice} device @param {ViewOptions} options */
    createView: async (device, options) => createSceneView(lens, device, await frame, options),
  };
}

/**
 * @param {Lens} lens @param {GPUDevice} device @param {Bundle} frame @param {ViewOptions} options
 */
async function createSceneView(lens, device, { layout, pipeline, files }, { format, memory, threshold = THRESHOLD, target, changed, trouble, failed, broken, notice = () => {} }) {
  const executor = new Executor(device, { load: (path) => files[path], canvasFormat: format, onError: broken });
  const formats = { color: targetFormat(device) }, planner = createPlanner(pipeline, layout, formats), assemble = createAssembler(layout), cutter = new Cutter();
  const slotWords = constantOf(layout, "SLOT_WORDS"), group = constantOf(layout, "GROUP");
  const abort = new AbortController();
  const meshes = await openMeshes().catch((error) => {
    executor.destroy();
    throw error;
  });
  const drawable = lens.layers.flatMap((layer) => {
    if (!layer.splats) return [];
    const sh = shWords(layout, layer.splats.shDegree) * group;
    return [{ layer, pages: layer.splats, sh, bytes: 4 * (slotWords + sh) }];
  });
  const all = drawable.reduce((n, d) => n + d.pages.clusters, 0);
  if (meshes) {
    // Splats and meshes share as they would need; every cluster twice over is enough whatever it takes.
    const need = drawable.reduce((n, d) => n + 2 * d.pages.clusters * d.bytes, meshes.need), share = Math.min(meshes.need, memory * meshes.need / need);
    meshes.reserve(share);
    memory -= share;
  }
  const limit = Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize);
  const layers = drawable.map(({ layer, pages, sh, bytes }, k) => {
    // The layer's share of the memory, and what can be bound.
    const slots = Math.min(2 * pages.clusters, Math.max(64, Math.floor(memory * pages.clusters / all / bytes)), Math.floor(limit / (4 * Math.max(slotWords, sh))));
    return createLayerPages(layer, pages, {
      slots, slotWords, shSlotWords: sh,
      write: (words, slot, isSh) => executor.write(`${isSh ? "sh_words" : "geometry"}.${k}`, words, 4 * slot * (isSh ? sh : slotWords)),
    });
  });
  let frame = 0, done = 0, destroyed = false;
  /** Items that found no place, asked for again when the view changes; and such as cannot be read. @type {Set<string>} */
  const refused = new Set(), unreadable = new Set();
  /** The last cut, what it was made for and what it lacks; null when something arrived since. @type {{key: string, cut: import("./lod.js").Cut, keys: string[]} | null} */
  let current = null;
  let seen = "";
  /** @type {Live | null} */
  let live = null;

  /** Makes the buffers and compiles the stages of a frame with these lists. @param {Record<string, import("./plan.js").Entry[]>} lists */
  async function compile(lists) {
    const numbers = { groups: 1, layers: 1, width: 1, height: 1, max_groups: device.limits.maxComputeWorkgroupsPerDimension };
    const plan = resolve(pipeline, layout, numbers, { ...emptyLists(), ...lists }, formats);
    executor.prepare(plan);
    await executor.compile(plan);
  }

  /** The scene's meshes; their modules are fetched by scenes that have any. @returns {Promise<import("./mesh/mesh.js").Meshes | null>} */
  async function openMeshes() {
    if (!lens.layers.some((l) => l.kind === "mesh")) return null;
    const alone = !lens.layers.some((l) => l.kind !== "mesh" && SHOWN_KINDS.includes(l.kind));
    try {
      const { createMeshes } = await import("./mesh/mesh.js");
      return await createMeshes(lens, {
        executor, layout, compile, near: RENDER_DEFAULTS.near, threshold, camera: () => target()?.camera ?? null, changed, trouble, notice, failed,
        empty: (error) => alone && broken(error), signal: abort.signal,
      });
    } catch (error) {
      if (alone) throw error;
      failed(error);
      return null;
    }
  }

  /** The part of the scene that is made anew each moment; its modules are fetched by scenes that have one. @returns {Promise<Live | null>} */
  async function openLive() {
    if (!lens.layers.some((l) => LIVE_KINDS.includes(l.kind))) return null;
    try {
      const { createLive } = await import("./live/live.js");
      return await createLive(lens, { executor, layout, compile, changed, notice, signal: abort.signal });
    } catch (error) {
      if (!layers.length) throw error;
      failed(error);
      return null;
    }
  }

  /** One request: `layer:page` of geometry, `layer:page:sh` of its SH. @param {string} key @param {AbortSignal} signal */
  async function load(key, signal) {
    const [k, page, sh] = key.split(":"), layer = layers[Number(k)];
    if (sh) {
      const waiting = layer.waiting(Number(page));
      if (waiting) {
        const words = await layer.pages.sh(waiting, signal);
        signal.throwIfAborted();
        layer.addSh(waiting, words);
      }
    } else {
      const got = await layer.pages.page(Number(page), signal);
      signal.throwIfAborted();
      if (!layer.add(got, frame)) refused.add(key);
    }
    done++;
  }
  const stream = createStream({
    load, trouble,
    failed(/** @type {string} */ key, error) {
      unreadable.add(key);
      (key.endsWith(":0") ? broken : failed)(error);
    },
    changed() {
      if (destroyed) return;
      current = null;
      // At once, not with the next frame: the network does not wait for the GPU.
      const now = target();
      if (now) choose(now);
      changed();
    },
  });

  /** The cut for a camera, and the requests it leads to. @param {Target} target */
  function choose({ camera, budget }) {
    budget -= live?.rows ?? 0;
    const view = camera.worldToCamera.join(), key = `${view} ${camera.width} ${camera.height} ${camera.fx} ${budget}`;
    if (current?.key === key) return current;
    if (view !== seen) refused.clear();
    seen = view;
    frame++;
    const cut = cutter.cut(layers.map((l) => ({ nodes: l.nodes, view: cutView(camera, RENDER_DEFAULTS.near, l.layer.transform), resident: l.resident })), budget, threshold);
    layers.forEach((l, k) => l.use(cut.clusters[k], frame));
    const keys = missing(cut.wanted);
    current = { key, cut, keys };
    stream.want(keys);
    return current;
  }

  /** Keys of what the last cut lacks, most wanted first; no more pages than could find a place. @param {number[]} wanted pairs (layer, cluster) */
  function missing(wanted) {
    /** @type {Set<string>} */
    const keys = new Set();
    const room = layers.map((l) => l.pool.free + l.pool.reclaimable(frame));
    for (let i = 0; i < wanted.length; i += 2) {
      const k = wanted[i], page = layers[k].pageBelow(wanted[i + 1]), key = `${k}:${page}`;
      if (keys.has(key) || refused.has(key) || unreadable.has(key) || layers[k].pool.has(page)) continue;
      if (room[k] < Math.min(PAGE_SLOTS, layers[k].pool.capacity)) continue;
      room[k] -= PAGE_SLOTS;
      keys.add(key);
    }
    layers.forEach((l, k) => { for (const page of l.bare()) keys.add(`${k}:${page}:sh`); });
    return [...keys].filter((key) => !unreadable.has(key));
  }

  try {
    // Everything a frame needs, before the first one: buffers, so that pages can be written, and pipelines.
    const lists = { ...emptyLists(), cluster_layers: layers.map((l) => ({ groups: 1, slots: l.pool.capacity, sh_slot_words: shWords(layout, l.pages.shDegree) * group })) };
    const first = planner({ groups: layers.length, layers: Math.max(1, layers.length), width: 1, height: 1, max_groups: device.limits.maxComputeWorkgroupsPerDimension }, lists);
    executor.prepare(first);
    stream.want(layers.map((_, k) => `${k}:0`)); // while the pipelines compile
    [live] = await Promise.all([openLive(), executor.compile(first), meshes?.load()]);
    live?.load();
  } catch (error) {
    destroyed = true;
    abort.abort();
    stream.destroy();
    meshes?.destroy();
    executor.destroy();
    throw error;
  }

  return {
    /** What is made anew each moment; null where the scene has nothing of the kind. */
    get live() { return live; },
    get splats() { return (current?.cut.splats ?? 0) + (live?.rows ?? 0); },
    retry() {
      stream.retry();
      meshes?.retry();
    },

    /**
     * Draws a frame, or nothing while there is nothing to draw or a model is at it.
     * @param {Target} target @param {number[]} ground rgba, 0..1 @param {() => GPUTexture} texture
     * @returns {Drawn | null}
     */
    draw(target, ground, texture) {
      const { camera } = target, ready = live?.update(target.live, camera) ?? "settled", { cut, keys } = choose(target), meshed = meshes?.frame(camera);
      const lacking = keys.length + (meshes?.pending ?? 0), arrived = lacking + stream.inFlight === 0, settled = arrived && ready === "settled" && !live?.loading;
      if (arrived) {
        done = 0;
        meshes?.rest();
      }
      if (ready === "wait" || (layers.every((l) => l.pool.size === 0) && !live?.drawable && !meshes?.drawable)) return null;
      const moving = live?.draws(), streamed = layers.map((l) => l.draws());
      const draws = lens.layers.flatMap(({ index }) => /** @type {import("./assemble.js").Draws[]} */ (moving?.get(index) ?? streamed.filter((_, k) => layers[k].layer.index === index)));
      const made = assemble(camera, { ...RENDER_DEFAULTS, background: ground }, draws, device.limits.maxComputeWorkgroupsPerDimension);
      const images = live?.images(camera), plan = planner(made.numbers, { ...made.lists, ...meshed?.lists, ...images?.lists });
      const anew = executor.prepare(plan);
      meshed?.upload(anew);
      for (const name in made.uploads) executor.write(name, /** @type {Uint8Array<ArrayBuffer>} */ (made.uploads[name].bytes));
      const look = settled && live?.watch();
      const submitted = images?.draw(plan, texture);
      if (!images) executor.run(plan, texture());
      live?.after(camera, look || []);
      const came = done + (meshes?.done ?? 0), share = arrived ? 1 : came / (came + lacking + 1e-9);
      return { splats: cut.splats + (live?.rows ?? 0), settled, progress: Math.min(share, live?.loading ? 0.99 : 1), submitted };
    },

    /**
     * The scene point under a pixel: of the nearest mesh, or the middle of the nearest drawn cluster's box that the ray crosses; null
     * where there is none.
     * @param {Camera} camera @param {number} x @param {number} y pixels
     * @returns {Promise<Vec3 | null>}
     */
    async pick(camera, x, y) {
      let best = await meshes?.depth(x, y) ?? Infinity;
      const ray = [(x - camera.cx) / camera.fx, (y - camera.cy) / camera.fy, 1], m = camera.worldToCamera;
      const world = [0, 1, 2].map((i) => ray[0] * m[i] + ray[1] * m[4 + i] + ray[2] * m[8 + i]);
      const position = [0, 1, 2].map((i) => -(m[3] * m[i] + m[7] * m[4 + i] + m[11] * m[8 + i]));
      for (const l of layers) {
        const { view, eye } = layerView(camera, l.layer.transform), d = unproject(view, ray);
        for (const c of l.drawn) best = Math.min(best, crossing(eye, d, l.box, 6 * c));
      }
      for (const { transform, box } of live?.boxes ?? []) {
        const { view, eye } = layerView(camera, transform);
        best = Math.min(best, crossing(eye, unproject(view, ray), box, 0));
      }
      return best < Infinity ? /** @type {Vec3} */ (position.map((p, i) => p + best * world[i])) : null;
    },

    destroy() {
      if (destroyed) return;
      destroyed = true;
      abort.abort();
      stream.destroy();
      meshes?.destroy();
      live?.destroy();
      executor.destroy();
    },
  };
}

/** The direction that `view` (16 numbers, row-major) turns into `ray`, by Cramer's rule. @param {ArrayLike<number>} view @param {number[]} ray */
function unproject(view, ray) {
  const a = [0, 1, 2].map((c) => [view[c], view[4 + c], view[8 + c]]);
  /** @param {number[]} p @param {number[]} q @param {number[]} r */
  const det = (p, q, r) => p[0] * (q[1] * r[2] - q[2] * r[1]) - p[1] * (q[0] * r[2] - q[2] * r[0]) + p[2] * (q[0] * r[1] - q[1] * r[0]);
  const d = det(a[0], a[1], a[2]);
  return [det(ray, a[1], a[2]) / d, det(a[0], ray, a[2]) / d, det(a[0], a[1], ray) / d];
}

/**
 * Where a ray is halfway through a box, in lengths of its direction; Infinity where it misses, or starts inside.
 * @param {number[]} from @param {number[]} along @param {ArrayLike<number>} box 6 numbers from `at` on @param {number} at
 */
function crossing(from, along, box, at) {
  let enter = 0, leave = Infinity;
  for (let k = 0; k < 3; k++) {
    const a = (box[at + k] - from[k]) / along[k], b = (box[at + 3 + k] - from[k]) / along[k];
    enter = Math.max(enter, Math.min(a, b));
    leave = Math.min(leave, Math.max(a, b));
  }
  return enter > 0 && enter <= leave ? (enter + leave) / 2 : Infinity;
}
