// The one clock of a scene: seconds that play, rest, are sought and start again. No timer of its own: step() is told what has passed.

/** @typedef {ReturnType<typeof createClock>} Clock */

export const SPEEDS = /** @type {const} */ ([0.25, 0.5, 1, 2, 4]);
/** A longer pause between two frames is no time of the scene: the tab was hidden, or the computer asleep. Seconds. */
const LONGEST_STEP = 1;

/** The nearest number that a link can say: seven digits, as a float32 holds. @param {number} x */
export const sayable = (x) => Number(x.toPrecision(7));

/**
 * @param {{duration: number, loop?: boolean}} options duration: seconds, 0 where nothing depends on time. loop: whether it starts
 *   again at the end (default), else it rests there
 */
export function createClock({ duration, loop = true }) {
  let seconds = 0, playing = false, speed = 1;

  /** @param {number} to */
  const inside = (to) => Math.min(Math.max(to, 0), duration);

  return {
    get seconds() { return seconds; },
    get playing() { return playing; },

    get duration() { return duration; },
    /** Where it gets shorter, the clock is at most at its end. */
    set duration(to) {
      duration = to;
      seconds = inside(seconds);
      playing &&= duration > 0;
    },

    get loop() { return loop; },
    set loop(on) { loop = on; },

    /** Seconds of the scene a second, 0.25 to 4. */
    get speed() { return speed; },
    set speed(to) {
      if (!(to >= SPEEDS[0] && to <= SPEEDS[SPEEDS.length - 1])) throw new RangeError(`speed: ${to}, expected 0.25 to 4`);
      speed = to;
    },

    /** From the end it starts again; a scene without time does not play. */
    play() {
      if (!playing && seconds >= duration) seconds = 0;
      playing = duration > 0;
    },
    /** Rests at a time that a link can say, so that it shows the same picture. */
    pause() {
      if (playing) seconds = inside(sayable(seconds));
      playing = false;
    },

    /** @param {number} to seconds; beyond the ends: the end */
    seek(to) {
      if (!Number.isFinite(to)) throw new RangeError(`time: ${to}, expected seconds from 0 to ${duration}`);
      seconds = inside(sayable(to));
    },

    /**
     * Moves on by what has passed; true where that changed the time.
     * @param {number} dt seconds since the last step
     */
    step(dt) {
      if (!playing || !(dt > 0)) return false;
      const next = seconds + Math.min(dt, LONGEST_STEP) * speed, before = seconds;
      if (next < duration) seconds = next;
      else if (loop) seconds = next % duration;
      else {
        seconds = duration;
        playing = false;
      }
      return seconds !== before || !playing;
    },
  };
}
