// The viewer's camera: a pose that controls turn and move, its OpenCV matrix, and its form in a link.

/** @typedef {[number, number, number]} Vec3 */
/**
 * position, target and up in scene coordinates; up is the scene's, of length 1. fov: degrees across the shorter side of the
 * picture, so that what fits a desktop window fits an upright phone too.
 * @typedef {{position: Vec3, target: Vec3, up: Vec3, fov: number}} Pose
 */
/**
 * The camera of one frame, as docs/architecture.md has it: pixels, and a rigid 4 x 4 matrix in row-major order.
 * @typedef {{width: number, height: number, fx: number, fy: number, cx: number, cy: number, worldToCamera: number[]}} Camera
 */

/** Least angle between the view direction and the up axis, radians: at 0 left and right are undefined. */
const POLE = 0.01;
export const FOV_RANGE = /** @type {const} */ ([5, 120]);

/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const add = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const subtract = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
/** @param {Vec3} a @param {number} s @returns {Vec3} */
export const scale = (a, s) => [a[0] * s, a[1] * s, a[2] * s];
/** @param {Vec3} a @param {Vec3} b */
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
/** @param {Vec3} a @param {Vec3} b @returns {Vec3} */
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
/** @param {Vec3} a */
export const length = (a) => Math.sqrt(dot(a, a));
/** @param {Vec3} a @returns {Vec3} */
export const normalize = (a) => scale(a, 1 / (length(a) || 1));

/**
 * Rotation of v by an angle about a unit axis (Rodrigues).
 * @param {Vec3} v @param {Vec3} axis @param {number} angle radians
 * @returns {Vec3}
 */
function rotate(v, axis, angle) {
  const c = Math.cos(angle), s = Math.sin(angle);
  return add(add(scale(v, c), scale(cross(axis, v), s)), scale(axis, dot(axis, v) * (1 - c)));
}

/**
 * Right, down and forward of a pose: the rows of its rotation.
 * @param {Pose} pose
 * @returns {[Vec3, Vec3, Vec3]}
 */
export function axes(pose) {
  const forward = normalize(subtract(pose.target, pose.position));
  let right = cross(forward, pose.up);
  if (length(right) < 1e-9) right = cross(forward, Math.abs(pose.up[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]);
  right = normalize(right);
  return [right, cross(forward, right), forward];
}

/** @param {Pose} pose */
export const distance = (pose) => length(subtract(pose.target, pose.position));

/** A pose whose numbers can be drawn: finite, position apart from target, up of length 1. @param {Pose} pose @returns {boolean} */
export function valid(pose) {
  const numbers = [...pose.position, ...pose.target, ...pose.up, pose.fov];
  return numbers.length === 10 && numbers.every(Number.isFinite) && distance(pose) > 0 && length(pose.up) > 0
    && pose.fov >= FOV_RANGE[0] && pose.fov <= FOV_RANGE[1];
}

/**
 * Turns an offset by yaw about up and pitch about right, keeping POLE away from the up axis.
 * @param {Vec3} offset @param {Vec3} right @param {Vec3} up @param {number} yaw @param {number} pitch
 * @returns {Vec3}
 */
function turn(offset, right, up, yaw, pitch) {
  const size = length(offset);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot(offset, up) / size)));
  // Pitch about right moves a vector towards up when positive for a forward vector, away from it for a backward one.
  const towards = dot(cross(right, offset), up) > 0 ? 1 : -1;
  const wanted = Math.min(Math.PI - POLE, Math.max(POLE, angle - towards * pitch));
  return rotate(rotate(offset, right, towards * (angle - wanted)), up, yaw);
}

/**
 * Around the target. yaw > 0 turns the scene to the right, pitch > 0 looks from further above; radians.
 * @param {Pose} pose @param {number} yaw @param {number} pitch
 * @returns {Pose}
 */
export function orbit(pose, yaw, pitch) {
  const [right] = axes(pose);
  return { ...pose, position: add(pose.target, turn(subtract(pose.position, pose.target), right, pose.up, -yaw, -pitch)) };
}

/**
 * Around the camera. yaw > 0 looks to the right, pitch > 0 looks up; radians.
 * @param {Pose} pose @param {number} yaw @param {number} pitch
 * @returns {Pose}
 */
export function look(pose, yaw, pitch) {
  const [right] = axes(pose);
  return { ...pose, target: add(pose.position, turn(subtract(pose.target, pose.position), right, pose.up, -yaw, pitch)) };
}

/**
 * Moves camera and target together; right, up and forward in world units along the camera's own axes.
 * @param {Pose} pose @param {number} right @param {number} up @param {number} forward
 * @returns {Pose}
 */
export function move(pose, right, up, forward) {
  const [r, d, f] = axes(pose);
  const by = add(add(scale(r, right), scale(d, -up)), scale(f, forward));
  return { ...pose, position: add(pose.position, by), target: add(pose.target, by) };
}

/**
 * Drags the plane of the target by (dx, dy) pixels of a view `side` pixels across its shorter side.
 * @param {Pose} pose @param {number} dx @param {number} dy @param {number} side
 * @returns {Pose}
 */
export function pan(pose, dx, dy, side) {
  const unit = 2 * Math.tan(pose.fov * Math.PI / 360) * distance(pose) / side;
  return move(pose, -dx * unit, dy * unit, 0);
}

/**
 * Multiplies the distance to the target, between the given bounds (world units).
 * @param {Pose} pose @param {number} factor @param {number} [least] @param {number} [most]
 * @returns {Pose}
 */
export function dolly(pose, factor, least = 1e-4, most = 1e6) {
  const d = distance(pose), to = Math.min(most, Math.max(least, d * factor));
  return { ...pose, position: add(pose.target, scale(subtract(pose.position, pose.target), to / d)) };
}

/**
 * Looks at another point from where the camera is.
 * @param {Pose} pose @param {Vec3} target
 * @returns {Pose}
 */
export const aim = (pose, target) => ({ ...pose, target });

/**
 * The pinhole camera of a pose for a picture of width x height pixels.
 * @param {Pose} pose @param {number} width @param {number} height
 * @returns {Camera}
 */
export function pinhole(pose, width, height) {
  const rows = axes(pose), focal = Math.min(width, height) / (2 * Math.tan(pose.fov * Math.PI / 360));
  const m = rows.flatMap((row) => [...row, -dot(row, pose.position)]);
  return { width, height, fx: focal, fy: focal, cx: width / 2, cy: height / 2, worldToCamera: [...m, 0, 0, 0, 1] };
}

/**
 * The pose of an OpenCV camera; the target lies `away` world units ahead. A roll is lost: up is the scene's.
 * @param {Camera} camera @param {Vec3} up @param {number} away
 * @returns {Pose}
 */
export function poseOf(camera, up, away) {
  const m = camera.worldToCamera;
  const row = (/** @type {number} */ i) => /** @type {Vec3} */ ([m[4 * i], m[4 * i + 1], m[4 * i + 2]]);
  const position = scale(add(add(scale(row(0), m[3]), scale(row(1), m[7])), scale(row(2), m[11])), -1);
  const side = camera.width < camera.height ? camera.width / camera.fx : camera.height / camera.fy;
  return { position, target: add(position, scale(row(2), away)), up: normalize(up), fov: Math.atan(side / 2) * 360 / Math.PI };
}

/**
 * A pose that has a whole ball in view.
 * @param {Vec3} centre @param {number} radius @param {Vec3} up @param {number} [fov]
 * @returns {Pose}
 */
export function framing(centre, radius, up, fov = 50) {
  const u = normalize(up), side = normalize(cross(u, Math.abs(u[0]) < 0.9 ? [1, 0, 0] : [0, 0, 1]));
  const from = normalize(add(add(scale(cross(side, u), 1), scale(side, 0.6)), scale(u, 0.35)));
  const away = Math.max(radius, 1e-6) / Math.sin(fov * Math.PI / 360);
  return { position: add(centre, scale(from, away)), target: centre, up: u, fov };
}

/**
 * Where a scene is first seen from: its own camera, the target as near to the scene's centre as that looks, else one that frames it.
 * @param {{up: Vec3, centre: Vec3, radius: number, camera: Camera | null}} scene
 * @returns {Pose}
 */
export function startPose({ up, centre, radius, camera }) {
  if (!camera) return framing(centre, radius, up);
  const pose = poseOf(camera, up, 1), ahead = dot(subtract(centre, pose.position), subtract(pose.target, pose.position));
  return poseOf(camera, up, Math.max(ahead, radius * 0.1, 1e-6));
}

/** Seven digits are what a float32 holds. @param {number} x */
const digits = (x) => String(Number(x.toPrecision(7)));

/** The pose as a link carries it, `view=px,py,pz,tx,ty,tz,ux,uy,uz,fov`. @param {Pose} pose */
export const toHash = (pose) => `view=${[...pose.position, ...pose.target, ...pose.up, pose.fov].map(digits).join(",")}`;

/**
 * The pose in a link's fragment, or null where there is none or it cannot be drawn.
 * @param {string} hash
 * @returns {Pose | null}
 */
export function fromHash(hash) {
  const text = new URLSearchParams(hash.replace(/^#/, "")).get("view");
  const n = text ? text.split(",").map((t) => t.trim() === "" ? NaN : Number(t)) : [];
  if (n.length !== 10) return null;
  const pose = { position: triple(n, 0), target: triple(n, 3), up: triple(n, 6), fov: n[9] };
  return valid(pose) ? { ...pose, up: normalize(pose.up) } : null;
}

/** @param {number[]} n @param {number} at @returns {Vec3} */
const triple = (n, at) => [n[at], n[at + 1], n[at + 2]];
