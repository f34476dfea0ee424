// The buffer of words that all mesh nodes lie in.
import { createResidency } from "../residency.js";

/**
 * Pages of any sizes, in words, lie at the first place that is large enough; a page's place is its first word.
 * @param {number} capacity words
 */
export function createMeshPool(capacity) {
  /** What is free, ascending, no two side by side. @type {{at: number, size: number}[]} */
  let gaps = capacity ? [{ at: 0, size: capacity }] : [];

  return createResidency({
    capacity,
    needOf: (/** @type {number} */ size) => size,

    allocate(size) {
      const k = gaps.findIndex((gap) => gap.size >= size);
      if (k < 0) return null;
      const { at } = gaps[k];
      if (gaps[k].size === size) gaps.splice(k, 1);
      else gaps[k] = { at: at + size, size: gaps[k].size - size };
      return at;
    },

    /** @param {number} at */
    release(at, size) {
      /** @type {typeof gaps} */
      const joined = [];
      for (const gap of [...gaps, { at, size }].sort((a, b) => a.at - b.at)) {
        const last = joined.at(-1);
        if (last && last.at + last.size === gap.at) last.size += gap.size;
        else joined.push({ ...gap });
      }
      gaps = joined;
    },
  });
}
