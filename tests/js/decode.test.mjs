// Payloads written by hand: what they decode to, and that damage is refused. That real ones decode as in Python: tests/test_codec.py.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as D from "../../static/decode.js";
import { FormatError } from "../../static/inflate.js";

const PLAIN = {
  sh_degree: 1, opacity_step: 0.25, knee: 0, importance: [0, -10, 50], sh_step: 0.5, sh_basis: btoa(String.fromCharCode(127, 0, 0, 255, 0, 0, 0, 0, 0)),
  steps: { middle: 0, thin: 0, axis: 0, roll: 0, color: 0, sh: 0 },
};
const codec = D.readCodec(PLAIN);

/** One cluster whose rows have these roots, at the origin. @param {number[]} roots @param {Record<number, number>} [record] bytes of its record */
function payload(roots, record = {}) {
  const bytes = new Uint8Array(30 + roots.length);
  bytes[0] = 1 << 6;
  for (const at in record) bytes[4 + Number(at)] = record[at];
  bytes.set(roots, 30);
  return bytes;
}

test("a cluster's words", () => {
  const g = D.decodeGeometry(payload([4, 8], { 14: 0xff, 15: 1, 18: 5 }), [2], codec);
  assert.equal(g.words.length, D.SLOT_WORDS);
  assert.deepEqual([...new Float32Array(g.words.buffer, 0, 7)], [0.5, 0, 0.25, 5 / 32, 0, 0, 1 / 32]);
  assert.equal(g.words[7], D.SH_WORDS[1]);
  assert.deepEqual([...g.words.subarray(264, 267)], [4 << 24, 8 << 24, 0]);
  assert.equal(g.words[520], (512 | 512 << 10 | 256 << 20) >>> 0);
  assert.deepEqual([[...g.firstSlot], [...g.slots], [...g.origins], [...g.classes]], [[0], [1], [0, 0, 0], [0, 0]]);
});

test("SH: int8 of one step a splat, that of its largest coefficient", () => {
  const words = D.decodeSh(Uint8Array.of(2, 6), [1], Uint8Array.of(1), codec);
  assert.equal(words.length, 3 * 256);
  // Zigzag 6 is 3: sums 381 and -3, shifted by one, in halves.
  const step = new Float32Array(Uint32Array.of(words[512] & 0xffff0000).buffer)[0];
  assert.ok(step >= 3 && step < 3.03, `${step}`);
  assert.equal(words[0] & 255, Math.round(381 / step));
  assert.equal(words[0] >>> 24, 256 + Math.round(-3 / step));
  assert.deepEqual([...D.decodeSh(Uint8Array.of(0), [1], Uint8Array.of(1), codec)], new Array(768).fill(0));
});

test("damage is refused", () => {
  const good = payload([4, 8]);
  for (const bad of [good.subarray(0, 3), good.subarray(0, 31), new Uint8Array([...good, 0])]) assert.throws(() => D.decodeGeometry(bad, [2], codec), FormatError);
  for (const counts of [[], [0], [257]]) assert.throws(() => D.decodeGeometry(good, counts, codec), /1 to 256 splats/);
  /** @type {[Record<number, number>, RegExp][]} */
  const records = [
    [{ 12: 3 }, /flags/], [{ 12: 8 }, /flags/], [{ 14: 101 }, /position exponents/], [{ 14: 155 }, /position exponents/], [{ 15: 41 }, /colour exponents/],
    [{ 13: 17 }, /coarse/], [{ 24: 25 }, /SH exponents/], [{ 25: 1 }, /reserved/], [{ 2: 0x80, 3: 0x7f }, /finite origins/],
  ];
  for (const [record, message] of records) assert.throws(() => D.decodeGeometry(payload([4, 8], record), [2], codec), message);
  const masked = payload([4]);
  masked[3] = 4;
  assert.throws(() => D.decodeGeometry(masked, [1], codec), /mask/);
  for (const bad of [[], [2], [3, 0], [2, 0, 0], [1]]) assert.throws(() => D.decodeSh(Uint8Array.from(bad), [1], Uint8Array.of(0), codec), FormatError);
  assert.throws(() => D.decodeSh(Uint8Array.of(0), [1], new Uint8Array(2), codec), /classes/);
});

test("random bytes decode or are refused, never anything else", () => {
  let seed = 1;
  const random = () => (seed = Math.imul(seed, 1664525) + 1013904223 >>> 0) / 2 ** 32;
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const planes = Math.floor(random() * 4), bytes = new Uint8Array(30 + 5 * planes).map(() => random() * 256);
    let mask = 0;
    for (let k = 0; k < planes; k++) mask |= 1 << (8 * k + Math.floor(random() * 8));
    bytes.set([mask & 255, mask >> 8 & 255, mask >> 16 & 255, 0]);
    // A plain record, of which one byte is random.
    bytes.fill(0, 4, 30);
    bytes[4 + Math.floor(random() * 26)] = random() * 256;
    try {
      const g = D.decodeGeometry(bytes, [5], codec);
      assert.equal(g.words.length % D.SLOT_WORDS, 0);
    } catch (error) {
      assert.ok(error instanceof FormatError, `${error}`);
      refused++;
    }
  }
  assert.ok(refused > 100 && refused < 2000, `${refused}`);
});

test("bad layer descriptions are refused by member", () => {
  /** @type {[string, unknown][]} */
  const bad = [
    ["sh_degree", 4], ["sh_degree", null], ["opacity_step", 0], ["opacity_step", "1"], ["knee", 1.5], ["knee", 99999], ["importance", [1, 2]],
    ["importance", [0, 5, 4]], ["importance", 3], ["steps", {}], ["steps", { ...PLAIN.steps, sh: 5000 }], ["steps", undefined], ["sh_step", Infinity],
    ["sh_step", -1], ["sh_basis", "AAA?"], ["sh_basis", "AAAA"],
  ];
  for (const [member, value] of bad) assert.throws(() => D.readCodec({ ...PLAIN, [member]: value }), (e) => e instanceof FormatError && e.message.includes(member), member);
});
