// What other pages import: createViewer, and <splat-lens> as a side effect.
export { SplatLens } from "./element.js";
export { createViewer } from "./viewer.js";
