// What a scene's live layers are set to: the state that frames are drawn from, its limits, its events and its link.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createPlayback } from "../../static/live/playback.js";

/** @typedef {import("../../static/live/playback.js").LiveLayer} LiveLayer */

/** A figure with controls and tracks in layer 0, moving splats in 2 and a network in 3; layer 1 does not live. */
function scene() {
  return {
    duration: 4,
    layers: /** @type {LiveLayer[]} */ ([
      { index: 0, kind: "generator", name: "Figure", state: "ready", error: null, contract: {
        controls: [
          { name: "smile", label: "Smile", group: "Face", kind: "slider", min: 0, max: 1, default: 0.25, step: 0.01 },
          { name: "wire", label: "Wireframe", kind: "toggle", default: false },
        ],
        tracks: [{ name: "walk", label: "Walk", duration: 1, frames: 50, loop: true }, { name: "run", label: "Run", duration: 1, frames: 50, loop: true }],
      } },
      { index: 2, kind: "sequence", name: "Fire", state: "ready", error: null, contract: { time: { duration: 4, loop: true } } },
      { index: 3, kind: "postprocess", name: "Warm", state: "ready", error: null, contract: { controls: [{ name: "smile", label: "Smile", kind: "slider", min: -5, max: 5, default: 1, step: 1 }] } },
    ]),
  };
}

/** @param {Partial<import("../../static/live/playback.js").PlaybackOptions>} [options] @param {{hash?: string, still?: boolean}} [start] */
function setup(options, { hash = "", still = false } = {}) {
  const live = scene();
  /** @type {[string, any][]} */
  const events = [];
  const log = { changes: 0 };
  const playback = createPlayback(live, { changed: () => { log.changes++; }, emit: (type, detail) => events.push([type, detail]) }, options);
  playback.start(hash, still);
  events.length = log.changes = 0;
  return { live, playback, events, log };
}

test("it starts with the contracts' defaults and the first tracks, playing", () => {
  const { playback } = setup();
  assert.deepEqual(playback.state, { seconds: 0, controls: { 0: { smile: 0.25, wire: 0 }, 3: { smile: 1 } }, tracks: { 0: "walk" }, off: {} });
  assert.deepEqual([playback.time, playback.duration, playback.playing, playback.speed, playback.loop], [0, 4, true, 1, true]);
  assert.deepEqual(playback.controls[1], { layer: 0, name: "wire", label: "Wireframe", group: "", kind: "toggle", min: 0, max: 1, step: 1, default: 0, value: 0 });
  assert.deepEqual(playback.tracks.map((t) => [t.layer, t.name, t.chosen]), [[0, "walk", true], [0, "run", false]]);
  assert.deepEqual(playback.layers.map((l) => [l.index, l.kind, l.state, l.on]), [[0, "generator", "ready", true], [2, "sequence", "ready", true], [3, "postprocess", "ready", true]]);
});

test("who asked for reduced motion, or for no autoplay, sees it rest, whatever the link says", () => {
  assert.ok(!setup({}, { still: true }).playback.playing);
  assert.ok(!setup({ autoplay: false }).playback.playing);
  const linked = setup({}, { still: true, hash: "#t=2&play=1" }).playback;
  assert.deepEqual([linked.time, linked.playing], [2, false]);
  assert.ok(setup({ autoplay: false }, { hash: "#t=2&play=1" }).playback.playing, "a link to a playing scene plays");
});

test("the page's wishes are where a link starts from", () => {
  const { playback } = setup({ time: 1, speed: 2, loop: false, autoplay: false });
  assert.deepEqual([playback.time, playback.speed, playback.loop], [1, 2, false]);
  assert.equal(playback.hash, "t=1");
  const linked = setup({ time: 1, speed: 2, loop: false }, { hash: "#t=3&speed=0.5&loop=1" }).playback;
  assert.deepEqual([linked.time, linked.speed, linked.loop, linked.playing], [3, 0.5, true, false]);
});

test("a step moves the state, tells of it once, and asks for a frame", () => {
  const { playback, events, log } = setup();
  assert.equal(playback.step(0.5), true);
  assert.equal(playback.state.seconds, 0.5);
  assert.deepEqual(events, [["timechange", { time: 0.5, duration: 4, playing: true, speed: 1, loop: true }]]);
  assert.equal(log.changes, 1);
  playback.pause();
  events.length = log.changes = 0;
  assert.equal(playback.step(0.5), false);
  assert.deepEqual([events.length, log.changes], [0, 0], "at rest nothing is drawn");
});

test("the clock waits for layers that load", () => {
  const { live, playback, events, log } = setup();
  live.layers[1].state = "loading";
  assert.equal(playback.step(0.5), false);
  assert.deepEqual([playback.time, playback.playing, log.changes], [0, true, 0]);
  live.layers[1].state = "failed";
  live.layers[1].error = new Error("fire.lens: layer 2: no such kernel");
  playback.sync();
  playback.sync();
  assert.equal(events.length, 1);
  assert.equal(events[0][0], "livechange");
  assert.equal(events[0][1].layers[1].error, "fire.lens: layer 2: no such kernel");
  assert.equal(playback.step(0.5), true, "a layer that failed does not hold up the rest");
});

test("controls are held within their range, switches are 0 or 1, and equal values change nothing", () => {
  const { playback, events, log } = setup();
  playback.setControl("smile", 7, 0);
  assert.equal(playback.state.controls[0].smile, 1);
  assert.equal(playback.state.controls[3].smile, 1, "another layer's is its own");
  assert.deepEqual(events.pop(), ["controlchange", { layer: 0, name: "smile", value: 1 }]);
  playback.setControl("wire", true);
  assert.equal(playback.state.controls[0].wire, 1);
  const { changes } = log;
  playback.setControl("wire", 1);
  assert.equal(log.changes, changes);
  playback.setControl("smile", 0.5);
  assert.deepEqual([playback.state.controls[0].smile, playback.state.controls[3].smile], [0.5, 0.5], "without a layer all that have it");
  playback.setControl("smile", -1);
  assert.deepEqual([playback.state.controls[0].smile, playback.state.controls[3].smile], [0, -1]);
  assert.throws(() => playback.setControl("frown", 1), /no control "frown"; there are smile, wire, smile/);
  assert.throws(() => playback.setControl("wire", 1, 3), /in layer 3/);
  assert.throws(() => playback.setControl("smile", NaN), RangeError);
  playback.controls[0].value = 99;
  assert.equal(playback.controls[0].value, 0, "what is given out is a copy");
});

test("tracks and networks are chosen by name and index", () => {
  const { live, playback, events } = setup();
  playback.setTrack("run");
  assert.equal(playback.state.tracks[0], "run");
  assert.deepEqual(playback.tracks.map((t) => t.chosen), [false, true]);
  playback.setTrack(null);
  assert.equal(playback.state.tracks[0], null);
  assert.deepEqual(events.filter(([type]) => type === "controlchange").map(([, d]) => d), [{ layer: 0, track: "run" }, { layer: 0, track: null }]);
  assert.throws(() => playback.setTrack("fly"), /no track "fly"; there are walk, run/);
  playback.setLayer(3, false);
  assert.deepEqual(playback.state.off, { 3: true });
  assert.ok(!playback.layers[2].on);
  playback.setLayer(3, true);
  assert.deepEqual(playback.state.off, {});
  const before = events.length;
  playback.setLayer(3, true);
  playback.setTrack(null);
  assert.equal(events.length, before, "what is so already changes nothing");
  for (const index of [0, 2, 9]) assert.throws(() => playback.setLayer(index, false), /no post-processing/);
  live.duration = 2;
  playback.time = 3;
  playback.setTrack("walk");
  assert.deepEqual([playback.duration, playback.time], [2, 2], "another track may make the scene shorter");
});

test("a link carries what differs, and another page becomes the same", () => {
  const { playback } = setup();
  assert.equal(playback.hash, "t=0&play=1");
  playback.time = 1.25;
  playback.pause();
  playback.speed = 2;
  playback.loop = false;
  playback.setControl("smile", 0.123456789, 0);
  playback.setTrack(null);
  playback.setLayer(3, false);
  const text = playback.hash;
  assert.equal(text, "t=1.25&speed=2&loop=0&off=3&c.0.smile=0.1234568&track.0=");
  const other = setup({}, { hash: `#view=1,2,3&${text}` }).playback;
  assert.deepEqual(other.state, playback.state);
  assert.deepEqual([other.hash, other.playing], [text, false]);
  other.hash = "t=2&play=1";
  assert.deepEqual(other.state, { ...setup().playback.state, seconds: 2 }, "what a link leaves out is as at the start");
  assert.ok(other.playing);
  other.hash = "c.0.wire=1";
  assert.deepEqual([other.time, other.playing, other.state.controls[0].wire], [2, true, 1], "but for the time, which goes on");
});

test("links of other scenes and of later versions do no harm", () => {
  const { playback } = setup({}, { hash: "#t=99&speed=64&off=0,2,7&c.0.frown=1&c.9.smile=1&c.0.smile=80&track.0=fly&track.5=walk&zoom=3" });
  assert.deepEqual(playback.state, { seconds: 4, controls: { 0: { smile: 1, wire: 0 }, 3: { smile: 1 } }, tracks: { 0: "walk" }, off: {} });
  assert.equal(playback.speed, 1);
});

test("frames are those of the layer that has most of them a second", () => {
  const { playback } = setup();
  playback.skip(1);
  assert.ok(!playback.playing);
  assert.equal(playback.time, 0.02);
  playback.skip(-2);
  assert.ok(Math.abs(playback.time - 3.98) < 1e-6, "around the start where it loops");
  playback.loop = false;
  playback.time = 0.01;
  playback.skip(-1);
  assert.equal(playback.time, 0);
});

test("reset is the start again, but for the time", () => {
  const { playback } = setup({ autoplay: false });
  playback.time = 2;
  playback.setControl("smile", 0.9);
  playback.setTrack("run");
  playback.setLayer(3, false);
  playback.reset();
  assert.deepEqual(playback.state, { ...setup().playback.state, seconds: 2 });
});

test("a scene without time has controls all the same", () => {
  const live = { duration: 0, layers: [scene().layers[2]] };
  const playback = createPlayback(live, { changed() {}, emit() {} });
  playback.start("#t=3&play=1&c.3.smile=2", false);
  assert.deepEqual([playback.time, playback.playing, playback.hash], [0, false, "c.3.smile=2"]);
  playback.skip(1);
  assert.equal(playback.time, 0);
});

test("a scene all of whose layers play once does not start again", () => {
  const live = scene();
  live.layers.splice(0, 1);
  live.layers[0].contract = { time: { duration: 4, loop: false } };
  const playback = createPlayback(live, { changed() {}, emit() {} });
  playback.start("", false);
  assert.ok(!playback.loop);
  for (let i = 0; i < 5; i++) playback.step(1);
  assert.deepEqual([playback.time, playback.playing], [4, false]);
});

test("a time past the end of the first track waits for the track that has it", () => {
  const live = scene();
  live.duration = 1;
  const playback = createPlayback(live, { changed() {}, emit() {} });
  playback.start("#t=2.5&track.0=run", false);
  assert.equal(playback.time, 1);
  live.duration = 3; // once a frame was drawn with that track
  playback.sync();
  assert.equal(playback.time, 2.5);
  live.duration = 4;
  playback.sync();
  assert.equal(playback.time, 2.5);
});
