// This viewer, as a page would embed it; full detail, so that it draws what the others draw.
import { createViewer } from '../../static/viewer.js';

export async function create({ canvas, width, height, lens, fovy, up }) {
  canvas.remove();
  const host = document.createElement('div');
  Object.assign(host.style, { position: 'absolute', left: 0, top: 0, width: `${width}px`, height: `${height}px` });
  document.body.append(host);
  let settled = false;
  const viewer = createViewer(host, { controls: false, background: '#000', pixelRatio: 1, budget: Infinity, threshold: 0, memory: 1 << 30 });
  viewer.addEventListener('settled', () => { settled = true; });
  const failed = new Promise((_, no) => viewer.addEventListener('error', (e) => no(e.detail.error ?? new Error(e.detail.message))));
  failed.catch((error) => { window.bench.error = String(error?.stack ?? error); });
  viewer.src = lens;
  return {
    setCamera(position, target) { viewer.camera = { position, target: [...target], up, fov: fovy }; },
    // The file streams in coarse first: measured only when every splat and its SH are there.
    complete: () => settled,
    viewer,
  };
}
