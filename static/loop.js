// When frames are drawn: once after something changed, every frame while the camera moves, never more than the GPU keeps up with.

/** Frames the GPU may be behind. More would only add delay between the hand and the picture. */
const FRAMES_AHEAD = 2;
/** Stands for the frame that is being made: what asks for one meanwhile is in time for it. */
const NOW = -1;

/**
 * step: moves the camera by what the given seconds bring, true while there is more to come. draw: submits a frame; a promise
 * of its end on the GPU, or null where there was nothing to draw.
 * @param {{step: (seconds: number) => boolean, draw: () => Promise<unknown> | null,
 *   requestFrame?: (f: (time: number) => void) => number, cancelFrame?: (id: number) => void}} options
 */
export function createLoop({ step, draw, requestFrame = (f) => requestAnimationFrame(f), cancelFrame = (id) => cancelAnimationFrame(id) }) {
  let asked = 0, last = 0, behind = 0, dirty = false, moving = false, skipped = false, stopped = false;

  function request() {
    if (!asked && !stopped) asked = requestFrame(frame);
  }

  /** @param {number} time milliseconds */
  function frame(time) {
    asked = 0;
    if (behind >= FRAMES_AHEAD) {
      skipped = true; // and asked for again when the GPU has caught up
      return;
    }
    asked = NOW;
    moving = step(moving ? (time - last) / 1000 : 1 / 60);
    last = time;
    if (dirty) drawNow();
    asked = 0;
    if (moving || dirty) request();
  }

  function drawNow() {
    dirty = false;
    const done = draw();
    if (!done) return;
    behind++;
    const over = () => {
      behind--;
      if (skipped) {
        skipped = false;
        request();
      }
    };
    done.then(over, over);
  }

  return {
    /** Asks for a step of the camera, and a frame if that or anything else changes the picture. */
    request,
    /** The picture is out of date. */
    invalidate() {
      dirty = true;
      request();
    },
    /** Draws within this task, as a resize needs: the old picture would be seen stretched. */
    drawNow,
    stop() {
      stopped = true;
      cancelFrame(asked);
      asked = 0;
    },
  };
}
