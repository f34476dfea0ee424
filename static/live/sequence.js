// One sequence layer: splats that move by formulas, their words in buffers of ours (viewer/sequence.py; docs/format-sequence.md).
import { JsonField } from "../fields.js";
import { DAMAGED, FormatError } from "../inflate.js";

/** @typedef {import("../assemble.js").SequenceDraws} SequenceDraws */
/** time: the span in the model's time, and the seconds that it takes. @typedef {{time: {start: number, end: number, duration: number, frames: number, loop: boolean}}} SequenceContract */
/** @typedef {ReturnType<typeof parseSequence>} SequenceInfo */
/** @typedef {Awaited<ReturnType<typeof createSequence>>} Sequence */

/** Bytes of a part: one storage binding at WebGPU's default limit. */
const PART_BYTES = 2 ** 27;
const GROUP = 256, MAX_SPLATS = 2 ** 24, MAX_TERMS = 8;
/** Words of a splat; 4D Gaussians have SH bytes after them. */
const SPACETIME_WORDS = 17, GAUSSIAN4D_WORDS = 12;

/**
 * The properties of a layer. Throws FormatError.
 * @param {JsonField} data
 */
export function parseSequence(data) {
  const motion = /** @type {SequenceDraws["motion"]} */ (data.member("motion").text());
  if (motion !== "spacetime" && motion !== "gaussian4d") data.member("motion").fail("one of spacetime, gaussian4d");
  const span = data.member("time"), start = span.member("start").number(), end = span.member("end").number();
  if (!(start < end)) span.fail("start below end");
  const time = {
    start, end, duration: span.member("duration").number(1e-3, 1e6), frames: span.member("frames").integer(0, 2 ** 24), loop: span.member("loop").boolean(),
  };
  const [low, high] = data.member("bounds").rows(2, 3), kernel = data.member("kernel");
  const splats = data.member("splats").integer(1, MAX_SPLATS), degree = data.member("sh_degree").integer(0, 3), terms = data.member("terms").integer(1, MAX_TERMS);
  const coefficients = (degree + 1) ** 2;
  const words = motion === "spacetime" ? SPACETIME_WORDS : GAUSSIAN4D_WORDS + Math.ceil((3 * (coefficients * terms - 1)) / 4);
  const rows = Math.floor(PART_BYTES / (4 * words * GROUP)) * GROUP, parts = [];
  for (let first = 0; first < splats; first += rows) parts.push(Math.min(rows, splats - first));
  return {
    motion, time, splats, parts, words, coefficients, terms, box: [...low, ...high],
    unit: data.member("unit").number(2 ** -120, 2 ** 100), period: data.member("period").number(1e-30, 1e30), cut: data.member("cut").number(0, 1),
    kernel: { dilation: kernel.member("dilation").number(0, 100), antialias: kernel.member("antialias").boolean() },
  };
}

/** The model's time at seconds of the scene's clock (docs/generator.md, "Time"). @param {SequenceContract["time"]} span @param {number} seconds */
export function modelTime({ start, end, duration, loop }, seconds) {
  const share = seconds / duration, u = loop ? share - Math.floor(share) : Math.min(Math.max(share, 0), 1);
  return start + (end - start) * u;
}

/**
 * @param {import("../lens.js").Layer} layer
 * @param {{executor: import("../executor.js").Executor, signal: AbortSignal}} options
 */
export async function createSequence(layer, { executor, signal }) {
  const file = `layer ${layer.index}`, info = parseSequence(new JsonField(layer.properties, file, "properties"));
  const { motion, parts, words, time, coefficients, terms, unit, period, cut, box, kernel } = info;
  /** Of its first part among all parts of the motion, which is how buffers are numbered. */
  let number = -1, loaded = 0, destroyed = false;
  const all = parts.reduce((sum, rows) => sum + rows, 0);

  return {
    contract: /** @type {SequenceContract} */ ({ time }),

    /** Adds its parts to the lists that the stages' buffers are made for. @param {ReturnType<typeof import("../assemble.js").emptyLists>} lists */
    lists(lists) {
      const list = lists[`${motion}_layers`];
      if (number < 0) number = list.length;
      list.push(...parts.map((rows) => ({ groups: 1, rows, words })));
    },

    /** Brings every part into its buffer, which `lists` was asked for before. Throws FormatError. */
    async load() {
      for (const [k, rows] of parts.entries()) {
        const bytes = await layer.blob(`splats.${k}`, signal);
        if (destroyed) return;
        if (bytes.length !== 4 * words * rows) {
          throw new FormatError(`${file}: blob splats.${k}: ${bytes.length} bytes, expected ${4 * words * rows} for ${rows} splats of ${4 * words} bytes; ${DAMAGED}`);
        }
        executor.write(`${motion}_words.${number + k}`, bytes);
        loaded = k + 1;
      }
    },

    /** Every part at a time; no rows of those that have not come. @param {number} seconds @returns {SequenceDraws[]} */
    parts(seconds) {
      const { transform } = layer, at = modelTime(time, seconds);
      return parts.map((rows, k) => ({ transform, motion, rows: k < loaded ? rows : 0, words, coefficients, terms, time: at, unit, period, cut, box, kernel }));
    },

    /** Most splats that it may draw. @param {number} [_] at these seconds: always the same */
    draws: (_) => ({ rows: all }),

    destroy() { destroyed = true; },
  };
}
