// Decodes the pages of a fixture that tests/test_codec.py wrote: decode_pages.mjs FOLDER. Writes what it got beside them.
import { readFileSync, writeFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import * as D from "../../static/decode.js";

const folder = process.argv[2];
const { codec: json, pages } = JSON.parse(readFileSync(`${folder}/fixture.json`, "utf8"));
const codec = D.readCodec(json);
const out = [];
for (const page of pages) {
  const counts = Uint16Array.from(page.counts);
  const load = (name) => new Uint8Array(inflateSync(readFileSync(`${folder}/${name}`)));
  const g = D.decodeGeometry(load(page.geometry), counts, codec);
  const sh = codec.sh_degree ? D.decodeSh(load(page.sh), counts, g.classes, codec) : new Uint32Array(0);
  writeFileSync(`${folder}/${page.geometry}.words`, g.words);
  writeFileSync(`${folder}/${page.geometry}.sh`, sh);
  out.push({ firstSlot: [...g.firstSlot], slots: [...g.slots], origins: [...g.origins], classes: [...g.classes], limits: D.maxPayloadLength(counts, codec.sh_degree) });
}
const { GROUP, HEADER_WORDS, SLOT_WORDS, SH_WORDS, SCALE_STEPS, COLOR_UNIT, MAX_SHIFT } = D;
writeFileSync(`${folder}/decoded.json`, JSON.stringify({ pages: out, constants: { GROUP, HEADER_WORDS, SLOT_WORDS, SH_WORDS, SCALE_STEPS, COLOR_UNIT, MAX_SHIFT } }));
