// Resolves shaders/pipeline.json and this frame's numbers into plain data, as viewer/plan.py does. No GPU here.
// The grammar is in docs/pipeline.md.

/**
 * @typedef {import("./layout.js").Layout} Layout
 * @typedef {Record<string, number | string>} Entry one entry of a list that a buffer or pass is repeated for
 * @typedef {number | string} Term a number, the name of one, or "$field" of the list entry
 * @typedef {{items: Term, per?: Term, times?: Term}} Count ceil(items / per) * times
 * @typedef {{src_factor: GPUBlendFactor, dst_factor: GPUBlendFactor, operation: GPUBlendOperation}} Blend
 * @typedef {{texture: string, load: GPULoadOp | "$load", blend?: {color: Blend, alpha: Blend}}} Target
 * @typedef {{targets: Target[], depth?: string, vertices?: number | Count, indirect?: string, offset?: number}} FrameDraw
 * for: repeated for every entry of the list; when: there where the list has an entry, of the first one
 * @typedef {{element: string, usage: string[], for?: string, when?: string} & Count} FrameBuffer
 * @typedef {{format: string, width: Term, height: Term, usage: string[], for?: string, when?: string}} FrameTexture
 * @typedef {{name: string, source: string[], bindings: string[], constants?: Record<string, Term>, for?: string,
 *   dispatch?: Count | {indirect: string, offset?: number}, draw?: FrameDraw}} FramePass
 * @typedef {{name: string, for: string, passes: FramePass[]}} FrameGroup passes that are repeated together
 * @typedef {{lists?: Record<string, Entry[]>, buffers: Record<string, FrameBuffer>,
 *   textures?: Record<string, FrameTexture>, passes: (FramePass | FrameGroup)[]}} Frame
 *
 * @typedef {{size: number, usage: string[]}} PlanBuffer
 * @typedef {{format: string, width: number, height: number, usage: string[]}} PlanTexture
 * @typedef {{groups: number[]} | {indirect: string, offset: number}} PlanDispatch
 * @typedef {{targets: (Target & {load: GPULoadOp})[], depth?: string, vertices?: number, indirect?: string, offset?: number}} Draw
 * @typedef {{name: string, label: string, source: string[], bindings: string[], constants: Record<string, number>,
 *   dispatch?: PlanDispatch, draw?: Draw}} PlanPass
 * @typedef {{buffers: Record<string, PlanBuffer>, textures: Record<string, PlanTexture>, passes: PlanPass[]}} Plan
 */

/** Bytes of the scalar elements a buffer may have; all others are structs. @type {Record<string, number>} */
const ELEMENTS = { u32: 4, f32: 4, i32: 4, vec4u: 16, vec4f: 16 };
const BUFFER_KEYS = ["element", "items", "per", "times", "usage", "for", "when"];
const TEXTURE_KEYS = ["format", "width", "height", "usage", "for", "when"];
const GROUP_KEYS = ["name", "for", "passes"];
const PASS_KEYS = ["name", "source", "bindings", "constants", "for", "dispatch", "draw"];
const DISPATCH_KEYS = ["items", "per", "times", "indirect", "offset"];
const DRAW_KEYS = ["targets", "depth", "vertices", "indirect", "offset"];
const TARGET_KEYS = ["texture", "load", "blend"];

/**
 * Workgroups [x, y, z] of at most `limit` each whose product is at least `groups`; shaders number them x first.
 * @param {number} groups
 * @param {number} limit
 * @returns {number[]}
 */
export function spread(groups, limit) {
  const x = Math.min(groups, limit);
  const y = Math.min(Math.ceil(groups / Math.max(x, 1)), limit);
  const z = Math.ceil(groups / Math.max(x * y, 1));
  if (z > limit) throw new Error(`${groups} workgroups do not fit ${limit} a dimension`);
  return [x, y, z];
}

/**
 * Plain JSON of one frame, equal to viewer/plan.py's. Throws for unknown keys and names.
 * @param {Frame} frame
 * @param {Layout} layout
 * @param {Record<string, number>} numbers named counts, among them max_groups
 * @param {Record<string, Entry[]>} lists what passes and buffers are repeated for; they override the frame's own
 * @param {Record<string, string>} [formats] of textures whose format the device decides
 * @returns {Plan}
 */
export function resolve(frame, layout, numbers, lists, formats = {}) {
  const every = { ...frame.lists, ...lists };

  /** @param {Term} value @param {Entry | null} entry @returns {number} */
  const number = (value, entry) => {
    if (typeof value === "number") return value;
    if (value.startsWith("$")) {
      const field = entry?.[value.slice(1)];
      if (field === undefined) throw new Error(`pipeline.json: ${value} is not a field of the list entry`);
      return Number(field);
    }
    const known = numbers[value] ?? layout.constants[value];
    if (known === undefined) throw new Error(`pipeline.json: no number named '${value}'`);
    return known;
  };

  /** @param {Count} item @param {Entry | null} entry */
  const count = (item, entry) =>
    Math.ceil(number(item.items, entry) / number(item.per ?? 1, entry)) * number(item.times ?? 1, entry);

  /** @param {{for?: string, when?: string}} item @returns {(Entry | null)[]} */
  const entries = (item) => {
    const name = item.for ?? item.when;
    if (name === undefined) return [null];
    const list = every[name];
    if (!list) throw new Error(`pipeline.json: no list named '${name}'`);
    return item.for === undefined ? list.slice(0, 1) : list;
  };

  /** @param {string} name @param {{for?: string}} item @param {number} i */
  const named = (name, item, i) => item.for === undefined ? name : `${name}.${i}`;

  /** @type {Record<string, PlanBuffer>} */
  const buffers = {};
  for (const [name, item] of Object.entries(frame.buffers)) {
    check(item, BUFFER_KEYS, `buffer ${name}`);
    const size = ELEMENTS[item.element] ?? layout.structs[item.element]?.size;
    if (size === undefined) throw new Error(`pipeline.json: buffer ${name}: no element named '${item.element}'`);
    entries(item).forEach((entry, i) => {
      // A binding holds at least one element, a uniform at least 16 bytes.
      const bytes = Math.max(16, size, Math.ceil((count(item, entry) * size) / 4) * 4);
      buffers[named(name, item, i)] = { size: bytes, usage: item.usage };
    });
  }

  /** @type {Record<string, PlanTexture>} */
  const textures = {};
  for (const [name, item] of Object.entries(frame.textures ?? {})) {
    check(item, TEXTURE_KEYS, `texture ${name}`);
    let format = formats[name] ?? item.format;
    const same = frame.textures?.[format]; // the same as that texture's
    if (same) format = formats[format] ?? same.format;
    entries(item).forEach((entry, i) => {
      textures[named(name, item, i)] = { format, width: number(item.width, entry), height: number(item.height, entry), usage: item.usage };
    });
  }

  /** @param {string} name @param {number} index @param {Entry | null} entry @returns {string} */
  const resource = (name, index, entry) => {
    const wanted = name.startsWith("$") ? String(entry?.[name.slice(1)]) : name;
    for (const candidate of [`${wanted}.${index}`, wanted]) {
      if (candidate in buffers || candidate in textures) return candidate;
    }
    throw new Error(`pipeline.json: no buffer or texture named '${wanted}'`);
  };

  /** @type {PlanPass[]} */
  const passes = [];

  /** @param {FramePass} item @param {number} i @param {Entry | null} entry */
  const add = (item, i, entry) => {
    /** @type {PlanPass} */
    const out = {
      name: item.name,
      label: entry === null ? item.name : `${item.name}.${i}`,
      source: item.source,
      bindings: item.bindings.map((name) => resource(name, i, entry)),
      constants: Object.fromEntries(Object.entries(item.constants ?? {}).map(([k, v]) => [k, number(v, entry)])),
    };
    if (item.dispatch) {
      check(item.dispatch, DISPATCH_KEYS, `dispatch of ${item.name}`);
      if ("indirect" in item.dispatch) {
        out.dispatch = { indirect: resource(item.dispatch.indirect, i, entry), offset: item.dispatch.offset ?? 0 };
      } else {
        const groups = spread(count(item.dispatch, entry), number("max_groups", null));
        if (groups[0] === 0) return;
        out.dispatch = { groups };
      }
    } else if (item.draw) {
      check(item.draw, DRAW_KEYS, `draw of ${item.name}`);
      const targets = item.draw.targets.map((target) => {
        check(target, TARGET_KEYS, `target of ${item.name}`);
        const load = /** @type {GPULoadOp} */ (target.load === "$load" ? entry?.load : target.load);
        return { ...target, load, texture: resource(target.texture, i, entry) };
      });
      const { vertices } = item.draw;
      out.draw = /** @type {Draw} */ ({ ...item.draw, targets });
      if (typeof vertices === "object") out.draw.vertices = count(vertices, entry);
    }
    passes.push(out);
  };

  for (const item of frame.passes) {
    const group = "passes" in item ? item.passes : [item];
    if ("passes" in item) check(item, GROUP_KEYS, `group of passes ${item.name}`);
    for (const one of group) check(one, PASS_KEYS, `pass ${one.name}`);
    entries(item).forEach((entry, i) => {
      for (const one of group) add(one, i, entry);
    });
  }
  return { buffers, textures, passes };
}

/**
 * `resolve` that gives the same object again while numbers and lists hold the same values, so that a still scene allocates
 * nothing and executors can key their caches by it.
 * @param {Frame} frame
 * @param {Layout} layout
 * @param {Record<string, string>} [formats]
 * @returns {(numbers: Record<string, number>, lists: Record<string, Entry[]>) => Plan}
 */
export function createPlanner(frame, layout, formats = {}) {
  /** @type {Plan | null} */
  let plan = null;
  /** @type {Record<string, number>} */
  let lastNumbers = {};
  /** @type {Record<string, Entry[]>} */
  let lastLists = {};
  return (numbers, lists) => {
    if (plan && same(numbers, lastNumbers) && sameLists(lists, lastLists)) return plan;
    plan = resolve(frame, layout, numbers, lists, formats);
    lastNumbers = { ...numbers };
    lastLists = structuredClone(lists);
    return plan;
  };
}

/** @param {object} item @param {string[]} keys @param {string} where */
function check(item, keys, where) {
  const unknown = Object.keys(item).filter((key) => !keys.includes(key)).sort()[0];
  if (unknown !== undefined) throw new Error(`pipeline.json: ${where}: unknown key '${unknown}'`);
}

/** @param {Entry} a @param {Entry} b */
function same(a, b) {
  let n = 0;
  for (const key in a) {
    if (a[key] !== b[key]) return false;
    n++;
  }
  for (const _ in b) n--;
  return n === 0;
}

/** @param {Record<string, Entry[]>} a @param {Record<string, Entry[]>} b */
function sameLists(a, b) {
  for (const key in b) if (!(key in a)) return false;
  for (const key in a) {
    const [x, y] = [a[key], b[key]];
    if (y === undefined || x.length !== y.length) return false;
    for (let i = 0; i < x.length; i++) if (!same(x[i], y[i])) return false;
  }
  return true;
}
