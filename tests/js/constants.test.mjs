// Outputs that no input reaches, in hand-made protobuf: what a wrong answer would cost is a layer that does not move.

import assert from "node:assert/strict";
import { test } from "node:test";
import { constantOutputs } from "../../static/live/constants.js";

const bytes = (field, body) => [field * 8 + 2, ...varint(body.length), ...body];
const varint = (n) => n < 128 ? [n] : [n % 128 + 128, ...varint(Math.floor(n / 128))];
const text = (field, value) => bytes(field, [...new TextEncoder().encode(value)]);
const node = (operator, inputs, outputs, attributes = []) => bytes(1, [...inputs.flatMap((i) => text(1, i)), ...outputs.flatMap((o) => text(2, o)), ...text(4, operator), ...attributes]);
const model = (...graph) => Uint8Array.from([8, 8, ...text(2, "a long producer name, longer than one hundred and twenty-seven bytes, for a length of two bytes: ................................................................"), ...bytes(7, graph.flat())]);
const input = (name) => bytes(11, text(1, name));

test("what inputs reach moves, what only constants reach does not", () => {
  const made = model(
    node("Add", ["c0", "t"], ["a"]), node("Mul", ["a", "c1"], ["means"]), node("Identity", ["c1"], ["scales"]),
    node("Constant", [], ["k"]), node("Add", ["k", "c1"], ["colors"]), input("t"),
  );
  assert.deepEqual([...constantOutputs(made, ["means", "scales", "colors"])].sort(), ["colors", "scales"]);
});

test("a node with a graph inside and one that draws lots move; so does what is no node's output", () => {
  const inside = bytes(5, [...text(1, "body"), ...bytes(6, [])]);
  const made = model(node("Loop", ["c"], ["a"], inside), node("RandomNormal", [], ["b"]), node("Add", ["b", "c"], ["d"]));
  assert.deepEqual([...constantOutputs(made, ["a", "b", "d", "elsewhere"])], []);
});

test("an input handed on moves; no model has none", () => {
  assert.deepEqual([...constantOutputs(model(input("x")), ["x"])], []);
  assert.deepEqual([...constantOutputs(new Uint8Array([1, 2, 3]), ["x"])], []);
});
