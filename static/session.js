// One scene on a canvas: its file opened, the device, the view, the player where it has time or controls; close() gives all back.
import { blobSource, urlSource } from "./bytes.js";
import { GpuError, acquireDevice } from "./gpu.js";
import { openScene } from "./scene_view.js";

/** @typedef {import("./scene_view.js").SceneView} SceneView */
/** @typedef {import("./scene_view.js").OpenScene} OpenScene */
/** @typedef {import("./live/player.js").Player} Player */
/** @typedef {Awaited<ReturnType<typeof openSession>>} Session */
/** Address of a file, or its bytes. @typedef {string | URL | Blob} Src */

/** @param {string} query */
export const media = (query) => typeof matchMedia === "function" && matchMedia(query).matches;

/** Small screens mean small memory: splats drawn, and bytes of GPU memory for them. */
const MODEST = media("(max-width: 820px), (pointer: coarse)");
export const BUDGET = MODEST ? 600_000 : 2_000_000, MEMORY = MODEST ? 96 << 20 : 384 << 20;

/** @param {Src} src @returns {string} its address, or what stands for one */
export const addressOf = (src) => src instanceof Blob ? "this file" : new URL(String(src), document.baseURI).href;

/**
 * @param {Src} src
 * @param {{canvas: HTMLCanvasElement, signal: AbortSignal, received: (bytes: number) => void,
 *   view: Omit<import("./scene_view.js").ViewOptions, "format">, opened: (scene: OpenScene) => void,
 *   player: import("./live/player.js").PlayerOptions}} options opened: the file's head is read, nothing is drawn yet
 */
export async function openSession(src, { canvas, signal, received, view: wanted, opened, player: playing }) {
  const source = src instanceof Blob ? blobSource(src) : urlSource(addressOf(src), { received });
  // Both at once: neither the file's first bytes nor the device wait for each other.
  const reading = openScene(source, signal);
  reading.catch(() => {});
  const { device, release } = await acquireDevice();
  /** @type {SceneView | null} */
  let view = null;
  /** @type {Player | null} */
  let player = null;
  try {
    const scene = await reading;
    signal.throwIfAborted();
    opened(scene);
    view = await scene.createView(device, { ...wanted, format: navigator.gpu.getPreferredCanvasFormat() });
    signal.throwIfAborted();
    if (view.live) player = await (await import("./live/player.js")).createPlayer(view.live, playing);
    signal.throwIfAborted();
    const context = /** @type {GPUCanvasContext | null} */ (canvas.getContext("webgpu"));
    if (!context) throw new GpuError("refused", "no webgpu context on the canvas");
    const made = view;
    return {
      device, scene, view, player, context,
      /**
       * Sets the background. @param {string} color of CSS, "transparent" or "scene" @param {(color: string) => number[]} show colours what
       *   is behind the picture; rgb 0..1 @returns {number[]} rgba of the frames
       */
      paint(color, show) {
        const clear = color === "transparent", own = color === "scene";
        context.configure({ device, format: navigator.gpu.getPreferredCanvasFormat(), alphaMode: clear ? "premultiplied" : "opaque" });
        const shown = show(own ? `rgb(${scene.background.map((c) => Math.round(c * 255)).join(" ")})` : color);
        return clear ? [0, 0, 0, 0] : [...(own ? scene.background : shown), 1];
      },
      close() {
        player?.destroy();
        made.destroy();
        context.unconfigure();
        release();
      },
    };
  } catch (error) {
    player?.destroy();
    view?.destroy();
    release();
    throw error;
  }
}
