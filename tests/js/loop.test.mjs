// The frame loop: no frame without a change, every frame while moving, never ahead of the GPU.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createLoop } from "../../static/loop.js";

const tick = () => new Promise((resolve) => setImmediate(resolve));

/** A loop whose frames are called and whose GPU is ended by hand. */
function setup() {
  /** @type {((time: number) => void) | null} */
  let next = null;
  /** @type {(() => void)[]} */
  const gpu = [];
  const log = { steps: /** @type {number[]} */ ([]), draws: 0, moving: 0 };
  const loop = createLoop({
    step(seconds) {
      log.steps.push(seconds);
      if (log.moving > 0) loop.invalidate();
      return --log.moving > 0;
    },
    draw() {
      log.draws++;
      return new Promise((resolve) => gpu.push(() => resolve(undefined)));
    },
    requestFrame: (f) => {
      assert.equal(next, null, "asked once a frame");
      next = f;
      return 1;
    },
    cancelFrame: () => { next = null; },
  });
  let time = 0;
  return {
    loop, log, gpu,
    asked: () => next !== null,
    /** Lets a frame happen, if one was asked for. @param {number} [ms] */
    frame(ms = 16) {
      const f = next;
      next = null;
      f?.(time += ms);
      return f !== null;
    },
    async finish() { gpu.shift()?.(); await tick(); },
  };
}

test("a change draws one frame, a request without a change none", async () => {
  const t = setup();
  t.loop.request();
  assert.ok(t.frame());
  assert.equal(t.log.draws, 0);
  t.loop.invalidate();
  t.loop.invalidate();
  assert.ok(t.frame());
  assert.ok(!t.frame(), "then none is asked for");
  assert.equal(t.log.draws, 1);
});

test("a moving camera is stepped every frame by the time that passed, and rests", async () => {
  const t = setup();
  t.log.moving = 3;
  t.loop.request();
  while (t.frame(20)) await t.finish();
  assert.equal(t.log.draws, 3);
  assert.deepEqual(t.log.steps, [1 / 60, 0.02, 0.02]);
  t.frame(5000);
  t.log.moving = 1;
  t.loop.request();
  t.frame(5000);
  assert.equal(t.log.steps[3], 1 / 60, "a rest is no step");
});

test("no more than two frames ahead of the GPU, and on when it has caught up", async () => {
  const t = setup();
  t.log.moving = 100;
  t.loop.request();
  for (let i = 0; i < 10; i++) t.frame();
  assert.equal(t.log.draws, 2);
  assert.ok(!t.asked(), "waits without polling");
  await t.finish();
  assert.ok(t.asked());
  for (let i = 0; i < 10; i++) t.frame();
  assert.equal(t.log.draws, 3);
});

test("a failed frame counts as over", async () => {
  const t = setup();
  let fail = 0;
  const loop = createLoop({ step: () => true, draw: () => (fail++, Promise.reject(new Error("lost"))), requestFrame: (f) => (setImmediate(f, 0), 1), cancelFrame: () => {} });
  loop.invalidate();
  for (let i = 0; i < 5; i++) {
    await tick();
    loop.invalidate();
  }
  loop.stop();
  assert.ok(fail > 2);
  t.loop.stop();
});

test("stop ends it for good", () => {
  const t = setup();
  t.loop.invalidate();
  t.loop.stop();
  assert.ok(!t.asked());
  t.loop.invalidate();
  assert.ok(!t.asked());
});
