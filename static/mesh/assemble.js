// What a frame draws of mesh nodes: blocks of triangles, layers as the camera sees them (viewer/assemble_mesh.py is its twin).
import { layerView, linearOf } from "../assemble.js";
import { constantOf, packStruct, structOf } from "../layout.js";
import { packDirections, packParams, waveGroups } from "./params.js";

/**
 * @typedef {import("../layout.js").Layout} Layout
 * @typedef {import("../plan.js").Entry} Entry
 * @typedef {import("../camera.js").Camera} Camera
 *
 * How bytes become colour, as in viewer/mesh.py. kernel: inputs x outputs, row-major. directions: height x width x terms.
 * @typedef {{kind: "plain", light: "none" | "head"}} Plain
 * @typedef {{kind: "network", inputs: {source: number, frequency: number, phase: number}[], base: number | null,
 *   layers: {kernel: Float32Array, bias: Float32Array, activation: "none" | "relu" | "sigmoid"}[]}} Network
 * @typedef {{kind: "gaussians", lobes: number}} Gaussians
 * @typedef {{kind: "lightfield", terms: number, directions: Uint8Array, width: number, height: number, scale: ArrayLike<number>,
 *   offset: ArrayLike<number>, filter: "nearest" | "linear"}} LightField
 * direction: 9 numbers, row-major.
 * @typedef {{channels: number, method: Plain | Network | Gaussians | LightField, scale: ArrayLike<number>, offset: ArrayLike<number>,
 *   direction: ArrayLike<number>, filter: "nearest" | "linear", empty: number | null, supersample: number}} Look
 *
 * The nodes of one mesh layer that a frame draws, ascending. transform: 16 numbers, row-major, world from layer. at: word of
 * `mesh_words` that a node's own begin with. vertices, triangles: of each. size: width and height of its texels, 2 a node, 0 where
 * the vertices carry bytes.
 * @typedef {{transform: ArrayLike<number>, look: Look, at: ArrayLike<number>, vertices: ArrayLike<number>, triangles: ArrayLike<number>,
 *   size: ArrayLike<number>}} MeshDraws
 *
 * @typedef {Record<string, Uint8Array<ArrayBuffer>>} Uploads by buffer
 * lists: of pipeline.json. moving: what depends on the camera. fixed: what depends on the nodes alone: the same object for the same ones,
 * and of other nodes with the same numbers of a look in it.
 * @typedef {{lists: Record<string, Entry[]>, moving: Uploads, fixed: Uploads}} MeshAssembly
 */

/** Methods by the stage that shades them, in the order of the passes. */
const METHODS = /** @type {const} */ (["plain", "network", "gaussians", "lightfield"]);
const ACTIVATIONS = ["none", "relu", "sigmoid"];
const NONE = 0xffffffff;
/** Longest side of a texture, WebGPU's default limit: larger pictures have one sample a pixel. */
const MAX_SIDE = 8192;
/** Floats of a vertex with texels: position 3, uv 2. */
const TEXTURED = 5;

/** @param {ArrayBufferView} view */
const bytesOf = (view) => new Uint8Array(/** @type {ArrayBuffer} */ (view.buffer), view.byteOffset, view.byteLength);

/**
 * The mesh passes of frames. Calls with the same `layers` object reuse what depends on it alone.
 * @param {Layout} layout
 */
export function createMeshAssembler(layout) {
  /** @type {{layers: MeshDraws[], shown: MeshDraws[], blocks: number, fixed: Uploads, shading: Record<string, Entry[]>} | null} */
  let known = null;
  /** The numbers of each look, which stay the same objects. @type {WeakMap<Look, {params: Uint8Array<ArrayBuffer>, directions: Uint8Array<ArrayBuffer> | null}>} */
  const packed = new WeakMap();

  /** @param {Look} look */
  function numbersOf(look) {
    let made = packed.get(look);
    if (!made) packed.set(look, made = { params: bytesOf(packParams(look)), directions: look.method.kind === "lightfield" ? bytesOf(packDirections(look)) : null });
    return made;
  }

  /** @param {MeshDraws[]} layers */
  function fix(layers) {
    const shown = layers.filter((layer) => layer.at.length), blocks = meshBlocks(layout, shown);
    /** @type {Uploads} */
    const fixed = { mesh_blocks: bytesOf(blocks) };
    /** @type {Record<string, Entry[]>} */
    const shading = {};
    let load = "clear";
    for (const method of METHODS) {
      /** @type {Entry[]} */
      const entries = shading[`mesh_${method}_layers`] = [];
      shown.forEach(({ look }, i) => {
        if (look.method.kind !== method) return;
        const name = `mesh_${method}`, k = entries.length, { params, directions } = numbersOf(look);
        /** @type {Entry} */
        const entry = { load, params: params.length / 16, mesh_shading: `${name}.${k}`, mesh_params: `${name}_params.${k}` };
        fixed[`${name}.${k}`] = bytesOf(meshShading(layout, look, i));
        fixed[`${name}_params.${k}`] = params;
        if (directions) {
          entry.directions = directions.length / 4;
          fixed[`mesh_directions.${k}`] = directions;
        }
        entries.push(entry);
        load = "load";
      });
    }
    return { layers, shown, blocks: blocks.byteLength / structOf(layout, "MeshBlock").size, fixed, shading };
  }

  /**
   * Null where nothing is drawn. words: of the pool that all nodes lie in.
   * @param {Camera} camera @param {MeshDraws[]} layers @param {number} words
   * @returns {MeshAssembly | null}
   */
  return (camera, layers, words) => {
    if (known?.layers !== layers) known = fix(layers);
    const { shown, blocks, fixed, shading } = known, stride = structOf(layout, "MeshLayer").size;
    if (!shown.length) return null;
    const most = Math.max(...shown.map((layer) => layer.look.supersample)), side = most * Math.max(camera.width, camera.height) > MAX_SIDE ? 1 : most;
    const views = new DataView(new ArrayBuffer(shown.length * stride));
    shown.forEach(({ transform, look }, i) => {
      const { view, eye } = layerView(camera, transform), { direction } = look, near = eye.map(Math.fround);
      packStruct(layout, "MeshLayer", {
        linear: linearOf(view), direction: [0, 1, 2].map((c) => [direction[c], direction[3 + c], direction[6 + c]]),
        eye: near, eye_rest: eye.map((v, k) => v - near[k]), carried: Math.ceil(look.channels / 4), empty: look.empty ?? NONE,
        smoothed: look.filter === "linear" ? 1 : 0,
      }, views, i * stride);
    });
    const frame = packStruct(layout, "MeshFrame", { side }, new DataView(new ArrayBuffer(16)));
    return {
      lists: { ...shading, meshes: [{ width: side * camera.width, height: side * camera.height, layers: shown.length, blocks, words }], bare: [] },
      moving: { mesh_frame: bytesOf(frame), mesh_layers: bytesOf(views) }, fixed,
    };
  };
}

/** The MeshBlocks of layers, node after node. @param {Layout} layout @param {MeshDraws[]} layers */
function meshBlocks(layout, layers) {
  const { size, fields } = structOf(layout, "MeshBlock"), most = constantOf(layout, "MESH_BLOCK"), step = size / 4;
  /** @param {string} name */
  const word = (name) => /** @type {{offset: number}} */ (fields.find((field) => field.name === name)).offset / 4;
  const names = ["vertices", "corners", "texels", "width", "height", "first", "count", "layer"].map(word);
  let count = 0;
  for (const { triangles } of layers) for (let i = 0; i < triangles.length; i++) count += Math.ceil(triangles[i] / most);
  const words = new Uint32Array(count * step);
  let at = 0;
  layers.forEach((layer, number) => {
    const carried = Math.ceil(layer.look.channels / 4);
    for (let i = 0; i < layer.at.length; i++) {
      const width = layer.size[2 * i], triangles = layer.triangles[i], corners = layer.at[i] + layer.vertices[i] * (width ? TEXTURED : 3 + carried);
      for (let first = 0; first < triangles; first += most, at += step) {
        const values = [layer.at[i], corners, corners + Math.ceil(3 * triangles / 2), width, layer.size[2 * i + 1], first, Math.min(most, triangles - first), number];
        names.forEach((name, k) => { words[at + name] = values[k]; });
      }
    }
  });
  return words;
}

/** The MeshShading of a layer. @param {Layout} layout @param {Look} look @param {number} layer its number */
function meshShading(layout, { method, channels }, layer) {
  const four = () => [0, 0, 0, 0], outputs = four(), activations = four(), network = method.kind === "network" ? method : null;
  network?.layers.forEach(({ bias, activation }, i) => {
    outputs[i] = bias.length;
    activations[i] = ACTIVATIONS.indexOf(activation);
  });
  const field = method.kind === "lightfield" ? method : null;
  return packStruct(layout, "MeshShading", {
    layer, channels, light: method.kind === "plain" && method.light === "head" ? 1 : 0, lobes: method.kind === "gaussians" ? method.lobes : 0,
    terms: field?.terms ?? 0, map_size: field ? [field.width, field.height] : [0, 0], map_smoothed: field?.filter === "linear" ? 1 : 0,
    waves: network ? waveGroups(network) : 0, depth: network?.layers.length ?? 0, base: network?.base ?? NONE, outputs, activations,
  });
}
