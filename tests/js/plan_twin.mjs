// Resolves plans and packs structs for the cases of a JSON file and prints them: the other half of tests/test_plan.py and test_layout.py.

import { readFileSync } from "node:fs";
import { packStruct, structOf, unpackStruct } from "../../static/layout.js";
import { resolve } from "../../static/plan.js";

const { layout, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const results = cases.map((/** @type {any} */ one) => {
  if (one.struct === undefined) return resolve(one.frame, layout, one.numbers, one.lists, one.formats);
  const { size } = structOf(layout, one.struct);
  const view = new DataView(new ArrayBuffer(2 * size));
  packStruct(layout, one.struct, one.values, view, size); // the second of two: an offset must reach every field
  return {
    before: [...new Uint8Array(view.buffer, 0, size)].some((byte) => byte !== 0),
    bytes: Buffer.from(view.buffer, size, size).toString("hex"),
    values: unpackStruct(layout, one.struct, view, size),
  };
});
process.stdout.write(JSON.stringify(results));
