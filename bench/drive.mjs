// Measures peers one after another in one browser at a time. See README.md.
// DATA_DIR=... OUT_DIR=... CHROMIUM=... node drive.mjs [--peers a,b] [--scenes a,b] [--sizes 640x360,1280x720] [--cap s] [--tag name]
import { chromium } from 'playwright-core';
import http from 'node:http';
import { readFile, writeFile, mkdir, stat } from 'node:fs/promises';
import { readFileSync, readdirSync, createReadStream, existsSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { FLAGS } from './flags.mjs';

const here = path.dirname(new URL(import.meta.url).pathname);
const arg = (k, d) => { const i = process.argv.indexOf('--' + k); return i < 0 ? d : process.argv[i + 1]; };
const need = (k) => process.env[k] ?? (console.error(`set ${k}`), process.exit(2));
const DATA = need('DATA_DIR'), OUT = need('OUT_DIR'), CHROMIUM = need('CHROMIUM'), PY = process.env.PYTHON ?? 'python3';
const SPLATLENS = process.env.SPLATLENS ?? path.join(here, '..', '.venv', 'bin', 'splatlens');
const cfg = JSON.parse(await readFile(path.join(here, 'scenes.json')));
const PEERS = {                                    // name -> [bundle, variant]
  'splatlens': ['splatlens', ''],
  'pc-webgpu': ['playcanvas', 'webgpu'], 'pc-webgl2': ['playcanvas', 'webgl2'], 'pc-webgpu-full': ['playcanvas', 'webgpu-full'],
  'spark': ['spark', ''], 'spark-classic': ['spark', 'classic'],
  'gs3d': ['gs3d', ''],
  'supersplat-webgpu': ['supersplat', 'webgpu'], 'supersplat-webgl2': ['supersplat', 'webgl2'],
};
const peers = arg('peers', Object.keys(PEERS).join()).split(','), scenes = arg('scenes', Object.keys(cfg.scenes).join()).split(',');
const sizes = arg('sizes', '640x360,1280x720').split(','), cap = +arg('cap', 25) * 1000, tag = arg('tag', 'results');
await mkdir(OUT, { recursive: true });
// The shaders as the server sends them: one response, comments left out.
if (peers.includes('splatlens')) execFileSync(PY, ['-c', 'import pathlib, sys; from splatlens.server_assets import load_client; '
  + 'pathlib.Path(sys.argv[1]).write_bytes(load_client().files["shaders/bundle.json"].body)', path.join(OUT, 'bundle.json')]);
if (peers.includes('splatlens')) for (const name of scenes) {
  const f = cfg.scenes[name].file, ply = existsSync(path.join(DATA, f)) ? path.join(DATA, f) : path.join(OUT, f);
  execFileSync(SPLATLENS, ['convert', '--force', ply, path.join(OUT, name + '.lens')], { stdio: ['ignore', 'ignore', 'inherit'] });
}

// ---- server: page, bundles and scenes; keeps count of what each page downloaded
let sent = [];
const page = `<!doctype html><meta charset=utf-8><style>html,body{margin:0;background:#000;overflow:hidden}#host{position:absolute;left:0;top:0}canvas{display:block}</style>
<div id=host><canvas id=c></canvas></div><script>HARNESS</script><script>
const q=new URLSearchParams(location.search);const cfg=JSON.parse(q.get('cfg'));cfg.canvas=document.getElementById('c');
cfg.canvas.width=cfg.width;cfg.canvas.height=cfg.height;const h=document.getElementById('host');h.style.width=cfg.width+'px';h.style.height=cfg.height+'px';bench.cfg=cfg;</script>
<script type=module src="/build/BUNDLE.js"></script>`;
const types = { '.js': 'text/javascript', '.css': 'text/css', '.wgsl': 'text/wgsl', '.mjs': 'text/javascript', '.wasm': 'application/wasm', '.json': 'application/json', '.webp': 'image/webp' };
const server = http.createServer(async (req, res) => {
  const u = new URL(req.url, 'http://x'), p = decodeURIComponent(u.pathname);
  const head = { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp', 'Cache-Control': 'no-store' };
  if (p === '/page.html') {
    const html = page.replace('BUNDLE', u.searchParams.get('bundle')).replace('HARNESS', () => readFileSync(path.join(here, 'harness.js'), 'utf8'));
    res.writeHead(200, { ...head, 'Content-Type': 'text/html' }).end(html);
    return;
  }
  if (p === '/favicon.ico') { res.writeHead(204, head).end(); return; }
  let f = p.startsWith('/build/') ? path.join(here, p) : p === '/shaders/bundle.json' ? path.join(OUT, 'bundle.json') : p.startsWith('/scene/') ? path.join(DATA, p.slice(7)) : null;
  if (f && p.startsWith('/scene/') && !existsSync(f)) f = path.join(OUT, p.slice(7));
  if (f && p.startsWith('/build/') && !existsSync(f)) f = path.join(here, '..', 'static', p.slice(7));   // a module's own style sheet
  if (!f || !existsSync(f)) { res.writeHead(404, head).end(); return; }
  const size = (await stat(f)).size, type = { ...head, 'Content-Type': types[path.extname(f)] ?? 'application/octet-stream', 'Accept-Ranges': 'bytes' };
  const range = /^bytes=(\d+)-(\d+)$/.exec(req.headers.range ?? '');
  if (range) {
    const start = +range[1], end = Math.min(+range[2], size - 1);
    if (start > end) { res.writeHead(416, { ...type, 'Content-Range': `bytes */${size}` }).end(); return; }
    sent.push({ path: p, size: end - start + 1, file: f });
    res.writeHead(206, { ...type, 'Content-Range': `bytes ${start}-${end}/${size}`, 'Content-Length': end - start + 1 });
    createReadStream(f, { start, end }).pipe(res);
    return;
  }
  sent.push({ path: p, size, file: f });
  res.writeHead(200, { ...type, 'Content-Length': size });
  createReadStream(f).pipe(res);
});
await new Promise((ok) => server.listen(0, '127.0.0.1', ok));
const origin = `http://127.0.0.1:${server.address().port}`;

// ---- memory of the browser's process tree, proportional set size in MiB
function tree(root) {
  const kids = {};
  for (const d of readdirSync('/proc')) if (/^\d+$/.test(d)) {
    try { const s = readFileSync(`/proc/${d}/stat`, 'utf8'); (kids[s.slice(s.lastIndexOf(')') + 2).split(' ')[1]] ??= []).push(d); } catch {}
  }
  const out = [], todo = [String(root)];
  while (todo.length) { const p = todo.pop(); out.push(p); todo.push(...(kids[p] ?? [])); }
  return out;
}
function memory(root) {
  const m = { all: 0, gpu: 0, renderer: 0 };
  for (const p of tree(root)) try {
    const kb = +/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${p}/smaps_rollup`, 'utf8'))[1], cmd = readFileSync(`/proc/${p}/cmdline`, 'utf8');
    m.all += kb / 1024;
    if (cmd.includes('--type=gpu-process')) m.gpu += kb / 1024;
    if (cmd.includes('--type=renderer')) m.renderer += kb / 1024;
  } catch {}
  return m;
}
const timeout = (p, ms, what) => { let t; return Promise.race([p, new Promise((_, no) => { t = setTimeout(() => no(new Error('timeout: ' + what)), ms); })]).finally(() => clearTimeout(t)); };

let current = null;
process.on('SIGTERM', async () => { try { await current?.kill(); } finally { process.exit(143); } });   // so that `timeout` ends the run

async function one(peer, scene, size) {
  const [bundle, variant] = PEERS[peer], [width, height] = size.split('x').map(Number), s = cfg.scenes[scene];
  const row = { peer, scene, size, splats: s.splats };
  sent = [];
  const srv = current = await chromium.launchServer({ executablePath: CHROMIUM, headless: true, args: FLAGS, handleSIGTERM: false });
  const pid = srv.process().pid, peak = { all: 0, gpu: 0, renderer: 0 };
  const poll = setInterval(() => { const m = memory(pid); for (const k in m) peak[k] = Math.max(peak[k], m[k]); }, 400);
  let br;
  try {
    br = await chromium.connect(srv.wsEndpoint());
    const ctx = await br.newContext({ viewport: { width, height }, deviceScaleFactor: 1 });
    const pg = await ctx.newPage();
    row.blankMiB = Math.round(memory(pid).all);
    pg.on('pageerror', (e) => { (row.errors ??= []).length < 3 && row.errors.push(e.message.slice(0, 200)); });
    pg.on('console', (m) => { if (process.env.VERBOSE || m.type() === 'error') console.error('   console:', m.text().slice(0, 300)); });
    const c = { width, height, url: '/scene/' + s.file, lens: `/scene/${scene}.lens`, fovy: cfg.fovy, up: cfg.up, near: cfg.near, far: cfg.far, sh: s.sh, scene: s, frames: cfg.frames, variant, timeCap: cap, loadCap: 60000 };
    await timeout(pg.goto(`${origin}/page.html?bundle=${bundle}&cfg=${encodeURIComponent(JSON.stringify(c))}`), 30000, 'navigation');
    const t0 = Date.now();
    while (Date.now() - t0 < 70000) {
      const st = await timeout(pg.evaluate(() => ({ ready: bench.ready, error: bench.error })), 65000, 'load');
      if (st.error) throw new Error(st.error);
      if (st.ready) break;
      await new Promise((r) => setTimeout(r, 200));
    }
    Object.assign(row, await timeout(pg.evaluate(() => bench.measure()), cap * 2 + 150000, 'measure'));
    const js = sent.filter((x) => !x.path.startsWith('/scene/'));
    row.jsBytes = js.reduce((a, x) => a + x.size, 0);
    row.jsGzip = js.reduce((a, x) => a + gzipSync(readFileSync(x.file), { level: 9 }).length, 0);
    row.jsHeapMiB = Math.round((await timeout(pg.evaluate(() => bench.heap()), 20000, 'heap')) / 1048576);
    row.loadPeak = Object.fromEntries(Object.entries(peak).map(([k, v]) => [k, Math.round(v)]));
    if (size === '640x360') {
      if (!process.argv.includes('--no-lag')) row.lag = await timeout(pg.evaluate(() => bench.lag()), 150000, 'lag');
      row.stills = {};
      for (const i of cfg.stills) {
        const st = await timeout(pg.evaluate((k) => bench.still(k), i), 90000, 'still');
        const shot = path.join(OUT, `${peer}_${scene}_${i}.png`);
        await timeout(pg.screenshot({ path: shot, clip: { x: 0, y: 0, width, height } }), 30000, 'screenshot');
        const ref = path.join(OUT, `${scene}_${i}.png`);
        if (existsSync(ref)) row.stills[i] = { ...st, psnr: +execFileSync(PY, [path.join(here, 'ref', 'render.py'), '--psnr', ref, shot]).toString() };
      }
    }
    row.notes = await pg.evaluate(() => bench.notes);
  } catch (e) { row.failed = String(e.message ?? e).slice(0, 400); }
  clearInterval(poll);
  row.peakMiB = Object.fromEntries(Object.entries(peak).map(([k, v]) => [k, Math.round(v)]));
  try { if (br) await timeout(br.close(), 5000, 'close'); } catch {}
  try { await timeout(srv.close(), 5000, 'close'); } catch { try { await srv.kill(); } catch {} }
  return row;
}

const rows = [];
for (const size of sizes) for (const scene of scenes) for (const peer of peers) {
  const t = Date.now(), r = await one(peer, scene, size);
  r.wallS = Math.round((Date.now() - t) / 1000);
  rows.push(r);
  console.log(JSON.stringify(r));
  await writeFile(path.join(OUT, tag + '.json'), JSON.stringify(rows, null, 1));
}
server.close();
process.exit(0);
