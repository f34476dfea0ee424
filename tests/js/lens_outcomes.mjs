// What the reader says of each file 0.lens, 1.lens, ... of a folder, all of it read; JSON on standard output for tests/test_lens_fuzz.py.
import { readFileSync } from "node:fs";
import { openLens } from "../../static/lens.js";

const [, , folder, count] = process.argv;
const outcomes = [];
for (let i = 0; i < Number(count); i++) {
  const data = new Uint8Array(readFileSync(`${folder}/${i}.lens`));
  try {
    const lens = await openLens(async (offset, length) => data.slice(offset, offset + length), { name: "a.lens", size: () => data.length });
    await lens.cameras();
    for (const layer of lens.layers) {
      for (const name of layer.blobs) await layer.blob(name);
      for (let k = 0; layer.splats && k < layer.splats.pages; k++) await layer.splats.sh(await layer.splats.page(k));
    }
    outcomes.push({ error: null });
  } catch (error) {
    outcomes.push({ error: /** @type {Error} */ (error).name, message: String(error) });
  }
}
console.log(JSON.stringify(outcomes));
