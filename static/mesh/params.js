// The numbers that a shading stage reads from storage buffers: what bytes mean, and weights (viewer/mesh_params.py is its twin).

/** @typedef {import("./assemble.js").Look} Look */
/** @typedef {import("./assemble.js").Network} Network */

/** Groups of four. @param {number} n */
const groups = (n) => Math.ceil(n / 4);

/** @param {ArrayLike<number>} values @returns {number[]} with 0 up to a whole group */
const padded = (values) => Array.from({ length: 4 * groups(values.length) }, (_, i) => values[i] ?? 0);

/**
 * Rows of four: scales of all channels, then offsets, 0 beyond the last channel; then what is the method's own.
 * @param {Look} look
 */
export function packParams({ channels, method, scale, offset }) {
  const out = [...padded(scale), ...padded(offset)];
  if (method.kind === "lightfield") out.push(...padded(method.scale), ...padded(method.offset));
  if (method.kind === "network") pushNetwork(out, method, channels);
  return Float32Array.from(out);
}

/** Words of a light field's map of directions, row by row. @param {Look} look */
export function packDirections({ method }) {
  if (method.kind !== "lightfield") throw new TypeError(`a ${method.kind} has no map of directions`);
  const { directions } = method, words = new Uint32Array(directions.length / 4);  // terms are a multiple of 4
  for (let i = 0; i < words.length; i++) {
    words[i] = directions[4 * i] | directions[4 * i + 1] << 8 | directions[4 * i + 2] << 16 | directions[4 * i + 3] << 24;
  }
  return words;
}

/** Groups of four inputs that are sines. @param {Network} network */
export const waveGroups = ({ inputs }) => groups(inputs.filter((one) => one.frequency !== 0).length);

/** @param {number[]} out @param {Network} network @param {number} channels */
function pushNetwork(out, network, channels) {
  const { inputs, layers } = network, direction = 4 * groups(channels);
  /** @param {number} source */
  const numberOf = (source) => source < channels ? source : direction + source - channels;
  const waves = inputs.filter((one) => one.frequency !== 0);
  for (let i = 0; i < waves.length; i += 4) {
    const four = waves.slice(i, i + 4);
    out.push(...padded(four.map((one) => numberOf(one.source))), ...padded(four.map((one) => one.frequency)), ...padded(four.map((one) => one.phase)));
  }
  const units = layers[0].bias.length, first = new Float64Array((direction + 4 + 4 * waveGroups(network)) * units);
  let wave = direction + 4;
  inputs.forEach(({ source, frequency }, i) => {
    const row = frequency === 0 ? numberOf(source) : wave++;
    for (let o = 0; o < units; o++) first[row * units + o] += layers[0].kernel[i * units + o];
  });
  layers.forEach(({ kernel, bias }, i) => pushLayer(out, i ? kernel : first, bias));
}

/** @param {number[]} out @param {ArrayLike<number>} kernel inputs x outputs, row-major @param {ArrayLike<number>} bias */
function pushLayer(out, kernel, bias) {
  const units = bias.length, inputs = kernel.length / units;
  for (let o = 0; o < units; o += 4) {
    for (let i = -1; i < 4 * groups(inputs); i++) {
      for (let k = o; k < o + 4; k++) out.push(k >= units || i >= inputs ? 0 : i < 0 ? bias[k] : kernel[i * units + k]);
    }
  }
}
