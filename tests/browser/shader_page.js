// What tests/browser/test_shaders.py calls inside of Chromium: plans run by the browser's own modules.

import { Executor } from "/static/executor.js";
import { packStruct, structOf } from "/static/layout.js";
import { resolve } from "/static/plan.js";
import { readBuffer, readTexture, runTimed } from "/static/readback.js";

const json = async (path) => (await fetch(path)).json();
/** A file of shaders/. @param {string} path */
const shader = async (path) => {
  const url = new URL(`/shaders/${path}`, location.href), response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}, expected a shader`);
  return response.text();
};
const bytes = (base64) => Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
const base64 = (buffer) => {
  let text = "";
  for (const byte of new Uint8Array(buffer)) text += String.fromCharCode(byte);
  return btoa(text);
};

/** WebGPU's default limits, so that nothing passes here that a small device would refuse. */
async function open({ edits = {}, canvasFormat, float32 = false } = {}) {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: float32 ? ["float32-blendable"] : [] });
  const errors = [];
  const load = async (path) => (edits[path] ? edits[path].reduce((text, [from, to]) => text.replace(from, to), await shader(path)) : shader(path));
  const executor = new Executor(device, { load, canvasFormat, onError: (error) => errors.push(error.message) });
  return { device, executor, errors, layout: await json("/shaders/layout.json"), frame: await json("/shaders/pipeline.json") };
}

/** Compiles every stage; gives the names, or the error's text. */
export async function compile({ numbers, lists, edits }) {
  const { device, executor, errors, layout, frame } = await open({ edits });
  const plan = resolve(frame, layout, numbers, lists);
  const outcome = await executor.compile(plan).then(() => [...new Set(plan.passes.map((p) => p.name))].sort(), (e) => `${e.name}: ${e.message}`);
  executor.destroy();
  device.destroy();
  return { outcome, errors };
}

/**
 * Runs chosen passes once for each of `runs` ({numbers, lists, uploads}) on one executor; gives the buffers asked for and the names
 * of those made, a run each, and a texture of the last.
 */
export async function run({ chosen, runs, outputs = [], texture, formats, canvasFormat, float32 }) {
  const { device, executor, errors, layout, frame } = await open({ canvasFormat, float32 });
  const some = { ...frame, passes: frame.passes.filter((p) => chosen.some((c) => p.name === c || p.name.startsWith(`${c}_`))) };
  const made = [], buffers = [];
  for (const { numbers, lists, uploads } of runs) {
    const plan = resolve(some, layout, numbers, lists, formats);
    await executor.compile(plan);
    made.push(executor.prepare(plan));
    for (const name in uploads) executor.write(name, bytes(uploads[name]));
    executor.run(plan);
    buffers.push({});
    for (const name of outputs) buffers.at(-1)[name] = base64(await readBuffer(executor, name));
  }
  const picture = texture && (await readTexture(executor, texture));
  const result = { buffers, made, picture: picture && { ...picture, data: base64(picture.data.buffer) }, errors };
  executor.destroy();
  device.destroy();
  return result;
}

/** What an executor does besides running: errors to its owner, timings, a canvas, an end. */
export async function lifecycle({ numbers, lists, group }) {
  const { device, executor, errors, layout, frame } = await open({ canvasFormat: navigator.gpu.getPreferredCanvasFormat() });
  const plan = resolve(frame, layout, numbers, lists);
  const refused = [];
  const attempt = (what) => {
    try { what(); } catch (error) { refused.push(error.message); }
  };
  attempt(() => executor.buffer("keys"));
  executor.prepare(plan);
  attempt(() => executor.run(plan)); // not compiled
  await executor.compile(plan);
  executor.write("frame", packStruct(layout, "Frame", group));
  const context = document.createElement("canvas").getContext("webgpu");
  context.configure({ device, format: executor.canvasFormat });
  executor.run(plan, context.getCurrentTexture());
  const seconds = await runTimed(executor, plan);
  const own = await readTexture(executor, "canvas");
  device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE }); // not allowed: nobody captures it
  await device.queue.onSubmittedWorkDone();
  const keys = executor.buffer("keys");
  executor.destroy();
  executor.destroy();
  attempt(() => executor.prepare(plan));
  attempt(() => executor.buffer("keys"));
  const seen = errors.length;
  device.createBuffer({ size: 4, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.STORAGE });
  await device.queue.onSubmittedWorkDone();
  const size = structOf(layout, "Frame").size;
  return { errors, silent: errors.length === seen, refused, timed: Object.keys(seconds).sort(), label: keys.label, format: own.format, size };
}
