// The second way: createViewer from another origin's module, with a button that turns the view and one that removes it.
const script = /** @type {HTMLScriptElement} */ (document.querySelector("script[data-server]"));
const { createViewer } = await import(`${script.dataset.server}/embed.js`);

const place = /** @type {HTMLElement} */ (document.getElementById("function"));
const says = /** @type {HTMLElement} */ (document.getElementById("says"));
const viewer = createViewer(place, { src: place.dataset.src, gestures: "cooperative", name: "A scene from a function", tools: ["fly", "reset", "help"] });
viewer.addEventListener("ready", () => { says.textContent = "ready"; });
viewer.addEventListener("error", (/** @type {CustomEvent} */ e) => { says.textContent = e.detail.message; });

document.getElementById("turn")?.addEventListener("click", () => {
  const pose = viewer.camera;
  if (!pose) return;
  // A quarter turn about the target: exchange the two axes across `up`, here the pose's own offset and its cross product with up.
  const [x, y, z] = pose.position.map((/** @type {number} */ p, /** @type {number} */ i) => p - pose.target[i]), [a, b, c] = pose.up;
  const along = x * a + y * b + z * c, turned = [b * z - c * y + a * along, c * x - a * z + b * along, a * y - b * x + c * along];
  viewer.camera = { ...pose, position: turned.map((v, i) => v + pose.target[i]) };
});
document.getElementById("remove")?.addEventListener("click", () => {
  viewer.destroy();
  says.textContent = "removed";
});
