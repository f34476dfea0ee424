// The request scheduler: order, limits, giving way, repeating, giving up.
import assert from "node:assert/strict";
import { test } from "node:test";
import { FatalError, createStream } from "../../static/stream.js";

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** A stream whose loads are ended by hand and whose clock is turned by hand. @param {{concurrency?: number}} [options] */
function setup(options = {}) {
  /** @type {Map<number, {resolve: () => void, reject: (e: unknown) => void, signal: AbortSignal}>} */
  const loads = new Map();
  /** @type {number[]} */
  const started = [];
  /** @type {[number, unknown][]} */
  const failed = [];
  /** @type {number[]} */
  const trouble = [];
  const clock = { now: 0, timer: /** @type {{f: () => void, at: number} | null} */ (null) };
  const stream = createStream({
    load: (/** @type {number} */ key, signal) => new Promise((resolve, reject) => {
      started.push(key);
      loads.set(key, { resolve: () => resolve(undefined), reject, signal });
    }),
    failed: (key, error) => failed.push([key, error]),
    trouble: (n) => trouble.push(n),
    setTimer: (f, ms) => (clock.timer = { f, at: clock.now + ms }),
    clearTimer: () => { clock.timer = null; },
    now: () => clock.now,
    random: () => 0,
    ...options,
  });
  return {
    stream, started, failed, trouble, clock, loads,
    /** @param {number} key */
    async done(key) { loads.get(key)?.resolve(); await tick(); },
    /** @param {number} key @param {unknown} [error] */
    async fail(key, error = new Error("offline")) { loads.get(key)?.reject(error); await tick(); },
    /** @param {number} ms */
    async pass(ms) {
      clock.now += ms;
      if (clock.timer && clock.timer.at <= clock.now) clock.timer.f();
      await tick();
    },
  };
}

test("the most wanted start first, no more than the limit at once", async () => {
  const t = setup({ concurrency: 2 });
  t.stream.want([5, 3, 9, 1]);
  assert.deepEqual(t.started, [5, 3]);
  await t.done(3);
  assert.deepEqual(t.started, [5, 3, 9]);
  t.stream.want([5, 9, 1, 2]);
  await t.done(5);
  await t.done(9);
  assert.deepEqual(t.started, [5, 3, 9, 1, 2]);
  assert.equal(t.stream.pending, 2);
});

test("what is no longer wanted gives way only when it is in the way", async () => {
  const t = setup({ concurrency: 2 });
  t.stream.want([1, 2]);
  t.stream.want([2]);
  assert.equal(t.loads.get(1)?.signal.aborted, false, "nothing waits for its place");
  t.stream.want([2, 3]);
  assert.equal(t.loads.get(1)?.signal.aborted, true);
  assert.equal(t.loads.get(2)?.signal.aborted, false);
  assert.deepEqual(t.started, [1, 2, 3]);
  await t.fail(1, new DOMException("aborted", "AbortError"));
  assert.deepEqual(t.trouble, [], "an abort is no failure");
});

test("an aborted item can be wanted again at once", async () => {
  const t = setup({ concurrency: 1 });
  t.stream.want([1]);
  t.stream.want([2]);
  t.stream.want([1]);
  await t.fail(2, new DOMException("aborted", "AbortError"));
  assert.deepEqual(t.started, [1, 2, 1]);
  assert.equal(t.stream.inFlight, 1);
});

test("a failed item is tried again, later each time, while others go on", async () => {
  const t = setup({ concurrency: 1 });
  t.stream.want([1, 2]);
  await t.fail(1);
  assert.deepEqual(t.started, [1, 2], "the next one does not wait for the failed one");
  await t.done(2);
  await t.pass(249);
  assert.deepEqual(t.started, [1, 2]);
  await t.pass(1);
  assert.deepEqual(t.started, [1, 2, 1]);
  await t.fail(1);
  await t.pass(499);
  assert.equal(t.started.length, 3);
  await t.pass(1);
  assert.equal(t.started.length, 4);
  for (let i = 0; i < 10; i++) {
    await t.fail(1);
    await t.pass(8000);
  }
  assert.equal(t.started.length, 14, "never longer than 8 s");
  await t.done(1);
  assert.deepEqual(t.trouble.slice(-2), [11, 0], "failures in a row, then recovered");
  assert.equal(t.stream.pending, 0);
});

test("retry() does not wait", async () => {
  const t = setup();
  t.stream.want([1]);
  for (let i = 0; i < 6; i++) {
    await t.fail(1);
    t.stream.retry();
  }
  assert.equal(t.started.length, 7);
});

test("a fatal error is told once and not repeated", async () => {
  const t = setup();
  t.stream.want([1, 2]);
  await t.fail(1, new FatalError("damaged"));
  t.stream.want([1, 2]);
  await t.pass(60_000);
  assert.deepEqual(t.started, [1, 2]);
  assert.equal(t.failed.length, 1);
  assert.equal(t.stream.pending, 1);
});

test("destroy aborts what flies and starts nothing more", async () => {
  const t = setup({ concurrency: 1 });
  t.stream.want([1, 2]);
  t.stream.destroy();
  t.stream.destroy();
  assert.equal(t.loads.get(1)?.signal.aborted, true);
  await t.done(1);
  t.stream.want([3]);
  assert.deepEqual(t.started, [1]);
  assert.equal(t.clock.timer, null);
});
