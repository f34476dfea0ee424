// Entry of /view/NAME and /embed/NAME: one viewer over the whole page, its view kept in the address.
import { make } from "./ui.js";
import { createViewer } from "./viewer.js";

/** What the server writes into the page. page: address of the full page, for links. @typedef {{src: string, poster: string, name: string, home: string | null, page: string}} Settings */

/** A moved view reaches the address bar after this rest, milliseconds: Safari allows 100 changes in 30 s. */
const REST = 400;

const settings = /** @type {Settings} */ (JSON.parse(document.getElementById("splatlens-config")?.textContent ?? "{}"));
const place = /** @type {HTMLElement} */ (document.getElementById("viewer"));
const embedded = settings.home === null;

const leaf = embedded ? make("a", { href: settings.page, target: "_blank", rel: "noopener", title: "Open in a tab of its own" }, "↗") : make("a", { href: settings.home ?? "./", title: "All scenes" }, "All scenes");
const viewer = createViewer(place, {
  src: settings.src,
  poster: settings.poster,
  name: settings.name,
  title: leaf,
  hash: location.hash,
  gestures: embedded ? "cooperative" : "greedy",
  link: (hash) => new URL(`${embedded ? settings.page : location.pathname + location.search}#${hash}`, location.href).href,
});
Object.assign(place, { viewer }); // as on <splat-lens>
if (!embedded) viewer.focus();

/** Keys of the fragment that are not the viewer's stay in it. @param {string} hash */
const foreign = (hash) => hash.slice(1).split("&").filter((part) => part && !/^(view|t|play|speed|loop|off|c\..*|track\..*)=/.test(part));

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let own = location.hash, others = foreign(own), playing = false;
function remember() {
  clearTimeout(timer);
  timer = setTimeout(() => {
    if (!viewer.camera) return;
    own = `#${[viewer.hash, ...others].join("&")}`;
    history.replaceState(null, "", own);
  }, REST);
}
viewer.addEventListener("camerachange", remember);
viewer.addEventListener("controlchange", remember);
viewer.addEventListener("timechange", () => {
  if (!playing || !viewer.playing) remember(); // not in every frame
  playing = viewer.playing;
});
addEventListener("hashchange", () => {
  if (location.hash === own) return;
  own = location.hash;
  others = foreign(own);
  viewer.hash = own;
});
viewer.addEventListener("ready", () => {
  const title = viewer.info?.title;
  if (title && !embedded) document.title = title;
});

// A .lens dropped on the page is shown from memory: nothing is uploaded.
addEventListener("dragover", (e) => e.preventDefault());
addEventListener("drop", (e) => {
  e.preventDefault();
  const file = e.dataTransfer?.files[0];
  if (file) viewer.src = file;
});
