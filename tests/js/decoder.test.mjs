// The decoding worker's manager: hand-shake, results and errors by number, and this thread where there is no worker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createDecoder } from "../../static/decoder.js";
import { FormatError } from "../../static/inflate.js";

const tick = () => new Promise((resolve) => setImmediate(resolve));
const payload = () => new Uint8Array([1, 2, 3]);
const codec = /** @type {any} */ ({ shDegree: 0 });

function fake() {
  /** @type {any[]} */
  const sent = [];
  const worker = {
    sent, ended: 0, onmessage: /** @type {any} */ (null), onerror: /** @type {any} */ (null),
    postMessage(/** @type {any} */ task) { sent.push(task); },
    terminate() { worker.ended++; },
    say(/** @type {any} */ data) { worker.onmessage({ data }); },
    fail() { worker.onerror({ preventDefault() {} }); },
  };
  return { worker, decoder: createDecoder(() => /** @type {any} */ (worker)) };
}

test("tasks wait for the worker to be there and come back by their number", async () => {
  const { worker, decoder } = fake();
  const one = decoder.geometry(payload(), new Uint16Array([1]), codec), two = decoder.sh(payload(), new Uint16Array([1]), new Uint8Array(1), codec);
  assert.equal(worker.sent.length, 0);
  worker.say("here");
  assert.deepEqual(worker.sent.map((t) => [t.id, t.classes === null]), [[0, true], [1, false]]);
  worker.say({ id: 1, result: "b" });
  worker.say({ id: 0, result: "a" });
  assert.deepEqual(await Promise.all([one, two]), ["a", "b"]);
});

test("bad data rejects with a FormatError", async () => {
  const { worker, decoder } = fake();
  worker.say("here");
  const one = decoder.geometry(payload(), new Uint16Array([1]), codec);
  worker.say({ id: 0, error: "payload: expected more" });
  await assert.rejects(one, (e) => e instanceof FormatError && /expected more/.test(e.message));
});

test("where a worker is refused or never starts, work is done in this thread", async () => {
  const refused = createDecoder(() => { throw new DOMException("policy", "SecurityError"); });
  await assert.rejects(refused.geometry(payload(), new Uint16Array([1]), codec), FormatError, "decoded here, and found bad");
  const { worker, decoder } = fake();
  const early = decoder.geometry(payload(), new Uint16Array([1]), codec);
  worker.fail();
  await assert.rejects(early, FormatError);
  await assert.rejects(decoder.geometry(payload(), new Uint16Array([1]), codec), FormatError);
  assert.equal(worker.ended, 1);
});

test("a worker that dies takes its tasks with it, not those after", async () => {
  const { worker, decoder } = fake();
  worker.say("here");
  const lost = decoder.geometry(payload(), new Uint16Array([1]), codec);
  worker.fail();
  await assert.rejects(lost, (e) => !(e instanceof FormatError));
  await assert.rejects(decoder.geometry(payload(), new Uint16Array([1]), codec), FormatError);
});

test("destroy ends the worker and what waits, twice too", async () => {
  const { worker, decoder } = fake();
  const one = decoder.geometry(payload(), new Uint16Array([1]), codec);
  decoder.destroy();
  decoder.destroy();
  await assert.rejects(one, { name: "AbortError" });
  await tick();
  assert.equal(worker.ended, 1);
});
