// A layer's contract and what its model's inputs are fed with (twins: viewer/contract.py, viewer/generator.py; docs/generator.md).
import { layerView } from "../assemble.js";
import { JsonField } from "../fields.js";
import { DAMAGED, FormatError, UnsupportedError } from "../inflate.js";

/** @typedef {import("../camera.js").Camera} Camera */
/**
 * @typedef {{meaning: string, controls?: string[], channel?: string, value?: number[], transpose?: boolean}} Input
 * columns: first and number of them; all where absent.
 * @typedef {{output: string, columns?: [number, number]}} Output
 * @typedef {{start: number, end: number, duration: number, frames: number, loop: boolean}} TimeSpan
 * @typedef {{name: string, label: string, group?: string, kind: "slider" | "toggle", min?: number, max?: number, default: number | boolean, step?: number}} Control
 * data: frames x size, row-major.
 * @typedef {{size: number, data: Float32Array}} Channel
 * @typedef {{name: string, label: string, duration: number, frames: number, loop: boolean, interpolation: "linear" | "step", channels: Record<string, Channel>}} Track
 * type: as NumPy calls it; null stands for a dynamic size.
 * @typedef {{type: string, shape: (number | null)[]}} TensorType
 * @typedef {{inputs: Record<string, TensorType>, outputs: Record<string, TensorType>}} Graph
 * @typedef {{kind: string, inputs: Record<string, Input>, outputs: Record<string, Output>, capacity: number, time: TimeSpan | null, controls: Control[],
 *   tracks: Track[], bounds: number[] | null, kernel: {dilation: number, antialias: boolean}, image: {size?: [number, number], overlap?: number, multiple?: number} | null, graph: Graph}} Contract
 * The state of one layer. controls: those that differ from their defaults at least; track: a name, null for none.
 * @typedef {{seconds: number, controls: Record<string, number>, track: string | null}} Moment
 * @typedef {Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> | Int32Array<ArrayBuffer> | BigInt64Array<ArrayBuffer>} Values
 */

const VERSION = 1;
const MEANINGS = ["time", "frame", "camera_position", "world_to_camera", "projection", "viewport", "controls", "track", "constant", "image"];
/** Of `projection`, world units. */
const NEAR = 0.01, FAR = 100;

/**
 * The blobs `contract` and `tracks` of a layer: what the converter has checked is taken, what a damaged file could break is not.
 * @param {Uint8Array} text @param {Uint8Array} tracks @param {string} file stands in messages
 * @returns {Contract}
 */
export function parseContract(text, tracks, file) {
  const root = JsonField.parse(text, file, "contract"), version = root.member("version").integer(1, 2 ** 30);
  if (version > VERSION) throw new UnsupportedError(`${file}: generator contract version ${version}, this viewer reads ${VERSION}: update it`);
  const c = root.object(), graph = readGraph(root.member("graph"));
  const inputs = root.member("inputs").object(), outputs = root.member("outputs").object();
  for (const name in inputs) {
    const one = root.member("inputs").member(name);
    if (!MEANINGS.includes(one.member("meaning").text())) one.fail(`a meaning among ${MEANINGS.join(", ")}`);
    if (!Object.hasOwn(graph.inputs, name)) one.fail("an input of the graph");
    if ((inputs[name].meaning === "time" || inputs[name].meaning === "frame") && !root.has("time")) one.fail("a member 'time' in the contract");
  }
  for (const name in graph.inputs) if (!Object.hasOwn(inputs, name)) root.member("inputs").fail(`an entry for the graph's input ${JSON.stringify(name)}`);
  for (const meaning in outputs) {
    const one = root.member("outputs").member(meaning);
    if (!Object.hasOwn(graph.outputs, one.member("output").text())) one.fail("an output of the graph");
  }
  const time = root.has("time") ? root.member("time") : null;
  if (time) {
    for (const key of ["start", "end"]) time.member(key).number();
    time.member("duration").number(1e-3, 1e6);
  }
  const controls = root.has("controls") ? root.member("controls").items(0, 256).map((f) => (f.member("name").text(), f.value)) : [];
  const names = controls.map((one) => one.name);
  for (const name in inputs) for (const one of inputs[name].controls ?? []) if (!names.includes(one)) root.member("controls").fail(`a control ${JSON.stringify(one)}`);
  return {
    kind: root.member("kind").text(), inputs, outputs, graph, controls, time: time?.value ?? null, image: c.image ?? null,
    capacity: c.kind === "generator" ? root.member("capacity").integer(1, 1 << 24) : 0,
    tracks: root.has("tracks") ? root.member("tracks").items(0, 256).map((f) => readTrack(f, tracks, file)) : [],
    bounds: root.has("bounds") ? root.member("bounds").rows(2, 3).flat() : null,
    kernel: c.kernel ?? { dilation: 0.3, antialias: false },
  };
}

/** @param {JsonField} field @returns {Graph} */
function readGraph(field) {
  for (const side of ["inputs", "outputs"]) {
    const all = field.member(side);
    for (const name in all.object()) {
      const one = all.member(name);
      one.member("type").text();
      one.member("shape").items(0, 8).forEach((f) => { if (f.value !== null) f.integer(0, 2 ** 40); });
    }
  }
  return field.value;
}

/** @param {JsonField} field @param {Uint8Array} blob @param {string} file @returns {Track} */
function readTrack(field, blob, file) {
  const frames = field.member("frames").integer(1, 1 << 20), all = field.member("channels"), t = field.object();
  /** @type {Record<string, Channel>} */
  const channels = {};
  for (const name in all.object()) {
    const size = all.member(name).member("size").integer(1, 1 << 24), offset = all.member(name).member("offset").integer(0, blob.length);
    const bytes = 4 * frames * size;
    if (offset + bytes > blob.length) throw new FormatError(`${file}: channel ${JSON.stringify(name)}: ${bytes} bytes at ${offset} are not in the blob 'tracks' of ${blob.length}; ${DAMAGED}`);
    channels[name] = { size, data: new Float32Array(blob.slice(offset, offset + bytes).buffer) };
  }
  return {
    name: field.member("name").text(), label: t.label ?? t.name, duration: field.member("duration").number(1e-3, 1e6), frames, channels,
    loop: t.loop ?? true, interpolation: t.interpolation ?? "linear",
  };
}

/** How many elements, 0 where dynamic. @param {(number | null)[]} shape */
export const sizeOf = (shape) => shape.reduce((/** @type {number} */ n, d) => n * (d ?? 0), 1);

/** The share of a duration that has passed. @param {number} seconds @param {number} duration @param {boolean} loop */
function share(seconds, duration, loop) {
  const passed = seconds / duration;
  return loop ? passed - Math.floor(passed) : Math.min(Math.max(passed, 0), 1);
}

/** Numbers of a channel at a time; zeros where the track has none of the name. @param {Track | undefined} track @param {string} name @param {number} seconds @param {number} size */
function sample(track, name, seconds, size) {
  const channel = track?.channels[name];
  if (!track || !channel) return new Array(size).fill(0);
  const { frames, loop } = track, u = share(seconds, track.duration, loop), place = loop ? u * frames : u * (frames - 1), low = Math.floor(place);
  const a = (low % frames) * channel.size, b = (loop ? (low + 1) % frames : Math.min(low + 1, frames - 1)) * channel.size, { data } = channel;
  return Array.from({ length: channel.size }, (_, i) => track.interpolation === "linear" ? data[a + i] + (data[b + i] - data[a + i]) * (place - low) : data[a + i]);
}

/** @param {Camera} camera 16 numbers, row-major */
function projection({ fx, fy, cx, cy, width, height }) {
  return [2 * fx / width, 0, 2 * cx / width - 1, 0, 0, -2 * fy / height, 1 - 2 * cy / height, 0, 0, 0, FAR / (FAR - NEAR), -NEAR * FAR / (FAR - NEAR), 0, 0, 1, 0];
}

/**
 * What every input but the picture is fed with, in the type it declares: computed in float64, rounded to float32, then converted
 * (to integers: the nearest, halves upward).
 * @param {Contract} contract @param {Moment} moment @param {Camera} camera @param {ArrayLike<number>} transform 16 numbers, row-major, world from layer
 * @returns {Record<string, Values>}
 */
export function feedsOf(contract, moment, camera, transform) {
  const { time } = contract, track = contract.tracks.find((t) => t.name === moment.track);
  const u = time ? share(moment.seconds, time.duration, time.loop) : 0;
  /** @param {string} name */
  const control = (name) => {
    const c = /** @type {Control} */ (contract.controls.find((one) => one.name === name));
    const { min = 0, max = 1 } = c.kind === "toggle" ? {} : c;
    return Math.min(Math.max(Number(moment.controls[name] ?? c.default), min), max);
  };
  /** @type {Record<string, Values>} */
  const made = {};
  for (const [name, input] of Object.entries(contract.inputs)) {
    if (input.meaning === "image") continue;
    const { type, shape } = contract.graph.inputs[name], size = sizeOf(shape) || 1;
    /** @type {ArrayLike<number>} */
    let values;
    switch (input.meaning) {
      case "time": values = [(time?.start ?? 0) + ((time?.end ?? 1) - (time?.start ?? 0)) * u]; break;
      case "frame": values = [Math.min(Math.floor(u * (time?.frames ?? 1)), (time?.frames ?? 1) - 1)]; break;
      case "camera_position": values = layerView(camera, transform).eye; break;
      case "world_to_camera": values = layerView(camera, transform).view; break;
      case "projection": values = projection(camera); break;
      case "viewport": values = [camera.width, camera.height]; break;
      case "controls": values = (input.controls ?? []).map(control); break;
      case "track": values = sample(track, input.channel ?? "", moment.seconds, size); break;
      default: {
        const given = [input.value ?? 0].flat();
        values = given.length === size ? given : new Array(size).fill(given[0]);
      }
    }
    if (input.transpose) values = Array.from({ length: 16 }, (_, i) => values[4 * (i % 4) + (i >> 2)]);
    made[name] = typed(values, type);
  }
  return made;
}

/** @param {ArrayLike<number>} values @param {string} type @returns {Values} */
function typed(values, type) {
  if (type === "int32") return Int32Array.from(values, (v) => Math.floor(v + 0.5));
  if (type === "int64") return BigInt64Array.from(Array.from(values, (v) => BigInt(Math.floor(v + 0.5))));
  const floats = Float32Array.from(values);
  return type === "float16" ? Uint16Array.from(floats, halfBits) : floats;
}

const word = new DataView(new ArrayBuffer(4));
/** Bit pattern of the float16 nearest to a float32, ties to even. @param {number} value */
function halfBits(value) {
  word.setFloat32(0, value);
  const bits = word.getUint32(0), sign = (bits >>> 16) & 0x8000, size = bits & 0x7fffffff;
  if (size >= 0x47800000) return sign | (size > 0x7f800000 ? 0x7e00 : 0x7c00); // 65536 and more, infinity, NaN
  if (size < 0x38800000) return sign | evenly(Math.abs(value) * 2 ** 24); // subnormal: steps of 2^-24
  // The exponent is moved from a bias of 127 to 15; 13 bits of the fraction go, ties to even. A carry into the exponent is right.
  return sign | (((size - 0x38000000) + 0xfff + ((size >>> 13) & 1)) >>> 13);
}

/** The nearest integer, halves to the even one. @param {number} value */
function evenly(value) {
  const low = Math.floor(value), rest = value - low;
  return low + Number(rest > 0.5 || (rest === 0.5 && low % 2 === 1));
}
