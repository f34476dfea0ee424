// The page pool: slots are never shared, and no page leaves above one that stays.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPool } from "../../static/pool.js";

/** Slots of each page, by page. @param {ReturnType<typeof createPool>} pool */
function occupied(pool) {
  const slots = [];
  for (const r of pool.residents()) for (let i = 0; i < r.place.length; i++) for (let k = 0; k < r.size[i]; k++) slots.push(r.place[i] + k);
  return slots;
}

test("pages get slots of their own, pairs lie side by side", () => {
  const pool = createPool(8);
  assert.deepEqual([.../** @type {Int32Array} */ (pool.insert(0, -1, [1], 0).place)], [0]);
  const { place: slots } = pool.insert(1, 0, [1, 2, 1], 0);
  assert.deepEqual([.../** @type {Int32Array} */ (slots)], [1, 6, 2]);
  assert.equal(pool.free, 3);
  assert.equal(new Set(occupied(pool)).size, 5);
});

test("a page without a resident parent, or larger than the pool, does not enter", () => {
  const pool = createPool(4);
  assert.equal(pool.insert(1, 0, [1], 0).place, null);
  assert.equal(pool.insert(0, -1, [1, 1, 1, 1, 1], 0).place, null);
  assert.equal(pool.free, 4);
  pool.insert(0, -1, [1], 0);
  assert.throws(() => pool.insert(0, -1, [1], 0), /resident already/);
});

test("the page unused for longest goes first, the root never", () => {
  const pool = createPool(4);
  pool.insert(0, -1, [1], 0);
  pool.insert(1, 0, [1], 1);
  pool.insert(2, 0, [1], 1);
  pool.insert(3, 0, [1], 1);
  pool.touch(1, 5);
  pool.touch(2, 3);
  pool.touch(3, 4);
  assert.deepEqual(pool.insert(4, 0, [1, 1], 6).evicted, [2, 3]);
  assert.deepEqual(pool.insert(5, 0, [1, 1, 1], 7).evicted, [1, 4]);
  assert.equal(pool.insert(6, 0, [1, 1, 1, 1], 8).place, null);
  assert.ok(pool.has(0));
});

test("pages of this frame stay, and so does what lies above any page", () => {
  const pool = createPool(3);
  pool.insert(0, -1, [1], 0);
  pool.insert(1, 0, [1], 0);
  pool.insert(2, 1, [1], 0);
  pool.touch(2, 9);
  assert.equal(pool.get(1)?.used, 9, "used with what is below it");
  assert.deepEqual(pool.insert(3, 0, [1], 9), { place: null, evicted: [] });
  const later = pool.insert(3, 1, [1], 10);
  assert.deepEqual(later.evicted, [2], "not 1, its parent");
  assert.equal(pool.reclaimable(11), 2);
  assert.equal(pool.reclaimable(10), 1);
});

test("a page may leave once what was below it has left", () => {
  const pool = createPool(3);
  for (let p = 0; p < 3; p++) pool.insert(p, p - 1, [1], p);
  assert.deepEqual(pool.insert(3, 0, [1, 1], 9).evicted, [2, 1]);
});

test("slots split by single pages are given up until a pair fits", () => {
  const pool = createPool(6);
  pool.insert(0, -1, [1], 0);
  for (let p = 1; p <= 5; p++) pool.insert(p, 0, [1], p);
  const { place: slots, evicted } = pool.insert(9, 0, [2], 20);
  assert.deepEqual(evicted, [1, 2]);
  assert.deepEqual([.../** @type {Int32Array} */ (slots)], [1]);
});

test("under random use: no slot twice, counts right, every resident page has its ancestors", () => {
  let seed = 7;
  const random = (/** @type {number} */ n) => Math.floor((seed = (seed * 16807) % 2147483647) / 1024) % n;
  const pool = createPool(40);
  pool.insert(0, -1, [1], 0);
  for (let frame = 1; frame < 3000; frame++) {
    const page = 1 + random(200), parent = Math.floor((page - 1) / 4);
    if (pool.has(page)) pool.touch(page, frame);
    else {
      const was = pool.has(parent);
      const { place: slots } = pool.insert(page, parent, Array.from({ length: 1 + random(6) }, () => 1 + (random(5) === 0 ? 1 : 0)), frame);
      assert.ok(was || slots === null);
    }
    const slots = occupied(pool);
    assert.equal(new Set(slots).size, slots.length);
    assert.ok(slots.every((s) => s >= 0 && s < 40));
    assert.equal(pool.free, 40 - slots.length);
    for (const r of pool.residents()) assert.ok(r.parent < 0 || pool.has(r.parent), `page ${r.page} lost ${r.parent}`);
  }
  assert.ok(pool.size > 3);
});
