// Mouse, touch and keyboard turned into camera moves: orbit and fly, with a short smoothing that ends.
import { aim, distance, dolly, look, move, orbit, pan } from "./camera.js";

/** @typedef {import("./camera.js").Pose} Pose */
/** @typedef {import("./camera.js").Vec3} Vec3 */
/** @typedef {"orbit" | "fly"} Mode */
/**
 * What controls need of the viewer. pick: scene point below a place of the element (CSS pixels from its corner), or null.
 * range: least and greatest distance to the target, world units. wake: ask for a call of step.
 * @typedef {{get: () => Pose, set: (pose: Pose) => void, reset: () => void, pick: (x: number, y: number) => Promise<Vec3 | null>,
 *   range: () => readonly [number, number], wake: () => void, help: () => void, escape: () => void, mode: (mode: Mode) => void}} Host
 */
/**
 * gestures: "greedy" takes every wheel and touch; "cooperative" leaves the page its scrolling (wheel only with focus, one
 * finger scrolls up and down). still: no smoothing, for people who asked for reduced motion.
 * @typedef {{gestures?: "greedy" | "cooperative", still?: boolean}} Options
 */

/** Seconds after which 63% of a movement is done. Long enough to hide event jitter, too short to feel as a delay. */
const SMOOTHING = 0.05;
/** Below these a movement is finished: a tenth of a pixel at 4K. */
const REST = { yaw: 1e-4, pitch: 1e-4, panX: 0.1, panY: 0.1, zoom: 1e-4, dolly: 1e-4 };
/** Keys: radians, distances to the target and e-folds of zoom a second. */
const TURN_RATE = 1.2, MOVE_RATE = 0.8, ZOOM_RATE = 1.5;
/** Shift. */
const FAST = 3;
const AIM_SECONDS = 0.25;

/** The keys by physical place, and what each does. Shown by `?` and in docs/embedding.md. */
export const KEYS = /** @type {const} */ ([
  ["Drag, arrow keys", "Orbit; look around when flying"],
  ["Right drag, Shift + drag, two fingers", "Pan"],
  ["Wheel, pinch, + and −", "Zoom"],
  ["W A S D, Q E", "Move; down and up. Shift is faster"],
  ["Double-click", "Set the centre to orbit"],
  ["F", "Fly, and back to orbit"],
  ["R", "Back to the start"],
  ["?", "Show these keys"],
  ["Esc", "Close, or stop flying"],
]);

/** Rates a held key adds, as [right, up, forward, yaw, pitch, zoom]. @type {Record<string, number[]>} */
const HELD = {
  KeyW: [0, 0, 1, 0, 0, 0], KeyS: [0, 0, -1, 0, 0, 0], KeyA: [-1, 0, 0, 0, 0, 0], KeyD: [1, 0, 0, 0, 0, 0],
  KeyE: [0, 1, 0, 0, 0, 0], KeyQ: [0, -1, 0, 0, 0, 0],
  ArrowLeft: [0, 0, 0, -1, 0, 0], ArrowRight: [0, 0, 0, 1, 0, 0], ArrowUp: [0, 0, 0, 0, 1, 0], ArrowDown: [0, 0, 0, 0, -1, 0],
  zoomIn: [0, 0, 0, 0, 0, -1], zoomOut: [0, 0, 0, 0, 0, 1],
};

/** The name under which a key is held: + and - by what they print, the rest by where they lie. @param {KeyboardEvent} e */
const heldName = (e) => e.key === "+" || e.key === "=" ? "zoomIn" : e.key === "-" || e.key === "_" ? "zoomOut" : e.code;

/**
 * @param {HTMLElement} element focusable; gets the events
 * @param {Host} host
 * @param {Options} [options]
 */
export function createControls(element, host, options = {}) {
  const greedy = options.gestures !== "cooperative";
  const abort = new AbortController();
  /** @type {Map<number, {x: number, y: number}>} */
  const pointers = new Map();
  /** Held keys, and those let go since the last step: a tap between two slow frames still moves by one of them. @type {Set<string>} */
  const held = new Set(), released = new Set();
  const pending = { yaw: 0, pitch: 0, panX: 0, panY: 0, zoom: 0, dolly: 0 };
  /** @type {Mode} */
  let mode = "orbit";
  let panning = false, fast = false;
  /** @type {{from: Vec3, to: Vec3, done: number} | null} */
  let aiming = null;

  element.style.touchAction = greedy ? "none" : "pan-y";

  /**
   * @template {keyof HTMLElementEventMap} K
   * @param {K} type @param {(e: HTMLElementEventMap[K]) => void} handler @param {boolean} [passive]
   */
  const on = (type, handler, passive = true) => element.addEventListener(type, /** @type {EventListener} */ (handler), { signal: abort.signal, passive });

  const shortSide = () => Math.max(1, Math.min(element.clientWidth, element.clientHeight));

  /** @param {number} dx @param {number} dy pixels dragged */
  function dragTurn(dx, dy) {
    // Across the shorter side: half a turn around the scene, or the field of view when flying, so that the scene sticks to the hand.
    const k = mode === "orbit" ? Math.PI / shortSide() : host.get().fov * Math.PI / 180 / shortSide();
    pending.yaw += dx * k * (mode === "orbit" ? 1 : -1);
    pending.pitch += dy * k;
  }

  /** @param {number} dx @param {number} dy */
  function dragPan(dx, dy) {
    pending.panX += dx;
    pending.panY += dy;
  }

  on("pointerdown", (e) => {
    if (pointers.size === 0) panning = e.button !== 0 || e.shiftKey || e.ctrlKey;
    pointers.set(e.pointerId, { x: e.clientX, y: e.clientY });
    element.setPointerCapture?.(e.pointerId);
    element.focus({ preventScroll: true });
    aiming = null;
  });
  on("pointermove", (e) => {
    const last = pointers.get(e.pointerId);
    if (!last) return;
    const dx = e.clientX - last.x, dy = e.clientY - last.y;
    if (pointers.size === 1) {
      if (panning) dragPan(dx, dy);
      else dragTurn(dx, dy);
    } else if (pointers.size === 2) {
      const other = /** @type {{x: number, y: number}} */ ([...pointers].find(([id]) => id !== e.pointerId)?.[1]);
      const before = Math.hypot(last.x - other.x, last.y - other.y), after = Math.hypot(e.clientX - other.x, e.clientY - other.y);
      if (before > 0 && after > 0) pending[mode === "orbit" ? "zoom" : "dolly"] += Math.log(before / after);
      dragPan(dx / 2, dy / 2); // the middle of two fingers moves half as far as one of them
    }
    last.x = e.clientX;
    last.y = e.clientY;
    host.wake();
  });
  for (const type of /** @type {const} */ (["pointerup", "pointercancel", "lostpointercapture"])) on(type, (e) => void pointers.delete(e.pointerId));
  on("contextmenu", (e) => e.preventDefault(), false);

  on("wheel", (e) => {
    const focused = element.matches(":focus, :focus-within");
    if (!greedy && !focused && !e.ctrlKey) return;
    e.preventDefault();
    const pixels = e.deltaY * [1, 16, 400][e.deltaMode];
    pending[mode === "orbit" ? "zoom" : "dolly"] += Math.max(-300, Math.min(300, pixels)) * (e.ctrlKey ? 0.01 : 0.0015); // ctrl is how a trackpad's pinch arrives
    host.wake();
  }, false);

  on("dblclick", async (e) => {
    const box = element.getBoundingClientRect(), to = await host.pick(e.clientX - box.left, e.clientY - box.top);
    if (!to || abort.signal.aborted) return;
    aiming = { from: host.get().target, to, done: options.still ? 1 : 0 };
    host.wake();
  });

  on("keydown", (e) => {
    if (e.ctrlKey || e.metaKey || e.altKey || e.target !== element) return;
    fast = e.shiftKey;
    const name = heldName(e);
    if (name in HELD) {
      held.add(name);
      released.delete(name);
    } else if (e.key === "?") host.help();
    else if (e.key === "Escape") {
      if (mode === "fly") setMode("orbit");
      host.escape();
    } else if (e.code === "KeyF") setMode(mode === "fly" ? "orbit" : "fly");
    else if (e.code === "KeyR") {
      setMode("orbit");
      stop();
      host.reset();
    } else return;
    e.preventDefault();
    host.wake();
  }, false);
  on("keyup", (e) => {
    fast = e.shiftKey;
    // With Shift let go first, + comes up as =: both hold zoomIn, so either releases it.
    released.add(heldName(e));
  });
  on("blur", () => held.forEach((name) => released.add(name)));

  /** @param {Mode} to */
  function setMode(to) {
    if (to === mode) return;
    mode = to;
    host.mode(mode);
  }

  function stop() {
    for (const name of /** @type {(keyof typeof pending)[]} */ (Object.keys(pending))) pending[name] = 0;
    aiming = null;
  }

  /**
   * Moves the camera by what `seconds` bring; true while there is more to come.
   * @param {number} seconds since the last step; long pauses count as a tenth of a second
   */
  function step(seconds) {
    const dt = Math.min(seconds, 0.1);
    let pose = host.get();
    const before = pose;
    const rate = [0, 0, 0, 0, 0, 0];
    for (const name of held) HELD[name].forEach((r, i) => rate[i] += r * dt * (fast ? FAST : 1));
    for (const name of released) held.delete(name);
    released.clear();
    const away = distance(pose);
    if (rate[0] || rate[1] || rate[2]) pose = move(pose, rate[0] * MOVE_RATE * away, rate[1] * MOVE_RATE * away, rate[2] * MOVE_RATE * away);
    // An arrow moves the camera around the scene, or the look of one who flies, to its own side.
    pending.yaw += rate[3] * TURN_RATE * (mode === "orbit" ? -1 : 1);
    pending.pitch += rate[4] * TURN_RATE;
    pending[mode === "orbit" ? "zoom" : "dolly"] += rate[5] * ZOOM_RATE;

    const share = options.still ? 1 : 1 - Math.exp(-dt / SMOOTHING);
    const now = { ...pending };
    for (const name of /** @type {(keyof typeof pending)[]} */ (Object.keys(pending))) {
      if (Math.abs(pending[name]) > REST[name]) now[name] *= share;
      pending[name] -= now[name];
    }
    if (now.yaw || now.pitch) pose = mode === "orbit" ? orbit(pose, now.yaw, now.pitch) : look(pose, now.yaw, now.pitch);
    if (now.panX || now.panY) pose = pan(pose, now.panX, now.panY, shortSide());
    if (now.zoom) pose = dolly(pose, Math.exp(now.zoom), ...host.range());
    if (now.dolly) pose = move(pose, 0, 0, -now.dolly * distance(pose));
    if (aiming) {
      aiming.done = Math.min(1, aiming.done + dt / AIM_SECONDS);
      const t = aiming.done * aiming.done * (3 - 2 * aiming.done), { from, to } = aiming;
      pose = aim(pose, t === 1 ? to : /** @type {Vec3} */ (from.map((f, i) => f + (to[i] - f) * t)));
      if (aiming.done === 1) aiming = null;
    }
    if (pose !== before) host.set(pose);
    return held.size > 0 || aiming !== null || Object.values(pending).some((p) => p !== 0);
  }

  return {
    step,
    stop,
    setMode,
    get mode() { return mode; },
    destroy() {
      abort.abort();
      pointers.clear();
      held.clear();
      stop();
    },
  };
}
