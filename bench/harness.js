// Runs in the page before any viewer code, as a classic script. Knows nothing about the viewer:
// it holds the viewer's requestAnimationFrame callbacks and pumps them, and it finds the viewer's
// canvas and GPU device by wrapping getContext and requestDevice.
(() => {
  const nativeRAF = window.requestAnimationFrame.bind(window);
  let queue = new Map(), nextId = 1;
  window.requestAnimationFrame = (cb) => (queue.set(nextId, cb), nextId++);
  window.cancelAnimationFrame = (id) => queue.delete(id);
  const pump = (ts) => { const q = queue; queue = new Map(); for (const cb of q.values()) cb(ts); };
  const nativeFrame = () => new Promise(nativeRAF);

  const made = [];                                  // [canvas, context] pairs
  const gpu = {
    devices: [],
    get canvas() { return made.findLast(([c]) => c.isConnected)?.[0] ?? null; },
    get gl() { const x = made.findLast(([c]) => c.isConnected)?.[1]; return x instanceof WebGL2RenderingContext ? x : null; },
  };
  const getContext = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (type, attrs) {
    const c = getContext.call(this, type, attrs);
    if (c && (type === 'webgl2' || type === 'webgpu') && !made.some(([k]) => k === this)) made.push([this, c]);
    return c;
  };
  if (window.GPUAdapter) {
    const requestDevice = GPUAdapter.prototype.requestDevice;
    GPUAdapter.prototype.requestDevice = async function (d) {
      const dev = await requestDevice.call(this, d);
      gpu.devices.push(dev);
      return dev;
    };
  }

  const px = new Uint8Array(4);
  // Resolves when everything the viewer has submitted so far is done on the GPU.
  async function finish() {
    const gl = gpu.gl;
    if (gl) {
      // A viewer may have left a pack buffer bound (Spark's sort readback does); readPixels would then fail without waiting.
      const fb = gl.getParameter(gl.READ_FRAMEBUFFER_BINDING), pack = gl.getParameter(gl.PIXEL_PACK_BUFFER_BINDING);
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, null);
      gl.bindBuffer(gl.PIXEL_PACK_BUFFER, null);
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, px);
      gl.bindBuffer(gl.PIXEL_PACK_BUFFER, pack);
      gl.bindFramebuffer(gl.READ_FRAMEBUFFER, fb);
    } else {
      await Promise.all(gpu.devices.map((d) => d.queue.onSubmittedWorkDone()));
    }
  }

  const scratch = document.createElement('canvas');
  // Pixels of the viewer's canvas, scaled to w x h. Call in the task that drew the frame.
  function grab(w, h) {
    scratch.width = w; scratch.height = h;
    const c = getContext.call(scratch, '2d', { willReadFrequently: true });
    c.fillStyle = '#000'; c.fillRect(0, 0, w, h);
    if (gpu.canvas && gpu.canvas.width) c.drawImage(gpu.canvas, 0, 0, w, h);
    return c.getImageData(0, 0, w, h).data;
  }
  const lit = (d) => { for (let i = 0; i < d.length; i += 4) if (d[i] > 16 || d[i + 1] > 16 || d[i + 2] > 16) return true; return false; };
  function psnr(a, b) {
    let e = 0;
    for (let i = 0; i < a.length; i += 4) for (let k = 0; k < 3; k++) e += (a[i + k] - b[i + k]) ** 2;
    return e === 0 ? 99 : 10 * Math.log10(255 * 255 / (e / (a.length * 0.75)));
  }

  const B = window.bench = { peer: null, cfg: null, notes: {}, error: null, gpu };
  const eyeAt = (i) => {
    const { scene: s, frames: f } = B.cfg, a = (s.a0 + i * f.step) * Math.PI / 180;
    return [s.target[0] + s.radius * Math.sin(a), s.target[1] + s.height, s.target[2] + s.radius * Math.cos(a)];
  };
  // One frame at orbit position i. Returns [ms of script, ms until the GPU is done].
  async function frame(i, look) {
    const ts = await nativeFrame();
    const t0 = performance.now();
    B.peer.setCamera(eyeAt(i), B.cfg.scene.target, i);
    pump(ts);
    B.peer.render?.(ts);
    const t1 = performance.now();
    const seen = look ? grab(...look) : null;
    if (!look) await finish();
    return { js: t1 - t0, ms: performance.now() - t0, t0, seen };
  }
  // Draws pose i until the picture stays the same for `still` ms (or `cap` ms pass).
  async function settle(i, still, cap, atLeast = 3) {
    const start = performance.now(), { width, height } = B.cfg;
    let last = null, since = start, n = 0;
    while (performance.now() - start < cap) {
      const f = await frame(i, [width, height]);
      n++;
      const p = last ? psnr(last, f.seen) : 0;
      if (p < 60) since = performance.now();
      last = f.seen;
      if (n >= atLeast && performance.now() - since > still) return { img: last, frames: n, ok: true };
    }
    return { img: last, frames: n, ok: false };
  }
  // Some viewers sort in steps, in a worker, or after a read back: draw, leave the page idle, draw again, five times.
  async function calm(i) {
    for (let k = 0; k < 5; k++) { await frame(i); await new Promise((r) => setTimeout(r, 800)); }
    return settle(i, 300, 15000, 2);
  }
  const stat = (a) => { const s = [...a].sort((x, y) => x - y); const q = (p) => +s[Math.min(s.length - 1, Math.floor(p * s.length))].toFixed(1); return { median: q(0.5), p95: q(0.95), min: q(0) }; };

  // Starts the viewer and draws until the first lit pixel. `create` comes from the peer's page script.
  B.start = async (create) => {
    try {
      B.peer = await create(B.cfg);
      while (performance.now() < B.cfg.loadCap) {
        const f = await frame(0, [160, 90]);
        if (lit(f.seen)) { B.firstPixel = performance.now(); break; }
      }
      B.ready = true;
    } catch (e) { B.error = String(e && e.stack || e); }
  };
  B.measure = async () => {
    const out = { firstPixelMs: B.firstPixel ? Math.round(B.firstPixel) : null };
    // A viewer that streams says when all has come; the others are taken at their first settled picture.
    for (const t = performance.now(); B.peer.complete && !B.peer.complete() && performance.now() - t < 60000;) await frame(0);
    out.complete = B.peer.complete ? B.peer.complete() : null;
    const s = await settle(0, 1500, 25000);
    out.settledAfterLoad = s.ok;
    out.settledMs = Math.round(performance.now());
    const { warm, measured } = B.cfg.frames, js = [], ms = [], gap = [];
    const t0 = performance.now(), cap = B.cfg.timeCap;
    let prev = null, n = 0;
    for (let i = 0; i < warm + measured; i++) {
      const late = performance.now() - t0;
      if (i >= 3 && i < warm && late > cap / 3) i = warm;      // slow viewer: cut the warm-up short
      if (i >= warm && ((ms.length >= 5 && late > cap) || (ms.length >= 3 && late > 3 * cap))) break;
      const f = await frame(i);
      if (i >= warm) { js.push(f.js); ms.push(f.ms); if (prev) gap.push(f.t0 - prev); }
      prev = f.t0; n++;
    }
    out.frames = ms.length;
    out.ms = stat(ms); out.js = stat(js); out.gap = gap.length ? stat(gap) : null;
    return out;
  };
  // Async sort lag: turn the camera 90 degrees in one step and watch the picture until it settles.
  B.lag = async () => {
    const { width, height, frames } = B.cfg, jump = Math.round(90 / frames.step), seq = [];
    await calm(0);
    const t0 = performance.now();
    for (let n = 0; n < 8 && performance.now() - t0 < 22000; n++) {
      const f = await frame(jump, [width, height]);
      seq.push({ img: f.seen, t: performance.now() - t0 });
    }
    const end = await calm(jump);
    const p = seq.map((x) => +psnr(x.img, end.img).toFixed(1));
    const k = p.findIndex((x) => x >= 50);
    return { psnrVsSettled: p, lagFrames: k, lagMs: k < 0 ? null : Math.round(seq[k].t), settled: end.ok };
  };
  B.still = async (i) => { const s = await calm(i); return { settled: s.ok }; };
  B.heap = () => performance.memory ? performance.memory.usedJSHeapSize : null;
})();
