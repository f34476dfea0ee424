// The bar of a scene with time: play, scrub, speed, loop; and the button that opens the panel of controls.
import { icon, make } from "../ui.js";
import { SPEEDS } from "./clock.js";

/** @typedef {import("./playback.js").Playback} Playback */
/** @typedef {import("./control_panel.js").ControlPanel} ControlPanel */

const PLAY = "M8 5l11 7-11 7z", PAUSE = "M9 5v14M15 5v14";
const LOOP = "M17 3l3 3-3 3M20 6H8a4 4 0 0 0-4 4v1M7 21l-3-3 3-3M4 18h12a4 4 0 0 0 4-4v-1", SLIDERS = "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5";

/** @param {string} label @param {string} path @param {string} name */
const button = (label, path, name) => make("button", { type: "button", class: name, title: label, "aria-label": label }, icon(path));

/**
 * Seconds as a clock shows them: 1.25 within the first minute, 1:05.2 from then on, without fractions past ten minutes.
 * @param {number} seconds @param {number} duration
 */
export function timeText(seconds, duration) {
  if (duration < 60) return seconds.toFixed(2);
  const digits = duration < 600 ? 1 : 0, tenth = 10 ** digits, whole = Math.floor(seconds * tenth) / tenth;
  return `${Math.floor(whole / 60)}:${(whole % 60).toFixed(digits).padStart(digits ? 4 : 2, "0")}`;
}

/**
 * @param {Playback} playback @param {ControlPanel} panel that its button opens
 */
export function createBar(playback, panel) {
  const play = button("Play (Space)", PLAY, "play"), loop = button("Loop", LOOP, "loop"), more = button("Controls", SLIDERS, "more");
  const scrub = make("input", { type: "range", min: "0", step: "any", "aria-label": "Time", class: "scrub" });
  const now = make("span", { class: "now" }), end = make("span", { class: "end" }), time = make("span", { class: "time" }, now, end);
  const speed = make("select", { "aria-label": "Speed", title: "Speed", class: "speed" });
  const timed = [play, scrub, time, speed, loop];
  const bar = make("div", { class: "bar", role: "group", "aria-label": "Time and controls" }, ...timed, more);
  let held = false, wasPlaying = false;
  /** Whether the button shows Pause, so that it changes only then. @type {boolean | null} */
  let shows = null;

  for (const s of SPEEDS) speed.append(make("option", { value: String(s) }, `${s}×`));
  more.setAttribute("aria-expanded", "false");
  more.setAttribute("aria-controls", panel.element.id);
  more.addEventListener("click", () => panel.open(!panel.isOpen));
  panel.onOpen = (open) => {
    more.setAttribute("aria-expanded", String(open));
    more.classList.remove("warn");
  };

  play.addEventListener("click", () => playback.playing ? playback.pause() : playback.play());
  loop.addEventListener("click", () => { playback.loop = !playback.loop; });
  speed.addEventListener("change", () => { playback.speed = Number(speed.value); });
  // While a hand holds the scrubber the clock rests, and then goes on as it was.
  scrub.addEventListener("pointerdown", () => {
    held = true;
    wasPlaying = playback.playing;
  });
  scrub.addEventListener("input", () => {
    if (playback.playing) playback.pause();
    playback.time = Number(scrub.value);
  });
  const release = () => {
    if (held && wasPlaying && !playback.playing) playback.play();
    held = false;
  };
  for (const type of ["pointerup", "pointercancel", "change"]) scrub.addEventListener(type, release);
  scrub.addEventListener("keydown", (e) => {
    if (e.key === " ") play.click();
    else if (e.key === "," || e.key === ".") playback.skip(e.key === "," ? -1 : 1);
    else return;
    e.preventDefault();
  });

  function update() {
    const { time: seconds, duration, playing } = playback;
    for (const node of timed) node.hidden = !duration;
    bar.classList.toggle("still", !duration);
    more.hidden = panel.empty;
    bar.hidden = !duration && panel.empty;
    scrub.max = String(duration);
    if (Number(scrub.value) !== seconds) scrub.value = String(seconds);
    scrub.style.setProperty("--at", String(duration ? seconds / duration : 0));
    now.textContent = timeText(seconds, duration);
    end.textContent = ` / ${timeText(duration, duration)}${duration < 60 ? " s" : ""}`;
    // Not while it plays: a screen reader would read every frame.
    if (!playing) scrub.setAttribute("aria-valuetext", `${timeText(seconds, duration)} of ${timeText(duration, duration)}${duration < 60 ? " seconds" : ""}`);
    const running = playing || (held && wasPlaying);
    if (running !== shows) {
      shows = running;
      play.replaceChildren(icon(running ? PAUSE : PLAY));
      play.classList.toggle("on", running);
      play.title = running ? "Pause (Space)" : "Play (Space)";
      play.setAttribute("aria-label", play.title);
    }
    if (loop.getAttribute("aria-pressed") !== String(playback.loop)) loop.setAttribute("aria-pressed", String(playback.loop));
    if (Number(speed.value) !== playback.speed) showSpeed(playback.speed);
  }

  /** @param {number} value */
  function showSpeed(value) {
    if (![...speed.options].some((o) => Number(o.value) === value)) speed.append(make("option", { value: String(value) }, `${value}×`));
    speed.value = String(value);
  }

  update();
  return {
    element: bar,
    /** @param {string} type of the event that says what has changed */
    update(type) { if (type !== "controlchange") update(); },
    /** There is something new to read in the panel. */
    warn() {
      update();
      more.classList.toggle("warn", !panel.isOpen);
    },
    remove() { bar.remove(); },
  };
}
