// What went wrong, in words a reader can act on: one message for each way there is no picture.
import { make } from "./ui.js";

/** @typedef {import("./ui.js").Message} Message */
/** @typedef {"insecure" | "missing" | "adapter" | "refused" | "lost" | "shader" | "notfound" | "http" | "network" | "format" | "unsupported" | "bug"} Kind */
/** @typedef {{kind: Kind, message: Message}} Diagnosis */

/** @param {...(string | Node)} children */
const p = (...children) => make("p", {}, ...children);
/** @param {...(string | Node)[]} items */
const ul = (...items) => make("ul", {}, ...items.map((i) => make("li", {}, ...i)));
/** @param {string} text */
const line = (text) => make("code", { class: "line" }, text);

/** @param {Location | URL} at @returns {Message} */
export function insecure(at) {
  if (at.protocol === "https:") {
    return { title: "The page around this one is not secure", text: [p("Browsers offer WebGPU only where every page up to the topmost one came over HTTPS or from localhost. Open this scene in a tab of its own, or serve the page around it over HTTPS.")] };
  }
  const port = at.port || "80", host = at.hostname, path = at.pathname;
  return {
    title: "This address is not secure, so the browser hides WebGPU",
    text: [
      p(`The scene needs WebGPU, which browsers offer only over HTTPS or from localhost. This page came from `, make("code", {}, at.origin), "."),
      ul(
        ["On the computer that serves it, open", line(`http://localhost:${port}${path}`)],
        ["On another computer, forward the port, then open that same address there:", line(`ssh -L ${port}:localhost:${port} ${host}`)],
        ["Or serve it over HTTPS:", line("splatlens serve DIR --tls-cert cert.pem --tls-key key.pem")],
      ),
    ],
  };
}

/** @param {string} agent navigator.userAgent @returns {Message} */
export function missing(agent) {
  const own = /Firefox\//.test(agent) ? "Firefox has WebGPU from version 141 on Windows and 145 on Macs with Apple chips; elsewhere take Chrome or Edge."
    : /iPhone|iPad|Macintosh.*Version\/\d+.*Safari/.test(agent) ? "Safari has WebGPU from version 26 on; older systems can take a current Chrome on the Mac."
      : /Linux/.test(agent) && !/Android/.test(agent) ? "On Linux, Chrome has WebGPU from version 144 on for some graphics chips; else start it with --enable-unsafe-webgpu --enable-features=Vulkan."
        : "Chrome and Edge have it from version 113 on (Android: 121), Safari from 26, Firefox from 141.";
  return { title: "This browser has no WebGPU", text: [p("The scene is drawn with WebGPU. ", own), p("Update the browser, or open this page in another one.")] };
}

/** @returns {Message} */
const adapter = () => ({
  title: "No graphics adapter was found",
  text: [
    p("The browser has WebGPU, but gives this page no graphics processor to use."),
    ul(["Turn on graphics acceleration in the browser's settings, and restart it."], ["Update the graphics driver."], ["In Chrome, ", make("code", {}, "chrome://gpu"), " says why WebGPU is off."]),
  ],
  again: "Try again",
});

/**
 * What an error means to the one who looks at the page.
 * @param {unknown} error
 * @param {{url: string, at: Location | URL, agent: string}} context url: of the scene
 * @returns {Diagnosis}
 */
export function diagnose(error, { url, at, agent }) {
  const e = /** @type {Error & {kind?: string, status?: number}} */ (error instanceof Error ? error : new Error(String(error)));
  const details = e.message, again = "Try again";
  const file = make("code", {}, url);
  switch (e.kind) {
    case "insecure": return { kind: "insecure", message: insecure(at) };
    case "missing": return { kind: "missing", message: missing(agent) };
    case "adapter": return { kind: "adapter", message: adapter() };
    case "refused": return { kind: "refused", message: { title: "The graphics driver refused to start", text: [p("The adapter was found, but gives no device. Close other pages that use graphics, restart the browser, or update the driver.")], again, details } };
    case "lost": return { kind: "lost", message: { title: "The graphics device keeps failing", text: [p("It was lost several times in a row, which points to the driver or to too little memory. Close other pages that use graphics, then try again.")], again, details } };
  }
  if (e.status === 404 || e.status === 410) return { kind: "notfound", message: { title: "There is no scene at this address", text: [p("The server has no ", file, ". It may have been moved or renamed; check the address.")], again, details } };
  if (e.status) return { kind: "http", message: { title: `The server refused the scene (${e.status})`, text: [p("Asking for ", file, " failed. ", e.status === 401 || e.status === 403 ? "It may need a login, or not be public." : "Try again in a moment.")], again, details } };
  if (e.name === "UnsupportedError") return { kind: "unsupported", message: { title: "This scene needs a newer viewer", text: [p("Something in ", file, " is not known to this version. Update splatlens where the page is served.")], details } };
  if (e.name === "FormatError" || e.name === "ChangedError") return { kind: "format", message: { title: "The scene file is damaged, or is no .lens file", text: [p(file, " cannot be read. Convert the scene again, or upload the file once more; it must arrive byte for byte."), p(e.message)], again } };
  if (e.name === "ShaderError") return { kind: "shader", message: { title: "The graphics driver rejected a shader", text: [p("This is a fault of the viewer or the driver. Please report it with the details below.")], again, details } };
  if (e.name === "TypeError" && /fetch|network|load failed/i.test(e.message)) {
    const foreign = new URL(url, at.href).origin !== at.origin;
    const cors = ["The server of the file must allow this page to read it, with the header ", make("code", {}, "Access-Control-Allow-Origin"), ", also on answers to Range requests."];
    return { kind: "network", message: { title: "The scene cannot be reached", text: [p("No answer for ", file, ". Check the connection."), ...(foreign ? [p(...cors)] : [])], again, details } };
  }
  return { kind: "bug", message: { title: "Something went wrong", text: [p("The viewer ran into an error of its own. Please report it with the details below.")], again, details: e.stack ?? details } };
}
