// The cut: which clusters of the LOD trees a view draws within a budget of splats. viewer/lod.py is its twin, id by id.
// Only + - x / and sqrt, in the twin's order: Math.hypot and Math.log differ from NumPy's.

/** Pixels by which the frustum is widened: the 0.3 px^2 dilation draws k sqrt(0.3) = 2.1 pixels past a splat's extent. */
export const FRUSTUM_MARGIN = 4;

/**
 * @typedef {import("./camera.js").Camera} Camera
 *
 * A camera in a layer's coordinates. matrix: 12 numbers, layer to camera, row-major. scale: its largest stretch of a layer axis.
 * focal: pixels. near: camera units. planes: 5 x 4, left, right, top, bottom, near; inside where a x + b y + c z + d >= 0.
 * @typedef {{matrix: Float64Array, scale: number, focal: number, near: number, planes: Float64Array}} CutView
 *
 * Metadata of consecutive clusters, as a page of a .lens file holds it: sphere 4, support 6 numbers a cluster, the rest one.
 * @typedef {{sphere: ArrayLike<number>, error: ArrayLike<number>, support: ArrayLike<number>, childFirst: ArrayLike<number>,
 *   childCount: ArrayLike<number>, count: ArrayLike<number>}} NodeArrays
 *
 * One layer of a cut. resident: 1 for clusters whose splats may be drawn now; null: all that are known.
 * @typedef {{nodes: Nodes, view: CutView, resident: Uint8Array | null}} CutLayer
 *
 * clusters: ids to draw for each layer, ascending. splats: how many those hold. wanted: pairs (layer, cluster) one after another
 * of clusters whose children would have been next but are not resident, most wanted first; cluster -1 is a layer's missing root.
 * @typedef {{clusters: Int32Array[], splats: number, wanted: number[]}} Cut
 */

/** What the cut knows of one layer's clusters. Grows as pages arrive; a cluster it has not met is not resident. */
export class Nodes {
  /** @param {number} clusters how many the layer has, where known: saves growing */
  constructor(clusters = 64) {
    this.capacity = Math.max(1, clusters);
    this.sphere = new Float64Array(4 * this.capacity);
    this.error = new Float64Array(this.capacity);
    this.support = new Float64Array(6 * this.capacity);
    this.childFirst = new Int32Array(this.capacity);
    this.childCount = new Int32Array(this.capacity);
    this.count = new Int32Array(this.capacity);
    /** 1 for clusters whose metadata is here. */
    this.known = new Uint8Array(this.capacity);
  }

  /** Takes the metadata of clusters first, first + 1, ... @param {number} first @param {NodeArrays} arrays */
  add(first, arrays) {
    const n = arrays.error.length;
    if (first + n > this.capacity) this.#grow(Math.max(2 * this.capacity, first + n));
    this.sphere.set(arrays.sphere, 4 * first);
    this.error.set(arrays.error, first);
    this.support.set(arrays.support, 6 * first);
    this.childFirst.set(arrays.childFirst, first);
    this.childCount.set(arrays.childCount, first);
    this.count.set(arrays.count, first);
    this.known.fill(1, first, first + n);
  }

  /** @param {number} capacity */
  #grow(capacity) {
    /** @template {Float64Array | Int32Array | Uint8Array} A @param {A} old @param {A} larger @returns {A} */
    const copy = (old, larger) => (larger.set(old), larger);
    this.capacity = capacity;
    this.sphere = copy(this.sphere, new Float64Array(4 * capacity));
    this.error = copy(this.error, new Float64Array(capacity));
    this.support = copy(this.support, new Float64Array(6 * capacity));
    this.childFirst = copy(this.childFirst, new Int32Array(capacity));
    this.childCount = copy(this.childCount, new Int32Array(capacity));
    this.count = copy(this.count, new Int32Array(capacity));
    this.known = copy(this.known, new Uint8Array(capacity));
  }
}

/**
 * The view of a layer placed by layerToWorld (16 numbers, row-major; null: not moved).
 * @param {Camera} camera @param {number} near world units @param {ArrayLike<number> | null} layerToWorld
 * @returns {CutView}
 */
export function cutView(camera, near = 0.01, layerToWorld = null) {
  const w = camera.worldToCamera, t = layerToWorld;
  const m = new Float64Array(12);
  for (let r = 0; r < 3; r++) {
    for (let k = 0; k < 4; k++) {
      m[4 * r + k] = t ? w[4 * r] * t[k] + w[4 * r + 1] * t[4 + k] + w[4 * r + 2] * t[8 + k] + w[4 * r + 3] * t[12 + k] : w[4 * r + k];
    }
  }
  const { fx, fy, cx, cy, width, height } = camera, e = FRUSTUM_MARGIN;
  const planes = new Float64Array(20);
  for (let k = 0; k < 4; k++) {
    planes[k] = fx * m[k] + (cx + e) * m[8 + k];
    planes[4 + k] = (width - cx + e) * m[8 + k] - fx * m[k];
    planes[8 + k] = fy * m[4 + k] + (cy + e) * m[8 + k];
    planes[12 + k] = (height - cy + e) * m[8 + k] - fy * m[4 + k];
    planes[16 + k] = m[8 + k] - (k === 3 ? near : 0);
  }
  let stretch = 0;
  for (let k = 0; k < 3; k++) stretch = Math.max(stretch, m[k] * m[k] + m[4 + k] * m[4 + k] + m[8 + k] * m[8 + k]);
  return { matrix: m, scale: Math.sqrt(stretch), focal: Math.sqrt(fx * fy), near, planes };
}

/** Whether the support box of cluster i reaches into the frustum (conservative). @param {Nodes} nodes @param {CutView} view @param {number} i */
export function visible(nodes, view, i) {
  const s = nodes.support, p = view.planes, at = 6 * i;
  for (let q = 0; q < 20; q += 4) {
    const x = p[q] * s[p[q] > 0 ? at + 3 : at];
    const y = p[q + 1] * s[p[q + 1] > 0 ? at + 4 : at + 1];
    const z = p[q + 2] * s[p[q + 2] > 0 ? at + 5 : at + 2];
    if (!(x + y + z + p[q + 3] >= 0)) return false;
  }
  return true;
}

/** Projected error of cluster i in pixels: error x focal / distance to the sphere. @param {Nodes} nodes @param {CutView} view @param {number} i */
export function priority(nodes, view, i) {
  const m = view.matrix, s = nodes.sphere;
  const x = s[4 * i], y = s[4 * i + 1], z = s[4 * i + 2];
  const a = m[0] * x + m[1] * y + m[2] * z + m[3];
  const b = m[4] * x + m[5] * y + m[6] * z + m[7];
  const c = m[8] * x + m[9] * y + m[10] * z + m[11];
  const distance = Math.sqrt(a * a + b * b + c * c) - s[4 * i + 3] * view.scale;
  return nodes.error[i] * view.scale * view.focal / Math.max(distance, view.near);
}

/** Makes cuts with buffers of its own: one a viewer, so that a frame allocates only its result. */
export class Cutter {
  #size = 0;
  #priority = new Float64Array(1024);
  #layer = new Int32Array(1024);
  #cluster = new Int32Array(1024);
  /** Drawn clusters of each layer, 1 where drawn. @type {Uint8Array[]} */
  #drawn = [];

  /**
   * From the roots, the drawn cluster of the highest priority is replaced by its children, as long as at most `budget` splats
   * are drawn and its priority is at least `threshold` pixels. Ties go to the lower (layer, cluster). Children out of sight are
   * not drawn and cost nothing. A cluster whose children do not fit stays, and smaller ones after it may still be refined. One
   * is refined only if all its children are resident. The roots are drawn whatever the budget.
   * @param {CutLayer[]} layers @param {number} budget splats @param {number} threshold pixels
   * @returns {Cut}
   */
  cut(layers, budget, threshold = 0) {
    /** @type {number[]} */
    const wanted = [];
    /** @type {number[]} */
    const counts = [];
    let splats = 0;
    this.#size = 0;
    for (let k = 0; k < layers.length; k++) {
      const { nodes, view } = layers[k];
      if (!this.#drawn[k] || this.#drawn[k].length < nodes.capacity) this.#drawn[k] = new Uint8Array(nodes.capacity);
      this.#drawn[k].fill(0);
      counts.push(0);
      if (!here(layers[k], 0)) wanted.push(k, -1);
      else if (visible(nodes, view, 0)) {
        this.#draw(layers[k], k, 0);
        counts[k] = 1;
        splats += nodes.count[0];
      }
    }
    while (this.#size && this.#priority[0] >= threshold) {
      const k = this.#layer[0], i = this.#cluster[0];
      this.#pop();
      const layer = layers[k], { nodes, view } = layer;
      const first = nodes.childFirst[i], last = first + nodes.childCount[i];
      let all = true, total = splats - nodes.count[i], seen = 0;
      for (let c = first; c < last && all; c++) all = here(layer, c);
      if (!all) {
        wanted.push(k, i);
        continue;
      }
      for (let c = first; c < last; c++) {
        if (!visible(nodes, view, c)) continue;
        total += nodes.count[c];
        seen++;
      }
      if (total > budget && total > splats) continue;
      splats = total;
      this.#drawn[k][i] = 0;
      counts[k] += seen - 1;
      for (let c = first; c < last; c++) if (visible(nodes, view, c)) this.#draw(layer, k, c);
    }
    const clusters = counts.map((n, k) => {
      const ids = new Int32Array(n), drawn = this.#drawn[k];
      for (let i = 0, at = 0; at < n; i++) if (drawn[i]) ids[at++] = i;
      return ids;
    });
    return { clusters, splats, wanted };
  }

  /** Draws a cluster and, unless it is a leaf, puts it up for refinement. @param {CutLayer} layer @param {number} k @param {number} i */
  #draw(layer, k, i) {
    this.#drawn[k][i] = 1;
    if (layer.nodes.childCount[i]) this.#push(priority(layer.nodes, layer.view, i), k, i);
  }

  /** Whether entry a goes before (priority, layer, cluster). @param {number} a @param {number} p @param {number} k @param {number} i */
  #before(a, p, k, i) {
    if (this.#priority[a] !== p) return this.#priority[a] > p;
    return this.#layer[a] !== k ? this.#layer[a] < k : this.#cluster[a] < i;
  }

  /** @param {number} to @param {number} p @param {number} k @param {number} i */
  #put(to, p, k, i) {
    this.#priority[to] = p;
    this.#layer[to] = k;
    this.#cluster[to] = i;
  }

  /** @param {number} p @param {number} k @param {number} i */
  #push(p, k, i) {
    if (this.#size === this.#priority.length) {
      const [priority, layer, cluster] = [this.#priority, this.#layer, this.#cluster];
      this.#priority = new Float64Array(2 * this.#size);
      this.#layer = new Int32Array(2 * this.#size);
      this.#cluster = new Int32Array(2 * this.#size);
      this.#priority.set(priority);
      this.#layer.set(layer);
      this.#cluster.set(cluster);
    }
    let at = this.#size++;
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (this.#before(up, p, k, i)) break;
      this.#put(at, this.#priority[up], this.#layer[up], this.#cluster[up]);
      at = up;
    }
    this.#put(at, p, k, i);
  }

  #pop() {
    const n = --this.#size;
    const p = this.#priority[n], k = this.#layer[n], i = this.#cluster[n];
    let at = 0;
    for (let down = 1; down < n; down = 2 * at + 1) {
      if (down + 1 < n && this.#before(down + 1, this.#priority[down], this.#layer[down], this.#cluster[down])) down++;
      if (!this.#before(down, p, k, i)) break;
      this.#put(at, this.#priority[down], this.#layer[down], this.#cluster[down]);
      at = down;
    }
    this.#put(at, p, k, i);
  }
}

/** Whether a cluster's metadata and splats are there. @param {CutLayer} layer @param {number} i */
function here(layer, i) {
  return i < layer.nodes.capacity && layer.nodes.known[i] === 1 && (layer.resident === null || layer.resident[i] === 1);
}
