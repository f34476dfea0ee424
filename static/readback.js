// What lies in an executor's buffers and textures, waited for, and what each pass takes.

/** @typedef {import("./executor.js").Executor} Executor */
/** Channels and their type by format; of others the bytes as they lie, four a texel. @type {Record<string, [number, Float32ArrayConstructor | Uint32ArrayConstructor | Uint16ArrayConstructor]>} */
const TEXELS = { rgba16float: [4, Uint16Array], rgba32float: [4, Float32Array], r32float: [1, Float32Array], r32uint: [1, Uint32Array] };
/** Rows of a copied texture are padded to so many bytes. */
const ROW = 256;

/**
 * A buffer's bytes. The buffer needs COPY_SRC.
 * @param {Executor} executor @param {string} name
 * @returns {Promise<ArrayBuffer>}
 */
export function readBuffer(executor, name) {
  const source = executor.buffer(name);
  return copyOut(executor.device, source.size, (encoder, staging) => encoder.copyBufferToBuffer(source, 0, staging, 0, source.size));
}

/**
 * A texture's texels, rows without padding: bytes of an 8-bit format (in its own channel order), bit patterns of rgba16float, or
 * the numbers of a 32-bit format. The texture needs COPY_SRC.
 * @param {Executor} executor @param {string} name
 * @param {{x: number, y: number, width: number, height: number}} [area] texels; all of them, where not given
 * @returns {Promise<{width: number, height: number, format: GPUTextureFormat, data: Uint8Array | Uint16Array | Uint32Array | Float32Array}>}
 */
export async function readTexture(executor, name, area) {
  const texture = executor.texture(name), { x, y, width, height } = area ?? { x: 0, y: 0, width: texture.width, height: texture.height };
  const [channels, kind] = TEXELS[texture.format] ?? [4, Uint8Array];
  const bytes = width * channels * kind.BYTES_PER_ELEMENT, row = Math.ceil(bytes / ROW) * ROW;
  const padded = await copyOut(executor.device, row * height, (encoder, buffer) =>
    encoder.copyTextureToBuffer({ texture, origin: [x, y] }, { buffer, bytesPerRow: row, rowsPerImage: height }, { width, height }));
  const tight = new Uint8Array(bytes * height);
  for (let k = 0; k < height; k++) tight.set(new Uint8Array(padded, k * row, bytes), k * bytes);
  return { width, height, format: texture.format, data: new kind(tight.buffer) };
}

/**
 * Seconds of each pass by name, each submitted alone and waited for: for benchmarks.
 * @param {Executor} executor @param {import("./plan.js").Plan} plan
 */
export async function runTimed(executor, plan) {
  /** @type {Record<string, number>} */
  const seconds = {};
  for (const item of plan.passes) {
    const start = performance.now();
    executor.run({ ...plan, passes: [item] });
    await executor.device.queue.onSubmittedWorkDone();
    seconds[item.name] = (seconds[item.name] ?? 0) + (performance.now() - start) / 1000;
  }
  return seconds;
}

/** @param {GPUDevice} device @param {number} size bytes @param {(encoder: GPUCommandEncoder, staging: GPUBuffer) => void} copy @returns {Promise<ArrayBuffer>} */
async function copyOut(device, size, copy) {
  const staging = device.createBuffer({ label: "readback", size, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
  try {
    const encoder = device.createCommandEncoder({ label: "readback" });
    copy(encoder, staging);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    return staging.getMappedRange().slice(0);
  } finally {
    staging.destroy();
  }
}
