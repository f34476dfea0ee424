// Shows a scene with the page's own viewer at several moments, and gives the bytes of its float picture at each.
async ({ client, scene, width, height, moments, repeats }) => {
  let [{ pose }] = moments;
  const textures = new Map();
  let device = null;
  const create = GPUDevice.prototype.createTexture;
  GPUDevice.prototype.createTexture = function (descriptor) {
    const texture = create.call(this, descriptor);
    textures.set(descriptor.label, texture);
    device = this;
    return texture;
  };
  const { createViewer } = await import(`${client}static/viewer.js`);
  const host = document.createElement("div");
  host.style.cssText = `position:fixed;left:0;top:0;width:${width}px;height:${height}px`;
  document.body.replaceChildren(host);
  const viewer = createViewer(host, { controls: false, autoplay: false, background: "#000", pixelRatio: 1, budget: Infinity, threshold: 0, memory: 1 << 30, camera: pose });
  const settled = () => new Promise((ok, no) => {
    viewer.addEventListener("settled", ok, { once: true });
    viewer.addEventListener("error", (event) => no(event.detail.error ?? new Error(event.detail.message)), { once: true });
    setTimeout(() => no(new Error(`not settled in two minutes: ${JSON.stringify(viewer.layers.map((l) => [l.name, l.state, String(l.error)]))}`)), 120000);
  });
  const base64 = (bytes) => {
    let text = "";
    for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768));
    return btoa(text);
  };

  async function bytes() {
    const last = [...textures.keys()].filter((label) => label.startsWith("image.")).sort().at(-1) ?? "color";
    const texture = textures.get(last), row = Math.ceil(texture.width * (texture.format === "rgba32float" ? 16 : 8) / 256) * 256;
    const buffer = device.createBuffer({ size: row * texture.height, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow: row }, [texture.width, texture.height]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ);
    return { bytes: base64(new Uint8Array(buffer.getMappedRange())), row, width: texture.width, height: texture.height, format: texture.format };
  }

  const arrived = settled();
  viewer.src = scene;
  await arrived;
  const pictures = [];
  for (const { seconds, controls, pose: next } of moments) {
    pose = next;
    const there = settled();
    viewer.pause();
    viewer.time = seconds;
    for (const [layer, name, value] of controls) viewer.setControl(name, value, layer);
    viewer.camera = pose; // a frame even where nothing else changed
    await there;
    pictures.push(await bytes());
  }
  // How long a still view takes to its settled frame: with the same outputs, and with new ones.
  async function latency(change) {
    const times = [];
    for (let k = 0; k < repeats; k++) {
      const there = settled(), start = performance.now();
      change(k);
      await there;
      times.push(performance.now() - start);
    }
    return times;
  }
  const frame = await latency(() => { viewer.background = viewer.background === "#000" ? "#001" : "#000"; });
  const moved = await latency((k) => { viewer.time = viewer.duration * (k + 0.5) / repeats; viewer.camera = { ...pose, fov: pose.fov + 0.01 * k }; });
  const result = { frame, moved, pictures, layers: viewer.layers.map(({ name, state }) => ({ name, state })), splats: viewer.stats.splats };
  viewer.destroy();
  GPUDevice.prototype.createTexture = create;
  return result;
}
