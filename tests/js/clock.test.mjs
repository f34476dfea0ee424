// The clock of a scene: seconds that play, rest, are sought and start again.
import assert from "node:assert/strict";
import { test } from "node:test";
import { timeText } from "../../static/live/bar.js";
import { createClock } from "../../static/live/clock.js";

test("it moves only while it plays, by what has passed times its speed", () => {
  const clock = createClock({ duration: 4 });
  assert.equal(clock.step(0.5), false);
  assert.equal(clock.seconds, 0);
  clock.play();
  assert.equal(clock.step(0.5), true);
  assert.equal(clock.seconds, 0.5);
  clock.speed = 2;
  clock.step(0.5);
  assert.equal(clock.seconds, 1.5);
  clock.speed = 0.25;
  clock.step(0.5);
  assert.equal(clock.seconds, 1.625);
  clock.pause();
  assert.equal(clock.step(1), false);
  assert.equal(clock.seconds, 1.625);
});

test("with loop it starts again where it would have gone on, without it rests at the end", () => {
  const clock = createClock({ duration: 2 });
  clock.seek(1.75);
  clock.play();
  clock.step(0.5);
  assert.equal(clock.seconds, 0.25);
  assert.ok(clock.playing);
  clock.loop = false;
  clock.seek(1.75);
  assert.equal(clock.step(0.5), true, "the last move is one");
  assert.equal(clock.seconds, 2);
  assert.ok(!clock.playing);
  assert.equal(clock.step(0.5), false);
  clock.play();
  assert.equal(clock.seconds, 0, "played again from the end, it begins");
});

test("a step shorter than the duration many times over loops too", () => {
  const clock = createClock({ duration: 0.1 });
  clock.speed = 4;
  clock.play();
  clock.step(0.26);
  assert.ok(Math.abs(clock.seconds - (1.04 % 0.1)) < 1e-12);
});

test("a sleep is no time of the scene", () => {
  const clock = createClock({ duration: 100 });
  clock.play();
  clock.step(3600);
  assert.equal(clock.seconds, 1);
  for (const dt of [0, -1, NaN]) assert.equal(clock.step(dt), false);
  assert.equal(clock.seconds, 1);
});

test("what is sought stays within the ends, and is no nonsense", () => {
  const clock = createClock({ duration: 3 });
  for (const [to, at] of [[1.25, 1.25], [-1, 0], [9, 3]]) {
    clock.seek(to);
    assert.equal(clock.seconds, at);
  }
  for (const to of [NaN, Infinity]) assert.throws(() => clock.seek(to), RangeError);
  for (const speed of [0, 0.2, 5, NaN, -1]) assert.throws(() => { clock.speed = speed; }, RangeError);
  assert.equal(clock.speed, 1);
});

test("it rests at a time that a link can say", () => {
  const clock = createClock({ duration: 100 });
  clock.play();
  for (let i = 0; i < 50; i++) clock.step(1 / 3.0001);
  clock.pause();
  assert.equal(clock.seconds, Number(String(Number(clock.seconds.toPrecision(7)))));
  assert.notEqual(clock.seconds, 0);
  clock.seek(1.23456789);
  assert.equal(clock.seconds, 1.234568);
});

test("without a duration there is nothing to play; a shorter one holds its time", () => {
  const still = createClock({ duration: 0 });
  still.play();
  assert.ok(!still.playing);
  assert.equal(still.step(1), false);
  const clock = createClock({ duration: 5 });
  clock.seek(4);
  clock.play();
  clock.duration = 3;
  assert.equal(clock.seconds, 3);
  assert.ok(clock.playing);
  clock.duration = 0;
  assert.equal(clock.seconds, 0);
  assert.ok(!clock.playing);
});

test("seconds are written as fine as the scene is short", () => {
  assert.equal(timeText(1.256, 4), "1.26");
  assert.equal(timeText(0, 59.9), "0.00");
  assert.equal(timeText(59.96, 60), "0:59.9");
  assert.equal(timeText(65.25, 599), "1:05.2");
  assert.equal(timeText(600, 600), "10:00");
  assert.equal(timeText(3599.9, 4000), "59:59");
});
