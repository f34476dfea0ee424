// What the bytes of a mesh mean, from a layer's properties and blobs (twin: viewer/mesh_look.py; docs/format-mesh.md).
import { DAMAGED, FormatError } from "../inflate.js";

/** @typedef {import("../fields.js").JsonField} JsonField */
/** @typedef {import("./assemble.js").Look} Look */

/** Limits of viewer/mesh.py and viewer/mesh_look.py; a test compares them. */
export const LIMITS = { MAX_CHANNELS: 192, MAX_FEATURES: 32, MAX_WIDTH: 64, MAX_LAYERS: 4, MAX_LOBES: 4, MAX_SIDE: 4096 };

/** @template {string} W @param {JsonField} field @param {readonly W[]} words @returns {W} */
function word(field, words) {
  return /** @type {W} */ (words.includes(field.value) ? field.value : field.fail(`one of ${words.join(", ")}`));
}

const FILTERS = /** @type {const} */ (["nearest", "linear"]);

/**
 * @param {JsonField} own the properties @param {Uint8Array<ArrayBuffer>} weights @param {Uint8Array<ArrayBuffer> | null} directions blobs
 * @returns {Look}
 */
export function readLook(own, weights, directions) {
  const file = own.file, all = new Float32Array(weights.slice(0, weights.length & ~3).buffer), L = LIMITS;
  let used = 0;
  /** @param {number} n */
  const take = (n) => {
    const part = all.subarray(used, used += n);
    return part.length === n ? part : new Float32Array(n); // too few are told once all are counted
  };
  const channels = own.member("channels").integer(1, L.MAX_CHANNELS), scale = take(channels), offset = take(channels);
  /** @type {Look["method"]} */
  let method;
  const kind = word(own.member("method"), /** @type {const} */ (["network", "gaussians", "lightfield", "plain"]));
  if (kind === "network") method = readNetwork(own, take);
  else if (kind === "gaussians") method = { kind, lobes: own.member("lobes").integer(1, L.MAX_LOBES) };
  else if (kind === "plain") method = { kind, light: word(own.member("light"), /** @type {const} */ (["none", "head"])) };
  else {
    const terms = own.member("terms").integer(1, L.MAX_CHANNELS), [width, height] = ["width", "height"].map((key) => own.member(key).integer(1, L.MAX_SIDE));
    const bytes = directions ?? new Uint8Array(0);
    if (bytes.length !== width * height * terms) throw new FormatError(`${file}: blob directions: ${bytes.length} bytes, expected ${width} x ${height} x ${terms}; ${DAMAGED}`);
    method = { kind, terms, directions: bytes, width, height, scale: take(terms), offset: take(terms), filter: word(own.member("direction_filter"), FILTERS) };
  }
  if (4 * used !== weights.length) throw new FormatError(`${file}: blob weights: ${weights.length} bytes, expected ${4 * used}; ${DAMAGED}`);
  /** @type {Look} */
  const look = {
    channels, method, scale, offset, direction: own.member("direction").rows(3, 3).flat(), filter: word(own.member("filter"), FILTERS),
    empty: own.has("empty") ? own.member("empty").integer(0, channels - 1) : null, supersample: own.member("supersample").integer(1, 2),
  };
  const fault = lookFault(look);
  if (fault) throw new FormatError(`${file}: ${own.path}: mesh: ${fault}; ${DAMAGED}`);
  return look;
}

/** @param {JsonField} own @param {(n: number) => Float32Array} take @returns {import("./assemble.js").Network} */
function readNetwork(own, take) {
  const L = LIMITS;
  const inputs = own.member("inputs").items(1, L.MAX_WIDTH).map((one) => {
    const [source, frequency, phase] = one.items(3, 3);
    return { source: source.integer(0, L.MAX_CHANNELS + 2), frequency: frequency.number(), phase: phase.number() };
  });
  let width = inputs.length;
  const layers = own.member("layers").items(1, L.MAX_LAYERS).map((one) => {
    const outputs = one.member("outputs").integer(1, L.MAX_WIDTH), kernel = take(width * outputs), bias = take(outputs);
    width = outputs;
    return { kernel, bias, activation: word(one.member("activation"), /** @type {const} */ (["none", "relu", "sigmoid"])) };
  });
  return { kind: "network", inputs, layers, base: own.has("base") ? own.member("base").integer(0, L.MAX_CHANNELS - 1) : null };
}

/** What no stage can draw, as check_look of viewer/mesh.py has it; empty where all is well. @param {Look} look */
function lookFault({ channels: c, method, scale, offset }) {
  const L = LIMITS, most = method.kind === "lightfield" ? L.MAX_CHANNELS : L.MAX_FEATURES;
  /** @param {ArrayLike<number>} values */
  const finite = (values) => Array.from(values).every(Number.isFinite);
  if (c > most) return `${c} channels; 1 to ${most} can be drawn`;
  if (!finite(scale) || !finite(offset)) return `scale, offset: expected ${c} finite numbers`;
  if (method.kind === "network") {
    if (method.layers[method.layers.length - 1].bias.length !== 3) return "the network gives other than 3 values, a colour";
    if (!method.layers.every((l) => finite(l.kernel) && finite(l.bias))) return "a layer has weights that are not finite numbers";
    if (method.inputs.some((one) => one.source >= c + 3)) return `an input has no source among ${c} channels and 3`;
    if (method.base !== null && method.base > c - 3) return `base: no channels from ${method.base} on`;
  } else if (method.kind === "gaussians") {
    if (c < 3 + 7 * method.lobes) return `${method.lobes} lobes take ${3 + 7 * method.lobes} channels, there are ${c}`;
  } else if (method.kind === "lightfield") {
    if (method.terms % 4 || 3 * method.terms > L.MAX_CHANNELS) return `${method.terms} terms; expected a multiple of 4 up to 64`;
    if (c !== 3 * method.terms) return `${method.terms} terms take ${3 * method.terms} channels, there are ${c}`;
    if (!finite(method.scale) || !finite(method.offset)) return `directions: expected ${method.terms} finite scales and offsets`;
  } else if (c < 3) return `${c} channels; colours take 3`;
  return "";
}
