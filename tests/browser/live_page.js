// What tests/browser/test_live.py calls inside of Chromium: a scene's view on a device whose calls are counted, its float picture.

const base64 = (buffer) => {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
};

/** Counts what reaches the device: buffers made, read-backs of any kind, submissions. */
function counted(device) {
  const counts = { buffers: 0, textures: 0, readable: 0, maps: 0, copiesOut: 0, copies: 0, submits: 0, written: 0 }, readable = new WeakSet();
  const textures = new Map(), createBuffer = device.createBuffer.bind(device), createTexture = device.createTexture.bind(device);
  const createEncoder = device.createCommandEncoder.bind(device), submit = device.queue.submit.bind(device.queue);
  const sizes = new Map();
  device.createBuffer = (wanted) => {
    sizes.set(wanted.label, wanted.size);
    const made = createBuffer(wanted);
    counts.buffers++;
    if (wanted.usage & GPUBufferUsage.MAP_READ) {
      counts.readable++;
      readable.add(made);
    }
    const map = made.mapAsync.bind(made);
    made.mapAsync = (...a) => (counts.maps++, map(...a));
    return made;
  };
  device.createTexture = (wanted) => {
    counts.textures++;
    textures.set(wanted.label, createTexture(wanted));
    return textures.get(wanted.label);
  };
  device.createCommandEncoder = (wanted) => {
    const made = createEncoder(wanted), copy = made.copyBufferToBuffer.bind(made), out = made.copyTextureToBuffer.bind(made);
    made.copyBufferToBuffer = (...a) => {
      counts.copies++;
      if (readable.has(a.length > 3 ? a[2] : a[1])) counts.copiesOut++;
      return copy(...a);
    };
    made.copyTextureToBuffer = (...a) => (counts.copiesOut++, out(...a));
    return made;
  };
  device.queue.submit = (...a) => (counts.submits++, submit(...a));
  const writeBuffer = device.queue.writeBuffer.bind(device.queue);
  device.queue.writeBuffer = (to, at, data, ...rest) => (counts.written += data.byteLength, writeBuffer(to, at, data, ...rest));
  return { counts, textures, sizes, createBuffer, createEncoder, submit };
}

/** @param {string} client address of the client's modules @param {string} src of a scene @param {{float16?: boolean, memory?: number, threshold?: number}} options */
export async function open(client, src, options = {}) {
  const { openScene } = await import(`${client}scene_view.js`), { urlSource } = await import(`${client}bytes.js`);
  const adapter = await navigator.gpu.requestAdapter(), features = ["float32-blendable", ...(options.float16 ? ["shader-f16"] : [])];
  const device = await adapter.requestDevice({ requiredFeatures: features.filter((f) => adapter.features.has(f)) });
  const spy = counted(device), notices = [], failures = [];
  let target = null, wake = () => {}, frames = 0, waited = 0;
  const scene = await openScene(urlSource(src), new AbortController().signal);
  const view = await scene.createView(device, {
    format: "rgba8unorm", memory: options.memory ?? 64 << 20, threshold: options.threshold, target: () => target, changed: () => wake(), trouble() {},
    notice: (text) => notices.push(text), failed: (e) => failures.push(`failed: ${e.message}`), broken: (e) => failures.push(`broken: ${e.message}`),
  });
  let canvas = null;
  const canvasOf = ({ width, height }) => {
    if (canvas?.width !== width || canvas?.height !== height) canvas = device.createTexture({ label: "screen", size: [width, height], format: "rgba8unorm", usage: GPUTextureUsage.RENDER_ATTACHMENT });
    return canvas;
  };

  /** Draws until the frame is what it will stay, as the viewer's loop does. */
  async function settle(to) {
    target = { budget: 1e6, ...to };
    for (const end = performance.now() + 60_000; performance.now() < end;) {
      const again = new Promise((resolve) => { wake = resolve; setTimeout(resolve, 100); });
      const drawn = view.draw(target, [0, 0, 0, 1], () => canvasOf(target.camera));
      await drawn?.submitted;
      if (drawn) frames++;
      else waited++;
      if (drawn?.settled) {
        await device.queue.onSubmittedWorkDone();
        return drawn;
      }
      await again;
    }
    throw new Error(`not settled: ${JSON.stringify([view.live?.layers.map((l) => [l.name, l.state, String(l.error)]), notices, failures])}`);
  }

  async function picture() {
    const texture = spy.textures.get("color"), { width, height } = texture, row = Math.ceil(16 * width / 256) * 256;
    const staging = spy.createBuffer({ size: row * height, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = spy.createEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer: staging, bytesPerRow: row, rowsPerImage: height }, { width, height });
    spy.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const padded = new Uint8Array(staging.getMappedRange().slice(0)), tight = new Uint8Array(16 * width * height);
    for (let y = 0; y < height; y++) tight.set(padded.subarray(y * row, y * row + 16 * width), y * 16 * width);
    staging.destroy();
    return { width, height, format: texture.format, data: base64(tight.buffer) };
  }

  return {
    device, view, notices, failures, counts: spy.counts,
    state: () => ({ layers: view.live?.layers.map(({ name, state, error, runs }) => ({ name, state, runs, error: error && String(error.message ?? error) })), notices, failures, frames, waited, rows: view.live?.rows, duration: view.live?.duration }),
    /** A settled frame of each target; their pictures. */
    async pictures(targets) {
      const all = [];
      for (const one of targets) {
        await settle(one);
        all.push(await picture());
      }
      return all;
    },
    /** What a frame costs the device, once everything is there. */
    async cost(targets) {
      const before = { ...spy.counts };
      for (const one of targets) await settle(one);
      return Object.fromEntries(Object.entries(spy.counts).map(([k, v]) => [k, v - before[k]]));
    },
    settle,
    /** Share of the pixels that show something, frame by frame from the first one until nothing more arrives; an upload later than its frame would show. */
    async covered(to) {
      const shares = [];
      target = { budget: 1e6, ...to };
      for (let settled = false; !settled;) {
        const again = new Promise((resolve) => { wake = resolve; setTimeout(resolve, 100); });
        const drawn = view.draw(target, [0, 0, 0, 1], () => canvasOf(target.camera));
        settled = drawn?.settled ?? false;
        if (drawn) {
          const { data } = await picture(), values = new Float32Array(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
          shares.push(values.filter((v, i) => i % 4 === 3 && v > 0.5).length / (values.length / 4));
        }
        if (!settled) await again;
      }
      return shares;
    },
    /** Bytes of a buffer. @param {string} name */
    sizeOf: (name) => spy.sizes.get(name),
    pick: (to, x, y) => view.pick(to.camera, x, y),
    close() {
      view.destroy();
      device.destroy();
    },
  };
}
