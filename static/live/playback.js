// What a scene's live layers are set to: time, controls, tracks, layers switched off. The state that frames are drawn from; no DOM.
import { createClock, sayable } from "./clock.js";
import { readMoment, writeMoment } from "./moment.js";

/** @typedef {ReturnType<typeof createPlayback>} Playback */
/**
 * What every frame is given (SceneView.draw takes it as target.live). Keys are indices of the file's layers; all controls have a
 * value; a track of null is none.
 * @typedef {{seconds: number, controls: Record<number, Record<string, number>>, tracks: Record<number, string | null>,
 *   off: Record<number, true>}} LiveState
 */
/**
 * What is read of the layers' contracts (docs/generator.md, "Members"; those of sequences have `time` alone).
 * @typedef {{name: string, label: string, group?: string, kind: string, min?: number, max?: number, default: number | boolean, step?: number}} ControlSpec
 * @typedef {{name: string, label: string, duration: number, frames: number, loop?: boolean}} TrackSpec
 * @typedef {{time?: {duration: number, frames?: number, loop?: boolean} | null, controls?: readonly ControlSpec[], tracks?: readonly TrackSpec[]}} Spec
 * @typedef {{index: number, kind: string, name: string, contract: Spec | null, state: "loading" | "ready" | "failed", error: unknown}} LiveLayer
 * @typedef {{readonly layers: readonly LiveLayer[], readonly duration: number}} Live
 */
/** One slider or switch, and where it stands. min, max, step, default, value: a switch goes from 0 to 1. @typedef {{layer: number, name: string, label: string, group: string, kind: "slider" | "toggle", min: number, max: number, step: number, default: number, value: number}} Control */
/** chosen: whether it is the one shown. @typedef {{layer: number, name: string, label: string, duration: number, chosen: boolean}} Track */
/** on: whether it is drawn. error: why it failed. @typedef {{index: number, kind: string, name: string, state: LiveLayer["state"], error: string, on: boolean}} LayerStatus */
/** What a page wants at the start. autoplay: whether a scene whose time matters plays by itself. @typedef {{autoplay?: boolean, time?: number, speed?: number, loop?: boolean}} PlaybackOptions */

/** Where no layer says how many frames it has, seconds. */
const FRAME = 1 / 30;

/** @param {ControlSpec} c @param {number} layer @returns {Control} */
function control({ name, label, group = "", kind, min = 0, max = 1, default: start, step }, layer) {
  if (kind === "toggle") return { layer, name, label, group, kind, min: 0, max: 1, step: 1, default: Number(start), value: Number(start) };
  return { layer, name, label, group, kind: "slider", min, max, step: step || (max - min) / 100, default: Number(start), value: Number(start) };
}

/** @param {LiveLayer} layer every span of time in it */
const spans = ({ contract }) => contract ? [contract.time ?? [], contract.tracks ?? []].flat() : [];

/**
 * @param {Live} live
 * @param {{changed: () => void, emit: (type: "timechange" | "controlchange" | "livechange", detail: unknown) => void}} host changed: the
 *   picture is out of date
 * @param {PlaybackOptions} [options]
 */
export function createPlayback(live, { changed, emit }, options = {}) {
  const { layers } = live, timed = layers.flatMap(spans);
  const loops = options.loop ?? (timed.length === 0 || timed.some((t) => t.loop ?? true)), usual = options.speed ?? 1;
  const clock = createClock({ duration: live.duration, loop: loops });
  const frame = Math.min(...timed.flatMap((t) => t.frames ? [Math.max(t.duration / t.frames, 1e-3)] : []));
  const controls = layers.flatMap((l) => (l.contract?.controls ?? []).map((c) => control(c, l.index)));
  const tracks = layers.flatMap((l) => (l.contract?.tracks ?? []).map((t, i) => ({ layer: l.index, name: t.name, label: t.label, duration: t.duration, chosen: i === 0 })));
  /** @type {LiveState} */
  const state = { seconds: 0, controls: {}, tracks: {}, off: {} };
  for (const t of tracks) state.tracks[t.layer] ??= t.name;
  for (const c of controls) (state.controls[c.layer] ??= {})[c.name] = c.value;
  const first = { ...state.tracks };
  /** A time past the end, for a scene whose duration is not known before its first frame: that of its tracks. @type {number | null} */
  let late = null;
  let told = layers.map((l) => l.state).join();

  /** @param {boolean} moved whether the picture is another one */
  function timeChanged(moved) {
    state.seconds = clock.seconds;
    if (moved) changed();
    emit("timechange", { time: clock.seconds, duration: clock.duration, playing: clock.playing, speed: clock.speed, loop: clock.loop });
  }

  /** @param {unknown} detail */
  function controlChanged(detail) {
    changed();
    emit("controlchange", detail);
  }

  /** @param {Control} c @param {number} value */
  function assign(c, value) {
    const to = c.kind === "toggle" ? Number(value >= 0.5) : sayable(Math.min(Math.max(value, c.min), c.max));
    if (to === c.value) return;
    c.value = state.controls[c.layer][c.name] = to;
    controlChanged({ layer: c.layer, name: c.name, value: to });
  }

  /** @param {number} layer @param {string | null} name */
  function choose(layer, name) {
    if (state.tracks[layer] === name) return;
    state.tracks[layer] = name;
    for (const t of tracks) if (t.layer === layer) t.chosen = t.name === name;
    controlChanged({ layer, track: name });
    resize();
  }

  /** @param {number} index @param {boolean} on */
  function turn(index, on) {
    if (on === !state.off[index]) return;
    if (on) delete state.off[index];
    else state.off[index] = true;
    controlChanged({ layer: index, on });
  }

  /** The scene's duration may be another one with another track. */
  function resize() {
    if (live.duration === clock.duration) return;
    const before = clock.seconds;
    clock.duration = live.duration;
    if (late !== null) seek(late);
    timeChanged(before !== clock.seconds);
  }

  /** @param {number} to seconds */
  function seek(to) {
    clock.seek(to);
    late = to > clock.duration ? to : null;
  }

  /** @param {boolean} on */
  function run(on) {
    const before = clock.seconds;
    if (on) clock.play();
    else clock.pause();
    timeChanged(on || before !== clock.seconds);
  }

  const playback = {
    state,
    get time() { return clock.seconds; },
    set time(to) {
      seek(to);
      timeChanged(clock.seconds !== state.seconds);
    },
    get duration() { return clock.duration; },
    get playing() { return clock.playing; },
    get speed() { return clock.speed; },
    set speed(to) {
      clock.speed = to;
      timeChanged(false);
    },
    get loop() { return clock.loop; },
    set loop(on) {
      clock.loop = on;
      timeChanged(false);
    },
    play() { run(true); },
    pause() { run(false); },
    /** Rests, some frames on or back, over the ends where it loops. @param {number} n */
    skip(n) {
      const { duration, loop } = clock, to = clock.seconds + n * (Number.isFinite(frame) ? frame : FRAME);
      if (duration === 0) return;
      clock.pause();
      clock.seek(loop ? ((to % duration) + duration) % duration : to);
      timeChanged(true);
    },

    /** Copies, in the file's order. @returns {Control[]} */
    get controls() { return controls.map((c) => ({ ...c })); },
    /** @param {string} name @param {number | boolean} value @param {number} [layer] all that have it, where none is given */
    setControl(name, value, layer) {
      const found = controls.filter((c) => c.name === name && (layer ?? c.layer) === c.layer);
      if (!found.length) throw new RangeError(`no control ${JSON.stringify(name)}${layer === undefined ? "" : ` in layer ${layer}`}; there are ${controls.map((c) => c.name).join(", ") || "none"}`);
      if (!Number.isFinite(Number(value))) throw new RangeError(`control ${JSON.stringify(name)}: ${value}, expected ${found[0].min} to ${found[0].max}`);
      for (const c of found) assign(c, Number(value));
    },
    /** @returns {Track[]} */
    get tracks() { return tracks.map((t) => ({ ...t })); },
    /** @param {string | null} name null: none @param {number} [layer] all that have it, where none is given */
    setTrack(name, layer) {
      const found = tracks.filter((t) => (name ?? t.name) === t.name && (layer ?? t.layer) === t.layer);
      if (!found.length) throw new RangeError(`no track ${JSON.stringify(name)}${layer === undefined ? "" : ` in layer ${layer}`}; there are ${tracks.map((t) => t.name).join(", ") || "none"}`);
      for (const t of found) choose(t.layer, name);
    },
    /** @returns {LayerStatus[]} */
    get layers() {
      return layers.map(({ index, kind, name, state: s, error }) => ({ index, kind, name, state: s, error: error ? error instanceof Error ? error.message : String(error) : "", on: !state.off[index] }));
    },
    /** Turns a network that changes the picture on or off. @param {number} index @param {boolean} on */
    setLayer(index, on) {
      if (!layers.some((l) => l.index === index && l.kind === "postprocess")) throw new RangeError(`layer ${index} cannot be turned off: it is no post-processing network`);
      turn(index, on);
    },
    /** All controls, tracks and layers as the scene has them. */
    reset() {
      for (const c of controls) assign(c, c.default);
      for (const layer in first) choose(Number(layer), first[layer]);
      for (const index in state.off) turn(Number(index), true);
    },

    /** The moment as a link has it, without `#`: what differs from how the scene starts. */
    get hash() {
      return writeMoment({
        t: clock.duration ? sayable(clock.seconds) : null, play: clock.playing,
        speed: clock.speed === usual ? null : clock.speed, loop: clock.loop === loops ? null : clock.loop,
        off: Object.keys(state.off).map(Number), controls: controls.filter((c) => c.value !== c.default),
        tracks: Object.entries(state.tracks).flatMap(([layer, name]) => name === first[Number(layer)] ? [] : [{ layer: Number(layer), name }]),
      });
    },
    /** What a link leaves out is as the scene starts, but for the time, which goes on. */
    set hash(text) { apply(text); },

    /** Moves on by what has passed, once every layer has loaded; true while there is more to come. @param {number} seconds */
    step(seconds) {
      if (!clock.playing || layers.some((l) => l.state === "loading")) return false;
      late = null;
      if (clock.step(seconds)) timeChanged(true);
      return clock.playing;
    },

    /** Looks whether layers have loaded or failed since. */
    sync() {
      const now = layers.map((l) => l.state).join();
      resize();
      if (now === told) return;
      told = now;
      emit("livechange", { layers: playback.layers });
    },
  };

  /** @param {string} text @param {boolean} [quiet] whether it may start to play */
  function apply(text, quiet = false) {
    const moment = readMoment(text);
    playback.reset();
    for (const { layer, name, value } of moment.controls) {
      const c = controls.find((one) => one.layer === layer && one.name === name);
      if (c) assign(c, value);
    }
    for (const { layer, name } of moment.tracks) {
      if (tracks.some((t) => t.layer === layer && (name ?? t.name) === t.name)) choose(layer, name);
    }
    for (const index of moment.off) if (layers.some((l) => l.index === index && l.kind === "postprocess")) turn(index, false);
    try {
      clock.speed = moment.speed ?? usual;
    } catch {
      clock.speed = 1; // a speed of another version's
    }
    clock.loop = moment.loop ?? loops;
    if (moment.t !== null) {
      seek(moment.t);
      if (moment.play && !quiet) clock.play();
      else clock.pause();
    }
    timeChanged(true);
  }

  /**
   * How the scene starts: as the link says, else as the page wants it.
   * @param {string} hash @param {boolean} still whether nothing may play by itself
   */
  function start(hash, still) {
    if (options.time) seek(options.time);
    if (options.autoplay !== false && !still) clock.play();
    apply(hash, still);
  }

  return Object.assign(playback, { start });
}
