// createViewer(element, options): a scene in an element, from its first byte to destroy().
import { framing, fromHash, pinhole, startPose, toHash, valid } from "./camera.js";
import { createControls } from "./controls.js";
import { GpuError } from "./gpu.js";
import { createLoop } from "./loop.js";
import { diagnose } from "./panel.js";
import { Playable } from "./playable.js";
import { BUDGET, MEMORY, addressOf, media, openSession } from "./session.js";
import { observeSize } from "./size.js";
import { createUi, loadingText } from "./ui.js";

/** @typedef {import("./camera.js").Pose} Pose */
/** @typedef {import("./ui.js").Tool} Tool */
/** @typedef {import("./session.js").Session} Session */
/**
 * src: address of a .lens file, or a Blob. camera: where to look from, else the scene's start. background: a CSS colour,
 * "transparent", or "scene" (default) for the scene's own. budget: splats drawn at most. memory: bytes of GPU memory for
 * splats and meshes. controls: whether it takes mouse, touch and keys. gestures: "greedy", or "cooperative" to leave the page its scrolling.
 * poster: picture shown until the first frame. name: title and label; the file's own title when it has one. tools: buttons.
 * link: gives the address that the link button copies. pixelRatio: device pixels a CSS pixel, at most. threshold: pixels of error that
 * are not refined. hash: the view, time and controls of a link, before `camera` and the next ones. autoplay: whether a scene whose time
 * matters plays at the start (default; not where the reader asked for reduced motion). time: seconds. player: whether it shows a bar
 * for time and a panel of controls; default: as `controls`.
 * @typedef {{src?: string | URL | Blob | null, camera?: Pose | null, background?: string, budget?: number, memory?: number,
 *   controls?: boolean, gestures?: "greedy" | "cooperative", poster?: string | null, name?: string, title?: Node | boolean,
 *   hash?: string, autoplay?: boolean, time?: number, speed?: number, loop?: boolean, player?: boolean, threshold?: number, tools?: Tool[], link?: ((hash: string) => string) | null, pixelRatio?: number}} ViewerOptions
 */
/** @typedef {"idle" | "loading" | "ready" | "error" | "destroyed"} State */
/** @typedef {import("./scene_view.js").OpenScene} OpenScene */

const STILL = media("(prefers-reduced-motion: reduce)");
/** A device lost this often within a minute is not restarted by itself. */
const LOSSES = 3, LOSS_MINUTE = 60_000;
/** A notice stays for so long where no panel keeps it. */
const NOTICE_SECONDS = 12;

/** Whether the file is another one than was opened: then it is opened anew. @param {unknown} error */
const isChange = (error) => error instanceof Error && error.name === "ChangedError";

/**
 * A scene in an element. Events: loading, progress, ready, settled, camerachange, timechange, controlchange, livechange, error, each a
 * CustomEvent with `detail`. What is set of time and controls before the scene has said which it has is done then.
 */
export class Viewer extends Playable {
  /** @type {State} */
  #state = "idle";
  /** @type {ViewerOptions} */
  #options;
  /** @type {HTMLElement} */
  #element;
  #ui;
  /** @type {ReturnType<typeof createControls> | null} */
  #controls = null;
  /** @type {Session | null} */
  #session = null;
  /** Ends what is being opened. */
  #opening = new AbortController();
  /** @type {Pose | null} */
  #pose = null;
  /** @type {number[]} */
  #losses = [];
  #loop;
  #settled = false;
  /** Content id of the file that was replaced last. @type {string | null} */
  #changedFrom = null;
  #size = { width: 0, height: 0 };
  /** Background of the frames, rgba 0..1. */
  #ground = [0, 0, 0, 1];
  #received = 0;
  #cleanup = new AbortController();
  #unobserve;
  /** Frames drawn so far: a still view with nothing arriving draws none. */
  frames = 0;

  /** @param {HTMLElement} element @param {ViewerOptions} options */
  constructor(element, options) {
    super();
    this.#element = element;
    this.#options = { ...options };
    const tools = options.tools ?? /** @type {Tool[]} */ (["fly", "reset", "link", "full", "help"]);
    this.#ui = createUi(element, {
      label: options.name ?? "3D scene",
      tools: options.controls === false ? [] : tools.filter((t) => (t !== "link" || options.link) && (t !== "full" || document.fullscreenEnabled)),
      onTool: (tool) => this.#tool(tool),
    });
    const { canvas } = this.#ui;
    if (options.controls !== false) {
      this.#controls = createControls(canvas, {
        get: () => this.#pose ?? framing([0, 0, 0], 1, [0, 1, 0]),
        set: (pose) => this.#move(pose),
        reset: () => this.resetCamera(),
        pick: (x, y) => this.#pick(x, y),
        range: () => this.#range(),
        wake: () => this.#loop.request(),
        help: () => this.#ui.keys(!this.#ui.keysOpen),
        escape: () => this.#ui.keys(false),
        mode: (mode) => {
          this.#ui.flying(mode === "fly");
          this.#ui.toast(mode === "fly" ? "Flying: drag to look, W A S D to move, Esc to stop" : "");
        },
      }, { gestures: options.gestures, still: STILL });
    }
    this.#loop = createLoop({ step: (seconds) => this.#step(seconds), draw: () => this.#draw() });
    this.#unobserve = observeSize(canvas, options.pixelRatio ?? 2, (width, height) => this.#resized(width, height));
    addEventListener("online", () => this.#session?.view.retry(), { signal: this.#cleanup.signal });
    this.src = options.src ?? null;
    this.hash = options.hash ?? "";
  }

  /** @returns {State} */
  get state() { return this.#state; }

  /** The scene shown; setting it opens another one. @returns {string | URL | Blob | null} */
  get src() { return this.#options.src ?? null; }
  set src(src) {
    this.#options.src = src;
    this.#pose = this.#options.camera && valid(this.#options.camera) ? this.#options.camera : null;
    this.#options.camera = null;
    this.#close();
    this.forget();
    this.#ui.ready(false);
    this.#ui.poster(src && this.#options.poster ? this.#options.poster : null);
    this.#reopen();
  }

  /** Where the camera is and looks; null until the scene has said. @returns {Pose | null} */
  get camera() { return this.#pose && structuredClone(this.#pose); }
  set camera(pose) {
    if (pose && !valid(pose)) throw new RangeError("camera: position, target and up must be finite, apart from each other, and fov within 5 to 120 degrees");
    this.#controls?.stop();
    if (pose) this.#move({ ...pose });
  }

  /** What a link to this picture carries: the view, then time and controls where the scene has any. */
  get hash() {
    return [this.#pose ? toHash(this.#pose) : "", this.moment].filter(Boolean).join("&");
  }
  set hash(text) {
    const pose = fromHash(text);
    if (pose) this.camera = pose;
    this.moment = text;
  }

  /** @param {string} color */
  set background(color) {
    this.#options.background = color;
    if (this.#session) this.#ground = this.#session.paint(color, this.#ui.ground);
    this.#changed();
  }
  get background() { return this.#options.background ?? "scene"; }

  /** Splats drawn at most. */
  get budget() { return this.#options.budget ?? BUDGET; }
  set budget(splats) {
    this.#options.budget = splats;
    this.#changed();
  }

  /** What the file says of itself: title, attribution, licence, ...; null until it is there. */
  get info() { return this.#session?.scene.info ?? null; }

  /** Splats in the last frame, bytes received, and whether everything this view needs has arrived. */
  get stats() {
    return { splats: this.#session?.view.splats ?? 0, bytes: this.#received, settled: this.#settled, frames: this.frames };
  }

  /** Back to where the scene starts. */
  resetCamera() {
    if (this.#session) this.camera = startPose(this.#session.scene);
  }

  /** Shows a short message over the scene. @param {string} text */
  toast(text) { this.#ui.toast(text); }

  /** Gives the scene the keyboard. */
  focus() { this.#ui.shown.then(() => this.#ui.canvas.focus({ preventScroll: true })); }

  /** Ends requests and drawing, frees GPU memory, removes what was added to the element. May be called again. */
  destroy() {
    if (this.#state === "destroyed") return;
    this.#opening.abort();
    this.#cleanup.abort();
    this.#close();
    this.#loop.stop();
    this.#controls?.destroy();
    this.#unobserve();
    this.#ui.destroy();
    this.#state = "destroyed";
  }

  #close() {
    const session = this.#session;
    this.#session = null;
    this.#settled = false;
    this.end();
    session?.close();
  }

  #reopen() {
    this.#opening.abort();
    this.#opening = new AbortController();
    this.#close();
    this.#ui.panel(null);
    this.#received = 0;
    if (!this.#options.src) {
      this.#state = "idle";
      this.#ui.progress(1);
      return;
    }
    this.#state = "loading";
    this.#progress(null);
    const { signal } = this.#opening;
    // Not at once: who made the viewer in this task listens from the next line on.
    queueMicrotask(() => { if (!signal.aborted) this.emit("loading", { src: this.#options.src }); });
    this.#open(signal).catch((error) => { if (!signal.aborted) this.#fail(error); });
  }

  /** @param {AbortSignal} signal */
  async #open(signal) {
    const { src, memory = MEMORY, threshold, autoplay, time, speed, loop, controls, player = controls !== false } = this.#options;
    const whileOpen = (/** @type {(error: unknown) => void} */ f) => (/** @type {unknown} */ error) => { if (!signal.aborted) f(error); };
    const session = await openSession(/** @type {import("./session.js").Src} */ (src), {
      canvas: this.#ui.canvas, signal,
      received: (n) => { this.#received += n; this.#arriving(); },
      opened: (scene) => { this.#pose ??= startPose(scene); },
      view: {
        memory, threshold,
        target: () => this.#target(),
        changed: () => this.#changed(),
        notice: (text) => this.tell((p) => p.notice(text), () => this.#ui.toast(text, NOTICE_SECONDS)),
        trouble: (failures) => this.#ui.toast(failures > 2 ? "The connection is bad; still trying" : "", 0),
        failed: whileOpen((error) => this.#partFailed(error)),
        broken: whileOpen((error) => this.#fail(error)),
      },
      player: {
        ui: this.#ui, shown: player, playback: { autoplay, time, speed, loop }, still: STILL, hash: () => this.moment,
        changed: () => this.#changed(),
        emit: (type, detail) => this.emit(type, detail),
      },
    });
    if (signal.aborted) return session.close();
    this.#session = session;
    this.#ground = session.paint(this.background, this.#ui.ground);
    this.#describe(session.scene);
    session.device.lost.then((info) => { if (this.#session === session) this.#lost(info.message || info.reason); });
    this.#changed();
    this.begin(session.player);
  }

  /** @param {OpenScene} scene */
  #describe(scene) {
    const { title, attribution, licence } = scene.info, name = title || this.#options.name || "";
    const extra = this.#options.title;
    this.#ui.label(name ? `3D scene: ${name}` : "3D scene");
    if (extra) this.#ui.title(name, extra instanceof Node ? extra : undefined);
    this.#ui.credit([attribution, licence].filter(Boolean).join(" · "));
  }

  #range() {
    const radius = this.#session?.scene.radius ?? 1;
    return /** @type {const} */ ([radius * 1e-3, radius * 40]);
  }

  /** @param {Pose} pose */
  #move(pose) {
    this.#pose = pose;
    this.#changed();
    this.emit("camerachange", { camera: this.camera });
  }

  /** @param {number} x @param {number} y CSS pixels */
  async #pick(x, y) {
    const target = this.#target(), k = this.#size.width / this.#ui.canvas.clientWidth;
    return this.#session && target && this.#session.view.pick(target.camera, x * k, y * k).catch(() => null); // the device may be lost meanwhile
  }

  /** @param {Tool} tool */
  async #tool(tool) {
    const controls = this.#controls;
    if (tool === "fly") controls?.setMode(controls.mode === "fly" ? "orbit" : "fly");
    else if (tool === "reset") this.resetCamera();
    else if (tool === "help") return this.#ui.keys(true);
    else if (tool === "full") await (document.fullscreenElement ? document.exitFullscreen() : this.#element.requestFullscreen()).catch(() => {});
    else if (tool === "link" && this.#pose && this.#options.link) {
      const address = this.#options.link(this.hash);
      const copied = await (navigator.clipboard?.writeText(address) ?? Promise.reject()).then(() => true, () => false);
      if (copied) this.#ui.toast("Link to this view copied");
      else prompt("Link to this view", address);
    }
    this.focus();
  }

  /** @param {number} width @param {number} height device pixels */
  #resized(width, height) {
    const most = this.#session?.device.limits.maxTextureDimension2D ?? 8192;
    this.#size = { width: Math.min(width, most), height: Math.min(height, most) };
    this.#settled = false;
    this.#loop.drawNow(); // the old picture would be seen stretched, and a resized canvas is empty
  }

  /** The picture is out of date. */
  #changed() {
    this.#settled = false;
    this.#loop.invalidate();
  }

  /** What to draw and to fetch for, once size and pose are known. */
  #target() {
    const { width, height } = this.#size;
    return width && height && this.#pose ? { camera: pinhole(this.#pose, width, height), budget: this.budget, live: this.live } : null;
  }

  /** Moves camera and clock. @param {number} seconds */
  #step(seconds) {
    const moving = this.#controls?.step(seconds), playing = this.#session?.player?.advance(seconds);
    return Boolean(moving || playing);
  }

  #draw() {
    const session = this.#session, target = this.#target(), { width, height } = this.#size, { canvas } = this.#ui;
    if (!session || !target) return null;
    const { view, device, context } = session;
    const drawn = view.draw(target, this.#ground, () => {
      // Only now: a canvas of another size is empty until something is drawn to it.
      if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
      return context.getCurrentTexture();
    });
    session.player?.sync();
    if (!drawn) return null; // nothing has arrived yet, or a model is at it
    this.frames++;
    this.#progress(drawn.progress);
    const { frames } = this;
    return Promise.resolve(drawn.submitted).then(() => device.queue.onSubmittedWorkDone()).then(() => {
      if (this.#session !== session) return;
      this.#first();
      if (frames !== this.frames || !drawn.settled || this.#settled) return;
      this.#settled = true;
      this.emit("settled", this.stats);
    });
  }

  /** The first picture is on the screen. */
  #first() {
    if (this.#state !== "loading") return;
    this.#state = "ready";
    this.#ui.ready(true);
    this.emit("ready", { info: this.info, camera: this.camera });
  }

  #arriving() {
    if (this.#state === "loading") this.#progress(null);
  }

  /** @param {number | null} share */
  #progress(share) {
    this.#ui.progress(share, this.#state === "loading" ? loadingText(this.#options.name, this.#received) : "");
    this.emit("progress", { bytes: this.#received, share });
  }

  /** @param {unknown} error from a request for a part of the scene */
  #partFailed(error) {
    if (isChange(error)) this.#fail(error);
    else this.#ui.toast("A part of this scene cannot be read; it stays coarse", 0);
  }

  /** @param {string} reason */
  #lost(reason) {
    const now = performance.now();
    this.#losses = [...this.#losses.filter((t) => now - t < LOSS_MINUTE), now];
    if (this.#losses.length > LOSSES) return this.#fail(new GpuError("lost", reason));
    this.#ui.toast("The graphics device was lost; starting again");
    this.#reopen();
  }

  /** @param {unknown} error */
  #fail(error) {
    // Once for each file: one whose parts never agree is damaged.
    const id = this.#session?.scene.contentId ?? "";
    if (isChange(error) && this.#changedFrom !== id) {
      this.#changedFrom = id;
      this.#ui.toast("The scene was updated");
      return this.#reopen();
    }
    this.#opening.abort();
    this.#close();
    const url = addressOf(this.#options.src ?? "");
    const { kind, message } = diagnose(error, { url, at: location, agent: navigator.userAgent });
    this.#state = "error";
    this.#ui.ready(false);
    this.#ui.progress(1);
    this.#ui.toast("");
    this.#ui.panel(message, () => {
      this.#losses = [];
      this.#reopen();
    });
    this.emit("error", { kind, message: message.title, error });
  }
}

/**
 * Shows a scene in an element, which gets a shadow root. The element needs a size of its own.
 * @param {HTMLElement} element
 * @param {ViewerOptions} [options]
 * @returns {Viewer}
 */
export function createViewer(element, options = {}) {
  return new Viewer(element, options);
}
