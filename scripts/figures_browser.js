// Shows a scene with the page's own viewer and gives the bytes of its float target, "color", after each of two frames.
async ({ client, scene, pose, width, height }) => {
  let color = null, device = null;
  const create = GPUDevice.prototype.createTexture;
  GPUDevice.prototype.createTexture = function (descriptor) {
    const texture = create.call(this, descriptor);
    if (descriptor.label === "color") [color, device] = [texture, this];
    return texture;
  };
  const { createViewer } = await import(`${client}static/viewer.js`);
  const host = document.createElement("div");
  host.style.cssText = `position:fixed;left:0;top:0;width:${width}px;height:${height}px`;
  document.body.replaceChildren(host);
  const options = { controls: false, background: "#000", pixelRatio: 1, budget: Infinity, threshold: 0, memory: 1 << 30 };
  const viewer = createViewer(host, { ...options, camera: pose });
  const settled = () => new Promise((ok, no) => {
    viewer.addEventListener("settled", ok, { once: true });
    viewer.addEventListener("error", (event) => no(event.detail.error ?? new Error(event.detail.message)), { once: true });
    setTimeout(() => no(new Error("the scene does not settle in two minutes")), 120000);
  });
  const arrived = settled();
  viewer.src = scene;
  await arrived;

  async function bytes() {
    const before = viewer.frames;
    viewer.camera = pose;
    while (viewer.frames === before) await new Promise((f) => requestAnimationFrame(f));
    const row = Math.ceil(color.width * (color.format === "rgba32float" ? 16 : 8) / 256) * 256;
    const buffer = device.createBuffer({ size: row * color.height, usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyTextureToBuffer({ texture: color }, { buffer, bytesPerRow: row }, [color.width, color.height]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(GPUMapMode.READ);
    return [new Uint8Array(buffer.getMappedRange().slice(0)), row];
  }
  const [first, row] = await bytes(), [second] = await bytes();
  let text = "";
  for (let i = 0; i < first.length; i += 32768) text += String.fromCharCode(...first.subarray(i, i + 32768));
  const info = device.adapterInfo ?? {};
  const result = {
    bytes: btoa(text), row, width: color.width, height: color.height, format: color.format,
    equal: first.every((b, i) => b === second[i]), splats: viewer.stats.splats,
    adapter: [info.vendor, info.architecture, info.description].filter(Boolean).join(" "),
  };
  viewer.destroy();
  GPUDevice.prototype.createTexture = create;
  return result;
}
