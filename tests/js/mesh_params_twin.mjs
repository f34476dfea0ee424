// Storage buffers of looks in a JSON file, as hexadecimal bytes: the other half of tests/test_mesh_params.py.

import { readFileSync } from "node:fs";
import { packDirections, packParams, waveGroups } from "../../static/mesh/params.js";

const hex = (/** @type {Float32Array | Uint32Array} */ values) => Buffer.from(values.buffer).toString("hex");
process.stdout.write(JSON.stringify(JSON.parse(readFileSync(process.argv[2], "utf8")).map((/** @type {any} */ look) => ({
  params: hex(packParams(look)),
  directions: look.method.kind === "lightfield" ? hex(packDirections(look)) : "",
  waves: look.method.kind === "network" ? waveGroups(look.method) : 0,
}))));
