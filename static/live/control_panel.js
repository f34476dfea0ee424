// The panel of controls: what the contracts of the scene's live layers offer, a section a layer, and what there is to say of them.
import { icon, make } from "../ui.js";

/** @typedef {import("./playback.js").Playback} Playback */
/** @typedef {import("./playback.js").Control} Control */
/** @typedef {ReturnType<typeof createControlPanel>} ControlPanel */

const BACK = "M5 12a7 7 0 1 0 2.3-5.2M5 4.5v4h4", CLOSE = "M6 6l12 12M18 6L6 18";
/** With more rows than these only the first group is open at the start. */
const MANY = 12;
/** Notices that stay in the panel, newest last. */
const NOTICES = 5;
const KINDS = /** @type {Record<string, string>} */ ({ generator: "Generator", sequence: "Sequence", postprocess: "Post-processing" });

let ids = 0;

/** A value with as many digits as its step can tell. @param {number} value @param {number} step */
function valueText(value, step) {
  const digits = Math.min(6, Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)));
  return value.toFixed(digits).replace(/^-(?=[0.]+$)/, "").replace("-", "−");
}

/** @param {string} label @param {string} path */
const small = (label, path) => make("button", { type: "button", class: "small", title: label, "aria-label": label }, icon(path));

/** @param {Playback} playback */
export function createControlPanel(playback) {
  const { controls, tracks, layers } = playback;
  /** Shows the values as they are. @type {(() => void)[]} */
  const updates = [];
  const id = `controls-${++ids}`, all = small("Reset all", BACK), close = small("Close", CLOSE);
  const notices = make("ul", { class: "notices", hidden: "" }), body = make("div", { class: "body" });
  const element = make("section", { class: "controls", id, "aria-label": "Controls", hidden: "" }, make("header", {}, make("h2", {}, "Controls"), all, close), body);
  all.addEventListener("click", () => playback.reset());
  close.addEventListener("click", () => panel.open(false));

  /** @param {Control} c one row */
  function row({ layer, name, label, kind, min, max, step, default: start }) {
    const key = `${id}-${++ids}`, input = make("input", { id: key, ...(kind === "toggle" ? { type: "checkbox", role: "switch" } : { type: "range", min: String(min), max: String(max), step: "any" }) });
    const back = small(`Reset ${label}`, BACK), value = make("output", { for: key });
    const read = () => playback.state.controls[layer][name];
    /** To the nearest step, or the end where that is nearer. @param {number} v */
    const stepped = (v) => v >= max ? max : Math.min(max, min + Math.round((v - min) / step) * step);
    if (min < 0 && max > 0) input.style.setProperty("--from", String(-min / (max - min)));
    input.addEventListener("input", () => playback.setControl(name, kind === "toggle" ? input.checked : stepped(input.valueAsNumber), layer));
    input.addEventListener("keydown", (e) => {
      // The arrows move by a step of the contract; a range without steps would take a hundredth.
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[e.key];
      if (kind === "toggle" || !by) return;
      e.preventDefault();
      playback.setControl(name, stepped(read() + by * step), layer);
    });
    back.addEventListener("click", () => {
      playback.setControl(name, start, layer);
      input.focus();
    });
    updates.push(() => {
      const v = read();
      if (kind === "toggle") input.checked = v === 1;
      else {
        if (input.valueAsNumber !== v) input.value = String(v);
        input.style.setProperty("--at", String((v - min) / (max - min)));
        value.textContent = valueText(v, step);
        input.setAttribute("aria-valuetext", value.textContent);
      }
      back.classList.toggle("off", v === start);
      back.tabIndex = v === start ? -1 : 0;
    });
    return make("div", { class: `row ${kind}` }, make("label", { for: key }, label), back, ...(kind === "toggle" ? [] : [value]), input);
  }

  /** The menu of a layer's tracks. @param {number} layer */
  function trackMenu(layer) {
    const key = `${id}-${++ids}`, select = make("select", { id: key }), own = tracks.filter((t) => t.layer === layer);
    // An option's value is its number: a track may have any name.
    own.forEach((t, i) => select.append(make("option", { value: String(i) }, t.label)));
    select.append(make("option", { value: "-1" }, "None"));
    select.addEventListener("change", () => playback.setTrack(own[Number(select.value)]?.name ?? null, layer));
    updates.push(() => { select.value = String(own.findIndex((t) => t.name === playback.state.tracks[layer])); });
    return make("div", { class: "row track" }, make("label", { for: key }, "Animation"), select);
  }

  /** @param {typeof layers[number]} layer @param {boolean} headed */
  function section({ index, kind, name }, headed) {
    const own = controls.filter((c) => c.layer === index), key = `${id}-${++ids}`;
    const heading = make("h3", {}, name || KINDS[kind] || "Layer"), says = make("p", { class: "says", hidden: "" }), parts = make("div", { class: "parts" });
    const head = make("div", { class: "head" }, heading);
    if (kind === "postprocess") {
      const input = make("input", { type: "checkbox", role: "switch", id: key });
      input.addEventListener("change", () => playback.setLayer(index, input.checked));
      updates.push(() => { input.checked = !playback.state.off[index]; });
      heading.replaceChildren(make("label", { for: key }, ...heading.childNodes));
      head.append(input);
    }
    updates.push(() => {
      const { state, error } = /** @type {typeof layers[number]} */ (playback.layers.find((l) => l.index === index));
      says.textContent = state === "failed" ? error || "This layer cannot be shown" : state === "loading" ? "Loading …" : "";
      says.hidden = !says.textContent;
      says.classList.toggle("failed", state === "failed");
      parts.hidden = state === "failed";
    });
    if (tracks.some((t) => t.layer === index)) parts.append(trackMenu(index));
    parts.append(...own.filter((c) => !c.group).map(row));
    const groups = [...new Set(own.map((c) => c.group).filter(Boolean))];
    groups.forEach((group, i) => {
      const open = own.length <= MANY || (i === 0 && own.every((c) => c.group));
      parts.append(make("details", open ? { open: "" } : {}, make("summary", {}, group), ...own.filter((c) => c.group === group).map(row)));
    });
    head.hidden = !headed && kind !== "postprocess";
    return make("section", { "aria-label": heading.textContent ?? "" }, head, says, parts);
  }

  /** A layer that has something to show. @param {typeof layers[number]} l */
  const shows = ({ index, kind, state }) => kind === "postprocess" || state === "failed" || controls.some((c) => c.layer === index) || tracks.some((t) => t.layer === index);
  const shown = layers.filter(shows);
  /** Sections of layers that had nothing to show until they failed. @type {Set<number>} */
  const made = new Set(shown.map((l) => l.index));
  body.append(...shown.map((l) => section(l, layers.length > 1)), notices);

  const panel = {
    element,
    get isOpen() { return !element.hidden; },
    /** Told when it opens and closes. @type {(open: boolean) => void} */
    onOpen: () => {},
    /** @param {boolean} open */
    open(open) {
      element.hidden = !open;
      panel.onOpen(open);
    },
    /** Whether there is nothing to set and nothing to say. */
    get empty() { return made.size === 0 && notices.hidden; },
    /** A line that stays. @param {string} text */
    notice(text) {
      if ([...notices.children].some((n) => n.textContent === text)) return;
      notices.append(make("li", {}, text));
      if (notices.children.length > NOTICES) notices.firstElementChild?.remove();
      notices.hidden = false;
    },
    /** @param {string} type of the event that says what has changed */
    update(type) {
      if (type === "timechange") return;
      for (const l of playback.layers) {
        if (made.has(l.index) || !shows(l)) continue;
        made.add(l.index);
        notices.before(section(l, true));
      }
      for (const u of updates) u();
      all.hidden = !controls.length && !tracks.length;
    },
    remove() { element.remove(); },
  };
  panel.update("livechange");
  return panel;
}
