// Packs structs of shaders/structs.wgsl with DataView, by the offsets of shaders/layout.json: no layout rule lives here.

/**
 * @typedef {{name: string, offset: number, scalar: "f32" | "u32" | "i32", shape: number[], stride: number}} Field
 * @typedef {{size: number, align: number, fields: Field[]}} Struct
 * @typedef {{constants: Record<string, number>, structs: Record<string, Struct>}} Layout
 * @typedef {number | ArrayLike<number> | ArrayLike<ArrayLike<number>>} FieldValue a matrix is an array of its columns
 */

/**
 * A struct of the layout. Throws where there is none.
 * @param {Layout} layout
 * @param {string} name
 * @returns {Struct}
 */
export function structOf(layout, name) {
  const struct = layout.structs[name];
  if (!struct) throw new Error(`layout.json: no struct named ${name}`);
  return struct;
}

/**
 * An integer or float constant of structs.wgsl. Throws where there is none.
 * @param {Layout} layout
 * @param {string} name
 * @returns {number}
 */
export function constantOf(layout, name) {
  const value = layout.constants[name];
  if (value === undefined) throw new Error(`layout.json: no constant named ${name}`);
  return value;
}

/**
 * Writes one struct into `view` at `offset`. Every field must be given, with as many numbers as it holds; unknown ones throw.
 * @param {Layout} layout
 * @param {string} name
 * @param {Record<string, FieldValue>} values
 * @param {DataView} [view] made when absent
 * @param {number} [offset] bytes
 * @returns {DataView}
 */
export function packStruct(layout, name, values, view, offset = 0) {
  const struct = structOf(layout, name);
  const target = view ?? new DataView(new ArrayBuffer(struct.size));
  for (const key in values) {
    if (!struct.fields.some((field) => field.name === key)) throw new Error(`layout.json: ${name} has no field ${key}`);
  }
  for (const field of struct.fields) {
    const value = values[field.name];
    const start = offset + field.offset;
    if (value === undefined) throw new Error(`layout.json: ${name}.${field.name} is not given`);
    if (field.shape.length === 0) {
      if (typeof value !== "number") throw new Error(`layout.json: ${name}.${field.name} must be a number`);
      put(target, field, start, value);
    } else if (field.shape.length === 1) {
      putRow(target, name, field, start, field.shape[0], 4, value);
    } else {
      const columns = /** @type {ArrayLike<ArrayLike<number>>} */ (value);
      if (columns.length !== field.shape[0]) throw new Error(`layout.json: ${name}.${field.name} needs ${field.shape[0]} columns`);
      for (let c = 0; c < field.shape[0]; c++) putRow(target, name, field, start + c * field.stride, field.shape[1], 4, columns[c]);
    }
  }
  return target;
}

/**
 * Reads one struct from `view` at `offset`: numbers, arrays of numbers, arrays of columns.
 * @param {Layout} layout
 * @param {string} name
 * @param {DataView} view
 * @param {number} [offset] bytes
 * @returns {Record<string, number | number[] | number[][]>}
 */
export function unpackStruct(layout, name, view, offset = 0) {
  /** @type {Record<string, number | number[] | number[][]>} */
  const values = {};
  for (const field of structOf(layout, name).fields) {
    const start = offset + field.offset;
    /** @param {number} from @param {number} n */
    const row = (from, n) => Array.from({ length: n }, (_, i) => get(view, field, from + 4 * i));
    if (field.shape.length === 0) values[field.name] = get(view, field, start);
    else if (field.shape.length === 1) values[field.name] = row(start, field.shape[0]);
    else values[field.name] = Array.from({ length: field.shape[0] }, (_, c) => row(start + c * field.stride, field.shape[1]));
  }
  return values;
}

/**
 * @param {DataView} view @param {string} struct @param {Field} field @param {number} start bytes
 * @param {number} length numbers @param {number} step bytes @param {FieldValue} value
 */
function putRow(view, struct, field, start, length, step, value) {
  const row = /** @type {ArrayLike<number>} */ (value);
  if (row.length !== length) throw new Error(`layout.json: ${struct}.${field.name} needs ${length} numbers, got ${row.length}`);
  for (let i = 0; i < length; i++) put(view, field, start + step * i, row[i]);
}

/** @param {DataView} view @param {Field} field @param {number} at bytes @param {number} value */
function put(view, field, at, value) {
  if (field.scalar === "f32") view.setFloat32(at, value, true);
  else if (field.scalar === "u32") view.setUint32(at, value, true);
  else view.setInt32(at, value, true);
}

/** @param {DataView} view @param {Field} field @param {number} at bytes @returns {number} */
function get(view, field, at) {
  if (field.scalar === "f32") return view.getFloat32(at, true);
  return field.scalar === "u32" ? view.getUint32(at, true) : view.getInt32(at, true);
}
