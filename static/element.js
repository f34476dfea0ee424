// <splat-lens src="scene.lens">: a viewer as an HTML element, in any page.
import { fromHash } from "./camera.js";
import { createViewer } from "./viewer.js";

/** @typedef {import("./viewer.js").Viewer} Viewer */
/** @typedef {import("./camera.js").Pose} Pose */

const EVENTS = /** @type {const} */ (["loading", "progress", "ready", "settled", "camerachange", "timechange", "controlchange", "livechange", "error"]);

/**
 * Attributes: src, poster, background, budget, name, camera ("px,py,pz,tx,ty,tz,ux,uy,uz,fov"), gestures, tools, time, speed, hash (a
 * link's: view, time and controls), camera-controls="none" for a picture that cannot be moved, autoplay="none", loop="none" and
 * player="none" for a scene in time that rests, that ends, and that shows no bar and panel. Events as the viewer's.
 */
export class SplatLens extends HTMLElement {
  static observedAttributes = ["src", "background", "budget", "time", "speed", "loop"];

  /** @type {Viewer | null} */
  #viewer = null;

  /** The viewer while the element is in a document. */
  get viewer() { return this.#viewer; }

  get src() { return this.getAttribute("src") ?? ""; }
  set src(src) { this.setAttribute("src", src); }

  connectedCallback() {
    if (this.#viewer) return;
    const text = (/** @type {string} */ name) => this.getAttribute(name) ?? undefined;
    const tools = text("tools"), player = text("player"), loop = text("loop");
    const viewer = createViewer(this, {
      src: this.src || null,
      poster: text("poster"),
      background: text("background"),
      budget: positive(text("budget")),
      name: text("name"),
      camera: parsePose(text("camera")),
      hash: text("hash"),
      autoplay: text("autoplay") !== "none",
      time: number(text("time")),
      speed: number(text("speed")),
      loop: loop === undefined ? undefined : loop !== "none",
      player: player === undefined ? undefined : player !== "none",
      controls: text("camera-controls") !== "none",
      gestures: text("gestures") === "greedy" ? "greedy" : "cooperative",
      tools: tools === undefined ? ["fly", "reset", "full", "help"] : /** @type {import("./ui.js").Tool[]} */ (tools.split(/[\s,]+/).filter(Boolean)),
    });
    for (const type of EVENTS) {
      viewer.addEventListener(type, (e) => this.dispatchEvent(new CustomEvent(type, { detail: /** @type {CustomEvent} */ (e).detail })));
    }
    this.#viewer = viewer;
  }

  disconnectedCallback() {
    // An element that is only moved comes back within the same task: its scene is kept.
    queueMicrotask(() => {
      if (this.isConnected) return;
      this.#viewer?.destroy();
      this.#viewer = null;
    });
  }

  /** @param {string} name @param {string | null} old @param {string | null} value */
  attributeChangedCallback(name, old, value) {
    const viewer = this.#viewer;
    if (!viewer || old === value) return;
    const amount = number(value);
    if (name === "src") viewer.src = value || null;
    else if (name === "background") viewer.background = value ?? "scene";
    else if (name === "loop") viewer.loop = value !== "none";
    else if (amount === undefined) return;
    else if (name === "time") viewer.time = amount;
    else if (name === "speed" && amount >= 0.25 && amount <= 4) viewer.speed = amount;
    else if (name === "budget" && amount > 0) viewer.budget = amount;
  }
}

/** @param {string | null | undefined} text */
const number = (text) => text?.trim() && Number.isFinite(Number(text)) ? Number(text) : undefined;

/** @param {string | undefined} text */
const positive = (text) => Number(text) > 0 ? Number(text) : undefined;

/** @param {string | undefined} text @returns {Pose | null} */
function parsePose(text) {
  return text ? fromHash(`view=${text}`) : null;
}

if (!customElements.get("splat-lens")) customElements.define("splat-lens", SplatLens);
