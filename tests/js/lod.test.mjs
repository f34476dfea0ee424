// static/lod.js on its own: growth, missing clusters, reuse. Its twin's cuts are compared id by id in tests/test_lod.py.

import assert from "node:assert/strict";
import test from "node:test";
import { Cutter, Nodes, cutView } from "../../static/lod.js";

const camera = { width: 100, height: 100, fx: 100, fy: 100, cx: 50, cy: 50, worldToCamera: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 5, 0, 0, 0, 1] };

/** A root and two children, the second of which has one child of its own; the first lies at x. @param {number} x */
function tree(x) {
  const at = [0, x, 1, 1];
  return {
    sphere: at.flatMap((c) => [c, 0, 0, 0.5]), error: [1, 0, 0.5, 0], support: at.flatMap((c) => [c - 1, -1, -1, c + 1, 1, 1]),
    childFirst: [1, 0, 3, 0], childCount: [2, 0, 1, 0], count: [10, 20, 30, 40],
  };
}

/** @param {ReturnType<typeof tree>} t @param {number} a @param {number} b */
const part = (t, a, b) => ({
  sphere: t.sphere.slice(4 * a, 4 * b), error: t.error.slice(a, b), support: t.support.slice(6 * a, 6 * b),
  childFirst: t.childFirst.slice(a, b), childCount: t.childCount.slice(a, b), count: t.count.slice(a, b),
});

test("an empty table wants its root", () => {
  const cut = new Cutter().cut([{ nodes: new Nodes(), view: cutView(camera), resident: null }], 1e9);
  assert.deepEqual(cut, { clusters: [new Int32Array(0)], splats: 0, wanted: [0, -1] });
});

test("clusters that have not arrived are not drawn, and are wanted", () => {
  const nodes = new Nodes(1), layer = { nodes, view: cutView(camera), resident: null }, cutter = new Cutter();
  nodes.add(0, part(tree(-1), 0, 1));
  assert.deepEqual(cutter.cut([layer], 1e9), { clusters: [Int32Array.of(0)], splats: 10, wanted: [0, 0] });
  nodes.add(1, part(tree(-1), 1, 3));
  assert.deepEqual(cutter.cut([layer], 1e9), { clusters: [Int32Array.of(1, 2)], splats: 50, wanted: [0, 2] });
  nodes.add(3, part(tree(-1), 3, 4));
  assert.deepEqual(cutter.cut([layer], 1e9), { clusters: [Int32Array.of(1, 3)], splats: 60, wanted: [] });
});

test("residency is apart from metadata", () => {
  const nodes = new Nodes(4);
  nodes.add(0, tree(-1));
  const layer = { nodes, view: cutView(camera), resident: Uint8Array.of(1, 1, 1, 0) };
  assert.deepEqual(new Cutter().cut([layer], 1e9), { clusters: [Int32Array.of(1, 2)], splats: 50, wanted: [0, 2] });
});

test("children out of sight cost nothing", () => {
  const nodes = new Nodes(4);
  nodes.add(0, tree(100));
  assert.deepEqual(new Cutter().cut([{ nodes, view: cutView(camera), resident: null }], 1e9).clusters, [Int32Array.of(3)]);
});

test("budget and threshold stop the refinement", () => {
  const nodes = new Nodes(4), cutter = new Cutter();
  nodes.add(0, tree(-1));
  const layer = { nodes, view: cutView(camera), resident: null };
  assert.equal(cutter.cut([layer], 0).splats, 10);
  assert.equal(cutter.cut([layer], 49).splats, 10);
  assert.equal(cutter.cut([layer], 50).splats, 50);
  assert.equal(cutter.cut([layer], 60).splats, 60);
  // The root's sphere is 4.5 away: 1 * 100 / 4.5 pixels.
  assert.equal(cutter.cut([layer], 1e9, 100 / 4.5).splats, 50);
  assert.equal(cutter.cut([layer], 1e9, 100 / 4.4).splats, 10);
});

test("a heap of many clusters keeps its order", () => {
  const n = 5000, nodes = new Nodes(2);
  const ids = Array.from({ length: 2 * n + 1 }, (_, i) => i);
  // The root has n children of growing error (taken as one group here), each with one leaf.
  const at = ids.map((i) => [0, 0, 0, 1]);
  nodes.add(0, {
    sphere: at.flat(), support: ids.flatMap(() => [-1, -1, -1, 1, 1, 1]),
    error: ids.map((i) => (i === 0 ? n + 1 : i <= n ? 1 + ((i * 7919) % n) : 0)),
    childFirst: ids.map((i) => (i === 0 ? 1 : i <= n ? n + i : 0)), childCount: ids.map((i) => (i === 0 ? n : i <= n ? 1 : 0)),
    count: ids.map((i) => (i <= n ? 1 : 2)),
  });
  const { clusters } = new Cutter().cut([{ nodes, view: cutView(camera), resident: null }], n + 100);
  const refined = [...clusters[0]].filter((i) => i > n).map((i) => 1 + (((i - n) * 7919) % n)).sort((a, b) => a - b);
  assert.deepEqual(refined, Array.from({ length: 100 }, (_, i) => n - 99 + i));
});
