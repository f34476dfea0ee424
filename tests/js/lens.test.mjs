// Reading .lens files: what Python wrote, the layout against docs/format.md, requests, and damage.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, before, test } from "node:test";
import { deflateSync } from "node:zlib";
import { FormatError, adler32, crc32, inflate } from "../../static/inflate.js";
import { openLens } from "../../static/lens.js";
import * as L from "../../static/lens_layout.js";
import { FatalError } from "../../static/stream.js";

const PYTHON = process.env.PYTHON ?? ".venv/bin/python";
let folder = "";
/** @type {Record<string, Uint8Array<ArrayBuffer>>} */
const files = {};

before(() => {
  folder = mkdtempSync(`${tmpdir()}/lens-`);
  execFileSync(PYTHON, ["-m", "tests.lens_scenes", folder], { stdio: ["ignore", "inherit", "inherit"] });
  for (const name of ["layers", "large", "other"]) files[name] = new Uint8Array(readFileSync(`${folder}/${name}.lens`));
});
after(() => rmSync(folder, { recursive: true, force: true }));

/** getBytes of an array that counts. @param {Uint8Array<ArrayBuffer>} data */
function counted(data) {
  /** @type {[number, number][]} */
  const asked = [];
  const source = { asked, data, /** @param {number} offset @param {number} length */
    getBytes: async (offset, length) => {
      asked.push([offset, length]);
      return source.data.slice(offset, offset + length);
    } };
  return source;
}

/** @param {Uint8Array<ArrayBuffer>} data */
const open = (data) => openLens(counted(data).getBytes, { name: "a.lens", size: () => data.length });

/** All of a file. @param {Uint8Array<ArrayBuffer>} data */
async function readAll(data) {
  const lens = await open(data);
  await lens.cameras();
  for (const { splats } of lens.layers) for (let k = 0; splats && k < splats.pages; k++) await splats.sh(await splats.page(k));
}

test("records are those of docs/format.md", () => {
  const page = readFileSync("docs/format.md", "utf8");
  for (const [name, fields] of Object.entries(L.RECORDS)) {
    const title = name === "Section" ? "Section table" : name;
    const text = page.split(new RegExp(`^#+ ${title}\n`, "m"))[1].split(/^#/m)[0];
    const rows = [...text.matchAll(/^\| (\d+) \| (\d+) \| (\w+)(?:\[(\d+)\])? \| (\w+) \|/gm)];
    assert.deepEqual(rows.map((r) => (r[4] ? [r[5], r[3], Number(r[4])] : [r[5], r[3]])), fields.map((f) => [...f]), name);
    let offset = 0;
    for (const [i, row] of rows.entries()) {
      assert.equal(Number(row[1]), offset);
      offset += L.sizeOf([fields[i]]);
    }
    assert.equal(offset, L.sizeOf(fields));
  }
  for (const [name, kind] of Object.entries(L.SECTION)) assert.match(page, new RegExp(`^\\| ${kind} \\| ${name} \\|`, "m"));
});

test("scene, layers and attachments come back", async () => {
  const lens = await open(files.layers), { scene } = lens;
  assert.equal(scene.title, "Two layers");
  assert.equal(scene.attribution, "Somebody");
  assert.deepEqual(scene.up, [0, -1, 0]);
  assert.ok(scene.bounds && scene.bounds[0].every((v, i) => v < /** @type {any} */ (scene.bounds)[1][i]));
  assert.equal(scene.camera?.width, 640);
  assert.equal(scene.camera?.worldToCamera.length, 16);
  const cameras = await lens.cameras();
  assert.equal(cameras.length, 30);
  assert.deepEqual(cameras[3], scene.camera);
  assert.equal(await lens.attachment("nothing"), null);
  assert.deepEqual(lens.layers.map((l) => [l.kind, l.name, !!l.splats]), [["splats", "first", true], ["hologram", "later kind", false], ["splats", "second", true]]);
  assert.equal(lens.notices.length, 1);
  assert.match(lens.notices[0], /hologram.*skipped/);
  assert.equal(lens.layers[1].properties.answer, 42);
  assert.equal(new TextDecoder().decode(await lens.layers[1].blob("model")), "abc".repeat(100));
  await assert.rejects(lens.layers[1].blob("none"), FormatError);
  assert.deepEqual([...lens.layers[2].transform], [1, 0, 0, 1, 0, 1, 0, 2, 0, 0, 1, 3, 0, 0, 0, 1]);
  assert.deepEqual(lens.layers[2].splats?.kernel, { dilation: 0.1, antialias: true });
  assert.equal(lens.layers[0].splats?.shDegree, 2);
  assert.match(lens.contentId, /^[0-9a-f]{32}$/);
});

test("nodes and words are those Python reads", async () => {
  const script = `
import json, sys, zlib
from splatlens.viewer.lens import LensReader
out = []
with LensReader.open(sys.argv[1]) as reader:
    for layer in reader.splats_layers.values():
        for k in range(layer.pages):
            page = layer.page(k); n = page.nodes
            sh = layer.sh_page(k, page)
            out.append({"first": n.first, "childFirst": n.child_first.tolist(), "childPage": n.child_page.tolist(), "childCount": n.child_count.tolist(),
              "count": n.count.tolist(), "slots": n.slots.tolist(), "error": n.error.tolist(), "sphere": n.sphere.ravel().tolist(),
              "box": n.box.ravel().tolist(), "support": n.support.ravel().tolist(), "words": zlib.crc32(page.geometry.words.tobytes()),
              "sh": zlib.crc32(sh.tobytes()), "parent": int(layer.entry(k)["parent_page"])})
print(json.dumps(out))`;
  const want = JSON.parse(execFileSync(PYTHON, ["-c", script, `${folder}/layers.lens`], { encoding: "utf8", maxBuffer: 1 << 26 }));
  const got = [];
  for (const { splats } of (await open(files.layers)).layers) {
    for (let k = 0; splats && k < splats.pages; k++) {
      const page = await splats.page(k), sh = await splats.sh(page);
      const arrays = Object.fromEntries(Object.entries(page.nodes).map(([key, value]) => [key, [...value]]));
      got.push({ first: page.first, ...arrays, words: crc32(new Uint8Array(page.words.buffer, page.words.byteOffset, page.words.byteLength)), sh: crc32(new Uint8Array(sh.buffer, sh.byteOffset, sh.byteLength)), parent: page.parent === -1 ? L.NONE : page.parent });
    }
  }
  assert.equal(got.length, want.length);
  for (const [i, page] of got.entries()) assert.deepEqual({ ...page }, want[i], `page ${i}`);
});

test("the first picture needs two requests, the directory only as it is used", async () => {
  const source = counted(files.large), lens = await openLens(source.getBytes);
  assert.deepEqual(source.asked, [[0, L.HEAD_BYTES]]);
  const splats = /** @type {import("../../static/lens_pages.js").Pages} */ (lens.layers[0].splats);
  assert.ok(splats.pages > 128);
  await splats.entry(100);
  assert.equal(source.asked.length, 1, "entries of the first block lie in the head");
  await splats.page(100);
  assert.equal(source.asked.length, 2);
  await Promise.all([splats.entry(splats.pages - 1), splats.entry(splats.pages - 1)]);
  assert.equal(source.asked.length, 3, "one request a directory block");
  await assert.rejects(splats.entry(splats.pages), RangeError);
});

test("a failed directory request is asked again", async () => {
  const source = counted(files.large), lens = await openLens(source.getBytes);
  const splats = /** @type {import("../../static/lens_pages.js").Pages} */ (lens.layers[0].splats);
  const { getBytes } = source;
  let fail = true;
  const flaky = await openLens((offset, length, signal) => {
    if (fail && offset > 0) return Promise.reject(new TypeError("network"));
    return getBytes(offset, length);
  });
  const own = /** @type {import("../../static/lens_pages.js").Pages} */ (flaky.layers[0].splats);
  await assert.rejects(own.entry(splats.pages - 1), TypeError);
  fail = false;
  assert.equal((await own.entry(splats.pages - 1)).page, splats.pages - 1);
});

test("a replaced file is noticed", async () => {
  const source = counted(files.layers), lens = await openLens(source.getBytes);
  source.data = files.other;
  const splats = /** @type {import("../../static/lens_pages.js").Pages} */ (lens.layers[0].splats);
  await assert.rejects((async () => {
    for (let k = 0; k < splats.pages; k++) await splats.sh(await splats.page(k));
  })(), /another content id: the file was replaced since it was opened/);
});

test("reading can be aborted", async () => {
  const control = new AbortController();
  /** @type {import("../../static/bytes.js").GetBytes} */
  const getBytes = (offset, length, signal) => new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const opening = openLens(getBytes, { signal: control.signal });
  control.abort();
  await assert.rejects(opening, { name: "AbortError" });
});

test("what is no .lens is named", async () => {
  const cases = /** @type {const} */ ([["ply\nformat", /a PLY file/], ["PK\x03\x04", /ZIP/], ["<!doctype html>", /web page/], ["", /empty/], ["zzzz", /starts with "zzzz"/]]);
  for (const [text, message] of cases) {
    await assert.rejects(open(new TextEncoder().encode(text)), (error) => error instanceof FormatError && error instanceof FatalError && message.test(error.message));
  }
  const later = files.layers.slice();
  new DataView(later.buffer).setUint16(8, 7, true);
  await assert.rejects(open(later), { name: "UnsupportedError", message: /version 7; this viewer reads version 1/ });
});

test("a cut file is refused, wherever it is cut", async () => {
  const data = files.layers;
  for (let n = 0; n < data.length; n += 97) {
    await assert.rejects(open(data.slice(0, n)), FormatError);
    const lens = openLens(counted(data.slice(0, n)).getBytes);
    await assert.rejects(lens.then(async (l) => {
      await l.cameras();
      for (const { splats } of l.layers) for (let k = 0; splats && k < splats.pages; k++) await splats.sh(await splats.page(k));
    }), /(empty|ends at byte)/);
  }
  assert.match((await open(new Uint8Array([...data, 0]))).notices[0], /1 bytes after the end/);
});

test("a flipped byte of the head is refused", async () => {
  const lens = await open(files.layers);
  const end = Math.min(L.HEAD_BYTES, 3000), data = files.layers.slice();
  assert.ok(lens.fileLength > end);
  for (let at = 0; at < 64 + 40 * 6; at++) {
    data[at] ^= 1 << (at % 8);
    await assert.rejects(readAll(data), (error) => error instanceof FatalError, `byte ${at}`);
    data[at] ^= 1 << (at % 8);
  }
  await readAll(data);
});

test("inflate gives exactly what it was promised, or says why not", async () => {
  const bytes = new Uint8Array(100_000).map((_, i) => (i * i) >> 5), data = new Uint8Array(deflateSync(bytes));
  assert.deepEqual(await inflate(data, bytes.length, "x"), bytes);
  await assert.rejects(inflate(data, bytes.length - 1, "x"), /expected 99999 bytes, it holds more/);
  await assert.rejects(inflate(data, bytes.length + 1, "x"), /expected 100001 bytes, it holds 100000/);
  await assert.rejects(inflate(data.slice(0, -1), bytes.length, "x"), FormatError);
  await assert.rejects(inflate(new Uint8Array([...data, 1, 2, 3, 4]), bytes.length, "x"), FormatError);
  await assert.rejects(inflate(new Uint8Array([...data, ...deflateSync(new Uint8Array(9))]), bytes.length, "x"), FormatError);
  await assert.rejects(inflate(new Uint8Array(20), 5, "x"), /not a sound zlib stream/);
  const bomb = new Uint8Array(deflateSync(new Uint8Array(1 << 26)));
  await assert.rejects(inflate(bomb, 1000, "x"), /it holds more/);
});

test("checksums are zlib's", () => {
  const text = new TextEncoder().encode("123456789");
  assert.equal(crc32(text), 0xcbf43926);
  assert.equal(crc32(text.subarray(4), crc32(text.subarray(0, 4))), 0xcbf43926);
  assert.equal(adler32(text), 0x091e01de);
  assert.equal(adler32(new Uint8Array(1_000_000).fill(255)), new DataView(new Uint8Array(deflateSync(new Uint8Array(1_000_000).fill(255))).slice(-4).buffer).getUint32(0));
});
