// Turns a cut and a camera into what a frame needs: draw records, uniforms, counts (viewer/assemble.py and frame.py are its twins).

import { constantOf, packStruct, structOf } from "./layout.js";

/**
 * @typedef {import("./layout.js").Layout} Layout
 * @typedef {import("./plan.js").Entry} Entry
 * @typedef {import("./camera.js").Camera} Camera
 * @typedef {{near: number, alphaCap: number, background: ArrayLike<number>}} RenderOptions
 * near: world units; background: rgb or rgba, 0..1
 * @typedef {{dilation: number, antialias: boolean}} Kernel
 * dilation: pixels^2
 *
 * The clusters of one layer that a frame draws, ascending by cluster id. transform: 16 numbers, row-major, world-from-layer.
 * slots, counts, shDegrees: one a cluster (degree 0 while the SH has not arrived). origins: 3 a cluster, what stored centres
 * are relative to. boxes: 6 a cluster, least and greatest centre. poolSlots: slots the layer's buffers hold.
 * @typedef {{transform: ArrayLike<number>, length: number, slots: ArrayLike<number>, counts: ArrayLike<number>,
 *   shDegrees: ArrayLike<number>, origins: ArrayLike<number>, boxes: ArrayLike<number>, poolSlots: number, shSlotWords: number, kernel: Kernel}} ClusterDraws
 *
 * A layer of float32 records, drawn whole. coefficients: SH 1, 4, 9, 16; box: least and greatest centre.
 * @typedef {{transform: ArrayLike<number>, rows: number, coefficients: number, box: ArrayLike<number>, kernel: Kernel}} RecordDraws
 *
 * A generator's outputs, projected where they lie. rows: that they hold; coefficients: SH 1, 4, 9, 16, or 0 for final colours;
 * covariance: whether `shapes` are covariances, then `turns` is not read; words: u32 of each output; columns: by attribute
 * [output, first element, elements a row, whether float16]; box: least and greatest centre, null where unknown.
 * @typedef {{transform: ArrayLike<number>, rows: number, coefficients: number, covariance: boolean, words: number[],
 *   columns: Record<string, [number, number, number, boolean]>, box: ArrayLike<number> | null, kernel: Kernel}} GeneratedDraws
 * A part of a sequence at a time. motion: whose stage draws it; words: of a splat; coefficients: SH of one of `terms` terms;
 * time, unit, period, cut: as in the struct Sequence; box: least and greatest centre at all times.
 * @typedef {{transform: ArrayLike<number>, motion: "spacetime" | "gaussian4d", rows: number, words: number, coefficients: number,
 *   terms: number, time: number, unit: number, period: number, cut: number, box: ArrayLike<number>, kernel: Kernel}} SequenceDraws
 * @typedef {ClusterDraws | RecordDraws | GeneratedDraws | SequenceDraws} Draws
 *
 * @typedef {{numbers: Record<string, number>, lists: Record<string, Entry[]>, groups: number,
 *   uploads: Record<string, {bytes: Uint8Array}>}} Assembly
 */

/** @type {RenderOptions} */
export const RENDER_DEFAULTS = { near: 0.01, alphaCap: 0.99, background: [0, 0, 0] };
/** Largest number of workgroups a dimension of a dispatch may have, WebGPU's default limit. */
export const MAX_GROUPS = 65535;
/** Attributes of generated splats in the order of the stage's bindings. */
const ATTRIBUTES = ["means", "shapes", "turns", "opacities", "colors"];
/** View depth that generated splats of unknown bounds may reach (viewer/assemble.py). */
const FARTHEST = 1e6;
/** Floats of a record before its SH: mean 3, opacity 1, factor of the covariance 6. */
const RECORD_HEAD = 10;
/** The Jacobian is taken at slopes at most this share of the picture's width outside of it (3DGS: 1.3 tan fov). */
const SLOPE_MARGIN = 0.15;

const bits = new DataView(new ArrayBuffer(4));
/** Bit pattern of a float32. @param {number} value */
function floatBits(value) {
  bits.setFloat32(0, value);
  return bits.getUint32(0);
}

/**
 * [key_base, key_shift] for view depths nearest..farthest, front to back: keys are cut from the bits of the float32 depth.
 * @param {number} nearest @param {number} farthest world units, positive @param {number} keyBits
 */
export function depthKeys(nearest, farthest, keyBits) {
  const low = floatBits(Math.max(nearest, 1e-30)), high = floatBits(Math.max(nearest, farthest, 1e-30));
  const length = 32 - Math.clz32(high - low);
  return [low, Math.max(0, length - keyBits)];
}

/**
 * camera-from-layer (16 numbers, row-major) and the camera's centre in layer coordinates.
 * @param {Camera} camera @param {ArrayLike<number>} transform
 * @returns {{view: Float64Array, eye: [number, number, number]}}
 */
export function layerView(camera, transform) {
  const view = new Float64Array(16), w = camera.worldToCamera;
  for (let r = 0; r < 4; r++) {
    for (let c = 0; c < 4; c++) {
      for (let k = 0; k < 4; k++) view[4 * r + c] += w[4 * r + k] * transform[4 * k + c];
    }
  }
  // Cramer's rule for linear * eye = -translation.
  const [a, b, c, , d, e, f, , g, h, i] = view;
  const x = -view[3], y = -view[7], z = -view[11];
  const det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  return { view, eye: [
    (x * (e * i - f * h) - b * (y * i - f * z) + c * (y * h - e * z)) / det,
    (a * (y * i - f * z) - x * (d * i - f * g) + c * (d * z - y * g)) / det,
    (a * (e * z - y * h) - b * (d * z - y * g) + x * (d * h - e * g)) / det,
  ] };
}

/**
 * Builds frames into buffers of its own, which the next call overwrites: a frame allocates next to nothing.
 * @param {Layout} layout
 */
export function createAssembler(layout) {
  const draw = structOf(layout, "Draw"), view = structOf(layout, "LayerView");
  const keyBits = constantOf(layout, "KEY_BITS"), group = constantOf(layout, "GROUP");
  /** @param {Draws} layer */
  const groupsOf = (layer) => ("rows" in layer ? Math.ceil(layer.rows / group) : layer.length);
  /** @param {string} name */
  const word = (name) => /** @type {{offset: number}} */ (draw.fields.find((field) => field.name === name)).offset / 4;
  const [OFFSET, SLOT, LAYER, DEGREE, COUNT] = ["offset", "slot", "layer", "sh_degree", "count"].map(word);
  const stride = draw.size / 4;
  let floats = new Float32Array(64 * stride), words = new Uint32Array(floats.buffer);
  const frame = packStruct(layout, "Frame", zeroFrame());

  /**
   * The frame that draws `layers`, in that order: (layer, cluster, row) decides among equal depths.
   * @param {Camera} camera @param {RenderOptions} options @param {Draws[]} layers @param {number} [maxGroups]
   * @returns {Assembly}
   */
  return (camera, options, layers, maxGroups = MAX_GROUPS) => {
    const groups = layers.reduce((sum, layer) => sum + groupsOf(layer), 0);
    if (floats.length < groups * stride) {
      floats = new Float32Array(2 * groups * stride);
      words = new Uint32Array(floats.buffer);
    }
    const views = new DataView(new ArrayBuffer(Math.max(1, layers.length) * view.size));
    /** @type {Record<string, {bytes: Uint8Array}>} */
    const uploads = {};
    const lists = emptyLists();
    let first = 0, nearest = Infinity, farthest = -Infinity;
    layers.forEach((layer, index) => {
      const { view: m, eye } = layerView(camera, layer.transform), count = groupsOf(layer), raw = "rows" in layer;
      packStruct(layout, "LayerView", { linear: linearOf(m), dilation: layer.kernel.dilation, antialias: layer.kernel.antialias ? 1 : 0 }, views, index * view.size);
      if ("columns" in layer) {
        floats.fill(0, first * stride, (first + count) * stride);
        const entry = /** @type {Entry} */ ({ groups: count }), base = lists.generated_outputs.length;
        /** @type {Record<string, number[]>} */
        const at = {};
        for (const name of ATTRIBUTES) {
          const [output, start, step, half] = layer.columns[name];
          at[`${name}_at`] = [start, step, half ? 1 : 0];
          entry[name] = `generated_output.${base + output}`;
        }
        const packed = packStruct(layout, "Generated", {
          linear: linearOf(m), offset: eye.map((v) => -v), dilation: layer.kernel.dilation, antialias: layer.kernel.antialias ? 1 : 0, first, groups: count,
          rows: layer.rows, sh_coefficients: layer.coefficients, covariance: layer.covariance ? 1 : 0, ...at,
        });
        uploads[`generated.${lists.generated_layers.length}`] = { bytes: new Uint8Array(packed.buffer) };
        lists.generated_outputs.push(...layer.words.map((words) => ({ words })));
        lists.generated_layers.push(entry);
        const [low, high] = layer.box ? depthBounds(m, layer.box, 0) : [options.near, FARTHEST];
        nearest = count ? Math.min(nearest, low) : nearest; // before its first run there is no row
        farthest = count ? Math.max(farthest, high) : farthest;
        first += count;
        return;
      }
      const recordStride = raw ? RECORD_HEAD + 3 * layer.coefficients : 0, moving = "motion" in layer;
      const packed = moving
        ? packStruct(layout, "Sequence", { first, groups: count, rows: layer.rows, sh_coefficients: layer.coefficients, terms: layer.terms, time: layer.time, unit: layer.unit, period: layer.period, cut: layer.cut })
        : packStruct(layout, "Span", { first, groups: count, stride: recordStride, sh_coefficients: raw ? layer.coefficients : 0 });
      const list = moving ? lists[`${layer.motion}_layers`] : raw ? lists.record_layers : lists.cluster_layers;
      uploads[`${moving ? layer.motion : raw ? "record_span" : "cluster_span"}.${list.length}`] = { bytes: new Uint8Array(packed.buffer) };
      list.push(moving ? { groups: count, rows: layer.rows, words: layer.words } : raw ? { groups: count, rows: layer.rows, stride: recordStride } : { groups: count, slots: layer.poolSlots, sh_slot_words: layer.shSlotWords });
      for (let n = 0; n < count; n++) {
        const at = (first + n) * stride, box = raw ? layer.box : layer.boxes, from = raw ? 0 : 6 * n;
        for (let k = 0; k < 3; k++) floats[at + OFFSET + k] = (raw ? 0 : layer.origins[3 * n + k]) - eye[k];
        words[at + SLOT] = raw ? n * group : layer.slots[n];
        words[at + LAYER] = index;
        words[at + DEGREE] = raw ? 0 : layer.shDegrees[n];
        words[at + COUNT] = raw ? Math.min(group, layer.rows - n * group) : layer.counts[n];
        const [low, high] = depthBounds(m, box, from);
        nearest = Math.min(nearest, low);
        farthest = Math.max(farthest, high);
      }
      first += count;
    });
    if (!(nearest <= farthest)) nearest = farthest = 1;
    const size = [camera.width, camera.height], focal = [camera.fx, camera.fy], center = [camera.cx, camera.cy];
    const [keyBase, keyShift] = depthKeys(Math.max(nearest, options.near), farthest, keyBits);
    packStruct(layout, "Frame", {
      ...zeroFrame(), viewport: size, focal, principal: center, near: options.near,
      slope_min: focal.map((f, k) => -center[k] / f - (SLOPE_MARGIN * size[k]) / f),
      slope_max: focal.map((f, k) => (size[k] - center[k]) / f + (SLOPE_MARGIN * size[k]) / f),
      alpha_cap: options.alphaCap, key_base: keyBase, key_shift: keyShift,
      max_groups: maxGroups, groups,
      background: [options.background[0], options.background[1], options.background[2], options.background[3] ?? 1],
    }, frame);
    uploads.frame = { bytes: new Uint8Array(frame.buffer) };
    uploads.layers = { bytes: new Uint8Array(views.buffer) };
    if (groups > 0) uploads.draws = { bytes: new Uint8Array(floats.buffer, 0, groups * draw.size) };
    return {
      groups, uploads, lists,
      numbers: { groups, layers: Math.max(1, layers.length), width: camera.width, height: camera.height, max_groups: maxGroups },
    };
  };
}

const LISTS = /** @type {const} */ (["cluster_layers", "record_layers", "generated_outputs", "generated_layers", "spacetime_layers", "gaussian4d_layers"]);

/** Lists of pipeline.json that a frame gives. */
export function emptyLists() {
  return /** @type {Record<typeof LISTS[number], Entry[]>} */ (/** @type {unknown} */ (Object.fromEntries(LISTS.map((name) => [name, []]))));
}

/** Columns of a row-major matrix's upper 3 x 3. @param {ArrayLike<number>} m */
export function linearOf(m) {
  return [[m[0], m[4], m[8]], [m[1], m[5], m[9]], [m[2], m[6], m[10]]];
}

/** Least and greatest view depth of a box, 6 numbers from `from` on. @param {ArrayLike<number>} view @param {ArrayLike<number>} box @param {number} from */
function depthBounds(view, box, from) {
  let low = view[11], high = view[11];
  for (let k = 0; k < 3; k++) {
    const p = view[8 + k] * box[from + k], q = view[8 + k] * box[from + 3 + k];
    low += Math.min(p, q);
    high += Math.max(p, q);
  }
  return [low, high];
}

/** @returns {Record<string, number | number[]>} */
function zeroFrame() {
  return {
    viewport: [0, 0], focal: [0, 0], principal: [0, 0], near: 0, slope_min: [0, 0], slope_max: [0, 0], alpha_cap: 0,
    key_base: 0, key_shift: 0, max_groups: 0, groups: 0, background: [0, 0, 0, 0],
  };
}
