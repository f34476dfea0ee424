// The mesh layers of a scene: which of their nodes a view needs, the requests that leads to, and their part in a frame.
import { constantOf } from "../layout.js";
import { Cutter, cutView } from "../lod.js";
import { readTexture } from "../readback.js";
import { createStream } from "../stream.js";
import { createMeshAssembler } from "./assemble.js";
import { createMeshLayer } from "./layer.js";
import { openMesh } from "./nodes.js";
import { createMeshPool } from "./pool.js";

/** @typedef {import("../lens.js").Lens} Lens */
/** @typedef {import("../lens.js").Layer} Layer */
/** @typedef {import("../camera.js").Camera} Camera */
/** @typedef {import("../plan.js").Entry} Entry */
/** @typedef {import("../plan.js").Plan} Plan */
/** @typedef {import("./layer.js").MeshLayer} MeshLayer */
/** @typedef {Awaited<ReturnType<typeof createMeshes>>} Meshes */
/**
 * compile: the stages of a frame with these lists, and its buffers, which are made before it returns. near: world units. threshold:
 * pixels of error below which nothing is refined. camera: for which to fetch; null while unknown. changed: the picture is out of
 * date. notice: one line about a layer that is not drawn. failed: a part that cannot be read. empty: no mesh layer is left.
 * @typedef {{executor: import("../executor.js").Executor, layout: import("../layout.js").Layout, compile: (lists: Record<string, Entry[]>) => Promise<unknown>,
 *   near: number, threshold: number, camera: () => Camera | null, changed: () => void, trouble: (failures: number) => void,
 *   notice: (text: string) => void, failed: (error: unknown) => void, empty: (error: unknown) => void, signal: AbortSignal}} MeshOptions
 */

/** Stages and buffers do not depend on the camera. @type {Camera} */
const ANYWHERE = { width: 1, height: 1, fx: 1, fy: 1, cx: 0, cy: 0, worldToCamera: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] };

/**
 * Reads the layers' nodes. Then `reserve`, then `load`. Layers that cannot be read are told by `notice`.
 * @param {Lens} lens @param {MeshOptions} options
 */
export async function createMeshes(lens, { executor, layout, compile, near, threshold, camera, changed, trouble, notice, failed, empty, signal }) {
  const { device } = executor, assemble = createMeshAssembler(layout), cutter = new Cutter();
  /** @type {MeshLayer[]} */
  let layers = [];
  /** @type {unknown} */
  let reason = null;
  let pages = 0;
  const opened = await Promise.all(lens.layers.filter((layer) => layer.kind === "mesh").map(async (layer) => {
    try {
      return { layer, file: await openMesh(layer, `${lens.name}: layer ${layer.index}`, signal) };
    } catch (error) {
      if (signal.aborted) throw error;
      refuse(layer, error);
      return null;
    }
  }));
  for (const one of opened) {
    if (!one) continue;
    layers.push(createMeshLayer(one.layer, one.file, pages));
    pages += one.file.pages;
  }
  if (!layers.length) empty(reason);
  let pool = createMeshPool(0);
  let frame = 0, done = 0, destroyed = false;
  /** Pages that found no place, asked for again when the view changes; and such as cannot be read. @type {Set<number>} */
  const refused = new Set(), unreadable = new Set();
  /** What the last cut was made for, and the pages that it lacks; null when something arrived since. @type {{key: string, wanted: number[]} | null} */
  let current = null;
  let seen = "";
  /** What a frame draws of every layer: another array whenever it is something else. */
  let draws = layers.map((l) => l.draws);
  /** What is in the buffers besides what moves with the camera. @type {Map<string, Uint8Array>} */
  const written = new Map();
  /** Whether the last frame shows any. */
  let shown = false;

  /** @param {Layer} layer @param {unknown} error */
  function refuse(layer, error) {
    reason = error;
    if (error instanceof Error && error.name === "ChangedError") failed(error);
    else notice(`${layer.name || `layer ${layer.index}`} is not shown: ${error instanceof Error ? error.message : error}`);
  }

  /** @param {MeshLayer} layer @param {unknown} error */
  function lose(layer, error) {
    layers = layers.filter((l) => l !== layer);
    refuse(layer.layer, error);
    if (!layers.length) empty(error);
  }

  /** @param {number} page among those of all layers */
  const ownerOf = (page) => layers.find((l) => page >= l.firstPage && page < l.firstPage + l.file.pages);

  /** @param {number} page @param {AbortSignal} aborted */
  async function fetchPage(page, aborted) {
    const layer = ownerOf(page);
    if (!layer) return;
    const own = page - layer.firstPage, above = layer.above(own);
    const packed = await layer.file.read(own, aborted);
    aborted.throwIfAborted();
    if (pool.has(page)) return;
    const { place, evicted } = pool.insert(page, above < 0 ? -1 : layer.firstPage + above, layer.wordsOf(own), frame);
    for (const gone of evicted) {
      const from = ownerOf(gone);
      from?.forget(gone - from.firstPage);
    }
    if (place === null) {
      refused.add(page);
      return;
    }
    let word = place;
    for (const { words } of packed) {
      executor.write("mesh_words", words, 4 * word);
      word += words.length;
    }
    layer.place(own, packed, place);
    done++;
  }

  const stream = createStream({
    load: fetchPage, trouble,
    failed(/** @type {number} */ page, error) {
      unreadable.add(page);
      const layer = ownerOf(page);
      if (layer && page === layer.firstPage) lose(layer, error);
      else failed(error);
    },
    changed() {
      if (destroyed) return;
      current = null;
      // At once, not with the next frame: the network does not wait for the GPU.
      const now = camera();
      if (now) choose(now);
      changed();
    },
  });

  /** The cut for a camera, and the requests it leads to. @param {Camera} camera */
  function choose(camera) {
    const view = camera.worldToCamera.join(), key = `${view} ${camera.width} ${camera.height} ${camera.fx}`;
    if (current?.key === key) return current;
    if (view !== seen) refused.clear();
    seen = view;
    frame++;
    const cut = cutter.cut(layers.map((l) => ({ nodes: l.nodes, view: cutView(camera, near, l.layer.transform), resident: l.resident })), Infinity, threshold);
    let other = layers.length !== draws.length;
    layers.forEach((l, k) => {
      other = l.use(cut.clusters[k]) || other;
      for (const page of l.pages()) pool.touch(l.firstPage + page, frame);
    });
    if (other) draws = layers.map((l) => l.draws);
    current = { key, wanted: missing(cut.wanted) };
    stream.want(current.wanted);
    return current;
  }

  /** Pages that the last cut lacks, most wanted first; no more than could find a place. @param {number[]} wanted pairs (layer, node) */
  function missing(wanted) {
    /** @type {Set<number>} */
    const found = new Set();
    let room = pool.free + pool.reclaimable(frame);
    for (let i = 0; i < wanted.length; i += 2) {
      const layer = layers[wanted[i]], own = layer.pageBelow(wanted[i + 1]), page = layer.firstPage + own, size = layer.wordsOf(own);
      if (found.has(page) || refused.has(page) || unreadable.has(page) || pool.has(page) || room < size) continue;
      room -= size;
      found.add(page);
    }
    return [...found];
  }

  return {
    /** Bytes of GPU memory that all nodes of all layers take together: more is never needed. */
    get need() { return layers.reduce((sum, l) => sum + 4 * l.words, 0); },
    get drawable() { return pool.size > 0; },
    /** Pages that the last view lacks or that are under way, and such as came since there were none. */
    get pending() { return Math.max(current?.wanted.length ?? 1, stream.inFlight); },
    get done() { return done; },
    retry: () => stream.retry(),

    /**
     * Makes the pool, once. Roots have their place in it whatever the memory; layers whose roots the adapter cannot bind are not shown.
     * @param {number} bytes of GPU memory
     */
    reserve(bytes) {
      const limit = Math.floor(Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize) / 4);
      let roots = 0;
      for (const layer of [...layers]) {
        const size = layer.wordsOf(0);
        if (roots + size > limit) lose(layer, new Error(`its coarsest level takes ${4 * size} bytes of a buffer, this adapter binds at most ${4 * limit}: convert it into smaller layers`));
        else roots += size;
      }
      pool = createMeshPool(Math.max(roots, Math.min(Math.floor(bytes / 4), limit)));
    },

    /** Makes buffers and stages, and asks for the roots meanwhile. Rejects as `compile`. */
    async load() {
      if (!layers.length) return;
      const some = layers.map((l) => ({ ...l.draws, at: [0], vertices: [3], triangles: [1], size: [0, 0] }));
      const made = /** @type {import("./assemble.js").MeshAssembly} */ (assemble(ANYWHERE, some, pool.capacity));
      const compiled = compile({ ...made.lists, bare: [{}] }); // nothing may be in sight
      stream.want(layers.map((l) => l.firstPage));
      await compiled;
    },

    /** What a frame needs beside its own; null where nothing of the meshes is in sight. @param {Camera} camera */
    frame(camera) {
      choose(camera);
      const made = assemble(camera, draws, pool.capacity);
      shown = made !== null;
      return made && {
        lists: made.lists,
        /** Fills the buffers. @param {string[]} anew those whose contents are gone */
        upload(anew) {
          for (const name in made.moving) executor.write(name, made.moving[name]);
          for (const name in made.fixed) {
            if (written.get(name) !== made.fixed[name] || anew.includes(name)) executor.write(name, made.fixed[name]);
            written.set(name, made.fixed[name]);
          }
        },
      };
    },

    /** Nothing more is under way for now. */
    rest() { done = 0; },

    /**
     * View depth of the nearest mesh under a pixel of the last frame, Infinity where there is none. A read-back.
     * @param {number} x @param {number} y pixels
     */
    async depth(x, y) {
      if (!shown) return Infinity;
      const { data: [depth] } = await readTexture(executor, "mesh_front", { x: Math.floor(x), y: Math.floor(y), width: 1, height: 1 });
      return depth < constantOf(layout, "MESH_FAR") ? depth : Infinity;
    },

    destroy() {
      destroyed = true;
      stream.destroy();
    },
  };
}
