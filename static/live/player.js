// The player of a scene with live layers: what it is set to (playback.js), the bar and the panel that show it, and keys.
import { styleSheet } from "../ui.js";
import { createBar } from "./bar.js";
import { createControlPanel } from "./control_panel.js";
import { createPlayback } from "./playback.js";

/** @typedef {Awaited<ReturnType<typeof createPlayer>>} Player */
/**
 * shown: whether it has a bar, a panel and keys, or is for the program alone. still: whether the reader asked for reduced motion: then
 * nothing plays by itself. hash: what a link says of time and controls. changed: the picture is out of date.
 * @typedef {{ui: ReturnType<typeof import("../ui.js").createUi>, shown: boolean, still: boolean, hash: () => string, changed: () => void,
 *   playback: import("./playback.js").PlaybackOptions, emit: (type: string, detail: unknown) => void}} PlayerOptions
 */

/** What the keys do, for the sheet that lists them. */
const KEYS = [["Space", "Play and pause"], [", and .", "A frame back, a frame on"]];
/** A stage at least this wide has room for the open panel beside the scene, CSS pixels. */
const ROOM = 720;
const NOTICE_SECONDS = 6;

/**
 * @param {import("./playback.js").Live} live @param {PlayerOptions} options
 */
export async function createPlayer(live, { ui, shown, still, hash, changed, emit, playback: wanted }) {
  const abort = new AbortController();
  /** @type {{update: (type: string) => void, remove: () => void}[]} */
  const parts = [];
  let seen = true;
  const playback = createPlayback(live, {
    changed,
    emit(type, detail) {
      for (const part of parts) part.update(type);
      emit(type, detail);
    },
  }, wanted);
  const sheet = shown ? await styleSheet(new URL("player.css", import.meta.url).href).catch(() => null) : null;
  await ui.shown;

  const panel = createControlPanel(playback), bar = createBar(playback, panel);
  if (shown) {
    parts.push(panel, bar);
    if (sheet) ui.root.adoptedStyleSheets = [...ui.root.adoptedStyleSheets, sheet];
    ui.stage.classList.add("live");
    ui.dock.prepend(bar.element);
    ui.dock.before(panel.element);
    panel.open(!panel.empty && ui.stage.clientWidth >= ROOM);
    panel.element.addEventListener("keydown", (e) => {
      if (e.key !== "Escape") return;
      panel.open(false);
      ui.canvas.focus();
    });
    if (playback.duration) listKeys();
    ui.canvas.addEventListener("keydown", onKey, { signal: abort.signal });
  }

  /** @param {KeyboardEvent} e */
  function onKey(e) {
    if (e.ctrlKey || e.metaKey || e.altKey || !playback.duration) return;
    if (e.key === " ") {
      if (!e.repeat) playback.playing ? playback.pause() : playback.play();
    } else if (e.key === "," || e.key === ".") playback.skip(e.key === "," ? -1 : 1);
    else return;
    e.preventDefault();
  }

  function listKeys() {
    const list = ui.stage.querySelector(".keys dl");
    for (const [key, text] of KEYS) {
      const rows = ["dt", "dd"].map((tag, i) => Object.assign(document.createElement(tag), { textContent: [key, text][i] }));
      list?.append(...rows);
      abort.signal.addEventListener("abort", () => rows.forEach((row) => row.remove()));
    }
  }

  // A scene out of sight stands still: it would only take the battery's and the visible scenes' time.
  const observer = new IntersectionObserver((entries) => {
    const now = entries[entries.length - 1].isIntersecting;
    if (now && !seen) changed();
    seen = now;
  });
  observer.observe(ui.stage);
  playback.start(hash(), still);

  return Object.assign(playback, {
    /** @param {number} seconds */
    advance: (seconds) => seen && playback.step(seconds),
    /** Says something once, and keeps it in the panel. @param {string} text */
    notice(text) {
      const failed = playback.layers.find((l) => l.error === text);
      if (!failed) panel.notice(text); // its section says why
      ui.toast(failed && shown ? `${failed.name} cannot be shown; Controls say why` : text, NOTICE_SECONDS);
      bar.warn();
    },
    destroy() {
      observer.disconnect();
      abort.abort();
      for (const part of parts.splice(0)) part.remove();
      ui.stage.classList.remove("live");
      ui.root.adoptedStyleSheets = ui.root.adoptedStyleSheets.filter((s) => s !== sheet);
    },
  });
}
