// Runs static/lod.js on the cases of a JSON file and prints its cuts: the other half of tests/test_lod.py.

import { readFileSync } from "node:fs";
import { Cutter, Nodes, cutView, priority } from "../../static/lod.js";

const cutter = new Cutter();
const results = JSON.parse(readFileSync(process.argv[2], "utf8")).map((/** @type {any} */ test) => {
  const layers = test.layers.map((/** @type {any} */ layer) => {
    // In two lots and into too small tables, as pages come.
    const nodes = new Nodes(1), half = layer.error.length >> 1;
    for (const [a, b] of [[half, layer.error.length], [0, half]]) {
      nodes.add(a, {
        sphere: layer.sphere.slice(4 * a, 4 * b), error: layer.error.slice(a, b), support: layer.support.slice(6 * a, 6 * b),
        childFirst: layer.childFirst.slice(a, b), childCount: layer.childCount.slice(a, b), count: layer.count.slice(a, b),
      });
    }
    return { nodes, view: cutView(test.camera, test.near, layer.transform), resident: layer.resident && Uint8Array.from(layer.resident) };
  });
  const { clusters, splats, wanted } = cutter.cut(layers, test.budget, test.threshold);
  return {
    clusters: clusters.map((c) => [...c]), splats, wanted,
    priorities: layers.map((/** @type {any} */ l, /** @type {number} */ k) => test.layers[k].error.map((/** @type {number} */ _, /** @type {number} */ i) => priority(l.nodes, l.view, i))),
    planes: layers.map((/** @type {any} */ l) => [...l.view.planes]),
  };
});
process.stdout.write(JSON.stringify(results));
