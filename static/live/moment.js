// A scene's moment in a link: time, whether it plays, and what controls, tracks and layers were set to.
import { sayable } from "./clock.js";

/**
 * t: seconds, null where the link names none. off: indices of layers. Names and indices are as the link has them: whether the scene
 * knows them shows when they are applied.
 * @typedef {{t: number | null, play: boolean, speed: number | null, loop: boolean | null, off: number[],
 *   controls: {layer: number, name: string, value: number}[], tracks: {layer: number, name: string | null}[]}} Moment
 */

/** As in a query, but with the comma, which may stand as it is. @param {string} text */
const encode = (text) => encodeURIComponent(text).replaceAll("%2C", ",");

/**
 * `t=1.25&play=1&speed=2&loop=0&off=3,4&c.0.smile=0.5&track.0=walk`, without what is null or empty; an empty track is none. What is not
 * written is as the scene has it; with `t` and without `play` it rests.
 * @param {Moment} moment
 */
export function writeMoment({ t, play, speed, loop, off, controls, tracks }) {
  const parts = t === null ? [] : [`t=${sayable(t)}`];
  if (play) parts.push("play=1");
  if (speed !== null) parts.push(`speed=${sayable(speed)}`);
  if (loop !== null) parts.push(`loop=${Number(loop)}`);
  if (off.length) parts.push(`off=${off.join(",")}`);
  for (const { layer, name, value } of controls) parts.push(`c.${layer}.${encode(name)}=${sayable(value)}`);
  for (const { layer, name } of tracks) parts.push(`track.${layer}=${encode(name ?? "")}`);
  return parts.join("&");
}

/**
 * The moment in a link's fragment. What is unknown or no number is passed over without a word: links outlive versions.
 * @param {string} hash
 * @returns {Moment}
 */
export function readMoment(hash) {
  /** @type {Moment} */
  const moment = { t: null, play: false, speed: null, loop: null, off: [], controls: [], tracks: [] };
  for (const [key, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const [, control, of, name, track] = /^(?:(c)\.(\d+)\.(.+)|track\.(\d+))$/s.exec(key) ?? [];
    const value = text.trim() === "" ? NaN : Number(text);
    if (track) moment.tracks.push({ layer: Number(track), name: text || null });
    else if (key === "off") moment.off = text.split(",").filter((n) => /^\d+$/.test(n)).map(Number);
    else if (!Number.isFinite(value)) continue;
    else if (control) moment.controls.push({ layer: Number(of), name, value });
    else if (key === "t") moment.t = value;
    else if (key === "play") moment.play = value === 1;
    else if (key === "speed") moment.speed = value;
    else if (key === "loop") moment.loop = value !== 0;
  }
  return moment;
}
