// The viewer's camera: turning, moving, its matrix and its link.
import assert from "node:assert/strict";
import { test } from "node:test";
import * as camera from "../../static/camera.js";

/** @type {camera.Pose} */
const POSE = { position: [0, -1, -4], target: [0, 0, 0], up: [0, -1, 0], fov: 50 };

/** @param {number} a @param {number} b @param {number} [tolerance] */
const near = (a, b, tolerance = 1e-9) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not ${b}`);

/** Where a world point lands, in pixels and depth. @param {camera.Camera} c @param {camera.Vec3} p */
function project(c, p) {
  const m = c.worldToCamera;
  const [x, y, z] = [0, 1, 2].map((i) => m[4 * i] * p[0] + m[4 * i + 1] * p[1] + m[4 * i + 2] * p[2] + m[4 * i + 3]);
  return [c.fx * x / z + c.cx, c.fy * y / z + c.cy, z];
}

test("a pinhole camera looks along +z with y down, and the matrix is rigid", () => {
  const c = camera.pinhole(POSE, 640, 360);
  const [u, v, z] = project(c, [0, 0, 0]);
  near(u, 320), near(v, 180), near(z, Math.sqrt(17));
  const above = project(c, [0, -0.5, 0]), right = project(c, [0.5, 0, 0]);
  assert.ok(above[1] < 180, "up is up");
  assert.ok(right[0] > 320, "looking along +z with y down, +x is to the right");
  for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
    let s = 0;
    for (let k = 0; k < 3; k++) s += c.worldToCamera[4 * i + k] * c.worldToCamera[4 * j + k];
    near(s, i === j ? 1 : 0);
  }
});

test("the field of view spans the shorter side", () => {
  near(camera.pinhole(POSE, 640, 360).fy, 180 / Math.tan(25 * Math.PI / 180));
  near(camera.pinhole(POSE, 360, 640).fy, 180 / Math.tan(25 * Math.PI / 180));
});

test("orbit keeps the distance and the target, moves the scene with the hand", () => {
  const before = camera.pinhole(POSE, 640, 360), front = /** @type {camera.Vec3} */ ([0, 0, -1]);
  const turned = camera.orbit(POSE, 0.2, 0);
  near(camera.distance(turned), camera.distance(POSE));
  assert.deepEqual(turned.target, POSE.target);
  assert.ok(project(camera.pinhole(turned, 640, 360), front)[0] > project(before, front)[0], "what is in front goes right");
  const higher = camera.orbit(POSE, 0, 0.2);
  assert.ok(higher.position[1] < POSE.position[1], "pitch > 0 goes up, and up is -y here");
  near(camera.distance(higher), camera.distance(POSE));
});

test("orbit and look stop short of the poles and never flip", () => {
  let pose = POSE;
  for (let i = 0; i < 50; i++) pose = camera.orbit(pose, 0.01, 0.3);
  near(pose.position[1], -camera.distance(POSE), 1e-2);
  assert.ok(camera.axes(pose)[1][1] > 0, "down still points down");
  for (let i = 0; i < 100; i++) pose = camera.orbit(pose, 0.01, -0.3);
  near(pose.position[1], camera.distance(POSE), 1e-2);
  pose = POSE;
  for (let i = 0; i < 50; i++) pose = camera.look(pose, 0, 0.3);
  assert.ok(camera.axes(pose)[2][1] < -0.99, "looking up is looking along up");
  assert.ok(Number.isFinite(pose.target[0]));
});

test("look turns in place: yaw to the right, pitch up", () => {
  const pose = camera.look(POSE, 0.1, 0);
  assert.deepEqual(pose.position, POSE.position);
  assert.ok(pose.target[0] > 0);
  assert.ok(camera.look(POSE, 0, 0.1).target[1] < camera.look(POSE, 0, -0.1).target[1]);
});

test("pan keeps the point under the pointer", () => {
  const panned = camera.pan(POSE, 30, -12, 360);
  const [u, v] = project(camera.pinhole(panned, 640, 360), [0, 0, 0]);
  near(u, 350), near(v, 168);
});

test("move goes along the camera's axes, dolly scales the distance within bounds", () => {
  const [right, down, forward] = camera.axes(POSE);
  const moved = camera.subtract(camera.move(POSE, 1, 2, 3).position, POSE.position);
  near(camera.dot(moved, right), 1), near(camera.dot(moved, down), -2), near(camera.dot(moved, forward), 3);
  near(camera.distance(camera.dolly(POSE, 0.5)), camera.distance(POSE) / 2);
  near(camera.distance(camera.dolly(POSE, 1e-9, 0.25)), 0.25);
  near(camera.distance(camera.dolly(POSE, 1e9, 0, 70)), 70);
});

test("a pose survives its pinhole camera", () => {
  const back = camera.poseOf(camera.pinhole(POSE, 300, 500), POSE.up, camera.distance(POSE));
  for (let i = 0; i < 3; i++) near(back.position[i], POSE.position[i]), near(back.target[i], POSE.target[i]);
  near(back.fov, 50);
});

test("framing has the ball in view, whatever is up", () => {
  for (const up of /** @type {camera.Vec3[]} */ ([[0, -1, 0], [0, 0, 1], [1, 0, 0], [0, 2, 0]])) {
    const pose = camera.framing([1, 2, 3], 2, up), c = camera.pinhole(pose, 400, 400);
    assert.ok(camera.valid(pose));
    for (const axis of camera.axes(pose).slice(0, 2)) {
      const [u, v] = project(c, camera.add([1, 2, 3], camera.scale(axis, 2)));
      assert.ok(u > 0 && u < 400 && v > 0 && v < 400);
    }
  }
});

test("a scene starts from its own camera, orbiting what lies ahead, else from one that frames it", () => {
  const scene = { up: POSE.up, centre: /** @type {camera.Vec3} */ ([0.1, 0, 0]), radius: 2, camera: camera.pinhole(POSE, 300, 200) };
  const pose = camera.startPose(scene);
  for (let i = 0; i < 3; i++) near(pose.position[i], POSE.position[i]);
  near(camera.distance(pose), Math.sqrt(17), 0.01);
  near(camera.distance(camera.startPose({ ...scene, centre: [0, 0, -50] })), 0.2, 1e-9);
  assert.deepEqual(camera.startPose({ ...scene, camera: null }), camera.framing([0.1, 0, 0], 2, POSE.up));
});

test("a link gives the same picture back", () => {
  const pose = { ...camera.orbit(POSE, 0.123456789, 0.3), fov: 47.5 };
  const back = camera.fromHash("#" + camera.toHash(pose));
  assert.ok(back);
  const a = camera.pinhole(pose, 3840, 2160), b = camera.pinhole(back, 3840, 2160);
  for (const p of /** @type {camera.Vec3[]} */ ([[0, 0, 0], [1, -1, 1], [-1, 0.5, 0]])) {
    near(project(a, p)[0], project(b, p)[0], 0.01), near(project(a, p)[1], project(b, p)[1], 0.01);
  }
});

test("links that cannot be drawn are no links", () => {
  for (const bad of ["", "#", "#view=", "#view=1,2,3", "#view=0,0,0,0,0,0,0,1,0,50", "#view=0,0,0,0,0,1,0,0,0,50", "#view=0,0,0,0,0,1,0,1,0,500",
    "#view=0,0,x,0,0,1,0,1,0,50", "#view=,0,0,0,0,1,0,1,0,50", "#view=Infinity,0,0,0,0,1,0,1,0,50", "#view=" + "1,".repeat(5000)]) {
    assert.equal(camera.fromHash(bad), null, bad.slice(0, 40));
  }
});
