// Feeds of models for the cases of a JSON file, as hexadecimal bytes: the other half of tests/test_live_feeds.py.

import { readFileSync } from "node:fs";
import { feedsOf, parseContract } from "../../static/live/contract.js";

const bytes = (/** @type {string} */ text) => Uint8Array.from(Buffer.from(text, "base64"));
const results = JSON.parse(readFileSync(process.argv[2], "utf8")).map((/** @type {any} */ one) => {
  try {
    const contract = parseContract(bytes(one.contract), bytes(one.tracks), "twin.lens");
    const made = Object.entries(feedsOf(contract, one.moment, one.camera, one.transform));
    return Object.fromEntries(made.map(([name, values]) => [name, Buffer.from(values.buffer).toString("hex")]));
  } catch (error) {
    return `${/** @type {Error} */ (error).name}: ${/** @type {Error} */ (error).message}`;
  }
});
process.stdout.write(JSON.stringify(results));
