// Bytes by HTTP Range: versions, hosts without Range, silence, and which failures are for good.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ChangedError, HttpError, blobSource, urlSource } from "../../static/bytes.js";
import { FatalError } from "../../static/stream.js";

const FILE = Uint8Array.from({ length: 1000 }, (_, i) => i % 251);

/**
 * A host of FILE. @param {{size?: () => number, ranges?: boolean, tag?: () => string | null, status?: () => number, expose?: boolean, shift?: number}} [options]
 */
function host({ size = () => FILE.length, ranges = true, tag = () => '"a"', status = () => 0, expose = true, shift = 0 } = {}) {
  /** @type {string[]} */
  const asked = [];
  /** @type {typeof fetch} */
  const answer = async (_url, init) => {
    const range = new Headers(init?.headers).get("Range") ?? "";
    asked.push(range);
    if (init?.signal?.aborted) throw init.signal.reason;
    if (status()) return new Response("no", { status: status() });
    const headers = new Headers();
    const t = tag();
    if (t) headers.set("ETag", t);
    const [, a, b] = /** @type {string[]} */ (/bytes=(\d+)-(\d+)/.exec(range)?.map(String) ?? []);
    const start = Number(a) + shift;
    if (!ranges) return new Response(FILE, { headers });
    if (start >= size()) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${size()}` } });
    if (expose) headers.set("Content-Range", `bytes ${start}-${Math.min(Number(b), FILE.length - 1)}/${FILE.length}`);
    return new Response(FILE.slice(start, Number(b) + 1), { status: 206, headers });
  };
  return { asked, source: urlSource("https://h/x/scene%20a.lens?k=1", { fetch: answer, silence: 0.05 }), fetch: answer };
}

test("bytes of a range, fewer at the end, none beyond it", async () => {
  const { source, asked } = host();
  assert.deepEqual(await source.getBytes(10, 5), FILE.slice(10, 15));
  assert.deepEqual(asked, ["bytes=10-14"]);
  assert.equal(source.size(), 1000);
  assert.equal((await source.getBytes(990, 100)).length, 10);
  assert.equal((await source.getBytes(1000, 4)).length, 0);
  assert.equal(source.name, "scene%20a.lens");
});

test("a host that hides Content-Range from other origins works", async () => {
  const { source } = host({ expose: false, tag: () => null });
  assert.deepEqual(await source.getBytes(3, 4), FILE.slice(3, 7));
  assert.equal(source.size(), null);
});

test("a host without Range is asked once for everything", async () => {
  const { source, asked } = host({ ranges: false });
  assert.deepEqual(await source.getBytes(0, 16), FILE.slice(0, 16));
  assert.deepEqual(await source.getBytes(500, 20), FILE.slice(500, 520));
  assert.equal(asked.length, 1);
  assert.equal(source.size(), 1000);
});

test("a replaced file is noticed", async () => {
  let tag = '"a"';
  const { source } = host({ tag: () => tag });
  await source.getBytes(0, 4);
  tag = '"b"';
  await assert.rejects(source.getBytes(4, 4), ChangedError);
});

test("a file that became shorter was replaced", async () => {
  let length = 1000;
  const { source } = host({ size: () => length });
  await source.getBytes(0, 4);
  assert.equal((await source.getBytes(2000, 4)).length, 0);
  length = 500;
  await assert.rejects(source.getBytes(600, 4), ChangedError);
});

test("a server that sends another place is not believed", async () => {
  await assert.rejects(host({ shift: 8 }).source.getBytes(0, 4), /asked for byte 0, the server sent from byte 8/);
});

test("what may pass is tried again, what will not is fatal", async () => {
  for (const [code, fatal] of /** @type {[number, boolean][]} */ ([[404, true], [403, true], [410, true], [500, false], [503, false], [429, false]])) {
    const { source } = host({ status: () => code });
    await assert.rejects(source.getBytes(0, 4), (/** @type {any} */ e) => e.status === code && (e instanceof FatalError) === fatal && (fatal || e instanceof HttpError));
  }
});

test("an aborted request ends at once", async () => {
  const { source } = host();
  const control = new AbortController();
  control.abort();
  await assert.rejects(source.getBytes(0, 4, control.signal), { name: "AbortError" });
});

test("a request that goes silent is given up", async () => {
  /** @type {typeof fetch} */
  const never = (_url, init) => new Promise((_, reject) => init?.signal?.addEventListener("abort", () => reject(init.signal?.reason)));
  await assert.rejects(urlSource("https://h/a.lens", { fetch: never, silence: 0.02 }).getBytes(0, 4), /no answer for 0.02 s/);
});

test("received bytes are counted as they come", async () => {
  let bytes = 0;
  const { fetch } = host();
  await urlSource("https://h/a.lens", { fetch, received: (n) => { bytes += n; } }).getBytes(0, 100);
  assert.equal(bytes, 100);
});

test("a Blob is a file", async () => {
  const source = blobSource(new Blob([FILE]));
  assert.deepEqual(await source.getBytes(5, 5), FILE.slice(5, 10));
  assert.equal(source.size(), 1000);
});
