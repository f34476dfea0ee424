// The page's graphics device: one for all viewers, and plain words for why there is none.

/**
 * insecure: the page came over plain HTTP, where browsers hide WebGPU. missing: the browser has none. adapter: it has, but
 * finds no graphics adapter. refused: the adapter gives no device. lost: it was lost over and over.
 * @typedef {"insecure" | "missing" | "adapter" | "refused" | "lost"} GpuProblem
 */

/** Why no picture can be drawn. */
export class GpuError extends Error {
  /** @param {GpuProblem} kind @param {unknown} [cause] */
  constructor(kind, cause) {
    super(`no WebGPU: ${kind}${cause ? ` (${cause instanceof Error ? cause.message : cause})` : ""}`);
    this.kind = kind;
  }
}

/** @typedef {{device: GPUDevice, users: number}} Shared */

/** Kept by the browser's own GPU object, so that every copy of a viewer in this page shares one device. @type {WeakMap<GPU, Promise<Shared>>} */
const devices = new WeakMap();

/** Larger buffers than WebGPU's defaults where the adapter has them; never required. */
const LARGER = /** @type {const} */ (["maxStorageBufferBindingSize", "maxBufferSize"]);

/** Used where the adapter has them: the first by drawing, the second by models in float16. */
const FEATURES = /** @type {const} */ (["float32-blendable", "shader-f16"]);

/** @param {GPU} gpu @returns {Promise<Shared>} */
async function request(gpu) {
  const adapter = await gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new GpuError("adapter");
  const device = await adapter.requestDevice({
    requiredLimits: Object.fromEntries(LARGER.map((name) => [name, adapter.limits[name]])),
    requiredFeatures: FEATURES.filter((f) => adapter.features.has(f)),
  }).catch((error) => { throw new GpuError("refused", error); });
  return { device, users: 0 };
}

/**
 * The device, shared with all who hold it; `release` once done. Rejects with GpuError.
 * @returns {Promise<{device: GPUDevice, release: () => void}>}
 */
export async function acquireDevice() {
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) throw new GpuError(globalThis.isSecureContext === false ? "insecure" : "missing");
  let promise = devices.get(gpu);
  if (!promise) {
    promise = request(gpu);
    devices.set(gpu, promise);
    const forget = () => { if (devices.get(gpu) === promise) devices.delete(gpu); };
    promise.then((shared) => shared.device.lost.then(forget), forget);
  }
  const shared = await promise, own = promise;
  shared.users++;
  let held = true;
  return {
    device: shared.device,
    release() {
      if (!held) return;
      held = false;
      if (--shared.users > 0) return;
      if (devices.get(gpu) === own) devices.delete(gpu);
      shared.device.destroy();
    },
  };
}
