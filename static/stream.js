// Which requests are in flight: the most wanted first, a few at a time, dropped when in the way, repeated when they fail.

/** An error that a repetition will not cure: it goes to `failed` and is not tried again. */
export class FatalError extends Error {}

/** Waiting before the n-th repetition, seconds: 0.25, 0.5, 1, ... 8, each shortened at random by up to half so that clients spread out. */
const FIRST_DELAY = 0.25, LONGEST_DELAY = 8;
/** Requests at once: browsers allow 6 to one HTTP/1.1 host, and with HTTP/2 more hide the round trip. */
const CONCURRENCY = 8;

/**
 * load: fetches, decodes and keeps one item; rejects on failure. failed: an item that will not be tried again.
 * trouble: consecutive failures without any success, 0 once one came through. changed: an item was done or given up.
 * @template {string | number} K
 * @typedef {{load: (key: K, signal: AbortSignal) => Promise<void>, failed?: (key: K, error: unknown) => void,
 *   trouble?: (failures: number, error: unknown) => void, changed?: () => void, concurrency?: number,
 *   setTimer?: (f: () => void, ms: number) => any, clearTimer?: (timer: any) => void, now?: () => number, random?: () => number}} StreamOptions
 */

/**
 * @template {string | number} K
 * @param {StreamOptions<K>} options
 */
export function createStream(options) {
  const { load, concurrency = CONCURRENCY, now = () => performance.now(), random = Math.random } = options;
  const setTimer = options.setTimer ?? ((f, ms) => setTimeout(f, ms)), clearTimer = options.clearTimer ?? clearTimeout;
  /** In order of priority. @type {K[]} */
  let wanted = [];
  /** @type {Map<K, AbortController>} */
  const flying = new Map();
  /** Failed items and when they may be tried again. @type {Map<K, {tries: number, at: number}>} */
  const resting = new Map();
  /** @type {Set<K>} */
  const given = new Set();
  /** @type {any} */
  let timer = null;
  let destroyed = false, failures = 0;

  function pump() {
    if (destroyed) return;
    clearTimer(timer);
    timer = null;
    const time = now(), set = new Set(wanted);
    const waiting = wanted.filter((k) => !flying.has(k) && !given.has(k));
    const ready = waiting.filter((k) => (resting.get(k)?.at ?? 0) <= time);
    // Unwanted requests may finish while nothing else needs their place: they are likely to be wanted again.
    let excess = ready.length - (concurrency - flying.size);
    for (const [key, controller] of flying) {
      if (excess <= 0) break;
      if (!set.has(key)) {
        controller.abort();
        flying.delete(key);
        excess--;
      }
    }
    for (const key of ready.slice(0, Math.max(0, concurrency - flying.size))) start(key);
    const next = Math.min(...waiting.map((k) => resting.get(k)?.at ?? Infinity).filter((at) => at > time));
    if (next !== Infinity) timer = setTimer(pump, next - time);
  }

  /** @param {K} key */
  async function start(key) {
    const controller = new AbortController();
    flying.set(key, controller);
    try {
      await load(key, controller.signal);
      resting.delete(key);
      if (failures > 0) options.trouble?.(failures = 0, null);
    } catch (error) {
      if (destroyed || controller.signal.aborted) return;
      if (error instanceof FatalError) {
        given.add(key);
        options.failed?.(key, error);
      } else {
        const tries = (resting.get(key)?.tries ?? 0) + 1;
        const delay = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** (tries - 1)) * (1 - random() / 2);
        resting.set(key, { tries, at: now() + delay * 1000 });
        options.trouble?.(++failures, error);
      }
    } finally {
      if (flying.get(key) === controller) flying.delete(key);
      if (!destroyed && !controller.signal.aborted) {
        wanted = wanted.filter((k) => k !== key || resting.has(k));
        pump();
        options.changed?.();
      }
    }
  }

  return {
    /**
     * What should arrive, most wanted first; replaces what was wanted before.
     * @param {K[]} keys without those that have arrived
     */
    want(keys) {
      wanted = keys;
      pump();
    },
    /** Tries failed items at once, as when the network is back. */
    retry() {
      for (const rest of resting.values()) rest.at = 0;
      pump();
    },
    /** Requests under way, and items that wait for their turn or their next try. */
    get inFlight() { return flying.size; },
    get pending() { return wanted.reduce((n, k) => n + (given.has(k) ? 0 : 1), 0); },
    destroy() {
      destroyed = true;
      clearTimer(timer);
      for (const controller of flying.values()) controller.abort();
      flying.clear();
      wanted = [];
    },
  };
}
