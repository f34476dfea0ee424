// Controls: events in, camera poses out, and an end to every movement.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as camera from "../../static/camera.js";
import { createControls } from "../../static/controls.js";

/** @type {camera.Pose} */
const START = { position: [0, 0, -4], target: [0, 0, 0], up: [0, -1, 0], fov: 50 };

/** @param {import("../../static/controls.js").Options} [options] */
function setup(options = {}) {
  const element = Object.assign(new EventTarget(), {
    style: {}, clientWidth: 400, clientHeight: 300, focused: false,
    focus() { this.focused = true; },
    matches() { return this.focused; },
    getBoundingClientRect: () => ({ left: 10, top: 20 }),
  });
  const log = { wakes: 0, help: 0, escape: 0, reset: 0, modes: /** @type {string[]} */ ([]), picked: /** @type {number[]} */ ([]) };
  let pose = START;
  const controls = createControls(/** @type {any} */ (element), {
    get: () => pose,
    set: (p) => { pose = p; },
    reset: () => { log.reset++; pose = START; },
    pick: (x, y) => { log.picked = [x, y]; return Promise.resolve([1, 0, 0]); },
    range: () => [0.1, 100],
    wake: () => { log.wakes++; },
    help: () => { log.help++; },
    escape: () => { log.escape++; },
    mode: (m) => { log.modes.push(m); },
  }, options);
  return {
    controls, log, element,
    pose: () => pose,
    /** @param {string} type @param {Record<string, unknown>} [fields] @returns {Event} */
    send(type, fields = {}) {
      const event = Object.assign(new Event(type, { cancelable: true }), { pointerId: 1, button: 0, clientX: 0, clientY: 0, deltaMode: 0, key: "", code: "", ...fields });
      element.dispatchEvent(event);
      return event;
    },
    /** Steps until rest; the number of steps. */
    settle() {
      let n = 1;
      while (controls.step(1 / 60)) if (++n > 1000) throw new Error("never comes to rest");
      return n;
    },
    /** @param {number[][]} points @param {Record<string, unknown>} [fields] */
    drag(points, fields = {}) {
      points.forEach(([x, y], i) => this.send(i ? "pointermove" : "pointerdown", { clientX: x, clientY: y, ...fields }));
      this.send("pointerup", fields);
    },
  };
}

/** @param {number[]} a @param {number[]} b */
const close = (a, b) => a.forEach((x, i) => assert.ok(Math.abs(x - b[i]) < 1e-3, `${a} is not ${b}`));

test("a drag orbits half a turn across the shorter side, smoothly, and ends", () => {
  const t = setup();
  t.drag([[0, 0], [150, 0]]);
  assert.ok(t.settle() > 5, "smoothed over some frames");
  assert.ok(t.settle() === 1, "then rests");
  close(t.pose().position, camera.orbit(START, Math.PI / 2, 0).position);
});

test("reduced motion gets there in one step", () => {
  const t = setup({ still: true });
  t.drag([[0, 0], [150, 40]]);
  assert.equal(t.settle(), 1);
});

test("right and shift drags pan; the scene follows the hand", () => {
  for (const fields of [{ button: 2 }, { shiftKey: true }, { ctrlKey: true }]) {
    const t = setup();
    t.drag([[0, 0], [30, 10]], fields);
    t.settle();
    close(t.pose().target, camera.pan(START, 30, 10, 300).target);
  }
});

test("two fingers pan with their middle and zoom with their distance", () => {
  const t = setup();
  t.send("pointerdown", { pointerId: 1, clientX: 100, clientY: 100 });
  t.send("pointerdown", { pointerId: 2, clientX: 200, clientY: 100 });
  t.send("pointermove", { pointerId: 2, clientX: 300, clientY: 100 });
  t.settle();
  assert.ok(Math.abs(camera.distance(t.pose()) - 2) < 1e-2, "twice as wide is half as far");
  const apart = t.pose();
  t.send("pointermove", { pointerId: 1, clientX: 120, clientY: 130 });
  t.send("pointermove", { pointerId: 2, clientX: 320, clientY: 130 });
  t.settle();
  const [x, y] = camera.pan(apart, 20, 30, 300).target;
  assert.ok(Math.abs(t.pose().target[0] - x) < 0.02 && Math.abs(t.pose().target[1] - y) < 0.02, "the scene goes with the fingers");
  t.send("pointerup", { pointerId: 1 });
  t.send("pointerup", { pointerId: 2 });
  const before = t.pose();
  t.send("pointermove", { pointerId: 2, clientX: 0, clientY: 0 });
  t.settle();
  assert.equal(t.pose(), before, "a lifted finger moves nothing");
});

test("a cancelled touch, as when the page takes over for scrolling, stops moving the camera", () => {
  const t = setup({ gestures: "cooperative" });
  assert.equal(/** @type {any} */ (t.element.style).touchAction, "pan-y");
  t.send("pointerdown");
  t.send("pointercancel");
  t.send("pointermove", { clientX: 100 });
  assert.equal(t.settle(), 1);
  assert.equal(t.pose(), START);
});

test("the wheel zooms within bounds, in every delta mode", () => {
  const t = setup();
  assert.ok(t.send("wheel", { deltaY: 100 }).defaultPrevented);
  t.settle();
  assert.ok(Math.abs(camera.distance(t.pose()) - 4 * Math.exp(0.15)) < 1e-2);
  t.send("wheel", { deltaY: -1e6 });
  t.settle();
  assert.ok(Math.abs(camera.distance(t.pose()) - 4 * Math.exp(0.15 - 0.45)) < 1e-2, "one event, however large, is no leap");
  for (let i = 0; i < 100; i++) t.send("wheel", { deltaY: 1e6, deltaMode: 2 });
  t.settle();
  assert.ok(camera.distance(t.pose()) <= 100 + 1e-9);
  for (let i = 0; i < 100; i++) t.send("wheel", { deltaY: -1e6, deltaMode: 1 });
  t.settle();
  assert.ok(camera.distance(t.pose()) >= 0.1 - 1e-9);
});

test("cooperative gestures leave the page its wheel until the element has focus", () => {
  const t = setup({ gestures: "cooperative" });
  assert.ok(!t.send("wheel", { deltaY: 100 }).defaultPrevented);
  assert.equal(t.settle(), 1);
  assert.ok(t.send("wheel", { deltaY: 100, ctrlKey: true }).defaultPrevented, "pinch is meant for the scene");
  t.send("pointerdown");
  assert.ok(t.send("wheel", { deltaY: 100 }).defaultPrevented);
});

test("held keys move every frame and stop when let go or when focus leaves", () => {
  const t = setup();
  t.send("keydown", { code: "KeyW", key: "w" });
  assert.ok(t.controls.step(0.05) && t.controls.step(0.05));
  assert.ok(t.pose().position[2] > -4, "forward is +z");
  t.send("keyup", { code: "KeyW", key: "w" });
  t.settle();
  assert.equal(t.settle(), 1);
  t.send("keydown", { code: "ArrowLeft", key: "ArrowLeft" });
  assert.ok(t.controls.step(0.05));
  t.send("blur");
  t.settle();
  assert.ok(t.pose().position[0] !== 0);
});

test("a tap between two steps still moves", () => {
  const t = setup();
  t.send("keydown", { code: "KeyD", key: "d" });
  t.send("keyup", { code: "KeyD", key: "d" });
  assert.equal(t.controls.step(1 / 60), false);
  assert.ok(t.pose().position[0] > 0);
});

test("+ held with Shift is released whichever comes up first", () => {
  const t = setup();
  t.send("keydown", { code: "Equal", key: "+", shiftKey: true });
  t.controls.step(0.05);
  t.send("keyup", { code: "Equal", key: "=" });
  t.settle();
  assert.ok(camera.distance(t.pose()) < 4);
});

test("arrows go to their side, orbiting and flying", () => {
  const left = setup();
  left.send("keydown", { code: "ArrowLeft" });
  left.controls.step(0.1);
  assert.ok(left.pose().position[0] < 0, "orbit: the camera goes left");
  const fly = setup();
  fly.send("keydown", { code: "KeyF", key: "f" });
  fly.send("keydown", { code: "ArrowLeft" });
  fly.controls.step(0.1);
  assert.deepEqual(fly.pose().position, START.position);
  assert.ok(fly.pose().target[0] < 0, "fly: the look goes left");
  const up = setup();
  up.send("keydown", { code: "ArrowUp" });
  up.controls.step(0.1);
  assert.ok(up.pose().position[1] < 0, "orbit: the camera goes up, -y here");
});

test("F flies, Escape and R end it; ? asks for help; ctrl and alt keys are the browser's", () => {
  const t = setup();
  t.send("keydown", { code: "KeyF", key: "f" });
  t.send("keydown", { code: "Escape", key: "Escape" });
  t.send("keydown", { code: "KeyF", key: "f" });
  t.send("keydown", { code: "KeyR", key: "r" });
  assert.deepEqual(t.log.modes, ["fly", "orbit", "fly", "orbit"]);
  t.send("keydown", { code: "Slash", key: "?", shiftKey: true });
  assert.deepEqual([t.log.help, t.log.escape, t.log.reset], [1, 1, 1]);
  const reload = t.send("keydown", { code: "KeyR", key: "r", ctrlKey: true });
  assert.ok(!reload.defaultPrevented);
  assert.equal(t.log.reset, 1);
  assert.ok(!t.send("keydown", { code: "Tab", key: "Tab" }).defaultPrevented, "Tab leaves the viewer");
});

test("flying: a drag looks, the wheel goes forward, the target goes along", () => {
  const t = setup();
  t.controls.setMode("fly");
  t.send("wheel", { deltaY: -100 });
  t.settle();
  assert.ok(t.pose().position[2] > -4);
  assert.ok(Math.abs(camera.distance(t.pose()) - 4) < 1e-6);
  const at = t.pose().position;
  t.drag([[0, 0], [50, 0]]);
  t.settle();
  close(t.pose().position, at);
  assert.ok(t.pose().target[0] < 0, "the scene follows the hand to the right, the look goes left");
});

test("a double click looks at the picked point and ends exactly on it", async () => {
  const t = setup();
  t.send("dblclick", { clientX: 60, clientY: 70 });
  await Promise.resolve(); // the point under a pixel is known a moment later
  t.settle();
  assert.deepEqual(t.log.picked, [50, 50]);
  assert.deepEqual(t.pose().target, [1, 0, 0]);
  assert.deepEqual(t.pose().position, START.position);
});

test("destroy lets go of every event, twice too", () => {
  const t = setup();
  t.send("keydown", { code: "KeyW", key: "w" });
  t.controls.destroy();
  t.controls.destroy();
  t.drag([[0, 0], [100, 0]]);
  t.send("wheel", { deltaY: 100 });
  assert.equal(t.controls.step(0.1), false);
  assert.equal(t.pose(), START);
});
