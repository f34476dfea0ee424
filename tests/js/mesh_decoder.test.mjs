// Pages of meshes: the worker's manager, parts of blobs, and pictures that do not come back as they were.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, before, test } from "node:test";
import { FormatError } from "../../static/inflate.js";
import { openLens } from "../../static/lens.js";
import { createPageDecoder } from "../../static/mesh/decoder.js";
import { openMesh } from "../../static/mesh/nodes.js";
import { pictureSize } from "../../static/mesh/picture.js";

const PYTHON = process.env.PYTHON ?? ".venv/bin/python";
let folder = "";
/** @type {Uint8Array<ArrayBuffer>} */
let data;

before(() => {
  folder = mkdtempSync(`${tmpdir()}/mesh-`);
  execFileSync(PYTHON, ["-m", "tests.mesh_layers", folder], { stdio: ["ignore", "inherit", "inherit"] });
  data = new Uint8Array(readFileSync(`${folder}/a.lens`));
});
after(() => rmSync(folder, { recursive: true, force: true }));

const layer = async () => (await openLens(async (offset, length) => data.slice(offset, offset + length), { name: "a.lens", size: () => data.length })).layers[0];

test("parts of a blob that is stored raw", async () => {
  const own = await layer(), all = await own.blob("pages.0");
  assert.deepEqual(await own.part("pages.0", 5, 20), all.slice(5, 25));
  assert.deepEqual(await own.part("pages.0", all.length, 0), new Uint8Array(0));
  await assert.rejects(own.part("pages.0", all.length - 1, 2), FormatError);
  await assert.rejects(own.part("nodes", 0, 1), FormatError, "deflated");
  await assert.rejects(own.part("pages.1", 0, 1), FormatError, "there is none");
});

test("a picture is decoded another way until its bytes are those that were stored", async () => {
  /** @type {number[]} */
  const attempts = [];
  const file = await openMesh(await layer(), "a.lens: layer 0", undefined, {
    picture: async (bytes, width, height, attempt) => {
      attempts.push(attempt);
      const size = pictureSize(bytes);
      assert.deepEqual(size, [width, height]);
      return attempt < 3 ? { data: new Uint8Array(4 * width * height).fill(7), swapped: attempt % 2 > 0 } : null;
    },
  });
  assert.equal((await file.read(0)).length, 1, "the root has no texels");
  await assert.rejects(file.read(1), (e) => e instanceof FormatError && /^a\.lens: layer 0: page 1 at byte \d+ of pages\.0: texels of node \d+ of it: the decoded bytes differ/.test(e.message));
  assert.ok(attempts.includes(3));
  const failing = await openMesh(await layer(), "a.lens: layer 0", undefined, { picture: async () => { throw new Error("out of memory"); } });
  await assert.rejects(failing.read(1), (e) => e instanceof FormatError && /cannot be decoded \(out of memory\)/.test(e.message));
});

function fake() {
  /** @type {any[]} */
  const sent = [];
  const worker = {
    sent, ended: 0, onmessage: /** @type {any} */ (null), onerror: /** @type {any} */ (null),
    postMessage(/** @type {any} */ task) { sent.push(task); },
    terminate() { worker.ended++; },
    say(/** @type {any} */ data) { worker.onmessage({ data }); },
    fail() { worker.onerror({ preventDefault() {} }); },
  };
  return worker;
}

/** The page of the root, which has no picture. */
async function rootTask() {
  const own = await layer(), nodes = await own.blob("nodes"), view = new DataView(nodes.buffer, nodes.byteOffset), table = 7 * 61;
  const at = view.getUint32(table + 4 * 3, true), length = view.getUint32(table + 4 * 6, true);
  const shape = { triangles: view.getUint32(7 * 48, true), vertices: view.getUint32(7 * 52, true), width: 0, height: 0 };
  return { data: await own.part("pages.0", at, length), shapes: [shape], channels: 8, empty: 0, where: "x" };
}

test("pages go to the worker once it is there, and come back by their number", async () => {
  const worker = fake(), decoder = createPageDecoder({ start: () => /** @type {any} */ (worker) }), task = await rootTask();
  const one = decoder.page(task), two = decoder.page(task);
  assert.equal(worker.sent.length, 0);
  worker.say("here");
  assert.deepEqual(worker.sent.map((t) => t.id), [0, 1]);
  worker.say({ id: 1, packed: "b" });
  worker.say({ id: 0, error: "x: bad" });
  assert.equal(await two, "b");
  await assert.rejects(one, (e) => e instanceof FormatError && e.message === "x: bad");
});

test("without a worker, or when it stops, pages are decoded in this thread", async () => {
  const task = await rootTask();
  const refused = createPageDecoder({ start: () => { throw new DOMException("policy", "SecurityError"); } });
  const [node] = await refused.page(task);
  assert.equal(node.vertices, task.shapes[0].vertices);
  for (const running of [false, true]) {
    const worker = fake(), decoder = createPageDecoder({ start: () => /** @type {any} */ (worker) });
    const early = decoder.page(task);
    if (running) worker.say("here");
    worker.fail();
    assert.deepEqual((await early)[0].words, node.words);
    assert.deepEqual((await decoder.page(task))[0].words, node.words);
    assert.equal(worker.ended, 1);
  }
});

test("it ends with the signal", async () => {
  const worker = fake(), end = new AbortController(), decoder = createPageDecoder({ start: () => /** @type {any} */ (worker), signal: end.signal }), task = await rootTask();
  const waiting = decoder.page(task);
  worker.say("here");
  end.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  await assert.rejects(decoder.page(task), { name: "AbortError" });
  assert.equal(worker.ended, 1);
});
