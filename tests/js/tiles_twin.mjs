// The plan's lists and the tiles' uniforms for the cases of a JSON file, printed: the other half of tests/test_postprocess.py.

import { readFileSync } from "node:fs";
import { imageLists } from "../../static/live/tiles.js";

const { layout, cases } = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.stdout.write(JSON.stringify(cases.map((/** @type {any} */ { layers, width, height }) => {
  const { lists, runs } = imageLists(layout, layers, width, height);
  return { lists, layers: runs.map((run) => run.layer), tiles: runs.map((run) => Buffer.from(run.bytes).toString("hex")) };
})));
