// layout.js: its errors. Equal bytes are tested by tests/test_layout.py.

import assert from "node:assert/strict";
import { test } from "node:test";
import { constantOf, packStruct, structOf } from "../../static/layout.js";

/** @type {import("../../static/layout.js").Layout} */
const layout = {
  constants: { GROUP: 256 },
  structs: {
    S: {
      size: 64, align: 16,
      fields: [
        { name: "a", offset: 0, scalar: "i32", shape: [], stride: 4 },
        { name: "v", offset: 8, scalar: "u32", shape: [2], stride: 4 },
        { name: "m", offset: 16, scalar: "f32", shape: [3, 3], stride: 16 },
      ],
    },
  },
};
const columns = [[1, 2, 3], [4, 5, 6], [7, 8, 9]];

test("packs signed and unsigned numbers and padded columns, and leaves padding alone", () => {
  const view = new DataView(new Uint8Array(64).fill(0xee).buffer);
  packStruct(layout, "S", { a: -2, v: [0xffffffff, 1], m: columns }, view);
  assert.equal(view.getInt32(0, true), -2);
  assert.equal(view.getUint32(4, true), 0xeeeeeeee);
  assert.equal(view.getUint32(8, true), 0xffffffff);
  assert.deepEqual([16, 20, 24, 32, 48].map((at) => view.getFloat32(at, true)), [1, 2, 3, 4, 7]);
  assert.equal(view.getUint32(28, true), 0xeeeeeeee);
});

test("says which field is missing, unknown or of the wrong length", () => {
  assert.throws(() => packStruct(layout, "S", { a: 1, v: [1, 2] }), /S\.m is not given/);
  assert.throws(() => packStruct(layout, "S", { a: 1, v: [1, 2], m: columns, b: 1 }), /S has no field b/);
  assert.throws(() => packStruct(layout, "S", { a: 1, v: [1, 2, 3], m: columns }), /S\.v needs 2 numbers, got 3/);
  assert.throws(() => packStruct(layout, "S", { a: [1], v: [1, 2], m: columns }), /S\.a must be a number/);
  assert.throws(() => packStruct(layout, "S", { a: 1, v: [1, 2], m: columns.slice(1) }), /S\.m needs 3 columns/);
  assert.throws(() => structOf(layout, "T"), /no struct named T/);
  assert.throws(() => constantOf(layout, "GROUPS"), /no constant named GROUPS/);
});
