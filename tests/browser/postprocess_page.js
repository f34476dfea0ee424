// What tests/browser/test_postprocess.py calls inside of Chromium: networks in the frame, on pictures given by the test.

import { Executor } from "/static/executor.js";
import { packStruct } from "/static/layout.js";
import { parseContract } from "/static/live/contract.js";
import { createNetwork } from "/static/live/network.js";
import { createPostprocess } from "/static/live/postprocess.js";
import { createPlanner } from "/static/plan.js";
import { readTexture } from "/static/readback.js";

const json = async (path) => (await fetch(path)).json();
const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const base64 = (buffer) => {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
};

/** Counts what brings anything from the GPU to the processor, and what is made. @param {GPUDevice} device */
function counted(device) {
  const counts = { maps: 0, buffers: 0, textures: 0 };
  const { createBuffer, createTexture } = device;
  device.createBuffer = (d) => {
    counts.buffers++;
    if (d.usage & GPUBufferUsage.MAP_READ) counts.maps++;
    return createBuffer.call(device, d);
  };
  device.createTexture = (d) => {
    counts.textures++;
    return createTexture.call(device, d);
  };
  return counts;
}

/**
 * Draws one frame for each of `frames` ({picture, width, height, controls, off, repeat}) with `layers` ({name, contract, model}), whose
 * indices are 1, 2, ...; gives the last picture of each as float32, what was counted in its last repeat, and what was told.
 */
export async function run({ layers, frames, background }) {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: ["float32-blendable"] });
  const told = [], counts = counted(device), pictures = [], counted_ = [], seconds = [];
  const executor = new Executor(device, { load: async (path) => (await fetch(`/shaders/${path}`)).text(), onError: (error) => told.push(`device: ${error.message}`) });
  const layout = await json("/shaders/layout.json"), frame = await json("/shaders/pipeline.json");
  const some = { ...frame, passes: frame.passes.filter((p) => p.name === "image" || p.name === "present") };
  some.textures.color.usage.push("COPY_DST");
  const planner = createPlanner(some, layout, { color: "rgba32float" });
  const empty = { cluster_layers: [], record_layers: [] };
  const numbers = { groups: 1, layers: 1, width: 1, height: 1, max_groups: 65535 };
  const post = createPostprocess({
    executor, layout, changed: () => {}, notice: (text) => told.push(`notice: ${text}`),
    compile: (lists) => executor.compile(planner(numbers, { ...empty, ...lists })),
    failed: (index, error) => told.push(`failed ${index}: ${error.message}`),
  });
  const networks = layers.map(({ name, contract, model }, i) => createNetwork({
    index: i + 1, name, contract: parseContract(new TextEncoder().encode(contract), new Uint8Array(0), name), read: async () => bytes(model), executor,
    moment: (live) => ({ seconds: live.seconds, controls: live.controls[i + 1] ?? {}, track: null }), notice: (text) => told.push(`notice: ${text}`),
  }));
  await Promise.all(networks.toReversed().map((network) => post.add(network))); // models arrive in any order
  for (const { picture, width, height, controls = {}, off = {}, repeat = 1 } of frames) {
    const live = { seconds: 0, controls, tracks: {}, off }, camera = { width, height };
    const lists = post.lists(live, camera), plan = planner({ ...numbers, width, height }, { ...empty, ...lists });
    await executor.compile(plan);
    executor.prepare(plan);
    const zero = { focal: [1, 1], principal: [0, 0], near: 0, alpha_cap: 1, slope_min: [0, 0], slope_max: [0, 0], key_base: 0, key_shift: 0, groups: 0 };
    executor.write("frame", packStruct(layout, "Frame", { ...zero, viewport: [width, height], background, max_groups: 65535 }));
    device.queue.writeTexture({ texture: executor.texture("color") }, bytes(picture), { bytesPerRow: 16 * width, rowsPerImage: height }, { width, height });
    let before = { ...counts };
    for (let k = 0; k < repeat; k++) {
      await device.queue.onSubmittedWorkDone();
      before = { ...counts };
      const start = performance.now();
      if (lists) await post.draw(plan, live, camera, () => undefined);
      else executor.run(plan);
      await device.queue.onSubmittedWorkDone();
      seconds.push((performance.now() - start) / 1000);
    }
    counted_.push(Object.fromEntries(Object.keys(counts).map((name) => [name, counts[name] - before[name]])));
    const shown = lists?.shown[0].picture ?? "color";
    // A frame whose network failed is not presented.
    const canvas = await Promise.resolve().then(() => readTexture(executor, "canvas")).catch(() => null);
    pictures.push({ shown, data: base64((await readTexture(executor, shown)).data.buffer), canvas: canvas && base64(canvas.data.buffer) });
  }
  post.destroy();
  for (const network of networks) network.destroy();
  executor.destroy();
  device.destroy();
  return { pictures, counted: counted_, told, seconds };
}
