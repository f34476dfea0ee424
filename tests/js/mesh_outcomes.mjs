// What the reader of mesh layers says of each file 0.lens, 1.lens, ... of a folder, all of it read; JSON on standard output for tests/test_mesh_lens.py.
import { readFileSync } from "node:fs";
import { crc32 } from "../../static/inflate.js";
import { openLens } from "../../static/lens.js";
import { openMesh } from "../../static/mesh/nodes.js";

const [, , folder, count] = process.argv;
const outcomes = [];
/** Node decodes no pictures; the files have none. */
const picture = async () => { throw new Error("a picture"); };
for (let i = 0; i < Number(count); i++) {
  const data = new Uint8Array(readFileSync(`${folder}/${i}.lens`));
  try {
    const lens = await openLens(async (offset, length) => data.slice(offset, offset + length), { name: "a.lens", size: () => data.length });
    const file = await openMesh(lens.layers[0], "a.lens: layer 0", undefined, { picture }), words = [];
    for (let k = 0; k < file.pages; k++) for (const one of await file.read(k)) words.push(crc32(new Uint8Array(one.words.buffer)));
    outcomes.push({ error: null, words, page: [...file.page], sizes: [...file.words], look: file.look });
  } catch (error) {
    outcomes.push({ error: /** @type {Error} */ (error).name, message: String(error) });
  }
}
console.log(JSON.stringify(outcomes, (_, value) => (ArrayBuffer.isView(value) ? Array.from(/** @type {any} */ (value)) : value)));
