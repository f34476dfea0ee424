// What a frame with post-processing networks needs: how the picture is cut for each, the plan's lists, the tiles' uniforms
// (viewer/tiles.py and viewer/image_tiles.py are the twins; the rule is in docs/generator.md).
import { packStruct, structOf } from "../layout.js";

/** @typedef {import("../layout.js").Layout} Layout */
/** size: [H, W] where static, else null and H and W are multiples. @typedef {{size: [number, number] | null, overlap: number, multiple: number}} ImageSize */
/** What a network takes, and the element types of its input and output. @typedef {{image: ImageSize, given: string, gives: string}} ImageLayer */
/** Pairs are x, y in pixels. @typedef {{origin: number[], size: number[], first: number[], end: number[]}} Tile */
/** @typedef {Record<"image_layers" | "image_tiles" | "shown", import("../plan.js").Entry[]>} ImageLists */

/** Elements in a u32. */
const PACKED = /** @type {Record<string, number>} */ ({ float32: 1, float16: 2 });

/** [origin, first, end] of the tiles along one side of a picture. @param {number} length @param {number} tile @param {number} overlap */
export function spans(length, tile, overlap) {
  const step = tile - overlap, count = length <= tile ? 1 : Math.ceil((length - overlap) / step);
  const origins = Array.from({ length: count }, (_, k) => Math.min(k * step, Math.max(length - tile, 0)));
  const borders = origins.slice(1).map((b, k) => Math.floor((origins[k] + tile + b) / 2));
  return origins.map((origin, k) => [origin, k ? borders[k - 1] : 0, borders[k] ?? length]);
}

/** The runs that a picture takes, row by row. @param {ImageSize} image @param {number} width @param {number} height @returns {Tile[]} */
export function tiles({ size, overlap, multiple }, width, height) {
  if (!size) {
    const up = [width, height].map((side) => Math.ceil(side / multiple) * multiple);
    return [{ origin: [0, 0], size: up, first: [0, 0], end: [width, height] }];
  }
  const [h, w] = size, columns = spans(width, w, overlap);
  return spans(height, h, overlap).flatMap(([y, y0, y1]) => columns.map(([x, x0, x1]) => ({ origin: [x, y], size: [w, h], first: [x0, y0], end: [x1, y1] })));
}

/**
 * The lists for the plan, each run's layer and tile, and its ImageTile. Layer k reads the picture of the one before it, `color` at first.
 * @param {Layout} layout @param {ImageLayer[]} layers in scene order @param {number} width @param {number} height
 * @returns {{lists: ImageLists, runs: {layer: number, tile: Tile, bytes: Uint8Array<ArrayBuffer>}[]}}
 */
export function imageLists(layout, layers, width, height) {
  /** @type {ImageLists} */
  const lists = { image_layers: [], image_tiles: [], shown: [{ picture: "color" }] };
  const bytes = structOf(layout, "ImageTile").size;
  const runs = layers.flatMap(({ image, given, gives }, layer) => {
    const cut = tiles(image, width, height), values = 3 * cut[0].size[0] * cut[0].size[1], input_words = Math.ceil(values / PACKED[given]);
    const entry = { picture: layer ? `image.${layer - 1}` : "color", input_words };
    for (const name of ["image", "image_input", "image_output", "image_lost"]) Object.assign(entry, { [name]: `${name}.${layer}` });
    lists.image_layers.push({ input_words, output_words: Math.ceil(values / PACKED[gives]) });
    lists.shown = [{ picture: `image.${layer}` }];
    return cut.map((tile) => {
      lists.image_tiles.push(entry);
      const view = new DataView(new ArrayBuffer(bytes));
      packStruct(layout, "ImageTile", { ...tile, half_input: Number(given === "float16"), half_output: Number(gives === "float16"), input_words, unused: 0 }, view);
      return { layer, tile, bytes: new Uint8Array(view.buffer) };
    });
  });
  return { lists, runs };
}
