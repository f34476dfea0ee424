// Checked access to values of parsed JSON: every error names the file, the field's path and what was expected.
import { DAMAGED, FormatError } from "./inflate.js";

/** Longest string of a scene description, characters. */
const MAX_TEXT = 2000;

/** A value, the file it is from, and where in that file: `info.layers[2].transform`. */
export class JsonField {
  /** @param {any} value @param {string} file @param {string} path */
  constructor(value, file, path) {
    this.value = value;
    this.file = file;
    this.path = path;
  }

  /** Parses JSON text. Throws FormatError where it is not valid UTF-8 or not JSON. @param {Uint8Array} bytes @param {string} file @param {string} path */
  static parse(bytes, file, path) {
    try {
      return new JsonField(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)), file, path);
    } catch (error) {
      throw new FormatError(`${file}: ${path}: not valid JSON (${error instanceof Error ? error.message : error}); ${DAMAGED}`);
    }
  }

  /** @param {string} expected @returns {never} */
  fail(expected) {
    throw new FormatError(`${this.file}: field ${this.path}: expected ${expected}, got ${(JSON.stringify(this.value) ?? "nothing").slice(0, 60)}; ${DAMAGED}`);
  }

  /** @returns {Record<string, any>} */
  object() {
    const { value } = this;
    return typeof value === "object" && value !== null && !Array.isArray(value) ? value : this.fail("an object");
  }

  /** Whether an object has the member, and it is not null. @param {string} key */
  has(key) {
    return Object.hasOwn(this.object(), key) && this.value[key] !== null;
  }

  /** A member of an object; null where it is missing. @param {string} key */
  member(key) {
    return new JsonField(this.has(key) ? this.value[key] : null, this.file, `${this.path}.${key}`);
  }

  /** The elements of a list of low..high elements. @param {number} low @param {number} high @returns {JsonField[]} */
  items(low, high) {
    const { value } = this;
    if (!Array.isArray(value) || value.length < low || value.length > high) this.fail(low === high ? `a list of ${low}` : `a list of ${low} to ${high}`);
    return value.map((/** @type {any} */ v, /** @type {number} */ i) => new JsonField(v, this.file, `${this.path}[${i}]`));
  }

  /** A finite number. @returns {number} */
  number(low = -Infinity, high = Infinity) {
    const { value } = this;
    return Number.isFinite(value) && value >= low && value <= high ? value : this.fail(low === -Infinity ? "a finite number" : `a number in ${low}..${high}`);
  }

  /** @param {number} low @param {number} high @returns {number} */
  integer(low, high) {
    const { value } = this;
    return Number.isInteger(value) && value >= low && value <= high ? value : this.fail(`an integer in ${low}..${high}`);
  }

  /** @returns {boolean} */
  boolean() {
    return typeof this.value === "boolean" ? this.value : this.fail("true or false");
  }

  /** @returns {string} */
  text() {
    const { value } = this;
    return typeof value === "string" && [...value].length <= MAX_TEXT ? value : this.fail(`a string of at most ${MAX_TEXT} characters`);
  }

  /** A list of finite numbers. @param {number} count */
  numbers(count) {
    return this.items(count, count).map((f) => f.number());
  }

  /** Lists of finite numbers. @param {number} rows @param {number} columns */
  rows(rows, columns) {
    return this.items(rows, rows).map((f) => f.numbers(columns));
  }
}
