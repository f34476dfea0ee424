// The pool of mesh pages: words are never shared, and no page leaves above one that stays.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createMeshPool } from "../../static/mesh/pool.js";

test("pages lie at the first place that is large enough", () => {
  const pool = createMeshPool(100);
  assert.equal(pool.insert(0, -1, 10, 0).place, 0);
  assert.equal(pool.insert(1, 0, 30, 1).place, 10);
  assert.equal(pool.insert(2, 0, 20, 2).place, 40);
  assert.equal(pool.free, 40);
  // 1 goes, for it was unused for longest: the gap that it leaves is the first one.
  pool.touch(2, 5);
  assert.deepEqual(pool.insert(3, 0, 45, 5), { place: null, evicted: [1] }, "70 words are free, but not side by side");
  assert.equal(pool.insert(3, 0, 25, 5).place, 10);
  assert.equal(pool.insert(4, 0, 6, 5).place, 60);
  assert.equal(pool.insert(5, 0, 5, 5).place, 35);
});

test("gaps side by side become one", () => {
  const pool = createMeshPool(100);
  pool.insert(0, -1, 10, 0);
  for (let p = 1; p <= 3; p++) pool.insert(p, 0, 30, p);
  assert.deepEqual(pool.insert(4, 0, 60, 9), { place: 10, evicted: [1, 2] });
  assert.deepEqual(pool.insert(5, 0, 90, 10), { place: 10, evicted: [3, 4] });
});

test("a page without a resident parent, or larger than the pool, does not enter", () => {
  const pool = createMeshPool(40);
  assert.equal(pool.insert(1, 0, 1, 0).place, null);
  assert.equal(pool.insert(0, -1, 41, 0).place, null);
  assert.equal(pool.free, 40);
  pool.insert(0, -1, 10, 0);
  assert.throws(() => pool.insert(0, -1, 10, 0), /resident already/);
});

test("roots never leave, nor what is in use, nor what lies above any page", () => {
  const pool = createMeshPool(30);
  pool.insert(0, -1, 10, 0);
  pool.insert(1, 0, 10, 0);
  pool.insert(2, 1, 10, 0);
  pool.touch(2, 9);
  assert.equal(pool.get(1)?.used, 9, "used with what is below it");
  assert.deepEqual(pool.insert(3, 0, 10, 9), { place: null, evicted: [] });
  assert.equal(pool.reclaimable(9), 0);
  assert.equal(pool.reclaimable(10), 20);
  assert.deepEqual(pool.insert(3, 1, 10, 10).evicted, [2], "not 1, its parent");
  assert.deepEqual(pool.insert(4, 0, 20, 11), { place: 10, evicted: [3, 1] });
  assert.deepEqual(pool.insert(5, 0, 30, 12), { place: null, evicted: [4] }, "the root has 10 of the 30");
});

test("under random use: no word twice, counts right, every resident page has its ancestors", () => {
  let seed = 1;
  const random = (/** @type {number} */ n) => (seed = (seed * 48271) % 2147483647) % n;
  const pool = createMeshPool(1000), parents = Array.from({ length: 60 }, (_, p) => p < 2 ? -1 : p % 7 < 2 ? p % 2 : random(p));
  const sizes = parents.map(() => 1 + random(200));
  let entered = 0;
  for (let frame = 1; frame < 3000; frame++) {
    const page = random(60), known = [...pool.residents()];
    for (const r of known) if (random(4) === 0) pool.touch(r.page, frame);
    if (!pool.has(page)) entered += pool.insert(page, parents[page], sizes[page], frame).place !== null ? 1 : 0;
    const all = [...pool.residents()].sort((a, b) => Number(a.place) - Number(b.place));
    all.forEach((r, i) => {
      assert.ok(r.place + r.size <= (all[i + 1]?.place ?? 1000));
      assert.ok(r.parent < 0 || pool.has(r.parent));
      assert.equal(r.children, all.filter((c) => c.parent === r.page).length);
    });
    assert.equal(pool.free, 1000 - all.reduce((n, r) => n + r.size, 0));
    for (const root of known.filter((r) => r.parent < 0)) assert.ok(pool.has(root.page));
  }
  assert.ok(entered > 300);
});
