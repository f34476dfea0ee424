// Inflated payloads of a page to the words the GPU reads: the twin of viewer/page_decode.py, bit for bit (docs/format-payload.md).
import { FormatError } from "./inflate.js";

/** @typedef {ReturnType<typeof readCodec>} Codec */
/**
 * A decoded page of n clusters. words: the page's slots one after another. firstSlot, slots: of each cluster, slots 1 or 2.
 * origins: 3 a cluster; the draw's offset is origin - camera. classes: the shift of each row's SH, which decodeSh needs.
 * @typedef {{words: Uint32Array<ArrayBuffer>, firstSlot: Int32Array, slots: Uint8Array, origins: Float32Array, classes: Uint8Array}} Geometry
 */

/** Rows a cluster has at most, and words of a slot: constants of shaders/structs.wgsl, compared by a test. */
export const GROUP = 256, HEADER_WORDS = 8, SLOT_WORDS = 1032, SH_WORDS = [0, 3, 7, 12];
/** Steps a factor of two of the largest scale; unit of colours at exponent 0, DC coefficients. */
export const SCALE_STEPS = 16, COLOR_UNIT = 1 / 64;
const RECORD = 26, QUANTITIES = 13, SIGNED = 7;
const POSITION_MOST = 65535, POSITION_BITS = 39, POSITION_EXPONENT = 100, COLOR_EXPONENT = 40, COARSE = 16, SH_EXPONENT = 24;
const ABSENT = 0, NIBBLE = 1, BYTE = 2;
/** Largest shift of each quantity. @type {Record<string, number>} */
export const MAX_SHIFT = { middle: 5, thin: 6, axis: 7, roll: 7, color: 7, sh: 7 };

/** @param {unknown} condition @param {string} expected @returns {asserts condition} */
function need(condition, expected) {
  if (!condition) throw new FormatError(`payload: expected ${expected}; the file is damaged, fetch or convert it again`);
}

/**
 * The quantisation of a layer, from its description in the file. Throws a FormatError where a member is missing or out of range.
 * @param {any} json
 */
export function readCodec(json) {
  /** @param {unknown} value @param {number} low @param {number} high @param {string} name */
  const number = (value, low, high, name) => {
    if (typeof value !== "number" || !(value >= low && value <= high)) throw codecError(name, `a number in ${low}..${high}`);
    return value;
  };
  /** @param {unknown} value @param {number} low @param {number} high @param {string} name */
  const integer = (value, low, high, name) => {
    if (!Number.isInteger(value)) throw codecError(name, "an integer");
    return number(value, low, high, name);
  };
  const degree = integer(json.sh_degree, 0, 3, "sh_degree"), width = 3 * ((degree + 1) ** 2 - 1);
  if (!Array.isArray(json.importance) || json.importance.length !== 3) throw codecError("importance", "a list of 3");
  const low = integer(json.importance[1], -1024, 1024, "importance[1]");
  const importance = [integer(json.importance[0], -32768, 32768, "importance[0]"), low, integer(json.importance[2], low, 1024, "importance[2]")];
  /** @type {Record<string, number>} */
  const steps = {};
  for (const name in MAX_SHIFT) steps[name] = integer(json.steps?.[name], -4096, 4096, `steps.${name}`);
  let text = "";
  try {
    text = atob(json.sh_basis);
  } catch {
    throw codecError("sh_basis", "base64");
  }
  if (text.length > width * width || (width && text.length % width)) throw codecError("sh_basis", `at most ${width} rows of ${width} bytes`);
  return {
    sh_degree: degree, importance, steps, width,
    opacity_step: number(json.opacity_step, 2 ** -20, 1, "opacity_step"),
    knee: integer(json.knee, -4096, 4096, "knee"),
    sh_step: number(json.sh_step, 2 ** -40, 2 ** 20, "sh_step"),
    basis: Int8Array.from(text, (c) => c.charCodeAt(0)),
  };
}

/** @param {string} name @param {string} expected */
const codecError = (name, expected) => new FormatError(`codec: member ${name}: expected ${expected}; the file is damaged, fetch or convert it again`);

/** Words of a slot's SH. @param {number} degree */
export const shSlotWords = (degree) => SH_WORDS[degree] * GROUP;

/** Bytes that the inflated geometry and SH of a page take at most. @param {ArrayLike<number>} counts rows of each cluster @param {number} shDegree */
export function maxPayloadLength(counts, shDegree) {
  const rows = sum(counts);
  return [4 + RECORD * counts.length + (12 + 2 * QUANTITIES) * rows, 3 * ((shDegree + 1) ** 2 - 1) * (1 + rows)];
}

/** @param {ArrayLike<number>} counts */
function sum(counts) {
  let rows = 0;
  for (let i = 0; i < counts.length; i++) rows += counts[i];
  return rows;
}

/** @param {ArrayLike<number>} counts */
function checkCounts(counts) {
  let sound = counts.length > 0;
  for (let i = 0; i < counts.length; i++) sound &&= counts[i] >= 1 && counts[i] <= GROUP;
  need(sound, `1 to ${GROUP} splats in each cluster`);
}

/** 16 * log2, linear between powers of two; 0 for 0. @param {number} root */
function log2Index(root) {
  if (root < 1) return 0;
  const whole = 31 - Math.clz32(root);
  return 16 * whole + ((root << 4) >> whole) - 16;
}

/** Index of the largest scale that a code stands for: steps 1, 2, 4, 8 and 16 from the knee down, two octaves each. @param {number} code @param {number} knee */
function scaleIndex(code, knee) {
  let out = code + knee, top = 0, index = knee;
  for (let step = 2; step <= 16; step *= 2) {
    if (code < top) out = index + step * (code - top);
    top -= 32 / step;
    index -= 32;
  }
  return out;
}

/** @param {number} value @param {number} low @param {number} high */
const clamp = (value, low, high) => value < low ? low : value > high ? high : value;
/** @param {number} exponent 1/32 @param {number} most */
const shiftOf = (exponent, most) => clamp(exponent >> 5, 0, most);
/** @param {number} v */
const signed = (v) => (v >> 1) ^ -(v & 1);
/** @param {number} v */
const bitLength = (v) => 32 - Math.clz32(v);

/**
 * @param {Uint8Array} payload @param {ArrayLike<number>} counts rows of each cluster @param {Codec} codec
 * @returns {Geometry}
 */
export function decodeGeometry(payload, counts, codec) {
  checkCounts(counts);
  const n = counts.length, rows = sum(counts), records = 4 + n * RECORD;
  need(payload.length >= records, `at least ${records} bytes, got ${payload.length}`);
  const mask = (payload[0] | payload[1] << 8 | payload[2] << 16 | payload[3] << 24) >>> 0;
  need(mask < 2 ** (2 * QUANTITIES), `a mask of ${2 * QUANTITIES} planes, got ${mask}`);
  // Records are stored byte by byte of all clusters.
  const bytes = new Uint8Array(n * RECORD), record = new DataView(bytes.buffer);
  for (let b = 0; b < RECORD; b++) for (let i = 0; i < n; i++) bytes[i * RECORD + b] = payload[4 + b * n + i];
  let exactRows = 0;
  for (let i = 0; i < n; i++) if (bytes[i * RECORD + 12] & 4) exactRows += counts[i];
  let planes = 0;
  for (let b = 0; b < 2 * QUANTITIES; b++) planes += mask >>> b & 1;
  const end = records + 12 * exactRows + rows * planes;
  need(payload.length === end, `${end} bytes, got ${payload.length}`);

  /** @type {Int32Array[]} */
  const q = [];
  let at = records + 12 * exactRows;
  for (let k = 0; k < QUANTITIES; k++) {
    const value = new Int32Array(rows);
    for (let half = 0; half < 2; half++) {
      if (!(mask >>> (2 * k + half) & 1)) continue;
      for (let i = 0; i < rows; i++) value[i] |= payload[at + i] << (8 * half);
      at += rows;
    }
    if (k >= SIGNED) for (let i = 0; i < rows; i++) value[i] = signed(value[i]);
    q.push(value);
  }

  const origins = new Float32Array(3 * n), firstSlot = new Int32Array(n), slots = new Uint8Array(n);
  const classes = new Uint8Array(rows);
  const wide = new Uint8Array(n), widths = new Int32Array(3 * n);
  for (let i = 0, first = 0, total = 0; i < n; first += counts[i++]) {
    const flags = bytes[i * RECORD + 12], exact = (flags & 4) !== 0;
    for (let k = 0; k < 3; k++) origins[3 * i + k] = record.getFloat32(i * RECORD + 4 * k, true);
    need([0, 1, 2].every((k) => Number.isFinite(origins[3 * i + k]) && !(exact && origins[3 * i + k])), "finite origins, 0 where centres are float32");
    need(flags < 8 && (flags & 3) < 3, "flags with a sort axis of 0 to 2 and no unknown bits");
    need(Math.abs(record.getInt8(i * RECORD + 14)) <= POSITION_EXPONENT, "position exponents within +-100");
    need(bytes[i * RECORD + 13] <= COARSE, `at most ${COARSE} coarse half octaves`);
    need(bytes[i * RECORD + 15] <= COLOR_EXPONENT, `colour exponents of at most ${COLOR_EXPONENT}`);
    need(bytes[i * RECORD + 24] <= SH_EXPONENT, `SH exponents of at most ${SH_EXPONENT}`);
    need(bytes[i * RECORD + 25] === 0, "reserved bytes of 0");
    const along = q[flags & 3];
    for (let r = first + 1; r < first + counts[i]; r++) along[r] += along[r - 1];
    need(along[first + counts[i] - 1] <= POSITION_MOST, `positions of at most ${POSITION_MOST} steps`);
    let bits = 0;
    for (let k = 0; k < 3; k++) {
      let most = 0;
      for (let r = first; r < first + counts[i]; r++) most = Math.max(most, q[k][r]);
      widths[3 * i + k] = bitLength(most);
      bits += widths[3 * i + k];
    }
    wide[i] = exact || bits > POSITION_BITS ? 1 : 0;
    slots[i] = 1 + wide[i];
    firstSlot[i] = total;
    total += slots[i];
  }

  const words = new Uint32Array(SLOT_WORDS * (firstSlot[n - 1] + slots[n - 1])), floats = new Float32Array(words.buffer);
  const centers = new DataView(new ArrayBuffer(4));
  const [x, y, z, roots, codes, middles, thins, axisY, axisZ, rolls, ...colors] = q;
  const [zero, low, high] = codec.importance, { steps, knee } = codec;
  const scales = new Int32Array(GROUP), units = [0, 1, 2].map(() => new Int32Array(GROUP));
  for (let i = 0, first = 0, exactRow = 0; i < n; first += counts[i++]) {
    const o = i * RECORD, count = counts[i], exact = (bytes[o + 12] & 4) !== 0;
    const coarse = 16 * bytes[o + 13], scaleFirst = record.getInt16(o + 16, true), shExponent = bytes[o + 24];
    const head = firstSlot[i] * SLOT_WORDS, body = head + HEADER_WORDS;
    const base = [18, 20, 22].map((b) => record.getInt16(o + b, true));
    let leastScale = Infinity;
    const least = [Infinity, Infinity, Infinity];
    for (let r = 0; r < count; r++) {
      const row = first + r, scale = scaleIndex(codes[row] + scaleFirst, knee);
      const weight = clamp(scale + 2 * log2Index(roots[row]) - zero, low, high) - coarse;
      const middle = middles[row] << shiftOf(steps.middle - weight, MAX_SHIFT.middle);
      const thin = middle + (thins[row] << shiftOf(steps.thin - weight + (Math.min(middle, 64) >> 1), MAX_SHIFT.thin));
      const blade = clamp(thin - middle, 0, 64);
      const shift = shiftOf(steps.axis - weight - Math.min(middle, 80) - (3 * blade >> 2), MAX_SHIFT.axis);
      const turnY = 512 + (axisY[row] << shift), turnZ = 512 + (axisZ[row] << shift);
      const roll = 256 + (rolls[row] << shiftOf(steps.roll - weight - blade, MAX_SHIFT.roll));
      need(middle < 128 && thin < 128 && turnY >= 0 && turnY < 1024 && turnZ >= 0 && turnZ < 1024 && roll >= 0 && roll < 512 && roots[row] < 256, FIELDS);
      words[body + GROUP + r] = middle << 10 | thin << 17 | roots[row] << 24;
      words[body + 2 * GROUP + r] = turnY | turnZ << 10 | roll << 20;
      const colorShift = shiftOf(steps.color - weight - 32 * bytes[o + 15], MAX_SHIFT.color);
      for (let k = 0; k < 3; k++) {
        const unit = base[k] + (colors[k][row] << colorShift);
        units[k][r] = unit;
        if (unit < least[k]) least[k] = unit;
      }
      scales[r] = scale;
      if (scale < leastScale) leastScale = scale;
      classes[row] = shiftOf(steps.sh - weight + (coarse >> 1), MAX_SHIFT.sh) + shExponent;
    }
    const unit = COLOR_UNIT * 2 ** bytes[o + 15], step = 2 ** record.getInt8(o + 14);
    floats[head] = wide[i] ? 0 : step;
    floats[head + 1] = leastScale / SCALE_STEPS;
    floats[head + 2] = codec.opacity_step;
    for (let k = 0; k < 3; k++) floats[head + 3 + k] = least[k] * unit;
    floats[head + 6] = unit;
    const xBits = wide[i] ? 0 : widths[3 * i], yBits = wide[i] ? 0 : widths[3 * i + 1];
    words[head + 7] = SH_WORDS[codec.sh_degree] | xBits << 8 | yBits << 16;
    for (let r = 0; r < count; r++) {
      const scale = scales[r] - leastScale, grey = units[0][r] - least[0], orange = units[1][r] - least[1], pink = units[2][r] - least[2];
      need(scale < 1024 && grey < 1024 && orange < 512 && pink < 512, FIELDS);
      words[body + GROUP + r] |= scale;
      words[body + 3 * GROUP + r] = grey | orange << 10 | pink << 19;
      const row = first + r;
      if (!wide[i]) {
        // 39 bits; a shift by 32 would be one by 0.
        const low = z[row] * 2 ** (xBits + yBits), high = Math.floor(low / 2 ** 32);
        words[body + r] = x[row] | y[row] << xBits | low;
        words[body + 2 * GROUP + r] |= (high & 7) << 29;
        words[body + 3 * GROUP + r] |= high >> 3 << 28;
        continue;
      }
      for (let k = 0; k < 3; k++) {
        const to = head + SLOT_WORDS + k * GROUP + r;
        if (!exact) {
          floats[to] = q[k][row] * step;
          continue;
        }
        for (let b = 0; b < 4; b++) centers.setUint8(b, payload[records + (4 * k + b) * exactRows + exactRow + r]);
        need(Number.isFinite(centers.getFloat32(0, true)), "finite centres");
        words[to] = centers.getUint32(0, true);
      }
    }
    if (exact) exactRow += count;
  }
  return { words, firstSlot, slots, origins, classes };
}

const FIELDS = "values that fit their fields";

/**
 * SH words of a page, one SH slot a cluster.
 * @param {Uint8Array} payload @param {ArrayLike<number>} counts @param {Uint8Array} classes from decodeGeometry @param {Codec} codec
 */
export function decodeSh(payload, counts, classes, codec) {
  checkCounts(counts);
  const rows = sum(counts), { width } = codec, perSplat = SH_WORDS[codec.sh_degree];
  need(codec.sh_degree > 0 && classes.length === rows, `a layer with SH and ${rows} classes`);
  const { basis } = codec, components = basis.length / width;
  need(payload.length >= components, `at least ${components} bytes of SH, got ${payload.length}`);
  let whole = 0, small = 0;
  for (let k = 0; k < components; k++) {
    need(payload[k] <= BYTE, "SH modes of 0 to 2");
    if (payload[k] === BYTE) whole++;
    else if (payload[k] === NIBBLE) small++;
  }
  const end = components + rows * (whole + (small + 1 >> 1));
  need(payload.length === end, `${end} bytes of SH, got ${payload.length}`);

  // Where each component of a row is, and by what to shift it; those that are always 0 are left out.
  const place = [], shift = [], rowsOfBasis = [];
  for (let k = 0, w = 0, s = 0; k < components; k++) {
    if (payload[k] === ABSENT) continue;
    const nibble = payload[k] === NIBBLE;
    place.push(components + rows * (nibble ? whole + (s >> 1) : w));
    shift.push(nibble ? 4 * (s & 1) : -1);
    rowsOfBasis.push(k * width);
    if (nibble) s++;
    else w++;
  }
  const words = new Uint32Array(counts.length * perSplat * GROUP), sums = new Int32Array(width);
  const step = new Float32Array(1), bits = new Uint32Array(step.buffer), packed = new Uint8Array(4 * perSplat);
  for (let i = 0, row = 0; i < counts.length; i++) {
    for (let r = 0; r < counts[i]; r++, row++) {
      sums.fill(0);
      for (let k = 0; k < place.length; k++) {
        let z = payload[place[k] + row];
        if (shift[k] >= 0) z = z >> shift[k] & 15;
        if (!z) continue;
        const v = signed(z), from = rowsOfBasis[k];
        for (let c = 0; c < width; c++) sums[c] += v * basis[from + c];
      }
      let peak = 0;
      for (let c = 0; c < width; c++) peak = Math.max(peak, Math.abs(sums[c]));
      const scale = 2 ** classes[row];
      // The least bfloat16 that is not below: 127 of it reach the largest coefficient.
      step[0] = peak * scale * codec.sh_step / 127;
      bits[0] = bits[0] + 0xffff & 0xffff0000;
      const ratio = step[0] > 0 ? codec.sh_step / step[0] : 0;
      for (let c = 0; c < width; c++) packed[c] = Math.floor(sums[c] * scale * ratio + 0.5) & 255;
      packed[4 * perSplat - 2] = bits[0] >>> 16 & 255;
      packed[4 * perSplat - 1] = bits[0] >>> 24;
      const to = i * perSplat * GROUP + r;
      for (let w = 0; w < perSplat; w++) words[to + w * GROUP] = packed[4 * w] | packed[4 * w + 1] << 8 | packed[4 * w + 2] << 16 | packed[4 * w + 3] << 24;
    }
  }
  return words;
}
