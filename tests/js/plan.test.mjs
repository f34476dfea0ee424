// plan.js: what Python's twin does not share, and every error it throws. Equal plans are tested by tests/test_plan.py.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { locate } from "../../static/executor.js";
import { createPlanner, resolve, spread } from "../../static/plan.js";

/** @param {string} name */
const shaders = (name) => JSON.parse(readFileSync(new URL(`../../shaders/${name}`, import.meta.url), "utf8"));
const layout = shaders("layout.json"), frame = shaders("pipeline.json");
const numbers = { groups: 300, layers: 1, width: 64, height: 32, max_groups: 65535 };
const lists = { cluster_layers: [], record_layers: [{ groups: 300, rows: 76800, stride: 13 }] };

test("spread fills x, then y, then z, and says when nothing fits", () => {
  assert.deepEqual(spread(0, 3), [0, 0, 0]);
  assert.deepEqual(spread(3, 3), [3, 1, 1]);
  assert.deepEqual(spread(4, 3), [3, 2, 1]);
  assert.deepEqual(spread(10, 3), [3, 3, 2]);
  assert.deepEqual(spread(27, 3), [3, 3, 3]);
  assert.throws(() => spread(28, 3), /28 workgroups do not fit 3 a dimension/);
});

test("a planner gives the same plan while numbers and lists hold the same values", () => {
  const plan = createPlanner(frame, layout, { color: "rgba32float" });
  const first = plan(numbers, lists);
  assert.equal(first.textures.color.format, "rgba32float");
  assert.equal(plan({ ...numbers }, structuredClone(lists)), first);
  const changed = structuredClone(lists);
  changed.record_layers[0].rows = 76801;
  const second = plan(numbers, changed);
  assert.notEqual(second, first);
  assert.deepEqual(second, resolve(frame, layout, numbers, changed, { color: "rgba32float" }));
  assert.notEqual(plan({ ...numbers, groups: 301 }, changed), second);
  const third = plan(numbers, { ...changed, record_layers: [...changed.record_layers, changed.record_layers[0]] });
  assert.equal(third.passes.filter((p) => p.name === "project_records").length, 2);
  assert.notEqual(plan(numbers, { ...lists, digits: [] }), third);
});

test("a planner keeps its own copy: a list changed in place gives another plan", () => {
  const plan = createPlanner(frame, layout);
  const mine = structuredClone(lists);
  const first = plan(numbers, mine);
  mine.record_layers[0].rows = 1;
  assert.notEqual(plan(numbers, mine), first);
});

test("errors name the place", () => {
  const tiny = (/** @type {object} */ change) => ({ buffers: {}, passes: [], ...change });
  const pass = { name: "p", source: [], bindings: [], dispatch: { items: 1 } };
  const cases = /** @type {[object, RegExp][]} */ ([
    [{ buffers: { b: { element: "u32", items: 1, usage: [], size: 3 } } }, /buffer b: unknown key 'size'/],
    [{ buffers: { b: { element: "u32", items: "splats", usage: [] } } }, /no number named 'splats'/],
    [{ buffers: { b: { element: "Fame", items: 1, usage: [] } } }, /buffer b: no element named 'Fame'/],
    [{ buffers: { b: { element: "u32", items: "$n", usage: [] } } }, /\$n is not a field of the list entry/],
    [{ buffers: { b: { element: "u32", items: 1, usage: [], for: "leaves" } } }, /no list named 'leaves'/],
    [{ textures: { t: { format: "r8unorm", width: 1, height: 1, usage: [], depth: 1 } } }, /texture t: unknown key 'depth'/],
    [{ passes: [{ ...pass, bind: [] }] }, /pass p: unknown key 'bind'/],
    [{ passes: [{ ...pass, bindings: ["b"] }] }, /no buffer or texture named 'b'/],
    [{ passes: [{ name: "g", for: "digits", passes: [pass], bindings: [] }] }, /group of passes g: unknown key 'bindings'/],
    [{ passes: [{ name: "p", source: [], bindings: [], draw: { targets: [], count: 3 } }] }, /draw of p: unknown key 'count'/],
    [{ passes: [{ name: "p", source: [], bindings: [], draw: { targets: [{ texture: "t", depth: 1 }] } }] }, /target of p: unknown key 'depth'/],
    [{ passes: [{ name: "p", source: [], bindings: [], draw: { targets: [{ texture: "t" }] } }] }, /no buffer or texture named 't'/],
    [{ passes: [{ ...pass, dispatch: { item: 1 } }] }, /dispatch of p: unknown key 'item'/],
  ]);
  for (const [change, message] of cases) {
    assert.throws(() => resolve(/** @type {any} */ (tiny(change)), layout, { max_groups: 1 }, { digits: [{}] }), message);
  }
});

test("a line of the joined text is found in its file", () => {
  const files = ["a.wgsl", "b.wgsl"], texts = ["1\n2\n", "1\n2"]; // joined: 1, 2, "", 1, 2
  assert.deepEqual([1, 2, 3, 4, 5].map((n) => locate(files, texts, n)), ["a.wgsl:1", "a.wgsl:2", "a.wgsl:3", "b.wgsl:1", "b.wgsl:2"]);
});
