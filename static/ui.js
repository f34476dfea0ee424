// The viewer's own DOM inside a shadow root: canvas, poster, progress, tools, messages. Shows what it is told; decides nothing.
import { KEYS } from "./controls.js";

/** @typedef {"fly" | "reset" | "link" | "full" | "help"} Tool */
/** @typedef {{title: string, text: (string | Node)[], again?: string, details?: string}} Message */

/** Icon paths on a 24 x 24 grid, and what a button says. @type {Record<Tool, [string, string]>} */
const TOOLS = {
  fly: ["M12 3l7 17-7-4-7 4z", "Fly (F)"],
  reset: ["M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5", "Back to the start (R)"],
  link: ["M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1M14 10a4 4 0 0 0-5.7 0l-3 3a4 4 0 0 0 5.7 5.7l1-1", "Copy a link to this view"],
  full: ["M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5", "Full screen"],
  help: ["M9.2 9a2.9 2.9 0 1 1 4.3 2.5c-1 .6-1.5 1.2-1.5 2.5M12 17.5v.01", "Keys (?)"],
};
const TOAST_SECONDS = 3;

/** Style sheets by address: fetched once for all viewers of a page. @type {Map<string, Promise<CSSStyleSheet>>} */
const sheets = new Map();

/** @param {string} url */
export function styleSheet(url) {
  let sheet = sheets.get(url);
  if (!sheet) {
    // A constructed sheet needs no style-src of the page around, where a <link> or <style> would.
    sheet = fetch(url).then((r) => r.ok ? r.text() : "").then((text) => new CSSStyleSheet().replace(text));
    sheet.catch(() => sheets.delete(url));
    sheets.set(url, sheet);
  }
  return sheet;
}

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Record<string, string>} [attributes] @param {...(string | Node)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** A picture on a 24 x 24 grid. @param {string} path */
export function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstElementChild?.setAttribute("d", path);
  return svg;
}

/** @param {HTMLElement} element */
function shadowOf(element) {
  try {
    return element.attachShadow({ mode: "open" });
  } catch (error) {
    throw new TypeError(`<${element.localName}> cannot have a shadow root; give createViewer a <div>`, { cause: error });
  }
}

/** What stands over the poster. @param {string | undefined} name @param {number} bytes received */
export function loadingText(name, bytes) {
  const kB = Math.round(bytes / 1000);
  const size = kB < 1 ? "" : kB < 1000 ? ` · ${kB} kB` : ` · ${(kB / 1000).toFixed(1)} MB`;
  return `Loading${name ? ` ${name}` : ""}${size}`;
}

/**
 * @param {HTMLElement} element gets (or has) an open shadow root
 * @param {{label: string, tools: Tool[], onTool: (tool: Tool) => void}} options
 */
export function createUi(element, options) {
  const root = element.shadowRoot ?? shadowOf(element);
  const canvas = make("canvas", { tabindex: "0", role: "application", "aria-roledescription": "3D scene", "aria-describedby": "hint" });
  const poster = make("img", { class: "poster", alt: "", hidden: "" });
  const bar = make("div", { class: "progress", role: "progressbar", "aria-label": "Loading" }, make("i"));
  const loading = make("div", { class: "loading", hidden: "" });
  const title = make("div", { class: "title", hidden: "" });
  const credit = make("div", { class: "credit", hidden: "" });
  const tools = make("div", { class: "tools", role: "toolbar", "aria-label": "View", hidden: "" }), dock = make("div", { class: "dock" }, tools);
  const toast = make("div", { class: "toast", role: "status" });
  const keys = make("div", { class: "keys sheet", role: "dialog", "aria-label": "Keys", hidden: "" });
  const panel = make("div", { class: "panel sheet", role: "alert", hidden: "" });
  const hint = make("div", { class: "quiet", id: "hint" }, "Arrow keys orbit, plus and minus zoom, W A S D move, question mark lists all keys.");
  const stage = make("div", { class: "stage", part: "stage" }, canvas, poster, make("div", { class: "ring" }), bar, loading, title, credit, dock, toast, keys, panel, hint);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let shown = false;

  for (const tool of options.tools) {
    const [path, text] = TOOLS[tool];
    const button = make("button", { type: "button", title: text, "aria-label": text, "data-tool": tool, ...(tool === "help" ? {} : { class: "wide" }) }, icon(path));
    button.addEventListener("click", () => options.onTool(tool));
    tools.append(button);
  }

  const close = make("button", { type: "button" }, "Close");
  const list = make("dl");
  for (const [key, text] of KEYS) list.append(make("dt", {}, key), make("dd", {}, text));
  keys.append(make("div", { class: "card" }, make("h2", {}, "Keys"), list, close));
  const ui = {
    canvas,
    stage,
    root,
    /** The row at the lower edge. */
    dock,
    /** @param {string} text */
    label(text) { canvas.setAttribute("aria-label", text); },
    /** Colours the stage; gives the colour as rgb, 0..1. @param {string} color any of CSS */
    ground(color) {
      stage.style.setProperty("--ground", color);
      const numbers = getComputedStyle(stage).backgroundColor.match(/[\d.]+/g)?.map(Number) ?? [0, 0, 0];
      return numbers.slice(0, 3).map((n) => n / 255);
    },
    /** @param {string | null} url */
    poster(url) {
      poster.hidden = !url;
      if (url) poster.src = url;
      else poster.removeAttribute("src");
    },
    /** The first picture is there: no poster, and the tools. @param {boolean} on */
    ready(on) {
      stage.classList.toggle("ready", on);
      tools.hidden = !on || options.tools.length === 0;
    },
    /** @param {number | null} done share, 0..1; null: not known; 1 hides the bar @param {string} [text] */
    progress(done, text = "") {
      bar.classList.toggle("on", done !== 1);
      bar.classList.toggle("unknown", done === null);
      bar.style.setProperty("--done", String(done ?? 0));
      if (done === null) bar.removeAttribute("aria-valuenow");
      else bar.setAttribute("aria-valuenow", String(Math.round(done * 100)));
      loading.textContent = text;
      loading.hidden = !text;
    },
    /** @param {string} text @param {Node} [extra] */
    title(text, extra) {
      title.replaceChildren(make("strong", {}, text), ...(extra ? [extra] : []));
      title.hidden = !text && !extra;
    },
    /** @param {string} text */
    credit(text) {
      credit.textContent = text;
      credit.hidden = !text;
    },
    /** @param {string} text @param {number} [seconds] 0: until the next one */
    toast(text, seconds = TOAST_SECONDS) {
      clearTimeout(timer);
      toast.textContent = text;
      toast.classList.toggle("on", text !== "");
      if (seconds && text) timer = setTimeout(() => ui.toast(""), seconds * 1000);
    },
    /** @param {Message | null} message @param {() => void} [again] */
    panel(message, again) {
      panel.hidden = message === null;
      panel.replaceChildren();
      if (!message) return;
      const card = make("div", { class: "card" }, make("h2", {}, message.title), ...message.text);
      if (message.again && again) {
        const button = make("button", { type: "button" }, message.again);
        button.addEventListener("click", again);
        card.append(button);
      }
      if (message.details) card.append(make("details", {}, make("summary", {}, "Details"), make("code", {}, message.details)));
      panel.append(card);
    },
    /** @param {boolean} open */
    keys(open) {
      if (keys.hidden === !open) return;
      keys.hidden = !open;
      (open ? close : canvas).focus();
    },
    get keysOpen() { return !keys.hidden; },
    /** @param {boolean} on */
    flying(on) { tools.querySelector("[data-tool=fly]")?.setAttribute("aria-pressed", String(on)); },
    destroy() {
      clearTimeout(timer);
      shown = true;
      root.replaceChildren(make("slot")); // what the element held before shows again
    },
  };
  close.addEventListener("click", () => ui.keys(false));
  keys.addEventListener("keydown", (e) => {
    if (e.key !== "Escape" && e.key !== "?") return;
    e.preventDefault();
    ui.keys(false);
  });
  keys.addEventListener("pointerdown", (e) => { if (e.target === keys) ui.keys(false); });
  // A ring around the whole scene is for those who came by Tab; the page's own focus at the start needs none.
  canvas.addEventListener("keyup", (e) => { if (e.key === "Tab") stage.classList.add("tabbed"); });
  canvas.addEventListener("blur", () => stage.classList.remove("tabbed"));
  ui.label(options.label);

  const show = (/** @type {CSSStyleSheet | null} */ sheet) => {
    if (shown) return;
    shown = true;
    if (sheet) root.adoptedStyleSheets = [sheet];
    root.replaceChildren(stage);
  };
  // Unstyled is better than absent: a message must be read even where the style sheet does not come.
  const ready = styleSheet(new URL("viewer.css", import.meta.url).href).then(show, () => show(null));
  return Object.assign(ui, { shown: ready });
}
