// A moment in a link: written short, read back as it was, and what is unknown passed over.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readMoment, writeMoment } from "../../static/live/moment.js";

const EMPTY = { t: null, play: false, speed: null, loop: null, off: [], controls: [], tracks: [] };

test("what is as the scene has it takes no place", () => {
  assert.equal(writeMoment(EMPTY), "");
  assert.equal(writeMoment({ ...EMPTY, t: 0 }), "t=0");
});

test("all of it, as documented", () => {
  const moment = {
    t: 1.25, play: true, speed: 2, loop: false, off: [3, 4],
    controls: [{ layer: 0, name: "smile", value: 0.5 }, { layer: 2, name: "wire", value: 1 }], tracks: [{ layer: 0, name: "walk" }, { layer: 2, name: null }],
  };
  const text = writeMoment(moment);
  assert.equal(text, "t=1.25&play=1&speed=2&loop=0&off=3,4&c.0.smile=0.5&c.2.wire=1&track.0=walk&track.2=");
  assert.deepEqual(readMoment(text), moment);
  assert.deepEqual(readMoment(`#view=0,0,-4,0,0,0,0,-1,0,50&${text}`), moment);
});

test("names of every kind come back", () => {
  for (const name of ["a.b", "a b", "ä&=#%+", "0", "c.1.x", ".", "line\nbreak", "日本"]) {
    const moment = { ...EMPTY, controls: [{ layer: 12, name, value: -3 }], tracks: [{ layer: 1, name }] };
    assert.deepEqual(readMoment(`#${writeMoment(moment)}`), moment, JSON.stringify(name));
  }
});

test("what is unknown, empty or no number says nothing", () => {
  for (const text of ["", "#", "view=1,2", "t=&speed=&c.0.x=", "t=soon&speed=fast&c.0.x=red&loop=maybe", "c.x.smile=1&c.0=1&c.0.=1&track=walk&track.x=walk", "future=1&T=3", "off=a,-1,1.5", "t=Infinity&t=NaN"]) {
    assert.deepEqual(readMoment(text), EMPTY, text);
  }
  assert.deepEqual(readMoment("t=1&future=2&off=1,x,2"), { ...EMPTY, t: 1, off: [1, 2] });
});
