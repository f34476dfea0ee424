// Which outputs of an ONNX model no input reaches. Just enough of protobuf to see a graph's edges (onnx.proto3).

/** Field numbers: of ModelProto, GraphProto, NodeProto, AttributeProto, ValueInfoProto. */
const GRAPH = 7, NODE = 1, GRAPH_INPUT = 11, NODE_INPUT = 1, NODE_OUTPUT = 2, OPERATOR = 4, ATTRIBUTE = 5, SUBGRAPH = 6, SUBGRAPHS = 11, NAME = 1;

/**
 * The length-delimited fields of a message: [number, bytes]. Nothing where it is no message.
 * @param {Uint8Array} bytes @returns {Generator<[number, Uint8Array]>}
 */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0, scale = 1;
    for (;;) {
      const byte = bytes[at++] ?? 0;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const tag = varint(), wire = tag & 7;
    if (wire === 0) varint();
    else if (wire === 1) at += 8;
    else if (wire === 5) at += 4;
    else if (wire === 2) {
      const length = varint();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else return;
  }
}

/**
 * Those among `names` that are the same whatever the inputs. Nodes with a graph inside, or with no input but Constant, count as
 * changing: a loop may take its values from anywhere, and RandomNormal from nowhere.
 * @param {Uint8Array} model @param {string[]} names @returns {Set<string>}
 */
export function constantOutputs(model, names) {
  const text = new TextDecoder(), moving = new Set(), found = new Set();
  const graph = [...fields(model)].find(([field]) => field === GRAPH)?.[1] ?? new Uint8Array(0), parts = [...fields(graph)];
  for (const [field, value] of parts) {
    if (field === GRAPH_INPUT) for (const [key, bytes] of fields(value)) if (key === NAME) moving.add(text.decode(bytes));
  }
  for (const [field, node] of parts) {
    if (field !== NODE) continue;
    /** @type {string[]} */
    const outputs = [];
    let changes = false, inputs = 0, operator = "";
    for (const [key, bytes] of fields(node)) {
      if (key === NODE_INPUT) {
        inputs++;
        changes ||= moving.has(text.decode(bytes));
      } else if (key === NODE_OUTPUT) outputs.push(text.decode(bytes));
      else if (key === OPERATOR) operator = text.decode(bytes);
      else if (key === ATTRIBUTE) for (const [part] of fields(bytes)) changes ||= part === SUBGRAPH || part === SUBGRAPHS;
    }
    changes ||= inputs === 0 && operator !== "Constant";
    for (const name of outputs) {
      found.add(name);
      if (changes) moving.add(name);
    }
  }
  return new Set(names.filter((name) => found.has(name) && !moving.has(name)));
}
