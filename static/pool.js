// A layer's fixed pool of GPU slots for clusters of splats.
import { createResidency } from "./residency.js";

/**
 * A page's size are the slots of each of its clusters, 1 or 2 neighbouring ones; its place is the first slot of each.
 * @param {number} capacity slots
 */
export function createPool(capacity) {
  /** 1 where a slot is taken. */
  const taken = new Uint8Array(capacity);

  return createResidency({
    capacity,
    needOf: (/** @type {ArrayLike<number>} */ sizes) => {
      let need = 0;
      for (let i = 0; i < sizes.length; i++) need += sizes[i];
      return need;
    },

    /** Singles fill from the bottom and pairs from the top, which keeps pairs possible. */
    allocate(sizes) {
      const slots = new Int32Array(sizes.length);
      let low = 0, high = capacity - 2;
      for (let i = 0; i < sizes.length; i++) {
        if (sizes[i] === 1) {
          while (low < capacity && taken[low]) low++;
          slots[i] = low < capacity ? low : -1;
        } else {
          while (high >= 0 && (taken[high] || taken[high + 1])) high--;
          slots[i] = high;
        }
        if (slots[i] < 0) {
          for (let j = 0; j < i; j++) taken.fill(0, slots[j], slots[j] + sizes[j]);
          return null;
        }
        taken.fill(1, slots[i], slots[i] + sizes[i]);
      }
      return slots;
    },

    /** @param {Int32Array} slots */
    release(slots, sizes) {
      for (let i = 0; i < slots.length; i++) taken.fill(0, slots[i], slots[i] + sizes[i]);
    },
  });
}
